//! The symbols of a request: each is read, and impossible ones are rejected without the others.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use simd_json::prelude::*;
use simd_json::tape::Value;

use crate::fanout::protocol::encode::Spelling;
use crate::fanout::protocol::messages::Refusal;
use crate::fanout::protocol::request::Name;
use crate::fanout::protocol::request::words::{invalid_symbol, strange, wrong_type};
use crate::limits::REQUEST_SYMBOLS_MAX;
use crate::market::{Market, Venue};

/// The symbols as given: a string or an array of strings. One string may hold several symbols with
/// commas between them.
pub(crate) fn texts<'text>(value: &Value<'_, 'text>) -> Result<Vec<&'text str>, Box<Refusal>> {
    let is_wrong = || wrong_type("symbols", "an array of strings such as [\"BTCUSDT\"]");
    let given = match (value.into_string(), value.as_array()) {
        (Some(one), _) => vec![one],
        (None, Some(many)) => {
            let texts = many.iter().map(|symbol| symbol.into_string());
            texts.collect::<Option<_>>().ok_or_else(is_wrong)?
        }
        (None, None) => return Err(is_wrong()),
    };
    let split = |text: &'text str| {
        let parts = text.split([',', ';']).map(str::trim).filter(|part| !part.is_empty());
        let is_blank = parts.clone().next().is_none();
        parts.chain(is_blank.then_some(text))
    };
    Ok(given.into_iter().flat_map(split).collect())
}

/// Returns whether the request wants everything that is streamed: `["*"]`.
pub(crate) fn is_all(value: &Value<'_, '_>) -> bool {
    texts(value).is_ok_and(|texts| texts == ["*"])
}

/// Possible symbols, and the error for the impossible ones.
type Names = (Vec<Name>, Option<Box<Refusal>>);

/// The symbols with their markets, each once per spelling, at least one; and the error for the
/// impossible symbols. The possible ones are served.
pub(crate) fn read_names(
    market: Market,
    word: Option<&Arc<str>>,
    value: &Value<'_, '_>,
) -> Result<Names, Box<Refusal>> {
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
    let mut seen = HashSet::new();
    let mut names = Vec::with_capacity(given.len());
    let mut impossible: Option<Box<Refusal>> = None;
    for text in given {
        let name = match (read_name(market, word, text), &mut impossible) {
            (Ok(name), _) => name,
            (Err(refusal), None) => {
                let mut refusal = refusal.about(market);
                if let Some(word) = word {
                    refusal.contract_type = Some(word.to_string());
                }
                impossible = Some(refusal);
                continue;
            }
            (Err(mut refusal), Some(first)) => {
                first.symbols.append(&mut refusal.symbols);
                continue;
            }
        };
        if seen.insert((name.symbol.clone(), name.spelling.as_ref().map(|own| own.symbol.clone())))
        {
            names.push(name);
        }
    }
    if let Some(first) = &mut impossible
        && let others @ 1.. = first.symbols.len() - 1
    {
        write!(first.message, "; nor can {others} others").expect("a String takes every write");
    }
    match impossible {
        Some(refusal) if names.is_empty() => Err(refusal),
        impossible => Ok((names, impossible)),
    }
}

fn read_name(market: Market, word: Option<&Arc<str>>, text: &str) -> Result<Name, Box<Refusal>> {
    let market = match market.venue() {
        Venue::Okx => {
            Market::default_of(Venue::Okx, text).ok_or_else(|| strange(Venue::Okx, text))?
        }
        _ => market,
    };
    let symbol = market.canonical_symbol(text).ok_or_else(|| invalid_symbol(market, text))?;
    let (own, contract_type) = (market.meant_by(&symbol), market.contract_type().name());
    let contract_type = word.cloned().unwrap_or_else(|| contract_type.into());
    let spelling = Spelling::new(&symbol, contract_type);
    let symbol = own.unwrap_or(symbol);
    Ok(Name { market, symbol, spelling: Some(spelling) }.without_own_spelling())
}
