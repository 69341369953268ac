//! What an exchange's REST interface and its opening handshake said: blocks, absurd waits, bad
//! rows.

use std::time::Duration;

use connector_wss::clock::UnixMs;
use connector_wss::feed::{Denied, FeedConfig, LimitedAction, Pauses};
use connector_wss::limits::PAST_PATIENCE_MAX;
use connector_wss::market::{InstrumentId, Interval, Market, Venue};
use connector_wss::messages::{
    BackfillFrom, Command, EventName, FeedEvent, MarketEvent, RestResponse, Wish,
};
use connector_wss::venue::{self, Denial, RestCandles};
use connector_wss::wire::json::JsonReader;
use serde_json::Value;

use super::cases::case;
use super::pair::{Pair, START_MS, config, kline};

const SECOND: Duration = Duration::from_secs(1);

fn answer(status: u16, retry_after: Option<&str>, body: &str) -> RestResponse {
    let (retry_after, body) = (retry_after.map(str::to_owned), body.as_bytes().to_vec());
    RestResponse { status, retry_after, limit_headers: Vec::new(), body }
}

fn at(minute: i64, ms: i64) -> i64 {
    START_MS + minute * 60_000 + ms
}

/// Symbols of Binance's spot market that have a window to be repaired each.
fn with_holes(symbols: usize) -> Pair {
    let mut pair = Pair::with(FeedConfig { stream_idle_timeout: SECOND * 100_000, ..config() });
    pair.manners.is_still = true;
    for id in 0..symbols {
        pair.subscribe(u32::try_from(id).unwrap(), "spot", &format!("S{id}"));
    }
    pair.pass(SECOND * 60);
    for id in 0..symbols {
        pair.push(&kline(&format!("S{id}"), 0, "2", true, at(1, 10)));
    }
    pair.pass(SECOND * 110);
    pair.rests.clear();
    pair
}

fn break_all(pair: &mut Pair, symbols: usize) {
    for id in 0..symbols {
        pair.push(&kline(&format!("S{id}"), 3, "2", true, at(4, 10)));
    }
}

fn texts(pair: &Pair, event: EventName) -> Vec<String> {
    let of_it = pair.notices.iter().filter(|notice| notice.event == event);
    of_it.map(|notice| notice.text.clone()).collect()
}

/// The answers of the case, and those named beside it.
fn blocks() -> Vec<(u16, String)> {
    let page = "<html><body>Request blocked.</body></html>";
    let mut blocks = vec![
        (403, page.to_owned()),
        (451, r#"{"code":0,"msg":"not from here"}"#.to_owned()),
        (302, String::new()),
        (200, page.to_owned()),
        (503, page.to_owned()),
        (401, String::new()),
    ];
    if let Some(case) = case("binance-rest-firewall") {
        let http = &case["http"][0];
        let status = u16::try_from(http["status"].as_u64().unwrap()).unwrap();
        blocks.push((status, http["body"].as_str().unwrap().to_owned()));
    }
    blocks
}

#[test]
fn a_firewall_is_not_asked_two_thousand_times_a_minute() {
    for (status, body) in blocks() {
        let mut pair = with_holes(50);
        pair.manners.rest_answer = Some(answer(status, None, &body));
        break_all(&mut pair, 50);
        let mut asked = Vec::new();
        for _ in 0..10 {
            pair.pass(SECOND * 60);
            asked.push(std::mem::take(&mut pair.rests).len());
        }
        assert!(asked[0] <= 8 && asked[1..].iter().all(|&count| count <= 2), "{status}: {asked:?}");
        assert!(asked[5..].iter().sum::<usize>() <= 3, "it grows to minutes: {asked:?}");
        let told = texts(&pair, EventName::RestDenied);
        assert!((4..=9).contains(&told.len()), "one for each pause: {told:#?}");
        assert!(told.iter().all(|text| text.contains(&format!("HTTP {status}"))), "{told:#?}");
        let words =
            body.is_empty() || body.starts_with('{') || told[0].contains("Request blocked.");
        assert!(words && !told[0].contains("<html>"), "{told:#?}");
        assert!(texts(&pair, EventName::RestLimited).is_empty());
        assert!(texts(&pair, EventName::RestFailed).is_empty(), "said once");
        assert_eq!(pair.spot().rest_denied.value(), 1);
        pair.manners.rest_answer = None;
        pair.pass(SECOND * 301);
        assert!(pair.rests.len() > 10, "{status}: all go on when it answers: {}", pair.rests.len());
        assert_eq!(texts(&pair, EventName::RestAnswers).len(), 1);
        assert_eq!(pair.spot().rest_denied.value(), 0);
    }
}

#[test]
fn answers_that_make_no_sense_or_do_not_come_are_not_asked_for_by_every_symbol() {
    let mut pair = with_holes(50);
    pair.manners.rest_answer = Some(answer(500, None, "null"));
    break_all(&mut pair, 50);
    pair.pass(SECOND * 600);
    assert!(pair.rests.len() <= 16, "{}", pair.rests.len());
}

/// Bybit's block page, from the case if it is there.
fn block_page() -> (u16, String) {
    let page = "<html><body><h1>403</h1>Access from your country is set to blocked.</body></html>";
    let Some(case) = case("bybit-block-page") else { return (403, page.to_owned()) };
    let http = &case["http"][0];
    let status = u16::try_from(http["status"].as_u64().unwrap()).unwrap();
    (status, http["body"].as_str().unwrap().to_owned())
}

fn market(venue: Venue, name: &str) -> Market {
    Market::find(venue, name).unwrap()
}

#[test]
fn a_country_s_block_page_is_no_rate_limit_and_the_clients_hear_of_it() {
    let (status, body) = block_page();
    for venue in Venue::ALL {
        let here = Market::of(venue).next().unwrap();
        let mut pair = Pair::new();
        pair.manners.upgrade_answer = Some((status, String::new(), body.clone()));
        pair.manners.rest_answer = Some(answer(status, None, &body));
        let symbol = if venue == Venue::Hyperliquid { "BTC" } else { "BTC-USDT" };
        let symbol = here.canonical_symbol(symbol).unwrap_or_default();
        pair.subscribe_at(0, here, &symbol);
        pair.pass(SECOND * 1);
        let lost = texts(&pair, EventName::SessionLost);
        assert_eq!(lost.len(), 1, "{venue:?}: {lost:?}");
        assert!(lost[0].contains("HTTP 403") && lost[0].contains("Access from your"), "{lost:?}");
        let (_, wait) = lost[0].rsplit_once("next attempt in ").unwrap();
        let (seconds, why) = wait.split_once(" s: ").unwrap();
        let wait: f64 = seconds.parse().unwrap();
        assert!((20.0..=30.0).contains(&wait) && why.contains("denied"), "the real one: {lost:?}");
        let told = texts(&pair, EventName::SessionsDenied);
        assert!(told.len() == 1 && told[0].contains("are blocked"), "{told:?}");
        assert!(pair.notices.iter().all(|notice| !notice.text.contains("limit")), "{told:?}");
        let events: Vec<_> = pair.events.iter().collect();
        let [FeedEvent::Denied { why, instruments, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert!(why.contains("403 Access from your country") && instruments.len() == 1, "{why}");
        pair.pass(SECOND * 1800);
        assert!(pair.connects.len() <= 13, "{} connects in half an hour", pair.connects.len());
        assert_eq!(pair.events.len(), 1, "told once");
    }
}

#[test]
fn bybit_s_real_rate_limit_is_still_one() {
    let body = r#"{"retCode":403,"retMsg":"access too frequent"}"#;
    let mut pair = Pair::new();
    let spot = market(Venue::Bybit, "spot");
    pair.manners.rest_answer = Some(answer(403, None, body));
    pair.subscribe_at(0, spot, "BTCUSDT");
    pair.push(r#"{"success":true,"ret_msg":"subscribe","req_id":"1","op":"subscribe"}"#);
    pair.pass(SECOND * 30);
    let told = texts(&pair, EventName::RestLimited);
    assert_eq!(told.len(), 1, "{:#?}", pair.notices);
    assert_eq!(pair.metrics.market(spot).rest_refused.value(), 1);
}

/// The raw value of the case, and others of its kind.
fn absurd_waits() -> Vec<String> {
    let mut raws: Vec<String> = [
        "1796000000",
        "1999999999",
        "1999999999000",
        "99999999999999999999999",
        "-1",
        "soon",
        "",
        "3000000000",
        "Fri, 30 Nov 2091 00:00:00 GMT",
    ]
    .map(str::to_owned)
    .into();
    if let Some(case) = case("retry-after-epoch") {
        raws.push(case["http"][0]["headers"]["Retry-After"].as_str().unwrap().to_owned());
    }
    raws
}

/// How long the kind is denied at `market` still.
fn denied_for(pair: &Pair, pauses: &Pauses, market: Market, on: LimitedAction) -> Duration {
    pauses.denied_for(market, on, pair.now.mono).unwrap().wait
}

#[test]
fn one_absurd_retry_after_does_not_hold_a_market_until_restart() {
    for raw in absurd_waits() {
        for venue in Venue::ALL {
            let (here, config) = (Market::of(venue).next().unwrap(), config());
            let pauses = config.pauses.clone();
            let mut pair = Pair::with(config);
            pair.manners.rest_answer = Some(answer(429, Some(&raw), "{}"));
            pair.subscribe_at(0, here, &here.canonical_symbol("BTC-USDT").unwrap());
            // No acknowledgement, so that the session asks whether the symbol exists.
            for _ in 0..60 {
                if pair.rests.is_empty() {
                    pair.push(&accepted(venue));
                    pair.pass(SECOND);
                }
            }
            let told = texts(&pair, EventName::RestLimited);
            assert!(told.len() == 1 && told[0].contains(&format!("{raw:?}")), "{told:?}");
            let wait = denied_for(&pair, &pauses, here, LimitedAction::Rest);
            let cap = if venue == Venue::Binance { 259_200 } else { 900 };
            assert!(wait <= SECOND * cap, "{venue:?} {raw:?}: {wait:?}");
            if venue != Venue::Binance {
                pair.manners.rest_answer = Some(answer(200, None, "[]"));
                pair.pass(SECOND * 901);
                let (id, from) = (InstrumentId(0), BackfillFrom::Last(5));
                pair.feed.handle_command(
                    Command::Backfill { id, from, to: None, wish: Wish::default() },
                    pair.now,
                );
                pair.pump();
                assert!(pair.rests.len() > 1, "{venue:?} {raw:?}: asked again");
            }
        }
    }
}

/// The acknowledgement of the only subscription.
fn accepted(venue: Venue) -> String {
    match venue {
        Venue::Binance => r#"{"result":null,"id":1}"#.to_owned(),
        Venue::Okx => {
            r#"{"event":"subscribe","arg":{"channel":"candle1m","instId":"BTC-USDT"}}"#.to_owned()
        }
        Venue::Bybit => r#"{"success":true,"ret_msg":"","req_id":"1","op":"subscribe"}"#.to_owned(),
        Venue::Gateio => {
            let result = r#""result":{"status":"success"}"#;
            format!(
                r#"{{"time":1,"id":1,"channel":"spot.candlesticks","event":"subscribe",{result}}}"#
            )
        }
        Venue::Hyperliquid => {
            let subscription = r#"{"type":"candle","interval":"1m","coin":"BTC-USDT"}"#;
            let data = format!(r#"{{"method":"subscribe","subscription":{subscription}}}"#);
            format!(r#"{{"channel":"subscriptionResponse","data":{data}}}"#)
        }
    }
}

#[test]
fn one_absurd_retry_after_of_a_handshake_is_capped_and_the_real_wait_is_told() {
    for (venue, cap) in [(Venue::Okx, 900), (Venue::Binance, 259_200)] {
        for status in [429, 403] {
            let mut pair = Pair::new();
            let headers = "Retry-After: 1999999999\r\n".to_owned();
            pair.manners.upgrade_answer = Some((status, headers, "no".to_owned()));
            let here = Market::of(venue).next().unwrap();
            pair.subscribe_at(0, here, &here.canonical_symbol("BTC-USDT").unwrap());
            pair.pass(SECOND);
            let lost = texts(&pair, EventName::SessionLost);
            let real = format!("next attempt in {cap}.0 s");
            assert!(lost[0].contains(&real) && lost[0].contains("1999999999"), "{lost:?}");
            if venue == Venue::Binance {
                continue;
            }
            pair.manners.upgrade_answer = None;
            pair.pass(SECOND * (cap - 3));
            assert_eq!(pair.connects.len(), 1, "{venue:?} {status}: obeyed");
            pair.pass(SECOND * 10);
            assert_eq!(pair.connects.len(), 2, "{venue:?} {status}: asked again");
        }
    }
}

#[test]
fn after_a_pause_one_shard_asks_and_not_all_of_them() {
    let shared = config().pauses;
    let mut pairs: Vec<Pair> = (0..4)
        .map(|_| Pair::with(FeedConfig { pauses: shared.clone(), shards: 4, ..config() }))
        .collect();
    let linear = market(Venue::Bybit, "linear");
    for pair in &mut pairs {
        pair.manners.upgrade_answer = Some((403, String::new(), "<p>blocked".to_owned()));
        pair.subscribe_at(0, linear, "BTCUSDT");
    }
    for _ in 0..1800 {
        pairs.iter_mut().for_each(|pair| pair.pass(SECOND));
    }
    let connects: usize = pairs.iter().map(|pair| pair.connects.len()).sum();
    assert!(connects <= 4 + 12, "{connects}");
    let told = pairs.iter().filter(|pair| !pair.events.is_empty()).count();
    assert_eq!(told, 4, "the clients of every shard hear of it");
}

/// A row of each market as it should be, `minute` after the start.
fn row(market: Market, minute: i64) -> Value {
    let open = START_MS + minute * 60_000;
    let end = open + 59_999;
    let text = match (market.venue(), market.contract_type().name()) {
        (Venue::Binance, _) => {
            format!(
                r#"[{open},"17000.9","17001.1","16999.7","17000.1","2.5",{end},"3",7,"0","0","0"]"#
            )
        }
        (Venue::Okx, _) => format!(r#"["{open}","1.5","9","1","2","2.5","3","3","1"]"#),
        (Venue::Bybit, _) => format!(r#"["{open}","1.5","9","1","2","2.5","3"]"#),
        (Venue::Gateio, "spot") => {
            format!(r#"["{}","2.5","2","9","1","1.5","1","true"]"#, open / 1000)
        }
        (Venue::Gateio, _) => {
            format!(r#"{{"t":{},"v":25,"c":"2","h":"9","l":"1","o":"1.5"}}"#, open / 1000)
        }
        (Venue::Hyperliquid, _) => format!(
            r#"{{"t":{open},"T":{end},"s":"BTC","i":"1m","o":"1.5","c":"2","h":"9","l":"1","v":"2.5","n":3}}"#
        ),
    };
    serde_json::from_str(&text).unwrap()
}

fn read(market: Market, rows: Vec<Value>) -> RestCandles {
    let rows = Value::from(rows);
    let body = match market.venue() {
        Venue::Binance | Venue::Gateio | Venue::Hyperliquid => rows.to_string(),
        Venue::Okx => format!(r#"{{"code":"0","msg":"","data":{rows}}}"#),
        Venue::Bybit => {
            format!(r#"{{"retCode":0,"retMsg":"OK","time":{START_MS},"result":{{"list":{rows}}}}}"#)
        }
    };
    let response = answer(200, None, &body);
    let asked = ("BTC", Interval::M1);
    venue::read_candles(market, &mut JsonReader::default(), &response, asked).unwrap()
}

/// Puts `cell` into a row, where its high is or its `h`.
fn spoil(row: &mut Value, cell: Value) {
    match row {
        Value::Array(cells) => cells[3] = cell,
        Value::Object(fields) => drop(fields.insert("h".to_owned(), cell)),
        other => panic!("{other}"),
    }
}

/// Cuts a row, or moves its open time by a millisecond.
fn mangle(row: &mut Value, how: &str) {
    let is_cut = how.contains("cut");
    match row {
        Value::Array(cells) if is_cut => cells.truncate(5),
        Value::Object(fields) if is_cut => drop(fields.remove("c")),
        Value::Array(cells) => {
            let open = cells[0].as_i64().or_else(|| cells[0].as_str()?.parse().ok()).unwrap() + 1;
            cells[0] = if cells[0].is_i64() { open.into() } else { open.to_string().into() };
        }
        Value::Object(fields) => {
            let open = fields["t"].as_i64().unwrap() + 1;
            fields.insert("t".to_owned(), open.into());
        }
        other => panic!("{other}"),
    }
}

fn bad_cells() -> Vec<Value> {
    match case("rest-one-bad-row") {
        Some(case) => case["bad_cells"].as_array().unwrap().clone(),
        None => {
            serde_json::from_str(r#"["-1.0","",null,"NaN","+1.0","row cut to 5 cells"]"#).unwrap()
        }
    }
}

#[test]
fn one_bad_row_of_a_hundred_costs_one_window_at_every_exchange() {
    for market in Market::all() {
        for cell in bad_cells() {
            let mut rows: Vec<Value> = (0..100).map(|minute| row(market, minute)).collect();
            match cell.as_str() {
                Some(how) if how.contains("row cut") || how.contains("open time") => {
                    mangle(&mut rows[41], how);
                }
                _ => spoil(&mut rows[41], cell.clone()),
            }
            let read = read(market, rows);
            let window = UnixMs(at(41, 0));
            let is_exponent = cell == "1e-7" || cell == "9.669E-05";
            // A number that is no text may be read where its digits are there.
            if is_exponent || (cell.is_number() && read.bad.count == 0) {
                assert_eq!(read.candles.len(), 100, "{market} {cell}");
                let spelled = match cell.as_str() {
                    Some("1e-7") => "0.0000001",
                    Some(_) => "0.00009669",
                    None => "12.5",
                };
                let candle = read.candles[41].candle;
                let digits = [candle.high, candle.low, candle.open, candle.close];
                assert!(digits.iter().any(|one| one.as_str() == spelled), "{market}: {candle:?}");
                continue;
            }
            assert_eq!((read.candles.len(), read.bad.count), (99, 1), "{market} {cell}");
            assert!(read.is_unreadable(window), "{market} {cell}: {:?}", read.bad);
            assert!(!read.is_unreadable(UnixMs(at(40, 0))), "{market} {cell}: {:?}", read.bad);
            assert!(!read.bad.first_words.is_empty());
        }
    }
}

#[test]
fn history_with_one_bad_row_gives_the_other_windows_and_live_candles_follow_at_once() {
    let mut pair = Pair::new();
    pair.manners.is_still = true;
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.push(&kline("BTCUSDT", 0, "2", false, at(0, 500)));
    pair.published.clear();
    let mut rows: Vec<Value> = (-100..=0).map(|minute| row(pair_market(), minute)).collect();
    spoil(&mut rows[40], "NaN".into());
    let part = |rows: &[Value]| answer(200, None, &Value::from(rows.to_vec()).to_string());
    // As far as one request reaches, and the rest.
    pair.rest_answers.push_back(part(&rows[..100]));
    pair.rest_answers.push_back(part(&rows[99..]));
    let (id, from) = (InstrumentId(0), BackfillFrom::Last(100));
    pair.feed
        .handle_command(Command::Backfill { id, from, to: None, wish: Wish::default() }, pair.now);
    pair.pump();
    pair.push(&kline("BTCUSDT", 0, "2.5", false, at(0, 900)));
    let kinds: Vec<&str> = pair.published.iter().map(kind).collect();
    let of = |kind| kinds.iter().filter(|&&one| one == kind).count();
    assert_eq!((of("recalled"), of("gap"), of("end"), of("candle")), (99, 1, 1, 1), "{kinds:?}");
    assert_eq!(pair.published.iter().map(kind).next_back(), Some("candle"));
    assert_eq!(pair.spot().bad_rows.value(), 1);
    let told = texts(&pair, EventName::RowNotUnderstood);
    assert!(told.len() == 1 && told[0].contains("NaN"), "{told:?}");
}

fn pair_market() -> Market {
    market(Venue::Binance, "spot")
}

fn kind(event: &MarketEvent) -> &'static str {
    match event {
        MarketEvent::Backfilled(_) => "recalled",
        MarketEvent::BackfillGap { .. } => "gap",
        MarketEvent::BackfillEnd { .. } => "end",
        MarketEvent::Candle(_) => "candle",
        _ => "other",
    }
}

#[test]
fn a_bad_row_of_a_quiet_exchange_is_never_an_empty_window() {
    let here = market(Venue::Hyperliquid, "usdm");
    let rows = [row(here, 1), row(here, 2), row(here, 3)];
    for cell in bad_cells() {
        let mut rows = rows.to_vec();
        spoil(&mut rows[1], cell.clone());
        let read = read(here, rows);
        let window = UnixMs(at(2, 0));
        let has_row = read.candles.iter().any(|row| row.candle.open_time == window);
        assert!(has_row || read.is_unreadable(window), "{cell}");
    }
}

#[test]
fn a_bad_row_without_a_readable_time_may_be_that_of_any_window() {
    for market in Market::all() {
        for time in [Value::Null, "soon".into(), Value::Array(Vec::new())] {
            let mut rows: Vec<Value> = (0..9).map(|minute| row(market, minute)).collect();
            match &mut rows[4] {
                Value::Array(cells) => cells[0] = time.clone(),
                Value::Object(fields) => drop(fields.insert("t".to_owned(), time.clone())),
                other => panic!("{other}"),
            }
            let read = read(market, rows);
            assert!(read.candles.len() == 8 && read.is_unreadable(UnixMs(at(7, 0))), "{market}");
        }
    }
}

#[test]
fn history_that_rest_cannot_give_does_not_silence_the_live_candles() {
    let mut pair = Pair::new();
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.push(&kline("BTCUSDT", 0, "2", false, at(0, 500)));
    pair.manners.rest_answer = Some(answer(400, None, r#"{"code":-1000,"msg":"Unknown error."}"#));
    pair.published.clear();
    let (id, from) = (InstrumentId(0), BackfillFrom::Last(6));
    pair.feed
        .handle_command(Command::Backfill { id, from, to: None, wish: Wish::default() }, pair.now);
    pair.pump();
    pair.push(&kline("BTCUSDT", 0, "2.5", false, at(0, 900)));
    assert_eq!(pair.published.last().map(kind), Some("candle"));
    pair.pass(SECOND * 30);
    assert!(!pair.published.iter().any(|event| kind(event) == "end"), "it is asked again");
    pair.pass(PAST_PATIENCE_MAX - SECOND * 28);
    let ends = pair.published.iter().filter(|event| kind(event) == "end").count();
    assert_eq!(ends, 1, "{:?}", pair.published);
}

#[test]
fn whoever_subscribes_while_a_session_is_lost_or_not_let_in_is_told_at_once() {
    for is_blocked in [false, true] {
        let mut pair = Pair::new();
        pair.manners.is_still = true;
        pair.subscribe(0, "spot", "BTCUSDT");
        pair.push(&kline("BTCUSDT", 0, "2", false, at(0, 500)));
        pair.manners.refuses_tcp = !is_blocked;
        pair.manners.upgrade_answer = is_blocked.then(|| (403, String::new(), "not you".into()));
        pair.cut();
        pair.pass(SECOND * 3);
        let before = pair.events.len();
        pair.subscribe(1, "spot", "ETHUSDT");
        let told: Vec<_> = pair.events[before..].to_vec();
        match (&told[..], is_blocked) {
            ([FeedEvent::SessionLost { instruments, why, .. }], false) => {
                assert_eq!((&instruments[..], &**why), (&[InstrumentId(1)][..], "reset by peer"));
            }
            ([FeedEvent::Denied { instruments, why, .. }], true) => {
                assert_eq!(instruments[..], [InstrumentId(1)]);
                assert!(why.contains("403") && why.contains("not you"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        pair.manners.upgrade_answer = None;
        pair.manners.refuses_tcp = false;
        pair.pass(SECOND * 400);
        pair.push(&kline("ETHUSDT", 7, "2", false, at(7, 500)));
        let back = pair.events.iter().rev().find_map(|event| match event {
            FeedEvent::SessionBack { instruments, .. } => Some(instruments.clone()),
            _ => None,
        });
        assert_eq!(back, Some(vec![InstrumentId(0), InstrumentId(1)]));
    }
}

#[test]
fn after_an_outage_rest_was_asked_two_minutes_later_than_candles_came() {
    // No answer came, or one that says that REST itself is out of order.
    for (status, is_asked) in [(0, true), (503, false)] {
        let config = config();
        let pauses = config.pauses.clone();
        let mut pair = Pair::with(config);
        let spot = Market::find(Venue::Binance, "spot").unwrap();
        pair.subscribe(0, "spot", "BTCUSDT");
        pair.push(&kline("BTCUSDT", 0, "2", false, START_MS));
        for _ in 0..5 {
            let (denial, now) = (Denial::Outage, pair.now);
            let (asked_at, exchange_now) = (now.mono, now.unix_ms());
            let denied =
                Denied { denial, status, retry_after: None, asked_at, exchange_now, chance: 0 };
            pauses.deny(spot, LimitedAction::Rest, &denied, now.mono);
        }
        pair.manners.refuses_tcp = true;
        pair.cut();
        pair.pass(SECOND * 90);
        pair.manners.refuses_tcp = false;
        pair.pass(SECOND * 60);
        let before = pair.rests.len();
        assert!(denied_for(&pair, &pauses, spot, LimitedAction::Rest) > SECOND * 60, "{status}");
        pair.push(&kline("BTCUSDT", 2, "2", false, START_MS + 150_000));
        pair.pass(SECOND * 6);
        assert_eq!(pair.rests.len() > before, is_asked, "{status}");
    }
}
