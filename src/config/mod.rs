//! Configuration as the rest of the program wants it: typed, checked, complete. Owns the list of
//! variables; flags, environment and `.env` are merged here and nowhere else.
//!
//! Two stages: `raw` collects texts with where they came from, the rows of `table` turn them
//! into [`Config`]. The process environment is read, never changed.

mod error;
mod parse;
mod proxy;
mod raw;
mod table;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use crate::market::Market;
use crate::wire::Endpoint;

pub use error::{ConfigError, Source};
pub use proxy::{Proxies, Proxy};
pub use table::{Kind, VARIABLES, Variable, is_exchange_host};

/// How a hot core waits for work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Never parks. For isolated CPUs: lowest latency, one CPU always busy.
    Spin,
    /// Spins for at most [`crate::limits::ADAPTIVE_SPIN`] after the last work, then parks. Parks at
    /// once while most of the latest pauses between work were longer than that.
    #[default]
    Adaptive,
    /// Parks as soon as there is no work.
    Park,
}

/// The least severe log line that is written. Python's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// The normal course of things and worse.
    #[default]
    Info,
    /// Degradations and worse.
    Warning,
    /// Losses, and what a person must act on.
    Error,
    /// As [`Self::Error`]: nothing is worse than an error here.
    Critical,
}

/// How the log's lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Sentences for people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Where one market is reached. Base URLs without a slash at the end; the dialect adds its paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `ws://…` or `wss://…`.
    pub ws_url: Endpoint,
    /// `http://…` or `https://…`.
    pub rest_url: String,
}

/// Where both ports listen, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An IP address.
    Address(IpAddr),
    /// A host name; [`Config::load`] looks it up.
    Name(String),
}

/// Symbols of one market to subscribe at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preload {
    /// The market.
    pub market: Market,
    /// Symbols in the venue's spelling, at least one.
    pub symbols: Vec<String>,
}

/// Everything a user can choose. Durations are exact; the unit of a variable is in [`VARIABLES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Serve the simulated exchanges from inside this process, instead of the real ones.
    pub simulate: bool,
    /// What a user should know about what was configured, one sentence each; to be logged at start.
    pub warnings: Vec<String>,
    /// Silence of a session after which its liveness is checked.
    pub inactivity_timeout: Duration,
    /// First pause before a lost session is connected again; doubles, with jitter.
    pub reconnect_delay: Duration,
    /// Time for one REST request, from name to body.
    pub rest_timeout: Duration,
    /// Pause between our pings to an exchange.
    pub ws_ping_interval: Duration,
    /// Time for the pong.
    pub ws_ping_timeout: Duration,
    /// Time for a symbol's first message before the exchange is asked whether it knows it.
    pub stream_idle_timeout: Duration,
    /// Symbols on one session.
    pub symbols_per_session_max: usize,
    /// Failures in a row that open a breaker.
    pub breaker_failure_threshold: usize,
    /// First time for which a breaker stays open; doubles.
    pub breaker_recovery_timeout: Duration,
    /// Trials that a half-open breaker lets pass.
    pub breaker_half_open_calls: usize,
    /// Closed candles that may wait for a full ring, per shard.
    pub closed_queue_max: usize,
    /// Accepted and unused: open candles are conflated where they would have to wait.
    pub open_queue_max: usize,
    /// Accepted and unused: the watermark has no window.
    pub deduplication_window: Duration,
    /// Accepted and unused: the watermark has no entries.
    pub deduplication_entries_max: usize,
    /// Idle connections kept to the exchanges' REST interfaces.
    pub rest_pool_connections: usize,
    /// REST requests under way at once.
    pub rest_pool_max: usize,
    /// How long closed candles wait for one before them that is missing.
    pub gap_hold_timeout: Duration,
    /// Closed candles kept of each series, for `history` and `since`.
    pub history_candles: usize,
    /// The least severe log line about exchanges and their streams.
    pub log_level: LogLevel,
    /// How the log's lines are written.
    pub log_format: LogFormat,
    /// Folder of `connector.log`.
    pub log_dir: PathBuf,
    /// The file in which closed candles are stored; `None`: they are not.
    pub ledger_file: Option<PathBuf>,
    /// Days for which a stored candle is kept.
    pub ledger_days: usize,
    /// Bytes of stored candles; above it the oldest are removed.
    pub ledger_bytes_max: usize,
    /// Windows up to which a series is caught up after a start.
    pub ledger_catch_up: usize,
    /// Address or host name of both ports, as configured.
    pub wss_host: Host,
    /// Address of both ports. [`Config::load`] sets it; otherwise a host name is loopback.
    pub wss_address: IpAddr,
    /// Port for clients; 0: any free one.
    pub wss_port: u16,
    /// The least severe log line about clients and the process itself.
    pub wss_log_level: LogLevel,
    /// Time for a client's first subscription.
    pub wss_subscribe_timeout: Duration,
    /// Time for a client's opening request.
    pub wss_handshake_timeout: Duration,
    /// Time that a client without a subscription may be silent; zero: any.
    pub wss_idle_timeout: Duration,
    /// Silence of a client after which it is pinged, zero: never; `None`: as `ws_ping_interval`.
    pub wss_ping_interval: Option<Duration>,
    /// Time for its answer; `None`: as `ws_ping_timeout`.
    pub wss_ping_timeout: Option<Duration>,
    /// Clients at once.
    pub wss_clients_max: usize,
    /// Connections from one address at once; 0: any number.
    pub wss_connections_per_ip_max: usize,
    /// Series one client may subscribe.
    pub wss_subscriptions_max: usize,
    /// The pages that browsers may connect from, in lower case; `*`: any; empty: those of the host
    /// that they connect to.
    pub wss_origins: Vec<String>,
    /// File with tokens; a client must show one of them; `None`: no token is asked for.
    pub wss_tokens_file: Option<PathBuf>,
    /// PEM file with the certificate shown to clients; `None`: no TLS.
    pub wss_tls_cert_file: Option<PathBuf>,
    /// PEM file with its key; there if and only if the certificate is.
    pub wss_tls_key_file: Option<PathBuf>,
    /// Unix socket by which a successor takes the ports over; `None`: it cannot.
    pub takeover_socket: Option<PathBuf>,
    /// Port for health, readiness and metrics; 0: any free one.
    pub health_check_port: u16,
    /// Whether that port is served.
    pub health_check_enabled: bool,
    /// How long a client that closed its side still gets what it is owed.
    pub close_linger: Duration,
    /// Bytes that one client may owe before it is closed as slow.
    pub client_buffer_max: usize,
    /// Time to notify clients and to write owed frames when the server stops.
    pub drain_timeout: Duration,
    /// How hot cores wait.
    pub wait: Wait,
    /// Number of shards; `None`: planned from the CPUs.
    pub shards: Option<usize>,
    /// CPU of each shard; empty: planned.
    pub shard_cpus: Vec<usize>,
    /// CPU of the fan-out core; `None`: planned.
    pub fanout_cpu: Option<usize>,
    /// CPU of the ops core; `None`: it floats.
    pub ops_cpu: Option<usize>,
    /// What to subscribe at start.
    pub preload: Vec<Preload>,
    /// PEM file with certificates of authorities to trust beside the public ones.
    pub tls_ca_file: Option<PathBuf>,
    /// Where each market is reached, by [`Market::index`].
    pub endpoints: [Endpoints; Market::COUNT],
    /// Which proxies lead there; none does to the simulated exchanges.
    pub proxies: Proxies,
}

/// What the command line asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Serve, configured so.
    Run(Box<Config>),
    /// Ask the server that runs so whether it is healthy.
    Healthcheck(Box<Config>),
    /// Print this text to stdout and exit with 0.
    Print(String),
}

impl Config {
    /// Reads flags (`args`, the program's name first), the process environment and `.env`.
    ///
    /// Errors: a wrong flag, an unreadable env file, or a value that is not allowed.
    pub fn load(args: impl Iterator<Item = OsString>) -> Result<Action, ConfigError> {
        Self::load_from(args, std::env::vars_os())
    }

    /// As [`Self::load`], with the environment given.
    ///
    /// Errors: as [`Self::load`].
    pub fn load_from(
        args: impl Iterator<Item = OsString>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Action, ConfigError> {
        let flags = match raw::parse_flags(args)? {
            raw::Flags::Print(text) => return Ok(Action::Print(text)),
            raw::Flags::Given(flags) => flags,
        };
        let mut values = raw::Values::default();
        values.add_file(flags.env_file.as_deref())?;
        values.add_environment(environment)?;
        values.add_flags(flags.values);
        let mut config = Self::from_values(&values)?;
        config.simulate = flags.simulate;
        if config.simulate && !values.is_given("CONNECTOR_LEDGER_FILE") {
            // Simulated candles do not get among the real ones by accident.
            config.ledger_file = None;
        }
        if flags.print_config {
            return Ok(Action::Print(values.render()));
        }
        config.look_host_up(addresses_of)?;
        config.warnings.extend(config.exposure());
        if !config.simulate {
            config.proxies = Proxies::read(&values.proxies, &config.all_endpoints())?;
        }
        let config = Box::new(config);
        Ok(if flags.healthcheck { Action::Healthcheck(config) } else { Action::Run(config) })
    }

    /// The defaults, with each (name, value) of `pairs` applied as if by a flag.
    ///
    /// Errors: an unknown name, or a value that is not allowed.
    pub fn from_pairs(pairs: &[(&str, &str)]) -> Result<Self, ConfigError> {
        let mut values = raw::Values::default();
        for (name, value) in pairs {
            let variable = table::find(name).ok_or_else(|| {
                ConfigError::Arguments(format!("{name} is no variable of this program"))
            })?;
            values.add_flags(vec![(variable, (*value).to_string())]);
        }
        Self::from_values(&values)
    }

    /// Where `market` is reached.
    pub fn endpoints(&self, market: Market) -> &Endpoints {
        &self.endpoints[market.index()]
    }

    /// Every WebSocket and REST endpoint.
    fn all_endpoints(&self) -> Vec<Endpoint> {
        let rest = self.endpoints.iter().filter_map(|one| Endpoint::parse(&one.rest_url).ok());
        self.endpoints.iter().map(|one| one.ws_url.clone()).chain(rest).collect()
    }

    fn from_values(values: &raw::Values) -> Result<Self, ConfigError> {
        let mut config = Self::unset();
        for variable in VARIABLES.iter() {
            let (text, source) = values.effective(variable);
            variable.kind.store(&mut config, text).map_err(|()| ConfigError::Value {
                name: variable.name.to_string(),
                value: variable.kind.shown(text),
                source: source.clone(),
                allowed: variable.kind.allowed(),
            })?;
        }
        config.check_relations()?;
        if let Host::Address(address) = config.wss_host {
            config.wss_address = address;
        }
        config.warnings = values.warnings();
        Ok(config)
    }

    /// Looks a host name up; of its addresses the first of IPv4 counts, else the first.
    fn look_host_up(
        &mut self,
        look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>>,
    ) -> Result<(), ConfigError> {
        let Host::Name(name) = &self.wss_host else { return Ok(()) };
        let failed = |why: &dyn fmt::Display| {
            ConfigError::Relation(format!(
                "CONNECTOR_WSS_HOST={name} has no address ({why}): give a host name that this \
                 machine can look up, or an IP address, such as 127.0.0.1 or 0.0.0.0"
            ))
        };
        let addresses = look_up(name).map_err(|error| failed(&error))?;
        let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        self.wss_address = *first.ok_or_else(|| failed(&"none was found"))?;
        Ok(())
    }

    /// What no single variable can be blamed for.
    fn check_relations(&self) -> Result<(), ConfigError> {
        let (wss, health) = (self.wss_port, self.health_check_port);
        if self.health_check_enabled && wss == health && wss != 0 {
            return Err(ConfigError::Relation(format!(
                "CONNECTOR_WSS_PORT and CONNECTOR_WSS_HEALTH_CHECK_PORT are both {wss}: \
                 they must differ"
            )));
        }
        if self.wss_tls_cert_file.is_some() != self.wss_tls_key_file.is_some() {
            return Err(ConfigError::Relation(
                "CONNECTOR_WSS_TLS_CERT_FILE and CONNECTOR_WSS_TLS_KEY_FILE belong together: set \
                 both, or leave both empty"
                    .to_owned(),
            ));
        }
        let cpus = self.shard_cpus.len();
        match self.shards {
            Some(shards) if cpus > 0 && cpus != shards => Err(ConfigError::Relation(format!(
                "CONNECTOR_SHARD_CPUS names {cpus} CPUs for CONNECTOR_SHARDS={shards}: \
                 name one per shard, or leave one of the two empty"
            ))),
            _ => Ok(()),
        }
    }

    /// What a user should know who lets other hosts connect.
    fn exposure(&self) -> Option<String> {
        let host = self.wss_address;
        if host.is_loopback() {
            None
        } else if self.wss_tokens_file.is_none() {
            Some(format!(
                "CONNECTOR_WSS_HOST={host} lets other hosts connect without a token: set \
                 CONNECTOR_WSS_TOKENS_FILE, or keep them out with a firewall"
            ))
        } else if self.wss_tls_cert_file.is_none() {
            Some(format!(
                "CONNECTOR_WSS_HOST={host} has other hosts send their tokens in clear text: set \
                 CONNECTOR_WSS_TLS_CERT_FILE and CONNECTOR_WSS_TLS_KEY_FILE, or put a proxy that \
                 speaks TLS before it"
            ))
        } else {
            None
        }
    }

    /// A value of every field; the table then replaces all of them.
    fn unset() -> Self {
        let zero = Duration::ZERO;
        Self {
            simulate: false,
            warnings: Vec::new(),
            inactivity_timeout: zero,
            reconnect_delay: zero,
            rest_timeout: zero,
            ws_ping_interval: zero,
            ws_ping_timeout: zero,
            stream_idle_timeout: zero,
            symbols_per_session_max: 0,
            breaker_failure_threshold: 0,
            breaker_recovery_timeout: zero,
            breaker_half_open_calls: 0,
            closed_queue_max: 0,
            open_queue_max: 0,
            deduplication_window: zero,
            deduplication_entries_max: 0,
            rest_pool_connections: 0,
            rest_pool_max: 0,
            gap_hold_timeout: zero,
            history_candles: 0,
            log_level: LogLevel::default(),
            log_format: LogFormat::default(),
            log_dir: PathBuf::new(),
            ledger_file: None,
            ledger_days: 0,
            ledger_bytes_max: 0,
            ledger_catch_up: 0,
            wss_host: Host::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            wss_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            wss_port: 0,
            wss_log_level: LogLevel::default(),
            wss_subscribe_timeout: zero,
            wss_handshake_timeout: zero,
            wss_idle_timeout: zero,
            wss_ping_interval: None,
            wss_ping_timeout: None,
            wss_clients_max: 0,
            wss_connections_per_ip_max: 0,
            wss_subscriptions_max: 0,
            wss_origins: Vec::new(),
            wss_tokens_file: None,
            wss_tls_cert_file: None,
            wss_tls_key_file: None,
            takeover_socket: None,
            health_check_port: 0,
            health_check_enabled: false,
            close_linger: zero,
            client_buffer_max: 0,
            drain_timeout: zero,
            wait: Wait::default(),
            shards: None,
            shard_cpus: Vec::new(),
            fanout_cpu: None,
            ops_cpu: None,
            preload: Vec::new(),
            tls_ca_file: None,
            endpoints: Default::default(),
            proxies: Proxies::default(),
        }
    }
}

/// The addresses of the host called `name`, by the system's resolver. Waits as long as that does.
fn addresses_of(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

impl Default for Config {
    /// Every variable at its default.
    fn default() -> Self {
        Self::from_values(&raw::Values::default()).expect("a test applies every default")
    }
}

#[cfg(test)]
mod tests;
