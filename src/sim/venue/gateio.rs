//! Gate.io: what it pushes, and what it answers over REST.

use crate::market::{ContractType, Market, Venue};
use crate::sim::amounts::{Amounts, Pushed, append, price, spelling};
use crate::sim::exchange::Exchange;
use crate::sim::market::{Listing, TrueCandle, push_number, unit};
use crate::sim::rest::rows::{Asked, candles, find, join, newest, number, played, window_from};
use crate::sim::rest::{Query, Response, plain};
use crate::sim::stream::Track;
use crate::sim::venue::binance::percent_decode;
use crate::sim::windows;

pub(crate) fn write_push(
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
    append(out, &[",\"channel\":\"", channel, "\",\"event\":\"update\",\"result\":"]);
    out.push_str(if is_spot { "" } else { "[" });
    for (index, pushed) in candles.iter().enumerate() {
        let candle = pushed.candle;
        let amounts = Amounts { market, listing, candle };
        out.push_str(if index == 0 { "{\"t\":" } else { ",{\"t\":" });
        let mut seconds = String::new();
        push_number(&mut seconds, candle.open_time_ms.div_euclid(1000).unsigned_abs());
        if is_spot {
            append(out, &["\"", &seconds, "\",\"v\":\"", &amounts.volume(), "\""]);
        } else {
            out.push_str(&seconds);
        }
        let prices = [("c", candle.close), ("h", candle.high), ("l", candle.low)];
        for (name, ticks) in prices.into_iter().chain([("o", candle.open)]) {
            append(out, &[",\"", name, "\":\"", &price(listing, ticks), "\""]);
        }
        // Futures, 2026: the name behind the amount, and the volume last.
        let (name, amount) = ([",\"n\":\"", &name, "\""].concat(), amounts.base());
        let amount = [",\"a\":\"", &amount, "\""].concat();
        append(out, &if is_spot { [&name, &amount] } else { [&amount, &*name] });
        out.push_str(match pushed.flag {
            Some(true) => ",\"w\":true",
            Some(false) => ",\"w\":false",
            None => "",
        });
        if !is_spot {
            append(out, &[",\"v\":", &amounts.volume()]);
        }
        out.push('}');
    }
    out.push_str(if is_spot { "}" } else { "]}" });
}

pub(crate) fn answer(exchanges: &[Exchange], (path, query, _): Asked<'_>, now_ms: i64) -> Response {
    let not_found = || {
        let body = "{\"label\":\"NOT_FOUND\",\"message\":\"The requested path does not exist\"}";
        plain(404, body.to_owned())
    };
    let Some(path) = path.strip_prefix("/api/v4/") else { return not_found() };
    let parts: Vec<&str> = path.split('/').collect();
    let (name, what) = match parts[..] {
        ["futures", "usdt", ref what @ ..] => ("um", what),
        ["futures", "btc", ref what @ ..] => ("cm", what),
        ["spot", ref what @ ..] => ("spot", what),
        // There are such lists at Gate; here nothing is in them.
        ["delivery", "usdt" | "btc", "contracts"]
        | ["margin", "currency_pairs"]
        | ["margin", "uni", "currency_pairs"]
        | ["options", "underlyings"] => return plain(200, "[]".to_owned()),
        _ => return not_found(),
    };
    let Some(market) = find(Venue::Gateio, name) else { return not_found() };
    let exchange = &exchanges[market.index()];
    let is_spot = market.contract_type() == ContractType::Spot;
    let (list, key) = if is_spot { ("currency_pairs", "id") } else { ("contracts", "name") };
    match *what {
        [one] if one == list => {
            let instrument = |one: &Listing| gateio_instrument(market, one);
            let mut rows: Vec<String> = exchange.market.listings().iter().map(instrument).collect();
            let state =
                if is_spot { "\"trade_status\":\"tradable\"" } else { "\"in_delisting\":false" };
            rows.extend(
                played(exchange).iter().map(|name| format!("{{\"{key}\":\"{name}\",{state}}}")),
            );
            plain(200, format!("[{}]", join(rows)))
        }
        [one, symbol] if one == list => match exchange.market.find(&percent_decode(symbol)) {
            Some(index) => {
                plain(200, gateio_instrument(market, &exchange.market.listings()[index]))
            }
            None => unknown(is_spot, symbol),
        },
        ["currencies"] if is_spot => plain(200, format!("[{}]", join(gateio_currencies(exchange)))),
        ["candlesticks"] => gateio_candles(exchange, query, now_ms),
        ["time"] if is_spot => plain(200, format!("{{\"server_time\":{now_ms}}}")),
        _ => not_found(),
    }
}

fn error(label: &str, message: &str) -> Response {
    plain(400, format!("{{\"label\":\"{label}\",\"message\":\"{message}\"}}"))
}

fn unknown(is_spot: bool, symbol: &str) -> Response {
    match is_spot {
        true => {
            let symbol = symbol.replace(['"', '\\'], "?");
            error("INVALID_CURRENCY_PAIR", &format!("Invalid currency pair {symbol}"))
        }
        false => error("CONTRACT_NOT_FOUND", "contract not found"),
    }
}

fn gateio_candles(exchange: &Exchange, query: &Query, now_ms: i64) -> Response {
    let market = exchange.profile.market;
    let is_spot = market.contract_type() == ContractType::Spot;
    let symbol = query.get(if is_spot { "currency_pair" } else { "contract" });
    let symbol = symbol.map_or("", |symbol| symbol.as_str());
    let Some(index) = exchange.market.find(symbol) else { return unknown(is_spot, symbol) };
    let (from, to) = (number(query, "from"), number(query, "to"));
    let limit = number(query, "limit");
    if limit.is_some() && from.is_some() && to.is_some() {
        return error("INVALID_PARAM_VALUE", "limit conflicts with from and to");
    }
    let usual = if is_spot { "30m" } else { "5m" };
    let name = query.get("interval").map_or(usual, |name| name.as_str());
    let Some(interval) = windows::read(Venue::Gateio, name) else {
        return error("INVALID_PARAM_VALUE", "invalid interval");
    };
    let window_ms = interval.ms();
    let rows_max = i64::try_from(exchange.profile.klines_limit_max).unwrap_or(1000);
    let limit = limit.unwrap_or(100).clamp(1, rows_max);
    let last = to.map_or(i64::MAX, |to| to.saturating_mul(1000).div_euclid(window_ms));
    let (first, last) = newest(last, limit, now_ms, window_ms);
    let first = from.map_or(first, |from| window_from(from.saturating_mul(1000), window_ms));
    if now_ms.div_euclid(window_ms) - first > 10_000 {
        let words = "Candlestick too long ago. Maximum 10000 points ago are allowed";
        return error("INVALID_PARAM_VALUE", words);
    }
    let listing = &exchange.market.listings()[index];
    let rows = candles(exchange, Track::of(index, interval), (first, last), now_ms);
    let row = |candle: &TrueCandle| gateio_row(market, listing, candle, now_ms);
    plain(200, format!("[{}]", join(rows.iter().map(row).collect())))
}

/// Every asset that is a base or a quote.
fn gateio_currencies(exchange: &Exchange) -> Vec<String> {
    let listings = exchange.market.listings().iter();
    let mut names: Vec<&str> = listings.flat_map(|one| [&*one.base, &*one.quote]).collect();
    names.sort_unstable();
    names.dedup();
    let row = |name: &&str| {
        format!(
            "{{\"currency\":\"{name}\",\"name\":\"{name}\",\"delisted\":false,\"withdraw_disabled\":false,\"withdraw_delayed\":false,\"deposit_disabled\":false,\"trade_disabled\":false,\"chain\":\"{name}\",\"chains\":[]}}"
        )
    };
    names.iter().map(row).collect()
}

fn gateio_row(market: Market, listing: &Listing, candle: &TrueCandle, now_ms: i64) -> String {
    let amounts = Amounts { market, listing, candle };
    let price = |ticks| price(listing, ticks);
    let (t, c, h) = (candle.open_time_ms / 1000, price(candle.close), price(candle.high));
    let (l, o, v) = (price(candle.low), price(candle.open), amounts.volume());
    if market.contract_type() == ContractType::Spot {
        let (base, over) = (amounts.base(), now_ms > candle.close_time_ms());
        return format!("[\"{t}\",\"{v}\",\"{c}\",\"{h}\",\"{l}\",\"{o}\",\"{base}\",\"{over}\"]");
    }
    let sum = amounts.quote();
    format!(
        "{{\"t\":{t},\"v\":{v},\"c\":\"{c}\",\"h\":\"{h}\",\"l\":\"{l}\",\"o\":\"{o}\",\"sum\":\"{sum}\"}}"
    )
}

fn gateio_instrument(market: Market, one: &Listing) -> String {
    if market.contract_type() == ContractType::Spot {
        let state = if one.trading { "tradable" } else { "untradable" };
        return format!(
            "{{\"id\":\"{}\",\"base\":\"{}\",\"quote\":\"{}\",\"fee\":\"0.2\",\"min_base_amount\":\"0.001\",\"min_quote_amount\":\"1\",\"amount_precision\":{},\"precision\":{},\"trade_status\":\"{state}\",\"sell_start\":0,\"buy_start\":0}}",
            one.name, one.base, one.quote, one.quantity_decimals, one.price_decimals
        );
    }
    let is_inverse = one.contract_size > 0;
    let kind = if is_inverse { "inverse" } else { "direct" };
    let multiplier = one.contract_amount().unwrap_or_else(|| "0".to_owned());
    format!(
        "{{\"name\":\"{}\",\"type\":\"{kind}\",\"quanto_multiplier\":\"{multiplier}\",\"leverage_min\":\"1\",\"leverage_max\":\"100\",\"mark_type\":\"index\",\"maintenance_rate\":\"0.005\",\"maker_fee_rate\":\"-0.00025\",\"taker_fee_rate\":\"0.00075\",\"order_price_round\":\"{}\",\"order_price_deviate\":\"0.5\",\"order_size_min\":1,\"order_size_max\":1000000,\"mark_price\":\"1\",\"index_price\":\"1\",\"last_price\":\"1\",\"funding_rate\":\"0.0001\",\"funding_interval\":28800,\"in_delisting\":{},\"create_time\":1546905600}}",
        one.name,
        unit(one.price_decimals),
        !one.trading
    )
}
