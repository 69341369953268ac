//! Suggestions for a wrong word of the command line. Decides nothing.

use crate::market::{Market, Venue, spelled};

/// `; did you mean binance?`, or an empty text if no name is similar.
pub(super) fn did_you_mean(wanted: &str, names: &[&str]) -> String {
    let wanted = wanted.to_ascii_lowercase();
    let mistakes = |name: &&str| strsim::osa_distance(&wanted, &name.to_ascii_lowercase());
    let nearest = names.iter().min_by_key(|name| mistakes(name));
    match nearest.filter(|name| mistakes(name) <= MISTAKES_MAX) {
        Some(name) => format!("; did you mean {name}?"),
        None => String::new(),
    }
}

/// Most edits between a word and its suggestion.
const MISTAKES_MAX: usize = 2;

/// Why `word` is not a symbol of `venue`, if it is several symbols or a contract type.
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

/// Why `symbol` cannot be a symbol of `market`, and what would be right. `None`: it can be one.
pub(super) fn no_symbol(market: Market, symbol: &str) -> Option<String> {
    let venue = market.venue();
    if market.canonical_symbol(symbol).is_some() {
        return None;
    }
    let right = spelled::symbol(market, symbol).and_then(|it| market.canonical_symbol(&it));
    let right = match (Market::default_of(venue, symbol), right) {
        (Some(other), _) if venue == Venue::Okx && other != market => {
            let name = other.contract_type().name();
            return Some(format!("{symbol:?} is of {other}: --market {name}"));
        }
        (_, Some(right)) => format!("did you mean {right}?"),
        (_, None) => format!("symbols there are spelled such as {}", symbol_example(venue)),
    };
    Some(format!("{symbol:?} can be no symbol of {}; {right}", venue.name()))
}

/// A well-known symbol, as the exchange spells it.
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
