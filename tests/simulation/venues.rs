//! The exchanges' side: fifteen simulated markets, the links to their sessions with delays, splits
//! and merges, and their REST side with delays and failures.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use connector_wss::clock::{MonoNs, Now};
use connector_wss::feed::{LimitedAction, SessionId, Usage};
use connector_wss::market::{Interval, Listed, Market, SymbolList, Venue};
use connector_wss::messages::{RestRequest, RestResponse};
use connector_wss::sim::exchange::{Address, ConnectionId, Exchange, Output, Settings};
use connector_wss::sim::faults::Fault;
use connector_wss::sim::http::Request;
use connector_wss::sim::market::SimMarket;
use connector_wss::sim::profile::profiles;
use connector_wss::sim::rest::Rest;
use connector_wss::sim::time::SimTime;
use connector_wss::venue;
use connector_wss::wire::{Connection, Event};

use super::dice::Dice;
use super::liar::{Liar, Received, Reply};

/// Which shard's session, over restarts of the server.
pub(crate) type LinkKey = (usize, SessionId);

/// What comes out of a link at the server's end.
pub(crate) enum Arrival {
    Connected,
    Failed,
    Bytes(Vec<u8>),
    Closed,
}

struct Link {
    market: Market,
    path: String,
    id: ConnectionId,
    wire: Connection,
    is_known: bool,
    is_frozen: bool,
    up: VecDeque<(MonoNs, Vec<u8>)>,
    down: VecDeque<(MonoNs, Arrival)>,
}

/// A REST request on its way.
struct Asked {
    at: MonoNs,
    shard: usize,
    id: u64,
    market: Market,
    what: Stage,
}

enum Stage {
    Request(RestRequest),
    Answer(Result<RestResponse, String>),
}

/// Faults of a whole market's network.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outage {
    pub(crate) dead_until: MonoNs,
    pub(crate) no_name_until: MonoNs,
    pub(crate) hangs_up_until: MonoNs,
}

pub(crate) struct Venues {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) rest: Rest,
    pub(crate) outages: Vec<Outage>,
    links: BTreeMap<LinkKey, Link>,
    asked: Vec<Asked>,
    next_connection: usize,
    pub(crate) rests: u64,
    pub(crate) connects: u64,
    /// What the server has used of the exchanges' limits, as it would have written it down.
    pub(crate) usage: Vec<Usage>,
    /// When the server was last told to wait before it asks REST again, and until when: by the
    /// market that names the budget.
    told_to_wait: [(MonoNs, MonoNs); Market::COUNT],
    disobeyed: u64,
    /// Who lies, and stands between an exchange and the server.
    pub(crate) liar: Option<Liar>,
    /// The node of an exchange's REST side that is behind.
    old_rest: Rest,
}

impl Venues {
    pub(crate) fn new(seed: u64, origin: Now, push_interval: Duration, extra: usize) -> Self {
        let mut addresses: Vec<Arc<std::sync::Mutex<Address>>> = Vec::new();
        let mut exchanges = Vec::new();
        for profile in profiles() {
            let market = profile.market;
            let first = Market::of(market.venue()).next().unwrap();
            let shared = if market.venue() == Venue::Binance { market } else { first };
            let address = addresses.get(shared.index()).cloned().unwrap_or_default();
            addresses.push(address.clone());
            let settings = Settings {
                push_interval: push_interval.max(profile.push_interval_min),
                always_push: false,
                first_data_delay: Duration::ZERO,
                close_delay_ms: profile.close_delay_ms,
                enforce_limits: true,
                connection_life: Duration::from_secs(24 * 3600),
                playback: Arc::new([]),
                playback_speed: 1,
            };
            let candles = SimMarket::new(seed, market, extra);
            let time = SimTime::new(origin, 1);
            exchanges.push(Exchange::new(profile, candles, settings, time, address));
        }
        Self {
            exchanges,
            rest: Rest::default(),
            outages: vec![Outage::default(); Market::COUNT],
            links: BTreeMap::new(),
            asked: Vec::new(),
            next_connection: 1,
            rests: 0,
            connects: 0,
            usage: Vec::new(),
            told_to_wait: [NEVER; Market::COUNT],
            disobeyed: 0,
            liar: None,
            old_rest: Rest::default(),
        }
    }

    /// Symbols of `market` that trade.
    pub(crate) fn symbols(&self, market: Market) -> Vec<String> {
        let listings = self.exchanges[market.index()].market.listings().iter();
        listings.filter(|one| one.trading).map(|one| one.name.to_string()).collect()
    }

    pub(crate) fn list(&self, market: Market, now: MonoNs) -> Arc<SymbolList> {
        let halted = self.liar.as_ref().and_then(|liar| liar.halted(market, now));
        let listings = self.exchanges[market.index()].market.listings().iter();
        let listed = listings.map(|one| Listed {
            symbol: one.name.to_string(),
            halted: (!one.trading || halted == Some(&*one.name)).then(|| "halted".to_owned()),
            known_as: None,
            contract_size: (market.venue() == Venue::Gateio)
                .then(|| one.contract_amount())
                .flatten()
                .map(|size| size.parse().unwrap()),
        });
        Arc::new(SymbolList::new(listed.collect()))
    }

    pub(crate) fn connect(
        &mut self,
        key: LinkKey,
        port: u16,
        path: &str,
        now: MonoNs,
        dice: &mut Dice,
    ) {
        let market = market_of(port);
        let outage = self.outages[market.index()];
        let fails = now < outage.dead_until || now < outage.no_name_until;
        let first = if fails { Arrival::Failed } else { Arrival::Connected };
        let mut down = VecDeque::from([(now.after(dice.ms(1, 200)), first)]);
        if now < outage.hangs_up_until {
            down.push_back((now.after(Duration::from_millis(250)), Arrival::Closed));
        }
        self.connects += 1;
        self.spend(market, LimitedAction::Connect, now);
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let link = Link {
            market,
            path: path.to_owned(),
            id,
            wire: Connection::server(),
            is_known: false,
            is_frozen: false,
            up: VecDeque::new(),
            down,
        };
        self.links.insert(key, link);
    }

    /// The server has written these bytes.
    pub(crate) fn send(&mut self, key: LinkKey, bytes: &[u8], now: MonoNs, dice: &mut Dice) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let earliest = link.up.back().map_or(MonoNs(0), |(at, _)| *at);
        link.up.push_back((delayed(now, dice).max(earliest), bytes.to_vec()));
    }

    /// The server has closed its socket.
    pub(crate) fn disconnect(&mut self, key: LinkKey) {
        if let Some(link) = self.links.remove(&key) {
            self.exchanges[link.market.index()].disconnected(link.id);
        }
    }

    /// The server's process is gone.
    pub(crate) fn forget_all(&mut self) {
        for key in self.links.keys().copied().collect::<Vec<_>>() {
            self.disconnect(key);
        }
        self.asked.clear();
        self.told_to_wait = [NEVER; Market::COUNT];
    }

    pub(crate) fn ask(&mut self, shard: usize, request: RestRequest, now: MonoNs, dice: &mut Dice) {
        self.rests += 1;
        let market = market_of_url(&request.url);
        let (told, until) = self.told_to_wait[venue::budget_group(market).index()];
        self.disobeyed += u64::from(told < now && now < until);
        self.spend(market, LimitedAction::Rest, now);
        let at = now.after(dice.ms(5, 150));
        let id = request.id;
        self.asked.push(Asked { at, shard, id, market, what: Stage::Request(request) });
    }

    fn spend(&mut self, market: Market, on: LimitedAction, now: MonoNs) {
        let at_ns = i64::try_from(now.0).unwrap();
        self.usage.retain(|usage| usage.at_ns > at_ns - 300_000_000_000);
        self.usage.push(Usage { market, on, at_ns, count: 1 });
    }

    /// Lets everything happen that is due on the exchanges' side.
    pub(crate) fn advance(&mut self, now: MonoNs, dice: &mut Dice) {
        for (index, outage) in self.outages.iter().enumerate() {
            if now < outage.dead_until {
                let here = self.links.values_mut().filter(|link| link.market.index() == index);
                here.for_each(|link| cut(link, &mut self.exchanges[index], now));
            }
        }
        for link in self.links.values_mut() {
            let exchange = &mut self.exchanges[link.market.index()];
            while link.up.front().is_some_and(|(at, _)| *at <= now) {
                let (_, bytes) = link.up.pop_front().unwrap();
                if !link.is_frozen {
                    receive(link, exchange, self.liar.as_mut(), &bytes, now);
                    flush(link, now, dice);
                }
            }
        }
        self.lie(now, dice);
        for index in 0..self.exchanges.len() {
            let exchange = &mut self.exchanges[index];
            let now_ms = exchange.unix_ms(now);
            if exchange.next_deadline().is_some_and(|due| due <= now) {
                exchange.advance(now);
            }
            while let Some((id, output)) = self.exchanges[index].poll_output() {
                let link = self.links.values_mut().find(|link| link.id == id);
                let Some(link) = link else { continue };
                match output {
                    Output::Text(text) => push(link, self.liar.as_mut(), &text, now, now_ms),
                    Output::Ping(payload) => link.wire.send_ping(payload.as_bytes()),
                    Output::Close(code, reason) => link.wire.send_close(code, reason),
                    Output::Cut => cut(link, &mut self.exchanges[index], now),
                    Output::Freeze => link.is_frozen = true,
                }
                flush(link, now, dice);
            }
        }
    }

    /// What the liar sends by itself.
    fn lie(&mut self, now: MonoNs, dice: &mut Dice) {
        let Some(liar) = &mut self.liar else { return };
        let index = liar.market.index();
        let links =
            self.links.values().filter(|link| link.is_open() && link.market.index() == index);
        let links: Vec<ConnectionId> = links.map(|link| link.id).collect();
        for (id, one) in liar.advance(&links, now) {
            if let Some(link) = self.links.values_mut().find(|link| link.id == id) {
                reply(link, &mut self.exchanges[index], one, now);
            }
        }
        liar.tidy(now);
        let here = self.links.values_mut().filter(|link| link.market.index() == index);
        here.for_each(|link| flush(link, now, dice));
    }

    /// Whether the server's socket takes bytes: a liar who floods it reads nothing.
    pub(crate) fn takes_bytes(&self, key: LinkKey, now: MonoNs) -> bool {
        let Some(link) = self.links.get(&key).filter(|link| link.is_open()) else { return true };
        let liar = self.liar.as_ref().filter(|liar| liar.market == link.market);
        !liar.is_some_and(|liar| liar.is_flooding(now))
    }

    /// What has arrived at the server, link by link; bytes split and merged by chance.
    pub(crate) fn arrivals(&mut self, now: MonoNs, dice: &mut Dice) -> Vec<(LinkKey, Arrival)> {
        let mut arrived = Vec::new();
        for (&key, link) in &mut self.links {
            let mut merged: Vec<u8> = Vec::new();
            while link.down.front().is_some_and(|(at, _)| *at <= now) {
                match link.down.pop_front().unwrap().1 {
                    Arrival::Bytes(bytes) => merged.extend(bytes),
                    other => {
                        arrived.extend(split(key, &std::mem::take(&mut merged), dice));
                        arrived.push((key, other));
                    }
                }
            }
            arrived.extend(split(key, &merged, dice));
        }
        arrived
    }

    /// Answers that have arrived at the server.
    pub(crate) fn answers(
        &mut self,
        now: MonoNs,
        dice: &mut Dice,
    ) -> Vec<(usize, u64, Result<RestResponse, String>)> {
        let mut arrived = Vec::new();
        for mut asked in std::mem::take(&mut self.asked) {
            if asked.at > now {
                self.asked.push(asked);
                continue;
            }
            match asked.what {
                Stage::Answer(result) => {
                    let wait =
                        result.as_ref().ok().and_then(|answer| answer.retry_after.as_deref());
                    let seconds = wait.and_then(|wait| wait.parse().ok());
                    // What is absurd is not obeyed.
                    let seconds = seconds.filter(|&s| s <= WAIT_S_MAX).unwrap_or_default();
                    let group = venue::budget_group(asked.market).index();
                    let until = now.after(Duration::from_secs(seconds));
                    if until > self.told_to_wait[group].1 {
                        self.told_to_wait[group] = (now, until);
                    }
                    arrived.push((asked.shard, asked.id, result));
                }
                Stage::Request(request) => {
                    let (result, delay) = self.respond(&request, now);
                    (asked.at, asked.what) = match delay < REST_TIMEOUT {
                        true => (now.after(delay + dice.ms(5, 150)), Stage::Answer(result)),
                        false => (now.after(REST_TIMEOUT), Stage::Answer(Err("timeout".into()))),
                    };
                    self.asked.push(asked);
                }
            }
        }
        arrived
    }

    fn respond(
        &mut self,
        request: &RestRequest,
        now: MonoNs,
    ) -> (Result<RestResponse, String>, Duration) {
        let market = market_of_url(&request.url);
        let rest = request.url.strip_prefix("http://127.0.0.1:").unwrap();
        let slash = rest.find('/').unwrap();
        if now < self.outages[market.index()].dead_until {
            return (Err("connection refused".to_owned()), Duration::ZERO);
        }
        let asked = Request {
            target: rest[slash..].to_owned(),
            body: request.body.clone().unwrap_or_default(),
            ..Request::default()
        };
        let mut answer = self.rest.respond(&mut self.exchanges, market.index(), &asked, now);
        let age = self.liar.as_mut().and_then(|liar| liar.rest_age(market, now));
        if let Some(age) = age {
            let then = MonoNs(now.0 - u64::try_from(age.as_nanos()).unwrap());
            let old = self.old_rest.respond(&mut self.exchanges, market.index(), &asked, then);
            answer.body = old.body;
        }
        let headers =
            answer.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
        let mut response = RestResponse {
            status: answer.status,
            retry_after: answer.retry_after.map(|seconds| seconds.to_string()),
            limit_headers: headers.collect(),
            body: answer.body.into_bytes(),
        };
        let now_ms = self.exchanges[market.index()].unix_ms(now);
        if let Some(liar) = &mut self.liar
            && let Some(wait) = liar.answer(market, &mut response, age, (now, now_ms))
        {
            response.retry_after = Some(wait.to_owned());
        }
        // So much is read, and no more.
        if response.status == 200 && response.body.len() > request.body_bytes_max {
            return (Err("the answer is too long".to_owned()), answer.delay);
        }
        response.body.truncate(request.body_bytes_max);
        (Ok(response), answer.delay)
    }

    /// What `/truth` says about closed windows of a symbol, as its JSON rows.
    pub(crate) fn truth(
        &mut self,
        market: Market,
        symbol: &str,
        interval: Interval,
        (from, to): (i64, i64),
        now: MonoNs,
    ) -> Vec<serde_json::Value> {
        let symbol: String = symbol.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let target =
            format!("/truth?symbol={symbol}&interval={}&from={from}&to={to}", interval.name());
        let asked = Request { target, ..Request::default() };
        let answer = self.rest.respond(&mut self.exchanges, market.index(), &asked, now);
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// When something happens by itself.
    pub(crate) fn next_deadline(&self) -> Option<MonoNs> {
        let exchanges = self.exchanges.iter().filter_map(Exchange::next_deadline);
        let links = self.links.values().flat_map(|link| {
            let up = link.up.front().map(|(at, _)| *at);
            up.into_iter().chain(link.down.front().map(|(at, _)| *at))
        });
        let liar = self.liar.as_ref().and_then(Liar::next_deadline);
        let rests = self.asked.iter().map(|asked| asked.at);
        exchanges.chain(links).chain(rests).chain(liar).min()
    }

    /// How often an exchange's limits were exceeded.
    pub(crate) fn limits_exceeded(&self) -> u64 {
        for exchange in &self.exchanges {
            let market = exchange.profile.market;
            let (cuts, refused) = (exchange.counters.limit_cuts, self.rest.refused(market));
            if cuts + refused > 0 {
                println!("{market}: {cuts} cuts, {refused} REST requests too many");
            }
        }
        if self.disobeyed > 0 {
            println!("{} REST requests before a pause was over", self.disobeyed);
        }
        let cuts = self.exchanges.iter().map(|exchange| exchange.counters.limit_cuts);
        self.disobeyed
            + cuts.sum::<u64>()
            + Market::all().map(|market| self.rest.refused(market)).sum::<u64>()
    }

    /// Pushes that faults have left out, doubled, delayed or restated.
    pub(crate) fn spoilt(&self) -> u64 {
        self.exchanges.iter().map(|exchange| exchange.counters.spoilt).sum()
    }
}

impl Link {
    /// Whether the exchange has accepted it.
    fn is_open(&self) -> bool {
        self.is_known && self.wire.is_open() && !self.is_frozen
    }
}

/// A text of the exchange's, or what the liar makes of it.
fn push(link: &mut Link, liar: Option<&mut Liar>, text: &str, now: MonoNs, now_ms: i64) {
    match liar {
        None => link.wire.send_text(text),
        Some(liar) => {
            let texts = liar.push(link.market, link.id, text, now, now_ms);
            texts.iter().for_each(|text| link.wire.send_text(text));
        }
    }
}

fn reply(link: &mut Link, exchange: &mut Exchange, reply: Reply, now: MonoNs) {
    match reply {
        Reply::Text(text) => link.wire.send_text(&text),
        Reply::Notice => exchange.fault(Fault::ShutdownNotice, now),
        Reply::Ping => link.wire.send_ping(&[b'?'; 125]),
        Reply::Close => link.wire.send_close(1008, "no"),
        Reply::Cut => cut(link, exchange, now),
    }
}

fn receive(
    link: &mut Link,
    exchange: &mut Exchange,
    mut liar: Option<&mut Liar>,
    bytes: &[u8],
    now: MonoNs,
) {
    let is_new = !std::mem::replace(&mut link.is_known, true);
    let lied = liar.as_mut().filter(|_| is_new).and_then(|liar| liar.handshake(link.market, now));
    if let Some((page, headers)) = lied {
        return link.wire.answer(page.status, &headers, page.content_type, page.body);
    }
    if is_new && let Err(refusal) = exchange.connect(link.id, &link.path, now) {
        let headers = match refusal.retry_after {
            0 => String::new(),
            seconds => format!("Retry-After: {seconds}\r\n"),
        };
        return link.wire.refuse(refusal.status, &headers, "no");
    }
    if link.wire.handle_bytes(bytes).is_err() {
        return cut(link, exchange, now);
    }
    while let Ok(Some(event)) = link.wire.next_event() {
        match event {
            Event::Text(text) => {
                let received = match &mut liar {
                    Some(liar) => liar.receive(link.market, link.id, text.as_str(), now),
                    None => Received::Forwarded(text.as_str().to_owned()),
                };
                match received {
                    Received::Forwarded(text) => exchange.text(link.id, &text, now),
                    Received::Answered(replies) => {
                        replies.into_iter().for_each(|one| reply(link, exchange, one, now));
                    }
                }
            }
            Event::Ping => exchange.ping(link.id, now),
            // Whoever asks for a thousand does not count them.
            Event::Pong(_)
                if liar.as_ref().is_some_and(|liar| liar.has_pinged(link.market, now)) => {}
            Event::Pong(_) => exchange.pong(link.id, now),
            Event::Close { .. } => {
                link.wire.send_close(1000, "");
                exchange.disconnected(link.id);
            }
            Event::Open { .. } | Event::Binary(_) => {}
        }
    }
}

fn flush(link: &mut Link, now: MonoNs, dice: &mut Dice) {
    let bytes = link.wire.outgoing().to_vec();
    link.wire.consume_outgoing(bytes.len());
    if bytes.is_empty() || link.is_frozen {
        return;
    }
    let earliest = link.down.back().map_or(MonoNs(0), |(at, _)| *at);
    link.down.push_back((delayed(now, dice).max(earliest), Arrival::Bytes(bytes)));
}

/// The connection is reset.
fn cut(link: &mut Link, exchange: &mut Exchange, now: MonoNs) {
    exchange.disconnected(link.id);
    if !link.is_frozen {
        let earliest = link.down.back().map_or(MonoNs(0), |(at, _)| *at);
        link.down.push_back((now.after(Duration::from_millis(5)).max(earliest), Arrival::Closed));
        link.is_frozen = true;
    }
}

fn split(key: LinkKey, bytes: &[u8], dice: &mut Dice) -> Vec<(LinkKey, Arrival)> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let at = if dice.one_in(3) { dice.below(bytes.len()) } else { 0 };
    let parts = [&bytes[..at], &bytes[at..]].into_iter().filter(|part| !part.is_empty());
    parts.map(|part| (key, Arrival::Bytes(part.to_vec()))).collect()
}

/// A message's way: mostly some ms, now and then long.
fn delayed(now: MonoNs, dice: &mut Dice) -> MonoNs {
    let way = if dice.one_in(50) { dice.ms(200, 900) } else { dice.ms(1, 40) };
    now.after(way)
}

fn market_of_url(url: &str) -> Market {
    let rest = url.strip_prefix("http://127.0.0.1:").unwrap();
    market_of(rest[..rest.find('/').unwrap()].parse().unwrap())
}

fn market_of(port: u16) -> Market {
    let index = usize::from(port - PORT);
    Market::all().nth(index).unwrap()
}

const NEVER: (MonoNs, MonoNs) = (MonoNs(0), MonoNs(0));
pub(crate) const PORT: u16 = 9000;
/// As long as bans are.
const WAIT_S_MAX: u64 = 600;
const REST_TIMEOUT: Duration = Duration::from_secs(5);
