//! What differs between the exchanges, seen from their side of the socket: acknowledgements and
//! refusals by content, heartbeats, candles without a flag, symbols that cost the whole session.

use std::sync::Arc;
use std::time::Duration;

use connector_wss::clock::UnixMs;
use connector_wss::feed::FeedConfig;
use connector_wss::market::{FinalBy, InstrumentId, Listed, Market, Source, SymbolList, Venue};
use connector_wss::messages::{FeedEvent, MarketEvent, RestResponse};

use crate::pair::{Pair, START_MS, config};

const SECOND: Duration = Duration::from_secs(1);

fn market(venue: Venue, contract_type: &str) -> Market {
    Market::find(venue, contract_type).unwrap()
}

fn pair_at(market: Market, symbols: &[&str]) -> Pair {
    let mut pair = Pair::new();
    for (id, symbol) in (0..).zip(symbols) {
        pair.subscribe_at(id, market, symbol);
    }
    pair
}

fn texts(pair: &Pair) -> Vec<String> {
    pair.peers.values().flat_map(|peer| peer.texts.iter().cloned()).collect()
}

fn rejected(pair: &Pair) -> Vec<(InstrumentId, String, String)> {
    let rejection = |event: &FeedEvent| match event {
        FeedEvent::Rejected { instrument, message, exchange_message, .. } => {
            Some((*instrument, message.clone(), exchange_message.clone()))
        }
        _ => None,
    };
    pair.events.iter().filter_map(rejection).collect()
}

fn list(symbols: &[(&str, Option<&str>)]) -> Arc<SymbolList> {
    let listed = symbols.iter().map(|(symbol, halted)| Listed {
        symbol: (*symbol).to_owned(),
        halted: halted.map(str::to_owned),
        known_as: None,
        contract_size: None,
    });
    Arc::new(SymbolList::new(listed.collect()))
}

/// A push of Hyperliquid: `minute` after the start, with so many trades.
fn candle(coin: &str, minute: i64, close: &str, trades: u64) -> String {
    let open_time = START_MS + minute * 60_000;
    let end = open_time + 59_999;
    format!(
        r#"{{"channel":"candle","data":{{"t":{open_time},"T":{end},"s":"{coin}","i":"1m","o":"1.5","c":"{close}","h":"9","l":"1","v":"2.5","n":{trades}}}}}"#
    )
}

fn accepted(coin: &str) -> String {
    format!(
        r#"{{"channel":"subscriptionResponse","data":{{"method":"subscribe","subscription":{{"type":"candle","interval":"1m","coin":"{coin}"}}}}}}"#
    )
}

/// Rows of Hyperliquid's REST interface, answered at `date`.
fn rows(minutes: &[(i64, &str)], date: &str) -> RestResponse {
    let row = |(minute, close): &(i64, &str)| {
        let text = candle("BTC", *minute, close, 7);
        text[r#"{"channel":"candle","data":"#.len()..text.len() - 1].to_owned()
    };
    let body = format!("[{}]", minutes.iter().map(row).collect::<Vec<_>>().join(","));
    let limit_headers = vec![("date".to_owned(), date.to_owned())];
    RestResponse { status: 200, retry_after: None, limit_headers, body: body.into_bytes() }
}

/// One coin, subscribed, accepted and listed.
fn hyperliquid() -> Pair {
    listed(Pair::new())
}

/// The same, and silence alone does not make it ask REST.
fn patient_hyperliquid() -> Pair {
    listed(Pair::with(FeedConfig { stream_idle_timeout: SECOND * 1000, ..config() }))
}

fn listed(mut pair: Pair) -> Pair {
    let perp = market(Venue::Hyperliquid, "usdm");
    pair.lists.insert(perp, list(&[("BTC", None), ("kPEPE", None), ("OLD", Some("delisted"))]));
    pair.subscribe_at(0, perp, "BTC");
    pair.push(&accepted("BTC"));
    pair
}

fn closes(pair: &Pair) -> Vec<(i64, FinalBy, u16, String)> {
    let closed = pair.candles().into_iter().filter_map(|update| {
        let minute = (update.candle.open_time.0 - START_MS) / 60_000;
        Some((minute, update.final_by?, update.revision, update.candle.close.to_string()))
    });
    closed.collect()
}

#[test]
fn okx_refuses_one_stream_and_serves_its_neighbours() {
    let spot = market(Venue::Okx, "spot");
    let mut pair = Pair::new();
    pair.manners.refuses_tcp = true;
    for (id, symbol) in (0..).zip(["BTC-USDT", "NOPE-USDT", "ETH-USDT"]) {
        pair.subscribe_at(id, spot, symbol);
    }
    pair.manners.refuses_tcp = false;
    pair.pass(SECOND * 3);
    assert_eq!(texts(&pair).len(), 1, "one message names all three");
    for symbol in ["ETH-USDT", "BTC-USDT"] {
        let arg = format!(r#"{{"channel":"candle1m","instId":"{symbol}"}}"#);
        pair.push(&format!(r#"{{"event":"subscribe","arg":{arg},"connId":"a4d3ae55"}}"#));
    }
    pair.push(
        r#"{"event":"error","code":"60018","msg":"Wrong URL or channel:candle1m,instId:NOPE-USDT doesn't exist.","connId":"a4d3ae55"}"#,
    );
    let rejected = rejected(&pair);
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].0, InstrumentId(1));
    assert!(rejected[0].1.contains("okx spot has no symbol NOPE-USDT"), "{}", rejected[0].1);
    assert!(rejected[0].2.contains("doesn't exist"), "{}", rejected[0].2);
    pair.pass(SECOND * 15);
    assert_eq!(pair.connects.iter().filter(|connect| connect.0 > pair.connects[0].0).count(), 1);
    let subscribes = texts(&pair).iter().filter(|text| text.contains(r#""subscribe""#)).count();
    assert_eq!(subscribes, 1, "nobody is asked for twice");
}

#[test]
fn okx_is_asked_for_a_sign_of_life_in_plain_text() {
    let mut pair = pair_at(market(Venue::Okx, "spot"), &["BTC-USDT"]);
    pair.pass(SECOND * 9);
    assert!(texts(&pair).iter().all(|text| text != "ping"));
    let arg = r#"{"channel":"candle1m","instId":"BTC-USDT"}"#;
    pair.push(&format!(r#"{{"event":"subscribe","arg":{arg},"connId":"a"}}"#));
    for _ in 0..6 {
        pair.pass(SECOND * 21);
        assert!(texts(&pair).iter().any(|text| text == "ping"));
        pair.push("pong");
    }
    assert_eq!(pair.connects.len(), 1, "pongs keep the session");
    pair.pass(SECOND * 45);
    assert!(pair.connects.len() > 1, "without them it is lost");
    let metrics = pair.metrics.market(market(Venue::Okx, "spot"));
    assert_eq!(metrics.decode_errors.iter().map(|one| one.value()).sum::<u64>(), 0);
}

#[test]
fn bybit_refuses_a_whole_message_for_one_stream_and_the_others_are_said_again() {
    let linear = market(Venue::Bybit, "linear");
    let mut pair = Pair::new();
    pair.manners.refuses_tcp = true;
    for (id, symbol) in (0..).zip(["BTCUSDT", "NOPEUSDT", "ETHUSDT"]) {
        pair.subscribe_at(id, linear, symbol);
    }
    pair.manners.refuses_tcp = false;
    pair.pass(SECOND * 3);
    pair.push(
        r#"{"success":false,"ret_msg":"error:handler not found,topic:kline.1.NOPEUSDT","conn_id":"d","req_id":"1","op":"subscribe"}"#,
    );
    let rejected = rejected(&pair);
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].0, InstrumentId(1));
    assert!(rejected[0].2.contains("handler not found"));
    pair.pass(SECOND);
    let texts = texts(&pair);
    assert_eq!(texts.len(), 2, "the message, and the others again: {texts:?}");
    let again = texts.iter().filter(|text| text.contains("kline.1.ETHUSDT")).count();
    assert_eq!(again, 2);
}

#[test]
fn the_first_message_of_a_later_window_closes_the_one_before() {
    let mut pair = hyperliquid();
    pair.push(&candle("BTC", 0, "2.0", 3));
    pair.push(&candle("BTC", 0, "2.5", 4));
    assert!(closes(&pair).is_empty());
    pair.push(&candle("BTC", 1, "2.6", 1));
    pair.push(&candle("BTC", 1, "2.7", 2));
    assert_eq!(closes(&pair), [(0, FinalBy::Successor, 0, "2.5".to_owned())]);
    let order: Vec<_> = pair.candles().iter().map(|one| one.is_closed()).collect();
    assert_eq!(order, [false, false, true, false, false], "the close comes before its successor");
    let update = pair.candles()[2];
    assert_eq!((update.source, update.event_time), (Source::Ws, None));
}

#[test]
fn a_successor_proves_nothing_after_an_interruption() {
    let mut pair = hyperliquid();
    pair.push(&candle("BTC", 0, "2.0", 3));
    pair.push(&candle("BTC", 1, "2.1", 3));
    pair.cut();
    pair.pass(SECOND * 3);
    pair.push(&accepted("BTC"));
    pair.push(&candle("BTC", 2, "2.2", 3));
    pair.push(&candle("BTC", 3, "2.3", 3));
    assert_eq!(closes(&pair).len(), 1, "what ended minute 1 may have been missed");
    pair.pass(SECOND * 5);
    let expected =
        [(0, FinalBy::Successor, 0, "2".to_owned()), (2, FinalBy::Successor, 0, "2.2".to_owned())];
    assert_eq!(closes(&pair), expected);
    let gap = MarketEvent::Gap {
        instrument: InstrumentId(0),
        first_missing: UnixMs(START_MS + 60_000),
        missing: 1,
    };
    assert!(pair.published.contains(&gap));
}

#[test]
fn a_successor_on_another_connection_proves_nothing() {
    let mut pair = pair_at(market(Venue::Gateio, "um"), &["BTC_USDT"]);
    let push = |window: i64, close: &str| {
        let open = START_MS / 1000 + window * 60;
        format!(
            r#"{{"time":{open},"time_ms":{open}500,"channel":"futures.candlesticks","event":"update","result":[{{"t":{open},"v":"5","c":"{close}","h":"9","l":"1","o":"2","n":"1m_BTC_USDT","a":"1","w":false}}]}}"#
        )
    };
    let accepted = r#"{"time":1,"channel":"futures.candlesticks","event":"subscribe","payload":["1m","BTC_USDT"],"result":{"status":"success"}}"#;
    pair.push(accepted);
    let first = pair.only();
    pair.push(&push(-3, "2.1"));
    pair.push(
        r#"{"time":1,"channel":"futures.system","event":"update","result":{"type":"upgrade"}}"#,
    );
    pair.pass(SECOND * 3);
    let second = *pair.peers.keys().find(|&&id| id != first).expect("a session in its place");
    pair.push_to(second, accepted);
    pair.push_to(second, &push(-2, "2.3"));
    assert!(closes(&pair).is_empty(), "what ended the first minute may be on its way on the first");
    pair.push_to(second, &push(-1, "2.4"));
    pair.push_to(second, &push(0, "2.5"));
    pair.pass(SECOND * 6);
    let closed = closes(&pair);
    assert_eq!(closed.last(), Some(&(-1, FinalBy::Successor, 0, "2.4".to_owned())));
    assert!(closed.iter().all(|one| one.0 != -3), "{closed:?}");
}

#[test]
fn trades_that_come_after_the_successor_correct_the_close() {
    let mut pair = hyperliquid();
    pair.push(&candle("BTC", 0, "2.0", 3));
    pair.push(&candle("BTC", 1, "2.6", 1));
    pair.push(&candle("BTC", 0, "2.2", 4));
    pair.push(&candle("BTC", 0, "2.1", 3));
    let expected =
        [(0, FinalBy::Successor, 0, "2".to_owned()), (0, FinalBy::Successor, 1, "2.2".to_owned())];
    assert_eq!(closes(&pair), expected);
}

#[test]
fn a_candle_without_a_successor_is_closed_by_its_row() {
    let mut pair = patient_hyperliquid();
    pair.push(&candle("BTC", 0, "2.0", 3));
    let date = |second: u64| {
        let start = std::time::UNIX_EPOCH + Duration::from_millis(START_MS.unsigned_abs());
        httpdate::fmt_http_date(start + SECOND * u32::try_from(second).unwrap())
    };
    // REST is asked for its `Date`: Hyperliquid's pushes do not say what time it is.
    pair.rest_answers.push_back(rows(&[], &date(0)));
    pair.pass(SECOND);
    assert_eq!(pair.rests.drain(..).count(), 1);
    // The row may still run, whatever the date says; one of a later window shows that it is over.
    pair.rest_answers.push_back(rows(&[(0, "2.4")], &date(71)));
    pair.rest_answers.push_back(rows(&[(0, "2.5"), (1, "2.6")], &date(73)));
    pair.rest_answers.push_back(rows(&[(0, "2.5"), (1, "2.6")], &date(95)));
    pair.pass(SECOND * 63);
    assert!(pair.rests.is_empty() && closes(&pair).is_empty());
    pair.pass(SECOND * 3);
    assert_eq!((pair.rests.len(), closes(&pair).len()), (1, 0));
    pair.pass(SECOND * 5);
    assert_eq!(closes(&pair), [(0, FinalBy::Rest, 0, "2.5".to_owned())]);
    let update = *pair.candles().last().unwrap();
    assert_eq!(update.source, Source::Rest);
    pair.pass(SECOND * 25);
    assert_eq!(pair.rests.len(), 3, "it is compared once");
    let perp = market(Venue::Hyperliquid, "usdm");
    assert_eq!(pair.metrics.market(perp).comparisons_same.value(), 1);
    pair.push(&candle("BTC", 1, "2.6", 1));
    assert_eq!(closes(&pair).len(), 1);
}

#[test]
fn coins_that_are_not_listed_are_never_asked_for() {
    let mut pair = hyperliquid();
    let perp = market(Venue::Hyperliquid, "usdm");
    for (id, coin) in [(1, "btc"), (2, "KPEPE"), (3, "OLD"), (4, "NOSUCHCOIN"), (5, "kPEPE")] {
        pair.subscribe_at(id, perp, coin);
    }
    let said: Vec<_> = rejected(&pair).into_iter().map(|(_, message, _)| message).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(said[0].ends_with("did you mean BTC?"), "{}", said[0]);
    assert!(said[1].ends_with("did you mean kPEPE?"), "{}", said[1]);
    assert!(said[2].contains("lists OLD as delisted"), "{}", said[2]);
    assert!(said[3].ends_with("has no symbol NOSUCHCOIN"), "{}", said[3]);
    let texts = texts(&pair);
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[1].contains("kPEPE"));
    assert_eq!(pair.connects.len(), 1);
}

#[test]
fn without_a_list_the_coin_that_costs_the_session_is_found_and_left_out() {
    let perp = market(Venue::Hyperliquid, "usdm");
    let mut pair = Pair::new();
    for (id, coin) in (0..).zip(["BTC", "ETH", "BAD", "SOL"]) {
        pair.subscribe_at(id, perp, coin);
    }
    let mut answered = std::collections::BTreeSet::new();
    for turn in 0..320 {
        pair.pass(SECOND / 4);
        if turn % 4 == 0 {
            pair.push(r#"{"channel":"pong"}"#);
            pair.push(&candle("BTC", 0, "2.0", turn));
        }
        let peers: Vec<_> = pair.peers.iter().map(|(id, peer)| (*id, peer.texts.clone())).collect();
        for (id, texts) in peers {
            for (at, text) in texts.iter().enumerate() {
                let coin = ["BTC", "ETH", "BAD", "SOL"].into_iter().find(|coin| {
                    text.contains(&format!(r#""{coin}""#)) && text.contains("subscribe")
                });
                match coin {
                    Some("BAD") if pair.peers.contains_key(&id) => pair.cut_one(id),
                    Some(coin) if pair.peers.contains_key(&id) && answered.insert((id, at)) => {
                        pair.push_to(id, &accepted(coin));
                        pair.push_to(id, &candle(coin, 0, "2.0", 1));
                    }
                    _ => {}
                }
            }
        }
    }
    let rejected = rejected(&pair);
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_eq!(rejected[0].0, InstrumentId(2));
    assert!(rejected[0].1.contains("drops the connection"), "{}", rejected[0].1);
    assert!(pair.peers.len() <= 2, "the others are carried");
    assert!(pair.connects.len() <= 12, "{} connections", pair.connects.len());
}

#[test]
fn few_sessions_carry_many_streams_where_the_exchange_allows_few() {
    let perp = market(Venue::Hyperliquid, "usdm");
    let mut pair = Pair::new();
    for id in 0..1000 {
        pair.subscribe_at(id, perp, &format!("COIN{id}"));
    }
    pair.pass(SECOND);
    assert!(pair.peers.len() <= 9, "{} sessions", pair.peers.len());
    let rejected = rejected(&pair);
    assert!((1..=100).contains(&rejected.len()), "{}", rejected.len());
    assert!(rejected.iter().all(|(_, message, _)| message.contains("one too many")));
    pair.subscribe_at(2000, market(Venue::Hyperliquid, "spot"), "PURR/USDC");
    assert_eq!(rejected.len() + 1, self::rejected(&pair).len(), "the limit is the address's");
}

#[test]
fn a_refusal_waits_for_the_list_that_can_name_what_was_meant() {
    let spot = market(Venue::Okx, "spot");
    for has_list in [true, false] {
        let mut pair = Pair::new();
        pair.holds_lists = true;
        if has_list {
            pair.lists.insert(spot, list(&[("BTC-USDT", None), ("ETH-USDT", None)]));
        }
        pair.subscribe_at(0, spot, "BTC-USTD");
        pair.push(
            r#"{"event":"error","code":"60018","msg":"Wrong URL or channel:candle1m,instId:BTC-USTD doesn't exist.","connId":"a4"}"#,
        );
        assert!(rejected(&pair).is_empty(), "the list is under way");
        pair.answer_lists();
        let said = rejected(&pair);
        assert_eq!(said.len(), 1);
        let hint = if has_list { "; did you mean BTC-USDT?" } else { "" };
        assert_eq!(said[0].1, format!("okx spot has no symbol BTC-USTD{hint}"));
        assert!(said[0].2.contains("doesn't exist"), "its own words stay: {}", said[0].2);
    }
}

#[test]
fn a_symbol_of_another_contract_type_is_answered_with_that_one() {
    for (venue, asked_at, symbol, right) in [
        (Venue::Binance, "spot", "BTCUSD_PERP", "coinm"),
        (Venue::Gateio, "um", "BTC_USD", "cm"),
        (Venue::Bybit, "linear", "BTCUSD", "inverse"),
        (Venue::Hyperliquid, "usdm", "PURR/USDC", "spot"),
        (Venue::Bybit, "spot", "ONLYINLINEAR", "linear"),
    ] {
        let mut pair = Pair::new();
        let (asked_at, of) = (market(venue, asked_at), market(venue, right));
        pair.lists.insert(asked_at, list(&[("BTCUSDT", None)]));
        pair.subscribe_at(2, asked_at, "BTCUSDT");
        if symbol == "ONLYINLINEAR" {
            pair.lists.insert(of, list(&[(symbol, None)]));
            pair.subscribe_at(1, of, symbol);
        }
        pair.manners.unknown.insert(symbol.to_owned());
        pair.manners.rest_answer = Some(RestResponse {
            status: 400,
            retry_after: None,
            limit_headers: Vec::new(),
            body: UNKNOWN.iter().find(|(of, _)| *of == venue).map_or("", |one| one.1).into(),
        });
        pair.subscribe_at(0, asked_at, symbol);
        pair.pass(SECOND * 2);
        let said = rejected(&pair);
        let hint = format!("has no symbol {symbol}; did you mean \"contract_type\":\"{right}\"?");
        assert!(said.iter().any(|(_, message, _)| message.ends_with(&hint)), "{symbol}: {said:?}");
    }
}

/// How REST says that there is no such symbol.
const UNKNOWN: [(Venue, &str); 3] = [
    (Venue::Binance, r#"{"code":-1121,"msg":"Invalid symbol."}"#),
    (Venue::Gateio, r#"{"label":"CONTRACT_NOT_FOUND","message":"contract not found"}"#),
    (Venue::Bybit, r#"{"retCode":10001,"retMsg":"Not supported symbols","result":{}}"#),
];

#[test]
fn a_coin_in_another_case_that_is_asked_for_before_the_list_is_there_is_answered_with_the_right_one()
 {
    let perp = market(Venue::Hyperliquid, "usdm");
    let mut pair = Pair::new();
    pair.holds_lists = true;
    pair.lists.insert(perp, list(&[("BTC", None), ("kPEPE", None)]));
    pair.subscribe_at(0, perp, "KPEPE");
    assert!(rejected(&pair).is_empty(), "the list is under way");
    pair.answer_lists();
    let said = rejected(&pair);
    assert_eq!(said.len(), 1);
    assert!(said[0].1.ends_with("did you mean kPEPE?"), "{}", said[0].1);
}

#[test]
fn minutes_without_trades_are_no_reason_to_lose_a_session() {
    let mut pair = hyperliquid();
    pair.push(&candle("BTC", 0, "2.0", 3));
    // As long as it is asked: the traded row, then flat ones, as the exchange shows them late.
    let flat = |minute| {
        let row = candle("BTC", minute, "2.0", 0).replace(r#""v":"2.5""#, r#""v":"0.0""#);
        let row = row[r#"{"channel":"candle","data":"#.len()..row.len() - 1].to_owned();
        let body = format!("[{row}]").into_bytes();
        RestResponse { status: 200, retry_after: None, limit_headers: Vec::new(), body }
    };
    let start = std::time::UNIX_EPOCH + Duration::from_millis(START_MS.unsigned_abs());
    for number in 0..300 {
        let date = httpdate::fmt_http_date(start + SECOND * 30);
        let answer = if number < 4 { rows(&[(0, "2.0")], &date) } else { flat(1) };
        pair.rest_answers.push_back(answer);
    }
    for _ in 0..60 {
        pair.pass(SECOND * 5);
        pair.push(r#"{"channel":"pong"}"#);
    }
    assert!(pair.rests.len() > 5, "REST was asked: {}", pair.rests.len());
    assert_eq!(pair.connects.len(), 1, "{:#?}", pair.notices);
}
