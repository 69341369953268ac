//! Whole-system simulation: every exchange, several shards, the fan-out and many clients in one thread
//! and in virtual time, everything by chance from a seed, faults of every kind; and the simulated
//! market's truth as the judge.
//!
//! `SEEDS=n` runs so many seeds, `SEED=n` one, and prints what happened in it.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

mod book;
mod client;
mod dice;
mod faults;
mod run;
mod scenarios;
mod venues;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use run::{Report, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_happens_every_closed_candle_is_told_once_and_true() {
    if let Some(seed) = number("SEED") {
        let report = run(seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        return println!("{report}");
    }
    let seeds = number("SEEDS").unwrap_or(6);
    let first = number("FIRST").unwrap_or(1);
    let next = AtomicU64::new(first);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<Result<Report, String>> = std::thread::scope(|scope| {
        let work = || {
            let mut results = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + seeds {
                    return results;
                }
                let result = run(seed).map_err(|why| format!("seed {seed}: {why}"));
                if let Err(why) = &result {
                    eprintln!("{why}");
                }
                results.push(result);
            }
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut total = Report::default();
    let mut failed = Vec::new();
    for result in results {
        match result {
            Ok(report) => total.add(&report),
            Err(why) => failed.push(why),
        }
    }
    println!("{total}");
    assert!(failed.is_empty(), "{} of {seeds} seeds failed; run one with SEED=n", failed.len());
}
