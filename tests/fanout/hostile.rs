//! Clients that mean harm, or are broken.

use std::time::Duration;

use connector_wss::clock::MonoNs;
use connector_wss::fanout::ClientId;
use connector_wss::limits::{CLIENT_MESSAGES_BURST, CLIENT_MESSAGES_PER_SECOND};

use super::world::*;

/// Numbers from a seed: xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from((self.next() >> 16) % end as u64).unwrap()
    }
}

const SEEDS: [&str; 8] = [
    BTC_3,
    TWO,
    r#"{"op":"unsubscribe","exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]}"#,
    r#"{"op":"list","id":"\u00e9"}"#,
    r#"{"op":"ping","id":18446744073709551615}"#,
    r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"],"limit":1e99}"#,
    r#"{"exchange":null,"symbols":[[[{"a":[]}]]],"limit":-0,"closed_only":false}"#,
    "\u{feff}{}",
];

fn mutate(random: &mut Random, text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for _ in 0..random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] = random.byte(),
            1 => bytes.truncate(at),
            2 => bytes.insert(at, b"{}[]\",:0\\"[random.below(9)]),
            _ => bytes[at] ^= 1 << random.below(8),
        }
    }
    bytes
}

#[test]
fn a_hundred_thousand_mutated_payloads_and_frames_harm_nobody() {
    let mut world = World::new();
    let witness = world.open_with(BTC);
    world.texts(witness);
    let mut random = Random(0x5eed);
    let mut id = world.open();
    for round in 0..100_000 {
        let seed = SEEDS[random.below(SEEDS.len())];
        let payload = mutate(&mut random, seed.as_bytes());
        let mut bytes = match random.below(4) {
            0 => frame(0x81, &payload),
            1 => frame(random.byte(), &payload),
            2 => mutate(&mut random, &frame(0x81, &payload)),
            _ => (0..random.below(64)).map(|_| random.byte()).collect(),
        };
        bytes.truncate(60_000);
        world.fanout.handle_bytes(id, &bytes, world.now);
        world.drive();
        if round % 64 == 0 {
            world.pass(Duration::from_millis(100));
        }
        if round % 1000 == 0 {
            world.open_candle("BTCUSDT", 0, "1");
            assert_eq!(world.summary(witness), ["quote BTCUSDT 1"]);
            world.send(witness, &frame(0x8a, b""));
        }
        let socket = world.socket(id);
        if socket.has_fin || socket.is_closed || round % 40 == 0 {
            world.fanout.handle_lost(id, world.now);
            world.sockets.remove(&id);
            id = match random.below(8) {
                0 => accept_with(&mut world, &mut random),
                _ => world.open(),
            };
        }
    }
    assert!(world.metrics.client_errors.value() > 1_000);
    assert!(world.metrics.protocol_errors.value() > 1_000);
}

/// A client whose upgrade request is mutated.
fn accept_with(world: &mut World, random: &mut Random) -> ClientId {
    let id = world.accept();
    let head = mutate(random, HANDSHAKE.as_bytes());
    world.send(id, &head);
    id
}

/// Sends as many pings as the server reads in this time; how many it answered.
fn flood(world: &mut World, id: ClientId, duration: Duration) -> usize {
    let pings = frame(0x89, b"").repeat(100);
    let end = world.now.mono.after(duration);
    let mut answered = 0;
    while world.now.mono < end && !world.socket(id).has_fin {
        if world.socket(id).is_paused {
            world.pass(Duration::from_millis(10));
        } else {
            world.fanout.handle_bytes(id, &pings, world.now);
            assert!(world.fanout.outgoing(id).len() <= 2 * 64, "one turn's share");
            world.drive();
            world.pass(Duration::ZERO);
        }
        answered += std::mem::take(&mut world.socket(id).bytes).windows(2).filter(is_pong).count();
    }
    answered
}

fn is_pong(bytes: &&[u8]) -> bool {
    *bytes == [0x8a, 0]
}

#[test]
fn a_flood_is_delayed_and_what_goes_on_is_stopped() {
    let mut world = World::new();
    let (id, witness) = (world.open_with(BTC), world.open_with(BTC));
    world.texts(witness);
    let burst = usize::try_from(CLIENT_MESSAGES_BURST).unwrap();
    let answered = flood(&mut world, id, seconds(10));
    let rate = usize::try_from(CLIENT_MESSAGES_PER_SECOND).unwrap();
    let allowed = burst + 10 * rate;
    assert!((allowed - rate..=allowed + rate).contains(&answered), "{answered}");
    world.send(witness, &frame(0x8a, b""));
    // After a rest it is as if nothing had been.
    world.pass(seconds(10));
    assert!(!world.socket(id).is_paused && !world.socket(id).has_fin);
    world.texts(witness);
    world.open_candle("BTCUSDT", 0, "1");
    assert_eq!(world.summary(witness), ["quote BTCUSDT 1"]);
    world.say(id, r#"{"op":"ping"}"#);
    assert_eq!(world.summary(id), ["quote BTCUSDT 1", "pong"]);

    let mut world = World::new();
    let id = world.open_with(BTC);
    flood(&mut world, id, seconds(60));
    assert!(world.socket(id).has_fin && !world.socket(id).is_paused, "what comes is discarded");
}

#[test]
fn a_flood_s_last_words_are_an_error_and_1008() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.texts(id);
    let pings = frame(0x8a, b"").repeat(100);
    while !world.socket(id).has_fin {
        if world.socket(id).is_paused {
            world.pass(Duration::from_millis(10));
        } else {
            world.send(id, &pings);
            world.pass(Duration::ZERO);
        }
        assert!(world.now.mono < MonoNs(120_000_000_000), "it is stopped at last");
    }
    let (texts, close) = world.got(id);
    assert_eq!(texts[0]["code"], "too_many_messages");
    assert_eq!(close.unwrap().0, 1008);
}

#[test]
fn what_a_flood_has_said_is_not_lost_by_the_delay() {
    let mut world = World::new();
    let id = world.open();
    let pongs = frame(0x8a, b"").repeat(CLIENT_MESSAGES_BURST.try_into().unwrap());
    for bytes in [pongs, frame(0x81, BTC.as_bytes()), frame(0x88, b"")] {
        world.fanout.handle_bytes(id, &bytes, world.now);
    }
    world.drive();
    world.pass(Duration::ZERO);
    assert!(world.socket(id).is_paused && world.texts(id).is_empty());
    world.pass(Duration::from_millis(50));
    assert_eq!(world.summary(id), ["subscribed"]);
}

#[test]
fn who_pings_without_reading_is_dropped() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.socket(id).is_blocked = true;
    let ping = frame(0x89, &[b'x'; 125]);
    for _ in 0..4_000 {
        world.send(id, &ping);
        if world.socket(id).is_closed {
            return;
        }
    }
    panic!("{} bytes are outgoing", world.fanout.outgoing(id).len());
}

#[test]
fn events_for_a_client_that_is_gone_are_harmless() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.fanout.handle_lost(id, world.now);
    world.fanout.handle_bytes(id, b"x", world.now);
    world.fanout.handle_half_closed(id, world.now);
    world.fanout.handle_lost(id, world.now);
    world.fanout.consume_outgoing(id, 0, world.now);
    assert!(world.fanout.outgoing(id).is_empty());
    let next = world.open();
    assert_ne!(next, id);
    world.open_candle("BTCUSDT", 0, "1");
    assert!(world.texts(next).is_empty());
}
