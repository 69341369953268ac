//! Gate's dialect: texts out, messages and REST answers in.

use super::*;

fn response(status: u16, body: &str) -> RestResponse {
    let body = body.as_bytes().to_vec();
    RestResponse { status, retry_after: None, limit_headers: vec![], body }
}

fn decoded(
    contract_type: ContractType,
    text: &str,
    look: impl FnOnce(Result<Message<'_>, DecodeErrorKind>, &Klines<'_>),
) {
    let read = JsonReader::default().read(text.as_bytes(), |root| {
        let mut klines = Klines::new();
        let message = decode(contract_type, root, &mut klines);
        look(message, &klines);
    });
    read.unwrap();
}

#[test]
fn subscriptions_and_pings_name_their_channel() {
    let mut out = "old".to_owned();
    let symbols = || [("BTC_USDT", Interval::M1)].into_iter();
    let now = UnixMs(1_700_000_000_999);
    let (spot, um) = (ContractType::Spot, ContractType::Um);
    write_subscribe(spot, &mut out, SubscribeOp::Subscribe, 7, symbols(), now);
    assert_eq!(
        out,
        r#"{"time":1700000000,"id":7,"channel":"spot.candlesticks","event":"subscribe","payload":["1m","BTC_USDT"]}"#
    );
    write_subscribe(um, &mut out, SubscribeOp::Unsubscribe, 8, symbols(), now);
    assert!(out.contains(r#""channel":"futures.candlesticks","event":"unsubscribe""#));
    out.clear();
    write_ping(um, &mut out, now);
    assert_eq!(out, r#"{"time":1700000000,"channel":"futures.ping"}"#);
}

#[test]
fn a_roll_over_is_two_candles_in_order_whatever_order_they_come_in() {
    let one = |t: i64, v: &str, w: &str| {
        format!(
            r#"{{"t":{t},"v":{v},"c":"2","h":"3","l":"1","o":"1.50","a":"9","n":"1m_BTC_USD"{w}}}"#
        )
    };
    let (old, new) = (one(1_700_000_040, "\"80.5\"", ",\"w\":true"), one(1_700_000_100, "0", ""));
    let text = format!(
        r#"{{"time":1700000100,"time_ms":0,"channel":"futures.candlesticks","event":"update","error":null,"result":[{new},{old}]}}"#
    );
    decoded(ContractType::Cm, &text, |message, klines| {
        assert_eq!(message, Ok(Message::Klines));
        let flags: Vec<_> = klines.iter().map(|kline| kline.is_closed).collect();
        assert_eq!(flags, [Some(true), None]);
        assert_eq!(klines[0].candle.volume.as_str(), "80.5");
        assert_eq!(klines[0].event_time, Some(UnixMs(1_700_000_100_000)));
        let amount = klines[0].candle.other_volume.map(|amount| amount.to_string());
        assert_eq!((klines[0].symbol, amount.as_deref()), ("BTC_USD", Some("9")));
    });
    decoded(ContractType::Spot, &text, |message, _| {
        assert_eq!(message, Err(DecodeErrorKind::Unknown));
    });
}

#[test]
fn answers_are_understood() {
    let refused = r#"{"time":1,"id":4,"channel":"spot.candlesticks","event":"subscribe","payload":["1m","NOPE_USDT"],"error":{"code":2,"message":"unknown currency pair: NOPE_USDT"},"result":{"status":"fail"}}"#;
    decoded(ContractType::Spot, refused, |message, _| {
        let Ok(Message::Refused(refusal)) = message else { panic!("{message:?}") };
        let interval = Some(Interval::M1);
        let scope = RefusalScope::WholeBecauseOf { id: Some(4), symbol: "NOPE_USDT", interval };
        assert_eq!((refusal.scope, refusal.code), (scope, Some(2)));
        assert_eq!(refusal.kind, RefusalKind::UnknownSymbol);
    });
    // As seen: without our id, the payload in another form.
    let nameless = r#"{"time":1,"channel":"futures.candlesticks","event":"subscribe","payload":["1m_BTC_USDT"],"error":{"code":1,"message":"request payload does not follow json schema"},"result":{"status":"fail"}}"#;
    decoded(ContractType::Um, nameless, |message, _| {
        let Ok(Message::Refused(refusal)) = message else { panic!("{message:?}") };
        let scope = RefusalScope::One { symbol: "BTC_USDT", interval: Some(Interval::M1) };
        assert_eq!((refusal.scope, refusal.kind), (scope, RefusalKind::Other));
    });
    let fault = nameless.replace("\"code\":1", "\"code\":3");
    decoded(ContractType::Um, &fault, |message, _| {
        let Ok(Message::Refused(refusal)) = message else { panic!("{message:?}") };
        assert_eq!(refusal.kind, RefusalKind::NotNow(NotNow::Session));
    });
    let accepted = r#"{"time":1,"channel":"spot.candlesticks","event":"subscribe","payload":["1m","BTC_USDT"],"result":{"status":"success"}}"#;
    decoded(ContractType::Spot, accepted, |message, _| {
        let op = SubscribeOp::Subscribe;
        let one = Message::AcceptedOne { op, symbol: "BTC_USDT", interval: Interval::M1 };
        assert_eq!(message, Ok(one));
    });
    let upgrade =
        r#"{"time":1,"channel":"futures.system","event":"update","result":{"type":"upgrade"}}"#;
    decoded(ContractType::Um, upgrade, |message, _| {
        assert_eq!(message, Ok(Message::ShutdownNotice));
    });
}

#[test]
fn rows_of_seven_and_eight_columns_are_read() {
    let spot = |body: &str| {
        read_candles(
            ContractType::Spot,
            &mut JsonReader::default(),
            &response(200, body),
            ("BTC_USDT", Interval::M1),
        )
    };
    let eight = spot(r#"[["60","100.50","2","3","1","1.5","7","false"]]"#).unwrap();
    assert_eq!(eight.candles[0].is_closed, Some(false));
    assert_eq!(eight.candles[0].candle.open.as_str(), "1.5");
    assert_eq!(eight.candles[0].candle.volume.as_str(), "100.5");
    assert_eq!(eight.candles[0].candle.other_volume.unwrap().as_str(), "7");
    let seven = spot(r#"[["60","100.50","2","3","1","1.5","7"]]"#).unwrap();
    assert_eq!(seven.candles[0].is_closed, None);
    assert!(spot(r#"[["61","100.50","2","3","1","1.5","7"]]"#).is_err());
    let unknown = response(400, r#"{"label":"INVALID_CURRENCY_PAIR","message":"Invalid"}"#);
    let read = read_candles(
        ContractType::Spot,
        &mut JsonReader::default(),
        &unknown,
        ("BTC_USDT", Interval::M1),
    );
    assert!(matches!(read, Err(RestError::UnknownSymbol { .. })));
}

#[test]
fn instruments_say_whether_they_trade() {
    let spot = r#"[{"id":"BTC_USDT","trade_status":"tradable"},
        {"id":"A_B","trade_status":"untradable"},{"id":"C_D","trade_status":"sellable"},
        {"id":"E_F","trade_status":"buyable"}]"#;
    let page = read_instruments(ContractType::Spot, spot.as_bytes()).unwrap();
    let halted: Vec<_> = page.listed.iter().map(|one| one.halted.as_deref()).collect();
    assert_eq!(halted, [None, Some("untradable"), None, None]);
    let um = r#"[{"name":"BTC_USDT","quanto_multiplier":"0.0001","in_delisting":true,"status":"delisting"},
        {"name":"A_USDT","quanto_multiplier":"0"},{"name":"B_USDT","quanto_multiplier":1,"status":"delisted"},{"name":"C_USDT","status":"prelaunch"}]"#;
    let page = read_instruments(ContractType::Um, um.as_bytes()).unwrap();
    let halted: Vec<_> = page.listed.iter().map(|one| one.halted.as_deref()).collect();
    assert_eq!(halted, [None, None, Some("delisted"), Some("prelaunch")]);
    let sizes: Vec<_> = page.listed.iter().map(|one| one.contract_size).collect();
    assert_eq!(sizes, ["0.0001".parse().ok(), None, None, None]);
}

#[test]
fn a_url_with_a_path_is_the_whole_url() {
    let url = |contract_type, base: &str| {
        endpoint(contract_type, &Endpoint::parse(base).unwrap()).to_string()
    };
    let um = |base| url(ContractType::Um, base);
    assert_eq!(um("wss://fx-ws.gateio.ws"), "wss://fx-ws.gateio.ws/v4/ws/usdt");
    let spot = url(ContractType::Spot, "wss://api.gateio.ws/");
    assert_eq!(spot, "wss://api.gateio.ws/ws/v4/");
    for whole in [
        "wss://ws.gate.com/v4/ws/futures/usdt",
        "wss://ws-testnet.gate.com/v4/ws/futures/usdt",
        "wss://fx-ws.gateio.ws/v4/ws/usdt",
    ] {
        assert_eq!(um(whole), whole);
    }
}
