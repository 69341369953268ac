//! The real server against the real simulator, every fault by chance, clients that come and go, and
//! a `kill -9` in the middle; at the end what each client was told is the simulator's truth.
//!
//! `SOAK_MINUTES=n` decides how long faults last; a short run is part of every test run.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]
#![allow(clippy::disallowed_methods, reason = "faults last for a time, and so does peace")]

#[allow(dead_code)]
#[path = "../simulation/book.rs"]
mod book;
#[allow(dead_code, unreachable_pub)]
#[path = "../process/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../simulation/dice.rs"]
mod dice;
#[allow(dead_code)]
#[path = "../process/harness.rs"]
mod harness;
mod visitor;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use connector_wss::market::{Market, Venue};
use rustix::process::Signal;
use serde_json::Value;

use book::{MINUTE, Window, is_true};
use dice::Dice;
use harness::{Process, Server, ask_exchange, http};
use visitor::{Series, Visitor};

/// A minute of the exchanges passes in a quarter.
const SCALE: &str = "4";
const EXTRA_SYMBOLS: &str = "10";
const SYMBOLS_PER_MARKET: usize = 16;
/// Hyperliquid's candles are closed by conclusion, and compared with REST as far as half of 45
/// questions a minute go: with four minutes in one, five of each. More would stay uncompared.
const SYMBOLS_PER_MARKET_OF_HYPERLIQUID: usize = 2;
const VISITORS: u64 = 6;

/// What happens while faults are done; shared by all threads.
pub(crate) struct Stage {
    /// Where the server is; another place after its restart.
    pub(crate) server: Mutex<SocketAddr>,
    pub(crate) is_peace: AtomicBool,
    pub(crate) is_over: AtomicBool,
    pub(crate) closed_candles: AtomicU64,
    /// Gaps that clients were told of: series and first window.
    pub(crate) gaps: Mutex<BTreeSet<(Series, i64)>>,
}

struct Exchange {
    _process: Process,
    env: Vec<(String, String)>,
}

impl Exchange {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_connector-sim"));
        command.args(["--print-env", "--time-scale", SCALE, "--symbols-extra", EXTRA_SYMBOLS]);
        let process = Process::spawn(&mut command, &[]);
        let line = || {
            let line = process.line("CONNECTOR_");
            let (name, value) = line.split_once('=').unwrap();
            (format!("CONNECTOR_{name}"), value.to_owned())
        };
        let env = std::iter::repeat_with(line).take(2 * Market::COUNT).collect();
        Self { _process: process, env }
    }

    fn address(&self, market: Market) -> SocketAddr {
        let (venue, kind) = (market.venue().name(), market.contract_type().name());
        let name = format!("CONNECTOR_{venue}_{kind}_REST_URL").to_uppercase();
        let url = &self.env.iter().find(|(one, _)| *one == name).unwrap().1;
        url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Traded symbols of a market, as its own REST rows of some seed say: by the truth they have.
    fn symbols(&self, market: Market) -> Vec<String> {
        let listed = connector_wss::sim::market::SimMarket::new(
            connector_wss::sim::SimOptions::default().seed,
            market,
            EXTRA_SYMBOLS.parse().unwrap(),
        );
        let traded = listed.listings().iter().filter(|one| one.trading);
        let count = match market.venue() {
            Venue::Hyperliquid => SYMBOLS_PER_MARKET_OF_HYPERLIQUID,
            _ => SYMBOLS_PER_MARKET,
        };
        traded.map(|one| one.name.to_string()).take(count).collect()
    }
}

fn server(exchange: &Exchange) -> Server {
    let quick = [
        ("CONNECTOR_CIRCUIT_BREAKER_RECOVERY_TIMEOUT", "3"),
        ("CONNECTOR_WS_PING_INTERVAL", "5"),
        ("CONNECTOR_WS_PING_TIMEOUT", "5"),
    ];
    Server::start(exchange.env.clone(), &quick)
}

fn gaps_total(server: &Server) -> f64 {
    server.metric("connector_gaps_total", &[])
}

/// One fault somewhere.
fn strike(exchange: &Exchange, dice: &mut Dice) -> &'static str {
    const FAULTS: [&str; 20] = [
        "disconnect",
        "half_open",
        "silence",
        "shutdown_notice",
        "refuse",
        "malformed",
        "duplicate",
        "lost_close",
        "double_close",
        "reordered",
        "restated_close",
        "late_close",
        "empty_minute",
        "muted",
        "slow_rest",
        "rest_error",
        "rest_garbage",
        "rest_stale",
        "rest_lags",
        "rate_limit",
    ];
    let markets: Vec<Market> = Market::all().collect();
    let market = *dice.pick(&markets);
    let name = *dice.pick(&FAULTS);
    let (venue, kind) = (market.venue().name(), market.contract_type().name());
    // Bybit's bans last for ten minutes.
    if name == "rate_limit" && venue == "bybit" {
        return "none";
    }
    let target = format!("/fault?name={name}&value=6&exchange={venue}&contract_type={kind}");
    assert_eq!(http(exchange.address(market), &target).0, 200, "{target}");
    name
}

#[test]
fn whatever_happens_every_client_has_the_truth() {
    let minutes: f64 = std::env::var("SOAK_MINUTES").map_or(0.4, |text| text.parse().unwrap());
    let seed = std::env::var("SEED").map_or(1, |text| text.parse().unwrap());
    let exchange = Exchange::start();
    let mut running = server(&exchange);
    let series: Vec<Series> = Market::all()
        .flat_map(|market| {
            exchange.symbols(market).into_iter().map(move |symbol| (market.index(), symbol))
        })
        .collect();
    let stage = Stage {
        server: Mutex::new(running.clients),
        is_peace: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        closed_candles: AtomicU64::new(0),
        gaps: Mutex::default(),
    };
    let mut dice = Dice::new(seed);
    let (mut faults, mut gaps_before) = (0, 0.0);
    let visitors: Vec<Visitor> = std::thread::scope(|scope| {
        let visit = |number: u64| {
            let (stage, series) = (&stage, &series);
            scope.spawn(move || Visitor::new(seed * 100 + number, series).visit(stage))
        };
        let threads: Vec<_> = (0..VISITORS).map(visit).collect();
        let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
        let half = Instant::now() + Duration::from_secs_f64(minutes * 30.0);
        let mut is_restarted = false;
        while Instant::now() < end {
            std::thread::sleep(dice.ms(300, 2_500));
            faults += u64::from(strike(&exchange, &mut dice) != "none");
            if Instant::now() > half && !std::mem::replace(&mut is_restarted, true) {
                gaps_before = gaps_total(&running);
                running.process.signal(Signal::KILL);
                running.process.wait();
                running = server(&exchange);
                *stage.server.lock().unwrap() = running.clients;
            }
        }
        stage.is_peace.store(true, Ordering::Release);
        // All that can be wrong is found and mended in this time.
        std::thread::sleep(Duration::from_secs(75));
        stage.is_over.store(true, Ordering::Release);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let gaps = stage.gaps.lock().unwrap().len() as f64;
    let counted = gaps_before + gaps_total(&running);
    assert!(gaps <= counted, "clients were told of {gaps} gaps, the metrics know {counted}");
    let (mut judged, mut windows, mut wrong) = (0, 0, Vec::new());
    for visitor in &visitors {
        for (series, book) in &visitor.books {
            judged += 1;
            match judge(&exchange, series, book) {
                Ok(count) => windows += count,
                Err(why) => wrong.push(format!("{} {}: {why}", series.0, series.1)),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {judged} books: {wrong:#?}", wrong.len());
    let candles = stage.closed_candles.load(Ordering::Relaxed);
    let resumes: u64 = visitors.iter().map(|visitor| visitor.resumes).sum();
    let refusals: u64 = visitors.iter().map(|visitor| visitor.refusals).sum();
    println!(
        "{minutes} minutes, {} series, {faults} faults, {candles} closed candles told, {resumes} \
         resumes ({refusals} refused), {gaps} gaps told; {judged} books with {windows} windows are the truth",
        series.len()
    );
    running.process.signal(Signal::TERM);
    assert!(running.process.wait().success());
}

/// The book of one client about one series against the truth; how many windows that were.
fn judge(
    exchange: &Exchange,
    (index, symbol): &Series,
    book: &book::Book,
) -> Result<usize, String> {
    let market = Market::all().nth(*index).unwrap();
    let (Some((first, _)), Some((last, _))) =
        (book.windows.first_key_value(), book.windows.last_key_value())
    else {
        return Err(format!("nothing was told about {market}"));
    };
    if !book.missing.is_empty() {
        return Err(format!("{market}: never repaired: {:?}", book.missing));
    }
    let encoded: String = symbol.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let target = format!("/truth?symbol={encoded}&from={first}&to=99999999999999");
    let rows = ask_exchange(exchange.address(market), &target);
    let rows: &Vec<Value> = rows.as_array().unwrap();
    let newest = rows.last().unwrap()["open_time"].as_i64().unwrap();
    if last + 3 * MINUTE < newest {
        return Err(format!("{market}: told up to {last} of {newest}"));
    }
    let mut judged = 0;
    for row in rows {
        let open_time = row["open_time"].as_i64().unwrap();
        let verdict = match book.windows.get(&open_time) {
            Some(Window::Candle { text, .. }) => is_true(text, row),
            Some(Window::Empty) => Ok(()),
            None if open_time > *last || book.unavailable.contains(&open_time) => continue,
            None => Err("never told".to_owned()),
        };
        // What closed just now may still be compared.
        if open_time + 4 * MINUTE < newest {
            verdict.map_err(|why| format!("{market} {open_time}: {why}"))?;
            judged += 1;
        }
    }
    Ok(judged)
}
