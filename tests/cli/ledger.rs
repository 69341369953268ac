//! What has been stored, out of the ledger's file: exports, one window explained, the file checked.

use std::path::{Path, PathBuf};

use connector_wss::clock::{Lapse, MonoNs, Now, RoughLapse, UnixMs};
use connector_wss::ledger::Store;
use connector_wss::market::{
    Candle, CandleUpdate, ClosedWindow, Decimal, FinalBy, Instrument, InstrumentId, Interval,
    Market, Source,
};
use connector_wss::messages::LedgerEvent;
use serde_json::Value;

use super::harness::Scratch;
use super::{cli, run};

/// 2026-11-30 13:00 UTC, in minutes.
const BEGIN: i64 = 29_934_060;

fn candle(minute: i64, close: &str, revision: u16) -> ClosedWindow {
    let decimal = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
    ClosedWindow::Candle(CandleUpdate {
        instrument: InstrumentId(0),
        candle: Candle {
            open_time: UnixMs((BEGIN + minute) * 60_000),
            open: decimal("98438.04"),
            high: decimal("98473.51"),
            low: decimal("98424.58"),
            close: decimal(close),
            volume: decimal("16.90164"),
            other_volume: Some(decimal("1663984.1662143")),
            trades: 7,
        },
        event_time: None,
        received: MonoNs(0),
        until_ring: Lapse::default(),
        kernel: RoughLapse::UNKNOWN,
        final_by: Some(FinalBy::Flag),
        source: Source::Ws,
        revision,
    })
}

/// A file with minutes 0, 1 (corrected), 2 (empty) and 4 of BTCUSDT, and minute 0 of ETHUSDT.
fn stored() -> (Scratch, PathBuf) {
    let folder = Scratch::new();
    let file = folder.0.join("candles.sqlite");
    let closed = |symbol: &str, window| LedgerEvent::Closed {
        instrument: Instrument {
            market: Market::all().next().unwrap(),
            symbol: symbol.into(),
            interval: Interval::M1,
        },
        window,
        is_backfilled: false,
    };
    let open_time = UnixMs((BEGIN + 2) * 60_000);
    let events = [
        closed("BTCUSDT", candle(0, "98451.53", 0)),
        closed("BTCUSDT", candle(1, "98451.53", 0)),
        closed("ETHUSDT", candle(0, "98450", 0)),
        closed("BTCUSDT", candle(1, "98460.1", 1)),
        closed("BTCUSDT", ClosedWindow::Empty { open_time }),
        closed("BTCUSDT", candle(4, "98424.58", 0)),
    ];
    let now = Now { mono: MonoNs(0), unix_us: (BEGIN + 5) * 60_000_000 };
    Store::open(&file).unwrap().append(&events, now).unwrap();
    (folder, file)
}

/// What it says with the file.
fn ask(words: &str, file: &Path) -> (Option<i32>, String, String) {
    let env = vec![("CONNECTOR_LEDGER_FILE".to_owned(), file.display().to_string())];
    run(words, &env)
}

#[test]
fn csv_has_the_newest_revision_of_each_window_in_the_columns_of_binance() {
    let (_folder, file) = stored();
    let (code, out, err) = ask("export --symbol BTCUSDT", &file);
    assert_eq!(code, Some(0), "{err}");
    let line = |minute: i64, close: &str| {
        let open = (BEGIN + minute) * 60_000;
        let closes = open + 59_999;
        format!("{open},98438.04,98473.51,98424.58,{close},16.90164,{closes},1663984.1662143,7,,,")
    };
    let lines: Vec<&str> = out.lines().collect();
    let header = "open_time,open,high,low,close,volume,close_time,quote_volume,count,\
                  taker_buy_volume,taker_buy_quote_volume,ignore";
    assert_eq!(lines[0], header);
    let expected = [line(0, "98451.53"), line(1, "98460.1"), line(4, "98424.58")];
    assert_eq!(lines[1..], expected);
    let words = "export --symbol BTCUSDT --from 2026-11-30T13:01:00Z --to 2026-11-30T13:04:00Z";
    let (code, out, err) = ask(words, &file);
    assert_eq!((code, out.lines().count()), (Some(0), 2), "--to is not included: {out}{err}");
}

#[test]
fn json_lines_keep_every_digit_and_name_empty_windows() {
    let (_folder, file) = stored();
    let (code, out, err) = ask("export --format jsonl", &file);
    assert_eq!(code, Some(0), "{err}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = lines.iter().map(|line| (&line["symbol"], &line["kind"])).collect();
    let of = |symbol: &'static str, kind: &'static str| (Value::from(symbol), Value::from(kind));
    let expected = [
        of("BTCUSDT", "candle"),
        of("BTCUSDT", "candle"),
        of("BTCUSDT", "empty"),
        of("BTCUSDT", "candle"),
        of("ETHUSDT", "candle"),
    ];
    let expected: Vec<_> = expected.iter().map(|(symbol, kind)| (symbol, kind)).collect();
    assert_eq!(kinds, expected);
    assert!(out.contains("\"close\":98460.1,") && out.contains("\"revision\":1"), "{out}");
}

#[test]
fn parquet_needs_a_file_and_leaves_nothing_half_written() {
    let (folder, file) = stored();
    let (code, _, err) = ask("export --format parquet", &file);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("--output"), "{err}");
    let target = folder.0.join("candles.parquet");
    let words = format!("export --format parquet --output {}", target.display());
    let (code, _, err) = ask(&words, &file);
    assert_eq!(code, Some(0), "{err}");
    let bytes = std::fs::read(&target).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let left: Vec<_> = std::fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("candles."))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn one_window_is_explained_with_every_revision() {
    let (_folder, file) = stored();
    let words = "explain binance spot BTCUSDT 2026-11-30T13:01:30Z --json";
    let (code, out, err) = ask(words, &file);
    assert_eq!(code, Some(0), "{out}{err}");
    let known: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(known["open_time"], (BEGIN + 1) * 60_000);
    let revisions = known["revisions"].as_array().unwrap();
    let revisions: Vec<_> = revisions
        .iter()
        .map(|one| (one["revision"].as_u64().unwrap(), one["close"].to_string()))
        .collect();
    assert_eq!(revisions, [(0, "98451.53".to_owned()), (1, "98460.1".to_owned())]);
    let (code, out, _) = ask("explain binance spot BTCUSDT 2026-11-30T13:03:00Z", &file);
    assert_eq!(code, Some(1), "the window is unknown");
    assert!(out.contains("the window before") && out.contains("the window after"), "{out}");
}

#[test]
fn a_word_that_matches_nothing_is_answered_with_what_there_is() {
    let (_folder, file) = stored();
    let (code, out, err) = ask("export --symbol BTCUSTD", &file);
    assert_eq!((code, &*out), (Some(1), ""), "{err}");
    assert!(err.contains("did you mean BTCUSDT?"), "{err}");
    let (code, _, err) = ask("export --exchange binanze", &file);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("did you mean binance?"), "{err}");
    let (code, _, err) = ask("export", &file.with_extension("none"));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("candles.none"), "{err}");
}

#[test]
fn the_file_is_checked_and_what_it_lacks_is_counted() {
    let (folder, file) = stored();
    let (code, out, err) = ask("ledger check", &file);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("1 absent windows in 1 of 2 series"), "{out}");
    assert!(out.contains("the file is sound"), "{out}");
    let damaged = folder.0.join("damaged.sqlite");
    std::fs::write(&damaged, [7; 9_000]).unwrap();
    let words = format!("ledger check {}", damaged.display());
    let output = cli(&words, &Vec::new(), &folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
