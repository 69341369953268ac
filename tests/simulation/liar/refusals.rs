//! What a lying exchange answers to a subscription that names one symbol: refusals of every form,
//! known and unknown, with and without a name, and none at all.

use connector_wss::market::{Market, Venue};
use serde_json::Value;

/// Whether a client's frame asks for streams.
pub(crate) fn is_subscribe(text: &str) -> bool {
    ["\"SUBSCRIBE\"", "\"subscribe\""].iter().any(|word| text.contains(word))
}

/// Whether a client's frame names `symbol`, in any of the exchanges' spellings.
pub(crate) fn names(text: &str, symbol: &str) -> bool {
    let lower = symbol.to_lowercase();
    [format!("\"{symbol}\""), format!(".{symbol}\""), format!("\"{lower}@")]
        .iter()
        .any(|spelling| text.contains(spelling))
}

/// How a frame is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) texts: Vec<String>,
    /// A Close frame follows.
    pub(crate) is_closed: bool,
}

/// How many forms of a refusal there are at an exchange.
pub(crate) const FORMS: usize = 7;

/// The answer of this form to a frame of a client because of `symbol`; a form without texts is
/// none.
pub(crate) fn refusal(market: Market, form: usize, frame: &str, symbol: &str) -> Refusal {
    let frame_json: Value = serde_json::from_str(frame).unwrap_or_default();
    let id = &frame_json["id"];
    let only = |text: String| Refusal { texts: vec![text], is_closed: false };
    match (form, market.venue()) {
        // Never answered.
        (0, _) => Refusal::default(),
        // Of no known form.
        (1, _) => only("{\"status\":\"failed\",\"reason\":\"we would rather not\"}".to_owned()),
        (_, Venue::Binance) => binance(form, id),
        (_, Venue::Okx) => only(okx(form, frame, symbol)),
        (_, Venue::Bybit) => only(bybit(form, &frame_json["req_id"], symbol)),
        (_, Venue::Gateio) => only(gateio(form, &frame_json, symbol)),
        (_, Venue::Hyperliquid) => only(hyperliquid(form, &frame_json, symbol)),
    }
}

/// Source: exchanges/binance.md, nested refusals of a malformed stream.
fn binance(form: usize, id: &Value) -> Refusal {
    let nested = "\"error\":{\"code\":2,\"msg\":\"Invalid request: invalid stream\"}";
    let text = match form {
        2 => format!("{{{nested},\"id\":{id}}}"),
        3 | 4 => format!("{{{nested}}}"),
        5 => format!("{{\"code\":2,\"msg\":\"Invalid request: invalid stream\",\"id\":{id}}}"),
        _ => format!("{{\"error\":{{\"code\":-1,\"msg\":\"\",\"data\":{{}}}},\"id\":{id}}}"),
    };
    Refusal { texts: vec![text], is_closed: form == 3 }
}

fn okx(form: usize, frame: &str, symbol: &str) -> String {
    let wrong = |symbol: &str| {
        format!(
            "Wrong URL or channel:candle1m,instId:{symbol} doesn't exist. Please use the correct \
             URL, channel and parameters referring to API document."
        )
    };
    let (code, words) = match form {
        2 => ("60018", wrong(symbol)),
        3 => ("60012", format!("Invalid request: {frame}")),
        4 => ("60018", wrong("NOPE-NOPE")),
        5 => ("60013", "Invalid args".to_owned()),
        _ => ("63999", "Login failed due to internal error".to_owned()),
    };
    let words = Value::from(words);
    format!("{{\"event\":\"error\",\"code\":\"{code}\",\"msg\":{words},\"connId\":\"x\"}}")
}

fn bybit(form: usize, id: &Value, symbol: &str) -> String {
    let (words, has_id) = match form {
        2 => (format!("Invalid symbol :[kline.1.{symbol}]"), true),
        3 => (format!("Invalid symbol :[kline.1.{symbol}]"), false),
        4 => ("error:handler not found,topic:kline.1.NOPE".to_owned(), true),
        5 => ("Params Error".to_owned(), true),
        _ => (String::new(), false),
    };
    let id = if has_id { format!("\"req_id\":{id},") } else { String::new() };
    let words = Value::from(words);
    format!("{{\"success\":false,\"ret_msg\":{words},\"conn_id\":\"x\",{id}\"op\":\"subscribe\"}}")
}

fn gateio(form: usize, frame: &Value, symbol: &str) -> String {
    let (channel, id) = (&frame["channel"], &frame["id"]);
    let payload = format!("\"payload\":{},", frame["payload"]);
    let id = format!("\"id\":{id},");
    let (id, payload, words) = match form {
        2 => (&*id, &*payload, format!("unknown currency pair: {symbol}")),
        3 => ("", &*payload, format!("unknown currency pair: {symbol}")),
        4 => ("", "\"payload\":[\"1m\",\"NOPE_NOPE\"],", "unknown contract NOPE_NOPE".to_owned()),
        5 => ("", "", "Internal error".to_owned()),
        _ => (&*id, "", "Internal error".to_owned()),
    };
    let words = Value::from(words);
    format!(
        "{{\"time\":1,{id}\"channel\":{channel},\"event\":\"subscribe\",{payload}\
         \"error\":{{\"code\":2,\"message\":{words}}},\"result\":null}}"
    )
}

fn hyperliquid(form: usize, frame: &Value, symbol: &str) -> String {
    let words = match form {
        2 => format!("Invalid subscription {}", frame["subscription"]),
        3 => format!("Error parsing JSON into valid websocket request: {frame}"),
        4 => "Invalid subscription {\"type\":\"candle\",\"coin\":\"NOPE\",\"interval\":\"1m\"}"
            .to_owned(),
        5 => format!("no such coin: {symbol}"),
        _ => "Unexpected error".to_owned(),
    };
    let words = Value::from(words);
    format!("{{\"channel\":\"error\",\"data\":{words}}}")
}

/// What an exchange answers when an address has all the streams that it may have; `None` where it
/// has no words for that.
pub(crate) fn full(market: Market, frame: &str) -> Option<String> {
    let frame: Value = serde_json::from_str(frame).unwrap_or_default();
    let id = &frame["id"];
    match market.venue() {
        Venue::Binance => Some(format!(
            "{{\"error\":{{\"code\":4,\"msg\":\"Too many subscriptions\"}},\"id\":{id}}}"
        )),
        Venue::Okx => {
            let words = "Requests too frequent";
            Some(format!("{{\"event\":\"error\",\"code\":\"60014\",\"msg\":\"{words}\"}}"))
        }
        Venue::Hyperliquid => {
            let words = "Cannot subscribe to more than 1000 channels.";
            Some(format!("{{\"channel\":\"error\",\"data\":\"{words}\"}}"))
        }
        Venue::Bybit | Venue::Gateio => None,
    }
}
