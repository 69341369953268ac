//! How long after the end of its window a candle was known to be closed. Owns the instrument data
//! that a shard needs for that. Measures pushed candles only, because REST is asked late on
//! purpose.

use std::sync::Arc;

use crate::clock::{Now, UnixMs};
use crate::market::{CandleUpdate, Instrument, InstrumentId, Interval, Source, Venue};
use crate::metrics::ShardMetrics;

/// The closes of one shard.
#[derive(Debug)]
pub(crate) struct CloseLag {
    /// By [`InstrumentId::index`]; grows with subscriptions, not with updates.
    instruments: Vec<Option<(InstrumentId, Venue, Interval)>>,
    metrics: Arc<ShardMetrics>,
}

impl CloseLag {
    /// Without instruments.
    pub(crate) fn new(metrics: Arc<ShardMetrics>) -> Self {
        Self { instruments: Vec::new(), metrics }
    }

    /// Notes which instrument is published under this id from now on.
    pub(crate) fn learn(&mut self, id: InstrumentId, instrument: &Instrument) {
        if self.instruments.len() <= id.index() {
            self.instruments.resize(id.index() + 1, None);
        }
        self.instruments[id.index()] = Some((id, instrument.market.venue(), instrument.interval));
    }

    /// Counts a candle that is published as closed for the first time. If its window has not ended
    /// by our clock, the lag counts as zero, as in `connector_receive_lag_seconds`.
    pub(crate) fn note(&self, update: &CandleUpdate, now: Now) {
        let is_first = update.is_closed() && update.revision == 0 && update.source == Source::Ws;
        let known = self.instruments.get(update.instrument.index()).copied().flatten();
        let known = known.filter(|&(id, ..)| id == update.instrument);
        if let Some((_, venue, interval)) = known.filter(|_| is_first) {
            let UnixMs(open_ms) = update.candle.open_time;
            let end_us = open_ms.saturating_add(interval.ms()).saturating_mul(1000);
            let lag_us = now.unix_us.saturating_sub(end_us).max(0).unsigned_abs();
            self.metrics.close_lags[venue as usize].record_ns(lag_us.saturating_mul(1000));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Lapse, MonoNs, RoughLapse};
    use crate::market::{Candle, Decimal, FinalBy, Market};

    const MINUTE: i64 = 1_709_209_440_000;

    fn closed() -> CandleUpdate {
        let price = Decimal::ZERO;
        let candle = Candle {
            open_time: UnixMs(MINUTE),
            open: price,
            high: price,
            low: price,
            close: price,
            volume: price,
            other_volume: None,
            trades: 0,
        };
        CandleUpdate {
            instrument: InstrumentId(3),
            candle,
            event_time: None,
            received: MonoNs(0),
            until_ring: Lapse::default(),
            kernel: RoughLapse::UNKNOWN,
            final_by: Some(FinalBy::Flag),
            source: Source::Ws,
            revision: 0,
        }
    }

    fn noted(update: &CandleUpdate, unix_ms: i64) -> Vec<(u64, u64)> {
        let metrics = Arc::new(ShardMetrics::default());
        let mut close_lag = CloseLag::new(Arc::clone(&metrics));
        let market = Market::find(Venue::Okx, "swap").unwrap();
        let symbol = "BTC-USDT-SWAP".into();
        close_lag.learn(InstrumentId(3), &Instrument { market, symbol, interval: Interval::M1 });
        close_lag.note(update, Now { mono: MonoNs(0), unix_us: unix_ms * 1000 });
        let each = metrics.close_lags.iter();
        each.map(|lags| (lags.cumulative().last().unwrap().1, lags.sum_ns())).collect()
    }

    #[test]
    fn a_closed_candle_counts_from_the_end_of_its_window_at_its_exchange() {
        let okx = |count, ns| [(0, 0), (count, ns), (0, 0), (0, 0), (0, 0)];
        assert_eq!(noted(&closed(), MINUTE + 60_085), okx(1, 85_000_000));
        assert_eq!(noted(&closed(), MINUTE + 59_999), okx(1, 0), "our clock is behind");
        let none = okx(0, 0);
        assert_eq!(noted(&CandleUpdate { final_by: None, ..closed() }, MINUTE + 60_085), none);
        assert_eq!(noted(&CandleUpdate { revision: 1, ..closed() }, MINUTE + 60_085), none);
        assert_eq!(
            noted(&CandleUpdate { source: Source::Rest, ..closed() }, MINUTE + 90_000),
            none
        );
        let stranger = CandleUpdate { instrument: InstrumentId(9), ..closed() };
        assert_eq!(noted(&stranger, MINUTE + 60_085), none);
    }
}
