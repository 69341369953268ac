//! What a request wants of a series beside its live candles: who makes them, and how far back they
//! begin; and which series end together. Data only.

use crate::clock::UnixMs;
use crate::market::{Interval, Market};

/// Who makes the candles of a series, as `source` of a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The exchange. Always so for minutes.
    Exchange,
    /// We, from the exchange's minutes.
    Derived,
}

impl Origin {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Exchange, Self::Derived];

    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Derived => "derived",
        }
    }

    /// Whose candles of `interval` are meant where the client does not say it.
    pub(super) fn default_of(interval: Interval) -> Self {
        if interval == Interval::M1 { Self::Exchange } else { Self::Derived }
    }
}

/// The series that end together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Together {
    pub(super) market: Market,
    pub(super) interval: Interval,
    pub(super) origin: Origin,
}

/// Closed candles that are to come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// So many, at least 1: those of `history` candles.
    Last(u32),
    /// All after this open time.
    Since(UnixMs),
}
