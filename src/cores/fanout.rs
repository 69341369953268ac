//! Drives the [`Fanout`]: the listener, the clients' sockets, the rings from the shards. Owns the
//! sockets; knows nothing of what the bytes mean.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use crossbeam_channel::{Receiver, Sender};
use rustix::io::Errno;
use socket2::SockRef;

use crate::clock::{Clock, MonoNs, Now};
use crate::cores::ledger::LedgerPort;
use crate::cores::machine::doorbell::Doorbell;
use crate::cores::machine::wait::{Ready, Token, Waiter};
use crate::cores::ops::OpsHandle;
use crate::cores::process::credentials::Renewal;
use crate::cores::process::shutdown::Shutdown as StopSignal;
use crate::fanout::{ClientId, DrainKind, Fanout, OUTGOING_PIECES_MAX, Outgoing, Output};
use crate::limits::{CLIENT_UNSENT_BYTES_MAX, CLOSE_DRAIN, READ_BYTES_MAX, SEND_PAUSE};
use crate::messages::{About, Command, EventName, FeedEvent, MarketEvent, Notice};
use crate::metrics::FanoutMetrics;
use crate::wire::touched;

/// The links of the fan-out to the other cores.
pub struct FanoutLinks {
    /// One ring from each shard.
    pub rings: Vec<rtrb::Consumer<MarketEvent>>,
    /// Session events from all shards.
    pub events: Receiver<FeedEvent>,
    /// Commands to each shard, and the bell of its core.
    pub shards: Vec<(Sender<Command>, Arc<Doorbell>)>,
    /// Lines for the log.
    pub ops: OpsHandle,
    /// Certificates and tokens that were read again.
    pub renewals: Receiver<Renewal>,
    /// Where closed windows are stored, if they are.
    pub ledger: Option<LedgerPort>,
    /// The signal to begin the drain.
    pub stop: Arc<StopSignal>,
}

/// The fan-out: its engine, its sockets, its links.
pub struct FanoutCore {
    fanout: Fanout,
    links: FanoutLinks,
    /// The ring with which the next turn begins.
    first_ring: usize,
    /// Read after each write, so that a write never seems earlier than it was.
    clock: Clock,
    metrics: Arc<FanoutMetrics>,
    listener: Option<TcpListener>,
    /// When accepting starts again; set while the kernel has no file descriptor or memory for it.
    accept_again: Option<MonoNs>,
    /// Clients whose last write failed because the kernel lacked memory, and when they are written
    /// to again.
    starved: Vec<ClientId>,
    send_again: Option<MonoNs>,
    clients: Vec<Option<Client>>,
    /// Commands for a channel that was full.
    unsent_commands: VecDeque<(usize, Command)>,
    scratch: Box<[u8]>,
    drain: Drain,
    drain_timeout: Duration,
}

struct Client {
    id: ClientId,
    stream: TcpStream,
    /// The engine wants no bytes of it for now.
    is_paused: bool,
    /// The kernel takes no more bytes for now; the socket is watched for room.
    is_blocked: bool,
    /// It is among the clients in `starved`.
    is_starved: bool,
    /// The client has closed its direction.
    is_half_closed: bool,
    /// FIN once everything is written.
    wants_fin: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Drain {
    Serving,
    /// Clients move to a successor. Those still here at `until` are drained.
    Moving {
        until: MonoNs,
    },
    Draining {
        give_up: MonoNs,
    },
    Done,
}

impl FanoutCore {
    /// The fan-out behind `listener`, which must be non-blocking. It is watched under the owner
    /// number [`OWNER`].
    pub fn new(
        fanout: Fanout,
        links: FanoutLinks,
        metrics: Arc<FanoutMetrics>,
        listener: TcpListener,
        drain_timeout: Duration,
        clock: Clock,
        waiter: &Waiter,
    ) -> io::Result<Self> {
        waiter.watch(&listener, LISTENER, false)?;
        Ok(Self {
            fanout,
            links,
            first_ring: 0,
            clock,
            metrics,
            listener: Some(listener),
            accept_again: None,
            starved: Vec::new(),
            send_again: None,
            clients: Vec::new(),
            unsent_commands: VecDeque::new(),
            scratch: touched(READ_BYTES_MAX).into_boxed_slice(),
            drain: Drain::Serving,
            drain_timeout,
        })
    }

    /// One turn: rings first, then clients, timers, and all outputs of the engine. Returns whether
    /// there was work.
    pub fn turn(&mut self, now: Now, ready: &[Ready], waiter: &Waiter) -> bool {
        let mut worked = self.take_mail(now);
        let own = |event: &&Ready| event.token.owner() == u64::from(OWNER);
        for event in ready.iter().filter(own).filter(|event| event.token != LISTENER) {
            self.serve(*event, now, waiter);
            worked = true;
        }
        // New connections last: they may take the slots of clients that this batch still mentions.
        if ready.iter().any(|event| event.token == LISTENER) {
            self.accept(now, waiter);
            worked = true;
        }
        if self.fanout.next_deadline().is_some_and(|deadline| deadline <= now.mono) {
            self.fanout.handle_timeout(now);
            worked = true;
        }
        if self.accept_again.is_some_and(|again| again <= now.mono) {
            self.resume_accepting(waiter);
        }
        if self.send_again.is_some_and(|again| again <= now.mono) {
            self.resume_sending(now, waiter);
        }
        self.advance_drain(now);
        worked |= self.drain_outputs(now, waiter);
        // If the ops core lags behind, the next set covers a longer time.
        if self.fanout.has_slowest(now.mono) && self.links.ops.takes_slowest() {
            self.links.ops.show_slowest(self.fanout.take_slowest(now.mono));
        }
        worked
    }

    /// The latest time of the engine's next turn.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        let others = [self.accept_again, self.send_again].into_iter().flatten();
        self.fanout.next_deadline().into_iter().chain(others).min()
    }

    /// Returns whether something waits in a queue that no socket announces.
    pub fn has_mail(&self) -> bool {
        self.links.rings.iter().any(|ring| !ring.is_empty())
            || !self.links.events.is_empty()
            || !self.links.renewals.is_empty()
            || self.links.ledger.as_ref().is_some_and(LedgerPort::has_answer)
            || (self.drain == Drain::Serving && self.links.stop.requested().is_some())
    }

    /// Returns whether the drain is over and the shards have been stopped.
    pub fn is_done(&self) -> bool {
        self.drain == Drain::Done
    }

    fn take_mail(&mut self, now: Now) -> bool {
        let mut worked = self.take_rings(now);
        while let Ok(event) = self.links.events.try_recv() {
            self.fanout.handle_feed(event, now);
            worked = true;
        }
        while let Some(answer) = self.links.ledger.as_ref().and_then(LedgerPort::answer) {
            self.fanout.handle_ledger(answer, now);
            worked = true;
        }
        while let Ok(renewal) = self.links.renewals.try_recv() {
            match renewal {
                Renewal::Tls(tls) => self.fanout.set_tls(tls),
                Renewal::Tokens(tokens) => self.fanout.set_tokens(tokens, now),
            }
            worked = true;
        }
        worked
    }

    /// Takes a batch from each ring. If the engine is full before the last ring, the next turn
    /// begins with the following ring, so that no shard's candles wait for those of another one.
    fn take_rings(&mut self, now: Now) -> bool {
        let mut worked = false;
        let count = self.links.rings.len();
        for index in (self.first_ring..count).chain(0..self.first_ring) {
            let ring = &mut self.links.rings[index];
            let events = ring.slots().min(BATCH_EVENTS_MAX);
            let Ok(batch) = ring.read_chunk(events) else { continue };
            for event in batch {
                if let Some(ledger) = &mut self.links.ledger
                    && let Some(event) = self.fanout.ledger_event(&event)
                {
                    ledger.push(event);
                }
                self.fanout.handle_market(&event, now);
                worked = true;
                if self.fanout.is_full() {
                    self.first_ring = (index + 1) % count;
                    return true;
                }
            }
        }
        worked
    }

    fn serve(&mut self, event: Ready, now: Now, waiter: &Waiter) {
        let slot = event.token.slot();
        let Some(Some(client)) = self.clients.get_mut(slot) else { return };
        let id = client.id;
        if client.is_half_closed && event.ended {
            self.clients[slot] = None;
            return self.fanout.handle_lost(id, now);
        }
        if event.readable && !client.is_half_closed && (!client.is_paused || event.ended) {
            self.read(slot, now, waiter);
        }
        if event.writable {
            self.write(slot, now, waiter);
        }
    }

    fn accept(&mut self, now: Now, waiter: &Waiter) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { return };
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_passing(&error) => continue,
                Err(error) => return self.pause_accepting(&error, now, waiter),
            };
            let id = self.fanout.handle_accepted(peer, now);
            let token = token(id);
            let prepared = stream
                .set_nonblocking(true)
                .and_then(|()| stream.set_nodelay(true))
                .and_then(|()| {
                    SockRef::from(&stream).set_tcp_notsent_lowat(CLIENT_UNSENT_BYTES_MAX)
                })
                .and_then(|()| waiter.watch(&stream, token, false));
            if prepared.is_err() {
                self.fanout.handle_lost(id, now);
                continue;
            }
            let slot = id.index();
            if slot >= self.clients.len() {
                self.clients.resize_with(slot + 1, || None);
            }
            let client = Client {
                id,
                stream,
                is_paused: false,
                is_blocked: false,
                is_starved: false,
                is_half_closed: false,
                wants_fin: false,
            };
            // A client that ended in this turn may still be here: its slot is free for the engine,
            // and its `Output::Close` is not read yet. Replacing it closes its socket.
            let before = self.clients[slot].replace(client);
            assert!(before.is_none_or(|before| before.id != id), "an id is given out once");
            // The request often comes with the connection: read it in this turn.
            self.read(slot, now, waiter);
        }
    }

    /// Out of file descriptors or memory: waiting connections stay in the kernel's queue, and the
    /// connected clients are served meanwhile.
    fn pause_accepting(&mut self, error: &io::Error, now: Now, waiter: &Waiter) {
        if let Some(listener) = &self.listener {
            let _ignored = waiter.ignore_reads(listener, LISTENER, false);
        }
        self.accept_again = Some(now.mono.after(ACCEPT_PAUSE));
        let text = format!(
            "cannot accept clients: {error}; trying again every {ACCEPT_PAUSE:?} \
             (too many open files? raise LimitNOFILE or ulimit -Hn)"
        );
        self.note(Notice { event: EventName::AcceptFailed, about: About::default(), text });
    }

    fn resume_accepting(&mut self, waiter: &Waiter) {
        self.accept_again = None;
        if let Some(listener) = &self.listener {
            let _watched = waiter.rewatch(listener, LISTENER, false);
        }
    }

    fn read(&mut self, slot: usize, now: Now, waiter: &Waiter) {
        let Some(Some(client)) = self.clients.get_mut(slot) else { return };
        let id = client.id;
        match client.stream.read(&mut self.scratch) {
            Ok(0) => {
                client.is_half_closed = true;
                rewatch(client, waiter);
                self.fanout.handle_half_closed(id, now);
            }
            Ok(count) => self.fanout.handle_bytes(id, &self.scratch[..count], now),
            Err(error) if is_transient(&error) => {}
            Err(_) => {
                self.clients[slot] = None;
                self.fanout.handle_lost(id, now);
            }
        }
    }

    fn drain_outputs(&mut self, now: Now, waiter: &Waiter) -> bool {
        self.send_commands();
        let mut worked = false;
        while let Some(output) = self.fanout.poll_output() {
            worked = true;
            match output {
                Output::Transmit { client } => self.write(client.index(), now, waiter),
                Output::ShutdownWrite { client: id } => {
                    if let Some(client) = self.client(id) {
                        client.wants_fin = true;
                        self.write(id.index(), now, waiter);
                    }
                }
                Output::Read { client: id, wanted } => {
                    if let Some(client) = self.client(id) {
                        client.is_paused = !wanted;
                        rewatch(client, waiter);
                    }
                }
                // Dropping the socket closes it and takes it out of the epoll set. By now the slot
                // may belong to another client, or be empty if watching its socket failed.
                Output::Close { client: id } => {
                    if let Some(slot) = self.clients.get_mut(id.index()) {
                        slot.take_if(|client| client.id == id);
                    }
                }
                Output::Command { shard, command } => {
                    self.unsent_commands.push_back((shard, command));
                    self.send_commands();
                }
                Output::ReadLedger(read) => {
                    if let Some(ledger) = &self.links.ledger {
                        ledger.ask(*read);
                    }
                }
                Output::Notice(notice) => self.note(*notice),
            }
        }
        worked
    }

    /// The socket of `id`, unless its slot belongs to another client.
    fn client(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(id.index())?.as_mut().filter(|client| client.id == id)
    }

    /// Writes what the client has ready, until the kernel takes no more.
    fn write(&mut self, slot: usize, now: Now, waiter: &Waiter) {
        let Some(Some(client)) = self.clients.get_mut(slot) else { return };
        let id = client.id;
        let written = loop {
            let outgoing = self.fanout.outgoing(id);
            if outgoing.is_empty() {
                break Ok(());
            }
            match write_pieces(&mut client.stream, outgoing) {
                Ok(count) => self.fanout.consume_outgoing(id, count, self.clock.now()),
                Err(error) => match SendFault::of(&error) {
                    SendFault::Interrupted => {}
                    SendFault::Full => return set_blocked(client, true, waiter),
                    SendFault::Starved => return self.pause_sending(id, &error, now),
                    SendFault::Gone => break Err(None),
                    SendFault::Broken => break Err(Some(error)),
                },
            }
        };
        if let Err(error) = written {
            self.clients[slot] = None;
            if let Some(error) = error {
                self.note_send_failure(format!("a client is lost: it cannot be sent to: {error}"));
            }
            return self.fanout.handle_lost(id, now);
        }
        if client.is_blocked {
            set_blocked(client, false, waiter);
        }
        if client.wants_fin {
            client.wants_fin = false;
            // An error means that the peer is gone; the next read reports it.
            let _sent = client.stream.shutdown(Shutdown::Write);
        }
    }

    /// The kernel lacks memory for a write: the client keeps its bytes, and the write is repeated.
    fn pause_sending(&mut self, id: ClientId, error: &io::Error, now: Now) {
        if let Some(client) = self.client(id)
            && !std::mem::replace(&mut client.is_starved, true)
        {
            self.starved.push(id);
        }
        self.send_again.get_or_insert(now.mono.after(SEND_PAUSE));
        self.note_send_failure(format!(
            "the kernel cannot send to clients: {error}; trying again every {SEND_PAUSE:?} (is it out \
             of memory for sockets? see net.ipv4.tcp_mem)"
        ));
    }

    fn resume_sending(&mut self, now: Now, waiter: &Waiter) {
        self.send_again = None;
        for id in std::mem::take(&mut self.starved) {
            if let Some(client) = self.client(id) {
                client.is_starved = false;
                self.write(id.index(), now, waiter);
            }
        }
    }

    fn note_send_failure(&mut self, text: String) {
        self.metrics.send_failures.increment();
        self.note(Notice { event: EventName::SendFailed, about: About::default(), text });
    }

    fn send_commands(&mut self) {
        while let Some((shard, command)) = self.unsent_commands.pop_front() {
            let (sender, bell) = &self.links.shards[shard];
            match sender.try_send(command) {
                Ok(()) => bell.ring(),
                Err(crossbeam_channel::TrySendError::Full(command)) => {
                    self.unsent_commands.push_front((shard, command));
                    return;
                }
                // The shard is gone: the process is going down.
                Err(crossbeam_channel::TrySendError::Disconnected(_)) => {}
            }
        }
    }

    /// Serving → moving, if there is a successor → draining → done when every client is gone or the
    /// time is over.
    fn advance_drain(&mut self, now: Now) {
        match self.drain {
            Drain::Serving => {
                let Some(drain_kind) = self.links.stop.requested() else { return };
                // If other processes hold it too, it stays open, and its waiting connections are
                // theirs.
                self.listener = None;
                if drain_kind != DrainKind::Succeeded {
                    return self.begin_drain(drain_kind, now);
                }
                self.fanout.begin_moves(self.drain_timeout, now);
                self.drain = Drain::Moving { until: now.mono.after(self.drain_timeout) };
            }
            Drain::Moving { until } if self.fanout.has_moved() || now.mono >= until => {
                self.begin_drain(DrainKind::Succeeded, now);
            }
            Drain::Draining { give_up } if self.fanout.is_drained() || now.mono >= give_up => {
                for shard in 0..self.links.shards.len() {
                    self.unsent_commands.push_back((shard, Command::Stop));
                }
                self.send_commands();
                if self.unsent_commands.is_empty() {
                    self.drain = Drain::Done;
                }
            }
            Drain::Moving { .. } | Drain::Draining { .. } | Drain::Done => {}
        }
    }

    fn begin_drain(&mut self, drain_kind: DrainKind, now: Now) {
        self.fanout.begin_drain(drain_kind, now);
        let give_up = now.mono.after(self.drain_timeout + CLOSE_DRAIN);
        self.drain = Drain::Draining { give_up };
    }

    fn note(&mut self, notice: Notice) {
        if self.links.ops.notify(notice).is_err() {
            self.metrics.notices_dropped.increment();
        }
    }
}

/// The fan-out's owner number in tokens; shards have the numbers below.
pub const OWNER: u16 = u16::MAX - 1;

const LISTENER: Token = Token::new(OWNER, u32::MAX);

/// How long accepting pauses when the kernel cannot give a socket. Source: long enough for a file
/// to be closed, short for a person.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Events taken from one ring before the clients are written to. Source: a minute's close of 1,000
/// series in one batch, and its 350 KB for one client in a few writes.
const BATCH_EVENTS_MAX: usize = 1024;

/// Connections accepted in one turn. Source: a storm of connections must not starve the connected
/// clients.
const ACCEPTS_PER_TURN: usize = 16;

fn token(id: ClientId) -> Token {
    Token::new(OWNER, u32::try_from(id.index()).expect("clients are far fewer"))
}

fn write_pieces(stream: &mut TcpStream, outgoing: Outgoing) -> io::Result<usize> {
    let pieces: ArrayVec<IoSlice, OUTGOING_PIECES_MAX> =
        outgoing.pieces().map(IoSlice::new).collect();
    match &*pieces {
        [whole] => stream.write(whole),
        pieces => stream.write_vectored(pieces),
    }
}

fn set_blocked(client: &mut Client, is_blocked: bool, waiter: &Waiter) {
    client.is_blocked = is_blocked;
    rewatch(client, waiter);
}

fn rewatch(client: &Client, waiter: &Waiter) {
    let token = token(client.id);
    let _watched = if client.is_half_closed || client.is_paused {
        waiter.ignore_reads(&client.stream, token, client.is_blocked)
    } else {
        waiter.rewatch(&client.stream, token, client.is_blocked)
    };
}

/// Why a client's socket did not take bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendFault {
    /// A signal interrupted the write: try again at once.
    Interrupted,
    /// Its buffer is full: try again when the socket is writable.
    Full,
    /// The kernel lacks memory, whatever the socket: try again after a pause.
    Starved,
    /// The client is gone.
    Gone,
    /// Anything else: the client is lost, and the log says why.
    Broken,
}

impl SendFault {
    fn of(error: &io::Error) -> Self {
        match (error.kind(), Errno::from_io_error(error)) {
            (io::ErrorKind::Interrupted, _) => Self::Interrupted,
            (io::ErrorKind::WouldBlock, _) => Self::Full,
            (_, Some(Errno::NOBUFS | Errno::NOMEM)) => Self::Starved,
            (
                io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::NotConnected
                | io::ErrorKind::TimedOut,
                _,
            ) => Self::Gone,
            _ => Self::Broken,
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Returns whether a connection failed before we took it, as accept(2) reports it.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_memory_costs_no_client_and_a_client_that_is_gone_no_line() {
        for (errno, fault) in [
            (Errno::NOBUFS, SendFault::Starved),
            (Errno::NOMEM, SendFault::Starved),
            (Errno::AGAIN, SendFault::Full),
            (Errno::INTR, SendFault::Interrupted),
            (Errno::PIPE, SendFault::Gone),
            (Errno::CONNRESET, SendFault::Gone),
            (Errno::TIMEDOUT, SendFault::Gone),
            (Errno::IO, SendFault::Broken),
            (Errno::ACCESS, SendFault::Broken),
        ] {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            assert_eq!(SendFault::of(&error), fault, "{error}");
        }
    }
}
