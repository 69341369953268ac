//! The whole server in one thread and in virtual time: shards, rings, fan-out, clients and the
//! simulated exchanges, driven from one instant to the next at which anything happens.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use connector_wss::clock::{MonoNs, Now};
use connector_wss::fanout::{self, Access, Fanout, FanoutConfig};
use connector_wss::feed::{self, Feed, FeedConfig, Usage};
use connector_wss::health;
use connector_wss::market::{Market, Venue};
use connector_wss::messages::{EventName, FeedEvent, MarketEvent, Tails};
use connector_wss::metrics::{ConnectionErrorKind, FanoutMetrics, Metrics, ShardMetrics};
use connector_wss::venue;
use connector_wss::wire::Endpoint;

use super::book::MINUTE;
use super::client::{Client, no_tls};
use super::dice::Dice;
use super::ledger::{CATCH_UP, Ledger};
use super::venues::{Arrival, LinkKey, PORT, Venues};

/// A ring as small as this is full now and then.
const RING_SLOTS: usize = 48;

pub(crate) struct Shard {
    pub(crate) feed: Feed,
    pub(crate) metrics: Arc<ShardMetrics>,
    ring: VecDeque<MarketEvent>,
}

pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) now: Now,
    /// What the machine's wall clock is wrong by.
    pub(crate) wall_step_us: i64,
    /// And what it was behind by at most.
    pub(crate) wall_behind_us: i64,
    pub(crate) origin: Now,
    pub(crate) venues: Venues,
    pub(crate) shards: Vec<Shard>,
    pub(crate) fanout: Fanout,
    pub(crate) fanout_metrics: Arc<FanoutMetrics>,
    pub(crate) ledger: Ledger,
    pub(crate) clients: Vec<Client>,
    /// The fan-out takes nothing from the rings before.
    pub(crate) fanout_sleeps_until: MonoNs,
    pub(crate) rings_full: u64,
    /// Markets and minutes in which the exchange's own pushes were spoilt, or were to be from then
    /// on.
    pub(crate) spoilt: Vec<(usize, i64)>,
    /// Markets whose REST rows lacked the end of windows that ended between these times.
    pub(crate) lags: Vec<(usize, i64, i64)>,
    /// How many pushes of each market were spoilt up to now.
    spoilt_counts: [u64; Market::COUNT],
    /// Every message of the rings is printed.
    is_traced: bool,
    pub(crate) notices: VecDeque<String>,
    /// How many there were, by [`Market::index`]; and how often a breaker opened while other
    /// sessions of its market were up on the shard.
    pub(crate) notice_counts: [u64; Market::COUNT],
    pub(crate) breakers_opened: [u64; Market::COUNT],
    /// Those that opened just now, with their shard.
    opening: Vec<(usize, Market)>,
    /// Sessions whose bytes wait for a socket that takes none, and how many bytes those were at
    /// most.
    unsent: BTreeSet<LinkKey>,
    pub(crate) unsent_max: usize,
    events: VecDeque<FeedEvent>,
    /// Lives of the server; links of an earlier one are not taken for those of a later.
    life: usize,
    seed: u64,
    symbols_per_session: usize,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let start_ms = 1_700_000_000_000 + i64::try_from(dice.roll() % 3_600_000).unwrap();
        let now = Now { mono: MonoNs(1_000_000_000_000), unix_us: start_ms * 1000 };
        let push_interval = dice.ms(700, 2_500);
        let shards = 1 + dice.below(3);
        Self::with(seed, dice, now, push_interval, (shards, 0))
    }

    /// A world with so many shards, and `extra` symbols in each market.
    pub(crate) fn with(
        seed: u64,
        dice: Dice,
        now: Now,
        push_interval: Duration,
        (shards, extra): (usize, usize),
    ) -> Self {
        let venues = Venues::new(seed, now, push_interval, extra);
        let (shards, fanout, fanout_metrics) =
            start(shards, seed, Vec::new(), SYMBOLS_PER_SESSION, Tails::new(), now);
        Self {
            dice,
            now,
            wall_step_us: 0,
            wall_behind_us: 0,
            origin: now,
            venues,
            shards,
            fanout,
            fanout_metrics,
            ledger: Ledger::new(seed, now),
            clients: Vec::new(),
            fanout_sleeps_until: MonoNs(0),
            rings_full: 0,
            spoilt: Vec::new(),
            lags: Vec::new(),
            spoilt_counts: [0; Market::COUNT],
            is_traced: std::env::var_os("TRACE").is_some(),
            notices: VecDeque::new(),
            notice_counts: [0; Market::COUNT],
            breakers_opened: [0; Market::COUNT],
            opening: Vec::new(),
            unsent: BTreeSet::new(),
            unsent_max: 0,
            events: VecDeque::new(),
            life: 0,
            seed,
            symbols_per_session: SYMBOLS_PER_SESSION,
        }
    }

    /// A new process, whose sessions carry no more symbols than these.
    pub(crate) fn limit_sessions(&mut self, symbols: usize) {
        self.symbols_per_session = symbols;
        self.restart();
    }

    /// `kill -9` and a new process.
    pub(crate) fn restart(&mut self) {
        self.restart_after(Duration::ZERO);
    }

    /// `kill -9`, and a new process after a while.
    pub(crate) fn restart_after(&mut self, pause: Duration) {
        self.life += 1;
        self.venues.forget_all();
        self.ledger.die();
        self.set_time(self.now.mono.after(pause));
        let tails = self.ledger.tails(self.now);
        let seed = self.seed.wrapping_add(self.life as u64);
        let (count, usage) = (self.shards.len(), self.venues.usage.clone());
        (self.shards, self.fanout, self.fanout_metrics) =
            start(count, seed, usage, self.symbols_per_session, tails, self.now);
        self.events.clear();
        self.unsent.clear();
        for client in &mut self.clients {
            client.drop_connection();
        }
    }

    /// The exchanges' time, in ms.
    pub(crate) fn true_ms(&self) -> i64 {
        self.venues.exchanges[0].unix_ms(self.now.mono)
    }

    /// Seconds from the beginning to `time`.
    pub(crate) fn seconds(&self, time: MonoNs) -> f64 {
        time.since(self.origin.mono).as_secs_f64()
    }

    /// Shown with the server's notices.
    pub(crate) fn note(&mut self, text: &str) {
        let text = format!("{:9.3} - {text}", self.seconds(self.now.mono));
        if self.is_traced {
            eprintln!("{text}");
        }
        self.notices.push_back(text);
    }

    /// Lets everything happen until `end`.
    pub(crate) fn run_until(&mut self, end: MonoNs) -> Result<(), String> {
        loop {
            self.turn()?;
            let due = self.next_due().max(MonoNs(self.now.mono.0 + 1));
            if due > end {
                self.set_time(end);
                return self.turn();
            }
            self.set_time(due);
        }
    }

    fn set_time(&mut self, mono: MonoNs) {
        let passed = mono.since(self.origin.mono).as_micros();
        let unix_us = self.origin.unix_us + i64::try_from(passed).unwrap() + self.wall_step_us;
        self.now = Now { mono, unix_us };
    }

    /// The next instant at which something is due.
    fn next_due(&self) -> MonoNs {
        let shards = self.shards.iter().filter_map(|shard| shard.feed.next_deadline());
        let ring = self.shards.iter().any(|shard| !shard.ring.is_empty());
        let ring = ring.then_some(self.fanout_sleeps_until);
        let clients = self.clients.iter().filter(|client| client.id.is_some());
        let reads = clients.map(|client| client.reads_at).filter(|&at| at > self.now.mono);
        let all = shards.chain(self.venues.next_deadline()).chain(ring).chain(reads);
        let all = all.chain(self.ledger.next_deadline());
        all.chain(self.fanout.next_deadline()).min().unwrap_or(MonoNs(u64::MAX))
    }

    /// One turn of everything, until nothing happens any more.
    fn turn(&mut self) -> Result<(), String> {
        for _ in 0..TURNS_MAX {
            let now = self.now;
            self.venues.advance(now.mono, &mut self.dice);
            self.note_spoilt();
            self.transmit_unsent();
            let mut has_worked = self.arrive();
            for (shard, id, result) in self.venues.answers(now.mono, &mut self.dice) {
                self.shards[shard].feed.handle_rest(id, result, now);
                has_worked = true;
            }
            for at in 0..self.shards.len() {
                let feed = &mut self.shards[at].feed;
                if feed.is_due(now.mono) {
                    feed.handle_timeout(now);
                    has_worked = true;
                }
                has_worked |= self.drain_feed(at);
            }
            has_worked |= self.drain_rings();
            while let Some(answer) = self.ledger.advance(now) {
                self.fanout.handle_ledger(answer, now);
                has_worked = true;
            }
            while let Some(event) = self.events.pop_front() {
                self.fanout.handle_feed(event, now);
                has_worked = true;
            }
            if self.fanout.next_deadline().is_some_and(|due| due <= now.mono) {
                self.fanout.handle_timeout(now);
                has_worked = true;
            }
            has_worked |= self.drain_fanout();
            has_worked |= self.serve_clients()?;
            if !has_worked {
                self.count_breakers();
                return Ok(());
            }
        }
        Err("the world spins".to_owned())
    }

    /// Whether others are up is known when all is done that happens at once: an exchange cuts its
    /// sessions together, and they are lost one after the other.
    fn count_breakers(&mut self) {
        for (at, market) in std::mem::take(&mut self.opening) {
            let has_others = self.shards[at].metrics.market(market).active_sessions.value() > 0;
            self.breakers_opened[market.index()] += u64::from(has_others);
        }
    }

    /// Some faults wait for a push that they can strike.
    fn note_spoilt(&mut self) {
        for (index, exchange) in self.venues.exchanges.iter().enumerate() {
            let count = exchange.counters.spoilt;
            if std::mem::replace(&mut self.spoilt_counts[index], count) != count {
                let minute = exchange.unix_ms(self.now.mono).div_euclid(MINUTE);
                self.spoilt.push((index, minute));
            }
        }
    }

    /// What has come to the shards' sockets.
    fn arrive(&mut self) -> bool {
        let arrivals = self.venues.arrivals(self.now.mono, &mut self.dice);
        let has_worked = !arrivals.is_empty();
        for ((shard, session), arrival) in arrivals {
            let feed = &mut self.shards[shard].feed;
            match arrival {
                Arrival::Connected => feed.handle_connected(session, self.now),
                Arrival::Failed => {
                    let kind = *self.dice.pick(&[
                        ConnectionErrorKind::Dns,
                        ConnectionErrorKind::Tcp,
                        ConnectionErrorKind::Timeout,
                    ]);
                    feed.handle_connect_failed(session, kind, "no way", self.now);
                }
                Arrival::Bytes(bytes) => feed.handle_bytes(session, &bytes, self.now),
                Arrival::Closed => {
                    feed.handle_closed(session, "reset", self.now);
                    self.venues.disconnect((shard, session));
                }
            }
            self.drain_feed(shard);
        }
        has_worked
    }

    fn drain_feed(&mut self, at: usize) -> bool {
        let now = self.now;
        let mut has_worked = false;
        while let Some(output) = self.shards[at].feed.poll_output() {
            has_worked = true;
            let feed = &mut self.shards[at].feed;
            match output {
                feed::Output::Connect { session, endpoint } => {
                    let Endpoint { port, path, .. } = &endpoint;
                    self.venues.connect((at, session), *port, path, now.mono, &mut self.dice);
                }
                feed::Output::Transmit { session } => self.transmit((at, session)),
                feed::Output::Disconnect { session } => self.venues.disconnect((at, session)),
                feed::Output::Rest(request) => {
                    if self.is_traced {
                        let seconds = now.mono.since(self.origin.mono).as_secs_f64();
                        eprintln!("{seconds:9.3} {at} asks {} {:?}", request.url, request.body);
                    }
                    self.venues.ask(at, request, now.mono, &mut self.dice);
                }
                feed::Output::List { market, .. } => {
                    let result = match self.dice.one_in(4) && market.venue() != Venue::Hyperliquid {
                        true => Err("no list today".to_owned()),
                        false => Ok(self.venues.list(market, now.mono)),
                    };
                    if let Ok(list) = &result {
                        let list = Arc::clone(list);
                        self.events.push_back(FeedEvent::Listed { market, list });
                    }
                    feed.handle_listed(market, result, now);
                }
                feed::Output::Event(event) => self.events.push_back(event),
                feed::Output::Notice(notice) => {
                    let seconds = now.mono.since(self.origin.mono).as_secs_f64();
                    let market = notice.about.market;
                    if let Some(market) = market {
                        self.notice_counts[market.index()] += 1;
                        if notice.event == EventName::BreakerOpen {
                            self.opening.push((at, market));
                        }
                    }
                    let market = market.map(|market| market.to_string()).unwrap_or_default();
                    let text = format!("{seconds:9.3} {at} {market}: {}", notice.text);
                    if self.is_traced {
                        eprintln!("{text}");
                    }
                    self.notices.push_back(text);
                    if self.notices.len() > 40 {
                        self.notices.pop_front();
                    }
                }
            }
        }
        has_worked
    }

    /// Writes to a session's socket what is to be written, as far as that takes it.
    fn transmit(&mut self, key: LinkKey) {
        let (feed, now) = (&mut self.shards[key.0].feed, self.now.mono);
        let bytes = feed.outgoing(key.1).to_vec();
        if self.venues.takes_bytes(key, now) {
            feed.consume_outgoing(key.1, bytes.len());
            self.venues.send(key, &bytes, now, &mut self.dice);
            return;
        }
        self.unsent_max = self.unsent_max.max(bytes.len());
        self.unsent.insert(key);
    }

    /// Writes what waited for a socket.
    fn transmit_unsent(&mut self) {
        for key in std::mem::take(&mut self.unsent) {
            self.transmit(key);
        }
    }

    fn drain_rings(&mut self) -> bool {
        let mut has_worked = false;
        let is_awake = self.fanout_sleeps_until <= self.now.mono;
        for shard in &mut self.shards {
            loop {
                while shard.ring.len() < RING_SLOTS {
                    let Some(event) = shard.feed.next_published() else { break };
                    shard.ring.push_back(event);
                }
                if shard.ring.len() == RING_SLOTS && shard.feed.has_unpublished() {
                    self.rings_full += 1;
                    shard.feed.note_ring_full(self.now);
                }
                if !is_awake || shard.ring.is_empty() {
                    break;
                }
                for event in std::mem::take(&mut shard.ring) {
                    if self.is_traced {
                        let seconds = self.now.mono.since(self.origin.mono).as_secs_f64();
                        eprintln!("{seconds:9.3} {event:?}");
                    }
                    if let Some(event) = self.fanout.ledger_event(&event) {
                        self.ledger.push(event);
                    }
                    self.fanout.handle_market(&event, self.now);
                }
                has_worked = true;
            }
        }
        has_worked
    }

    fn drain_fanout(&mut self) -> bool {
        let mut has_worked = false;
        while let Some(output) = self.fanout.poll_output() {
            has_worked = true;
            match output {
                fanout::Output::Command { shard, command } => {
                    if self.is_traced {
                        let seconds = self.now.mono.since(self.origin.mono).as_secs_f64();
                        eprintln!("{seconds:9.3} {shard} {command:?}");
                    }
                    self.shards[shard].feed.handle_command(command, self.now);
                    self.drain_feed(shard);
                }
                fanout::Output::ReadLedger(read) => self.ledger.ask(*read),
                fanout::Output::Close { client } => {
                    let gone = self.clients.iter_mut().find(|one| one.id == Some(client));
                    if let Some(gone) = gone {
                        gone.drop_connection();
                    }
                }
                fanout::Output::ShutdownWrite { client } => {
                    self.fanout.handle_half_closed(client, self.now);
                }
                // The clients' sockets are looked at in each turn.
                fanout::Output::Transmit { .. }
                | fanout::Output::Read { .. }
                | fanout::Output::Notice(_) => {}
            }
        }
        has_worked
    }

    fn serve_clients(&mut self) -> Result<bool, String> {
        let mut has_worked = false;
        let unix_ms = self.true_ms();
        for client in &mut self.clients {
            let Some(id) = client.id else { continue };
            let bytes = client.outgoing();
            if !bytes.is_empty() {
                self.fanout.handle_bytes(id, &bytes, self.now);
                has_worked = true;
            }
            while client.reads_at <= self.now.mono && client.id.is_some() {
                let bytes = self.fanout.outgoing(id).to_vec();
                if bytes.is_empty() {
                    break;
                }
                self.fanout.consume_outgoing(id, bytes.len(), self.now);
                client.receive(&bytes, unix_ms)?;
                has_worked = true;
            }
        }
        Ok(has_worked)
    }

    /// The sum of a counter over shards and markets.
    /// Whether `/ready` calls a market healthy.
    pub(crate) fn is_ready(&self, market: Market) -> bool {
        let shards = self.shards.iter().map(|shard| Arc::clone(&shard.metrics)).collect();
        let fanout = Arc::clone(&self.fanout_metrics);
        let exchange = health::exchange(
            &Metrics { shards, fanout, ledger: Default::default(), cores: Vec::new() },
            market,
        );
        health::unready(&[exchange], health::Phase::Serving).is_none()
    }

    pub(crate) fn count(&self, read: impl Fn(&connector_wss::metrics::FeedMetrics) -> u64) -> u64 {
        let parts = self.shards.iter().flat_map(|shard| &shard.metrics.markets);
        parts.map(read).sum()
    }

    /// A client's connection is accepted.
    pub(crate) fn accept(&mut self, at: usize) {
        let id = self.fanout.handle_accepted("127.0.0.1:9".parse().unwrap(), self.now);
        let nonce =
            (u128::from(self.dice.roll()) << 64 | u128::from(self.dice.roll())).to_be_bytes();
        self.clients[at].open(id, nonce, &no_tls());
    }

    /// A client is gone without a word.
    pub(crate) fn vanish(&mut self, at: usize) {
        if let Some(id) = self.clients[at].id {
            self.fanout.handle_lost(id, self.now);
            self.clients[at].drop_connection();
        }
    }
}

fn start(
    count: usize,
    seed: u64,
    usage: Vec<Usage>,
    symbols_per_session: usize,
    tails: Tails,
    now: Now,
) -> (Vec<Shard>, Fanout, Arc<FanoutMetrics>) {
    let config =
        FeedConfig { usage, max_symbols_per_session: symbols_per_session, ..feed_config(count) };
    let shards = (0..count).map(|number| {
        let metrics = Arc::new(ShardMetrics::default());
        let feed = Feed::new(config.clone(), metrics.clone(), seed ^ number as u64);
        Shard { feed, metrics, ring: VecDeque::new() }
    });
    let shards = shards.collect();
    let metrics = Arc::new(FanoutMetrics::default());
    let carriers: Vec<usize> = Market::all().map(|market| venue::carriers(market, count)).collect();
    let config = FanoutConfig {
        subscribe_timeout: Duration::from_secs(10),
        close_linger: Duration::from_secs(10),
        // Sometimes so little that whoever stops reading is cut off.
        client_buffer_max: if seed.is_multiple_of(3) { 4_000 } else { 100_000 },
        clients_max: 100,
        refusals_max: 256,
        ping_interval: Duration::from_secs(20),
        ping_timeout: Duration::from_secs(20),
        history_candles: 120,
        shards: count,
        carriers: carriers.try_into().unwrap(),
        preload: Vec::new(),
        tails,
        has_ledger: true,
        catch_up: CATCH_UP,
        access: Access::default(),
    };
    (shards, Fanout::new(config, metrics.clone(), now), metrics)
}

fn feed_config(shards: usize) -> FeedConfig {
    let port = |market: Market| PORT + u16::try_from(market.index()).unwrap();
    let route = |market: Market| match &*market.to_string() {
        "binance usdm" => "/market",
        _ => "",
    };
    let ws = |market: Market| format!("ws://127.0.0.1:{}{}", port(market), route(market));
    FeedConfig {
        ws_bases: Market::all().map(|market| Endpoint::parse(&ws(market)).unwrap()).collect(),
        rest_bases: Market::all()
            .map(|market| format!("http://127.0.0.1:{}", port(market)))
            .collect(),
        tls: no_tls(),
        shards,
        ping_interval: Duration::from_secs(20),
        ping_timeout: Duration::from_secs(20),
        reconnect_delay: Duration::from_secs(1),
        inactivity_timeout: Duration::from_secs(3),
        stream_idle_timeout: Duration::from_secs(10),
        max_symbols_per_session: SYMBOLS_PER_SESSION,
        breaker_threshold: 5,
        breaker_recovery: Duration::from_secs(30),
        breaker_half_open_calls: 1,
        gap_hold: Duration::from_secs(5),
        pauses: Arc::default(),
        usage: Vec::new(),
        closed_queue_max: 200,
    }
}

/// As it is by default.
const SYMBOLS_PER_SESSION: usize = 50;

/// One instant takes no more turns than this.
const TURNS_MAX: usize = 10_000;
