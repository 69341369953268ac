//! OKX: what it pushes, and what it answers over REST.

use crate::market::{ContractType, Market, Venue};
use crate::sim::amounts::{Amounts, Pushed, append, price, spelling};
use crate::sim::exchange::Exchange;
use crate::sim::market::{Listing, TrueCandle, push_number, unit};
use crate::sim::rest::rows::{Asked, candles, find, join, newest, number, played};
use crate::sim::rest::{Query, Response, plain};
use crate::sim::stream::Track;
use crate::sim::windows;

pub(crate) fn write_push(
    market: Market,
    out: &mut String,
    listing: &Listing,
    candles: &[Pushed<'_>],
) {
    let bar = spelling(market, candles);
    append(out, &["{\"arg\":{\"channel\":\"candle", bar, "\",\"instId\":\"", &listing.name]);
    out.push_str("\"},\"data\":[");
    for (index, pushed) in candles.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        let confirm = if pushed.flag == Some(true) { "1" } else { "0" };
        write_row(market, out, listing, pushed.candle, confirm);
    }
    out.push_str("]}");
}

/// `["ts","o","h","l","c","vol","volCcy","volCcyQuote","confirm"]`.
pub(crate) fn write_row(
    market: Market,
    out: &mut String,
    listing: &Listing,
    candle: &TrueCandle,
    confirm: &str,
) {
    out.push_str("[\"");
    push_number(out, candle.open_time_ms.unsigned_abs());
    for ticks in [candle.open, candle.high, candle.low, candle.close] {
        append(out, &["\",\"", &price(listing, ticks)]);
    }
    let amounts = Amounts { market, listing, candle };
    let is_spot = market.contract_type() == ContractType::Spot;
    let currency = if is_spot { amounts.quote() } else { amounts.base() };
    append(out, &["\",\"", &amounts.volume(), "\",\"", &currency, "\",\"", &amounts.quote()]);
    append(out, &["\",\"", confirm, "\"]"]);
}

pub(crate) fn answer(exchanges: &[Exchange], (path, query, _): Asked<'_>, now_ms: i64) -> Response {
    let error = |code: &str, message: &str| {
        plain(200, format!("{{\"code\":\"{code}\",\"msg\":\"{message}\",\"data\":[]}}"))
    };
    let done =
        |rows: String| plain(200, format!("{{\"code\":\"0\",\"msg\":\"\",\"data\":[{rows}]}}"));
    match path {
        "/api/v5/public/time" => done(format!("{{\"ts\":\"{now_ms}\"}}")),
        "/api/v5/public/instruments" => match instruments(exchanges, query) {
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
                    write_row(exchange.profile.market, &mut row, listing, candle, confirm);
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
fn instruments(
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
        let family = family(market, one);
        is_wanted("instId", &one.name)
            && is_wanted("instFamily", &family)
            && is_wanted("uly", &family)
    });
    let mut rows: Vec<String> = listed.map(|one| instrument(market, one)).collect();
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
fn family(market: Market, one: &Listing) -> String {
    match market.contract_type() {
        ContractType::Spot => String::new(),
        _ => format!("{}-{}", one.base, one.quote),
    }
}

fn instrument(market: Market, one: &Listing) -> String {
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
    let family = family(market, one);
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
