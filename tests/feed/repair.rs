//! Holes, REST rows that fill them, comparisons, and streams that fell silent alone.

use std::time::Duration;

use connector_wss::clock::UnixMs;
use connector_wss::feed::FeedConfig;
use connector_wss::market::{FinalBy, InstrumentId, Source};
use connector_wss::messages::{BackfillFrom, Command, MarketEvent, RestResponse, Wish};

use super::pair::{Pair, START_MS, config, kline};

const SECOND: Duration = Duration::from_secs(1);

/// Binance's rows of these minutes, as [`kline`] has them but for the close.
fn rows(minutes: &[(i64, &str)]) -> RestResponse {
    let row = |(minute, close): &(i64, &str)| {
        let open = START_MS + minute * 60_000;
        format!(
            r#"[{open},"1.10","9000.00","0.50","{close}","12.50",{},"20.0",7,"1","2","0"]"#,
            open + 59_999
        )
    };
    let body = format!("[{}]", minutes.iter().map(row).collect::<Vec<_>>().join(","));
    RestResponse { status: 200, retry_after: None, limit_headers: vec![], body: body.into_bytes() }
}

/// (minute, source, revision, close) of every closed candle.
fn closes(pair: &Pair) -> Vec<(i64, Source, u16, String)> {
    let closed = pair.candles().into_iter().filter(|update| update.is_closed());
    let row = |update: connector_wss::market::CandleUpdate| {
        let minute = (update.candle.open_time.0 - START_MS) / 60_000;
        (minute, update.source, update.revision, update.candle.close.to_string())
    };
    closed.map(row).collect()
}

fn told(minute: i64, source: Source, revision: u16, close: &str) -> (i64, Source, u16, String) {
    (minute, source, revision, close.to_owned())
}

fn at(minute: i64, ms: i64) -> i64 {
    START_MS + minute * 60_000 + ms
}

/// One symbol that has closed minute 0, and whose silence alone makes nobody ask REST.
fn closed_once() -> Pair {
    let mut pair = Pair::with(FeedConfig { stream_idle_timeout: SECOND * 1000, ..config() });
    pair.manners.is_still = true;
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.pass(SECOND * 60);
    pair.push(&kline("BTCUSDT", 0, "2", true, at(1, 10)));
    pair
}

#[test]
fn what_closed_during_a_break_is_asked_for_at_once_and_comes_first() {
    let mut pair = closed_once();
    pair.cut();
    pair.manners.rest_status = Some(500);
    pair.pass(SECOND * 170);
    pair.manners.rest_status = None;
    pair.rests.clear();
    pair.rest_answers.push_back(rows(&[(1, "2.1"), (2, "2.2"), (3, "2.3")]));
    pair.push(&kline("BTCUSDT", 3, "2.3", false, at(3, 50_000)));
    assert_eq!(pair.rests.len(), 1, "in the same turn: {:?}", pair.rests);
    assert!(pair.rests[0].contains(&format!("startTime={}", at(1, 0))), "{}", pair.rests[0]);
    let expected = [
        told(0, Source::Ws, 0, "2"),
        told(1, Source::Rest, 0, "2.1"),
        told(2, Source::Rest, 0, "2.2"),
    ];
    assert_eq!(closes(&pair), expected, "minute 3 runs");
    pair.push(&kline("BTCUSDT", 3, "2.4", true, at(4, 5)));
    assert_eq!(closes(&pair)[3], told(3, Source::Ws, 0, "2.4"));
    assert_eq!((pair.spot().gaps.value(), pair.spot().held.value()), (0, 0));
}

#[test]
fn a_lost_close_is_found_by_rest_and_the_next_one_waits_for_it() {
    let mut pair = closed_once();
    pair.manners.rest_status = Some(500);
    pair.pass(SECOND * 118);
    pair.manners.rest_status = None;
    pair.rest_answers.push_back(rows(&[(1, "2.1"), (2, "2.2")]));
    // Its own close was lost; minute 2 closes behind the hole.
    pair.push(&kline("BTCUSDT", 2, "2.2", true, at(3, 5)));
    pair.pass(SECOND * 4);
    let by = |at: usize| pair.candles().into_iter().filter(|one| one.is_closed()).nth(at).unwrap();
    assert_eq!((by(1).final_by, by(2).final_by), (Some(FinalBy::Rest), Some(FinalBy::Flag)));
    assert_eq!((pair.spot().gaps.value(), pair.spot().held.value()), (0, 1));
}

#[test]
fn a_gap_is_repaired_late_once_rest_answers() {
    let mut pair = closed_once();
    pair.manners.rest_status = Some(500);
    pair.pass(SECOND * 118);
    pair.push(&kline("BTCUSDT", 2, "2.2", true, at(3, 5)));
    pair.pass(SECOND * 6);
    assert_eq!(pair.spot().gap_candles.value(), 1);
    pair.manners.rest_status = None;
    pair.rest_answers.push_back(rows(&[(1, "2.1"), (2, "2.2")]));
    pair.pass(SECOND * 30);
    assert_eq!(closes(&pair)[2], told(1, Source::Rest, 0, "2.1"));
    assert_eq!(pair.spot().repaired.value(), 1);
}

#[test]
fn a_candle_closed_shortly_before_a_break_is_compared_and_corrected_when_said_twice() {
    let mut pair = closed_once();
    pair.pass(SECOND);
    pair.cut();
    pair.pass(SECOND * 5);
    for _ in 0..2 {
        pair.rest_answers.push_back(rows(&[(0, "2.5"), (1, "2.5")]));
    }
    pair.pass(SECOND * 20);
    assert_eq!(closes(&pair).len(), 1, "said once");
    pair.pass(SECOND * 12);
    assert_eq!(closes(&pair)[1], told(0, Source::Rest, 1, "2.5"));
    assert_eq!(pair.spot().comparisons_different.value(), 1);
}

#[test]
fn a_symbol_that_falls_silent_among_others_is_subscribed_anew_alone() {
    let mut pair = Pair::subscribed(&["BTCUSDT", "ETHUSDT"]);
    for second in 0..60 {
        pair.pass(SECOND);
        let close = format!("2.{second:02}1");
        pair.push(&kline("ETHUSDT", 0, &close, false, at(0, second * 900)));
        if second < 15 {
            pair.push(&kline("BTCUSDT", 0, &close, false, at(0, second * 900)));
        }
    }
    let texts = &pair.peers[&pair.only()].texts;
    let said: Vec<&String> = texts.iter().skip(2).collect();
    assert!(
        said[0].contains("UNSUBSCRIBE") && said[0].contains(r#"["btcusdt@kline_1m"]"#),
        "{said:?}"
    );
    assert!(said[1].contains(r#""SUBSCRIBE""#) && said[1].contains(r#"["btcusdt@kline_1m"]"#));
    assert_eq!(pair.connects.len(), 1, "the others stream on");
}

#[test]
fn a_symbol_that_never_pushed_is_owed_its_windows_once_rest_shows_that_there_are_any() {
    let mut pair = Pair::new();
    pair.manners.is_still = true;
    // The machine's clock is no evidence: it is a day slow.
    pair.now.unix_us -= 86_400_000_000;
    pair.pass(SECOND * 5);
    pair.subscribe(0, "spot", "BTCUSDT");
    let dated = |minutes: &[(i64, &str)], ms: i64| {
        let time = std::time::UNIX_EPOCH + Duration::from_millis(ms.unsigned_abs());
        let date = ("date".to_owned(), httpdate::fmt_http_date(time));
        RestResponse { limit_headers: vec![date], ..rows(minutes) }
    };
    pair.rest_answers.push_back(dated(&[(-1, "1.9"), (0, "2")], at(0, 15_000)));
    pair.rest_answers.push_back(dated(&[(-1, "1.9"), (0, "2")], at(0, 20_000)));
    pair.pass(SECOND * 50);
    assert_eq!(closes(&pair), [], "minute 0 runs");
    pair.rest_answers = (0..20).map(|_| dated(&[(0, "2"), (1, "2")], at(1, 6_000))).collect();
    pair.pass(SECOND * 20);
    assert_eq!(closes(&pair), [told(0, Source::Rest, 0, "2")]);
}

#[test]
fn the_past_is_recalled_up_to_where_the_stream_begins() {
    let mut pair = Pair::new();
    pair.manners.is_still = true;
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.push(&kline("BTCUSDT", 0, "2", false, at(0, 500)));
    pair.published.clear();
    pair.rest_answers.push_back(rows(&[(-2, "1.8"), (-1, "1.9"), (0, "2")]));
    let (id, from) = (InstrumentId(0), BackfillFrom::Last(2));
    pair.feed
        .handle_command(Command::Backfill { id, from, to: None, wish: Wish::default() }, pair.now);
    pair.pump();
    let backfilled = |event: &MarketEvent| match event {
        MarketEvent::Backfilled(update) => update.candle.close.to_string(),
        MarketEvent::BackfillEnd { from, through, .. } => format!("{from} {through}"),
        other => panic!("{other:?}"),
    };
    let said: Vec<String> = pair.published.iter().map(backfilled).collect();
    let end = format!("{} {}", UnixMs(at(-2, 0)), UnixMs(at(-1, 0)));
    assert_eq!(said, ["1.8".to_owned(), "1.9".to_owned(), end]);
}

#[test]
fn a_row_that_was_recalled_right_after_its_end_is_compared() {
    let mut pair = Pair::new();
    pair.manners.is_still = true;
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.push(&kline("BTCUSDT", 0, "2", false, at(0, 500)));
    pair.rest_answers.push_back(rows(&[(-3, "1.7"), (-2, "1.8"), (-1, "1.9"), (0, "2")]));
    let (id, from) = (InstrumentId(0), BackfillFrom::Last(3));
    pair.feed
        .handle_command(Command::Backfill { id, from, to: None, wish: Wish::default() }, pair.now);
    pair.pump();
    let later = rows(&[(-3, "1.75"), (-2, "1.85"), (-1, "1.95"), (0, "2")]);
    pair.rest_answers = (0..20).map(|_| later.clone()).collect();
    for second in 1..45 {
        pair.pass(SECOND);
        pair.push(&kline("BTCUSDT", 0, &format!("2.0{second:02}"), false, at(0, second * 1000)));
    }
    let corrected = [told(-2, Source::Rest, 1, "1.85"), told(-1, Source::Rest, 1, "1.95")];
    assert_eq!(closes(&pair), corrected, "the oldest one had settled when it was asked for");
}

#[test]
fn a_quiet_symbol_is_subscribed_anew_when_rest_closes_a_trade_that_was_not_pushed() {
    let mut pair = Pair::with(FeedConfig { stream_idle_timeout: SECOND * 20, ..config() });
    // No look shows a change.
    pair.manners.is_still = true;
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.subscribe(1, "spot", "ETHUSDT");
    let subscribed = |pair: &Pair| {
        let texts = &pair.peers[&pair.only()].texts;
        let is_it = |text: &&String| text.contains(r#""SUBSCRIBE""#) && text.contains("btcusdt");
        texts.iter().filter(is_it).count()
    };
    let answer = |rows: &str, second: i64| RestResponse {
        status: 200,
        retry_after: None,
        limit_headers: vec![("date".to_owned(), date(0, second * 1000))],
        body: format!("[{rows}]").into_bytes(),
    };
    let stream = |pair: &mut Pair, rows: Option<&str>, seconds: std::ops::Range<i64>| {
        for second in seconds {
            pair.manners.rest_answer = rows.map(|rows| answer(rows, second));
            pair.pass(SECOND);
            let (minute, ms) = (second / 60, second % 60 * 1000);
            pair.push(&kline("ETHUSDT", minute, &format!("2.{second:03}"), false, at(minute, ms)));
        }
    };
    stream(&mut pair, None, 0..50);
    assert_eq!(subscribed(&pair), 1, "it may be quiet");
    let flat = |minute: i64| {
        let open = START_MS + minute * 60_000;
        format!(r#"[{open},"2","2","2","2","0",{},"0",0,"0","0","0"]"#, open + 59_999)
    };
    let quiet = format!("{},{},{}", flat(0), flat(1), flat(2));
    stream(&mut pair, Some(&quiet), 50..130);
    assert_eq!(subscribed(&pair), 1, "it is quiet");
    let open = START_MS + 120_000;
    let traded = format!(r#"[{open},"2","2","2","2","5",{},"10",1,"1","2","0"]"#, open + 59_999);
    let traded = format!("{traded},{}", flat(3));
    stream(&mut pair, Some(&traded), 130..200);
    assert_eq!(subscribed(&pair), 2, "a trade was not pushed");
}

/// An HTTP date so far into a minute.
fn date(minute: i64, ms: i64) -> String {
    let time = std::time::UNIX_EPOCH + Duration::from_millis(at(minute, ms).unsigned_abs());
    httpdate::fmt_http_date(time)
}

#[test]
fn nothing_is_asked_before_a_pause_that_the_exchange_ordered_is_over() {
    let mut pair = closed_once();
    pair.rest_answers.push_back(RestResponse {
        status: 429,
        retry_after: Some("40".to_owned()),
        limit_headers: vec![],
        body: b"{}".to_vec(),
    });
    pair.pass(SECOND * 60);
    pair.rests.clear();
    pair.push(&kline("BTCUSDT", 3, "2.2", true, at(4, 5)));
    assert_eq!(pair.rests.len(), 1);
    pair.pass(SECOND * 39);
    assert_eq!(pair.rests.len(), 1, "obeyed to the second");
    pair.pass(SECOND * 3);
    assert!(pair.rests.len() > 1);
    assert_eq!(pair.spot().rest_refused.value(), 1);
}
