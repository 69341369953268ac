//! Where the time of an update went, and which updates took the longest.

use connector_wss::clock::{Lapse, MonoNs, RoughLapse};
use connector_wss::market::{CandleUpdate, FinalBy, Source};
use connector_wss::messages::{MarketEvent, SlowUpdate};

use super::world::*;

/// Read from the exchange now, put into the ring 16 µs later.
fn update(world: &World, minute: i64) -> CandleUpdate {
    let update = world.update("BTCUSDT", minute, "1", Some(FinalBy::Flag));
    let put = MonoNs(update.received.0 + 16_000);
    CandleUpdate { until_ring: Lapse::between(update.received, put), ..update }
}

fn wait_us(world: &mut World, us: u64) {
    world.now.mono.0 += us * 1_000;
}

fn slowest(world: &mut World) -> Vec<SlowUpdate> {
    world.fanout.take_slowest(world.now.mono).into_iter().collect()
}

#[test]
fn an_update_is_timed_from_hop_to_hop_up_to_its_slowest_client() {
    let mut world = World::new();
    let slow = world.open_with(BTC);
    world.open_with(BTC);
    world.socket(slow).is_blocked = true;
    let first = update(&world, 0);
    wait_us(&mut world, 20);
    world.market(MarketEvent::Candle(first));
    let second = CandleUpdate { kernel: RoughLapse::of_ns(7_000), ..update(&world, 1) };
    wait_us(&mut world, 20);
    world.market(MarketEvent::Candle(second));
    wait_us(&mut world, 100);
    world.unblock(slow);
    let ring = &world.metrics.ring_to_taken;
    assert_eq!((ring.sum_ns(), ring.cumulative().last()), (8_000, Some((None, 2))));
    // One client had each at once; the other, whose socket was blocked, both at the end.
    let totals = world.metrics.received_to_written.sum_ns();
    assert_eq!(totals, 20_000 + 20_000 + 140_000 + 120_000);
    assert_eq!(world.metrics.taken_to_written.sum_ns(), 120_000 + 100_000);
    let mut kept = slowest(&mut world);
    kept.sort_by_key(|update| update.open_time);
    let hops = |at: usize| {
        let SlowUpdate { received, put, taken, written, .. } = kept[at];
        [put, taken, written].map(|instant| instant.ns_since(received))
    };
    assert_eq!((kept.len(), hops(0)), (2, [16_000, 20_000, 140_000]));
    assert_eq!(hops(1), [16_000, 20_000, 120_000]);
    let kernel = [kept[0].kernel, kept[1].kernel];
    assert_eq!(kernel, [RoughLapse::UNKNOWN, second.kernel], "shown, and no part of the rest");
    assert!(kept[0].is_closed);
    assert_eq!((kept[0].open_time, &*kept[0].instrument.symbol), (open_time(0), "BTCUSDT"));
    assert_eq!(slowest(&mut world), [], "taken once");
}

#[test]
fn what_no_exchange_pushed_is_not_timed() {
    let mut world = World::new();
    world.open_with(BTC);
    let fetched = CandleUpdate { source: Source::Rest, ..update(&world, 0) };
    wait_us(&mut world, 20);
    world.market(MarketEvent::Candle(fetched));
    world.open_with(BTC);
    assert_eq!(world.metrics.received_to_written.sum_ns(), 0);
    assert_eq!(slowest(&mut world), []);
}
