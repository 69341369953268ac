//! Engine 1: exchange bytes in, candle updates out. Owns the sessions of one shard, what is
//! subscribed on them, and the series. Knows no socket, thread, clock or randomness: its driver
//! hands it what happened and the time, drains [`Feed::poll_output`], and parks until
//! [`Feed::next_deadline`].

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
use session::{Phase, Session};
use streams::Streams;

/// What a feed is told about the world. Durations as `CONNECTOR_…` variables name them.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// Base of each market's WebSocket URL, by [`Market::index`]; the dialect adds the path.
    pub ws_bases: Vec<Endpoint>,
    /// Base of each market's REST URL, by [`Market::index`].
    pub rest_bases: Vec<String>,
    /// For `wss`.
    pub tls: Arc<ClientConfig>,
    /// How many shards share the exchanges' limits per address; at least 1.
    pub shards: usize,
    /// A ping is sent this often.
    pub ping_interval: Duration,
    /// A session on which nothing arrives for this long after a ping is lost.
    pub ping_timeout: Duration,
    /// First wait before a lost session is connected again; doubles.
    pub reconnect_delay: Duration,
    /// After this much silence a session is asked by a ping whether it lives.
    pub inactivity_timeout: Duration,
    /// A stream that has never delivered is checked by REST after this long.
    pub stream_idle_timeout: Duration,
    /// Instruments on one session, at least 1; the venue's own limit holds too.
    pub max_symbols_per_session: usize,
    /// Failures in a row that open a market's breaker.
    pub breaker_threshold: u32,
    /// How long an open breaker stays so at first.
    pub breaker_recovery: Duration,
    /// Sessions that a half-open breaker lets try at once.
    pub breaker_half_open_calls: u32,
    /// How long closed candles wait for one before them that is missing.
    pub gap_hold: Duration,
    /// Pauses that exchanges have ordered, shared by all shards of this address.
    pub pauses: Arc<Pauses>,
    /// What was used of the exchanges' limits shortly before this feed began, oldest first.
    pub usage: Vec<Usage>,
    /// Closed candles that may wait for the ring before sockets are no longer read; at least 1.
    pub closed_queue_max: usize,
}

/// Names one connection of a feed. Never used again, so that what is said about a dead connection
/// is not taken for its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    index: u32,
    generation: u32,
}

impl SessionId {
    /// The session's place: small, dense, used again by later sessions.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a TCP connection; report with [`Feed::handle_connected`] or
    /// [`Feed::handle_connect_failed`].
    Connect {
        /// The new session.
        session: SessionId,
        /// Where to; TLS is spoken by the feed.
        endpoint: Endpoint,
    },
    /// [`Feed::outgoing`] of this session is not empty.
    Transmit {
        /// The session.
        session: SessionId,
    },
    /// Close the socket, or give up connecting. The id is dead.
    Disconnect {
        /// The session.
        session: SessionId,
    },
    /// Ask; report with [`Feed::handle_rest`].
    Rest(RestRequest),
    /// Find out what the market lists; report with [`Feed::handle_listed`].
    List {
        /// The market.
        market: Market,
        /// The parts of its list that are wanted beside the main pages.
        parts: Vec<String>,
    },
    /// For the fan-out core.
    Event(FeedEvent),
    /// For the log.
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
    /// What time it is at the exchanges, by [`Market::index`].
    clocks: Vec<ExchangeClock>,
    /// Streams to be asked about in this turn.
    urgent: Vec<InstrumentId>,
    /// Streams that hold closed candles back.
    holds: Vec<InstrumentId>,
    /// When a part of the streams is next looked after, and which.
    next_watch: Option<MonoNs>,
    /// By [`Market::index`]: whether it was last logged that all its candles are late.
    late_markets: [bool; Market::COUNT],
    watched_part: usize,
    queue: PublishQueue,
    json: JsonReader,
    /// Of the bytes that are handled.
    kernel: RoughLapse,
    outputs: VecDeque<Output>,
    /// Never later than what is due; looked for again when it has passed.
    deadline: Option<MonoNs>,
    is_stopping: bool,
}

impl Feed {
    /// A feed without instruments. `seed` decides all that is left to chance.
    ///
    /// # Panics
    /// If `config` lacks a market's endpoint.
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

    /// Takes a command of the fan-out core.
    pub fn handle_command(&mut self, command: Command, now: Now) {
        match command {
            Command::Subscribe { id, instrument } => {
                self.forget_ahead(id, now);
                self.subscribe(id, &instrument, now.mono);
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

    /// TCP is up.
    pub fn handle_connected(&mut self, session: SessionId, now: Now) {
        if let Some(index) = self.live(session) {
            self.begin_handshake(index, now);
            self.refresh(now);
        }
    }

    /// TCP did not come up. `kind`: `Dns`, `Tcp`, `Timeout`, `Proxy` or `Local`; `why`: a few words.
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

    /// The socket is gone: end of stream or reset. Not to be called after our `Disconnect`.
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

    /// The answer to an [`Output::Rest`], or why there is none.
    pub fn handle_rest(&mut self, id: u64, result: Result<RestResponse, String>, now: Now) {
        self.finish_question(id, result, now);
        self.handle_timeout(now);
    }

    /// The answer to an [`Output::List`], or why there is none.
    pub fn handle_listed(
        &mut self,
        market: Market,
        result: Result<Arc<SymbolList>, String>,
        now: Now,
    ) {
        self.take_list(market, result, now.mono);
        self.handle_timeout(now);
    }

    /// Time has passed. Harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Now) {
        // What was served is connected before what is new.
        for index in 0..self.sessions.len() {
            let session = &self.sessions[index];
            let is_waiting = matches!(session.phase, Phase::Waiting { .. });
            if is_waiting && self.claim(session) == Claim::Served {
                self.tick(index, now);
            }
        }
        for index in 0..self.sessions.len() {
            self.tick(index, now);
        }
        self.ask_lists(now.mono);
        self.watch(now);
        self.ask_questions(now);
        self.refresh(now);
    }

    /// When [`Self::handle_timeout`] is next to be called.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        self.deadline
    }

    /// The next thing to do; to be drained to `None` after every `handle_…`.
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() && self.outputs.capacity() > OUTPUTS_KEPT {
            self.outputs = VecDeque::new();
        }
        next
    }

    /// Bytes for the session's socket; empty for a dead session.
    pub fn outgoing(&self, session: SessionId) -> &[u8] {
        let live = self.live(session).and_then(|index| self.sessions[index].wire.as_ref());
        live.map_or(&[], |wire| wire.outgoing())
    }

    /// The first `count` outgoing bytes were written.
    pub fn consume_outgoing(&mut self, session: SessionId, count: usize) {
        let index = self.live(session);
        if let Some(wire) = index.and_then(|index| self.sessions[index].wire.as_mut()) {
            wire.consume_outgoing(count);
        }
    }

    /// False while the closed queue is at its bound: sockets are then not to be read, so that TCP
    /// holds the exchange back. One read may bring more than the bound; nothing is dropped.
    pub fn wants_bytes(&self) -> bool {
        self.queue.has_room()
    }

    /// Returns whether events wait for the ring.
    pub fn has_unpublished(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Events wait and the ring is full; counted for the market whose event is next.
    pub fn note_ring_full(&mut self, _now: Now) {
        let id = self.queue.next_instrument();
        if let Some(stream) = id.and_then(|id| self.streams.stream(id)) {
            self.metrics.market(stream.instrument.market).queue_blocking.increment();
        }
    }

    /// Whether [`Command::Stop`] was given and every session is closed.
    pub fn is_stopped(&self) -> bool {
        self.is_stopping && self.sessions.iter().all(|session| session.phase == Phase::Free)
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

/// Storage for outputs that is kept while there are none; what a flood of names took beyond it is given
/// back. Source: a subscription of a whole market.
const OUTPUTS_KEPT: usize = 4_096;
