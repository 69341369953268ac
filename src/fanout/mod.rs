//! Engine 2: candle updates in, client frames out. Owns every client, its subscriptions and what it
//! is owed; encodes an update once for all of them. Knows no socket, thread, clock or randomness,
//! and no exchange dialect: the driver hands in bytes and time, drains [`Fanout::poll_output`] to
//! empty, and parks until [`Fanout::next_deadline`].
//!
//! A client's life is in `lifecycle`, its coming in in `door`, its going with the server in `leaving`,
//! its requests in `serve`, the way of an update in `publish`.

mod catch_up;
mod clients;
mod delivery;
mod derive;
mod frame;
mod history;
mod hub;
mod marks;
mod protocol;
mod series;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::limits::{CLIENTS_MAX, SLOW_CUT_MAX, TURN_BYTES_MAX};
use crate::market::{ClosedWindow, Folded, Instrument, InstrumentId, Market};
use crate::messages::{About, Command, EventName, FeedEvent, MarketEvent, Notice};
use crate::metrics::FanoutMetrics;

use clients::access::Addresses;
use clients::client::Client;
use clients::drain::Moves;
use clients::refused_names::RefusedNames;
use clients::table::Clients;
use delivery::basic::BasicFrame;
use delivery::outbox::FramePool;
use delivery::slowest::Slowest;
use delivery::turn_buffer::TurnBuffer;
use hub::Hub;
use marks::Marks;
use protocol::spelling::Respelled;

pub use clients::access::{ANY_ORIGIN, Access, Tokens, TokensError};
pub use clients::admission::HOST_REFUSED;
pub use clients::drain::DrainKind;
pub use delivery::turn_buffer::{OUTGOING_PIECES_MAX, Outgoing};

/// What is configurable about the fan-out.
#[derive(Clone, Debug)]
pub struct FanoutConfig {
    /// Time for a client's first subscription. Reached: error, close 1008.
    pub subscribe_timeout: Duration,
    /// How long a client that said it is done waits for what it asked for.
    pub close_linger: Duration,
    /// Bytes a client may owe, beyond what is made ready. Reached: close 1013.
    pub client_buffer_max: usize,
    /// Clients at once, at most [`crate::limits::CLIENTS_MAX`]. Reached: HTTP 503.
    pub clients_max: usize,
    /// Connections beyond them that are answered before they are closed, at most
    /// [`crate::limits::REFUSALS_MAX`].
    pub refusals_max: usize,
    /// Silence of a client after which it is pinged; zero: never.
    pub ping_interval: Duration,
    /// Time to answer a ping. Reached: the client is lost.
    pub ping_timeout: Duration,
    /// Closed windows kept of each series, for `history` and `since`.
    pub history_candles: usize,
    /// Shards, at least 1.
    pub shards: usize,
    /// How many of them share the instruments of each market, by [`Market::index`]: 1 to `shards`.
    pub carriers: [usize; Market::COUNT],
    /// Instruments subscribed from the start and for ever.
    pub preload: Vec<Instrument>,
    /// Who may come in.
    pub access: Access,
}

/// A client, from accept to close. Ids are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    index: u32,
    generation: u32,
}

impl ClientId {
    /// A small number that no other living client has, for tables in the driver.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// [`Fanout::outgoing`] became non-empty. Once per batch, not per frame; after a short write
    /// the driver goes on by itself when the socket is writable.
    Transmit {
        /// Whose bytes.
        client: ClientId,
    },
    /// All is written: send FIN, go on reading.
    ShutdownWrite {
        /// Whose socket.
        client: ClientId,
    },
    /// Stop reading the socket, or go on with it. It is read from the start.
    Read {
        /// Whose socket.
        client: ClientId,
        /// Whether it is to be read.
        wanted: bool,
    },
    /// Close the socket; the id is dead.
    Close {
        /// Whose socket.
        client: ClientId,
    },
    /// To a shard.
    Command {
        /// Which one, below [`FanoutConfig::shards`].
        shard: usize,
        /// What it is to do.
        command: Command,
    },
    /// To the log. Boxed: it is rare, and larger than what every turn is full of.
    Notice(Box<Notice>),
}

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Client(ClientId),
    Linger(InstrumentId),
    CatchUps(InstrumentId),
    Marks,
}

/// The fan-out engine.
pub struct Fanout {
    config: FanoutConfig,
    metrics: Arc<FanoutMetrics>,
    hub: Hub,
    clients: Clients,
    /// Where the clients admitted come from.
    addresses: Addresses,
    frames: FramePool,
    marks: Marks,
    /// What is published in this turn.
    run: TurnBuffer,
    /// Bytes published since the clients were last written to, counted once for each that is to
    /// get them at once.
    turn_bytes: usize,
    /// A client that keeps up has as much ready as it may.
    is_one_full: bool,
    /// Earliest first. An entry may be outdated: a client's own deadline decides when it is due.
    timers: BinaryHeap<Reverse<(MonoNs, Timer)>>,
    outputs: VecDeque<Output>,
    /// Updates whose way to a client was long.
    slowest: Slowest,
    /// Market messages published so far.
    publications: u64,
    /// When REST last gave something of the past of a series, by [`Market::index`].
    past_progress: [MonoNs; Market::COUNT],
    /// Clients whose messages wait for the next turn.
    unread: VecDeque<ClientId>,
    /// Clients to look at after a publication: a subscription ended, a goodbye is due.
    follow_up: Vec<ClientId>,
    /// Clients that are owed too much and are to be cut off, a few in each turn.
    slow: VecDeque<ClientId>,
    /// What the clients of lost instruments were told: those that come later are told the same.
    lost: BTreeMap<InstrumentId, (&'static str, Arc<str>)>,
    /// What the next session of each market waits for, and until when, as a shard said it last; by
    /// [`Market::index`].
    waits: [Option<(MonoNs, Arc<str>)>; Market::COUNT],
    /// What exchanges have just refused.
    refused: RefusedNames,
    /// Reused: one message's JSON, and the same as a frame.
    payload: Vec<u8>,
    frame: Vec<u8>,
    /// The same of the basic fields of a quote.
    basic: BasicFrame,
    /// The same under the other names of a series.
    respelled: Respelled,
    /// Reused: what one event of minutes makes of a derived series.
    folded: Vec<Folded>,
    /// Whether it was logged that little room is left for instruments.
    is_table_filling: bool,
    is_draining: bool,
    /// How it goes down; of no meaning before.
    drain_kind: DrainKind,
    moves: Moves,
    /// Clients get their messages back, up to so many bytes each.
    echo_bytes_max: Option<usize>,
}

impl Fanout {
    /// A fan-out without clients. The preloaded instruments are subscribed at once.
    ///
    /// # Panics
    /// If `config` has no shard.
    pub fn new(config: FanoutConfig, metrics: Arc<FanoutMetrics>, now: Now) -> Self {
        assert!(config.shards > 0, "somebody has to stream the instruments");
        let mut fanout = Self {
            config,
            metrics,
            hub: Hub::new(),
            clients: Clients::default(),
            addresses: Addresses::default(),
            frames: FramePool::default(),
            marks: Marks::default(),
            run: TurnBuffer::default(),
            turn_bytes: 0,
            is_one_full: false,
            timers: BinaryHeap::new(),
            outputs: VecDeque::new(),
            slowest: Slowest::default(),
            publications: 0,
            past_progress: [MonoNs(0); Market::COUNT],
            unread: VecDeque::new(),
            follow_up: Vec::new(),
            slow: VecDeque::new(),
            lost: BTreeMap::new(),
            waits: Default::default(),
            refused: RefusedNames::default(),
            payload: Vec::new(),
            frame: Vec::new(),
            basic: BasicFrame::default(),
            respelled: Respelled::default(),
            folded: Vec::new(),
            is_table_filling: false,
            is_draining: false,
            drain_kind: DrainKind::Closed,
            moves: Moves::default(),
            echo_bytes_max: None,
        };
        for instrument in std::mem::take(&mut fanout.config.preload) {
            match fanout.hub.intern(&instrument) {
                Ok(id) if fanout.hub.preload(id) => fanout.command_subscribe(id, now),
                Ok(_) => {}
                Err(_) => {
                    let (event, about) = (EventName::PreloadRefused, About::from(&instrument));
                    let text = format!("no room to preload {}", instrument.symbol);
                    let notice = Box::new(Notice { event, about, text });
                    fanout.outputs.push_back(Output::Notice(notice));
                }
            }
        }
        fanout.show_table();
        fanout
    }

    /// One message from a shard's ring.
    pub fn handle_market(&mut self, event: &MarketEvent, now: Now) {
        match event {
            MarketEvent::Candle(update) => self.publish_candle(update, now),
            MarketEvent::Gap { instrument, first_missing, missing } => {
                self.publish_gap(*instrument, *first_missing, *missing, now);
            }
            MarketEvent::Empty { instrument, open_time, is_backfilled: false } => {
                self.publish_empty(*instrument, *open_time, now);
            }
            MarketEvent::Empty { instrument, open_time, is_backfilled: true } => {
                self.keep_backfilled(*instrument, &ClosedWindow::Empty { open_time: *open_time });
                self.note_past_progress(*instrument, now);
            }
            MarketEvent::Backfilled(update) => {
                self.keep_backfilled(update.instrument, &ClosedWindow::Candle(*update));
                self.note_past_progress(update.instrument, now);
            }
            MarketEvent::BackfillGap { instrument, open_time } => {
                if let Some(stream) = self.hub.stream(*instrument) {
                    stream.history.note_unreadable(*open_time);
                }
                self.note_past_progress(*instrument, now);
            }
            MarketEvent::BackfillEnd { instrument, through, ticket, .. } => {
                let Some(stream) = self.hub.stream(*instrument) else { return };
                if stream.is_live() {
                    stream.backfills.end(*ticket);
                    stream.history.sent(*through);
                    self.further_catch_ups(*instrument, now);
                }
            }
            MarketEvent::Begin { instrument } => {
                if let Some(stream) = self.hub.stream(*instrument) {
                    stream.start();
                }
            }
        }
        let instrument = event.instrument();
        if self.hub.has_derived(instrument) {
            self.derive(instrument, event, now);
        }
    }

    fn lose(
        &mut self,
        notice: (&'static str, Arc<str>),
        market: Market,
        instruments: Vec<InstrumentId>,
        now: Now,
    ) {
        let known = instruments.iter().filter(|&&id| self.hub.find_instrument(id).is_some());
        self.lost.extend(known.map(|&id| (id, notice.clone())));
        let instruments = self.hub.with_derived(instruments);
        self.hub.set_lost(&instruments, true);
        let (code, message) = notice;
        let message = self.with_wait(&message, market, now);
        self.send_session(code, &message, market, &instruments, now);
    }

    /// Why there is no session, and what the next one waits for.
    fn with_wait(&self, why: &str, market: Market, now: Now) -> String {
        let wait = self.waits[market.index()].as_ref();
        let Some((until, words)) = wait.filter(|(until, _)| *until > now.mono) else {
            return why.to_owned();
        };
        let seconds = until.since(now.mono).as_secs_f64().ceil();
        let is_said = words.is_empty() || why.ends_with(&**words);
        let (colon, words) = if is_said { ("", "") } else { (": ", &**words) };
        format!("{why}; next attempt in {seconds} s{colon}{words}")
    }

    /// A shard's word about a subscription.
    pub fn handle_feed(&mut self, event: FeedEvent, now: Now) {
        match event {
            FeedEvent::Rejected { instrument, message, exchange_message, is_lasting } => {
                let named = self.hub.find_instrument(instrument).filter(|_| is_lasting).cloned();
                if let Some(named) = named {
                    self.remember_refused(named, &message, &exchange_message, now);
                }
                self.reject(instrument, &message, &exchange_message, now);
            }
            FeedEvent::Waits { market, until, why } => {
                self.waits[market.index()] = Some((until, why.into()));
            }
            FeedEvent::SessionLost { market, instruments, why } => {
                let message = format!("there is no connection to {market}: {why}");
                self.lose(("session_lost", message.into()), market, instruments, now);
            }
            FeedEvent::Denied { market, instruments, why } => {
                let message = format!(
                    "{market} does not let us in: {why}; it is asked again from time to time"
                );
                self.lose(("exchange_denies", message.into()), market, instruments, now);
            }
            FeedEvent::ListingChanged { instrument, market, message } => {
                let instruments = self.hub.with_derived(vec![instrument]);
                self.send_session("listing_changed", &message, market, &instruments, now);
            }
            FeedEvent::Listed { market, list } => self.take_list(market, list, now),
            FeedEvent::SessionBack { market, instruments } => {
                self.lost.retain(|id, _| !instruments.contains(id));
                let instruments = self.hub.with_derived(instruments);
                self.hub.set_lost(&instruments, false);
                let message = format!("the connection to {market} is back");
                self.send_session("session_back", &message, market, &instruments, now);
            }
        }
    }

    /// Does what is due. To be called when [`Self::next_deadline`] has come; harmless earlier.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(&Reverse((at, timer))) = self.timers.peek() {
            if at > now.mono {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Client(id) => self.client_timeout(id, now),
                Timer::Marks => self.marks_timeout(now),
                Timer::Linger(id) => self.end_linger(id, now),
                Timer::CatchUps(id) => self.catch_ups_timeout(id, now),
            }
        }
        self.end_rests(now);
        self.forget_refused(now);
        self.move_clients(now);
        for _ in 0..SLOW_CUT_MAX {
            let Some(id) = self.slow.pop_front() else { break };
            self.close_slow(id, now);
        }
        for _ in 0..self.unread.len() {
            let Some(id) = self.unread.pop_front() else { break };
            if let Some(client) = self.clients.find(id) {
                client.is_unread = false;
                self.read_messages(id, now);
            }
        }
    }

    /// When [`Self::handle_timeout`] is to be called next; zero: on the next turn.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        if !self.unread.is_empty() || !self.slow.is_empty() {
            return Some(MonoNs(0));
        }
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let others =
            [self.moves.next_deadline(), self.hub.rest_deadline(), self.refused.deadline()];
        timer.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Whether so much is ready, for all clients or for one, that they should be written to before
    /// the next market message is handed in: else who keeps up would have to queue.
    pub fn is_full(&self) -> bool {
        self.is_one_full || self.turn_bytes >= TURN_BYTES_MAX || self.run.is_full()
    }

    /// The next thing to do; `None` when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        (self.turn_bytes, self.is_one_full) = (0, false);
        loop {
            let Some(output) = self.outputs.pop_front() else {
                if self.outputs.capacity() > OUTPUTS_KEPT {
                    self.outputs = VecDeque::new();
                }
                self.end_run();
                return None;
            };
            match output {
                Output::Transmit { client } => {
                    if self.clients.find(client).is_some_and(Client::take_offer) {
                        return Some(output);
                    }
                }
                Output::ShutdownWrite { client } | Output::Read { client, .. } => {
                    if self.clients.find(client).is_some() {
                        return Some(output);
                    }
                }
                Output::Close { .. } | Output::Command { .. } | Output::Notice(_) => {
                    return Some(output);
                }
            }
        }
    }

    /// Who has not been written to gets a copy of its share of the run, which begins anew.
    fn end_run(&mut self) {
        while let Some(id) = self.run.next_sharer() {
            if let Some(client) = self.clients.find(id) {
                client.own_share(&mut self.run);
            }
        }
        self.run.clear();
    }

    /// Bytes ready for a client's socket; none if the client is gone.
    pub fn outgoing(&self, client: ClientId) -> Outgoing<'_> {
        self.clients.peek(client).map_or(Outgoing::NONE, |client| client.outgoing(&self.run))
    }

    /// Whether the drain is over: it was begun, and every client is gone.
    pub fn is_drained(&self) -> bool {
        self.is_draining && self.clients.is_empty()
    }

    /// Clients connected, those being closed included.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn command(&mut self, id: InstrumentId, command: Command, now: Now) {
        if let Some(base) = self.hub.base(id) {
            return self.command_derived(id, base, &command, now);
        }
        let instrument = self.hub.instrument(id);
        let carriers = self.config.carriers[instrument.market.index()];
        let place = usize::try_from(instrument.stable_hash() % carriers as u64);
        // Venues that few shards carry do not all burden the same ones.
        let first = instrument.market.venue() as usize * carriers;
        let shard = (first + place.expect("below the number of shards")) % self.config.shards;
        self.outputs.push_back(Output::Command { shard, command });
    }

    fn command_subscribe(&mut self, id: InstrumentId, now: Now) {
        let instrument = self.hub.instrument(id).clone();
        self.command(id, Command::Subscribe { id, instrument }, now);
    }

    fn notice(&mut self, event: EventName, text: String) {
        let notice = Notice { event, about: About::default(), text };
        self.outputs.push_back(Output::Notice(Box::new(notice)));
    }

    /// Sees to it that the client's next deadline is among the timers.
    fn arm(&mut self, id: ClientId) {
        let Some(client) = self.clients.find(id) else { return };
        let deadline = client.deadline(&self.config);
        if deadline < client.armed {
            client.armed = deadline;
            self.timers.push(Reverse((deadline, Timer::Client(id))));
        }
    }

    /// Sees to it that the driver knows of the client's outgoing bytes.
    fn offer(&mut self, id: ClientId) {
        let Some(client) = self.clients.find(id) else { return };
        if client.make_offer() {
            self.outputs.push_back(Output::Transmit { client: id });
        }
    }
}

/// Storage for outputs that is kept while there are none; what a flood of names took beyond it is given
/// back. Source: all clients are written to, and some leave.
const OUTPUTS_KEPT: usize = 2 * CLIENTS_MAX;
