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

#[test]
fn lists_hold_what_was_asked_for_and_unknown_symbols_are_refused() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let of = |venue, name| market_of(venue, name);
    let info = "/api/v3/exchangeInfo?symbol";
    let okx = "/api/v5/public/instruments?instType";
    let bybit = "/v5/market/instruments-info?category";
    let gate = "/api/v4";
    // Market, target, status, where the rows are, how many there are.
    for (market, target, status, rows, count) in [
        (market("spot"), format!("{info}=BTCUSDT"), 200, "/symbols", 1),
        (market("spot"), format!("{info}s=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D"), 200, "/symbols", 2),
        (of(Venue::Okx, "spot"), format!("{okx}=SPOT&instId=BTC-USDT"), 200, "/data", 1),
        (of(Venue::Okx, "futures"), format!("{okx}=FUTURES&instFamily=BTC-USD"), 200, "/data", 2),
        (of(Venue::Okx, "futures"), format!("{okx}=FUTURES&uly=SOL-USD"), 200, "/data", 1),
        (of(Venue::Okx, "spot"), format!("{okx}=OPTION"), 200, "/data", 0),
        (of(Venue::Bybit, "spot"), format!("{bybit}=spot&symbol=BTCUSDT"), 200, "/result/list", 1),
        (
            of(Venue::Bybit, "linear"),
            format!("{bybit}=linear&baseCoin=BTC"),
            200,
            "/result/list",
            3,
        ),
        (
            of(Venue::Bybit, "linear"),
            format!("{bybit}=linear&status=Closed"),
            200,
            "/result/list",
            1,
        ),
        (of(Venue::Gateio, "um"), format!("{gate}/delivery/usdt/contracts"), 200, "", 0),
        (of(Venue::Gateio, "spot"), format!("{gate}/spot/currencies"), 200, "", 9),
    ] {
        let (answered, body) = asked(&simulator, market, &target);
        assert_eq!(answered, status, "{target}");
        let rows = body.pointer(rows).and_then(Value::as_array).map(Vec::len);
        assert_eq!(rows, Some(count), "{target}: {body}");
    }
    for (market, target, status, key, value) in [
        (market("spot"), format!("{info}=NOSUCH"), 400, "/code", "-1121"),
        (market("spot"), format!("{info}s=BTCUSDT"), 400, "/code", "-1100"),
        (market("spot"), format!("{info}=BTCUSDT&symbols=%5B%5D"), 400, "/code", "-1128"),
        (of(Venue::Okx, "spot"), format!("{okx}=SPOT&instId=NO-SUCH"), 200, "/code", "51001"),
        (of(Venue::Okx, "spot"), format!("{okx}=NOSUCH"), 200, "/code", "51000"),
        (of(Venue::Bybit, "spot"), format!("{bybit}=spot&symbol=NOSUCH"), 200, "/retCode", "10001"),
        (of(Venue::Bybit, "spot"), format!("{bybit}=nosuch"), 200, "/retCode", "10001"),
        (
            of(Venue::Gateio, "spot"),
            format!("{gate}/spot/currency_pairs/BTC_USDT"),
            200,
            "/id",
            "BTC_USDT",
        ),
        (
            of(Venue::Gateio, "um"),
            format!("{gate}/futures/usdt/contracts/BTC_USDT"),
            200,
            "/name",
            "BTC_USDT",
        ),
        (
            of(Venue::Gateio, "spot"),
            format!("{gate}/spot/currency_pairs/NO_%22"),
            400,
            "/label",
            "INVALID_CURRENCY_PAIR",
        ),
        (
            of(Venue::Gateio, "cm"),
            format!("{gate}/futures/btc/contracts/NOSUCH"),
            400,
            "/label",
            "CONTRACT_NOT_FOUND",
        ),
        (of(Venue::Gateio, "spot"), format!("{gate}/spot/nosuch"), 404, "/label", "NOT_FOUND"),
        (
            of(Venue::Gateio, "um"),
            format!("{gate}/futures/nosuch/contracts"),
            404,
            "/label",
            "NOT_FOUND",
        ),
        (of(Venue::Gateio, "spot"), "/spot/currency_pairs".to_owned(), 404, "/label", "NOT_FOUND"),
    ] {
        let (answered, body) = asked(&simulator, market, &target);
        let said = body.pointer(key).map(|said| said.to_string().replace('"', ""));
        assert_eq!((answered, said.as_deref()), (status, Some(value)), "{target}: {body}");
    }
}

#[test]
fn dated_contracts_are_delivered_when_their_names_say() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let (december, march) = (1_798_185_600_000_i64, 1_806_048_000_000_i64);
    let futures = market_of(Venue::Okx, "futures");
    let (_, okx) = asked(&simulator, futures, "/api/v5/public/instruments?instType=FUTURES");
    for row in okx["data"].as_array().unwrap() {
        let is_march = row["instId"].as_str().unwrap().ends_with("-270326");
        let expiry = if is_march { march } else { december };
        assert_eq!(row["expTime"], expiry.to_string(), "{row}");
    }
    let (_, inverse) = asked(
        &simulator,
        market_of(Venue::Bybit, "inverse"),
        "/v5/market/instruments-info?category=inverse&symbol=BTCUSDZ26",
    );
    let row = &inverse["result"]["list"][0];
    assert_eq!(
        (&row["deliveryTime"], &row["baseCoin"]),
        (&december.to_string().into(), &"BTC".into())
    );
    for (kind, target, margin) in
        [("usdm", "/fapi/v1/exchangeInfo", "USDT"), ("coinm", "/dapi/v1/exchangeInfo", "BTC")]
    {
        let info = get(&simulator, kind, target);
        let row = |end: &str| {
            let rows = info["symbols"].as_array().unwrap().iter();
            rows.clone()
                .find(|row| {
                    row["symbol"].as_str().unwrap().starts_with("BTC")
                        && row["symbol"].as_str().unwrap().ends_with(end)
                })
                .unwrap()
                .clone()
        };
        let dated = row("_261225");
        assert_eq!(
            (&dated["deliveryDate"], &dated["contractType"]),
            (&december.into(), &"CURRENT_QUARTER".into())
        );
        let perpetual = row(if kind == "usdm" { "USDT" } else { "_PERP" });
        assert_eq!(perpetual["deliveryDate"], 4_133_404_800_000_i64);
        for row in [dated, perpetual] {
            assert_eq!(row["marginAsset"], margin);
            for key in
                ["onboardDate", "orderTypes", "timeInForce", "underlyingType", "quotePrecision"]
            {
                assert!(!row[key].is_null(), "{key}: {row}");
            }
            let filters = row["filters"].as_array().unwrap();
            let price = filters.iter().find(|one| one["filterType"] == "PRICE_FILTER").unwrap();
            assert!(price["minPrice"].is_string() && price["maxPrice"].is_string());
        }
    }
}

#[test]
fn ticker_price_and_ui_klines_are_those_of_the_candles() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let range = "symbol=BTCUSDT&interval=1m&startTime=60000000&endTime=60540000";
    let rows = get(&simulator, "spot", &format!("/api/v3/klines?{range}"));
    assert_eq!(get(&simulator, "spot", &format!("/api/v3/uiKlines?{range}")), rows);
    assert_eq!(asked(&simulator, market("usdm"), &format!("/fapi/v1/uiKlines?{range}")).0, 404);
    let spot = get(&simulator, "spot", "/api/v3/ticker/price?symbol=BTCUSDT");
    let kline = get(&simulator, "spot", "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1");
    let number = |price: &Value| price.as_str().unwrap().parse::<f64>().unwrap();
    let (low, high) = (number(&kline[0][3]), number(&kline[0][2]));
    assert!((low * 0.99..high * 1.01).contains(&number(&spot["price"])), "{spot} {kline}");
    let all = get(&simulator, "usdm", "/fapi/v1/ticker/price");
    assert!(all.as_array().unwrap().len() > 5 && all[0]["time"].is_i64());
    let coinm = get(&simulator, "coinm", "/dapi/v1/ticker/price?symbol=BTCUSD_PERP");
    assert_eq!((&coinm[0]["ps"], &coinm[0]["symbol"]), (&"BTCUSD".into(), &"BTCUSD_PERP".into()));
    let (status, refused) = asked(&simulator, market("spot"), "/api/v3/ticker/price?symbol=NOSUCH");
    assert_eq!((status, &refused["code"]), (400, &(-1121).into()));
}

#[test]
fn head_is_get_without_its_body_and_pages_of_other_sites_may_read() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let target = "/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=60000000&endTime=60540000";
    let mut stream = tcp(&simulator, market("spot"));
    let (_, head, body) = http(&mut stream, &format!("GET {target}"));
    assert_eq!(header(&head, "access-control-allow-origin"), Some("*"));
    stream.write_all(format!("HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    stream.write_all(b"OPTIONS /api/v3/klines HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut both = String::new();
    stream.read_to_string(&mut both).unwrap();
    let heads: Vec<&str> = both.split_terminator("\r\n\r\n").collect();
    let [head, options] = heads[..] else { panic!("two heads and no body: {both}") };
    assert!(head.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(header(&head.to_lowercase(), "content-length"), Some(&*body.len().to_string()));
    let options = options.to_lowercase();
    assert!(options.starts_with("http/1.1 204"));
    assert_eq!(header(&options, "content-length"), None);
    for name in ["origin", "methods", "headers"] {
        assert!(header(&options, &format!("access-control-allow-{name}")).is_some(), "{name}");
    }
}

#[test]
fn a_question_for_more_truth_than_one_answer_holds_is_refused() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let week = |rows: i64| format!("/truth?symbol=BTCUSDT&from=0&to={}", (rows - 1) * 60_000);
    let all = get(&simulator, "spot", &week(10_080));
    assert_eq!(all.as_array().unwrap().len(), 10_080);
    let (status, refused) = asked(&simulator, market("spot"), &week(10_081));
    assert_eq!(status, 400);
    assert!(refused["error"].as_str().unwrap().contains("more than 10080 candles"), "{refused}");
}

#[test]
fn hyperliquid_tells_its_status_and_answers_posts_over_websocket() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let perp = market_of(Venue::Hyperliquid, "usdm");
    let url = "ws://localhost/ws";
    let mut socket = tungstenite::client(url, tcp(&simulator, perp)).unwrap().0;
    let mut post = |kind: &str, payload: &str| {
        let request = format!(r#"{{"type":"{kind}","payload":{payload}}}"#);
        let text = format!(r#"{{"method":"post","id":7,"request":{request}}}"#);
        socket.send(Message::text(text)).unwrap();
        let answer = json_of(&mut socket);
        assert_eq!((&answer["channel"], &answer["data"]["id"]), (&"post".into(), &7.into()));
        answer["data"]["response"].clone()
    };
    let status = post("info", r#"{"type":"exchangeStatus"}"#);
    assert!(status["payload"]["data"]["time"].as_i64().unwrap() > START_MS, "{status}");
    let wanted =
        r#"{"coin":"BTC","interval":"1m","startTime":1740000000000,"endTime":1740000060000}"#;
    let rows = post("info", &format!(r#"{{"type":"candleSnapshot","req":{wanted}}}"#));
    assert_eq!(
        (&rows["type"], &rows["payload"]["type"]),
        (&"info".into(), &"candleSnapshot".into())
    );
    let opens: Vec<&Value> =
        rows["payload"]["data"].as_array().unwrap().iter().map(|row| &row["t"]).collect();
    assert_eq!(opens, [1_740_000_000_000_i64, 1_740_000_060_000]);
    assert_eq!(post("info", r#"{"type":"nosuch"}"#)["type"], "error");
    assert_eq!(post("action", "{}")["type"], "error");
}

#[test]
fn the_help_says_what_the_simulated_exchanges_do_not_know() {
    let help = Command::new(env!("CARGO_BIN_EXE_connector-sim")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, unknown) = help.split_once("Not known:").unwrap();
    for what in ["orders", "order books", "mark and index prices", "options", "compression"] {
        assert!(unknown.contains(what), "{what}");
    }
    // Word for word, but for the line breaks and the list's dashes.
    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().filter(|&word| word != "-").collect()
    }
    let (of_help, _) = unknown.split_once("1970.").unwrap();
    let readme = include_str!("../../src/sim/README.md");
    let (_, listed) = readme.split_once("Not known:").unwrap();
    let (of_readme, _) = listed.split_once("1970.").unwrap();
    assert_eq!(words(of_help), words(of_readme));
}

#[test]
fn continuous_klines_have_the_candles_of_their_contract() {
    let simulator = sim::start(fast()).unwrap();
    for (kind, name, pair, ct, symbol) in [
        ("usdm", "btcusdt_perpetual", "BTCUSDT", "PERPETUAL", "BTCUSDT"),
        ("usdm", "btcusdt_current_quarter", "BTCUSDT", "CURRENT_QUARTER", "BTCUSDT_261225"),
        ("coinm", "btcusd_perpetual", "BTCUSD", "PERPETUAL", "BTCUSD_PERP"),
    ] {
        let stream = format!("{name}@continuousKline_1m");
        let mut socket = connect(&simulator, kind, "/market/stream");
        subscribe(&mut socket, &[&stream]);
        let closed = std::iter::repeat_with(|| json_of(&mut socket))
            .inspect(|push| assert_eq!(push["stream"], stream))
            .find(|push| push["data"]["k"]["x"] == true)
            .unwrap();
        let push = &closed["data"];
        assert_eq!((&push["e"], &push["ps"]), (&"continuous_kline".into(), &pair.into()));
        assert_eq!(
            (&push["ct"], &push["s"], &push["k"]["s"]),
            (&ct.into(), &Value::Null, &Value::Null)
        );
        let open_time = &push["k"]["t"];
        let truth =
            format!("/truth?contract_type={kind}&symbol={symbol}&from={open_time}&to={open_time}");
        let truth = &get(&simulator, kind, &truth)[0];
        for (long, short) in [("open", "o"), ("close", "c"), ("volume", "v"), ("trade_num", "n")] {
            assert_eq!(truth[long], push["k"][short], "{long}");
        }
    }
    for (kind, path, name) in [
        ("usdm", "/market/ws", "btcusdt_next_quarter"),
        ("usdm", "/market/ws", "nosuch_perpetual"),
        ("spot", "/ws", "btcusdt_perpetual"),
    ] {
        let mut socket = connect(&simulator, kind, path);
        subscribe(&mut socket, &[&format!("{name}@continuousKline_1m")]);
        assert_silent(&mut socket);
    }
}

#[test]
fn a_port_serves_every_path_that_its_exchange_has_on_one_host() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let shake = |venue, kind, path: &str| {
        let stream = tcp(&simulator, market_of(venue, kind));
        tungstenite::client(format!("ws://localhost{path}"), stream).ok().map(|opened| opened.0)
    };
    let linear = r#"{"op":"subscribe","args":["kline.1.BTCPERP"]}"#;
    let mut bybit = shake(Venue::Bybit, "spot", "/v5/public/linear").unwrap();
    bybit.send(Message::text(linear)).unwrap();
    assert_eq!(json_of(&mut bybit)["success"], true);
    assert_eq!(json_of(&mut bybit)["topic"], "kline.1.BTCPERP");
    let future = r#"{"time":1,"channel":"futures.candlesticks","event":"subscribe","payload":["1m","BTC_USD"]}"#;
    let mut gate = shake(Venue::Gateio, "um", "/v4/ws/btc").unwrap();
    gate.send(Message::text(future)).unwrap();
    assert_eq!(json_of(&mut gate)["result"]["status"], "success");
    assert_eq!(json_of(&mut gate)["result"][0]["n"], "1m_BTC_USD");
    // Binance's markets have hosts of their own.
    assert!(shake(Venue::Binance, "spot", "/market/ws").is_none());
    assert!(shake(Venue::Bybit, "spot", "/v5/public/option").is_none());
}

#[test]
fn okx_refuses_a_login_and_channels_that_it_does_not_know_in_words() {
    let mut okx = connected(market_of(Venue::Okx, "swap"), "/ws/v5/public");
    for (text, code, words) in [
        (r#"{"op":"login","args":[{"apiKey":"k","passphrase":"p"}]}"#, "60005", "Invalid apiKey"),
        (
            r#"{"op":"subscribe","args":[{"channel":"instruments","instType":"SWAP"}]}"#,
            "60018",
            "channel:instruments,instType:SWAP doesn't exist",
        ),
        (r#"{"op":"subscribe","args":[{"instType":"SWAP"}]}"#, "60012", "Invalid request"),
    ] {
        okx.text(ID, text, at(1));
        let Some((_, Output::Text(answer))) = okx.poll_output() else { panic!("{text}") };
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["event"], &answer["code"]), (&"error".into(), &code.into()), "{text}");
        assert!(answer["msg"].as_str().unwrap().contains(words), "{answer}");
    }
}

#[test]
fn the_truth_has_the_base_amount_where_the_exchange_counts_something_else() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    for (venue, kind, symbol, has) in [
        (Venue::Okx, "swap", "BTC-USD-SWAP", true),
        (Venue::Okx, "futures", "BTC-USDT-261225", true),
        (Venue::Bybit, "inverse", "BTCUSD", true),
        (Venue::Okx, "spot", "BTC-USDT", false),
        (Venue::Hyperliquid, "usdm", "BTC", false),
    ] {
        let market = market_of(venue, kind);
        let (_, rows) = asked(&simulator, market, &format!("/truth?symbol={symbol}"));
        let row = &rows[0];
        assert_eq!(row["base_volume"].is_string(), has, "{symbol}: {row}");
        if venue == Venue::Bybit {
            let window = format!("start={0}&end={0}", row["open_time"]);
            let target = format!("/v5/market/kline?category={kind}&symbol={symbol}&interval=1");
            let (_, answer) = asked(&simulator, market, &format!("{target}&{window}"));
            assert_eq!(row["base_volume"], answer["result"]["list"][0][6]);
        }
    }
}
