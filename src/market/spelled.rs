//! Intervals and symbols in other spellings, and what they are here. Used for hints in errors only;
//! never acts on a guess.

use super::{ContractType, Interval, Market, Venue};

/// The intervals that `asked` may mean: `1min`, `60`, `1H`.
pub(crate) fn intervals(asked: &str) -> Vec<Interval> {
    let asked = asked.trim();
    let end = asked.find(|c: char| !c.is_ascii_digit()).unwrap_or(asked.len());
    let (Ok(count), unit) = (asked[..end].parse::<i64>(), asked[end..].trim()) else {
        return Vec::new();
    };
    let units: &[i64] = match (unit, &*unit.to_lowercase()) {
        ("M", _) if is_month(asked) => &[],
        // Minutes at Bybit, seconds elsewhere.
        (_, "") => &[MINUTE_MS, SECOND_MS],
        (_, "s" | "sec" | "second" | "seconds") => &[SECOND_MS],
        (_, "m" | "min" | "mins" | "minute" | "minutes" | "t") => &[MINUTE_MS],
        (_, "h" | "hr" | "hour" | "hours") => &[HOUR_MS],
        (_, "d" | "day" | "days" | "dutc") => &[24 * HOUR_MS],
        (_, "hutc") => &[HOUR_MS],
        _ => &[],
    };
    let lengths = units.iter().map(|unit| unit.saturating_mul(count));
    let served = |ms| Interval::SERVED.iter().copied().find(|interval| interval.ms() == ms);
    lengths.filter_map(served).collect()
}

/// Returns whether `asked` is one or three months, `1M` or `3M`, as exchanges spell them.
pub(crate) fn is_month(asked: &str) -> bool {
    matches!(asked.trim().strip_suffix('M'), Some("1" | "3"))
}

/// The symbol at `market` for `asked` in another spelling: `BTC/USDT`, `BTC-USDT`,
/// `binance:BTCUSDT`, `BTC/USDT:USDT`. `None` unless it has a base and a quote asset.
pub(crate) fn symbol(market: Market, asked: &str) -> Option<String> {
    let upper = asked.trim().trim_matches(['$', '#', '\'', '"']).to_ascii_uppercase();
    let (pair, is_settled) = match upper.split_once(':') {
        Some((base, quote)) if QUOTES.contains(&quote) && is_asset(base) => (&*upper, false),
        Some((pair, accept_closed)) if QUOTES.contains(&accept_closed) => (pair, true),
        Some((_, symbol)) => (symbol, false),
        None => (&*upper, false),
    };
    let parts: Vec<&str> = pair.split(SIGNS).collect();
    let (base, quote) = match parts[..] {
        [base, quote] | [base, quote, _] if QUOTES.contains(&quote) => (base, quote),
        [whole] => QUOTES.iter().find_map(|quote| Some((whole.strip_suffix(quote)?, *quote)))?,
        _ => return None,
    };
    let is_spot = market.contract_type() == ContractType::Spot;
    let is_swap = is_settled || !is_spot || matches!(parts[..], [_, _, "SWAP" | "PERP"]);
    let is_plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let meant = match market.venue() {
        _ if !is_plain(base) => return None,
        Venue::Binance | Venue::Bybit => format!("{base}{quote}"),
        Venue::Gateio => format!("{base}_{quote}"),
        Venue::Okx if is_swap => format!("{base}-{quote}-SWAP"),
        Venue::Okx => format!("{base}-{quote}"),
        Venue::Hyperliquid if is_spot => format!("{base}/{quote}"),
        Venue::Hyperliquid => base.to_owned(),
    };
    Some(meant).filter(|meant| meant != asked)
}

/// The market with symbols spelled like `asked`, if it is another one than `market`: `BTCUSD_PERP`
/// at Binance's spot.
pub(crate) fn contract_type(market: Market, asked: &str) -> Option<Market> {
    let venue = market.venue();
    let upper = asked.to_ascii_uppercase();
    let name =
        match venue {
            Venue::Binance => match upper.split_once('_')? {
                (pair, "PERP") if pair.ends_with("USD") => "coinm",
                (pair, date)
                    if date.len() == 6 && date.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    if pair.ends_with("USD") { "coinm" } else { "usdm" }
                }
                _ => return None,
            },
            Venue::Bybit if upper.ends_with("PERP") => "linear",
            Venue::Bybit if upper.len() > 3 && upper.ends_with("USD") => "inverse",
            Venue::Gateio if upper.ends_with("_USD") => "cm",
            Venue::Hyperliquid if upper.contains('/') || upper.starts_with('@') => "spot",
            Venue::Bybit | Venue::Gateio | Venue::Hyperliquid | Venue::Okx => return None,
        };
    Market::find(venue, name).filter(|other| *other != market)
}

/// Returns whether `part` is one asset, not a pair.
fn is_asset(part: &str) -> bool {
    let is_pair = |quote: &&str| part.len() > quote.len() && part.ends_with(*quote);
    !part.contains(SIGNS) && !QUOTES.iter().any(is_pair)
}

/// The signs between two assets in other spellings.
const SIGNS: [char; 8] = ['/', '-', '_', ' ', '.', '\\', '|', ':'];

/// Quote assets at the end of symbols without signs, the longest first. Source: chosen.
const QUOTES: [&str; 8] = ["FDUSD", "USDT", "USDC", "TUSD", "USD", "EUR", "BTC", "ETH"];

/// A second, in ms.
const SECOND_MS: i64 = 1_000;
/// A minute, in ms.
const MINUTE_MS: i64 = 60_000;
/// An hour, in ms.
const HOUR_MS: i64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_found_in_whatever_words() {
        for (name, lengths) in [
            ("1min", &[Interval::M1][..]),
            ("5", &[Interval::M5]),
            ("60m", &[Interval::H1]),
            ("60", &[Interval::H1, Interval::M1]),
            ("1H", &[Interval::H1]),
            ("24h", &[Interval::D1]),
            ("1day", &[Interval::D1]),
            ("7m", &[]),
            ("1w", &[]),
            ("m", &[]),
            ("99999999999999999999h", &[]),
        ] {
            assert_eq!(intervals(name), lengths, "{name}");
        }
    }

    #[test]
    fn a_pair_is_found_in_whatever_signs() {
        let gate = Market::find(Venue::Gateio, "um").unwrap();
        let okx = Market::find(Venue::Okx, "spot").unwrap();
        for (market, asked, right) in [
            (gate, "BTC:USDT", Some("BTC_USDT")),
            (gate, "ETHBTC", Some("ETH_BTC")),
            (gate, "BTC", None),
            (okx, "BTC/USDT:USDT", Some("BTC-USDT-SWAP")),
            (okx, "BTCUSDT:USDT", Some("BTC-USDT-SWAP")),
            (okx, "binance:BTCUSDT", Some("BTC-USDT")),
        ] {
            assert_eq!(symbol(market, asked).as_deref(), right, "{asked}");
        }
    }

    #[test]
    fn a_symbol_may_be_spelled_like_one_of_another_contract_type() {
        for (venue, contract_type, asked, other) in [
            (Venue::Binance, "spot", "BTCUSD_PERP", Some("binance coinm")),
            (Venue::Binance, "usdm", "btcusd_261225", Some("binance coinm")),
            (Venue::Binance, "spot", "BTCUSDT_261225", Some("binance usdm")),
            (Venue::Binance, "coinm", "BTCUSD_PERP", None),
            (Venue::Binance, "spot", "BTCUSDT", None),
            (Venue::Bybit, "spot", "BTCPERP", Some("bybit linear")),
            (Venue::Bybit, "linear", "BTCUSD", Some("bybit inverse")),
            (Venue::Gateio, "um", "BTC_USD", Some("gateio cm")),
            (Venue::Hyperliquid, "usdm", "PURR/USDC", Some("hyperliquid spot")),
            (Venue::Okx, "spot", "BTC-USDT", None),
        ] {
            let market = Market::find(venue, contract_type).unwrap();
            let found = super::contract_type(market, asked).map(|other| other.to_string());
            assert_eq!(found.as_deref(), other, "{market} {asked}");
        }
    }
}
