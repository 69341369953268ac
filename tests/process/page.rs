//! The page on the ops port: what a browser is given, and what it may load.

use std::io::{Read, Write};
use std::net::TcpStream;

use connector_wss::limits::OPS_SEND_BUFFER_BYTES;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::client::BTC;
use super::harness::{Exchange, PATIENCE, Scratch, Server, wait_until};

/// Head and body of the answer.
fn fetch(server: &Server, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.ops).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = server.ops;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(one, _)| *one == name).unwrap_or_else(|| panic!("no {name}: {head}")).1
}

fn state(server: &Server) -> Value {
    serde_json::from_str(&server.get("/api/state").1).unwrap()
}

#[test]
fn the_page_brings_all_it_needs_and_may_load_nothing_else() {
    let server = Server::simulated();
    let (head, page) = fetch(&server, "GET", "/");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(header(&head, "Content-Type"), "text/html; charset=utf-8");
    let policy = header(&head, "Content-Security-Policy");
    let clients = format!("connect-src 'self' ws://{}:{};", "127.0.0.1", server.clients.port());
    assert!(policy.starts_with("default-src 'none'; ") && policy.contains(&clients), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert!(page.starts_with("<!doctype html>") && page.contains("<style>"));
    for loads in
        [" src=", "@import", "url(http", "url(//", "<link rel=\"stylesheet", "<iframe", "import("]
    {
        assert!(!page.contains(loads), "{loads}");
    }
}

#[test]
fn who_does_not_read_the_page_leaves_little_of_it_in_the_kernel() {
    let server = Server::simulated();
    let ask = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&server.ops.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    };
    let _asking: Vec<TcpStream> = (0..20).map(|_| ask()).collect();
    // Whoever asks later is served, so these have what they will have.
    wait_until("some of the page waits", || unsent(&server) > 0);
    assert_eq!(server.get("/health").0, 200);
    assert!(unsent(&server) <= 2 * OPS_SEND_BUFFER_BYTES, "{} bytes", unsent(&server));
}

/// The most bytes that one client of the ops port has not taken. Source: proc_net_tcp, `tx_queue`.
fn unsent(server: &Server) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", server.ops.port());
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let own = rows.filter(|fields| fields[1].ends_with(&port));
    let queues = own.map(|fields| usize::from_str_radix(&fields[4][..8], 16).unwrap());
    queues.max().unwrap_or(0)
}

/// What leads out of the page is the chart authors' due: where they are to be found, in words and
/// as a link to be followed by hand, and their licence. The rest is the name of a file format.
#[test]
fn no_address_of_others_is_in_the_page_but_those_its_chart_obliges_it_to_name() {
    let server = Server::simulated();
    let page = server.get("/").1;
    let known = [
        "https://www.tradingview.com/",
        "https://www.apache.org/licenses/LICENSE-2.0",
        "http://www.w3.org/2000/svg",
        // The page's own words for the clients' port: its host is put in by the browser.
        "https://${location.hostname}:",
    ];
    let addresses = page.match_indices("://").map(|(at, _)| {
        let start = page[..at].rfind(|c: char| !c.is_ascii_alphabetic()).map_or(0, |one| one + 1);
        &page[start..]
    });
    for address in addresses.filter(|one| one.starts_with("http")) {
        let shown: String = address.chars().take(60).collect();
        assert!(known.iter().any(|known| address.starts_with(known)), "{shown}");
    }
    assert!(server.get("/licenses").1.contains("Apache License"));
}

#[test]
fn head_says_what_get_would_bring() {
    let server = Server::simulated();
    let (get, page) = fetch(&server, "GET", "/");
    let (head, nothing) = fetch(&server, "HEAD", "/");
    assert_eq!(nothing, "");
    assert_eq!(header(&head, "Content-Length"), page.len().to_string());
    for name in ["Content-Type", "Content-Security-Policy"] {
        assert_eq!(header(&head, name), header(&get, name));
    }
}

#[test]
fn the_state_tells_an_exchange_that_is_lost_and_one_that_is_back() {
    let exchange = Exchange::start(&[]);
    let soon =
        [("CONNECTOR_CIRCUIT_BREAKER_RECOVERY_TIMEOUT", "1"), ("CONNECTOR_RECONNECT_DELAY", "0.2")];
    let server = Server::start(exchange.env.clone(), &soon);
    let request = r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]}"#;
    let mut client = server.ask(request);
    client.next_of("quote");
    let spot = || state(&server)["exchanges"][0].clone();
    wait_until("the session is live", || spot()["active_connections"] == 1);
    assert_eq!(spot()["healthy"], true);
    assert_eq!(spot()["instruments"], 1);
    let port = exchange.address("SPOT").port().to_string();
    drop(exchange);
    wait_until("the loss is told", || spot()["healthy"] == false);
    assert_eq!(state(&server)["status"], "not_ready");
    let _again = Exchange::start(&["--spot-port", &port]);
    wait_until("the return is told", || spot()["healthy"] == true);
}

#[test]
fn on_the_simulated_exchanges_a_symbol_is_streamed_before_anybody_asks() {
    let server = Server::simulated();
    wait_until("its session is live", || server.is_ready());
    assert_eq!(state(&server)["exchanges"][0]["instruments"], 1);
    let named = Server::simulated_with(&[("CONNECTOR_PRELOAD", "okx:spot:BTC-USDT")]);
    wait_until("its session is live", || named.is_ready());
    assert_eq!(state(&named)["exchanges"][0]["instruments"], 0, "what is named is all there is");
}

#[test]
fn the_state_shows_what_the_ledger_stores_and_that_it_does_not() {
    let exchange = Exchange::start(&[]);
    let folder = Scratch::new();
    let file = folder.0.join("candles.sqlite");
    let start = |file: &str| {
        let preload = ("CONNECTOR_PRELOAD", "binance:spot:BTCUSDT,ETHUSDT");
        Server::start(exchange.env.clone(), &[("CONNECTOR_LEDGER_FILE", file), preload])
    };
    let server = start(file.to_str().unwrap());
    let ledger = || state(&server)["ledger"].clone();
    let mut client = server.ask(BTC);
    while !client.next().is_closed_candle() {}
    wait_until("the minute is stored", || ledger()["rows"].as_u64().unwrap() >= 2);
    let stored = ledger();
    assert_eq!((&stored["enabled"], &stored["storing"]), (&true.into(), &true.into()));
    assert_eq!((&stored["errors"], &stored["not_stored"]), (&0.into(), &0.into()));
    let rows = server.metric("connector_ledger_rows_total", &[]);
    assert!(stored["rows"].as_f64().unwrap() <= rows, "{stored}");
    let newest = stored["newest_close"].as_str().unwrap();
    assert!(newest.contains(":59.999") && newest.ends_with("+00:00"), "{newest}");
    wait_until("its size is known", || ledger()["bytes"].as_i64().unwrap() > 4096);

    let failing = start("/dev/null/candles.sqlite");
    let ledger = state(&failing)["ledger"].clone();
    assert_eq!((&ledger["enabled"], &ledger["storing"]), (&true.into(), &false.into()));
    assert!(ledger["errors"].as_u64().unwrap() > 0 && ledger["newest_close"].is_null(), "{ledger}");
    let off = state(&start(""))["ledger"].clone();
    assert_eq!((&off["enabled"], &off["storing"]), (&false.into(), &false.into()));
}

#[test]
fn the_state_tells_a_browser_how_to_get_in_and_no_secret() {
    let server = Server::simulated_with(&[("CONNECTOR_WSS_ORIGINS", "http://localhost:1")]);
    let state = state(&server);
    let expected = serde_json::json!({
        "port": server.clients.port(), "tls": false, "token": false,
        "origins": ["http://localhost:1"], "history_candles": 120,
    });
    assert_eq!(state["clients_port"], expected);
    assert_eq!(state["exchanges"].as_array().unwrap().len(), 15);
    let hops = state["hops"].as_array().unwrap().iter().map(|hop| hop["name"].as_str().unwrap());
    assert_eq!(hops.collect::<Vec<_>>(), ["kernel", "decode", "ring", "write", "total"]);
}
