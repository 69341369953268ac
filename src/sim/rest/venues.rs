//! What OKX and Bybit answer over REST: candles in each one's order and shape, instrument lists,
//! errors and limits in each one's words. Gate's and Hyperliquid's are in modules of their own.

use simd_json::OwnedValue;
use simd_json::prelude::*;

use crate::clock::MonoNs;
use crate::market::{ContractType, Market, Venue};
use crate::sim::exchange::Exchange;
use crate::sim::market::{Listing, TrueCandle, unit};
use crate::sim::pushes::{self, Amounts};
use crate::sim::stream::Track;
use crate::sim::windows;

use super::gateio::gateio;
use super::hyperliquid::hyperliquid;
use super::{Query, Response, Rest, TooMany, plain, window_from};

pub(super) type Asked<'a> = (&'a str, &'a Query, &'a str);

impl Rest {
    /// A port answers for every market of its venue.
    pub(super) fn other(
        &mut self,
        exchanges: &[Exchange],
        index: usize,
        asked: Asked<'_>,
        now: MonoNs,
    ) -> Response {
        let exchange = &exchanges[index];
        let venue = exchange.profile.market.venue();
        let body = parse(asked.2);
        let weight = if venue == Venue::Hyperliquid { 20 } else { 1 };
        if let Err(refused) = self.spend(exchange, weight, now) {
            return refusal(venue, refused, exchange.unix_ms(now), now);
        }
        let now_ms = exchange.rest_ms(now);
        match venue {
            Venue::Okx => okx(exchanges, asked, now_ms),
            Venue::Bybit => bybit(exchanges, asked, now_ms),
            Venue::Gateio => gateio(exchanges, asked, now_ms),
            Venue::Hyperliquid | Venue::Binance => {
                hyperliquid(exchanges, index, asked, body.as_ref(), now_ms)
            }
        }
    }
}

fn parse(body: &str) -> Option<OwnedValue> {
    simd_json::to_owned_value(&mut body.as_bytes().to_vec()).ok()
}

fn refusal(venue: Venue, refused: TooMany, now_ms: i64, now: MonoNs) -> Response {
    let wait = refused.until.since(now).as_secs() + 1;
    match venue {
        Venue::Okx => {
            let body = "{\"msg\":\"Too Many Requests\",\"code\":\"50011\"}".to_owned();
            plain(429, body)
        }
        Venue::Bybit => {
            plain(403, "{\"retCode\":403,\"retMsg\":\"access too frequent\"}".to_owned())
        }
        Venue::Gateio => {
            let body =
                "{\"label\":\"TOO_MANY_REQUESTS\",\"message\":\"Request Rate limit Exceeded\"}";
            let reset = now_ms.div_euclid(1000) + i64::try_from(wait).unwrap_or(0);
            let headers = vec![
                ("X-Gate-RateLimit-Requests-Remain", "0".to_owned()),
                ("X-Gate-RateLimit-Reset-Timestamp", reset.to_string()),
            ];
            Response { headers, ..plain(429, body.to_owned()) }
        }
        Venue::Hyperliquid | Venue::Binance => plain(429, "null".to_owned()),
    }
}

pub(super) fn find(venue: Venue, name: &str) -> Option<Market> {
    Market::find(venue, name)
}

/// Symbols of captures that are played, beside those listed.
pub(super) fn played(exchange: &Exchange) -> Vec<String> {
    let messages = exchange.settings.playback.iter();
    let mut symbols: Vec<String> = messages.map(|one| one.symbol().to_owned()).collect();
    symbols.sort_unstable();
    symbols.dedup();
    symbols.retain(|symbol| exchange.market.find(symbol).is_none());
    symbols
}

/// Candles of `track` that open in `from..=to` (numbers of windows), the oldest first.
pub(super) fn candles(
    exchange: &Exchange,
    Track { index, interval, .. }: Track,
    (from, to): (i64, i64),
    now_ms: i64,
) -> Vec<TrueCandle> {
    let last = to.min(now_ms.div_euclid(interval.ms()));
    let candle = |window: i64| {
        let elapsed_ms = exchange.row_elapsed_ms(interval, window, now_ms);
        windows::running(&exchange.market, index, (interval, window), elapsed_ms)
    };
    (from.max(0)..=last).map(candle).collect()
}

/// The newest `limit` windows up to `to`.
pub(super) fn newest(to: i64, limit: i64, now_ms: i64, window_ms: i64) -> (i64, i64) {
    let last = to.min(now_ms.div_euclid(window_ms));
    (last - limit + 1, last)
}

pub(super) fn number(query: &Query, key: &str) -> Option<i64> {
    query.get(key)?.parse().ok()
}

pub(super) fn join(rows: Vec<String>) -> String {
    rows.join(",")
}

fn okx(exchanges: &[Exchange], (path, query, _): Asked<'_>, now_ms: i64) -> Response {
    let error = |code: &str, message: &str| {
        plain(200, format!("{{\"code\":\"{code}\",\"msg\":\"{message}\",\"data\":[]}}"))
    };
    let done =
        |rows: String| plain(200, format!("{{\"code\":\"0\",\"msg\":\"\",\"data\":[{rows}]}}"));
    match path {
        "/api/v5/public/time" => done(format!("{{\"ts\":\"{now_ms}\"}}")),
        "/api/v5/public/instruments" => match okx_instruments(exchanges, query) {
            Ok(rows) => done(rows),
            Err((code, message)) => error(code, message),
        },
        "/api/v5/market/candles" | "/api/v5/market/history-candles" => {
            let symbol = query.get("instId").map_or("", |symbol| symbol.as_str());
            let here =
                Market::default_of(Venue::Okx, symbol).map(|market| &exchanges[market.index()]);
            let found = here.and_then(|here| Some((here, here.market.find(symbol)?)));
            let Some((exchange, index)) = found else {
                return error("51001", "Instrument ID does not exist");
            };
            let bar = query.get("bar").map_or("1m", |bar| bar.as_str());
            let Some(interval) = windows::read(Venue::Okx, bar) else {
                return error("51000", "Parameter bar error");
            };
            let window_ms = interval.ms();
            // Cursors exclude, and `after` means older.
            let limit = number(query, "limit").unwrap_or(100).clamp(1, 300);
            let older = number(query, "after")
                .map_or(i64::MAX, |end| end.saturating_sub(1).div_euclid(window_ms));
            let newer = number(query, "before").map(|start| start.div_euclid(window_ms) + 1);
            let (from, to) = newest(older, limit, now_ms, window_ms);
            let from = newer.map_or(from, |newer| from.max(newer));
            let track = Track::of(index, interval);
            let mut rows: Vec<String> = candles(exchange, track, (from, to), now_ms)
                .iter()
                .map(|candle| {
                    let mut row = String::new();
                    let is_over = now_ms > candle.close_time_ms();
                    let confirm = if is_over { "1" } else { "0" };
                    let listing = &exchange.market.listings()[index];
                    pushes::okx_row(exchange.profile.market, &mut row, listing, candle, confirm);
                    row
                })
                .collect();
            rows.reverse();
            done(join(rows))
        }
        _ => plain(404, "{\"msg\":\"Not Found\",\"code\":\"404\",\"data\":{}}".to_owned()),
    }
}

/// The rows asked for, or code and words of the error.
fn okx_instruments(
    exchanges: &[Exchange],
    query: &Query,
) -> Result<String, (&'static str, &'static str)> {
    let kind = query.get("instType").map_or("", |kind| kind.as_str());
    let market = match (kind, find(Venue::Okx, kind)) {
        (_, Some(market)) => market,
        // There are such instruments at OKX, but not here.
        ("MARGIN" | "OPTION" | "EVENTS", None) => return Ok(String::new()),
        ("", None) => return Err(("50014", "Parameter instType can not be empty.")),
        _ => return Err(("51000", "Parameter instType error")),
    };
    let exchange = &exchanges[market.index()];
    let is_wanted = |key: &str, value: &str| query.get(key).is_none_or(|one| one == value);
    let listed = exchange.market.listings().iter().filter(|one| {
        let family = okx_family(market, one);
        is_wanted("instId", &one.name)
            && is_wanted("instFamily", &family)
            && is_wanted("uly", &family)
    });
    let mut rows: Vec<String> = listed.map(|one| okx_instrument(market, one)).collect();
    let played = played(exchange).into_iter().filter(|name| is_wanted("instId", name));
    rows.extend(played.map(|name| {
        format!("{{\"instId\":\"{name}\",\"instType\":\"{kind}\",\"state\":\"live\"}}")
    }));
    match rows.is_empty() && query.contains_key("instId") {
        true => Err(("51001", "Instrument ID does not exist")),
        false => Ok(join(rows)),
    }
}

/// What a contract is about, `BTC-USD`; empty on spot.
fn okx_family(market: Market, one: &Listing) -> String {
    match market.contract_type() {
        ContractType::Spot => String::new(),
        _ => format!("{}-{}", one.base, one.quote),
    }
}

fn okx_instrument(market: Market, one: &Listing) -> String {
    let kind = market.contract_type().name().to_uppercase();
    let state = if one.trading { "live" } else { "suspend" };
    let is_spot = market.contract_type() == ContractType::Spot;
    let is_inverse = one.contract_size > 0;
    let (base, quote) = if is_spot { (&*one.base, &*one.quote) } else { ("", "") };
    let accept_closed = match (is_spot, is_inverse) {
        (true, _) => "",
        (_, true) => &one.base,
        (_, false) => &one.quote,
    };
    let contract = match (is_spot, is_inverse) {
        (true, _) => ("", String::new(), ""),
        (_, true) => ("inverse", one.contract_size.to_string(), "USD"),
        (_, false) => ("linear", unit(one.quantity_decimals), &*one.base),
    };
    let expiry = one.delivery_ms().map_or(String::new(), |ms| ms.to_string());
    let family = okx_family(market, one);
    format!(
        "{{\"alias\":\"\",\"baseCcy\":\"{base}\",\"category\":\"1\",\"ctMult\":\"{}\",\"ctType\":\"{}\",\"ctVal\":\"{}\",\"ctValCcy\":\"{}\",\"expTime\":\"{expiry}\",\"instFamily\":\"{family}\",\"instId\":\"{}\",\"instType\":\"{kind}\",\"lever\":\"10\",\"listTime\":\"1548133413000\",\"lotSz\":\"{}\",\"minSz\":\"{}\",\"maxLmtSz\":\"1000000\",\"maxMktSz\":\"1000000\",\"maxIcebergSz\":\"1000000\",\"maxTwapSz\":\"1000000\",\"maxTriggerSz\":\"1000000\",\"maxStopSz\":\"1000000\",\"maxLmtAmt\":\"20000000\",\"maxMktAmt\":\"1000000\",\"ruleType\":\"normal\",\"optType\":\"\",\"quoteCcy\":\"{quote}\",\"settleCcy\":\"{accept_closed}\",\"state\":\"{state}\",\"stk\":\"\",\"tickSz\":\"{}\",\"uly\":\"{family}\"}}",
        if is_spot { "" } else { "1" },
        contract.0,
        contract.1,
        contract.2,
        one.name,
        if is_spot { unit(one.quantity_decimals) } else { "1".to_owned() },
        if is_spot { unit(one.quantity_decimals) } else { "1".to_owned() },
        unit(one.price_decimals),
    )
}

fn bybit(exchanges: &[Exchange], (path, query, _): Asked<'_>, now_ms: i64) -> Response {
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
                let (from, to) = bybit_windows(times, limit, now_ms, window_ms);
                let track = Track::of(index, interval);
                let mut rows: Vec<String> = candles(exchange, track, (from, to), now_ms)
                    .iter()
                    .map(|candle| bybit_row(market, &exchange.market.listings()[index], candle))
                    .collect();
                rows.reverse();
                let result = format!(
                    "{{\"symbol\":\"{symbol}\",\"category\":\"{category}\",\"list\":[{}]}}",
                    join(rows)
                );
                return answer(0, "OK", &result);
            }
            match bybit_instruments(exchange, query) {
                Some(result) => answer(0, "OK", &result),
                None => answer(10001, "params error: symbol invalid", "{}"),
            }
        }
        _ => plain(404, "{}".to_owned()),
    }
}

/// The `result` of `instruments-info`; `None`: the symbol asked for is not listed. A page holds
/// rows as they are listed, those that the question leaves out not counted.
fn bybit_instruments(exchange: &Exchange, query: &Query) -> Option<String> {
    let market = exchange.profile.market;
    let category = market.contract_type().name();
    let is_wanted = |key: &str, value: &str| query.get(key).is_none_or(|one| one == value);
    let listed = exchange.market.listings().iter().filter(|one| {
        is_wanted("symbol", &one.name)
            && is_wanted("baseCoin", &one.base)
            && is_wanted("status", bybit_status(one))
    });
    let mut rows: Vec<String> = listed.map(|one| bybit_instrument(market, one)).collect();
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

fn bybit_status(one: &Listing) -> &'static str {
    if one.trading { "Trading" } else { "Closed" }
}

/// First and last window asked for. A start alone counts on from the window that contains it; with
/// an end, the newest rows up to that are meant.
fn bybit_windows(
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

fn bybit_row(market: Market, listing: &Listing, candle: &TrueCandle) -> String {
    let amounts = Amounts { market, listing, candle };
    let prices = [candle.open, candle.high, candle.low, candle.close];
    let prices = prices.map(|ticks| pushes::price(listing, ticks)).join("\",\"");
    format!(
        "[\"{}\",\"{prices}\",\"{}\",\"{}\"]",
        candle.open_time_ms,
        amounts.volume(),
        amounts.turnover()
    )
}

fn bybit_instrument(market: Market, one: &Listing) -> String {
    let status = bybit_status(one);
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
