//! What one shard does from memory to memory: frames in, candles into a ring and out of it. No
//! socket and no TLS.

use std::hint::black_box;
use std::time::{Duration, Instant};

use connector_wss::messages::MarketEvent;
use connector_wss::wire::write_text_frame;

use crate::pair::{self, Pair, START_MS};
use crate::results::{Cell, Row};

const SYMBOLS: usize = 200;
/// Pushes of each symbol in a round; of one minute, the last of them closed.
const PUSHES: usize = 100;
/// Bytes of one read.
const CHUNK_BYTES: usize = 64 * 1024;

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let mut shard = Shard::new();
    shard.round();
    let times: Vec<f64> = (0..rounds).map(|_| shard.round()).collect();
    let rates = times.iter().map(|ns| 1e9 / ns).collect();
    let of = "ours";
    let section = format!("one shard from memory, {SYMBOLS} symbols");
    vec![
        Row::new(&section, "an update", "ns", vec![Cell::median(of, times)]),
        Row::new(&section, "updates", "/s", vec![Cell::median(of, rates)]),
    ]
}

struct Shard {
    pair: Pair,
    symbols: Vec<String>,
    minute: i64,
    ring: (rtrb::Producer<MarketEvent>, rtrb::Consumer<MarketEvent>),
}

impl Shard {
    fn new() -> Self {
        let symbols: Vec<String> = (0..SYMBOLS).map(|at| format!("SYM{at}USDT")).collect();
        let mut config = pair::config();
        config.max_symbols_per_session = SYMBOLS;
        let mut pair = Pair::with(config);
        for (id, symbol) in symbols.iter().enumerate() {
            pair.subscribe(u32::try_from(id).unwrap(), "spot", symbol);
        }
        pair.pass(Duration::from_secs(1));
        Self { pair, symbols, minute: 0, ring: rtrb::RingBuffer::new(64 * 1024) }
    }

    /// ns for each of one minute's pushes.
    fn round(&mut self) -> f64 {
        let bytes = self.next_minute();
        let session = self.pair.only();
        let (mut now, mut told) = (self.pair.now, 0);
        let begin = Instant::now();
        for chunk in bytes.chunks(CHUNK_BYTES) {
            now.mono = now.mono.after(Duration::from_micros(100));
            self.pair.feed.handle_bytes(session, chunk, now);
            while let Some(event) = self.pair.feed.next_published() {
                self.ring.0.push(event).unwrap();
            }
            while let Ok(event) = self.ring.1.pop() {
                told += usize::from(matches!(black_box(event), MarketEvent::Candle(_)));
            }
        }
        let elapsed = begin.elapsed();
        assert_eq!(told, PUSHES * SYMBOLS, "every push is a candle");
        self.pair.now = now;
        elapsed.as_nanos() as f64 / told as f64
    }

    fn next_minute(&mut self) -> Vec<u8> {
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
        bytes
    }
}
