//! Puts the cores together: binds, joins them with rings and channels, starts the executors, and
//! ends them in order. Owns start and stop; what runs in between is [`crate::cores::duty`]'s.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustls::ClientConfig;

use crate::clock::Clock;
use crate::config::{Config, Host, Proxies};
use crate::cores::duty::Duty;
use crate::cores::fanout::{FanoutCore, FanoutLinks};
use crate::cores::ledger::{Ledger, LedgerPort, LedgerThread};
use crate::cores::machine::doorbell::Doorbell;
use crate::cores::machine::executor::{Executor, Runtime};
use crate::cores::machine::open_files::{self, Division};
use crate::cores::machine::topology::{self, ExecutorPlan, Topology, TopologyError, Wishes};
use crate::cores::machine::wait::Waiter;
use crate::cores::ops::setup::OpsSetup;
use crate::cores::ops::workers::ShardLink;
use crate::cores::ops::{Ops, OpsHandle, OpsThread, usage_log};
use crate::cores::process::credentials::{self, Reloader, Renewal};
use crate::cores::process::listen_error::ListenError;
use crate::cores::process::listeners::{Inherited, Listeners};
use crate::cores::process::remedy;
use crate::cores::process::shutdown::Shutdown;
pub use crate::cores::process::start_error::StartError;
use crate::cores::process::takeover::{Handover, Predecessor};
use crate::cores::shard::{ShardCore, ShardLinks};
use crate::fanout::{ANY_ORIGIN, Access, DrainKind, Fanout, FanoutConfig};
use crate::feed::{Feed, FeedConfig, Pauses};
use crate::health::{self, Lifecycle, Phase};
use crate::limits::{
    COMMANDS_MAX, FEED_EVENTS_MAX, OPS_REQUESTS_MAX, REFUSALS_MAX, RENEWALS_MAX, RING_SLOTS,
    TAKEOVER_WARM_UP,
};
use crate::market::{Instrument, Interval, Market};
use crate::messages::{Command, FeedEvent, MarketEvent, OpsAnswer, Tails};
use crate::metrics::{CoreMetrics, FanoutMetrics, LedgerMetrics, Metrics, ShardMetrics};
use crate::rng::GOLDEN;
use crate::venue;
use crate::wire::host::Hosts;
use crate::wire::tls;

/// A running server.
pub struct Server {
    /// Where clients connect.
    pub client_address: SocketAddr,
    /// Where health and metrics are served, if they are.
    pub ops_address: Option<SocketAddr>,
    /// What runs where.
    pub topology: Topology,
    stopper: Stopper,
    renewals: Sender<Renewal>,
    fanout_bell: Arc<Doorbell>,
    executors: Vec<Executor>,
    ledger: Option<LedgerThread>,
    ops: OpsThread,
}

/// Asks a running [`Server`] to stop, from any thread.
#[derive(Clone)]
pub struct Stopper {
    shutdown: Arc<Shutdown>,
    lifecycle: Arc<Lifecycle>,
    drain_kind: DrainKind,
}

impl Stopper {
    /// Begins the drain: `/ready` reports draining from now on, and clients get a notice and are
    /// closed.
    pub fn stop(&self) {
        self.lifecycle.draining();
        self.shutdown.request(self.drain_kind);
    }

    /// Another server serves at both ports: asks the clients to move there.
    fn hand_over(&self) {
        self.lifecycle.handed_over();
        self.shutdown.request(DrainKind::Succeeded);
    }
}

impl Server {
    /// Starts every core by `config`. All cores read clocks of `clock`'s origin.
    pub fn start(config: &Config, clock: Clock) -> Result<Self, StartError> {
        Self::start_serving(config, clock, Inherited::none(), None)
    }

    /// As [`Self::start`], with the sockets that a supervisor has passed, if any.
    pub fn start_on(
        inherited: Inherited,
        config: &Config,
        clock: Clock,
    ) -> Result<Self, StartError> {
        Self::start_serving(config, clock, inherited, None)
    }

    /// As [`Self::start`], but every client receives its own messages, up to `message_bytes_max`
    /// each, instead of candles. For conformance suites. The listener, its deadlines and its limits
    /// are the same.
    pub fn start_echo(
        config: &Config,
        clock: Clock,
        message_bytes_max: usize,
    ) -> Result<Self, StartError> {
        Self::start_serving(config, clock, Inherited::none(), Some(message_bytes_max))
    }

    fn start_serving(
        config: &Config,
        clock: Clock,
        inherited: Inherited,
        echo_bytes_max: Option<usize>,
    ) -> Result<Self, StartError> {
        let topology = plan_cpus(config).map_err(StartError::Topology)?;
        let tls = tls_config(config)?;
        let access = credentials::access(config).map_err(StartError::Credentials)?;
        let listeners = Listeners::open(config, inherited).map_err(StartError::Listen)?;
        let client_address = local_addr(&listeners.clients)?;
        let access = Access { hosts: hosts(config, client_address.ip()), ..access };
        let handover = handover(config, &listeners).map_err(StartError::Listen)?;
        let Listeners { clients, ops, predecessor, drain_kind } = listeners;
        let files = divide_files(config, &topology);
        let (ops, ops_handle) = Ops::new(ops);
        let ops_address = ops.local_addr();
        let mut plan = Wiring::new(config, access, clock, &topology, &tls, ops_handle)?;
        plan.files = files;
        plan.echo_bytes_max = echo_bytes_max;
        let lifecycle = Arc::new(Lifecycle::default());
        let metrics = Arc::new(plan.metrics(&topology));
        let setup = OpsSetup {
            config: Arc::new(config.clone()),
            metrics: Arc::clone(&metrics),
            lifecycle: Arc::clone(&lifecycle),
            clock,
            shards: plan.shard_links(),
            pauses: Arc::clone(&plan.pauses),
            tls,
            hosts: ops_address.map_or(Hosts::ANY, |address| hosts(config, address.ip())),
            client_port: client_address.port(),
            connections_max: files.ops,
            rest_max: files.rest,
        };
        let ledger = match echo_bytes_max {
            Some(_) => None,
            None => plan.start_ledger(predecessor.is_some())?,
        };
        let ops = ops.spawn(setup).map_err(|error| executor_error("the ops core", &error))?;
        let shutdown = Arc::clone(&plan.shutdown);
        let stopper = Stopper { shutdown, lifecycle, drain_kind };
        let (renewals, fanout_bell) = (plan.renewals.0.clone(), Arc::clone(&plan.fanout_bell));
        let executors = plan.spawn_all(&topology, clients)?;
        stopper.lifecycle.serving();
        let server = Self {
            client_address,
            ops_address,
            topology,
            stopper,
            renewals,
            fanout_bell,
            executors,
            ledger,
            ops,
        };
        if predecessor.is_some() {
            warm_up(config, &metrics, clock);
        }
        if let Err(error) = server.succeed(predecessor, handover) {
            server.stopper.stop();
            server.join();
            return Err(error);
        }
        Ok(server)
    }

    /// Lets the predecessor stop, and accepts a successor from then on.
    fn succeed(
        &self,
        predecessor: Option<Predecessor>,
        handover: Option<Handover>,
    ) -> Result<(), StartError> {
        if let Some(predecessor) = predecessor {
            predecessor.relieve().map_err(|error| {
                // The predecessor continues to serve. Clients that are already here are asked to
                // move there.
                self.stopper.hand_over();
                StartError::Listen(error)
            })?;
        }
        let Some(handover) = handover else { return Ok(()) };
        let stopper = self.stopper();
        let opened = handover.open(move || stopper.hand_over());
        opened.map_err(|error| executor_error("the takeover thread", &error))
    }

    /// A handle that stops this server.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// A handle that reads the certificate and tokens of this server again, from the files in
    /// `config`.
    pub fn reloader(&self, config: &Config) -> Reloader {
        Reloader::new(config.clone(), self.renewals.clone(), Arc::clone(&self.fanout_bell))
    }

    /// Waits until the server was stopped and has drained.
    pub fn join(self) {
        for executor in self.executors {
            if let Err(error) = executor.join() {
                tracing::error!("an executor ended with an error: {error}");
            }
        }
        // The fan-out core has put everything into its ring.
        if let Some(ledger) = self.ledger {
            ledger.stop();
        }
        self.ops.stop();
    }
}

/// The ends of every ring and channel, until their cores take them.
struct Wiring {
    config: Config,
    access: Access,
    clock: Clock,
    tls: Arc<ClientConfig>,
    ops: OpsHandle,
    /// One for all shards and workers, because exchanges count by address.
    pauses: Arc<Pauses>,
    shutdown: Arc<Shutdown>,
    /// One per executor.
    bells: Vec<Arc<Doorbell>>,
    cores: Vec<Arc<CoreMetrics>>,
    fanout_bell: Arc<Doorbell>,
    fanout_metrics: Arc<FanoutMetrics>,
    ledger_metrics: Arc<LedgerMetrics>,
    /// The fan-out core's part of the ledger, until that core takes it.
    ledger: Option<(LedgerPort, Tails)>,
    events: (Sender<FeedEvent>, Receiver<FeedEvent>),
    renewals: (Sender<Renewal>, Receiver<Renewal>),
    /// One per shard.
    shards: Vec<ShardEnds>,
    /// As in [`Server::start_echo`].
    echo_bytes_max: Option<usize>,
    files: Division,
}

struct ShardEnds {
    metrics: Arc<ShardMetrics>,
    bell: Arc<Doorbell>,
    commands: (Sender<Command>, Receiver<Command>),
    answers: (Sender<OpsAnswer>, Receiver<OpsAnswer>),
    producer: Option<rtrb::Producer<MarketEvent>>,
    consumer: Option<rtrb::Consumer<MarketEvent>>,
}

impl Wiring {
    fn new(
        config: &Config,
        access: Access,
        clock: Clock,
        topology: &Topology,
        tls: &Arc<ClientConfig>,
        ops: OpsHandle,
    ) -> Result<Self, StartError> {
        let bell = || Doorbell::new().map(Arc::new);
        let bells = topology.executors.iter().map(|_| bell()).collect::<Result<Vec<_>, _>>();
        let bells = bells.map_err(|error| executor_error("the doorbells", &error))?;
        let at_shard = |shard| topology.executors.iter().position(|e| e.shards.contains(&shard));
        let at_fanout = topology.executors.iter().position(|executor| executor.fanout);
        let fanout_bell = Arc::clone(&bells[at_fanout.expect("every plan runs the fan-out")]);
        let shards = (0..topology.shards()).map(|shard| {
            ShardEnds::new(Arc::clone(&bells[at_shard(shard).expect("every plan runs each shard")]))
        });
        Ok(Self {
            config: config.clone(),
            access,
            clock,
            tls: Arc::clone(tls),
            ops,
            pauses: Arc::default(),
            shutdown: Arc::new(Shutdown::new(Arc::clone(&fanout_bell))),
            cores: bells.iter().map(|_| Arc::default()).collect(),
            fanout_metrics: Arc::default(),
            ledger_metrics: Arc::default(),
            ledger: None,
            events: bounded(FEED_EVENTS_MAX),
            renewals: bounded(RENEWALS_MAX),
            shards: shards.collect(),
            fanout_bell,
            bells,
            echo_bytes_max: None,
            files: Division::UNBOUNDED,
        })
    }

    fn metrics(&self, topology: &Topology) -> Metrics {
        let names = topology.executors.iter().map(ExecutorPlan::name);
        Metrics {
            shards: self.shards.iter().map(|shard| Arc::clone(&shard.metrics)).collect(),
            fanout: Arc::clone(&self.fanout_metrics),
            ledger: Arc::clone(&self.ledger_metrics),
            cores: names.zip(self.cores.iter().map(Arc::clone)).collect(),
        }
    }

    /// Opens the ledger and starts its thread, if one is configured.
    fn start_ledger(&mut self, takes_over: bool) -> Result<Option<LedgerThread>, StartError> {
        let ledger = Ledger::start(
            &self.config,
            self.clock,
            &self.ledger_metrics,
            Arc::clone(&self.fanout_bell),
            takes_over,
        );
        let ledger = ledger.map_err(|error| executor_error("the ledger's thread", &error))?;
        Ok(ledger.map(|Ledger { thread, port, tails }| {
            self.ledger = Some((port, tails));
            thread
        }))
    }

    fn shard_links(&self) -> Vec<ShardLink> {
        let link = |shard: &ShardEnds| {
            let bell = Arc::clone(&shard.bell);
            ShardLink { answers: shard.answers.0.clone(), wake: Arc::new(move || bell.ring()) }
        };
        self.shards.iter().map(link).collect()
    }

    /// Starts every executor. The one that runs the fan-out accepts `clients`.
    fn spawn_all(
        &mut self,
        topology: &Topology,
        clients: TcpListener,
    ) -> Result<Vec<Executor>, StartError> {
        let (runtime, mut clients) = (choose_runtime(), Some(clients));
        let spawn = |(at, executor): (usize, &ExecutorPlan)| {
            let listener = if executor.fanout { clients.take() } else { None };
            self.spawn(runtime, (at, executor), listener)
        };
        topology.executors.iter().enumerate().map(spawn).collect()
    }

    /// Starts the executor at `at`; returns once its roles are ready.
    fn spawn(
        &mut self,
        runtime: Runtime,
        (at, plan): (usize, &ExecutorPlan),
        listener: Option<TcpListener>,
    ) -> Result<Executor, StartError> {
        let name = plan.name();
        let shards: Vec<_> = plan.shards.iter().map(|&shard| self.shard_parts(shard)).collect();
        let fanout = listener.map(|listener| self.fanout_parts(listener));
        let (bell, metrics) = (Arc::clone(&self.bells[at]), Arc::clone(&self.cores[at]));
        let (clock, mode) = (self.clock, self.config.wait);
        let (report, started) = bounded(1);
        let duty = move || async move {
            // Created on this thread, so that the memory belongs to this CPU.
            let duty = Waiter::new(mode, bell).and_then(|waiter| {
                let fanout = fanout.map(|parts| parts.build(clock, &waiter)).transpose()?;
                let shards = shards.into_iter().map(|parts| parts.build(clock)).collect();
                Ok(Duty { shards, fanout, waiter, clock, metrics })
            });
            let (duty, result) = match duty {
                Ok(duty) => (Some(duty), Ok(())),
                Err(error) => (None, Err(error)),
            };
            let _awaited = report.send(result);
            if let Some(duty) = duty {
                duty.run().await;
            }
        };
        let executor = runtime.spawn(&name, Some(plan.cpu), duty);
        let executor = executor.map_err(|error| executor_error(&name, &error))?;
        match started.recv() {
            Ok(Ok(())) => Ok(executor),
            Ok(Err(error)) => Err(executor_error(&name, &error)),
            // It ended before its first task. Joining it returns the reason.
            Err(_) => match executor.join() {
                Ok(()) => Err(executor_error(&name, &io::Error::other("it ended at once"))),
                Err(error) => Err(executor_error(&name, &error)),
            },
        }
    }

    fn shard_parts(&mut self, shard: usize) -> ShardParts {
        let shards = self.shards.len();
        let ends = &mut self.shards[shard];
        ShardParts {
            number: u16::try_from(shard).expect("at most SHARDS_MAX"),
            config: feed_config(&self.config, &self.tls, shards, self.clock, &self.pauses),
            metrics: Arc::clone(&ends.metrics),
            seed: seed(self.clock, shard),
            proxies: self.config.proxies.clone(),
            links: ShardLinks {
                ring: ends.producer.take().expect("each shard is started once"),
                fanout_bell: Arc::clone(&self.fanout_bell),
                events: self.events.0.clone(),
                commands: ends.commands.1.clone(),
                ops: self.ops.clone(),
                answers: ends.answers.1.clone(),
            },
        }
    }

    fn fanout_parts(&mut self, listener: TcpListener) -> FanoutParts {
        let consumers = self.shards.iter_mut().map(|shard| shard.consumer.take());
        let commands = |shard: &ShardEnds| (shard.commands.0.clone(), Arc::clone(&shard.bell));
        let (ledger, tails) = self.ledger.take().unzip();
        FanoutParts {
            rings: consumers.map(|ring| ring.expect("the fan-out is started once")).collect(),
            shards: self.shards.iter().map(commands).collect(),
            config: FanoutConfig {
                clients_max: self.files.clients,
                refusals_max: self.files.refusals,
                has_ledger: ledger.is_some(),
                tails: tails.unwrap_or_default(),
                ..fanout_config(&self.config, self.access.clone(), self.shards.len())
            },
            echo_bytes_max: self.echo_bytes_max,
            drain_timeout: self.config.drain_timeout,
            metrics: Arc::clone(&self.fanout_metrics),
            events: self.events.1.clone(),
            renewals: self.renewals.1.clone(),
            ops: self.ops.clone(),
            ledger,
            stop: Arc::clone(&self.shutdown),
            listener,
        }
    }
}

impl ShardEnds {
    fn new(bell: Arc<Doorbell>) -> Self {
        let (producer, consumer) = rtrb::RingBuffer::new(RING_SLOTS);
        Self {
            metrics: Arc::default(),
            bell,
            commands: bounded(COMMANDS_MAX),
            answers: bounded(OPS_REQUESTS_MAX),
            producer: Some(producer),
            consumer: Some(consumer),
        }
    }
}

/// The parts of a shard, on the way to its core.
struct ShardParts {
    number: u16,
    config: FeedConfig,
    metrics: Arc<ShardMetrics>,
    seed: u64,
    proxies: Proxies,
    links: ShardLinks,
}

impl ShardParts {
    fn build(self, clock: Clock) -> ShardCore {
        let feed = Feed::new(self.config, Arc::clone(&self.metrics), self.seed);
        ShardCore::new(self.number, feed, self.links, clock, self.metrics, self.proxies)
    }
}

/// The parts of the fan-out, on the way to its core.
struct FanoutParts {
    config: FanoutConfig,
    echo_bytes_max: Option<usize>,
    drain_timeout: std::time::Duration,
    metrics: Arc<FanoutMetrics>,
    rings: Vec<rtrb::Consumer<MarketEvent>>,
    events: Receiver<FeedEvent>,
    renewals: Receiver<Renewal>,
    shards: Vec<(Sender<Command>, Arc<Doorbell>)>,
    ops: OpsHandle,
    ledger: Option<LedgerPort>,
    stop: Arc<Shutdown>,
    listener: TcpListener,
}

impl FanoutParts {
    fn build(self, clock: Clock, waiter: &Waiter) -> io::Result<FanoutCore> {
        let mut fanout = Fanout::new(self.config, Arc::clone(&self.metrics), clock.now());
        if let Some(bytes_max) = self.echo_bytes_max {
            fanout.echo_messages(bytes_max);
        }
        let links = FanoutLinks {
            rings: self.rings,
            events: self.events,
            shards: self.shards,
            ops: self.ops,
            renewals: self.renewals,
            ledger: self.ledger,
            stop: self.stop,
        };
        let Self { metrics, listener, drain_timeout, .. } = self;
        FanoutCore::new(fanout, links, metrics, listener, drain_timeout, clock, waiter)
    }
}

/// Places every core on the CPUs of the affinity mask. Without a choice by the operator it uses at
/// most as many as the quota of the cgroup allows.
pub(crate) fn plan_cpus(config: &Config) -> Result<Topology, TopologyError> {
    let (cpus, wishes) = (usable_cpus(), wishes(config));
    if wishes != Wishes::default() {
        return topology::plan(&cpus, &wishes);
    }
    let quota = std::thread::available_parallelism().map_or(cpus.len(), usize::from);
    let chance = RandomState::new().hash_one(quota);
    topology::plan(&topology::within_quota(&cpus, quota, chance), &wishes)
}

fn usable_cpus() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mut cpus: Vec<_> = cores.into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    if cpus.is_empty() { vec![0] } else { cpus }
}

fn wishes(config: &Config) -> Wishes {
    Wishes {
        shards: config.shards,
        shard_cpus: (!config.shard_cpus.is_empty()).then(|| config.shard_cpus.clone()),
        fanout_cpu: config.fanout_cpu,
        ops_cpu: config.ops_cpu,
    }
}

pub(crate) fn tls_config(config: &Config) -> Result<Arc<ClientConfig>, StartError> {
    let Some(path) = &config.tls_ca_file else {
        return tls::client_config(None)
            .map_err(|error| executor_error("TLS", &io::Error::other(error.to_string())));
    };
    let refused = |why: String| StartError::TlsRoots { path: path.clone(), why };
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    match tls::odd_certificates(&pem) {
        0 => {}
        odd => tracing::warn!(
            "CONNECTOR_TLS_CA_FILE={}: certificates that make no sense are left out: {odd}",
            path.display()
        ),
    }
    tls::client_config(Some(&pem)).map_err(|error| refused(error.to_string()))
}

/// Chooses the runtime of the duties, and logs it if it is not glommio.
fn choose_runtime() -> Runtime {
    let (runtime, refusal) = Runtime::choose();
    if let Some(refusal) = refusal {
        tracing::warn!("{refusal}");
    }
    runtime
}

/// Divides the files that may be open, and logs a warning if they are too few for all clients.
fn divide_files(config: &Config, topology: &Topology) -> Division {
    let files = Division::now(topology.executors.len(), config);
    let (clients_max, admitted) = (config.wss_clients_max, Some(files.clients));
    if let Some(warning) = open_files::judge(open_files::limit(), clients_max, admitted) {
        tracing::warn!("{warning}");
    }
    files
}

/// The host names that are valid for a port at `address`. On loopback only the known ones are, so
/// that no web page can reach it under its own name by DNS.
fn hosts(config: &Config, address: IpAddr) -> Hosts {
    let origins = config.wss_origins.iter().map(String::as_str);
    let is_open = config.wss_origins.iter().any(|origin| origin == ANY_ORIGIN);
    if is_open || !address.to_canonical().is_loopback() {
        return Hosts::ANY;
    }
    let own = match &config.wss_host {
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name.clone(),
    };
    Hosts::local(origins.chain([own.as_str()]))
}

fn local_addr(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| executor_error("the clients' port", &error))
}

/// Waits until the instruments that are subscribed at start have live sessions, so that clients
/// that move get candles at once. It waits for at most [`TAKEOVER_WARM_UP`], because an exchange
/// may be down.
fn warm_up(config: &Config, metrics: &Metrics, clock: Clock) {
    let preloaded: usize = config.preload.iter().map(|preload| preload.symbols.len()).sum();
    let preloaded = i64::try_from(preloaded).unwrap_or(i64::MAX);
    let start = clock.mono();
    let is_warm = || {
        metrics.subscribed_instruments() >= preloaded
            && health::ready(metrics, clock.now(), Phase::Serving).ok
    };
    while !is_warm() && clock.mono().since(start) < TAKEOVER_WARM_UP {
        std::thread::park_timeout(TAKEOVER_LOOK);
    }
}

/// How often that is looked at.
const TAKEOVER_LOOK: std::time::Duration = std::time::Duration::from_millis(10);

/// The socket at which a successor may ask for the listening sockets, if there is one. A server
/// with sockets from a supervisor gives them back to the supervisor alone.
fn handover(config: &Config, listeners: &Listeners) -> Result<Option<Handover>, ListenError> {
    let Some(path) = &config.takeover_socket else { return Ok(None) };
    if listeners.drain_kind == DrainKind::Kept {
        tracing::warn!(
            "CONNECTOR_TAKEOVER_SOCKET is without effect: the supervisor holds the listening sockets"
        );
        return Ok(None);
    }
    let sockets = [Some(&listeners.clients), listeners.ops.as_ref()].into_iter().flatten();
    let handover = sockets
        .map(|socket| Ok(socket.try_clone()?.into()))
        .collect::<io::Result<Vec<_>>>()
        .and_then(|sockets| Handover::new(path, sockets));
    let failed = |error: io::Error| ListenError::Takeover {
        path: path.clone(),
        why: format!("{error}; give a path in a folder that the server may write to"),
    };
    handover.map(Some).map_err(failed)
}

pub(crate) fn feed_config(
    config: &Config,
    tls: &Arc<ClientConfig>,
    shards: usize,
    clock: Clock,
    pauses: &Arc<Pauses>,
) -> FeedConfig {
    FeedConfig {
        ws_bases: config.endpoints.iter().map(|each| each.ws_url.clone()).collect(),
        rest_bases: config.endpoints.iter().map(|each| each.rest_url.clone()).collect(),
        tls: Arc::clone(tls),
        shards,
        ping_interval: config.ws_ping_interval,
        ping_timeout: config.ws_ping_timeout,
        reconnect_delay: config.reconnect_delay,
        inactivity_timeout: config.inactivity_timeout,
        stream_idle_timeout: config.stream_idle_timeout,
        max_symbols_per_session: config.symbols_per_session_max,
        breaker_threshold: u32::try_from(config.breaker_failure_threshold).unwrap_or(u32::MAX),
        breaker_recovery: config.breaker_recovery_timeout,
        breaker_half_open_calls: u32::try_from(config.breaker_half_open_calls).unwrap_or(u32::MAX),
        gap_hold: config.gap_hold_timeout,
        pauses: Arc::clone(pauses),
        usage: match config.simulate {
            true => Vec::new(),
            false => usage_log::read(&config.log_dir, clock.now()),
        },
        closed_queue_max: config.closed_queue_max,
    }
}

pub(crate) fn fanout_config(config: &Config, access: Access, shards: usize) -> FanoutConfig {
    let carriers: Vec<usize> =
        Market::all().map(|market| venue::carriers(market, shards)).collect();
    let instruments = config.preload.iter().flat_map(|preload| {
        let instrument = |symbol: &String| Instrument {
            market: preload.market,
            symbol: symbol.as_str().into(),
            interval: Interval::default(),
        };
        preload.symbols.iter().map(instrument)
    });
    FanoutConfig {
        history_candles: config.history_candles,
        subscribe_timeout: config.wss_subscribe_timeout,
        close_linger: config.close_linger,
        client_buffer_max: config.client_buffer_max,
        clients_max: config.wss_clients_max,
        refusals_max: REFUSALS_MAX,
        ping_interval: config.wss_ping_interval.unwrap_or(config.ws_ping_interval),
        ping_timeout: config.wss_ping_timeout.unwrap_or(config.ws_ping_timeout),
        shards,
        carriers: std::array::from_fn(|index| carriers[index]),
        preload: instruments.collect(),
        tails: Tails::new(),
        has_ledger: false,
        catch_up: config.ledger_catch_up,
        access,
    }
}

/// A seed that differs between shards and between starts, so that their jitter differs.
pub(crate) fn seed(clock: Clock, shard: usize) -> u64 {
    let shard = u64::try_from(shard).unwrap_or(0);
    clock.now().unix_us.unsigned_abs().wrapping_mul(GOLDEN) ^ shard
}

pub(crate) fn executor_error(name: &str, error: &io::Error) -> StartError {
    StartError::Executor { name: name.to_owned(), why: remedy::in_words(error) }
}
