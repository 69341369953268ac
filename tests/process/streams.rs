//! One client and fifty: what is asked for arrives, however the client ends its side.

use std::time::Duration;

use connector_wss::sim::{self, SimOptions};
use serde_json::Value;
use tungstenite::Message;
use tungstenite::protocol::frame::Frame;

use super::client::{BTC, BTC_3, Client, assert_served_three, served_three};
use super::harness::{Scratch, Server, spot_stats, wait_until};

/// A Close with empty payload is answered in kind.
const NO_CODE: u16 = 1005;

#[test]
fn a_limit_is_served_from_the_simulated_exchange_within() {
    let server = Server::simulated();
    assert_served_three(&mut server.ask(BTC_3));
    assert_eq!(server.get("/health").0, 200);
    assert!(server.is_ready());
}

#[test]
fn a_limit_is_served_however_late_the_exchange_speaks() {
    for delay_ms in [200, 2000] {
        let first_data_delay = Duration::from_millis(delay_ms);
        let simulator = sim::start(SimOptions { first_data_delay, ..fast() }).unwrap();
        let server = Server::start(simulator.env(), &[]);
        let mut plain = server.ask(BTC_3);
        let mut closing = server.ask(&format!("{BTC_3}\n"));
        say_empty_close(&mut closing);
        let mut half_closed = server.ask(BTC_3);
        half_closed.shut_down_write();
        assert_served_three(&mut plain);
        assert_served_three(&mut half_closed);
        assert_eq!(served_three(&mut closing), NO_CODE);
    }
}

#[test]
fn without_a_limit_who_closes_his_side_gets_the_first_quote_of_each_symbol() {
    let server = Server::simulated();
    let two = BTC.replace("]", ",\"ETHUSDT\"]");
    let mut closing = server.ask(&two);
    say_empty_close(&mut closing);
    let half_closed = server.ask(&two);
    half_closed.shut_down_write();
    for (mut client, expected) in [(closing, NO_CODE), (half_closed, 1000)] {
        let (texts, code, _) = client.until_close();
        assert!(texts[0].is("subscribed"));
        for symbol in ["BTCUSDT", "ETHUSDT"] {
            assert!(texts[1..].iter().any(|quote| quote.json["symbol"] == symbol), "{symbol}");
        }
        assert_eq!(code, expected);
    }
}

#[test]
fn fifty_clients_of_one_symbol_are_one_subscription_at_the_exchange() {
    let simulator = sim::start(fast()).unwrap();
    let server = Server::start(simulator.env(), &[]);
    let mut clients: Vec<Client> = (0..50).map(|_| server.ask(BTC)).collect();
    for client in &mut clients {
        assert!(client.next().is("subscribed"));
        client.next_of("quote");
    }
    let one = |what: &str| {
        let stats = spot_stats(&simulator);
        assert_eq!(stats["subscriptions"]["BTCUSDT"], 1, "{what}: {stats}");
        assert_eq!(stats["subscriptions_total"], 1, "{what}: {stats}");
        assert_eq!(stats["connections"], 1, "{what}: {stats}");
    };
    one("all are there");
    assert_eq!(server.metric("connector_clients", &[]), 50.0);
    assert_eq!(server.metric("connector_client_subscriptions", &[]), 50.0);
    drop(clients);
    wait_until("all have left", || server.metric("connector_clients", &[]) == 0.0);
    one("all have left, and may come back");
    let before = spot_stats(&simulator)["subscribe_frames"].clone();
    assert!(server.ask(BTC).next_of("quote").is("quote"));
    assert_eq!(spot_stats(&simulator)["subscribe_frames"], before, "nothing was asked again");
}

#[test]
fn the_last_client_s_leaving_ends_the_subscription_at_the_exchange() {
    let simulator = sim::start(fast()).unwrap();
    let server = Server::start(simulator.env(), &[]);
    server.ask(BTC).next_of("quote");
    wait_until("the exchange has lost its subscriber", || {
        spot_stats(&simulator)["subscriptions_total"] == 0
    });
    assert_eq!(server.metric("connector_client_subscriptions", &[]), 0.0);
    assert!(server.is_ready());
}

#[test]
fn the_slowest_updates_are_shown_with_their_hops() {
    let simulator = sim::start(fast()).unwrap();
    let server = Server::start(simulator.env(), &[]);
    assert_eq!(slowest(&server), [] as [Value; 0], "nothing has been written yet");
    let mut client = server.ask(&BTC.replace("]", ",\"ETHUSDT\"]"));
    client.next_of("quote");
    wait_until("a full list", || {
        client.next_of("quote");
        slowest(&server).len() == 16
    });
    let shown = slowest(&server);
    let totals: Vec<f64> = shown.iter().map(|u| u["hops_us"]["total"].as_f64().unwrap()).collect();
    assert!(totals.is_sorted_by(|a, b| a >= b), "{totals:?}");
    for update in &shown {
        let labels = ["exchange", "contract_type", "interval"].map(|name| &update[name]);
        assert_eq!(labels, ["binance", "spot", "1m"]);
        assert!(["BTCUSDT", "ETHUSDT"].iter().any(|symbol| update["symbol"] == *symbol));
        assert!(update["closed"].is_boolean());
        let open_time = update["open_time"].as_i64().unwrap();
        assert_eq!(open_time % 60_000, 0);
        assert!(update["event_time"].as_i64() >= Some(open_time), "{update}");
        let hop = |name: &str| update["hops_us"][name].as_f64().unwrap();
        let parts = [hop("decode"), hop("ring"), hop("write")];
        assert!(parts[0] > 0.0 && parts[2] > 0.0, "{update}");
        assert!((parts.iter().sum::<f64>() - hop("total")).abs() < 0.01, "{update}");
    }
    let count = |hop: &str| server.metric("connector_hop_seconds_count", &[hop]);
    for hop in ["decode", "ring", "write", "total"] {
        assert!(count(&format!("\"{hop}\"")) >= 16.0, "{hop}");
    }
}

#[test]
fn some_updates_tell_how_long_they_had_lain_in_the_kernel() {
    tells_of_the_kernel(SimOptions::default());
}

#[test]
fn some_updates_tell_how_long_they_had_lain_in_the_kernel_through_tls_too() {
    let folder = Scratch::new();
    let tls_ca_out = Some(folder.0.join("authority.pem"));
    tells_of_the_kernel(SimOptions { tls: true, tls_ca_out, ..SimOptions::default() });
}

fn tells_of_the_kernel(options: SimOptions) {
    // So slow that a list of the slowest has every update for some time.
    let push_interval = Duration::from_millis(150);
    let simulator = sim::start(SimOptions { push_interval, ..options }).unwrap();
    let server = Server::start(simulator.env(), &[]);
    let mut client = server.ask(BTC);
    let count = || server.metric("connector_hop_seconds_count", &["\"kernel\""]);
    let mut told = Vec::new();
    wait_until("an update whose read was stamped", || {
        client.next_of("quote");
        let kernel = slowest(&server).into_iter().map(|update| update["hops_us"]["kernel"].clone());
        told = kernel.filter(|kernel| !kernel.is_null()).collect();
        !told.is_empty()
    });
    assert!(told.iter().all(|us| us.as_f64() > Some(0.0)), "{told:?}");
    let before = count();
    assert!(before >= 1.0);
    wait_until("further reads are stamped", || count() > before);
}

/// What `/debug/slowest` shows.
fn slowest(server: &Server) -> Vec<Value> {
    let (status, body) = server.get("/debug/slowest");
    assert_eq!(status, 200);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["window_seconds"], 60);
    body["updates"].as_array().unwrap().clone()
}

/// A simulated exchange that pushes often.
fn fast() -> SimOptions {
    SimOptions { push_interval: Duration::from_millis(50), ..SimOptions::default() }
}

/// A Close with empty payload; this client goes on reading, as websocat does.
fn say_empty_close(client: &mut Client) {
    client.0.send(Message::Frame(Frame::close(None))).unwrap();
}
