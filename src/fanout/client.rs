//! One client: its connection, its subscriptions, and where it stands between accept and close.
//! Owns its timers and what it is owed; does not know other clients or who publishes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::limits::{READY_BYTES_MAX, SHARE_BYTES_MAX};
use crate::market::{InstrumentId, Interval, Market};
use crate::metrics::RefusedBy;
use crate::wire::Connection;

use super::access::TokenDigest;
use super::candle_source::Origin;
use super::candle_source::Together;
use super::frame::{Class, FrameMeta};
use super::outbox::Outbox;
use super::pace::{Allowance, NewNames};
use super::run::{Outgoing, Part, Run, Share};
use super::stream::Interest;
use super::{ClientId, FanoutConfig};

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The upgrade request has not arrived whole.
    Handshaking,
    /// Messages flow, perhaps after the client's own Close or FIN.
    Live,
    /// Our last bytes are ready; the socket is closed at `until` if they are not taken.
    Flushing { until: MonoNs },
    /// Our FIN is out; what still comes is discarded until `until`.
    Draining { until: MonoNs },
}

/// What a client that has said it is done still gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing more.
    Nothing,
    /// The first quote of each series (Close 1000).
    FirstQuotes,
    /// Every limit, and without a limit the first quote of each series (empty Close, FIN).
    Everything,
}

/// The client's Close or FIN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goodbye {
    /// What it still gets.
    pub(super) due: Due,
    /// When it has waited long enough.
    pub(super) until: MonoNs,
}

/// Whether the driver knows that there are bytes to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// There are none.
    Nothing,
    /// A `Transmit` is among the outputs.
    Queued,
    /// The driver took the `Transmit`: what is still there, the socket did not take.
    Taken,
}

/// Some instruments of one market.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Ascending within a client.
    pub(super) key: u32,
    /// The request's `id`, as JSON.
    pub(super) id: Option<String>,
    /// Where.
    pub(super) market: Market,
    /// The contract type in the client's own words, where these are others.
    pub(super) word: Option<Arc<str>>,
    /// The length of the candles.
    pub(super) interval: Interval,
    /// Who makes them.
    pub(super) origin: Origin,
    /// What is left of the symbols asked for, in the order given.
    pub(super) instruments: Vec<InstrumentId>,
    /// Quotes it was given; 0: without end.
    pub(super) limit: u64,
    /// Quotes still to come, if there is a limit.
    pub(super) remaining: u64,
    /// Open candles are left out.
    pub(super) closed_only: bool,
    /// The ends of intervals are told.
    pub(super) mark: bool,
    /// Quotes have the fields of the Python connector only.
    pub(super) basic: bool,
    /// Instruments without a quote so far.
    pub(super) unquoted: usize,
}

impl Subscription {
    /// Whether its limit is reached.
    pub(super) fn is_exhausted(&self) -> bool {
        self.limit > 0 && self.remaining == 0
    }

    /// The series that end together with its own.
    pub(super) fn together(&self) -> Together {
        Together { market: self.market, interval: self.interval, origin: self.origin }
    }

    fn satisfies(&self, due: Due) -> bool {
        match due {
            Due::Nothing => true,
            Due::FirstQuotes => self.unquoted == 0,
            Due::Everything => self.limit == 0 && self.unquoted == 0,
        }
    }
}

/// One client. What every frame looks at stands in front, together: with a hundred clients that is
/// what the first-level cache holds.
#[repr(C)]
pub(super) struct Client {
    pub(super) offer: Offer,
    pub(super) goodbye: Option<Goodbye>,
    /// The newest closed candle made ready for it.
    pub(super) newest_closed: Option<UnixMs>,
    /// Whether there is an `oldest`.
    is_timed: bool,
    /// What it gets of the run, after the connection's outgoing bytes. It begins with a whole frame.
    share: Share,
    pub(super) id: ClientId,
    pub(super) peer: SocketAddr,
    connection: Connection,
    pub(super) phase: Phase,
    /// Ascending by key.
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) next_key: u32,
    pub(super) outbox: Outbox,
    /// Subscriptions and series whose past is ready to be sent.
    pub(super) joins: VecDeque<(u32, InstrumentId)>,
    /// It is owed too much, and cut off as soon as it is its turn.
    pub(super) is_slow: bool,
    /// Its FIN was read.
    pub(super) is_half_closed: bool,
    /// Counted among the clients, not among those told that there is no room.
    pub(super) is_admitted: bool,
    /// It is to be told that it is not admitted, once it has sent its request.
    pub(super) turned_away: Option<RefusedBy>,
    /// The token it has shown; `None` too where none is asked for.
    pub(super) token: Option<TokenDigest>,
    /// A limit was reached, which ends the connection with the last subscription.
    pub(super) is_served: bool,
    /// It was told to go, as the server does.
    pub(super) is_leaving: bool,
    /// Messages of it wait for the next turn.
    pub(super) is_unread: bool,
    /// Its socket is being read.
    pub(super) is_read: bool,
    /// Messages of it wait until then, for it has said too many.
    pub(super) paused_until: Option<MonoNs>,
    pub(super) allowance: Allowance,
    pub(super) new_names: NewNames,
    /// When it last said something.
    pub(super) spoke_at: MonoNs,
    /// The deadline for its first subscription; `None` once it has one.
    pub(super) subscribe_by: Option<MonoNs>,
    /// The earliest entry among the timers.
    pub(super) armed: MonoNs,
    pub(super) last_heard: MonoNs,
    /// When a ping went out that nothing has answered.
    pub(super) pinged: Option<MonoNs>,
    opened: MonoNs,
    /// The oldest frame that is ready and whose way is measured. Written once for a batch, so it
    /// stands behind.
    oldest: Option<FrameMeta>,
}

impl Client {
    /// A client whose TCP connection was accepted now.
    pub(super) fn new(id: ClientId, peer: SocketAddr, connection: Connection, now: Now) -> Self {
        Self {
            id,
            peer,
            connection,
            share: Share::default(),
            phase: Phase::Handshaking,
            subscriptions: Vec::new(),
            next_key: 0,
            outbox: Outbox::default(),
            joins: VecDeque::new(),
            offer: Offer::Nothing,
            is_slow: false,
            is_half_closed: false,
            goodbye: None,
            is_admitted: true,
            turned_away: None,
            token: None,
            is_served: false,
            is_leaving: false,
            is_unread: false,
            is_read: true,
            paused_until: None,
            allowance: Allowance::new(now),
            new_names: NewNames::new(now),
            spoke_at: now.mono,
            newest_closed: None,
            is_timed: false,
            subscribe_by: None,
            armed: MonoNs(u64::MAX),
            last_heard: now.mono,
            pinged: None,
            opened: now.mono,
            oldest: None,
        }
    }

    /// Whether frames must queue: the socket did not take what it was offered, enough is ready for
    /// it, or older frames are owed.
    pub(super) fn is_behind(&self) -> bool {
        self.is_blocked() || self.is_full() || !self.outbox.is_empty()
    }

    /// Whether the socket did not take all that it was offered.
    pub(super) fn is_blocked(&self) -> bool {
        self.offer == Offer::Taken && self.ready_bytes() > 0
    }

    /// Takes note of a frame that was made ready: counts it for each of the client's `interests`
    /// in its instrument. Returns whether a subscription may have ended or a goodbye be due.
    pub(super) fn count(&mut self, interests: &mut [Interest], meta: &FrameMeta) -> bool {
        self.note(meta);
        interests.iter_mut().for_each(|interest| interest.note(meta));
        if !meta.is_quote() {
            return false;
        }
        let mut is_exhausted = false;
        for interest in interests.iter_mut().filter(|interest| interest.wants(meta)) {
            if interest.is_quoted && !interest.is_limited {
                continue;
            }
            let subscription = self.subscription(interest.key);
            if !std::mem::replace(&mut interest.is_quoted, true) {
                subscription.unquoted -= 1;
            }
            if interest.is_limited {
                subscription.remaining = subscription.remaining.saturating_sub(1);
                is_exhausted |= subscription.remaining == 0;
            }
        }
        is_exhausted || self.goodbye.is_some()
    }

    fn note(&mut self, meta: &FrameMeta) {
        if meta.class == Class::Closed {
            self.newest_closed = self.newest_closed.max(Some(meta.open_time));
        }
        if !self.is_timed && meta.hops.is_some() {
            (self.is_timed, self.oldest) = (true, Some(*meta));
        }
    }

    /// What was the oldest frame ready: it is written now.
    pub(super) fn take_oldest(&mut self) -> Option<FrameMeta> {
        if !std::mem::take(&mut self.is_timed) {
            return None;
        }
        self.oldest.take()
    }

    /// The subscription with `key`, which an interest names.
    pub(super) fn subscription(&mut self, key: u32) -> &mut Subscription {
        let at = self.subscriptions.binary_search_by_key(&key, |subscription| subscription.key);
        &mut self.subscriptions[at.expect("an interest's subscription lives")]
    }

    /// Whether the client's goodbye, if it has said one, may be answered now.
    pub(super) fn is_goodbye_due(&self, now: Now) -> bool {
        self.goodbye.is_some_and(|goodbye| {
            let all = self.subscriptions.iter().all(|one| one.satisfies(goodbye.due));
            all || goodbye.until <= now.mono
        })
    }

    /// When something has to happen without anything arriving.
    pub(super) fn deadline(&self, config: &FanoutConfig) -> MonoNs {
        match self.phase {
            Phase::Handshaking => self.opened.after(config.access.handshake_timeout),
            Phase::Flushing { until } | Phase::Draining { until } => until,
            Phase::Live => {
                let goodbye = self.goodbye.map(|goodbye| goodbye.until);
                let (ping, idle) = (self.ping_deadline(config), self.idle_deadline(config));
                let all = [self.subscribe_by, goodbye, ping, idle, self.paused_until];
                all.into_iter().flatten().min().unwrap_or(MonoNs(u64::MAX))
            }
        }
    }

    /// When to ping, or when to give up waiting for the answer. A client that has said goodbye
    /// has another deadline.
    pub(super) fn ping_deadline(&self, config: &FanoutConfig) -> Option<MonoNs> {
        if self.goodbye.is_some() || config.ping_interval.is_zero() {
            return None;
        }
        Some(match self.pinged {
            None => self.last_heard.after(config.ping_interval),
            Some(pinged) => pinged.after(config.ping_timeout),
        })
    }

    /// When it has been here for nothing for too long: it has had a subscription or a try at one,
    /// has none, and says nothing.
    pub(super) fn idle_deadline(&self, config: &FanoutConfig) -> Option<MonoNs> {
        let timeout = config.access.idle_timeout;
        let is_idle = self.subscriptions.is_empty() && self.subscribe_by.is_none();
        (is_idle && self.goodbye.is_none() && !timeout.is_zero())
            .then(|| self.spoke_at.after(timeout))
    }

    /// The client gave a sign of life.
    pub(super) fn heard(&mut self, now: Now) {
        self.last_heard = now.mono;
        self.pinged = None;
    }
}

impl Client {
    /// Whether updates are not for it: it is not live, or about to be cut off.
    pub(super) fn is_deaf(&self) -> bool {
        self.phase != Phase::Live || self.is_slow
    }

    /// Notes that the driver is to be told of outgoing bytes. Returns whether it has to be now.
    pub(super) fn make_offer(&mut self) -> bool {
        if self.offer != Offer::Nothing || self.ready_bytes() == 0 {
            return false;
        }
        self.offer = Offer::Queued;
        true
    }

    /// The driver is being told. `false`: there is nothing to write any more.
    pub(super) fn take_offer(&mut self) -> bool {
        let is_ready = self.ready_bytes() > 0;
        self.offer = if is_ready { Offer::Taken } else { Offer::Nothing };
        is_ready
    }

    /// All that was outgoing is written.
    pub(super) fn written(&mut self, run: &mut Run) {
        self.offer = Offer::Nothing;
        run.reclaim(&mut self.connection);
    }
}

impl Client {
    /// Its connection, to be read from or written to: what it shares with others goes first, in a
    /// copy.
    pub(super) fn connection(&mut self, run: &mut Run) -> &mut Connection {
        self.own_share(run);
        &mut self.connection
    }

    /// Its share of the run becomes its own.
    pub(super) fn own_share(&mut self, run: &mut Run) {
        if !self.share.is_empty() {
            run.copy(&mut self.share, &mut self.connection);
        }
    }

    /// Adds whole frames of its own to its outgoing bytes.
    pub(super) fn append_frames(&mut self, run: &mut Run, frames: &[u8]) {
        self.own_share(run);
        run.append(&mut self.connection, frames);
    }

    /// Adds a frame of the run to its outgoing bytes: shared, unless it is to be encrypted or the
    /// client has too many pieces.
    pub(super) fn append_part(&mut self, run: &mut Run, part: Part) {
        if !self.connection.is_plain() {
            return run.copy_part(part, &mut self.connection);
        }
        if self.share.is_empty() {
            self.share.begin(self.connection.outgoing().len(), part);
            run.add_sharer(self.id);
        } else if !self.share.add(part) {
            self.own_share(run);
            run.copy_part(part, &mut self.connection);
        }
    }

    /// Whether it has a share that its socket was not offered yet. Then it is live and keeps up, for
    /// whatever ends that makes the share its own; and it has not said that it is done.
    pub(super) fn is_flowing(&self) -> bool {
        !self.share.is_empty() && self.offer == Offer::Queued && self.goodbye.is_none()
    }

    /// One more frame for a client [`Self::is_flowing`] says it of, by an interest that it changes
    /// nothing for. Returns the bytes ready then; `None` if it has to take another way.
    pub(super) fn flow(&mut self, part: Part, meta: &FrameMeta) -> Option<usize> {
        if self.share.ready_bytes() >= SHARE_BYTES_MAX || !self.share.add(part) {
            return None;
        }
        self.note(meta);
        Some(self.share.ready_bytes())
    }

    /// Whether as much is ready for it as may be.
    pub(super) fn is_full(&self) -> bool {
        let bytes_max = if self.share.is_empty() { READY_BYTES_MAX } else { SHARE_BYTES_MAX };
        self.ready_bytes() >= bytes_max
    }

    /// Bytes ready for its socket.
    pub(super) fn ready_bytes(&self) -> usize {
        self.connection.outgoing().len() + self.share.len()
    }

    /// The bytes ready for its socket.
    pub(super) fn outgoing<'a>(&'a self, run: &'a Run) -> Outgoing<'a> {
        Outgoing::new(self.connection.outgoing(), &self.share, run)
    }

    /// The first `count` bytes are written. What is left of a share is copied: it may begin within
    /// a frame, and nothing may come between.
    pub(super) fn consume_outgoing(&mut self, run: &mut Run, count: usize) {
        let of_own = count.min(self.connection.outgoing().len());
        self.connection.consume_outgoing(of_own);
        self.share.consume(count - of_own);
        self.own_share(run);
    }
}
