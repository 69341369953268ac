//! Exchanges that only a proxy leads to: their name means nothing here.

use std::net::TcpListener;
use std::process::Command;

use connector_wss::market::Market;
use connector_wss::sim::{self, SimOptions, Simulator};
use serde_json::json;

use super::client::BTC;
use super::connect_proxy::{ConnectProxy, Manner};
use super::exchanges::synthetic;
use super::harness::{PROGRAM, Process, Scratch, Server, market, wait_until};

/// Known to the proxy only. Source: RFC 6761 keeps `.invalid` out of the DNS.
const NAME: &str = "exchange.invalid";

/// The variables that lead to the simulator by a name that nobody here knows.
fn env(simulator: &Simulator, more: &[(&str, String)]) -> Vec<(String, String)> {
    let lines = simulator.env().into_iter();
    let named =
        lines.map(|(name, value)| (name, value.replace("//127.0.0.1", "//exchange.invalid")));
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    named.chain(more).collect()
}

fn tls_simulator(folder: &Scratch) -> Simulator {
    let (names, path) = (vec![NAME.to_owned()], folder.0.join("ca.pem"));
    let tls = SimOptions { tls: true, tls_names: names, tls_ca_out: Some(path), ..<_>::default() };
    sim::start(tls).unwrap()
}

/// Asks for candles of the past, which only REST has, and for those to come.
fn assert_history_and_candles(server: &Server) {
    let request = json!({
        "exchange": "binance", "contract_type": "spot", "symbols": ["BTCUSDT"], "history": 5,
    });
    let mut client = server.ask(&request.to_string());
    let mut closed = 0;
    loop {
        let text = client.next_of("quote");
        if !text.is_closed_candle() {
            break;
        }
        closed += 1;
    }
    assert!(closed >= 5, "{closed} candles of the past");
}

#[test]
fn candles_and_history_come_through_a_proxy_that_alone_knows_the_exchange() {
    let folder = Scratch::new();
    let (simulator, proxy) = (tls_simulator(&folder), ConnectProxy::start(Manner::Leads));
    let url = format!("http://{}", proxy.address);
    let server = Server::start_with(&[], &env(&simulator, &[("HTTPS_PROXY", url.clone())]));
    assert_history_and_candles(&server);
    let spot = market("spot");
    let asked = format!("CONNECT {NAME}:{} HTTP/1.1", simulator.address(spot).port());
    let requests = proxy.requests();
    assert!(requests.iter().filter(|line| **line == asked).count() >= 2, "{requests:?}");
    assert!(server.log().contains(&format!("proxy {url} (HTTPS_PROXY) leads to wss://")));
    assert_eq!(server.metric("connector_connection_errors_total", &[]), 0.0);
}

#[test]
fn every_exchange_is_reached_in_clear_through_all_proxy() {
    let options = SimOptions { symbols_extra: 1, ..SimOptions::default() };
    let (simulator, proxy) = (sim::start(options).unwrap(), ConnectProxy::start(Manner::Leads));
    let url = format!("http://{}", proxy.address);
    let server = Server::start_with(&[], &env(&simulator, &[("all_proxy", url)]));
    for market in Market::all() {
        let symbol = synthetic(market, 1);
        let request = json!({
            "exchange": market.venue().name(), "contract_type": market.contract_type().name(),
            "symbols": [symbol],
        });
        server.ask(&request.to_string()).next_of("quote");
    }
    assert_eq!(server.metric("connector_connection_errors_total", &[]), 0.0);
}

#[test]
fn user_and_password_are_shown_to_the_proxy_and_to_no_log() {
    let folder = Scratch::new();
    // `me:se:cret`
    let manner = Manner::Asks("bWU6c2U6Y3JldA==");
    let (simulator, proxy) = (tls_simulator(&folder), ConnectProxy::start(manner));
    let url = format!("http://me:se%3Acret@{}", proxy.address);
    let server = Server::start_with(&[], &env(&simulator, &[("HTTPS_PROXY", url)]));
    assert_history_and_candles(&server);
    let said = server.log() + &server.process.stderr();
    assert!(!said.contains("cret") && !said.contains("bWU6"), "{said}");
}

#[test]
fn a_proxy_that_refuses_is_named_and_not_taken_for_the_exchange() {
    let folder = Scratch::new();
    let simulator = tls_simulator(&folder);
    let page =
        "403 Forbidden\r\nContent-Length: 44\r\n\r\n<html><body>Not by this company</body></html>";
    for (answer, words) in [
        ("407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "USER:PASSWORD@HOST"),
        ("502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "Bad Gateway"),
        (page, "Not by this company"),
    ] {
        let proxy = ConnectProxy::start(Manner::Answers(answer));
        let url = format!("http://{}", proxy.address);
        let soon = ("CONNECTOR_CIRCUIT_BREAKER_FAILURE_THRESHOLD", "2".to_owned());
        let more = [("HTTPS_PROXY", url.clone()), soon];
        let server = Server::start_with(&[], &env(&simulator, &more));
        let notice = server.ask(BTC).next_of("notice");
        let message = notice.json["message"].as_str().unwrap();
        let status = &answer[..3];
        assert!(message.contains(&format!("proxy {url}: HTTP {status}")), "{message}");
        assert!(message.contains(words), "{message}");
        assert_ne!(notice.json["code"], "exchange_denies", "{message}");
        let labels = ["contract_type=\"spot\"", "exchange=\"binance\""];
        let proxies = [&labels[..], &["cause=\"proxy\""]].concat();
        assert!(server.metric("connector_connection_errors_total", &proxies) >= 1.0);
        wait_until("the breaker opens", || {
            server.metric("connector_circuit_breaker_state", &labels) == 1.0
        });
        for kind in ["sessions", "rest"] {
            assert_eq!(server.metric(&format!("connector_{kind}_denied"), &labels), 0.0, "{kind}");
        }
        assert!(proxy.requests().len() < 100, "it is left alone in between");
    }
}

#[test]
fn a_dead_proxy_is_named() {
    let folder = Scratch::new();
    let simulator = tls_simulator(&folder);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for (host, words) in [
        (free.to_string(), "refused"),
        (format!("{NAME}:1"), "not known"),
        (silent.local_addr().unwrap().to_string(), "no answer to CONNECT"),
    ] {
        let url = format!("http://{host}");
        let server = Server::start_with(&[], &env(&simulator, &[("HTTPS_PROXY", url.clone())]));
        let notice = server.ask(BTC).next_of("notice");
        let message = notice.json["message"].as_str().unwrap();
        assert!(message.contains(&format!("proxy {url}: ")), "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_proxy_of_another_kind_is_refused_at_the_start() {
    let url = "socks5://me:cret@proxy:1080".to_owned();
    let mut server = Process::spawn(&mut Command::new(PROGRAM), &[("ALL_PROXY".to_owned(), url)]);
    assert_eq!(server.wait().code(), Some(2));
    let said = server.stderr();
    assert!(said.contains("ALL_PROXY=socks5://") && said.contains("NO_PROXY=*"), "{said}");
    assert!(!said.contains("cret"), "{said}");
}
