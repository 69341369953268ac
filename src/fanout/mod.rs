//! Engine 2: candle updates in, client frames out. Owns every client, its subscriptions and what it
//! is owed; encodes an update once for all clients. Knows no socket, thread, clock or randomness,
//! and no exchange dialect: the driver hands in bytes and time, drains [`Fanout::poll_output`] to
//! empty, and parks until [`Fanout::next_deadline`].
//!
//! Where to read what:
//!
//! | file | owns |
//! |---|---|
//! | `hub`, `series`, `history` | which client wants which instrument; one stream; its closed
//! windows |
//! | `clients` | a connection: admission, access, its requests, its limits, its end |
//! | `protocol` | what a request may contain and how messages are written |
//! | `delivery` | an update on its way to the clients: encode once, then send, owe or drop |
//! | `ledger` | what the ledger keeps, and where series go on after a restart |
//! | `catch_up`, `derive`, `marks` | `history` and `since`; longer candles from minutes; interval
//! ends |

mod catch_up;
mod clients;
mod delivery;
mod derive;
mod frame;
mod history;
mod hub;
mod ledger;
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
use crate::messages::{
    About, Command, EventName, FeedEvent, LedgerRead, MarketEvent, Notice, Tails,
};
use crate::metrics::FanoutMetrics;

use clients::access::Addresses;
use clients::client::Client;
use clients::drain::Moves;
use clients::rate_limit::Handling;
use clients::refused_names::RefusedNames;
use clients::table::Clients;
use delivery::basic::BasicFrame;
use delivery::outbox::FramePool;
use delivery::slowest::Slowest;
use delivery::turn_buffer::TurnBuffer;
use hub::Hub;
use ledger::LedgerReads;
use marks::Marks;
use protocol::spelling::Respelled;

pub use clients::access::{ANY_ORIGIN, Access, Tokens, TokensError};
pub use clients::admission::HOST_REFUSED;
pub use clients::drain::DrainKind;
pub use delivery::turn_buffer::{OUTGOING_PIECES_MAX, Outgoing};

/// The configurable values of the fan-out.
#[derive(Clone, Debug)]
pub struct FanoutConfig {
    /// Time for a client's first subscription. After it: an error and close 1008.
    pub subscribe_timeout: Duration,
    /// Time that a client waits for what it asked for after it has sent that it is done.
    pub close_linger: Duration,
    /// Bytes that a client may be owed beyond what is ready for its socket. Above it: close 1013.
    pub client_buffer_max: usize,
    /// Clients at once, at most [`crate::limits::CLIENTS_MAX`]. Above it: HTTP 503.
    pub clients_max: usize,
    /// Connections beyond `clients_max` that get an answer before they are closed, at most
    /// [`crate::limits::REFUSALS_MAX`].
    pub refusals_max: usize,
    /// A client that sends nothing for this time is pinged. Zero: never.
    pub ping_interval: Duration,
    /// Time to answer a ping. After it the client counts as lost.
    pub ping_timeout: Duration,
    /// Closed windows kept per series, for `history` and `since`.
    pub history_candles: usize,
    /// Number of shards, at least 1.
    pub shards: usize,
    /// Number of shards that share the instruments of each market, by [`Market::index`]: 1 to
    /// `shards`.
    pub carriers: [usize; Market::COUNT],
    /// Instruments that are subscribed from the start and for ever.
    pub preload: Vec<Instrument>,
    /// The last windows of the series that an earlier process published.
    pub tails: Tails,
    /// Whether a ledger keeps closed windows and is asked for past ones.
    pub has_ledger: bool,
    /// Windows of such a series that may be missing since, at most; else it begins anew.
    pub catch_up: usize,
    /// Which connections are admitted.
    pub access: Access,
}

/// A client, from accept to close. An id is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    index: u32,
    generation: u32,
}

impl ClientId {
    /// A small number, unique among the living clients, for tables in the driver.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// A task for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// [`Fanout::outgoing`] is no longer empty. Once per batch, not per frame: after a short write
    /// the driver itself continues when the socket is writable.
    Transmit {
        /// The client to write to.
        client: ClientId,
    },
    /// Everything is written: send FIN, keep reading.
    ShutdownWrite {
        /// The client whose writing side ends.
        client: ClientId,
    },
    /// Stop reading the socket, or read it again. At first it is read.
    Read {
        /// The client to read, or not to read.
        client: ClientId,
        /// Whether the driver reads the socket.
        wanted: bool,
    },
    /// Close the socket; the id is invalid from now on.
    Close {
        /// The client to close.
        client: ClientId,
    },
    /// Pass a command to a shard.
    Command {
        /// The shard's number, below [`FanoutConfig::shards`].
        shard: usize,
        /// The command.
        command: Command,
    },
    /// Ask the ledger; its answer goes to [`Fanout::handle_ledger`].
    ReadLedger(Box<LedgerRead>),
    /// Write a notice to the log. Boxed, since it is rare and larger than the other outputs.
    Notice(Box<Notice>),
}

/// What a deadline is for.
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
    /// How many clients come from which address.
    addresses: Addresses,
    frames: FramePool,
    marks: Marks,
    /// The frames published in this turn.
    turn: TurnBuffer,
    /// Bytes published since the driver last wrote to the clients, counted once for each client
    /// that gets them at once.
    turn_bytes: usize,
    /// A client that keeps up has as many bytes ready as its limit allows.
    is_one_full: bool,
    /// Earliest first. An entry may be outdated: the client's own deadline decides.
    timers: BinaryHeap<Reverse<(MonoNs, Timer)>>,
    outputs: VecDeque<Output>,
    /// The updates that took longest to reach a client.
    slowest: Slowest,
    /// Market messages published so far.
    publications: u64,
    /// When REST last answered with a past window of any series, by [`Market::index`].
    backfill_progress: [MonoNs; Market::COUNT],
    /// Clients with messages that wait for the next turn.
    unread: VecDeque<ClientId>,
    /// Clients to look at after a publication: a subscription has ended, or the close is due.
    follow_up: Vec<ClientId>,
    /// Clients that are owed too much. A few are closed in each turn.
    slow: VecDeque<ClientId>,
    /// Why the session of these instruments is lost: code and message of the error. Clients that
    /// subscribe later get the same error.
    lost: BTreeMap<InstrumentId, (&'static str, Arc<str>)>,
    /// What the next session of each market waits for, and until when, as its shard last reported
    /// it; by [`Market::index`].
    waits: [Option<(MonoNs, Arc<str>)>; Market::COUNT],
    /// The names that exchanges have just rejected.
    refused: RefusedNames,
    /// Reused: the JSON of one message, and its frame.
    payload: Vec<u8>,
    frame: Vec<u8>,
    /// Reused: the same with the basic fields of a quote only.
    basic: BasicFrame,
    /// Reused: the same under the other spellings of a series.
    respelled: Respelled,
    /// Reused: what one event of the minutes makes of a derived series.
    folded: Vec<Folded>,
    /// Whether it was logged that the table of instruments is nearly full.
    is_table_filling: bool,
    is_draining: bool,
    /// How the server ends; meaningless before the drain.
    drain_kind: DrainKind,
    moves: Moves,
    /// The series that go on where an earlier process stopped, once they are subscribed.
    tails: Tails,
    ledger_reads: LedgerReads,
    /// Clients get their own messages back, up to this many bytes each. `None`: not an echo server.
    echo_bytes_max: Option<usize>,
}

impl Fanout {
    /// A fan-out without clients. The preloaded instruments are subscribed at once.
    ///
    /// # Panics
    /// If `config` has no shard.
    pub fn new(config: FanoutConfig, metrics: Arc<FanoutMetrics>, now: Now) -> Self {
        assert!(config.shards > 0, "at least one shard streams the instruments");
        let mut fanout = Self {
            config,
            metrics,
            hub: Hub::new(),
            clients: Clients::default(),
            addresses: Addresses::default(),
            frames: FramePool::default(),
            marks: Marks::default(),
            turn: TurnBuffer::default(),
            turn_bytes: 0,
            is_one_full: false,
            timers: BinaryHeap::new(),
            outputs: VecDeque::new(),
            slowest: Slowest::default(),
            publications: 0,
            backfill_progress: [MonoNs(0); Market::COUNT],
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
            tails: Tails::new(),
            ledger_reads: LedgerReads::default(),
            echo_bytes_max: None,
        };
        fanout.tails = std::mem::take(&mut fanout.config.tails);
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

    /// Takes one message from a shard's ring.
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
                self.record_backfill_progress(*instrument, now);
            }
            MarketEvent::Backfilled(update) => {
                self.keep_backfilled(update.instrument, &ClosedWindow::Candle(*update));
                self.record_backfill_progress(update.instrument, now);
            }
            MarketEvent::BackfillGap { instrument, open_time } => {
                if let Some(stream) = self.hub.stream(*instrument) {
                    stream.history.add_unreadable(*open_time);
                }
                self.record_backfill_progress(*instrument, now);
            }
            MarketEvent::BackfillEnd { instrument, through, ticket, .. } => {
                let Some(stream) = self.hub.stream(*instrument) else { return };
                if stream.is_live() {
                    stream.backfills.end(*ticket);
                    stream.history.advance(*through);
                    self.further_catch_ups(*instrument, now);
                }
            }
            // Only the ledger needs to know.
            MarketEvent::Verified { .. } => {}
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

    /// Reports to the clients of `instruments` that their session is lost.
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
        let is_included = words.is_empty() || why.ends_with(&**words);
        let (colon, words) = if is_included { ("", "") } else { (": ", &**words) };
        format!("{why}; next attempt in {seconds} s{colon}{words}")
    }

    /// Takes one event of a shard about its subscriptions, or about its session.
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

    /// Does what is due. The driver calls it at [`Self::next_deadline`]; an earlier call is
    /// harmless.
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
        self.give_up_ledger_reads(now);
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
                client.handling = Handling::OnArrival;
                self.read_messages(id, now);
            }
        }
    }

    /// When the driver calls [`Self::handle_timeout`] next; zero: in the next turn.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        if !self.unread.is_empty() || !self.slow.is_empty() {
            return Some(MonoNs(0));
        }
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let others =
            [self.moves.next_deadline(), self.hub.rest_deadline(), self.refused.deadline()];
        let others = others.into_iter().chain([self.ledger_reads.deadline()]);
        timer.into_iter().chain(others.flatten()).min()
    }

    /// Returns whether the driver should write to the clients before it hands in the next market
    /// message. Otherwise clients that keep up would need the outbox.
    pub fn is_full(&self) -> bool {
        self.is_one_full || self.turn_bytes >= TURN_BYTES_MAX || self.turn.is_full()
    }

    /// The next task for the driver; `None` when nothing is left to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        (self.turn_bytes, self.is_one_full) = (0, false);
        loop {
            let Some(output) = self.outputs.pop_front() else {
                if self.outputs.capacity() > OUTPUTS_KEPT {
                    self.outputs = VecDeque::new();
                }
                self.release_turn();
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
                Output::Close { .. }
                | Output::Command { .. }
                | Output::ReadLedger(_)
                | Output::Notice(_) => return Some(output),
            }
        }
    }

    /// Clients that the driver did not write to get a copy of their share of the turn's frames.
    /// Then the buffer begins anew.
    fn release_turn(&mut self) {
        while let Some(id) = self.turn.next_sharer() {
            if let Some(client) = self.clients.find(id) {
                client.copy_share(&mut self.turn);
            }
        }
        self.turn.clear();
    }

    /// The bytes ready for a client's socket; none if the client is gone.
    pub fn outgoing(&self, client: ClientId) -> Outgoing<'_> {
        self.clients.peek(client).map_or(Outgoing::NONE, |client| client.outgoing(&self.turn))
    }

    /// Returns whether the drain is over: it has begun, and every client is gone.
    pub fn is_drained(&self) -> bool {
        self.is_draining && self.clients.is_empty()
    }

    /// Number of connected clients, including those that are being closed.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn command(&mut self, id: InstrumentId, command: Command, now: Now) {
        if let Some(base) = self.hub.base(id) {
            return self.command_derived(id, base, &command, now);
        }
        if !self.ask_ledger(id, &command, now) {
            self.command_shard(id, command);
        }
    }

    /// Passes a command about one of the exchange's own series to its shard.
    fn command_shard(&mut self, id: InstrumentId, command: Command) {
        let instrument = self.hub.instrument(id);
        let carriers = self.config.carriers[instrument.market.index()];
        let place = usize::try_from(instrument.stable_hash() % carriers as u64);
        // Venues that few shards carry begin at different shards.
        let first = instrument.market.venue() as usize * carriers;
        let shard = (first + place.expect("below the number of shards")) % self.config.shards;
        self.outputs.push_back(Output::Command { shard, command });
    }

    fn command_subscribe(&mut self, id: InstrumentId, now: Now) {
        let instrument = self.hub.instrument(id).clone();
        let tail = self.resume(id, &instrument, now);
        self.command(id, Command::Subscribe { id, instrument, tail }, now);
    }

    fn notice(&mut self, event: EventName, text: String) {
        let notice = Notice { event, about: About::default(), text };
        self.outputs.push_back(Output::Notice(Box::new(notice)));
    }

    /// Puts the client's next deadline among the timers.
    fn arm(&mut self, id: ClientId) {
        let Some(client) = self.clients.find(id) else { return };
        let deadline = client.deadline(&self.config);
        if deadline < client.armed {
            client.armed = deadline;
            self.timers.push(Reverse((deadline, Timer::Client(id))));
        }
    }

    /// Lets the driver know that the client has outgoing bytes.
    fn offer(&mut self, id: ClientId) {
        let Some(client) = self.clients.find(id) else { return };
        if client.make_offer() {
            self.outputs.push_back(Output::Transmit { client: id });
        }
    }
}

/// Storage for outputs that is kept while there are none; what a flood of requests needed beyond it
/// is freed. Source: every client is written to, and some leave.
const OUTPUTS_KEPT: usize = 2 * CLIENTS_MAX;
