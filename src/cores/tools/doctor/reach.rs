//! Whether exchanges can be reached: names, TCP, proxies, TLS, REST and what time it is there.
//! Every address and every REST interface has a thread of its own, which is left behind where it
//! takes too long: a resolver cannot be interrupted.

use std::collections::HashMap;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::clock::{Clock, UnixMs};
use crate::config::{Config, Proxy};
use crate::cores::ops::{poison, workers};
use crate::cores::shard::passage::Passage;
use crate::cores::tools::doctor::{Check, Outcome, REACH_PATIENCE};
use crate::limits::{REST_BODY_BYTES, REST_ROW_BYTES};
use crate::market::{ContractType, Interval, Market, Venue};
use crate::messages::{RestRequest, RestResponse};
use crate::venue::{self, Denial, RestError, RestQuery};
use crate::wire::Endpoint;
use crate::wire::json::JsonReader;

/// What was found about one market.
pub(crate) struct Reached {
    pub(crate) market: Market,
    /// What can be subscribed for a trial; `None` if that could not be found out.
    pub(crate) symbol: Option<String>,
    /// Whether its WebSocket host answers.
    pub(crate) is_reachable: bool,
    pub(crate) checks: Vec<Check>,
}

/// Looks at `markets`, all at once, for [`REACH_PATIENCE`] at most.
pub(crate) fn examine(
    config: &Config,
    markets: &[Market],
    clock: Clock,
    tls: &Arc<ClientConfig>,
) -> Vec<Reached> {
    let (says, said) = unbounded();
    let mut hosts: Vec<Endpoint> = Vec::new();
    for &market in markets {
        let host = Endpoint { path: String::new(), ..config.endpoints(market).ws_url.clone() };
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    for host in hosts {
        let (says, tls) = (says.clone(), Arc::clone(tls));
        let proxy = config.proxies.of(host.tls, &host.host, host.port).cloned();
        thread::spawn(move || visit(&host, proxy.as_ref(), &tls, clock, &says));
    }
    // Its own time-out is shorter than ours, so that its error names the cause.
    let patient = Config { rest_timeout: config.rest_timeout.min(STEP_PATIENCE), ..config.clone() };
    let agent = workers::agent(&patient, Arc::clone(tls), Arc::default());
    for &market in markets {
        let (says, agent) = (says.clone(), agent.clone());
        let base = config.endpoints(market).rest_url.clone();
        thread::spawn(move || {
            let _heard = says.send(Said::Rest(market, ask_rest(&agent, market, &base, clock)));
        });
    }
    drop(says);
    let heard = Heard::listen(&said, clock);
    markets.iter().map(|&market| heard.judge(config, market)).collect()
}

/// How far a host was reached. In this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    Name,
    Tcp,
    /// The proxy that leads there, where one does: name and TCP are its own then.
    Proxy,
    Tls,
}

/// A result of a thread.
enum Said {
    Host(Endpoint, Step, Result<String, String>),
    /// The host with this name is led astray, in words.
    Poisoned(String, String),
    Rest(Market, Result<RestFound, String>),
}

/// What an exchange's REST interface answered.
struct RestFound {
    symbol: String,
    took: Duration,
    /// How far its clock is ahead of ours, and how much that may be wrong, in ms.
    offset_ms: Option<(i64, i64)>,
}

/// All results that came in time.
#[derive(Default)]
struct Heard {
    hosts: HashMap<(String, u16, Step), Result<String, String>>,
    poisoned: HashMap<String, String>,
    rest: HashMap<Market, Result<RestFound, String>>,
}

impl Heard {
    fn listen(said: &Receiver<Said>, clock: Clock) -> Self {
        let mut heard = Self::default();
        let until = clock.mono().after(REACH_PATIENCE);
        loop {
            match said.recv_timeout(until.since(clock.mono())) {
                Ok(Said::Host(host, step, result)) => {
                    heard.hosts.insert((host.host, host.port, step), result);
                }
                Ok(Said::Poisoned(host, words)) => {
                    heard.poisoned.insert(host, words);
                }
                Ok(Said::Rest(market, result)) => {
                    heard.rest.insert(market, result);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return heard,
            }
        }
    }

    fn judge(&self, config: &Config, market: Market) -> Reached {
        let endpoint = &config.endpoints(market).ws_url;
        let proxy = config.proxies.of(endpoint.tls, &endpoint.host, endpoint.port);
        let is_taken = |step: &Step| match step {
            Step::Name | Step::Tcp => true,
            Step::Proxy => proxy.is_some(),
            Step::Tls => endpoint.tls,
        };
        let steps = [Step::Name, Step::Tcp, Step::Proxy, Step::Tls].into_iter().filter(is_taken);
        let mut checks = Vec::new();
        let mut is_reachable = true;
        for step in steps {
            let check = match is_reachable {
                true => self.judge_step(market, endpoint, proxy, step),
                false => skipped(market, step.name()),
            };
            is_reachable &= matches!(check.outcome, Outcome::Ok | Outcome::Warning);
            checks.push(check);
        }
        let rest = self.rest.get(&market);
        let base = &config.endpoints(market).rest_url;
        checks.push(judge_rest(market, base, rest));
        checks.push(judge_clock(market, rest));
        let symbol = match rest {
            Some(Ok(found)) => Some(found.symbol.clone()),
            _ => usual_symbol(market).map(str::to_owned),
        };
        Reached { market, symbol, is_reachable, checks }
    }

    fn judge_step(
        &self,
        market: Market,
        endpoint: &Endpoint,
        proxy: Option<&Proxy>,
        step: Step,
    ) -> Check {
        let poisoned = self.poisoned.get(&endpoint.host).filter(|_| proxy.is_none());
        if let Some(words) = poisoned.filter(|_| step == Step::Name) {
            let warning = check(market, step.name(), Outcome::Warning, words.clone());
            return warning.remedy(poison::REMEDY);
        }
        let result = self.hosts.get(&(endpoint.host.clone(), endpoint.port, step));
        let problem = match result {
            Some(Ok(found)) => return check(market, step.name(), Outcome::Ok, found.clone()),
            Some(Err(why)) => why.clone(),
            None if step == Step::Name => "no name server answered in time".to_owned(),
            None => "no answer in time".to_owned(),
        };
        let (what, remedy) = match proxy {
            Some(proxy) if step < Step::Tls => blame_proxy(proxy, step),
            _ => blame_host(endpoint, &variable(market, "WS"), step),
        };
        check(market, step.name(), Outcome::Failed, format!("{what}: {problem}")).remedy(remedy)
    }
}

/// What is wrong on the way to `endpoint`, and what to do about it.
fn blame_host(endpoint: &Endpoint, variable: &str, step: Step) -> (String, String) {
    match step {
        Step::Name => (
            format!("{} cannot be looked up", endpoint.host),
            format!(
                "check the network; have /etc/resolv.conf name another name server if those there \
                 are silent or block the name; or a wrong {variable}"
            ),
        ),
        Step::Tcp | Step::Proxy => (
            format!("{}:{} cannot be connected", endpoint.host, endpoint.port),
            format!(
                "a firewall, a country's block, or a wrong {variable}; \"unreachable\": there is no \
                 route, for an IPv6 address mostly since this host has none: IPv4 will do"
            ),
        ),
        Step::Tls => (
            format!("TLS with {} fails", endpoint.host),
            format!(
                "a proxy that reads along needs its authority in CONNECTOR_TLS_CA_FILE; a clock \
                 that is far off makes certificates invalid; or a wrong {variable}"
            ),
        ),
    }
}

/// As [`blame_host`], where a proxy leads there.
fn blame_proxy(proxy: &Proxy, step: Step) -> (String, String) {
    let variable = proxy.variable;
    let direct = "what is reached without it belongs into NO_PROXY";
    match step {
        Step::Name => (
            format!("the proxy {} cannot be looked up", proxy.host),
            format!("check {variable} and /etc/resolv.conf; {direct}"),
        ),
        Step::Tcp => (
            format!("the proxy {proxy} cannot be connected"),
            format!("check that it runs, a firewall before it, and {variable}; {direct}"),
        ),
        Step::Proxy | Step::Tls => (
            "the proxy does not lead there".to_owned(),
            format!(
                "HTTP 407: put user and password into {variable}; 403: have its owner allow \
                 CONNECT to this host and port; 502 or 504: it cannot reach the exchange itself; \
                 {direct}"
            ),
        ),
    }
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Name => "DNS",
            Self::Tcp => "TCP",
            Self::Proxy => "proxy",
            Self::Tls => "TLS",
        }
    }
}

fn judge_rest(market: Market, base: &str, rest: Option<&Result<RestFound, String>>) -> Check {
    let why = match rest {
        Some(Ok(found)) => {
            let found = format!("{base} answers in {}", ms(found.took));
            return check(market, "REST", Outcome::Ok, found);
        }
        Some(Err(why)) => why,
        None => "no answer in time",
    };
    // `Passage` names the proxy where it, and not the exchange, refuses.
    let hint = match why.contains("proxy http://") {
        true => "the proxy does not lead there: see above",
        false => "an HTTP 403 or 451 mostly means that the exchange does not serve this country",
    };
    let remedy = format!(
        "without REST gaps are not repaired and history is not given: check the network, or {}; \
         {hint}",
        variable(market, "REST")
    );
    check(market, "REST", Outcome::Failed, format!("{base}: {why}")).remedy(remedy)
}

fn judge_clock(market: Market, rest: Option<&Result<RestFound, String>>) -> Check {
    let Some(Ok(RestFound { offset_ms: Some((offset, doubt)), .. })) = rest else {
        return skipped(market, "clock");
    };
    let seconds = |ms: i64| i32::try_from(ms).map_or(f64::MAX, f64::from) / 1000.0;
    let found = format!("{:+.1} s from ours (±{:.1} s)", seconds(*offset), seconds(*doubt));
    if offset.saturating_abs() <= doubt + CLOCK_ERROR_MAX_MS {
        return check(market, "clock", Outcome::Ok, found);
    }
    check(market, "clock", Outcome::Failed, found).remedy(
        "set this host's clock (chrony or systemd-timesyncd): candles stay right, but times and \
         latencies that are shown are wrong",
    )
}

fn check(market: Market, name: &'static str, outcome: Outcome, found: String) -> Check {
    Check::new(&market.to_string(), name, outcome, found)
}

fn skipped(market: Market, name: &'static str) -> Check {
    check(market, name, Outcome::Skipped, "not looked at: see above".to_owned())
}

fn variable(market: Market, kind: &str) -> String {
    let (venue, contract_type) = (market.venue().name(), market.contract_type().name());
    format!("CONNECTOR_{venue}_{contract_type}_{kind}_URL").to_ascii_uppercase()
}

/// Goes as far as it gets with one host, through `proxy` where that leads there.
fn visit(
    host: &Endpoint,
    proxy: Option<&Proxy>,
    tls: &Arc<ClientConfig>,
    clock: Clock,
    says: &Sender<Said>,
) {
    let say = |step, result: Result<String, String>| {
        let is_fine = result.is_ok();
        let _heard = says.send(Said::Host(host.clone(), step, result));
        is_fine
    };
    let since = |start| ms(clock.mono().since(start));
    let (first, port) = proxy.map_or((&host.host, host.port), |proxy| (&proxy.host, proxy.port));
    let addresses = workers::resolve(first, port);
    let ips = addresses.iter().flatten().map(SocketAddr::ip);
    if let Some(words) = poison::judge(first, ips) {
        let _heard = says.send(Said::Poisoned(first.clone(), words));
    }
    if !say(Step::Name, addresses.as_ref().map(|all| shown(first, all)).map_err(Clone::clone)) {
        return;
    }
    let start = clock.mono();
    let mut stream = connect_any(&addresses.unwrap_or_default());
    let found = |_: &TcpStream| format!("{first}:{port} in {}", since(start));
    if !say(Step::Tcp, stream.as_ref().map(found).map_err(Clone::clone)) {
        return;
    }
    if let Some(proxy) = proxy {
        let start = clock.mono();
        let passage = Passage::new(proxy, &host.host, host.port);
        stream = stream.and_then(|stream| ask_for_passage(stream, passage));
        let found = |_: &TcpStream| format!("{proxy} leads there in {}", since(start));
        if !say(Step::Proxy, stream.as_ref().map(found).map_err(Clone::clone)) {
            return;
        }
    }
    if host.tls {
        let start = clock.mono();
        let result = stream.and_then(|stream| handshake(stream, &host.host, tls));
        say(Step::Tls, result.map(|version| format!("{version} in {}", since(start))));
    }
}

fn shown(host: &str, addresses: &[SocketAddr]) -> String {
    let first = addresses.first().map(|one| one.ip().to_string()).unwrap_or_default();
    match addresses.len() {
        _ if first == host => format!("{first} needs no look-up"),
        0 | 1 => format!("{host} is {first}"),
        count => format!("{host} is {first} and {} more", count - 1),
    }
}

/// The connection, once the proxy at its other end has led it on.
fn ask_for_passage(mut stream: TcpStream, mut passage: Passage) -> Result<TcpStream, String> {
    let timeout = Some(STEP_PATIENCE);
    let asked = stream
        .set_read_timeout(timeout)
        .and_then(|()| stream.set_write_timeout(timeout))
        .and_then(|()| stream.write_all(passage.request()));
    asked.map_err(|error| passage.failed(&error))?;
    loop {
        // One by one: what follows the proxy's answer is not ours to read.
        let mut byte = [0];
        let count = stream.read(&mut byte).map_err(|error| passage.failed(&error))?;
        if passage.take(&byte[..count], count == 0)?.is_some() {
            return Ok(stream);
        }
    }
}

/// The first address that answers; each has its share of the patience. Where there are both, one is
/// tried of IPv4 and one of IPv6.
fn connect_any(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let first = addresses.first();
    let other = addresses.iter().find(|one| Some(one.is_ipv4()) != first.map(|it| it.is_ipv4()));
    let tried: Vec<_> = first.into_iter().chain(other.or(addresses.get(1))).collect();
    let share = STEP_PATIENCE / u32::try_from(tried.len().max(1)).unwrap_or(1);
    let mut why = Vec::new();
    for address in tried {
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => why.push(format!("{address}: {error}")),
        }
    }
    Err(why.join("; "))
}

fn handshake(mut stream: TcpStream, host: &str, tls: &Arc<ClientConfig>) -> Result<String, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let timeout = Some(STEP_PATIENCE);
    stream.set_read_timeout(timeout).map_err(|error| text(&error))?;
    stream.set_write_timeout(timeout).map_err(|error| text(&error))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| text(&error))?;
    let mut session = ClientConnection::new(Arc::clone(tls), name).map_err(|error| text(&error))?;
    while session.is_handshaking() {
        session.complete_io(&mut stream).map_err(|error| text(&error))?;
    }
    let version = session.protocol_version().and_then(|version| version.as_str());
    session.send_close_notify();
    let _said = session.write_tls(&mut stream);
    // What is unread would turn our end into a reset.
    let _drained = stream.set_nonblocking(true).and_then(|()| stream.read(&mut [0; 4096]));
    Ok(version.unwrap_or("TLS").to_owned())
}

/// One candle of one symbol, and with it the exchange's `Date`.
fn ask_rest(
    agent: &ureq::Agent,
    market: Market,
    base: &str,
    clock: Clock,
) -> Result<RestFound, String> {
    let symbol = match usual_symbol(market) {
        Some(symbol) => symbol.to_owned(),
        None => listed_symbol(agent, market, base)?,
    };
    let before = clock.now();
    let window = Interval::M1.open_time(before.unix_ms());
    let query = venue::candles_query(market, base, &symbol, Interval::M1, window, window);
    let answer = ask(agent, query)?;
    let took = clock.mono().since(before.mono);
    let asked = (&*symbol, Interval::M1);
    let read = venue::read_candles(market, &mut JsonReader::default(), &answer, asked);
    match read {
        Ok(_) => {}
        Err(RestError::TooFast { .. }) => {
            let words = venue::first_words(&answer.body);
            return Err(format!("HTTP {}: the exchange wants a pause: {words}", answer.status));
        }
        Err(RestError::Denied { denial }) => {
            let words = venue::first_words(&answer.body);
            let what = match denial {
                Denial::Block => "the exchange, or a firewall before it, keeps this address out",
                Denial::Limit { .. } | Denial::Outage => "the exchange is out of order",
            };
            return Err(format!("HTTP {}: {what}: {words}", answer.status));
        }
        Err(
            RestError::UnknownSymbol { message }
            | RestError::Failed { message }
            | RestError::NoSense { message },
        ) => return Err(format!("HTTP {}: {message}", answer.status)),
    }
    let half = i64::try_from(took.as_millis() / 2).unwrap_or(i64::MAX);
    let middle = UnixMs(before.unix_ms().0 + half);
    let offset_ms = date_ms(&answer).map(|date| (date + 500 - middle.0, 500 + half));
    Ok(RestFound { symbol, took, offset_ms })
}

fn ask(agent: &ureq::Agent, query: RestQuery) -> Result<RestResponse, String> {
    let RestQuery { url, body, headers } = query;
    let body_bytes_max = REST_BODY_BYTES + REST_ROW_BYTES;
    let request = RestRequest { id: 0, url, body, headers, body_bytes_max };
    workers::ask(agent, &request)
}

/// A symbol that trades now, where names go out of date.
fn listed_symbol(agent: &ureq::Agent, market: Market, base: &str) -> Result<String, String> {
    let RestQuery { url, body, headers } = venue::instruments_query(market, base, None);
    let request = RestRequest { id: 0, url, body, headers, body_bytes_max: 0 };
    let mut answer = workers::ask_page(agent, STEP_PATIENCE, &request)?;
    if answer.status != 200 {
        let mut front = Vec::new();
        let _read = answer.body.take(REST_BODY_BYTES as u64).read_to_end(&mut front);
        return Err(format!("HTTP {}: {}", answer.status, venue::first_words(&front)));
    }
    let page = venue::read_instruments(market, None, &mut answer.body)?;
    let trading = |one: &&crate::market::Listed| one.halted.is_none();
    let found = page.listed.iter().find(trading);
    found.map(|one| one.symbol.clone()).ok_or_else(|| "it lists nothing that trades".to_owned())
}

/// The full second that `Date` names.
fn date_ms(answer: &RestResponse) -> Option<i64> {
    let date = answer.limit_headers.iter().find(|(name, _)| name == "date")?;
    let at = httpdate::parse_http_date(&date.1).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// A symbol of `market` that is always traded; `None` where every name has an end.
fn usual_symbol(market: Market) -> Option<&'static str> {
    Some(match (market.venue(), market.contract_type()) {
        (Venue::Binance, ContractType::Coinm) => "BTCUSD_PERP",
        (Venue::Binance, _) => "BTCUSDT",
        (Venue::Okx, ContractType::Futures) => return None,
        (Venue::Okx, ContractType::Swap) => "BTC-USDT-SWAP",
        (Venue::Okx, _) => "BTC-USDT",
        (Venue::Bybit, ContractType::Inverse) => "BTCUSD",
        (Venue::Bybit, _) => "BTCUSDT",
        (Venue::Gateio, ContractType::Cm) => "BTC_USD",
        (Venue::Gateio, _) => "BTC_USDT",
        (Venue::Hyperliquid, ContractType::Spot) => "@107",
        (Venue::Hyperliquid, _) => "BTC",
    })
}

fn ms(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// One step with one host: three of them, less what they mostly take, fit into [`REACH_PATIENCE`].
const STEP_PATIENCE: Duration = Duration::from_millis(2_000);

/// Beyond what the measurement leaves in doubt, a clock is wrong.
const CLOCK_ERROR_MAX_MS: i64 = 1_000;
