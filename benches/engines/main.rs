//! What the parts between the sockets cost, in one thread and in memory: decoding, the series, the
//! ring, the fan-out, the metrics, one shard as a whole; and what an update allocates, which must
//! be nothing. The allocator of this binary counts, so what is compared with it by sockets is in
//! another.
//!
//! `make bench`, or `cargo bench --bench engines` alone.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod decode;
#[path = "../../tests/allocations/hot_path.rs"]
mod hot_path;
#[allow(dead_code)]
#[path = "../../tests/feed/pair.rs"]
mod pair;
mod parts;
#[allow(dead_code)]
#[path = "../results/mod.rs"]
mod results;
mod shard;
#[allow(dead_code)]
#[path = "../../tests/fanout/world.rs"]
mod world;

use std::alloc::System;
use std::time::Instant;

use connector_wss::market::Venue;
use hot_path::HotPath;
use results::{Cell, Results, Row};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return println!("benches are no tests: they want --bench, as cargo bench says it");
    }
    let rounds = if results::is_quick() { 3 } else { 15 };
    let mut rows = decode::rows(rounds);
    rows.extend(parts::rows(rounds));
    rows.extend(shard::rows(rounds));
    rows.push(allocations());
    for row in &rows {
        for Cell { of, shown, .. } in &row.cells {
            eprintln!("{}, {}: {shown:.1} {} ({of})", row.section, row.name, row.unit);
        }
    }
    Results { rows, ..Results::default() }.save("engines.json");
}

/// As `tests/allocations` has it; here with the optimised build and more series.
fn allocations() -> Row {
    const PUSHES: usize = 10;
    let mut path = HotPath::new(Venue::Binance, 100, 10, 0);
    for _ in 0..150 {
        let bytes = path.next_minute(PUSHES);
        path.carry(&bytes);
    }
    let bytes = path.next_minute(PUSHES);
    let (updates, written, region) = (path.updates, path.written_bytes, Region::new(ALLOCATOR));
    path.carry(&bytes);
    let asked = region.change();
    assert!(path.written_bytes > written, "clients get the candles");
    assert_eq!((asked.allocations, asked.reallocations), (0, 0), "the hot path allocates");
    let each = asked.allocations as f64 / (path.updates - updates) as f64;
    let cell = Cell::median("ours", vec![each]);
    Row::new("allocations", "for an update, after warm-up", "", vec![cell])
}

/// Mean ns of one of `count` operations, of each round; one round before them warms up.
fn rounds_ns(rounds: usize, count: usize, mut round: impl FnMut()) -> Vec<f64> {
    round();
    let mut time = || {
        let begin = Instant::now();
        round();
        begin.elapsed().as_nanos() as f64 / count as f64
    };
    (0..rounds).map(|_| time()).collect()
}
