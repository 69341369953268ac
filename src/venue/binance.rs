//! Binance: spot, usdm and coinm. Facts from binance-spot-api-docs (web-socket-streams.md,
//! rest-api.md, errors.md, read 2026-07-21) and the derivatives pages "Websocket Market Streams".
//!
//! Streams are asked for on the raw path `/ws`: its pushes are shorter than the combined form's and
//! name their symbol; both forms are understood.

use std::fmt::Write;
use std::time::Duration;

use crate::clock::UnixMs;
use crate::market::decimal::DecimalError;
use crate::market::{Candle, ContractType, Decimal, Interval};
use crate::messages::RestResponse;
use crate::metrics::DecodeErrorKind;
use crate::wire::Endpoint;
use crate::wire::json::{Fields, JsonReader, Value};

use super::{Kline, Limits, Message, SubscribeOp, SymbolCheck};

/// Source: web-socket-streams.md: 1024 streams a session, 5 messages a second on spot, 300 new
/// sessions in 5 minutes per IP, 24 h of life; derivatives: 10 messages a second, 1024 streams, no
/// number for new sessions, so spot's. Messages are counted over 1.1 s, since the network may push
/// them together; a tenth of the new sessions is left to others behind the same address.
pub(super) fn limits(contract_type: ContractType) -> Limits {
    Limits {
        streams_per_session: 1024,
        streams_per_message: 100,
        messages: match contract_type {
            ContractType::Spot => 4,
            ContractType::Usdm | ContractType::Coinm => 8,
        },
        messages_window: Duration::from_millis(1100),
        connects: 270,
        connects_window: Duration::from_secs(300),
        session_life: Duration::from_secs(23 * 3600),
    }
}

/// usdm's routed path, `/market`, is part of its base: un-routed it acknowledges and stays silent.
/// Whether coinm wants the same is not documented: it is its alternate.
pub(super) fn endpoint(
    contract_type: ContractType,
    base: &Endpoint,
    is_alternate: bool,
) -> Endpoint {
    let is_routed = base.path.trim_end_matches('/').ends_with("/market");
    match contract_type {
        ContractType::Coinm if is_alternate && !is_routed => base.join("/market/ws"),
        ContractType::Spot | ContractType::Usdm | ContractType::Coinm => base.join("/ws"),
    }
}

/// Stream names are in lower case, by Unicode's rules without a locale, as Java's
/// `toLowerCase(Locale.ROOT)` does it on the other side. Symbols of scripts without case, the only
/// non-ASCII ones listed, stay as they are.
pub(super) fn write_subscribe<'a>(
    out: &mut String,
    op: SubscribeOp,
    id: i64,
    symbols: impl Iterator<Item = (&'a str, Interval)>,
) {
    out.clear();
    out.push_str(match op {
        SubscribeOp::Subscribe => r#"{"method":"SUBSCRIBE","params":["#,
        SubscribeOp::Unsubscribe => r#"{"method":"UNSUBSCRIBE","params":["#,
    });
    for (index, (symbol, interval)) in symbols.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let (symbol, interval) = (symbol.to_lowercase(), interval.name());
        write!(out, r#"{comma}"{symbol}@kline_{interval}""#).expect("a String takes every write");
    }
    write!(out, r#"],"id":{id}}}"#).expect("a String takes every write");
}

/// Kline push, "Kline/Candlestick Streams", raw or as `data` of a combined one:
///
/// ```json
/// {"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,"T":1672515839999,
/// "s":"BNBBTC","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015",
/// "v":"1000","n":100,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}
/// ```
///
/// `f`, `L`, `V`, `Q` and `B` are not read. Acknowledgement: `{"result":null,"id":1}`; refusal:
/// `{"code":2,"msg":"Invalid request: …","id":1}`, where `id` may be absent.
pub(super) fn decode<'text>(
    contract_type: ContractType,
    root: Value<'_, 'text>,
) -> Result<Message<'text>, DecodeErrorKind> {
    let outer = Outer::read(root)?;
    match outer.data {
        Some(data) => Outer::read(data)?.message(contract_type),
        None => outer.message(contract_type),
    }
}

/// The fields of every message, as far as they are known.
#[derive(Default)]
struct Outer<'tape, 'text> {
    event: Option<Value<'tape, 'text>>,
    event_time: Option<Value<'tape, 'text>>,
    symbol: Option<Value<'tape, 'text>>,
    kline: Option<Value<'tape, 'text>>,
    data: Option<Value<'tape, 'text>>,
    result: Option<Value<'tape, 'text>>,
    id: Option<Value<'tape, 'text>>,
    code: Option<Value<'tape, 'text>>,
    msg: Option<Value<'tape, 'text>>,
}

impl<'tape, 'text> Outer<'tape, 'text> {
    fn read(root: Value<'tape, 'text>) -> Result<Self, DecodeErrorKind> {
        let mut outer = Self::default();
        for (key, value) in root.fields().ok_or(DecodeErrorKind::Unknown)? {
            let field = match key {
                "e" => &mut outer.event,
                "E" => &mut outer.event_time,
                "s" => &mut outer.symbol,
                "k" => &mut outer.kline,
                "data" => &mut outer.data,
                "result" => &mut outer.result,
                "id" => &mut outer.id,
                "code" => &mut outer.code,
                "msg" => &mut outer.msg,
                // The exchange may add fields at any time.
                _ => continue,
            };
            *field = Some(value);
        }
        Ok(outer)
    }

    fn message(self, contract_type: ContractType) -> Result<Message<'text>, DecodeErrorKind> {
        if self.event.is_some() || self.kline.is_some() {
            return match text(self.event)? {
                "kline" => self.kline(contract_type).map(Message::Kline),
                "serverShutdown" => Ok(Message::ShutdownNotice),
                _ => Err(DecodeErrorKind::Unknown),
            };
        }
        match (self.code, self.result) {
            (Some(code), _) => Ok(Message::Refused {
                id: self.id.and_then(Value::integer),
                code: code.integer().ok_or(DecodeErrorKind::BadField)?,
                message: text(self.msg)?,
            }),
            (None, Some(result)) if result.is_null() => {
                Ok(Message::Accepted { id: integer(self.id)? })
            }
            (None, Some(_)) => Err(DecodeErrorKind::BadField),
            (None, None) => Err(DecodeErrorKind::Unknown),
        }
    }

    fn kline(&self, contract_type: ContractType) -> Result<Kline<'text>, DecodeErrorKind> {
        let symbol = text(self.symbol)?;
        let event_time = UnixMs(natural(self.event_time)?);
        let fields = self.kline.ok_or(DecodeErrorKind::MissingField)?.fields();
        let inner = Inner::read(fields.ok_or(DecodeErrorKind::BadField)?);
        if text(inner.symbol)? != symbol {
            return Err(DecodeErrorKind::BadField);
        }
        let interval =
            Interval::from_name(text(inner.interval)?).ok_or(DecodeErrorKind::BadField)?;
        let candle = inner.candle(contract_type, interval)?;
        if candle.open_time.0 > event_time.0 + interval.ms() {
            // Of a future window: taken as closed, it would make every candle until then late.
            return Err(DecodeErrorKind::BadField);
        }
        let is_closed = inner.is_closed.ok_or(DecodeErrorKind::MissingField)?.boolean();
        let is_closed = is_closed.ok_or(DecodeErrorKind::BadField)?;
        Ok(Kline { symbol, interval, candle, is_closed, event_time })
    }
}

/// The fields of `k` that are read.
#[derive(Default)]
struct Inner<'tape, 'text> {
    open_time: Option<Value<'tape, 'text>>,
    close_time: Option<Value<'tape, 'text>>,
    symbol: Option<Value<'tape, 'text>>,
    interval: Option<Value<'tape, 'text>>,
    open: Option<Value<'tape, 'text>>,
    high: Option<Value<'tape, 'text>>,
    low: Option<Value<'tape, 'text>>,
    close: Option<Value<'tape, 'text>>,
    volume: Option<Value<'tape, 'text>>,
    quote_volume: Option<Value<'tape, 'text>>,
    trades: Option<Value<'tape, 'text>>,
    is_closed: Option<Value<'tape, 'text>>,
}

impl<'tape, 'text> Inner<'tape, 'text> {
    fn read(fields: Fields<'tape, 'text>) -> Self {
        let mut inner = Self::default();
        for (key, value) in fields {
            let field = match key {
                "t" => &mut inner.open_time,
                "T" => &mut inner.close_time,
                "s" => &mut inner.symbol,
                "i" => &mut inner.interval,
                "o" => &mut inner.open,
                "h" => &mut inner.high,
                "l" => &mut inner.low,
                "c" => &mut inner.close,
                "v" => &mut inner.volume,
                "q" => &mut inner.quote_volume,
                "n" => &mut inner.trades,
                "x" => &mut inner.is_closed,
                // `f`, `L`, `V`, `Q`, `B`, and whatever the exchange adds.
                _ => continue,
            };
            *field = Some(value);
        }
        inner
    }

    fn candle(
        &self,
        contract_type: ContractType,
        interval: Interval,
    ) -> Result<Candle, DecodeErrorKind> {
        let open_time = UnixMs(natural(self.open_time)?);
        if !interval.is_aligned(open_time) {
            return Err(DecodeErrorKind::Misaligned);
        }
        if natural(self.close_time)? != interval.close_time(open_time).0 {
            return Err(DecodeErrorKind::BadField);
        }
        let quote_volume = match has_quote_volume(contract_type) {
            true => Some(decimal(self.quote_volume)?),
            false => None,
        };
        Ok(Candle {
            open_time,
            open: decimal(self.open)?,
            high: decimal(self.high)?,
            low: decimal(self.low)?,
            close: decimal(self.close)?,
            volume: decimal(self.volume)?,
            quote_volume,
            trades: natural(self.trades)?.unsigned_abs(),
        })
    }
}

/// `klines` with `limit=1`: weight 2 on spot, 1 on futures (exchangeInfo costs 20).
pub(super) fn symbol_check_url(
    contract_type: ContractType,
    base: &str,
    symbol: &str,
    interval: Interval,
) -> String {
    let path = match contract_type {
        ContractType::Spot => "/api/v3/klines",
        ContractType::Usdm => "/fapi/v1/klines",
        ContractType::Coinm => "/dapi/v1/klines",
    };
    let mut url = format!("{}{path}?symbol=", base.trim_end_matches('/'));
    for byte in symbol.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' => url.push(byte.into()),
            _ => write!(url, "%{byte:02X}").expect("a String takes every write"),
        }
    }
    url + "&interval=" + interval.name() + "&limit=1"
}

/// errors.md: an unknown symbol is HTTP 400 with `{"code":-1121,"msg":"Invalid symbol."}`; -1100
/// says that a parameter has illegal characters, which for us can only be the symbol.
pub(super) fn read_symbol_check(json: &mut JsonReader, response: &RestResponse) -> SymbolCheck {
    let read = json.read(&response.body, |root| {
        if response.status == 200 {
            let fingerprint = fnv1a(&response.body);
            return root.is_array().then_some(SymbolCheck::Known { fingerprint });
        }
        let outer = Outer::read(root).ok()?;
        let code = outer.code.and_then(Value::integer)?;
        let message = outer.msg.and_then(Value::text)?.to_owned();
        matches!(code, -1121 | -1100).then_some(SymbolCheck::Unknown { message })
    });
    read.ok().flatten().unwrap_or(SymbolCheck::Undecided)
}

/// coinm's `v` counts contracts and its `q` is volume in the base asset, not turnover.
pub(super) fn has_quote_volume(contract_type: ContractType) -> bool {
    match contract_type {
        ContractType::Spot | ContractType::Usdm => true,
        ContractType::Coinm => false,
    }
}

fn text<'text>(field: Option<Value<'_, 'text>>) -> Result<&'text str, DecodeErrorKind> {
    field.ok_or(DecodeErrorKind::MissingField)?.text().ok_or(DecodeErrorKind::BadField)
}

fn integer(field: Option<Value<'_, '_>>) -> Result<i64, DecodeErrorKind> {
    field.ok_or(DecodeErrorKind::MissingField)?.integer().ok_or(DecodeErrorKind::BadField)
}

/// A time or a count: never negative.
fn natural(field: Option<Value<'_, '_>>) -> Result<i64, DecodeErrorKind> {
    let number = integer(field)?;
    if (0..=NATURAL_MAX).contains(&number) { Ok(number) } else { Err(DecodeErrorKind::BadField) }
}

/// A price or a volume: a decimal in a string, never negative.
fn decimal(field: Option<Value<'_, '_>>) -> Result<Decimal, DecodeErrorKind> {
    let decimal = Decimal::parse(text(field)?.as_bytes()).map_err(|error| match error {
        DecimalError::Malformed => DecodeErrorKind::BadNumber,
        DecimalError::TooLong => DecodeErrorKind::NumberTooLong,
    })?;
    if decimal.is_negative() { Err(DecodeErrorKind::BadField) } else { Ok(decimal) }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// No time in ms or count comes near; keeps all arithmetic on them from overflowing.
const NATURAL_MAX: i64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str) -> SymbolCheck {
        let body = body.as_bytes().to_vec();
        let response = RestResponse { status, retry_after: None, limit_headers: vec![], body };
        read_symbol_check(&mut JsonReader::default(), &response)
    }

    #[test]
    fn each_contract_type_has_its_path() {
        let path = |base: &str, contract_type, is_alternate| {
            endpoint(contract_type, &Endpoint::parse(base).unwrap(), is_alternate).to_string()
        };
        let spot = path("wss://stream.binance.com:9443", ContractType::Spot, true);
        assert_eq!(spot, "wss://stream.binance.com:9443/ws");
        let usdm = path("wss://fstream.binance.com/market", ContractType::Usdm, true);
        assert_eq!(usdm, "wss://fstream.binance.com/market/ws");
        let coinm = |base, is_alternate| path(base, ContractType::Coinm, is_alternate);
        assert_eq!(coinm("wss://dstream.binance.com", false), "wss://dstream.binance.com/ws");
        let alternate = "wss://dstream.binance.com/market/ws";
        assert_eq!(coinm("wss://dstream.binance.com", true), alternate);
        assert_eq!(coinm("wss://dstream.binance.com/market", true), alternate);
    }

    #[test]
    fn subscribe_messages_name_streams_in_lower_case() {
        let mut text = "old".to_owned();
        let symbols = [("BTCUSD_PERP", Interval::M1), ("币安人生USDT", Interval::M1)];
        write_subscribe(&mut text, SubscribeOp::Subscribe, 7, symbols.into_iter());
        let expected = r#"{"method":"SUBSCRIBE","params":["btcusd_perp@kline_1m","币安人生usdt@kline_1m"],"id":7}"#;
        assert_eq!(text, expected);
        write_subscribe(&mut text, SubscribeOp::Unsubscribe, 8, symbols.into_iter().take(1));
        let expected = r#"{"method":"UNSUBSCRIBE","params":["btcusd_perp@kline_1m"],"id":8}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_symbol_is_unknown_only_on_the_exchange_s_word() {
        let unknown = SymbolCheck::Unknown { message: "Invalid symbol.".to_owned() };
        assert_eq!(check(400, r#"{"code":-1121,"msg":"Invalid symbol."}"#), unknown);
        assert_eq!(
            check(400, r#"{"code":-1120,"msg":"Invalid interval."}"#),
            SymbolCheck::Undecided
        );
        assert_eq!(check(429, r#"{"code":-1003,"msg":"Too much"}"#), SymbolCheck::Undecided);
        assert_eq!(check(502, "<html>"), SymbolCheck::Undecided);
        assert_eq!(check(200, "{}"), SymbolCheck::Undecided);
        let row = |text| check(200, text);
        assert!(matches!(row("[]"), SymbolCheck::Known { .. }));
        assert_eq!(row("[[1,2]]"), row("[[1,2]]"));
        assert_ne!(row("[[1,2]]"), row("[[1,3]]"));
    }

    #[test]
    fn check_urls_are_percent_encoded() {
        let url = |symbol| {
            let base = "https://api.binance.com/";
            symbol_check_url(ContractType::Spot, base, symbol, Interval::M1)
        };
        let expected = "https://api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1";
        assert_eq!(url("BTCUSDT"), expected);
        assert!(url("币&").contains("symbol=%E5%B8%81%26&interval"));
    }
}
