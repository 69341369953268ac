//! One market of a simulated exchange, from the exchange's side: connections, their subscriptions
//! and limits, and the pushes that are due. Pure: driven by path, frames and time,
//! drained through [`Exchange::poll_output`]. Knows no socket, clock or HTTP.

mod dialogue;
mod limits;
mod push;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tungstenite::Utf8Bytes;

use crate::clock::MonoNs;
use crate::market::{ContractType, Interval, Venue};

use super::faults::Fault;
use super::market::{Listing, MINUTE_MS, SimMarket};
use super::playback::Captured;
use super::profile::Profile;
use super::stream::{Form, Stream, Track};
use super::time::SimTime;
use super::venue::binance::{self, Method};
use super::windows;

/// A WebSocket connection, as the server numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub usize);

/// What the server does to a connection next.
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
    /// How many times as fast captured time runs; 0: as fast as possible.
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
    /// Pushes that a fault left out, doubled, delayed or restated.
    pub spoilt: u64,
}

/// Faults of the REST side, each until a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RestFaults {
    pub(super) slow_until: MonoNs,
    pub(super) error_until: MonoNs,
    pub(super) garbage_until: MonoNs,
    stale_until: MonoNs,
    /// From when to when, by the exchange's time, in ms since the Unix epoch.
    lags_ms: (i64, i64),
}

/// What an exchange counts for one client address, over the markets that share the counts.
#[derive(Debug, Default)]
pub struct Address {
    connects: VecDeque<MonoNs>,
    offences: VecDeque<MonoNs>,
    messages: VecDeque<MonoNs>,
    connections: usize,
    streams: usize,
    banned_until: MonoNs,
}

/// One market of a simulated exchange.
#[derive(Debug)]
pub struct Exchange {
    /// What the venue's documents fix.
    pub profile: Profile,
    /// The candles.
    pub market: SimMarket,
    /// What is configured.
    pub settings: Settings,
    /// What was counted.
    pub counters: Counters,
    time: SimTime,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Those that somebody listens to.
    streams: BTreeMap<Track, Stream>,
    address: Arc<Mutex<Address>>,
    refuse_until: MonoNs,
    silence_until: MonoNs,
    /// What is wrong with REST, and until when.
    pub(super) rest_faults: RestFaults,
    skew_ms: i64,
    outputs: VecDeque<(ConnectionId, Output)>,
    text: String,
}

#[derive(Debug)]
struct Connection {
    routed: bool,
    combined: bool,
    silent: bool,
    subscriptions: Vec<Subscription>,
    opened: MonoNs,
    last_sent: MonoNs,
    last_received: MonoNs,
    /// Subscribe and unsubscribe frames, where those are limited.
    operations: VecDeque<MonoNs>,
    /// Characters of all topics asked for.
    topic_bytes: usize,
    /// Cut then, whatever happens.
    cut_at: Option<MonoNs>,
    window_start: MonoNs,
    window_messages: u32,
    next_ping: MonoNs,
    pong_owed_since: Option<MonoNs>,
    /// When playback starts, and how far it is.
    play_at: Option<MonoNs>,
    played: usize,
}

/// A stream of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Subscription {
    /// As the exchange's frames name it.
    name: String,
    /// The candles that come on it, if any do.
    track: Option<Track>,
}

impl Exchange {
    /// An exchange that nobody is connected to.
    pub fn new(
        profile: Profile,
        market: SimMarket,
        settings: Settings,
        time: SimTime,
        address: Arc<Mutex<Address>>,
    ) -> Self {
        Self {
            profile,
            market,
            settings,
            counters: Counters::default(),
            time,
            connections: BTreeMap::new(),
            streams: BTreeMap::new(),
            address,
            refuse_until: MonoNs(0),
            silence_until: MonoNs(0),
            rest_faults: RestFaults::default(),
            skew_ms: 0,
            outputs: VecDeque::new(),
            text: String::new(),
        }
    }

    /// Accepts a connection to `target` (path and query), or returns why not.
    pub fn connect(&mut self, id: ConnectionId, target: &str, now: MonoNs) -> Result<(), Refusal> {
        let path = self.path(target);
        let Some(path) = path else { return Err(Refusal { status: 404, retry_after: 0 }) };
        self.admit(now)?;
        self.counters.connections_total += 1;
        let connection = Connection {
            routed: path.routed,
            combined: path.combined,
            silent: now < self.silence_until,
            subscriptions: Vec::new(),
            opened: now,
            last_sent: now,
            last_received: now,
            operations: VecDeque::new(),
            topic_bytes: 0,
            cut_at: None,
            window_start: now,
            window_messages: 0,
            next_ping: self.profile.server_ping.map_or(NEVER, |(interval, _)| now.after(interval)),
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
        if self.profile.market.venue() != Venue::Binance {
            return self.frame(id, text, now);
        }
        let request = match binance::parse_request(text) {
            Ok(request) => request,
            Err(answer) => return self.send(id, answer.into(), now),
        };
        let result = match request.method {
            Method::Subscribe(streams) => {
                self.counters.subscribe_frames += 1;
                self.send(id, binance::ack("null", &request.id).into(), now);
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
        self.send(id, binance::ack(&result, &request.id).into(), now);
    }

    /// A client's frame came that `answer` answers: it counts as a message.
    pub fn answer(&mut self, id: ConnectionId, answer: String, now: MonoNs) {
        if self.count_message(id, now) {
            self.send(id, answer.into(), now);
        }
    }

    /// A ping came from a client: it counts as a message.
    pub fn ping(&mut self, id: ConnectionId, now: MonoNs) {
        self.count_message(id, now);
    }

    /// Whether the market is served at `target` (path and query).
    pub fn has_path(&self, target: &str) -> bool {
        self.path(target).is_some()
    }

    fn path(&self, target: &str) -> Option<binance::Target> {
        if self.profile.market.venue() == Venue::Binance {
            return binance::parse_target(&self.profile, target);
        }
        let path = target.split('?').next().unwrap_or(target).trim_end_matches('/');
        let routed = self.profile.routed.contains(&path);
        let is_known = routed || self.profile.silent.contains(&path);
        is_known.then_some(binance::Target { routed, combined: false, streams: Vec::new() })
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
        let mut address = lock(&self.address);
        address.connections = address.connections.saturating_sub(1);
        address.streams = address.streams.saturating_sub(connection.subscriptions.len());
        drop(address);
        for track in connection.subscriptions.iter().filter_map(|one| one.track) {
            self.leave(id, track);
        }
    }

    /// Does `fault` now.
    pub fn fault(&mut self, fault: Fault, now: MonoNs) {
        self.counters.faults += 1;
        match fault {
            Fault::Disconnect => {
                self.all(|_| Output::Cut);
                for id in self.connections.keys().copied().collect::<Vec<_>>() {
                    self.disconnected(id);
                }
            }
            Fault::HalfOpen => {
                self.connections.values_mut().for_each(|open| open.silent = true);
                self.all(|_| Output::Freeze);
            }
            Fault::Silence(time) => {
                self.silence_until = now.after(time);
                self.connections.values_mut().for_each(|open| open.silent = true);
            }
            Fault::ShutdownNotice => {
                let notice = self.shutdown_notice(now);
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
            Fault::Reordered => self.each_stream(|stream| stream.reorder_close = true),
            Fault::RestatedClose => self.each_stream(|stream| stream.restate_close = true),
            Fault::LateClose => self.each_stream(|stream| stream.delay_close = true),
            Fault::EmptyMinute => {
                let minute = self.time.unix_ms(now).div_euclid(MINUTE_MS) + 1;
                for track in self.streams.keys() {
                    self.market.empty(track.index, minute);
                }
            }
            Fault::Muted => self.each_stream(|stream| {
                stream.subscribers.iter_mut().for_each(|one| one.is_muted = true);
            }),
            Fault::ClockSkew(skew) => {
                self.skew_ms = i64::try_from(skew.as_millis()).unwrap_or(0);
            }
            // The budget is not the exchange's own.
            Fault::RateLimit(_) => {}
            Fault::SlowRest(time) => self.rest_faults.slow_until = now.after(time),
            Fault::RestError(time) => self.rest_faults.error_until = now.after(time),
            Fault::RestGarbage(time) => self.rest_faults.garbage_until = now.after(time),
            Fault::RestStale(time) => self.rest_faults.stale_until = now.after(time),
            Fault::RestLags(time) => {
                let until = self.time.unix_ms(now.after(time));
                self.rest_faults.lags_ms = (self.time.unix_ms(now), until);
            }
        }
    }

    /// Does `fault` to one symbol's streams, whatever their interval. False if nobody listens to
    /// it, or the fault is not one of a stream.
    pub fn fault_stream(&mut self, fault: Fault, index: usize, now: MonoNs) -> bool {
        let minute = self.time.unix_ms(now).div_euclid(MINUTE_MS) + 1;
        let mut streams = self.streams.values_mut().filter(|one| one.track.index == index);
        let change: fn(&mut Stream) = match fault {
            Fault::Duplicate => |stream| stream.duplicate_next = true,
            Fault::LostClose => |stream| stream.lose_close = true,
            Fault::DoubleClose => |stream| stream.double_close = true,
            Fault::Reordered => |stream| stream.reorder_close = true,
            Fault::RestatedClose => |stream| stream.restate_close = true,
            Fault::LateClose => |stream| stream.delay_close = true,
            Fault::EmptyMinute => |_| {},
            Fault::Muted => {
                |stream| stream.subscribers.iter_mut().for_each(|one| one.is_muted = true)
            }
            _ => return false,
        };
        let Some(first) = streams.next() else { return false };
        change(first);
        streams.for_each(change);
        if fault == Fault::EmptyMinute {
            self.market.empty(index, minute);
        }
        self.counters.faults += 1;
        true
    }

    /// Sends what is due at `now`.
    pub fn advance(&mut self, now: MonoNs) {
        self.advance_connections(now);
        if !self.settings.playback.is_empty() {
            return self.play(now);
        }
        let mut streams = std::mem::take(&mut self.streams);
        for stream in streams.values_mut().filter(|stream| stream.next_due <= now) {
            self.advance_stream(stream, now);
        }
        self.streams = streams;
    }

    /// When [`Self::advance`] has something to do again.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        let streams = self.streams.values().map(|stream| stream.next_due);
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
        for one in self.connections.values().flat_map(|open| &open.subscriptions) {
            let symbol = match one.track {
                Some(track) => self.market.listings()[track.index].name.to_string(),
                None => one.name.split('@').next().unwrap_or(&one.name).to_uppercase(),
            };
            *counts.entry(symbol).or_default() += 1;
        }
        counts
    }

    /// The exchange's time as it sends it: wrong by the fault of that name.
    pub fn sent_ms(&self, now: MonoNs) -> i64 {
        self.unix_ms(now) + self.skew_ms
    }

    /// The time whose candles REST shows.
    pub(super) fn rest_ms(&self, now: MonoNs) -> i64 {
        let is_stale = now < self.rest_faults.stale_until;
        self.unix_ms(now) - if is_stale { STALE_MS } else { 0 }
    }

    /// How far into a window REST shows its trades at `now_ms`.
    pub(super) fn row_elapsed_ms(&self, interval: Interval, window: i64, now_ms: i64) -> i64 {
        let elapsed_ms = now_ms - window * interval.ms();
        let (since, until) = self.rest_faults.lags_ms;
        let lag_ms = if now_ms < since + STALE_MS { LAG_MS.1 } else { LAG_MS.0 };
        let is_just_over = (interval.ms()..interval.ms() + lag_ms).contains(&elapsed_ms);
        match now_ms < until && is_just_over {
            true => interval.ms() - STALE_MS,
            false => elapsed_ms,
        }
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
        self.streams.values_mut().for_each(change);
    }

    fn send(&mut self, id: ConnectionId, text: Utf8Bytes, now: MonoNs) {
        self.counters.messages_sent += 1;
        self.with(id, |open| open.last_sent = now);
        self.outputs.push_back((id, Output::Text(text)));
    }

    /// Binance: names that are no stream are accepted, and silent.
    fn subscribe(&mut self, id: ConnectionId, names: Vec<String>, now: MonoNs) {
        let wanted = names.into_iter().map(|name| {
            let track = self.track(&name);
            Subscription { name, track }
        });
        let wanted = wanted.collect();
        self.add(id, wanted, now);
    }

    /// Adds those of `wanted` that the connection does not have.
    fn add(&mut self, id: ConnectionId, wanted: Vec<Subscription>, now: MonoNs) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut added = Vec::new();
        for one in wanted {
            if !connection.subscriptions.contains(&one) {
                connection.subscriptions.push(one.clone());
                added.push(one);
            }
        }
        let mut address = lock(&self.address);
        address.streams += added.len();
        let is_too_many = connection.subscriptions.len() > self.profile.streams_max
            || address.streams > self.profile.streams_address_max;
        drop(address);
        if is_too_many && self.settings.enforce_limits {
            self.outputs.push_back((id, Output::Close(1008, "Too many streams")));
            self.offend(now);
            return self.disconnected(id);
        }
        if connection.played == 0 {
            connection.play_at = Some(now.after(PLAYBACK_SETTLE));
        }
        if connection.routed && self.settings.playback.is_empty() {
            for track in added.iter().filter_map(|one| one.track) {
                self.join(id, track, now);
            }
        }
    }

    fn unsubscribe(&mut self, id: ConnectionId, names: &[String]) {
        let Some(open) = self.connections.get_mut(&id) else { return };
        let is_named = |one: &Subscription| names.contains(&one.name);
        let left: Vec<Subscription> =
            open.subscriptions.iter().filter(|one| is_named(one)).cloned().collect();
        open.subscriptions.retain(|one| !is_named(one));
        let mut address = lock(&self.address);
        address.streams = address.streams.saturating_sub(left.len());
        drop(address);
        left.iter().filter_map(|one| one.track).for_each(|track| self.leave(id, track));
    }

    fn list(&self, id: ConnectionId) -> String {
        let subscriptions = self.connections.get(&id).map_or(&[][..], |open| &open.subscriptions);
        let names: Vec<&str> = subscriptions.iter().map(|one| &*one.name).collect();
        simd_json::to_string(&names).unwrap_or_else(|_| "[]".to_owned())
    }

    /// The candles that Binance's stream `name` carries, if it carries any.
    fn track(&self, name: &str) -> Option<Track> {
        let (of, interval) = name.rsplit_once('_')?;
        let (of, form) = match of.split_once('@')? {
            (symbol, "kline") => (self.market.find_lower(symbol)?, Form::Symbol),
            (pair, "continuousKline") => (self.contract_of(pair)?, Form::Continuous),
            _ => return None,
        };
        let interval = windows::read(Venue::Binance, interval)?;
        self.market.listings()[of].trading.then_some(Track { index: of, interval, form })
    }

    /// The contract that `<pair>_<kind>` stands for now, on futures.
    fn contract_of(&self, name: &str) -> Option<usize> {
        let is_future = self.profile.market.contract_type() != ContractType::Spot;
        let (pair, kind) = name.split_once('_').filter(|_| is_future)?;
        let is_meant = |one: &Listing| {
            one.lower.split('_').next() == Some(pair)
                && match kind {
                    "perpetual" => one.delivery_ms().is_none(),
                    "current_quarter" => one.delivery_ms().is_some(),
                    _ => false,
                }
        };
        self.market.listings().iter().position(is_meant)
    }

    fn join(&mut self, id: ConnectionId, track: Track, now: MonoNs) {
        let from = now.after(self.settings.first_data_delay);
        if !self.streams.contains_key(&track) {
            let window = self.time.unix_ms(now).div_euclid(track.interval.ms());
            let closed = now >= self.time.mono(self.close_at_ms(track, window - 1));
            let window = if closed { window } else { window - 1 };
            self.streams.insert(track, Stream::new(track, window, from));
        }
        if let Some(stream) = self.streams.get_mut(&track) {
            stream.join(id, from);
        }
    }

    fn leave(&mut self, id: ConnectionId, track: Track) {
        let Some(stream) = self.streams.get_mut(&track) else { return };
        if stream.leave(id) {
            self.streams.remove(&track);
        }
    }
}

fn lock(address: &Mutex<Address>) -> std::sync::MutexGuard<'_, Address> {
    address.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

const NEVER: MonoNs = MonoNs(u64::MAX);
/// So that every symbol is subscribed before the first captured message goes out.
const PLAYBACK_SETTLE: Duration = Duration::from_millis(200);
/// So old is what a stale REST side shows.
const STALE_MS: i64 = 5_000;

/// Then rows that lag are whole: usually, and at worst.
pub const LAG_MS: (i64, i64) = (18_000, 60_000);
const MALFORMED: &str = "{\"e\":\"kline\",\"E\":17,\"s\":\"BTCUSDT\",\"k\":{\"t\":";

#[cfg(test)]
mod tests;
