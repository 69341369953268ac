//! One contract type of the simulated Binance, from the exchange's side: connections, their
//! subscriptions and limits, and the pushes that are due. Pure: driven by path, frames and time,
//! drained through [`Exchange::poll_output`]. Knows no socket, clock or HTTP.

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

    fn admit(&mut self, now: MonoNs) -> Result<(), Refusal> {
        let until =
            |end: MonoNs, status| Refusal { status, retry_after: end.since(now).as_secs() + 1 };
        if now < self.refuse_until {
            return Err(until(self.refuse_until, 503));
        }
        if now < self.banned_until {
            return Err(until(self.banned_until, 418));
        }
        forget_before(&mut self.connects, CONNECTS_WINDOW, now);
        let limit = self.profile.connects_max.filter(|_| self.settings.enforce_limits);
        if limit.is_some_and(|limit| self.connects.len() >= limit) {
            self.offend(now);
            return Err(until(self.connects[0].after(CONNECTS_WINDOW), 429));
        }
        self.connects.push_back(now);
        Ok(())
    }

    /// Counts a broken limit; repeated ones end in a ban.
    fn offend(&mut self, now: MonoNs) {
        self.counters.limit_cuts += 1;
        forget_before(&mut self.offences, CONNECTS_WINDOW, now);
        self.offences.push_back(now);
        if self.offences.len() >= OFFENCES_MAX {
            self.offences.clear();
            self.banned_until = now.after(BAN);
        }
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

    /// Counts a client's frame; false if the connection was cut for it or is gone.
    fn count_message(&mut self, id: ConnectionId, now: MonoNs) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        if now.since(connection.window_start) >= MESSAGES_WINDOW {
            connection.window_start = now;
            connection.window_messages = 0;
        }
        connection.window_messages += 1;
        let limit = self.profile.messages_per_second;
        if connection.window_messages <= limit || !self.settings.enforce_limits {
            return true;
        }
        self.outputs.push_back((id, Output::Close(1008, "Too many requests")));
        self.offend(now);
        self.disconnected(id);
        false
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

    /// When the closing push of `minute` is due, in the exchange's time.
    fn close_at_ms(&self, index: usize, minute: i64) -> i64 {
        let (least, most) = self.settings.close_delay_ms;
        let delay = least + self.market.chance(index, minute) % (most.saturating_sub(least) + 1);
        (minute + 1) * MINUTE_MS - 1 + delay as i64
    }

    fn advance_stream(&mut self, index: usize, stream: &mut Stream, now: MonoNs) {
        let now_ms = self.time.unix_ms(now);
        let oldest = now_ms.div_euclid(MINUTE_MS) - CATCH_UP_MINUTES;
        stream.minute = stream.minute.max(oldest);
        while now_ms >= self.close_at_ms(index, stream.minute) {
            self.push_close(index, stream, now, now_ms);
            stream.minute += 1;
        }
        let running = now_ms.div_euclid(MINUTE_MS) == stream.minute;
        let interval = self.settings.push_interval;
        for _ in 0..CATCH_UP_PUSHES {
            if stream.next_push > now {
                break;
            }
            if running {
                self.push_running(index, stream, now, now_ms);
            }
            stream.next_push = stream.next_push.after(interval);
        }
        stream.next_push = stream.next_push.max(now);
        let close = self.time.mono(self.close_at_ms(index, stream.minute));
        stream.next_due = close.min(stream.next_push);
    }

    fn push_close(&mut self, index: usize, stream: &mut Stream, now: MonoNs, now_ms: i64) {
        if std::mem::take(&mut stream.lose_close) {
            return;
        }
        let truth = self.market.truth(index, stream.minute);
        let times = 1 + usize::from(std::mem::take(&mut stream.double_close));
        for _ in 0..times {
            self.push(index, stream, &truth, now, now_ms, true);
        }
    }

    fn push_running(&mut self, index: usize, stream: &mut Stream, now: MonoNs, now_ms: i64) {
        let changed = stream.refresh(&self.market, index, now_ms);
        let quiet = self.profile.only_changes && !self.settings.always_push;
        if changed || !quiet || stream.owes_first(now) {
            let candle = stream.candle;
            self.push(index, stream, &candle, now, now_ms, false);
        }
    }

    /// Sends `candle` to everyone who listens, encoded once for each of the two forms.
    fn push(
        &mut self,
        index: usize,
        stream: &mut Stream,
        candle: &super::market::TrueCandle,
        now: MonoNs,
        now_ms: i64,
        closed: bool,
    ) {
        let listing = &self.market.listings()[index];
        let kind = self.profile.contract_type;
        binance::write_kline(&mut self.text, kind, listing, candle, now_ms, closed);
        let mut forms: [Option<Utf8Bytes>; 2] = [None, None];
        let times = 1 + usize::from(std::mem::take(&mut stream.duplicate_next));
        for subscriber in stream.subscribers.iter_mut().filter(|one| one.from <= now) {
            let Some(connection) = self.connections.get(&subscriber.id) else { continue };
            subscriber.had_first = true;
            if connection.silent {
                continue;
            }
            let form = forms[usize::from(connection.combined)].get_or_insert_with(|| {
                if connection.combined {
                    binance::wrap(&stream.name, &self.text).into()
                } else {
                    self.text.as_str().into()
                }
            });
            for _ in 0..times {
                self.counters.messages_sent += 1;
                self.outputs.push_back((subscriber.id, Output::Text(form.clone())));
            }
        }
    }

    fn connection_deadline(&self, open: &Connection) -> MonoNs {
        let pong = open.pong_owed_since.map(|since| since.after(self.profile.pong_patience));
        let play = self.play_due(open).filter(|_| !open.silent);
        let life = open.opened.after(self.settings.connection_life);
        [pong, play].into_iter().flatten().fold(life.min(open.next_ping), MonoNs::min)
    }

    fn advance_connections(&mut self, now: MonoNs) {
        let mut ended = Vec::new();
        let payload = self.time.unix_ms(now).to_string();
        for (&id, open) in &mut self.connections {
            let late = open.pong_owed_since.map(|since| since.after(self.profile.pong_patience));
            if late.is_some_and(|late| late <= now) {
                ended.push((id, Output::Cut));
            } else if now >= open.opened.after(self.settings.connection_life) {
                ended.push((id, Output::Close(1001, "Connection lifetime reached")));
            } else if now >= open.next_ping {
                open.next_ping = now.after(self.profile.ping_interval);
                open.pong_owed_since = open.pong_owed_since.or(Some(now));
                self.outputs.push_back((id, Output::Ping(payload.clone())));
            }
        }
        for (id, output) in ended {
            self.disconnected(id);
            self.outputs.push_back((id, output));
        }
    }

    /// When the connection's next captured message is due.
    fn play_due(&self, open: &Connection) -> Option<MonoNs> {
        let next = self.settings.playback.get(open.played)?;
        let speed = self.settings.playback_speed;
        let offset = if speed == 0 { Duration::ZERO } else { next.offset / speed };
        Some(open.play_at?.after(offset))
    }

    fn play(&mut self, now: MonoNs) {
        let playback = self.settings.playback.clone();
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            for _ in 0..PLAYBACK_BATCH {
                let Some(open) = self.connections.get(&id) else { break };
                if open.silent || self.play_due(open).is_none_or(|due| due > now) {
                    break;
                }
                let message = &playback[open.played];
                if open.routed && open.subscriptions.contains(&message.stream) {
                    let text: Utf8Bytes = if open.combined {
                        binance::wrap(&message.stream, &message.payload).into()
                    } else {
                        message.payload.as_str().into()
                    };
                    self.send(id, text);
                }
                self.with(id, |open| open.played += 1);
            }
        }
    }
}

fn forget_before(times: &mut VecDeque<MonoNs>, window: Duration, now: MonoNs) {
    while times.front().is_some_and(|&time| now.since(time) >= window) {
        times.pop_front();
    }
}

const MESSAGES_WINDOW: Duration = Duration::from_secs(1);
/// Source: "300 connections per attempt every 5 minutes per IP".
const CONNECTS_WINDOW: Duration = Duration::from_secs(300);
/// Limits broken within [`CONNECTS_WINDOW`] before the address is banned. The venue says
/// "repeated"; the number is ours.
const OFFENCES_MAX: usize = 5;
/// Source: bans "scale in duration from 2 minutes to 3 days".
const BAN: Duration = Duration::from_secs(120);
/// Minutes closed late after a stall; older ones are skipped.
const CATCH_UP_MINUTES: i64 = 10;
/// Pushes of one stream sent at once when the pace is faster than the duty cycle.
const CATCH_UP_PUSHES: usize = 64;
/// Captured messages sent to one connection in one turn.
const PLAYBACK_BATCH: usize = 256;
/// So that every symbol is subscribed before the first captured message goes out.
const PLAYBACK_SETTLE: Duration = Duration::from_millis(200);
const MALFORMED: &str = "{\"e\":\"kline\",\"E\":17,\"s\":\"BTCUSDT\",\"k\":{\"t\":";

#[cfg(test)]
mod tests;
