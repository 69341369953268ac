//! Who may come in: certificates, tokens, origins and limits, with the real program and its files.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use connector_wss::limits::{CLIENT_MESSAGES_BURST, CLIENT_MESSAGES_PER_SECOND};
use rcgen::KeyPair;
use rustix::process::Signal;

use super::certificates::{Certificate, TlsClient};
use super::client::{BTC, BTC_3, Client, assert_served_three};
use super::harness::{PATIENCE, Scratch, Server, http, wait_until};

/// A file with tokens.
pub(crate) struct TokensFile(Scratch);

impl TokensFile {
    pub(crate) fn new(text: &str) -> Self {
        let file = Self(Scratch::new());
        file.write(text);
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).unwrap();
        file
    }

    fn path(&self) -> PathBuf {
        self.0.0.join("tokens")
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    pub(crate) fn env(&self) -> Vec<(String, String)> {
        vec![("CONNECTOR_WSS_TOKENS_FILE".into(), self.path().to_str().unwrap().into())]
    }
}

/// Status and whole answer of an upgrade with further header lines.
fn upgrade(server: &Server, target: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.clients).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    );
    // A full server answers before it is asked.
    let _asked = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let mut byte = [0; 1];
    while !(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n")) {
        if stream.read(&mut byte).unwrap() == 0 {
            break;
        }
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

fn reload(server: &Server, until_logged: &str) {
    server.process.signal(Signal::HUP);
    wait_until(until_logged, || server.log().contains(until_logged));
}

#[test]
fn wss_streams_and_a_new_certificate_drops_nobody() {
    let old = Certificate::new();
    let old_pem = old.pem.clone();
    let mut server = Server::start_with(&["--simulate"], &old.env());
    let mut client = TlsClient::ask(&old, server.clients, BTC_3);
    let kinds: Vec<_> = std::iter::from_fn(|| client.next().ok()).collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    let mut stays = TlsClient::ask(&old, server.clients, BTC);
    assert_eq!(stays.next().unwrap()["type"], "subscribed");
    let mut health = old.connect(server.clients).unwrap();
    health.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    health.read_to_string(&mut answer).expect("the end is told, not cut");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("healthy"), "{answer}");

    let new = old.renewed();
    reload(&server, "read again: the certificate");
    wait_until("the new certificate is shown", || new.connect(server.clients).is_some());
    let mut newcomer = TlsClient::ask(&new, server.clients, BTC);
    assert_eq!(newcomer.next().unwrap()["type"], "subscribed");
    assert_eq!(stays.next().unwrap()["type"], "quote");

    new.write_key(&KeyPair::generate().unwrap());
    reload(&server, "the certificate stays the one before");
    std::fs::write(new.chain(), "no certificate").unwrap();
    reload(&server, "no CERTIFICATE block");
    assert!(new.connect(server.clients).is_some());
    assert_ne!(new.pem, old_pem);
    assert_eq!(stays.next().unwrap()["type"], "quote");
    assert!(server.process.is_running());
    server.process.signal(Signal::TERM);
    let code = std::iter::repeat_with(|| stays.next()).find_map(Result::err);
    assert_eq!(code, Some(1001));
}

#[test]
fn tokens_are_asked_for_and_revoked_and_never_shown() {
    const ALPHA: &str = "alpha-0123456789";
    const BETA: &str = "beta-9876543210";
    let file = TokensFile::new(&format!("# two\n{ALPHA}\n{BETA}\n"));
    let server = Server::start_with(&["--simulate"], &file.env());
    let (status, answer) = upgrade(&server, "/", "Authorization: Bearer alpha-012345678\r\n");
    assert_eq!(status, 401);
    assert!(answer.contains("\r\nWWW-Authenticate: Bearer"), "{answer}");
    assert_eq!(upgrade(&server, "/?token=wrong-0123456789", "").0, 401);
    assert_eq!(upgrade(&server, "/", &format!("Authorization: Bearer {BETA}\r\n")).0, 101);
    assert_eq!(http(server.clients, "/health").0, 200);

    let mut locked = server.ask(BTC);
    assert_eq!(locked.next().json["code"], "auth_required");
    let auth = |token: &str| format!(r#"{{"op":"auth","token":"{token}"}}"#);
    let mut wrong = server.ask(&auth("wrong-0123456789"));
    assert_eq!(wrong.next().json["code"], "unauthorized");
    assert_eq!(wrong.until_close().1, 1008);
    let mut alpha = server.ask(&auth(ALPHA));
    assert!(alpha.next().is("authenticated"));
    alpha.send(BTC);
    alpha.next_of("quote");
    let mut beta = Client::connect_at(server.clients, &format!("/?token={BETA}"));
    beta.send(BTC);
    beta.next_of("quote");

    file.write("to o\n");
    reload(&server, "the tokens stay those before");
    file.write(&format!("{BETA}\n"));
    reload(&server, "read again: 1 tokens");
    let (texts, code, reason) = alpha.until_close();
    assert_eq!(texts.last().unwrap().json["code"], "token_revoked");
    assert!(code == 1008 && reason.contains("revoked"), "{code} {reason}");
    beta.next_of("quote");
    assert_eq!(upgrade(&server, &format!("/?token={ALPHA}"), "").0, 401);

    let said = server.log() + &server.process.stderr() + &server.get("/metrics").1;
    for secret in ["alpha-0", "beta-9", "wrong-0", "token="] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    assert!(server.metric("connector_clients_refused_total", &["reason=\"token\""]) >= 4.0);
    assert!(!said.contains("chmod"), "{said}");
}

#[test]
fn a_tokens_file_that_all_may_read_is_warned_of_once() {
    let file = TokensFile::new("alpha-0123456789\n");
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o644)).unwrap();
    let server = Server::start_with(&["--simulate"], &file.env());
    reload(&server, "read again: 1 tokens");
    assert_eq!(server.log().matches("chmod 600").count(), 1, "{}", server.log());
}

#[test]
fn who_comes_when_it_is_full_is_told_at_once() {
    let server = Server::simulated_with(&[("CONNECTOR_WSS_CLIENTS_MAX", "1")]);
    let mut first = server.ask(BTC);
    first.next_of("quote");
    let (status, answer) = upgrade(&server, "/", "");
    assert_eq!(status, 503);
    assert!(answer.contains("\r\nRetry-After: "), "{answer}");
    first.next_of("quote");
    let per_address = ("CONNECTOR_WSS_CONNECTIONS_PER_IP_MAX", "1");
    let server = Server::simulated_with(&[per_address]);
    let mut first = server.ask(BTC);
    first.next_of("quote");
    let (status, answer) = upgrade(&server, "/", "");
    assert_eq!(status, 429);
    assert!(answer.contains("\r\nRetry-After: "), "{answer}");
    drop(first);
    wait_until("there is room again", || upgrade(&server, "/", "").0 == 101);
}

#[test]
fn a_full_server_tells_it_through_tls_too() {
    let certificate = Certificate::new();
    let mut env = certificate.env();
    env.push(("CONNECTOR_WSS_CLIENTS_MAX".into(), "1".into()));
    let server = Server::start_with(&["--simulate"], &env);
    let _first = TlsClient::connect(&certificate, server.clients);
    let mut second = certificate.connect(server.clients).unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: "), "{answer}");
}

#[test]
fn origins_and_subscriptions_are_bounded_as_configured() {
    let server = Server::simulated_with(&[
        ("CONNECTOR_WSS_ORIGINS", "https://app.example"),
        ("CONNECTOR_WSS_SUBSCRIPTIONS_MAX", "1"),
        ("CONNECTOR_WSS_IDLE_TIMEOUT", "0.2"),
    ]);
    assert_eq!(upgrade(&server, "/", "Origin: https://evil.example\r\n").0, 403);
    assert_eq!(upgrade(&server, "/", "Origin: https://app.example\r\n").0, 101);
    let two = BTC.replace(r#""BTCUSDT""#, r#""BTCUSDT","ETHUSDT""#);
    let mut client = server.ask(&two.replacen('{', r#"{"op":"subscribe","#, 1));
    assert_eq!(client.next().json["code"], "too_many_subscriptions");
    client.send(BTC);
    client.next_of("quote");
    client.send(r#"{"op":"unsubscribe"}"#);
    client.next_of("unsubscribed");
    let (texts, code, _) = client.until_close();
    assert_eq!(texts.last().unwrap().json["code"], "idle_timeout");
    assert_eq!(code, 1008);
    assert_served_three(&mut server.ask(BTC_3));
}

#[test]
fn pages_of_other_sites_are_kept_out_on_both_ports_and_its_own_page_is_not() {
    let server = Server::simulated();
    let status = |address, host: &str, path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for (host, expected) in [
        ("localhost", "200"),
        ("127.0.0.1:8766", "200"),
        ("[::1]:8766", "200"),
        ("evil.example", "403"),
        ("localhost.evil.example:8766", "403"),
    ] {
        assert_eq!(status(server.ops, host, "/api/state"), expected, "{host}");
        assert_eq!(status(server.ops, host, "/health"), expected, "{host}");
        assert_eq!(status(server.clients, host, "/health"), expected, "{host}");
    }
    let page = format!("Origin: http://localhost:{}\r\n", server.ops.port());
    assert_eq!(upgrade(&server, "/", &page).0, 101, "its own page");
    assert_eq!(upgrade(&server, "/", "Origin: https://evil.example\r\n").0, 403);
    assert_eq!(upgrade(&server, "/", "").0, 101);
    assert_eq!(server.metric("connector_clients_refused_total", &["\"host\""]), 2.0);
    let open = Server::simulated_with(&[("CONNECTOR_WSS_ORIGINS", "*")]);
    assert_eq!(upgrade(&open, "/", "Origin: https://evil.example\r\n").0, 101);
    assert_eq!(status(open.ops, "evil.example", "/health"), "200");
}

#[test]
fn what_exceeds_the_allowance_is_served_late_and_whole() {
    const MESSAGES: u32 = CLIENT_MESSAGES_BURST + 2 * CLIENT_MESSAGES_PER_SECOND;
    let server = Server::simulated();
    let mut witness = server.ask(BTC);
    let mut client = server.ask(BTC);
    for id in 0..MESSAGES {
        client.send(&format!(r#"{{"op":"ping","id":{id}}}"#));
    }
    for id in 0..MESSAGES {
        assert_eq!(client.next_of("pong").json["id"], id);
    }
    witness.next_of("quote");
    assert_eq!(server.metric("connector_clients", &[]), 2.0);
}
