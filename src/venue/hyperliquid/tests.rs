//! Hyperliquid's dialect: texts out, messages and REST answers in.

use super::*;
use crate::market::{Market, Venue};

fn decoded<R>(
    text: &str,
    look: impl FnOnce(Result<Message<'_>, DecodeErrorKind>, &Klines<'_>) -> R,
) -> R {
    let read = JsonReader::default().read(text.as_bytes(), |root| {
        let mut klines = Klines::new();
        let message = decode(root, &mut klines);
        look(message, &klines)
    });
    read.unwrap()
}

fn response(status: u16, body: &str) -> RestResponse {
    let body = body.as_bytes().to_vec();
    RestResponse { status, retry_after: None, limit_headers: vec![], body }
}

#[test]
fn one_candle_and_an_array_of_candles_are_read() {
    let candle = r#"{"t":1788936660000,"T":1788936719999,"s":"@107","i":"1m","o":"79139.0","c":"79118.0","h":"79139.0","l":"79110.0","v":"0.77139","n":89}"#;
    let push = format!(r#"{{"channel":"candle","data":{candle}}}"#);
    decoded(&push, |message, klines| {
        assert_eq!(message, Ok(Message::Klines));
        assert_eq!((klines[0].symbol, klines[0].is_closed), ("@107", None));
        assert_eq!((klines[0].candle.open.as_str(), klines[0].candle.trades), ("79139", 89));
    });
    let push = format!(r#"{{"channel":"candle","data":[{candle},{candle}]}}"#);
    assert_eq!(decoded(&push, |_, klines| klines.len()), 2);
    let wrong = push.replace("1788936719999", "1788936719998");
    decoded(&wrong, |message, _| assert_eq!(message, Err(DecodeErrorKind::BadField)));
}

#[test]
fn answers_are_matched_by_content() {
    let accepted = |op, symbol| Message::AcceptedOne { op, symbol, interval: Interval::M1 };
    let text = r#"{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"interval":"1m","coin":"kPEPE","type":"candle"}}}"#;
    decoded(text, |message, _| {
        assert_eq!(message, Ok(accepted(SubscribeOp::Subscribe, "kPEPE")));
    });
    let text = r#"{"channel":"error","data":"Already subscribed: {\"type\":\"candle\",\"coin\":\"BTC\",\"interval\":\"1m\"}"}"#;
    decoded(text, |message, _| {
        assert_eq!(message, Ok(accepted(SubscribeOp::Subscribe, "BTC")));
    });
    let text = r#"{"channel":"error","data":"Already subscribed: {\"type\":\"l2Book\",\"coin\":\"BTC\"}"}"#;
    decoded(text, |message, _| assert_eq!(message, Ok(Message::Nothing)));
    let text = r#"{"channel":"error","data":"Error parsing JSON into valid websocket request: x"}"#;
    decoded(text, |message, _| assert!(matches!(message, Ok(Message::Refused(_)))));
    decoded(r#"{"channel":"pong"}"#, |message, _| assert_eq!(message, Ok(Message::Nothing)));
}

#[test]
fn a_subscription_names_one_coin_as_it_is() {
    let mut out = String::new();
    let symbols = [("PURR/USDC", Interval::M1)].into_iter();
    write_subscribe(&mut out, SubscribeOp::Subscribe, symbols);
    assert_eq!(
        out,
        r#"{"method":"subscribe","subscription":{"type":"candle","coin":"PURR/USDC","interval":"1m"}}"#
    );
}

#[test]
fn lists_lead_from_page_to_page() {
    let usdm = ContractType::Usdm;
    let meta = r#"{"universe":[{"name":"BTC","isDelisted":null,"szDecimals":5},{"name":"OLD","isDelisted":true}]}"#;
    let page = read_instruments(usdm, None, meta.as_bytes()).unwrap();
    assert_eq!(page.listed[1].halted.as_deref(), Some("delisted"));
    let dexs_page = page.parts_page.as_deref();
    assert!(page.listed[0].halted.is_none() && dexs_page.is_some());
    let dexs = r#"[null,{"name":"xyz","fullName":"XYZ"}]"#;
    let page = read_instruments(usdm, dexs_page, dexs.as_bytes()).unwrap();
    assert_eq!(page.parts, ["xyz"]);
    let query = instruments_query(usdm, "https://api.hyperliquid.xyz/", Some("xyz"));
    assert_eq!(query.url, "https://api.hyperliquid.xyz/info");
    assert_eq!(query.body.as_deref(), Some(r#"{"type":"meta","dex":"xyz"}"#));
    let page = read_instruments(usdm, Some("xyz"), meta.as_bytes()).unwrap();
    assert!(page.parts_page.is_none() && page.next.is_none());
    let spot = r#"{"universe":[{"tokens":[1,0],"name":"PURR/USDC","index":0},{"tokens":[150,0],"name":"@107","index":107}],"tokens":[{"name":"USDC","index":0},{"name":"PURR","index":1},{"name":"HYPE","index":150}]}"#;
    let page = read_instruments(ContractType::Spot, None, spot.as_bytes()).unwrap();
    let known: Vec<_> = page.listed.iter().map(|one| one.known_as.as_deref()).collect();
    assert_eq!(known, [None, Some("HYPE/USDC")]);
}

#[test]
fn errors_of_rest_are_no_verdict_about_the_coin() {
    let usdm = Market::find(Venue::Hyperliquid, "usdm").unwrap();
    let read = |status, body| {
        let (mut json, response) = (JsonReader::default(), response(status, body));
        crate::venue::read_candles(usdm, &mut json, &response, ("BTCUSDT", Interval::M1))
    };
    assert_eq!(read(429, "null"), Err(RestError::TooFast { wait: None }));
    for (status, body) in [(500, "null"), (422, "Failed to deserialize"), (200, "{}")] {
        assert!(matches!(read(status, body), Err(RestError::NoSense { .. })), "{body}");
    }
    assert_eq!(read(200, "[]").map(|read| read.candles.len()), Ok(0));
}
