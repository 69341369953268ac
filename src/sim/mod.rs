//! The simulated exchanges: real loopback sockets, a seeded market that knows the true candle of
//! every minute, and named faults. Shares the market's vocabulary with the connector and no code
//! that reads or writes the wire, so that the two check each other.
//!
//! ```text
//!  market ──> exchange (subscriptions, limits, pushes) ──┐
//!  playback ──^      ^── faults      rest, info ─────────┼── server: mio, one thread
//! ```
//!
//! Modules in reading order:

mod delivery;
mod listed;
pub mod market;
pub mod time;
pub mod windows;

pub mod profile;

pub mod amounts;
pub mod frames;
pub mod venue;

pub mod faults;
pub mod playback;

pub mod exchange;
pub mod stream;

pub mod rest;

mod client;
pub mod http;
mod server;
mod socket;
pub mod tls;

mod options;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use mio::Waker;
use mio::net::TcpListener;

use crate::clock::Clock;
use crate::config::Config;
use crate::market::{ContractType, Market, Venue};
use crate::wire::Endpoint;

use self::exchange::{Address, Exchange};
use self::market::SimMarket;
pub use self::options::{Playback, SimOptions};
use self::profile::profiles;
use self::server::Server;
use self::time::SimTime;

/// Why the simulator could not start.
#[derive(Debug)]
pub enum SimError {
    /// A port could not be bound: taken, or not allowed.
    Bind(SocketAddr, io::Error),
    /// The thread, its poll or its waker could not be made.
    Thread(io::Error),
    /// No certificate could be made.
    Tls(String),
    /// The authority's certificate could not be written, or a capture not be read.
    File(PathBuf, io::Error),
    /// This line (from 1) of the capture is no JSON.
    Playback(PathBuf, usize),
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Thread(error) => write!(f, "cannot start the simulator's thread: {error}"),
            Self::Tls(error) => write!(f, "cannot make a certificate: {error}"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Playback(path, line) => {
                write!(f, "{}: line {line} is no JSON", path.display())
            }
        }
    }
}

impl std::error::Error for SimError {}

/// A running simulator. Stops when it is dropped.
#[derive(Debug)]
pub struct Simulator {
    addresses: Vec<SocketAddr>,
    ca_pem: Option<String>,
    ca_file: Option<PathBuf>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Binds 127.0.0.1, one port per market, and serves from a thread of its own.
///
/// # Errors
/// [`SimError`]; nothing is left running then.
pub fn start(options: SimOptions) -> Result<Simulator, SimError> {
    let identity = options.tls.then(|| tls::identity(&options.tls_names)).transpose();
    let identity = identity.map_err(SimError::Tls)?;
    let (config, ca_pem) = identity.map(|made| (made.config, made.ca_pem)).unzip();
    let ca_file = options.tls_ca_out.clone().filter(|_| ca_pem.is_some());
    if let (Some(path), Some(pem)) = (&ca_file, &ca_pem) {
        std::fs::write(path, pem).map_err(|error| SimError::File(path.clone(), error))?;
    }
    let listeners = options.ports.iter().map(|&port| bind(port)).collect::<Result<_, _>>()?;
    let (listeners, addresses) = addresses(listeners)?;
    let clock = Clock::new();
    let exchanges = exchanges(&options, SimTime::new(clock.now(), options.time_scale))?;
    let stop = Arc::new(AtomicBool::new(false));
    let (server, waker) =
        Server::new(listeners, exchanges, config, clock, stop.clone()).map_err(SimError::Thread)?;
    let thread = std::thread::Builder::new()
        .name("sim".to_owned())
        .spawn(|| server.run())
        .map_err(SimError::Thread)?;
    Ok(Simulator { addresses, ca_pem, ca_file, stop, waker, thread: Some(thread) })
}

/// Starts the simulated exchanges inside this process and points `config` at them.
///
/// # Errors
/// As [`start`].
pub fn simulate(config: &mut Config) -> Result<Simulator, SimError> {
    let simulator = start(SimOptions::default())?;
    for (market, endpoints) in Market::all().zip(&mut config.endpoints) {
        endpoints.ws_url = Endpoint::parse(&simulator.ws_url(market)).expect("an URL of our own");
        endpoints.rest_url = simulator.rest_url(market);
    }
    Ok(simulator)
}

fn addresses(listeners: Vec<TcpListener>) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), SimError> {
    let address = |listener: &TcpListener| {
        listener.local_addr().map_err(|error| SimError::Bind(any_port(0), error))
    };
    let addresses = listeners.iter().map(address).collect::<Result<_, _>>()?;
    Ok((listeners, addresses))
}

fn bind(port: u16) -> Result<TcpListener, SimError> {
    let address = any_port(port);
    TcpListener::bind(address).map_err(|error| SimError::Bind(address, error))
}

fn any_port(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn exchanges(options: &SimOptions, time: SimTime) -> Result<Vec<Exchange>, SimError> {
    let mut addresses: Vec<Arc<Mutex<Address>>> = Vec::new();
    let mut exchanges = Vec::new();
    for profile in profiles() {
        let market = profile.market;
        let playback = options.playback.as_ref().filter(|playback| playback.market == market);
        let messages = playback.map(|playback| playback.load()).transpose()?;
        // Binance counts for each of its hosts, the others for all they have.
        let first = Market::of(market.venue()).next().unwrap_or(market);
        let shared = if market.venue() == Venue::Binance { market } else { first };
        let address = addresses.get(shared.index()).cloned().unwrap_or_default();
        addresses.push(address.clone());
        let settings = options.settings(&profile, messages);
        let candles = SimMarket::new(options.seed, market, options.symbols_extra);
        exchanges.push(Exchange::new(profile, candles, settings, time, address));
    }
    Ok(exchanges)
}

impl Simulator {
    /// The variables that point a connector at this simulator: a WebSocket and a REST URL per
    /// contract type, and the file with the authority's certificate if one was written.
    pub fn env(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        for market in Market::all() {
            let name = format!("{}_{}", market.venue().name(), market.contract_type().name());
            let name = name.to_uppercase();
            lines.push((format!("CONNECTOR_{name}_WS_URL"), self.ws_url(market)));
            lines.push((format!("CONNECTOR_{name}_REST_URL"), self.rest_url(market)));
        }
        if let Some(path) = &self.ca_file {
            lines.push(("CONNECTOR_TLS_CA_FILE".to_owned(), path.display().to_string()));
        }
        lines
    }

    /// The WebSocket base URL of `market`, to which the venue's paths are appended.
    pub fn ws_url(&self, market: Market) -> String {
        let scheme = if self.ca_pem.is_some() { "wss" } else { "ws" };
        let is_usdm = market.contract_type() == ContractType::Usdm;
        let route = if market.venue() == Venue::Binance && is_usdm { "/market" } else { "" };
        format!("{scheme}://{}{route}", self.address(market))
    }

    /// The REST base URL of `market`, to which the venue's paths are appended.
    pub fn rest_url(&self, market: Market) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address(market))
    }

    /// Where `market` is listened for.
    pub fn address(&self, market: Market) -> SocketAddr {
        self.addresses[market.index()]
    }

    /// The authority's certificate, PEM, if TLS is on.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Whether it still serves; it ends by itself only where the system refuses to poll.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Drops every connection and waits for the thread to end.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.stop.store(true, Ordering::Release);
        // A failed wake-up costs half a second, no more: the server never waits longer.
        self.waker.wake().ok();
        thread.join().ok();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.end();
    }
}
