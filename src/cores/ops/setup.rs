//! The input of the ops core: the configuration, the counters of every core, and the channels to
//! the shards.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::clock::Clock;
use crate::config::Config;
use crate::cores::ops::workers::ShardLink;
use crate::feed::Pauses;
use crate::health::Lifecycle;
use crate::metrics::Metrics;
use crate::wire::host::Hosts;

/// What the ops core shows and where it answers.
#[derive(Debug)]
pub struct OpsSetup {
    /// The configuration.
    pub config: Arc<Config>,
    /// Every core's counters.
    pub metrics: Arc<Metrics>,
    /// Starting, serving, draining.
    pub lifecycle: Arc<Lifecycle>,
    /// A clock of the same origin as every core's.
    pub clock: Clock,
    /// Per shard, in order.
    pub shards: Vec<ShardLink>,
    /// The pauses in which exchanges receive nothing from us. Shared with the shards.
    pub pauses: Arc<Pauses>,
    /// The trusted certificates for REST over TLS, as for the sessions.
    pub tls: Arc<ClientConfig>,
    /// The names by which the ops port may be addressed.
    pub hosts: Hosts,
    /// The clients' port, where the page gets its candles.
    pub client_port: u16,
    /// Connections to the ops port at once, at most [`crate::limits::OPS_CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// REST requests under way at once; fewer with `CONNECTOR_REST_POOL_MAXSIZE`.
    pub rest_max: usize,
}
