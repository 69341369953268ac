//! The simulated Binance's exchangeInfo: what is listed, and whether it is traded. Holds the fields
//! a market-data client reads; order filters beyond tick and step are left out.

use crate::market::ContractType;

use super::contract_kind;
use crate::sim::exchange::Exchange;
use crate::sim::market::{Listing, write_decimal};

/// The body of `exchangeInfo` at `now_ms`, of the symbols in `only` or of all. Symbols of a capture
/// that is played are listed too. `None`: one of `only` is not listed.
pub(super) fn exchange_info(
    exchange: &Exchange,
    now_ms: i64,
    only: Option<&[String]>,
) -> Option<String> {
    let contract_type = exchange.profile.market.contract_type();
    let listed = exchange.market.listings().iter();
    let mut symbols: Vec<(String, String)> =
        listed.map(|one| (one.name.to_string(), symbol(contract_type, one))).collect();
    let mut played: Vec<&str> =
        exchange.settings.playback.iter().map(|message| message.symbol()).collect();
    played.sort_unstable();
    played.dedup();
    played.retain(|lower| exchange.market.find_lower(lower).is_none());
    let status = status_key(contract_type);
    symbols.extend(played.iter().map(|lower| {
        let name = lower.to_uppercase();
        let row = format!("{{\"symbol\":\"{name}\",\"{status}\":\"TRADING\"}}");
        (name, row)
    }));
    if let Some(only) = only {
        let is_listed = |name: &String| symbols.iter().any(|(one, _)| one == name);
        if !only.iter().all(is_listed) {
            return None;
        }
        symbols.retain(|(name, _)| only.contains(name));
    }
    let rows: Vec<String> = symbols.into_iter().map(|(_, row)| row).collect();
    let futures = match contract_type {
        ContractType::Usdm => USDM_ASSETS,
        _ => "",
    };
    Some(format!(
        "{{\"timezone\":\"UTC\",\"serverTime\":{now_ms},{futures}\
         \"rateLimits\":[{{\"rateLimitType\":\"REQUEST_WEIGHT\",\"interval\":\"MINUTE\",\"intervalNum\":1,\"limit\":{}}}],\
         \"exchangeFilters\":[],\"symbols\":[{}]}}",
        exchange.profile.rest_limit.0,
        rows.join(",")
    ))
}

/// COIN-M spells it differently.
fn status_key(contract_type: ContractType) -> &'static str {
    if contract_type == ContractType::Coinm { "contractStatus" } else { "status" }
}

fn symbol(contract_type: ContractType, listing: &Listing) -> String {
    let halted = match contract_type {
        ContractType::Usdm => "SETTLING",
        ContractType::Coinm => "PENDING_TRADING",
        _ => "BREAK",
    };
    let status = if listing.trading { "TRADING" } else { halted };
    format!(
        "{{\"symbol\":\"{}\",\"{}\":\"{status}\",\"baseAsset\":\"{}\",\"quoteAsset\":\"{}\",\
         \"baseAssetPrecision\":8,\"quotePrecision\":8,{}\"filters\":[{}]}}",
        listing.name,
        status_key(contract_type),
        listing.base,
        listing.quote,
        match contract_type {
            ContractType::Spot => SPOT_FIELDS.to_owned(),
            _ => contract(contract_type, listing),
        },
        filters(contract_type, listing),
    )
}

/// Tick and step are the listing's; the other bounds are round numbers that no order meets.
fn filters(contract_type: ContractType, listing: &Listing) -> String {
    let unit = |decimals| {
        let mut out = String::new();
        write_decimal(&mut out, 1, decimals, decimals);
        out
    };
    let (tick, step) = (unit(listing.price_decimals), unit(listing.quantity_decimals));
    let notional = match contract_type {
        ContractType::Spot => NOTIONAL,
        ContractType::Usdm => ",{\"filterType\":\"MIN_NOTIONAL\",\"notional\":\"5\"}",
        _ => "",
    };
    let lots = ["LOT_SIZE", "MARKET_LOT_SIZE"].map(|kind| {
        format!(
            "{{\"filterType\":\"{kind}\",\"minQty\":\"{step}\",\"maxQty\":\"1000000\",\
             \"stepSize\":\"{step}\"}}"
        )
    });
    format!(
        "{{\"filterType\":\"PRICE_FILTER\",\"minPrice\":\"{tick}\",\"maxPrice\":\"1000000\",\
         \"tickSize\":\"{tick}\"}},{},{{\"filterType\":\"MAX_NUM_ORDERS\",\"{}\":200}}{notional}",
        lots.join(","),
        if contract_type == ContractType::Spot { "maxNumOrders" } else { "limit" },
    )
}

/// The fields that only futures have.
fn contract(contract_type: ContractType, listing: &Listing) -> String {
    let pair = listing.name.split('_').next().unwrap_or(&listing.name);
    let delivery_ms = listing.delivery_ms();
    let kind = contract_kind(listing);
    let is_coinm = contract_type == ContractType::Coinm;
    let own = match is_coinm {
        true => format!("\"contractSize\":{},\"equalQtyPrecision\":4,", listing.contract_size),
        false => "\"settlePlan\":0,".to_owned(),
    };
    format!(
        "\"pair\":\"{pair}\",\"contractType\":\"{kind}\",\"deliveryDate\":{},\
         \"onboardDate\":1569398400000,\"marginAsset\":\"{}\",{own}\"pricePrecision\":{},\
         \"quantityPrecision\":{},{FUTURES_FIELDS}",
        delivery_ms.unwrap_or(NEVER_MS),
        if is_coinm { &listing.base } else { &listing.quote },
        listing.price_decimals,
        listing.quantity_decimals
    )
}

/// Source: `deliveryDate` of perpetual contracts, 2100-12-25T08:00:00Z.
const NEVER_MS: i64 = 4_133_404_800_000;
/// What is the same in every listing; values as captured in August 2025.
const FUTURES_FIELDS: &str = "\"maintMarginPercent\":\"2.5000\",\
    \"requiredMarginPercent\":\"5.0000\",\
    \"liquidationFee\":\"0.012500\",\"marketTakeBound\":\"0.05\",\"triggerProtect\":\"0.0500\",\
    \"maxMoveOrderLimit\":10000,\"underlyingType\":\"COIN\",\"underlyingSubType\":[],\
    \"orderTypes\":[\"LIMIT\",\"MARKET\",\"STOP\",\"STOP_MARKET\",\"TAKE_PROFIT\",\
    \"TAKE_PROFIT_MARKET\",\"TRAILING_STOP_MARKET\"],\
    \"timeInForce\":[\"GTC\",\"IOC\",\"FOK\",\"GTX\"],";
const SPOT_FIELDS: &str = "\"quoteAssetPrecision\":8,\"baseCommissionPrecision\":8,\
    \"quoteCommissionPrecision\":8,\"orderTypes\":[\"LIMIT\",\"LIMIT_MAKER\",\"MARKET\",\
    \"STOP_LOSS\",\"STOP_LOSS_LIMIT\",\"TAKE_PROFIT\",\"TAKE_PROFIT_LIMIT\"],\
    \"icebergAllowed\":true,\"ocoAllowed\":true,\"otoAllowed\":true,\
    \"quoteOrderQtyMarketAllowed\":true,\"allowTrailingStop\":true,\"cancelReplaceAllowed\":true,\
    \"amendAllowed\":true,\"isSpotTradingAllowed\":true,\"isMarginTradingAllowed\":false,\
    \"permissions\":[],\"permissionSets\":[[\"SPOT\"]],\
    \"defaultSelfTradePreventionMode\":\"EXPIRE_MAKER\",\
    \"allowedSelfTradePreventionModes\":[\"EXPIRE_TAKER\",\"EXPIRE_MAKER\",\"EXPIRE_BOTH\",\
    \"DECREMENT\"],";
const NOTIONAL: &str = ",{\"filterType\":\"NOTIONAL\",\"minNotional\":\"5.00000000\",\
    \"applyMinToMarket\":true,\"maxNotional\":\"9000000.00000000\",\"applyMaxToMarket\":false,\
    \"avgPriceMins\":5}";
const USDM_ASSETS: &str = "\"futuresType\":\"U_MARGINED\",\"assets\":[{\"asset\":\"USDT\",\
    \"marginAvailable\":true,\"autoAssetExchange\":\"-10000\"}],";
