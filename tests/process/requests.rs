//! Bad requests over a real socket: each its own error that names the field and what is right.

use connector_wss::sim::{self, SimOptions};
use tungstenite::Message;

use super::client::{BTC, BTC_3, assert_served_three};
use super::harness::Server;

#[test]
fn each_bad_request_has_its_own_error_and_the_connection_stays_if_it_has_a_subscription() {
    let server = Server::simulated();
    let mut client = server.ask(BTC);
    let head = r#""exchange":"binance","contract_type":"spot""#;
    let full = format!(r#"{head},"symbols":["BTCUSDT"]"#);
    // Request, code, field, and what the message says would be right.
    let cases = [
        ("{".to_owned(), "invalid_json", None, "valid JSON"),
        ("hello".to_owned(), "invalid_json", None, "valid JSON"),
        ("[1,2]".to_owned(), "not_an_object", None, "\"exchange\":\"binance\""),
        ("{}".to_owned(), "missing_field", Some("exchange"), "allowed: binance"),
        (r#"{"exchange":7}"#.to_owned(), "wrong_type", Some("exchange"), "a string"),
        (r#"{"exchange":"mtgox"}"#.to_owned(), "unknown_exchange", Some("exchange"), "binance"),
        (r#"{"exchange":"binance"}"#.to_owned(), "missing_field", Some("contract_type"), "spot"),
        (
            r#"{"exchange":"binance","contract_type":"perp"}"#.to_owned(),
            "unknown_contract_type",
            Some("contract_type"),
            "usdm (or um)",
        ),
        (format!("{{{head}}}"), "missing_field", Some("symbols"), "[\"BTCUSDT\"]"),
        (format!("{{{head},\"symbols\":9}}"), "wrong_type", Some("symbols"), "array"),
        (format!("{{{head},\"symbols\":[9]}}"), "wrong_type", Some("symbols"), "array"),
        (format!("{{{head},\"symbols\":[]}}"), "empty_symbols", Some("symbols"), "one"),
        (format!("{{{head},\"symbols\":[\"A B\"]}}"), "invalid_symbol", Some("symbols"), "A B"),
        (format!("{{{full},\"limit\":-1}}"), "wrong_type", Some("limit"), "0 or more"),
        (format!("{{{full},\"limit\":\"3\"}}"), "wrong_type", Some("limit"), "integer"),
        (format!("{{{full},\"interval\":\"7m\"}}"), "unknown_interval", Some("interval"), "1m"),
        (
            format!("{{{full},\"history\":5000}}"),
            "history_too_long",
            Some("history"),
            "at most 120",
        ),
        (
            format!("{{{full},\"since\":{}}}", 100_000_000_000_000_u64),
            "since_in_future",
            Some("since"),
            "future",
        ),
        (format!("{{{full},\"closed_only\":1}}"), "wrong_type", Some("closed_only"), "true"),
        (format!("{{{full},\"op\":\"dance\"}}"), "unknown_op", Some("op"), "unsubscribe"),
        (format!("{{{full},\"id\":[]}}"), "wrong_type", Some("id"), "integer"),
    ];
    for (request, code, field, right) in &cases {
        client.send(request);
        let error = client.next_of("error");
        assert_eq!(error.json["code"], *code, "{request}");
        assert_eq!(error.json["field"].as_str(), *field, "{request}");
        let message = error.json["message"].as_str().unwrap();
        assert_eq!(error.json["system_message"], message, "the text itself");
        assert!(message.contains(right), "{request}: {message}");
        assert!(field.is_none_or(|field| message.contains(field)), "{request}: {message}");
    }
    client.0.send(Message::binary(vec![1, 2])).unwrap();
    assert_eq!(client.next_of("error").json["code"], "invalid_json");
    assert_eq!(server.metric("connector_client_errors_total", &[]), (cases.len() + 1) as f64);
    client.next_of("quote");
}

#[test]
fn a_bad_first_request_is_answered_and_closed_with_1000_unless_it_names_an_op() {
    let server = Server::simulated();
    for request in ["hello", "{}", &BTC.replace("binance", "mtgox")] {
        let (texts, code, reason) = server.ask(request).until_close();
        assert_eq!((texts.len(), code), (1, 1000), "{request}");
        assert!(texts[0].is("error"), "{}", texts[0].text);
        assert!(!reason.is_empty());
    }
    let mut client = server.ask(r#"{"op":"subscribe","exchange":"mtgox"}"#);
    assert!(client.next().is("error"));
    client.send(BTC_3);
    assert_served_three(&mut client);
}

#[test]
fn who_subscribes_nothing_in_time_is_told_and_closed_with_1008() {
    let more = [("CONNECTOR_WSS_SUBSCRIBE_TIMEOUT", "0.3")];
    let simulator = sim::start(SimOptions::default()).unwrap();
    let server = Server::start(simulator.env(), &more);
    let mut silent = server.connect();
    let mut wrong = server.ask(r#"{"op":"subscribe"}"#);
    let mut listener = server.ask(BTC);
    for (client, earlier) in [(&mut silent, 0), (&mut wrong, 1)] {
        let (texts, code, _) = client.until_close();
        assert_eq!(texts.len(), earlier + 1);
        let error = &texts[earlier].json;
        assert_eq!(error["code"], "subscribe_timeout");
        assert!(error["message"].as_str().unwrap().contains("0.3 s"), "{error}");
        assert_eq!(code, 1008);
    }
    for _ in 0..5 {
        listener.next_of("quote");
    }
}

#[test]
fn a_symbol_the_exchange_does_not_know_is_refused_in_its_words_and_its_neighbours_go_on() {
    let more = [("CONNECTOR_STREAM_IDLE_TIMEOUT", "0.5")];
    let simulator = sim::start(SimOptions::default()).unwrap();
    let server = Server::start(simulator.env(), &more);
    let mut lonely = server.ask(&BTC.replace("BTCUSDT", "NOSUCHUSDT").replace('{', "{\"id\":4,"));
    let mut mixed = server.ask(&BTC.replace("]", ",\"NOSUCHUSDT\",\"ETHUSDT\"]"));
    let error = mixed.next_of("error").json;
    assert_eq!(error["code"], "symbol_rejected");
    assert_eq!(error["symbols"], serde_json::json!(["NOSUCHUSDT"]));
    assert_eq!((&error["exchange"], &error["contract_type"]), (&"binance".into(), &"spot".into()));
    assert!(error["exchange_message"].as_str().unwrap().contains("Invalid symbol"), "{error}");
    for symbol in ["BTCUSDT", "ETHUSDT", "BTCUSDT"] {
        while mixed.next_of("quote").json["symbol"] != symbol {}
    }
    mixed.send(r#"{"op":"list"}"#);
    let list = mixed.next_of("list").json;
    let symbols = &list["subscriptions"][0]["symbols"];
    assert_eq!(*symbols, serde_json::json!(["BTCUSDT", "ETHUSDT"]));
    let (texts, code, _) = lonely.until_close();
    assert_eq!(texts.last().unwrap().json["code"], "symbol_rejected");
    assert_eq!((&texts.last().unwrap().json["id"], code), (&4.into(), 1000));
}
