//! Venues, their contract types, and the instruments traded there. Owns the table of markets and
//! the spellings that users type; knows no URL and no wire format, which `venue` owns.

use std::fmt;
use std::sync::Arc;

use crate::limits::SYMBOL_BYTES_MAX;
use crate::text;

use super::interval::Interval;

/// An exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Venue {
    /// Binance.
    Binance,
    /// OKX.
    Okx,
    /// Bybit, its version 5 interface.
    Bybit,
    /// Gate.
    Gateio,
    /// Hyperliquid.
    Hyperliquid,
}

impl Venue {
    /// Every exchange that is served.
    pub const ALL: [Self; 5] =
        [Self::Binance, Self::Okx, Self::Bybit, Self::Gateio, Self::Hyperliquid];

    /// The name that clients use in `exchange`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Okx => "okx",
            Self::Bybit => "bybit",
            Self::Gateio => "gateio",
            Self::Hyperliquid => "hyperliquid",
        }
    }

    /// The exchange that clients call `name`, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|venue| venue.name().eq_ignore_ascii_case(name))
    }
}

/// A kind of contract, in the venue's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContractType {
    /// The asset itself.
    Spot,
    /// Futures margined in a USD stablecoin (Binance, Hyperliquid).
    Usdm,
    /// Futures margined in the base coin (Binance); Hyperliquid's old name for its perpetuals.
    Coinm,
    /// Perpetuals, whatever their margin (OKX).
    Swap,
    /// Dated futures, whatever their margin (OKX).
    Futures,
    /// Perpetuals and futures margined in USDT or USDC (Bybit).
    Linear,
    /// Perpetuals and futures margined in the base coin (Bybit).
    Inverse,
    /// Perpetuals settled in USDT (Gate).
    Um,
    /// Perpetuals settled in BTC and quoted in USD (Gate).
    Cm,
}

impl ContractType {
    /// The name that clients use in `contract_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Usdm => "usdm",
            Self::Coinm => "coinm",
            Self::Swap => "swap",
            Self::Futures => "futures",
            Self::Linear => "linear",
            Self::Inverse => "inverse",
            Self::Um => "um",
            Self::Cm => "cm",
        }
    }
}

/// The unit of a market's volume field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeUnit {
    /// The base asset.
    Base,
    /// Whole contracts.
    Contracts,
    /// The quote asset.
    Quote,
}

impl VolumeUnit {
    /// The word that clients see in `volume_unit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Contracts => "contracts",
            Self::Quote => "quote",
        }
    }
}

/// A served pair of venue and contract type: an index into [`MARKETS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Market(u8);

/// The fixed properties of one market.
#[derive(Debug)]
pub struct MarketRow {
    /// The exchange.
    pub venue: Venue,
    /// The contract type.
    pub contract_type: ContractType,
    /// Other spellings of the contract type that clients may use at this venue.
    pub aliases: &'static [&'static str],
    /// The unit of the exchange's own volume field.
    pub volume_unit: VolumeUnit,
    /// The intervals of [`Interval::SERVED`] that the exchange itself makes candles of, pushed and
    /// over REST, with windows that begin with the UTC day.
    pub intervals: &'static [Interval],
}

/// Every market that is served, in the order in which users see them.
pub const MARKETS: &[MarketRow] = &[
    row(Venue::Binance, ContractType::Spot, &[], VolumeUnit::Base),
    row(Venue::Binance, ContractType::Usdm, &["um"], VolumeUnit::Base),
    row(Venue::Binance, ContractType::Coinm, &["cm"], VolumeUnit::Contracts),
    row(Venue::Okx, ContractType::Spot, &[], VolumeUnit::Base),
    row(Venue::Okx, ContractType::Swap, &[], VolumeUnit::Contracts),
    row(Venue::Okx, ContractType::Futures, &[], VolumeUnit::Contracts),
    row(Venue::Bybit, ContractType::Spot, &[], VolumeUnit::Base),
    row(Venue::Bybit, ContractType::Linear, &["um", "usd-m", "perp"], VolumeUnit::Base),
    row(Venue::Bybit, ContractType::Inverse, &["cm", "coin-m"], VolumeUnit::Quote),
    row(Venue::Gateio, ContractType::Spot, &[], VolumeUnit::Quote),
    row(Venue::Gateio, ContractType::Um, &["usd-m"], VolumeUnit::Contracts),
    row(Venue::Gateio, ContractType::Cm, &["coin-m"], VolumeUnit::Contracts),
    row(Venue::Hyperliquid, ContractType::Spot, &[], VolumeUnit::Base),
    row(Venue::Hyperliquid, ContractType::Usdm, &["usd-m", "perp", "swap"], VolumeUnit::Base),
    row(Venue::Hyperliquid, ContractType::Coinm, &["cm"], VolumeUnit::Base),
];

const fn row(
    venue: Venue,
    contract_type: ContractType,
    aliases: &'static [&'static str],
    volume_unit: VolumeUnit,
) -> MarketRow {
    MarketRow { venue, contract_type, aliases, volume_unit, intervals: own_intervals(venue) }
}

/// The own intervals of all contract types of an exchange. Seconds, weeks and months are left out.
///
/// Source: web-socket-streams.md, "Kline/Candlestick chart intervals" (Binance); "WS / Candlesticks
/// channel", where windows of six hours and more have a UTC variant, and eight hours are missing
/// (OKX); "Kline" over WebSocket, in minutes and `D` (Bybit); "Candlesticks Channel" of spot and
/// futures (Gate); "Subscriptions" (Hyperliquid). All read in 2026.
const fn own_intervals(venue: Venue) -> &'static [Interval] {
    use Interval::{D1, H1, H2, H4, H6, H8, H12, M1, M3, M5, M15, M30};
    match venue {
        Venue::Binance => Interval::SERVED,
        Venue::Okx | Venue::Bybit => &[M1, M3, M5, M15, M30, H1, H2, H4, H6, H12, D1],
        Venue::Gateio => &[M1, M5, M15, M30, H1, H4, H8, D1],
        Venue::Hyperliquid => &[M1, M3, M5, M15, M30, H1, H2, H4, H8, H12, D1],
    }
}

const _: () = assert!(MARKETS.len() <= u8::MAX as usize);

impl Market {
    /// Number of markets; every index is below it.
    pub const COUNT: usize = MARKETS.len();

    /// Every market.
    #[allow(clippy::cast_possible_truncation)]
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(|index| Self(index as u8))
    }

    /// The market of `venue` that clients call `contract_type`, by name or alias, in any case.
    pub fn find(venue: Venue, contract_type: &str) -> Option<Self> {
        Self::all().find(|market| {
            let row = market.row();
            let is_named = |name: &str| name.eq_ignore_ascii_case(contract_type);
            let aliased = row.aliases.iter().any(|alias| is_named(alias));
            row.venue == venue && (aliased || is_named(row.contract_type.name()))
        })
    }

    /// The markets of one venue.
    pub fn of(venue: Venue) -> impl Iterator<Item = Self> {
        Self::all().filter(move |market| market.row().venue == venue)
    }

    /// The market of a client that names no contract type: Bybit and Gate spot, Hyperliquid's
    /// perpetuals, and at OKX the one that the symbol's spelling shows. Binance has none.
    pub fn default_of(venue: Venue, symbol: &str) -> Option<Self> {
        match venue {
            Venue::Binance => None,
            Venue::Okx => Self::find(venue, okx_contract_type(symbol)?.name()),
            Venue::Bybit | Venue::Gateio => Self::find(venue, "spot"),
            Venue::Hyperliquid => Self::find(venue, "usdm"),
        }
    }

    /// The one spelling of a symbol here, in whatever case a user typed it. `None` if it can be no
    /// symbol: empty, longer than [`SYMBOL_BYTES_MAX`] bytes, without a letter or a digit, or with
    /// a character outside [`Self::is_symbol_char`]; at OKX also if its spelling is that of another
    /// contract type.
    ///
    /// Exchanges push symbols in upper case; only Hyperliquid distinguishes cases (`kPEPE`). Only
    /// ASCII letters are raised: the venues' non-ASCII symbols come from scripts without case, and
    /// Unicode raising may change a text's length (`ß` to `SS`). Anything else stays as the user
    /// typed it.
    pub fn canonical_symbol(self, symbol: &str) -> Option<String> {
        let is_named = symbol.contains(text::is_letter_or_digit);
        let is_foreign = |c: char| !self.is_symbol_char(c);
        if symbol.len() > SYMBOL_BYTES_MAX || !is_named || symbol.contains(is_foreign) {
            return None;
        }
        match self.venue() {
            Venue::Hyperliquid => Some(symbol.to_owned()),
            Venue::Okx => {
                let symbol = symbol.to_ascii_uppercase();
                (okx_contract_type(&symbol) == Some(self.contract_type())).then_some(symbol)
            }
            Venue::Binance | Venue::Bybit | Venue::Gateio => Some(symbol.to_ascii_uppercase()),
        }
    }

    /// The coin for one of the other spellings that the Python connector accepted at Hyperliquid:
    /// `BTC` for `BTC-USDC-SWAP`, `BTC-USD-SWAP`, `BTC-PERP`, `BTCUSDT` or `btc`, and on spot
    /// `PURR/USDC` for `PURR-USDC`. `None` if it is no such spelling. A coin with capitals and
    /// small letters (`kPEPE`) keeps them.
    pub fn meant_by(self, symbol: &str) -> Option<String> {
        if self.venue() != Venue::Hyperliquid || symbol.contains([':', '@', '#', '/']) {
            return None;
        }
        let upper = symbol.to_ascii_uppercase();
        let cased = |length: usize| {
            let text = &symbol[..length];
            let is_small = !text.contains(|c: char| c.is_ascii_uppercase());
            if is_small { text.to_ascii_uppercase() } else { text.to_owned() }
        };
        if self.contract_type() == ContractType::Spot {
            let (base, quote) = upper.split_once(['-', '_'])?;
            return (!base.is_empty() && !quote.is_empty())
                .then(|| format!("{}/{quote}", cased(base.len())));
        }
        let base = HYPERLIQUID_ENDINGS.iter().find_map(|ending| upper.strip_suffix(ending));
        let base = base.filter(|base| !base.is_empty()).unwrap_or(&upper);
        Some(cased(base.len())).filter(|coin| coin != symbol)
    }

    /// Returns whether a symbol may contain `c` here: a letter or a digit of any script, or one of
    /// [`Self::symbol_signs`].
    pub fn is_symbol_char(self, c: char) -> bool {
        text::is_letter_or_digit(c) || self.symbol_signs().contains(c)
    }

    /// The signs that a symbol may contain here.
    ///
    /// Source: Binance refuses others as an invalid stream (`BTCUSD_PERP`, `BTCUSDT_240628`); OKX,
    /// "Get instruments" (`BTC-USD-250926`; a refused name may contain `.` or `:`); Bybit, "Get
    /// Instruments Info" (`BTC-26SEP25`); Gate (`BTC_USDT`); Hyperliquid (`@107`, `PURR/USDC`,
    /// `dex:NAME`, `#10`). Where the documents are silent, the exchange decides about `_`, `-` and
    /// `.`.
    pub fn symbol_signs(self) -> &'static str {
        match self.venue() {
            Venue::Binance | Venue::Bybit | Venue::Gateio => "_-.",
            Venue::Okx => "_-.:",
            Venue::Hyperliquid => "_-.:/@#",
        }
    }

    /// Position in [`MARKETS`], for tables per market.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The market's row.
    pub fn row(self) -> &'static MarketRow {
        &MARKETS[self.index()]
    }

    /// The exchange.
    pub fn venue(self) -> Venue {
        self.row().venue
    }

    /// The contract type.
    pub fn contract_type(self) -> ContractType {
        self.row().contract_type
    }

    /// The unit of [`super::Candle::volume`].
    pub fn volume_unit(self) -> VolumeUnit {
        self.row().volume_unit
    }

    /// The unit of [`super::Candle::other_volume`]: what the exchange gives in addition to its
    /// volume.
    pub fn other_unit(self) -> VolumeUnit {
        match self.venue() {
            Venue::Gateio => VolumeUnit::Base,
            Venue::Binance | Venue::Okx | Venue::Bybit | Venue::Hyperliquid => VolumeUnit::Quote,
        }
    }

    /// Returns whether the exchange itself makes candles of `interval`.
    pub fn has_own(self, interval: Interval) -> bool {
        self.row().intervals.contains(&interval)
    }
}

impl fmt::Display for Market {
    /// `binance spot`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.venue().name(), self.contract_type().name())
    }
}

/// The ends of other spellings of a perpetual, after the coin, the longest first.
const HYPERLIQUID_ENDINGS: [&str; 16] = [
    "-USDC-PERP",
    "-USDT-PERP",
    "-USD-PERP",
    "-USDC-SWAP",
    "-USDT-SWAP",
    "-USD-SWAP",
    "-USDC",
    "-USDT",
    "-USD",
    "-SWAP",
    "-PERP",
    "PERP",
    "_USDC",
    "_USDT",
    "USDC",
    "USDT",
];

/// The contract type of an OKX spelling: `BTC-USDT` is spot, `BTC-USDT-SWAP` a swap,
/// `BTC-USDT-250926` a future. `None` for an instrument without candles here (an option has five
/// parts), and for any other text.
fn okx_contract_type(symbol: &str) -> Option<ContractType> {
    let mut parts = symbol.split('-').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(quote), None, None) if !quote.is_empty() => Some(ContractType::Spot),
        (Some(_), Some(end), None) if end.eq_ignore_ascii_case("SWAP") => Some(ContractType::Swap),
        (Some(_), Some(end), None) if end.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(ContractType::Futures)
        }
        _ => None,
    }
}

/// A subscribable source of candles: market, symbol in the venue's spelling, interval.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instrument {
    /// The market on which it is traded.
    pub market: Market,
    /// The venue's spelling, e.g. `BTCUSDT`. Any UTF-8.
    pub symbol: Arc<str>,
    /// The length of its candles.
    pub interval: Interval,
}

impl Instrument {
    /// A number that depends only on the instrument's name: the same on every host and in every
    /// version. FNV-1a over `venue:contract type:symbol`, so that all intervals share a shard.
    pub fn stable_hash(&self) -> u64 {
        let row = self.market.row();
        let parts = [row.venue.name(), ":", row.contract_type.name(), ":", &*self.symbol];
        let bytes = parts.iter().flat_map(|part| part.bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

impl fmt::Display for Instrument {
    /// `binance spot BTCUSDT`, followed by the interval unless it is a minute.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.market, self.symbol)?;
        match self.interval {
            Interval::M1 => Ok(()),
            interval => write!(f, " {}", interval.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instrument(symbol: &str) -> Instrument {
        let market = Market::find(Venue::Binance, "spot").unwrap();
        Instrument { market, symbol: symbol.into(), interval: Interval::M1 }
    }

    #[test]
    fn stable_hash_does_not_change_between_versions() {
        assert_eq!(instrument("BTCUSDT").stable_hash(), 0x5978_d6f1_4934_0c38);
    }

    #[test]
    fn contract_types_are_found_by_name_and_alias() {
        let find = |name| Market::find(Venue::Binance, name).map(Market::contract_type);
        assert_eq!(find("SPOT"), Some(ContractType::Spot));
        assert_eq!(find("um"), Some(ContractType::Usdm));
        assert_eq!(find("cm"), Some(ContractType::Coinm));
        assert_eq!(find("perp"), None);
        let name = |venue, alias| Market::find(venue, alias).map(|market| market.to_string());
        for (venue, aliases, expected) in [
            (Venue::Bybit, &["linear", "um", "usd-m", "perp"][..], "bybit linear"),
            (Venue::Bybit, &["inverse", "cm", "coin-m"], "bybit inverse"),
            (Venue::Gateio, &["um", "USD-M"], "gateio um"),
            (Venue::Gateio, &["cm", "coin-m"], "gateio cm"),
            (Venue::Hyperliquid, &["usdm", "usd-m", "perp", "swap"], "hyperliquid usdm"),
            (Venue::Hyperliquid, &["coinm", "cm"], "hyperliquid coinm"),
            (Venue::Okx, &["swap"], "okx swap"),
        ] {
            for alias in aliases {
                assert_eq!(name(venue, alias).as_deref(), Some(expected), "{alias}");
            }
        }
    }

    #[test]
    fn where_a_client_names_no_contract_type_the_venue_s_default_is_meant() {
        let default =
            |venue, symbol| Market::default_of(venue, symbol).map(|market| market.to_string());
        for (venue, symbol, expected) in [
            (Venue::Binance, "BTCUSDT", None),
            (Venue::Okx, "BTC-USDT", Some("okx spot")),
            (Venue::Okx, "btc-usd-swap", Some("okx swap")),
            (Venue::Okx, "BTC-USD-250926", Some("okx futures")),
            (Venue::Okx, "BTC-USD-250926-50000-C", None),
            (Venue::Okx, "BTCUSDT", None),
            (Venue::Bybit, "BTCUSDT", Some("bybit spot")),
            (Venue::Gateio, "BTC_USDT", Some("gateio spot")),
            (Venue::Hyperliquid, "BTC", Some("hyperliquid usdm")),
        ] {
            assert_eq!(default(venue, symbol).as_deref(), expected, "{symbol}");
        }
    }

    #[test]
    fn case_is_forgiven_where_the_venue_has_none() {
        let canonical = |venue, contract_type, symbol: &str| {
            Market::find(venue, contract_type).unwrap().canonical_symbol(symbol)
        };
        let swap = canonical(Venue::Okx, "swap", "btc-usdt-swap");
        assert_eq!(swap.as_deref(), Some("BTC-USDT-SWAP"));
        assert_eq!(canonical(Venue::Okx, "spot", "BTC-USDT-SWAP"), None);
        assert_eq!(canonical(Venue::Gateio, "um", "btc_usdt").as_deref(), Some("BTC_USDT"));
        for symbol in ["kPEPE", "@107", "PURR/USDC", "xyz:XYZ100", "#10"] {
            assert_eq!(canonical(Venue::Hyperliquid, "spot", symbol).as_deref(), Some(symbol));
        }
        assert_eq!(canonical(Venue::Hyperliquid, "usdm", "a\"b"), None);
    }

    #[test]
    fn a_symbol_has_one_spelling_and_text_that_is_none_is_refused() {
        let spot = Market::find(Venue::Binance, "spot").unwrap();
        let canonical = |symbol: &str| spot.canonical_symbol(symbol);
        assert_eq!(canonical("btcUsdt").as_deref(), Some("BTCUSDT"));
        assert_eq!(canonical("btcusd_perp").as_deref(), Some("BTCUSD_PERP"));
        assert_eq!(canonical("币安人生usdt").as_deref(), Some("币安人生USDT"));
        assert!(canonical(&"A".repeat(SYMBOL_BYTES_MAX)).is_some());
        let long = "A".repeat(SYMBOL_BYTES_MAX + 1);
        let odd = ["", "-", "BTC USDT", "BTC\n", "BTC\"", "BTC/USDT", "b@kline_1m", "a\\b", "A€"];
        for text in odd.into_iter().chain([long.as_str(), "A\u{200b}B", "A\u{3164}B"]) {
            assert_eq!(canonical(text), None, "{text:?}");
        }
    }
}
