//! Candles as OKX, Bybit, Gate and Hyperliquid push them, and the amounts by which each market
//! counts. Pure; Binance's are in [`super::binance`].

use crate::market::{ContractType, Market, Venue};

use super::market::{BASE_DECIMALS, Listing, TrueCandle, push_number, write_decimal};
use super::windows;

/// One candle of a push.
#[derive(Clone, Copy, Debug)]
pub struct Pushed<'a> {
    /// The candle.
    pub candle: &'a TrueCandle,
    /// What the closed flag says; `None`: it is left out.
    pub flag: Option<bool>,
}

/// Replaces `out` by the push of `candles`, oldest first, at `now_ms` in the exchange's time.
pub fn write_push(
    market: Market,
    out: &mut String,
    listing: &Listing,
    candles: &[Pushed<'_>],
    now_ms: i64,
) {
    out.clear();
    match market.venue() {
        Venue::Okx => okx(market, out, listing, candles),
        Venue::Bybit => bybit(market, out, listing, candles, now_ms),
        Venue::Gateio => gateio(market, out, listing, candles, now_ms),
        Venue::Hyperliquid | Venue::Binance => hyperliquid(out, listing, candles),
    }
}

fn okx(market: Market, out: &mut String, listing: &Listing, candles: &[Pushed<'_>]) {
    let bar = spelling(market, candles);
    push(out, &["{\"arg\":{\"channel\":\"candle", bar, "\",\"instId\":\"", &listing.name]);
    out.push_str("\"},\"data\":[");
    for (index, pushed) in candles.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        let confirm = if pushed.flag == Some(true) { "1" } else { "0" };
        okx_row(market, out, listing, pushed.candle, confirm);
    }
    out.push_str("]}");
}

/// `["ts","o","h","l","c","vol","volCcy","volCcyQuote","confirm"]`.
pub fn okx_row(
    market: Market,
    out: &mut String,
    listing: &Listing,
    candle: &TrueCandle,
    confirm: &str,
) {
    out.push_str("[\"");
    push_number(out, candle.open_time_ms.unsigned_abs());
    for ticks in [candle.open, candle.high, candle.low, candle.close] {
        push(out, &["\",\"", &price(listing, ticks)]);
    }
    let amounts = Amounts { market, listing, candle };
    let is_spot = market.contract_type() == ContractType::Spot;
    let currency = if is_spot { amounts.quote() } else { amounts.base() };
    push(out, &["\",\"", &amounts.volume(), "\",\"", &currency, "\",\"", &amounts.quote()]);
    push(out, &["\",\"", confirm, "\"]"]);
}

fn bybit(market: Market, out: &mut String, listing: &Listing, candles: &[Pushed<'_>], now_ms: i64) {
    let is_spot = market.contract_type() == ContractType::Spot;
    let head =
        if is_spot { "{\"type\":\"snapshot\",\"topic\":\"kline." } else { "{\"topic\":\"kline." };
    let code = spelling(market, candles);
    push(out, &[head, code, ".", &listing.name, "\",\"data\":["]);
    for (index, pushed) in candles.iter().enumerate() {
        let candle = pushed.candle;
        let amounts = Amounts { market, listing, candle };
        out.push_str(if index == 0 { "{\"start\":" } else { ",{\"start\":" });
        push_number(out, candle.open_time_ms.unsigned_abs());
        out.push_str(",\"end\":");
        push_number(out, candle.close_time_ms().unsigned_abs());
        push(out, &[",\"interval\":\"", code, "\""]);
        let prices = [("open", candle.open), ("close", candle.close)];
        for (name, ticks) in prices.into_iter().chain([("high", candle.high), ("low", candle.low)])
        {
            push(out, &[",\"", name, "\":\"", &price(listing, ticks), "\""]);
        }
        let confirm = if pushed.flag == Some(true) { "true" } else { "false" };
        push(out, &[",\"volume\":\"", &amounts.volume(), "\",\"turnover\":\""]);
        push(out, &[&amounts.turnover(), "\",\"confirm\":", confirm, ",\"timestamp\":"]);
        push_number(out, now_ms.unsigned_abs());
        out.push('}');
    }
    out.push_str("],\"ts\":");
    push_number(out, now_ms.unsigned_abs());
    out.push_str(if is_spot { "}" } else { ",\"type\":\"snapshot\"}" });
}

fn gateio(
    market: Market,
    out: &mut String,
    listing: &Listing,
    candles: &[Pushed<'_>],
    now_ms: i64,
) {
    let is_spot = market.contract_type() == ContractType::Spot;
    let channel = if is_spot { "spot.candlesticks" } else { "futures.candlesticks" };
    let name = [spelling(market, candles), "_", &listing.name].concat();
    out.push_str("{\"time\":");
    push_number(out, now_ms.div_euclid(1000).unsigned_abs());
    out.push_str(",\"time_ms\":");
    push_number(out, now_ms.unsigned_abs());
    push(out, &[",\"channel\":\"", channel, "\",\"event\":\"update\",\"result\":"]);
    out.push_str(if is_spot { "" } else { "[" });
    for (index, pushed) in candles.iter().enumerate() {
        let candle = pushed.candle;
        let amounts = Amounts { market, listing, candle };
        out.push_str(if index == 0 { "{\"t\":" } else { ",{\"t\":" });
        let mut seconds = String::new();
        push_number(&mut seconds, candle.open_time_ms.div_euclid(1000).unsigned_abs());
        if is_spot {
            push(out, &["\"", &seconds, "\",\"v\":\"", &amounts.volume(), "\""]);
        } else {
            out.push_str(&seconds);
        }
        let prices = [("c", candle.close), ("h", candle.high), ("l", candle.low)];
        for (name, ticks) in prices.into_iter().chain([("o", candle.open)]) {
            push(out, &[",\"", name, "\":\"", &price(listing, ticks), "\""]);
        }
        // Futures, 2026: the name behind the amount, and the volume last.
        let (name, amount) = ([",\"n\":\"", &name, "\""].concat(), amounts.base());
        let amount = [",\"a\":\"", &amount, "\""].concat();
        push(out, &if is_spot { [&name, &amount] } else { [&amount, &*name] });
        out.push_str(match pushed.flag {
            Some(true) => ",\"w\":true",
            Some(false) => ",\"w\":false",
            None => "",
        });
        if !is_spot {
            push(out, &[",\"v\":", &amounts.volume()]);
        }
        out.push('}');
    }
    out.push_str(if is_spot { "}" } else { "]}" });
}

fn hyperliquid(out: &mut String, listing: &Listing, candles: &[Pushed<'_>]) {
    out.push_str("{\"channel\":\"candle\",\"data\":");
    for pushed in candles {
        hyperliquid_candle(out, listing, pushed.candle);
    }
    out.push('}');
}

/// The object that pushes and REST answers share.
pub fn hyperliquid_candle(out: &mut String, listing: &Listing, candle: &TrueCandle) {
    out.push_str("{\"t\":");
    push_number(out, candle.open_time_ms.unsigned_abs());
    out.push_str(",\"T\":");
    push_number(out, candle.close_time_ms().unsigned_abs());
    let interval = windows::spelled(Venue::Hyperliquid, candle.interval).unwrap_or_default();
    push(out, &[",\"s\":\"", &listing.name, "\",\"i\":\"", interval, "\""]);
    let prices = [("o", candle.open), ("c", candle.close), ("h", candle.high), ("l", candle.low)];
    for (name, ticks) in prices {
        // Whole prices are shown with one decimal.
        let text = price(listing, ticks);
        let whole = if text.contains('.') { "" } else { ".0" };
        push(out, &[",\"", name, "\":\"", &text, whole, "\""]);
    }
    push(out, &[",\"v\":\"", &steps(listing, candle.volume), "\",\"n\":"]);
    push_number(out, candle.trades);
    out.push('}');
}

/// The length of the candles of one push, as `market` spells it.
fn spelling(market: Market, candles: &[Pushed<'_>]) -> &'static str {
    let interval = candles.first().map(|pushed| pushed.candle.interval);
    interval.and_then(|one| windows::spelled(market.venue(), one)).unwrap_or_default()
}

/// A price given in ticks.
pub fn price(listing: &Listing, ticks: i64) -> String {
    decimal(ticks.unsigned_abs(), listing.price_decimals)
}

fn steps(listing: &Listing, steps: u64) -> String {
    decimal(steps, listing.quantity_decimals)
}

fn decimal(value: u64, scale: u32) -> String {
    let mut out = String::new();
    write_decimal(&mut out, value, scale, scale);
    out
}

fn push(out: &mut String, parts: &[&str]) {
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
