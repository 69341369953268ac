use super::*;
use crate::market::Decimal;
use proptest::prelude::*;

const ID: InstrumentId = InstrumentId(7);

/// The closed candle of minute `minute` since the epoch, from `open` to `close`.
fn minute(minute: i64, open: u32, close: u32, volume: &str) -> CandleUpdate {
    let price = |price: u32| -> Decimal { price.to_string().parse().unwrap() };
    CandleUpdate {
        instrument: InstrumentId(0),
        candle: Candle {
            open_time: UnixMs(minute * MINUTE_MS),
            open: price(open),
            high: price(open.max(close) + 1),
            low: price(open.min(close) - 1),
            close: price(close),
            volume: volume.parse().unwrap(),
            other_volume: Some(volume.parse().unwrap()),
            trades: 2,
        },
        event_time: Some(UnixMs(minute * MINUTE_MS + 60_001)),
        received: MonoNs(5),
        until_ring: Lapse::default(),
        kernel: RoughLapse::UNKNOWN,
        final_by: Some(FinalBy::Flag),
        source: Source::Ws,
        revision: 0,
    }
}

/// The published events in short: the window's minute, `open high low close volume trades`,
/// missing.
fn short(out: &mut Vec<Folded>) -> Vec<String> {
    let text = |folded: Folded| match folded {
        Folded::Empty { open_time } => format!("{} empty", open_time.0 / MINUTE_MS),
        Folded::Gap { first, count } => format!("{} gap {count}", first.0 / MINUTE_MS),
        Folded::Candle(update) => {
            assert_eq!(update.instrument, ID);
            let Candle { open, high, low, close, volume, trades, .. } = update.candle;
            let kind = match (update.final_by, update.revision) {
                (None, _) => "open".to_owned(),
                (Some(_), 0) => "closed".to_owned(),
                (Some(_), revision) => format!("revision {revision}"),
            };
            let at = update.candle.open_time.0 / MINUTE_MS;
            let missing = update.source.missing();
            format!("{at} {kind}: {open} {high} {low} {close} {volume} {trades}, lacks {missing}")
        }
    };
    out.drain(..).map(text).collect()
}

fn five() -> Fold {
    Fold::new(ID, Interval::M5)
}

fn open(update: CandleUpdate) -> CandleUpdate {
    CandleUpdate { final_by: None, ..update }
}

#[test]
fn a_window_is_its_minutes_and_closes_with_the_last() {
    let (mut fold, mut out) = (five(), Vec::new());
    for at in 10..15 {
        let open_price = 100 + u32::try_from(at).unwrap();
        fold.closed(&minute(at, open_price, open_price + 1, "0.1"), &mut out);
    }
    let published = short(&mut out);
    assert_eq!(published[0], "10 open: 110 112 109 111 0.1 2, lacks 0");
    assert_eq!(published[3], "10 open: 110 115 109 114 0.4 8, lacks 0");
    assert_eq!(published[4..], ["10 closed: 110 116 109 115 0.5 10, lacks 0"]);
}

#[test]
fn a_window_begins_with_its_first_trade() {
    let (mut fold, mut out) = (five(), Vec::new());
    let flat = |at, price| {
        let mut flat = minute(at, price, price, "0");
        (flat.candle.high, flat.candle.low) = (flat.candle.open, flat.candle.open);
        CandleUpdate { candle: Candle { trades: 0, other_volume: None, ..flat.candle }, ..flat }
    };
    fold.closed(&flat(10, 50), &mut out);
    fold.closed(&minute(11, 60, 61, "2"), &mut out);
    (12..15).for_each(|at| fold.closed(&flat(at, 70), &mut out));
    assert_eq!(short(&mut out).last().unwrap(), "10 closed: 60 62 59 61 2 2, lacks 0");
    (15..20).for_each(|at| fold.closed(&flat(at, 61), &mut out));
    assert_eq!(short(&mut out).last().unwrap(), "15 closed: 61 61 61 61 0 0, lacks 0");
}

#[test]
fn the_running_minute_counts_but_is_no_close() {
    let (mut fold, mut out) = (five(), Vec::new());
    fold.closed(&minute(10, 100, 101, "1"), &mut out);
    fold.open(&open(minute(11, 101, 105, "2")), &mut out);
    fold.open(&open(minute(11, 101, 105, "2")), &mut out);
    let published = short(&mut out);
    assert_eq!(
        published[1..],
        ["10 open: 100 106 99 105 3 4, lacks 0"],
        "the same is not published twice"
    );
    // Minute 12 runs before 11 has closed; no message of minute 13 has arrived.
    fold.open(&open(minute(12, 105, 106, "1")), &mut out);
    fold.open(&open(minute(14, 106, 107, "1")), &mut out);
    assert_eq!(short(&mut out)[1], "10 open: 100 108 99 107 5 8, lacks 1");
    fold.missing(UnixMs(11 * MINUTE_MS), 3, MonoNs(6), &mut out);
    short(&mut out);
    fold.closed(&minute(14, 106, 107, "1"), &mut out);
    assert_eq!(short(&mut out), ["10 closed: 100 108 99 107 2 4, lacks 3"], "what ran is no close");
}

#[test]
fn a_repaired_minute_revises_the_window_until_nothing_is_missing() {
    let (mut fold, mut out) = (five(), Vec::new());
    fold.closed(&minute(10, 100, 101, "1"), &mut out);
    fold.missing(UnixMs(11 * MINUTE_MS), 2, MonoNs(6), &mut out);
    fold.closed(&minute(13, 103, 104, "1"), &mut out);
    fold.closed(&minute(14, 104, 105, "1"), &mut out);
    assert_eq!(short(&mut out).last().unwrap(), "10 closed: 100 106 99 105 3 6, lacks 2");
    fold.closed(&minute(12, 90, 120, "1"), &mut out);
    assert_eq!(short(&mut out), ["10 revision 1: 100 121 89 105 4 8, lacks 1"]);
    fold.empty(UnixMs(11 * MINUTE_MS), MonoNs(7), &mut out);
    assert_eq!(short(&mut out), ["10 revision 2: 100 121 89 105 4 8, lacks 0"]);
    fold.closed(&CandleUpdate { revision: 1, ..minute(14, 104, 107, "1") }, &mut out);
    assert_eq!(short(&mut out), ["10 revision 3: 100 121 89 107 4 8, lacks 0"]);
    fold.closed(&CandleUpdate { revision: 1, ..minute(14, 104, 107, "1") }, &mut out);
    assert_eq!(short(&mut out), [""; 0], "nothing changed");
}

#[test]
fn windows_without_trades_are_empty_and_without_minutes_a_gap() {
    let (mut fold, mut out) = (five(), Vec::new());
    for at in 10..15 {
        fold.empty(UnixMs(at * MINUTE_MS), MonoNs(6), &mut out);
    }
    assert_eq!(short(&mut out), ["10 empty"]);
    fold.missing(UnixMs(15 * MINUTE_MS), 12, MonoNs(6), &mut out);
    assert_eq!(short(&mut out), ["15 gap 1", "20 gap 1"]);
    for at in 27..30 {
        fold.closed(&minute(at, 100, 101, "1"), &mut out);
    }
    assert_eq!(short(&mut out).last().unwrap(), "25 closed: 100 102 99 101 3 6, lacks 2");
    fold.closed(&minute(16, 50, 51, "1"), &mut out);
    assert_eq!(short(&mut out), ["15 closed: 50 52 49 51 1 2, lacks 4"], "late, and once");
    for at in 30..32 {
        fold.closed(&minute(at, 100, 101, "1"), &mut out);
    }
    short(&mut out);
    fold.closed(&CandleUpdate { revision: 1, ..minute(10, 50, 51, "1") }, &mut out);
    assert_eq!(short(&mut out), [""; 0], "longer ago than anything is restated");
    fold.closed(&CandleUpdate { revision: 1, ..minute(20, 50, 51, "1") }, &mut out);
    assert_eq!(short(&mut out), ["20 closed: 50 52 49 51 1 2, lacks 4"]);
}

#[test]
fn an_outage_of_days_is_published_as_one_gap_and_costs_no_memory() {
    let (mut fold, mut out) = (five(), Vec::new());
    fold.closed(&minute(14, 100, 101, "1"), &mut out);
    short(&mut out);
    fold.missing(UnixMs(15 * MINUTE_MS), 100_000, MonoNs(6), &mut out);
    let published = short(&mut out);
    assert_eq!(published[..2], ["15 gap 1", "20 gap 19710"]);
    let windows: u64 =
        published.iter().map(|gap| gap.split(' ').nth(2).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(windows, 20_000);
    assert!(fold.windows.len() <= 1_440 / 5 + 2);
}

#[test]
fn a_backfill_fills_what_is_not_known() {
    let (mut fold, mut out) = (five(), Vec::new());
    fold.backfilled(&ClosedWindow::Candle(minute(8, 1, 2, "9")));
    fold.open(&open(minute(13, 103, 104, "1")), &mut out);
    assert_eq!(short(&mut out), ["10 open: 103 105 102 104 1 2, lacks 3"]);
    fold.begin(UnixMs(12 * MINUTE_MS));
    assert_eq!(fold.running_window(), Some(UnixMs(10 * MINUTE_MS)));
    for at in 10..13 {
        fold.backfilled(&ClosedWindow::Candle(minute(at, 100, 101, "1")));
    }
    fold.publish_backfilled(MonoNs(6), &mut out);
    assert_eq!(short(&mut out), ["10 open: 100 105 99 104 4 8, lacks 0"], "once");
    fold.publish_backfilled(MonoNs(6), &mut out);
    assert_eq!(short(&mut out), [""; 0]);
    fold.closed(&minute(13, 103, 104, "1"), &mut out);
    fold.backfilled(&ClosedWindow::Candle(minute(13, 1, 1, "1")));
    fold.closed(&minute(14, 104, 105, "1"), &mut out);
    assert_eq!(short(&mut out), ["10 closed: 100 106 99 105 5 10, lacks 0"]);
}

#[test]
fn a_window_that_waits_for_its_end_does_not_run_after_the_next_one() {
    let (mut fold, mut out) = (five(), Vec::new());
    fold.closed(&minute(12, 100, 101, "1"), &mut out);
    fold.open(&open(minute(15, 103, 104, "1")), &mut out);
    short(&mut out);
    fold.closed(&minute(13, 101, 102, "1"), &mut out);
    assert_eq!(short(&mut out), Vec::<String>::new());
    fold.closed(&minute(14, 102, 103, "1"), &mut out);
    assert_eq!(short(&mut out), ["10 closed: 100 104 99 103 3 6, lacks 2"]);
}

#[test]
fn windows_before_the_first_published_one_are_not_published() {
    let (mut fold, mut out) = (five(), Vec::new());
    (5..14).for_each(|at| fold.backfilled(&ClosedWindow::Candle(minute(at, 100, 101, "1"))));
    fold.publish_backfilled(MonoNs(6), &mut out);
    fold.closed(&minute(14, 104, 105, "1"), &mut out);
    assert_eq!(short(&mut out), ["10 closed: 100 106 99 105 5 10, lacks 0"]);
}

#[test]
fn a_window_of_history_is_folded_whole_or_not_at_all() {
    let known = |at: UnixMs| {
        (at.0 != 12 * MINUTE_MS)
            .then(|| ClosedWindow::Candle(minute(at.0 / MINUTE_MS, 100, 101, "0.5")))
    };
    let fold = |first: i64, known: &dyn Fn(UnixMs) -> Option<ClosedWindow>| {
        fold_whole(ID, Interval::M5, UnixMs(first * MINUTE_MS), MonoNs(0), known)
    };
    let Some(ClosedWindow::Candle(whole)) = fold(15, &known) else { panic!() };
    assert_eq!((whole.candle.volume.as_str(), whole.candle.trades), ("2.5", 10));
    assert_eq!(fold(10, &known), None);
    let empty = |open_time| Some(ClosedWindow::Empty { open_time });
    assert_eq!(fold(10, &empty), Some(ClosedWindow::Empty { open_time: UnixMs(10 * MINUTE_MS) }));
    let long = |at: UnixMs| Some(ClosedWindow::Candle(minute(at.0, 100, 101, &"9".repeat(31))));
    assert_eq!(fold(10, &long), None, "never rounded");
}

proptest! {
    /// Whatever minutes are lost, repaired, restated and backfilled: in the end each window is the
    /// fold of its minutes, published once, and its revisions count without a gap.
    #[test]
    fn at_last_every_window_is_the_fold_of_its_minutes(
        fates in proptest::collection::vec((0u8..6, 1u32..50), 30),
        late in proptest::collection::vec(0usize..30, 60),
    ) {
        let (mut fold, mut out) = (five(), Vec::new());
        let at = |index: usize| 10 + i64::try_from(index).unwrap();
        let price = |index: usize| 100 + fates[index].1;
        let truth = |index: usize| minute(at(index), price(index), price(index) + 1, "1.5");
        let mut published = Vec::new();
        for (index, &(fate, _)) in fates.iter().enumerate() {
            match fate {
                0 => fold.missing(UnixMs(at(index) * MINUTE_MS), 1, MonoNs(0), &mut out),
                1 => {
                    let wrong = minute(at(index), 60, 61, "0.5");
                    fold.closed(&wrong, &mut out);
                    fold.closed(&CandleUpdate { revision: 1, ..truth(index) }, &mut out);
                }
                _ => {
                    fold.open(&open(minute(at(index), price(index), price(index), "1")), &mut out);
                    fold.closed(&truth(index), &mut out);
                }
            }
            published.append(&mut out);
        }
        let missing = (0..fates.len()).filter(|&index| fates[index].0 == 0);
        for index in late.iter().copied().filter(|&index| fates[index].0 == 0).chain(missing) {
            fold.closed(&truth(index), &mut out);
            published.append(&mut out);
        }
        for window in 0..6 {
            let open_time = UnixMs(at(window * 5) * MINUTE_MS);
            let minutes = |minute: UnixMs| {
                let index = usize::try_from(minute.0 / MINUTE_MS - 10).unwrap();
                Some(ClosedWindow::Candle(truth(index)))
            };
            let whole = fold_whole(ID, Interval::M5, open_time, MonoNs(0), minutes);
            let Some(ClosedWindow::Candle(whole)) = whole else { panic!("all minutes are known") };
            let of_window = published.iter().filter_map(|folded| match folded {
                Folded::Candle(update) if update.candle.open_time == open_time => Some(*update),
                _ => None,
            });
            let closed: Vec<_> = of_window.filter(CandleUpdate::is_closed).collect();
            for (revision, update) in closed.iter().enumerate() {
                prop_assert_eq!(usize::from(update.revision), revision);
            }
            let last = closed.last().unwrap();
            prop_assert_eq!((last.candle, last.source.missing()), (whole.candle, 0));
        }
    }
}

#[test]
fn the_other_volume_is_that_of_all_minutes_or_none() {
    for (others, expected) in
        [([Some("0.1"), Some("0.25")], Some("0.35")), ([Some("0.1"), None], None)]
    {
        let (mut fold, mut out) = (five(), Vec::new());
        fold.begin(UnixMs(4 * MINUTE_MS));
        for (at, other) in (5..).zip(others) {
            let mut update = minute(at, 10, 11, "10");
            update.candle.other_volume = other.map(|other| other.parse().unwrap());
            fold.closed(&update, &mut out);
        }
        let Some(Folded::Candle(last)) = out.last() else { panic!("{out:?}") };
        assert_eq!(last.candle.volume.as_str(), "20");
        let other = last.candle.other_volume.map(|other| other.to_string());
        assert_eq!(other.as_deref(), expected);
    }
}
