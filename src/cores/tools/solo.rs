//! The whole connector in one ordinary thread, for one reader in the same process: a shard, the
//! fan-out, and one client with a socket in memory. Its output is therefore exactly what the
//! server's clients receive. Needs no executor; opens no port, writes no file.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::clock::{Clock, MonoNs, Now};
use crate::config::{Config, Wait};
use crate::cores::machine::doorbell::Doorbell;
use crate::cores::machine::wait::{Ready, Waiter};
use crate::cores::ops::Ops;
use crate::cores::ops::workers::{self, ShardLink, WorkersSetup};
use crate::cores::process::server::{
    StartError, executor_error, fanout_config, feed_config, seed, tls_config,
};
use crate::cores::shard::{ShardCore, ShardLinks};
use crate::fanout::{Access, ClientId, Fanout, FanoutConfig, Output};
use crate::feed::Feed;
use crate::limits::{CLOSE_DRAIN, COMMANDS_MAX, FEED_EVENTS_MAX, OPS_REQUESTS_MAX, RING_SLOTS};
use crate::messages::{Command, FeedEvent, MarketEvent, Notice};
use crate::metrics::{CoreMetrics, FanoutMetrics};
use crate::wire::{Connection, Endpoint, Event};

/// A running connector of one thread.
pub struct Solo {
    shard: ShardCore,
    fanout: Fanout,
    client: ClientId,
    /// The client's side of its connection.
    line: Connection,
    ring: rtrb::Consumer<MarketEvent>,
    events: Receiver<FeedEvent>,
    commands: Sender<Command>,
    notices: Receiver<Notice>,
    waiter: Waiter,
    ready: Vec<Ready>,
    clock: Clock,
    metrics: CoreMetrics,
    heard: VecDeque<Heard>,
    /// Dropping it ends the workers.
    _workers: Sender<()>,
}

/// A message to the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message of the client protocol, one JSON object.
    Text(String),
    /// A line that the server would write to its log.
    Notice(Notice),
    /// Nothing more comes: every subscription has ended.
    Over,
}

impl Solo {
    /// Starts with the exchanges, budgets and timeouts of `config`, and sends `requests`, each a
    /// request of the client protocol.
    ///
    /// Errors: as [`crate::cores::process::server::Server::start`], but for ports and CPUs.
    pub fn start(config: &Config, clock: Clock, requests: &[String]) -> Result<Self, StartError> {
        let failed = |error: std::io::Error| executor_error("the connector", &error);
        let bell = Doorbell::new().map(Arc::new).map_err(failed)?;
        let waiter = Waiter::new(Wait::Park, Arc::clone(&bell)).map_err(failed)?;
        let config = Config { health_check_enabled: false, ..config.clone() };
        let tls = tls_config(&config)?;
        let (ops, handle) = Ops::new(None);
        let (answers_in, answers) = bounded(OPS_REQUESTS_MAX);
        let (until, stop) = bounded(0);
        let ring_bell = Arc::clone(&bell);
        let link = ShardLink { answers: answers_in, wake: Arc::new(move || ring_bell.ring()) };
        let pauses = Arc::default();
        let feed = feed_config(&config, &tls, 1, clock, &pauses);
        let setup = WorkersSetup {
            resolve: ops.resolve,
            rest: ops.rest,
            lists: ops.lists,
            stop,
            shards: Arc::from([link]),
            clock,
            pauses,
        };
        workers::spawn(&setup, &config, usize::MAX, &tls).map_err(failed)?;

        let (ring_in, ring) = rtrb::RingBuffer::new(RING_SLOTS);
        let (events_in, events) = bounded(FEED_EVENTS_MAX);
        let (commands, commands_out) = bounded(COMMANDS_MAX);
        let metrics = Arc::default();
        let feed = Feed::new(feed, Arc::clone(&metrics), seed(clock, 0));
        let links = ShardLinks {
            ring: ring_in,
            fanout_bell: bell,
            events: events_in,
            commands: commands_out,
            ops: handle,
            answers,
        };
        let shard = ShardCore::new(0, feed, links, clock, metrics, config.proxies.clone());
        let mut fanout = fanout(&config, clock.now());
        let client = fanout.handle_accepted(NOWHERE, clock.now());
        let line = Connection::client(&here(), &tls, NONCE, &[])
            .map_err(|error| failed(std::io::Error::other(error.to_string())))?;
        let mut solo = Self {
            shard,
            fanout,
            client,
            line,
            ring,
            events,
            commands,
            notices: ops.notices,
            waiter,
            ready: Vec::new(),
            clock,
            metrics: CoreMetrics::default(),
            heard: VecDeque::new(),
            _workers: until,
        };
        solo.exchange_bytes(clock.now());
        requests.iter().for_each(|request| solo.line.send_text(request));
        solo.exchange_bytes(clock.now());
        Ok(solo)
    }

    /// One turn of every part. Without work it sleeps for a few ms at most.
    pub fn turn(&mut self) {
        let now = self.clock.now();
        let mut worked = self.shard.turn(now, &self.ready, &self.waiter);
        self.ready.clear();
        worked |= self.take_events(now);
        self.exchange_bytes(now);
        self.heard.extend(self.notices.try_iter().map(Heard::Notice));
        if self.waiter.should_park(worked, now.mono) {
            self.rest(now);
        }
    }

    /// The next output for the reader; the caller drains them after every turn.
    pub fn next_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    /// Closes the sessions with a Close frame, and waits for the answers of the exchanges for at
    /// most [`CLOSE_DRAIN`].
    pub fn stop(mut self) {
        let until = self.clock.mono().after(CLOSE_DRAIN);
        let _told = self.commands.try_send(Command::Stop);
        while !self.shard.is_done() && self.clock.mono() < until {
            self.turn();
            self.heard.clear();
        }
    }

    fn take_events(&mut self, now: Now) -> bool {
        let mut worked = false;
        while let Ok(event) = self.ring.pop() {
            self.fanout.handle_market(&event, now);
            worked = true;
            if self.fanout.is_full() {
                self.exchange_bytes(now);
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.fanout.handle_feed(event, now);
            worked = true;
        }
        if self.fanout.next_deadline().is_some_and(|deadline| deadline <= now.mono) {
            self.fanout.handle_timeout(now);
            worked = true;
        }
        worked
    }

    /// Handles the outputs of the fan-out, and moves bytes between it and the client until neither
    /// side has any.
    fn exchange_bytes(&mut self, now: Now) {
        loop {
            while let Some(output) = self.fanout.poll_output() {
                self.obey(output, now);
            }
            let said = self.line.outgoing().to_vec();
            if said.is_empty() {
                return;
            }
            self.line.consume_outgoing(said.len());
            self.fanout.handle_bytes(self.client, &said, now);
        }
    }

    fn obey(&mut self, output: Output, now: Now) {
        match output {
            Output::Transmit { client } => {
                let bytes = self.fanout.outgoing(client).to_vec();
                self.fanout.consume_outgoing(client, bytes.len(), now);
                self.hear(&bytes);
            }
            Output::Close { .. } => self.heard.push_back(Heard::Over),
            Output::Command { command, .. } => {
                let sent = self.commands.try_send(command);
                assert!(sent.is_ok(), "there is room for every instrument, on and off");
            }
            Output::Notice(notice) => self.heard.push_back(Heard::Notice(*notice)),
            // The reader sends nothing more. The close reason is the last output.
            Output::ShutdownWrite { client } => self.fanout.handle_half_closed(client, now),
            // A connection in memory always has room, and there is no ledger.
            Output::Read { .. } | Output::ReadLedger(_) => {}
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let taken = self.line.handle_bytes(bytes);
        assert!(taken.is_ok(), "our own server speaks the protocol");
        while let Ok(Some(event)) = self.line.next_event() {
            if let Event::Text(text) = event {
                self.heard.push_back(Heard::Text(text.to_string()));
            }
        }
    }

    fn rest(&mut self, now: Now) {
        self.waiter.announce_park();
        if self.shard.has_mail() || !self.ring.is_empty() || !self.heard.is_empty() {
            return self.waiter.stay_awake();
        }
        let deadlines = self.shard.next_deadline().into_iter().chain(self.fanout.next_deadline());
        let deadline: Option<MonoNs> = deadlines.min();
        self.waiter.park(now.mono, deadline, &self.metrics, &mut self.ready);
    }
}

/// A fan-out of one client, which is trusted, local and never pinged.
fn fanout(config: &Config, now: Now) -> Fanout {
    let access = Access { idle_timeout: Duration::ZERO, ..Access::default() };
    let config = FanoutConfig {
        clients_max: 1,
        ping_interval: Duration::ZERO,
        preload: Vec::new(),
        ..fanout_config(config, access, 1)
    };
    Fanout::new(config, Arc::new(FanoutMetrics::default()), now)
}

/// The host name in the request of the client in memory.
fn here() -> Endpoint {
    Endpoint { tls: false, host: "localhost".to_owned(), port: 80, path: "/".to_owned() }
}

/// The address of the client in memory.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Guards proxies against confusion; there is none in memory.
const NONCE: [u8; 16] = [0; 16];
