//! What a client asks. Owns the fields of a request, their defaults, and the words in which a bad
//! one is refused; serves nothing.

use simd_json::prelude::*;
use simd_json::tape::Value;

use crate::clock::UnixMs;
use crate::limits::{REQUEST_ID_BYTES_MAX, REQUEST_SYMBOLS_MAX, SYMBOL_BYTES_MAX};
use crate::market::{Interval, Market, Venue};

use super::access::TokenDigest;
use super::encode::write_string;
use super::protocol::Refusal;

/// A request that can be served.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The client's `id` as JSON, to be echoed in every answer.
    pub(super) id: Option<String>,
    /// What it asks.
    pub(super) op: Op,
}

/// What a request asks.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Quotes of these symbols.
    Subscribe(Wanted),
    /// No more quotes of these symbols (`None`: of any), in this market (`None`: in any).
    Unsubscribe {
        /// `None`: everything the client has subscribed.
        market: Option<Market>,
        /// Canonical; `None`: every symbol of the market.
        symbols: Option<Vec<String>>,
        /// `None`: of any length.
        interval: Option<Interval>,
        /// `None`: of any origin.
        origin: Option<Origin>,
    },
    /// What is subscribed.
    List,
    /// A sign of life.
    Ping,
    /// Who the client is.
    Auth(TokenDigest),
}

/// A subscription as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where.
    pub(super) market: Market,
    /// The length of the candles.
    pub(super) interval: Interval,
    /// Who makes them.
    pub(super) origin: Origin,
    /// Canonical, each once, in the order given, at least one; `None`: all that are streamed.
    pub(super) symbols: Option<Vec<String>>,
    /// Quotes until the subscription ends; 0: without end.
    pub(super) limit: u64,
    /// Open candles are not wanted.
    pub(super) closed_only: bool,
    /// The ends of intervals are to be told.
    pub(super) mark: bool,
    /// What is wanted of the time before.
    pub(super) past: Option<Past>,
}

/// Who makes the candles of a series, as `source` of a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The exchange. Always so for minutes.
    Exchange,
    /// We, from the exchange's minutes.
    Derived,
}

impl Origin {
    /// Both.
    const ALL: [Self; 2] = [Self::Exchange, Self::Derived];

    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Derived => "derived",
        }
    }

    /// Whose candles of `interval` are meant where the client does not say it.
    fn default_of(interval: Interval) -> Self {
        if interval == Interval::M1 { Self::Exchange } else { Self::Derived }
    }
}

/// Closed candles that are to come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// So many, at least 1: those of `history` candles.
    Last(u32),
    /// All after this open time.
    Since(UnixMs),
}

/// Reads one text message. `text` is used up by the parser.
pub(super) fn parse(text: &mut [u8]) -> Result<Request, Box<Refusal>> {
    let tape = simd_json::to_tape(text).map_err(|_| {
        Refusal::new("invalid_json", format!("the message is not valid JSON; send {EXAMPLE}"))
    })?;
    let value = tape.as_value();
    let Some(object) = value.as_object() else {
        let message = format!("the message is not a JSON object; send {EXAMPLE}");
        return Err(Refusal::new("not_an_object", message));
    };
    let mut fields = Fields::default();
    for (name, value) in object.iter() {
        fields.put(name, value);
    }
    let id = fields.id()?;
    match fields.op() {
        Ok(op) => Ok(Request { id, op }),
        Err(refusal) => Err(Box::new(Refusal {
            id,
            exchange: fields.exchange.and_then(|value| shown(&value)),
            contract_type: fields.contract_type.and_then(|value| shown(&value)),
            ..*refusal
        })),
    }
}

/// The fields a request may have; a `null` is as good as absent. Unknown ones are ignored, and of
/// two with one name the last counts.
#[derive(Default)]
struct Fields<'tape, 'text> {
    op: Option<Value<'tape, 'text>>,
    id: Option<Value<'tape, 'text>>,
    exchange: Option<Value<'tape, 'text>>,
    contract_type: Option<Value<'tape, 'text>>,
    symbols: Option<Value<'tape, 'text>>,
    limit: Option<Value<'tape, 'text>>,
    interval: Option<Value<'tape, 'text>>,
    source: Option<Value<'tape, 'text>>,
    history: Option<Value<'tape, 'text>>,
    since: Option<Value<'tape, 'text>>,
    closed_only: Option<Value<'tape, 'text>>,
    mark: Option<Value<'tape, 'text>>,
    token: Option<Value<'tape, 'text>>,
}

impl<'tape, 'text> Fields<'tape, 'text> {
    fn put(&mut self, name: &str, value: Value<'tape, 'text>) {
        let field = match name {
            "op" => &mut self.op,
            "id" => &mut self.id,
            "exchange" => &mut self.exchange,
            "contract_type" => &mut self.contract_type,
            "symbols" => &mut self.symbols,
            "limit" => &mut self.limit,
            "interval" => &mut self.interval,
            "source" => &mut self.source,
            "history" => &mut self.history,
            "since" => &mut self.since,
            "closed_only" => &mut self.closed_only,
            "mark" => &mut self.mark,
            "token" => &mut self.token,
            _ => return,
        };
        *field = if value.is_null() { None } else { Some(value) };
    }

    fn op(&self) -> Result<Op, Box<Refusal>> {
        let Some(value) = &self.op else { return self.subscribe() };
        match value.as_str() {
            Some("subscribe") => self.subscribe(),
            Some("unsubscribe") => self.unsubscribe(),
            Some("list") => Ok(Op::List),
            Some("ping") => Ok(Op::Ping),
            Some("auth") => self.auth(),
            Some(other) => Err(Refusal::field("unknown_op", "op", {
                format!("unknown \"op\" {}; allowed: {OPS}", quoted(other))
            })),
            None => Err(wrong_type("op", &format!("a string, one of: {OPS}"))),
        }
    }

    fn subscribe(&self) -> Result<Op, Box<Refusal>> {
        let Some(exchange) = &self.exchange else {
            return Err(missing("exchange", &format!("allowed: {}", venue_names())));
        };
        let market = self.market(read_venue(exchange)?)?;
        let Some(symbols) = &self.symbols else {
            return Err(missing("symbols", "an array of strings such as [\"BTCUSDT\"]"));
        };
        let symbols = match is_all(symbols) {
            true => None,
            false => Some(read_symbols(market, symbols)?),
        };
        let (interval, origin) = self.candles(market)?;
        let past = self.past()?;
        let limit = self.limit.as_ref().map_or(Ok(0), read_limit)?;
        let closed_only = read_bool("closed_only", self.closed_only.as_ref())?;
        let mark = read_bool("mark", self.mark.as_ref())?;
        let wanted = Wanted { market, interval, origin, symbols, limit, closed_only, mark, past };
        Ok(Op::Subscribe(wanted))
    }

    /// The length of the candles and who makes them.
    fn candles(&self, market: Market) -> Result<(Interval, Origin), Box<Refusal>> {
        let interval = self.interval.as_ref().map_or(Ok(Interval::default()), read_interval)?;
        let origin = self.source.as_ref().map(read_origin).transpose()?;
        let origin = origin.unwrap_or(Origin::default_of(interval));
        match origin {
            Origin::Derived if interval == Interval::M1 => {
                let message = "\"source\": minutes are the exchange's own, others are derived from \
                               them; leave it out, or ask for a longer \"interval\"";
                Err(Refusal::field("not_derived", "source", message.to_owned()))
            }
            Origin::Exchange if !market.has_own(interval) => Err(not_offered(market, interval)),
            _ => Ok((interval, origin)),
        }
    }

    fn unsubscribe(&self) -> Result<Op, Box<Refusal>> {
        let interval = self.interval.as_ref().map(read_interval).transpose()?;
        let origin = self.source.as_ref().map(read_origin).transpose()?;
        let Some(exchange) = &self.exchange else {
            if self.contract_type.is_none() && self.symbols.is_none() {
                return Ok(Op::Unsubscribe { market: None, symbols: None, interval, origin });
            }
            return Err(missing("exchange", &format!("allowed: {}", venue_names())));
        };
        let market = self.market(read_venue(exchange)?)?;
        let named = self.symbols.as_ref().filter(|value| !is_all(value));
        let symbols = named.map(|value| read_symbols(market, value)).transpose()?;
        Ok(Op::Unsubscribe { market: Some(market), symbols, interval, origin })
    }

    /// The token itself goes no further than here.
    fn auth(&self) -> Result<Op, Box<Refusal>> {
        let right = "a string, the token";
        let Some(value) = &self.token else { return Err(missing("token", right)) };
        let token = value.as_str().ok_or_else(|| wrong_type("token", right))?;
        Ok(Op::Auth(TokenDigest::of(token.as_bytes())))
    }

    /// The market named, else the venue's default, which at OKX the symbols' spelling tells.
    fn market(&self, venue: Venue) -> Result<Market, Box<Refusal>> {
        if let Some(contract_type) = &self.contract_type {
            return read_market(venue, contract_type);
        }
        let missing = || missing("contract_type", &format!("allowed: {}", contract_types(venue)));
        let symbols = match &self.symbols {
            Some(symbols) if !is_all(symbols) => texts(symbols)?,
            _ => Vec::new(),
        };
        let mut found: Option<(Market, &str)> = None;
        for symbol in &symbols {
            let Some(market) = Market::default_of(venue, symbol) else {
                return Err(if venue == Venue::Binance {
                    missing()
                } else {
                    strange(venue, symbol)
                });
            };
            match found {
                Some((first, other)) if first != market => {
                    let message = format!(
                        "{} is {first} and {} is {market}; send one request for each \
                         \"contract_type\"",
                        quoted(other),
                        quoted(symbol)
                    );
                    return Err(Refusal::field("mixed_contract_types", "symbols", message));
                }
                _ => found = Some((market, symbol)),
            }
        }
        found
            .map(|(market, _)| market)
            .or_else(|| Market::default_of(venue, ""))
            .ok_or_else(missing)
    }

    fn past(&self) -> Result<Option<Past>, Box<Refusal>> {
        let number = |name: &'static str, value: &Option<Value<'_, '_>>, what: &str| {
            let Some(value) = value else { return Ok(None) };
            let number = value.as_u64().and_then(|number| i64::try_from(number).ok());
            number.map(Some).ok_or_else(|| wrong_type(name, what))
        };
        let history =
            number("history", &self.history, "an integer, 0 or more: how many closed candles")?;
        let since = number("since", &self.since, "an open time in ms since 1970")?;
        match (history.filter(|&count| count > 0), since) {
            (None, None) => Ok(None),
            (Some(count), None) => Ok(Some(Past::Last(u32::try_from(count).unwrap_or(u32::MAX)))),
            (None, Some(since)) if since > SINCE_MAX => {
                Err(wrong_type("since", "an open time in ms since 1970"))
            }
            (None, Some(since)) => Ok(Some(Past::Since(UnixMs(since)))),
            (Some(_), Some(_)) => {
                let message = "\"history\" and \"since\" exclude each other; send one of them";
                Err(Refusal::field("history_and_since", "since", message.to_owned()))
            }
        }
    }

    /// The `id`, rendered as JSON.
    fn id(&self) -> Result<Option<String>, Box<Refusal>> {
        let Some(value) = &self.id else { return Ok(None) };
        if let Some(text) = value.as_str().filter(|text| text.len() <= REQUEST_ID_BYTES_MAX) {
            return Ok(Some(quoted_whole(text)));
        }
        let number = value.as_i64().map(|number| number.to_string());
        let number = number.or_else(|| value.as_u64().map(|number| number.to_string()));
        number.map(Some).ok_or_else(|| {
            let right = format!("an integer or a string of at most {REQUEST_ID_BYTES_MAX} bytes");
            wrong_type("id", &right)
        })
    }
}

fn read_venue(value: &Value<'_, '_>) -> Result<Venue, Box<Refusal>> {
    let Some(name) = value.as_str() else {
        return Err(wrong_type("exchange", &format!("a string, one of: {}", venue_names())));
    };
    Venue::from_name(name).ok_or_else(|| {
        let message = format!("unknown exchange {}; allowed: {}", quoted(name), venue_names());
        Refusal::field("unknown_exchange", "exchange", message)
    })
}

fn read_market(venue: Venue, value: &Value<'_, '_>) -> Result<Market, Box<Refusal>> {
    let allowed = contract_types(venue);
    let Some(name) = value.as_str() else {
        return Err(wrong_type("contract_type", &format!("a string, one of: {allowed}")));
    };
    Market::find(venue, name).ok_or_else(|| {
        let (name, venue) = (quoted(name), venue.name());
        let message = format!("unknown contract_type {name} for {venue}; allowed: {allowed}");
        Refusal::field("unknown_contract_type", "contract_type", message)
    })
}

/// The symbols as they were given: one string, or an array of strings.
fn texts<'text>(value: &Value<'_, 'text>) -> Result<Vec<&'text str>, Box<Refusal>> {
    let is_wrong = || wrong_type("symbols", "an array of strings such as [\"BTCUSDT\"]");
    match (value.into_string(), value.as_array()) {
        (Some(one), _) => Ok(vec![one]),
        (None, Some(many)) => {
            let texts = many.iter().map(|symbol| symbol.into_string());
            texts.collect::<Option<_>>().ok_or_else(is_wrong)
        }
        (None, None) => Err(is_wrong()),
    }
}

/// Whether everything that is streamed is meant: `["*"]`.
fn is_all(value: &Value<'_, '_>) -> bool {
    texts(value).is_ok_and(|texts| texts == ["*"])
}

fn read_bool(field: &'static str, value: Option<&Value<'_, '_>>) -> Result<bool, Box<Refusal>> {
    let Some(value) = value else { return Ok(false) };
    value.as_bool().ok_or_else(|| wrong_type(field, "true or false"))
}

/// The canonical symbols, each once.
fn read_symbols(market: Market, value: &Value<'_, '_>) -> Result<Vec<String>, Box<Refusal>> {
    let given = texts(value)?;
    if given.is_empty() {
        let message = "\"symbols\" is empty; name at least one, such as [\"BTCUSDT\"]";
        return Err(Refusal::field("empty_symbols", "symbols", message.to_owned()));
    }
    if given.len() > REQUEST_SYMBOLS_MAX {
        let message = format!(
            "\"symbols\" has {} entries; at most {REQUEST_SYMBOLS_MAX} per request",
            given.len()
        );
        return Err(Refusal::field("too_many_symbols", "symbols", message));
    }
    let mut seen = std::collections::HashSet::new();
    let mut symbols = Vec::with_capacity(given.len());
    for text in given {
        let symbol = market.canonical_symbol(text).ok_or_else(|| invalid_symbol(market, text))?;
        if seen.insert(symbol.clone()) {
            symbols.push(symbol);
        }
    }
    Ok(symbols)
}

fn read_interval(value: &Value<'_, '_>) -> Result<Interval, Box<Refusal>> {
    let names = interval_names(&Interval::SERVED);
    let Some(name) = value.as_str() else {
        return Err(wrong_type("interval", &format!("a string, one of: {names}")));
    };
    let served = Interval::from_name(name).filter(|interval| Interval::SERVED.contains(interval));
    served.ok_or_else(|| {
        let message = format!("unknown interval {}; allowed: {names}", quoted(name));
        Refusal::field("unknown_interval", "interval", message)
    })
}

fn interval_names(intervals: &[Interval]) -> String {
    let names: Vec<&str> = intervals.iter().copied().map(Interval::name).collect();
    names.join(", ")
}

fn not_offered(market: Market, interval: Interval) -> Box<Refusal> {
    let message = format!(
        "{market} makes no candles of \"interval\" {}; its own are {}; without \"source\" others are \
         derived from its minutes",
        interval.name(),
        interval_names(market.row().intervals)
    );
    Refusal::field("interval_not_offered", "interval", message)
}

fn read_origin(value: &Value<'_, '_>) -> Result<Origin, Box<Refusal>> {
    let names = Origin::ALL.map(Origin::name).join(", ");
    let Some(name) = value.as_str() else {
        return Err(wrong_type("source", &format!("a string, one of: {names}")));
    };
    Origin::ALL.into_iter().find(|origin| origin.name() == name).ok_or_else(|| {
        let message = format!("unknown \"source\" {}; allowed: {names}", quoted(name));
        Refusal::field("unknown_source", "source", message)
    })
}

fn read_limit(value: &Value<'_, '_>) -> Result<u64, Box<Refusal>> {
    value.as_u64().ok_or_else(|| wrong_type("limit", "an integer, 0 or more (0: without end)"))
}

fn invalid_symbol(market: Market, text: &str) -> Box<Refusal> {
    let elsewhere = Market::default_of(market.venue(), text).filter(|other| *other != market);
    let message = match elsewhere {
        // Only OKX tells by the spelling.
        Some(other) if market.venue() == Venue::Okx => format!(
            "{} in \"symbols\" is no symbol of {market} but of {other}; send it with \
             \"contract_type\":\"{}\"",
            quoted(text),
            other.contract_type().name()
        ),
        _ => format!(
            "{} in \"symbols\" can be no symbol of {market}: 1 to {SYMBOL_BYTES_MAX} bytes, {}",
            quoted(text),
            spelling(market.venue())
        ),
    };
    symbol_refusal(text, message)
}

/// A symbol whose spelling tells no contract type.
fn strange(venue: Venue, text: &str) -> Box<Refusal> {
    let message = format!(
        "{} in \"symbols\" can be no symbol of {}: {}",
        quoted(text),
        venue.name(),
        spelling(venue)
    );
    symbol_refusal(text, message)
}

fn symbol_refusal(text: &str, message: String) -> Box<Refusal> {
    let mut refusal = Refusal::field("invalid_symbol", "symbols", message);
    refusal.symbols.push(cut(text).to_owned());
    refusal
}

/// How symbols are spelled there.
fn spelling(venue: Venue) -> &'static str {
    match venue {
        Venue::Binance | Venue::Bybit => "without spaces, quotes and slashes, such as BTCUSDT",
        Venue::Okx => "such as BTC-USDT, BTC-USDT-SWAP or BTC-USD-261225",
        Venue::Gateio => "without spaces, quotes and slashes, such as BTC_USDT",
        Venue::Hyperliquid => "with its own case, such as BTC, kPEPE, @107 or PURR/USDC",
    }
}

fn missing(field: &'static str, right: &str) -> Box<Refusal> {
    Refusal::field("missing_field", field, format!("\"{field}\" is missing; {right}"))
}

fn wrong_type(field: &'static str, right: &str) -> Box<Refusal> {
    Refusal::field("wrong_type", field, format!("\"{field}\" must be {right}"))
}

fn venue_names() -> String {
    Venue::ALL.map(Venue::name).join(", ")
}

/// `spot, usdm (or um), coinm (or cm)`.
fn contract_types(venue: Venue) -> String {
    let names = Market::of(venue).map(|market| {
        let row = market.row();
        match row.aliases {
            [] => row.contract_type.name().to_owned(),
            aliases => format!("{} (or {})", row.contract_type.name(), aliases.join(", ")),
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

/// The client's own text as far as it is repeated in an answer.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]
}

fn quoted(text: &str) -> String {
    quoted_whole(cut(text))
}

fn quoted_whole(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

fn shown(value: &Value<'_, '_>) -> Option<String> {
    value.as_str().map(|text| cut(text).to_owned())
}

const SHOWN_BYTES_MAX: usize = 64;
const OPS: &str = "subscribe, unsubscribe, list, ping, auth";
const EXAMPLE: &str =
    r#"one object such as {"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]}"#;

/// The year 5138: later is no time in ms.
const SINCE_MAX: i64 = 100_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, Box<Refusal>> {
        parse(&mut text.as_bytes().to_vec())
    }

    fn wanted(text: &str) -> Wanted {
        match read(text).unwrap().op {
            Op::Subscribe(wanted) => wanted,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_of_the_python_server_is_understood() {
        let line = "{\"exchange\":\"binance\",\"contract_type\":\"UM\",\
                    \"symbols\":[\"btcusdt\",\"ETHUSDT\",\"BTCUSDT\"],\"limit\":3,\"x\":[{}]}\n";
        let wanted = wanted(line);
        assert_eq!(wanted.market.to_string(), "binance usdm");
        assert_eq!(wanted.symbols.unwrap(), ["BTCUSDT", "ETHUSDT"]);
        assert_eq!((wanted.limit, wanted.closed_only), (3, false));
    }

    #[test]
    fn nulls_are_absent_and_one_symbol_may_be_a_string() {
        let wanted = wanted(
            r#"{"exchange":"BINANCE","contract_type":"spot","symbols":"BTCUSDT","limit":null,
                "op":null,"id":null,"interval":"1m","history":0,"since":null,"closed_only":true}"#,
        );
        assert_eq!((wanted.limit, wanted.closed_only, wanted.past), (0, true, None));
        assert_eq!(wanted.symbols.unwrap(), ["BTCUSDT"]);
    }

    #[test]
    fn the_id_is_kept_as_json() {
        for (id, expected) in [("7", "7"), ("-1", "-1"), ("\"a\\nb\"", "\"a\\nb\"")] {
            let request = read(&format!(r#"{{"op":"ping","id":{id}}}"#)).unwrap();
            assert_eq!(request.id.as_deref(), Some(expected));
        }
        let refusal = read(r#"{"op":"dance","id":"x"}"#).unwrap_err();
        assert_eq!(refusal.id.as_deref(), Some("\"x\""));
    }

    #[test]
    fn each_bad_request_has_its_own_error_that_names_the_field_and_what_is_right() {
        let head = r#""exchange":"binance","contract_type":"spot""#;
        let full = r#""exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]"#;
        for (text, code, field, says) in [
            ("{".to_owned(), "invalid_json", None, "valid JSON"),
            (String::new(), "invalid_json", None, "valid JSON"),
            ("[1]".to_owned(), "not_an_object", None, "\"exchange\":\"binance\""),
            ("{}".to_owned(), "missing_field", Some("exchange"), "allowed: binance"),
            (r#"{"exchange":1}"#.to_owned(), "wrong_type", Some("exchange"), "a string"),
            (r#"{"exchange":"x"}"#.to_owned(), "unknown_exchange", Some("exchange"), "binance"),
            (
                r#"{"exchange":"binance"}"#.to_owned(),
                "missing_field",
                Some("contract_type"),
                "spot, usdm (or um), coinm (or cm)",
            ),
            (
                r#"{"exchange":"binance","contract_type":[]}"#.to_owned(),
                "wrong_type",
                Some("contract_type"),
                "a string",
            ),
            (
                r#"{"exchange":"binance","contract_type":"perp"}"#.to_owned(),
                "unknown_contract_type",
                Some("contract_type"),
                "usdm (or um)",
            ),
            (format!("{{{head}}}"), "missing_field", Some("symbols"), "[\"BTCUSDT\"]"),
            (format!("{{{head},\"symbols\":5}}"), "wrong_type", Some("symbols"), "array"),
            (format!("{{{head},\"symbols\":[5]}}"), "wrong_type", Some("symbols"), "array"),
            (format!("{{{head},\"symbols\":[]}}"), "empty_symbols", Some("symbols"), "one"),
            (format!("{{{head},\"symbols\":[\"A B\"]}}"), "invalid_symbol", Some("symbols"), "A B"),
            (format!("{{{full},\"limit\":-1}}"), "wrong_type", Some("limit"), "0 or more"),
            (format!("{{{full},\"limit\":\"3\"}}"), "wrong_type", Some("limit"), "integer"),
            (format!("{{{full},\"limit\":1.5}}"), "wrong_type", Some("limit"), "integer"),
            (format!("{{{full},\"limit\":true}}"), "wrong_type", Some("limit"), "integer"),
            (format!("{{{full},\"interval\":\"7m\"}}"), "unknown_interval", Some("interval"), "5m"),
            (format!("{{{full},\"interval\":\"1s\"}}"), "unknown_interval", Some("interval"), "1m"),
            (format!("{{{full},\"source\":5}}"), "wrong_type", Some("source"), "exchange, derived"),
            (format!("{{{full},\"source\":\"x\"}}"), "unknown_source", Some("source"), "derived"),
            (format!("{{{full},\"source\":\"derived\"}}"), "not_derived", Some("source"), "longer"),
            (
                r#"{"exchange":"okx","symbols":["A-B"],"interval":"8h","source":"exchange"}"#
                    .to_owned(),
                "interval_not_offered",
                Some("interval"),
                "its own are 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 12h, 1d; without \"source\"",
            ),
            (format!("{{{full},\"interval\":1}}"), "wrong_type", Some("interval"), "1m"),
            (format!("{{{full},\"history\":-5}}"), "wrong_type", Some("history"), "integer"),
            (format!("{{{full},\"since\":\"x\"}}"), "wrong_type", Some("since"), "open time"),
            (format!("{{{full},\"since\":{}}}", i64::MAX), "wrong_type", Some("since"), "in ms"),
            (
                format!("{{{full},\"since\":5,\"history\":5}}"),
                "history_and_since",
                Some("since"),
                "one of them",
            ),
            (format!("{{{full},\"closed_only\":1}}"), "wrong_type", Some("closed_only"), "true"),
            (format!("{{{full},\"op\":\"dance\"}}"), "unknown_op", Some("op"), "unsubscribe"),
            (format!("{{{full},\"op\":1}}"), "wrong_type", Some("op"), "unsubscribe"),
            (r#"{"op":"auth"}"#.to_owned(), "missing_field", Some("token"), "a string"),
            (r#"{"op":"auth","token":5}"#.to_owned(), "wrong_type", Some("token"), "a string"),
            (format!("{{{full},\"id\":[]}}"), "wrong_type", Some("id"), "integer"),
            (
                r#"{"op":"unsubscribe","symbols":["A"]}"#.to_owned(),
                "missing_field",
                Some("exchange"),
                "binance",
            ),
        ] {
            let refusal = read(&text).unwrap_err();
            assert_eq!((refusal.code, refusal.field), (code, field), "{text}");
            assert!(refusal.message.contains(says), "{text}: {}", refusal.message);
            assert!(field.is_none_or(|field| refusal.message.contains(field)), "{text}");
        }
    }

    #[test]
    fn the_contract_type_may_be_left_out_where_the_exchange_has_a_default() {
        for (text, market) in [
            (r#""exchange":"bybit","symbols":["BTCUSDT"]"#, "bybit spot"),
            (r#""exchange":"gateio","symbols":["btc_usdt"]"#, "gateio spot"),
            (r#""exchange":"hyperliquid","symbols":["kPEPE"]"#, "hyperliquid usdm"),
            (r#""exchange":"okx","symbols":["BTC-USDT"]"#, "okx spot"),
            (r#""exchange":"okx","symbols":["btc-usd-swap","ETH-USDT-SWAP"]"#, "okx swap"),
            (r#""exchange":"okx","symbols":"BTC-USD-261225""#, "okx futures"),
            (r#""exchange":"bybit","contract_type":"PERP","symbols":["X"]"#, "bybit linear"),
        ] {
            assert_eq!(wanted(&format!("{{{text}}}")).market.to_string(), market);
        }
        for (text, code, says) in [
            (
                r#""exchange":"okx","symbols":["BTC-USDT","BTC-USDT-SWAP"]"#,
                "mixed_contract_types",
                "one request",
            ),
            (r#""exchange":"okx","symbols":["BTCUSDT"]"#, "invalid_symbol", "such as BTC-USDT"),
            (r#""exchange":"okx"}"#, "missing_field", "contract_type"),
            (
                r#""exchange":"okx","contract_type":"spot","symbols":["BTC-USDT-SWAP"]"#,
                "invalid_symbol",
                "\"contract_type\":\"swap\"",
            ),
        ] {
            let refusal = read(&format!("{{{}}}", text.trim_end_matches('}'))).unwrap_err();
            assert_eq!(refusal.code, code, "{text}: {}", refusal.message);
            assert!(refusal.message.contains(says), "{text}: {}", refusal.message);
        }
    }

    #[test]
    fn longer_candles_are_derived_unless_the_exchange_s_are_asked_for() {
        let head = r#""exchange":"gateio","contract_type":"um","symbols":["BTC_USDT"]"#;
        for (fields, interval, origin) in [
            ("", Interval::M1, Origin::Exchange),
            (r#","source":"exchange""#, Interval::M1, Origin::Exchange),
            (r#","interval":"5m""#, Interval::M5, Origin::Derived),
            (r#","interval":"3m","source":"derived""#, Interval::M3, Origin::Derived),
            (r#","interval":"8h","source":"exchange""#, Interval::H8, Origin::Exchange),
        ] {
            let wanted = wanted(&format!("{{{head}{fields}}}"));
            assert_eq!((wanted.interval, wanted.origin), (interval, origin), "{fields}");
        }
        let end = format!(r#"{{"op":"unsubscribe",{head},"interval":"5m","source":"exchange"}}"#);
        let Op::Unsubscribe { interval, origin, .. } = read(&end).unwrap().op else { panic!() };
        assert_eq!((interval, origin), (Some(Interval::M5), Some(Origin::Exchange)));
    }

    #[test]
    fn more_symbols_than_any_market_has_are_refused() {
        let many: Vec<String> = (0..=REQUEST_SYMBOLS_MAX).map(|i| format!("\"S{i}\"")).collect();
        let head = r#""exchange":"binance","contract_type":"spot","symbols""#;
        let refusal = read(&format!("{{{head}:[{}]}}", many.join(","))).unwrap_err();
        assert_eq!(refusal.code, "too_many_symbols");
    }

    #[test]
    fn deep_nesting_is_no_trouble() {
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
        let _either = read(&deep);
        let _unfinished = read(&"[".repeat(60_000));
        let _objects = read(&"{\"a\":".repeat(10_000));
    }
}
