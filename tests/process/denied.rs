//! Exchanges that keep the real server out: a page instead of an answer, on REST and on the opening
//! handshake.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::harness::{Server, wait_until};

const PAGE: &str =
    "<html><body><h1>403</h1>Access from your country is set to blocked.</body></html>";

/// Answers every request with the page, and counts them.
fn firewall() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let lines = BufReader::new(&mut stream).lines();
            let _head = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).count();
            counted.fetch_add(1, Ordering::Relaxed);
            let head = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nConnection: close\r\n";
            let answer = format!("{head}Content-Length: {}\r\n\r\n{PAGE}", PAGE.len());
            // Who has gone has read enough.
            let _sent = stream.write_all(answer.as_bytes());
        }
    });
    (address, count)
}

#[test]
fn a_country_s_block_is_told_to_clients_and_in_ready_and_not_asked_about_again_at_once() {
    let (address, count) = firewall();
    let env = ["SPOT", "LINEAR", "INVERSE"].into_iter().flat_map(|kind| {
        [("WS", "ws"), ("REST", "http")].map(|(what, scheme)| {
            (format!("CONNECTOR_BYBIT_{kind}_{what}_URL"), format!("{scheme}://{address}"))
        })
    });
    let server = Server::start(env.collect(), &[]);
    let symbols: Vec<String> = (0..120).map(|number| format!("S{number}USDT")).collect();
    let request = serde_json::json!({
        "exchange": "bybit", "contract_type": "linear", "symbols": symbols
    });
    let notice = server.ask(&request.to_string()).next_of("notice");
    assert_eq!(notice.json["code"], "exchange_denies");
    let message = notice.json["message"].as_str().unwrap();
    assert!(message.contains("HTTP 403") && message.contains("Access from your"), "{message}");
    // The words of the page come with the log line, a moment after the status.
    wait_until("/ready names it", || {
        server.readiness("linear")["denied"].as_str().is_some_and(|said| said.contains("country"))
    });
    let denied = server.readiness("linear")["denied"].as_str().unwrap().to_owned();
    assert!(denied.contains("HTTP 403 \"403 Access from your country"), "{denied}");
    assert!(!denied.contains("limit"), "{denied}");
    wait_until("the metric", || server.metric("connector_sessions_denied", &["linear"]) == 1.0);
    assert!(count.load(Ordering::Relaxed) <= 6, "{count:?} requests of 120 symbols");
}
