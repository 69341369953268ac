//! What was probably meant by a word of the command line that is wrong. Decides nothing.

use crate::market::{Interval, Market, Venue};

/// `; did you mean binance?`, or nothing where nothing is near.
pub(super) fn did_you_mean(wanted: &str, names: &[&str]) -> String {
    let wanted = wanted.to_ascii_lowercase();
    let mistakes = |name: &&str| strsim::osa_distance(&wanted, name);
    let nearest = names.iter().min_by_key(|name| mistakes(name));
    match nearest.filter(|name| mistakes(name) <= MISTAKES_MAX) {
        Some(name) => format!("; did you mean {name}?"),
        None => String::new(),
    }
}

/// More than these, and another word was meant.
const MISTAKES_MAX: usize = 2;

/// The interval as long as `60min`, `1H`, `1day` or `15` (minutes) says.
pub(super) fn same_length(name: &str) -> Option<Interval> {
    let unit_at = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    let (count, unit) = name.split_at(unit_at);
    let minutes: usize = match unit.trim().chars().next() {
        None => 1,
        Some('m' | 'M') => 1,
        Some('h' | 'H') => 60,
        Some('d' | 'D') => 1_440,
        Some(_) => return None,
    };
    let minutes = minutes.checked_mul(count.parse().ok()?)?;
    Interval::SERVED.iter().copied().find(|interval| interval.minutes() == minutes)
}

/// Why `word` stands where a symbol of `venue` should, if it is several or a contract type.
pub(super) fn no_single_symbol(venue: Venue, word: &str) -> Option<String> {
    if word.contains([',', ';']) {
        let symbols = word.split([',', ';', ' ']).filter(|one| !one.is_empty());
        let symbols = symbols.collect::<Vec<_>>().join(" ");
        return Some(format!("{word:?}: separate symbols by spaces: {symbols}"));
    }
    let mut rows = Market::of(venue).map(Market::row);
    let is_market = rows.any(|row| row.contract_type.name() == word || row.aliases.contains(&word));
    is_market.then(|| format!("{word:?} is a contract type: --market {word}"))
}

/// Why `symbol` can be none of `market`, and what would be right; `None` where it can be one.
pub(super) fn no_symbol(market: Market, symbol: &str) -> Option<String> {
    let venue = market.venue();
    if market.canonical_symbol(symbol).is_some() {
        return None;
    }
    let right = match (Market::default_of(venue, symbol), respelled(market, symbol)) {
        (Some(other), _) if venue == Venue::Okx && other != market => {
            let name = other.contract_type().name();
            return Some(format!("{symbol:?} is of {other}: --market {name}"));
        }
        (_, Some(right)) => format!("did you mean {right}?"),
        (_, None) => format!("symbols there are spelled such as {}", symbol_example(venue)),
    };
    Some(format!("{symbol:?} can be no symbol of {}; {right}", venue.name()))
}

/// The symbol as the exchange of `market` would spell it.
fn respelled(market: Market, symbol: &str) -> Option<String> {
    let symbol = symbol.to_ascii_uppercase();
    let mut parts: Vec<&str> =
        symbol.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    if let [pair] = parts[..] {
        let quote = QUOTES.iter().find(|quote| pair.len() > quote.len() && pair.ends_with(*quote));
        parts = quote.map_or(parts, |quote| vec![&pair[..pair.len() - quote.len()], quote]);
    }
    let right = match market.venue() {
        Venue::Binance | Venue::Bybit => parts.concat(),
        Venue::Okx => parts.join("-"),
        Venue::Gateio => parts.join("_"),
        Venue::Hyperliquid => return None,
    };
    market.canonical_symbol(&right)
}

/// What most symbols are quoted in. Source: the exchanges' own lists.
const QUOTES: [&str; 5] = ["USDT", "USDC", "USD", "EUR", "BTC"];

/// A symbol that everybody knows, as the exchange spells it.
pub(super) fn symbol_example(venue: Venue) -> &'static str {
    match venue {
        Venue::Binance | Venue::Bybit => "BTCUSDT",
        Venue::Okx => "BTC-USDT",
        Venue::Gateio => "BTC_USDT",
        Venue::Hyperliquid => "BTC",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_found_in_whatever_words() {
        for (name, interval) in [
            ("1min", Some(Interval::M1)),
            ("5", Some(Interval::M5)),
            ("60m", Some(Interval::H1)),
            ("1H", Some(Interval::H1)),
            ("24h", Some(Interval::D1)),
            ("1day", Some(Interval::D1)),
            ("7m", None),
            ("1w", None),
            ("m", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(same_length(name), interval, "{name}");
        }
    }

    #[test]
    fn a_symbol_spelled_as_elsewhere_is_spelled_right() {
        for (venue, contract_type, typed, right) in [
            (Venue::Binance, "spot", "btc/usdt", "BTCUSDT"),
            (Venue::Bybit, "linear", "BTC USDT", "BTCUSDT"),
            (Venue::Okx, "spot", "btcusdt", "BTC-USDT"),
            (Venue::Okx, "swap", "BTC/USDT/SWAP", "BTC-USDT-SWAP"),
            (Venue::Gateio, "um", "BTC:USDT", "BTC_USDT"),
        ] {
            let market = Market::find(venue, contract_type).unwrap();
            let why = no_symbol(market, typed).unwrap();
            assert!(why.ends_with(&format!("did you mean {right}?")), "{why}");
            assert_eq!(no_symbol(market, right), None);
        }
        let spot = Market::find(Venue::Hyperliquid, "spot").unwrap();
        assert!(no_symbol(spot, "").unwrap().contains("such as BTC"));
        assert!(no_symbol(spot, "ETH BTC").is_some());
        assert_eq!(no_symbol(spot, "PURR/USDC"), None);
    }
}
