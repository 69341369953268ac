//! The exchange dies under load and comes back: so do the sessions, by themselves, and the clients
//! notice nothing but a pause.

use connector_wss::clock::Clock;
use connector_wss::limits::PAST_PATIENCE;
use rustix::process::Signal;

use super::client::Client;
use super::harness::{Exchange, Server, wait_until};

const KINDS: [(&str, &str); 3] = [("spot", "SPOT"), ("usdm", "USDM"), ("coinm", "COINM")];

fn request(contract_type: &str) -> String {
    let symbols = match contract_type {
        "coinm" => ["BTCUSD_PERP", "ETHUSD_PERP"],
        _ => ["BTCUSDT", "ETHUSDT"],
    };
    let (exchange, limit) = ("binance", 0);
    serde_json::json!({
        "exchange": exchange, "contract_type": contract_type, "symbols": symbols, "limit": limit,
    })
    .to_string()
}

/// An exchange under load; on the ports of the one before it, if there was one.
fn start_exchange(before: Option<&Exchange>) -> Exchange {
    let mut arguments = vec!["--updates-per-second".to_owned(), "100".to_owned()];
    for (kind, name) in KINDS {
        let port = before.map_or(0, |before| before.address(name).port());
        arguments.push(format!("--{kind}-port={port}"));
    }
    Exchange::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn sessions_come_back_after_the_exchange_was_killed_under_load() {
    let mut exchange = start_exchange(None);
    let more = [
        ("CONNECTOR_CIRCUIT_BREAKER_FAILURE_THRESHOLD", "2"),
        ("CONNECTOR_CIRCUIT_BREAKER_RECOVERY_TIMEOUT", "1"),
        ("CONNECTOR_RECONNECT_DELAY", "0.2"),
    ];
    let server = Server::start(exchange.env.clone(), &more);
    let mut clients: Vec<Client> = KINDS.map(|(kind, _)| server.ask(&request(kind))).into();
    for client in &mut clients {
        (0..100).for_each(|_| drop(client.next_of("quote")));
    }
    assert!(server.is_ready());
    for (kind, _) in KINDS {
        assert_eq!(errors_and_reconnections(&server, kind), (0.0, 0.0), "{kind}");
    }

    exchange.process.signal(Signal::KILL);
    exchange.process.wait();
    for (kind, _) in KINDS {
        wait_until("the breaker opens", || breaker(&server, kind) == 1.0);
        let entry = server.readiness(kind);
        assert_ne!(entry["circuit_state"], "closed", "{entry}");
        assert_eq!((&entry["healthy"], &entry["active_connections"]), (&false.into(), &0.into()));
        assert!(entry["consecutive_failures"].as_i64() >= Some(2), "{entry}");
    }
    assert_eq!(server.get("/ready").0, 503);
    assert_eq!(server.get("/health").0, 200, "nothing is wrong with this process");

    let exchange = start_exchange(Some(&exchange));
    wait_until("all sessions are back", || server.is_ready());
    for (index, (kind, _)) in KINDS.into_iter().enumerate() {
        wait_until("the breaker closes", || breaker(&server, kind) == 0.0);
        let (errors, reconnections) = errors_and_reconnections(&server, kind);
        assert!(errors >= 2.0 && reconnections >= 1.0, "{kind}: {errors} {reconnections}");
        assert_flows_again(&server, &mut clients[index], kind);
    }
    assert_eq!(server.metric("connector_clients", &[]), clients.len() as f64);
    drop(exchange);
}

/// A request of Binance's spot BTCUSDT with further fields.
fn spot(more: &str) -> String {
    format!(r#"{{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]{more}}}"#)
}

#[test]
fn who_subscribes_while_the_exchange_is_away_hears_why_at_once_and_of_the_past_in_time() {
    let away = [
        ("CONNECTOR_BINANCE_SPOT_WS_URL", "ws://127.0.0.1:1"),
        ("CONNECTOR_BINANCE_SPOT_REST_URL", "http://127.0.0.1:1"),
        ("CONNECTOR_CIRCUIT_BREAKER_FAILURE_THRESHOLD", "2"),
    ];
    let server = Server::start(Vec::new(), &away);
    let mut first = server.ask(&spot(""));
    first.next_of("notice");
    wait_until("the breaker opens", || breaker(&server, "spot") == 1.0);
    let clock = Clock::new();
    let begun = clock.mono();
    let mut later = server.ask(&spot(",\"history\":3"));
    let mut resuming = server.ask(&spot(",\"since\":1700000000000"));
    for client in [&mut later, &mut resuming] {
        assert!(client.next().is("subscribed"));
        let notice = client.next();
        assert_eq!(notice.json["code"], "session_lost", "{}", notice.text);
        let said = notice.json["message"].as_str().unwrap();
        for part in ["no connection to binance spot", "refused", "next attempt in", "breaker"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    let history = later.next();
    assert_eq!((&history.json["type"], &history.json["missing"]), (&"history".into(), &3.into()));
    let refused = resuming.next();
    assert_eq!(refused.json["code"], "since_incomplete", "{}", refused.text);
    let took = clock.mono().since(begun);
    assert!((PAST_PATIENCE..PAST_PATIENCE * 2).contains(&took), "{took:?}");
}

#[test]
fn live_candles_follow_after_ten_seconds_where_rest_is_away() {
    let Exchange { process: _running, env } = start_exchange(None);
    let away = [("CONNECTOR_BINANCE_SPOT_REST_URL", "http://127.0.0.1:1")];
    let server = Server::start(env, &away);
    let mut client = server.ask(&spot(",\"history\":3"));
    assert!(client.next().is("subscribed"));
    let gap = client.next();
    // One of the three may have closed meanwhile.
    assert!(gap.is("gap") && gap.json["count"].as_u64() >= Some(2), "{}", gap.text);
    assert!(client.next_of("history").json["missing"].as_u64() >= Some(2));
    client.next_of("quote");
}

fn label(kind: &str) -> String {
    format!("contract_type=\"{kind}\"")
}

fn breaker(server: &Server, kind: &str) -> f64 {
    server.metric("connector_circuit_breaker_state", &[&label(kind)])
}

fn errors_and_reconnections(server: &Server, kind: &str) -> (f64, f64) {
    let total = |name: &str| server.metric(name, &[&label(kind)]);
    (total("connector_connection_errors_total"), total("connector_reconnections_total"))
}

/// The client reads on, on the connection it has had all the time, until it gets what was encoded
/// after this call. Times of one clock in one form compare as texts.
fn assert_flows_again(server: &Server, client: &mut Client, kind: &str) {
    let (_, ready) = server.get("/ready");
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let now = ready["timestamp"].as_str().unwrap().to_owned();
    loop {
        let quote = client.next_of("quote").json;
        assert_eq!(quote["contract_type"], kind);
        if quote["current_time"].as_str().unwrap() > &*now {
            return;
        }
    }
}
