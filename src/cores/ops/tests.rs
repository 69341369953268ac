use std::io::{BufRead, BufReader};
use std::net::TcpStream as StdStream;

use rustls::ClientConfig;

use crate::clock::Clock;
use crate::config::Config;
use crate::cores::ops::workers::ShardLink;
use crate::cores::ops::*;
use crate::health::Lifecycle;
use crate::messages::{OpsAnswer, RestRequest};
use crate::metrics::{Metrics, ShardMetrics};
use crate::wire::host::Hosts;

struct Running {
    thread: OpsThread,
    handle: OpsHandle,
    address: SocketAddr,
    answers: Receiver<OpsAnswer>,
    rings: Receiver<()>,
    lifecycle: Arc<Lifecycle>,
}

fn trust(roots: rustls::RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn listen() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn setup(roots: rustls::RootCertStore, shard: ShardLink) -> OpsSetup {
    let pairs = [("CONNECTOR_WSS_HEALTH_CHECK_PORT", "0"), ("CONNECTOR_REST_POOL_MAXSIZE", "2")];
    let config = Arc::new(Config::from_pairs(&pairs).unwrap());
    let metrics = Metrics {
        shards: vec![Arc::new(ShardMetrics::default())],
        fanout: Arc::default(),
        ledger: Default::default(),
        cores: vec![],
    };
    OpsSetup {
        config,
        metrics: Arc::new(metrics),
        lifecycle: Arc::default(),
        clock: Clock::new(),
        shards: vec![shard],
        pauses: Arc::default(),
        tls: trust(roots),
        hosts: Hosts::local([].into_iter()),
        client_port: 8765,
        connections_max: OPS_CONNECTIONS_MAX,
        rest_max: usize::MAX,
    }
}

fn start(roots: rustls::RootCertStore) -> Running {
    let (ops, handle) = Ops::new(Some(listen()));
    let address = ops.local_addr().unwrap();
    let (answers_in, answers) = bounded(8);
    let (rings_in, rings) = bounded(8);
    let wake: workers::Wake = Arc::new(move || {
        let _ = rings_in.try_send(());
    });
    let setup = setup(roots, ShardLink { answers: answers_in, wake });
    let lifecycle = Arc::clone(&setup.lifecycle);
    let thread = ops.spawn(setup).unwrap();
    Running { thread, handle, address, answers, rings, lifecycle }
}

/// Sends `request` and reads until the server closes.
fn exchange(address: SocketAddr, request: &str) -> String {
    let mut socket = StdStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

fn fetch(address: SocketAddr, method: &str, target: &str, more: &str) -> String {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n{more}");
    exchange(address, &format!("{head}Connection: close\r\n\r\n"))
}

#[test]
fn every_route_and_refusal_has_its_answer() {
    let running = start(rustls::RootCertStore::empty());
    let at = running.address;
    assert!(fetch(at, "GET", "/health?x", "").contains("\r\n\r\n{\"status\":\"healthy\""));
    assert!(fetch(at, "GET", "/ready", "").starts_with("HTTP/1.1 503 "));
    running.lifecycle.serving();
    assert!(fetch(at, "GET", "/ready", "").starts_with("HTTP/1.1 200 "));
    let metrics = fetch(at, "GET", "/metrics", "");
    assert!(metrics.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    let open = fetch(at, "GET", "/metrics", "Accept: application/openmetrics-text\r\n");
    assert!(
        open.contains("application/openmetrics-text; version=1.0.0") && open.ends_with("# EOF\n")
    );
    assert!(fetch(at, "HEAD", "/metrics", "").ends_with("\r\n\r\n"));
    assert!(fetch(at, "GET", "/", "").contains("\r\n\r\n<!doctype html>"));
    let missing = fetch(at, "GET", "/nothing", "");
    assert!(missing.starts_with("HTTP/1.1 404 ") && missing.contains("/metrics "));
    let refused = fetch(at, "POST", "/health", "");
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("Allow: GET, HEAD\r\n"));
    assert!(fetch(at, "BREW", "/", "").starts_with("HTTP/1.1 501 "));
    assert!(fetch(at, "GET", "/", "Content-Length: 1\r\n").starts_with("HTTP/1.1 400 "));
    assert!(exchange(at, "GET / HTTP/3.0\r\n\r\n").starts_with("HTTP/1.1 505 "));
    running.thread.stop();
}

#[test]
fn a_crowd_of_silent_connections_does_not_keep_a_probe_out() {
    let running = start(rustls::RootCertStore::empty());
    let open = || StdStream::connect(running.address).unwrap();
    let crowd: Vec<_> = (0..OPS_CONNECTIONS_MAX + 50).map(|_| open()).collect();
    assert!(fetch(running.address, "GET", "/health", "").starts_with("HTTP/1.1 200 "));
    drop(crowd);
    running.thread.stop();
}

#[test]
fn an_ops_core_that_can_wait_for_no_event_serves_on_and_logs_it_once() {
    let listener = listen();
    let address = listener.local_addr().unwrap();
    let (answers, _) = bounded(1);
    let shard = ShardLink { answers, wake: Arc::new(|| {}) };
    let setup = setup(rustls::RootCertStore::empty(), shard);
    let (_notices, notices) = bounded(1);
    let (_updates, updates) = bounded(1);
    let listener = Some(TcpListener::from_std(listener));
    let mut server = OpsServer::new(listener, notices, updates, setup).unwrap();
    let client = thread::spawn(move || fetch(address, "GET", "/health", ""));
    let (events, mut pauses) = (Events::with_capacity(1), 0);
    while !client.is_finished() {
        server.note_poll(Err(io::Error::other("no events")), |pause| {
            pauses += 1;
            thread::park_timeout(pause);
        });
        assert!(server.has_lost_events);
        server.turn(&events);
    }
    assert!(client.join().unwrap().starts_with("HTTP/1.1 200 ") && pauses > 0);
    server.note_poll(Ok(()), |_| panic!("no pause where events come"));
}

/// Answers one request on a loopback socket with `answer`, and gives back its request line.
fn serve_once<S: Read + Write>(mut stream: S, answer: &str) -> String {
    let mut lines = BufReader::new(&mut stream).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(lines.by_ref().any(|line| line.is_empty()));
    drop(lines);
    stream.write_all(answer.as_bytes()).unwrap();
    stream.flush().unwrap();
    first
}

/// Room for any answer.
const BODY_BYTES_MAX: usize = 4096;

const LIMITED: &str = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nX-MBX-USED-WEIGHT-1M: \
                       6001\r\nX-Other: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

fn ask(running: &Running, url: String) -> Result<crate::messages::RestResponse, String> {
    let request = OpsRequest::Rest(RestRequest {
        id: 9,
        url,
        body: None,
        headers: &[],
        body_bytes_max: BODY_BYTES_MAX,
    });
    running.handle.ask(0, request).unwrap();
    let answer = running.answers.recv_timeout(Duration::from_secs(20)).unwrap();
    running.rings.recv_timeout(Duration::from_secs(20)).unwrap();
    match answer {
        OpsAnswer::Rest { id: 9, result } => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rest_answers_come_back_whatever_the_status() {
    let running = start(rustls::RootCertStore::empty());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api?x=1", listener.local_addr().unwrap());
    let venue = thread::spawn(move || serve_once(listener.accept().unwrap().0, LIMITED));
    let response = ask(&running, url.clone()).unwrap();
    assert_eq!(venue.join().unwrap(), "GET /api?x=1 HTTP/1.1");
    assert_eq!((response.status, &*response.body), (429, &b"{}"[..]));
    assert_eq!(response.retry_after.as_deref(), Some("7"));
    assert_eq!(response.limit_headers, [("x-mbx-used-weight-1m".into(), "6001".into())]);
    assert!(ask(&running, url).is_err(), "nobody listens any longer");
    running.thread.stop();
}

#[test]
fn rest_over_tls_trusts_the_given_root_and_no_other() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider);
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let chain = vec![key.cert.der().clone()];
    let server = Arc::new(server.with_single_cert(chain, private.unwrap()).unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let venue = thread::spawn(move || {
        let session = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
        let stream = rustls::StreamOwned::new(session, listener.accept().unwrap().0);
        serve_once(stream, LIMITED);
        let mut session = rustls::ServerConnection::new(server).unwrap();
        assert!(session.complete_io(&mut listener.accept().unwrap().0).is_err());
    });
    let running = start(roots);
    assert_eq!(ask(&running, url.clone()).unwrap().status, 429);
    running.thread.stop();
    let stranger = start(rustls::RootCertStore::empty());
    assert!(ask(&stranger, url).unwrap_err().contains("certificate"));
    stranger.thread.stop();
    venue.join().unwrap();
}

#[test]
fn names_are_resolved_for_the_asking_shard() {
    let running = start(rustls::RootCertStore::empty());
    let request = OpsRequest::Resolve { host: "127.0.0.1".into(), port: 5 };
    running.handle.ask(0, request).unwrap();
    let answer = running.answers.recv_timeout(Duration::from_secs(20)).unwrap();
    let expected = Ok(vec!["127.0.0.1:5".parse().unwrap()]);
    assert_eq!(answer, OpsAnswer::Resolved { host: "127.0.0.1".into(), port: 5, result: expected });
    running.thread.stop();
}
