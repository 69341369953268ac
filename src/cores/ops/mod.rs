//! The ops core: an ordinary thread at low priority that serves health, readiness and metrics,
//! writes notices to the log and starts the workers for calls that may block. Nothing here can make
//! a hot core wait: notices are polled, and questions go directly to the workers.

pub(crate) mod api_state;
mod dashboard;
pub(crate) mod denials;
pub mod http;
pub(crate) mod instrument_lists;
pub(crate) mod names;
pub(crate) mod poison;
pub mod setup;
pub(crate) mod slowest;
pub(crate) mod usage_log;
pub mod workers;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::clock::Now;
use crate::cores::log::dedup::{LogDedup, write_line};
use crate::cores::machine::figures;
use crate::cores::machine::memory::Slack;
use crate::cores::ops::denials::Denials;
use crate::cores::ops::http::{HttpConnection, Response};
use crate::cores::ops::setup::OpsSetup;
use crate::cores::ops::slowest::Slowest;
use crate::cores::ops::usage_log::UsageFile;
use crate::cores::ops::workers::{Question, WorkersSetup};
use crate::cores::process::supervisor::Watchdog;
use crate::fanout::HOST_REFUSED;
use crate::health;
use crate::limits::{
    NOTICES_MAX, OPS_CONNECTIONS_MAX, OPS_REQUESTS_MAX, OPS_TURN_MAX, SLOWEST_WAITING_MAX,
};
use crate::market::Venue;
use crate::messages::{Notice, OpsRequest, SlowUpdates};
use crate::metrics::render;
use crate::wire::http::RequestHead;

/// A core's channel to the ops core. Cheap to clone; never blocks.
#[derive(Clone, Debug)]
pub struct OpsHandle {
    notices: Sender<Notice>,
    resolve: Sender<Question>,
    rest: Sender<Question>,
    /// By [`Venue`].
    lists: Vec<Sender<Question>>,
    slowest: Sender<SlowUpdates>,
}

impl OpsHandle {
    /// Queues a line for the log, without a system call. `Err`: the queue is full; the caller drops
    /// and counts the line.
    pub fn notify(&self, notice: Notice) -> Result<(), Notice> {
        self.notices.try_send(notice).map_err(TrySendError::into_inner)
    }

    /// Returns whether there is room for [`Self::show_slowest`].
    pub fn takes_slowest(&self) -> bool {
        !self.slowest.is_full()
    }

    /// Queues the fan-out's slowest updates of the last period. Without room they are lost.
    pub fn show_slowest(&self, updates: SlowUpdates) {
        let _shown = self.slowest.try_send(updates);
    }

    /// A question from the shard with this index; the answer comes over its [`workers::ShardLink`].
    /// `Err`: the queue is full; the caller asks again later.
    pub fn ask(&self, shard: usize, request: OpsRequest) -> Result<(), OpsRequest> {
        let queue = match &request {
            OpsRequest::Resolve { .. } => &self.resolve,
            OpsRequest::Rest(_) => &self.rest,
            OpsRequest::List { market, .. } => &self.lists[market.venue() as usize],
        };
        queue.try_send((shard, request)).map_err(|error| error.into_inner().1)
    }
}

/// The ops core before it runs: its port is bound and its queues are open.
#[derive(Debug)]
pub struct Ops {
    listener: Option<TcpListener>,
    pub(crate) notices: Receiver<Notice>,
    pub(crate) resolve: Receiver<Question>,
    pub(crate) rest: Receiver<Question>,
    pub(crate) lists: Vec<Receiver<Question>>,
    slowest: Receiver<SlowUpdates>,
}

impl Ops {
    /// Opens the queues. `listener`, if there is one, must be non-blocking.
    pub fn new(listener: Option<std::net::TcpListener>) -> (Self, OpsHandle) {
        let (notices_in, notices) = bounded(NOTICES_MAX);
        let (resolve_in, resolve) = bounded(OPS_REQUESTS_MAX);
        let (rest_in, rest) = bounded(OPS_REQUESTS_MAX);
        let (lists_in, lists) = Venue::ALL.map(|_| bounded(OPS_REQUESTS_MAX)).into_iter().unzip();
        let (slowest_in, slowest) = bounded(SLOWEST_WAITING_MAX);
        let handle = OpsHandle {
            notices: notices_in,
            resolve: resolve_in,
            rest: rest_in,
            lists: lists_in,
            slowest: slowest_in,
        };
        let listener = listener.map(TcpListener::from_std);
        (Self { listener, notices, resolve, rest, lists, slowest }, handle)
    }

    /// The address that is served, with the port that the system chose; `None` if disabled.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Starts the thread `ops` and its workers.
    ///
    /// Errors: a thread or an epoll instance cannot be created, here or for a worker.
    pub fn spawn(self, setup: OpsSetup) -> io::Result<OpsThread> {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, workers_stop) = bounded::<()>(0);
        let workers = WorkersSetup {
            resolve: self.resolve,
            rest: self.rest,
            lists: self.lists,
            stop: workers_stop,
            shards: setup.shards.clone().into(),
            clock: setup.clock,
            pauses: Arc::clone(&setup.pauses),
        };
        let mut server = OpsServer::new(self.listener, self.notices, self.slowest, setup)?;
        let stopped = Arc::clone(&stop);
        let (report, started) = bounded(1);
        let thread = thread::Builder::new().name("ops".into()).spawn(move || {
            lower_priority(server.setup.config.ops_cpu);
            // Started from here: workers inherit the priority and the CPU.
            let (config, rest_max) = (&server.setup.config, server.setup.rest_max);
            let workers = workers::spawn(&workers, config, rest_max, &server.setup.tls);
            let is_whole = workers.is_ok();
            let _awaited = report.send(workers);
            if is_whole {
                server.run(&stopped);
            }
            drop(until);
        })?;
        started.recv().unwrap_or_else(|_| Err(io::Error::other("it ended at once")))?;
        Ok(OpsThread { stop, thread })
    }
}

/// The running ops core.
#[derive(Debug)]
pub struct OpsThread {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl OpsThread {
    /// Writes the queued notices to the log, closes the port and ends the thread. REST requests
    /// under way are abandoned.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!("the ops core has panicked");
        }
    }
}

/// Nice 19 for this thread (on Linux, `nice` is per thread). SCHED_BATCH would need `unsafe`:
/// rustix does not offer it, and at nice 19 it changes next to nothing.
fn lower_priority(cpu: Option<usize>) {
    if let Err(error) = rustix::process::nice(19) {
        tracing::warn!("the ops core keeps its priority: {error}");
    }
    if let Some(id) = cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        tracing::warn!("the ops core cannot be pinned to CPU {id} and floats");
    }
}

struct Client {
    socket: TcpStream,
    http: HttpConnection,
}

/// The thread's own state.
struct OpsServer {
    poll: Poll,
    listener: Option<TcpListener>,
    clients: HashMap<Token, Client>,
    next_token: usize,
    /// Connections with work left at the end of their turn: no event announces them.
    unfinished: Vec<Token>,
    notices: Receiver<Notice>,
    dedup: LogDedup,
    denials: Denials,
    handovers: Receiver<SlowUpdates>,
    slowest: Slowest,
    /// `None` for simulated exchanges inside the process: their usage is not recorded.
    usage: Option<UsageFile>,
    /// Whether a wait for events has failed: it is logged once.
    has_lost_events: bool,
    watchdog: Option<Watchdog>,
    slack: Slack,
    setup: OpsSetup,
    scratch: Vec<u8>,
}

const LISTENER: Token = Token(0);

impl OpsServer {
    fn new(
        mut listener: Option<TcpListener>,
        notices: Receiver<Notice>,
        handovers: Receiver<SlowUpdates>,
        setup: OpsSetup,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        if let Some(listener) = &mut listener {
            poll.registry().register(listener, LISTENER, Interest::READABLE)?;
        }
        Ok(Self {
            poll,
            listener,
            clients: HashMap::new(),
            next_token: 1,
            unfinished: Vec::new(),
            notices,
            dedup: LogDedup::default(),
            denials: Denials::default(),
            handovers,
            slowest: Slowest::default(),
            usage: (!setup.config.simulate)
                .then(|| UsageFile::new(&setup.config.log_dir, setup.clock.now())),
            has_lost_events: false,
            watchdog: Watchdog::asked_for(),
            slack: Slack::new(setup.clock.now()),
            setup,
            scratch: vec![0; 16 * 1024],
        })
    }

    fn run(&mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(OPS_CONNECTIONS_MAX);
        while !stop.load(Ordering::Acquire) {
            let polled = self.poll.poll(&mut events, Some(self.patience()));
            self.note_poll(polled, thread::park_timeout);
            self.turn(&events);
        }
        let now = self.setup.clock.now();
        self.log_notices(now);
        self.dedup.flush(None, &mut write_line);
    }

    /// Serves the connections that `events` name, then does everything that is due.
    fn turn(&mut self, events: &Events) {
        let now = self.setup.clock.now();
        self.handovers.try_iter().for_each(|updates| self.slowest.take(updates));
        self.slowest.forget(now.mono);
        for token in std::mem::take(&mut self.unfinished) {
            self.serve(token, now);
        }
        for event in events {
            self.serve(event.token(), now);
        }
        if self.setup.lifecycle.is_handed_over() {
            // The successor answers the connections that wait there.
            self.listener = None;
        }
        // In every turn, not only after an event: after EMFILE no new event would come.
        self.accept(now);
        self.expire(now);
        self.log_notices(now);
        if let Some(usage) = &mut self.usage {
            usage.look(&self.setup.metrics, now);
        }
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.look(&self.setup.metrics, now);
        }
        self.slack.look(now);
    }

    /// If waiting for events fails, the core goes on: after a pause it serves every connection. The
    /// log, the metrics and `/health` are needed most when something is broken.
    fn note_poll(&mut self, polled: io::Result<()>, pause: impl FnOnce(Duration)) {
        let error = match polled {
            Err(error) if error.kind() != ErrorKind::Interrupted => error,
            _ => return,
        };
        if !std::mem::replace(&mut self.has_lost_events, true) {
            tracing::error!(
                "the ops core cannot wait for events: {error}; it looks at every connection \
                 instead, at least every {OPS_TURN_MAX:?}"
            );
        }
        self.unfinished = self.clients.keys().copied().collect();
        pause(OPS_TURN_MAX);
    }

    /// How long to wait for events.
    fn patience(&self) -> Duration {
        let watchdog = self.watchdog.as_ref().map_or(OPS_TURN_MAX, Watchdog::patience);
        if self.unfinished.is_empty() { OPS_TURN_MAX.min(watchdog) } else { Duration::ZERO }
    }

    fn accept(&mut self, now: Now) {
        for _ in 0..OPS_CONNECTIONS_MAX {
            let Some(Ok((mut socket, _))) = self.listener.as_ref().map(TcpListener::accept) else {
                return;
            };
            if self.clients.len() >= self.setup.connections_max {
                self.evict();
            }
            let token = Token(self.next_token);
            self.next_token += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut socket, token, interest).is_ok() {
                let _ = socket.set_nodelay(true);
                self.clients.insert(token, Client { socket, http: HttpConnection::new(now) });
                self.serve(token, now);
            }
        }
    }

    /// Makes room: closes the connection with the earliest deadline.
    fn evict(&mut self) {
        let first = self.clients.iter().min_by_key(|(_, client)| client.http.deadline());
        if let Some(token) = first.map(|(token, _)| *token) {
            self.clients.remove(&token);
        }
    }

    fn expire(&mut self, now: Now) {
        let due = |(token, client): (&Token, &Client)| {
            (client.http.deadline() <= now.mono).then_some(*token)
        };
        let late: Vec<_> = self.clients.iter().filter_map(due).collect();
        for token in late {
            if let Some(client) = self.clients.get_mut(&token) {
                client.http.expire(now);
            }
            self.serve(token, now);
        }
    }

    /// Reads and writes until the socket or the connection wants no more.
    fn serve(&mut self, token: Token, now: Now) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let (setup, slowest, denials) = (&self.setup, &self.slowest, &self.denials);
        let pumped = client
            .pump(&mut self.scratch, now, &mut |head| route(head, setup, (slowest, denials), now));
        match pumped {
            Ok(_) if client.http.is_closed() => drop(self.clients.remove(&token)),
            Ok(Pumped::Waiting) => {}
            Ok(Pumped::Unfinished) => self.unfinished.push(token),
            Err(_) => drop(self.clients.remove(&token)),
        }
    }

    fn log_notices(&mut self, now: Now) {
        for _ in 0..NOTICES_MAX {
            let Ok(notice) = self.notices.try_recv() else { break };
            self.denials.note(&notice);
            self.dedup.take(notice, now.mono, &mut write_line);
        }
        self.dedup.flush(Some(now.mono), &mut write_line);
        let dropped = self.setup.metrics.notices_dropped();
        if let Some(count) = self.dedup.newly_dropped(dropped, now.mono) {
            tracing::warn!("{count} notices were dropped: they came faster than they were written");
        }
    }
}

/// How the turn of a connection ended.
enum Pumped {
    /// The socket or the connection wants no more for now.
    Waiting,
    /// The turn was over first.
    Unfinished,
}

impl Client {
    /// Bounded: a peer that sends without end does not keep the others waiting.
    fn pump(
        &mut self,
        scratch: &mut [u8],
        now: Now,
        route: &mut dyn FnMut(&RequestHead<'_>) -> Response,
    ) -> io::Result<Pumped> {
        for _ in 0..PUMP_ROUNDS_MAX {
            while !self.http.output().is_empty() {
                match self.socket.write(self.http.output()) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(count) => self.http.written(count, now, route),
                    Err(error) => return would_block(error),
                }
            }
            if self.http.wants_fin() {
                self.socket.shutdown(Shutdown::Write)?;
                self.http.fin_sent(now);
            }
            if !self.http.wants_input() {
                return Ok(Pumped::Waiting);
            }
            match self.socket.read(scratch) {
                Ok(0) => self.http.peer_finished(),
                Ok(count) => self.http.receive(&scratch[..count], now, route),
                Err(error) => return would_block(error),
            }
        }
        Ok(Pumped::Unfinished)
    }
}

fn would_block(error: io::Error) -> io::Result<Pumped> {
    match error.kind() {
        ErrorKind::WouldBlock => Ok(Pumped::Waiting),
        ErrorKind::Interrupted => Ok(Pumped::Unfinished),
        _ => Err(error),
    }
}

const ROUTES: &str = "/               a page that shows all this, and candles of the clients' port
/health         whether every core is alive
/ready          whether clients are served and every subscription has a live session
/metrics        Prometheus text, or OpenMetrics where Accept asks for it
/debug/slowest  the slowest updates of the last minute, hop by hop
/api/state      what the page shows, as JSON
/licenses       of what others wrote in the page
";

/// The answer to one request. The method is checked first, because a wrong method is wrong on every
/// path.
fn route(
    head: &RequestHead<'_>,
    setup: &OpsSetup,
    (slowest, denials): (&Slowest, &Denials),
    now: Now,
) -> Response {
    match head.method {
        "GET" | "HEAD" => {}
        "POST" | "PUT" | "DELETE" | "OPTIONS" | "TRACE" | "PATCH" | "CONNECT" => {
            let refused = Response::text(405, "only GET and HEAD are served here\n");
            return Response { allow: Some("GET, HEAD"), ..refused };
        }
        _ => return Response::text(501, "only GET and HEAD are served here\n"),
    }
    let hosts = head.values("host").map(|host| std::str::from_utf8(host).unwrap_or(""));
    if !setup.hosts.admit(hosts) {
        return Response::text(403, format!("{HOST_REFUSED}\n"));
    }
    match head.path {
        "/health" => report(health::health(&setup.metrics, now)),
        "/debug/slowest" => json(200, slowest.body(now)),
        "/ready" => {
            let denied = |market| denials.of(market, &setup.pauses, now.mono);
            report(health::ready_with(&setup.metrics, now, setup.lifecycle.phase(), denied))
        }
        "/metrics" => {
            let accept = head.values("accept").map(String::from_utf8_lossy);
            let format = render::Format::accepted(&accept.collect::<Vec<_>>().join(","));
            let body = render::render(&setup.metrics, figures::read().as_ref(), format);
            Response { content_type: format.content_type(), ..Response::text(200, body) }
        }
        "/" => dashboard::page(head, &setup.config, setup.client_port),
        "/api/state" => json(200, api_state::body(setup, denials, now)),
        "/licenses" => Response::text(200, dashboard::LICENSES),
        _ => Response::text(404, format!("not found; here are:\n{ROUTES}")),
    }
}

fn report(report: health::Report) -> Response {
    json(if report.ok { 200 } else { 503 }, report.body)
}

fn json(status: u16, body: String) -> Response {
    Response { content_type: "application/json", ..Response::text(status, body) }
}

/// Most rounds of reading and writing for one connection in its turn.
const PUMP_ROUNDS_MAX: usize = 64;

#[cfg(test)]
mod tests;
