//! Subscriptions, closes, limits, faults and playback of one simulated exchange, in virtual time.

use super::limits::OFFENCES_MAX;
use super::*;
use crate::clock::Now;
use crate::market::Venue;
use crate::sim::profile::{CONNECTION_LIFE, profiles};

const ID: ConnectionId = ConnectionId(1);
/// 10 s into a minute.
const START_MS: i64 = 1_740_000_010_000;

fn exchange(profile: usize, change: impl FnOnce(&mut Settings)) -> Exchange {
    let profile = profiles()[profile].clone();
    let mut settings = Settings {
        push_interval: Duration::from_millis(250),
        always_push: false,
        first_data_delay: Duration::ZERO,
        close_delay_ms: profile.close_delay_ms,
        enforce_limits: true,
        connection_life: CONNECTION_LIFE,
        playback: Arc::new([]),
        playback_speed: 1,
    };
    change(&mut settings);
    let market = SimMarket::new(1, profile.market, 0);
    let origin = Now { mono: MonoNs(0), unix_us: START_MS * 1000 };
    Exchange::new(profile, market, settings, SimTime::new(origin, 1), Arc::default())
}

fn at(ms: u64) -> MonoNs {
    MonoNs(ms * 1_000_000)
}

/// Runs from deadline to deadline until `end_ms` and returns the texts that were sent.
fn run(exchange: &mut Exchange, end_ms: u64) -> Vec<String> {
    let mut sent = Vec::new();
    while let Some(due) = exchange.next_deadline().filter(|&due| due <= at(end_ms)) {
        exchange.advance(due);
        for output in outputs(exchange) {
            match output {
                Output::Text(text) => sent.push(text.to_string()),
                Output::Ping(_) => exchange.pong(ID, due),
                Output::Close(..) | Output::Cut | Output::Freeze => {}
            }
        }
    }
    sent
}

fn outputs(exchange: &mut Exchange) -> Vec<Output> {
    std::iter::from_fn(|| exchange.poll_output()).map(|(_, output)| output).collect()
}

fn texts(exchange: &mut Exchange) -> Vec<String> {
    let outputs = outputs(exchange).into_iter();
    outputs
        .filter_map(|output| match output {
            Output::Text(text) => Some(text.to_string()),
            Output::Ping(_) | Output::Close(..) | Output::Cut | Output::Freeze => None,
        })
        .collect()
}

fn subscribe(exchange: &mut Exchange, name: &str, now: MonoNs) {
    let text = format!("{{\"method\":\"SUBSCRIBE\",\"params\":[\"{name}\"],\"id\":1}}");
    exchange.text(ID, &text, now);
    assert_eq!(texts(exchange), ["{\"result\":null,\"id\":1}"]);
}

#[test]
fn each_minute_is_closed_once_with_the_truth() {
    for profile in 0..3 {
        let mut exchange = exchange(profile, |_| {});
        let path = ["/ws", "/market/ws", "/ws"][profile];
        exchange.connect(ID, path, at(0)).unwrap();
        let name = exchange.market.listings()[0].lower.to_string() + "@kline_1m";
        subscribe(&mut exchange, &name, at(0));
        let texts = run(&mut exchange, 180_000);
        let closed: Vec<_> = texts.iter().filter(|text| text.contains("\"x\":true")).collect();
        assert_eq!(closed.len(), 3);
        for (text, minute) in closed.iter().zip(START_MS / MINUTE_MS..) {
            let truth = exchange.market.truth(0, minute);
            let push: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(push["k"]["t"], truth.open_time_ms);
            assert_eq!(push["k"]["n"], truth.trades);
            let late = push["E"].as_i64().unwrap() - truth.close_time_ms();
            let (least, most) = exchange.profile.close_delay_ms;
            assert!((least as i64..=most as i64 + 1).contains(&late), "{late}");
        }
        assert!(texts.len() > 600 / (1 + profile), "{}", texts.len());
    }
}

#[test]
fn unknown_upper_case_halted_and_unrouted_streams_are_acknowledged_and_silent() {
    let cases = [
        (0, "/ws", "nosuch@kline_1m"),
        (0, "/ws", "BTCUSDT@kline_1m"),
        (0, "/ws", "lunausdt@kline_1m"),
        (1, "/ws", "btcusdt@kline_1m"),
        (1, "/public/ws", "btcusdt@kline_1m"),
    ];
    for (profile, path, name) in cases {
        let mut exchange = exchange(profile, |_| {});
        exchange.connect(ID, path, at(0)).unwrap();
        subscribe(&mut exchange, name, at(0));
        assert_eq!(run(&mut exchange, 10_000), [""; 0], "{name}");
    }
}

#[test]
fn first_data_waits_for_its_delay() {
    let mut exchange = exchange(0, |set| set.first_data_delay = Duration::from_secs(2));
    exchange.connect(ID, "/ws", at(0)).unwrap();
    subscribe(&mut exchange, "btcusdt@kline_1m", at(0));
    assert!(run(&mut exchange, 1999).is_empty());
    assert_eq!(run(&mut exchange, 2000).len(), 1);
}

#[test]
fn unsubscribed_streams_end_and_lists_tell_what_is_left() {
    let mut exchange = exchange(0, |_| {});
    let path = "/stream?streams=btcusdt@kline_1m/币安人生usdt@kline_1m";
    exchange.connect(ID, path, at(0)).unwrap();
    let first = run(&mut exchange, 0);
    assert!(first[1].starts_with("{\"stream\":\"币安人生usdt@kline_1m\",\"data\":{"));
    let end = r#"{"method":"UNSUBSCRIBE","params":["btcusdt@kline_1m"],"id":2}"#;
    exchange.text(ID, end, at(100));
    exchange.text(ID, r#"{"method":"LIST_SUBSCRIPTIONS","id":3}"#, at(100));
    let answers = texts(&mut exchange);
    assert_eq!(answers[1], r#"{"result":["币安人生usdt@kline_1m"],"id":3}"#);
    assert!(run(&mut exchange, 5_000).iter().all(|text| text.contains("币安人生USDT")));
}

#[test]
fn too_many_messages_a_second_close_the_connection_and_then_ban() {
    let mut exchange = exchange(0, |_| {});
    for round in 0..OFFENCES_MAX {
        exchange.connect(ID, "/ws", at(0)).unwrap();
        for _ in 0..5 {
            exchange.ping(ID, at(0));
        }
        assert_eq!(outputs(&mut exchange), [], "round {round}");
        exchange.pong(ID, at(999));
        assert_eq!(outputs(&mut exchange), [Output::Close(1008, "Too many requests")]);
    }
    let refusal = exchange.connect(ID, "/ws", at(1000)).unwrap_err();
    assert_eq!((refusal.status, refusal.retry_after), (418, 120));
    assert!(exchange.connect(ID, "/ws", at(121_000)).is_ok());
}

#[test]
fn connections_and_streams_are_limited() {
    let mut exchange = exchange(0, |_| {});
    for number in 0..300 {
        assert!(exchange.connect(ConnectionId(number), "/ws", at(0)).is_ok());
    }
    assert_eq!(exchange.connect(ConnectionId(300), "/ws", at(1)).unwrap_err().status, 429);
    assert!(exchange.connect(ConnectionId(300), "/ws", at(300_000)).is_ok());
    let names: Vec<String> = (0..=1024).map(|n| format!("s{n}@kline_1m")).collect();
    exchange.subscribe(ConnectionId(300), names, at(300_000));
    assert_eq!(outputs(&mut exchange), [Output::Close(1008, "Too many streams")]);
}

#[test]
fn pings_come_and_a_missing_pong_cuts() {
    let mut exchange = exchange(0, |_| {});
    exchange.connect(ID, "/ws", at(0)).unwrap();
    exchange.advance(at(20_000));
    assert!(matches!(outputs(&mut exchange)[..], [Output::Ping(_)]));
    exchange.pong(ID, at(20_001));
    exchange.advance(at(40_000));
    exchange.advance(at(99_000));
    assert!(matches!(outputs(&mut exchange)[..], [Output::Ping(_), Output::Ping(_)]));
    exchange.advance(at(100_000));
    assert_eq!(outputs(&mut exchange), [Output::Cut]);
}

#[test]
fn a_connection_ends_after_a_day() {
    let mut exchange = exchange(2, |_| {});
    exchange.connect(ID, "/ws", at(0)).unwrap();
    exchange.with(ID, |open| open.next_ping = MonoNs(u64::MAX));
    exchange.advance(at(86_400_000 - 1));
    assert_eq!(outputs(&mut exchange), []);
    exchange.advance(at(86_400_000));
    assert!(matches!(outputs(&mut exchange)[..], [Output::Close(1001, _)]));
    assert_eq!(exchange.connections(), 0);
}

#[test]
fn faults_do_what_they_are_called() {
    let mut exchange = exchange(0, |_| {});
    exchange.connect(ID, "/stream?streams=btcusdt@kline_1m", at(0)).unwrap();
    run(&mut exchange, 0);
    exchange.fault(Fault::ShutdownNotice, at(1));
    assert!(texts(&mut exchange)[0].starts_with(r#"{"stream":"!serverShutdown","data":{"e""#));
    exchange.fault(Fault::Malformed, at(1));
    assert_eq!(texts(&mut exchange), [MALFORMED]);
    exchange.fault(Fault::LostClose, at(1));
    let closes = |texts: Vec<String>| texts.iter().filter(|t| t.contains("x\":true")).count();
    assert_eq!(closes(run(&mut exchange, 60_000)), 0);
    exchange.fault(Fault::DoubleClose, at(60_000));
    assert_eq!(closes(run(&mut exchange, 120_000)), 2);
    exchange.fault(Fault::Refuse(Duration::from_secs(5)), at(120_000));
    let refusal = exchange.connect(ConnectionId(2), "/ws", at(124_000)).unwrap_err();
    assert_eq!(refusal.status, 503);
    exchange.fault(Fault::Silence(Duration::ZERO), at(125_000));
    assert!(run(&mut exchange, 190_000).is_empty());
    exchange.fault(Fault::Disconnect, at(190_000));
    assert!(outputs(&mut exchange).contains(&Output::Cut));
}

/// (open time, trades, closed) of each push of a spot symbol.
fn pushes(texts: &[String]) -> Vec<(i64, u64, bool)> {
    let push = |text: &String| {
        let push: serde_json::Value = serde_json::from_str(text).unwrap();
        let kline = &push["k"];
        let (time, trades) = (kline["t"].as_i64().unwrap(), kline["n"].as_u64().unwrap());
        (time, trades, kline["x"].as_bool().unwrap())
    };
    texts.iter().map(push).collect()
}

#[test]
fn closes_are_reordered_late_restated_and_muted() {
    let minute = START_MS / MINUTE_MS * MINUTE_MS;
    let close_after = |fault, end_ms| {
        let mut exchange = exchange(0, |_| {});
        exchange.connect(ID, "/ws", at(0)).unwrap();
        subscribe(&mut exchange, "btcusdt@kline_1m", at(0));
        let index = exchange.market.find("BTCUSDT").unwrap();
        assert!(exchange.fault_stream(fault, index, at(0)));
        let pushed = pushes(&run(&mut exchange, end_ms));
        (exchange.market.truth(index, minute / MINUTE_MS).trades, pushed, exchange)
    };
    let position = |pushed: &[(i64, u64, bool)], what: (i64, bool)| {
        pushed.iter().position(|&(time, _, closed)| (time, closed) == what)
    };
    let (_, pushed, exchange) = close_after(Fault::Reordered, 55_000);
    let next = position(&pushed, (minute + MINUTE_MS, false));
    assert!(next.is_some() && next < position(&pushed, (minute, true)), "the close comes after");
    assert_eq!(exchange.counters.spoilt, 1);
    let (_, pushed, _) = close_after(Fault::LateClose, 53_000);
    assert_eq!(position(&pushed, (minute, true)), None);
    let (trades, pushed, _) = close_after(Fault::RestatedClose, 54_000);
    let closes: Vec<u64> = pushed.iter().filter(|one| one.2).map(|one| one.1).collect();
    assert!(closes.len() == 2 && closes[0] < trades && closes[1] == trades, "{closes:?}");
    let (_, pushed, mut exchange) = close_after(Fault::Muted, 55_000);
    assert_eq!(pushed, []);
    exchange.text(
        ID,
        r#"{"method":"UNSUBSCRIBE","params":["btcusdt@kline_1m"],"id":2}"#,
        at(56_000),
    );
    texts(&mut exchange);
    subscribe(&mut exchange, "btcusdt@kline_1m", at(56_000));
    assert!(!run(&mut exchange, 60_000).is_empty(), "subscribed anew, it talks");
}

#[test]
fn an_empty_minute_has_no_trade_in_pushes_and_in_truth() {
    let mut exchange = exchange(0, |_| {});
    exchange.connect(ID, "/ws", at(0)).unwrap();
    subscribe(&mut exchange, "btcusdt@kline_1m", at(0));
    let (index, minute) = (exchange.market.find("BTCUSDT").unwrap(), START_MS / MINUTE_MS);
    exchange.fault(Fault::EmptyMinute, at(0));
    let pushed = pushes(&run(&mut exchange, 115_000));
    let of_next = pushed.iter().filter(|one| one.0 == (minute + 1) * MINUTE_MS);
    assert!(of_next.clone().all(|one| one.1 == 0) && of_next.clone().any(|one| one.2));
    let truth = exchange.market.truth(index, minute + 1);
    assert_eq!((truth.trades, truth.volume, truth.open), (0, 0, truth.close));
    assert!(exchange.market.truth(index, minute + 2).trades > 0);
}

#[test]
fn playback_starts_after_the_last_subscription_and_keeps_the_spacing() {
    let captured = |offset, stream: &str| Captured {
        offset: Duration::from_millis(offset),
        stream: stream.to_owned(),
        payload: format!("{{\"at\":{offset}}}"),
    };
    let playback =
        [captured(0, "a@kline_1m"), captured(50, "b@kline_1m"), captured(90, "a@kline_1m")];
    let mut exchange = exchange(0, |set| set.playback = playback.into());
    exchange.connect(ID, "/ws", at(0)).unwrap();
    subscribe(&mut exchange, "c@kline_1m", at(0));
    subscribe(&mut exchange, "a@kline_1m", at(100));
    assert!(run(&mut exchange, 299).is_empty());
    assert_eq!(run(&mut exchange, 300), ["{\"at\":0}"]);
    assert!(run(&mut exchange, 389).is_empty());
    assert_eq!(run(&mut exchange, 10_000), ["{\"at\":90}"]);
}

/// Everything that is sent to `ID` in answer to `text`.
fn answers(exchange: &mut Exchange, text: &str, now: MonoNs) -> Vec<String> {
    exchange.text(ID, text, now);
    texts(exchange)
}

fn at_venue(venue: Venue, contract_type: &str, path: &str) -> Exchange {
    let market = crate::market::Market::find(venue, contract_type).unwrap();
    let mut exchange = exchange(market.index(), |_| {});
    exchange.connect(ID, path, at(0)).unwrap();
    exchange
}

#[test]
fn okx_answers_each_argument_and_limits_connects_and_operations() {
    let mut okx = at_venue(Venue::Okx, "spot", "/ws/v5/business");
    let args = ["BTC-USDT", "NOPE-USDT", "LUNA-USDT"]
        .map(|symbol| format!(r#"{{"channel":"candle1m","instId":"{symbol}"}}"#));
    let text = format!(r#"{{"op":"subscribe","args":[{}]}}"#, args.join(","));
    let said = answers(&mut okx, &text, at(1));
    let events = said.iter().map(|one| one.contains(r#""event":"subscribe""#));
    assert_eq!(events.collect::<Vec<_>>(), [true, false, false], "{said:?}");
    assert!(said[1].contains("60018") && said[1].contains("instId:NOPE-USDT"), "{}", said[1]);
    assert_eq!(answers(&mut okx, "ping", at(2)), ["pong"]);
    for number in 2..4 {
        assert!(okx.connect(ConnectionId(number), "/ws/v5/public", at(3)).is_ok());
    }
    let refused = okx.connect(ConnectionId(4), "/ws/v5/business", at(4)).unwrap_err();
    assert_eq!(refused.status, 429);
    assert!(okx.connect(ConnectionId(5), "/nowhere", at(2000)).is_err());
    let again = r#"{"op":"unsubscribe","args":[{"channel":"candle1m","instId":"BTC-USDT"}]}"#;
    let said: Vec<String> =
        (0..480).flat_map(|number| answers(&mut okx, again, at(3000 + number))).collect();
    assert_eq!(said.iter().filter(|one| one.contains("60014")).count(), 1, "one of 481 too many");
    assert_eq!(okx.counters.limit_cuts, 2);
}

#[test]
fn okx_closes_a_connection_to_which_nothing_was_sent_for_half_a_minute() {
    let mut okx = at_venue(Venue::Okx, "spot", "/ws/v5/business");
    okx.text(ID, "ping", at(20_000));
    okx.advance(at(49_999));
    assert_eq!(texts(&mut okx), ["pong"]);
    okx.advance(at(50_000));
    assert_eq!(outputs(&mut okx), [Output::Close(4004, "No data received in 30s")]);
}

#[test]
fn bybit_fails_a_whole_frame_for_one_topic_and_takes_ten_on_spot() {
    let mut bybit = at_venue(Venue::Bybit, "spot", "/v5/public/spot");
    let frame = |symbols: &[&str]| {
        let topics: Vec<_> = symbols.iter().map(|one| format!("\"kline.1.{one}\"")).collect();
        format!(r#"{{"op":"subscribe","args":[{}],"req_id":"7"}}"#, topics.join(","))
    };
    let said = answers(&mut bybit, &frame(&["BTCUSDT", "NOPE"]), at(1));
    assert!(said[0].contains("Invalid symbol :[kline.1.NOPE]"), "{said:?}");
    assert!(said[0].contains(r#""success":false"#) && said[0].contains(r#""req_id":"7""#));
    let eleven = answers(&mut bybit, &frame(&["BTCUSDT"; 11]), at(2));
    assert!(eleven[0].contains("args size >10"), "{eleven:?}");
    let said = answers(&mut bybit, &frame(&["BTCUSDT", "ETHUSDT"]), at(3));
    assert!(said[0].contains(r#""success":true"#), "{said:?}");
    let said = answers(&mut bybit, &frame(&["BTCUSDT"]), at(4));
    assert!(said[0].contains("error:already subscribed,topic:kline.1.BTCUSDT"), "{said:?}");
    let said = answers(&mut bybit, r#"{"op":"ping","req_id":"1"}"#, at(5));
    assert!(said[0].contains(r#""ret_msg":"pong""#) && said[0].contains(r#""op":"ping""#));
}

#[test]
fn gate_accepts_a_contract_of_another_settlement_and_stays_silent() {
    let mut gate = at_venue(Venue::Gateio, "um", "/v4/ws/usdt");
    let frame = |symbol: &str| {
        format!(
            r#"{{"time":1,"id":3,"channel":"futures.candlesticks","event":"subscribe","payload":["1m","{symbol}"]}}"#
        )
    };
    let said = answers(&mut gate, &frame("BTC_USD"), at(1));
    assert!(said[0].contains(r#""status":"success""#) && said[0].contains(r#""id":3"#));
    assert!(run(&mut gate, 20_000).is_empty());
    let said = answers(&mut gate, &frame("NOPE_USDT"), at(20_001));
    assert!(said[0].contains("unknown contract NOPE_USDT"), "{said:?}");
    let said = answers(&mut gate, r#"{"time":1,"channel":"futures.ping"}"#, at(20_002));
    assert!(said[0].contains("futures.pong"));
    gate.advance(at(50_003));
    assert!(outputs(&mut gate).is_empty(), "a subscription keeps the socket, even a silent one");
}

#[test]
fn hyperliquid_cuts_for_an_unknown_coin_and_counts_by_address() {
    let mut exchange = at_venue(Venue::Hyperliquid, "usdm", "/ws");
    let frame = |coin: &str| {
        format!(
            r#"{{"method":"subscribe","subscription":{{"type":"candle","coin":"{coin}","interval":"1m"}}}}"#
        )
    };
    let said = answers(&mut exchange, &frame("BTC"), at(1));
    assert!(said[0].starts_with(r#"{"channel":"subscriptionResponse""#), "{said:?}");
    let said = answers(&mut exchange, &frame("BTC"), at(2));
    assert!(said[0].contains("Already subscribed"), "{said:?}");
    assert!(answers(&mut exchange, &frame("btc"), at(3)).is_empty());
    exchange.advance(at(200));
    assert!(outputs(&mut exchange).contains(&Output::Cut));
    assert_eq!((exchange.connections(), exchange.address_streams()), (0, 0));
    for number in 10..20 {
        assert!(exchange.connect(ConnectionId(number), "/ws", at(300)).is_ok(), "{number}");
    }
    assert_eq!(exchange.connect(ConnectionId(20), "/ws", at(301)).unwrap_err().status, 429);
}
