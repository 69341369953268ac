//! The table of listed symbols. Decimals are those the venue uses; spot pads to eight, so price
//! and quantity decimals of a spot symbol sum to eight at most.

use crate::market::ContractType;

/// One symbol and what its candles are like.
pub(super) struct Row {
    /// The venue's spelling.
    pub(super) name: &'static str,
    /// The quote asset.
    pub(super) quote: &'static str,
    /// Decimals of a price.
    pub(super) price_decimals: u32,
    /// Decimals of a quantity; 0 where whole contracts are traded.
    pub(super) quantity_decimals: u32,
    /// The price around which it moves, in ticks.
    pub(super) base_ticks: i64,
    /// 0: listed, but halted.
    pub(super) trades_per_minute: u64,
    /// Quote units per contract; 0 where the base asset itself is traded.
    pub(super) contract_size: u64,
}

const fn row(
    name: &'static str,
    quote: &'static str,
    (price_decimals, quantity_decimals): (u32, u32),
    base_ticks: i64,
    trades_per_minute: u64,
    contract_size: u64,
) -> Row {
    Row {
        name,
        quote,
        price_decimals,
        quantity_decimals,
        base_ticks,
        trades_per_minute,
        contract_size,
    }
}

/// The usual symbols of `contract_type`.
pub(super) fn rows(contract_type: ContractType) -> &'static [Row] {
    match contract_type {
        ContractType::Usdm => USDM,
        ContractType::Coinm => COINM,
        _ => SPOT,
    }
}

const SPOT: &[Row] = &[
    row("BTCUSDT", "USDT", (2, 5), 9_712_345, 1800, 0),
    row("ETHUSDT", "USDT", (2, 4), 341_217, 1200, 0),
    row("BNBUSDT", "USDT", (2, 3), 87_240, 600, 0),
    row("SOLUSDT", "USDT", (2, 3), 17_635, 800, 0),
    row("XRPUSDT", "USDT", (4, 1), 24_518, 700, 0),
    row("DOGEUSDT", "USDT", (5, 0), 18_342, 500, 0),
    row("ADAUSDT", "USDT", (4, 1), 6_531, 300, 0),
    row("LTCUSDT", "USDT", (2, 3), 10_412, 200, 0),
    row("TRXUSDT", "USDT", (4, 1), 3_127, 200, 0),
    row("ETHBTC", "BTC", (5, 3), 3_513, 90, 0),
    row("BNBBTC", "BTC", (6, 2), 8_982, 30, 0),
    row("BELBTC", "BTC", (8, 0), 2_369, 2, 0),
    row("QUIETUSDT", "USDT", (4, 1), 15_200, 1, 0),
    row("币安人生USDT", "USDT", (4, 1), 1_874, 60, 0),
    row("LUNAUSDT", "USDT", (4, 2), 912, 0, 0),
];

const USDM: &[Row] = &[
    row("BTCUSDT", "USDT", (2, 3), 9_713_120, 2400, 0),
    row("ETHUSDT", "USDT", (2, 3), 341_288, 1600, 0),
    row("BNBUSDT", "USDT", (2, 2), 87_251, 500, 0),
    row("SOLUSDT", "USDT", (4, 0), 1_763_700, 900, 0),
    row("XRPUSDT", "USDT", (4, 1), 24_519, 700, 0),
    row("DOGEUSDT", "USDT", (5, 0), 18_344, 400, 0),
    row("CTKUSDT", "USDT", (5, 0), 101_100, 40, 0),
    row("QUIETUSDT", "USDT", (4, 0), 15_210, 1, 0),
    row("币安人生USDT", "USDT", (5, 0), 18_741, 80, 0),
    row("BTCUSDT_261225", "USDT", (1, 3), 982_411, 20, 0),
    row("SRMUSDT", "USDT", (4, 0), 3_120, 0, 0),
];

const COINM: &[Row] = &[
    row("BTCUSD_PERP", "USD", (1, 0), 971_190, 300, 100),
    row("ETHUSD_PERP", "USD", (2, 0), 341_251, 250, 10),
    row("BNBUSD_PERP", "USD", (2, 0), 87_243, 90, 10),
    row("SOLUSD_PERP", "USD", (3, 0), 176_362, 120, 10),
    row("ETCUSD_PERP", "USD", (3, 0), 42_278, 60, 10),
    row("QUIETUSD_PERP", "USD", (4, 0), 15_205, 1, 10),
    row("BTCUSD_261225", "USD", (1, 0), 982_355, 12, 100),
    row("FILUSD_PERP", "USD", (3, 0), 5_124, 0, 10),
];

/// What the synthetic symbols are like, by contract type.
pub(super) const SYNTHETIC: [Row; 3] = [
    row("", "USDT", (4, 2), 123_456, 60, 0),
    row("", "USDT", (4, 1), 123_456, 60, 0),
    row("", "USD", (3, 0), 123_456, 60, 10),
];
