//! What is traded: exact decimals, candles, instruments, and the series of closed candles. Knows no
//! socket, no exchange dialect and no client.

pub mod candle;
pub mod decimal;
pub mod fold;
pub mod instrument;
pub mod interval;
pub mod listing;
pub mod series;
pub(crate) mod spelled;
pub mod table;

pub use candle::{Candle, CandleUpdate, FinalBy, Source};
pub use decimal::Decimal;
pub use fold::{Fold, Folded};
pub use instrument::{ContractType, Instrument, Market, Venue, VolumeUnit};
pub use interval::Interval;
pub use listing::{Listed, SymbolList};
pub use series::{ClosedWindow, Series, Span, Verdict};
pub use table::{InstrumentId, InstrumentTable};
