//! One client: its connection, its subscriptions, and its phase between accept and close. Owns its
//! timers and what it is owed; knows neither other clients nor what is published.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::fanout::clients::access::TokenDigest;
use crate::fanout::clients::rate_limit::{Allowance, Handling, NewNames};
use crate::fanout::delivery::outbox::Outbox;
use crate::fanout::delivery::turn_buffer::{Outgoing, Part, SharedSlices, TurnBuffer};
use crate::fanout::frame::{Class, FrameMeta};
use crate::fanout::protocol::candle_source::{CandleSource, SeriesGroup};
use crate::fanout::series::Interest;
use crate::fanout::{ClientId, FanoutConfig};
use crate::limits::{READY_BYTES_MAX, SHARE_BYTES_MAX};
use crate::market::{InstrumentId, Interval, Market};
use crate::metrics::RefusedBy;
use crate::wire::Connection;

/// The phase of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientPhase {
    /// The upgrade request has not completely arrived. With `rejected_by`, it will be rejected for
    /// this reason.
    Handshaking { rejected_by: Option<RefusedBy> },
    /// Messages are exchanged, perhaps after the client's own Close or FIN. If `is_slow`, the
    /// client is owed too much: updates skip it, and it is closed in its turn.
    Live { is_slow: bool },
    /// Our last bytes are ready. If the socket does not take them until `until`, it is closed.
    Flushing { until: MonoNs },
    /// Our FIN is sent. What still arrives until `until` is dropped.
    Draining { until: MonoNs },
}

/// What a client still receives after its own Close or FIN.
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
    /// What the client still receives.
    pub(crate) due: Due,
    /// When the client is closed at the latest.
    pub(crate) until: MonoNs,
}

/// Whether the driver knows of the bytes to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// There are no bytes to write.
    Nothing,
    /// A `Transmit` is among the outputs.
    Queued,
    /// The driver has taken the `Transmit`. The socket did not take the bytes that are left.
    Taken,
}

/// Subscribed instruments of one market.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Ascending within a client.
    pub(crate) key: u32,
    /// The request's `id`, as JSON.
    pub(crate) id: Option<String>,
    /// The market of its instruments.
    pub(crate) market: Market,
    /// The contract type as the client wrote it, if that differs from our word.
    pub(crate) word: Option<Arc<str>>,
    /// The length of the candles.
    pub(crate) interval: Interval,
    /// What makes the candles.
    pub(crate) origin: CandleSource,
    /// The instruments still subscribed, in the order of the request.
    pub(crate) instruments: Vec<InstrumentId>,
    /// Quotes that it ends after; 0: it does not end.
    pub(crate) limit: u64,
    /// Quotes still to be sent, if there is a limit.
    pub(crate) remaining: u64,
    /// Whether open candles are left out.
    pub(crate) closed_only: bool,
    /// Whether the client receives the ends of intervals.
    pub(crate) mark: bool,
    /// Whether its quotes have only the fields of the Python connector.
    pub(crate) basic: bool,
    /// Number of instruments without a quote so far.
    pub(crate) unquoted: usize,
}

impl Subscription {
    /// Returns whether its limit is reached.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.limit > 0 && self.remaining == 0
    }

    /// The group of series that close together with its own.
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

/// One client. The fields that every frame touches stand first, together: with a hundred clients
/// the first-level cache holds just these.
#[repr(C)]
pub(crate) struct Client {
    pub(crate) offer: Offer,
    pub(crate) pending_close: Option<PendingClose>,
    /// The newest closed candle made ready for it.
    pub(crate) newest_closed: Option<UnixMs>,
    /// Whether `oldest` is set. It stands here so that most frames do not touch `oldest`.
    is_timed: bool,
    /// Its share of the turn's frames, sent after the connection's outgoing bytes. It begins with a
    /// whole frame.
    share: SharedSlices,
    pub(crate) id: ClientId,
    pub(crate) peer: SocketAddr,
    connection: Connection,
    pub(crate) phase: ClientPhase,
    /// Ascending by key.
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) next_key: u32,
    pub(crate) outbox: Outbox,
    /// Subscriptions and series with history that is ready to be sent.
    pub(crate) catch_ups: VecDeque<(u32, InstrumentId)>,
    /// Whether its FIN has arrived, in any phase.
    pub(crate) is_half_closed: bool,
    /// Whether it counts among the clients, not among the rejected connections. In every phase.
    pub(crate) is_admitted: bool,
    /// The token that it has shown; also `None` if no token is needed.
    pub(crate) token: Option<TokenDigest>,
    /// Whether a subscription has reached its limit and no unsubscribe came after it. The
    /// connection then ends with the last subscription.
    pub(crate) is_served: bool,
    /// Whether the client has received the notice that the server drains. Its messages are dropped
    /// from then on, and it is closed as soon as nothing is owed.
    pub(crate) is_draining: bool,
    pub(crate) handling: Handling,
    /// Whether the driver reads its socket: the last [`crate::fanout::Output::Read`].
    pub(crate) is_read: bool,
    pub(crate) allowance: Allowance,
    pub(crate) new_names: NewNames,
    /// When its last message arrived.
    pub(crate) last_message: MonoNs,
    /// The deadline for its first subscription; `None` once it has one.
    pub(crate) subscribe_by: Option<MonoNs>,
    /// The earliest entry of the client among the timers.
    pub(crate) armed: MonoNs,
    pub(crate) last_bytes: MonoNs,
    /// When the unanswered ping was sent.
    pub(crate) pinged: Option<MonoNs>,
    opened: MonoNs,
    /// The oldest frame that is ready and has a measured way. It is written once per batch, so it
    /// stands last.
    oldest: Option<FrameMeta>,
}

impl Client {
    /// A client with a TCP connection that was accepted now.
    pub(crate) fn new(id: ClientId, peer: SocketAddr, connection: Connection, now: Now) -> Self {
        Self {
            id,
            peer,
            connection,
            share: SharedSlices::default(),
            phase: ClientPhase::Handshaking { rejected_by: None },
            subscriptions: Vec::new(),
            next_key: 0,
            outbox: Outbox::default(),
            catch_ups: VecDeque::new(),
            offer: Offer::Nothing,
            is_half_closed: false,
            pending_close: None,
            is_admitted: true,
            token: None,
            is_served: false,
            is_draining: false,
            handling: Handling::OnArrival,
            is_read: true,
            allowance: Allowance::new(now),
            new_names: NewNames::new(now),
            last_message: now.mono,
            newest_closed: None,
            is_timed: false,
            subscribe_by: None,
            armed: MonoNs(u64::MAX),
            last_bytes: now.mono,
            pinged: None,
            opened: now.mono,
            oldest: None,
        }
    }

    /// Returns whether frames must wait in the outbox: the socket did not take the offered bytes,
    /// enough bytes are ready, or older frames are owed.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_blocked() || self.is_full() || !self.outbox.is_empty()
    }

    /// Returns whether the socket did not take all the offered bytes.
    pub(crate) fn is_blocked(&self) -> bool {
        self.offer == Offer::Taken && self.ready_bytes() > 0
    }

    /// Records a frame that was made ready, and counts it for each of the client's `interests` in
    /// its instrument. Returns whether a subscription may have ended, or the close may be due.
    pub(crate) fn count(&mut self, interests: &mut [Interest], meta: &FrameMeta) -> bool {
        self.record(meta);
        interests.iter_mut().for_each(|interest| interest.record(meta));
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

    fn record(&mut self, meta: &FrameMeta) {
        if meta.class == Class::Closed {
            self.newest_closed = self.newest_closed.max(Some(meta.open_time));
        }
        if !self.is_timed && meta.hops.is_some() {
            (self.is_timed, self.oldest) = (true, Some(*meta));
        }
    }

    /// Takes the oldest frame that was ready: it is written now.
    pub(crate) fn take_oldest(&mut self) -> Option<FrameMeta> {
        if !std::mem::take(&mut self.is_timed) {
            return None;
        }
        self.oldest.take()
    }

    /// The subscription that an interest names by `key`.
    pub(crate) fn subscription(&mut self, key: u32) -> &mut Subscription {
        let at = self.subscriptions.binary_search_by_key(&key, |subscription| subscription.key);
        &mut self.subscriptions[at.expect("an interest's subscription lives")]
    }

    /// Returns whether the client's Close or FIN, if there was one, may be answered now.
    pub(crate) fn is_close_due(&self, now: Now) -> bool {
        self.pending_close.is_some_and(|pending_close| {
            let all = self.subscriptions.iter().all(|one| one.satisfies(pending_close.due));
            all || pending_close.until <= now.mono
        })
    }

    /// When something has to happen although nothing arrives.
    pub(crate) fn deadline(&self, config: &FanoutConfig) -> MonoNs {
        match self.phase {
            ClientPhase::Handshaking { .. } => self.opened.after(config.access.handshake_timeout),
            ClientPhase::Flushing { until } | ClientPhase::Draining { until } => until,
            ClientPhase::Live { .. } => {
                let pending_close = self.pending_close.map(|pending_close| pending_close.until);
                let (ping, idle) = (self.ping_deadline(config), self.idle_deadline(config));
                let resume = match self.handling {
                    Handling::Paused { until } => Some(until),
                    Handling::OnArrival | Handling::NextTurn => None,
                };
                let all = [self.subscribe_by, pending_close, ping, idle, resume];
                all.into_iter().flatten().min().unwrap_or(MonoNs(u64::MAX))
            }
        }
    }

    /// When to ping, or when to stop waiting for the answer. A client that has sent Close or FIN
    /// has another deadline.
    pub(crate) fn ping_deadline(&self, config: &FanoutConfig) -> Option<MonoNs> {
        if self.pending_close.is_some() || config.ping_interval.is_zero() {
            return None;
        }
        Some(match self.pinged {
            None => self.last_bytes.after(config.ping_interval),
            Some(pinged) => pinged.after(config.ping_timeout),
        })
    }

    /// When the client is closed for being idle: it has no subscription any more, and sends
    /// nothing.
    pub(crate) fn idle_deadline(&self, config: &FanoutConfig) -> Option<MonoNs> {
        let timeout = config.access.idle_timeout;
        let is_idle = self.subscriptions.is_empty() && self.subscribe_by.is_none();
        (is_idle && self.pending_close.is_none() && !timeout.is_zero())
            .then(|| self.last_message.after(timeout))
    }

    /// Notes that bytes have arrived from the client.
    pub(crate) fn note_bytes(&mut self, now: Now) {
        self.last_bytes = now.mono;
        self.pinged = None;
    }
}

impl Client {
    /// Returns whether messages are exchanged.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, ClientPhase::Live { .. })
    }

    /// Returns whether updates skip the client: it is not live, or it is owed too much.
    pub(crate) fn is_closing(&self) -> bool {
        !matches!(self.phase, ClientPhase::Live { is_slow: false })
    }

    /// Notes that there are outgoing bytes. Returns whether the driver must be asked to write them
    /// now.
    pub(crate) fn make_offer(&mut self) -> bool {
        if self.offer != Offer::Nothing || self.ready_bytes() == 0 {
            return false;
        }
        self.offer = Offer::Queued;
        true
    }

    /// The driver takes the `Transmit`. Returns whether there are still bytes to write.
    pub(crate) fn take_offer(&mut self) -> bool {
        let is_ready = self.ready_bytes() > 0;
        self.offer = if is_ready { Offer::Taken } else { Offer::Nothing };
        is_ready
    }

    /// Notes that all outgoing bytes are written.
    pub(crate) fn written(&mut self, turn: &mut TurnBuffer) {
        self.offer = Offer::Nothing;
        turn.reclaim(&mut self.connection);
    }
}

impl Client {
    /// The connection, for reading or writing. Frames that the client shares with others are copied
    /// into it first.
    pub(crate) fn connection(&mut self, turn: &mut TurnBuffer) -> &mut Connection {
        self.copy_share(turn);
        &mut self.connection
    }

    /// Copies the client's share of the turn's frames into its connection.
    pub(crate) fn copy_share(&mut self, turn: &mut TurnBuffer) {
        if !self.share.is_empty() {
            turn.copy(&mut self.share, &mut self.connection);
        }
    }

    /// Appends whole frames for this client alone.
    pub(crate) fn append_frames(&mut self, turn: &mut TurnBuffer, frames: &[u8]) {
        self.copy_share(turn);
        turn.append(&mut self.connection, frames);
    }

    /// Appends a frame of the turn: shared, unless the connection encrypts or the client has too
    /// many pieces.
    pub(crate) fn append_part(&mut self, turn: &mut TurnBuffer, part: Part) {
        if !self.connection.is_plain() {
            return turn.copy_part(part, &mut self.connection);
        }
        if self.share.is_empty() {
            self.share.begin(self.connection.outgoing().len(), part);
            turn.add_sharer(self.id);
        } else if !self.share.add(part) {
            self.copy_share(turn);
            turn.copy_part(part, &mut self.connection);
        }
    }

    /// Returns whether the client has a share that its socket was not offered yet. Then the client
    /// is live and keeps up, since every way out of that state copies the share; and it has not
    /// sent Close or FIN.
    pub(crate) fn is_flowing(&self) -> bool {
        !self.share.is_empty() && self.offer == Offer::Queued && self.pending_close.is_none()
    }

    /// Appends a frame for a client that [`Self::is_flowing`], for an interest that the frame does
    /// not change. Returns the bytes that are ready then; `None`: the caller must take the general
    /// way.
    pub(crate) fn flow(&mut self, part: Part, meta: &FrameMeta) -> Option<usize> {
        if self.share.ready_bytes() >= SHARE_BYTES_MAX || !self.share.add(part) {
            return None;
        }
        self.record(meta);
        Some(self.share.ready_bytes())
    }

    /// Returns whether as many bytes are ready for it as may be.
    pub(crate) fn is_full(&self) -> bool {
        let bytes_max = if self.share.is_empty() { READY_BYTES_MAX } else { SHARE_BYTES_MAX };
        self.ready_bytes() >= bytes_max
    }

    /// Number of bytes ready for its socket.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.connection.outgoing().len() + self.share.len()
    }

    /// The bytes ready for its socket.
    pub(crate) fn outgoing<'a>(&'a self, turn: &'a TurnBuffer) -> Outgoing<'a> {
        Outgoing::new(self.connection.outgoing(), &self.share, turn)
    }

    /// Notes that the first `count` bytes are written. The rest of a share is copied: it may begin
    /// within a frame, and nothing may be written before it.
    pub(crate) fn consume_outgoing(&mut self, turn: &mut TurnBuffer, count: usize) {
        let of_own = count.min(self.connection.outgoing().len());
        self.connection.consume_outgoing(of_own);
        self.share.consume(count - of_own);
        self.copy_share(turn);
    }
}
