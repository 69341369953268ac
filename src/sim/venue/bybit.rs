//! Bybit: what it pushes, and what it answers over REST.

use crate::market::{ContractType, Market, Venue};
use crate::sim::amounts::{Amounts, Pushed, append, price, spelling};
use crate::sim::exchange::Exchange;
use crate::sim::market::{Listing, TrueCandle, push_number, unit};
use crate::sim::rest::rows::{Asked, candles, find, join, newest, number, played, window_from};
use crate::sim::rest::{Query, Response, plain};
use crate::sim::stream::Track;
use crate::sim::windows;

pub(crate) fn write_push(
    market: Market,
    out: &mut String,
    listing: &Listing,
    candles: &[Pushed<'_>],
    now_ms: i64,
) {
    let is_spot = market.contract_type() == ContractType::Spot;
    let head =
        if is_spot { "{\"type\":\"snapshot\",\"topic\":\"kline." } else { "{\"topic\":\"kline." };
    let code = spelling(market, candles);
    append(out, &[head, code, ".", &listing.name, "\",\"data\":["]);
    for (index, pushed) in candles.iter().enumerate() {
        let candle = pushed.candle;
        let amounts = Amounts { market, listing, candle };
        out.push_str(if index == 0 { "{\"start\":" } else { ",{\"start\":" });
        push_number(out, candle.open_time_ms.unsigned_abs());
        out.push_str(",\"end\":");
        push_number(out, candle.close_time_ms().unsigned_abs());
        append(out, &[",\"interval\":\"", code, "\""]);
        let prices = [("open", candle.open), ("close", candle.close)];
        for (name, ticks) in prices.into_iter().chain([("high", candle.high), ("low", candle.low)])
        {
            append(out, &[",\"", name, "\":\"", &price(listing, ticks), "\""]);
        }
        let confirm = if pushed.flag == Some(true) { "true" } else { "false" };
        append(out, &[",\"volume\":\"", &amounts.volume(), "\",\"turnover\":\""]);
        append(out, &[&amounts.turnover(), "\",\"confirm\":", confirm, ",\"timestamp\":"]);
        push_number(out, now_ms.unsigned_abs());
        out.push('}');
    }
    out.push_str("],\"ts\":");
    push_number(out, now_ms.unsigned_abs());
    out.push_str(if is_spot { "}" } else { ",\"type\":\"snapshot\"}" });
}

fn row(market: Market, listing: &Listing, candle: &TrueCandle) -> String {
    let amounts = Amounts { market, listing, candle };
    let prices = [candle.open, candle.high, candle.low, candle.close];
    let prices = prices.map(|ticks| price(listing, ticks)).join("\",\"");
    format!(
        "[\"{}\",\"{prices}\",\"{}\",\"{}\"]",
        candle.open_time_ms,
        amounts.volume(),
        amounts.turnover()
    )
}

pub(crate) fn answer(exchanges: &[Exchange], (path, query, _): Asked<'_>, now_ms: i64) -> Response {
    let answer = |code: i32, message: &str, result: &str| {
        plain(
            200,
            format!(
                "{{\"retCode\":{code},\"retMsg\":\"{message}\",\"result\":{result},\"retExtInfo\":{{}},\"time\":{now_ms}}}"
            ),
        )
    };
    let category = query.get("category").map_or("linear", |category| category.as_str());
    let symbol = query.get("symbol").map_or("", |symbol| symbol.as_str());
    match path {
        "/v5/market/time" => answer(
            0,
            "OK",
            &format!("{{\"timeSecond\":\"{}\",\"timeNano\":\"{now_ms}000000\"}}", now_ms / 1000),
        ),
        "/v5/market/instruments-info" | "/v5/market/kline" => {
            let Some(market) = find(Venue::Bybit, category) else {
                // There are options at Bybit, but not here.
                return match category {
                    "option" => answer(
                        0,
                        "OK",
                        "{\"category\":\"option\",\"list\":[],\"nextPageCursor\":\"\"}",
                    ),
                    _ => answer(10001, "Illegal category", "{}"),
                };
            };
            let exchange = &exchanges[market.index()];
            if path.ends_with("kline") {
                let Some(index) = exchange.market.find(symbol) else {
                    return answer(10001, "Not supported symbols", "{}");
                };
                let code = query.get("interval").map_or("", |code| code.as_str());
                let Some(interval) = windows::read(Venue::Bybit, code) else {
                    return answer(10001, "Invalid period!", "{}");
                };
                let window_ms = interval.ms();
                let limit = number(query, "limit").unwrap_or(200).clamp(1, 1000);
                let times = (number(query, "start"), number(query, "end"));
                let (from, to) = windows_asked(times, limit, now_ms, window_ms);
                let track = Track::of(index, interval);
                let mut rows: Vec<String> = candles(exchange, track, (from, to), now_ms)
                    .iter()
                    .map(|candle| row(market, &exchange.market.listings()[index], candle))
                    .collect();
                rows.reverse();
                let result = format!(
                    "{{\"symbol\":\"{symbol}\",\"category\":\"{category}\",\"list\":[{}]}}",
                    join(rows)
                );
                return answer(0, "OK", &result);
            }
            match instruments(exchange, query) {
                Some(result) => answer(0, "OK", &result),
                None => answer(10001, "params error: symbol invalid", "{}"),
            }
        }
        _ => plain(404, "{}".to_owned()),
    }
}

/// First and last window asked for. A start alone counts on from the window that contains it; with
/// an end, the newest rows up to that are meant.
fn windows_asked(
    (start, end): (Option<i64>, Option<i64>),
    limit: i64,
    now_ms: i64,
    window_ms: i64,
) -> (i64, i64) {
    if let (Some(start), None) = (start, end) {
        let first = start.max(0).div_euclid(window_ms);
        return (first, first.saturating_add(limit - 1));
    }
    let end = end.map_or(i64::MAX, |end| end.div_euclid(window_ms));
    let (from, to) = newest(end, limit, now_ms, window_ms);
    (start.map_or(from, |start| from.max(window_from(start, window_ms))), to)
}

/// The `result` of `instruments-info`; `None`: the symbol asked for is not listed. A page holds
/// rows as they are listed, those that the question leaves out not counted.
fn instruments(exchange: &Exchange, query: &Query) -> Option<String> {
    let market = exchange.profile.market;
    let category = market.contract_type().name();
    let is_wanted = |key: &str, value: &str| query.get(key).is_none_or(|one| one == value);
    let listed = exchange.market.listings().iter().filter(|one| {
        is_wanted("symbol", &one.name)
            && is_wanted("baseCoin", &one.base)
            && is_wanted("status", status(one))
    });
    let mut rows: Vec<String> = listed.map(|one| instrument(market, one)).collect();
    let played = played(exchange).into_iter().filter(|name| is_wanted("symbol", name));
    rows.extend(played.map(|name| format!("{{\"symbol\":\"{name}\",\"status\":\"Trading\"}}")));
    if rows.is_empty() && query.contains_key("symbol") {
        return None;
    }
    let is_paged = market.contract_type() != ContractType::Spot;
    let limit = number(query, "limit").unwrap_or(500).clamp(1, 1000);
    let limit = if is_paged { usize::try_from(limit).unwrap_or(1) } else { usize::MAX };
    let start = number(query, "cursor").and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
    let end = start.saturating_add(limit).min(rows.len());
    let cursor = if end < rows.len() { end.to_string() } else { String::new() };
    let page = rows[start.min(end)..end].join(",");
    Some(format!(
        "{{\"category\":\"{category}\",\"list\":[{page}],\"nextPageCursor\":\"{cursor}\"}}"
    ))
}

fn status(one: &Listing) -> &'static str {
    if one.trading { "Trading" } else { "Closed" }
}

fn instrument(market: Market, one: &Listing) -> String {
    let status = status(one);
    let (tick, step) = (unit(one.price_decimals), unit(one.quantity_decimals));
    if market.contract_type() == ContractType::Spot {
        return format!(
            "{{\"symbol\":\"{}\",\"baseCoin\":\"{}\",\"quoteCoin\":\"{}\",\"innovation\":\"0\",\"status\":\"{status}\",\"marginTrading\":\"none\",\"lotSizeFilter\":{{\"basePrecision\":\"{step}\",\"quotePrecision\":\"0.01\",\"minOrderQty\":\"{step}\",\"maxOrderQty\":\"1000\",\"minOrderAmt\":\"1\",\"maxOrderAmt\":\"1000000\"}},\"priceFilter\":{{\"tickSize\":\"{tick}\"}}}}",
            one.name, one.base, one.quote
        );
    }
    let is_inverse = one.contract_size > 0;
    let is_dated = one.delivery_ms().is_some();
    let kind = match (is_inverse, is_dated) {
        (true, false) => "InversePerpetual",
        (true, true) => "InverseFutures",
        (false, false) => "LinearPerpetual",
        (false, true) => "LinearFutures",
    };
    let accept_closed = if is_inverse { &one.base } else { &one.quote };
    let expiry = one.delivery_ms().unwrap_or(0);
    format!(
        "{{\"symbol\":\"{}\",\"contractType\":\"{kind}\",\"status\":\"{status}\",\"baseCoin\":\"{}\",\"quoteCoin\":\"{}\",\"launchTime\":\"1585526400000\",\"deliveryTime\":\"{expiry}\",\"deliveryFeeRate\":\"\",\"priceScale\":\"{}\",\"leverageFilter\":{{\"minLeverage\":\"1\",\"maxLeverage\":\"100.00\",\"leverageStep\":\"0.01\"}},\"priceFilter\":{{\"minPrice\":\"{tick}\",\"maxPrice\":\"1999999.80\",\"tickSize\":\"{tick}\"}},\"lotSizeFilter\":{{\"maxOrderQty\":\"1190.000\",\"minOrderQty\":\"{step}\",\"qtyStep\":\"{step}\",\"minNotionalValue\":\"5\"}},\"unifiedMarginTrade\":true,\"fundingInterval\":480,\"settleCoin\":\"{accept_closed}\"}}",
        one.name, one.base, one.quote, one.price_decimals
    )
}
