//! Everything that crosses sockets, side by side in one run: relays that only copy the bytes, one
//! that spins and one that sleeps until they come, the usual tokio + tokio-tungstenite + serde_json
//! relay, and this server in its two main wait modes and, spinning, on plain threads. Each is a
//! process of its own, and they take turns.
//!
//! `make bench` runs this after the benches of the engines, and prints both in one table. `cargo
//! bench --bench wire` alone leaves the engines out. `BENCH_QUICK=1`: only to see that everything
//! works. `BASELINE=file`: what is different from an earlier run's `results.json`.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod baseline;
mod boundary;
mod clients;
mod exchange;
mod host;
mod latency;
mod load;
mod plot;
mod process;
mod relays;
mod report;
#[path = "../results/mod.rs"]
mod results;
mod table;

use std::time::{Duration, Instant};

use latency::Load;
use results::Results;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--relay") {
        let upstream = arguments[at + 2].parse().expect("an address follows the relay's name");
        let authority = arguments.get(at + 3).map(String::as_str);
        return relays::run(&arguments[at + 1], upstream, authority);
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        return println!("benches are no tests: they want --bench, as cargo bench says it");
    }
    // Read before this run's results take its place.
    let baseline = std::env::var("BASELINE").ok().filter(|path| !path.is_empty());
    let baseline = baseline.map(|path| Results::load(&path).unwrap_or_else(|why| panic!("{why}")));
    let is_with_engines = arguments.iter().any(|argument| argument == "--with-engines");
    let results = run(is_with_engines);
    table::print(&results);
    if let Some(baseline) = &baseline {
        baseline::print(baseline, &results);
    }
    let saved = results.save("results.json");
    let report = report::write(&results, baseline.as_ref());
    println!("\nresults: {}\nreport:  {}", saved.display(), report.display());
}

fn run(is_with_engines: bool) -> Results {
    connector_wss::cores::machine::open_files::raise_limit();
    let mut results =
        Results { host: host::host(), findings: host::findings(), ..Results::default() };
    let (begin, times) = (Instant::now(), host::CpuTimes::now());
    let plan = if results::is_quick() { Plan::QUICK } else { Plan::FULL };
    let within = |seconds| (plan.rounds, Duration::from_secs(seconds));
    latency::compare(&plan.one_client(), within(105), false, &mut results);
    latency::compare(&plan.by_tls(), within(35), true, &mut results);
    latency::compare(&plan.many_clients(), within(85), false, &mut results);
    boundary::compare(within(40), plan.minutes, &mut results);
    results.host.insert("disturbance".to_owned(), times.disturbance());
    results.host.insert("duration".to_owned(), format!("{} s", begin.elapsed().as_secs()));
    if is_with_engines {
        let path = results::folder().join("engines.json");
        let engines = Results::load(&path.to_string_lossy()).unwrap_or_else(|why| panic!("{why}"));
        results.rows.extend(engines.rows);
    }
    results
}

/// How much is measured.
struct Plan {
    rounds: usize,
    /// Of one rate; the slowest takes twice as long, so that its slow tail has enough messages.
    duration: Duration,
    crowds: &'static [(usize, u64)],
    minutes: u64,
}

impl Plan {
    /// Some four minutes; on a busy host fewer rounds.
    const FULL: Self = Self {
        rounds: 5,
        duration: Duration::from_millis(1_000),
        crowds: &[(1, 1_000), (100, 200), (1_000, 20)],
        minutes: 2,
    };
    const QUICK: Self = Self {
        rounds: 1,
        duration: Duration::from_millis(300),
        crowds: &[(1, 1_000), (100, 200)],
        minutes: 1,
    };

    fn one_client(&self) -> Vec<Load> {
        let load = |rate, duration| self.load("socket to socket", 1, rate, duration);
        vec![
            load(1_000, self.duration * 2),
            load(20_000, self.duration),
            load(100_000, self.duration),
        ]
    }

    fn by_tls(&self) -> Vec<Load> {
        vec![self.load("TLS from the exchange", 1, 20_000, self.duration)]
    }

    fn many_clients(&self) -> Vec<Load> {
        // To connect the clients takes as long again.
        let duration = self.duration * 7 / 10;
        let crowds = self.crowds.iter();
        crowds.map(|&(count, rate)| self.load("fan-out", count, rate, duration)).collect()
    }

    fn load(&self, section: &'static str, clients: usize, rate: u64, duration: Duration) -> Load {
        Load { section, clients, rate, warm_up: self.duration / 5, duration }
    }
}
