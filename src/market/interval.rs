//! The lengths of a candle's window. Owns where a window begins and ends; does not know which
//! intervals an exchange has.

use crate::clock::UnixMs;
use crate::limits::FOLD_MINUTES_MAX;

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
    /// Every interval that dialects can read, the shortest first.
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

    /// Every interval that clients may subscribe: all but those of seconds. Each is a whole number
    /// of minutes and divides a day, so that all windows of a day end with it.
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

    /// The interval with this name (case matters: `1m` is a minute, `1M` a month).
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            // Nearly every message has this one.
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

    /// Number of whole minutes in a window.
    pub fn minutes(self) -> usize {
        usize::try_from(self.ms() / Self::M1.ms()).unwrap_or(0)
    }

    /// Returns whether candles of this interval can be folded from minutes.
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

    /// Returns whether `open_time` is the start of a window.
    pub fn is_aligned(self, open_time: UnixMs) -> bool {
        open_time.0.rem_euclid(self.ms()) == 0
    }
}

const _: () = assert!(matches!(Interval::SERVED[0], Interval::M1), "the seconds come first");
