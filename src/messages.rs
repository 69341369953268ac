//! What crosses cores. Market events are fixed-size and `Copy` and travel in SPSC rings; commands,
//! session events and notices are rare, may own text, and travel in bounded channels.

use std::net::SocketAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::clock::{MonoNs, RoughLapse, UnixMs};
use crate::limits::SLOWEST_UPDATES;
use crate::market::{CandleUpdate, Instrument, InstrumentId, Interval, Market, SymbolList};

/// One message in a shard's ring to the fan-out core.
// Slots of a ring are of one size: the largest variant is what nearly all of them hold.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarketEvent {
    /// What follows is of the newest [`Command::Subscribe`]; what came before is of an earlier one.
    Begin {
        /// Whose stream.
        instrument: InstrumentId,
    },
    /// A candle, open or closed. Closed ones come in order, each window once; but corrections, and
    /// the windows of an earlier gap, which are repaired late.
    Candle(CandleUpdate),
    /// A window without any trade, of which the exchange makes no candle: in its place among the
    /// closed candles.
    Empty {
        /// Whose window.
        instrument: InstrumentId,
        /// Which one.
        open_time: UnixMs,
        /// Whether it was asked for by [`Command::Backfill`]: no news for anybody else.
        is_backfilled: bool,
    },
    /// A closed candle from before the stream's first one, asked for by [`Command::Backfill`].
    Backfilled(CandleUpdate),
    /// A window asked for by [`Command::Backfill`] whose row at the exchange makes no sense: it cannot be
    /// given.
    BackfillGap {
        /// Whose window.
        instrument: InstrumentId,
        /// Which one.
        open_time: UnixMs,
    },
    /// All that could be recalled of these windows was said. Everything after `through` comes, or
    /// has come, as news.
    BackfillEnd {
        /// Whose windows.
        instrument: InstrumentId,
        /// Open time of the first that was asked for.
        from: UnixMs,
        /// Open time of the last; before `from` if there were none.
        through: UnixMs,
        /// As in the [`Wish`].
        ticket: u64,
    },
    /// Closed windows that are known to be missing, before the closed candle that follows them.
    Gap {
        /// Whose windows are missing.
        instrument: InstrumentId,
        /// Open time of the first missing window.
        first_missing: UnixMs,
        /// How many windows are missing, at least 1.
        missing: u64,
    },
}

impl MarketEvent {
    /// Whose event it is.
    pub fn instrument(&self) -> InstrumentId {
        let (Self::Candle(CandleUpdate { instrument, .. })
        | Self::Backfilled(CandleUpdate { instrument, .. })
        | Self::Begin { instrument }
        | Self::Empty { instrument, .. }
        | Self::BackfillGap { instrument, .. }
        | Self::BackfillEnd { instrument, .. }
        | Self::Gap { instrument, .. }) = self;
        *instrument
    }
}

// Four cache lines: a ring slot never straddles a fifth.
const _: () = assert!(size_of::<MarketEvent>() <= 256);

/// Fan-out core to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start this instrument's stream. Sent once, however many clients want it.
    Subscribe {
        /// The id under which its events are to be published.
        id: InstrumentId,
        /// What to subscribe.
        instrument: Instrument,
    },
    /// No client wants it any longer, and the linger is over: end the stream.
    Unsubscribe {
        /// The id given with `Subscribe`.
        id: InstrumentId,
    },
    /// End the stream if it runs, and forget the instrument. The id is not used again.
    Forget {
        /// The id given with `Subscribe`.
        id: InstrumentId,
    },
    /// Closed candles from before the stream's first one are wanted: answered in the ring, by
    /// [`MarketEvent::Backfilled`] and at last [`MarketEvent::BackfillEnd`].
    Backfill {
        /// The id given with `Subscribe`.
        id: InstrumentId,
        /// The first.
        from: BackfillFrom,
        /// Open time of the last; `None`: up to where the stream's own candles begin.
        to: Option<UnixMs>,
        /// Whose wish it is.
        wish: Wish,
    },
    /// The server is going down: close every session politely and open none.
    Stop,
}

/// Who wants closed candles of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The place of the client: clients take turns, and no place has all of an exchange's limit.
    pub client: u32,
    /// The number of the wish among those of its instrument: the end of it says it again.
    pub ticket: u64,
    /// The client resumes where it was cut off: that comes before what others look back on.
    pub resumes: bool,
}

/// Where closed candles are wanted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackfillFrom {
    /// So many windows, at least 1, the last one included.
    Last(u32),
    /// This window on.
    Window(UnixMs),
}

/// A shard to the fan-out core, about sessions and subscriptions. Not ordered with the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedEvent {
    /// The exchange refused this instrument; its stream has ended.
    Rejected {
        /// Which one.
        instrument: InstrumentId,
        /// What we make of it, for a person.
        message: String,
        /// The exchange's own words, empty if it said nothing.
        exchange_message: String,
        /// Whether it is about the name itself: to ask again soon is in vain.
        is_lasting: bool,
    },
    /// What the next session of a market waits for: the longest of backoff, breaker, ban and budget.
    /// Comes before [`Self::SessionLost`], and whenever the wait is another one.
    Waits {
        /// Where.
        market: Market,
        /// When the next attempt is made.
        until: MonoNs,
        /// What is waited for, for a person; empty for a backoff.
        why: String,
    },
    /// The session that carries these instruments is lost, or did not come up: until
    /// [`Self::SessionBack`] nothing is heard of them.
    SessionLost {
        /// Where.
        market: Market,
        /// What it carried, at least one.
        instruments: Vec<InstrumentId>,
        /// Why, for a person.
        why: String,
    },
    /// The exchange, or a firewall before it, lets no session in that would carry these instruments.
    /// It is asked again from time to time; nothing more is said until then.
    Denied {
        /// Where.
        market: Market,
        /// What is waited for, at least one.
        instruments: Vec<InstrumentId>,
        /// Its answer, for a person: status and first words.
        why: String,
    },
    /// The exchange's list has an instrument that delivers as halted, or not at all; or again as
    /// trading. Its candles go on.
    ListingChanged {
        /// Which one.
        instrument: InstrumentId,
        /// Where.
        market: Market,
        /// What is listed, for a person.
        message: String,
    },
    /// What a market lists, anew: the names that are known there.
    Listed {
        /// The market.
        market: Market,
        /// Its instruments.
        list: Arc<SymbolList>,
    },
    /// These instruments deliver again.
    SessionBack {
        /// Where.
        market: Market,
        /// What was lost and is subscribed again, at least one.
        instruments: Vec<InstrumentId>,
    },
}

/// One update on its way to the client that got it last, from the fan-out core to the ops core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowUpdate {
    /// Whose candle it is.
    pub instrument: Instrument,
    /// Whether it is closed.
    pub is_closed: bool,
    /// Start of its window.
    pub open_time: UnixMs,
    /// The exchange's own time of it, if it gave one.
    pub event_time: Option<UnixMs>,
    /// How long its bytes had lain in the kernel when they were read, if that was measured.
    pub kernel: RoughLapse,
    /// The clock's reading of the turn in which its bytes were read from the exchange's socket.
    pub received: MonoNs,
    /// When the shard began to put what it published in that turn into the ring.
    pub put: MonoNs,
    /// The clock's reading of the fan-out's turn that took it out of the ring.
    pub taken: MonoNs,
    /// When the client's socket had taken its last byte, and that of what was written with it.
    pub written: MonoNs,
}

/// The slowest of about a second, in no order.
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

/// What has happened, one name for each sort of notice: of each sort the log takes so many lines a
/// minute (see [`crate::limits::LOG_EVENT_BURST`]).
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
    /// An exchange's message was not understood.
    NotUnderstood,
    /// An exchange refused a subscription or its end for a reason that is not the symbol's.
    SubscriptionRefused,
    /// A symbol is refused, by the exchange or by its list.
    SymbolRejected,
    /// There is no room for a symbol that is to be subscribed at start.
    PreloadRefused,
    /// The list of a market's instruments cannot be had.
    ListMissing,
    /// A market delivers nothing but late or refused candles.
    CandlesLate,
    /// It no longer does.
    CandlesTimely,
    /// The list says of an instrument that delivers that it does not trade, or that it does again.
    ListingChanged,
    /// Candles could not be had by REST.
    RestFailed,
    /// An exchange's REST interface wants to be left alone.
    RestLimited,
    /// An exchange's REST interface, or a firewall before it, keeps this address out, or is out of
    /// order.
    RestDenied,
    /// An exchange, or a firewall before it, lets no session in.
    SessionsDenied,
    /// It answers again.
    RestAnswers,
    /// A row of an exchange's REST interface makes no sense.
    RowNotUnderstood,
    /// A client that does not keep up was closed.
    ClientSlow,
    /// A market waits for something else, or longer, than was logged last.
    WaitChanged,
    /// A client was refused at the door.
    ClientRefused,
    /// A client that answers no ping was closed.
    ClientSilent,
    /// The kernel did not take what was to be sent to a client.
    SendFailed,
    /// Little room is left for instruments.
    TableFilling,
    /// A client's TLS failed, or it spoke TLS where none is.
    ClientTls,
    /// A client broke HTTP or WebSocket.
    ClientBroke,
    /// No client can be accepted: out of file descriptors or memory.
    AcceptFailed,
    /// The kernel stamps no packets: a hop stays unknown.
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

/// What a notice is about, as far as it is about one thing.
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
    /// The shard; it puts its own number here.
    pub shard: Option<u16>,
}

impl About {
    /// All that two notices are both about.
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

/// One line for the log, written by the ops core. Made only for events that are rare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What has happened.
    pub event: EventName,
    /// What it is about.
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

/// A question to the ops core, from a shard. Everything that may block is asked there.
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
    /// What does this market list? The answer is [`OpsAnswer::Listed`], from the ops core's cache
    /// or from the exchange.
    List {
        /// The market.
        market: Market,
        /// The parts of its list that are wanted beside the main pages.
        parts: Vec<String>,
    },
}

/// One request to an exchange's REST interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestRequest {
    /// Chosen by the shard, given back with the answer.
    pub id: u64,
    /// Absolute URL, `http` or `https`.
    pub url: String,
    /// `None`: GET. `Some`: POST of this JSON text.
    pub body: Option<String>,
    /// Further request headers: names in lower case, values.
    pub headers: &'static [(&'static str, &'static str)],
    /// The longest body that can be an answer to this. More is not read: of an answer with another
    /// status than 200 the beginning will do, and any other is none.
    pub body_bytes_max: usize,
}

/// What an exchange's REST interface answered, whatever the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestResponse {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After` as sent, if it was: what it means is the dialect's to say.
    pub retry_after: Option<String>,
    /// Header names in lower case and values, as far as they speak of limits (`x-mbx-…`,
    /// `x-bapi-…`, `x-gate-…`, `date`).
    pub limit_headers: Vec<(String, String)>,
    /// The body, at most [`RestRequest::body_bytes_max`].
    pub body: Vec<u8>,
}

/// The ops core's answer to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpsAnswer {
    /// A host's addresses, or why there are none.
    Resolved {
        /// The host asked about.
        host: String,
        /// The port asked about.
        port: u16,
        /// At least one address, or the resolver's words.
        result: Result<Vec<SocketAddr>, String>,
    },
    /// The answer to a REST request, or why there is none (in words: name, TCP, TLS, time-out).
    Rest {
        /// The id of the request.
        id: u64,
        /// The response, whatever its status.
        result: Result<RestResponse, String>,
    },
    /// What a market lists, or why that is not known.
    Listed {
        /// The market.
        market: Market,
        /// Its instruments.
        result: Result<Arc<SymbolList>, String>,
    },
}
