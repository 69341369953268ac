//! One OHLCV candle, and a candle on its way through the connector. Owns their fields and meaning;
//! does not know which candles follow which (that is [`super::series`]).

use crate::clock::{Lapse, MonoNs, RoughLapse, UnixMs};

use super::decimal::Decimal;
use super::table::InstrumentId;

/// Prices and volumes of one instrument over one interval, in the exchange's digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candle {
    /// Start of the interval, in ms; a multiple of the interval.
    pub open_time: UnixMs,
    /// First price, as the exchange defines it.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price.
    pub close: Decimal,
    /// The exchange's own volume field, in the unit of [`super::Market::volume_unit`].
    pub volume: Decimal,
    /// The same trades in the unit of [`super::Market::other_unit`], where the exchange gives it
    /// or it follows from the size of a contract.
    pub other_volume: Option<Decimal>,
    /// Number of trades; 0 where the exchange gives none.
    pub trades: u64,
}

impl Candle {
    /// Returns whether the prices can be those of one window: low, open, close and high in order,
    /// and none of zero where something was traded. Where the exchange counts trades
    /// (`is_counted`), what was traded has at least one.
    pub fn is_possible(&self, is_counted: bool) -> bool {
        let Self { open, high, low, close, volume, trades, .. } = self;
        let is_framed = low <= open && open <= high && low <= close && close <= high;
        let is_quiet = volume.is_zero();
        is_framed && (is_quiet || !low.is_zero() && (*trades > 0 || !is_counted))
    }
}

/// A candle as a shard publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandleUpdate {
    /// Whose candle it is.
    pub instrument: InstrumentId,
    /// The candle.
    pub candle: Candle,
    /// The exchange's own time of this update, if the message carried one.
    pub event_time: Option<UnixMs>,
    /// When its bytes were read from the exchange's socket: the clock's reading of that turn.
    pub received: MonoNs,
    /// From then until the shard put it into its ring, and with it all that it published in that
    /// turn; nothing before. Four bytes, which the structure has to spare.
    pub until_ring: Lapse,
    /// Before that, from the kernel's receiving the last of its bytes to our reading them, if this
    /// read was measured. One byte, which the structure has to spare.
    pub kernel: RoughLapse,
    /// `None` while the candle is open; else the evidence that it is closed.
    pub final_by: Option<FinalBy>,
    /// Where the candle came from.
    pub source: Source,
    /// 0 when first published as closed, one more for each correction.
    pub revision: u16,
}

impl CandleUpdate {
    /// Whether the candle is known to be final.
    pub fn is_closed(&self) -> bool {
        self.final_by.is_some()
    }
}

/// The evidence on which a candle was called closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalBy {
    /// The exchange's own closed flag.
    Flag,
    /// The first message of a later window.
    Successor,
    /// A REST row whose close time lies before the exchange's own time.
    Rest,
}

impl FinalBy {
    /// Every kind of evidence, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Flag, Self::Successor, Self::Rest];

    /// The word clients see in `final_by`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Successor => "successor",
            Self::Rest => "rest",
        }
    }
}

/// Where a candle came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Pushed over the exchange's WebSocket.
    Ws,
    /// Fetched over the exchange's REST interface.
    Rest,
    /// Folded of closed minutes, exactly.
    Derived {
        /// Minutes that are not in it, because they are not known.
        missing: u16,
    },
}

impl Source {
    /// The word clients see in `source`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Rest => "rest",
            Self::Derived { .. } => "derived",
        }
    }

    /// Minutes that a derived candle lacks.
    pub fn missing(self) -> u16 {
        match self {
            Self::Derived { missing } => missing,
            Self::Ws | Self::Rest => 0,
        }
    }
}
