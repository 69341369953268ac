//! How the server takes leave of its clients: who is told what, and when. Owns the order in which they
//! move to a successor; closing itself is [`crate::fanout::clients::lifecycle`]'s.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::limits::{CLOSE_DRAIN, MOVE_INTERVAL};
use crate::metrics::RefusedBy;

use crate::fanout::clients::admission::words;
use crate::fanout::clients::client::Phase;
use crate::fanout::protocol::messages::write_notice;
use crate::fanout::{ClientId, Fanout};

/// What becomes of the clients' address when the server goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainKind {
    /// Nobody listens there any more.
    Closed,
    /// The listening socket stays open with the supervisor: who connects waits for the next server.
    Kept,
    /// A successor accepts there already.
    Succeeded,
}

impl DrainKind {
    /// What the last `notice` says.
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

/// Clients that are to move to the successor, a few at a time, so that it is not stormed.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    waiting: VecDeque<ClientId>,
    /// When the next one is told.
    next: MonoNs,
    interval: Duration,
}

impl Moves {
    /// When [`Fanout::move_clients`] is to be called next.
    pub(crate) fn next_deadline(&self) -> Option<MonoNs> {
        (!self.waiting.is_empty()).then_some(self.next)
    }
}

impl Fanout {
    /// A successor serves at this address: clients are told to move, one after the other, the last of
    /// them before `within` is over. Until it is told a client is served as ever.
    /// [`Self::begin_drain`] follows when [`Self::has_moved`].
    pub fn begin_moves(&mut self, within: Duration, now: Now) {
        let waiting: VecDeque<_> = self.clients.ids().into();
        let count = u32::try_from(waiting.len()).unwrap_or(u32::MAX).max(1);
        let interval = MOVE_INTERVAL.min(within / count);
        self.drain_kind = DrainKind::Succeeded;
        self.moves = Moves { waiting, next: now.mono, interval };
    }

    /// Whether every client of [`Self::begin_moves`] has been told.
    pub fn has_moved(&self) -> bool {
        self.moves.waiting.is_empty()
    }

    /// Tells the clients whose turn it is.
    pub(crate) fn move_clients(&mut self, now: Now) {
        while self.moves.next <= now.mono {
            let Some(id) = self.moves.waiting.pop_front() else { return };
            self.moves.next = self.moves.next.after(self.moves.interval);
            self.take_leave(id, now);
        }
    }

    /// The server is going down: nobody new is admitted, everybody is told, gets what is owed, and
    /// is closed with 1001. Where a successor comes, who is on the way in is let in for that, if its
    /// request arrives within [`CLOSE_DRAIN`]. The driver bounds the time of all this.
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
                Phase::Handshaking if drain_kind == DrainKind::Closed => {
                    let (status, headers, why) = words(RefusedBy::Draining);
                    client.connection(&mut self.run).refuse(status, headers, why);
                    self.flush(id, now);
                }
                Phase::Handshaking => self.arm(id),
                Phase::Live => self.take_leave(id, now),
                Phase::Flushing { .. } | Phase::Draining { .. } => {}
            }
        }
        self.unread.clear();
    }

    /// Whether the client was told to go, or is about to be.
    pub(crate) fn is_leaving(&mut self, id: ClientId) -> bool {
        self.is_draining || self.clients.find(id).is_some_and(|client| client.is_leaving)
    }

    /// Tells a client to go, and closes it with 1001 as soon as nothing is owed.
    pub(crate) fn take_leave(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id).filter(|client| client.phase == Phase::Live)
        else {
            return;
        };
        if std::mem::replace(&mut client.is_leaving, true) {
            return;
        }
        client.is_unread = false;
        self.end_pause(id);
        self.payload.clear();
        write_notice(&mut self.payload, "draining", self.drain_kind.notice(), None, now);
        self.send_payload(id);
        self.accept_closed(id, now);
        self.offer(id);
    }
}
