//! Binance, seen from the exchange's side: its paths, the frames that clients send, and the kline
//! messages that it pushes. Pure text in, text out; what it answers over REST is in `rest`.

mod info;
mod rest;

use simd_json::OwnedValue;
use simd_json::prelude::*;

use crate::market::{ContractType, Interval, Venue};
use crate::sim::market::{BASE_DECIMALS, Listing, TrueCandle, push_number, write_decimal};
use crate::sim::profile::Profile;
use crate::sim::stream::{Form, Track};
use crate::sim::windows;

/// The stream of a listing's candles.
pub fn stream_name(listing: &Listing, track: Track) -> String {
    let length = spelling(track.interval);
    match track.form {
        Form::Symbol => [&listing.lower, "@kline_", length].concat(),
        Form::Continuous => {
            let pair = listing.lower.split('_').next().unwrap_or(&listing.lower);
            let kind = contract_kind(listing).to_lowercase();
            [pair, "_", &kind, "@continuousKline_", length].concat()
        }
    }
}

/// How Binance calls a futures contract's kind.
pub fn contract_kind(listing: &Listing) -> &'static str {
    if listing.delivery_ms().is_some() { "CURRENT_QUARTER" } else { "PERPETUAL" }
}

fn spelling(interval: Interval) -> &'static str {
    windows::spelled(Venue::Binance, interval).unwrap_or_default()
}

/// What a WebSocket path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether klines are delivered on this path at all.
    pub routed: bool,
    /// Whether messages come in the `{"stream":…,"data":…}` wrapper.
    pub combined: bool,
    /// Streams subscribed by the path.
    pub streams: Vec<String>,
}

/// Reads a WebSocket path, `/ws[/<s1>/<s2>…]` or `/stream[?streams=<s1>/<s2>…]` behind a route.
/// `None` where the venue has no such path.
pub fn parse_target(profile: &Profile, target: &str) -> Option<Target> {
    let strip = |routes: &[&str]| routes.iter().find_map(|route| endpoint(target, route));
    let (routed, (combined, streams)) = match strip(profile.routed) {
        Some(found) => (true, found),
        None => (false, strip(profile.silent)?),
    };
    let names = streams.split('/').filter(|name| !name.is_empty());
    Some(Target { routed, combined, streams: names.map(percent_decode).collect() })
}

/// (whether combined, the streams part) of `target` behind `route`.
fn endpoint<'a>(target: &'a str, route: &str) -> Option<(bool, &'a str)> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let rest = path.strip_prefix(route)?;
    if rest == "stream" {
        let streams = query.split('&').find_map(|pair| pair.strip_prefix("streams="));
        return Some((true, streams.unwrap_or("")));
    }
    let streams = rest.strip_prefix("ws")?;
    (streams.is_empty() || streams.starts_with('/')).then_some((false, streams))
}

/// Undoes `%XX`; what is no such escape stays as it is.
pub fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A client's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Start these streams.
    Subscribe(Vec<String>),
    /// End these streams.
    Unsubscribe(Vec<String>),
    /// Which streams are there?
    ListSubscriptions,
    /// Switch the wrapper on or off.
    SetCombined(bool),
    /// Is the wrapper on?
    GetCombined,
}

/// A client's frame and the id to answer it with, as JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is wanted.
    pub method: Method,
    /// `null`, a number, or a quoted string.
    pub id: String,
}

/// Reads a client's text frame. The error is the whole answer, as the venue words it.
pub fn parse_request(text: &str) -> Result<Request, String> {
    let mut bytes = text.as_bytes().to_vec();
    let Ok(value) = simd_json::to_owned_value(&mut bytes) else {
        return Err(error(3, "Invalid JSON: expected value at line 1 column 1", "null"));
    };
    let id = request_id(&value)?;
    let refuse = |message: &str| error(2, &format!("Invalid request: {message}"), &id);
    let Some(method) = value.get("method") else {
        return Err(refuse(&format!("missing field `method` at line 1 column {}", text.len())));
    };
    let params = value.get("params");
    let streams = || string_list(params).map_err(refuse);
    let method = match method.as_str() {
        Some("SUBSCRIBE") => Method::Subscribe(streams()?),
        Some("UNSUBSCRIBE") => Method::Unsubscribe(streams()?),
        Some("LIST_SUBSCRIPTIONS") => Method::ListSubscriptions,
        Some("SET_PROPERTY") => Method::SetCombined(set_property(params, &id)?),
        Some("GET_PROPERTY") => Method::GetCombined,
        Some(other) => {
            let known = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`";
            let other = other.replace(['"', '\\'], "?");
            return Err(refuse(&format!("unknown variant `{other}`, expected one of {known}")));
        }
        None => return Err(refuse("method must be a string")),
    };
    Ok(Request { method, id })
}

fn request_id(value: &OwnedValue) -> Result<String, String> {
    let is_plain = |text: &&str| {
        let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        text.len() <= ID_BYTES_MAX && text.chars().all(is_known)
    };
    match value.get("id") {
        None => Ok("null".to_owned()),
        Some(id) if id.is_null() => Ok("null".to_owned()),
        Some(id) => id
            .as_i64()
            .map(|number| number.to_string())
            .or_else(|| id.as_str().filter(is_plain).map(|text| format!("\"{text}\"")))
            .ok_or_else(|| {
                let message = "Invalid request: request ID must be an unsigned integer";
                error(2, message, "null")
            }),
    }
}

fn string_list(params: Option<&OwnedValue>) -> Result<Vec<String>, &'static str> {
    let list = params.ok_or("missing field `params`")?;
    let list = list.as_array().ok_or("params must be an array")?;
    let names = list.iter().map(|name| name.as_str().map(str::to_owned));
    names.collect::<Option<_>>().ok_or("params must be strings")
}

fn set_property(params: Option<&OwnedValue>, id: &str) -> Result<bool, String> {
    let list = params.and_then(|params| params.as_array()).map_or(&[][..], |list| list.as_slice());
    match list {
        [name, value] if name.as_str() == Some("combined") => {
            value.as_bool().ok_or_else(|| error(1, "Invalid value type: expected Boolean", id))
        }
        [name, _] if name.is_str() => Err(error(0, "Unknown property", id)),
        [_, _] => Err(error(2, "Invalid request: property name must be a string", id)),
        _ => Err(error(2, "Invalid request: too many parameters", id)),
    }
}

fn error(code: u32, message: &str, id: &str) -> String {
    let id = if id == "null" { String::new() } else { format!(",\"id\":{id}") };
    format!("{{\"code\": {code}, \"msg\": \"{message}\"{id}}}")
}

/// The answer to a request that was accepted; `result` is JSON.
pub fn ack(result: &str, id: &str) -> String {
    format!("{{\"result\":{result},\"id\":{id}}}")
}

/// Writes the payload of a kline push, without wrapper, into `out` (cleared first). Within `k`,
/// usdm has a space behind each comma (2026).
pub fn write_kline(
    out: &mut String,
    contract_type: ContractType,
    listing: &Listing,
    (candle, form): (&TrueCandle, Form),
    event_ms: i64,
    closed: bool,
) {
    let is_continuous = form == Form::Continuous;
    let digits = Digits { contract_type, listing };
    let comma = if contract_type == ContractType::Usdm { ", " } else { "," };
    out.clear();
    let kind = if is_continuous { "continuous_kline" } else { "kline" };
    push_parts(out, &["{\"e\":\"", kind, "\",\"E\":"]);
    push_number(out, event_ms.unsigned_abs());
    if is_continuous {
        let pair = listing.name.split('_').next().unwrap_or(&listing.name);
        push_parts(out, &[",\"ps\":\"", pair, "\",\"ct\":\"", contract_kind(listing)]);
    } else {
        push_parts(out, &[",\"s\":\"", &listing.name]);
    }
    out.push_str("\",\"k\":{\"t\":");
    push_number(out, candle.open_time_ms.unsigned_abs());
    push_parts(out, &[comma, "\"T\":"]);
    push_number(out, candle.close_time_ms().unsigned_abs());
    if !is_continuous {
        push_parts(out, &[comma, "\"s\":\"", &listing.name, "\""]);
    }
    push_parts(out, &[comma, "\"i\":\"", spelling(candle.interval), "\"", comma, "\"f\":"]);
    push_id(out, candle.first_trade);
    push_parts(out, &[comma, "\"L\":"]);
    push_id(out, candle.last_trade());
    let prices = [("o", candle.open), ("c", candle.close), ("h", candle.high), ("l", candle.low)];
    for (name, ticks) in prices {
        push_parts(out, &[comma, "\"", name, "\":\""]);
        digits.price(out, ticks);
        out.push('"');
    }
    push_parts(out, &[comma, "\"v\":\""]);
    digits.quantity(out, candle.volume);
    push_parts(out, &["\"", comma, "\"n\":"]);
    push_number(out, candle.trades);
    let flag = if closed { "true" } else { "false" };
    push_parts(out, &[comma, "\"x\":", flag, comma, "\"q\":\""]);
    digits.turnover(out, candle.turnover);
    push_parts(out, &["\"", comma, "\"V\":\""]);
    digits.quantity(out, candle.taker_volume);
    push_parts(out, &["\"", comma, "\"Q\":\""]);
    digits.turnover(out, candle.taker_turnover);
    push_parts(out, &["\"", comma, "\"B\":\"0\"}}"]);
}

fn push_parts(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

fn push_id(out: &mut String, id: i64) {
    if id < 0 {
        out.push('-');
    }
    push_number(out, id.unsigned_abs());
}

/// `payload` in the combined wrapper.
pub fn wrap(stream: &str, payload: &str) -> String {
    ["{\"stream\":\"", stream, "\",\"data\":", payload, "}"].concat()
}

/// The digits in which a contract type shows a listing's numbers: spot always with 8 decimals,
/// futures with those of the tick.
#[derive(Clone, Copy, Debug)]
pub struct Digits<'a> {
    /// Spot pads.
    pub contract_type: ContractType,
    /// Whose numbers.
    pub listing: &'a Listing,
}

impl Digits<'_> {
    fn write(self, out: &mut String, value: u64, scale: u32) {
        let spot = self.contract_type == ContractType::Spot;
        write_decimal(out, value, scale, if spot { 8 } else { scale });
    }

    /// Appends a price given in ticks.
    pub fn price(self, out: &mut String, ticks: i64) {
        self.write(out, ticks.unsigned_abs(), self.listing.price_decimals);
    }

    /// Appends a quantity given in steps or contracts.
    pub fn quantity(self, out: &mut String, steps: u64) {
        self.write(out, steps, self.listing.quantity_decimals);
    }

    /// Appends a turnover.
    pub fn turnover(self, out: &mut String, value: u64) {
        let contracts = self.listing.contract_size > 0;
        let sum = self.listing.price_decimals + self.listing.quantity_decimals;
        self.write(out, value, if contracts { BASE_DECIMALS } else { sum });
    }
}

/// Length of a UUID. Source: "alphanumeric strings (max length 36)"; the documents' own examples
/// and the official SDKs send UUIDs, hyphens included.
const ID_BYTES_MAX: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::market::SimMarket;
    use crate::sim::profile::profiles;

    #[test]
    fn paths_are_routed_as_the_venue_routes_them() {
        let [spot, usdm, coinm] = &profiles()[..3] else { panic!("Binance comes first") };
        let routed = |profile, path| parse_target(profile, path).map(|target| target.routed);
        assert_eq!(routed(spot, "/ws"), Some(true));
        assert_eq!(routed(spot, "/market/ws"), None);
        assert_eq!(routed(spot, "/wsx"), None);
        assert_eq!(routed(usdm, "/market/stream"), Some(true));
        assert_eq!(routed(usdm, "/stream?streams=btcusdt@kline_1m"), Some(false));
        assert_eq!(routed(usdm, "/ws"), Some(false));
        assert_eq!(routed(coinm, "/ws"), Some(true));
        assert_eq!(routed(coinm, "/market/ws"), Some(true));
    }

    #[test]
    fn streams_in_the_path_are_subscribed() {
        let target = parse_target(&profiles()[1], "/market/ws/a@kline_1m/b@kline_1m").unwrap();
        assert_eq!((target.combined, target.streams.len()), (false, 2));
        let encoded = "/stream?streams=%E5%B8%81usdt@kline_1m/x@kline_1m&timeUnit=MILLISECOND";
        let target = parse_target(&profiles()[0], encoded).unwrap();
        assert!(target.combined);
        assert_eq!(target.streams, ["币usdt@kline_1m", "x@kline_1m"]);
    }

    #[test]
    fn requests_are_read_and_their_ids_echoed() {
        let request =
            parse_request(r#"{"method":"SUBSCRIBE","params":["a","b"],"id":-7}"#).unwrap();
        assert_eq!(request.method, Method::Subscribe(vec!["a".into(), "b".into()]));
        assert_eq!(ack("null", &request.id), r#"{"result":null,"id":-7}"#);
        let request = parse_request(r#"{"method":"LIST_SUBSCRIPTIONS","id":"abc1"}"#).unwrap();
        assert_eq!(request.id, "\"abc1\"");
        let request = r#"{"method":"SET_PROPERTY","params":["combined",true]}"#;
        assert_eq!(parse_request(request).unwrap().method, Method::SetCombined(true));
    }

    #[test]
    fn wrong_requests_get_the_documented_errors() {
        let answer = |text| parse_request(text).unwrap_err();
        assert!(answer("{").starts_with("{\"code\": 3, \"msg\": \"Invalid JSON"));
        assert_eq!(
            answer(r#"{"method":"SET_PROPERTY","params":["x",1],"id":1}"#),
            r#"{"code": 0, "msg": "Unknown property","id":1}"#
        );
        let texts = [
            r#"{"params":[],"id":2}"#,
            r#"{"method":"SUBSCRIBE","id":2}"#,
            r#"{"method":"SUBSCRIBE","params":[1],"id":2}"#,
            r#"{"method":"DANCE","params":[],"id":2}"#,
            r#"{"method":"SUBSCRIBE","params":[],"id":1.5}"#,
            r#"{"method":"SET_PROPERTY","params":["combined",1]}"#,
            r#"[]"#,
        ];
        for text in texts {
            let parsed: serde_json::Value = serde_json::from_str(&answer(text)).unwrap();
            assert!(parsed["code"].as_u64().unwrap() <= 2, "{text}: {parsed}");
        }
    }

    #[test]
    fn a_push_read_by_another_parser_equals_the_truth() {
        for profile in &profiles()[..3] {
            let market = SimMarket::new(3, profile.market, 0);
            for (index, listing) in market.listings().iter().enumerate() {
                let candle = market.truth(index, 29_000_001);
                assert_push(profile.market.contract_type(), listing, &candle);
            }
        }
    }

    fn assert_push(contract_type: ContractType, listing: &Listing, candle: &TrueCandle) {
        let mut text = String::new();
        write_kline(
            &mut text,
            contract_type,
            listing,
            (candle, Form::Symbol),
            1_740_000_120_007,
            true,
        );
        let push: serde_json::Value = serde_json::from_str(&text).unwrap();
        let kline = &push["k"];
        assert_eq!((&push["s"], &kline["x"]), (&(*listing.name).into(), &true.into()));
        assert_eq!(kline["t"], candle.open_time_ms);
        assert_eq!(kline["n"], candle.trades);
        assert_eq!(kline["L"], candle.last_trade());
        let sum = listing.price_decimals + listing.quantity_decimals;
        let scale = if listing.contract_size > 0 { BASE_DECIMALS } else { sum };
        assert_eq!(units(&kline["h"], listing.price_decimals), candle.high.unsigned_abs());
        assert_eq!(units(&kline["v"], listing.quantity_decimals), candle.volume);
        assert_eq!(units(&kline["q"], scale), candle.turnover);
        if contract_type == ContractType::Spot {
            assert_eq!(kline["o"].as_str().unwrap().split_once('.').unwrap().1.len(), 8);
        }
    }

    /// The number times 10^scale, which must be whole.
    fn units(value: &serde_json::Value, scale: u32) -> u64 {
        let (whole, fraction) = value
            .as_str()
            .unwrap()
            .split_once('.')
            .unwrap_or_else(|| (value.as_str().unwrap(), ""));
        let (kept, padding) = fraction.split_at(scale.min(8) as usize);
        assert!(padding.bytes().all(|digit| digit == b'0'));
        format!("{whole}{kept}").parse().unwrap()
    }
}
