//! Drives one [`Feed`]: its sockets to the exchanges, its ring to the fan-out, its mail. Owns the
//! sockets; knows nothing of what the bytes mean.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::clock::{Clock, Lapse, MonoNs, Now, UnixMs};
use crate::feed::{Feed, Output, SessionId};
use crate::limits::READ_BYTES_MAX;
use crate::market::{InstrumentId, Source};
use crate::messages::{Command, FeedEvent, MarketEvent, Notice, OpsAnswer, OpsRequest};
use crate::metrics::{ConnectionErrorKind, ShardMetrics};
use crate::wire::{Endpoint, touched};

use super::closes::Closes;
use super::doorbell::Doorbell;
use super::ops::OpsHandle;
use super::stamps::{Sampling, Stamps};
use super::wait::{Ready, Token, Waiter};

/// What joins a shard to the other cores.
pub struct ShardLinks {
    /// Market events to the fan-out.
    pub ring: rtrb::Producer<MarketEvent>,
    /// Rings when something was put into `ring` or `events`.
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
    stamps: Stamps,
    closes: Closes,
    slots: Vec<Option<Slot>>,
    by_session: HashMap<SessionId, usize>,
    /// Sessions whose host is being looked up, and where they want to go.
    resolving: Vec<(SessionId, Endpoint)>,
    /// When the first silent address is given up for the next one.
    next_try: Option<MonoNs>,
    /// What led nowhere lately, and when: tried last.
    dead: Vec<(SocketAddr, MonoNs)>,
    /// Events that found the channel full.
    unsent_events: VecDeque<FeedEvent>,
    scratch: Box<[u8]>,
    open_sockets: usize,
}

struct Slot {
    session: SessionId,
    stream: TcpStream,
    sampling: Sampling,
    is_connected: bool,
    address: SocketAddr,
    dialed: MonoNs,
    /// Tried next, the last first, if this one refuses or is silent for [`ADDRESS_PATIENCE`].
    others: Vec<SocketAddr>,
    /// Room is being waited for.
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
    ) -> Self {
        touch(&mut links.ring);
        Self {
            number,
            feed,
            links,
            clock,
            stamps: Stamps::new(clock, Arc::clone(&metrics)),
            closes: Closes::new(Arc::clone(&metrics)),
            metrics,
            slots: Vec::new(),
            by_session: HashMap::new(),
            resolving: Vec::new(),
            next_try: None,
            dead: Vec::new(),
            unsent_events: VecDeque::new(),
            scratch: touched(READ_BYTES_MAX).into_boxed_slice(),
            open_sockets: 0,
        }
    }

    /// One turn: mail, sockets, timers, then everything the engine has to say. Returns whether
    /// there was work.
    pub fn turn(&mut self, now: Now, ready: &[Ready], waiter: &Waiter) -> bool {
        let mut worked = self.take_mail(now, waiter);
        worked |= self.serve_sockets(now, ready, waiter);
        if self.next_try.is_some_and(|at| at <= now.mono) {
            self.leave_silent_addresses(now, waiter);
            worked = true;
        }
        if self.feed.next_deadline().is_some_and(|deadline| deadline <= now.mono) {
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

    /// Whether something waits in a queue that no socket announces.
    pub fn has_mail(&self) -> bool {
        !self.links.commands.is_empty() || !self.links.answers.is_empty()
    }

    /// Whether there are more sockets than a spinning core reads directly in each turn.
    pub fn needs_poll(&self) -> bool {
        self.open_sockets > DIRECT_SOCKETS_MAX
    }

    /// Whether the engine was stopped and every session is closed.
    pub fn is_done(&self) -> bool {
        self.feed.is_stopped()
    }

    fn take_mail(&mut self, now: Now, waiter: &Waiter) -> bool {
        let mut worked = false;
        while let Ok(command) = self.links.commands.try_recv() {
            if let Command::Subscribe { id, instrument } = &command {
                self.closes.learn(*id, instrument);
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
        // A core that parks has been told which sockets have something.
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
        if !slot.is_connected || !self.feed.wants_bytes() {
            return false;
        }
        let session = slot.session;
        match self.stamps.read(&slot.stream, &mut slot.sampling, &mut self.scratch) {
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
        let Some(Some(slot)) = self.slots.get_mut(at) else { return };
        let session = slot.session;
        if slot.is_connected {
            return self.transmit(session, now, waiter);
        }
        match slot.stream.take_error() {
            Ok(None) => {
                slot.is_connected = true;
                let token = token(self.number, at);
                let _watched = waiter.rewatch(&slot.stream, token, false);
                self.feed.handle_connected(session, now);
                self.transmit(session, now, waiter);
            }
            Ok(Some(error)) | Err(error) => {
                self.connect_to_another(at, &error, now, waiter);
            }
        }
    }

    fn drain_outputs(&mut self, now: Now, waiter: &Waiter) -> bool {
        let mut worked = self.send_events();
        if let Some(notice) = self.stamps.take_notice() {
            self.note(notice);
        }
        while let Some(output) = self.feed.poll_output() {
            worked = true;
            match output {
                Output::Connect { session, endpoint } => self.dial(session, endpoint, now, waiter),
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
                // The fan-out is gone: nobody is left to be told.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        if worked {
            self.links.fanout_bell.ring();
        }
        worked
    }

    /// Moves what the engine publishes into the ring, as far as there is room. The clock is read
    /// once, before the first: the fan-out may take that one while the last is being put there.
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
                self.closes.note(update, now);
            }
            let pushed = self.links.ring.push(event);
            assert!(pushed.is_ok(), "a free slot was seen, and there is one producer");
            published += 1;
        }
        if self.links.ring.slots() == 0 {
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

    fn dial(&mut self, session: SessionId, endpoint: Endpoint, now: Now, waiter: &Waiter) {
        if let Ok(address) = endpoint.host.parse::<IpAddr>() {
            let address = SocketAddr::new(address, endpoint.port);
            return self.connect(session, vec![address], now, waiter);
        }
        let (host, port) = (endpoint.host.clone(), endpoint.port);
        self.resolving.push((session, endpoint));
        if self.ask(OpsRequest::Resolve { host, port }).is_err() {
            self.resolving.retain(|(waiting, _)| *waiting != session);
            let why = "too many look-ups are waiting already";
            self.feed.handle_connect_failed(session, ConnectionErrorKind::Local, why, now);
        }
    }

    fn resolved(
        &mut self,
        host: &str,
        port: u16,
        result: &Result<Vec<SocketAddr>, String>,
        now: Now,
        waiter: &Waiter,
    ) {
        let is_asked =
            |(_, endpoint): &(_, Endpoint)| endpoint.host == host && endpoint.port == port;
        let Some(at) = self.resolving.iter().position(is_asked) else { return };
        let (session, _) = self.resolving.swap_remove(at);
        match result {
            Ok(addresses) if !addresses.is_empty() => {
                let turn = usize::try_from(now.mono.0 / 1_000_000).unwrap_or(0);
                self.dead.retain(|&(_, at)| at.after(DEAD_FOR) > now.mono);
                let is_dead =
                    |address: &SocketAddr| self.dead.iter().any(|(dead, _)| dead == address);
                let order = order(addresses, turn, is_dead);
                self.connect(session, order, now, waiter);
            }
            Ok(_) => {
                let why = format!("{host} has no address");
                self.feed.handle_connect_failed(session, ConnectionErrorKind::Dns, &why, now);
            }
            Err(why) => {
                self.feed.handle_connect_failed(session, ConnectionErrorKind::Dns, why, now);
            }
        }
    }

    /// Tries the last of `addresses`; the others are tried if that leads nowhere.
    fn connect(
        &mut self,
        session: SessionId,
        mut addresses: Vec<SocketAddr>,
        now: Now,
        waiter: &Waiter,
    ) {
        let at = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        let Some(address) = addresses.pop() else { return };
        let opened = open_socket(address).and_then(|stream| {
            waiter.watch(&stream, token(self.number, at), true)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                let sampling = self.stamps.ask(&stream);
                let (is_connected, is_blocked) = (false, false);
                let (others, dialed) = (addresses, now.mono);
                let silent_at = (!others.is_empty()).then(|| dialed.after(ADDRESS_PATIENCE));
                self.next_try = self.next_try.into_iter().chain(silent_at).min();
                let slot = Slot {
                    session,
                    stream,
                    sampling,
                    is_connected,
                    address,
                    dialed,
                    others,
                    is_blocked,
                };
                if at == self.slots.len() {
                    self.slots.push(Some(slot));
                } else {
                    self.slots[at] = Some(slot);
                }
                self.by_session.insert(session, at);
                self.open_sockets += 1;
            }
            Err(error) if addresses.is_empty() || kind_of(&error) == ConnectionErrorKind::Local => {
                self.connect_failed(session, &error, now);
            }
            Err(_) => {
                self.note_dead(address, now);
                self.connect(session, addresses, now, waiter);
            }
        }
    }

    /// The address of the slot at `at` leads nowhere, for this reason.
    fn connect_to_another(&mut self, at: usize, error: &io::Error, now: Now, waiter: &Waiter) {
        let Some(Some(slot)) = self.slots.get_mut(at) else { return };
        let (session, address) = (slot.session, slot.address);
        let others = std::mem::take(&mut slot.others);
        self.forget(session);
        self.note_dead(address, now);
        match others.is_empty() {
            true => self.connect_failed(session, error, now),
            false => self.connect(session, others, now, waiter),
        }
    }

    /// Where no answer comes, not even a refusal, the next address is tried.
    fn leave_silent_addresses(&mut self, now: Now, waiter: &Waiter) {
        let is_silent = |slot: &&Slot| !slot.is_connected && !slot.others.is_empty();
        for at in 0..self.slots.len() {
            let silent = self.slots[at].as_ref().filter(is_silent);
            if silent.is_some_and(|slot| slot.dialed.after(ADDRESS_PATIENCE) <= now.mono) {
                let error = io::Error::from(io::ErrorKind::TimedOut);
                self.connect_to_another(at, &error, now, waiter);
            }
        }
        let silent = self.slots.iter().flatten().filter(is_silent);
        self.next_try = silent.map(|slot| slot.dialed.after(ADDRESS_PATIENCE)).min();
    }

    fn note_dead(&mut self, address: SocketAddr, now: Now) {
        self.dead.retain(|&(dead, _)| dead != address);
        if self.dead.len() == DEAD_MAX {
            self.dead.remove(0);
        }
        self.dead.push((address, now.mono));
    }

    fn connect_failed(&mut self, session: SessionId, error: &io::Error, now: Now) {
        let kind = kind_of(error);
        self.feed.handle_connect_failed(session, kind, &error.to_string(), now);
    }

    /// Writes what the session has for its socket; waits for room where the kernel has none.
    fn transmit(&mut self, session: SessionId, now: Now, waiter: &Waiter) {
        let Some(&at) = self.by_session.get(&session) else { return };
        let Some(slot) = &mut self.slots[at] else { return };
        if !slot.is_connected {
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

    /// Closes the session's socket, wherever it stands; closing takes it out of the epoll set.
    fn forget(&mut self, session: SessionId) {
        self.resolving.retain(|(waiting, _)| *waiting != session);
        if let Some(at) = self.by_session.remove(&session) {
            self.slots[at] = None;
            self.open_sockets -= 1;
        }
    }
}

/// Up to so many sockets are read in each turn without asking epoll first; with more, the reads
/// that find nothing would cost more than the question.
const DIRECT_SOCKETS_MAX: usize = 4;

fn token(number: u16, slot: usize) -> Token {
    Token::new(number, u32::try_from(slot).expect("sessions are far fewer"))
}

/// How long an address may be silent while another one could be tried. Source: a round trip around
/// the world takes 300 ms at worst; the last address has all the patience of an attempt.
const ADDRESS_PATIENCE: Duration = Duration::from_millis(400);

/// How long an address that led nowhere is tried after the others.
const DEAD_FOR: Duration = Duration::from_secs(60);

/// The most of them that are remembered; of more, the oldest is forgotten.
const DEAD_MAX: usize = 32;

/// The order in which addresses are tried, the last first: in turn, so that load is spread, and the
/// dead ones after all others.
fn order(
    addresses: &[SocketAddr],
    turn: usize,
    is_dead: impl Fn(&SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let mut order = addresses.to_vec();
    order.rotate_left(turn % addresses.len());
    order.sort_by_key(|address| !is_dead(address));
    order
}

fn kind_of(error: &io::Error) -> ConnectionErrorKind {
    match (error.kind(), Errno::from_io_error(error)) {
        (_, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
            ConnectionErrorKind::Local
        }
        (io::ErrorKind::TimedOut, _) => ConnectionErrorKind::Timeout,
        _ => ConnectionErrorKind::Tcp,
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A non-blocking socket on its way to `address`. Becomes writable once it is there or has failed.
fn open_socket(address: SocketAddr) -> io::Result<TcpStream> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&SockAddr::from(address)) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

const EINPROGRESS: i32 = Errno::INPROGRESS.raw_os_error();

/// Writes to every slot of an empty ring, and commits nothing: the pages are there, on this core's
/// memory, before the first candle needs them.
fn touch(ring: &mut rtrb::Producer<MarketEvent>) {
    let slots = ring.slots();
    let Ok(mut chunk) = ring.write_chunk_uninit(slots) else { return };
    let (first, second) = chunk.as_mut_slices();
    for slot in first.iter_mut().chain(second) {
        let (instrument, open_time) = (InstrumentId(0), UnixMs(0));
        slot.write(MarketEvent::Empty { instrument, open_time, is_recalled: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_tried_once_in_turn_and_the_dead_ones_last() {
        let addresses: Vec<SocketAddr> =
            (1..=3).map(|number| SocketAddr::from(([127, 0, 0, number], 443))).collect();
        let firsts: Vec<_> =
            (0..3).map(|turn| *order(&addresses, turn, |_| false).last().unwrap()).collect();
        assert!(addresses.iter().all(|address| firsts.contains(address)));
        for turn in 0..3 {
            let order = order(&addresses, turn, |address| *address == addresses[1]);
            assert_eq!((order.len(), order[0]), (3, addresses[1]), "{turn}");
        }
    }
}
