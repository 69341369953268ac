//! The list of one market: its symbols, whether they trade, and the symbols nearest to a misspelt
//! one. Owns the comparison of spellings; does not fetch the list.

use std::collections::HashMap;

use super::decimal::Decimal;

/// One symbol of an exchange's instrument list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The venue's canonical spelling, by which it is subscribed.
    pub symbol: String,
    /// The exchange's word for its state if it does not trade (`BREAK`, `suspend`, …).
    pub halted: Option<String>,
    /// The name that people use, if it is another one (Hyperliquid: `HYPE/USDC` for `@107`).
    pub known_as: Option<String>,
    /// How much of the base asset one contract is, if candles count contracts and clients get the
    /// base amount (Gate).
    pub contract_size: Option<Decimal>,
}

impl Listed {
    /// A symbol that trades.
    pub fn new(symbol: impl Into<String>) -> Self {
        Self { symbol: symbol.into(), halted: None, known_as: None, contract_size: None }
    }
}

/// Every symbol of one market at one time, as far as the list was read. Never changes; a newer list
/// replaces it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolList {
    listed: Vec<Listed>,
    by_symbol: HashMap<String, usize>,
    /// Whether main pages are missing.
    is_cut: bool,
    /// The names of the list's parts, and whether each was read. `None` if it has no parts, or if
    /// they are unknown.
    parts: Option<HashMap<String, bool>>,
}

impl SymbolList {
    /// The list of `listed`. Of a repeated symbol the first entry counts.
    pub fn new(listed: Vec<Listed>) -> Self {
        let mut by_symbol = HashMap::with_capacity(listed.len());
        for (index, one) in listed.iter().enumerate() {
            by_symbol.entry(one.symbol.clone()).or_insert(index);
        }
        Self { listed, by_symbol, is_cut: false, parts: None }
    }

    /// The same list with these parts and whether each was read, if they are known. Main pages are
    /// missing if `is_cut`.
    pub fn with_parts(self, is_cut: bool, parts: Option<HashMap<String, bool>>) -> Self {
        Self { is_cut, parts, ..self }
    }

    /// Returns whether main pages are missing.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Returns whether the list shows that there is no `symbol`. The symbol would be in `part` of
    /// the list; for `None`, in its main pages.
    pub fn lacks(&self, symbol: &str, part: Option<&str>) -> bool {
        let was_read = match part {
            None => !self.is_cut,
            // A part without a name in the list does not exist.
            Some(part) => {
                self.parts.as_ref().is_some_and(|parts| parts.get(part).copied().unwrap_or(true))
            }
        };
        was_read && self.find(symbol).is_none()
    }

    /// Returns whether the list has a `part` that could not be read.
    pub fn is_unread(&self, part: &str) -> bool {
        self.parts.as_ref().is_some_and(|parts| parts.get(part) == Some(&false))
    }

    /// The entry of `symbol`, in the canonical spelling.
    pub fn find(&self, symbol: &str) -> Option<&Listed> {
        self.by_symbol.get(symbol).map(|&index| &self.listed[index])
    }

    /// The symbol with these letters in any case, if there is exactly one.
    pub fn find_any_case(&self, symbol: &str) -> Option<&str> {
        let mut found = self.listed.iter().filter(|one| one.symbol.eq_ignore_ascii_case(symbol));
        let first = found.next()?;
        found.next().is_none().then_some(&*first.symbol)
    }

    /// Number of symbols.
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// Returns whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// At most [`NEAREST_MAX`] trading symbols that `symbol` may mean, the nearest first. First
    /// come symbols with the same letters and digits in any case and with any signs, or without the
    /// word for a perpetual at the end (`BTC/USDT` or `BTCUSDT_PERP` for `BTCUSDT`). Only if there
    /// are none, symbols that continue `symbol` follow (`BTC-USDT-SWAP` for `BTC-USDT`), then those
    /// with at most two mistakes, one for short ones.
    pub fn nearest(&self, symbol: &str) -> Vec<&str> {
        let wanted = squashed(symbol);
        if wanted.is_empty() {
            return Vec::new();
        }
        let bare = bare(symbol);
        let mistakes_max = if wanted.len() <= SHORT_BYTES { 1 } else { 2 };
        let trading = self.listed.iter().filter(|one| one.halted.is_none());
        let mut near: Vec<(usize, usize, &str)> = trading
            .filter_map(|one| {
                let names = [Some(&one.symbol), one.known_as.as_ref()].into_iter().flatten();
                let distance = |name: &String| match bare.as_ref() == Some(&squashed(name)) {
                    true => Some(0),
                    false => distance(&wanted, name, mistakes_max),
                };
                let distance = names.filter_map(distance).min()?;
                Some((distance, one.symbol.len(), one.symbol.as_str()))
            })
            .collect();
        near.sort_unstable();
        if near.first().is_some_and(|&(distance, ..)| distance == 0) {
            near.retain(|&(distance, ..)| distance == 0);
        }
        near.into_iter().take(NEAREST_MAX).map(|(_, _, symbol)| symbol).collect()
    }

    /// `; did you mean BTCUSDT or BTCUSDC?`, to follow a sentence; empty if only `symbol` itself is
    /// near.
    pub fn did_you_mean(&self, symbol: &str) -> String {
        let near = self.nearest(symbol).into_iter().filter(|&near| near != symbol);
        let near: Vec<String> = near.map(|near| self.shown(near)).collect();
        match &near[..] {
            [] => String::new(),
            [only] => format!("; did you mean {only}?"),
            [first @ .., last] => format!("; did you mean {} or {last}?", first.join(", ")),
        }
    }

    fn shown(&self, symbol: &str) -> String {
        match self.find(symbol).and_then(|one| one.known_as.as_deref()) {
            Some(name) => format!("{symbol} ({name})"),
            None => symbol.to_owned(),
        }
    }
}

/// Distance of two spellings: 0 if they differ only in case and signs, 1 if `name` continues
/// `wanted`, else the number of mistakes plus 1; `None` above `mistakes_max`.
fn distance(wanted: &str, name: &str, mistakes_max: usize) -> Option<usize> {
    let name = squashed(name);
    if name == wanted {
        return Some(0);
    }
    if wanted.len() >= SHORT_BYTES && name.starts_with(wanted) {
        return Some(1);
    }
    if name.len().abs_diff(wanted.len()) > mistakes_max {
        return None;
    }
    let mistakes = strsim::osa_distance(wanted, &name);
    (mistakes <= mistakes_max).then_some(mistakes + 1)
}

/// The letters and digits of a symbol without the word for a perpetual at its end; `None` if it has
/// no such word.
fn bare(symbol: &str) -> Option<String> {
    let upper = symbol.to_ascii_uppercase();
    let pair = PERPETUAL_WORDS.iter().find_map(|word| upper.strip_suffix(word))?;
    Some(squashed(pair))
}

/// The words for a perpetual of other exchanges and chart programs.
const PERPETUAL_WORDS: [&str; 7] = ["-SWAP", "_SWAP", "-PERP", "_PERP", "PERP", ".P", "/PERP"];

fn squashed(symbol: &str) -> String {
    symbol.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect()
}

/// Most suggestions. Source: chosen; more confuse.
pub const NEAREST_MAX: usize = 3;

/// Longest name for which only one mistake is allowed. Source: short names have many neighbours at
/// two.
const SHORT_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(symbols: &[&str]) -> SymbolList {
        let listed = |symbol: &&str| Listed {
            symbol: (*symbol).to_owned(),
            halted: symbol.starts_with("LUNA").then(|| "BREAK".to_owned()),
            known_as: (*symbol == "@107").then(|| "HYPE/USDC".to_owned()),
            contract_size: None,
        };
        SymbolList::new(symbols.iter().map(listed).collect())
    }

    #[test]
    fn a_near_miss_finds_what_was_meant() {
        let binance = list(&["BTCUSDT", "ETHUSDT", "BTCUSDC", "SOLUSDT", "LUNAUSDT"]);
        assert_eq!(binance.nearest("BTC-USDT"), ["BTCUSDT"]);
        assert_eq!(binance.nearest("BTCUSTD")[0], "BTCUSDT");
        assert_eq!(binance.did_you_mean("ETHUSD"), "; did you mean ETHUSDT?");
        for perpetual in ["BTCUSDT_PERP", "BTC-USDT-SWAP", "btcusdt.p", "BTCUSDTPERP"] {
            assert_eq!(binance.nearest(perpetual), ["BTCUSDT"], "{perpetual}");
        }
        assert_eq!(binance.did_you_mean("NOSUCHTHING"), "");
        assert_eq!(binance.did_you_mean(""), "");
        assert_eq!(binance.did_you_mean("BTCUSDT"), "");
        let okx = list(&["BTC-USDT-SWAP", "BTC-USD-SWAP", "ETH-USDT-SWAP"]);
        assert_eq!(okx.nearest("BTC-USDT"), ["BTC-USDT-SWAP"]);
        let hyperliquid = list(&["BTC", "ETH", "kPEPE", "@107"]);
        assert_eq!(hyperliquid.nearest("btc"), ["BTC"]);
        assert_eq!(hyperliquid.nearest("KPEPE"), ["kPEPE"]);
        assert_eq!(hyperliquid.did_you_mean("HYPE/USDC"), "; did you mean @107 (HYPE/USDC)?");
    }

    #[test]
    fn what_does_not_trade_is_found_but_never_suggested() {
        let list = list(&["LUNAUSDT", "LUNCUSDT"]);
        assert_eq!(list.find("LUNAUSDT").and_then(|one| one.halted.as_deref()), Some("BREAK"));
        assert_eq!(list.nearest("LUNAUSD"), ["LUNCUSDT"]);
        assert_eq!(list.find("luna"), None);
    }
}
