//! The simulated Binance's exchangeInfo: what is listed, and whether it is traded. Holds the fields
//! a market-data client reads; order filters beyond tick and step are left out.

use crate::market::ContractType;

use super::exchange::Exchange;
use super::market::{Listing, write_decimal};

/// The body of `exchangeInfo` at `now_ms`. Symbols of a capture that is played are listed too.
pub fn exchange_info(exchange: &Exchange, now_ms: i64) -> String {
    let contract_type = exchange.profile.market.contract_type();
    let listed = exchange.market.listings().iter().map(|one| symbol(contract_type, one));
    let mut symbols: Vec<String> = listed.collect();
    let mut played: Vec<&str> =
        exchange.settings.playback.iter().map(|message| message.symbol()).collect();
    played.sort_unstable();
    played.dedup();
    played.retain(|lower| exchange.market.find_lower(lower).is_none());
    let status = status_key(contract_type);
    symbols.extend(played.iter().map(|lower| {
        format!("{{\"symbol\":\"{}\",\"{status}\":\"TRADING\"}}", lower.to_uppercase())
    }));
    format!(
        "{{\"timezone\":\"UTC\",\"serverTime\":{now_ms},\"rateLimits\":[{{\"rateLimitType\":\
         \"REQUEST_WEIGHT\",\"interval\":\"MINUTE\",\"intervalNum\":1,\"limit\":{}}}],\
         \"exchangeFilters\":[],\"symbols\":[{}]}}",
        exchange.profile.rest_limit.0,
        symbols.join(",")
    )
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
    let unit = |decimals| {
        let mut out = String::new();
        write_decimal(&mut out, 1, decimals, decimals);
        out
    };
    format!(
        "{{\"symbol\":\"{}\",\"{}\":\"{status}\",\"baseAsset\":\"{}\",\"quoteAsset\":\"{}\",{}\
         \"filters\":[{{\"filterType\":\"PRICE_FILTER\",\"tickSize\":\"{}\"}},\
         {{\"filterType\":\"LOT_SIZE\",\"stepSize\":\"{}\"}}]}}",
        listing.name,
        status_key(contract_type),
        listing.base,
        listing.quote,
        contract(contract_type, listing),
        unit(listing.price_decimals),
        unit(listing.quantity_decimals),
    )
}

/// The fields that only futures have.
fn contract(contract_type: ContractType, listing: &Listing) -> String {
    if contract_type == ContractType::Spot {
        return "\"isSpotTradingAllowed\":true,".to_owned();
    }
    let mut parts = listing.name.split('_');
    let pair = parts.next().unwrap_or(&listing.name);
    let dated = parts.next().is_some_and(|end| end.bytes().all(|byte| byte.is_ascii_digit()));
    let kind = if dated { "CURRENT_QUARTER" } else { "PERPETUAL" };
    let size = match listing.contract_size {
        0 => String::new(),
        size => format!("\"contractSize\":{size},"),
    };
    format!(
        "\"pair\":\"{pair}\",\"contractType\":\"{kind}\",{size}\"pricePrecision\":{},\
         \"quantityPrecision\":{},",
        listing.price_decimals, listing.quantity_decimals
    )
}
