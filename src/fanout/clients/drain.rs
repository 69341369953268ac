//! The drain: which client receives which notice, and when. Owns the order in which clients move to
//! a successor; closing itself is in [`crate::fanout::clients::lifecycle`].

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::fanout::clients::admission::rejection_parts;
use crate::fanout::clients::client::ClientPhase;
use crate::fanout::protocol::messages::write_notice;
use crate::fanout::{ClientId, Fanout};
use crate::limits::{CLOSE_DRAIN, MOVE_INTERVAL};
use crate::metrics::RefusedBy;

/// What becomes of the clients' address when the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainKind {
    /// Nothing listens there any more.
    Closed,
    /// The supervisor keeps the listening socket open: a new connection waits for the next server.
    Kept,
    /// A successor accepts connections there already.
    Succeeded,
}

impl DrainKind {
    /// The text of the last `notice`.
    fn notice(self) -> &'static str {
        match self {
            Self::Closed => "the server is going down; connect again",
            Self::Kept => "the server is restarting; connect again now, and wait for its answer",
            Self::Succeeded => "a new server is at this address; connect again now",
        }
    }

    /// The reason in the Close frame.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Closed => "the server is going down",
            Self::Kept => "the server is restarting",
            Self::Succeeded => "a new server is at this address",
        }
    }
}

/// Clients that still have to move to the successor, a few at a time, so that they do not all
/// arrive at once.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    waiting: VecDeque<ClientId>,
    /// When the next client is asked to move.
    next: MonoNs,
    interval: Duration,
}

impl Moves {
    /// When [`Fanout::move_clients`] is due next.
    pub(crate) fn next_deadline(&self) -> Option<MonoNs> {
        (!self.waiting.is_empty()).then_some(self.next)
    }
}

impl Fanout {
    /// A successor serves at this address. Asks the clients to move, one after the other, the last
    /// of them within `within`. Until then a client is served as before. The driver calls
    /// [`Self::begin_drain`] once [`Self::has_moved`].
    pub fn begin_moves(&mut self, within: Duration, now: Now) {
        let waiting: VecDeque<_> = self.clients.ids().into();
        let count = u32::try_from(waiting.len()).unwrap_or(u32::MAX).max(1);
        let interval = MOVE_INTERVAL.min(within / count);
        self.drain_kind = DrainKind::Succeeded;
        self.moves = Moves { waiting, next: now.mono, interval };
    }

    /// Returns whether every client of [`Self::begin_moves`] was asked to move.
    pub fn has_moved(&self) -> bool {
        self.moves.waiting.is_empty()
    }

    /// Asks the clients to move that are due.
    pub(crate) fn move_clients(&mut self, now: Now) {
        while self.moves.next <= now.mono {
            let Some(id) = self.moves.waiting.pop_front() else { return };
            self.moves.next = self.moves.next.after(self.moves.interval);
            self.drain_client(id, now);
        }
    }

    /// Begins the drain: no client is admitted, every client gets a notice and what it is owed, and
    /// is closed with 1001. If a successor comes, a connection with an unfinished handshake is
    /// admitted for that, provided that its request arrives within [`CLOSE_DRAIN`]. The driver
    /// limits the time of the drain.
    pub fn begin_drain(&mut self, drain_kind: DrainKind, now: Now) {
        if std::mem::replace(&mut self.is_draining, true) {
            return;
        }
        self.drain_kind = drain_kind;
        self.moves.waiting.clear();
        let access = &mut self.config.access;
        access.handshake_timeout = access.handshake_timeout.min(CLOSE_DRAIN);
        for id in self.clients.ids() {
            let Some(client) = self.clients.find(id) else { continue };
            match client.phase {
                ClientPhase::Handshaking { .. } if drain_kind == DrainKind::Closed => {
                    let (status, headers, why) = rejection_parts(RefusedBy::Draining);
                    client.connection(&mut self.turn).refuse(status, headers, why);
                    self.flush(id, now);
                }
                ClientPhase::Handshaking { .. } => self.arm(id),
                ClientPhase::Live { .. } => self.drain_client(id, now),
                ClientPhase::Flushing { .. } | ClientPhase::Draining { .. } => {}
            }
        }
        self.unread.clear();
    }

    /// Returns whether the client has received the notice of the drain, or is about to.
    pub(crate) fn is_client_draining(&mut self, id: ClientId) -> bool {
        self.is_draining || self.clients.find(id).is_some_and(|client| client.is_draining)
    }

    /// Sends a client the notice of the drain, and closes it with 1001 as soon as nothing is owed.
    pub(crate) fn drain_client(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id).filter(|client| client.is_live()) else { return };
        if std::mem::replace(&mut client.is_draining, true) {
            return;
        }
        self.end_pause(id);
        self.payload.clear();
        write_notice(&mut self.payload, "draining", self.drain_kind.notice(), None, now);
        self.send_payload(id);
        self.accept_closed(id, now);
        self.offer(id);
    }
}
