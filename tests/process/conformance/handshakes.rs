//! What each kind of opening request is answered. No suite covers it.

use super::super::harness::Server;
use super::super::raw::{FINAL, PING, PONG, Raw, UPGRADE, frame};

/// Everything the server says to `request`, up to FIN, as far as it is HTTP.
fn refusal(server: &Server, request: &[u8]) -> String {
    use std::io::Read;
    let mut raw = Raw::connect(server.clients);
    raw.send(request);
    let mut answer = String::new();
    raw.0.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_opening_request_has_its_status() {
    let server = Server::simulated();
    let with = |from: &str, to: &str| {
        assert!(UPGRADE.contains(from));
        UPGRADE.replacen(from, to, 1)
    };
    let many: String = (0..101).map(|number| format!("X-{number}: y\r\n")).collect();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 426),
        (with("GET", "POST"), 405),
        (with("HTTP/1.1", "HTTP/1.0"), 505),
        (with("Sec-WebSocket-Key", "X-Key"), 400),
        (with("dGhlIHN", "dGhl"), 400),
        (with("Host:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nHost:"), 400),
        (with("Version: 13", "Version: 8"), 426),
        (with("Version: 13", "Version: 14"), 426),
        (with("Host:", &format!("{many}Host:")), 431),
        (with("Host:", &format!("X: {}\r\nHost:", "y".repeat(17_000))), 431),
        (UPGRADE.replace("\r\n", "\n"), 400),
        (with("localhost", "local\0host"), 400),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".to_owned(), 400),
    ] {
        let answer = refusal(&server, request.as_bytes());
        let wanted = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&wanted), "{request:.300}\n{answer}");
        assert!(status != 426 || answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{answer}");
    }
}

#[test]
fn an_unusual_request_that_is_in_order_is_accepted() {
    let server = Server::simulated();
    let ping = frame(FINAL | PING, b"glued");
    for (request, bytes) in [
        (UPGRADE.replace("Upgrade: websocket", "uPGRADE: foo, WebSocket"), usize::MAX),
        (UPGRADE.replace("Connection: Upgrade", "connection: keep-alive, UPGRADE"), usize::MAX),
        (UPGRADE.replace("Host:", &format!("X: {}\r\nHost:", "y".repeat(8000))), usize::MAX),
        (UPGRADE.to_owned(), 1),
        (UPGRADE.to_owned(), 7),
    ] {
        let mut raw = Raw::connect(server.clients);
        // The first frame comes with the request.
        let sent = [request.as_bytes(), &ping].concat();
        sent.chunks(bytes).for_each(|piece| raw.send(piece));
        let head = raw.http_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{request}\n{head}");
        assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert_eq!(raw.frame(), Some((FINAL | PONG, b"glued".to_vec())));
    }
}
