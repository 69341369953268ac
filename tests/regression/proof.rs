//! Wrong closed candles: what a REST node that is behind, an exchange's oldest rows or a second
//! session once made the feed believe.

use std::time::Duration;

use connector_wss::clock::UnixMs;
use connector_wss::feed::FeedConfig;
use connector_wss::market::{FinalBy, InstrumentId, Listed, Market, SymbolList, Venue};
use connector_wss::messages::{BackfillFrom, Command, MarketEvent, RestResponse, Wish};

use super::cases::case;
use super::pair::{Pair, START_MS, config, kline};

const SECOND: Duration = Duration::from_secs(1);

/// A row of Hyperliquid: the minute, its volume and its trades; (minute, 0, 0) is flat.
type Row = (i64, u64, u64);

fn perp() -> Market {
    Market::find(Venue::Hyperliquid, "usdm").unwrap()
}

fn candle((minute, volume, trades): Row) -> String {
    let open_time = START_MS + minute * 60_000;
    let end = open_time + 59_999;
    format!(
        r#"{{"t":{open_time},"T":{end},"s":"BTC","i":"1m","o":"2","c":"2","h":"2","l":"2","v":"{volume}.0","n":{trades}}}"#
    )
}

fn push(pair: &mut Pair, row: Row) {
    pair.push(&format!(r#"{{"channel":"candle","data":{}}}"#, candle(row)));
}

/// An answer of Hyperliquid's REST interface with the date of `now`.
fn answer(pair: &Pair, rows: &[Row]) -> RestResponse {
    let time = Duration::from_micros(pair.now.unix_us.unsigned_abs());
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + time);
    let rows: Vec<String> = rows.iter().copied().map(candle).collect();
    RestResponse {
        status: 200,
        retry_after: None,
        limit_headers: vec![("date".to_owned(), date)],
        body: format!("[{}]", rows.join(",")).into_bytes(),
    }
}

/// One coin of Hyperliquid, listed and accepted; silence alone does not make the feed ask REST.
fn hyperliquid() -> Pair {
    let config = FeedConfig { stream_idle_timeout: SECOND * 10_000, ..config() };
    let mut pair = Pair::with(config);
    let listed = Listed::new("BTC");
    pair.lists.insert(perp(), SymbolList::new(vec![listed]).into());
    pair.subscribe_at(0, perp(), "BTC");
    accept(&mut pair);
    pair
}

fn accept(pair: &mut Pair) {
    pair.push(
        r#"{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"candle","interval":"1m","coin":"BTC"}}}"#,
    );
}

/// Passes `seconds` while REST answers with what `rows` are each second, and the session with
/// pongs.
fn pass(pair: &mut Pair, seconds: u64, rows: impl Fn(i64) -> Vec<Row>) {
    for _ in 0..seconds {
        let now_ms = pair.now.unix_us / 1000 - START_MS;
        pair.rest_answers.clear();
        for _ in 0..4 {
            let next = answer(pair, &rows(now_ms));
            pair.rest_answers.push_back(next);
        }
        pair.pass(SECOND);
        pair.push(r#"{"channel":"pong"}"#);
    }
}

/// What each window came to: the minute, the volume (`None`: empty), the revision.
fn closed(pair: &Pair) -> Vec<(i64, Option<String>, u16)> {
    let minute = |open_time: UnixMs| (open_time.0 - START_MS) / 60_000;
    let one = |event: &MarketEvent| match event {
        MarketEvent::Candle(update) if update.is_closed() => {
            let candle = update.candle;
            Some((minute(candle.open_time), Some(candle.volume.to_string()), update.revision))
        }
        MarketEvent::Empty { open_time, .. } => Some((minute(*open_time), None, 0)),
        _ => None,
    };
    pair.published.iter().filter_map(one).collect()
}

fn traded(minute: i64, volume: u64, revision: u16) -> (i64, Option<String>, u16) {
    (minute, Some(volume.to_string()), revision)
}

/// Ten lots are traded every ten seconds in each of the first `minutes`: the rows as of `as_of_ms`.
fn rows_as_of(as_of_ms: i64, minutes: i64) -> Vec<Row> {
    let row = |minute: i64| {
        let lots = (as_of_ms - minute * 60_000).clamp(0, 60_000).unsigned_abs() / 10_000;
        (minute, lots * 10, lots)
    };
    (0..minutes).map(row).filter(|row| row.2 > 0).collect()
}

#[test]
fn a_node_that_is_behind_makes_no_empty_and_no_closed_candle_after_an_outage() {
    let _text = case("rest-stale-node");
    let mut pair = hyperliquid();
    let behind = |now_ms: i64| rows_as_of(now_ms - 90_000, 4);
    for second in 0..5 {
        pass(&mut pair, 10, behind);
        push(&mut pair, (0, 10 * (second + 1), second + 1));
    }
    pair.cut();
    pair.manners.refuses_tcp = true;
    pass(&mut pair, 120, behind);
    pair.manners.refuses_tcp = false;
    pass(&mut pair, 20, behind);
    accept(&mut pair);
    // Nothing is traded any more in minute 3 after 190 s; the stream has been back since.
    push(&mut pair, (3, 10, 1));
    pass(&mut pair, 15, behind);
    for (minute, volume, _) in closed(&pair) {
        assert_eq!(volume.as_deref(), Some("60"), "minute {minute} had sixty lots");
    }
    pass(&mut pair, 150, behind);
    let wanted = [traded(0, 60, 0), traded(1, 60, 0), traded(2, 60, 0)];
    let mut told = closed(&pair);
    told.sort();
    assert_eq!(told[..3], wanted, "each is proven in the end, when a newer row is there");
}

#[test]
fn a_node_that_stands_still_closes_nothing_that_the_stream_did_not_see() {
    let mut pair = hyperliquid();
    pass(&mut pair, 30, |_| rows_as_of(30_000, 1));
    push(&mut pair, (0, 30, 3));
    pair.cut();
    pass(&mut pair, 300, |_| rows_as_of(30_000, 1));
    assert_eq!(closed(&pair), [], "the session broke before the end of the minute");
}

#[test]
fn a_quiet_window_is_empty_when_stream_and_rows_agree_and_a_traded_one_closed() {
    let mut pair = hyperliquid();
    pass(&mut pair, 10, |_| vec![]);
    push(&mut pair, (0, 10, 1));
    let rows = |_| vec![(0, 10, 1)];
    pass(&mut pair, 85, rows);
    assert_eq!(closed(&pair), [traded(0, 10, 0)], "within 35 s");
    pass(&mut pair, 65, rows);
    assert_eq!(closed(&pair)[1..], [(1, None, 0)]);
    let asked = pair.rests.len();
    pass(&mut pair, 60, rows);
    assert_eq!(closed(&pair)[2..], [(2, None, 0)]);
    assert!(pair.rests.len() - asked <= 3, "{} questions a minute", pair.rests.len() - asked);
}

#[test]
fn a_window_that_was_wrongly_empty_is_corrected() {
    let mut pair = hyperliquid();
    pass(&mut pair, 10, |_| vec![]);
    push(&mut pair, (0, 10, 1));
    // The stream is muted and the node stands still: both say that nothing is traded.
    pass(&mut pair, 150, |_| vec![(0, 10, 1)]);
    assert_eq!(closed(&pair), [traded(0, 10, 0), (1, None, 0)]);
    pass(&mut pair, 600, |_| vec![(0, 10, 1), (1, 20, 2), (2, 5, 1), (3, 0, 0)]);
    assert!(closed(&pair).contains(&traded(1, 20, 1)), "{:?}", closed(&pair));
}

#[test]
fn windows_from_before_the_oldest_rows_are_not_called_empty() {
    let mut pair = hyperliquid();
    push(&mut pair, (0, 10, 1));
    pair.published.clear();
    let (id, from) = (InstrumentId(0), BackfillFrom::Last(9_000));
    pair.feed
        .handle_command(Command::Backfill { id, from, to: None, wish: Wish::default() }, pair.now);
    // Its rows end 5,000 back.
    for _ in 0..400 {
        let url = pair.rests.len();
        let next = answer(&pair, &[]);
        pair.rest_answers.push_back(next);
        pair.pass(SECOND);
        if pair.published.iter().any(|event| matches!(event, MarketEvent::BackfillEnd { .. })) {
            break;
        }
        assert!(pair.rests.len() <= url + 4);
    }
    let is_invented =
        |(minute, volume, _): &(i64, Option<String>, u16)| volume.is_none() && *minute < -5_000;
    assert!(!closed(&pair).iter().any(is_invented));
}

#[test]
fn an_older_running_candle_of_a_second_session_is_dropped() {
    let mut pair = hyperliquid();
    push(&mut pair, (0, 20, 2));
    let first = pair.only();
    // A shutdown notice of Binance makes two sessions; here the second comes after a cut.
    let lagging = format!(r#"{{"channel":"candle","data":{}}}"#, candle((0, 10, 1)));
    pair.cut();
    pair.pass(SECOND * 5);
    accept(&mut pair);
    assert_ne!(pair.only(), first);
    pair.push(&lagging);
    assert_eq!(pair.candles().len(), 1, "less than what ran already");
    push(&mut pair, (0, 30, 3));
    assert_eq!(pair.candles().len(), 2);
    push(&mut pair, (0, 25, 3));
    assert_eq!(pair.candles().len(), 3, "on one session the later word counts");
}

#[test]
fn a_lagging_row_that_a_client_recalls_is_corrected() {
    let mut pair = Pair::with(FeedConfig { stream_idle_timeout: SECOND * 10_000, ..config() });
    pair.manners.is_still = true;
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.push(&kline("BTCUSDT", 0, "2", false, START_MS + 49_000));
    let rows = |close: &str| {
        let row = |minute: i64, close: &str| {
            let open = START_MS + minute * 60_000;
            format!(r#"[{open},"1","3","0.5","{close}","9",{},"20",7,"1","2","0"]"#, open + 59_999)
        };
        RestResponse {
            status: 200,
            retry_after: None,
            limit_headers: vec![],
            body: format!("[{},{}]", row(-1, close), row(0, "2")).into_bytes(),
        }
    };
    pair.pass(SECOND * 49);
    pair.rest_answers.push_back(rows("1.8"));
    let (id, from) = (InstrumentId(0), BackfillFrom::Last(1));
    pair.feed
        .handle_command(Command::Backfill { id, from, to: None, wish: Wish::default() }, pair.now);
    pair.pump();
    pair.rest_answers = (0..20).map(|_| rows("1.9")).collect();
    pair.pass(SECOND * 45);
    let corrected = pair.candles().into_iter().filter(|update| update.revision == 1);
    let corrected: Vec<_> =
        corrected.map(|update| (update.candle.close, update.final_by)).collect();
    assert_eq!(corrected, [("1.9".parse().unwrap(), Some(FinalBy::Rest))]);
}

#[test]
fn windows_before_the_first_row_of_a_young_listing_are_missing_and_not_empty() {
    let mut pair = hyperliquid();
    push(&mut pair, (0, 10, 1));
    pair.published.clear();
    let (id, from) = (InstrumentId(0), BackfillFrom::Last(100));
    pair.feed
        .handle_command(Command::Backfill { id, from, to: None, wish: Wish::default() }, pair.now);
    let rows: Vec<Row> = (-50..=0).map(|minute| (minute, 10, 1)).collect();
    for _ in 0..60 {
        let next = answer(&pair, &rows);
        pair.rest_answers.push_back(next);
        pair.pass(SECOND);
    }
    let is_end = |event: &&MarketEvent| matches!(event, MarketEvent::BackfillEnd { .. });
    assert_eq!(pair.published.iter().filter(is_end).count(), 1);
    let backfilled = |event: &&MarketEvent| matches!(event, MarketEvent::Backfilled(_));
    assert_eq!(pair.published.iter().filter(backfilled).count(), 50);
    let empty = |event: &&MarketEvent| matches!(event, MarketEvent::Empty { .. });
    assert_eq!(pair.published.iter().filter(empty).count(), 0);
}
