//! The ledger's file with synthetic minutes: its size for each series and day, how long a minute's
//! close takes to be stored, how long reads take, and whether the size stays under retention.
//!
//! `cargo bench --bench ledger`; `SERIES` (1000), `DAYS` (1) and `KEPT_DAYS` (as `DAYS`) in the
//! environment; `LEDGER_FILE` keeps the file.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use connector_wss::clock::{Lapse, MonoNs, Now, RoughLapse, UnixMs};
use connector_wss::ledger::{self, PRUNED_AT_ONCE, Retention, Store};
use connector_wss::market::{
    Candle, CandleUpdate, ClosedWindow, Decimal, FinalBy, Instrument, InstrumentId, Interval,
    Market, Source, Span,
};
use connector_wss::messages::LedgerEvent;
use connector_wss::rng::Rng;

/// The first minute: 2026-01-01 00:00 UTC.
const BEGIN_MS: i64 = 1_767_225_600_000;
const MINUTE_MS: i64 = 60_000;
const MINUTES_A_DAY: i64 = 1_440;

/// One symbol, with a price that walks.
struct Walk {
    instrument: Instrument,
    /// In hundredths.
    price: u64,
    rng: Rng,
}

impl Walk {
    fn new(number: u64) -> Self {
        let market = Market::all().next().unwrap();
        let symbol = format!("COIN{number}USDT").as_str().into();
        let instrument = Instrument { market, symbol, interval: Interval::M1 };
        let mut rng = Rng::new(number + 1);
        // From 1.00 to 100,000.00: as many digits as symbols of a market have.
        let price = 10_u64.pow(2 + u32::try_from(rng.roll() % 6).unwrap()) + rng.roll() % 100;
        Self { instrument, price, rng }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.rng.roll() % end
    }

    fn close(&mut self, minute: i64) -> LedgerEvent {
        let open = self.price;
        let close = (open * (9_990 + self.below(21)) / 10_000).max(10);
        self.price = close;
        let high = open.max(close) + self.below(open / 1_000 + 1);
        let low = open.min(close) - self.below(open / 2_000 + 1);
        let volume = self.below(1_000_000_000);
        let turnover = u128::from(volume) * u128::from(open);
        let open_time = UnixMs(BEGIN_MS + minute * MINUTE_MS);
        let candle = Candle {
            open_time,
            open: digits(u128::from(open), 2),
            high: digits(u128::from(high), 2),
            low: digits(u128::from(low), 2),
            close: digits(u128::from(close), 2),
            volume: digits(u128::from(volume), 5),
            other_volume: Some(digits(turnover, 7)),
            trades: 1 + self.below(3_000),
        };
        let update = CandleUpdate {
            instrument: InstrumentId(0),
            candle,
            event_time: Some(UnixMs(open_time.0 + MINUTE_MS + 34)),
            received: MonoNs(0),
            until_ring: Lapse::default(),
            kernel: RoughLapse::UNKNOWN,
            final_by: Some(FinalBy::Flag),
            source: Source::Ws,
            revision: 0,
        };
        let instrument = self.instrument.clone();
        let window = ClosedWindow::Candle(update);
        LedgerEvent::Closed { instrument, window, is_backfilled: false }
    }
}

/// `number` divided by ten to the `places`, as an exchange writes it.
fn digits(number: u128, places: u32) -> Decimal {
    let unit = 10_u128.pow(places);
    let width = usize::try_from(places).unwrap();
    let text = format!("{}.{:0width$}", number / unit, number % unit);
    Decimal::parse(text.as_bytes()).unwrap()
}

fn number(name: &str, default: i64) -> i64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

fn on_disk(file: &Path) -> u64 {
    let length = |suffix: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        std::fs::metadata(name).map_or(0, |file| file.len())
    };
    length("") + length("-wal")
}

/// The folder in which the file lies, and the file.
fn place() -> (Option<PathBuf>, PathBuf) {
    if let Ok(file) = std::env::var("LEDGER_FILE") {
        return (None, file.into());
    }
    let folder = std::env::temp_dir().join(format!("ledger-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    (Some(folder.clone()), folder.join("candles.sqlite"))
}

fn main() {
    let (series, days) = (number("SERIES", 1_000), number("DAYS", 1));
    let kept_days = number("KEPT_DAYS", days);
    let age = Duration::from_secs(u64::try_from(kept_days).unwrap() * 86_400);
    let retention = Retention { age, bytes_max: u64::MAX };
    let (folder, file) = place();
    let mut store = Store::open(&file).unwrap();
    let mut walks: Vec<Walk> = (0..series).map(|n| Walk::new(n.unsigned_abs())).collect();
    println!("{series} series, {days} days, of which {kept_days} are kept: {}", file.display());
    let mut appends = Vec::new();
    for minute in 0..days * MINUTES_A_DAY {
        let unix_us = (BEGIN_MS + (minute + 1) * MINUTE_MS + 50) * 1_000;
        let now = Now { mono: MonoNs(0), unix_us };
        let events: Vec<_> = walks.iter_mut().map(|walk| walk.close(minute)).collect();
        let began = Instant::now();
        let appended = store.append(&events, now).unwrap();
        appends.push(began.elapsed());
        assert_eq!(appended.rows, series.unsigned_abs());
        while store.prune(retention, now).unwrap() == PRUNED_AT_ONCE {}
        if (minute + 1) % MINUTES_A_DAY == 0 {
            let (bytes, day) = (store.bytes().unwrap(), (minute + 1) / MINUTES_A_DAY);
            println!("day {day}: data {} MiB, on disk {} MiB", mib(bytes), mib(on_disk(&file)));
        }
    }
    appends.sort_unstable();
    let (median, worst) = (appends[appends.len() / 2], appends[appends.len() - 1]);
    println!("a minute's close is stored in {median:.1?}, at worst {worst:.1?}");
    read(&store, &walks, days);
    drop(store);
    println!("closed: {} MiB on disk", mib(on_disk(&file)));
    if let Some(folder) = folder {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

/// Times what a server reads: at its start, and for a client.
fn read(store: &Store, walks: &[Walk], days: i64) {
    let end = UnixMs(BEGIN_MS + days * MINUTES_A_DAY * MINUTE_MS);
    let began = Instant::now();
    let tails = ledger::tails(store.connection(), 60, end).unwrap();
    println!("the tails of {} series are read in {:.1?}", tails.len(), began.elapsed());
    let last = UnixMs(end.0 - MINUTE_MS);
    let span = Span { first: UnixMs(end.0 - MINUTES_A_DAY * MINUTE_MS), last };
    let instrument = &walks[walks.len() / 2].instrument;
    let began = Instant::now();
    let page = ledger::page(store.connection(), instrument, span, MINUTES_A_DAY).unwrap();
    println!("a day of one series, {} minutes: {:.1?}", page.windows.len(), began.elapsed());
}
