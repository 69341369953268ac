//! One OHLCV candle, and a candle on its way through the connector. Owns the fields and their
//! meaning; does not know the order of candles, which [`super::series`] owns.

use crate::clock::{Lapse, MonoNs, RoughLapse, UnixMs};

use super::decimal::Decimal;
use super::table::InstrumentId;

/// Prices and volumes of one instrument over one interval, in the exchange's digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candle {
    /// Start of the window, in ms since the Unix epoch; a multiple of the interval.
    pub open_time: UnixMs,
    /// First price, as the exchange defines it.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price.
    pub close: Decimal,
    /// The exchange's own volume, in the unit of [`super::Market::volume_unit`].
    pub volume: Decimal,
    /// The volume of the same trades in the unit of [`super::Market::other_unit`], if the exchange
    /// gives it or a contract's size determines it.
    pub other_volume: Option<Decimal>,
    /// Number of trades; 0 if the exchange gives none.
    pub trades: u64,
}

impl Candle {
    /// Returns whether the prices and counts can be those of one window. Low, open, close and high
    /// must be in order. With a volume above zero no price may be zero, and an exchange that counts
    /// trades (`is_counted`) must count at least one.
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
    /// The instrument of the candle.
    pub instrument: InstrumentId,
    /// The candle.
    pub candle: Candle,
    /// The exchange's time of this update, if the message has one.
    pub event_time: Option<UnixMs>,
    /// When the bytes were read from the exchange's socket, by the clock of that turn.
    pub received: MonoNs,
    /// Time from `received` until the shard put this candle, with everything else of that turn,
    /// into its ring; zero before. It takes four bytes that the structure has to spare.
    pub until_ring: Lapse,
    /// Time before `received`, from the kernel's receiving the last byte to our reading, if this
    /// read was measured. It takes one byte that the structure has to spare.
    pub kernel: RoughLapse,
    /// The evidence that the candle is closed; `None` while it is open.
    pub final_by: Option<FinalBy>,
    /// The origin of the candle.
    pub source: Source,
    /// 0 when first published as closed; one more for each correction.
    pub revision: u16,
}

impl CandleUpdate {
    /// Returns whether the candle is closed.
    pub fn is_closed(&self) -> bool {
        self.final_by.is_some()
    }
}

/// The evidence that a candle is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalBy {
    /// The exchange's own closed flag.
    Flag,
    /// The first message of a later window.
    Successor,
    /// A REST row with a close time before the exchange's own time.
    Rest,
}

impl FinalBy {
    /// Every kind of evidence, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Flag, Self::Successor, Self::Rest];

    /// The word that clients see in `final_by`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Successor => "successor",
            Self::Rest => "rest",
        }
    }
}

/// The origin of a candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Pushed over the exchange's WebSocket.
    Ws,
    /// Fetched over the exchange's REST interface.
    Rest,
    /// Folded exactly from closed minutes.
    Derived {
        /// Number of unknown minutes, which are not in it.
        missing: u16,
    },
}

impl Source {
    /// The word that clients see in `source`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Rest => "rest",
            Self::Derived { .. } => "derived",
        }
    }

    /// Number of minutes that a derived candle lacks; 0 for other candles.
    pub fn missing(self) -> u16 {
        match self {
            Self::Derived { missing } => missing,
            Self::Ws | Self::Rest => 0,
        }
    }
}
