//! What one client, or one name, could take of an exchange's budgets from everybody else.

use std::sync::Arc;
use std::time::Duration;

use connector_wss::feed::FeedConfig;
use connector_wss::limits::{
    CLIENT_NEW_NAMES_BURST, CLIENT_NEW_NAMES_PER_SECOND, PAST_PATIENCE, REFUSED_NAMES_MAX,
    REFUSED_PATIENCE, UNLISTED_NAME_COST,
};
use connector_wss::market::{InstrumentId, Listed, Market, SymbolList, Venue};
use connector_wss::messages::{BackfillFrom, Command, FeedEvent, RestResponse, Wish};

use super::pair::{Pair, START_MS, config as feed_config, kline, market};
use super::world::*;

const TYPO: &str = r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSD"]}"#;

fn listed(world: &mut World, symbols: &[&str], halted: Option<&str>) {
    let halted = halted.map(str::to_owned);
    let one = |symbol: &&str| Listed { halted: halted.clone(), ..Listed::new(*symbol) };
    let list = Arc::new(SymbolList::new(symbols.iter().map(one).collect()));
    let market = Market::find(Venue::Binance, "spot").unwrap();
    world.fanout.handle_feed(FeedEvent::Listed { market, list }, world.now);
    world.drive();
}

#[test]
fn a_typo_in_a_loop_was_asked_of_the_exchange_each_time() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.say(id, TYPO);
    world.texts(id);
    world.reject("BTCUSD");
    let first = world.error(id);
    assert_eq!(world.subscribes(), 2);
    for _ in 0..460 {
        world.say(id, TYPO);
        assert_eq!(world.error(id), first, "the same answer, at once");
    }
    let other = world.open();
    world.say(other, &TYPO.replace('}', ",\"id\":7}"));
    let (texts, close) = world.got(other);
    assert_eq!((&texts[0]["message"], &texts[0]["id"]), (&first["message"], &7.into()));
    assert_eq!((texts.len(), close.unwrap().0), (1, 1000), "it has nothing else");
    assert_eq!(world.subscribes(), 2, "the exchange was asked once");
    assert_eq!(world.metrics.refused_names.value(), 1);
    assert_eq!(world.metrics.refused_again.value(), 461);
    // Beside a good name it is told alone; and it is forgotten after a minute.
    world.say(id, &TYPO.replace("[", "[\"ETHUSDT\","));
    let texts = world.texts(id);
    assert_eq!(texts[0]["symbols"], serde_json::json!(["ETHUSDT"]));
    assert_eq!(texts[1]["symbols"], serde_json::json!(["BTCUSD"]));
    world.send(id, &frame(0x8a, b""));
    world.pass(REFUSED_PATIENCE);
    assert_eq!(world.metrics.refused_names.value(), 0);
    let third = world.open_with(TYPO);
    assert_eq!(world.summary(third), ["subscribed"]);
    assert_eq!(world.subscribes(), 4);
}

#[test]
fn a_refused_name_that_is_listed_meanwhile_is_asked_for_at_once() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.say(id, TYPO);
    world.reject("BTCUSD");
    world.texts(id);
    listed(&mut world, &["BTCUSDT"], None);
    world.say(id, TYPO);
    assert_eq!(world.error(id)["code"], "symbol_rejected");
    listed(&mut world, &["BTCUSDT", "BTCUSD"], Some("BREAK"));
    world.say(id, TYPO);
    assert_eq!(world.error(id)["code"], "symbol_rejected", "it does not trade");
    listed(&mut world, &["BTCUSDT", "BTCUSD"], None);
    world.say(id, TYPO);
    assert_eq!(world.summary(id), ["subscribed"]);
}

#[test]
fn what_there_was_no_room_for_is_not_held_against_the_name() {
    let mut world = World::new();
    let id = world.open_with(BTC);
    world.say(id, TYPO);
    let (instrument, message) = (world.ids["BTCUSD"], "one too many".to_owned());
    let exchange_message = String::new();
    let event = FeedEvent::Rejected { instrument, message, exchange_message, is_lasting: false };
    world.fanout.handle_feed(event, world.now);
    world.drive();
    world.texts(id);
    world.say(id, TYPO);
    assert_eq!(world.summary(id), ["subscribed"]);
}

#[test]
fn a_flood_of_refused_names_is_remembered_up_to_a_bound_and_then_forgotten() {
    let mut world = World::new();
    let witness = world.open_with(BTC);
    world.texts(witness);
    for round in 0..9 {
        let names: Vec<String> = (0..4_000).map(|at| format!("X{round}Y{at}")).collect();
        let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        let id = world.open_with(&BTC.replace("\"BTCUSDT\"", &quoted.join(",")));
        world.socket(id).bytes.clear();
        for name in &names {
            world.reject(name);
        }
        let known = world.metrics.refused_names.value();
        assert_eq!(known, (4_000 * (round + 1)).min(i64::try_from(REFUSED_NAMES_MAX).unwrap()));
    }
    assert_eq!(world.metrics.unconfirmed.value(), 1);
    world.send(witness, &frame(0x8a, b""));
    world.pass(REFUSED_PATIENCE);
    assert_eq!(world.metrics.refused_names.value(), 0);
}

#[test]
fn one_client_brought_new_names_as_fast_as_it_could_speak() {
    let mut world = World::new();
    listed(&mut world, &["BTCUSDT"], None);
    let id = world.open_with(BTC);
    world.texts(id);
    let name = |at: usize| TYPO.replace("BTCUSD", &format!("X{at}"));
    let burst = usize::try_from(CLIENT_NEW_NAMES_BURST / UNLISTED_NAME_COST).unwrap();
    let mut taken = 0;
    let error = loop {
        world.say(id, &name(taken));
        let texts = world.texts(id);
        if texts[0]["type"] == "error" {
            break texts[0].clone();
        }
        world.reject(&format!("X{taken}"));
        world.texts(id);
        taken += 1;
    };
    // BTCUSDT has cost one.
    assert_eq!(taken, burst - 1);
    assert_eq!(error["code"], "too_many_new_symbols");
    let wait_ms = error["retry_after_ms"].as_u64().unwrap();
    let each_ms = u64::from(UNLISTED_NAME_COST) * 1000 / u64::from(CLIENT_NEW_NAMES_PER_SECOND);
    assert!(wait_ms > 0 && wait_ms <= each_ms, "{wait_ms}");
    world.pass(Duration::from_millis(wait_ms - 1));
    world.say(id, &name(taken));
    assert_eq!(world.error(id)["code"], "too_many_new_symbols");
    world.pass(Duration::from_millis(2 + 1000 / u64::from(CLIENT_NEW_NAMES_PER_SECOND)));
    world.say(id, &name(taken));
    assert_eq!(world.summary(id), ["subscribed"]);
    assert_eq!(world.metrics.new_names_refused.value(), 2);
    let other = world.open_with(&name(9_999));
    assert_eq!(world.summary(other), ["subscribed"], "each client has its own rate");
    let known = world.open_with(&name(taken));
    assert_eq!(world.summary(known), ["subscribed"], "what is streamed costs nothing");
}

#[test]
fn two_thousand_listed_symbols_in_seven_intervals_are_within_the_rate() {
    let mut world = World::new();
    let names: Vec<String> = (0..2_000).map(|at| format!("S{at}USDT")).collect();
    let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
    listed(&mut world, &borrowed, None);
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let all = BTC.replace("\"BTCUSDT\"", &quoted.join(","));
    let id = world.open();
    for interval in ["1m", "3m", "5m", "15m", "1h", "4h", "1d"] {
        world.say(
            id,
            &all.replace('}', &format!(",\"source\":\"exchange\",\"interval\":\"{interval}\"}}")),
        );
        world.pass(Duration::ZERO);
        assert_eq!(world.summary(id), ["subscribed"], "{interval}");
    }
    assert_eq!(world.subscribes(), 14_000);
}

/// A pair with one series that has delivered, on a session of its own.
fn served() -> Pair {
    let mut pair = Pair::with(FeedConfig { max_symbols_per_session: 1, ..feed_config() });
    pair.manners.is_still = true;
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.push(&kline("BTCUSDT", 0, "2", false, START_MS + 1));
    pair
}

fn carries(pair: &Pair, stream: &str) -> bool {
    pair.peers.values().any(|peer| peer.streams.contains(stream))
}

#[test]
fn new_names_took_all_new_sessions_and_a_served_stream_stayed_down_for_minutes() {
    let mut pair = served();
    let first = pair.only();
    for id in 1..400 {
        pair.subscribe(id, "spot", &format!("S{id}USDT"));
    }
    assert_eq!(pair.connects.len(), 180, "two thirds of 270");
    for _ in 0..3 {
        let session = pair.peers.iter().find(|(_, peer)| peer.streams.contains("btcusdt@kline_1m"));
        let session = session.map_or(first, |(id, _)| *id);
        pair.cut_one(session);
        pair.pass(Duration::from_secs(3));
        assert!(carries(&pair, "btcusdt@kline_1m"), "within three seconds");
        pair.push(&kline("BTCUSDT", 0, "2", false, START_MS + 1));
    }
    assert_eq!(pair.connects.len(), 183, "and nobody else meanwhile");
    let waits = &pair.metrics.market(market("spot")).wait_reason;
    assert_eq!(waits.value(), 4, "the others wait for the budget");
}

#[test]
fn at_one_exchange_what_is_new_in_one_contract_type_left_no_session_for_another() {
    let mut pair = served();
    let at = |contract_type| Market::find(Venue::Bybit, contract_type).unwrap();
    for id in 1..600 {
        let contract_type = if id % 2 == 0 { "spot" } else { "inverse" };
        pair.subscribe_at(id, at(contract_type), &format!("S{id}USDT"));
    }
    let bybit = pair.connects.len() - 1;
    assert_eq!(bybit, 300, "two thirds of 450");
    pair.pass(Duration::from_secs(200));
    assert_eq!(pair.connects.len() - 1, 300);
}

#[test]
fn what_new_clients_want_of_the_past_left_no_question_for_a_hole_in_a_served_series() {
    let mut pair = Pair::new();
    pair.manners.is_still = true;
    pair.subscribe(0, "usdm", "BTCUSDT");
    let session = pair.only();
    pair.push_to(session, &kline("BTCUSDT", 0, "2", false, START_MS + 1));
    for id in 1..=500 {
        pair.subscribe(id, "usdm", &format!("S{id}USDT"));
        wish(&mut pair, id, 2, Wish { client: id, ..Wish::default() });
    }
    pair.pass(Duration::from_secs(5));
    let asked = pair.rests.len();
    assert!((267..400).contains(&asked), "{asked} of 400");
    for minute in [0, 2] {
        let end_ms = START_MS + (minute + 1) * 60_000 + 10;
        pair.push_to(session, &kline("BTCUSDT", minute, "2", true, end_ms));
    }
    pair.pass(Duration::from_millis(200));
    let newest = &pair.rests[asked..];
    assert!(newest.iter().any(|url| url.contains("BTCUSDT")), "{newest:?}");
}

/// A client wants the last windows of a series.
fn wish(pair: &mut Pair, id: u32, windows: u32, wish: Wish) {
    let (id, from) = (InstrumentId(id), BackfillFrom::Last(windows));
    pair.feed.handle_command(Command::Backfill { id, from, to: None, wish }, pair.now);
    pair.pump();
}

/// The symbol of a number.
type Naming = fn(u32) -> String;

/// A market of each exchange, how symbols are spelled there, and an answer of REST without rows.
fn without_rows() -> [(Market, Naming, &'static str); 5] {
    let at = |venue, contract_type| Market::find(venue, contract_type).unwrap();
    [
        (at(Venue::Binance, "usdm"), |number| format!("S{number}USDT"), "[]"),
        (
            at(Venue::Okx, "swap"),
            |number| format!("S{number}-USDT-SWAP"),
            r#"{"code":"0","data":[]}"#,
        ),
        (
            at(Venue::Bybit, "linear"),
            |number| format!("S{number}USDT"),
            r#"{"retCode":0,"retMsg":"OK","result":{"list":[]}}"#,
        ),
        (at(Venue::Gateio, "um"), |number| format!("S{number}_USDT"), "[]"),
        (at(Venue::Hyperliquid, "usdm"), |number| format!("S{number}"), "[]"),
    ]
}

#[test]
fn one_client_s_wishes_of_the_past_left_nothing_of_the_minute_to_another_client() {
    for (market, symbol, answer) in without_rows() {
        let mut pair = Pair::new();
        let (retry_after, limit_headers, body) = (None, Vec::new(), answer.as_bytes().to_vec());
        pair.manners.rest_answer =
            Some(RestResponse { status: 200, retry_after, limit_headers, body });
        for id in 0..400 {
            pair.subscribe_at(id, market, &symbol(id));
        }
        // A client with many symbols, and long windows of each.
        for id in 0..399 {
            let greedy = Wish { client: 1, ticket: 1, resumes: true };
            wish(&mut pair, id, 1_440, greedy);
        }
        pair.pass(Duration::from_secs(3));
        let asked = pair.rests.len();
        // Others want a little: of a series of their own, and of one that the first has, too.
        for (client, id) in [(2, 399), (3, 0)] {
            let modest = Wish { client, ticket: 2, resumes: false };
            wish(&mut pair, id, 1, modest);
            pair.pass(PAST_PATIENCE / 2);
            let name = symbol(id);
            let about = |url: &&String| url.contains(&name);
            let newest = &pair.rests[asked..];
            assert!(newest.iter().any(|url| about(&url)), "{market}: {name} of {newest:?}");
        }
    }
}

/// A pair whose exchange has a list, with one series that has delivered.
fn with_list() -> Pair {
    let mut pair = Pair::new();
    pair.manners.is_still = true;
    let one = |symbol: &str| Listed::new(symbol);
    let list = SymbolList::new(vec![one("BTCUSDT"), one("ETHUSDT")]);
    pair.lists.insert(market("spot"), Arc::new(list));
    pair.subscribe(0, "spot", "BTCUSDT");
    pair.push(&kline("BTCUSDT", 0, "2", false, START_MS + 1));
    pair
}

fn rejected(pair: &Pair) -> Vec<InstrumentId> {
    let rejected = |event: &FeedEvent| match event {
        FeedEvent::Rejected { instrument, .. } => Some(*instrument),
        _ => None,
    };
    pair.events.iter().filter_map(rejected).collect()
}

#[test]
fn a_name_that_no_list_has_cost_a_session_before_anybody_looked_whether_it_exists() {
    let mut pair = with_list();
    pair.manners.unknown.insert("BTCUSD".to_owned());
    pair.subscribe(1, "spot", "BTCUSD");
    pair.subscribe(2, "spot", "ETHUSDT");
    pair.pass(Duration::from_secs(1));
    assert_eq!(rejected(&pair), [InstrumentId(1)]);
    assert_eq!((pair.connects.len(), pair.rests.len()), (1, 1));
    let texts = pair.peers.values().flat_map(|peer| &peer.texts).cloned().collect::<String>();
    assert!(texts.contains("ethusdt") && !texts.contains("btcusd@"), "{texts}");
    // One that the list does not have yet, and REST does.
    pair.subscribe(3, "spot", "NEWUSDT");
    pair.pass(Duration::from_secs(1));
    assert!(carries(&pair, "newusdt@kline_1m"));
    assert_eq!((pair.connects.len(), rejected(&pair).len()), (1, 1), "among the others");
}

#[test]
fn where_rest_says_nothing_a_name_that_no_list_has_is_tried_apart() {
    let mut pair = with_list();
    pair.manners.rest_status = Some(403);
    pair.subscribe(1, "spot", "NEWUSDT");
    pair.pass(Duration::from_secs(1));
    assert!(carries(&pair, "newusdt@kline_1m") && rejected(&pair).is_empty());
    assert_eq!(pair.connects.len(), 2, "apart");
    // From now on we are denied REST: it is not waited for.
    pair.subscribe(2, "spot", "OTHERUSDT");
    assert!(carries(&pair, "otherusdt@kline_1m"));
    assert_eq!((pair.connects.len(), rejected(&pair).len()), (2, 0));
}

#[test]
fn a_name_that_nobody_wants_any_more_is_not_subscribed_when_rest_has_answered() {
    let mut pair = with_list();
    pair.manners.loses_rest = true;
    pair.subscribe(1, "spot", "NEWUSDT");
    pair.unsubscribe(1);
    pair.manners.loses_rest = false;
    pair.pass(Duration::from_secs(100));
    assert!(!carries(&pair, "newusdt@kline_1m"));
    // Wanted again, it is looked up again.
    pair.subscribe(1, "spot", "NEWUSDT");
    pair.pass(Duration::from_secs(1));
    assert!(carries(&pair, "newusdt@kline_1m"));
}

#[test]
fn each_typo_at_a_market_without_a_session_opened_one_of_its_own() {
    let mut pair = Pair::new();
    for id in 0..20 {
        let stream = format!("x{id}@kline_1m");
        pair.manners.refused.insert(stream);
        pair.subscribe(id, "spot", &format!("X{id}"));
        pair.pass(Duration::from_millis(500));
    }
    assert_eq!((rejected(&pair).len(), pair.connects.len()), (20, 1));
    pair.pass(Duration::from_secs(16));
    assert!(pair.peers.is_empty(), "nobody came: it is closed as one whose last client left");
}

/// 4,000 names before the list is there, which then names every tenth.
fn names_before_the_list(market: Market) -> (Pair, Vec<String>) {
    let mut pair = Pair::new();
    pair.holds_lists = true;
    let names = Vec::from_iter((0..4_000).map(|number| format!("X{number}USDT")));
    let one = |symbol: &String| Listed {
        symbol: symbol.clone(),
        halted: None,
        known_as: None,
        contract_size: None,
    };
    let listed = names.iter().step_by(10).map(one).collect();
    pair.lists.insert(market, Arc::new(SymbolList::new(listed)));
    let unlisted = names.iter().enumerate().filter(|(number, _)| number % 10 > 0);
    pair.manners.unknown = unlisted.map(|(_, name)| name.clone()).collect();
    for (id, name) in names.iter().enumerate() {
        pair.subscribe_at(u32::try_from(id).unwrap(), market, name);
    }
    pair.pass(Duration::from_secs(1));
    assert_eq!((pair.connects.len(), pair.peers.len()), (1, 1), "the names opened sessions");
    (pair, names)
}

#[test]
fn names_that_no_list_vouches_for_yet_opened_a_session_for_each_fifty_of_them() {
    let spot = Market::find(Venue::Binance, "spot").unwrap();
    let (mut pair, names) = names_before_the_list(spot);
    pair.answer_lists();
    pair.pass(Duration::from_secs(30));
    // Those of the first session, and of the others what is listed.
    let streams = || pair.peers.values().flat_map(|peer| &peer.streams);
    let is_streamed = |name: &&String| {
        let wanted = format!("{}@kline_1m", name.to_lowercase());
        streams().any(|stream| *stream == wanted)
    };
    assert_eq!(names.iter().step_by(10).filter(is_streamed).count(), 400);
    assert!(pair.connects.len() <= 2 + 400 / 50, "{} sessions", pair.connects.len());
}

#[test]
fn a_list_that_does_not_come_keeps_no_name_waiting() {
    let spot = Market::find(Venue::Binance, "spot").unwrap();
    let (mut pair, _) = names_before_the_list(spot);
    pair.pass(Duration::from_secs(60));
    let streams: usize = pair.peers.values().map(|peer| peer.streams.len()).sum();
    assert!(streams > 2_000, "{streams} streams");
}

#[test]
fn a_market_s_last_session_was_taken_by_its_neighbour_and_its_next_symbol_was_one_too_many() {
    let [spot, usdm, coinm] = ["spot", "usdm", "coinm"]
        .map(|contract_type| Market::find(Venue::Hyperliquid, contract_type).unwrap());
    // Three sessions for this shard, one for each contract type.
    let mut pair =
        Pair::with(FeedConfig { shards: 3, max_symbols_per_session: 1, ..feed_config() });
    for (id, market, symbol) in [(0, spot, "@1"), (1, usdm, "BTC"), (2, coinm, "kSHIB")] {
        pair.subscribe_at(id, market, symbol);
    }
    assert_eq!(pair.peers.len(), 3);
    // The exchange does not answer our Close: the session is ending for a while.
    pair.manners.is_dead = true;
    pair.unsubscribe(2);
    pair.subscribe_at(3, usdm, "ETH");
    pair.subscribe_at(4, coinm, "kPEPE");
    assert_eq!(rejected(&pair), []);
}
