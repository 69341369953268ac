//! A fan-out engine, its clients' sockets and the clock, all in memory.

#![allow(unreachable_pub, clippy::cast_possible_truncation)]

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use connector_wss::clock::{Lapse, MonoNs, Now, RoughLapse, UnixMs};
use connector_wss::fanout::{Access, ClientId, Fanout, FanoutConfig, Output};
use connector_wss::market::{
    Candle, CandleUpdate, Decimal, FinalBy, Instrument, InstrumentId, Interval, Market, Source,
    Venue,
};
use connector_wss::messages::{BackfillFrom, Command, FeedEvent, LedgerRead, MarketEvent};
use connector_wss::metrics::FanoutMetrics;
use serde_json::Value;

pub const MINUTE_0: i64 = 28_333_334;
pub const BTC: &str = r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]}"#;
pub const BTC_3: &str =
    r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"],"limit":3}"#;
pub const TWO: &str =
    r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT","ETHUSDT"]}"#;

/// [`BTC`] with further fields.
pub fn asking(what: &str) -> String {
    BTC.replace('}', &format!(",{what}}}"))
}

pub fn open_time(minute: i64) -> UnixMs {
    UnixMs((MINUTE_0 + minute) * 60_000)
}

/// What one client's socket has seen.
#[derive(Default)]
pub struct Socket {
    pub bytes: Vec<u8>,
    pub is_blocked: bool,
    pub is_paused: bool,
    pub has_fin: bool,
    pub is_closed: bool,
    pub transmits: usize,
}

pub struct World {
    pub fanout: Fanout,
    pub metrics: Arc<FanoutMetrics>,
    pub sockets: HashMap<ClientId, Socket>,
    pub commands: Vec<Command>,
    /// The numbers of the recalls that a shard has not answered.
    pub tickets: VecDeque<u64>,
    pub ids: HashMap<String, InstrumentId>,
    pub notices: Vec<String>,
    /// Questions to the ledger.
    pub reads: Vec<LedgerRead>,
    pub now: Now,
}

pub fn config() -> FanoutConfig {
    FanoutConfig {
        subscribe_timeout: Duration::from_secs(10),
        close_linger: Duration::from_secs(10),
        client_buffer_max: 100_000,
        clients_max: 100,
        refusals_max: 256,
        ping_interval: Duration::from_secs(20),
        ping_timeout: Duration::from_secs(20),
        history_candles: 8,
        shards: 4,
        carriers: [4; Market::COUNT],
        preload: Vec::new(),
        tails: Default::default(),
        has_ledger: false,
        catch_up: 60,
        access: Access::default(),
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: FanoutConfig) -> Self {
        let now = Now { mono: MonoNs(1), unix_us: (MINUTE_0 * 60_000 + 5_000) * 1000 };
        let metrics = Arc::new(FanoutMetrics::default());
        let fanout = Fanout::new(config, metrics.clone(), now);
        let (sockets, commands, tickets, ids, notices, reads) = Default::default();
        let mut world =
            Self { fanout, metrics, sockets, commands, tickets, ids, notices, reads, now };
        world.drive();
        world
    }

    /// Accepts a client whose handshake is done, and forgets the handshake's bytes.
    pub fn open(&mut self) -> ClientId {
        let id = self.accept();
        self.send(id, HANDSHAKE.as_bytes());
        let head = std::mem::take(&mut self.socket(id).bytes);
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        id
    }

    pub fn open_with(&mut self, request: &str) -> ClientId {
        let id = self.open();
        self.say(id, request);
        id
    }

    pub fn accept(&mut self) -> ClientId {
        self.accept_from("127.0.0.1:9")
    }

    pub fn accept_from(&mut self, peer: &str) -> ClientId {
        let id = self.fanout.handle_accepted(peer.parse().unwrap(), self.now);
        self.sockets.insert(id, Socket::default());
        self.drive();
        id
    }

    pub fn socket(&mut self, id: ClientId) -> &mut Socket {
        self.sockets.get_mut(&id).unwrap()
    }

    pub fn send(&mut self, id: ClientId, bytes: &[u8]) {
        self.fanout.handle_bytes(id, bytes, self.now);
        self.drive();
    }

    pub fn say(&mut self, id: ClientId, text: &str) {
        self.send(id, &frame(0x81, text.as_bytes()));
    }

    pub fn say_close(&mut self, id: ClientId, payload: &[u8]) {
        self.send(id, &frame(0x88, payload));
    }

    pub fn half_close(&mut self, id: ClientId) {
        self.fanout.handle_half_closed(id, self.now);
        self.drive();
    }

    pub fn market(&mut self, event: MarketEvent) {
        self.fanout.handle_market(&event, self.now);
        self.drive();
    }

    pub fn open_candle(&mut self, symbol: &str, minute: i64, close: &str) {
        let update = self.update(symbol, minute, close, None);
        self.market(MarketEvent::Candle(update));
    }

    pub fn closed_candle(&mut self, symbol: &str, minute: i64, close: &str) {
        let update = self.update(symbol, minute, close, Some(FinalBy::Flag));
        self.market(MarketEvent::Candle(update));
    }

    pub fn update(
        &self,
        symbol: &str,
        minute: i64,
        close: &str,
        final_by: Option<FinalBy>,
    ) -> CandleUpdate {
        let price: Decimal = close.parse().unwrap();
        CandleUpdate {
            instrument: self.ids[symbol],
            candle: Candle {
                open_time: open_time(minute),
                open: price,
                high: price,
                low: price,
                close: price,
                volume: Decimal::ZERO,
                other_volume: None,
                trades: 1,
            },
            event_time: None,
            received: self.now.mono,
            until_ring: Lapse::default(),
            kernel: RoughLapse::UNKNOWN,
            final_by,
            source: Source::Ws,
            revision: 0,
        }
    }

    /// What the shard was asked to recall since it was last asked.
    pub fn backfills(&mut self) -> Vec<(BackfillFrom, Option<UnixMs>)> {
        let backfill = |command| match command {
            Command::Backfill { from, to, .. } => Some((from, to)),
            _ => None,
        };
        std::mem::take(&mut self.commands).into_iter().filter_map(backfill).collect()
    }

    /// BTCUSDT's closed minute, from the exchange's past.
    pub fn backfilled(&mut self, minute: i64, close: &str) {
        let update = self.update("BTCUSDT", minute, close, Some(FinalBy::Rest));
        self.market(MarketEvent::Backfilled(update));
    }

    /// BTCUSDT's minute of the past cannot be read.
    pub fn recall_gap(&mut self, minute: i64) {
        let instrument = self.ids["BTCUSDT"];
        self.market(MarketEvent::BackfillGap { instrument, open_time: open_time(minute) });
    }

    pub fn recall_end(&mut self, from: i64, through: i64) {
        let instrument = self.ids["BTCUSDT"];
        let (from, through) = (open_time(from), open_time(through));
        let ticket = self.tickets.pop_front().unwrap_or(0);
        self.market(MarketEvent::BackfillEnd { instrument, from, through, ticket });
    }

    /// The exchange refuses a name, which is remembered.
    pub fn reject(&mut self, symbol: &str) {
        self.refuse(symbol, true);
    }

    /// The exchange refuses a series; `is_lasting`: for its name.
    pub fn refuse(&mut self, symbol: &str, is_lasting: bool) {
        let instrument = self.ids[symbol];
        let message = format!("{symbol} is not traded there");
        let exchange_message = "Invalid symbol.".to_owned();
        let event = FeedEvent::Rejected { instrument, message, exchange_message, is_lasting };
        self.fanout.handle_feed(event, self.now);
        self.drive();
    }

    /// The session that carries `symbol` alone is lost, or back.
    pub fn session(&mut self, symbol: &str, is_back: bool) {
        let market = Market::find(Venue::Binance, "spot").unwrap();
        let instruments = vec![self.ids[symbol]];
        let event = if is_back {
            FeedEvent::SessionBack { market, instruments }
        } else {
            FeedEvent::SessionLost { market, instruments, why: "reset by peer".to_owned() }
        };
        self.fanout.handle_feed(event, self.now);
        self.drive();
    }

    /// Time passes, wakeup by wakeup.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now.mono.after(duration);
        while let Some(at) = self.fanout.next_deadline().filter(|&at| at <= end) {
            self.jump(at.max(self.now.mono));
            self.fanout.handle_timeout(self.now);
            self.drive();
        }
        self.jump(end);
    }

    pub fn jump(&mut self, at: MonoNs) {
        let passed = at.since(self.now.mono).as_micros();
        self.now.unix_us += i64::try_from(passed).unwrap();
        self.now.mono = at;
    }

    pub fn unblock(&mut self, id: ClientId) {
        self.socket(id).is_blocked = false;
        self.write(id);
        self.drive();
    }

    pub fn write(&mut self, id: ClientId) {
        let socket = self.sockets.get_mut(&id).unwrap();
        if socket.is_blocked {
            return;
        }
        let bytes = self.fanout.outgoing(id).to_vec();
        socket.bytes.extend_from_slice(&bytes);
        self.fanout.consume_outgoing(id, bytes.len(), self.now);
    }

    pub fn drive(&mut self) {
        while let Some(output) = self.fanout.poll_output() {
            match output {
                Output::Transmit { client } => {
                    self.socket(client).transmits += 1;
                    self.write(client);
                }
                Output::ShutdownWrite { client } => {
                    assert!(self.fanout.outgoing(client).is_empty(), "FIN after the bytes");
                    self.socket(client).has_fin = true;
                }
                Output::Read { client, wanted } => self.socket(client).is_paused = !wanted,
                Output::Close { client } => self.socket(client).is_closed = true,
                Output::Command { shard, command } => {
                    assert!(shard < 4);
                    if let Command::Subscribe { id, instrument, .. } = &command {
                        self.ids.insert(instrument.symbol.to_string(), *id);
                        let begin = MarketEvent::Begin { instrument: *id };
                        self.fanout.handle_market(&begin, self.now);
                    }
                    if let Command::Backfill { wish, .. } = &command {
                        self.tickets.push_back(wish.ticket);
                    }
                    self.commands.push(command);
                }
                Output::ReadLedger(read) => self.reads.push(*read),
                Output::Notice(notice) => self.notices.push(notice.text),
            }
        }
    }

    pub fn subscribes(&self) -> usize {
        self.commands.iter().filter(|one| matches!(one, Command::Subscribe { .. })).count()
    }

    /// Streams that shards were told to end.
    pub fn unsubscribes(&self) -> usize {
        let ended = |command: &Command| match command {
            Command::Unsubscribe { id } | Command::Forget { id } => Some(*id),
            _ => None,
        };
        self.commands.iter().filter_map(ended).collect::<HashSet<_>>().len()
    }

    /// What a client has got since it was last asked: texts, and its Close if it got one (1005: an
    /// empty one, which answers an empty one).
    pub fn got(&mut self, id: ClientId) -> (Vec<Value>, Option<(u16, String)>) {
        let bytes = std::mem::take(&mut self.socket(id).bytes);
        let (mut texts, mut close) = (Vec::new(), None);
        for (opcode, payload) in frames(&bytes) {
            assert!(close.is_none(), "nothing follows a Close");
            match opcode {
                0x81 => {
                    assert!(!payload.contains(&b'\n') && payload.len() <= 60_000);
                    texts.push(serde_json::from_slice(&payload).unwrap());
                }
                0x88 => {
                    assert!(payload.len() <= 125);
                    close = Some(match payload.as_slice() {
                        [] => (1005, String::new()),
                        [high, low, reason @ ..] => {
                            let reason = String::from_utf8(reason.to_vec()).unwrap();
                            (u16::from_be_bytes([*high, *low]), reason)
                        }
                        [_] => panic!("half a code"),
                    });
                }
                0x89 | 0x8a => {}
                other => panic!("opcode {other:x}"),
            }
        }
        (texts, close)
    }

    pub fn texts(&mut self, id: ClientId) -> Vec<Value> {
        self.got(id).0
    }

    /// `type`, and for quotes the symbol and close.
    pub fn summary(&mut self, id: ClientId) -> Vec<String> {
        self.texts(id).iter().map(summarize).collect()
    }

    pub fn close_of(&mut self, id: ClientId) -> Option<u16> {
        self.got(id).1.map(|(code, _)| code)
    }

    pub fn error(&mut self, id: ClientId) -> Value {
        let texts = self.texts(id);
        assert_eq!((texts.len(), texts[0]["type"].as_str()), (1, Some("error")), "{texts:?}");
        texts[0].clone()
    }
}

pub fn summarize(value: &Value) -> String {
    let kind = value["type"].as_str().unwrap();
    match kind {
        "quote" | "correction" => {
            format!("{kind} {} {}", value["symbol"].as_str().unwrap(), value["close"])
        }
        _ => kind.to_owned(),
    }
}

pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut out = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ ..126) => out.push(0x80 | length as u8),
        Ok(length) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    out
}

pub fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut out = Vec::new();
    while bytes.len() >= 2 {
        let (length, head) = match bytes[1] {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            length => (usize::from(length), 2),
        };
        out.push((bytes[0], bytes[head..head + length].to_vec()));
        bytes = &bytes[head + length..];
    }
    assert!(bytes.is_empty(), "half a frame");
    out
}

pub const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn spot(symbol: &str) -> Instrument {
    let market = Market::find(Venue::Binance, "spot").unwrap();
    Instrument { market, symbol: symbol.into(), interval: Interval::M1 }
}
