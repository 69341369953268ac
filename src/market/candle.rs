//! One OHLCV candle, and a candle on its way through the connector. Owns their fields and meaning;
//! does not know which candles follow which (that is [`super::series`]).

use crate::clock::{Lapse, MonoNs, RoughLapse, UnixMs};
use crate::limits::FOLD_MINUTES_MAX;

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

/// The length of a candle's window. Windows begin at multiples of it since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interval {
    /// One second.
    S1,
    /// Ten seconds.
    S10,
    /// One minute.
    #[default]
    M1,
    /// Three minutes.
    M3,
    /// Five minutes.
    M5,
    /// A quarter of an hour.
    M15,
    /// Half an hour.
    M30,
    /// One hour.
    H1,
    /// Two hours.
    H2,
    /// Four hours.
    H4,
    /// Six hours.
    H6,
    /// Eight hours.
    H8,
    /// Twelve hours.
    H12,
    /// A day of UTC.
    D1,
}

impl Interval {
    /// Every interval that dialects can read, the shorter first.
    pub const ALL: [Self; 14] = [
        Self::S1,
        Self::S10,
        Self::M1,
        Self::M3,
        Self::M5,
        Self::M15,
        Self::M30,
        Self::H1,
        Self::H2,
        Self::H4,
        Self::H6,
        Self::H8,
        Self::H12,
        Self::D1,
    ];

    /// Every interval that clients may ask for, all but the seconds: each a whole number of minutes and
    /// a whole part of a day, so that all windows of a day end with it.
    pub const SERVED: &'static [Self] = Self::ALL.split_at(2).1;

    /// The spelling that clients and most exchanges use.
    pub fn name(self) -> &'static str {
        match self {
            Self::S1 => "1s",
            Self::S10 => "10s",
            Self::M1 => "1m",
            Self::M3 => "3m",
            Self::M5 => "5m",
            Self::M15 => "15m",
            Self::M30 => "30m",
            Self::H1 => "1h",
            Self::H2 => "2h",
            Self::H4 => "4h",
            Self::H6 => "6h",
            Self::H8 => "8h",
            Self::H12 => "12h",
            Self::D1 => "1d",
        }
    }

    /// The interval spelled `name` (case matters: `1m` is a minute, `1M` a month).
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            // What nearly every message says.
            "1m" => Some(Self::M1),
            _ => Self::ALL.into_iter().find(|interval| interval.name() == name),
        }
    }

    /// The window's length in ms.
    pub fn ms(self) -> i64 {
        match self {
            Self::S1 => 1_000,
            Self::S10 => 10_000,
            Self::M1 => 60_000,
            Self::M3 => 180_000,
            Self::M5 => 300_000,
            Self::M15 => 900_000,
            Self::M30 => 1_800_000,
            Self::H1 => 3_600_000,
            Self::H2 => 7_200_000,
            Self::H4 => 14_400_000,
            Self::H6 => 21_600_000,
            Self::H8 => 28_800_000,
            Self::H12 => 43_200_000,
            Self::D1 => 86_400_000,
        }
    }

    /// How many whole minutes the window has.
    pub fn minutes(self) -> usize {
        usize::try_from(self.ms() / Self::M1.ms()).unwrap_or(0)
    }

    /// Whether it can be folded of minutes.
    pub fn is_foldable(self) -> bool {
        (2..=FOLD_MINUTES_MAX).contains(&self.minutes()) && self.ms() % Self::M1.ms() == 0
    }

    /// Start of the window that holds `at`.
    pub fn open_time(self, at: UnixMs) -> UnixMs {
        UnixMs(at.0.div_euclid(self.ms()) * self.ms())
    }

    /// Last ms of the window that opens at `open_time`.
    pub fn close_time(self, open_time: UnixMs) -> UnixMs {
        UnixMs(open_time.0 + self.ms() - 1)
    }

    /// Sequence number of the window: dense, and the same on every host and after every restart.
    pub fn seq(self, open_time: UnixMs) -> i64 {
        open_time.0.div_euclid(self.ms())
    }

    /// Whether `open_time` is the start of a window.
    pub fn is_aligned(self, open_time: UnixMs) -> bool {
        open_time.0.rem_euclid(self.ms()) == 0
    }
}

const _: () = assert!(matches!(Interval::SERVED[0], Interval::M1), "the seconds come first");
