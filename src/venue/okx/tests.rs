//! OKX's dialect, question by question.

use super::*;

fn read(status: u16, body: &str) -> Result<RestCandles, RestError> {
    let body = body.as_bytes().to_vec();
    let response = RestResponse { status, retry_after: None, limit_headers: vec![], body };
    read_candles(ContractType::Swap, &mut JsonReader::default(), &response, Interval::M1)
}

fn decoded(text: &str) -> Result<String, DecodeErrorKind> {
    let read = JsonReader::default().read(text.as_bytes(), |root| {
        decode(ContractType::Spot, root, &mut Klines::new()).map(|said| format!("{said:?}"))
    });
    read.unwrap_or(Err(DecodeErrorKind::Json))
}

#[test]
fn candles_are_on_the_business_path_named_once() {
    let path = |base: &str| endpoint(&Endpoint::parse(base).unwrap()).to_string();
    let full = "wss://ws.okx.com:8443/ws/v5/business";
    assert_eq!(path("wss://ws.okx.com:8443"), full);
    assert_eq!(path(full), full);
    let demo = "wss://wspap.okx.com:8443/ws/v5/business?brokerId=9999";
    assert_eq!(path(demo), demo);
}

#[test]
fn subscribe_messages_name_channel_and_instrument() {
    let mut text = "old".to_owned();
    let symbols = [("BTC-USDT", Interval::M1), ("BTC-USDT-SWAP", Interval::D1)];
    write_subscribe(&mut text, SubscribeOp::Subscribe, symbols.into_iter());
    let expected = r#"{"op":"subscribe","args":[{"channel":"candle1m","instId":"BTC-USDT"},{"channel":"candle1Dutc","instId":"BTC-USDT-SWAP"}]}"#;
    assert_eq!(text, expected);
    write_subscribe(&mut text, SubscribeOp::Unsubscribe, symbols.into_iter().take(1));
    let expected = r#"{"op":"unsubscribe","args":[{"channel":"candle1m","instId":"BTC-USDT"}]}"#;
    assert_eq!(text, expected);
}

#[test]
fn windows_that_open_at_utc_8_are_not_read() {
    for channel in ["candle6H", "candle12H", "candle1D", "candle1W", "candle1M", "trades"] {
        let text =
            format!(r#"{{"event":"subscribe","arg":{{"channel":"{channel}","instId":"A-B"}}}}"#);
        assert_eq!(decoded(&text), Err(DecodeErrorKind::Unknown), "{channel}");
    }
    for (channel, interval) in [("candle1m", "M1"), ("candle1H", "H1"), ("candle1Dutc", "D1")] {
        let text =
            format!(r#"{{"event":"unsubscribe","arg":{{"channel":"{channel}","instId":"A-B"}}}}"#);
        let expected =
            format!(r#"AcceptedOne {{ op: Unsubscribe, symbol: "A-B", interval: {interval} }}"#);
        assert_eq!(decoded(&text), Ok(expected));
    }
}

#[test]
fn refusals_say_whose_fault_it_is() {
    for (code, words, expected) in [
        (
            "60018",
            "channel:candle1m,instId:A-B doesn't exist.",
            r#"One { symbol: "A-B", interval: Some(M1) }, kind: UnknownSymbol"#,
        ),
        (
            "60018",
            "wrong URL or channel:candle6Hutc,instId:A-B doesn't exist.",
            r#"One { symbol: "A-B", interval: Some(H6) }, kind: UnknownSymbol"#,
        ),
        (
            "60018",
            "channel:candle1m,instId:A-B.P doesn't exist. Please use the correct URL",
            r#"One { symbol: "A-B.P", interval: Some(M1) }, kind: UnknownSymbol"#,
        ),
        (
            "60018",
            "channel:candle1m,instId:X:A-B. Please use the correct URL",
            r#"One { symbol: "X:A-B", interval: Some(M1) }, kind: UnknownSymbol"#,
        ),
        ("64003", "Requests too frequent", "Whole { id: None }, kind: NotNow(Address)"),
        ("60018", "Wrong URL", "Whole { id: None }, kind: Other"),
        ("60014", "Requests too frequent", "Whole { id: None }, kind: NotNow(Session)"),
        (
            "60012",
            "Invalid request: {\\\"instId\\\" : \\\"A-B\\\"}",
            "Whole { id: None }, kind: Other",
        ),
        ("60013", "Invalid args", "Whole { id: None }, kind: Other"),
    ] {
        let text = format!(r#"{{"event":"error","code":"{code}","msg":"{words}"}}"#);
        let said = decoded(&text).unwrap();
        assert!(said.contains(expected) && said.contains(code), "{said}");
    }
    let unknown = r#"{"event":"notice","code":"1","msg":""}"#;
    assert_eq!(decoded(unknown), Err(DecodeErrorKind::Unknown));
}

#[test]
fn cursors_are_exclusive_and_named_the_other_way_round() {
    let base = "https://www.okx.com/";
    let query = candles_query(base, "BTC-USDT", Interval::H1, UnixMs(3_600_000), UnixMs(7_200_000));
    let expected = "https://www.okx.com/api/v5/market/candles?instId=BTC-USDT&bar=1H\
                    &before=3599999&after=7200001&limit=2";
    assert_eq!(query.url, expected);
}

#[test]
fn rows_come_newest_first_with_their_flag() {
    let body = r#"{"code":"0","msg":"","data":[["120000","2","3","1","2.50","7","0.7","1.4","0"],["60000","2","3","1","2","7","0.7","1.4","1"]]}"#;
    let candles = read(200, body).unwrap().candles;
    let times: Vec<_> = candles.iter().map(|row| (row.candle.open_time.0, row.is_closed)).collect();
    assert_eq!(times, [(60_000, Some(true)), (120_000, Some(false))]);
    assert_eq!(candles[1].candle.close.to_string(), "2.5");
    for (from, to) in [("\"120000\"", "\"120001\""), ("\"0\"]", "\"2\"]")] {
        let read = read(200, &body.replace(from, to)).unwrap();
        assert_eq!((read.candles.len(), read.bad.windows), (1, vec![UnixMs(120_000)]), "{to}");
    }
}

#[test]
fn errors_are_told_by_their_code() {
    let too_fast = Err(RestError::TooFast { wait: None });
    assert_eq!(read(429, r#"{"code":"50011","msg":"Too Many Requests"}"#), too_fast);
    assert_eq!(read(200, r#"{"code":"50011","msg":"Rate limit reached"}"#), too_fast);
    let unknown = RestError::UnknownSymbol { message: "no such".to_owned() };
    assert_eq!(read(200, r#"{"code":"51001","msg":"no such","data":[]}"#), Err(unknown));
    for (status, body) in [
        (200, r#"{"code":"51000","msg":"Parameter bar error"}"#),
        (500, r#"{"code":"0","data":[]}"#),
    ] {
        assert!(matches!(read(status, body), Err(RestError::Failed { .. })), "{body}");
    }
    assert!(matches!(read(200, "{}"), Err(RestError::NoSense { .. })));
}

#[test]
fn what_is_not_live_is_listed_with_its_state() {
    let body = r#"{"code":"0","msg":"","data":[{"instId":"A-B","state":"live","x":{}},{"instId":"C-B","state":"suspend"}]}"#;
    let page = read_instruments(body.as_bytes()).unwrap();
    let states: Vec<_> = page.listed.iter().map(|one| one.halted.as_deref()).collect();
    assert_eq!(states, [None, Some("suspend")]);
    let refused = read_instruments(&br#"{"code":"50011","msg":"slow"}"#[..]);
    assert_eq!(refused, Err("slow (50011)".to_owned()));
    let query = instruments_query(ContractType::Futures, "https://www.okx.com");
    assert!(query.url.ends_with("/api/v5/public/instruments?instType=FUTURES"));
}
