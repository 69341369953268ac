//! What may block: name look-ups and REST, each on threads of their own, off the hot cores. Asked
//! through bounded queues; the answer goes to the asking shard, whose doorbell is then rung.

use std::fmt;
use std::io::{self, Write as _};
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector,
    Transport, TransportAdapter,
};

use crate::clock::Clock;
use crate::config::Config;
use crate::limits::{ANSWER_PATIENCE, REST_BODY_BYTES_MAX};
use crate::messages::{OpsAnswer, OpsRequest, RestRequest, RestResponse};

use super::lists::Lists;

/// Rings a core's doorbell. Cheap, never blocks, may be called from any thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// How answers reach one shard.
#[derive(Clone)]
pub struct ShardLink {
    /// The shard's queue of answers.
    pub answers: Sender<OpsAnswer>,
    /// Rung after each answer.
    pub wake: Wake,
}

impl fmt::Debug for ShardLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardLink").finish_non_exhaustive()
    }
}

/// A question and the index of the shard that asks.
pub type Question = (usize, OpsRequest);

/// What the workers need.
#[derive(Clone, Debug)]
pub(super) struct WorkersSetup {
    pub(super) resolve: Receiver<Question>,
    pub(super) rest: Receiver<Question>,
    /// Disconnected when the workers are to end.
    pub(super) stop: Receiver<()>,
    pub(super) shards: Arc<[ShardLink]>,
}

/// Starts one DNS worker and `CONNECTOR_REST_POOL_MAXSIZE` REST workers. They end by themselves
/// when `stop` is disconnected and what they are doing is done; nobody waits for them.
///
/// Errors: a thread cannot be started.
pub(super) fn spawn(
    setup: &WorkersSetup,
    config: &Config,
    tls: &Arc<ClientConfig>,
) -> io::Result<()> {
    let agent = agent(config, Arc::clone(tls));
    let dns = setup.clone();
    thread::Builder::new()
        .name("dns".into())
        .spawn(move || serve(&dns, &dns.resolve, |shard, it| vec![(shard, answer_dns(it))]))?;
    let bases = config.endpoints.iter().map(|endpoints| endpoints.rest_url.clone()).collect();
    let lists = Arc::new(Lists::new(bases));
    for index in 0..config.rest_pool_max {
        let (rest, agent, lists) = (setup.clone(), agent.clone(), Arc::clone(&lists));
        thread::Builder::new().name(format!("rest{index}")).spawn(move || {
            serve(&rest, &rest.rest, |shard, it| answer_rest(&agent, &lists, shard, it));
        })?;
    }
    Ok(())
}

fn serve(
    setup: &WorkersSetup,
    questions: &Receiver<Question>,
    answers: impl Fn(usize, OpsRequest) -> Vec<(usize, OpsAnswer)>,
) {
    loop {
        let (shard, request) = select! {
            recv(questions) -> question => match question {
                Ok(question) => question,
                Err(_) => return,
            },
            recv(setup.stop) -> _ => return,
        };
        for (shard, answer) in answers(shard, request) {
            let Some(link) = setup.shards.get(shard) else { continue };
            // A shard that takes nothing for so long asks again when its own deadline passes.
            let _ = link.answers.send_timeout(answer, ANSWER_PATIENCE);
            (link.wake)();
        }
    }
}

fn answer_dns(request: OpsRequest) -> OpsAnswer {
    match request {
        OpsRequest::Resolve { host, port } => {
            let result = resolve(&host, port);
            OpsAnswer::Resolved { host, port, result }
        }
        OpsRequest::Rest(RestRequest { id, .. }) => {
            OpsAnswer::Rest { id, result: Err("a REST request in the queue for names".into()) }
        }
        OpsRequest::List { market } => {
            OpsAnswer::Listed { market, result: Err("a list in the queue for names".into()) }
        }
    }
}

fn answer_rest(
    agent: &ureq::Agent,
    lists: &Lists,
    shard: usize,
    request: OpsRequest,
) -> Vec<(usize, OpsAnswer)> {
    let ask = |request: &RestRequest| ask(agent, request).map_err(|error| error.to_string());
    match request {
        OpsRequest::Rest(request) => {
            vec![(shard, OpsAnswer::Rest { id: request.id, result: ask(&request) })]
        }
        OpsRequest::List { market } => lists.answer(shard, market, ask),
        resolve @ OpsRequest::Resolve { .. } => vec![(shard, answer_dns(resolve))],
    }
}

/// Addresses of `host`, each once. Brackets around an IPv6 address are forgiven.
pub(super) fn resolve(host: &str, port: u16) -> Result<Vec<std::net::SocketAddr>, String> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let found = (bare, port).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err("the name has no address".into()) } else { Ok(addresses) }
}

/// An agent that keeps connections, follows no redirect, takes every status for an answer and uses
/// no proxy: what the sessions cannot reach, REST shall not either.
pub(super) fn agent(config: &Config, tls: Arc<ClientConfig>) -> ureq::Agent {
    let settings = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_global(Some(config.rest_timeout))
        .max_idle_connections(config.rest_pool_connections)
        .max_idle_connections_per_host(config.rest_pool_connections)
        .user_agent(concat!("connector-wss/", env!("CARGO_PKG_VERSION")))
        .build();
    let connector = TcpConnector::default().chain(TlsConnector { tls });
    ureq::Agent::with_parts(settings, connector, DefaultResolver::default())
}

/// One question to a REST interface; every status is an answer.
pub(super) fn ask(agent: &ureq::Agent, request: &RestRequest) -> Result<RestResponse, ureq::Error> {
    let headers = request.headers.iter();
    let mut response = match &request.body {
        None => headers
            .fold(agent.get(&request.url), |get, (name, value)| get.header(*name, *value))
            .call()?,
        Some(body) => headers
            .fold(agent.post(&request.url), |post, (name, value)| post.header(*name, *value))
            .content_type("application/json")
            .send(body.as_str())?,
    };
    let limit = u64::try_from(REST_BODY_BYTES_MAX).unwrap_or(u64::MAX);
    let body = response.body_mut().with_config().limit(limit).read_to_vec()?;
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
    let headers = response.headers();
    let retry_after = headers.get("retry-after").and_then(|value| value.to_str().ok());
    let speaks_of_limits = |name: &str| {
        name == "date" || ["x-mbx-", "x-bapi-", "x-gate-"].iter().any(|p| name.starts_with(p))
    };
    let limits = headers.iter().filter(|(name, _)| speaks_of_limits(name.as_str()));
    Ok(RestResponse {
        status: response.status().as_u16(),
        retry_after: retry_after.and_then(read_retry_after),
        limit_headers: limits.map(|(name, value)| (name.to_string(), text(value))).collect(),
        body,
    })
}

/// Seconds, or a date. Source: RFC 9110, section 10.2.3.
fn read_retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_micros(Clock::new().now().unix_us.unsigned_abs());
    Some(at.saturating_sub(now))
}

/// TLS with the program's own client configuration: ureq's cannot add a root to the public ones.
#[derive(Debug)]
struct TlsConnector {
    tls: Arc<ClientConfig>,
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(tcp) = chained else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Either::A(tcp)));
        }
        let host = details.uri.host().unwrap_or("");
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_string();
        let name = ServerName::try_from(bare).map_err(|_| ureq::Error::Tls("invalid name"))?;
        let mut session = ClientConnection::new(Arc::clone(&self.tls), name)?;
        let mut socket = TransportAdapter::new(tcp.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        session.complete_io(&mut socket)?;
        let (input, output) =
            (details.config.input_buffer_size(), details.config.output_buffer_size());
        let stream = StreamOwned::new(session, socket);
        Ok(Some(Either::B(TlsTransport { buffers: LazyBuffers::new(input, output), stream })))
    }
}

struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport").finish_non_exhaustive()
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = io::Read::read(&mut self.stream, self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
