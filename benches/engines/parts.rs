//! The parts behind the decoder, each by itself.

use std::hint::black_box;
use std::sync::Arc;

use connector_wss::clock::UnixMs;
use connector_wss::fanout::{ClientId, Fanout, FanoutConfig, Output};
use connector_wss::market::{CandleUpdate, ClosedWindow, FinalBy, InstrumentId, Interval, Series};
use connector_wss::messages::{Command, MarketEvent};
use connector_wss::metrics::{Metrics, render};

use crate::results::{Cell, Row, median};
use crate::rounds_ns;
use crate::world::{self, HANDSHAKE, World, frame};

const SECTION: &str = "parts, each by itself";
/// Operations of a round.
const COUNT: usize = 10_000;

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let mut rows = series(rounds);
    rows.extend(ring(rounds));
    rows.extend(fanout(rounds));
    rows.push(metrics(rounds));
    rows
}

fn row(name: &str, rounds: Vec<f64>) -> Row {
    Row::new(SECTION, name, "ns", vec![Cell::median("ours", rounds)])
}

/// An update as the feed makes it.
fn update(minute: i64, final_by: Option<FinalBy>) -> CandleUpdate {
    let mut world = World::new();
    world.ids.insert("BTCUSDT".to_owned(), InstrumentId(0));
    world.update("BTCUSDT", minute, "29038.46", final_by)
}

fn series(rounds: usize) -> Vec<Row> {
    let mut series = Series::new(Interval::M1);
    let (open, mut closed) = (update(0, None), update(0, Some(FinalBy::Flag)));
    let judge = rounds_ns(rounds, COUNT, || {
        for _ in 0..COUNT {
            black_box(series.judge_open(black_box(&open.candle)));
        }
    });
    let accept_closed = rounds_ns(rounds, COUNT, || {
        for _ in 0..COUNT {
            black_box(series.accept_closed(&ClosedWindow::Candle(black_box(closed))));
            closed.candle.open_time = UnixMs(closed.candle.open_time.0 + 60_000);
        }
    });
    vec![
        row("series: judge an open candle", judge),
        row("series: settle a closed candle", accept_closed),
    ]
}

fn ring(rounds: usize) -> Vec<Row> {
    let event = MarketEvent::Candle(update(0, None));
    let (mut producer, mut consumer) = rtrb::RingBuffer::new(1024);
    let one_thread = rounds_ns(rounds, COUNT, || {
        for _ in 0..COUNT {
            producer.push(black_box(event)).unwrap();
            black_box(consumer.pop().unwrap());
        }
    });
    vec![
        row("ring: put and take, one thread", one_thread),
        row("ring: a hop to another thread", hops(rounds, event)),
    ]
}

/// Half of there and back, both threads spinning.
fn hops(rounds: usize, event: MarketEvent) -> Vec<f64> {
    let (mut there, mut far) = rtrb::RingBuffer::<MarketEvent>::new(1024);
    let (mut back, mut near) = rtrb::RingBuffer::<MarketEvent>::new(1024);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !far.is_abandoned() || !far.is_empty() {
                match far.pop() {
                    Ok(event) => back.push(event).unwrap(),
                    Err(_) => std::hint::spin_loop(),
                }
            }
        });
        let times = rounds_ns(rounds, 2 * HOPS, || {
            for _ in 0..HOPS {
                there.push(event).unwrap();
                while near.pop().is_err() {
                    std::hint::spin_loop();
                }
            }
        });
        drop(there);
        times
    })
}

/// There and back, in a round; few, because on shared CPUs the other thread may not be running.
const HOPS: usize = 1_000;

/// What a publication costs by itself, and what each client adds.
fn fanout(rounds: usize) -> Vec<Row> {
    const MANY: usize = 101;
    let (one, many) = (publish(rounds, 1), publish(rounds, MANY));
    let client = one.iter().zip(&many).map(|(one, many)| (many - one) / (MANY - 1) as f64);
    let client: Vec<f64> = client.collect();
    let each = median(&client);
    let encode = one.iter().map(|one| one - each).collect();
    vec![
        row("fan-out: encode, for all clients", encode),
        row("fan-out: dispatch to one client", client),
    ]
}

/// An open candle to so many clients, whose sockets take it.
fn publish(rounds: usize, clients: usize) -> Vec<f64> {
    let mut fanout = Subscribed::new(clients);
    let event = MarketEvent::Candle(update(0, None));
    let count = COUNT / clients.min(10);
    rounds_ns(rounds, count, || {
        for _ in 0..count {
            fanout.fanout.handle_market(black_box(&event), fanout.world.now);
            fanout.write();
        }
    })
}

struct Subscribed {
    fanout: Fanout,
    world: World,
}

impl Subscribed {
    fn new(clients: usize) -> Self {
        let world = World::new();
        let config = FanoutConfig { clients_max: 1_000, ..world::config() };
        let mut this = Self { fanout: Fanout::new(config, Arc::default(), world.now), world };
        for _ in 0..clients {
            let id = this.fanout.handle_accepted("127.0.0.1:9".parse().unwrap(), this.world.now);
            for bytes in [HANDSHAKE.as_bytes(), &frame(0x81, world::BTC.as_bytes())] {
                this.fanout.handle_bytes(id, bytes, this.world.now);
                this.write();
            }
        }
        this
    }

    fn write(&mut self) {
        while let Some(output) = self.fanout.poll_output() {
            match output {
                Output::Transmit { client } => self.take(client),
                Output::Command { command: Command::Subscribe { id, .. }, .. } => {
                    let begin = MarketEvent::Begin { instrument: id };
                    self.fanout.handle_market(&begin, self.world.now);
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, client: ClientId) {
        let outgoing = self.fanout.outgoing(client);
        let count = outgoing.pieces().map(|piece| black_box(piece).len()).sum();
        self.fanout.consume_outgoing(client, count, self.world.now);
    }
}

/// What Prometheus asks for, with one shard.
fn metrics(rounds: usize) -> Row {
    let metrics = Metrics {
        shards: vec![Arc::default()],
        fanout: Arc::default(),
        ledger: Default::default(),
        cores: vec![("shard 0".to_owned(), Arc::default())],
    };
    const RENDERS: usize = 20;
    let times = rounds_ns(rounds, RENDERS, || {
        for _ in 0..RENDERS {
            black_box(render::render(&metrics, None, render::Format::Prometheus));
        }
    });
    row("metrics: render all", times)
}
