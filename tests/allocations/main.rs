//! Nothing is allocated between the exchange's socket and the client's: the allocator of this
//! binary counts what is asked of it.

#![allow(missing_docs, clippy::unwrap_used)]

mod hot_path;
#[allow(dead_code)]
#[path = "../feed/pair.rs"]
mod pair;
#[allow(dead_code)]
#[path = "../fanout/world.rs"]
mod world;

use std::alloc::System;

use connector_wss::market::Venue;
use hot_path::HotPath;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SYMBOLS: usize = 50;
const CLIENTS: usize = 20;
const PUSHES: usize = 20;
/// As many as it takes until every series remembers, and keeps for `history`, as much as it ever
/// will.
const WARM_UP_MINUTES: usize = 40;

/// The kinds of clients are tried one after the other: what another test asks of the allocator
/// would be counted too.
#[test]
fn an_update_allocates_nothing_after_warm_up() {
    for venue in [Venue::Binance, Venue::Okx] {
        for basic in [0, CLIENTS / 2] {
            assert_nothing_is_allocated(HotPath::new(venue, SYMBOLS, CLIENTS, basic));
        }
    }
}

fn assert_nothing_is_allocated(mut path: HotPath) {
    for _ in 0..WARM_UP_MINUTES {
        let bytes = path.next_minute(PUSHES);
        path.carry(&bytes);
    }
    for minute in 0..5 {
        let bytes = path.next_minute(PUSHES);
        let (updates, written) = (path.updates, path.written_bytes);
        let region = Region::new(ALLOCATOR);
        path.carry(&bytes);
        let asked = region.change();
        assert_eq!(path.updates - updates, SYMBOLS * PUSHES, "every push is a candle");
        let (written, least) = (path.written_bytes - written, CLIENTS * SYMBOLS * PUSHES * 250);
        assert!(written > least, "every client gets every candle: {written} bytes");
        let of_all = (asked.allocations, asked.reallocations, asked.deallocations);
        assert_eq!(of_all, (0, 0, 0), "in minute {minute}: {asked:?}");
    }
}
