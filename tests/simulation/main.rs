//! Whole-system simulation: every exchange, several shards, the fan-out and many clients in one
//! thread and in virtual time, everything by chance from a seed, faults of every kind; and the
//! simulated market's truth as the judge.
//!
//! `SEEDS=n` runs n seeds, and a quarter as many in which one exchange lies; `SEED=n` runs one, and
//! prints what happened in it. `LIARS=n` says how many lie, `LIAR=n` runs one of those, and
//! `LIE=name` has only lies of that name.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

mod book;
mod client;
mod dice;
mod faults;
mod hostile;
mod ledger;
mod liar;
mod lying;
mod run;
mod scenarios;
mod storms;
mod venues;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use run::Report;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds on all CPUs: `only` that one, else this many from `FIRST` on.
fn run_seeds(
    only: Option<u64>,
    seeds: u64,
    run: impl Fn(u64) -> Result<Report, String> + Sync,
) -> Report {
    let first = only.or(number("FIRST")).unwrap_or(1);
    let seeds = only.map_or(seeds, |_| 1);
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
    let failed = results.iter().filter(|result| result.is_err()).count();
    results.iter().flatten().for_each(|report| total.add(report));
    println!("{total}");
    assert_eq!(failed, 0, "of {seeds} seeds; run one with SEED=n, a liar's with LIAR=n");
    total
}

#[test]
fn whatever_happens_every_closed_candle_is_told_once_and_true() {
    if number("LIAR").is_none() {
        run_seeds(number("SEED"), number("SEEDS").unwrap_or(6), run::run);
    }
}

#[test]
fn a_lying_exchange_costs_only_itself() {
    if number("SEED").is_none() {
        let seeds = number("LIARS").or(number("SEEDS").map(|seeds| seeds / 4)).unwrap_or(4);
        run_seeds(number("LIAR"), seeds, lying::run);
    }
}
