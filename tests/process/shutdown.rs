//! SIGTERM: everybody is told and gets what is owed, whatever goes on around it.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use connector_wss::clock::Clock;
use connector_wss::sim::{self, SimOptions};
use rustix::process::Signal;

use super::client::{BTC, BTC_3, Client, assert_served_three};
use super::harness::{Exchange, PATIENCE, Server, ask_exchange, http, market, wait_until};

/// Of these tests, in seconds, as `CONNECTOR_DRAIN_TIMEOUT`.
const DRAIN_S: u64 = 1;
const DRAIN: (&str, &str) = ("CONNECTOR_DRAIN_TIMEOUT", "1");

/// Ends the server in order: exit code 0 within the drain time and 3 s, and the last line.
fn stop(server: &mut Server) {
    let clock = Clock::new();
    let start = clock.mono();
    server.process.signal(Signal::TERM);
    let status = server.process.wait();
    assert_eq!(status.code(), Some(0), "{status}");
    let took = clock.mono().since(start);
    assert!(took < Duration::from_secs(DRAIN_S + 3), "{took:?}");
    let log = server.log();
    assert!(log.trim_end().ends_with("Server shutdown complete"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

/// The notice is the last text, the code 1001.
fn assert_told(client: &mut Client) {
    let (texts, code, reason) = client.until_close();
    let notice = &texts.last().unwrap().json;
    assert_eq!((&notice["type"], &notice["code"]), (&"notice".into(), &"draining".into()));
    assert_eq!((code, &*reason), (1001, "the server is going down"));
}

#[test]
fn every_client_is_told_and_closed_with_1001() {
    let mut server = Server::simulated();
    let mut clients: Vec<Client> = (0..20).map(|_| server.ask(BTC)).collect();
    clients.push(server.connect());
    for client in &mut clients[..20] {
        client.next_of("quote");
    }
    stop(&mut server);
    clients.iter_mut().for_each(assert_told);
    assert!(TcpStream::connect(server.clients).is_err(), "nobody listens any more");
}

#[test]
fn what_is_owed_is_written_before_the_close() {
    let symbols: Vec<String> = (1..=400).map(|number| format!("SIM{number:04}USDT")).collect();
    let options =
        SimOptions { symbols_extra: symbols.len(), time_scale: 240, ..SimOptions::default() };
    let simulator = sim::start(options).unwrap();
    let buffer = ("CONNECTOR_CLIENT_BUFFER_MAX", "1000000000");
    let mut server = Server::start(simulator.env(), &[("CONNECTOR_DRAIN_TIMEOUT", "20"), buffer]);
    let request = serde_json::json!({
        "exchange": "binance", "contract_type": "spot", "symbols": symbols, "closed_only": true,
    });
    let mut client = Client::connect_narrow(server.clients);
    client.send(&request.to_string());
    client.next_of("quote");
    // Not read: kernel buffers fill, then the outbox. Sent counts only what left the outbox.
    let closed = |server: &Server| {
        let labels = ["contract_type=\"spot\"", "is_closed=\"True\""];
        server.metric("connector_quotes_processed_total", &labels)
    };
    wait_until("more is published than is sent", || {
        let published = closed(&server);
        published - server.metric("connector_sent_messages_total", &[]) > 2_000.0
    });
    server.process.signal(Signal::TERM);
    wait_until("/ready says draining", || server.get("/ready").1.contains("\"draining\""));
    assert_eq!(server.get("/ready").0, 503);
    let (texts, code, _) = client.until_close();
    assert_eq!(code, 1001);
    assert!(texts.last().unwrap().is("notice"), "the notice comes behind what is owed");
    let quotes = &texts[..texts.len() - 1];
    assert!(quotes.len() > 2_000 && quotes.iter().all(|quote| quote.is_closed_candle()));
    for symbol in &symbols {
        let of_symbol = quotes.iter().filter(|quote| quote.json["symbol"] == **symbol);
        let seqs: Vec<i64> = of_symbol.map(|quote| quote.json["seq"].as_i64().unwrap()).collect();
        assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{symbol}: {seqs:?}");
    }
    assert_eq!(server.process.wait().code(), Some(0));
}

/// A client of the exchange under load that never reads; the server has found its socket full.
fn stuck_client(server: &Server) -> Client {
    let symbols: Vec<String> = (1..=50).map(|number| format!("SIM{number:04}USDT")).collect();
    let request = serde_json::json!({
        "exchange": "binance", "contract_type": "spot", "symbols": symbols,
    });
    let mut client = Client::connect_narrow(server.clients);
    client.send(&request.to_string());
    wait_until("the socket is full", || server.metric("connector_conflated_total", &[]) > 0.0);
    client
}

fn loaded() -> SimOptions {
    SimOptions { symbols_extra: 50, updates_per_second: 100, ..SimOptions::default() }
}

#[test]
fn a_client_that_never_reads_delays_the_end_no_longer_than_the_drain() {
    let simulator = sim::start(loaded()).unwrap();
    let mut server = Server::start(simulator.env(), &[DRAIN]);
    let stuck = stuck_client(&server);
    stop(&mut server);
    drop(stuck);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let simulator = sim::start(loaded()).unwrap();
    let endless = ("CONNECTOR_DRAIN_TIMEOUT", "600");
    let mut server = Server::start(simulator.env(), &[endless]);
    let stuck = stuck_client(&server);
    server.process.signal(Signal::TERM);
    wait_until("it drains", || server.get("/ready").1.contains("\"draining\""));
    assert!(server.process.is_running());
    server.process.signal(Signal::TERM);
    assert_eq!(server.process.wait().code(), Some(1));
    drop(stuck);
}

#[test]
fn a_draining_server_turns_away_who_is_at_the_door_and_leaves_its_port_to_another() {
    let simulator = sim::start(loaded()).unwrap();
    let endless = ("CONNECTOR_DRAIN_TIMEOUT", "600");
    let server = Server::start(simulator.env(), &[endless]);
    let stuck = stuck_client(&server);
    let mut early = TcpStream::connect(server.clients).unwrap();
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    wait_until("it was accepted", || server.metric("connector_clients", &[]) == 2.0);
    server.process.signal(Signal::TERM);
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: "), "{answer}");
    assert!(TcpStream::connect(server.clients).is_err(), "nobody is let in any more");
    assert_eq!(server.get("/ready").0, 503);

    let port = server.clients.port().to_string();
    let successor = Server::simulated_with(&[("CONNECTOR_WSS_PORT", &port)]);
    assert_eq!(http(successor.clients, "/health").0, 200);
    assert_served_three(&mut successor.ask(BTC_3));
    assert!(server.get("/ready").1.contains("\"draining\""), "the first is not done yet");
    drop(stuck);
}

#[test]
fn it_ends_in_order_during_a_connect_storm() {
    let exchange = sim::start(SimOptions::default()).unwrap();
    let mut server = Server::start(exchange.env(), &[DRAIN]);
    let mut client = server.ask(BTC);
    client.next_of("quote");
    let is_over = AtomicBool::new(false);
    let (address, is_over) = (server.clients, &is_over);
    std::thread::scope(|scope| {
        (0..3).for_each(|_| drop(scope.spawn(move || storm(address, is_over))));
        wait_until("the storm is on", || {
            server.metric("connector_clients_accepted_total", &[]) > 200.0
        });
        let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stop(&mut server)));
        is_over.store(true, Ordering::Release);
        stopped.unwrap();
    });
    assert_told(&mut client);
}

/// Connects, asks, leaves at once or stays for a while, and again.
fn storm(server: SocketAddr, is_over: &AtomicBool) {
    let mut staying = Vec::new();
    while !is_over.load(Ordering::Acquire) {
        let Some(mut client) = Client::try_connect(server) else { continue };
        if client.0.send(tungstenite::Message::text(BTC)).is_ok() && staying.len() < 50 {
            staying.push(client);
        }
    }
}

#[test]
fn it_ends_in_order_while_the_exchange_refuses_connections() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let address = simulator.address(market("spot"));
    ask_exchange(address, "/fault?contract_type=spot&name=refuse&value=600");
    let mut server = Server::start(simulator.env(), &[DRAIN]);
    let mut client = server.ask(BTC);
    assert!(client.next().is("subscribed"));
    wait_until("the exchange has refused", || {
        server.metric("connector_connection_errors_total", &["\"spot\""]) >= 1.0
    });
    assert_eq!(server.get("/ready").0, 503);
    stop(&mut server);
    assert_told(&mut client);
}

#[test]
fn it_ends_in_order_where_nothing_listens_at_the_exchange() {
    let mut exchange = Exchange::start(&[]);
    exchange.process.signal(Signal::TERM);
    assert!(exchange.process.wait().success());
    let preload = ("CONNECTOR_PRELOAD", "binance:spot:BTCUSDT;binance:usdm:BTCUSDT");
    let mut server = Server::start(exchange.env.clone(), &[DRAIN, preload]);
    wait_until("a connection has failed", || {
        server.metric("connector_connection_errors_total", &[]) >= 2.0
    });
    stop(&mut server);
}
