//! Hints in errors: which of our words a client probably meant by an unknown one. A guess is never
//! acted on.

use crate::fanout::protocol::request::OP_NAMES;
use crate::market::{ContractType, Market, Venue};

/// `; did you mean "a" or "b"?`, to follow a sentence; empty without a suggestion. Never suggests
/// `asked` itself.
pub(crate) fn did_you_mean(asked: &str, meant: impl IntoIterator<Item = String>) -> String {
    let quoted = |word: String| format!("\"{word}\"");
    let words: Vec<String> = meant.into_iter().filter(|word| word != asked).map(quoted).collect();
    match &words[..] {
        [] => String::new(),
        [only] => format!("; did you mean {only}?"),
        [first @ .., last] => format!("; did you mean {} or {last}?", first.join(", ")),
    }
}

/// The letters and digits of a word, in lower case.
fn squashed(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Returns whether two words differ by a slip of the keyboard: one mistake in short words,
/// otherwise two.
fn is_slip(word: &str, right: &str) -> bool {
    let mistakes_max = if right.len() <= SHORT_BYTES { 1 } else { 2 };
    word.len() > mistakes_max && strsim::osa_distance(word, right) <= mistakes_max
}

/// The exchange that `asked` means, and the contract type if the word contains one.
pub(crate) fn exchange(asked: &str) -> Option<(Venue, Option<Market>)> {
    let word = squashed(asked);
    if NOT_SERVED.contains(&&*word) {
        return None;
    }
    let names = Venue::ALL.into_iter().map(|venue| (venue.name(), venue));
    let names: Vec<_> = names.chain(EXCHANGE_NAMES).collect();
    let whole = names.iter().find(|(name, _)| *name == word);
    if let Some(&(_, venue)) = whole {
        return Some((venue, None));
    }
    // `binance-futures`: a name and a contract type. The longer name counts.
    let parts = names.iter().filter_map(|(name, venue)| {
        let kind = word.strip_prefix(name)?;
        Some((name.len(), *venue, *contract_types(*venue, kind).first()?))
    });
    if let Some((_, venue, market)) = parts.max_by_key(|(length, ..)| *length) {
        return Some((venue, Some(market)));
    }
    let near = names.iter().find(|(name, _)| is_slip(&word, name));
    near.map(|&(_, venue)| (venue, None))
}

/// The markets of `venue` that `asked` may mean as a contract type, the most likely first.
pub(crate) fn contract_types(venue: Venue, asked: &str) -> Vec<Market> {
    use ContractType::{Cm, Coinm, Futures, Inverse, Linear, Spot, Swap, Um, Usdm};
    let word = squashed(asked);
    let of = |kinds: &[ContractType]| -> Vec<Market> {
        let kinds = kinds.iter().filter_map(|kind| Market::find(venue, kind.name()));
        kinds.collect()
    };
    let (stable, coin): (&[_], &[_]) = match venue {
        Venue::Binance | Venue::Hyperliquid => (&[Usdm], &[Coinm]),
        Venue::Okx => (&[Swap, Futures], &[Swap, Futures]),
        Venue::Bybit => (&[Linear], &[Inverse]),
        Venue::Gateio => (&[Um], &[Cm]),
    };
    if SPOT_WORDS.contains(&&*word) {
        return of(&[Spot]);
    }
    if STABLE_WORDS.contains(&&*word) {
        return of(stable);
    }
    if COIN_WORDS.contains(&&*word) {
        return of(coin);
    }
    if FUTURES_WORDS.contains(&&*word) {
        // Margined in either currency.
        let mut both = of(stable);
        both.extend(of(coin));
        both.dedup();
        return both;
    }
    Market::of(venue).filter(|market| is_slip(&word, market.contract_type().name())).collect()
}

/// Returns whether the unknown field `name` means the field `right`.
pub(crate) fn is_field(name: &str, right: &str) -> bool {
    let (word, field) = (squashed(name), squashed(right));
    let is_known = FIELD_WORDS.iter().any(|(known, of)| *known == word && *of == right);
    is_known || word == field || is_slip(&word, &field)
}

/// The `op` that `asked` means.
pub(crate) fn op(asked: &str) -> Option<&'static str> {
    let word = squashed(asked);
    let known = OP_WORDS.iter().find(|(known, _)| *known == word).map(|(_, right)| *right);
    known.or_else(|| OP_NAMES.into_iter().find(|right| is_slip(&word, right)))
}

/// `number` in ms since 1970, if it was given in another unit; and that unit. Source: ms of the
/// years 1973 to 5138 have 12 to 14 digits, seconds of these years 9 to 11.
pub(crate) fn since_ms(number: i64) -> Option<(i64, &'static str)> {
    match number {
        100_000_000..100_000_000_000 => Some((number * 1_000, "seconds")),
        100_000_000_000_001..100_000_000_000_000_000 => Some((number / 1_000, "microseconds")),
        100_000_000_000_000_000.. => Some((number / 1_000_000, "nanoseconds")),
        _ => None,
    }
}

/// Other names of the exchanges, squashed.
const EXCHANGE_NAMES: [(&str, Venue); 10] = [
    ("gate", Venue::Gateio),
    ("okex", Venue::Okx),
    ("ok", Venue::Okx),
    ("hyper", Venue::Hyperliquid),
    ("hl", Venue::Hyperliquid),
    ("hyperliq", Venue::Hyperliquid),
    ("bnb", Venue::Binance),
    ("bn", Venue::Binance),
    ("binancecom", Venue::Binance),
    ("bybitcom", Venue::Bybit),
];

/// Other exchanges with names similar to ours.
const NOT_SERVED: [&str; 5] = ["binanceus", "binancetr", "bitget", "okcoin", "bit"];

const SPOT_WORDS: [&str; 5] = ["spot", "spots", "cash", "margin", "s"];

const STABLE_WORDS: [&str; 20] = [
    "um",
    "umfutures",
    "usdm",
    "usdtm",
    "usdt",
    "usdc",
    "usdcm",
    "usdmfutures",
    "usdtmfutures",
    "usdtfutures",
    "usdsm",
    "linear",
    "linearperpetual",
    "linearperp",
    "usdtperp",
    "usdtperpetual",
    "usdtswap",
    "swapusdtm",
    "fapi",
    "swapusdt",
];

const COIN_WORDS: [&str; 13] = [
    "cm",
    "cmfutures",
    "coinm",
    "coin",
    "coinmfutures",
    "coinmargined",
    "inverse",
    "inverseperpetual",
    "usd",
    "btc",
    "dapi",
    "swapcoinm",
    "inverseswap",
];

const FUTURES_WORDS: [&str; 11] = [
    "futures",
    "future",
    "perpetual",
    "perpetuals",
    "perp",
    "perps",
    "swap",
    "swaps",
    "delivery",
    "contract",
    "derivatives",
];

/// Fields under other names, squashed.
const FIELD_WORDS: [(&str, &str); 27] = [
    ("symbol", "symbols"),
    ("pair", "symbols"),
    ("pairs", "symbols"),
    ("instrument", "symbols"),
    ("instruments", "symbols"),
    ("coin", "symbols"),
    ("coins", "symbols"),
    ("market", "contract_type"),
    ("type", "contract_type"),
    ("contract", "contract_type"),
    ("category", "contract_type"),
    ("venue", "exchange"),
    ("provider", "exchange"),
    ("action", "op"),
    ("method", "op"),
    ("command", "op"),
    ("cmd", "op"),
    ("timeframe", "interval"),
    ("tf", "interval"),
    ("period", "interval"),
    ("granularity", "interval"),
    ("resolution", "interval"),
    ("bar", "interval"),
    ("start", "since"),
    ("starttime", "since"),
    ("from", "since"),
    ("onlyclosed", "closed_only"),
];

const OP_WORDS: [(&str, &str); 8] = [
    ("sub", "subscribe"),
    ("unsub", "unsubscribe"),
    ("stop", "unsubscribe"),
    ("ls", "list"),
    ("subscriptions", "list"),
    ("listsubscriptions", "list"),
    ("login", "auth"),
    ("heartbeat", "ping"),
];

/// Words up to this length have too many neighbours at two mistakes.
const SHORT_BYTES: usize = 4;
