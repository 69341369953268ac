//! What real clients send and expect, and what once misled them: one test for each symptom.

use std::time::Duration;

use connector_wss::clock::{MonoNs, Now};
use connector_wss::sim::exchange::{ConnectionId, Exchange, Output, Settings};
use connector_wss::sim::market::SimMarket;
use connector_wss::sim::profile::profiles;
use connector_wss::sim::time::SimTime;

use super::*;

/// 10 s into a minute.
const START_MS: i64 = 1_740_000_010_000;
const ID: ConnectionId = ConnectionId(1);

fn market_of(venue: Venue, name: &str) -> Market {
    Market::find(venue, name).unwrap()
}

/// One market of an exchange in virtual time, with a client connected to `path`.
fn connected(market: Market, path: &str) -> Exchange {
    let profile = profiles()[market.index()].clone();
    let settings = Settings {
        push_interval: profile.push_interval_min,
        always_push: false,
        first_data_delay: Duration::ZERO,
        close_delay_ms: profile.close_delay_ms,
        enforce_limits: true,
        connection_life: Duration::from_secs(86_400),
        playback: Arc::new([]),
        playback_speed: 1,
    };
    let origin = Now { mono: MonoNs(0), unix_us: START_MS * 1000 };
    let candles = SimMarket::new(1, market, 0);
    let time = SimTime::new(origin, 1);
    let mut exchange = Exchange::new(profile, candles, settings, time, Arc::default());
    exchange.connect(ID, path, at(0)).unwrap();
    exchange
}

fn at(seconds: u64) -> MonoNs {
    MonoNs(seconds * 1_000_000_000)
}

/// The second in which the connection is cut, if it is by `end_s`.
fn cut_at(exchange: &mut Exchange, end_s: u64) -> Option<u64> {
    while let Some(due) = exchange.next_deadline().filter(|&due| due <= at(end_s)) {
        exchange.advance(due);
        while let Some((_, output)) = exchange.poll_output() {
            if output == Output::Cut {
                return Some(due.0 / 1_000_000_000);
            }
        }
    }
    None
}

/// Status and body of the answer to `GET target` at the port of `market`.
fn asked(simulator: &Simulator, market: Market, target: &str) -> (u16, Value) {
    let (status, _, body) = http(&mut tcp(simulator, market), &format!("GET {target}"));
    (status, serde_json::from_str(&body).unwrap())
}

/// Open times of Bybit's rows, in the order of the answer.
fn bybit_opens(simulator: &Simulator, times: &str) -> Vec<i64> {
    let spot = market_of(Venue::Bybit, "spot");
    let target = format!("/v5/market/kline?category=spot&symbol=BTCUSDT&interval=1&{times}");
    let (_, answer) = asked(simulator, spot, &target);
    let rows = answer["result"]["list"].as_array().unwrap().iter();
    rows.map(|row| row[0].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_request_with_a_uuid_as_its_id_is_answered_with_that_id() {
    let simulator = sim::start(fast()).unwrap();
    let mut socket = connect(&simulator, "spot", "/ws");
    let id = "922bcc6e-9de8-440d-9e84-7c80933a8d0d";
    let text = format!(r#"{{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":"{id}"}}"#);
    socket.send(Message::text(text)).unwrap();
    assert_eq!(text_of(&mut socket), format!(r#"{{"result":null,"id":"{id}"}}"#));
    assert_eq!(json_of(&mut socket)["s"], "BTCUSDT");
}

#[test]
fn gate_cuts_a_silent_socket_only_while_nothing_is_subscribed() {
    for (kind, path, channel, symbol) in [
        ("spot", "/ws/v4/", "spot", "BTC_USDT"),
        ("um", "/v4/ws/usdt", "futures", "BTC_USDT"),
        ("cm", "/v4/ws/btc", "futures", "BTC_USD"),
    ] {
        let mut gate = connected(market_of(Venue::Gateio, kind), path);
        assert_eq!(cut_at(&mut gate, 600), Some(30), "{kind}");
        let mut gate = connected(market_of(Venue::Gateio, kind), path);
        let text = |event| {
            format!(
                r#"{{"time":1,"channel":"{channel}.candlesticks","event":"{event}","payload":["1m","{symbol}"]}}"#
            )
        };
        gate.text(ID, &text("subscribe"), at(1));
        assert_eq!(cut_at(&mut gate, 600), None, "{kind}");
        gate.text(ID, &text("unsubscribe"), at(601));
        assert_eq!(cut_at(&mut gate, 700), Some(631), "{kind}");
    }
}

#[test]
fn bybit_cuts_after_ten_minutes_without_pings_only_where_no_data_comes() {
    let mut bybit = connected(market_of(Venue::Bybit, "linear"), "/v5/public/linear");
    assert_eq!(cut_at(&mut bybit, 2000), Some(600));
    let mut bybit = connected(market_of(Venue::Bybit, "linear"), "/v5/public/linear");
    bybit.text(ID, r#"{"op":"subscribe","args":["kline.1.BTCUSDT"]}"#, at(1));
    assert_eq!(cut_at(&mut bybit, 2000), None);
}

#[test]
fn bybit_counts_on_from_the_window_that_contains_a_start_without_an_end() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    assert_eq!(
        bybit_opens(&simulator, "start=60030000&limit=3"),
        [60_120_000, 60_060_000, 60_000_000]
    );
    // With an end, the newest rows up to it.
    let both = "start=60030000&end=60300000&limit=3";
    assert_eq!(bybit_opens(&simulator, both), [60_300_000, 60_240_000, 60_180_000]);
    let ahead = format!("start={}", i64::MAX);
    assert_eq!(bybit_opens(&simulator, &ahead), Vec::<i64>::new());
}

#[test]
fn usdm_has_no_longest_range_and_counts_on_from_its_start() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let target = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime=60000000\
                  &endTime=28000000000&limit=2";
    let rows = get(&simulator, "usdm", target);
    let opens: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row[0]).collect();
    assert_eq!(opens, [60_000_000, 60_060_000]);
}

#[test]
fn times_beyond_any_calendar_are_answered() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let (least, most) = (i64::MIN, i64::MAX);
    let gate = market_of(Venue::Gateio, "spot");
    let okx = market_of(Venue::Okx, "spot");
    for (market, target, status) in [
        (
            market("spot"),
            format!("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={most}"),
            200,
        ),
        (market("spot"), format!("/truth?symbol=BTCUSDT&from={most}&to={most}"), 200),
        (gate, format!("/api/v4/spot/candlesticks?currency_pair=BTC_USDT&from={most}"), 200),
        (gate, format!("/api/v4/spot/candlesticks?currency_pair=BTC_USDT&to={least}"), 400),
        (okx, format!("/api/v5/market/candles?instId=BTC-USDT&after={least}"), 200),
    ] {
        assert_eq!(asked(&simulator, market, &target).0, status, "{target}");
    }
}

#[test]
fn the_certificate_names_its_authoritys_key_as_strict_clients_demand() {
    let file = Scratch::new("strict-ca.pem");
    let tls_ca_out = Some(file.0.clone());
    let simulator = sim::start(SimOptions { tls: true, tls_ca_out, ..fast() }).unwrap();
    let mut session = secure(&simulator, &file, "localhost");
    http(&mut session, "GET /fapi/v1/ping");
    let leaf = session.conn.peer_certificates().unwrap()[0].to_vec();
    // The object identifier 2.5.29.35, as certificates write it.
    let authority_key_identifier = [0x06, 0x03, 0x55, 0x1d, 0x23];
    assert!(leaf.windows(5).any(|bytes| bytes == authority_key_identifier));
}
