//! The slowest updates of the last minute, as `/debug/slowest` shows them. Owns the updates that
//! the fan-out core has handed over, and their JSON. Knows no HTTP.

use std::cmp::Reverse;
use std::collections::VecDeque;

use serde::Serialize;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::limits::{SLOWEST_UPDATES, SLOWEST_WINDOW};
use crate::messages::{SlowUpdate, SlowUpdates};

/// The updates handed over in the last [`SLOWEST_WINDOW`].
#[derive(Debug, Default)]
pub(crate) struct Slowest(VecDeque<SlowUpdate>);

impl Slowest {
    /// Takes a handover.
    pub(crate) fn take(&mut self, updates: SlowUpdates) {
        self.0.extend(updates);
    }

    /// Forgets the updates that were written too long ago.
    pub(crate) fn forget(&mut self, now: MonoNs) {
        self.0.retain(|update| now.since(update.written) <= SLOWEST_WINDOW);
    }

    /// A JSON object: the slowest first.
    pub(crate) fn body(&self, now: Now) -> String {
        let mut slowest: Vec<&SlowUpdate> = self.0.iter().collect();
        slowest.sort_by_key(|update| Reverse(update.written.ns_since(update.received)));
        slowest.truncate(SLOWEST_UPDATES);
        let body = Body {
            window_seconds: SLOWEST_WINDOW.as_secs(),
            updates: slowest.into_iter().map(|update| row(update, now)).collect(),
        };
        simd_json::to_string(&body).expect("names, numbers and texts always serialise")
    }
}

#[derive(Serialize)]
struct Body<'a> {
    window_seconds: u64,
    updates: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    exchange: &'static str,
    contract_type: &'static str,
    symbol: &'a str,
    interval: &'static str,
    closed: bool,
    open_time: i64,
    /// `None` if the exchange gives none.
    event_time: Option<i64>,
    /// By our wall clock, as it is now.
    received_at: String,
    hops_us: HopsUs,
}

/// As in `connector_hop_seconds`. `decode`, `ring` and `write` add up to `total`.
#[derive(Serialize)]
struct HopsUs {
    /// Of the read that brought it, to within a sixteenth; `None` where that was not measured.
    kernel: Option<f64>,
    decode: f64,
    ring: f64,
    write: f64,
    total: f64,
}

fn row<'a>(update: &'a SlowUpdate, now: Now) -> Row<'a> {
    let SlowUpdate { instrument, kernel, received, put, taken, written, .. } = update;
    let age_us = i64::try_from(now.mono.ns_since(*received) / 1000).unwrap_or(i64::MAX);
    // The fan-out's reading may be a little older than the shard's: it had begun its turn.
    let put = (*put).min(*taken);
    Row {
        exchange: instrument.market.venue().name(),
        contract_type: instrument.market.contract_type().name(),
        symbol: &instrument.symbol,
        interval: instrument.interval.name(),
        closed: update.is_closed,
        open_time: update.open_time.0,
        event_time: update.event_time.map(|UnixMs(ms)| ms),
        received_at: UnixMs(now.unix_us.saturating_sub(age_us).div_euclid(1000)).to_string(),
        hops_us: HopsUs {
            kernel: kernel.ns().map(us_of),
            decode: us(put, *received),
            ring: us(*taken, put),
            write: us(*written, *taken),
            total: us(*written, *received),
        },
    }
}

fn us(later: MonoNs, earlier: MonoNs) -> f64 {
    us_of(later.ns_since(earlier))
}

#[allow(clippy::cast_precision_loss, reason = "for a person; below 2^53 ns it is exact")]
fn us_of(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::RoughLapse;
    use crate::market::{Instrument, Interval, Market, Venue};

    fn update(number: u64, total_ns: u64) -> SlowUpdate {
        let instrument = Instrument {
            market: Market::find(Venue::Binance, "spot").unwrap(),
            symbol: format!("S{number}").into(),
            interval: Interval::M1,
        };
        let at = |ns: u64| MonoNs(number * 1_000_000_000 + ns);
        SlowUpdate {
            instrument,
            is_closed: true,
            open_time: UnixMs(60_000),
            event_time: None,
            kernel: RoughLapse::of_ns(number * 1_000),
            received: at(0),
            put: at(1_500),
            taken: at(2_000),
            written: at(total_ns),
        }
    }

    fn now(seconds: u64) -> Now {
        let mono = MonoNs(0).after(Duration::from_secs(seconds));
        Now { mono, unix_us: 1_709_209_445_123_000 }
    }

    fn shown(slowest: &Slowest, now: Now) -> serde_json::Value {
        serde_json::from_str(&slowest.body(now)).unwrap()
    }

    #[test]
    fn the_slowest_come_first_and_no_more_than_a_screen() {
        let mut slowest = Slowest::default();
        for number in 0..40 {
            slowest.take([update(number, 10_000 + number % 20)].into_iter().collect());
        }
        let updates = shown(&slowest, now(40))["updates"].take();
        let symbols: Vec<_> = updates.as_array().unwrap().iter().map(|u| &u["symbol"]).collect();
        assert_eq!(symbols.len(), SLOWEST_UPDATES);
        assert_eq!(symbols[..4], ["S19", "S39", "S18", "S38"]);
    }

    #[test]
    fn a_minute_later_it_is_forgotten() {
        let mut slowest = Slowest::default();
        slowest.take([update(0, 900_000), update(5, 10_000)].into_iter().collect());
        slowest.forget(now(61).mono);
        let updates = shown(&slowest, now(61))["updates"].take();
        let expected = serde_json::json!([{
            "exchange": "binance", "contract_type": "spot", "symbol": "S5", "interval": "1m",
            "closed": true, "open_time": 60_000, "event_time": null,
            "received_at": "2024-02-29T12:23:09.123+00:00",
            "hops_us": {"kernel": 4.864, "decode": 1.5, "ring": 0.5, "write": 8.0, "total": 10.0},
        }]);
        assert_eq!(updates, expected);
    }

    #[test]
    fn the_parts_add_up_where_the_clocks_were_read_out_of_order() {
        let (mut slowest, mut early) = (Slowest::default(), update(0, 10_000));
        (early.put, early.kernel) = (MonoNs(2_300), RoughLapse::UNKNOWN);
        slowest.take([early].into_iter().collect());
        let hops = shown(&slowest, now(1))["updates"][0]["hops_us"].take();
        let expected = serde_json::json!({
            "kernel": null, "decode": 2.0, "ring": 0.0, "write": 8.0, "total": 10.0
        });
        assert_eq!(hops, expected);
    }
}
