use super::*;
use crate::market::{Candle, Decimal, Interval};

const START_MS: i64 = 1_700_000_040_000;
const HOUR_MS: i64 = 3_600_000;
const LIMIT_MS: i64 = 360_000;

/// `seconds` after the start, on a machine with a clock that is wrong by `wall_off_ms`.
fn at(seconds: u64, wall_off_ms: i64) -> Now {
    let ms = START_MS + i64::try_from(seconds).unwrap() * 1000 + wall_off_ms;
    Now { mono: MonoNs(7_000_000_000 + seconds * 1_000_000_000), unix_us: ms * 1000 }
}

fn kline(event_ms: Option<i64>, open_ms: i64) -> Kline<'static> {
    let price: Decimal = "1".parse().unwrap();
    let candle = Candle {
        open_time: UnixMs(open_ms),
        open: price,
        high: price,
        low: price,
        close: price,
        volume: Decimal::ZERO,
        other_volume: None,
        trades: 0,
    };
    let event_time = event_ms.map(UnixMs);
    Kline { symbol: "A", interval: Interval::M1, candle, is_closed: Some(false), event_time }
}

/// A push of one stream that shows this time.
fn push(clock: &mut ExchangeClock, stream: u32, time_ms: i64, now: Now) -> bool {
    let kline = kline(Some(time_ms), time_ms / 60_000 * 60_000);
    clock.believes(InstrumentId(stream), &kline, LIMIT_MS, now)
}

#[test]
fn a_step_of_the_local_clock_changes_nothing() {
    let mut clock = ExchangeClock::default();
    assert_eq!(clock.now(at(1, 0)), UnixMs(START_MS + 1_000), "nothing else is known");
    for stream in 0..2 {
        assert!(push(&mut clock, stream, START_MS + 1_000, at(1, 0)));
    }
    for off in [0, -5_000, 9_999_000, -40 * HOUR_MS] {
        assert_eq!(clock.now(at(3, off)), UnixMs(START_MS + 3_000), "{off}");
        assert!(push(&mut clock, 1, START_MS + 3_000, at(3, off)));
        assert!(off > HOUR_MS || !push(&mut clock, 1, START_MS + HOUR_MS, at(3, off)));
    }
}

#[test]
fn one_liar_moves_the_clock_neither_forward_nor_back() {
    for wall_off_ms in [0, -HOUR_MS] {
        let mut clock = ExchangeClock::default();
        for second in 0..200 {
            let (now, time_ms) = (at(second, wall_off_ms), at(second, 0).unix_ms().0);
            for stream in 0..3 {
                let is_believed = push(&mut clock, stream, time_ms, now);
                assert!(is_believed || second == 0, "the wall clock is wrong");
            }
            let lie = [HOUR_MS, -HOUR_MS, LIMIT_MS - 1_000, -100_000 * HOUR_MS];
            let ahead_ms = lie[usize::try_from(second).unwrap() % 4];
            let is_known = wall_off_ms == 0 && second >= 10;
            let limit_ms = if is_known { CLOCK_ERROR_MS } else { LIMIT_MS };
            let is_believed = push(&mut clock, 3, time_ms + ahead_ms, now);
            assert_eq!(is_believed, ahead_ms < limit_ms, "{ahead_ms} {wall_off_ms}");
            assert_eq!(clock.now(now), UnixMs(time_ms), "{ahead_ms}");
        }
    }
}

/// A push without a time of its own.
fn bare(clock: &mut ExchangeClock, stream: u32, open_ms: i64, closed: bool, now: Now) -> bool {
    let kline = Kline { is_closed: Some(closed), ..kline(None, open_ms) };
    clock.believes(InstrumentId(stream), &kline, LIMIT_MS, now)
}

#[test]
fn a_window_neither_begins_nor_ends_before_its_time() {
    let mut clock = ExchangeClock::default();
    for stream in 0..3 {
        assert!(bare(&mut clock, stream, START_MS, false, at(1, 0)));
    }
    assert!(clock.apply_date(UnixMs(START_MS + 2_000), at(2, 0)));
    assert!(bare(&mut clock, 0, START_MS, true, at(3, 0)), "one `Date` may be any clock's");
    assert!(clock.apply_date(UnixMs(START_MS + 12_000), at(12, 0)));
    assert!(!bare(&mut clock, 0, START_MS, true, at(40, 0)), "not over");
    assert!(!bare(&mut clock, 0, START_MS + 60_000, false, at(45, 0)), "not begun");
    assert!(!bare(&mut clock, 9, START_MS + 180_000, false, at(45, 0)), "a new stream's first");
    assert!(bare(&mut clock, 0, START_MS, true, at(55, 0)), "clocks differ by seconds");
    assert!(bare(&mut clock, 0, START_MS + 60_000, false, at(55, 0)));
}

#[test]
fn streams_that_are_ahead_of_a_date_by_seconds_are_believed_together() {
    let ahead_ms = 15_000;
    let dated = || {
        let mut clock = ExchangeClock::default();
        assert!(clock.apply_date(UnixMs(START_MS), at(0, 0)));
        assert!(clock.apply_date(UnixMs(START_MS + 12_000), at(12, 0)));
        clock
    };
    let pushes = |clock: &mut ExchangeClock, streams, second| {
        let time_ms = START_MS + i64::try_from(second).unwrap() * 1000 + ahead_ms;
        (0..streams).map(|id| push(clock, id, time_ms, at(second, 0))).collect::<Vec<_>>()
    };
    let mut clock = dated();
    assert_eq!(pushes(&mut clock, 3, 13), [false, true, true], "a second source agrees");
    assert!(clock.apply_date(UnixMs(START_MS + 14_000), at(14, 0)));
    assert_eq!(pushes(&mut clock, 3, 15), [true, true, true]);
    let mut alone = dated();
    let believed = (13..32).map(|second| pushes(&mut alone, 1, second)[0]);
    assert_eq!(believed.filter(|is_believed| !is_believed).count(), 10, "it goes on for 10 s");
}

#[test]
fn rest_and_the_wall_clock_agree_where_all_streams_are_hours_behind() {
    let mut clock = ExchangeClock::default();
    assert!(clock.apply_date(UnixMs(START_MS), at(0, 0)));
    for stream in 0..3 {
        assert!(push(&mut clock, stream, START_MS - 3 * HOUR_MS, at(1, 0)));
    }
    assert_eq!(clock.agreed_now(InstrumentId(0), at(1, 0)), None, "one `Date`");
    assert!(clock.apply_date(UnixMs(START_MS + 12_000), at(12, 0)));
    let agreed = clock.agreed_now(InstrumentId(0), at(13, 0));
    assert_eq!(agreed, Some(UnixMs(START_MS + 13_000)));
}

#[test]
fn a_clock_that_steps_is_followed_once_most_streams_agree() {
    for step_ms in [HOUR_MS, -HOUR_MS] {
        let mut clock = ExchangeClock::default();
        for stream in 0..3 {
            assert!(push(&mut clock, stream, START_MS, at(0, 0)));
        }
        for round in 1..5 {
            for stream in 0..3 {
                let now_ms = START_MS + i64::try_from(round).unwrap() * 1000 + step_ms;
                push(&mut clock, stream, now_ms, at(round, 0));
            }
        }
        assert_eq!(clock.now(at(4, 0)), UnixMs(START_MS + 4_000 + step_ms), "{step_ms}");
    }
}

#[test]
fn a_date_of_rest_outweighs_streams_that_agree_on_the_future() {
    let mut clock = ExchangeClock::default();
    assert!(clock.apply_date(UnixMs(START_MS), at(0, -HOUR_MS)));
    assert!(push(&mut clock, 0, START_MS + 1_000, at(1, -HOUR_MS)));
    for stream in 0..4 {
        assert!(!push(&mut clock, stream, START_MS + HOUR_MS, at(2, -HOUR_MS)), "{stream}");
    }
    assert!(!clock.apply_date(UnixMs(START_MS + 1_000 * HOUR_MS), at(3, -HOUR_MS)));
    assert!(clock.apply_date(UnixMs(START_MS + HOUR_MS), at(4, -HOUR_MS)), "REST agrees now");
    assert!(push(&mut clock, 0, START_MS + HOUR_MS + 3_000, at(5, -HOUR_MS)));
}

#[test]
fn the_wall_clock_is_no_second_source_for_what_lies_minutes_ahead_of_it() {
    let mut clock = ExchangeClock::default();
    let jump_ms = 120_000;
    let kline = kline(Some(START_MS + 240_000), START_MS + 240_000);
    assert!(!clock.believes(InstrumentId(0), &kline, jump_ms, at(0, 0)));
    assert!(clock.believes(InstrumentId(0), &kline, jump_ms, at(240, 0)));
}

#[test]
fn a_date_counts_for_as_long_as_the_wall_clock_agrees_with_it() {
    for (wall_off_ms, is_believed) in [(0, false), (2 * HOUR_MS, true)] {
        let mut clock = ExchangeClock::default();
        assert!(clock.apply_date(UnixMs(START_MS), at(0, 0)));
        let times = (600..620).map(|second| {
            let time_ms = at(second, 0).unix_ms().0 + HOUR_MS;
            push(&mut clock, 0, time_ms, at(second, wall_off_ms))
        });
        assert_eq!(times.last(), Some(is_believed), "{wall_off_ms}");
    }
}

#[test]
fn a_first_date_is_outvoted_by_the_streams_and_the_wall_clock() {
    let mut clock = ExchangeClock::default();
    assert!(clock.apply_date(UnixMs(START_MS + 600_000), at(0, 0)), "nothing else is known");
    assert!(push(&mut clock, 0, START_MS + 1_000, at(1, 0)));
    assert!(!push(&mut clock, 0, START_MS + 900_000, at(2, 0)));
    assert_eq!(clock.now(at(2, 0)), UnixMs(START_MS + 2_000));
}

#[test]
fn windows_alone_show_the_time_to_within_their_length() {
    let mut clock = ExchangeClock::default();
    let far = -30 * 24 * HOUR_MS;
    for second in [40, 41] {
        for stream in 0..2 {
            let kline = kline(None, START_MS);
            clock.believes(InstrumentId(stream), &kline, LIMIT_MS, at(second, far));
        }
    }
    let shown = clock.now(at(41, far));
    assert!(shown >= UnixMs(START_MS) && shown <= UnixMs(START_MS + 60_000), "{shown:?}");
    assert!(clock.apply_date(UnixMs(START_MS + 42_000), at(42, far)));
    assert_eq!(clock.now(at(43, far)), UnixMs(START_MS + 43_000));
}

#[test]
fn a_date_of_a_later_day_alone_begins_no_series_there() {
    let mut clock = ExchangeClock::default();
    let ahead = START_MS + 30 * 24 * HOUR_MS;
    assert!(clock.apply_date(UnixMs(ahead), at(1, 0)), "nothing contradicts it yet");
    assert_eq!(clock.now(at(1, 0)).0 / HOUR_MS, ahead / HOUR_MS);
    assert_eq!(clock.begin_now(at(1, 0)), UnixMs(START_MS + 1_000));
    let mut clock = ExchangeClock::default();
    let soon = START_MS + 5 * HOUR_MS;
    assert!(clock.apply_date(UnixMs(soon), at(1, 0)));
    assert_eq!(clock.begin_now(at(1, 0)).0 / HOUR_MS, soon / HOUR_MS, "the wall clock is behind");
}
