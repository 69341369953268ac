//! What a lying exchange answers over HTTP: blocks and absurd headers, on REST and on the
//! handshake, and rows that are wrong.

use std::time::Duration;

use connector_wss::market::Market;
use connector_wss::messages::RestResponse;
use serde_json::Value;

use crate::dice::Dice;

use super::forge::{self, Times};

/// An HTTP answer that is none of the interface's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// A further header line, or nothing.
    pub(crate) header: &'static str,
    pub(crate) body: &'static str,
}

/// What firewalls, content networks and shut-out countries answer.
pub(crate) const BLOCKS: [Page; 6] = [
    page(403, "text/html", "", "<html><body>Request blocked.</body></html>"),
    page(
        403,
        "text/html",
        "",
        "<html><body><h1>403</h1>Access from your country is set to blocked.",
    ),
    page(451, "application/json", "", "{\"code\":0,\"msg\":\"not from here\"}"),
    page(302, "text/html", "Location: /login\r\n", ""),
    page(200, "text/html", "", "<html><body>Please enable JavaScript.</body></html>"),
    page(503, "text/html", "", "<html><body>Service Temporarily Unavailable</body></html>"),
];

const fn page(
    status: u16,
    content_type: &'static str,
    header: &'static str,
    body: &'static str,
) -> Page {
    Page { status, content_type, header, body }
}

/// `Retry-After` as nobody means it: seconds that are ms, points in time in s and ms, more than
/// fits.
pub(crate) const ABSURD_WAITS: [&str; 6] = [
    "60000",
    "1796000000",
    "1796000000000",
    "18446744073709551615",
    "99999999999999999999999999",
    "Wed, 21 Oct 2099 07:28:00 GMT",
];

/// `Retry-After` without a meaning.
pub(crate) const SENSELESS_WAITS: [&str; 6] =
    ["-5", "soon", "", "1e3", "Wed, 21 Oct 2015 07:28:00 GMT", "0"];

/// A REST answer with a `Date` of `now_ms`.
pub(crate) fn set_date(response: &mut RestResponse, now_ms: i64) {
    // Further than this no header can go.
    let ms = now_ms.clamp(0, 253_402_300_799_000).unsigned_abs();
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_millis(ms));
    for (name, value) in &mut response.limit_headers {
        if name == "date" {
            value.clone_from(&date);
        }
    }
}

/// Bybit has the time of its answer in the body, too.
pub(crate) fn shift_server_time(value: &mut Value, by_ms: i64, now_ms: i64) {
    if let Some(time) = value.get_mut("time").filter(|time| time.is_number()) {
        forge::shift_times(time, Times::All, by_ms, now_ms);
    }
}

/// Changes the body as JSON, if it is JSON.
pub(crate) fn edit(response: &mut RestResponse, change: impl FnOnce(&mut Value)) {
    let Ok(mut value) = serde_json::from_slice::<Value>(&response.body) else { return };
    change(&mut value);
    response.body = value.to_string().into_bytes();
}

/// Makes one of the rows one that cannot be.
pub(crate) fn corrupt_one(market: Market, value: &mut Value, dice: &mut Dice) {
    let mut rows = 0;
    forge::for_each_candle(value, &mut |_| rows += 1);
    if rows == 0 {
        return;
    }
    let mut left = dice.below(rows);
    forge::for_each_candle(value, &mut |candle| {
        if left == 0 {
            forge::corrupt(market, candle, dice);
        }
        left = left.wrapping_sub(1);
    });
}

/// Repeats the rows again and again until they have 14 MB.
pub(crate) fn repeat_rows(response: &mut RestResponse) {
    let mut rows = Value::Null;
    edit(response, |value| {
        let list = match value {
            Value::Object(fields) if fields.contains_key("result") => &mut value["result"]["list"],
            Value::Object(fields) if fields.contains_key("data") => &mut value["data"],
            _ => value,
        };
        if list.as_array().is_some_and(|rows| !rows.is_empty()) {
            rows = std::mem::replace(list, Value::from(vec![HERE]));
        }
    });
    let rows = rows.to_string();
    let rows = rows.trim_start_matches('[').trim_end_matches(']');
    let many = vec![rows; HUGE_BYTES / rows.len()].join(",");
    let body = String::from_utf8_lossy(&response.body);
    response.body = body.replace(&format!("\"{HERE}\""), &many).into_bytes();
}

/// Adds a row of an hour ahead to the rows.
pub(crate) fn add_row_ahead(value: &mut Value, now_ms: i64) {
    let mut ahead = None;
    forge::for_each_candle(value, &mut |candle| ahead = Some(candle.clone()));
    let Some(mut ahead) = ahead else { return };
    forge::shift_times(&mut ahead, Times::Windows, AHEAD_MS, now_ms);
    let list = match value {
        Value::Object(fields) if fields.contains_key("result") => &mut value["result"]["list"],
        Value::Object(fields) if fields.contains_key("data") => &mut value["data"],
        _ => value,
    };
    let Value::Array(rows) = list else { return };
    // In the order in which the exchange has them.
    let (first, last) = (rows.first().map(forge::time_of), rows.last().map(forge::time_of));
    let is_newest_first = rows.len() > 1 && first > last;
    let place = if is_newest_first { 0 } else { rows.len() };
    rows.insert(place, ahead);
}

/// Names another symbol, whose volumes are larger.
pub(crate) fn of_another(market: Market, value: &mut Value) {
    if let Some(symbol) = value.pointer_mut("/result/symbol") {
        *symbol = OTHER.into();
    }
    forge::for_each_candle(value, &mut |candle| {
        if let Some(symbol) = candle.get_mut("s") {
            *symbol = OTHER.into();
        }
        forge::inflate(market, candle);
    });
}

const OTHER: &str = "NOPE";

const AHEAD_MS: i64 = 3_600_000;

/// Where the rows go.
const HERE: &str = "rows";

/// Source: an answer that was seen to have 14 MB for six rows.
const HUGE_BYTES: usize = 14_000_000;
