//! Messages between cores. Market events are `Copy`, have a fixed size and travel in SPSC rings;
//! commands, session events and notices are rare, may own text, and travel in bounded channels.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::clock::{MonoNs, RoughLapse, UnixMs};
use crate::limits::SLOWEST_UPDATES;
use crate::market::{
    CandleUpdate, ClosedWindow, Instrument, InstrumentId, Interval, Market, Span, SymbolList,
};

/// One message in a shard's ring to the fan-out core.
// The slots of a ring have one size, and nearly all hold the largest variant.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarketEvent {
    /// Later events belong to the newest [`Command::Subscribe`], earlier ones to an earlier one.
    Begin {
        /// The instrument of the stream.
        instrument: InstrumentId,
    },
    /// A candle, open or closed. Closed candles come in order, each window once; except for
    /// corrections, and for windows of an earlier gap that are repaired later.
    Candle(CandleUpdate),
    /// A window without trades, for which the exchange makes no candle: in its place among the
    /// closed candles.
    Empty {
        /// The instrument of the window.
        instrument: InstrumentId,
        /// The window.
        open_time: UnixMs,
        /// Whether a [`Command::Backfill`] asked for it: then it is not published to other clients.
        is_backfilled: bool,
    },
    /// A closed candle from before the stream's first one, asked for by [`Command::Backfill`].
    Backfilled(CandleUpdate),
    /// A window that a [`Command::Backfill`] asked for, with a row at the exchange that makes no
    /// sense: it stays missing.
    BackfillGap {
        /// The instrument of the window.
        instrument: InstrumentId,
        /// The window.
        open_time: UnixMs,
    },
    /// Every available window of a [`Command::Backfill`] was sent. Everything after `through` is,
    /// or was, published live.
    BackfillEnd {
        /// The instrument of the windows.
        instrument: InstrumentId,
        /// Open time of the first requested window.
        from: UnixMs,
        /// Open time of the last one; before `from` if there were none.
        through: UnixMs,
        /// The ticket of the [`Wish`].
        ticket: u64,
    },
    /// The exchange's REST rows have confirmed a published window that was not flagged as closed.
    Verified {
        /// The instrument of the window.
        instrument: InstrumentId,
        /// The window.
        open_time: UnixMs,
    },
    /// Closed windows known to be missing, before the closed candle that follows them.
    Gap {
        /// The instrument of the windows.
        instrument: InstrumentId,
        /// Open time of the first missing window.
        first_missing: UnixMs,
        /// Number of missing windows, at least 1.
        missing: u64,
    },
}

impl MarketEvent {
    /// The instrument of the event.
    pub fn instrument(&self) -> InstrumentId {
        let (Self::Candle(CandleUpdate { instrument, .. })
        | Self::Backfilled(CandleUpdate { instrument, .. })
        | Self::Begin { instrument }
        | Self::Empty { instrument, .. }
        | Self::BackfillGap { instrument, .. }
        | Self::BackfillEnd { instrument, .. }
        | Self::Verified { instrument, .. }
        | Self::Gap { instrument, .. }) = self;
        *instrument
    }
}

// Four cache lines: a ring slot never straddles a fifth.
const _: () = assert!(size_of::<MarketEvent>() <= 256);

/// The last known windows of the series that go on where an earlier process stopped: of each,
/// ascending and adjoining, at least one.
pub type Tails = HashMap<Instrument, Vec<ClosedWindow>>;

/// Fan-out core to the ledger.
// The slots of a ring have one size, and nearly all hold the largest variant.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEvent {
    /// A window closed, or a closed one was corrected.
    Closed {
        /// The series.
        instrument: Instrument,
        /// The window.
        window: ClosedWindow,
        /// Whether REST was asked for it for one client's past: then it was not published.
        is_backfilled: bool,
    },
    /// A window is as the exchange's REST rows have it.
    Verified {
        /// The series.
        instrument: Instrument,
        /// The window.
        open_time: UnixMs,
    },
    /// Some windows of this span did not come: the ring was full.
    Lost {
        /// The series.
        instrument: Instrument,
        /// From the first to the last of them.
        span: Span,
    },
}

impl LedgerEvent {
    /// The series of the event.
    pub fn instrument(&self) -> &Instrument {
        let (Self::Closed { instrument, .. }
        | Self::Verified { instrument, .. }
        | Self::Lost { instrument, .. }) = self;
        instrument
    }
}

/// Fan-out core to the ledger: a question for closed windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRead {
    /// The number of the question; [`LedgerAnswer::number`] repeats it.
    pub number: u64,
    /// The series.
    pub instrument: Instrument,
    /// The windows.
    pub span: Span,
}

/// The ledger to the fan-out core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerAnswer {
    /// The number of the question.
    pub number: u64,
    /// What is stored of the windows, ascending. The instrument in a candle is a placeholder.
    pub windows: Vec<ClosedWindow>,
}

/// Fan-out core to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start this instrument's stream. Sent once, however many clients want it.
    Subscribe {
        /// The id for its events.
        id: InstrumentId,
        /// The instrument to subscribe.
        instrument: Instrument,
        /// The last windows that an earlier process published, ascending and adjoining: what
        /// follows them is owed. Empty: the stream begins now.
        tail: Vec<ClosedWindow>,
    },
    /// No client wants the stream any longer, and the linger is over: end it.
    Unsubscribe {
        /// The id given with `Subscribe`.
        id: InstrumentId,
    },
    /// End the stream if it runs, and forget the instrument. The id is not used again.
    Forget {
        /// The id given with `Subscribe`.
        id: InstrumentId,
    },
    /// Send closed candles from before the stream's first one, in the ring: each as
    /// [`MarketEvent::Backfilled`], then [`MarketEvent::BackfillEnd`].
    Backfill {
        /// The id given with `Subscribe`.
        id: InstrumentId,
        /// The first window.
        from: BackfillFrom,
        /// Open time of the last; `None`: up to where the stream's own candles begin.
        to: Option<UnixMs>,
        /// The client that wants them.
        wish: Wish,
    },
    /// The server is going down: close every session in order and open none.
    Stop,
}

/// The client that wants past candles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The index of the client. Clients take turns, so that no client uses up an exchange's limit.
    pub client: u32,
    /// The number of the wish among those of its instrument; [`MarketEvent::BackfillEnd`] repeats
    /// it.
    pub ticket: u64,
    /// The client resumes after a lost connection. That is more urgent than history for others.
    pub resumes: bool,
}

/// The first past window that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackfillFrom {
    /// The last windows, this many, at least 1.
    Last(u32),
    /// All windows from this one on.
    Window(UnixMs),
}

/// A shard to the fan-out core, about sessions and subscriptions. Not ordered with the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedEvent {
    /// The exchange has rejected this instrument. Its stream has ended.
    Rejected {
        /// The instrument.
        instrument: InstrumentId,
        /// Our explanation, for a person.
        message: String,
        /// The exchange's own text; empty if there is none.
        exchange_message: String,
        /// Whether the name itself is wrong, so that asking again soon is useless.
        is_lasting: bool,
    },
    /// What the next session of a market waits for: the longest of backoff, breaker, ban and
    /// budget. Sent before [`Self::SessionLost`], and whenever the wait changes.
    Waits {
        /// The market.
        market: Market,
        /// When the next attempt is made.
        until: MonoNs,
        /// What is waited for, for a person; empty for a backoff.
        why: String,
    },
    /// The session that carries these instruments is lost, or did not come up: until
    /// [`Self::SessionBack`] no update of them arrives.
    SessionLost {
        /// The market.
        market: Market,
        /// The instruments it carried, at least one.
        instruments: Vec<InstrumentId>,
        /// Why, for a person.
        why: String,
    },
    /// The exchange, or a firewall before it, refuses the sessions for these instruments. It is
    /// asked again from time to time; until then nothing more is reported.
    Denied {
        /// The market.
        market: Market,
        /// The instruments that wait, at least one.
        instruments: Vec<InstrumentId>,
        /// The answer, for a person: status and first words.
        why: String,
    },
    /// The exchange's list shows a delivering instrument as halted, or lacks it; or shows it as
    /// trading again. Its candles go on.
    ListingChanged {
        /// The instrument.
        instrument: InstrumentId,
        /// The market.
        market: Market,
        /// What the list shows, for a person.
        message: String,
    },
    /// A market's new list: the names that are known there.
    Listed {
        /// The market.
        market: Market,
        /// Its instruments.
        list: Arc<SymbolList>,
    },
    /// These instruments deliver again.
    SessionBack {
        /// The market.
        market: Market,
        /// The instruments that were lost and are subscribed again, at least one.
        instruments: Vec<InstrumentId>,
    },
}

/// One update on its way to its slowest client, from the fan-out core to the ops core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowUpdate {
    /// The instrument of the candle.
    pub instrument: Instrument,
    /// Whether it is closed.
    pub is_closed: bool,
    /// Start of its window.
    pub open_time: UnixMs,
    /// The exchange's own time of it, if it gave one.
    pub event_time: Option<UnixMs>,
    /// How long its bytes had waited in the kernel when they were read, if that was measured.
    pub kernel: RoughLapse,
    /// The clock's reading of the turn that read its bytes from the exchange's socket.
    pub received: MonoNs,
    /// When the shard began to put the updates of that turn into the ring.
    pub put: MonoNs,
    /// The clock's reading of the fan-out's turn that took it out of the ring.
    pub taken: MonoNs,
    /// When the client's socket had taken its last byte, and the bytes written together with it.
    pub written: MonoNs,
}

/// The slowest updates of about a second, in no order.
pub type SlowUpdates = ArrayVec<SlowUpdate, SLOWEST_UPDATES>;

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Of use when looking for a fault.
    Debug,
    /// The normal course of things.
    Info,
    /// Degraded, and repairing itself.
    Warning,
    /// Something was lost, or a person must act.
    Error,
}

/// What has happened. Each variant is one sort of notice, and the log limits the lines of each sort
/// (see [`crate::limits::LOG_EVENT_BURST`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventName {
    /// A session to an exchange is up, for the first time or again.
    SessionUp,
    /// A session is lost, or did not come up.
    SessionLost,
    /// A session is replaced by another one.
    SessionReplaced,
    /// Failures in a row: no connection to this market for a while.
    BreakerOpen,
    /// Connections to this market work again.
    BreakerClosed,
    /// A message of an exchange could not be decoded.
    NotUnderstood,
    /// An exchange has rejected a subscription or its end, for a reason other than the symbol.
    SubscriptionRefused,
    /// A symbol was rejected, by the exchange or by its list.
    SymbolRejected,
    /// There is no room for a preloaded symbol.
    PreloadRefused,
    /// The list of a market's instruments is not available.
    ListMissing,
    /// A market delivers only late or rejected candles.
    CandlesLate,
    /// It no longer does.
    CandlesTimely,
    /// The list shows a delivering instrument as not trading, or as trading again.
    ListingChanged,
    /// REST delivered no candles.
    RestFailed,
    /// An exchange's REST interface asks us to pause.
    RestLimited,
    /// An exchange's REST interface, or a firewall before it, blocks this address, or is out of
    /// order.
    RestDenied,
    /// An exchange, or a firewall before it, refuses sessions.
    SessionsDenied,
    /// It answers again.
    RestAnswers,
    /// A row of an exchange's REST interface makes no sense.
    RowNotUnderstood,
    /// A client that does not keep up was closed.
    ClientSlow,
    /// A market waits for something else, or longer, than was last logged.
    WaitChanged,
    /// A connection to the client port was rejected.
    ClientRefused,
    /// A client that did not answer a ping was closed.
    ClientSilent,
    /// The kernel did not take bytes for a client.
    SendFailed,
    /// The table of instruments is nearly full.
    TableFilling,
    /// A client's TLS failed, or a client sent TLS to a plain port.
    ClientTls,
    /// A client broke HTTP or WebSocket rules.
    ClientBroke,
    /// No client can be accepted: out of file descriptors or memory.
    AcceptFailed,
    /// The kernel does not timestamp packets: one hop stays unknown.
    StampsMissing,
}

impl EventName {
    /// The word in `event` of a JSON line.
    pub fn name(self) -> &'static str {
        match self {
            Self::SessionUp => "session_up",
            Self::SessionLost => "session_lost",
            Self::SessionReplaced => "session_replaced",
            Self::BreakerOpen => "breaker_open",
            Self::BreakerClosed => "breaker_closed",
            Self::NotUnderstood => "not_understood",
            Self::SubscriptionRefused => "subscription_refused",
            Self::SymbolRejected => "symbol_rejected",
            Self::PreloadRefused => "preload_refused",
            Self::ListMissing => "list_missing",
            Self::CandlesLate => "candles_late",
            Self::CandlesTimely => "candles_timely",
            Self::ListingChanged => "listing_changed",
            Self::RestFailed => "rest_failed",
            Self::RestLimited => "rest_limited",
            Self::RestDenied => "rest_denied",
            Self::SessionsDenied => "sessions_denied",
            Self::WaitChanged => "wait_changed",
            Self::RestAnswers => "rest_answers",
            Self::RowNotUnderstood => "row_not_understood",
            Self::ClientSlow => "client_slow",
            Self::ClientRefused => "client_refused",
            Self::ClientSilent => "client_silent",
            Self::SendFailed => "send_failed",
            Self::TableFilling => "table_filling",
            Self::ClientTls => "client_tls",
            Self::ClientBroke => "client_broke",
            Self::AcceptFailed => "accept_failed",
            Self::StampsMissing => "stamps_missing",
        }
    }

    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Self::ClientBroke => Severity::Debug,
            Self::SessionUp
            | Self::SessionReplaced
            | Self::BreakerClosed
            | Self::RestAnswers
            | Self::CandlesTimely
            | Self::ClientRefused
            | Self::ClientTls
            | Self::StampsMissing => Severity::Info,
            Self::SessionLost
            | Self::NotUnderstood
            | Self::SubscriptionRefused
            | Self::SymbolRejected
            | Self::ListMissing
            | Self::CandlesLate
            | Self::ListingChanged
            | Self::RestFailed
            | Self::RestLimited
            | Self::RestDenied
            | Self::SessionsDenied
            | Self::WaitChanged
            | Self::RowNotUnderstood
            | Self::ClientSlow
            | Self::ClientSilent
            | Self::SendFailed
            | Self::TableFilling => Severity::Warning,
            Self::BreakerOpen | Self::PreloadRefused | Self::AcceptFailed => Severity::Error,
        }
    }
}

/// The subject of a notice, if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The market.
    pub market: Option<Market>,
    /// The symbol, in the venue's spelling.
    pub symbol: Option<Arc<str>>,
    /// The length of its candles.
    pub interval: Option<Interval>,
    /// The session to an exchange, by its number within its shard.
    pub session: Option<u32>,
    /// The shard, which fills in its own number.
    pub shard: Option<u16>,
}

impl About {
    /// What two notices have in common.
    pub fn common(self, other: &Self) -> Self {
        fn same<T: PartialEq>(one: Option<T>, other: &Option<T>) -> Option<T> {
            one.filter(|one| other.as_ref() == Some(one))
        }
        Self {
            market: same(self.market, &other.market),
            symbol: same(self.symbol, &other.symbol),
            interval: same(self.interval, &other.interval),
            session: same(self.session, &other.session),
            shard: same(self.shard, &other.shard),
        }
    }
}

impl From<Market> for About {
    fn from(market: Market) -> Self {
        Self { market: Some(market), ..Self::default() }
    }
}

impl From<&Instrument> for About {
    fn from(instrument: &Instrument) -> Self {
        Self {
            market: Some(instrument.market),
            symbol: Some(Arc::clone(&instrument.symbol)),
            interval: Some(instrument.interval),
            ..Self::default()
        }
    }
}

/// One line for the log, written by the ops core. Only for rare events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What has happened.
    pub event: EventName,
    /// Its subject.
    pub about: About,
    /// A sentence, without secrets and without the market's name before it.
    pub text: String,
}

impl Notice {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        self.event.severity()
    }
}

/// A request from a shard to the ops core, which does everything that may block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpsRequest {
    /// Look up a host; the answer is [`OpsAnswer::Resolved`].
    Resolve {
        /// The host's name.
        host: String,
        /// The port to put into the addresses.
        port: u16,
    },
    /// Ask an exchange's REST interface; the answer is [`OpsAnswer::Rest`].
    Rest(RestRequest),
    /// Send this market's list; the answer is [`OpsAnswer::Listed`], from the ops core's cache or
    /// from the exchange.
    List {
        /// The market.
        market: Market,
        /// The parts of the list that are wanted beside the main pages.
        parts: Vec<String>,
    },
}

/// One request to an exchange's REST interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestRequest {
    /// Chosen by the shard, repeated in the answer.
    pub id: u64,
    /// Absolute URL, `http` or `https`.
    pub url: String,
    /// `None`: GET. `Some`: POST of this JSON text.
    pub body: Option<String>,
    /// Further request headers: names in lower case, values.
    pub headers: &'static [(&'static str, &'static str)],
    /// The longest valid body. More is not read: with a status other than 200 the beginning is
    /// enough, and any longer answer is invalid.
    pub body_bytes_max: usize,
}

/// What an exchange's REST interface answered, whatever the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestResponse {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After` as sent, if it was; the dialect interprets it.
    pub retry_after: Option<String>,
    /// Header names in lower case and values, of headers about limits (`x-mbx-…`, `x-bapi-…`,
    /// `x-gate-…`, `date`).
    pub limit_headers: Vec<(String, String)>,
    /// The body, at most [`RestRequest::body_bytes_max`].
    pub body: Vec<u8>,
}

/// The ops core's answer to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpsAnswer {
    /// The addresses of a host, or why there are none.
    Resolved {
        /// The host of the request.
        host: String,
        /// The port of the request.
        port: u16,
        /// At least one address, or the resolver's text.
        result: Result<Vec<SocketAddr>, String>,
    },
    /// The answer to a REST request, or why there is none, as text (name, TCP, TLS, time-out).
    Rest {
        /// The id of the request.
        id: u64,
        /// The response, whatever its status.
        result: Result<RestResponse, String>,
    },
    /// The list of a market, or why it is not known.
    Listed {
        /// The market.
        market: Market,
        /// Its instruments.
        result: Result<Arc<SymbolList>, String>,
    },
}
