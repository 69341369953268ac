//! Engine 1: exchange bytes in, candle updates out. Owns the sessions of one shard, their
//! subscriptions and the series. Knows no socket, thread, clock or randomness.
//!
//! The driver keeps the *drain contract*: it calls one of the `handle_…` functions with the input
//! and the time, drains [`Feed::poll_output`] to `None`, and only then parks until
//! [`Feed::next_deadline`]. `next_deadline` asserts that no output is left.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::clock::{MonoNs, Now, RoughLapse};
use crate::market::{InstrumentId, Market, SymbolList};
use crate::messages::{About, Command, EventName, FeedEvent, Notice, RestRequest, RestResponse};
use crate::metrics::{ConnectionErrorKind, FeedMetrics, ShardMetrics};
use crate::rng::Rng;
use crate::text;
use crate::wire::Endpoint;
use crate::wire::json::JsonReader;

mod candles;
mod exchange_clock;
mod limits;
mod publish;
mod repair;
mod session;
mod stream;
mod streams;

use exchange_clock::ExchangeClock;
use limits::budget::Claim;
pub use limits::pauses::{Begun, Denied, Lasting, Pauses};
use limits::rate_limits::Gates;
pub use limits::rate_limits::{LimitedAction, Usage};
use publish::PublishQueue;
use repair::rest_queue::RestQueue;
use session::lifecycle::Socket;
use session::listings::Listings;
use session::{Session, SessionPhase};
use streams::Streams;

/// Endpoints, limits and times of a feed. The durations are those of the `CONNECTOR_…` variables.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// Base of each market's WebSocket URL, by [`Market::index`]; the dialect adds the path.
    pub ws_bases: Vec<Endpoint>,
    /// Base of each market's REST URL, by [`Market::index`].
    pub rest_bases: Vec<String>,
    /// TLS settings for `wss` endpoints.
    pub tls: Arc<ClientConfig>,
    /// Number of shards that share the exchanges' limits per address; at least 1.
    pub shards: usize,
    /// Pause between two pings.
    pub ping_interval: Duration,
    /// A session on which nothing arrives for this long after a ping is lost.
    pub ping_timeout: Duration,
    /// Delay before the first reconnect of a lost session; it doubles with each failure.
    pub reconnect_delay: Duration,
    /// A session that has delivered is sent a ping after this much silence.
    pub inactivity_timeout: Duration,
    /// A stream that has never delivered is checked by REST after this time.
    pub stream_idle_timeout: Duration,
    /// Most instruments on one session, at least 1; the venue's own limit holds too.
    pub max_symbols_per_session: usize,
    /// Failures in a row that open a market's breaker.
    pub breaker_threshold: u32,
    /// How long a breaker stays open the first time.
    pub breaker_recovery: Duration,
    /// Most sessions that connect at once while the breaker is half-open.
    pub breaker_half_open_calls: u32,
    /// How long closed candles wait for a missing one before them.
    pub gap_hold: Duration,
    /// Pauses that exchanges have ordered, shared by all shards of this address.
    pub pauses: Arc<Pauses>,
    /// What this address used of the exchanges' limits shortly before this feed began, oldest
    /// first.
    pub usage: Vec<Usage>,
    /// Most closed candles that wait for the ring before the sockets are no longer read; at least
    /// 1.
    pub closed_queue_max: usize,
}

/// Names one connection of a feed. An id is never used again, so that an event of a dead connection
/// is not taken for an event of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    index: u32,
    generation: u32,
}

impl SessionId {
    /// The session's place: small, dense, and used again by later sessions.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// A task for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a TCP connection; report with [`Feed::handle_connected`] or
    /// [`Feed::handle_connect_failed`].
    Connect {
        /// The new session.
        session: SessionId,
        /// Address of the exchange; the feed itself does TLS.
        endpoint: Endpoint,
    },
    /// Write [`Feed::outgoing`] of this session to its socket; it is not empty.
    Transmit {
        /// The session.
        session: SessionId,
    },
    /// Close the socket, or stop connecting. The session's id is dead.
    Disconnect {
        /// The session.
        session: SessionId,
    },
    /// Send a REST request; report with [`Feed::handle_rest`].
    Rest(RestRequest),
    /// Fetch the market's list of symbols; report with [`Feed::handle_listed`].
    List {
        /// The market.
        market: Market,
        /// The parts of the list that are wanted in addition to the main pages.
        parts: Vec<String>,
    },
    /// An event for the fan-out core.
    Event(FeedEvent),
    /// A notice for the log.
    Notice(Notice),
}

/// The feed of one shard.
pub struct Feed {
    config: FeedConfig,
    metrics: Arc<ShardMetrics>,
    rng: Rng,
    streams: Streams,
    sessions: Vec<Session>,
    gates: Gates,
    listings: Listings,
    rest_queue: RestQueue,
    /// The exchanges' clocks, by [`Market::index`].
    clocks: Vec<ExchangeClock>,
    /// Streams with missing windows: REST is asked for them in this turn.
    urgent: Vec<InstrumentId>,
    /// Streams that hold closed candles back.
    holds: Vec<InstrumentId>,
    /// When the next part of the streams is checked.
    next_watch: Option<MonoNs>,
    /// By [`Market::index`]: whether the newest log line reported that all its candles are late.
    late_markets: [bool; Market::COUNT],
    /// Number of the part of the streams that is checked next.
    watched_part: usize,
    queue: PublishQueue,
    json: JsonReader,
    /// How long the bytes of this turn lay in the kernel.
    kernel: RoughLapse,
    outputs: VecDeque<Output>,
    /// Never later than the next thing that is due. Computed again when it has passed.
    deadline: Option<MonoNs>,
    is_stopping: bool,
}

impl Feed {
    /// A feed without instruments. `seed` decides every random choice.
    ///
    /// # Panics
    /// If `config` lacks the endpoint of a market.
    pub fn new(config: FeedConfig, metrics: Arc<ShardMetrics>, seed: u64) -> Self {
        assert!(config.ws_bases.len() == Market::COUNT, "one WebSocket base per market");
        assert!(config.rest_bases.len() == Market::COUNT, "one REST base per market");
        let gates = Gates::new(&config);
        Self {
            queue: PublishQueue::new(config.closed_queue_max),
            config,
            metrics,
            rng: Rng::new(seed),
            streams: Streams::new(),
            sessions: Vec::new(),
            gates,
            listings: Listings::default(),
            rest_queue: RestQueue::default(),
            clocks: Market::all().map(|_| ExchangeClock::default()).collect(),
            urgent: Vec::new(),
            holds: Vec::new(),
            next_watch: None,
            late_markets: [false; Market::COUNT],
            watched_part: 0,
            json: JsonReader::default(),
            kernel: RoughLapse::UNKNOWN,
            outputs: VecDeque::new(),
            deadline: None,
            is_stopping: false,
        }
    }

    /// Takes a command from the fan-out core.
    pub fn handle_command(&mut self, command: Command, now: Now) {
        match command {
            Command::Subscribe { id, instrument, tail } => {
                self.forget_ahead(id, now);
                self.subscribe(id, &instrument, &tail, now.mono);
            }
            Command::Unsubscribe { id } => self.unsubscribe(id, now.mono),
            Command::Forget { id } => self.forget(id, now.mono),
            Command::Backfill { id, from, to, wish } => {
                self.backfill(id, (from, to), wish, now.mono)
            }
            Command::Stop => self.stop(now.mono),
        }
        self.handle_timeout(now);
    }

    /// Takes the report that TCP is connected.
    pub fn handle_connected(&mut self, session: SessionId, now: Now) {
        if let Some(index) = self.live(session) {
            self.begin_handshake(index, now);
            self.refresh(now);
        }
    }

    /// Takes the report that TCP did not connect. `kind` is `Dns`, `Tcp`, `Timeout`, `Proxy` or
    /// `Local`; `why` is a few words for the log.
    pub fn handle_connect_failed(
        &mut self,
        session: SessionId,
        kind: ConnectionErrorKind,
        why: &str,
        now: Now,
    ) {
        if let Some(index) = self.live(session) {
            self.lose(index, kind, why, Socket::Gone, now.mono);
            self.handle_timeout(now);
        }
    }

    /// Takes the report that the socket is closed: end of stream or reset. The driver does not call
    /// this after our `Disconnect`.
    pub fn handle_closed(&mut self, session: SessionId, why: &str, now: Now) {
        if let Some(index) = self.live(session) {
            match self.begun_refusal(index) {
                Some(refusal) => self.lose_wire(index, &refusal, Socket::Gone, now),
                None => {
                    self.suspect(index, None, why, now.mono);
                    self.lose(index, ConnectionErrorKind::Closed, why, Socket::Gone, now.mono);
                }
            }
            self.handle_timeout(now);
        }
    }

    /// Takes the answer to an [`Output::Rest`], or the reason why there is none.
    pub fn handle_rest(&mut self, id: u64, result: Result<RestResponse, String>, now: Now) {
        self.finish_request(id, result, now);
        self.handle_timeout(now);
    }

    /// Takes the answer to an [`Output::List`], or the reason why there is none.
    pub fn handle_listed(
        &mut self,
        market: Market,
        result: Result<Arc<SymbolList>, String>,
        now: Now,
    ) {
        self.take_list(market, result, now.mono);
        self.handle_timeout(now);
    }

    /// Does everything that is due. Harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Now) {
        // Sessions of served streams connect before sessions of new ones.
        for index in 0..self.sessions.len() {
            let session = &self.sessions[index];
            let is_waiting = matches!(session.phase, SessionPhase::Waiting { .. });
            if is_waiting && self.claim(session) == Claim::Served {
                self.tick(index, now);
            }
        }
        for index in 0..self.sessions.len() {
            self.tick(index, now);
        }
        self.ask_lists(now.mono);
        self.watch(now);
        self.send_requests(now);
        self.refresh(now);
    }

    /// When the driver calls [`Self::handle_timeout`] next; `None` if nothing will be due.
    ///
    /// # Panics
    /// If outputs are left: the driver drains [`Self::poll_output`] before it parks.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        assert!(self.outputs.is_empty(), "outputs are drained before the driver parks");
        self.deadline
    }

    /// Returns whether [`Self::handle_timeout`] has something to do at `now`; outputs may be left.
    pub fn is_due(&self, now: MonoNs) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The next task for the driver, which drains this to `None` after every `handle_…`.
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() && self.outputs.capacity() > OUTPUTS_KEPT {
            self.outputs = VecDeque::new();
        }
        next
    }

    /// Bytes to be written to the session's socket; empty for a dead session.
    pub fn outgoing(&self, session: SessionId) -> &[u8] {
        let live = self.live(session).and_then(|index| self.sessions[index].wire.as_ref());
        live.map_or(&[], |wire| wire.outgoing())
    }

    /// Removes the first `count` outgoing bytes, which the driver has written.
    pub fn consume_outgoing(&mut self, session: SessionId, count: usize) {
        let index = self.live(session);
        if let Some(wire) = index.and_then(|index| self.sessions[index].wire.as_mut()) {
            wire.consume_outgoing(count);
        }
    }

    /// Returns whether sockets may be read. While the closed queue is full the driver reads none,
    /// so that TCP holds the exchange back. One read may exceed the bound; nothing is dropped.
    pub fn wants_bytes(&self) -> bool {
        self.queue.has_room()
    }

    /// Returns whether events wait for the ring.
    pub fn has_unpublished(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Counts a turn in which events waited for a full ring, for the market of the next event.
    pub fn note_ring_full(&mut self, _now: Now) {
        let id = self.queue.next_instrument();
        if let Some(stream) = id.and_then(|id| self.streams.stream(id)) {
            self.metrics.market(stream.instrument.market).queue_blocking.increment();
        }
    }

    /// Returns whether [`Command::Stop`] was given and every session is closed.
    pub fn is_stopped(&self) -> bool {
        self.is_stopping && self.sessions.iter().all(|session| session.phase == SessionPhase::Free)
    }

    /// The place of a session that is not dead.
    fn live(&self, id: SessionId) -> Option<usize> {
        let session = self.sessions.get(id.index())?;
        (session.id == id && session.is_connected()).then_some(id.index())
    }

    fn market_metrics(&self, market: Market) -> &FeedMetrics {
        self.metrics.market(market)
    }

    fn notice(&mut self, event: EventName, about: impl Into<About>, text: String) {
        let text = match text::visible(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(visible) => visible,
        };
        self.outputs.push_back(Output::Notice(Notice { event, about: about.into(), text }));
    }

    fn notice_of_session(&mut self, event: EventName, index: usize, text: String) {
        let Session { market, id, .. } = self.sessions[index];
        let about = About { session: Some(id.index), ..About::from(market) };
        self.notice(event, about, text);
    }

    fn transmit(&mut self, index: usize) {
        let session = &self.sessions[index];
        if session.wire.as_ref().is_some_and(|wire| !wire.outgoing().is_empty()) {
            self.outputs.push_back(Output::Transmit { session: session.id });
        }
    }
}

/// Room for outputs that is kept while there are none. Room beyond it, which a flood of names has
/// taken, is freed. Source: a subscription of a whole market.
const OUTPUTS_KEPT: usize = 4_096;
