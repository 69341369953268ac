//! What OKX, Bybit, Gate and Hyperliquid answer over REST: candles in each one's order and shape,
//! instrument lists, errors and limits in each one's words.

use simd_json::OwnedValue;
use simd_json::prelude::*;

use crate::clock::MonoNs;
use crate::market::{ContractType, Market, Venue};
use crate::sim::exchange::Exchange;
use crate::sim::market::{Listing, TrueCandle, unit};
use crate::sim::pushes::{self, Amounts};
use crate::sim::stream::Track;
use crate::sim::windows;

use super::{Query, Response, Rest, TooMany, plain, window_from};

type Asked<'a> = (&'a str, &'a Query, &'a str);

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

fn find(venue: Venue, name: &str) -> Option<Market> {
    Market::find(venue, name)
}

/// Symbols of captures that are played, beside those listed.
fn played(exchange: &Exchange) -> Vec<String> {
    let messages = exchange.settings.playback.iter();
    let mut symbols: Vec<String> = messages.map(|one| one.symbol().to_owned()).collect();
    symbols.sort_unstable();
    symbols.dedup();
    symbols.retain(|symbol| exchange.market.find(symbol).is_none());
    symbols
}

/// Candles of `track` that open in `from..=to` (numbers of windows), the oldest first.
fn candles(
    exchange: &Exchange,
    Track { index, interval }: Track,
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
fn newest(to: i64, limit: i64, now_ms: i64, window_ms: i64) -> (i64, i64) {
    let last = to.min(now_ms.div_euclid(window_ms));
    (last - limit + 1, last)
}

fn number(query: &Query, key: &str) -> Option<i64> {
    query.get(key)?.parse().ok()
}

fn join(rows: Vec<String>) -> String {
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
        "/api/v5/public/instruments" => {
            let kind = query.get("instType").map_or("", |kind| kind.as_str());
            let Some(market) = find(Venue::Okx, kind) else { return done(String::new()) };
            let exchange = &exchanges[market.index()];
            let mut rows: Vec<String> =
                exchange.market.listings().iter().map(|one| okx_instrument(market, one)).collect();
            rows.extend(played(exchange).iter().map(|name| {
                format!("{{\"instId\":\"{name}\",\"instType\":\"{kind}\",\"state\":\"live\"}}")
            }));
            done(join(rows))
        }
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
            let track = Track { index, interval };
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

fn okx_instrument(market: Market, one: &Listing) -> String {
    let kind = market.contract_type().name().to_uppercase();
    let state = if one.trading { "live" } else { "suspend" };
    let is_spot = market.contract_type() == ContractType::Spot;
    let is_inverse = one.contract_size > 0;
    let (base, quote) = if is_spot { (&*one.base, &*one.quote) } else { ("", "") };
    let settle = match (is_spot, is_inverse) {
        (true, _) => "",
        (_, true) => &one.base,
        (_, false) => &one.quote,
    };
    let contract = match (is_spot, is_inverse) {
        (true, _) => ("", String::new(), ""),
        (_, true) => ("inverse", one.contract_size.to_string(), "USD"),
        (_, false) => ("linear", unit(one.quantity_decimals), &*one.base),
    };
    let expiry = one.name.rsplit('-').next().filter(|_| kind == "FUTURES").unwrap_or("");
    let expiry = if expiry.is_empty() { String::new() } else { EXPIRY_MS.to_string() };
    format!(
        "{{\"alias\":\"\",\"baseCcy\":\"{base}\",\"category\":\"1\",\"ctMult\":\"{}\",\"ctType\":\"{}\",\"ctVal\":\"{}\",\"ctValCcy\":\"{}\",\"expTime\":\"{expiry}\",\"instFamily\":\"\",\"instId\":\"{}\",\"instType\":\"{kind}\",\"lever\":\"10\",\"listTime\":\"1548133413000\",\"lotSz\":\"{}\",\"minSz\":\"{}\",\"optType\":\"\",\"quoteCcy\":\"{quote}\",\"settleCcy\":\"{settle}\",\"state\":\"{state}\",\"stk\":\"\",\"tickSz\":\"{}\",\"uly\":\"{}\"}}",
        if is_spot { "" } else { "1" },
        contract.0,
        contract.1,
        contract.2,
        one.name,
        if is_spot { unit(one.quantity_decimals) } else { "1".to_owned() },
        if is_spot { unit(one.quantity_decimals) } else { "1".to_owned() },
        unit(one.price_decimals),
        if is_spot { String::new() } else { format!("{}-{}", one.base, one.quote) },
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
                return answer(0, "OK", "{\"category\":\"\",\"list\":[],\"nextPageCursor\":\"\"}");
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
                let track = Track { index, interval };
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
            let listings = exchange.market.listings();
            let is_paged = market.contract_type() != ContractType::Spot;
            let limit = match is_paged {
                true => usize::try_from(number(query, "limit").unwrap_or(500))
                    .unwrap_or(1)
                    .clamp(1, 1000),
                false => usize::MAX,
            };
            let start: usize =
                query.get("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
            let end = start.saturating_add(limit).min(listings.len());
            let mut rows: Vec<String> = listings[start.min(end)..end]
                .iter()
                .map(|one| bybit_instrument(market, one))
                .collect();
            if start == 0 {
                rows.extend(
                    played(exchange)
                        .iter()
                        .map(|name| format!("{{\"symbol\":\"{name}\",\"status\":\"Trading\"}}")),
                );
            }
            let cursor = if end < listings.len() { end.to_string() } else { String::new() };
            let result = format!(
                "{{\"category\":\"{category}\",\"list\":[{}],\"nextPageCursor\":\"{cursor}\"}}",
                join(rows)
            );
            answer(0, "OK", &result)
        }
        _ => plain(404, "{}".to_owned()),
    }
}

/// First and last window asked for. A start alone counts on from the window that contains it; with an
/// end, the newest rows up to that are meant.
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
    let status = if one.trading { "Trading" } else { "Closed" };
    let (tick, step) = (unit(one.price_decimals), unit(one.quantity_decimals));
    if market.contract_type() == ContractType::Spot {
        return format!(
            "{{\"symbol\":\"{}\",\"baseCoin\":\"{}\",\"quoteCoin\":\"{}\",\"innovation\":\"0\",\"status\":\"{status}\",\"marginTrading\":\"none\",\"lotSizeFilter\":{{\"basePrecision\":\"{step}\",\"quotePrecision\":\"0.01\",\"minOrderQty\":\"{step}\",\"maxOrderQty\":\"1000\",\"minOrderAmt\":\"1\",\"maxOrderAmt\":\"1000000\"}},\"priceFilter\":{{\"tickSize\":\"{tick}\"}}}}",
            one.name, one.base, one.quote
        );
    }
    let is_inverse = one.contract_size > 0;
    let is_dated = one.name.contains('-') || one.name.ends_with("Z26");
    let kind = match (is_inverse, is_dated) {
        (true, false) => "InversePerpetual",
        (true, true) => "InverseFutures",
        (false, false) => "LinearPerpetual",
        (false, true) => "LinearFutures",
    };
    let settle = if is_inverse { &one.base } else { &one.quote };
    let expiry = if is_dated { EXPIRY_MS } else { 0 };
    format!(
        "{{\"symbol\":\"{}\",\"contractType\":\"{kind}\",\"status\":\"{status}\",\"baseCoin\":\"{}\",\"quoteCoin\":\"{}\",\"launchTime\":\"1585526400000\",\"deliveryTime\":\"{expiry}\",\"deliveryFeeRate\":\"\",\"priceScale\":\"{}\",\"leverageFilter\":{{\"minLeverage\":\"1\",\"maxLeverage\":\"100.00\",\"leverageStep\":\"0.01\"}},\"priceFilter\":{{\"minPrice\":\"{tick}\",\"maxPrice\":\"1999999.80\",\"tickSize\":\"{tick}\"}},\"lotSizeFilter\":{{\"maxOrderQty\":\"1190.000\",\"minOrderQty\":\"{step}\",\"qtyStep\":\"{step}\",\"minNotionalValue\":\"5\"}},\"unifiedMarginTrade\":true,\"fundingInterval\":480,\"settleCoin\":\"{settle}\"}}",
        one.name, one.base, one.quote, one.price_decimals
    )
}

fn gateio(exchanges: &[Exchange], (path, query, _): Asked<'_>, now_ms: i64) -> Response {
    let error = |label: &str, message: &str| {
        plain(400, format!("{{\"label\":\"{label}\",\"message\":\"{message}\"}}"))
    };
    let market = match path.strip_prefix("/api/v4/futures/").and_then(|rest| rest.split('/').next())
    {
        Some("usdt") => find(Venue::Gateio, "um"),
        Some("btc") => find(Venue::Gateio, "cm"),
        Some(_) => None,
        None => find(Venue::Gateio, "spot"),
    };
    let Some(market) = market else { return plain(200, "[]".to_owned()) };
    let exchange = &exchanges[market.index()];
    let is_spot = market.contract_type() == ContractType::Spot;
    match path.rsplit('/').next() {
        Some("currency_pairs" | "contracts") => {
            let instrument = |one: &Listing| gateio_instrument(market, one);
            let mut rows: Vec<String> = exchange.market.listings().iter().map(instrument).collect();
            let key = if is_spot { "id" } else { "name" };
            let state =
                if is_spot { "\"trade_status\":\"tradable\"" } else { "\"in_delisting\":false" };
            rows.extend(
                played(exchange).iter().map(|name| format!("{{\"{key}\":\"{name}\",{state}}}")),
            );
            plain(200, format!("[{}]", join(rows)))
        }
        Some("candlesticks") => {
            let symbol = query.get(if is_spot { "currency_pair" } else { "contract" });
            let symbol = symbol.map_or("", |symbol| symbol.as_str());
            let Some(index) = exchange.market.find(symbol) else {
                return match is_spot {
                    true => {
                        error("INVALID_CURRENCY_PAIR", &format!("Invalid currency pair {symbol}"))
                    }
                    false => error("CONTRACT_NOT_FOUND", "contract not found"),
                };
            };
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
            let first =
                from.map_or(first, |from| window_from(from.saturating_mul(1000), window_ms));
            if now_ms.div_euclid(window_ms) - first > 10_000 {
                let words = "Candlestick too long ago. Maximum 10000 points ago are allowed";
                return error("INVALID_PARAM_VALUE", words);
            }
            let listing = &exchange.market.listings()[index];
            let rows = candles(exchange, Track { index, interval }, (first, last), now_ms);
            let row = |candle: &TrueCandle| gateio_row(market, listing, candle, now_ms);
            plain(200, format!("[{}]", join(rows.iter().map(row).collect())))
        }
        Some("time") => plain(200, format!("{{\"server_time\":{now_ms}}}")),
        _ => plain(200, "[]".to_owned()),
    }
}

fn gateio_row(market: Market, listing: &Listing, candle: &TrueCandle, now_ms: i64) -> String {
    let amounts = Amounts { market, listing, candle };
    let price = |ticks| pushes::price(listing, ticks);
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

fn hyperliquid(
    exchanges: &[Exchange],
    index: usize,
    (path, _, text): Asked<'_>,
    body: Option<&OwnedValue>,
    now_ms: i64,
) -> Response {
    let malformed = || {
        plain(
            422,
            format!(
                "Failed to deserialize the JSON body into the target type ({} bytes)",
                text.len()
            ),
        )
    };
    let (true, Some(body)) = (path == "/info", body) else { return malformed() };
    let spot = find(Venue::Hyperliquid, "spot").map_or(index, Market::index);
    let perp = find(Venue::Hyperliquid, "usdm").map_or(index, Market::index);
    let is_dex = body.get("dex").and_then(|dex| dex.as_str()).is_some_and(|dex| !dex.is_empty());
    match body.get("type").and_then(|kind| kind.as_str()) {
        Some("meta" | "metaAndAssetCtxs") if is_dex => plain(200, "{\"universe\":[]}".to_owned()),
        Some("meta") => plain(200, perp_meta(&exchanges[perp])),
        Some("metaAndAssetCtxs") => {
            let count = exchanges[perp].market.listings().len();
            let contexts = vec![CONTEXT; count].join(",");
            plain(200, format!("[{},[{contexts}]]", perp_meta(&exchanges[perp])))
        }
        Some("perpDexs") => plain(200, "[null]".to_owned()),
        Some("spotMeta") => plain(200, spot_meta(&exchanges[spot])),
        Some("spotMetaAndAssetCtxs") => {
            let listings = exchanges[spot].market.listings().iter();
            let contexts = listings
                .map(|one| CONTEXT.replacen('{', &format!("{{\"coin\":\"{}\",", one.name), 1));
            let contexts = join(contexts.collect());
            plain(200, format!("[{},[{contexts}]]", spot_meta(&exchanges[spot])))
        }
        Some("candleSnapshot") => {
            match snapshot([index, spot, perp].map(|one| &exchanges[one]), body, now_ms) {
                Some(rows) => plain(200, format!("[{rows}]")),
                None => malformed(),
            }
        }
        _ => malformed(),
    }
}

/// `None`: malformed. A coin that none of `exchanges` has does not exist, and has no candles.
fn snapshot(exchanges: [&Exchange; 3], body: &OwnedValue, now_ms: i64) -> Option<String> {
    let wanted = body.get("req")?;
    let coin = wanted.get("coin")?.as_str()?;
    let start = wanted.get("startTime")?.as_i64()?;
    let end = wanted.get("endTime").and_then(|end| end.as_i64()).unwrap_or(i64::MAX);
    let found = exchanges.into_iter().find_map(|one| Some((one, one.market.find(coin)?)));
    let Some((exchange, index)) = found else { return Some(String::new()) };
    let interval = windows::read(Venue::Hyperliquid, wanted.get("interval")?.as_str()?)?;
    let last = end.min(now_ms).div_euclid(interval.ms());
    let first = start.div_euclid(interval.ms()).max(last - 4999);
    let listing = &exchange.market.listings()[index];
    let rows = candles(exchange, Track { index, interval }, (first, last), now_ms);
    let rows = rows.into_iter().filter(|candle| {
        // The row of a window without trades comes late.
        candle.trades > 0 || now_ms > candle.close_time_ms() + DEAD_ROW_DELAY_MS
    });
    let rows = rows.map(|candle| {
        let mut row = String::new();
        pushes::hyperliquid_candle(&mut row, listing, &candle);
        row
    });
    Some(join(rows.collect()))
}

fn perp_meta(exchange: &Exchange) -> String {
    let coin = |one: &Listing| {
        let delisted = if one.trading { "" } else { ",\"isDelisted\":true" };
        format!(
            "{{\"szDecimals\":{},\"name\":\"{}\",\"maxLeverage\":40{delisted}}}",
            one.quantity_decimals, one.name
        )
    };
    let mut rows: Vec<String> = exchange.market.listings().iter().map(coin).collect();
    rows.extend(
        played(exchange).iter().map(|name| format!("{{\"name\":\"{name}\",\"szDecimals\":2}}")),
    );
    format!("{{\"universe\":[{}]}}", join(rows))
}

/// Token 0 is USDC; the others are named after the coin's number.
fn spot_meta(exchange: &Exchange) -> String {
    let (mut tokens, mut universe) = (
        vec!["{\"name\":\"USDC\",\"szDecimals\":8,\"weiDecimals\":8,\"index\":0}".to_owned()],
        Vec::new(),
    );
    let mut names: Vec<(String, u32)> = exchange
        .market
        .listings()
        .iter()
        .map(|one| (one.name.to_string(), one.quantity_decimals))
        .collect();
    names.extend(played(exchange).into_iter().map(|name| (name, 2)));
    for (at, (name, decimals)) in names.iter().enumerate() {
        let token = match &**name {
            "PURR/USDC" => "PURR".to_owned(),
            "@107" => "HYPE".to_owned(),
            "@142" => "UBTC".to_owned(),
            "@151" => "UETH".to_owned(),
            other => format!("T{}", other.trim_start_matches('@')),
        };
        let number = at + 1;
        tokens.push(format!(
            "{{\"name\":\"{token}\",\"szDecimals\":{decimals},\"weiDecimals\":8,\"index\":{number}}}"
        ));
        let index = name.trim_start_matches('@').parse().unwrap_or(0);
        universe.push(format!(
            "{{\"tokens\":[{number},0],\"name\":\"{name}\",\"index\":{index},\"isCanonical\":{}}}",
            index == 0
        ));
    }
    format!("{{\"universe\":[{}],\"tokens\":[{}]}}", join(universe), join(tokens))
}

/// What goes with each coin, as far as clients need it to load a market.
const CONTEXT: &str = "{\"dayNtlVlm\":\"1.0\",\"funding\":\"0.0000125\",\"markPx\":\"1.0\",\"midPx\":\"1.0\",\"openInterest\":\"1.0\",\"oraclePx\":\"1.0\",\"premium\":\"0.0\",\"prevDayPx\":\"1.0\"}";
/// 2026-12-25T08:00:00Z, when the dated contracts of the list are delivered.
const EXPIRY_MS: i64 = 1_798_185_600_000;
/// Hyperliquid's flat rows appear this late; the real delay is not known.
const DEAD_ROW_DELAY_MS: i64 = 10_000;
