//! What a request wants beside live candles: what makes them, and how far back they begin; and
//! which series close together. Data only.

use crate::clock::UnixMs;
use crate::market::{Interval, Market};

/// What makes the candles of a series: `source` in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CandleSource {
    /// The exchange. Minutes always come from the exchange.
    Exchange,
    /// We derive them from the exchange's minutes.
    Derived,
}

impl CandleSource {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Exchange, Self::Derived];

    /// Its word in the protocol.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Derived => "derived",
        }
    }

    /// The default for candles of `interval`, if the client sends no `source`.
    pub(crate) fn default_of(interval: Interval) -> Self {
        if interval == Interval::M1 { Self::Exchange } else { Self::Derived }
    }
}

/// The series that close together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeriesGroup {
    pub(crate) market: Market,
    pub(crate) interval: Interval,
    pub(crate) origin: CandleSource,
}

/// Closed candles that are sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistoryRequest {
    /// The last `n` closed candles, at least 1: `history` in a request.
    Last(u32),
    /// All closed candles after this open time: `since` in a request.
    Since(UnixMs),
}
