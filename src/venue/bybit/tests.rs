//! Bybit's dialect, question by question.

use super::*;
use crate::market::{Market, Venue};

fn response(status: u16, body: &str) -> RestResponse {
    let body = body.as_bytes().to_vec();
    RestResponse { status, retry_after: None, limit_headers: vec![], body }
}

fn read(status: u16, body: &str) -> Result<RestCandles, RestError> {
    let (inverse, response) =
        (Market::find(Venue::Bybit, "inverse").unwrap(), response(status, body));
    crate::venue::read_candles(
        inverse,
        &mut JsonReader::default(),
        &response,
        ("BTCUSDT", Interval::M1),
    )
}

fn decoded(text: &str) -> Result<String, DecodeErrorKind> {
    let read = JsonReader::default().read(text.as_bytes(), |root| {
        decode(ContractType::Spot, root, &mut Klines::new()).map(|said| format!("{said:?}"))
    });
    read.unwrap_or(Err(DecodeErrorKind::Json))
}

#[test]
fn each_contract_type_has_its_path() {
    let base = Endpoint::parse("wss://stream.bybit.com").unwrap();
    let full = endpoint(ContractType::Inverse, &base);
    assert_eq!(full.to_string(), "wss://stream.bybit.com/v5/public/inverse");
    assert_eq!(endpoint(ContractType::Inverse, &full), full);
}

#[test]
fn subscribe_messages_carry_our_id() {
    let mut text = "old".to_owned();
    let symbols = [("BTCUSDT", Interval::M1), ("BTC-26SEP25", Interval::H1)];
    write_subscribe(&mut text, SubscribeOp::Subscribe, 7, symbols.into_iter());
    let expected =
        r#"{"req_id":"7","op":"subscribe","args":["kline.1.BTCUSDT","kline.60.BTC-26SEP25"]}"#;
    assert_eq!(text, expected);
    write_subscribe(&mut text, SubscribeOp::Unsubscribe, 8, symbols.into_iter().take(1));
    assert_eq!(text, r#"{"req_id":"8","op":"unsubscribe","args":["kline.1.BTCUSDT"]}"#);
}

#[test]
fn refusals_say_whose_fault_it_is() {
    let because = |interval| {
        let symbol = r#"symbol: "A.B""#;
        format!("WholeBecauseOf {{ id: Some(7), {symbol}, interval: Some({interval}) }}, kind: Unk")
    };
    for (words, expected) in [
        ("error:handler not found,topic:kline.1.A.B", &*because("M1")),
        ("Invalid symbol :[kline.D.A.B]", &*because("D1")),
        ("Invalid topic: x.A", "Whole { id: Some(7) }, kind: UnknownSymbol"),
        ("args size >10", "Whole { id: Some(7) }, kind: NotNow(SmallerMessage)"),
        ("error:already subscribed,topic:kline.1.A", "Accepted { id: Some(7) }"),
    ] {
        let text =
            format!(r#"{{"success":false,"ret_msg":"{words}","req_id":"7","op":"subscribe"}}"#);
        let said = decoded(&text).unwrap();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_candle_of_another_window_is_an_error() {
    let push = r#"{"topic":"kline.1.AB","data":[{"start":60000,"end":119999,"interval":"1","open":"1","close":"1","high":"1","low":"1","volume":"0","turnover":"0","confirm":true}],"ts":120000}"#;
    assert_eq!(decoded(push).as_deref(), Ok("Klines"));
    for (old, new, kind) in [
        ("\"end\":119999", "\"end\":120000", DecodeErrorKind::BadField),
        ("\"interval\":\"1\"", "\"interval\":\"5\"", DecodeErrorKind::Misaligned),
        ("kline.1.AB", "kline.5.AB", DecodeErrorKind::BadField),
        ("\"ts\":120000", "\"ts\":-1", DecodeErrorKind::BadField),
        ("kline.1.AB", "klineV2.1.AB", DecodeErrorKind::Unknown),
        ("kline.1.AB", "kline.W.AB", DecodeErrorKind::Unknown),
        ("60000", "60001", DecodeErrorKind::Misaligned),
    ] {
        assert_eq!(decoded(&push.replacen(old, new, 1)), Err(kind), "{new}");
    }
    let future = push.replace("60000", "600000").replace("119999", "659999");
    assert_eq!(decoded(&future), Err(DecodeErrorKind::BadField));
}

#[test]
fn rows_come_newest_first_and_inverse_turnover_is_not_in_the_quote_coin() {
    let body = r#"{"retCode":0,"retMsg":"OK","result":{"list":[["120000","2","3","1","2.50","7","0.7"],["60000","2","3","1","2","7","0.7"]]},"retExtInfo":{},"time":130000}"#;
    let read_two = read(200, body).unwrap();
    assert_eq!(read_two.server_time, Some(UnixMs(130_000)));
    let candles = read_two.candles.iter().map(|row| row.candle);
    let rows: Vec<_> = candles.map(|one| (one.open_time.0, one.other_volume)).collect();
    assert_eq!(rows, [(60_000, None), (120_000, None)]);
    let bad = read(200, &body.replace("[\"120000\"", "[\"120001\"")).unwrap();
    assert_eq!((bad.candles.len(), bad.bad.windows), (1, vec![UnixMs(120_000)]));
    let query = |base, to| {
        let (linear, from) = (ContractType::Linear, UnixMs(60_000));
        candles_query(linear, base, "BTCUSDT", Interval::M1, from, UnixMs(to)).url
    };
    let expected = "https://api.bybit.com/v5/market/kline?category=linear&symbol=BTCUSDT\
                    &interval=1&start=60000&end=120000&limit=2";
    assert_eq!(query("https://api.bybit.com/", 120_000), expected);
}

#[test]
fn errors_are_told_by_their_code() {
    let shut_out = RestError::TooFast { wait: Some(Duration::from_secs(600)) };
    assert_eq!(read(403, "access too frequent"), Err(shut_out));
    let too_fast = RestError::TooFast { wait: None };
    assert_eq!(read(200, r#"{"retCode":10006,"retMsg":"Too many visits"}"#), Err(too_fast));
    let unknown = RestError::UnknownSymbol { message: "Symbol Is Invalid".to_owned() };
    let body = r#"{"retCode":10001,"retMsg":"Symbol Is Invalid","result":{}}"#;
    assert_eq!(read(200, body), Err(unknown));
    for (status, body) in [
        (200, r#"{"retCode":10001,"retMsg":"Invalid period!"}"#),
        (500, r#"{"retCode":10016,"retMsg":"Internal"}"#),
    ] {
        assert!(matches!(read(status, body), Err(RestError::Failed { .. })), "{body}");
    }
    let empty = read(200, r#"{"retCode":0,"retMsg":"OK","result":{}}"#);
    assert!(matches!(empty, Err(RestError::NoSense { .. })), "{empty:?}");
}

#[test]
fn an_instrument_list_goes_on_where_its_cursor_says() {
    let body = r#"{"retCode":0,"retMsg":"OK","result":{"category":"linear","nextPageCursor":"a%3D1","list":[{"symbol":"A","status":"Trading","x":[]},{"symbol":"B","status":"PreLaunch"},{"symbol":"C","status":"Closed"}]}}"#;
    let linear = ContractType::Linear;
    let page = read_instruments(linear, body.as_bytes()).unwrap();
    let states: Vec<_> = page.listed.iter().map(|one| one.halted.as_deref()).collect();
    assert_eq!(states, [None, None, Some("Closed")]);
    let next = instruments_query(linear, "https://x", page.next.as_deref()).url;
    let expected = "https://x/v5/market/instruments-info?category=linear&limit=1000&cursor=a%3D1";
    assert_eq!(next, expected);
    let next = instruments_query(linear, "https://x", Some("a=1%")).url;
    assert!(next.ends_with("&cursor=a%3D1%25"), "{next}");
    let first = instruments_query(ContractType::Spot, "https://x", None).url;
    assert_eq!(first, "https://x/v5/market/instruments-info?category=spot");
    assert!(read_instruments(ContractType::Spot, body.as_bytes()).is_err());
    let refused = read_instruments(linear, &br#"{"retCode":1,"retMsg":"no"}"#[..]);
    assert_eq!(refused, Err("no (1)".to_owned()));
}
