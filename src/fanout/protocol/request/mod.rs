//! The requests of clients. Owns the fields of a request, their defaults, and the errors about
//! them; carries out nothing.

mod meant;
mod symbols;
mod words;

use std::fmt::Write;
use std::sync::Arc;

use arrayvec::ArrayVec;

use simd_json::prelude::*;
use simd_json::tape::Value;

use crate::clock::UnixMs;
use crate::fanout::clients::access::TokenDigest;
use crate::fanout::protocol::candle_source::{CandleSource, HistoryRequest};
use crate::fanout::protocol::encode::Spelling;
use crate::fanout::protocol::messages::Refusal;
use crate::limits::{REQUEST_ID_BYTES_MAX, SYMBOL_BYTES_MAX};
use crate::market::{Instrument, Interval, Market, Venue, spelled};
use meant::did_you_mean;
use symbols::{is_all, read_names, texts};
use words::{
    contract_types, cut, interval_names, missing, not_offered, quoted, quoted_whole, shown,
    strange, symbols_right, too_large_number, venue_names, why_no_json, wrong_type,
};

/// A valid request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The client's `id` as JSON, for every answer.
    pub(crate) id: Option<String>,
    /// Whether it names an `op`, which clients of the Python connector never do.
    pub(crate) names_op: bool,
    /// What it asks for.
    pub(crate) op: Op,
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Send quotes of these symbols.
    Subscribe(Wanted),
    /// Stop the quotes of these symbols (`None`: of any), in this market (`None`: in any).
    Unsubscribe {
        /// `None`: everything the client has subscribed.
        market: Option<Market>,
        /// The contract type as the client wrote it, as in [`Wanted`].
        word: Option<Arc<str>>,
        /// `None`: every symbol of the market.
        names: Option<Vec<Name>>,
        /// `None`: any length.
        interval: Option<Interval>,
        /// `None`: any source.
        origin: Option<CandleSource>,
    },
    /// List the subscriptions.
    List,
    /// Answer with `pong`.
    Ping,
    /// Check the client's token.
    Auth(TokenDigest),
}

/// A symbol in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// The market. On OKX the symbol's spelling shows it.
    pub(crate) market: Market,
    /// Canonical.
    pub(crate) symbol: String,
    /// The client's own spelling of symbol and contract type, if answers must repeat it.
    pub(crate) spelling: Option<Spelling>,
}

impl Name {
    /// The symbol as the client wrote it.
    pub(crate) fn shown(&self) -> &str {
        self.spelling.as_ref().map_or(&self.symbol, |spelling| &spelling.symbol)
    }

    /// The series of its candles of `interval`.
    pub(crate) fn instrument(&self, interval: Interval) -> Instrument {
        Instrument { market: self.market, symbol: self.symbol.as_str().into(), interval }
    }

    /// The same, without a spelling that equals our own.
    pub(crate) fn without_own_spelling(mut self) -> Self {
        let contract_type = self.market.contract_type().name();
        self.spelling = self.spelling.filter(|spelling| {
            *spelling.symbol != *self.symbol || &*spelling.contract_type != contract_type
        });
        self
    }
}

/// A requested subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The market; of several markets that of the first symbol.
    pub(crate) market: Market,
    /// The contract type as the client wrote it, if answers must repeat it.
    pub(crate) word: Option<Arc<str>>,
    /// The length of the candles.
    pub(crate) interval: Interval,
    /// What makes the candles.
    pub(crate) origin: CandleSource,
    /// Each once, in the order of the request, at least one; `None`: all that are streamed.
    pub(crate) names: Option<Vec<Name>>,
    /// The error for the other symbols, which cannot exist at this exchange.
    pub(crate) impossible: Option<Box<Refusal>>,
    /// Quotes that the subscription ends after; 0: it does not end.
    pub(crate) limit: u64,
    /// Whether open candles are left out.
    pub(crate) closed_only: bool,
    /// Whether the client receives the ends of intervals.
    pub(crate) mark: bool,
    /// Whether its quotes have only the fields of the Python connector.
    pub(crate) basic: bool,
    /// The history that is wanted before the live candles.
    pub(crate) past: Option<HistoryRequest>,
}

impl Wanted {
    fn has_several_markets(&self) -> bool {
        self.names.iter().flatten().any(|name| name.market != self.market)
    }

    /// The length of the candles that the exchange is asked for.
    pub(crate) fn asked(&self) -> Interval {
        match self.origin {
            CandleSource::Exchange => self.interval,
            CandleSource::Derived => Interval::M1,
        }
    }
}

/// Reads one message: JSON in UTF-8, with or without a byte order mark, or the bare word `ping`.
/// The parser overwrites `text`.
///
/// # Errors
/// The error for the client.
pub(crate) fn parse(text: &mut [u8]) -> Result<Request, Box<Refusal>> {
    let text = match text {
        [0xef, 0xbb, 0xbf, text @ ..] => text,
        text => text,
    };
    if text.trim_ascii().eq_ignore_ascii_case(b"ping") {
        return Ok(Request { id: None, names_op: true, op: Op::Ping });
    }
    // Before the parser overwrites the text.
    let why = why_no_json(text);
    let too_large = too_large_number(text);
    let tape = simd_json::to_tape(text).map_err(|_| {
        too_large.unwrap_or_else(|| {
            let message = format!("the message is not valid JSON{why}; send {EXAMPLE}");
            Refusal::new("invalid_json", message)
        })
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
    let names_op = fields.op.is_some();
    let id = fields.id().map_err(|refusal| Box::new(Refusal { names_op, ..*refusal }))?;
    match fields.op() {
        Ok(op) => Ok(Request { id, names_op, op }),
        Err(refusal) => Err(Box::new(Refusal {
            id,
            names_op,
            exchange: fields.exchange.and_then(|value| shown(&value)),
            contract_type: fields.contract_type.and_then(|value| shown(&value)),
            ..*refusal
        })),
    }
}

/// The fields that a request may have; `null` counts as absent. Unknown fields are ignored unless
/// they look like slips of known ones. Of two fields with one name the last counts.
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
    fields: Option<Value<'tape, 'text>>,
    token: Option<Value<'tape, 'text>>,
    /// The first of the unknown fields.
    unknown: ArrayVec<&'text str, UNKNOWN_FIELDS_MAX>,
}

impl<'tape, 'text> Fields<'tape, 'text> {
    fn put(&mut self, name: &'text str, value: Value<'tape, 'text>) {
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
            "fields" => &mut self.fields,
            "token" => &mut self.token,
            unknown => {
                let _too_many = self.unknown.try_push(unknown);
                return;
            }
        };
        *field = if value.is_null() { None } else { Some(value) };
    }

    fn op(&self) -> Result<Op, Box<Refusal>> {
        self.no_slips()?;
        let Some(value) = &self.op else { return self.subscribe() };
        let ops = OP_NAMES.join(", ");
        let Some(asked) = value.as_str() else {
            return Err(wrong_type("op", &format!("a string, one of: {ops}")));
        };
        match &*asked.trim().to_ascii_lowercase() {
            "subscribe" => self.subscribe(),
            "unsubscribe" => self.unsubscribe(),
            "list" => Ok(Op::List),
            "ping" => Ok(Op::Ping),
            "auth" => self.auth(),
            _ => Err(Refusal::field("unknown_op", "op", {
                let meant = did_you_mean(asked, meant::op(asked).map(str::to_owned));
                format!("unknown \"op\" {}; allowed: {ops}{meant}", quoted(asked))
            })),
        }
    }

    fn subscribe(&self) -> Result<Op, Box<Refusal>> {
        let Some(exchange) = &self.exchange else {
            return Err(self.missing("exchange", &format!("allowed: {}", venue_names())));
        };
        let venue = read_venue(exchange)?;
        let market = self.market(venue)?;
        let word = self.word(market)?;
        let Some(symbols) = &self.symbols else {
            return Err(self.missing("symbols", symbols_right(venue)));
        };
        let (names, impossible) = match is_all(symbols) {
            true => (None, None),
            false => {
                let (names, impossible) = read_names(market, word.as_ref(), symbols)?;
                (Some(names), impossible)
            }
        };
        let (interval, origin) = self.candles(market)?;
        let past = self.past()?;
        let limit = self.limit.as_ref().map_or(Ok(0), read_limit)?;
        let closed_only = read_bool("closed_only", self.closed_only.as_ref())?;
        let mark = read_bool("mark", self.mark.as_ref())?;
        let basic = self.fields.as_ref().map_or(Ok(false), read_fields)?;
        if basic && past.is_some() {
            let message = "\"fields\": \"basic\" has no open time, which \"history\" and \"since\" \
                           need; leave one of them out";
            return Err(Refusal::field("basic_without_past", "fields", message.to_owned()));
        }
        let wanted = Wanted {
            market,
            word,
            interval,
            origin,
            names,
            impossible,
            limit,
            closed_only,
            mark,
            basic,
            past,
        };
        if wanted.mark && wanted.has_several_markets() {
            let message = "\"mark\": \"symbols\" are of several contract types, which end each by \
                           itself; send one request for each";
            return Err(Refusal::field("mixed_contract_types", "mark", message.to_owned()));
        }
        Ok(Op::Subscribe(wanted))
    }

    /// The length of the candles, and what makes them.
    fn candles(&self, market: Market) -> Result<(Interval, CandleSource), Box<Refusal>> {
        let interval = self.interval.as_ref().map_or(Ok(Interval::default()), read_interval)?;
        let origin = self.source.as_ref().map(read_origin).transpose()?;
        let origin = origin.unwrap_or(CandleSource::default_of(interval));
        match origin {
            CandleSource::Derived if interval == Interval::M1 => {
                let message = "\"source\": minutes are the exchange's own, others are derived from \
                               them; leave it out, or ask for a longer \"interval\"";
                Err(Refusal::field("not_derived", "source", message.to_owned()))
            }
            CandleSource::Exchange if !market.has_own(interval) => {
                Err(not_offered(market, interval))
            }
            _ => Ok((interval, origin)),
        }
    }

    fn unsubscribe(&self) -> Result<Op, Box<Refusal>> {
        let interval = self.interval.as_ref().map(read_interval).transpose()?;
        let origin = self.source.as_ref().map(read_origin).transpose()?;
        let Some(exchange) = &self.exchange else {
            if self.contract_type.is_none() && self.symbols.is_none() {
                let (market, word, names) = (None, None, None);
                return Ok(Op::Unsubscribe { market, word, names, interval, origin });
            }
            return Err(self.missing("exchange", &format!("allowed: {}", venue_names())));
        };
        let market = self.market(read_venue(exchange)?)?;
        let named = self.symbols.as_ref().filter(|value| !is_all(value));
        let word = self.word(market)?;
        let names = named.map(|value| read_names(market, word.as_ref(), value)).transpose()?;
        // An impossible symbol is not subscribed.
        let names = names.map(|(names, _)| names);
        Ok(Op::Unsubscribe { market: Some(market), word, names, interval, origin })
    }

    /// Reads the token. Only its digest leaves this function.
    fn auth(&self) -> Result<Op, Box<Refusal>> {
        let right = "a string, the token";
        let Some(value) = &self.token else { return Err(self.missing("token", right)) };
        let token = value.as_str().ok_or_else(|| wrong_type("token", right))?;
        Ok(Op::Auth(TokenDigest::of(token.as_bytes())))
    }

    /// The market in the request, otherwise the venue's default. On OKX the spelling of the symbols
    /// decides, and the first symbol with a known spelling counts.
    fn market(&self, venue: Venue) -> Result<Market, Box<Refusal>> {
        let names_all = self.symbols.as_ref().is_none_or(is_all);
        if let Some(contract_type) = &self.contract_type
            && (venue != Venue::Okx || names_all)
        {
            return read_market(venue, contract_type).map_err(|mut refusal| {
                if venue == Venue::Okx {
                    refusal.message.push_str("; with symbols their spelling says it");
                }
                refusal
            });
        }
        let missing =
            || self.missing("contract_type", &format!("allowed: {}", contract_types(venue)));
        let symbols = match &self.symbols {
            Some(symbols) if !is_all(symbols) => texts(symbols)?,
            _ => Vec::new(),
        };
        match symbols.first() {
            None => Market::default_of(venue, "").ok_or_else(missing),
            Some(_) if venue == Venue::Binance => Err(missing()),
            Some(first) => {
                let found = symbols.iter().find_map(|symbol| Market::default_of(venue, symbol));
                found.ok_or_else(|| {
                    let symbols = symbols.iter().map(|symbol| cut(symbol).to_owned()).collect();
                    Box::new(Refusal { symbols, ..*strange(venue, first) })
                })
            }
        }
    }

    /// The contract type as the client wrote it, if answers must repeat it: on OKX, as the Python
    /// connector does.
    fn word(&self, market: Market) -> Result<Option<Arc<str>>, Box<Refusal>> {
        let Some(value) = self.contract_type.as_ref().filter(|_| market.venue() == Venue::Okx)
        else {
            return Ok(None);
        };
        let right = format!("a string of at most {SYMBOL_BYTES_MAX} bytes such as swap");
        let word = value.as_str().filter(|word| word.len() <= SYMBOL_BYTES_MAX);
        word.map(|word| Some(word.into())).ok_or_else(|| wrong_type("contract_type", &right))
    }

    /// Rejects a request with a misspelt optional field: without that field the request would do
    /// something else, unnoticed.
    fn no_slips(&self) -> Result<(), Box<Refusal>> {
        let may_lack: [(&'static str, bool); 9] = [
            ("op", self.op.is_some()),
            ("limit", self.limit.is_some()),
            ("interval", self.interval.is_some()),
            ("source", self.source.is_some()),
            ("history", self.history.is_some()),
            ("since", self.since.is_some()),
            ("closed_only", self.closed_only.is_some()),
            ("mark", self.mark.is_some()),
            ("fields", self.fields.is_some()),
        ];
        for (field, _) in may_lack.into_iter().filter(|(_, is_there)| !is_there) {
            if let Some(other) = self.unknown.iter().find(|name| meant::is_field(name, field)) {
                let message = format!("{} is no field, \"{field}\" is", quoted(other));
                return Err(Refusal::field("unknown_field", field, message));
            }
        }
        Ok(())
    }

    /// The error for a missing field, with the unknown field that may be meant for it.
    fn missing(&self, field: &'static str, right: &str) -> Box<Refusal> {
        let mut refusal = missing(field, right);
        if let Some(other) = self.unknown.iter().find(|name| meant::is_field(name, field)) {
            write!(refusal.message, "; {} is no field, \"{field}\" is", quoted(other))
                .expect("a String takes every write");
        }
        refusal
    }

    fn past(&self) -> Result<Option<HistoryRequest>, Box<Refusal>> {
        let history = self.history.as_ref().map(|value| {
            read_natural("history", value, "an integer, 0 or more: how many closed candles")
        });
        let history = history.transpose()?.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let since = self.since.as_ref().map(read_since).transpose()?;
        match (history.filter(|&count| count > 0), since) {
            (None, None) => Ok(None),
            (Some(count), None) => {
                Ok(Some(HistoryRequest::Last(u32::try_from(count).unwrap_or(u32::MAX))))
            }
            (None, Some(since)) => Ok(Some(HistoryRequest::Since(UnixMs(since)))),
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
        let number = number.or_else(|| natural(value).map(|number| number.to_string()));
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
    Venue::from_name(name.trim()).ok_or_else(|| {
        let meant = match meant::exchange(name) {
            Some((venue, Some(market))) => format!(
                "; did you mean \"{}\" with \"contract_type\":\"{}\"?",
                venue.name(),
                market.contract_type().name()
            ),
            meant => did_you_mean(name, meant.map(|(venue, _)| venue.name().to_owned())),
        };
        let allowed = venue_names();
        let message = format!("unknown exchange {}; allowed: {allowed}{meant}", quoted(name));
        Refusal::field("unknown_exchange", "exchange", message)
    })
}

fn read_market(venue: Venue, value: &Value<'_, '_>) -> Result<Market, Box<Refusal>> {
    let allowed = contract_types(venue);
    let Some(name) = value.as_str() else {
        return Err(wrong_type("contract_type", &format!("a string, one of: {allowed}")));
    };
    Market::find(venue, name.trim()).ok_or_else(|| {
        let meant = meant::contract_types(venue, name).into_iter();
        let meant =
            did_you_mean(name, meant.map(|market| market.contract_type().name().to_owned()));
        let (name, venue) = (quoted(name), venue.name());
        let message =
            format!("unknown contract_type {name} for {venue}; allowed: {allowed}{meant}");
        Refusal::field("unknown_contract_type", "contract_type", message)
    })
}

/// A number without a fraction, even if it is written as `3.0` or `1.7e12`.
fn natural(value: &Value<'_, '_>) -> Option<u64> {
    let whole = || {
        let number = value.as_f64().filter(|number| (0.0..=EXACT_MAX).contains(number))?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        (number.fract() == 0.0).then_some(number as u64)
    };
    value.as_u64().or_else(whole)
}

fn read_natural(
    field: &'static str,
    value: &Value<'_, '_>,
    right: &str,
) -> Result<u64, Box<Refusal>> {
    natural(value).ok_or_else(|| {
        let text = value.as_str().map(str::trim);
        match text.filter(|text| text.parse::<u64>().is_ok()) {
            Some(text) => {
                let text = cut(text);
                let right = format!("{right}; send it without quotes: \"{field}\":{text}");
                wrong_type(field, &right)
            }
            None => wrong_type(field, right),
        }
    })
}

fn read_since(value: &Value<'_, '_>) -> Result<i64, Box<Refusal>> {
    let right = "an open time in ms since 1970";
    if value.as_str().is_some_and(|text| text.contains(['-', ':', 'T'])) {
        let right = format!("{right} and no date; in Python: int(time.timestamp() * 1000)");
        return Err(wrong_type("since", &right));
    }
    let since = i64::try_from(read_natural("since", value, right)?).unwrap_or(i64::MAX);
    if let Some((ms, unit)) = meant::since_ms(since) {
        let right = format!("{right}; {since} looks like {unit}: send \"since\":{ms}");
        return Err(wrong_type("since", &right));
    }
    Ok(since)
}

fn read_bool(field: &'static str, value: Option<&Value<'_, '_>>) -> Result<bool, Box<Refusal>> {
    let Some(value) = value else { return Ok(false) };
    value.as_bool().ok_or_else(|| wrong_type(field, "true or false"))
}

fn read_interval(value: &Value<'_, '_>) -> Result<Interval, Box<Refusal>> {
    let names = interval_names(Interval::SERVED);
    let meant = |asked: &str| {
        let meant = spelled::intervals(asked).into_iter().map(|one| one.name().to_owned());
        did_you_mean(asked, meant)
    };
    let Some(name) = value.as_str() else {
        let meant = natural(value).map_or(String::new(), |number| meant(&number.to_string()));
        return Err(wrong_type("interval", &format!("a string, one of: {names}{meant}")));
    };
    let served = Interval::from_name(name.trim());
    let served = served.filter(|interval| Interval::SERVED.contains(interval));
    served.ok_or_else(|| {
        let meant = match spelled::is_month(name) {
            true => "; M is a month, a minute is \"1m\"".to_owned(),
            false => meant(name),
        };
        let message = format!("unknown interval {}; allowed: {names}{meant}", quoted(name));
        Refusal::field("unknown_interval", "interval", message)
    })
}

fn read_origin(value: &Value<'_, '_>) -> Result<CandleSource, Box<Refusal>> {
    let names = CandleSource::ALL.map(CandleSource::name).join(", ");
    let Some(name) = value.as_str() else {
        return Err(wrong_type("source", &format!("a string, one of: {names}")));
    };
    let asked = name.trim().to_ascii_lowercase();
    CandleSource::ALL.into_iter().find(|origin| origin.name() == asked).ok_or_else(|| {
        let message = format!("unknown \"source\" {}; allowed: {names}", quoted(name));
        Refusal::field("unknown_source", "source", message)
    })
}

/// Returns whether the client wants only the fields of the Python connector.
fn read_fields(value: &Value<'_, '_>) -> Result<bool, Box<Refusal>> {
    let Some(asked) = value.as_str() else {
        return Err(wrong_type("fields", "a string, one of: all, basic"));
    };
    match &*asked.trim().to_ascii_lowercase() {
        "basic" => Ok(true),
        "all" => Ok(false),
        _ => {
            let message = format!("unknown \"fields\" {}; allowed: all, basic", quoted(asked));
            Err(Refusal::field("unknown_fields", "fields", message))
        }
    }
}

fn read_limit(value: &Value<'_, '_>) -> Result<u64, Box<Refusal>> {
    read_natural("limit", value, "an integer, 0 or more (0: without end)")
}

/// The valid values of `op`.
const OP_NAMES: [&str; 5] = ["subscribe", "unsubscribe", "list", "ping", "auth"];

/// Unknown fields that are kept for a hint. Source: a request with more is not a slip.
const UNKNOWN_FIELDS_MAX: usize = 8;

/// 2^53: up to here every whole number is exact as a float.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

const EXAMPLE: &str =
    r#"one object such as {"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]}"#;

#[cfg(test)]
mod tests;
