use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::{Lapse, MonoNs, Now, RoughLapse, UnixMs};
use crate::market::{
    Candle, CandleUpdate, ClosedWindow, Decimal, FinalBy, Instrument, InstrumentId, Interval,
    Market, Source, Span,
};
use crate::messages::LedgerEvent;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ledger-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("candles.sqlite")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Minute 0 of these tests.
const BEGIN: i64 = 29_000_000;

fn at(minute: i64) -> UnixMs {
    UnixMs((BEGIN + minute) * 60_000)
}

fn now(minute: i64) -> Now {
    Now { mono: MonoNs(5_000_000_000), unix_us: at(minute).0 * 1000 }
}

fn instrument(symbol: &str) -> Instrument {
    let market = Market::all().next().unwrap();
    Instrument { market, symbol: symbol.into(), interval: Interval::M1 }
}

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text.as_bytes()).unwrap()
}

fn candle(minute: i64, close: &str, revision: u16) -> ClosedWindow {
    ClosedWindow::Candle(CandleUpdate {
        instrument: InstrumentId(0),
        candle: Candle {
            open_time: at(minute),
            open: decimal("1.5"),
            high: decimal("98473.51"),
            low: decimal("0.00000001"),
            close: decimal(close),
            volume: decimal("16.90164"),
            other_volume: Some(decimal("1663984.1662143")),
            trades: 7,
        },
        event_time: Some(UnixMs(at(minute).0 + 60_012)),
        received: MonoNs(4_900_000_000),
        until_ring: Lapse::default(),
        kernel: RoughLapse::UNKNOWN,
        final_by: Some(FinalBy::Flag),
        source: Source::Ws,
        revision,
    })
}

fn empty(minute: i64) -> ClosedWindow {
    ClosedWindow::Empty { open_time: at(minute) }
}

fn closed(symbol: &str, window: ClosedWindow) -> LedgerEvent {
    LedgerEvent::Closed { instrument: instrument(symbol), window, is_backfilled: false }
}

fn backfilled(symbol: &str, window: ClosedWindow) -> LedgerEvent {
    LedgerEvent::Closed { instrument: instrument(symbol), window, is_backfilled: true }
}

fn lost(symbol: &str, first: i64, last: i64) -> LedgerEvent {
    let span = Span { first: at(first), last: at(last) };
    LedgerEvent::Lost { instrument: instrument(symbol), span }
}

fn open(path: &Path) -> Store {
    Store::open(path).unwrap()
}

fn read(store: &Store, symbol: &str, first: i64, last: i64) -> Vec<StoredWindow> {
    let span = Span { first: at(first), last: at(last) };
    page(store.connection(), &instrument(symbol), span, 1_000).unwrap().windows
}

/// Minutes and revisions.
fn summary(windows: &[StoredWindow]) -> Vec<(i64, u16)> {
    windows.iter().map(|one| (one.open_time.0 / 60_000 - BEGIN, one.revision)).collect()
}

#[test]
fn what_is_written_is_read_to_the_digit_after_the_file_was_closed() {
    let folder = Folder::new("digits");
    let written = [candle(0, "98451.53", 0), empty(1), candle(2, "2", 3)];
    let mut events: Vec<_> = written.map(|window| closed("A", window)).into();
    events.push(LedgerEvent::Verified { instrument: instrument("A"), open_time: at(1) });
    let appended = open(&folder.file()).append(&events, now(3)).unwrap();
    assert_eq!(appended.rows, 3);
    assert_eq!(appended.newest_close, Some(UnixMs(at(3).0 - 1)));
    let store = open(&folder.file());
    let windows = read(&store, "A", 0, 2);
    let digits = |window: &Option<ClosedWindow>| match window.unwrap() {
        ClosedWindow::Candle(update) => Some((
            update.candle,
            update.event_time,
            update.final_by,
            update.source,
            update.revision,
        )),
        ClosedWindow::Empty { .. } => None,
    };
    let before: Vec<_> = written.map(|window| digits(&Some(window))).into();
    assert_eq!(windows.iter().map(|one| digits(&one.window)).collect::<Vec<_>>(), before);
    assert_eq!(windows[0].received, UnixMs(at(3).0 - 100), "a tenth of a second before the row");
    assert_eq!(read(&store, "B", 0, 2), []);
    assert_eq!(newest_position(store.connection()).unwrap(), 3);
}

#[test]
fn a_window_gets_a_row_for_each_revision_and_no_other() {
    let folder = Folder::new("revisions");
    let mut store = open(&folder.file());
    let mut put = |event| store.append(&[event], now(9)).unwrap().rows;
    assert_eq!(put(closed("A", candle(0, "1", 0))), 1);
    assert_eq!(put(closed("A", candle(0, "1", 0))), 0, "published again after a restart");
    assert_eq!(put(closed("A", candle(0, "2", 1))), 1);
    assert_eq!(put(closed("A", candle(0, "2", 0))), 0, "REST has what is known");
    assert_eq!(put(closed("A", candle(0, "3", 0))), 1, "restated while the server was away");
    assert_eq!(put(closed("A", empty(0))), 0, "an empty window contradicts no candle");
    assert_eq!(put(backfilled("A", candle(0, "9", 0))), 0, "what was published is newer");
    let ClosedWindow::Candle(mut more) = candle(0, "9", 0) else { panic!() };
    more.candle.trades += 1;
    let more = ClosedWindow::Candle(more);
    assert_eq!(put(backfilled("A", more)), 1, "REST has trades that came while it was away");
    assert_eq!(put(closed("A", empty(1))), 1);
    assert_eq!(put(closed("A", candle(1, "4", 1))), 1, "it had trades after all");
    assert_eq!(put(backfilled("A", candle(2, "5", 0))), 1);
    assert_eq!(summary(&read(&store, "A", 0, 9)), [(0, 3), (1, 1), (2, 0)]);
    let known = explain(store.connection(), &instrument("A"), at(0)).unwrap();
    let closes: Vec<_> = known
        .iter()
        .map(|(kind, stored)| match stored.window {
            Some(ClosedWindow::Candle(update)) => (*kind, stored.revision, update.candle.close),
            _ => panic!("{stored:?}"),
        })
        .collect();
    let expected = [(0, "1"), (1, "2"), (2, "3"), (3, "9")];
    assert_eq!(closes, expected.map(|(revision, close)| (Kind::Candle, revision, decimal(close))));
}

#[test]
fn a_window_whose_newest_revision_is_lost_is_unknown_until_it_is_fetched() {
    let folder = Folder::new("lost");
    let mut store = open(&folder.file());
    let events = [0, 1, 2].map(|minute| closed("A", candle(minute, "1", 0)));
    store.append(&events, now(9)).unwrap();
    store.append(&[lost("A", 1, 5), lost("B", 0, 3)], now(9)).unwrap();
    assert_eq!(summary(&read(&store, "A", 0, 9)), [(0, 0)], "3 to 5 have no row, and need none");
    store.append(&[backfilled("A", candle(1, "7", 0))], now(9)).unwrap();
    store.append(&[closed("A", candle(2, "8", 2))], now(9)).unwrap();
    assert_eq!(summary(&read(&store, "A", 0, 9)), [(0, 0), (1, 1), (2, 2)]);
}

#[test]
fn pages_are_read_to_the_end_of_the_span_and_leave_out_what_is_unknown() {
    let folder = Folder::new("pages");
    let mut store = open(&folder.file());
    let minutes = [0, 1, 3, 4, 5, 8];
    let events = minutes.map(|minute| closed("A", candle(minute, "1", 0)));
    store.append(&events, now(9)).unwrap();
    store.append(&[lost("A", 1, 1)], now(9)).unwrap();
    let (mut from, mut found, mut pages) = (at(0), Vec::new(), 0);
    loop {
        let span = Span { first: from, last: at(7) };
        let page = page(store.connection(), &instrument("A"), span, 2).unwrap();
        found.extend(page.windows);
        pages += 1;
        let Some(next) = page.next else { break };
        from = next;
    }
    assert_eq!(summary(&found), [(0, 0), (3, 0), (4, 0), (5, 0)]);
    assert_eq!(pages, 3);
}

#[test]
fn a_tail_is_what_adjoins_the_newest_window_of_a_series_that_is_not_too_old() {
    let folder = Folder::new("tails");
    let mut store = open(&folder.file());
    let mut events: Vec<_> = (0..40).map(|minute| closed("LONG", candle(minute, "1", 0))).collect();
    let broken = [36, 38, 39].map(|minute| closed("BROKEN", candle(minute, "1", 0)));
    let old = [1, 2].map(|minute| closed("OLD", candle(minute, "1", 0)));
    let gone = closed("GONE", candle(39, "1", 0));
    events.extend(broken.into_iter().chain(old).chain([gone, lost("GONE", 39, 39)]));
    store.append(&events, now(41)).unwrap();
    let found = tails(store.connection(), 9, at(40)).unwrap();
    let minutes = |symbol| -> Vec<i64> {
        let tail = found.get(&instrument(symbol));
        let windows = tail.into_iter().flatten();
        windows.map(|window| window.open_time().0 / 60_000 - BEGIN).collect()
    };
    assert_eq!(minutes("LONG"), (24..40).collect::<Vec<_>>());
    assert_eq!(minutes("BROKEN"), [38, 39]);
    assert_eq!(found.len(), 2, "{:?}", found.keys());
}

#[test]
fn old_rows_go_in_small_steps_and_the_file_does_not_grow() {
    let folder = Folder::new("retention");
    let mut store = open(&folder.file());
    let keep = Retention { age: Duration::from_secs(12 * 60), bytes_max: u64::MAX };
    let mut sizes = Vec::new();
    for twelve in 0..8 {
        for minute in twelve * 12..(twelve + 1) * 12 {
            let series = (0..200).map(|number| format!("S{number}"));
            let events: Vec<_> =
                series.map(|symbol| closed(&symbol, candle(minute, "1", 0))).collect();
            store.append(&events, now(minute + 1)).unwrap();
            while store.prune(keep, now(minute + 1)).unwrap() == PRUNED_AT_ONCE {}
        }
        sizes.push(std::fs::metadata(folder.file()).unwrap().len());
    }
    let rows = read(&store, "S7", 0, 1_000);
    assert_eq!(summary(&rows).first(), Some(&(84, 0)), "twelve minutes and no more");
    assert_eq!(summary(&rows).last(), Some(&(95, 0)));
    assert!(sizes[7] <= sizes[3] * 11 / 10, "it stays as large as it is: {sizes:?}");
    let tight = Retention { age: Duration::MAX, bytes_max: store.bytes().unwrap() / 2 };
    while store.prune(tight, now(96)).unwrap() > 0 {}
    assert!(store.bytes().unwrap() <= tight.bytes_max);
    let newest = read(&store, "S7", 0, 1_000);
    assert_eq!(summary(&newest).last(), Some(&(95, 0)), "the oldest go first");
}

#[test]
fn a_damaged_file_is_found_and_a_later_one_is_left_alone() {
    let folder = Folder::new("damage");
    let events: Vec<_> = (0..3_000).map(|minute| closed("A", candle(minute, "1", 0))).collect();
    open(&folder.file()).append(&events, now(3_000)).unwrap();
    let sound = std::fs::read(folder.file()).unwrap();
    let mut turned = sound.clone();
    turned[100..3_000].fill(0x5a);
    let random: Vec<u8> =
        (0..50_000_u32).map(|byte| byte.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for (what, bytes) in [
        ("random bytes", &random[..]),
        ("cut in a page", &sound[..sound.len() - 1_000]),
        ("cut at a page", &sound[..sound.len() / 8_192 * 4_096]),
        ("cut in the first page", &sound[..1_000]),
        ("a page overwritten", &turned[..]),
    ] {
        std::fs::write(folder.file(), bytes).unwrap();
        let error = Store::open(&folder.file()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged(_)), "{what}: {error}");
        for suffix in ["-wal", "-shm"] {
            std::fs::remove_file(folder.file().display().to_string() + suffix).ok();
        }
    }
    std::fs::write(folder.file(), &sound).unwrap();
    open(&folder.file()).connection().pragma_update(None, "user_version", 9).unwrap();
    let error = Store::open(&folder.file()).unwrap_err();
    assert!(matches!(error, OpenError::Later { version: 9 }), "{error}");
}

#[test]
fn the_view_shows_the_newest_revision_of_each_window_and_nothing_that_is_lost() {
    let folder = Folder::new("view");
    let mut store = open(&folder.file());
    let events = [
        closed("A", candle(0, "1", 0)),
        closed("A", candle(0, "2", 1)),
        closed("A", empty(1)),
        closed("A", candle(2, "3", 0)),
        lost("A", 2, 2),
    ];
    store.append(&events, now(3)).unwrap();
    let mut rows = store
        .connection()
        .prepare("SELECT opened_at, revision, kind, close, volume_unit FROM candles ORDER BY seq")
        .unwrap();
    let rows = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)));
    let rows: Vec<(String, i64, String, Option<String>, String)> =
        rows.unwrap().collect::<Result<_, _>>().unwrap();
    let unit = instrument("A").market.volume_unit().name().to_owned();
    let expected = [
        (
            "2025-02-19 21:20:00".to_owned(),
            1,
            "candle".to_owned(),
            Some("2".to_owned()),
            unit.clone(),
        ),
        ("2025-02-19 21:21:00".to_owned(), 0, "empty".to_owned(), None, unit),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn what_a_process_may_not_have_verified_before_its_end_is_unknown_to_the_next() {
    let folder = Folder::new("unverified");
    let inferred = |minute, revision| match candle(minute, "1", revision) {
        ClosedWindow::Candle(update) => {
            ClosedWindow::Candle(CandleUpdate { final_by: Some(FinalBy::Successor), ..update })
        }
        ClosedWindow::Empty { .. } => panic!(),
    };
    let mut store = open(&folder.file());
    let verified = |symbol, minute| LedgerEvent::Verified {
        instrument: instrument(symbol),
        open_time: at(minute),
    };
    for minute in 0..20 {
        let events = [
            closed("INFERRED", inferred(minute, 0)),
            closed("FLAGGED", candle(minute, "1", 0)),
            closed("QUIET", empty(minute)),
            // Fetched long after its end: REST's rows no longer change.
            backfilled("PAST", inferred(minute - 100, 0)),
            verified("INFERRED", minute - 4),
            verified("QUIET", minute - 5),
        ];
        store.append(&events, now(minute + 1)).unwrap();
    }
    let last = |store: &Store, symbol| summary(&read(store, symbol, -200, 30)).last().copied();
    assert_eq!(last(&store, "INFERRED"), Some((19, 0)), "its process still corrects it");
    let early = tails(store.connection(), 30, at(20)).unwrap();
    drop(store);
    let store = open(&folder.file());
    assert_eq!(last(&store, "FLAGGED"), Some((19, 0)));
    assert_eq!(last(&store, "INFERRED"), Some((15, 0)));
    assert_eq!(last(&store, "QUIET"), Some((14, 0)));
    assert_eq!(last(&store, "PAST"), Some((-81, 0)));
    let later = tails(store.connection(), 30, at(20)).unwrap();
    assert_eq!(early, later, "whoever reads while the other still writes knows no more");
    let newest = |symbol| later[&instrument(symbol)].last().map(ClosedWindow::open_time);
    assert_eq!((newest("INFERRED"), newest("FLAGGED")), (Some(at(15)), Some(at(19))));

    let mut store = store;
    let mut put = |event| store.append(&[event], now(21)).unwrap().rows;
    assert_eq!(put(closed("INFERRED", inferred(18, 0))), 0, "it was right");
    assert_eq!(put(closed("INFERRED", candle(19, "2", 0))), 1, "it was wrong");
    assert_eq!(put(closed("QUIET", empty(19))), 0);
    let rows = summary(&read(&store, "INFERRED", 16, 30));
    assert_eq!(rows, [(18, 0), (19, 1)], "revisions go on counting");
}
