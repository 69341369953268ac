//! The simulated exchanges' REST side: candles, instrument lists and time with their weights, and
//! the simulator's own questions (`/truth`, `/stats`, `/fault`). Pure: request in, response out.
//! Here are Binance's answers and what all share; the others' are in `venues`.

pub(crate) mod rows;
mod venues;

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::market::{ContractType, Interval, Market, Venue};

use super::amounts::{self, Amounts};
use super::exchange::{Exchange, RestFaults};
use super::faults::Fault;
use super::http::{Method, Request};
use super::market::{Listing, MINUTE_MS, TrueCandle};
use super::venue::binance::{Digits, percent_decode};
use super::windows;
use rows::window_from;

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
pub(crate) struct TooMany {
    pub(crate) until: MonoNs,
    pub(crate) is_banned: bool,
    pub(crate) used: u32,
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

pub(crate) type Query = HashMap<String, String>;

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
        let date = Duration::from_millis(exchanges[index].sent_ms(now).unsigned_abs());
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + date);
        response.headers.push(("Date", date));
        response.headers.extend(shared_with_sites(venue, request.method));
        response
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

    pub(crate) fn spend(
        &mut self,
        exchange: &Exchange,
        weight: u32,
        now: MonoNs,
    ) -> Result<u32, TooMany> {
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
    pub(crate) fn spend(
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

/// Closed candles of `interval` (1m by default, in the spelling of the connector's clients,
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

/// What a connector is to publish: the exchange's own volume, turnover and trades where it has
/// them.
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
            false => out.push_str(&amounts::price(listing, ticks)),
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
        // Where the exchange's field counts something else, and beside it the base amount is
        // pushed.
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

/// Returns whether the symbol comes from a capture, so that the simulator has no candles of it.
pub(crate) fn is_played(exchange: &Exchange, symbol: &str) -> bool {
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

pub(crate) fn plain(status: u16, body: String) -> Response {
    Response { status, body, ..Response::default() }
}

/// Refusals that are answered 429 before the address is banned; the venue gives no number.
const REFUSALS_MAX: u32 = 5;
/// What was sent before a refusal could be read is refused, but not held against the sender.
const ON_THE_WAY: Duration = Duration::from_millis(100);
/// Source: bans "scale in duration from 2 minutes to 3 days".
const BAN: Duration = Duration::from_secs(120);
/// Delay of a slow answer.
const SLOW: Duration = Duration::from_secs(3);
/// Rows of a `/truth` answer to a question without a beginning.
const TRUTH_ROWS_USUAL: i64 = 10;
/// Minutes of one `/truth` answer: a week's.
const TRUTH_MINUTES_MAX: i64 = 10_080;

#[cfg(test)]
mod tests;
