//! A feed and the exchange it talks to, joined in memory and in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use connector_wss::clock::{MonoNs, Now};
use connector_wss::feed::{Feed, FeedConfig, Output, SessionId};
use connector_wss::market::{
    CandleUpdate, Instrument, InstrumentId, Interval, Market, SymbolList, Venue,
};
use connector_wss::messages::{Command, FeedEvent, MarketEvent, Notice, RestResponse};
use connector_wss::metrics::{ConnectionErrorKind, DecodeErrorKind, FeedMetrics, ShardMetrics};
use connector_wss::wire::{Connection, Endpoint, Event, tls, write_text_frame};

/// Minute 0 of the virtual exchange, aligned.
pub(crate) const START_MS: i64 = 1_700_000_040_000;

/// How the exchange behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manners {
    /// The exchange's name has no address.
    pub(crate) fails_look_up: bool,
    /// TCP is refused.
    pub(crate) refuses_tcp: bool,
    /// The upgrade is answered with 503.
    pub(crate) refuses_upgrade: bool,
    /// The upgrade is answered with this status, header lines and body.
    pub(crate) upgrade_answer: Option<(u16, String, String)>,
    /// Nothing that is sent is read.
    pub(crate) is_dead: bool,
    /// Nothing that is to be sent leaves our side.
    pub(crate) is_stuck: bool,
    /// A subscribe message that names one of these is refused as a whole.
    pub(crate) refused: BTreeSet<String>,
    /// REST says -1121 for these.
    pub(crate) unknown: BTreeSet<String>,
    /// REST answers the same every time: nothing is traded.
    pub(crate) is_still: bool,
    /// REST answers with this status and nothing else.
    pub(crate) rest_status: Option<u16>,
    /// REST answers this and nothing else, once [`Pair::rest_answers`] are used up.
    pub(crate) rest_answer: Option<RestResponse>,
    /// REST questions get no answer at all.
    pub(crate) loses_rest: bool,
    /// Texts are only noted; the test answers them.
    pub(crate) is_mute: bool,
}

pub(crate) struct Peer {
    pub(crate) wire: Connection,
    pub(crate) streams: BTreeSet<String>,
    /// When each message of the client (text, ping, pong) came.
    pub(crate) heard: Vec<MonoNs>,
    pub(crate) texts: Vec<String>,
    pub(crate) pings: usize,
}

pub(crate) struct Pair {
    pub(crate) feed: Feed,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) now: Now,
    pub(crate) manners: Manners,
    pub(crate) peers: BTreeMap<SessionId, Peer>,
    pub(crate) connects: Vec<(MonoNs, Endpoint)>,
    pub(crate) published: Vec<MarketEvent>,
    pub(crate) events: Vec<FeedEvent>,
    /// What sessions of which market were said to wait for, and until when.
    pub(crate) waits: Vec<(Market, MonoNs, String)>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) rests: Vec<String>,
    /// The next answers of REST; then Binance's.
    pub(crate) rest_answers: VecDeque<RestResponse>,
    /// What each market lists; for the others there is no list.
    pub(crate) lists: BTreeMap<Market, Arc<SymbolList>>,
    pub(crate) lists_asked: Vec<Market>,
    /// Whether lists stay unanswered until [`Self::answer_lists`].
    pub(crate) holds_lists: bool,
    /// Whether published events are taken from the feed.
    pub(crate) is_draining: bool,
}

pub(crate) fn config() -> FeedConfig {
    let host = |market: Market| match market.venue() {
        Venue::Binance => market.contract_type().name().to_owned(),
        venue => format!("{}-{}", venue.name(), market.contract_type().name()),
    };
    let ws = |market: Market| match &*host(market) {
        "spot" => "ws://spot:9443".to_owned(),
        "usdm" => "ws://usdm/market".to_owned(),
        host => format!("ws://{host}"),
    };
    FeedConfig {
        ws_bases: Market::all().map(|market| Endpoint::parse(&ws(market)).unwrap()).collect(),
        rest_bases: Market::all().map(|market| format!("http://{}", host(market))).collect(),
        tls: tls::client_config(None).unwrap(),
        shards: 1,
        ping_interval: Duration::from_secs(20),
        ping_timeout: Duration::from_secs(20),
        reconnect_delay: Duration::from_secs(1),
        inactivity_timeout: Duration::from_secs(3),
        stream_idle_timeout: Duration::from_secs(10),
        max_symbols_per_session: 50,
        breaker_threshold: 5,
        breaker_recovery: Duration::from_secs(30),
        breaker_half_open_calls: 1,
        gap_hold: Duration::from_secs(5),
        pauses: Arc::default(),
        usage: Vec::new(),
        closed_queue_max: 1000,
    }
}

pub(crate) fn market(contract_type: &str) -> Market {
    Market::find(Venue::Binance, contract_type).unwrap()
}

/// A push in Binance's raw form: `minute` after [`START_MS`].
pub(crate) fn kline(
    symbol: &str,
    minute: i64,
    close: &str,
    is_closed: bool,
    event_ms: i64,
) -> String {
    let open_time = START_MS + minute * 60_000;
    let close_time = open_time + 59_999;
    format!(
        r#"{{"e":"kline","E":{event_ms},"s":"{symbol}","k":{{"t":{open_time},"T":{close_time},"s":"{symbol}","i":"1m","f":100,"L":200,"o":"1.10","c":"{close}","h":"9000.00","l":"0.50","v":"12.50","n":7,"x":{is_closed},"q":"20.0","V":"1","Q":"2","B":"0"}}}}"#
    )
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: FeedConfig) -> Self {
        let metrics = Arc::new(ShardMetrics::default());
        Self {
            feed: Feed::new(config, metrics.clone(), 42),
            metrics,
            now: Now { mono: MonoNs(1_000_000_000), unix_us: START_MS * 1000 },
            manners: Manners::default(),
            peers: BTreeMap::new(),
            connects: Vec::new(),
            published: Vec::new(),
            events: Vec::new(),
            waits: Vec::new(),
            notices: Vec::new(),
            rests: Vec::new(),
            rest_answers: VecDeque::new(),
            lists: BTreeMap::new(),
            lists_asked: Vec::new(),
            holds_lists: false,
            is_draining: true,
        }
    }

    /// A pair with these spot symbols subscribed, ids from 0.
    pub(crate) fn subscribed(symbols: &[&str]) -> Self {
        let mut pair = Self::new();
        for (id, symbol) in symbols.iter().enumerate() {
            pair.subscribe(u32::try_from(id).unwrap(), "spot", symbol);
        }
        pair
    }

    pub(crate) fn subscribe(&mut self, id: u32, contract_type: &str, symbol: &str) {
        let market = market(contract_type);
        let instrument = Instrument { market, symbol: symbol.into(), interval: Interval::M1 };
        self.feed.handle_command(
            Command::Subscribe { id: InstrumentId(id), instrument, tail: Vec::new() },
            self.now,
        );
        self.pump();
    }

    /// Subscribes at any venue.
    pub(crate) fn subscribe_at(&mut self, id: u32, market: Market, symbol: &str) {
        let instrument = Instrument { market, symbol: symbol.into(), interval: Interval::M1 };
        self.feed.handle_command(
            Command::Subscribe { id: InstrumentId(id), instrument, tail: Vec::new() },
            self.now,
        );
        self.pump();
    }

    pub(crate) fn unsubscribe(&mut self, id: u32) {
        self.feed.handle_command(Command::Unsubscribe { id: InstrumentId(id) }, self.now);
        self.pump();
    }

    pub(crate) fn stop(&mut self) {
        self.feed.handle_command(Command::Stop, self.now);
        self.pump();
    }

    pub(crate) fn spot(&self) -> &FeedMetrics {
        self.metrics.market(market("spot"))
    }

    pub(crate) fn errors(&self, kind: ConnectionErrorKind) -> u64 {
        self.spot().connection_errors[kind as usize].value()
    }

    pub(crate) fn decode_errors(&self, kind: DecodeErrorKind) -> u64 {
        self.spot().decode_errors[kind as usize].value()
    }

    pub(crate) fn decode_errors_total(&self) -> u64 {
        self.spot().decode_errors.iter().map(|counter| counter.value()).sum()
    }

    /// The one session there is.
    pub(crate) fn only(&self) -> SessionId {
        assert_eq!(self.peers.len(), 1, "one session");
        *self.peers.keys().next().unwrap()
    }

    pub(crate) fn streams(&self) -> Vec<String> {
        self.peers.values().flat_map(|peer| peer.streams.iter().cloned()).collect()
    }

    /// The exchange pushes a text on every session.
    pub(crate) fn push(&mut self, text: &str) {
        let ids: Vec<_> = self.peers.keys().copied().collect();
        ids.into_iter().for_each(|id| self.push_to(id, text));
    }

    pub(crate) fn push_to(&mut self, id: SessionId, text: &str) {
        let mut frame = Vec::new();
        write_text_frame(&mut frame, text.as_bytes());
        self.feed.handle_bytes(id, &frame, self.now);
        self.pump();
    }

    /// The exchange resets every connection.
    pub(crate) fn cut(&mut self) {
        for id in std::mem::take(&mut self.peers).into_keys() {
            self.feed.handle_closed(id, "reset by peer", self.now);
        }
        self.pump();
    }

    /// The exchange sends a Close on one connection.
    pub(crate) fn close(&mut self, id: SessionId, code: u16, reason: &str) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.wire.send_close(code, reason);
        let bytes = peer.wire.outgoing().to_vec();
        peer.wire.consume_outgoing(bytes.len());
        self.feed.handle_bytes(id, &bytes, self.now);
        self.pump();
    }

    /// The exchange resets one connection.
    pub(crate) fn cut_one(&mut self, id: SessionId) {
        self.peers.remove(&id);
        self.feed.handle_closed(id, "reset by peer", self.now);
        self.pump();
    }

    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now.mono.after(duration);
        let mut turns = 0;
        self.pump();
        while let Some(due) = self.feed.next_deadline().filter(|&due| due <= end) {
            turns += 1;
            assert!(turns < 1_000_000, "the feed spins");
            self.set_time(due.max(self.now.mono));
            self.feed.handle_timeout(self.now);
            self.pump();
        }
        self.set_time(end);
    }

    fn set_time(&mut self, mono: MonoNs) {
        let passed = mono.since(self.now.mono);
        self.now.unix_us += i64::try_from(passed.as_micros()).unwrap();
        self.now.mono = mono;
    }

    pub(crate) fn candles(&self) -> Vec<CandleUpdate> {
        let candle = |event: &MarketEvent| match event {
            MarketEvent::Candle(update) => Some(*update),
            _ => None,
        };
        self.published.iter().filter_map(candle).collect()
    }

    pub(crate) fn pump(&mut self) {
        while let Some(output) = self.feed.poll_output() {
            match output {
                Output::Connect { session, endpoint } => self.connect(session, endpoint),
                Output::Transmit { session } => self.carry(session),
                Output::Disconnect { session } => drop(self.peers.remove(&session)),
                Output::Rest(request) => {
                    let always = || self.manners.rest_answer.clone();
                    let response = match self.rest_answers.pop_front().or_else(always) {
                        Some(response) => response,
                        None => self.answer(&request.url),
                    };
                    self.rests.push(request.url + request.body.as_deref().unwrap_or_default());
                    if !self.manners.loses_rest {
                        self.feed.handle_rest(request.id, Ok(response), self.now);
                    }
                }
                Output::List { market, .. } => {
                    self.lists_asked.push(market);
                    if self.holds_lists {
                        continue;
                    }
                    let list = self.lists.get(&market).cloned();
                    let result = list.ok_or_else(|| "no list here".to_owned());
                    self.feed.handle_listed(market, result, self.now);
                }
                Output::Event(FeedEvent::Waits { market, until, why }) => {
                    self.waits.push((market, until, why));
                }
                Output::Event(event) => self.events.push(event),
                Output::Notice(notice) => self.notices.push(notice),
            }
        }
        while self.is_draining
            && let Some(event) = self.feed.next_published()
        {
            if !matches!(event, MarketEvent::Begin { .. } | MarketEvent::Verified { .. }) {
                self.published.push(event);
            }
        }
    }

    /// Answers every list that was asked for.
    pub(crate) fn answer_lists(&mut self) {
        for market in std::mem::take(&mut self.lists_asked) {
            let list = self.lists.get(&market).cloned();
            let result = list.ok_or_else(|| "no list here".to_owned());
            self.feed.handle_listed(market, result, self.now);
        }
        self.pump();
    }

    fn connect(&mut self, session: SessionId, endpoint: Endpoint) {
        self.connects.push((self.now.mono, endpoint));
        if self.manners.fails_look_up {
            let (kind, why) = (ConnectionErrorKind::Dns, "no name server answered");
            return self.feed.handle_connect_failed(session, kind, why, self.now);
        }
        if self.manners.refuses_tcp {
            let kind = ConnectionErrorKind::Tcp;
            return self.feed.handle_connect_failed(session, kind, "refused", self.now);
        }
        let peer = Peer {
            wire: Connection::server(),
            streams: BTreeSet::new(),
            heard: Vec::new(),
            texts: Vec::new(),
            pings: 0,
        };
        self.peers.insert(session, peer);
        self.feed.handle_connected(session, self.now);
    }

    fn carry(&mut self, session: SessionId) {
        if self.manners.is_stuck {
            return;
        }
        let bytes = self.feed.outgoing(session).to_vec();
        self.feed.consume_outgoing(session, bytes.len());
        let Some(peer) = self.peers.get_mut(&session) else { return };
        if self.manners.is_dead {
            return;
        }
        if self.manners.refuses_upgrade {
            peer.wire.refuse(503, "", "busy");
        }
        if let Some((status, headers, body)) = &self.manners.upgrade_answer {
            peer.wire.refuse(*status, headers, body);
        }
        peer.wire.handle_bytes(&bytes).unwrap();
        let mut has_closed = false;
        while let Ok(Some(event)) = peer.wire.next_event() {
            match event {
                Event::Text(text) => {
                    peer.heard.push(self.now.mono);
                    if let Some(answer) = peer.take(text.as_str(), &self.manners) {
                        peer.wire.send_text(&answer);
                    }
                }
                Event::Ping => {
                    peer.heard.push(self.now.mono);
                    peer.pings += 1;
                }
                Event::Pong(_) => peer.heard.push(self.now.mono),
                Event::Close { .. } => {
                    peer.wire.send_close(1000, "");
                    has_closed = true;
                }
                Event::Open { .. } | Event::Binary(_) => {}
            }
        }
        let answer = peer.wire.outgoing().to_vec();
        peer.wire.consume_outgoing(answer.len());
        if !answer.is_empty() {
            self.feed.handle_bytes(session, &answer, self.now);
        }
        if has_closed && self.peers.remove(&session).is_some() {
            self.feed.handle_closed(session, "end of stream", self.now);
        }
    }

    fn answer(&self, url: &str) -> RestResponse {
        let is_unknown = |symbol: &String| url.contains(&format!("symbol={symbol}&"));
        let (status, body) = match self.manners.rest_status {
            Some(status) => (status, r#"{"code":-1000,"msg":"Unknown error."}"#.to_owned()),
            None if self.manners.unknown.iter().any(is_unknown) => {
                (400, r#"{"code":-1121,"msg":"Invalid symbol."}"#.to_owned())
            }
            None => {
                let volume = if self.manners.is_still { 1 } else { self.now.unix_us };
                let end = START_MS + 59_999;
                let row =
                    format!(r#"[[{START_MS},"1","1","1","1","{volume}",{end},"1",7,"1","1","0"]]"#);
                (200, row)
            }
        };
        let body = body.into_bytes();
        RestResponse { status, retry_after: None, limit_headers: Vec::new(), body }
    }
}

impl Peer {
    /// Does what a subscribe message of Binance says, and answers it; others are only noted.
    fn take(&mut self, text: &str, manners: &Manners) -> Option<String> {
        self.texts.push(text.to_owned());
        if manners.is_mute {
            return None;
        }
        let message: serde_json::Value = serde_json::from_str(text).ok()?;
        let params = message["params"].as_array()?;
        let names = params.iter().map(|name| name.as_str().unwrap().to_owned());
        let names: BTreeSet<String> = names.collect();
        if !names.is_disjoint(&manners.refused) {
            let id = &message["id"];
            let refusal = r#""code":2,"msg":"Invalid request: bad stream""#;
            return Some(format!(r#"{{{refusal},"id":{id}}}"#));
        }
        if message["method"] == "SUBSCRIBE" {
            self.streams.extend(names);
        } else {
            self.streams.retain(|name| !names.contains(name));
        }
        Some(format!(r#"{{"result":null,"id":{}}}"#, message["id"]))
    }
}
