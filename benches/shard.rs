//! What one shard does a second, from memory to memory: frames in, candles into a ring and out of it.
//! One thread, no socket, no TLS.
//!
//! `cargo bench --bench shard`.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../tests/feed/pair.rs"]
mod pair;

use std::hint::black_box;
use std::time::{Duration, Instant};

use connector_wss::clock::{MonoNs, Now};
use connector_wss::messages::MarketEvent;
use connector_wss::wire::write_text_frame;

use pair::{Pair, START_MS, config};

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return println!("benches are not tests");
    }
    let mut shard = Shard::new();
    shard.round();
    let mut rates: Vec<f64> = (0..ROUNDS).map(|_| shard.round()).collect();
    rates.sort_by(f64::total_cmp);
    let median = rates[ROUNDS / 2];
    println!(
        "one shard, {SYMBOLS} symbols: {:.2} million updates a second, {:.0} ns each (median of \
         {ROUNDS} rounds; from {:.2} to {:.2} million)",
        median / 1e6,
        1e9 / median,
        rates[0] / 1e6,
        rates[ROUNDS - 1] / 1e6,
    );
}

const SYMBOLS: usize = 200;
const ROUNDS: usize = 31;
/// Pushes of each symbol in a round; of one minute, the last of them closed.
const PUSHES: usize = 100;
/// Bytes of one read.
const CHUNK_BYTES: usize = 64 * 1024;

struct Shard {
    pair: Pair,
    symbols: Vec<String>,
    minute: i64,
    ring: (rtrb::Producer<MarketEvent>, rtrb::Consumer<MarketEvent>),
}

impl Shard {
    fn new() -> Self {
        let symbols: Vec<String> = (0..SYMBOLS).map(|at| format!("SYM{at}USDT")).collect();
        let mut config = config();
        config.max_symbols_per_session = SYMBOLS;
        let mut pair = Pair::with(config);
        for (id, symbol) in symbols.iter().enumerate() {
            pair.subscribe(u32::try_from(id).unwrap(), "spot", symbol);
        }
        pair.pass(Duration::from_secs(1));
        Self { pair, symbols, minute: 0, ring: rtrb::RingBuffer::new(64 * 1024) }
    }

    /// Updates a second in one minute's pushes.
    fn round(&mut self) -> f64 {
        let mut bytes = Vec::new();
        for push in 0..PUSHES {
            for symbol in &self.symbols {
                let event_ms = START_MS + self.minute * 60_000 + push as i64 * 500;
                let (close, is_closed) = (format!("1.{push:03}"), push + 1 == PUSHES);
                let text = pair::kline(symbol, self.minute, &close, is_closed, event_ms);
                write_text_frame(&mut bytes, text.as_bytes());
            }
        }
        self.minute += 1;
        let session = self.pair.only();
        let (mut now, mut told) = (self.pair.now, 0);
        let start = Instant::now();
        for chunk in bytes.chunks(CHUNK_BYTES) {
            now.mono = now.mono.after(Duration::from_micros(100));
            self.pair.feed.handle_bytes(session, chunk, now);
            while let Some(event) = self.pair.feed.next_published() {
                self.ring.0.push(event).unwrap();
            }
            while let Ok(event) = self.ring.1.pop() {
                told += u64::from(matches!(black_box(event), MarketEvent::Candle(_)));
            }
        }
        let elapsed = start.elapsed();
        let expected = (PUSHES * SYMBOLS) as u64;
        assert_eq!(told, expected, "a candle is missing");
        self.pair.now = Now { mono: MonoNs(now.mono.0), unix_us: now.unix_us };
        told as f64 / elapsed.as_secs_f64()
    }
}
