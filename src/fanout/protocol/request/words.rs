//! The texts that reject a bad request: which field, what is wrong with it, what would be right.
//! Decides nothing.

use simd_json::prelude::*;
use simd_json::tape::Value;

use crate::fanout::protocol::encode::write_string;
use crate::fanout::protocol::messages::Refusal;
use crate::fanout::protocol::request::meant::did_you_mean;
use crate::limits::SYMBOL_BYTES_MAX;
use crate::market::{Interval, Market, Venue, spelled};

pub(crate) fn interval_names(intervals: &[Interval]) -> String {
    let names: Vec<&str> = intervals.iter().copied().map(Interval::name).collect();
    names.join(", ")
}

pub(crate) fn not_offered(market: Market, interval: Interval) -> Box<Refusal> {
    let message = format!(
        "{market} makes no candles of \"interval\" {}; its own are {}; without \"source\" others are \
         derived from its minutes",
        interval.name(),
        interval_names(market.row().intervals)
    );
    Refusal::field("interval_not_offered", "interval", message)
}

pub(crate) fn invalid_symbol(market: Market, text: &str) -> Box<Refusal> {
    let elsewhere = Market::default_of(market.venue(), text).filter(|other| *other != market);
    let message = match elsewhere {
        // Only OKX's spelling shows the contract type.
        Some(other) if market.venue() == Venue::Okx => format!(
            "{} in \"symbols\" is no symbol of {market} but of {other}; send it with \
             \"contract_type\":\"{}\"",
            quoted(text),
            other.contract_type().name()
        ),
        _ => format!(
            "{} in \"symbols\" can be no symbol of {market}: {}right are 1 to {SYMBOL_BYTES_MAX} bytes, \
             letters, digits and {}, {}{}",
            quoted(text),
            foreign(market, text),
            spaced(market.symbol_signs()),
            spelling(market.venue()),
            did_you_mean(text, spelled::symbol(market, text))
        ),
    };
    symbol_refusal(text, message)
}

/// What is wrong with `text`, if one of its characters is.
fn foreign(market: Market, text: &str) -> String {
    let foreign = text.chars().find(|&c| !market.is_symbol_char(c));
    foreign.map_or(String::new(), |c| {
        let shown = c.to_string();
        let several = if c.is_whitespace() { ", and several have commas between them" } else { "" };
        format!("none has {} in it{several}; ", quoted(&shown))
    })
}

/// `_ - .` of `_-.`.
fn spaced(signs: &str) -> String {
    signs.chars().map(String::from).collect::<Vec<_>>().join(" ")
}

/// The error for a symbol with a spelling that shows no contract type.
pub(crate) fn strange(venue: Venue, text: &str) -> Box<Refusal> {
    let mut meant = Vec::new();
    for symbol in Market::of(venue).filter_map(|market| spelled::symbol(market, text)) {
        if !meant.contains(&symbol) {
            meant.push(symbol);
        }
    }
    let message = format!(
        "{} in \"symbols\" can be no symbol of {}: right are some {}{}",
        quoted(text),
        venue.name(),
        spelling(venue),
        did_you_mean(text, meant)
    );
    symbol_refusal(text, message)
}

fn symbol_refusal(text: &str, message: String) -> Box<Refusal> {
    let mut refusal = Refusal::field("invalid_symbol", "symbols", message);
    refusal.symbols.push(cut(text).to_owned());
    refusal
}

/// How the venue spells its symbols.
fn spelling(venue: Venue) -> &'static str {
    match venue {
        Venue::Binance | Venue::Bybit => "such as BTCUSDT",
        Venue::Okx => "such as BTC-USDT, BTC-USDT-SWAP or BTC-USD-261225",
        Venue::Gateio => "such as BTC_USDT",
        Venue::Hyperliquid => "with its own case, such as BTC, kPEPE, @107, PURR/USDC or xyz:NAME",
    }
}

/// What `symbols` must be.
pub(crate) fn symbols_right(venue: Venue) -> &'static str {
    match venue {
        Venue::Binance | Venue::Bybit => "an array of strings such as [\"BTCUSDT\"]",
        Venue::Okx => "an array of strings such as [\"BTC-USDT\"]",
        Venue::Gateio => "an array of strings such as [\"BTC_USDT\"]",
        Venue::Hyperliquid => "an array of strings such as [\"BTC\"]",
    }
}

/// The error for the first number that no field can take, since parsers stop at it. Only for
/// messages that our parser takes for invalid JSON.
pub(crate) fn too_large_number(text: &[u8]) -> Option<Box<Refusal>> {
    let text = str::from_utf8(text).ok()?;
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(':') {
        rest = behind;
        let value = behind.trim_start();
        let is_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        let number = &value[..value.find(|c| !is_number(c)).unwrap_or(value.len())];
        let is_too_large = number.parse::<f64>().is_ok_and(|number| number.abs() >= TOO_LARGE);
        let name = before.trim_end().strip_suffix('"').and_then(|name| name.rsplit('"').next());
        let field = NUMBERS.into_iter().find(|(field, _)| Some(*field) == name);
        if let (true, Some((field, range))) = (is_too_large, field) {
            let message = format!("\"{field}\" is out of range; right is {range}");
            return Some(Refusal::field("wrong_type", field, message));
        }
    }
    None
}

/// The fields that are numbers, and their ranges.
const NUMBERS: [(&str, &str); 4] = [
    ("limit", "an integer from 0 (without end) to 18446744073709551615"),
    ("history", "an integer from 0 to CONNECTOR_HISTORY_CANDLES, at most 1440"),
    ("since", "an open time in ms since 1970, from 0 to 9223372036854775807"),
    ("id", "an integer from -9223372036854775808 to 18446744073709551615, or a string"),
];

/// 2^64: all our integers are below it.
const TOO_LARGE: f64 = 18_446_744_073_709_551_616.0;

/// Why a message is not JSON, if a reason is known.
pub(crate) fn why_no_json(text: &[u8]) -> &'static str {
    let zeros = text.iter().filter(|byte| **byte == 0).count();
    match text {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            ": it begins with the byte order mark of UTF-16, which is not read, only UTF-8"
        }
        _ if zeros > 0 && zeros * 3 > text.len() => ": it is UTF-16, which is not read, only UTF-8",
        _ if zeros > 0 => ": a NUL byte is in it",
        _ if text.trim_ascii().is_empty() => ": it is empty",
        _ if text.trim_ascii().starts_with(b"{'") => ": JSON has double quotes, not single ones",
        _ => "",
    }
}

pub(crate) fn missing(field: &'static str, right: &str) -> Box<Refusal> {
    Refusal::field("missing_field", field, format!("\"{field}\" is missing; {right}"))
}

pub(crate) fn wrong_type(field: &'static str, right: &str) -> Box<Refusal> {
    Refusal::field("wrong_type", field, format!("\"{field}\" must be {right}"))
}

pub(crate) fn venue_names() -> String {
    Venue::ALL.map(Venue::name).join(", ")
}

/// `spot, usdm (or um), coinm (or cm)`.
pub(crate) fn contract_types(venue: Venue) -> String {
    let names = Market::of(venue).map(|market| {
        let row = market.row();
        match row.aliases {
            [] => row.contract_type.name().to_owned(),
            aliases => format!("{} (or {})", row.contract_type.name(), aliases.join(", ")),
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

/// The part of the client's own text that an answer repeats.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]
}

pub(crate) fn quoted(text: &str) -> String {
    quoted_whole(cut(text))
}

pub(crate) fn quoted_whole(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

pub(crate) fn shown(value: &Value<'_, '_>) -> Option<String> {
    value.as_str().map(|text| cut(text).to_owned())
}

/// Bytes of the client's own text that an answer repeats. Source: as long as
/// the longest symbol.
const SHOWN_BYTES_MAX: usize = 64;
