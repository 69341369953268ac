//! Answers to clients as JSON: `subscribed`, `unsubscribed`, `list`, `pong`, `notice`, `error`.
//! Owns their fields and keeps each below the size of one message; sends nothing.

use std::sync::Arc;

use crate::clock::{Now, RFC3339_BYTES, UnixMs, write_rfc3339};
use crate::fanout::protocol::candle_source::{CandleSource, SeriesGroup};
use crate::fanout::protocol::encode::{write_signed, write_string, write_unsigned};
use crate::limits::{CLIENT_MESSAGE_BYTES_MAX, SERVER_MESSAGE_BYTES_MAX, SYMBOL_BYTES_MAX};
use crate::market::{Interval, Market, Span};

/// Why a client's request is rejected, or what has ended a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `code`: stable, for programs.
    pub(crate) code: &'static str,
    /// `message` and `system_message`: a sentence for a person that names what would be right.
    pub(crate) message: String,
    /// The wrong field of the request.
    pub(crate) field: Option<&'static str>,
    /// The exchange concerned.
    pub(crate) exchange: Option<String>,
    /// The contract type concerned.
    pub(crate) contract_type: Option<String>,
    /// The symbols concerned, if there are any.
    pub(crate) symbols: Vec<String>,
    /// The length of their candles, if series have ended.
    pub(crate) interval: Option<Interval>,
    /// The exchange's own text.
    pub(crate) exchange_message: Option<String>,
    /// Windows that cannot be sent.
    pub(crate) missing: Vec<Span>,
    /// When a retry makes sense, in ms, if that is known.
    pub(crate) retry_after_ms: Option<u64>,
    /// The request's `id`, as JSON.
    pub(crate) id: Option<String>,
    /// Whether the request names an `op`; not sent.
    pub(crate) names_op: bool,
}

impl Refusal {
    /// A rejection without a field.
    pub(crate) fn new(code: &'static str, message: String) -> Box<Self> {
        Box::new(Self { code, message, ..Self::default() })
    }

    /// A rejection of one field.
    pub(crate) fn field(code: &'static str, field: &'static str, message: String) -> Box<Self> {
        Box::new(Self { code, message, field: Some(field), ..Self::default() })
    }

    /// Adds the market concerned.
    pub(crate) fn about(mut self: Box<Self>, market: Market) -> Box<Self> {
        self.exchange = Some(market.venue().name().to_owned());
        self.contract_type = Some(market.contract_type().name().to_owned());
        self
    }
}

/// One subscription, as `subscribed` and `list` show it.
#[derive(Clone, Debug)]
pub(crate) struct Shown<'a> {
    /// Its market.
    pub(crate) market: Market,
    /// The contract type as the client wrote it, if that differs from our word.
    pub(crate) word: Option<Arc<str>>,
    /// The length of the candles.
    pub(crate) interval: Interval,
    /// What makes the candles.
    pub(crate) origin: CandleSource,
    /// Its symbols.
    pub(crate) symbols: &'a [&'a str],
    /// Quotes that it ends after; 0: it does not end.
    pub(crate) limit: u64,
    /// Quotes still to be sent, if there is a limit.
    pub(crate) remaining: Option<u64>,
    /// Whether open candles are left out.
    pub(crate) closed_only: bool,
    /// Whether the client receives the ends of intervals.
    pub(crate) mark: bool,
    /// Whether its quotes have only the fields of the Python connector.
    pub(crate) basic: bool,
}

/// Appends an `error`.
pub(crate) fn write_error(out: &mut Vec<u8>, refusal: &Refusal) {
    out.extend_from_slice(b"{\"type\":\"error\",\"message\":");
    write_string(out, cut(&refusal.message));
    write_field(out, "system_message", Some(cut(&refusal.message)));
    write_field(out, "code", Some(refusal.code));
    write_field(out, "exchange", refusal.exchange.as_deref());
    write_field(out, "contract_type", refusal.contract_type.as_deref());
    if !refusal.symbols.is_empty() {
        let symbols: Vec<&str> = refusal.symbols.iter().map(String::as_str).collect();
        write_symbols(out, &symbols, SYMBOLS_BYTES_MAX);
    }
    write_field(out, "interval", refusal.interval.map(Interval::name));
    write_field(out, "exchange_message", refusal.exchange_message.as_deref().map(cut));
    write_field(out, "field", refusal.field);
    write_missing(out, &refusal.missing);
    if let Some(ms) = refusal.retry_after_ms {
        write_unsigned(out, b",\"retry_after_ms\":", ms);
    }
    write_end(out, refusal.id.as_deref());
}

/// Appends the answer to an accepted subscription.
pub(crate) fn write_subscribed(out: &mut Vec<u8>, shown: &Shown<'_>, id: Option<&str>) {
    out.extend_from_slice(b"{\"type\":\"subscribed\"");
    write_shown(out, shown, SYMBOLS_BYTES_MAX);
    write_end(out, id);
}

/// Appends the answer to an `unsubscribe` that has ended something. `market`: `None` for
/// "everything". `word`: the contract type as the client wrote it, if that differs from our word.
pub(crate) fn write_unsubscribed(
    out: &mut Vec<u8>,
    market: Option<Market>,
    word: Option<&str>,
    symbols: &[&str],
    id: Option<&str>,
) {
    out.extend_from_slice(b"{\"type\":\"unsubscribed\"");
    write_field(out, "exchange", market.map(|market| market.venue().name()));
    let contract_type = market.map(|market| market.contract_type().name());
    write_field(out, "contract_type", word.or(contract_type));
    write_symbols(out, symbols, SYMBOLS_BYTES_MAX);
    write_end(out, id);
}

/// Writes the `list` of a client's subscriptions, one by one.
pub(crate) struct ListWriter<'a> {
    out: &'a mut Vec<u8>,
    written: usize,
    omitted: u64,
}

impl<'a> ListWriter<'a> {
    /// Begins the message.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        out.extend_from_slice(b"{\"type\":\"list\",\"subscriptions\":[");
        Self { out, written: 0, omitted: 0 }
    }

    /// Adds one subscription. Once the message is full, subscriptions are only counted.
    pub(crate) fn push(&mut self, shown: &Shown<'_>) {
        let left = SYMBOLS_BYTES_MAX.saturating_sub(self.out.len());
        if left < SHOWN_BYTES_MAX {
            self.omitted += 1;
            return;
        }
        self.out.extend_from_slice(if self.written > 0 { b",{" } else { b"{" });
        let start = self.out.len();
        write_shown(self.out, shown, left - SHOWN_BYTES_MAX / 2);
        self.out.remove(start);
        self.out.push(b'}');
        self.written += 1;
    }

    /// Ends the message.
    pub(crate) fn finish(self, id: Option<&str>) {
        self.out.push(b']');
        if self.omitted > 0 {
            write_unsigned(self.out, b",\"subscriptions_omitted\":", self.omitted);
        }
        write_end(self.out, id);
    }
}

/// Appends the answer to a `ping`.
pub(crate) fn write_pong(out: &mut Vec<u8>, now: Now, id: Option<&str>) {
    out.extend_from_slice(b"{\"type\":\"pong\",\"current_time\":\"");
    write_current_time(out, now);
    out.push(b'"');
    write_end(out, id);
}

/// Appends the answer to an `auth` with a valid token.
pub(crate) fn write_authenticated(out: &mut Vec<u8>, id: Option<&str>) {
    out.extend_from_slice(b"{\"type\":\"authenticated\"");
    write_end(out, id);
}

/// Appends the answer to `GET /health`: the same fields as on the ops port, as far as this core
/// knows them.
pub(crate) fn write_health(out: &mut Vec<u8>, now: Now) {
    out.extend_from_slice(b"{\"status\":\"healthy\",\"timestamp\":\"");
    write_current_time(out, now);
    out.extend_from_slice(b"\"}");
}

/// Appends a `notice`: something that a client should know about some symbols, or about the server.
pub(crate) fn write_notice(
    out: &mut Vec<u8>,
    code: &str,
    message: &str,
    about: Option<(Market, &[&str])>,
    now: Now,
) {
    out.extend_from_slice(b"{\"type\":\"notice\",\"current_time\":\"");
    write_current_time(out, now);
    out.extend_from_slice(b"\",\"message\":");
    write_string(out, cut(message));
    write_field(out, "system_message", Some(cut(message)));
    write_field(out, "code", Some(code));
    if let Some((market, symbols)) = about {
        write_field(out, "exchange", Some(market.venue().name()));
        write_field(out, "contract_type", Some(market.contract_type().name()));
        write_symbols(out, symbols, SYMBOLS_BYTES_MAX);
    }
    write_end(out, None);
}

/// How a window ended in a group of series.
#[derive(Debug)]
pub(crate) struct Mark<'a> {
    /// The window.
    pub(crate) open_time: UnixMs,
    /// Series that closed with a candle.
    pub(crate) closed: u64,
    /// Series without a trade.
    pub(crate) empty: u64,
    /// Symbols without either, and why; at most as many as one message may name.
    pub(crate) absent: Vec<(&'a str, &'static str)>,
    /// Number of symbols without either.
    pub(crate) absent_count: u64,
}

/// Appends a `mark`.
pub(crate) fn write_mark(out: &mut Vec<u8>, of: SeriesGroup, mark: &Mark<'_>, now: Now) {
    out.extend_from_slice(b"{\"type\":\"mark\",\"current_time\":\"");
    write_current_time(out, now);
    out.push(b'"');
    write_field(out, "exchange", Some(of.market.venue().name()));
    write_field(out, "contract_type", Some(of.market.contract_type().name()));
    write_field(out, "interval", Some(of.interval.name()));
    write_field(out, "source", Some(of.origin.name()));
    for (name, value) in [
        ("open_time", mark.open_time.0),
        ("close_time", of.interval.close_time(mark.open_time).0),
        ("seq", of.interval.seq(mark.open_time)),
    ] {
        write_signed(out, format!(",\"{name}\":").as_bytes(), value);
    }
    write_unsigned(out, b",\"closed\":", mark.closed);
    write_unsigned(out, b",\"empty\":", mark.empty);
    write_unsigned(out, b",\"absent_count\":", mark.absent_count);
    out.extend_from_slice(b",\"absent\":[");
    for (at, (symbol, reason)) in mark.absent.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"symbol\":" } else { b",{\"symbol\":" });
        write_string(out, symbol);
        write_field(out, "reason", Some(reason));
        out.push(b'}');
    }
    out.push(b']');
    write_end(out, None);
}

/// Appends the fields of a subscription. It begins with a comma.
fn write_shown(out: &mut Vec<u8>, shown: &Shown<'_>, symbols_bytes_max: usize) {
    write_field(out, "exchange", Some(shown.market.venue().name()));
    let contract_type = shown.market.contract_type().name();
    write_field(out, "contract_type", Some(shown.word.as_deref().unwrap_or(contract_type)));
    write_symbols(out, shown.symbols, symbols_bytes_max);
    write_unsigned(out, b",\"limit\":", shown.limit);
    if let Some(remaining) = shown.remaining {
        write_unsigned(out, b",\"remaining\":", remaining);
    }
    write_field(out, "interval", Some(shown.interval.name()));
    // Minutes have only one source.
    let origin = Some(shown.origin.name()).filter(|_| shown.interval != Interval::M1);
    write_field(out, "source", origin);
    out.extend_from_slice(if shown.closed_only {
        b",\"closed_only\":true"
    } else {
        b",\"closed_only\":false"
    });
    if shown.mark {
        out.extend_from_slice(b",\"mark\":true");
    }
    write_field(out, "fields", Some("basic").filter(|_| shown.basic));
}

/// Appends as many of `symbols` as fit into `bytes_max`. The others are counted in
/// `symbols_omitted`.
fn write_symbols(out: &mut Vec<u8>, symbols: &[&str], bytes_max: usize) {
    out.extend_from_slice(b",\"symbols\":[");
    let start = out.len();
    let mut written = 0;
    for symbol in symbols {
        if out.len() - start + 2 * SYMBOL_BYTES_MAX > bytes_max {
            break;
        }
        if written > 0 {
            out.push(b',');
        }
        write_string(out, symbol);
        written += 1;
    }
    out.push(b']');
    if written < symbols.len() {
        write_unsigned(out, b",\"symbols_omitted\":", (symbols.len() - written) as u64);
    }
}

fn write_field(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.push(b',');
        write_string(out, name);
        out.push(b':');
        write_string(out, value);
    }
}

/// Appends pairs of first and last open time, at most the newest [`MISSING_MAX`].
fn write_missing(out: &mut Vec<u8>, missing: &[Span]) {
    if missing.is_empty() {
        return;
    }
    let newest = &missing[missing.len().saturating_sub(MISSING_MAX)..];
    for (at, span) in newest.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b",\"missing\":[[" } else { b",[" });
        out.extend_from_slice(format!("{},{}]", span.first.0, span.last.0).as_bytes());
    }
    out.push(b']');
}

fn write_end(out: &mut Vec<u8>, id: Option<&str>) {
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(id.as_bytes());
    }
    out.push(b'}');
    debug_assert!(out.len() <= SERVER_MESSAGE_BYTES_MAX);
}

fn write_current_time(out: &mut Vec<u8>, now: Now) {
    let mut text = [0; RFC3339_BYTES];
    let length = write_rfc3339(now.unix_us, 6, &mut text);
    out.extend_from_slice(&text[..length]);
}

/// The part of a sentence that fits into a message.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

/// Pairs of `missing` at most. Source: 30 bytes each, so 2 kB.
const MISSING_MAX: usize = 64;

/// Bytes of a list of symbols at most. Source: the rest of the message fits too, as asserted below.
const SYMBOLS_BYTES_MAX: usize = 43_000;

/// Bytes of a sentence at most, ours or the exchange's. Source: a few lines of a terminal; escaped,
/// it may be six times as long.
const MESSAGE_BYTES_MAX: usize = 800;

/// Bytes of a subscription with one symbol, at most.
const SHOWN_BYTES_MAX: usize = 1_024;

const _: () = assert!(
    SYMBOLS_BYTES_MAX + 3 * 6 * MESSAGE_BYTES_MAX < SERVER_MESSAGE_BYTES_MAX,
    "an error names either many symbols or what one misses"
);
const _: () = assert!(SERVER_MESSAGE_BYTES_MAX < CLIENT_MESSAGE_BYTES_MAX, "what we send, we read");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Venue;
    use serde_json::Value;

    fn json(write: impl FnOnce(&mut Vec<u8>)) -> Value {
        let mut out = Vec::new();
        write(&mut out);
        assert!(out.len() <= SERVER_MESSAGE_BYTES_MAX, "{}", out.len());
        assert!(!out.contains(&b'\n'));
        serde_json::from_slice(&out).unwrap()
    }

    fn spot() -> Market {
        Market::find(Venue::Binance, "spot").unwrap()
    }

    fn shown<'a>(symbols: &'a [&'a str]) -> Shown<'a> {
        let (interval, origin) = (Interval::M5, CandleSource::Exchange);
        Shown {
            word: None,
            market: spot(),
            interval,
            origin,
            symbols,
            limit: 3,
            remaining: None,
            closed_only: false,
            mark: false,
            basic: false,
        }
    }

    #[test]
    fn an_error_has_only_the_fields_it_needs() {
        let refusal = Refusal::field("missing_field", "exchange", "a\n\"b\"".to_owned());
        let value = json(|out| write_error(out, &refusal));
        let expected = serde_json::json!({
            "type": "error", "message": "a\n\"b\"", "system_message": "a\n\"b\"",
            "code": "missing_field", "field": "exchange"
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn what_is_too_long_is_shortened_and_counted() {
        let symbols = vec!["ABCDEFGHIJKLMNOPQRSTUVWX"; 4096];
        let value = json(|out| write_subscribed(out, &shown(&symbols), Some("1")));
        let written = value["symbols"].as_array().unwrap().len();
        assert_eq!(value["symbols_omitted"], 4096 - written);
        assert_eq!(value["id"], 1);
        let list = json(|out| {
            let mut list = ListWriter::new(out);
            list.push(&shown(&symbols[..1000]));
            list.push(&shown(&symbols));
            (0..9).for_each(|_| list.push(&shown(&symbols)));
            list.finish(None);
        });
        let listed = list["subscriptions"].as_array().unwrap().len();
        assert_eq!(list["subscriptions_omitted"], 11 - listed);
        let long = "\u{1}".repeat(100_000);
        let refusal = Refusal {
            exchange_message: Some(long.clone()),
            symbols: vec!["ABCDEFGHIJKLMNOPQRSTUVWX".to_owned(); 4096],
            ..*Refusal::new("x", long)
        };
        json(|out| write_error(out, &refusal));
    }

    #[test]
    fn a_list_of_many_small_subscriptions_fits() {
        let list = json(|out| {
            let mut list = ListWriter::new(out);
            (0..2000).for_each(|_| list.push(&shown(&["BTCUSDT"])));
            list.finish(Some("\"x\""));
        });
        assert!(list["subscriptions"].as_array().unwrap().len() > 100);
        assert_eq!(list["subscriptions"][0]["symbols"][0], "BTCUSDT");
        assert_eq!(list["subscriptions"][0]["source"], "exchange");
    }

    #[test]
    fn a_pong_and_a_notice_tell_the_time() {
        assert_eq!(json(|out| write_pong(out, Now::default(), Some("4")))["id"], 4);
        let notice = json(|out| write_notice(out, "draining", "bye", None, Now::default()));
        assert_eq!(notice["current_time"], "1970-01-01T00:00:00.000000+00:00");
        let none = json(|out| write_unsubscribed(out, None, None, &["A"], None));
        assert_eq!(none, serde_json::json!({"type": "unsubscribed", "symbols": ["A"]}));
    }
}
