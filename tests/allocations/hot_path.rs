//! The way of an update through both engines, in one thread and in memory: an exchange's bytes, the
//! feed, a ring, the fan-out, the bytes for every client. Used by the test that counts allocations
//! and by the benches.

use std::hint::black_box;
use std::time::Duration;

use connector_wss::clock::Now;
use connector_wss::fanout::{ClientId, Fanout, FanoutConfig, Output};
use connector_wss::limits::RING_SLOTS;
use connector_wss::market::Venue;
use connector_wss::messages::MarketEvent;
use connector_wss::wire::write_text_frame;

use crate::pair::{self, Pair, START_MS};
use crate::world::{self, HANDSHAKE, frame};

/// Bytes of one read from the exchange: some thirty pushes, few enough for a turn.
const CHUNK_BYTES: usize = 8 * 1024;

/// Both engines, joined, with every client subscribed to every symbol.
pub(crate) struct HotPath {
    pair: Pair,
    fanout: Fanout,
    ring: (rtrb::Producer<MarketEvent>, rtrb::Consumer<MarketEvent>),
    clients: Vec<ClientId>,
    symbols: Vec<String>,
    /// The exchange's spot market.
    venue: Venue,
    minute: i64,
    /// Bytes that clients' sockets have taken.
    pub(crate) written_bytes: usize,
    /// Candles that went through the ring.
    pub(crate) updates: usize,
}

impl HotPath {
    /// The first `basic` clients want the basic fields only. At OKX each has a word of its own for
    /// the contract type, and hears it in each message.
    pub(crate) fn new(venue: Venue, symbols: usize, clients: usize, basic: usize) -> Self {
        let mut feed_config = pair::config();
        feed_config.max_symbols_per_session = symbols;
        let mut pair = Pair::with(feed_config);
        // What is published goes to the fan-out.
        pair.is_draining = false;
        // It answers as Binance does; and nobody waits here for as long as answers may take.
        pair.manners.is_mute = venue != Venue::Binance;
        let quote = if venue == Venue::Okx { "-USDT" } else { "USDT" };
        let config = FanoutConfig { shards: 1, carriers: [1; _], ..world::config() };
        let mut path = Self {
            fanout: Fanout::new(config, Default::default(), pair.now),
            pair,
            ring: rtrb::RingBuffer::new(RING_SLOTS),
            clients: Vec::new(),
            symbols: (0..symbols).map(|at| format!("SYM{at}{quote}")).collect(),
            venue,
            minute: 0,
            written_bytes: 0,
            updates: 0,
        };
        for at in 0..clients {
            let word = ["spot", "um", "perp"][if venue == Venue::Okx { at % 3 } else { 0 }];
            path.accept(word, if at < basic { "basic" } else { "all" });
        }
        path.pair.now.mono = path.pair.now.mono.after(Duration::from_secs(1));
        path.begin();
        path
    }

    fn accept(&mut self, word: &str, fields: &str) {
        let id = self.fanout.handle_accepted("127.0.0.1:9".parse().unwrap(), self.pair.now);
        let request = format!(
            r#"{{"exchange":"{}","contract_type":"{word}","symbols":{:?},"fields":"{fields}"}}"#,
            self.venue.name(),
            self.symbols
        );
        for bytes in [HANDSHAKE.as_bytes().to_vec(), frame(0x81, request.as_bytes())] {
            self.fanout.handle_bytes(id, &bytes, self.pair.now);
            self.write();
        }
        self.clients.push(id);
    }

    /// The pushes of the next minute, so many for each symbol and the last of them closed, as they
    /// come from the exchange's socket.
    pub(crate) fn next_minute(&mut self, pushes: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for push in 0..pushes {
            for symbol in &self.symbols {
                let (close, is_closed) = (format!("1.{push:03}"), push + 1 == pushes);
                let since_open_ms = if is_closed { 60_000 } else { push as i64 * 100 };
                let event_ms = START_MS + self.minute * 60_000 + since_open_ms;
                let text = self.push(symbol, &close, is_closed, event_ms);
                write_text_frame(&mut bytes, text.as_bytes());
            }
        }
        self.minute += 1;
        self.pair.now.unix_us = (START_MS + self.minute * 60_000) * 1000;
        bytes
    }

    fn push(&self, symbol: &str, close: &str, is_closed: bool, event_ms: i64) -> String {
        if self.venue == Venue::Binance {
            return pair::kline(symbol, self.minute, close, is_closed, event_ms);
        }
        let (open_time, flag) = (START_MS + self.minute * 60_000, u8::from(is_closed));
        format!(
            r#"{{"arg":{{"channel":"candle1m","instId":"{symbol}"}},"data":[["{open_time}","1.1","9000","0.5","{close}","12.5","20","20","{flag}"]]}}"#
        )
    }

    /// The first candle of each symbol, and what the feed asks of the exchange for it.
    fn begin(&mut self) {
        let session = self.pair.only();
        for symbol in &self.symbols {
            let text = self.push(symbol, "1.000", false, START_MS);
            self.pair.push_to(session, &text);
        }
        let now = self.tick();
        while let Some(event) = self.pair.feed.next_published() {
            self.fanout.handle_market(&event, now);
        }
        self.write();
    }

    /// Carries the bytes from the exchange's socket to every client's.
    pub(crate) fn carry(&mut self, bytes: &[u8]) {
        let session = self.pair.only();
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let now = self.tick();
            let feed = &mut self.pair.feed;
            feed.handle_bytes(session, chunk, now);
            assert_eq!(feed.poll_output(), None, "candles are all there is");
            while let Some(event) = feed.next_published() {
                self.ring.0.push(event).expect("a turn's candles fit");
            }
            while let Ok(event) = self.ring.1.pop() {
                self.updates += usize::from(matches!(event, MarketEvent::Candle(_)));
                self.fanout.handle_market(&event, now);
                if self.fanout.is_full() {
                    self.write();
                }
            }
            self.write();
        }
    }

    /// Too little to bring any timer up: what is measured is the way of the updates.
    fn tick(&mut self) -> Now {
        self.pair.now.mono = self.pair.now.mono.after(Duration::from_micros(1));
        self.pair.now
    }

    /// Every client's socket takes what there is.
    fn write(&mut self) {
        while let Some(output) = self.fanout.poll_output() {
            match output {
                Output::Transmit { client } => self.take(client),
                Output::Command { command, .. } => {
                    self.pair.feed.handle_command(command, self.pair.now);
                    self.pair.pump();
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, client: ClientId) {
        loop {
            let outgoing = self.fanout.outgoing(client);
            let count: usize = outgoing.pieces().map(|piece| black_box(piece).len()).sum();
            if count == 0 {
                return;
            }
            self.written_bytes += count;
            self.fanout.consume_outgoing(client, count, self.pair.now);
        }
    }
}
