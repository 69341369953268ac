//! One attack at a time, what the attacker gets for it, and a client beside it that misses nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connector_wss::limits::{CLIENT_MESSAGE_BYTES_MAX, CLIENT_MESSAGES_BURST};
use connector_wss::sim::{self, SimOptions};
use serde_json::Value;

use super::client::{BTC, BTC_3, Client, assert_served_three};
use super::harness::{Server, wait_until};
use super::raw::{CONTINUATION, FINAL, Frame, PING, PONG, Raw, TEXT, UPGRADE, frame, head};

/// Connections that never finish their request.
const SLOW_HANDSHAKES: usize = 200;

/// Counts the quotes of a good client on a thread of its own, until the exchange is gone.
fn witness(mut good: Client, count: &AtomicUsize) {
    loop {
        let text = good.next();
        if text.is("notice") {
            return;
        }
        assert!(text.is("quote"), "{}", text.text);
        count.fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn each_attack_has_its_answer_and_costs_the_others_nothing() {
    let push_interval = Duration::from_millis(20);
    let simulator = sim::start(SimOptions { push_interval, ..SimOptions::default() }).unwrap();
    let server = Server::start(simulator.env(), &[]);
    let mut good = server.ask(BTC);
    assert!(good.next().is("subscribed"));
    let count = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // Ends, and so does the witness, also where an attack fails.
        let simulator = simulator;
        let reader = scope.spawn(|| witness(good, &count));
        let slow: Vec<Raw> = (0..SLOW_HANDSHAKES).map(|_| begin_slowly(server.clients)).collect();
        for attack in ATTACKS {
            attack(server.clients);
            let before = count.load(Ordering::Acquire);
            wait_until("the good client's stream goes on", || {
                reader.is_finished() || count.load(Ordering::Acquire) > before
            });
        }
        slow.into_iter().for_each(is_told_408);
        assert_served_three(&mut server.ask(BTC_3));
        drop(simulator);
        reader.join().unwrap();
    });
    // Every update reached the good client: none was skipped, none replaced by its successor.
    let processed = server.metric("connector_quotes_processed_total", &[]);
    assert_eq!(count.into_inner() as f64, processed);
    assert_eq!(server.get("/health").0, 200);
}

const ATTACKS: [fn(SocketAddr); 9] = [
    breaches,
    ten_mebibytes_in_a_frame,
    fragments_without_end,
    a_symbol_of_a_mebibyte,
    json_that_is_none,
    json_that_means_nothing,
    pings_without_end,
    subscriptions_by_the_thousand,
    resets,
];

/// Each breach of the protocol is closed with its code.
fn breaches(server: SocketAddr) {
    for (what, bytes, code) in [
        ("unmasked", vec![FINAL | TEXT, 2, b'{', b'}'], 1002),
        ("no UTF-8", frame(FINAL | TEXT, b"{\"exchange\":\"\xC0\xAF\"}"), 1007),
        ("no UTF-8, more to come", [head(FINAL | TEXT, 9, [0; 4]), vec![0xFF]].concat(), 1007),
        ("a reserved bit", frame(FINAL | 0x40 | TEXT, b"{}"), 1002),
    ] {
        let mut raw = Raw::open(server);
        raw.send(&bytes);
        assert_eq!(raw.until_fin(), (Vec::new(), Some(code)), "{what}");
    }
}

/// Refused at its head; what follows goes nowhere, and at last the socket is closed.
fn ten_mebibytes_in_a_frame(server: SocketAddr) {
    let mut raw = Raw::open(server);
    raw.send(&head(FINAL | TEXT, 10 << 20, [0; 4]));
    assert_eq!(raw.until_fin(), (Vec::new(), Some(1009)));
    let piece = vec![b'x'; 64 * 1024];
    let is_cut_off = (0..160).any(|_| raw.try_send(&piece).is_err());
    if !is_cut_off {
        wait_until("the socket is closed", || raw.try_send(b"x").is_err());
    }
}

/// With and without a payload in them.
fn fragments_without_end(server: SocketAddr) {
    for payload in [&b""[..], b"x", &[b'x'; 100]] {
        let mut raw = Raw::open(server);
        raw.send(&frame(TEXT, payload));
        let more = frame(CONTINUATION, payload).repeat(512);
        // The server may have closed before everything is sent.
        let sent = (0..16).all(|_| raw.try_send(&more).is_ok());
        assert!(sent, "it takes no reset to refuse them");
        assert_eq!(raw.until_fin(), (Vec::new(), Some(1009)), "{} bytes each", payload.len());
    }
}

/// One that had a subscription, so that a mistake does not close it.
fn practised(server: SocketAddr) -> Client {
    let mut client = Client::connect(server);
    client.send(BTC);
    client.next_of("subscribed");
    client.send(r#"{"op":"unsubscribe"}"#);
    client.next_of("unsubscribed");
    client
}

/// As one symbol of a request, and as large as a message may be.
fn a_symbol_of_a_mebibyte(server: SocketAddr) {
    let request = |bytes| BTC.replace("BTCUSDT", &"B".repeat(bytes));
    let mut raw = Raw::open(server);
    // Only as much as is taken: what is behind it would be answered with a reset.
    raw.send(&frame(FINAL | TEXT, request(1 << 20).as_bytes())[..CLIENT_MESSAGE_BYTES_MAX]);
    assert_eq!(raw.until_fin(), (Vec::new(), Some(1009)));
    let mut client = practised(server);
    client.send(&request(CLIENT_MESSAGE_BYTES_MAX - 100));
    let error = client.next();
    assert!(error.is("error") && error.json["message"].as_str().unwrap().contains("symbols"));
    assert!(error.text.len() < 1000, "the symbol is not sent back");
    client.send(BTC_3);
    assert_served_three(&mut client);
}

/// What is no JSON is refused as such, and a number beyond 64 bits by its field; the connection
/// stays.
fn json_that_is_none(server: SocketAddr) {
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let deep_inside = BTC.replace("\"BTCUSDT\"", &format!("{{\"a\":{deep}}}"));
    let objects = format!("{}1{}", "{\"a\":".repeat(9_000), "}".repeat(9_000));
    let mut client = practised(server);
    for request in [
        "",
        "[",
        &deep[..30_000],
        &BTC.replace('}', ",\"limit\":NaN}"),
        &BTC.replace('}', ",\"limit\":Infinity}"),
        &BTC.replace('}', ",\"limit\":-}"),
        &BTC.replace('}', ",\"limit\":01}"),
        &BTC.replace("BTC", "\u{0}"),
    ] {
        client.send(request);
        let error = client.next();
        assert_eq!(error.json["code"], "invalid_json", "{request:.80}: {}", error.text);
    }
    for number in ["1e999", "99999999999999999999"] {
        client.send(&BTC.replace('}', &format!(",\"limit\":{number}}}")));
        let error = client.next();
        let told = (&error.json["code"], &error.json["field"]);
        assert_eq!(told, (&"wrong_type".into(), &"limit".into()), "{}", error.text);
    }
    for request in [&deep, &deep_inside, &objects] {
        client.send(request);
        assert!(client.next().is("error"), "{request:.80}");
    }
    client.send(BTC_3);
    assert_served_three(&mut client);
}

/// What is JSON and no request names the field; the connection stays.
fn json_that_means_nothing(server: SocketAddr) {
    let mut client = practised(server);
    for (request, field) in [
        // Of a name that comes twice the last counts, as in Python.
        (BTC.replace('}', ",\"exchange\":\"okx\"}"), "okx"),
        (BTC.replace('}', ",\"symbols\":[]}"), "symbols"),
        (BTC.replace('}', ",\"limit\":-1}"), "limit"),
        (BTC.replace('}', ",\"limit\":1.5}"), "limit"),
        (BTC.replace("\"BTCUSDT\"", "null"), "symbols"),
        (BTC.replace("[\"BTCUSDT\"]", "{}"), "symbols"),
    ] {
        client.send(&request);
        let error = client.next();
        let named = error.json["message"].as_str().unwrap().contains(field);
        assert!(error.is("error") && named, "{request}: {}", error.text);
    }
    client.send(BTC_3);
    assert_served_three(&mut client);
}

fn pings_without_end(server: SocketAddr) {
    let answers = flood(server, &frame(FINAL | PING, &[b'x'; 125]));
    assert!(answers.iter().all(|(first, _)| *first == FINAL | PONG));
}

/// A hundred in a millisecond, were they taken as they come.
fn subscriptions_by_the_thousand(server: SocketAddr) {
    let leave = BTC.replace('{', "{\"op\":\"unsubscribe\",");
    let pair = [BTC, &leave].map(|request| frame(FINAL | TEXT, request.as_bytes()));
    let answers = flood(server, &pair.concat());
    let kind = |(_, payload): &Frame| serde_json::from_slice::<Value>(payload).unwrap();
    let kinds: Vec<Value> = answers.iter().map(kind).collect();
    let count = |of: &str| kinds.iter().filter(|answer| answer["type"] == of).count();
    assert!(count("subscribed").abs_diff(count("unsubscribed")) <= 1);
    assert!(count("subscribed") > 100 && count("error") == 0);
}

/// Sends `request` over and over, without reading, far beyond what a client may say at once: it is
/// held back, or told so and closed with 1008. What it was answered before that.
fn flood(server: SocketAddr, request: &[u8]) -> Vec<Frame> {
    let mut raw = Raw::open(server);
    raw.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let burst = request.repeat(64);
    let mut reader = Raw(raw.0.try_clone().unwrap());
    std::thread::scope(|scope| {
        let answers = scope.spawn(move || {
            let mut answers = Vec::new();
            // A write that waits in vain ends the stream; so does the server.
            while let Some(answer) = reader.frame() {
                answers.push(answer);
            }
            answers
        });
        let rounds = 4 * CLIENT_MESSAGES_BURST / 64;
        let is_taken = (0..rounds).all(|_| raw.try_send(&burst).is_ok());
        let _ended = raw.0.shutdown(std::net::Shutdown::Write);
        let mut answers = answers.join().unwrap();
        if let Some((_, close)) = answers.pop_if(|(first, _)| *first == FINAL | super::raw::CLOSE) {
            assert_eq!(close[..2], 1008u16.to_be_bytes());
            let (_, why) = answers.pop().unwrap();
            let why: Value = serde_json::from_slice(&why).unwrap();
            // Whoever is held back may have said nothing of use in time.
            let why = why["code"].as_str().unwrap();
            assert!(["too_many_messages", "subscribe_timeout"].contains(&why), "{why}");
        } else {
            assert!(!is_taken, "four times what is allowed was taken at once");
        }
        answers
    })
}

/// Leaves with a reset in the middle of everything.
fn resets(server: SocketAddr) {
    for bytes in [0, 10, UPGRADE.len(), UPGRADE.len() + 3] {
        let mut raw = Raw::connect(server);
        let sent = [UPGRADE.as_bytes(), &frame(FINAL | TEXT, BTC.as_bytes())].concat();
        raw.send(&sent[..bytes]);
        let socket = socket2::SockRef::from(&raw.0);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// The beginning of a request, which goes on never.
fn begin_slowly(server: SocketAddr) -> Raw {
    let mut raw = Raw::connect(server);
    raw.send(&UPGRADE.as_bytes()[..UPGRADE.len() - 2]);
    raw
}

fn is_told_408(mut raw: Raw) {
    let head = raw.http_head();
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
}

/// One that is there no more, as far as anybody can tell: it answers no ping.
#[test]
fn a_client_whose_other_end_is_gone_is_given_up() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let pings =
        ["CONNECTOR_WSS_PING_INTERVAL", "CONNECTOR_WSS_PING_TIMEOUT"].map(|name| (name, "0.3"));
    let server = Server::start(simulator.env(), &pings);
    let mut raw = Raw::open(server.clients);
    raw.send(&frame(FINAL | TEXT, b"{\"op\":\"list\"}"));
    assert_eq!(server.metric("connector_clients", &[]), 1.0);
    let (frames, code) = raw.until_fin();
    let kinds: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
    assert_eq!(kinds, [FINAL | TEXT, FINAL | PING, FINAL | TEXT], "asked once, then told");
    assert!(String::from_utf8_lossy(&frames[2].1).contains("ping_timeout"));
    assert_eq!(code, Some(1008));
    assert_eq!(server.metric("connector_ping_timeouts_total", &[]), 1.0);
    wait_until("it is logged", || server.log().contains("no pong"));
    wait_until("it is gone", || server.metric("connector_clients", &[]) == 0.0);
}
