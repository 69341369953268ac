//! The simulated exchanges' REST side: candles, instrument lists and time with their weights, and the
//! simulator's own questions (`/truth`, `/stats`, `/fault`). Pure: request in, response out. Here
//! are Binance's answers and what all share; the others' are in `venues`.

mod gateio;
mod hyperliquid;
mod venues;

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::market::{ContractType, Interval, Market, Venue};

use super::binance::{Digits, percent_decode};
use super::exchange::{Exchange, RestFaults};
use super::faults::Fault;
use super::http::{Method, Request};
use super::info::exchange_info;
use super::market::{Listing, MINUTE_MS, TrueCandle};
use super::pushes::{self, Amounts};
use super::windows;

/// An HTTP response without its status line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
    /// Further headers: names and values.
    pub headers: Vec<(&'static str, String)>,
    /// Seconds to wait, for 418 and 429.
    pub retry_after: Option<u64>,
    /// To be sent so much later: a fault.
    pub delay: Duration,
}

/// Weight used by the one address that all loopback clients share.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    window: u64,
    used: u32,
    refused: u32,
    refused_at: MonoNs,
    banned_until: MonoNs,
    limited_until: MonoNs,
    /// The ban was earned while a fault refused everything.
    is_fault_ban: bool,
}

/// A request too many.
#[derive(Clone, Copy, Debug)]
struct TooMany {
    until: MonoNs,
    is_banned: bool,
    used: u32,
}

/// Answers REST requests for all markets.
#[derive(Debug)]
pub struct Rest {
    /// By [`Market::index`] of the first market that shares it.
    budgets: Vec<Budget>,
    /// By [`Market::index`].
    refused: Vec<u64>,
}

impl Default for Rest {
    fn default() -> Self {
        Self { budgets: vec![Budget::default(); Market::COUNT], refused: vec![0; Market::COUNT] }
    }
}

type Query = HashMap<String, String>;

impl Rest {
    /// Answers a request to the port of `exchanges[index]`.
    pub fn respond(
        &mut self,
        exchanges: &mut [Exchange],
        index: usize,
        request: &Request,
        now: MonoNs,
    ) -> Response {
        let target = &*request.target;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = parse_query(query);
        let venue = exchanges[index].profile.market.venue();
        let mut response = match path {
            _ if request.method == Method::Options => plain(204, String::new()),
            "/truth" => truth(exchanges, index, &query, now),
            "/stats" => plain(200, stats(exchanges)),
            "/fault" => self.fault(exchanges, index, &query, now),
            _ => match venue {
                Venue::Binance => self.binance(&exchanges[index], path, &query, now),
                _ => self.other(exchanges, index, (path, &query, &request.body), now),
            },
        };
        if !path.starts_with("/truth") && !path.starts_with("/stats") && path != "/fault" {
            spoil(&mut response, exchanges[index].rest_faults, now);
        }
        let date = Duration::from_millis(exchanges[index].told_ms(now).unsigned_abs());
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + date);
        response.headers.push(("Date", date));
        response.headers.extend(shared_with_sites(venue, request.method));
        response
    }

    fn binance(&mut self, exchange: &Exchange, path: &str, query: &Query, now: MonoNs) -> Response {
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
            Err(refused) => return binance_refusal(refused, profile.rest_limit.0, now),
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

    fn budget(&mut self, market: Market) -> &mut Budget {
        let all = Market::of(market.venue());
        // Binance's spot has a host and a budget of its own.
        let mut sharing = all.filter(|other| {
            let is_spot = |one: Market| one.contract_type() == ContractType::Spot;
            market.venue() != Venue::Binance || is_spot(*other) == is_spot(market)
        });
        let first = sharing.next().unwrap_or(market);
        &mut self.budgets[first.index()]
    }

    /// Requests of a market's address that broke its limit, those under a fault left out.
    pub fn refused(&self, market: Market) -> u64 {
        self.refused[market.index()]
    }

    fn spend(&mut self, exchange: &Exchange, weight: u32, now: MonoNs) -> Result<u32, TooMany> {
        let limit = exchange.profile.rest_limit;
        let enforce = exchange.settings.enforce_limits;
        let market = exchange.profile.market;
        let budget = self.budget(market);
        let is_fault = now < budget.limited_until || budget.is_fault_ban(now);
        let spent = budget.spend(weight, limit, enforce, now);
        self.refused[market.index()] += u64::from(spent.is_err() && !is_fault);
        spent
    }

    fn fault(
        &mut self,
        exchanges: &mut [Exchange],
        index: usize,
        query: &Query,
        now: MonoNs,
    ) -> Response {
        let Some(index) = named_exchange(exchanges, index, query) else {
            return plain(400, "{\"error\":\"no such exchange or contract_type\"}".to_owned());
        };
        let text = |key: &str| query.get(key).map_or("", |value| value.as_str());
        let value = ["value", "seconds", "ms"].into_iter().find_map(|key| query.get(key));
        let Ok(value) = value.map_or(Ok(0), |value| value.parse()) else {
            return plain(400, "{\"error\":\"value must be a whole number\"}".to_owned());
        };
        let Some(fault) = Fault::parse(text("name"), value) else {
            let names = simd_json::to_string(&Fault::NAMES).unwrap_or_default();
            return plain(400, format!("{{\"error\":\"no such fault\",\"name\":{names}}}"));
        };
        if let Fault::RateLimit(time) = fault {
            self.budget(exchanges[index].profile.market).limited_until = now.after(time);
        }
        exchanges[index].fault(fault, now);
        plain(200, "{\"done\":true}".to_owned())
    }
}

impl Budget {
    fn is_fault_ban(&self, now: MonoNs) -> bool {
        self.is_fault_ban && now < self.banned_until
    }

    /// Takes `weight`; the weight used so far, or that it is too much.
    fn spend(
        &mut self,
        weight: u32,
        (limit, window): (u32, Duration),
        enforce: bool,
        now: MonoNs,
    ) -> Result<u32, TooMany> {
        let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1);
        let number = now.0 / window_ns;
        if number != self.window {
            *self = Self { window: number, used: 0, refused: 0, ..*self };
        }
        let used = self.used;
        if now < self.banned_until {
            return Err(TooMany { until: self.banned_until, is_banned: true, used });
        }
        self.used = self.used.saturating_add(weight);
        let limited = now < self.limited_until;
        if (self.used <= limit || !enforce) && !limited {
            return Ok(self.used);
        }
        if self.refused == 0 || now >= self.refused_at.after(ON_THE_WAY) {
            (self.refused, self.refused_at) = (self.refused + 1, now);
        }
        if self.refused > REFUSALS_MAX {
            self.banned_until = now.after(BAN);
            self.is_fault_ban = limited;
            return Err(TooMany { until: self.banned_until, is_banned: true, used });
        }
        let window_end = MonoNs((number + 1) * window_ns);
        let until = if limited { self.limited_until } else { window_end };
        Err(TooMany { until, is_banned: false, used: self.used })
    }
}

/// The faults of the REST side.
fn spoil(response: &mut Response, faults: RestFaults, now: MonoNs) {
    if now < faults.slow_until {
        response.delay = SLOW;
    }
    if now < faults.error_until {
        let body = "<html><body><h1>500 Internal Server Error</h1></body></html>";
        *response = Response { delay: response.delay, ..plain(500, body.to_owned()) };
    } else if now < faults.garbage_until {
        let half = response.body.floor_char_boundary(response.body.len() / 2);
        response.body.truncate(half);
    }
}

fn binance_refusal(refused: TooMany, limit: u32, now: MonoNs) -> Response {
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

/// Number of the first window that opens at `start_ms` or later.
fn window_from(start_ms: i64, window_ms: i64) -> i64 {
    start_ms.max(0).saturating_add(window_ms - 1).div_euclid(window_ms)
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

/// Closed candles of `interval` (1m unless it is said, in the spelling of the connector's clients,
/// whether or not the exchange has such candles itself) with an open time in `from..=to`, oldest
/// first; without `from` the last [`TRUTH_ROWS_USUAL`], without `to` up to now. More than
/// [`TRUTH_MINUTES_MAX`] are refused.
fn truth(exchanges: &[Exchange], index: usize, query: &Query, now: MonoNs) -> Response {
    let number = |key: &str| query.get(key).and_then(|text| text.parse::<i64>().ok());
    let found = named_exchange(exchanges, index, query).map(|index| &exchanges[index]);
    let Some(exchange) = found else {
        return plain(400, "{\"error\":\"no such exchange or contract_type\"}".to_owned());
    };
    let symbol = query.get("symbol").and_then(|symbol| exchange.market.find(symbol));
    let is_readable =
        ["from", "to"].iter().all(|key| !query.contains_key(*key) || number(key).is_some());
    let interval = query.get("interval").map_or("1m", |name| name.as_str());
    let interval = Interval::from_name(interval).filter(|one| Interval::SERVED.contains(one));
    let (Some(symbol), Some(interval), true) = (symbol, interval, is_readable) else {
        let error = "symbol (listed) is needed; interval is 1m to 1d; from and to are ms";
        return plain(400, format!("{{\"error\":\"{error}\"}}"));
    };
    let now_ms = exchange.unix_ms(now);
    let to = number("to").unwrap_or(now_ms);
    let window_ms = interval.ms();
    let from = number("from").unwrap_or(to - TRUTH_ROWS_USUAL * window_ms);
    let closed_before = now_ms.div_euclid(window_ms);
    let first = window_from(from, window_ms);
    let rows_max = TRUTH_MINUTES_MAX * MINUTE_MS / window_ms;
    let last = to.div_euclid(window_ms).min(closed_before - 1);
    if last.saturating_sub(first) >= rows_max {
        let error = format!("from..to holds more than {rows_max} candles; ask for it in parts");
        return plain(400, format!("{{\"error\":\"{error}\"}}"));
    }
    let listing = &exchange.market.listings()[symbol];
    let rows = (first..=last).map(|window| {
        let candle = windows::truth(&exchange.market, symbol, (interval, window));
        truth_row(exchange.profile.market, listing, &candle)
    });
    plain(200, format!("[{}]", rows.collect::<Vec<_>>().join(",")))
}

/// What a connector is to publish: the exchange's own volume, turnover and trades where it has them.
fn truth_row(market: Market, listing: &Listing, candle: &TrueCandle) -> String {
    let mut out = format!(
        "{{\"open_time\":{},\"close_time\":{}",
        candle.open_time_ms,
        candle.close_time_ms()
    );
    let digits = Digits { contract_type: market.contract_type(), listing };
    let is_binance = market.venue() == Venue::Binance;
    let prices = [("open", candle.open), ("high", candle.high), ("low", candle.low)];
    for (name, ticks) in prices.into_iter().chain([("close", candle.close)]) {
        out.push_str(&format!(",\"{name}\":\""));
        match is_binance {
            true => digits.price(&mut out, ticks),
            false => out.push_str(&pushes::price(listing, ticks)),
        }
        out.push('"');
    }
    let amounts = Amounts { market, listing, candle };
    if is_binance {
        out.push_str(",\"volume\":\"");
        digits.quantity(&mut out, candle.volume);
        out.push_str("\",\"quote_volume\":\"");
        digits.turnover(&mut out, candle.turnover);
        out.push('"');
    } else {
        // At Gate clients get the base amount, which its REST rows of contracts do not have.
        let is_gate = market.venue() == Venue::Gateio;
        let volume = if is_gate { amounts.base() } else { amounts.volume() };
        out.push_str(&format!(",\"volume\":\"{volume}\""));
        if is_gate && market.contract_type() != ContractType::Spot {
            out.push_str(&format!(",\"contract_volume\":\"{}\"", amounts.volume()));
        }
        // Where the exchange's field counts something else, and beside it the base amount is pushed.
        if !is_gate && amounts.volume() != amounts.base() {
            out.push_str(&format!(",\"base_volume\":\"{}\"", amounts.base()));
        }
        if let Some(quote) = amounts.quote_volume() {
            out.push_str(&format!(",\"quote_volume\":\"{quote}\""));
        }
    }
    out.push_str(&format!(",\"trade_num\":{}}}", amounts.trades()));
    out
}

fn stats(exchanges: &[Exchange]) -> String {
    let row = |exchange: &Exchange| {
        let subscriptions = exchange.subscriptions();
        let counters = exchange.counters;
        format!(
            "\"{}\":{{\"connections\":{},\"connections_total\":{},\"subscriptions_total\":{},\
             \"subscriptions\":{},\"subscribe_frames\":{},\"messages_sent\":{},\"faults\":{},\
             \"limit_cuts\":{}}}",
            exchange.profile.market.contract_type().name(),
            exchange.connections(),
            counters.connections_total,
            subscriptions.values().sum::<usize>(),
            simd_json::to_string(&subscriptions).unwrap_or_else(|_| "{}".to_owned()),
            counters.subscribe_frames,
            counters.messages_sent,
            counters.faults,
            counters.limit_cuts,
        )
    };
    let venue = |venue: Venue| {
        let rows = exchanges.iter().filter(|one| one.profile.market.venue() == venue).map(row);
        format!("\"{}\":{{{}}}", venue.name(), rows.collect::<Vec<_>>().join(","))
    };
    format!("{{{}}}", Venue::ALL.map(venue).join(","))
}

/// Index of the market the query names; what it leaves out is that of the port.
fn named_exchange(exchanges: &[Exchange], index: usize, query: &Query) -> Option<usize> {
    let port = exchanges[index].profile.market;
    let venue = match query.get("exchange") {
        Some(name) => Venue::from_name(name)?,
        None => port.venue(),
    };
    let market = match query.get("contract_type") {
        Some(name) => Market::find(venue, name)?,
        None if venue == port.venue() => port,
        None => Market::of(venue).next()?,
    };
    Some(market.index())
}

/// Whether the symbol comes from a capture: its candles are not the simulator's to tell.
fn is_played(exchange: &Exchange, symbol: &str) -> bool {
    let lower = symbol.to_lowercase();
    exchange.settings.playback.iter().any(|message| message.symbol() == lower)
}

/// Headers that let pages of other sites read the answer. OKX and Gate are not known to send any.
///
/// Source: ccxt's `CORS` (Bybit); Binance's and Hyperliquid's answers are read by pages.
fn shared_with_sites(venue: Venue, method: Method) -> Vec<(&'static str, String)> {
    if matches!(venue, Venue::Okx | Venue::Gateio) {
        return Vec::new();
    }
    let mut headers = vec![("Access-Control-Allow-Origin", "*".to_owned())];
    if method == Method::Options {
        let methods = "GET, HEAD, POST, OPTIONS".to_owned();
        headers.push(("Access-Control-Allow-Methods", methods));
        headers.push(("Access-Control-Allow-Headers", "*".to_owned()));
    }
    headers
}

fn parse_query(query: &str) -> Query {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), percent_decode(value))).collect()
}

fn plain(status: u16, body: String) -> Response {
    Response { status, body, ..Response::default() }
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

/// Refusals that are answered 429 before the address is banned; the venue gives no number.
const REFUSALS_MAX: u32 = 5;
/// What was sent before a refusal could be read is refused, but not held against the sender.
const ON_THE_WAY: Duration = Duration::from_millis(100);
/// Source: bans "scale in duration from 2 minutes to 3 days".
const BAN: Duration = Duration::from_secs(120);
/// Delay of a slow answer.
const SLOW: Duration = Duration::from_secs(3);
/// Source: COIN-M's "Kline/Candlestick Data"; USD-M has no such limit.
const SPAN_MAX_MS: i64 = 200 * 86_400_000;
/// Rows of a `/truth` answer to a question without a beginning.
const TRUTH_ROWS_USUAL: i64 = 10;
/// Minutes of one `/truth` answer: a week's.
const TRUTH_MINUTES_MAX: i64 = 10_080;

#[cfg(test)]
mod tests;
