//! The opening handshake of the client port, row by row: what is sent, what it is answered with,
//! and how long that may take.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::certificates::Certificate;
use super::harness::Server;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// `CONNECTOR_WSS_HANDSHAKE_TIMEOUT` of these tests.
const DEADLINE: Duration = Duration::from_secs(1);
/// What a busy host may add to anything.
const SLACK: Duration = Duration::from_secs(10);

/// One handshake.
struct Row {
    name: &'static str,
    /// Written one after the other; the answer is read after the last.
    writes: Vec<Vec<u8>>,
    /// 0: the connection ends without a word.
    status: u16,
    /// Parts of the answer, and parts that must not be in it.
    with: &'static [&'static str],
    without: &'static [&'static str],
    within: Duration,
}

fn row(name: &'static str, request: impl Into<Vec<u8>>, status: u16) -> Row {
    let writes = vec![request.into()];
    Row { name, writes, status, with: &[], without: &[], within: SLACK }
}

impl Row {
    fn with(self, with: &'static [&'static str]) -> Self {
        Self { with, ..self }
    }

    fn without(self, without: &'static [&'static str]) -> Self {
        Self { without, ..self }
    }

    fn after_the_deadline(self) -> Self {
        Self { within: DEADLINE + SLACK, ..self }
    }

    /// Sends it and checks what comes back.
    fn check(&self, server: SocketAddr) {
        let mut stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(self.within)).unwrap();
        for bytes in &self.writes {
            stream.write_all(bytes).unwrap();
        }
        let answer = read_answer(&mut stream, self.status, self.name);
        let status = answer.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
        assert_eq!(status, self.status, "{}: {answer}", self.name);
        for part in self.with {
            assert!(answer.contains(part), "{}: no {part}: {answer}", self.name);
        }
        for part in self.without {
            assert!(!answer.contains(part), "{}: {part}: {answer}", self.name);
        }
    }
}

/// The head of an upgrade, or everything up to the end.
fn read_answer(stream: &mut TcpStream, status: u16, name: &str) -> String {
    let mut answer = Vec::new();
    let mut byte = [0; 1];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => answer.push(byte[0]),
            Err(error) => panic!("{name}: {error} after {}", String::from_utf8_lossy(&answer)),
        }
        if status == 101 && answer.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    // A TLS alert is no word of HTTP.
    String::from_utf8(answer).unwrap_or_default()
}

fn with_line(line: &str) -> String {
    UPGRADE.replace("Host: localhost\r\n", &format!("Host: localhost\r\n{line}\r\n"))
}

fn rows() -> Vec<Row> {
    let odd = UPGRADE
        .replace("Upgrade: websocket", "uPGRADE: h2c , WebSocket")
        .replace("Connection: Upgrade", "CONNECTION: keep-alive,\tUPGRADE, x");
    let single = UPGRADE.bytes().map(|byte| vec![byte]).collect();
    let headers = "X: y\r\n".repeat(101 - 5);
    let json: &[&str] = &["Content-Type: application/json", "Content-Length: "];
    let version: &[&str] = &["\r\nSec-WebSocket-Version: 13\r\n"];
    vec![
        row("an upgrade", UPGRADE, 101).with(&["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]),
        row("plain GET", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 426).with(version),
        row("GET of health", "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 200).with(json),
        row("GET of health in 1.0", "GET /health HTTP/1.0\r\n\r\n", 200).with(&["\"healthy\""]),
        row("HEAD of health", "HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 200)
            .with(json)
            .without(&["healthy"]),
        row("POST", UPGRADE.replace("GET", "POST"), 405).with(&["\r\nAllow: GET\r\n"]),
        row("HEAD", UPGRADE.replace("GET", "HEAD"), 405).without(&["begins with"]),
        row("HTTP/1.0", UPGRADE.replace("HTTP/1.1", "HTTP/1.0"), 505),
        row("HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        row("no key", UPGRADE.replace(KEY, ""), 400).with(&["Sec-WebSocket-Key"]),
        row("a malformed key", UPGRADE.replace("dGhl", "===="), 400),
        row("a key that is too short", UPGRADE.replace("dGhlIHNh", "dGhl"), 400),
        row("a duplicate key", with_line(KEY.trim_end()), 400),
        row("version 8", UPGRADE.replace("Version: 13", "Version: 8"), 426).with(version),
        row("version 14", UPGRADE.replace("Version: 13", "Version: 14"), 426).with(version),
        row("no version", UPGRADE.replace("Sec-WebSocket-Version: 13\r\n", ""), 426).with(version),
        row("token lists and odd case", odd, 101),
        row("8 KiB of header", with_line(&format!("X: {}", "y".repeat(8 * 1024))), 101),
        row("17 KiB of header", with_line(&format!("X: {}", "y".repeat(17 * 1024))), 431),
        row("101 headers", with_line(headers.trim_end()), 431),
        row(
            "a long target",
            UPGRADE.replace("GET /", &format!("GET /{}", "x".repeat(17_000))),
            414,
        ),
        row("bare LF", UPGRADE.replace("\r\n", "\n"), 400),
        row("NUL", with_line("X: \0"), 400),
        row("no host", UPGRADE.replace("Host: localhost\r\n", ""), 400),
        row("two hosts", with_line("Host: elsewhere"), 400),
        row("a body", with_line("Content-Length: 5"), 400),
        row("a coded body", with_line("Transfer-Encoding: chunked"), 400),
        row("no HTTP", "hello\r\n\r\n", 400),
        Row { writes: single, ..row("single bytes", "", 101) },
        row("permessage-deflate", with_line("Sec-WebSocket-Extensions: permessage-deflate"), 101)
            .without(&["Extensions"]),
        row("a subprotocol of others", with_line("Sec-WebSocket-Protocol: mqtt, wamp"), 101)
            .without(&["Protocol:"]),
        row("our subprotocol", with_line("Sec-WebSocket-Protocol: mqtt, connector-wss"), 101)
            .with(&["\r\nSec-WebSocket-Protocol: connector-wss\r\n"]),
        row("an origin of the host", with_line("Origin: https://localhost:3000"), 101),
        row("an origin", with_line("Origin: https://anything.example"), 403),
        row("another host", UPGRADE.replace("localhost", "evil.example"), 403),
        row("TLS", [&[0x16, 3, 1, 0, 200, 1][..], &[0; 199]].concat(), 400).with(&["not wss://"]),
        row("silence", "", 408).after_the_deadline(),
        row("silence after half a head", &UPGRADE[..60], 408).after_the_deadline(),
    ]
}

const HANDSHAKE_TIMEOUT: (&str, &str) = ("CONNECTOR_WSS_HANDSHAKE_TIMEOUT", "1");

#[test]
fn each_handshake_has_its_answer_and_its_time() {
    let server = Server::simulated_with(&[HANDSHAKE_TIMEOUT]);
    rows().iter().for_each(|row| row.check(server.clients));
    let refused = |reason| {
        server.metric("connector_clients_refused_total", &[&format!("reason=\"{reason}\"")])
    };
    assert_eq!((refused("timeout"), refused("tls")), (2.0, 1.0));
    assert!(refused("request") > 15.0);
    assert!(server.log().contains("wss:// was spoken on the plain ws:// port"));
}

#[test]
fn a_frame_glued_to_the_request_is_answered_after_it() {
    let server = Server::simulated();
    let mut stream = TcpStream::connect(server.clients).unwrap();
    stream.set_read_timeout(Some(SLACK)).unwrap();
    let ping = [0x89, 0x82, 0, 0, 0, 0, b'h', b'i'];
    stream.write_all(&[UPGRADE.as_bytes(), &ping].concat()).unwrap();
    assert!(read_answer(&mut stream, 101, "glued").starts_with("HTTP/1.1 101 "));
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(pong, [0x8a, 2, b'h', b'i']);
}

#[test]
fn plain_text_on_the_tls_port_is_told_so_and_logged() {
    let certificate = Certificate::new();
    let mut env = certificate.env();
    env.push((HANDSHAKE_TIMEOUT.0.to_owned(), HANDSHAKE_TIMEOUT.1.to_owned()));
    let server = Server::start_with(&["--simulate"], &env);
    for row in [
        row("HTTP", "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400).with(&["wss://"]),
        row("ws", UPGRADE, 400).with(&["wss://"]),
        row("garbage", [0xff; 64], 400),
        row("garbage in TLS", [&[0x16, 3, 1, 0, 64][..], &[0xff; 64]].concat(), 0),
        row("silence", "", 0).after_the_deadline(),
        row("half a hello", [0x16, 3, 1, 0, 200, 1], 0).after_the_deadline(),
    ] {
        row.check(server.clients);
    }
    assert!(server.log().contains("plain text was spoken on the wss:// port"));
    assert!(server.metric("connector_clients_refused_total", &["reason=\"tls\""]) >= 4.0);
}
