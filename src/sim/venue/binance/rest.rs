//! What Binance answers over REST, with its weights.

use crate::clock::MonoNs;
use crate::market::{ContractType, Interval, Venue};
use crate::sim::exchange::Exchange;
use crate::sim::market::{Listing, MINUTE_MS, TrueCandle};
use crate::sim::rest::rows::window_from;
use crate::sim::rest::{Query, Response, Rest, TooMany, is_played, plain};
use crate::sim::windows;

use super::Digits;
use super::info::exchange_info;

impl Rest {
    pub(crate) fn binance(
        &mut self,
        exchange: &Exchange,
        path: &str,
        query: &Query,
        now: MonoNs,
    ) -> Response {
        let profile = &exchange.profile;
        let contract_type = profile.market.contract_type();
        let Some(endpoint) = path.strip_prefix(profile.rest_prefix) else {
            return plain(404, error(-5000, "Path is invalid"));
        };
        let weight = match endpoint {
            "klines" => klines_weight(contract_type, query),
            "uiKlines" if contract_type == ContractType::Spot => 2,
            "ticker/price" if query.contains_key("symbol") => 1,
            "ticker/price" => 2,
            "exchangeInfo" if contract_type == ContractType::Spot => 20,
            "exchangeInfo" | "time" | "ping" => 1,
            _ => return plain(404, error(-5000, "Path is invalid")),
        };
        let used = match self.spend(exchange, weight, now) {
            Ok(used) => used,
            Err(refused) => return refusal(refused, profile.rest_limit.0, now),
        };
        let now_ms = exchange.rest_ms(now);
        let answer = match endpoint {
            "klines" | "uiKlines" => klines(exchange, query, now_ms),
            "exchangeInfo" => info(exchange, query, now_ms),
            "ticker/price" => last_prices(exchange, query, now_ms),
            "time" => Ok(format!("{{\"serverTime\":{now_ms}}}")),
            _ => Ok("{}".to_owned()),
        };
        let (status, body) = match answer {
            Ok(body) => (200, body),
            Err(body) => (400, body),
        };
        Response { headers: used_weight(used), ..plain(status, body) }
    }
}

fn refusal(refused: TooMany, limit: u32, now: MonoNs) -> Response {
    let message = format!(
        "Too much request weight used; current limit is {limit} request weight per 1 MINUTE. \
         Please use WebSocket Streams for live updates to avoid polling the API."
    );
    Response {
        retry_after: Some(refused.until.since(now).as_secs() + 1),
        headers: used_weight(refused.used),
        ..plain(if refused.is_banned { 418 } else { 429 }, error(-1003, &message))
    }
}

fn used_weight(used: u32) -> Vec<(&'static str, String)> {
    let names = ["X-MBX-USED-WEIGHT", "X-MBX-USED-WEIGHT-1M"];
    names.map(|name| (name, used.to_string())).into()
}

fn klines_weight(contract_type: ContractType, query: &Query) -> u32 {
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(500_u64);
    match (contract_type, limit) {
        (ContractType::Spot, _) => 2,
        (_, ..100) => 1,
        (_, 100..500) => 2,
        (_, 500..=1000) => 5,
        (_, 1001..) => 10,
    }
}

/// `exchangeInfo`: the body, or the body of the error. Only spot's can be asked for some symbols.
fn info(exchange: &Exchange, query: &Query, now_ms: i64) -> Result<String, String> {
    let is_spot = exchange.profile.market.contract_type() == ContractType::Spot;
    let only = match (query.get("symbol"), query.get("symbols")) {
        _ if !is_spot => None,
        (None, None) => None,
        (Some(symbol), None) => Some(vec![symbol.clone()]),
        (None, Some(list)) => {
            let names = simd_json::from_slice::<Vec<String>>(&mut list.clone().into_bytes());
            Some(names.map_err(|_| illegal("symbols"))?)
        }
        (Some(_), Some(_)) => {
            return Err(error(-1128, "Combination of optional parameters invalid."));
        }
    };
    let body = exchange_info(exchange, now_ms, only.as_deref());
    body.ok_or_else(|| error(-1121, "Invalid symbol."))
}

/// `ticker/price`: the close of the minute that runs. COIN-M answers with a list in any case.
fn last_prices(exchange: &Exchange, query: &Query, now_ms: i64) -> Result<String, String> {
    let contract_type = exchange.profile.market.contract_type();
    let row = |index: usize| {
        let listing = &exchange.market.listings()[index];
        let window = now_ms.div_euclid(MINUTE_MS);
        let elapsed_ms = exchange.row_elapsed_ms(Interval::M1, window, now_ms);
        let of = (Interval::M1, window);
        let candle = windows::running(&exchange.market, index, of, elapsed_ms);
        let mut price = String::new();
        Digits { contract_type, listing }.price(&mut price, candle.close);
        let pair = listing.name.split('_').next().unwrap_or(&listing.name);
        let more = match contract_type {
            ContractType::Spot => String::new(),
            ContractType::Coinm => format!(",\"ps\":\"{pair}\",\"time\":{now_ms}"),
            _ => format!(",\"time\":{now_ms}"),
        };
        format!("{{\"symbol\":\"{}\",\"price\":\"{price}\"{more}}}", listing.name)
    };
    let Some(symbol) = query.get("symbol") else {
        let rows: Vec<String> = (0..exchange.market.listings().len()).map(row).collect();
        return Ok(format!("[{}]", rows.join(",")));
    };
    let index = exchange.market.find(symbol).ok_or_else(|| error(-1121, "Invalid symbol."))?;
    let is_list = contract_type == ContractType::Coinm;
    Ok(if is_list { format!("[{}]", row(index)) } else { row(index) })
}

/// The body, or the body of the error.
fn klines(exchange: &Exchange, query: &Query, now_ms: i64) -> Result<String, String> {
    let profile = &exchange.profile;
    let symbol = query.get("symbol").ok_or_else(|| missing("symbol"))?;
    let interval = query.get("interval").ok_or_else(|| missing("interval"))?;
    let number = |key: &str| query.get(key).map(|text| text.parse::<i64>()).transpose();
    let read = |key| number(key).map_err(|_| illegal(key));
    let (start, end) = (read("startTime")?, read("endTime")?);
    let limit = read("limit")?.unwrap_or(500);
    if limit < 1 {
        return Err(illegal("limit"));
    }
    if is_played(exchange, symbol) {
        return Ok("[]".to_owned());
    }
    let index = exchange.market.find(symbol).ok_or_else(|| error(-1121, "Invalid symbol."))?;
    let Some(interval) = windows::read(Venue::Binance, interval) else {
        return Err(error(-1120, "Invalid interval."));
    };
    let is_coinm = profile.market.contract_type() == ContractType::Coinm;
    if let (Some(start), Some(end), true) = (start, end, is_coinm)
        && end.saturating_sub(start) > SPAN_MAX_MS
    {
        return Err(error(-4088, "Maximum time interval is 200 days."));
    }
    let limit = limit.min(profile.klines_limit_max as i64);
    let numbers = kline_windows((start, end), limit, is_coinm, now_ms, interval.ms());
    let rows = numbers.map(|window| {
        let elapsed = exchange.row_elapsed_ms(interval, window, now_ms);
        let candle = windows::running(&exchange.market, index, (interval, window), elapsed);
        row(profile.market.contract_type(), &exchange.market.listings()[index], &candle)
    });
    Ok(format!("[{}]", rows.collect::<Vec<_>>().join(",")))
}

/// The windows asked for, oldest first; the running one is the last if the range reaches it.
fn kline_windows(
    (start, end): (Option<i64>, Option<i64>),
    limit: i64,
    is_coinm: bool,
    now_ms: i64,
    window_ms: i64,
) -> std::ops::RangeInclusive<i64> {
    let last = end.unwrap_or(now_ms).min(now_ms).div_euclid(window_ms);
    let Some(start) = start else { return (last - limit + 1).max(0)..=last };
    let first = window_from(start, window_ms);
    // COIN-M with both times counts back from the end; all else counts on from the start.
    if end.is_some() && is_coinm {
        return first.max(last - limit + 1)..=last;
    }
    first..=last.min(first + limit - 1)
}

fn row(contract_type: ContractType, listing: &Listing, candle: &TrueCandle) -> String {
    let digits = Digits { contract_type, listing };
    let text = |write: &dyn Fn(&mut String)| {
        let mut out = String::new();
        write(&mut out);
        out
    };
    let price = |ticks| text(&|out| digits.price(out, ticks));
    let quantity = |steps| text(&|out| digits.quantity(out, steps));
    let turnover = |value| text(&|out| digits.turnover(out, value));
    format!(
        "[{},\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",{},\"{}\",{},\"{}\",\"{}\",\"0\"]",
        candle.open_time_ms,
        price(candle.open),
        price(candle.high),
        price(candle.low),
        price(candle.close),
        quantity(candle.volume),
        candle.close_time_ms(),
        turnover(candle.turnover),
        candle.trades,
        quantity(candle.taker_volume),
        turnover(candle.taker_turnover),
    )
}

fn error(code: i32, message: &str) -> String {
    format!("{{\"code\":{code},\"msg\":\"{message}\"}}")
}

fn missing(parameter: &str) -> String {
    let message =
        format!("Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed.");
    error(-1102, &message)
}

fn illegal(parameter: &str) -> String {
    error(-1100, &format!("Illegal characters found in parameter '{parameter}'."))
}

/// Source: COIN-M's "Kline/Candlestick Data"; USD-M has no such limit.
const SPAN_MAX_MS: i64 = 200 * 86_400_000;
