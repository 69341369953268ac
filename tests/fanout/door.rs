//! The front door: what the opening request is answered, and what a client without a token may say.

use std::time::Duration;

use connector_wss::fanout::{Access, ClientId, DrainKind, FanoutConfig, Tokens};
use connector_wss::metrics::RefusedBy;

use super::world::*;

fn guarded() -> World {
    guarded_by("alpha\nbeta+/=\n")
}

fn guarded_by(tokens: &str) -> World {
    let tokens = Some(Tokens::parse(tokens.as_bytes()).unwrap());
    World::with(FanoutConfig { access: Access { tokens, ..Access::default() }, ..config() })
}

/// The opening request with another target and further header lines.
fn request(target: &str, headers: &str) -> String {
    HANDSHAKE.replace("GET /", &format!("GET {target}")).replace("Host: h\r\n", headers)
}

/// What a connection that sends `head` is answered in HTTP.
fn answer(world: &mut World, head: &str) -> (ClientId, String) {
    let id = world.accept();
    world.send(id, head.as_bytes());
    let bytes = std::mem::take(&mut world.socket(id).bytes);
    (id, String::from_utf8(bytes).unwrap())
}

fn status(world: &mut World, head: &str) -> u16 {
    answer(world, head).1.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn health_is_answered_on_the_client_port_whatever_the_client_may() {
    let mut world = guarded();
    for (head, body) in [
        ("GET /health HTTP/1.1\r\nHost: h\r\n\r\n", true),
        ("GET /health?x=1 HTTP/1.0\r\n\r\n", true),
        ("HEAD /health HTTP/1.1\r\nHost: h\r\n\r\n", false),
    ] {
        let (id, answer) = answer(&mut world, head);
        let (head, said) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(head.contains("Content-Type: application/json"), "{answer}");
        assert_eq!(said.starts_with(r#"{"status":"healthy","timestamp":"20"#), body, "{answer}");
        assert!(world.socket(id).has_fin);
    }
    assert_eq!(status(&mut world, "POST /health HTTP/1.1\r\nHost: h\r\n\r\n"), 405);
    assert_eq!(status(&mut world, "GET /healthy HTTP/1.1\r\nHost: h\r\n\r\n"), 426);
    assert_eq!(world.metrics.refused.value(), 2, "who asks for health is not refused");
}

#[test]
fn a_draining_server_is_not_healthy() {
    let mut world = World::new();
    let early = world.accept();
    world.fanout.begin_drain(DrainKind::Closed, world.now);
    world.drive();
    let late = world.accept();
    for id in [early, late] {
        assert!(world.socket(id).bytes.starts_with(b"HTTP/1.1 503 "));
    }
}

#[test]
fn a_token_opens_the_door_in_the_header_the_query_or_the_first_message() {
    let mut world = guarded();
    for head in [
        request("/", "Host: h\r\nAuthorization: Bearer alpha\r\n"),
        request("/", "Host: h\r\nauthorization: bearer  beta+/=\r\n"),
        request("/?x=1&token=alpha", "Host: h\r\n"),
        request("/?token=beta%2B%2f=", "Host: h\r\n"),
    ] {
        let (id, answer) = answer(&mut world, &head);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{head}");
        world.say(id, BTC);
        assert_eq!(world.summary(id), ["subscribed"]);
    }
    let id = world.open_with(r#"{"op":"auth","token":"alpha","id":7}"#);
    assert_eq!(world.texts(id), [serde_json::json!({"type": "authenticated", "id": 7})]);
    world.say(id, BTC);
    assert_eq!(world.summary(id), ["subscribed"]);
    assert_eq!(world.metrics.refused.value(), 0);
}

#[test]
fn a_wrong_token_in_the_handshake_is_401() {
    let mut world = guarded();
    let heads = [
        request("/", "Host: h\r\nAuthorization: Bearer alph\r\n"),
        request("/", "Host: h\r\nAuthorization: Bearer\r\n"),
        request("/", "Host: h\r\nAuthorization: Basic YTpi\r\n"),
        request("/", "Host: h\r\nAuthorization: Bearer alpha\r\nAuthorization: Bearer alpha\r\n"),
        request("/?token=alpha", "Host: h\r\nAuthorization: Bearer alpha\r\n"),
        request("/?token=", "Host: h\r\n"),
        request("/?token=beta+/=x", "Host: h\r\n"),
    ];
    for head in &heads {
        let (id, answer) = answer(&mut world, head);
        assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}{answer}");
        assert!(answer.contains("\r\nWWW-Authenticate: Bearer"), "{answer}");
        assert!(!answer.contains("alph") && !answer.contains("beta"), "{answer}");
        assert!(world.socket(id).has_fin);
    }
    assert_eq!(world.metrics.refused.by(RefusedBy::Token), heads.len() as u64);
    assert!(world.notices.iter().all(|notice| !notice.contains("alph")), "{:?}", world.notices);
    let open = request("/?token=any", "Host: h\r\nAuthorization: Basic YTpi\r\n");
    assert_eq!(status(&mut World::new(), &open), 101, "nobody asks for a token");
}

#[test]
fn before_its_token_a_client_may_only_ping() {
    let mut world = guarded();
    let id = world.open();
    for text in [BTC, r#"{"op":"list"}"#, r#"{"op":"unsubscribe"}"#, "{", r#"{"op":"auth"}"#] {
        world.say(id, text);
        let error = world.error(id);
        assert_eq!(error["code"], "auth_required", "{text}");
        assert!(error["message"].as_str().unwrap().contains(r#"{"op":"auth","token""#));
    }
    world.say(id, r#"{"op":"ping"}"#);
    assert_eq!(world.summary(id), ["pong"]);
    assert_eq!(world.subscribes(), 0);
}

#[test]
fn a_wrong_token_in_a_message_is_the_last_one() {
    let mut world = guarded();
    let id = world.open_with(r#"{"op":"auth","token":"wrong","id":"x"}"#);
    let (texts, close) = world.got(id);
    assert_eq!((&texts[0]["code"], &texts[0]["id"]), (&"unauthorized".into(), &"x".into()));
    assert_eq!(close.unwrap().0, 1008);
    assert!(!texts[0].to_string().contains("wrong"), "{texts:?}");
}

#[test]
fn without_a_token_in_time_the_client_is_closed_with_1008() {
    let mut world = guarded();
    let id = world.open();
    world.pass(Duration::from_millis(9_000));
    world.say(id, r#"{"op":"ping"}"#);
    world.texts(id);
    world.pass(Duration::from_millis(1_001));
    let (texts, close) = world.got(id);
    assert_eq!(texts[0]["code"], "auth_timeout");
    assert_eq!(close.unwrap().0, 1008);
    // The time for the first subscription begins with the token, once.
    let id = world.open();
    world.pass(seconds(9));
    for _ in 0..2 {
        world.say(id, r#"{"op":"auth","token":"alpha"}"#);
        assert_eq!(world.summary(id), ["authenticated"]);
        world.pass(seconds(6));
    }
    let (texts, _) = world.got(id);
    assert_eq!(texts[0]["code"], "subscribe_timeout");
}

#[test]
fn clients_of_a_revoked_token_are_closed_and_the_others_stay() {
    let mut world = guarded();
    let (_, _) = answer(&mut world, HANDSHAKE);
    let (header, _) = answer(&mut world, &request("/?token=alpha", "Host: h\r\n"));
    let message = world.open_with(r#"{"op":"auth","token":"alpha"}"#);
    let (stays, _) = answer(&mut world, &request("/?token=beta%2B/=", "Host: h\r\n"));
    for id in [header, message, stays] {
        world.say(id, BTC);
        world.texts(id);
    }
    let tokens = Tokens::parse(b"beta+/=\ngamma").unwrap();
    world.fanout.set_tokens(tokens, world.now);
    world.drive();
    for id in [header, message] {
        let (texts, close) = world.got(id);
        assert_eq!(texts[0]["code"], "token_revoked");
        let (code, reason) = close.unwrap();
        assert_eq!(code, 1008);
        assert!(reason.contains("revoked"), "{reason}");
    }
    world.open_candle("BTCUSDT", 0, "1");
    assert_eq!(world.summary(stays), ["quote BTCUSDT 1"]);
    assert_eq!(status(&mut world, &request("/?token=alpha", "Host: h\r\n")), 401);
    assert_eq!(status(&mut world, &request("/?token=gamma", "Host: h\r\n")), 101);
}

#[test]
fn where_no_token_is_asked_for_each_is_right() {
    let mut world = World::new();
    let id = world.open_with(r#"{"op":"auth","token":"any"}"#);
    assert_eq!(world.summary(id), ["authenticated"]);
    world.pass(Duration::from_millis(10_001));
    assert_eq!(world.texts(id)[0]["code"], "subscribe_timeout", "and no more time");
}

#[test]
fn pages_of_other_origins_are_refused_and_programs_are_not() {
    let origins = vec!["https://a.example".to_owned()];
    let access = Access { origins, ..Access::default() };
    let mut world = World::with(FanoutConfig { access, ..config() });
    let from = |origin| request("/", &format!("Host: h\r\nOrigin: {origin}\r\n"));
    assert_eq!(status(&mut world, &from("https://a.example")), 101);
    assert_eq!(status(&mut world, &from("https://b.example")), 403);
    assert_eq!(status(&mut world, &from("null")), 403);
    assert_eq!(status(&mut world, HANDSHAKE), 101);
    assert_eq!(world.metrics.refused.by(RefusedBy::Origin), 2);
}

#[test]
fn an_address_has_no_more_connections_than_it_may() {
    let access = Access { connections_per_address_max: 2, ..Access::default() };
    let mut world = World::with(FanoutConfig { access, ..config() });
    let first = world.open();
    world.open();
    let third = world.accept();
    let answer = String::from_utf8(world.socket(third).bytes.clone()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
    assert!(answer.contains("Retry-After: 5\r\n"));
    assert_eq!(world.metrics.refused.by(RefusedBy::Address), 1);
    let elsewhere = world.accept_from("127.0.0.2:9");
    world.send(elsewhere, HANDSHAKE.as_bytes());
    assert!(world.socket(elsewhere).bytes.starts_with(b"HTTP/1.1 101 "));
    world.fanout.handle_lost(first, world.now);
    world.open();
}

#[test]
fn who_has_nothing_and_says_nothing_is_closed_in_time() {
    let access = Access { idle_timeout: seconds(100), ..Access::default() };
    let mut world = World::with(FanoutConfig { access, ping_interval: seconds(0), ..config() });
    let (id, subscribed) = (world.open_with(BTC), world.open_with(BTC));
    world.say(id, r#"{"op":"unsubscribe"}"#);
    world.pass(seconds(99));
    world.say(id, r#"{"op":"ping"}"#);
    world.pass(seconds(99));
    world.send(id, &frame(0x8a, b""));
    assert_eq!(world.summary(id), ["subscribed", "unsubscribed", "pong"]);
    world.pass(seconds(2));
    let (texts, close) = world.got(id);
    assert_eq!(texts[0]["code"], "idle_timeout");
    assert_eq!(close.unwrap().0, 1008);
    world.pass(seconds(1_000));
    assert!(!world.socket(subscribed).has_fin);
    let access = Access { idle_timeout: seconds(0), ..Access::default() };
    let mut world = World::with(FanoutConfig { access, ping_interval: seconds(0), ..config() });
    let id = world.open_with(BTC);
    world.say(id, r#"{"op":"unsubscribe"}"#);
    world.pass(seconds(100_000));
    assert!(!world.socket(id).has_fin);
}

#[test]
fn a_client_has_no_more_series_than_it_may() {
    let access = Access { client_series_max: 1, ..Access::default() };
    let mut world = World::with(FanoutConfig { access, ..config() });
    let id = world.open_with(&TWO.replacen('{', r#"{"op":"subscribe","#, 1));
    let error = world.error(id);
    assert_eq!(error["code"], "too_many_subscriptions");
    assert!(error["message"].as_str().unwrap().contains("1 series"));
    world.say(id, BTC);
    assert_eq!(world.summary(id), ["subscribed"]);
}
