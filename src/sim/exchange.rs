//! One contract type of the simulated Binance, from the exchange's side: connections, their
//! subscriptions and limits, and the pushes that are due. Pure: driven by path, frames and time,
//! drained through [`Exchange::poll_output`]. Knows no socket, clock or HTTP.

mod limits;
mod push;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tungstenite::Utf8Bytes;

use crate::clock::MonoNs;

use super::binance::{self, Method, Profile, STREAMS_MAX};
use super::faults::Fault;
use super::market::{MINUTE_MS, SimMarket};
use super::playback::Captured;
use super::stream::Stream;
use super::time::SimTime;

/// A WebSocket connection, as the server numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub usize);

/// What is to be done to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a text frame.
    Text(Utf8Bytes),
    /// Send a ping with this payload.
    Ping(String),
    /// Send a Close with this code and reason.
    Close(u16, &'static str),
    /// Drop the TCP connection without a word.
    Cut,
    /// Keep the TCP connection, and never read or write again.
    Freeze,
}

/// Why a connection is not accepted: an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 404 no such path, 418 banned, 429 too many connections, 503 refused by a fault.
    pub status: u16,
    /// Seconds after which it may be tried again; 0 where that makes no sense.
    pub retry_after: u64,
}

/// What is configured about an exchange.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time between two pushes of a running candle.
    pub push_interval: Duration,
    /// Whether every push is sent, even if nothing changed (load mode).
    pub always_push: bool,
    /// First data after a subscription comes so much later.
    pub first_data_delay: Duration,
    /// The closing push comes this long after the minute's last ms: least and most, in ms.
    pub close_delay_ms: (u64, u64),
    /// Whether the documented limits hold.
    pub enforce_limits: bool,
    /// Life of a connection.
    pub connection_life: Duration,
    /// Captured messages to play instead of the market's pushes.
    pub playback: Arc<[Captured]>,
    /// Captured time runs so many times as fast; 0: as fast as possible.
    pub playback_speed: u32,
}

/// What an exchange counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted since the start.
    pub connections_total: u64,
    /// SUBSCRIBE frames seen.
    pub subscribe_frames: u64,
    /// Text messages sent, acknowledgements included.
    pub messages_sent: u64,
    /// Faults done.
    pub faults: u64,
    /// Connections cut for breaking a limit.
    pub limit_cuts: u64,
}

/// One contract type of the simulated exchange.
#[derive(Debug)]
pub struct Exchange {
    /// What the venue's documents fix.
    pub profile: &'static Profile,
    /// The candles.
    pub market: SimMarket,
    /// What is configured.
    pub settings: Settings,
    /// What was counted.
    pub counters: Counters,
    time: SimTime,
    connections: BTreeMap<ConnectionId, Connection>,
    /// By the market's index; `None` while nobody listens.
    streams: Vec<Option<Stream>>,
    connects: VecDeque<MonoNs>,
    offences: VecDeque<MonoNs>,
    banned_until: MonoNs,
    refuse_until: MonoNs,
    silence_until: MonoNs,
    outputs: VecDeque<(ConnectionId, Output)>,
    text: String,
}

#[derive(Debug)]
struct Connection {
    routed: bool,
    combined: bool,
    silent: bool,
    subscriptions: Vec<String>,
    opened: MonoNs,
    window_start: MonoNs,
    window_messages: u32,
    next_ping: MonoNs,
    pong_owed_since: Option<MonoNs>,
    /// When playback starts, and how far it is.
    play_at: Option<MonoNs>,
    played: usize,
}

impl Exchange {
    /// An exchange that nobody is connected to.
    pub fn new(
        profile: &'static Profile,
        market: SimMarket,
        settings: Settings,
        time: SimTime,
    ) -> Self {
        let streams = market.listings().iter().map(|_| None).collect();
        Self {
            profile,
            market,
            settings,
            counters: Counters::default(),
            time,
            connections: BTreeMap::new(),
            streams,
            connects: VecDeque::new(),
            offences: VecDeque::new(),
            banned_until: MonoNs(0),
            refuse_until: MonoNs(0),
            silence_until: MonoNs(0),
            outputs: VecDeque::new(),
            text: String::new(),
        }
    }

    /// Accepts a connection to `target` (path and query), or says why not.
    pub fn connect(&mut self, id: ConnectionId, target: &str, now: MonoNs) -> Result<(), Refusal> {
        let path = binance::parse_target(self.profile, target);
        let Some(path) = path else { return Err(Refusal { status: 404, retry_after: 0 }) };
        self.admit(now)?;
        self.counters.connections_total += 1;
        let connection = Connection {
            routed: path.routed,
            combined: path.combined,
            silent: now < self.silence_until,
            subscriptions: Vec::new(),
            opened: now,
            window_start: now,
            window_messages: 0,
            next_ping: now.after(self.profile.ping_interval),
            pong_owed_since: None,
            play_at: None,
            played: 0,
        };
        self.connections.insert(id, connection);
        if !path.streams.is_empty() {
            self.subscribe(id, path.streams, now);
        }
        Ok(())
    }

    /// A text frame came from a client.
    pub fn text(&mut self, id: ConnectionId, text: &str, now: MonoNs) {
        if !self.count_message(id, now) {
            return;
        }
        let request = match binance::parse_request(text) {
            Ok(request) => request,
            Err(answer) => return self.send(id, answer.into()),
        };
        let result = match request.method {
            Method::Subscribe(streams) => {
                self.counters.subscribe_frames += 1;
                self.send(id, binance::ack("null", &request.id).into());
                return self.subscribe(id, streams, now);
            }
            Method::Unsubscribe(streams) => {
                self.unsubscribe(id, &streams);
                "null".to_owned()
            }
            Method::ListSubscriptions => self.list(id),
            Method::SetCombined(combined) => {
                self.with(id, |connection| connection.combined = combined);
                "null".to_owned()
            }
            Method::GetCombined => {
                self.connections.get(&id).is_some_and(|open| open.combined).to_string()
            }
        };
        self.send(id, binance::ack(&result, &request.id).into());
    }

    /// A ping came from a client: it counts as a message.
    pub fn ping(&mut self, id: ConnectionId, now: MonoNs) {
        self.count_message(id, now);
    }

    /// A pong came from a client: it counts as a message, and pays what is owed.
    pub fn pong(&mut self, id: ConnectionId, now: MonoNs) {
        if self.count_message(id, now) {
            self.with(id, |connection| connection.pong_owed_since = None);
        }
    }

    /// The connection is gone.
    pub fn disconnected(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        for name in &connection.subscriptions {
            self.leave(id, name);
        }
    }

    /// Does `fault` now.
    pub fn fault(&mut self, fault: Fault, now: MonoNs) {
        self.counters.faults += 1;
        match fault {
            Fault::Disconnect => self.all(|_| Output::Cut),
            Fault::HalfOpen => {
                self.connections.values_mut().for_each(|open| open.silent = true);
                self.all(|_| Output::Freeze);
            }
            Fault::Silence(time) => {
                self.silence_until = now.after(time);
                self.connections.values_mut().for_each(|open| open.silent = true);
            }
            Fault::ShutdownNotice => {
                let notice =
                    format!("{{\"e\":\"serverShutdown\",\"E\":{}}}", self.time.unix_ms(now));
                let wrapped: Utf8Bytes = binance::wrap("!serverShutdown", &notice).into();
                let raw: Utf8Bytes = notice.into();
                self.all(|open| {
                    Output::Text(if open.combined { wrapped.clone() } else { raw.clone() })
                });
            }
            Fault::Refuse(time) => self.refuse_until = now.after(time),
            Fault::Malformed => self.all(|_| Output::Text(MALFORMED.into())),
            Fault::DelayFirst(delay) => self.settings.first_data_delay = delay,
            Fault::Duplicate => self.each_stream(|stream| stream.duplicate_next = true),
            Fault::LostClose => self.each_stream(|stream| stream.lose_close = true),
            Fault::DoubleClose => self.each_stream(|stream| stream.double_close = true),
            // REST's; the budget is not the exchange's own.
            Fault::RateLimit(_) => {}
        }
    }

    /// Sends what is due at `now`.
    pub fn advance(&mut self, now: MonoNs) {
        self.advance_connections(now);
        if !self.settings.playback.is_empty() {
            return self.play(now);
        }
        for index in 0..self.streams.len() {
            let due = self.streams[index].as_ref().is_some_and(|stream| stream.next_due <= now);
            if let Some(mut stream) = self.streams[index].take_if(|_| due) {
                self.advance_stream(index, &mut stream, now);
                self.streams[index] = Some(stream);
            }
        }
    }

    /// When [`Self::advance`] has something to do again.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        let streams = self.streams.iter().flatten().map(|stream| stream.next_due);
        let connections = self.connections.values().map(|open| self.connection_deadline(open));
        streams.chain(connections).min()
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<(ConnectionId, Output)> {
        self.outputs.pop_front()
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Subscriptions now, by symbol in upper case; those that deliver nothing included.
    pub fn subscriptions(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for name in self.connections.values().flat_map(|open| &open.subscriptions) {
            let symbol = name.split('@').next().unwrap_or(name).to_uppercase();
            *counts.entry(symbol).or_default() += 1;
        }
        counts
    }

    /// The exchange's time at `now`, in ms since the Unix epoch.
    pub fn unix_ms(&self, now: MonoNs) -> i64 {
        self.time.unix_ms(now)
    }

    fn with(&mut self, id: ConnectionId, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.connections.get_mut(&id) {
            change(connection);
        }
    }

    fn all(&mut self, output: impl Fn(&Connection) -> Output) {
        for (&id, connection) in &self.connections {
            self.outputs.push_back((id, output(connection)));
        }
    }

    fn each_stream(&mut self, change: impl Fn(&mut Stream)) {
        self.streams.iter_mut().flatten().for_each(change);
    }

    fn send(&mut self, id: ConnectionId, text: Utf8Bytes) {
        self.counters.messages_sent += 1;
        self.outputs.push_back((id, Output::Text(text)));
    }

    fn subscribe(&mut self, id: ConnectionId, names: Vec<String>, now: MonoNs) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut added = Vec::new();
        for name in names {
            if !connection.subscriptions.contains(&name) {
                connection.subscriptions.push(name.clone());
                added.push(name);
            }
        }
        if connection.subscriptions.len() > STREAMS_MAX && self.settings.enforce_limits {
            self.outputs.push_back((id, Output::Close(1008, "Too many streams")));
            self.counters.limit_cuts += 1;
            return self.disconnected(id);
        }
        if connection.played == 0 {
            connection.play_at = Some(now.after(PLAYBACK_SETTLE));
        }
        if connection.routed && self.settings.playback.is_empty() {
            added.iter().for_each(|name| self.join(id, name, now));
        }
    }

    fn unsubscribe(&mut self, id: ConnectionId, names: &[String]) {
        self.with(id, |open| open.subscriptions.retain(|name| !names.contains(name)));
        names.iter().for_each(|name| self.leave(id, name));
    }

    fn list(&self, id: ConnectionId) -> String {
        let names = self.connections.get(&id).map_or(&[][..], |open| &open.subscriptions);
        simd_json::to_string(&names).unwrap_or_else(|_| "[]".to_owned())
    }

    /// Index of the symbol whose candles the stream `name` carries, if it carries any.
    fn stream_index(&self, name: &str) -> Option<usize> {
        let (symbol, kind) = name.split_once("@kline_")?;
        let index = self.market.find_lower(symbol)?;
        (kind == binance::INTERVAL && self.market.listings()[index].trading).then_some(index)
    }

    fn join(&mut self, id: ConnectionId, name: &str, now: MonoNs) {
        let Some(index) = self.stream_index(name) else { return };
        let from = now.after(self.settings.first_data_delay);
        if self.streams[index].is_none() {
            let minute = self.time.unix_ms(now).div_euclid(MINUTE_MS);
            let closed = now >= self.time.mono(self.close_at_ms(index, minute - 1));
            let minute = if closed { minute } else { minute - 1 };
            self.streams[index] = Some(Stream::new(name.into(), minute, from));
        }
        if let Some(stream) = &mut self.streams[index] {
            stream.join(id, from);
        }
    }

    fn leave(&mut self, id: ConnectionId, name: &str) {
        let Some(index) = self.stream_index(name) else { return };
        let Some(stream) = &mut self.streams[index] else { return };
        if stream.leave(id) {
            self.streams[index] = None;
        }
    }
}

/// So that every symbol is subscribed before the first captured message goes out.
const PLAYBACK_SETTLE: Duration = Duration::from_millis(200);
const MALFORMED: &str = "{\"e\":\"kline\",\"E\":17,\"s\":\"BTCUSDT\",\"k\":{\"t\":";

#[cfg(test)]
mod tests;
