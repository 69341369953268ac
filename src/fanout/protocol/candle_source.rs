//! What a request wants of a series beside its live candles: who makes them, and how far back they
//! begin; and which series end together. Data only.

use crate::clock::UnixMs;
use crate::market::{Interval, Market};

/// Who makes the candles of a series, as `source` of a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CandleSource {
    /// The exchange. Always so for minutes.
    Exchange,
    /// We, from the exchange's minutes.
    Derived,
}

impl CandleSource {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Exchange, Self::Derived];

    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Derived => "derived",
        }
    }

    /// Whose candles of `interval` are meant where the client does not say it.
    pub(crate) fn default_of(interval: Interval) -> Self {
        if interval == Interval::M1 { Self::Exchange } else { Self::Derived }
    }
}

/// The series that end together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeriesGroup {
    pub(crate) market: Market,
    pub(crate) interval: Interval,
    pub(crate) origin: CandleSource,
}

/// Closed candles that are to come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistoryRequest {
    /// So many, at least 1: those of `history` candles.
    Last(u32),
    /// All after this open time.
    Since(UnixMs),
}
