//! How much was traded, in each unit by which a market counts, and how numbers are written. What
//! all exchanges but Binance share.

use crate::market::{ContractType, Market, Venue};

use super::market::{BASE_DECIMALS, Listing, TrueCandle, write_decimal};
use super::windows;

/// One candle of a push.
#[derive(Clone, Copy, Debug)]
pub struct Pushed<'a> {
    /// The candle.
    pub candle: &'a TrueCandle,
    /// The closed flag; `None`: it is left out.
    pub flag: Option<bool>,
}

/// The length of the candles of one push, as `market` spells it.
pub(crate) fn spelling(market: Market, candles: &[Pushed<'_>]) -> &'static str {
    let interval = candles.first().map(|pushed| pushed.candle.interval);
    interval.and_then(|one| windows::spelled(market.venue(), one)).unwrap_or_default()
}

/// A price given in ticks.
pub fn price(listing: &Listing, ticks: i64) -> String {
    decimal(ticks.unsigned_abs(), listing.price_decimals)
}

pub(crate) fn steps(listing: &Listing, steps: u64) -> String {
    decimal(steps, listing.quantity_decimals)
}

pub(crate) fn decimal(value: u64, scale: u32) -> String {
    let mut out = String::new();
    write_decimal(&mut out, value, scale, scale);
    out
}

pub(crate) fn append(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

/// How much was traded, in each unit.
#[derive(Clone, Copy, Debug)]
pub struct Amounts<'a> {
    /// Where.
    pub market: Market,
    /// What.
    pub listing: &'a Listing,
    /// When.
    pub candle: &'a TrueCandle,
}

impl Amounts<'_> {
    /// In the base asset.
    pub fn base(self) -> String {
        match self.listing.contract_size {
            0 => steps(self.listing, self.candle.volume),
            _ => decimal(self.candle.turnover, BASE_DECIMALS),
        }
    }

    /// In the quote asset.
    pub fn quote(self) -> String {
        let Listing { price_decimals, quantity_decimals, contract_size, .. } = *self.listing;
        match contract_size {
            0 => decimal(self.candle.turnover, price_decimals + quantity_decimals),
            size => decimal(self.candle.volume * size, 0),
        }
    }

    /// The other one of base and quote than the contracts are counted in (Bybit's `turnover`).
    pub fn turnover(self) -> String {
        if self.listing.contract_size == 0 { self.quote() } else { self.base() }
    }

    /// The exchange's own volume field. A linear contract is one step of its base asset.
    pub fn volume(self) -> String {
        match (self.market.venue(), self.market.contract_type()) {
            (Venue::Gateio, ContractType::Spot) => self.quote(),
            (Venue::Okx, ContractType::Swap | ContractType::Futures)
            | (Venue::Gateio, ContractType::Um | ContractType::Cm) => {
                decimal(self.candle.volume, 0)
            }
            (Venue::Bybit, ContractType::Inverse) => self.quote(),
            _ => steps(self.listing, self.candle.volume),
        }
    }

    /// Turnover in the quote asset, where the exchange pushes it.
    pub fn quote_volume(self) -> Option<String> {
        match (self.market.venue(), self.market.contract_type()) {
            (Venue::Binance, ContractType::Coinm)
            | (Venue::Bybit, ContractType::Inverse)
            | (Venue::Gateio, ContractType::Um | ContractType::Cm)
            | (Venue::Hyperliquid, _) => None,
            _ => Some(self.quote()),
        }
    }

    /// Number of trades, where the exchange pushes it.
    pub fn trades(self) -> u64 {
        match self.market.venue() {
            Venue::Binance | Venue::Hyperliquid => self.candle.trades,
            Venue::Okx | Venue::Bybit | Venue::Gateio => 0,
        }
    }
}
