//! What one client could do to others, or the server to a client without a word.

use std::collections::HashSet;
use std::sync::Arc;

use connector_wss::fanout::{Access, ClientId, FanoutConfig};
use connector_wss::limits::{
    CLIENT_UNCONFIRMED_MAX, CLIENT_UNLISTED_MAX, INSTRUMENT_REST, REQUEST_SYMBOLS_MAX,
    UNCONFIRMED_MAX, UNSUBSCRIBE_LINGER,
};
use connector_wss::market::{FinalBy, InstrumentId, Listed, Market, SymbolList, Venue};
use connector_wss::messages::{Command, FeedEvent, MarketEvent};
use connector_wss::metrics::RefusedBy;
use connector_wss::wire::host::Hosts;

use super::cases::case;
use super::pair::Pair;
use super::world::*;

/// A request of `count` symbols that nobody has heard of.
fn invented(request: usize, count: usize) -> String {
    let names: Vec<String> = (0..count).map(|at| format!("\"X{request}Y{at}\"")).collect();
    BTC.replace("\"BTCUSDT\"", &names.join(","))
}

fn known(world: &World) -> (i64, i64) {
    (world.metrics.instruments.value(), world.metrics.unconfirmed.value())
}

/// The ids that the shards were told to forget.
fn forgotten(world: &World) -> Vec<InstrumentId> {
    let forget = |command: &Command| match command {
        Command::Forget { id } => Some(*id),
        _ => None,
    };
    world.commands.iter().filter_map(forget).collect()
}

fn listed(world: &mut World, symbols: &[&str]) {
    let one = |symbol: &&str| Listed::new(*symbol);
    let list = Arc::new(SymbolList::new(symbols.iter().map(one).collect()));
    let market = Market::find(Venue::Binance, "spot").unwrap();
    world.fanout.handle_feed(FeedEvent::Listed { market, list }, world.now);
    world.drive();
}

fn correction(world: &mut World, minute: i64, close: &str, revision: u16) {
    let update = world.update("BTCUSDT", minute, close, Some(FinalBy::Rest));
    world.market(MarketEvent::Candle(connector_wss::market::CandleUpdate { revision, ..update }));
}

fn since(minute: i64) -> String {
    asking(&format!("\"since\":{}", open_time(minute).0))
}

#[test]
fn nine_requests_of_invented_names_left_no_room_for_any_new_series_until_restart() {
    let mut world = World::new();
    let hostile: Vec<ClientId> =
        (0..9).map(|request| world.open_with(&invented(request, REQUEST_SYMBOLS_MAX))).collect();
    let (all, unconfirmed) = known(&world);
    assert_eq!(all, unconfirmed);
    assert!(unconfirmed <= i64::try_from(UNCONFIRMED_MAX).unwrap(), "{unconfirmed}");
    assert!(world.notices.iter().any(|text| text.contains("little room")), "{:?}", world.notices);
    let honest = world.open_with(BTC);
    assert_eq!(world.texts(honest)[0]["type"], "subscribed");
    world.open_candle("BTCUSDT", 0, "1");
    assert_eq!(world.summary(honest), ["quote BTCUSDT 1"]);
    for id in hostile {
        world.fanout.handle_lost(id, world.now);
    }
    world.drive();
    assert_eq!(known(&world), (1, 0), "with the clients their names are gone");
    let forgotten: HashSet<InstrumentId> = forgotten(&world).into_iter().collect();
    assert_eq!(i64::try_from(forgotten.len()).unwrap(), unconfirmed, "at the shards too");
}

#[test]
fn one_client_took_all_the_room_for_names_by_asking_again_and_again() {
    let mut world = World::new();
    let greedy = world.open();
    for request in 0..9 {
        world.say(greedy, &invented(request, REQUEST_SYMBOLS_MAX));
        world.pass(seconds(0));
    }
    assert_eq!(known(&world).0, i64::try_from(CLIENT_UNLISTED_MAX).unwrap());
    let codes: Vec<_> = world.texts(greedy).iter().map(|text| text["code"].clone()).collect();
    assert_eq!(codes[1..], vec!["too_many_unconfirmed"; 8]);
}

#[test]
fn names_that_a_list_does_not_have_are_taken_a_few_at_a_time_and_listed_ones_all() {
    let mut world = World::new();
    listed(&mut world, &["BTCUSDT", "ETHUSDT"]);
    let id = world.open();
    let names = invented(0, CLIENT_UNCONFIRMED_MAX + 1);
    world.say(id, &names.replacen('[', "[\"BTCUSDT\",\"ETHUSDT\",", 1));
    let texts = world.texts(id);
    assert_eq!(texts[0]["symbols"].as_array().unwrap().len(), 2 + CLIENT_UNCONFIRMED_MAX);
    assert_eq!(texts[1]["code"], "too_many_unconfirmed");
    let last = format!("X0Y{CLIENT_UNCONFIRMED_MAX}");
    assert_eq!(texts[1]["symbols"], serde_json::json!([last]));
    assert!(texts[1]["message"].as_str().unwrap().contains(&last), "{}", texts[1]);
    assert_eq!(known(&world).1, i64::try_from(CLIENT_UNCONFIRMED_MAX).unwrap());
    world.say(id, &invented(1, 1));
    assert_eq!(world.error(id)["code"], "too_many_unconfirmed");
    world.reject("X0Y3");
    world.texts(id);
    world.say(id, &invented(1, 1));
    assert_eq!(world.summary(id), ["subscribed"], "one is answered, and makes room for one");
    let other = world.open_with(&invented(2, 1));
    assert_eq!(world.summary(other), ["subscribed"], "each client has its own room");
}

#[test]
fn what_was_asked_for_before_a_list_came_is_cut_down_to_what_the_list_allows() {
    let mut world = World::new();
    let id = world.open_with(&invented(0, 200).replacen('[', "[\"BTCUSDT\",", 1));
    assert_eq!(known(&world), (201, 201));
    world.texts(id);
    listed(&mut world, &["BTCUSDT"]);
    let left = i64::try_from(CLIENT_UNCONFIRMED_MAX).unwrap();
    assert_eq!(known(&world), (1 + left, left));
    let error = world.error(id);
    assert_eq!(error["code"], "too_many_unconfirmed");
    assert_eq!(error["symbols"].as_array().unwrap().len(), 200 - CLIENT_UNCONFIRMED_MAX);
    world.open_candle("BTCUSDT", 0, "1");
    assert_eq!(world.summary(id), ["quote BTCUSDT 1"]);
}

#[test]
fn a_refused_name_kept_its_id_for_ever() {
    let mut world = World::new();
    let id = world.open_with(TWO);
    world.open_candle("BTCUSDT", 0, "1");
    let refused = world.ids["ETHUSDT"];
    world.refuse("ETHUSDT", false);
    assert_eq!(known(&world), (1, 0));
    assert_eq!(forgotten(&world), [refused]);
    world.texts(id);
    // What was under way under the old id is of nobody, though the name is asked for again.
    let (late, again) = (world.update("ETHUSDT", 0, "7", None), BTC.replace("BTC", "ETH"));
    world.say(id, &again);
    assert_ne!(world.ids["ETHUSDT"], refused);
    world.market(MarketEvent::Candle(late));
    let (message, exchange_message) = ("late".to_owned(), String::new());
    let event =
        FeedEvent::Rejected { instrument: refused, message, exchange_message, is_lasting: true };
    world.fanout.handle_feed(event, world.now);
    world.drive();
    assert_eq!(world.summary(id), ["subscribed"]);
    world.open_candle("ETHUSDT", 0, "8");
    assert_eq!(world.summary(id), ["quote ETHUSDT 8"]);
}

#[test]
fn a_frame_owed_under_an_id_that_is_forgotten_costs_nobody_anything() {
    let mut world = World::new();
    let id = world.open_with(TWO);
    world.texts(id);
    world.socket(id).is_blocked = true;
    for minute in 0..3 {
        world.closed_candle("ETHUSDT", minute, "1");
    }
    world.reject("ETHUSDT");
    world.unblock(id);
    let texts = world.texts(id);
    assert_eq!(texts.last().unwrap()["code"], "symbol_rejected", "{texts:?}");
    assert!(world.fanout.take_slowest(world.now.mono).is_empty(), "of a name that is gone");
}

#[test]
fn a_series_that_nobody_wants_any_more_kept_its_id_for_ever() {
    let mut world = World::with(FanoutConfig { ping_interval: seconds(0), ..config() });
    let id = world.open_with(BTC);
    world.open_candle("BTCUSDT", 0, "1");
    world.fanout.handle_lost(id, world.now);
    world.drive();
    world.pass(UNSUBSCRIBE_LINGER);
    assert_eq!((world.unsubscribes(), known(&world)), (1, (1, 0)), "its watermark is kept a while");
    world.pass(INSTRUMENT_REST - seconds(1));
    assert_eq!(known(&world), (1, 0));
    let back = world.open_with(BTC);
    world.pass(INSTRUMENT_REST * 2);
    assert_eq!(known(&world), (1, 0), "wanted again");
    world.open_candle("BTCUSDT", 9, "1");
    world.fanout.handle_lost(back, world.now);
    world.drive();
    world.pass(UNSUBSCRIBE_LINGER + INSTRUMENT_REST);
    assert_eq!(known(&world), (0, 0));
    assert_eq!(forgotten(&world).len(), 1);
}

#[test]
fn derived_series_of_an_invented_name_leave_nothing_behind() {
    let mut world = World::new();
    let id = world.open();
    for interval in ["5m", "15m", "1h"] {
        world.say(id, &BTC.replace('}', &format!(",\"interval\":\"{interval}\"}}")));
    }
    assert_eq!(known(&world), (4, 4));
    world.reject("BTCUSDT");
    assert_eq!(known(&world), (0, 0));
    assert_eq!(world.close_of(id), Some(1000));
}

#[test]
fn a_preloaded_symbol_that_was_refused_stayed_subscribed_without_anybody() {
    let mut world = World::with(FanoutConfig { preload: vec![spot("BTCUSDT")], ..config() });
    assert_eq!((world.subscribes(), known(&world)), (1, (1, 0)));
    world.refuse("BTCUSDT", false);
    assert_eq!(known(&world), (0, 0), "nobody wants it");
    let id = world.open_with(BTC);
    assert_eq!(world.subscribes(), 2);
    world.open_candle("BTCUSDT", 0, "1");
    world.commands.clear();
    world.fanout.handle_lost(id, world.now);
    world.drive();
    world.pass(UNSUBSCRIBE_LINGER);
    assert_eq!(world.unsubscribes(), 1, "it is wanted by its clients only");
}

#[test]
fn a_shard_keeps_nothing_of_what_it_was_told_to_forget() {
    let mut pair = Pair::subscribed(&["BTCUSDT", "ETHUSDT"]);
    pair.feed.handle_command(Command::Forget { id: InstrumentId(1) }, pair.now);
    pair.pump();
    pair.pass(seconds(2));
    assert_eq!(pair.streams(), ["btcusdt@kline_1m"], "the exchange is told");
    // The same place, another life, and another name.
    let next = 1 + (1 << 15);
    assert_eq!(InstrumentId(next).index(), 1);
    pair.subscribe(next, "spot", "XRPUSDT");
    pair.subscribe(2, "spot", "ETHUSDT");
    pair.pass(seconds(2));
    let streams: HashSet<String> = pair.streams().into_iter().collect();
    let expected = ["btcusdt@kline_1m", "xrpusdt@kline_1m", "ethusdt@kline_1m"];
    assert_eq!(streams, expected.map(str::to_owned).into());
    assert_eq!(pair.spot().instruments.value(), 3);
    assert_eq!(pair.spot().closed_queue_depth.value(), 0);
}

#[test]
fn a_client_that_resumed_got_no_correction_of_a_window_at_or_before_since() {
    let mut world = World::new();
    let witness = world.open_with(BTC);
    (0..4).for_each(|minute| world.closed_candle("BTCUSDT", minute, "1"));
    correction(&mut world, 1, "1.5", 1);
    let id = world.open_with(&since(2));
    let texts = world.texts(id);
    let kinds: Vec<String> = texts.iter().map(summarize).collect();
    let missed = "correction BTCUSDT 1.5";
    assert_eq!(kinds, ["subscribed", missed, "quote BTCUSDT 1", "history"]);
    assert_eq!((&texts[1]["revision"], &texts[1]["previous"]["close"]), (&1.into(), &1.into()));
    // One that is published after it joined, of the window it resumed from.
    correction(&mut world, 2, "2.5", 1);
    assert_eq!(world.summary(id), ["correction BTCUSDT 2.5"]);
    world.texts(witness);
    correction(&mut world, 1, "1.7", 2);
    for id in [witness, id] {
        assert_eq!(world.summary(id), ["correction BTCUSDT 1.7"]);
    }
}

#[test]
fn a_correction_reaches_every_subscriber_however_it_joined() {
    let mut world = World::new();
    world.open_with(BTC);
    (0..4).for_each(|minute| world.closed_candle("BTCUSDT", minute, "1"));
    let plain = world.open_with(BTC);
    let past = world.open_with(&asking("\"history\":1"));
    let resumed = world.open_with(&since(3));
    let closed_only = world.open_with(&asking("\"closed_only\":true"));
    for id in [plain, past, resumed, closed_only] {
        world.texts(id);
    }
    correction(&mut world, 2, "2.5", 1);
    for id in [plain, past, resumed, closed_only] {
        assert_eq!(world.summary(id), ["correction BTCUSDT 2.5"]);
    }
}

#[test]
fn a_correction_that_was_published_while_a_client_waited_for_its_past_was_lost() {
    let mut world = World::new();
    world.open_with(BTC);
    for minute in [0, 1, 2, 4] {
        world.closed_candle("BTCUSDT", minute, "1");
    }
    correction(&mut world, 0, "0.5", 1);
    let id = world.open_with(&asking("\"history\":3"));
    assert_eq!(world.summary(id), ["subscribed"], "minute 3 is asked for");
    correction(&mut world, 1, "1.5", 1);
    world.backfilled(3, "3");
    world.recall_end(3, 3);
    let quotes = ["quote BTCUSDT 1", "quote BTCUSDT 3", "quote BTCUSDT 1"];
    let expected = [&["correction BTCUSDT 1.5"], &quotes[..], &["history"]].concat();
    assert_eq!(world.summary(id), expected, "not the one of before it came");
}

/// An upgrade of a browser's page.
fn upgrade(world: &mut World, host: &str, origin: &str) -> String {
    let id = world.accept();
    let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
    let head = HANDSHAKE.replace("Host: h\r\n", &format!("Host: {host}\r\n{origin}"));
    world.send(id, head.as_bytes());
    let bytes = std::mem::take(&mut world.socket(id).bytes);
    String::from_utf8_lossy(&bytes).split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn every_web_page_could_use_a_server_on_loopback() {
    let mut world = World::new();
    for (origin, status) in [
        ("", "101"),
        ("http://localhost:8766", "101"),
        ("http://LOCALHOST:3000", "101"),
        ("https://evil.example", "403"),
        ("null", "403"),
    ] {
        assert_eq!(upgrade(&mut world, "localhost:8765", origin), status, "{origin}");
    }
    assert_eq!(world.metrics.refused.by(RefusedBy::Origin), 2);
    for (origins, origin, status) in [
        (&["*"][..], "https://evil.example", "101"),
        (&["https://app.example"], "https://app.example", "101"),
        (&["https://app.example"], "http://localhost:8766", "403"),
    ] {
        let origins = origins.iter().map(ToString::to_string).collect();
        let access = Access { origins, ..Access::default() };
        let mut world = World::with(FanoutConfig { access, ..config() });
        assert_eq!(upgrade(&mut world, "localhost:8765", origin), status, "{origin}");
    }
}

#[test]
fn a_page_could_make_its_own_name_point_to_a_server_on_loopback() {
    let hosts = Hosts::local(["127.0.0.1"].into_iter());
    let mut world =
        World::with(FanoutConfig { access: Access { hosts, ..Access::default() }, ..config() });
    for (host, status) in [
        ("localhost:8765", "101"),
        ("127.0.0.1:8765", "101"),
        ("[::1]:8765", "101"),
        ("evil.example:8765", "403"),
    ] {
        let origin = format!("http://{host}");
        assert_eq!(upgrade(&mut world, host, &origin), status, "{host}");
    }
    assert_eq!(world.metrics.refused.by(RefusedBy::Host), 1);
}

#[test]
fn a_client_without_pongs_was_dropped_without_a_word() {
    if let Some(case) = case("client-without-pongs") {
        assert!(case["expect"].as_str().unwrap().contains("Close"), "{case}");
    }
    let mut world = World::new();
    let deaf: Vec<ClientId> = (0..10).map(|_| world.open_with(BTC)).collect();
    let answering = world.open_with(BTC);
    let pinging = |world: &mut World, id| {
        let bytes = &world.socket(id).bytes;
        frames(bytes)
            .into_iter()
            .filter(|(first, _)| *first == 0x89)
            .map(|(_, payload)| payload)
            .next_back()
    };
    world.pass(seconds(20));
    let payload = pinging(&mut world, answering).unwrap();
    assert!(!payload.is_empty(), "some clients answer no empty ping");
    world.send(answering, &frame(0x8a, &payload));
    world.pass(seconds(20));
    for &id in &deaf {
        let (texts, close) = world.got(id);
        assert_eq!(texts.last().unwrap()["code"], "ping_timeout");
        let (code, reason) = close.unwrap();
        assert_eq!(code, 1008);
        assert!(reason.contains("20 s"), "{reason}");
    }
    assert_eq!(world.metrics.ping_timeouts.value(), 10);
    let logged = |text: &&String| text.contains("127.0.0.1") && text.contains("ping");
    assert_eq!(world.notices.iter().filter(logged).count(), 10, "{:?}", world.notices);
    assert_eq!(world.close_of(answering), None);
}

#[test]
fn any_frame_of_a_pinged_client_is_a_sign_of_life() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    for sign in [frame(0x8a, b"other"), frame(0x89, b""), frame(0x81, br#"{"op":"list"}"#)] {
        world.pass(seconds(35));
        world.send(id, &sign);
    }
    world.pass(seconds(19));
    assert_eq!(world.close_of(id), None);
}

#[test]
fn json_in_a_binary_frame_was_refused_and_its_bom_was_no_json() {
    let mut world = World::new();
    let id = world.open();
    let request = r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]}"#;
    world.send(id, &frame(0x82, request.as_bytes()));
    assert_eq!(world.summary(id), ["subscribed"]);
    let bytes = |text: &str| -> Vec<u8> {
        text.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };
    let ping = "EF BB BF 7B 22 6F 70 22 3A 22 70 69 6E 67 22 7D".to_owned();
    let ping = case("client-bom").map_or(ping, |case| case["client"][0].as_str().unwrap().into());
    for first in [0x81, 0x82] {
        world.send(id, &frame(first, &bytes(&ping)));
        assert_eq!(world.texts(id)[0]["type"], "pong");
        world.send(id, &frame(first, b"ping"));
        assert_eq!(world.texts(id)[0]["type"], "pong");
    }
    world.send(id, &frame(0x81, b"{\"op\":\"ping\"}\0"));
    let error = world.error(id);
    assert!(error["message"].as_str().unwrap().contains("NUL"), "{error}");
}

#[test]
fn a_since_in_the_future_was_served_with_nothing() {
    let mut world = World::new();
    world.open_with(BTC);
    for minute in 1..4 {
        world.closed_candle("BTCUSDT", minute, "1");
    }
    let since = open_time(3).0 + 3_600_000;
    let id = world.open_with(&asking(&format!("\"since\":{since}")));
    let error = world.texts(id).pop().unwrap();
    assert_eq!(
        (&error["code"], &error["symbols"]),
        (&"since_in_future".into(), &["BTCUSDT"].into())
    );
    let newest = open_time(3).0.to_string();
    assert!(error["message"].as_str().unwrap().contains(&newest), "{error}");
    // A window or two ahead is another host that closed it first.
    let ahead = world.open_with(&asking(&format!("\"since\":{}", open_time(4).0)));
    assert_eq!(world.summary(ahead), ["subscribed", "history"]);
}
