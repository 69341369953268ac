//! Drives one [`Feed`]: its sockets to the exchanges, its ring to the fan-out, its mail. Owns the
//! sockets; knows nothing of what the bytes mean.
//!
//! | file | writes |
//! |---|---|
//! | here | `feed`, `links`, `rx_timestamps`, `close_lag`, `unsent_events`, `scratch` |
//! | `dialing` | `slots`, `by_session`, `open_sockets` (`forget` here takes them out), `resolving`, `next_try`, `dead` |

pub(crate) mod close_lag;
mod dialing;
pub(crate) mod passage;

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::clock::{Clock, Lapse, MonoNs, Now, UnixMs};
use crate::config::Proxies;
use crate::cores::machine::doorbell::Doorbell;
use crate::cores::machine::rx_timestamps::{RxTimestamps, Sampling};
use crate::cores::machine::wait::{Ready, Token, Waiter};
use crate::cores::ops::OpsHandle;
use crate::cores::shard::close_lag::CloseLag;
use crate::cores::shard::dialing::{Reach, Route};
use crate::feed::{Feed, Output, SessionId};
use crate::limits::READ_BYTES_MAX;
use crate::market::{InstrumentId, Source};
use crate::messages::{Command, FeedEvent, MarketEvent, Notice, OpsAnswer, OpsRequest};
use crate::metrics::ShardMetrics;
use crate::wire::touched;

/// The channels between a shard and the other cores.
pub struct ShardLinks {
    /// Market events to the fan-out.
    pub ring: rtrb::Producer<MarketEvent>,
    /// Rung after a message was put into `ring` or `events`.
    pub fanout_bell: Arc<Doorbell>,
    /// Session events to the fan-out.
    pub events: Sender<FeedEvent>,
    /// Commands from the fan-out.
    pub commands: Receiver<Command>,
    /// Questions to the ops core, and lines for the log.
    pub ops: OpsHandle,
    /// The ops core's answers.
    pub answers: Receiver<OpsAnswer>,
}

/// One shard: its engine, its sockets, its links.
pub struct ShardCore {
    number: u16,
    feed: Feed,
    links: ShardLinks,
    /// Read before a turn's candles are put into the ring.
    clock: Clock,
    metrics: Arc<ShardMetrics>,
    rx_timestamps: RxTimestamps,
    close_lag: CloseLag,
    slots: Vec<Option<Slot>>,
    by_session: HashMap<SessionId, usize>,
    /// Which proxies lead to exchanges.
    proxies: Proxies,
    /// Sessions that wait for a name look-up.
    resolving: Vec<(SessionId, Route)>,
    /// When the first silent address or proxy is given up.
    next_try: Option<MonoNs>,
    /// Addresses that have failed lately, and when. They are tried last.
    dead: Vec<(SocketAddr, MonoNs)>,
    /// Events that wait because the channel is full.
    unsent_events: VecDeque<FeedEvent>,
    scratch: Box<[u8]>,
    open_sockets: usize,
}

struct Slot {
    session: SessionId,
    stream: TcpStream,
    sampling: Sampling,
    reach: Reach,
    address: SocketAddr,
    dialed: MonoNs,
    /// Addresses that are tried next, the last one first, if this one refuses or is silent.
    others: Vec<SocketAddr>,
    /// Whether the socket is watched for room to write.
    is_blocked: bool,
}

impl ShardCore {
    /// Shard `number` with its engine.
    pub fn new(
        number: u16,
        feed: Feed,
        mut links: ShardLinks,
        clock: Clock,
        metrics: Arc<ShardMetrics>,
        proxies: Proxies,
    ) -> Self {
        touch(&mut links.ring);
        Self {
            number,
            feed,
            links,
            clock,
            rx_timestamps: RxTimestamps::new(clock, Arc::clone(&metrics)),
            close_lag: CloseLag::new(Arc::clone(&metrics)),
            metrics,
            slots: Vec::new(),
            by_session: HashMap::new(),
            proxies,
            resolving: Vec::new(),
            next_try: None,
            dead: Vec::new(),
            unsent_events: VecDeque::new(),
            scratch: touched(READ_BYTES_MAX).into_boxed_slice(),
            open_sockets: 0,
        }
    }

    /// One turn: mail, sockets, timers, then all outputs of the engine. Returns whether there was
    /// work.
    pub fn turn(&mut self, now: Now, ready: &[Ready], waiter: &Waiter) -> bool {
        let mut worked = self.take_mail(now, waiter);
        worked |= self.serve_sockets(now, ready, waiter);
        if self.next_try.is_some_and(|at| at <= now.mono) {
            self.leave_silent_addresses(now, waiter);
            worked = true;
        }
        if self.feed.is_due(now.mono) {
            self.feed.handle_timeout(now);
            worked = true;
        }
        worked |= self.drain_outputs(now, waiter);
        worked | self.publish(now)
    }

    /// When the engine, or a connection attempt, wants its next turn at the latest.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        self.feed.next_deadline().into_iter().chain(self.next_try).min()
    }

    /// Returns whether something waits in a queue that no socket announces.
    pub fn has_mail(&self) -> bool {
        !self.links.commands.is_empty() || !self.links.answers.is_empty()
    }

    /// Returns whether there are more sockets than a spinning core reads directly in each turn.
    pub fn needs_poll(&self) -> bool {
        self.open_sockets > DIRECT_SOCKETS_MAX
    }

    /// Returns whether the engine was stopped and every session is closed.
    pub fn is_done(&self) -> bool {
        self.feed.is_stopped()
    }

    fn take_mail(&mut self, now: Now, waiter: &Waiter) -> bool {
        let mut worked = false;
        while let Ok(command) = self.links.commands.try_recv() {
            if let Command::Subscribe { id, instrument, .. } = &command {
                self.close_lag.learn(*id, instrument);
            }
            self.feed.handle_command(command, now);
            worked = true;
        }
        while let Ok(answer) = self.links.answers.try_recv() {
            match answer {
                OpsAnswer::Resolved { host, port, result } => {
                    self.resolved(&host, port, &result, now, waiter);
                }
                OpsAnswer::Rest { id, result } => self.feed.handle_rest(id, result, now),
                OpsAnswer::Listed { market, result } => {
                    if let Ok(list) = &result {
                        let list = Arc::clone(list);
                        self.unsent_events.push_back(FeedEvent::Listed { market, list });
                    }
                    self.feed.handle_listed(market, result, now);
                }
            }
            worked = true;
        }
        worked
    }

    fn serve_sockets(&mut self, now: Now, ready: &[Ready], waiter: &Waiter) -> bool {
        let (mut worked, owner) = (false, u64::from(self.number));
        // A core that parked knows from epoll which sockets are ready.
        let reads_directly = waiter.spins() && !self.needs_poll();
        for event in ready.iter().filter(|event| event.token.owner() == owner) {
            let slot = event.token.slot();
            if event.writable {
                self.writable(slot, now, waiter);
            }
            if event.readable && !reads_directly {
                worked |= self.read(slot, now);
            }
        }
        if reads_directly {
            for slot in 0..self.slots.len() {
                worked |= self.read(slot, now);
            }
        }
        worked
    }

    /// Reads one socket, once: a burst larger than the scratch is continued in the next turn.
    fn read(&mut self, at: usize, now: Now) -> bool {
        let Some(Some(slot)) = self.slots.get_mut(at) else { return false };
        match slot.reach {
            Reach::Dialing(_) => return false,
            Reach::Asking(_) => return self.read_answer(at, now),
            Reach::Connected if !self.feed.wants_bytes() => return false,
            Reach::Connected => {}
        }
        let session = slot.session;
        match self.rx_timestamps.read(&slot.stream, &mut slot.sampling, &mut self.scratch) {
            Ok((0, _)) => {
                self.forget(session);
                self.feed.handle_closed(session, "the exchange closed the connection", now);
            }
            Ok((count, kernel)) => {
                self.feed.note_kernel(kernel);
                self.feed.handle_bytes(session, &self.scratch[..count], now);
            }
            Err(error) if is_transient(&error) => return false,
            Err(error) => {
                self.forget(session);
                self.feed.handle_closed(session, &error.to_string(), now);
            }
        }
        true
    }

    fn writable(&mut self, at: usize, now: Now, waiter: &Waiter) {
        let Some(Some(slot)) = self.slots.get(at) else { return };
        match slot.reach {
            Reach::Dialing(_) => self.established(at, now, waiter),
            Reach::Asking(_) => {}
            Reach::Connected => self.transmit(slot.session, now, waiter),
        }
    }

    fn drain_outputs(&mut self, now: Now, waiter: &Waiter) -> bool {
        let mut worked = self.send_events();
        if let Some(notice) = self.rx_timestamps.take_notice() {
            self.note(notice);
        }
        while let Some(output) = self.feed.poll_output() {
            worked = true;
            match output {
                Output::Connect { session, endpoint } => {
                    self.dial(session, &endpoint, now, waiter);
                }
                Output::Transmit { session } => self.transmit(session, now, waiter),
                Output::Disconnect { session } => self.forget(session),
                Output::Rest(request) => {
                    let id = request.id;
                    if self.ask(OpsRequest::Rest(request)).is_err() {
                        let why = "too many requests are waiting already".to_owned();
                        self.feed.handle_rest(id, Err(why), now);
                    }
                }
                Output::List { market, parts } => {
                    if self.ask(OpsRequest::List { market, parts }).is_err() {
                        let why = "too many requests are waiting already".to_owned();
                        self.feed.handle_listed(market, Err(why), now);
                    }
                }
                Output::Event(event) => {
                    self.unsent_events.push_back(event);
                    self.send_events();
                }
                Output::Notice(notice) => self.note(notice),
            }
        }
        worked
    }

    fn note(&self, mut notice: Notice) {
        notice.about.shard = Some(self.number);
        if self.links.ops.notify(notice).is_err() {
            self.metrics.notices_dropped.increment();
        }
    }

    fn ask(&self, request: OpsRequest) -> Result<(), OpsRequest> {
        self.links.ops.ask(usize::from(self.number), request)
    }

    fn send_events(&mut self) -> bool {
        let mut worked = false;
        while let Some(event) = self.unsent_events.pop_front() {
            match self.links.events.try_send(event) {
                Ok(()) => worked = true,
                Err(TrySendError::Full(event)) => {
                    self.unsent_events.push_front(event);
                    break;
                }
                // The fan-out is gone: the event has no receiver.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        if worked {
            self.links.fanout_bell.ring();
        }
        worked
    }

    /// Moves what the engine publishes into the ring, as far as there is room. The clock is read
    /// once, before the first event, because the fan-out may take that one before the last one is
    /// written.
    fn publish(&mut self, now: Now) -> bool {
        let (mut published, mut began) = (0, None);
        while self.links.ring.slots() > 0 {
            let Some(mut event) = self.feed.next_published() else { break };
            if let MarketEvent::Candle(update) = &mut event
                && update.source == Source::Ws
            {
                let began = *began.get_or_insert_with(|| self.clock.mono());
                update.until_ring = Lapse::between(update.received, began);
                self.metrics.received_to_ring.record_ns(began.ns_since(update.received));
                self.close_lag.note(update, now);
            }
            let pushed = self.links.ring.push(event);
            assert!(pushed.is_ok(), "a free slot was seen, and there is one producer");
            published += 1;
        }
        if self.links.ring.slots() == 0 && self.feed.has_unpublished() {
            self.metrics.ring_full.increment();
            self.feed.note_ring_full(now);
        }
        if published > 0 {
            let used = self.links.ring.buffer().capacity() - self.links.ring.slots();
            self.metrics.ring_depth.set(i64::try_from(used).unwrap_or(i64::MAX));
            self.links.fanout_bell.ring();
        }
        published > 0
    }

    /// Writes the bytes of the session to its socket, and waits for room if the kernel has none.
    fn transmit(&mut self, session: SessionId, now: Now, waiter: &Waiter) {
        let Some(&at) = self.by_session.get(&session) else { return };
        let Some(slot) = &mut self.slots[at] else { return };
        if !matches!(slot.reach, Reach::Connected) {
            return;
        }
        let token = token(self.number, at);
        loop {
            let bytes = self.feed.outgoing(session);
            if bytes.is_empty() {
                if slot.is_blocked {
                    slot.is_blocked = false;
                    let _watched = waiter.rewatch(&slot.stream, token, false);
                }
                return;
            }
            match slot.stream.write(bytes) {
                Ok(count) => self.feed.consume_outgoing(session, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    slot.is_blocked = true;
                    let _watched = waiter.rewatch(&slot.stream, token, true);
                    return;
                }
                Err(error) => {
                    self.forget(session);
                    return self.feed.handle_closed(session, &error.to_string(), now);
                }
            }
        }
    }

    /// Closes the socket of the session in any state. Closing removes it from the epoll set.
    fn forget(&mut self, session: SessionId) {
        self.resolving.retain(|(waiting, _)| *waiting != session);
        if let Some(at) = self.by_session.remove(&session) {
            self.slots[at] = None;
            self.open_sockets -= 1;
        }
    }
}

/// Up to this many sockets are read in each turn without asking epoll first. Source: with more, the
/// reads that find nothing would cost more than asking.
const DIRECT_SOCKETS_MAX: usize = 4;

fn token(number: u16, slot: usize) -> Token {
    Token::new(number, u32::try_from(slot).expect("sessions are far fewer"))
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Writes to every slot of an empty ring without committing. The pages then exist, in the memory of
/// this core, before the first candle needs them.
fn touch(ring: &mut rtrb::Producer<MarketEvent>) {
    let slots = ring.slots();
    let Ok(mut chunk) = ring.write_chunk_uninit(slots) else { return };
    let (first, second) = chunk.as_mut_slices();
    for slot in first.iter_mut().chain(second) {
        let (instrument, open_time) = (InstrumentId(0), UnixMs(0));
        slot.write(MarketEvent::Empty { instrument, open_time, is_backfilled: false });
    }
}
