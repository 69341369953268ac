//! What clients and long answers cost in memory, counted byte by byte: the allocator of this binary
//! adds up what is asked of it, so the numbers are the same on every machine.

#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../fanout/world.rs"]
mod world;

use std::io::BufReader;
use std::sync::{Arc, Mutex};

use connector_wss::clock::Now;
use connector_wss::fanout::{Access, ClientId, Fanout, FanoutConfig, Output};
use connector_wss::limits::{
    CLIENT_BYTES_MAX, CLIENT_MESSAGE_BYTES_MAX, READY_BYTES_MAX, SPARE_BUFFER_BYTES,
    SPARE_BUFFERS_MAX, TLS_BYTES_MAX,
};
use connector_wss::market::{FinalBy, InstrumentId, Market, Venue};
use connector_wss::messages::{Command, MarketEvent};
use connector_wss::venue;
use connector_wss::wire::json::JsonReader;
use connector_wss::wire::{Connection, Endpoint, tls};
use peak_alloc::PeakAlloc;
use rustls::ClientConfig;

use world::{HANDSHAKE, World, config, frame};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const FEW: usize = 1_000;
const MANY: usize = 10_000;

/// A fan-out whose clients take everything at once, and remember nothing.
struct Crowd {
    fanout: Fanout,
    now: Now,
    instrument: Option<InstrumentId>,
    clients: Vec<ClientId>,
    /// How clients speak TLS, if they do.
    tls: Option<Arc<ClientConfig>>,
    /// Candles are made there.
    maker: World,
}

impl Crowd {
    fn new() -> Self {
        Self::with(Access::default(), None)
    }

    /// One that speaks TLS only.
    fn over_tls() -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let server = tls::server_config(chain.as_bytes(), key.as_bytes()).unwrap();
        let client = tls::client_config(Some(chain.as_bytes())).unwrap();
        Self::with(Access { tls: Some(server), ..Access::default() }, Some(client))
    }

    fn with(access: Access, tls: Option<Arc<ClientConfig>>) -> Self {
        let maker = World::new();
        let config = FanoutConfig { clients_max: MANY, access, ..config() };
        let fanout = Fanout::new(config, Default::default(), maker.now);
        let clients = Vec::with_capacity(MANY);
        Self { fanout, now: maker.now, instrument: None, clients, tls, maker }
    }

    fn grow(&mut self, count: usize) {
        while self.clients.len() < count {
            let id = self.accept();
            match self.tls.clone() {
                None => {
                    self.hear(id, HANDSHAKE.as_bytes());
                    self.hear(id, &frame(0x81, world::BTC.as_bytes()));
                }
                Some(tls) => drop(self.ask_over_tls(id, &tls)),
            }
            self.clients.push(id);
        }
    }

    fn accept(&mut self) -> ClientId {
        self.fanout.handle_accepted("127.0.0.1:9".parse().unwrap(), self.now)
    }

    /// Returns the client's end; to be dropped before the engine's is counted.
    fn ask_over_tls(&mut self, id: ClientId, tls: &Arc<ClientConfig>) -> Connection {
        let endpoint = Endpoint::parse("wss://localhost/").unwrap();
        let mut peer = Connection::client(&endpoint, tls, [7; 16], &[]).unwrap();
        while !peer.is_open() {
            self.talk(id, &mut peer);
        }
        peer.send_text(world::BTC);
        self.talk(id, &mut peer);
        peer
    }

    /// What either side has ready goes to the other.
    fn talk(&mut self, id: ClientId, peer: &mut Connection) {
        let said = peer.outgoing().to_vec();
        peer.consume_outgoing(said.len());
        self.fanout.handle_bytes(id, &said, self.now);
        self.drive(|_| false);
        peer.handle_bytes(&self.fanout.outgoing(id).to_vec()).unwrap();
        self.take(id);
        while peer.next_event().unwrap().is_some() {}
    }

    /// What each client costs that comes until there are `count`.
    fn cost_of_growing_to(&mut self, count: usize) -> usize {
        let (before, clients) = (used(), self.clients.len());
        self.grow(count);
        (used() - before) / (count - clients)
    }

    fn hear(&mut self, id: ClientId, bytes: &[u8]) {
        self.fanout.handle_bytes(id, bytes, self.now);
        self.drive(|_| true);
    }

    /// `takes`: whether a client's socket takes what it is offered.
    fn drive(&mut self, takes: impl Fn(ClientId) -> bool) {
        while let Some(output) = self.fanout.poll_output() {
            match output {
                Output::Transmit { client } if takes(client) => self.take(client),
                Output::Command { command: Command::Subscribe { id, instrument, .. }, .. } => {
                    self.instrument = Some(id);
                    self.maker.ids.insert(instrument.symbol.to_string(), id);
                    self.fanout.handle_market(&MarketEvent::Begin { instrument: id }, self.now);
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, client: ClientId) {
        loop {
            let count = self.fanout.outgoing(client).len();
            if count == 0 {
                return;
            }
            self.fanout.consume_outgoing(client, count, self.now);
        }
    }

    /// So many closed candles, and as many open ones, in one batch.
    fn burst(&mut self, minutes: std::ops::Range<i64>, takes: impl Fn(ClientId) -> bool) {
        for minute in minutes {
            for final_by in [None, Some(FinalBy::Flag)] {
                let update = self.maker.update("BTCUSDT", minute, "29038.46", final_by);
                self.fanout.handle_market(&MarketEvent::Candle(update), self.now);
            }
        }
        self.drive(takes);
    }
}

fn used() -> usize {
    ALLOCATOR.current_usage()
}

/// The tests share an allocator: one at a time.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_client_costs_little_while_idle_and_no_more_than_its_bound_when_it_is_slow() {
    let _turn = TURN.lock().unwrap();
    let mut crowd = Crowd::new();
    crowd.grow(FEW);
    let idle = crowd.cost_of_growing_to(2 * FEW);
    println!("{idle} bytes for an idle client that has sent one request");
    let of_many = crowd.cost_of_growing_to(MANY);
    println!("{of_many} bytes where there are many");
    assert!(idle.max(of_many) < 4096, "{idle} {of_many} bytes");

    a_burst_leaves_nothing_behind(&mut crowd, 2);
    a_long_message_leaves_nothing_behind(&mut crowd);
    drop(crowd);
    let bound = config().client_buffer_max + READY_BYTES_MAX + CLIENT_BYTES_MAX;
    slow_clients_stay_within(bound, Crowd::new());

    tls_costs_no_more_than_is_said(idle);
    slow_clients_stay_within(bound + TLS_BYTES_MAX, Crowd::over_tls());
}

fn tls_costs_no_more_than_is_said(plain: usize) {
    let mut crowd = Crowd::over_tls();
    crowd.grow(FEW);
    let idle = crowd.cost_of_growing_to(2 * FEW);
    println!("{idle} bytes for an idle client over TLS");
    assert!(idle < plain + TLS_BYTES_MAX, "{idle} bytes");
    // More clients than buffers are kept for bursts, each with more than it may keep.
    a_burst_leaves_nothing_behind(&mut crowd, 40);

    let long = format!("{{{}}}", " ".repeat(CLIENT_MESSAGE_BYTES_MAX - 2));
    let (before, talkers) = (used(), 100);
    for _ in 0..talkers {
        let id = crowd.accept();
        let mut peer = crowd.ask_over_tls(id, &crowd.tls.clone().unwrap());
        peer.send_text(&long);
        crowd.talk(id, &mut peer);
    }
    let each = (used() - before) / talkers;
    println!("{each} bytes for one over TLS that has sent a long message");
    assert!(each < CLIENT_BYTES_MAX + TLS_BYTES_MAX, "{each} bytes");
}

fn a_burst_leaves_nothing_behind(crowd: &mut Crowd, minutes: i64) {
    crowd.burst(0..1, |_| true);
    let before = used();
    crowd.burst(1..1 + minutes, |_| true);
    let kept = used().saturating_sub(before);
    println!("{kept} bytes kept after a burst");
    assert!(kept <= SPARE_BUFFERS_MAX * (SPARE_BUFFER_BYTES + 64), "{kept} bytes");
}

fn a_long_message_leaves_nothing_behind(crowd: &mut Crowd) {
    let long = vec![b' '; CLIENT_MESSAGE_BYTES_MAX - 2];
    let long = [b"{".as_slice(), &long, b"}"].concat();
    let (one, two) = long.split_at(long.len() / 2);
    let fragments = [frame(0x01, one), frame(0x80, two)].concat();
    for (name, bytes) in [("a long message", frame(0x81, &long)), ("one in two parts", fragments)] {
        let (before, talkers) = (used(), 100);
        for at in 0..talkers {
            crowd.hear(crowd.clients[at], &bytes);
        }
        let kept = used().saturating_sub(before) / talkers;
        println!("{kept} bytes kept by a client that has sent {name}");
        assert!(kept < 1024, "{kept} bytes");
    }
}

fn slow_clients_stay_within(bound: usize, mut crowd: Crowd) {
    let slow = 100;
    crowd.grow(2 * slow);
    let before = used();
    let first = crowd.clients[slow];
    for minute in 0..1_000 {
        crowd.burst(minute..minute + 1, |id| id >= first);
        let held = used().saturating_sub(before) / slow;
        assert!(held <= bound, "{held} bytes for each slow client");
    }
    let left = (0..slow).filter(|&at| !crowd.fanout.outgoing(crowd.clients[at]).is_empty());
    assert_eq!(left.count(), slow, "their last bytes are offered still");
}

/// `exchangeInfo` as Binance's spot market sends it: 4,524 symbols with long `permissionSets`.
struct LongList {
    left: usize,
    part: Vec<u8>,
    at: usize,
    total: usize,
}

impl LongList {
    fn new() -> Self {
        let part = br#"{"timezone":"UTC","symbols":["#.to_vec();
        Self { left: SYMBOLS, part, at: 0, total: 0 }
    }

    fn fill(&mut self) {
        self.at = 0;
        self.part.clear();
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let (symbol, sets) = (self.left, r#""TRD_GRP_005","#.repeat(270));
        let end = if self.left == 0 { "]}" } else { "," };
        let entry = format!(
            r#"{{"symbol":"S{symbol}USDT","status":"TRADING","permissionSets":[[{sets}"SPOT"]]}}{end}"#
        );
        self.part.extend(entry.as_bytes());
    }
}

impl std::io::Read for LongList {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.part.len() {
            self.fill();
        }
        let count = out.len().min(self.part.len() - self.at);
        out[..count].copy_from_slice(&self.part[self.at..self.at + count]);
        (self.at, self.total) = (self.at + count, self.total + count);
        Ok(count)
    }
}

const SYMBOLS: usize = 4_524;

#[test]
fn a_list_of_seventeen_megabytes_is_read_as_it_comes() {
    let _turn = TURN.lock().unwrap();
    let spot = Market::find(Venue::Binance, "spot").unwrap();
    let mut list = LongList::new();
    let before = used();
    ALLOCATOR.reset_peak_usage();
    let page = venue::read_instruments(spot, None, BufReader::new(&mut list)).unwrap();
    let peak = ALLOCATOR.peak_usage() - before;
    assert_eq!(page.listed.len(), SYMBOLS);
    assert!(list.total > 16_000_000, "{}", list.total);
    assert!(peak < 2_000_000, "{peak} bytes at most");
}

#[test]
fn a_long_message_s_memory_is_given_back() {
    let _turn = TURN.lock().unwrap();
    let text = format!("[{}0]", r#""\u0041b",1,"#.repeat(200_000));
    let before = used();
    let mut json = JsonReader::default();
    assert_eq!(json.read(text.as_bytes(), |root| root.elements().unwrap().count()), Ok(400_001));
    assert!(json.read(&text.as_bytes()[..text.len() - 1], |_| ()).is_err());
    assert!(used() - before < 64 * 1024, "{} bytes", used() - before);
}
