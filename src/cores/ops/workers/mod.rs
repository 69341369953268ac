//! Work that may block: name look-ups and REST, each on threads of their own, off the hot cores.
//! Requests come through bounded queues; the answer goes to the asking shard, and its doorbell is
//! rung.

mod transport;

use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};
use rustls::ClientConfig;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response};
use ureq::unversioned::transport::Connector;

use crate::clock::Clock;
use crate::config::Config;
use crate::cores::ops::instrument_lists::{Lists, PageAnswer};
use crate::cores::ops::names::{LookUp, Names};
use crate::cores::ops::poison::Poisoned;
use crate::cores::ops::workers::transport::{RouteResolver, TlsConnector, TunnelConnector};
use crate::feed::Pauses;
use crate::limits::{
    ADDRESSES_MAX, ANSWER_PATIENCE, LIST_BODY_BYTES_MAX, LIST_PATIENCE, LOOK_UP_PATIENCE,
};
use crate::market::Venue;
use crate::messages::{OpsAnswer, OpsRequest, RestRequest, RestResponse};

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
pub(crate) struct WorkersSetup {
    pub(crate) resolve: Receiver<Question>,
    pub(crate) rest: Receiver<Question>,
    /// Questions for instrument lists, by [`Venue`].
    pub(crate) lists: Vec<Receiver<Question>>,
    /// Disconnected when the workers are to end.
    pub(crate) stop: Receiver<()>,
    pub(crate) shards: Arc<[ShardLink]>,
    /// A clock of the same origin as the shards'.
    pub(crate) clock: Clock,
    /// When exchanges are left alone, as the shards know it.
    pub(crate) pauses: Arc<Pauses>,
}

/// Starts the look-up of names, `CONNECTOR_REST_POOL_MAXSIZE` REST workers, at most `rest_max`, and
/// one worker for the instrument lists of each exchange: a long list takes its time and is in
/// nobody's way. They end by themselves when `stop` is disconnected and what they are doing is
/// done; nobody waits for them.
///
/// Errors: a thread cannot be started.
pub(crate) fn spawn(
    setup: &WorkersSetup,
    config: &Config,
    rest_max: usize,
    tls: &Arc<ClientConfig>,
) -> io::Result<()> {
    let poisoned = Arc::new(Poisoned::default());
    let agent = agent(config, Arc::clone(tls), Arc::clone(&poisoned));
    let dns = setup.clone();
    thread::Builder::new().name("names".into()).spawn(move || {
        let look_up: LookUp = Arc::new(move |(host, port)| {
            let found = resolve(host, *port);
            poisoned.note(host, found.as_deref().unwrap_or(&[]));
            found
        });
        let mut names = Names::new(look_up, LOOK_UP_PATIENCE, dns.clock);
        names.serve(&dns.resolve, &dns.stop, |shard, answer| reply(&dns, shard, answer));
    })?;
    for index in 0..config.rest_pool_max.min(rest_max) {
        let (rest, agent) = (setup.clone(), agent.clone());
        thread::Builder::new().name(format!("rest{index}")).spawn(move || {
            serve(&rest, &rest.rest, |shard, it| vec![(shard, answer_rest(&agent, it))]);
        })?;
    }
    let bases = config.endpoints.iter().map(|endpoints| endpoints.rest_url.clone()).collect();
    let lists = Arc::new(Lists::new(bases, setup.clock, Arc::clone(&setup.pauses)));
    for (index, venue) in Venue::ALL.into_iter().enumerate() {
        let (setup, agent, lists) = (setup.clone(), agent.clone(), Arc::clone(&lists));
        let patience = config.rest_timeout;
        thread::Builder::new().name(format!("lists-{}", venue.name())).spawn(move || {
            serve(&setup, &setup.lists[index], |shard, it| {
                answer_list(&agent, patience, &lists, shard, it)
            });
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
            reply(setup, shard, answer);
        }
    }
}

fn reply(setup: &WorkersSetup, shard: usize, answer: OpsAnswer) {
    let Some(link) = setup.shards.get(shard) else { return };
    // A shard that does not take it in time asks again when its own deadline passes.
    let _ = link.answers.send_timeout(answer, ANSWER_PATIENCE);
    (link.wake)();
}

fn answer_rest(agent: &ureq::Agent, request: OpsRequest) -> OpsAnswer {
    match request {
        OpsRequest::Rest(request) => {
            OpsAnswer::Rest { id: request.id, result: ask(agent, &request) }
        }
        other => misled(other),
    }
}

fn answer_list(
    agent: &ureq::Agent,
    patience: Duration,
    lists: &Lists,
    shard: usize,
    request: OpsRequest,
) -> Vec<(usize, OpsAnswer)> {
    match request {
        OpsRequest::List { market, parts } => {
            let ask = |request: &RestRequest| ask_page(agent, patience, request);
            lists.answer(shard, market, parts, &ask)
        }
        other => vec![(shard, misled(other))],
    }
}

/// A question in another one's queue.
pub(crate) fn misled(request: OpsRequest) -> OpsAnswer {
    let why = "it was asked in the wrong queue".to_owned();
    match request {
        OpsRequest::Resolve { host, port } => OpsAnswer::Resolved { host, port, result: Err(why) },
        OpsRequest::Rest(RestRequest { id, .. }) => OpsAnswer::Rest { id, result: Err(why) },
        OpsRequest::List { market, .. } => OpsAnswer::Listed { market, result: Err(why) },
    }
}

/// Addresses of `host`, each once, at most [`ADDRESSES_MAX`]. Brackets around an IPv6 address are
/// forgiven.
///
/// # Errors
/// In words: the name has no address at which a host can be.
pub(crate) fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let found = (bare, port).to_socket_addrs().map_err(|error| error.to_string())?;
    real_addresses(found)
}

/// The addresses in `found` that can be connected to. `0.0.0.0` and `::` mean that a name is
/// blocked, and would lead to this host.
///
/// # Errors
/// In words: there is nothing else.
pub(crate) fn real_addresses(
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, String> {
    let (mut addresses, mut blocked) = (Vec::new(), None);
    for address in found {
        if address.ip().to_canonical().is_unspecified() {
            blocked = Some(address.ip());
        } else if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match blocked {
        _ if !addresses.is_empty() => Ok(addresses),
        Some(ip) => Err(format!(
            "the name is blocked: it is {ip} for a name server that /etc/resolv.conf names, or in \
             /etc/hosts"
        )),
        None => Err("the name has no address".into()),
    }
}

/// An agent that keeps connections, follows no redirect, takes every status for an answer and goes
/// the way of the sessions, through a proxy where they do.
pub(crate) fn agent(
    config: &Config,
    tls: Arc<ClientConfig>,
    poisoned: Arc<Poisoned>,
) -> ureq::Agent {
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
    let connector = TunnelConnector::new(config.proxies.clone()).chain(TlsConnector::new(tls));
    let resolver = RouteResolver::new(config.proxies.clone(), poisoned);
    ureq::Agent::with_parts(settings, connector, resolver)
}

/// One question to a REST interface; every status is an answer.
///
/// # Errors
/// In words: there is no answer (name, TCP, TLS, time-out), or it cannot be one: it is longer than
/// [`RestRequest::body_bytes_max`], or its encoding is none that is understood.
pub(crate) fn ask(agent: &ureq::Agent, request: &RestRequest) -> Result<RestResponse, String> {
    let response = send(agent, request, None).map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let headers = response.headers();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
    let speaks_of_limits = |name: &str| {
        name == "date" || ["x-mbx-", "x-bapi-", "x-gate-"].iter().any(|p| name.starts_with(p))
    };
    let limits = headers.iter().filter(|(name, _)| speaks_of_limits(name.as_str()));
    let limit_headers = limits.map(|(name, value)| (name.to_string(), text(value))).collect();
    let retry_after = headers.get(RETRY_AFTER).map(text);
    let coding = unknown_coding(headers);
    let max = request.body_bytes_max;
    let mut body = Vec::new();
    let read = match &coding {
        Some(coding) => Err(format!("its encoding {coding:?} is not understood")),
        None => reader(response).take(max as u64 + 1).read_to_end(&mut body).map_err(in_words),
    };
    let is_long = body.len() > max;
    body.truncate(max);
    match read {
        // The beginning of a page that denies us is enough.
        Ok(_) if is_long && status == 200 && !body.trim_ascii_start().starts_with(b"<") => {
            Err(format!("HTTP 200 with more than the {max} bytes that the answer can have"))
        }
        Err(why) if status == 200 => Err(format!("HTTP 200, {why}")),
        _ => Ok(RestResponse { status, retry_after, limit_headers, body }),
    }
}

/// Asks for a page of an instrument list and reads its body as a stream: as long as bytes come, and
/// for [`LIST_PATIENCE`] at most.
pub(crate) fn ask_page(
    agent: &ureq::Agent,
    patience: Duration,
    request: &RestRequest,
) -> Result<PageAnswer<'static>, String> {
    let response = send(agent, request, Some(patience)).map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    if let Some(coding) = unknown_coding(response.headers()).filter(|_| status == 200) {
        return Err(format!("HTTP 200, its encoding {coding:?} is not understood"));
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
    let retry_after = response.headers().get(RETRY_AFTER).map(text);
    let body = Box::new(reader(response).take(LIST_BODY_BYTES_MAX));
    Ok(PageAnswer { status, retry_after, body })
}

/// Sends a request. `per_read`: instead of the agent's time for all of it, the time for each read,
/// and [`LIST_PATIENCE`] for all of them.
fn send(
    agent: &ureq::Agent,
    request: &RestRequest,
    per_read: Option<Duration>,
) -> Result<Response<ureq::Body>, ureq::Error> {
    let method = if request.body.is_some() { Method::POST } else { Method::GET };
    let mut head = Request::builder().method(method).uri(&request.url);
    for (name, value) in request.headers {
        head = head.header(*name, *value);
    }
    if request.body.is_some() {
        head = head.header(CONTENT_TYPE, "application/json");
    }
    let body = request.body.clone().unwrap_or_default();
    let head = match per_read {
        None => head.body(body)?,
        Some(_) => agent
            .configure_request(head.body(body)?)
            .timeout_global(Some(LIST_PATIENCE))
            .timeout_connect(per_read)
            .timeout_per_read(per_read)
            .build(),
    };
    agent.run(head)
}

/// The body as it comes, decompressed; how much of it is read is the caller's.
fn reader(response: Response<ureq::Body>) -> impl Read + use<> {
    response.into_body().into_with_config().limit(u64::MAX).reader()
}

/// The name of a body's encoding that ureq does not undo; what it does undo it does not name any
/// more.
fn unknown_coding(headers: &HeaderMap) -> Option<String> {
    let coding = String::from_utf8_lossy(headers.get(CONTENT_ENCODING)?.as_bytes()).into_owned();
    Some(coding).filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
}

fn in_words(error: io::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
