//! What clients cost the engine in memory, counted byte by byte: the allocator of this binary adds
//! up what is asked of it, so the numbers are the same on every machine.

#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../fanout/world.rs"]
mod world;

use connector_wss::clock::Now;
use connector_wss::fanout::{ClientId, Fanout, FanoutConfig, Output};
use connector_wss::limits::{
    CLIENT_BYTES_MAX, CLIENT_MESSAGE_BYTES_MAX, READY_BYTES_MAX, SPARE_BUFFER_BYTES,
    SPARE_BUFFERS_MAX,
};
use connector_wss::market::{FinalBy, InstrumentId};
use connector_wss::messages::{Command, MarketEvent};
use peak_alloc::PeakAlloc;

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
    /// Candles are made there.
    maker: World,
}

impl Crowd {
    fn new() -> Self {
        let maker = World::new();
        let config = FanoutConfig { clients_max: MANY, ..config() };
        let fanout = Fanout::new(config, Default::default(), maker.now);
        let clients = Vec::with_capacity(MANY);
        Self { fanout, now: maker.now, instrument: None, clients, maker }
    }

    fn grow(&mut self, count: usize) {
        while self.clients.len() < count {
            let id = self.fanout.handle_accepted("127.0.0.1:9".parse().unwrap(), self.now);
            self.hear(id, HANDSHAKE.as_bytes());
            self.hear(id, &frame(0x81, world::BTC.as_bytes()));
            self.clients.push(id);
        }
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
                Output::Command { command: Command::Subscribe { id, instrument }, .. } => {
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

/// One test for all, because they share an allocator.
#[test]
fn a_client_costs_little_while_idle_and_no_more_than_its_bound_when_it_is_slow() {
    let mut crowd = Crowd::new();
    crowd.grow(FEW);
    let few = used();
    crowd.grow(MANY);
    let idle = (used() - few) / (MANY - FEW);
    println!("{idle} bytes for an idle client that has sent one request");
    assert!(idle < 4096, "{idle} bytes");

    a_burst_leaves_nothing_behind(&mut crowd);
    a_long_message_leaves_nothing_behind(&mut crowd);
    drop(crowd);
    slow_clients_stay_within_their_bound();
}

fn a_burst_leaves_nothing_behind(crowd: &mut Crowd) {
    crowd.burst(0..1, |_| true);
    let before = used();
    crowd.burst(1..3, |_| true);
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

fn slow_clients_stay_within_their_bound() {
    let (mut crowd, slow) = (Crowd::new(), 100);
    crowd.grow(2 * slow);
    let before = used();
    let bound = config().client_buffer_max + READY_BYTES_MAX + CLIENT_BYTES_MAX;
    let first = crowd.clients[slow];
    for minute in 0..1_000 {
        crowd.burst(minute..minute + 1, |id| id >= first);
        let held = used().saturating_sub(before) / slow;
        assert!(held <= bound, "{held} bytes for each slow client");
    }
    let left = (0..slow).filter(|&at| !crowd.fanout.outgoing(crowd.clients[at]).is_empty());
    assert_eq!(left.count(), slow, "their last bytes are offered still");
}
