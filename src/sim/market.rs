//! The seeded market: knows the true candle of every minute for every listed symbol, past and
//! future, without history. Pure: a candle depends on (seed, market, symbol, minute) and
//! nothing else. Knows no clock, no socket and no wire format.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::market::{ContractType, Interval, Market, Venue};
use crate::rng::{self, GOLDEN};

use super::delivery;
use super::listed::{Row, rows, synthetic};

/// Length of a minute, in ms.
pub const MINUTE_MS: i64 = 60_000;

/// One listed symbol.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The venue's spelling, upper case, any UTF-8.
    pub name: Arc<str>,
    /// The spelling in stream names, lower case.
    pub lower: Arc<str>,
    /// The base asset.
    pub base: Arc<str>,
    /// The quote asset.
    pub quote: Arc<str>,
    /// Decimals of a price; one tick is the last of them.
    pub price_decimals: u32,
    /// Decimals of a quantity; 0 where whole contracts are traded.
    pub quantity_decimals: u32,
    /// Quote units per contract; 0 where the base asset itself is traded.
    pub contract_size: u64,
    /// Whether it is traded at all: listed symbols may be halted.
    pub trading: bool,
    base_ticks: i64,
    trades_per_minute: u64,
    key: u64,
}

/// A candle, complete or running, in ticks and steps of its [`Listing`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrueCandle {
    /// Start of the window, in ms since the Unix epoch.
    pub open_time_ms: i64,
    /// Length of the window; here minutes only, longer ones are folded of them in
    /// [`super::windows`].
    pub interval: Interval,
    /// First price, in ticks.
    pub open: i64,
    /// Highest price, in ticks.
    pub high: i64,
    /// Lowest price, in ticks.
    pub low: i64,
    /// Last price, in ticks.
    pub close: i64,
    /// Quantity in steps of `quantity_decimals` (whole contracts where those are traded).
    pub volume: u64,
    /// Turnover: quote in `price_decimals + quantity_decimals`, or base in 8 decimals where
    /// contracts are traded.
    pub turnover: u64,
    /// The part of `volume` bought by takers.
    pub taker_volume: u64,
    /// The part of `turnover` bought by takers.
    pub taker_turnover: u64,
    /// Number of trades; 0 makes a flat candle at the previous close.
    pub trades: u64,
    /// Id of the first trade; −1 without trades.
    pub first_trade: i64,
}

impl TrueCandle {
    /// Last ms of the window.
    pub fn close_time_ms(&self) -> i64 {
        self.open_time_ms + self.interval.ms() - 1
    }

    /// Id of the last trade; −1 without trades.
    pub fn last_trade(&self) -> i64 {
        if self.trades == 0 { -1 } else { self.first_trade + self.trades as i64 - 1 }
    }
}

/// The symbols of one contract type and their candles.
#[derive(Debug)]
pub struct SimMarket {
    seed: u64,
    market: Market,
    listings: Vec<Listing>,
    by_lower: HashMap<Arc<str>, usize>,
    /// Minutes of symbols that are set to have no trade.
    emptied: BTreeSet<(usize, i64)>,
}

impl SimMarket {
    /// `market` with `extra` synthetic symbols (`SIM0001…`) beside the usual.
    pub fn new(seed: u64, market: Market, extra: usize) -> Self {
        let (listings, by_lower, emptied) = Default::default();
        let mut sim = Self { seed, market, listings, by_lower, emptied };
        for row in rows(market) {
            sim.list(row.name, row);
        }
        for number in 1..=extra {
            let (name, row) = synthetic(market, number);
            sim.list(&name, row);
        }
        sim
    }

    fn list(&mut self, name: &str, row: &Row) {
        let lower: Arc<str> = name.to_lowercase().into();
        let base = delivery::base_of(name, row.quote);
        // Hyperliquid's coinm is the feed of usdm.
        let is_coinm = self.market.contract_type() == ContractType::Coinm;
        let is_shared = is_coinm && self.market.venue() == Venue::Hyperliquid;
        let usdm = Market::find(Venue::Hyperliquid, "usdm").filter(|_| is_shared);
        let feed = usdm.unwrap_or(self.market);
        self.by_lower.insert(lower.clone(), self.listings.len());
        self.listings.push(Listing {
            name: name.into(),
            lower,
            base: base.into(),
            quote: row.quote.into(),
            price_decimals: row.price_decimals,
            quantity_decimals: row.quantity_decimals,
            contract_size: row.contract_size,
            trading: row.trades_per_minute > 0,
            base_ticks: row.base_ticks,
            trades_per_minute: row.trades_per_minute,
            key: name.bytes().fold(feed.index() as u64, |key, byte| mix(key, byte.into())),
        });
    }

    /// Which market it is.
    pub fn market(&self) -> Market {
        self.market
    }

    /// Every listed symbol.
    pub fn listings(&self) -> &[Listing] {
        &self.listings
    }

    /// Index of the symbol spelled `lower` in stream names.
    pub fn find_lower(&self, lower: &str) -> Option<usize> {
        self.by_lower.get(lower).copied()
    }

    /// Index of the symbol spelled `name` in payloads.
    pub fn find(&self, name: &str) -> Option<usize> {
        let index = self.find_lower(&name.to_lowercase())?;
        (&*self.listings[index].name == name).then_some(index)
    }

    /// The true candle of `minute` (minutes since the Unix epoch) for the symbol at `index`.
    pub fn truth(&self, index: usize, minute: i64) -> TrueCandle {
        self.running(index, minute, MINUTE_MS)
    }

    /// What the candle of `minute` is `elapsed_ms` into it: a prefix of the truth. The same until
    /// [`slot`] changes.
    pub fn running(&self, index: usize, minute: i64, elapsed_ms: i64) -> TrueCandle {
        let listing = &self.listings[index];
        let previous = self.last_close(index, minute - 1);
        let mut candle = flat(minute, previous);
        if self.emptied.contains(&(index, minute)) {
            return candle;
        }
        let total = self.trades(listing, minute);
        let path = Path { key: self.key(listing, minute), open: previous, listing, total };
        let close = self.boundary(listing, minute + 1);
        for slot in 1..=slot(Interval::M1, elapsed_ms) {
            path.trade(slot, close, &mut candle);
        }
        if self.market.venue() == Venue::Bybit {
            // Its candles open at the close before, whatever the first trade costs.
            candle.open = previous;
            (candle.high, candle.low) = (candle.high.max(previous), candle.low.min(previous));
        }
        candle
    }

    /// Nothing is, or was, traded in `minute` of the symbol at `index`: its price stays.
    pub fn empty(&mut self, index: usize, minute: i64) {
        self.emptied.insert((index, minute));
    }

    /// A number that depends on seed, symbol and minute, for whatever else is to look random.
    pub fn chance(&self, index: usize, minute: i64) -> u64 {
        mix(self.key(&self.listings[index], minute), 3)
    }

    /// Trades in `minute`; the quiet symbols have minutes without, but never seven in a row.
    fn trades(&self, listing: &Listing, minute: i64) -> u64 {
        let mean = listing.trades_per_minute;
        let chance = mix(self.key(listing, minute), 1);
        let quiet = mean < QUIET_BELOW && minute.rem_euclid(QUIET_MINUTES_MAX) != 0;
        if mean == 0 || (quiet && !chance.is_multiple_of(3)) {
            return 0;
        }
        1 + mean / 2 + mix(chance, 2) % mean
    }

    /// Close of the newest minute up to `minute` that has trades.
    fn last_close(&self, index: usize, minute: i64) -> i64 {
        let listing = &self.listings[index];
        let is_emptied = |ago: i64| self.emptied.contains(&(index, minute - ago));
        let is_traded = |ago: i64| self.trades(listing, minute - ago) > 0 && !is_emptied(ago);
        // Each emptied minute may join two quiet stretches.
        let furthest = QUIET_MINUTES_MAX * (1 + self.emptied.len() as i64);
        let traded = (0..furthest).find(|&ago| is_traded(ago));
        self.boundary(listing, minute - traded.unwrap_or(0) + 1)
    }

    /// Price at the start of `minute`, in ticks: value noise over five octaves, from a day to a
    /// minute, so that any minute is reachable at once and a chart looks like one.
    fn boundary(&self, listing: &Listing, minute: i64) -> i64 {
        let key = mix(self.seed, listing.key);
        let octaves = OCTAVES.iter().map(|&(period, divisor)| {
            let (cell, rest) = (minute.div_euclid(period), minute.rem_euclid(period));
            let level = |cell: i64| {
                let bits = mix(mix(key, period as u64), cell as u64) >> (64 - NOISE_BITS - 1);
                bits as i64 - (1 << NOISE_BITS)
            };
            let noise = (level(cell) * (period - rest) + level(cell + 1) * rest) / period;
            (listing.base_ticks * noise / divisor) >> NOISE_BITS
        });
        (listing.base_ticks + octaves.sum::<i64>()).max(1)
    }

    fn key(&self, listing: &Listing, minute: i64) -> u64 {
        mix(mix(self.seed, listing.key), minute as u64)
    }
}

/// How many of a window's slots are over `elapsed_ms` into it.
pub fn slot(interval: Interval, elapsed_ms: i64) -> i64 {
    elapsed_ms.clamp(0, interval.ms()) * SLOTS / MINUTE_MS
}

/// The trades of one minute, slot by slot.
struct Path<'a> {
    key: u64,
    open: i64,
    listing: &'a Listing,
    total: u64,
}

impl Listing {
    /// When the contract is delivered, in ms since the Unix epoch; `None`: it is not dated.
    pub fn delivery_ms(&self) -> Option<i64> {
        delivery::delivery_ms(&self.name)
    }

    /// How much of the base asset one contract is; `None`: it is counted in the quote asset.
    pub fn contract_amount(&self) -> Option<String> {
        (self.contract_size == 0).then(|| unit(self.quantity_decimals))
    }
}

/// `10^-decimals`.
pub fn unit(decimals: u32) -> String {
    match decimals {
        0 => "1".to_owned(),
        _ => format!("0.{}1", "0".repeat(decimals as usize - 1)),
    }
}

impl Path<'_> {
    /// Adds the trades of `slot` to `candle`, which holds those of the slots before.
    fn trade(&self, slot: i64, close: i64, candle: &mut TrueCandle) {
        let trades = self.total * slot as u64 / SLOTS as u64 - candle.trades;
        if trades == 0 {
            return;
        }
        let chance = mix(self.key, 0x100 + slot as u64);
        let price = self.price(slot, close, chance);
        let quantity = trades * (1 + chance % self.quantity_max());
        let turnover = self.turnover(price, quantity);
        if candle.trades == 0 {
            let open_time_ms = candle.open_time_ms;
            let first_trade = open_time_ms / MINUTE_MS * TRADE_IDS_PER_MINUTE + 1;
            *candle = TrueCandle { open_time_ms, first_trade, ..flat(0, price) };
        }
        candle.high = candle.high.max(price);
        candle.low = candle.low.min(price);
        candle.close = price;
        candle.volume += quantity;
        candle.turnover += turnover;
        if chance & (1 << 40) != 0 {
            candle.taker_volume += quantity;
            candle.taker_turnover += turnover;
        }
        candle.trades += trades;
    }

    /// A straight line from open to close with noise around it; the last trade is the close.
    fn price(&self, slot: i64, close: i64, chance: u64) -> i64 {
        if slot == SLOTS {
            return close;
        }
        let reach = (self.listing.base_ticks / 4000).max(1);
        let noise = (chance >> 16) as i64 % (2 * reach + 1);
        (self.open + (close - self.open) * slot / SLOTS + noise.abs() - reach).max(1)
    }

    /// Steps per trade: about 2,000 quote units, or up to 40 contracts.
    fn quantity_max(&self) -> u64 {
        if self.listing.contract_size > 0 {
            return 40;
        }
        let scale = 10u64.pow(self.listing.price_decimals + self.listing.quantity_decimals);
        (2000 * scale / self.listing.base_ticks.unsigned_abs().max(1)).clamp(1, 1 << 30)
    }

    fn turnover(&self, price: i64, quantity: u64) -> u64 {
        let price = price.unsigned_abs();
        if self.listing.contract_size == 0 {
            return price * quantity;
        }
        let quote = quantity * self.listing.contract_size;
        quote * 10u64.pow(BASE_DECIMALS + self.listing.price_decimals) / price.max(1)
    }
}

fn flat(minute: i64, price: i64) -> TrueCandle {
    TrueCandle {
        open_time_ms: minute * MINUTE_MS,
        open: price,
        high: price,
        low: price,
        close: price,
        first_trade: -1,
        ..TrueCandle::default()
    }
}

/// A number of two words: fast, and the same everywhere.
pub fn mix(left: u64, right: u64) -> u64 {
    rng::mix(left.rotate_left(23) ^ right.wrapping_mul(GOLDEN))
}

/// Appends `value / 10^scale` with `decimals` decimals; those beyond `scale` are zeros.
pub fn write_decimal(out: &mut String, value: u64, scale: u32, decimals: u32) {
    let unit = 10u64.pow(scale);
    push_number(out, value / unit);
    if decimals == 0 {
        return;
    }
    out.push('.');
    let mut rest = value % unit;
    let mut place = unit;
    for _ in 0..decimals {
        place = (place / 10).max(1);
        let digit = if rest == 0 { 0 } else { rest / place };
        rest -= digit * place;
        out.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
    }
}

/// Appends a whole number; several times faster than the formatting machinery.
pub fn push_number(out: &mut String, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend(digits[at..].iter().map(|&digit| char::from(digit)));
}

/// Decimals of a base-asset turnover where contracts are traded (as in the captures).
pub const BASE_DECIMALS: u32 = 8;

/// Slots of a minute: 250 ms each.
const SLOTS: i64 = 240;
const NOISE_BITS: u32 = 20;
/// Symbols with fewer trades a minute have minutes without any.
const QUIET_BELOW: u64 = 4;
const QUIET_MINUTES_MAX: i64 = 7;
const TRADE_IDS_PER_MINUTE: i64 = 100_000;
/// (period in minutes, the base price's divisor that gives the amplitude).
const OCTAVES: [(i64, i64); 5] = [(1440, 40), (240, 100), (30, 300), (5, 800), (1, 2000)];

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 29_000_000;
    fn binance(name: &str) -> Market {
        Market::find(Venue::Binance, name).unwrap()
    }

    #[test]
    fn a_running_candle_is_a_prefix_of_the_truth() {
        for market in Market::all().map(|market| SimMarket::new(7, market, 1)) {
            for (index, minute) in (0..market.listings().len()).zip(MINUTE..) {
                assert_prefixes(&market, index, minute);
            }
        }
    }

    fn assert_prefixes(market: &SimMarket, index: usize, minute: i64) {
        let truth = market.truth(index, minute);
        let mut before = market.running(index, minute, 0);
        assert_eq!(before.trades, 0);
        for elapsed_ms in (0..=MINUTE_MS).step_by(125) {
            let candle = market.running(index, minute, elapsed_ms);
            assert!(candle.volume >= before.volume && candle.trades >= before.trades);
            assert!(candle.turnover >= before.turnover && candle.taker_volume <= candle.volume);
            assert!(candle.low <= candle.open.min(candle.close) && candle.low > 0);
            assert!(candle.high >= candle.open.max(candle.close));
            if before.trades > 0 {
                assert!(candle.high >= before.high && candle.low <= before.low);
                assert_eq!(candle.open, truth.open);
            }
            before = candle;
        }
        assert_eq!(before, truth);
    }

    #[test]
    fn the_same_seed_gives_the_same_candles_and_another_seed_others() {
        let [one, same, other] = [7, 7, 8].map(|seed| SimMarket::new(seed, binance("spot"), 0));
        let candles = |market: &SimMarket| (0..100).map(|m| market.truth(0, m)).collect::<Vec<_>>();
        assert_eq!(candles(&one), candles(&same));
        assert_ne!(candles(&one), candles(&other));
    }

    #[test]
    fn minutes_follow_each_other_closely() {
        for market in Market::all().map(|market| SimMarket::new(1, market, 0)) {
            for minute in MINUTE..MINUTE + 200 {
                let (this, next) = (market.truth(0, minute), market.truth(0, minute + 1));
                let jump = (this.close - next.open).abs();
                assert!(jump * 1000 < this.close, "{this:?} {next:?}");
            }
        }
    }

    #[test]
    fn quiet_symbols_have_flat_minutes_at_the_previous_close() {
        let market = SimMarket::new(1, binance("spot"), 0);
        let quiet = market.find("QUIETUSDT").unwrap();
        let candles: Vec<_> = (0..50).map(|m| market.truth(quiet, MINUTE + m)).collect();
        let flats = candles.windows(2).filter(|pair| pair[1].trades == 0);
        for pair in flats.clone() {
            let [before, flat] = pair else { unreachable!() };
            assert_eq!((flat.open, flat.high, flat.low), (before.close, before.close, flat.close));
            assert_eq!((flat.volume, flat.first_trade, flat.last_trade()), (0, -1, -1));
        }
        assert!((10..45).contains(&flats.count()));
    }

    #[test]
    fn emptied_minutes_are_flat_at_the_previous_close() {
        let bybit = Market::find(Venue::Bybit, "spot").unwrap();
        for kind in [binance("spot"), bybit] {
            let mut market = SimMarket::new(1, kind, 0);
            market.empty(0, MINUTE + 1);
            market.empty(0, MINUTE + 2);
            let [before, one, two, after] = [0, 1, 2, 3].map(|ago| market.truth(0, MINUTE + ago));
            for flat in [one, two] {
                assert_eq!((flat.open, flat.high, flat.trades), (before.close, before.close, 0));
            }
            assert!(after.trades > 0 && (kind != bybit || after.open == before.close));
        }
    }

    #[test]
    fn the_price_of_a_long_quiet_stretch_stays_when_others_are_emptied() {
        let mut market = SimMarket::new(1, binance("spot"), 0);
        let quiet = market.find("QUIETUSDT").unwrap();
        let traded: Vec<i64> =
            (0..40).map(|m| MINUTE + m).filter(|&m| market.truth(quiet, m).trades > 0).collect();
        let before = market.truth(quiet, MINUTE - 1).close;
        traded.iter().for_each(|&minute| market.empty(quiet, minute));
        for _ in 0..2 {
            let closes = (0..40).map(|m| market.truth(quiet, MINUTE + m).close);
            assert!(closes.into_iter().all(|close| close == before));
            (0..30).for_each(|ago| market.empty(0, MINUTE + 900 + ago));
        }
    }

    #[test]
    fn decimals_are_padded_and_never_rounded() {
        let text = |value, scale, decimals| {
            let mut out = String::new();
            write_decimal(&mut out, value, scale, decimals);
            out
        };
        assert_eq!(text(12_345, 2, 8), "123.45000000");
        assert_eq!(text(5, 3, 3), "0.005");
        assert_eq!(text(1893, 0, 0), "1893");
        assert_eq!(text(0, 0, 8), "0.00000000");
    }

    #[test]
    fn extra_symbols_are_listed() {
        let market = SimMarket::new(1, binance("usdm"), 2000);
        assert!(market.find("SIM0001USDT").is_some() && market.find("SIM2000USDT").is_some());
        assert_eq!(market.find("sim0001usdt"), None);
    }
}
