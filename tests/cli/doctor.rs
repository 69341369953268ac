//! `connector-cli doctor` and `connector-cli healthcheck`.

use std::net::TcpListener;

use connector_wss::market::Market;
use serde_json::Value;

use super::connect_proxy::{ConnectProxy, Manner};
use super::harness::Server;
use super::{Env, run, simulator};

/// Every URL at a port where nobody listens.
fn nowhere() -> Env {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let urls = |market: Market| {
        let (venue, kind) = (market.venue().name(), market.contract_type().name());
        [("WS", "ws"), ("REST", "http")].map(|(what, scheme)| {
            let name = format!("CONNECTOR_{venue}_{kind}_{what}_URL").to_ascii_uppercase();
            (name, format!("{scheme}://{address}"))
        })
    };
    Market::all().flat_map(urls).collect()
}

fn checks<'a>(report: &'a Value, about: &str) -> Vec<&'a Value> {
    let all = report["checks"].as_array().unwrap();
    all.iter().filter(|check| check["about"] == about).collect()
}

#[test]
fn every_exchange_that_cannot_be_reached_is_named_with_a_remedy() {
    let env = nowhere();
    let (code, text, _) = run("doctor", &env);
    assert_eq!(code, Some(1), "{text}");
    let (code, json, _) = run("doctor --json", &env);
    assert_eq!(code, Some(1));
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["healthy"], false);
    for market in Market::all() {
        assert!(text.lines().any(|line| line == market.to_string()), "{market}: {text}");
        let variable = format!("CONNECTOR_{market}_WS_URL").replace(' ', "_").to_ascii_uppercase();
        let checks = checks(&report, &market.to_string());
        let tcp = checks.iter().find(|check| check["check"] == "TCP").unwrap();
        assert_eq!(tcp["outcome"], "failed");
        assert!(tcp["found"].as_str().unwrap().contains("refused"), "{tcp}");
        assert!(tcp["remedy"].as_str().unwrap().contains(&variable), "{tcp}");
        let trial = checks.iter().find(|check| check["check"] == "subscription").unwrap();
        assert_eq!(trial["outcome"], "skipped");
    }
}

#[test]
fn the_simulated_exchanges_are_healthy() {
    let (_simulator, env) = simulator(&[]);
    let (_, json, stderr) = run("doctor --json", &env);
    let report: Value = serde_json::from_str(&json).unwrap_or_else(|_| panic!("{json}{stderr}"));
    assert_eq!(checks(&report, "host")[0]["check"], "io_uring");
    for market in Market::all() {
        let checks = checks(&report, &market.to_string());
        let names: Vec<&str> = checks.iter().map(|one| one["check"].as_str().unwrap()).collect();
        assert_eq!(names, ["DNS", "TCP", "REST", "clock", "subscription"], "{market}");
        assert!(checks.iter().all(|check| check["outcome"] == "ok"), "{checks:#?}");
    }
}

#[test]
fn an_exchange_whose_clock_is_another_is_found_out() {
    let (_simulator, env) = simulator(&["--time-scale", "1000"]);
    let (code, text, _) = run("doctor hyperliquid", &env);
    assert_eq!(code, Some(1), "{text}");
    let clock = text.lines().find(|line| line.contains(" clock ")).unwrap();
    assert!(clock.contains("WRONG"), "{text}");
    assert!(!text.contains("binance"), "only what was asked for: {text}");
}

#[test]
fn a_name_without_an_address_is_told_as_such() {
    let mut env = nowhere();
    for (name, value) in env.iter_mut().filter(|(name, _)| name.contains("BYBIT_SPOT")) {
        let scheme = if name.contains("_WS_") { "wss" } else { "https" };
        *value = format!("{scheme}://nowhere.invalid");
    }
    let (code, text, _) = run("doctor bybit", &env);
    assert_eq!(code, Some(1));
    assert!(text.contains("nowhere.invalid cannot be looked up"), "{text}");
}

#[test]
fn a_proxy_is_named_with_what_it_answers() {
    let (_simulator, mut env) = simulator(&[]);
    env.iter_mut().for_each(|(_, url)| *url = url.replace("127.0.0.1", "exchange.invalid"));
    let outcome = |manner: Option<Manner>| {
        let proxy = manner.map(ConnectProxy::start);
        let closed = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = proxy.map_or_else(closed, |proxy| proxy.address);
        let mut env = env.clone();
        env.push(("ALL_PROXY".to_owned(), format!("http://{address}")));
        let (code, text, _) = run("doctor binance", &env);
        (code, text.replace(&address.to_string(), "PROXY"))
    };
    let (code, text) = outcome(Some(Manner::Leads));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("http://PROXY (ALL_PROXY) leads to ws:// and http://"), "{text}");
    assert!(text.contains("http://PROXY leads there in"), "{text}");
    let refusal = "407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    let (code, text) = outcome(Some(Manner::Answers(refusal)));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("proxy http://PROXY: HTTP 407"), "{text}");
    assert!(text.contains("put user and password into ALL_PROXY"), "{text}");
    let refusal = "403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let (code, text) = outcome(Some(Manner::Answers(refusal)));
    assert_eq!(code, Some(1), "{text}");
    let rest = text.lines().skip_while(|line| !line.contains("REST"));
    let rest = rest.take(3).collect::<String>();
    assert!(!rest.contains("this country"), "the exchange was not reached: {text}");
    let (code, text) = outcome(None);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the proxy http://PROXY cannot be connected"), "{text}");
}

#[test]
fn healthcheck_is_that_of_the_server() {
    let server = Server::simulated();
    let port = |port: u16| vec![("CONNECTOR_WSS_HEALTH_CHECK_PORT".to_owned(), port.to_string())];
    let (code, stdout, _) = run("healthcheck", &port(server.ops.port()));
    assert_eq!(code, Some(0));
    assert!(stdout.contains("healthy"), "{stdout}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (code, _, stderr) = run("healthcheck", &port(closed));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("refused") && stderr.contains("start it"), "{stderr}");
}
