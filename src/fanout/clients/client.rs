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

use crate::fanout::clients::access::TokenDigest;
use crate::fanout::clients::rate_limit::{Allowance, NewNames};
use crate::fanout::delivery::outbox::Outbox;
use crate::fanout::delivery::turn_buffer::{Outgoing, Part, SharedSlices, TurnBuffer};
use crate::fanout::frame::{Class, FrameMeta};
use crate::fanout::protocol::candle_source::CandleSource;
use crate::fanout::protocol::candle_source::SeriesGroup;
use crate::fanout::series::Interest;
use crate::fanout::{ClientId, FanoutConfig};

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
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
pub(crate) enum Due {
    /// Nothing more.
    Nothing,
    /// The first quote of each series (Close 1000).
    FirstQuotes,
    /// Every limit, and without a limit the first quote of each series (empty Close, FIN).
    Everything,
}

/// The client's Close or FIN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingClose {
    /// What it still gets.
    pub(crate) due: Due,
    /// When it has waited long enough.
    pub(crate) until: MonoNs,
}

/// Whether the driver knows that there are bytes to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// There are none.
    Nothing,
    /// A `Transmit` is among the outputs.
    Queued,
    /// The driver took the `Transmit`: what is still there, the socket did not take.
    Taken,
}

/// Some instruments of one market.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Ascending within a client.
    pub(crate) key: u32,
    /// The request's `id`, as JSON.
    pub(crate) id: Option<String>,
    /// Where.
    pub(crate) market: Market,
    /// The contract type in the client's own words, where these are others.
    pub(crate) word: Option<Arc<str>>,
    /// The length of the candles.
    pub(crate) interval: Interval,
    /// Who makes them.
    pub(crate) origin: CandleSource,
    /// What is left of the symbols asked for, in the order given.
    pub(crate) instruments: Vec<InstrumentId>,
    /// Quotes it was given; 0: without end.
    pub(crate) limit: u64,
    /// Quotes still to come, if there is a limit.
    pub(crate) remaining: u64,
    /// Open candles are left out.
    pub(crate) closed_only: bool,
    /// The ends of intervals are told.
    pub(crate) mark: bool,
    /// Quotes have the fields of the Python connector only.
    pub(crate) basic: bool,
    /// Instruments without a quote so far.
    pub(crate) unquoted: usize,
}

impl Subscription {
    /// Whether its limit is reached.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.limit > 0 && self.remaining == 0
    }

    /// The series that end together with its own.
    pub(crate) fn together(&self) -> SeriesGroup {
        SeriesGroup { market: self.market, interval: self.interval, origin: self.origin }
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
pub(crate) struct Client {
    pub(crate) offer: Offer,
    pub(crate) pending_close: Option<PendingClose>,
    /// The newest closed candle made ready for it.
    pub(crate) newest_closed: Option<UnixMs>,
    /// Whether there is an `oldest`.
    is_timed: bool,
    /// What it gets of the run, after the connection's outgoing bytes. It begins with a whole frame.
    share: SharedSlices,
    pub(crate) id: ClientId,
    pub(crate) peer: SocketAddr,
    connection: Connection,
    pub(crate) phase: Phase,
    /// Ascending by key.
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) next_key: u32,
    pub(crate) outbox: Outbox,
    /// Subscriptions and series whose past is ready to be sent.
    pub(crate) catch_ups: VecDeque<(u32, InstrumentId)>,
    /// It is owed too much, and cut off as soon as it is its turn.
    pub(crate) is_slow: bool,
    /// Its FIN was read.
    pub(crate) is_half_closed: bool,
    /// Counted among the clients, not among those told that there is no room.
    pub(crate) is_admitted: bool,
    /// It is to be told that it is not admitted, once it has sent its request.
    pub(crate) turned_away: Option<RefusedBy>,
    /// The token it has shown; `None` too where none is asked for.
    pub(crate) token: Option<TokenDigest>,
    /// A limit was reached, which ends the connection with the last subscription.
    pub(crate) is_served: bool,
    /// It was told to go, as the server does.
    pub(crate) is_leaving: bool,
    /// Messages of it wait for the next turn.
    pub(crate) is_unread: bool,
    /// Its socket is being read.
    pub(crate) is_read: bool,
    /// Messages of it wait until then, for it has said too many.
    pub(crate) paused_until: Option<MonoNs>,
    pub(crate) allowance: Allowance,
    pub(crate) new_names: NewNames,
    /// When it last said something.
    pub(crate) spoke_at: MonoNs,
    /// The deadline for its first subscription; `None` once it has one.
    pub(crate) subscribe_by: Option<MonoNs>,
    /// The earliest entry among the timers.
    pub(crate) armed: MonoNs,
    pub(crate) last_heard: MonoNs,
    /// When a ping went out that nothing has answered.
    pub(crate) pinged: Option<MonoNs>,
    opened: MonoNs,
    /// The oldest frame that is ready and whose way is measured. Written once for a batch, so it
    /// stands behind.
    oldest: Option<FrameMeta>,
}

impl Client {
    /// A client whose TCP connection was accepted now.
    pub(crate) fn new(id: ClientId, peer: SocketAddr, connection: Connection, now: Now) -> Self {
        Self {
            id,
            peer,
            connection,
            share: SharedSlices::default(),
            phase: Phase::Handshaking,
            subscriptions: Vec::new(),
            next_key: 0,
            outbox: Outbox::default(),
            catch_ups: VecDeque::new(),
            offer: Offer::Nothing,
            is_slow: false,
            is_half_closed: false,
            pending_close: None,
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
    pub(crate) fn is_behind(&self) -> bool {
        self.is_blocked() || self.is_full() || !self.outbox.is_empty()
    }

    /// Whether the socket did not take all that it was offered.
    pub(crate) fn is_blocked(&self) -> bool {
        self.offer == Offer::Taken && self.ready_bytes() > 0
    }

    /// Takes note of a frame that was made ready: counts it for each of the client's `interests`
    /// in its instrument. Returns whether a subscription may have ended or a goodbye be due.
    pub(crate) fn count(&mut self, interests: &mut [Interest], meta: &FrameMeta) -> bool {
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
        is_exhausted || self.pending_close.is_some()
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
    pub(crate) fn take_oldest(&mut self) -> Option<FrameMeta> {
        if !std::mem::take(&mut self.is_timed) {
            return None;
        }
        self.oldest.take()
    }

    /// The subscription with `key`, which an interest names.
    pub(crate) fn subscription(&mut self, key: u32) -> &mut Subscription {
        let at = self.subscriptions.binary_search_by_key(&key, |subscription| subscription.key);
        &mut self.subscriptions[at.expect("an interest's subscription lives")]
    }

    /// Whether the client's goodbye, if it has said one, may be answered now.
    pub(crate) fn is_close_due(&self, now: Now) -> bool {
        self.pending_close.is_some_and(|pending_close| {
            let all = self.subscriptions.iter().all(|one| one.satisfies(pending_close.due));
            all || pending_close.until <= now.mono
        })
    }

    /// When something has to happen without anything arriving.
    pub(crate) fn deadline(&self, config: &FanoutConfig) -> MonoNs {
        match self.phase {
            Phase::Handshaking => self.opened.after(config.access.handshake_timeout),
            Phase::Flushing { until } | Phase::Draining { until } => until,
            Phase::Live => {
                let pending_close = self.pending_close.map(|pending_close| pending_close.until);
                let (ping, idle) = (self.ping_deadline(config), self.idle_deadline(config));
                let all = [self.subscribe_by, pending_close, ping, idle, self.paused_until];
                all.into_iter().flatten().min().unwrap_or(MonoNs(u64::MAX))
            }
        }
    }

    /// When to ping, or when to give up waiting for the answer. A client that has said goodbye
    /// has another deadline.
    pub(crate) fn ping_deadline(&self, config: &FanoutConfig) -> Option<MonoNs> {
        if self.pending_close.is_some() || config.ping_interval.is_zero() {
            return None;
        }
        Some(match self.pinged {
            None => self.last_heard.after(config.ping_interval),
            Some(pinged) => pinged.after(config.ping_timeout),
        })
    }

    /// When it has been here for nothing for too long: it has had a subscription or a try at one,
    /// has none, and says nothing.
    pub(crate) fn idle_deadline(&self, config: &FanoutConfig) -> Option<MonoNs> {
        let timeout = config.access.idle_timeout;
        let is_idle = self.subscriptions.is_empty() && self.subscribe_by.is_none();
        (is_idle && self.pending_close.is_none() && !timeout.is_zero())
            .then(|| self.spoke_at.after(timeout))
    }

    /// The client gave a sign of life.
    pub(crate) fn heard(&mut self, now: Now) {
        self.last_heard = now.mono;
        self.pinged = None;
    }
}

impl Client {
    /// Whether updates are not for it: it is not live, or about to be cut off.
    pub(crate) fn is_closing(&self) -> bool {
        self.phase != Phase::Live || self.is_slow
    }

    /// Notes that the driver is to be told of outgoing bytes. Returns whether it has to be now.
    pub(crate) fn make_offer(&mut self) -> bool {
        if self.offer != Offer::Nothing || self.ready_bytes() == 0 {
            return false;
        }
        self.offer = Offer::Queued;
        true
    }

    /// The driver is being told. `false`: there is nothing to write any more.
    pub(crate) fn take_offer(&mut self) -> bool {
        let is_ready = self.ready_bytes() > 0;
        self.offer = if is_ready { Offer::Taken } else { Offer::Nothing };
        is_ready
    }

    /// All that was outgoing is written.
    pub(crate) fn written(&mut self, run: &mut TurnBuffer) {
        self.offer = Offer::Nothing;
        run.reclaim(&mut self.connection);
    }
}

impl Client {
    /// Its connection, to be read from or written to: what it shares with others goes first, in a
    /// copy.
    pub(crate) fn connection(&mut self, run: &mut TurnBuffer) -> &mut Connection {
        self.own_share(run);
        &mut self.connection
    }

    /// Its share of the run becomes its own.
    pub(crate) fn own_share(&mut self, run: &mut TurnBuffer) {
        if !self.share.is_empty() {
            run.copy(&mut self.share, &mut self.connection);
        }
    }

    /// Adds whole frames of its own to its outgoing bytes.
    pub(crate) fn append_frames(&mut self, run: &mut TurnBuffer, frames: &[u8]) {
        self.own_share(run);
        run.append(&mut self.connection, frames);
    }

    /// Adds a frame of the run to its outgoing bytes: shared, unless it is to be encrypted or the
    /// client has too many pieces.
    pub(crate) fn append_part(&mut self, run: &mut TurnBuffer, part: Part) {
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
    pub(crate) fn is_flowing(&self) -> bool {
        !self.share.is_empty() && self.offer == Offer::Queued && self.pending_close.is_none()
    }

    /// One more frame for a client [`Self::is_flowing`] says it of, by an interest that it changes
    /// nothing for. Returns the bytes ready then; `None` if it has to take another way.
    pub(crate) fn flow(&mut self, part: Part, meta: &FrameMeta) -> Option<usize> {
        if self.share.ready_bytes() >= SHARE_BYTES_MAX || !self.share.add(part) {
            return None;
        }
        self.note(meta);
        Some(self.share.ready_bytes())
    }

    /// Whether as much is ready for it as may be.
    pub(crate) fn is_full(&self) -> bool {
        let bytes_max = if self.share.is_empty() { READY_BYTES_MAX } else { SHARE_BYTES_MAX };
        self.ready_bytes() >= bytes_max
    }

    /// Bytes ready for its socket.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.connection.outgoing().len() + self.share.len()
    }

    /// The bytes ready for its socket.
    pub(crate) fn outgoing<'a>(&'a self, run: &'a TurnBuffer) -> Outgoing<'a> {
        Outgoing::new(self.connection.outgoing(), &self.share, run)
    }

    /// The first `count` bytes are written. What is left of a share is copied: it may begin within
    /// a frame, and nothing may come between.
    pub(crate) fn consume_outgoing(&mut self, run: &mut TurnBuffer, count: usize) {
        let of_own = count.min(self.connection.outgoing().len());
        self.connection.consume_outgoing(of_own);
        self.share.consume(count - of_own);
        self.own_share(run);
    }
}
