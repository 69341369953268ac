//! The table of listed symbols. Decimals are those the venue uses; spot pads to eight, so price
//! and quantity decimals of a spot symbol sum to eight at most.

use crate::market::{ContractType, Market, Venue};

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

/// The usual symbols of `market`.
pub(super) fn rows(market: Market) -> &'static [Row] {
    match (market.venue(), market.contract_type()) {
        (Venue::Binance, ContractType::Usdm) => USDM,
        (Venue::Binance, ContractType::Coinm) => COINM,
        (Venue::Binance, _) => SPOT,
        (Venue::Okx, ContractType::Swap) => OKX_SWAP,
        (Venue::Okx, ContractType::Futures) => OKX_FUTURES,
        (Venue::Okx, _) => OKX_SPOT,
        (Venue::Bybit, ContractType::Linear) => BYBIT_LINEAR,
        (Venue::Bybit, ContractType::Inverse) => BYBIT_INVERSE,
        (Venue::Bybit, _) => BYBIT_SPOT,
        (Venue::Gateio, ContractType::Um) => GATE_UM,
        (Venue::Gateio, ContractType::Cm) => GATE_CM,
        (Venue::Gateio, _) => GATE_SPOT,
        (Venue::Hyperliquid, ContractType::Spot) => HYPERLIQUID_SPOT,
        (Venue::Hyperliquid, _) => HYPERLIQUID_PERP,
    }
}

/// The name of the synthetic symbol `number`, and what it is like.
pub(super) fn synthetic(market: Market, number: usize) -> (String, &'static Row) {
    let name = match (market.venue(), market.contract_type()) {
        (Venue::Binance, ContractType::Coinm) => format!("SIM{number:04}USD_PERP"),
        (Venue::Binance, _) => format!("SIM{number:04}USDT"),
        (Venue::Okx, ContractType::Swap) => format!("SIM{number:04}-USDT-SWAP"),
        (Venue::Okx, ContractType::Futures) => format!("SIM{number:04}-USDT-261225"),
        (Venue::Okx, _) => format!("SIM{number:04}-USDT"),
        (Venue::Bybit, ContractType::Inverse) => format!("SIM{number:04}USD"),
        (Venue::Bybit, _) => format!("SIM{number:04}USDT"),
        (Venue::Gateio, ContractType::Cm) => format!("SIM{number:04}_USD"),
        (Venue::Gateio, _) => format!("SIM{number:04}_USDT"),
        (Venue::Hyperliquid, ContractType::Spot) => format!("@{}", 1000 + number),
        (Venue::Hyperliquid, _) => format!("SIM{number:04}"),
    };
    let row = match (market.venue(), market.contract_type()) {
        (Venue::Binance, ContractType::Usdm) => &SYNTHETIC[1],
        (_, ContractType::Coinm) if market.venue() == Venue::Binance => &SYNTHETIC[2],
        (Venue::Bybit, ContractType::Inverse) | (Venue::Gateio, ContractType::Cm) => &SYNTHETIC[3],
        _ => &SYNTHETIC[0],
    };
    (name, row)
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
const SYNTHETIC: [Row; 4] = [
    row("", "USDT", (4, 2), 123_456, 60, 0),
    row("", "USDT", (4, 1), 123_456, 60, 0),
    row("", "USD", (3, 0), 123_456, 60, 10),
    row("", "USD", (3, 0), 123_456, 60, 1),
];

const OKX_SPOT: &[Row] = &[
    row("BTC-USDT", "USDT", (1, 5), 971_234, 1500, 0),
    row("ETH-USDT", "USDT", (2, 4), 341_217, 1000, 0),
    row("SOL-USDT", "USDT", (2, 3), 17_635, 600, 0),
    row("XRP-USDT", "USDT", (4, 1), 24_518, 500, 0),
    row("DOGE-USDT", "USDT", (5, 0), 18_342, 300, 0),
    row("BTC-USDC", "USDC", (1, 5), 971_301, 90, 0),
    row("ETH-BTC", "BTC", (5, 3), 3_513, 30, 0),
    row("QUIET-USDT", "USDT", (4, 1), 15_200, 1, 0),
    row("LUNA-USDT", "USDT", (4, 2), 912, 0, 0),
];

const OKX_SWAP: &[Row] = &[
    row("BTC-USDT-SWAP", "USDT", (1, 2), 971_312, 2000, 0),
    row("ETH-USDT-SWAP", "USDT", (2, 1), 341_288, 1500, 0),
    row("SOL-USDT-SWAP", "USDT", (2, 0), 17_637, 700, 0),
    row("XRP-USDT-SWAP", "USDT", (4, 0), 24_519, 400, 0),
    row("BTC-USD-SWAP", "USD", (1, 0), 971_190, 300, 100),
    row("ETH-USD-SWAP", "USD", (2, 0), 341_251, 200, 10),
    row("BTC-USDC-SWAP", "USDC", (1, 3), 971_290, 60, 0),
    row("QUIET-USDT-SWAP", "USDT", (4, 0), 15_210, 1, 0),
    row("SRM-USDT-SWAP", "USDT", (4, 0), 3_120, 0, 0),
];

const OKX_FUTURES: &[Row] = &[
    row("BTC-USD-261225", "USD", (1, 0), 982_355, 120, 100),
    row("ETH-USD-261225", "USD", (2, 0), 345_251, 90, 10),
    row("BTC-USDT-261225", "USDT", (1, 2), 982_411, 100, 0),
    row("ETH-USDT-261225", "USDT", (2, 1), 345_301, 80, 0),
    row("BTC-USD-270326", "USD", (1, 0), 991_355, 60, 100),
    row("SOL-USD-261225", "USD", (2, 0), 17_800, 40, 10),
    row("QUIET-USD-261225", "USD", (4, 0), 15_205, 1, 10),
    row("FIL-USD-261225", "USD", (3, 0), 5_124, 0, 10),
];

const BYBIT_SPOT: &[Row] = &[
    row("BTCUSDT", "USDT", (2, 6), 9_712_345, 1500, 0),
    row("ETHUSDT", "USDT", (2, 5), 341_217, 1000, 0),
    row("SOLUSDT", "USDT", (2, 3), 17_635, 600, 0),
    row("XRPUSDT", "USDT", (4, 2), 24_518, 500, 0),
    row("DOGEUSDT", "USDT", (5, 1), 18_342, 300, 0),
    row("BTCUSDC", "USDC", (2, 6), 9_713_011, 90, 0),
    row("ETHBTC", "BTC", (6, 3), 35_132, 30, 0),
    row("QUIETUSDT", "USDT", (4, 1), 15_200, 1, 0),
    row("LUNAUSDT", "USDT", (4, 2), 912, 0, 0),
];

const BYBIT_LINEAR: &[Row] = &[
    row("BTCUSDT", "USDT", (1, 3), 971_312, 2000, 0),
    row("ETHUSDT", "USDT", (2, 2), 341_288, 1500, 0),
    row("SOLUSDT", "USDT", (3, 1), 176_370, 900, 0),
    row("1000PEPEUSDT", "USDT", (7, 0), 123_456, 400, 0),
    row("BTCPERP", "USDC", (1, 3), 971_290, 200, 0),
    row("ETHPERP", "USDC", (2, 2), 341_301, 100, 0),
    row("BTCUSDT-25DEC26", "USDT", (1, 3), 982_411, 40, 0),
    row("QUIETUSDT", "USDT", (4, 0), 15_210, 1, 0),
    row("SRMUSDT", "USDT", (4, 0), 3_120, 0, 0),
];

const BYBIT_INVERSE: &[Row] = &[
    row("BTCUSD", "USD", (1, 0), 971_190, 400, 1),
    row("ETHUSD", "USD", (2, 0), 341_251, 300, 1),
    row("SOLUSD", "USD", (3, 0), 176_362, 120, 1),
    row("XRPUSD", "USD", (4, 0), 24_515, 90, 1),
    row("ADAUSD", "USD", (4, 0), 6_531, 60, 1),
    row("BTCUSDZ26", "USD", (1, 0), 982_355, 30, 1),
    row("QUIETUSD", "USD", (4, 0), 15_205, 1, 1),
    row("FILUSD", "USD", (3, 0), 5_124, 0, 1),
];

const GATE_SPOT: &[Row] = &[
    row("BTC_USDT", "USDT", (1, 6), 971_234, 900, 0),
    row("ETH_USDT", "USDT", (2, 4), 341_217, 700, 0),
    row("SOL_USDT", "USDT", (2, 3), 17_635, 400, 0),
    row("XRP_USDT", "USDT", (4, 2), 24_518, 300, 0),
    row("DOGE_USDT", "USDT", (5, 1), 18_342, 200, 0),
    row("GT_USDT", "USDT", (3, 3), 16_812, 60, 0),
    row("ETH_BTC", "BTC", (5, 3), 3_513, 30, 0),
    row("QUIET_USDT", "USDT", (4, 1), 15_200, 1, 0),
    row("LUNA_USDT", "USDT", (4, 2), 912, 0, 0),
];

const GATE_UM: &[Row] = &[
    row("BTC_USDT", "USDT", (1, 4), 971_312, 1200, 0),
    row("ETH_USDT", "USDT", (2, 2), 341_288, 900, 0),
    row("SOL_USDT", "USDT", (3, 0), 176_370, 500, 0),
    row("XRP_USDT", "USDT", (4, 0), 24_519, 300, 0),
    row("DOGE_USDT", "USDT", (5, 0), 18_344, 200, 0),
    row("PEPE_USDT", "USDT", (8, 0), 1_235, 90, 0),
    row("GT_USDT", "USDT", (3, 0), 16_815, 40, 0),
    row("QUIET_USDT", "USDT", (4, 0), 15_210, 1, 0),
    row("SRM_USDT", "USDT", (4, 0), 3_120, 0, 0),
];

const GATE_CM: &[Row] = &[
    row("BTC_USD", "USD", (1, 0), 971_190, 200, 1),
    row("ETH_USD", "USD", (2, 0), 341_251, 100, 1),
    row("SOL_USD", "USD", (3, 0), 176_362, 60, 1),
    row("XRP_USD", "USD", (4, 0), 24_515, 40, 1),
    row("DOGE_USD", "USD", (5, 0), 18_340, 30, 1),
    row("LTC_USD", "USD", (2, 0), 10_410, 20, 1),
    row("QUIET_USD", "USD", (4, 0), 15_205, 1, 1),
    row("FIL_USD", "USD", (3, 0), 5_124, 0, 1),
];

const HYPERLIQUID_SPOT: &[Row] = &[
    row("PURR/USDC", "USDC", (5, 0), 18_211, 200, 0),
    row("@107", "USDC", (3, 2), 92_652, 600, 0),
    row("@1", "USDC", (4, 2), 78_120, 90, 0),
    row("@142", "USDC", (0, 5), 97_119, 300, 0),
    row("@151", "USDC", (1, 4), 34_120, 250, 0),
    row("@156", "USDC", (2, 3), 17_636, 120, 0),
    row("@8", "USDC", (4, 2), 15_205, 1, 0),
    row("@9", "USDC", (4, 2), 912, 0, 0),
];

const HYPERLIQUID_PERP: &[Row] = &[
    row("BTC", "USDC", (0, 5), 97_131, 1200, 0),
    row("ETH", "USDC", (1, 4), 34_129, 900, 0),
    row("SOL", "USDC", (2, 2), 17_637, 600, 0),
    row("HYPE", "USDC", (3, 2), 92_651, 500, 0),
    row("kPEPE", "USDC", (6, 0), 12_345, 300, 0),
    row("kSHIB", "USDC", (6, 0), 21_456, 120, 0),
    row("AAVE", "USDC", (2, 2), 18_258, 40, 0),
    row("PURR", "USDC", (5, 0), 18_215, 30, 0),
    row("QUIET", "USDC", (4, 1), 15_210, 1, 0),
    row("SRM", "USDC", (4, 0), 3_120, 0, 0),
];
