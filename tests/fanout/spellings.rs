//! Series under the names by which clients asked for them: Hyperliquid's coins as the Python
//! connector spelled them, OKX's contract types, at which it did not look.

use std::sync::Arc;

use connector_wss::fanout::ClientId;
use connector_wss::limits::SERIES_SPELLINGS_MAX;
use connector_wss::market::{FinalBy, Listed, Market, SymbolList, Venue};
use connector_wss::messages::{Command, FeedEvent, MarketEvent};
use serde_json::{Value, json};

use super::world::*;

fn perp(symbols: &str, more: &str) -> String {
    format!(r#"{{"exchange":"hyperliquid","contract_type":"usdm","symbols":{symbols}{more}}}"#)
}

/// Type, symbol and contract type of each message that has them.
fn names(texts: &[Value]) -> Vec<String> {
    let name = |text: &Value| {
        let kind = text["type"].as_str().unwrap();
        let symbol = if text["symbol"].is_null() { &text["symbols"] } else { &text["symbol"] };
        format!("{kind} {symbol} {}", text["contract_type"]).replace('"', "")
    };
    texts.iter().map(name).collect()
}

fn told(world: &mut World, id: ClientId) -> Vec<String> {
    names(&world.texts(id))
}

#[test]
fn two_clients_with_two_spellings_of_one_series_each_hear_their_own() {
    let mut world = World::new();
    let spellings = ["BTC-USDC-SWAP", "BTC-PERP", "BTC", "btcusdt", "BTC-USDC-PERP", "BTCPERP"];
    let clients = spellings.map(|one| world.open_with(&perp(&format!("[\"{one}\"]"), "")));
    let basic = world.open_with(&perp(r#"["BTC-PERP"]"#, r#","fields":"basic""#));
    assert_eq!(world.subscribes(), 1, "one stream for all");
    world.open_candle("BTC", 1, "5");
    world.closed_candle("BTC", 1, "6");
    let instrument = world.ids["BTC"];
    world.market(MarketEvent::Gap { instrument, first_missing: open_time(2), missing: 2 });
    world.market(MarketEvent::Empty { instrument, open_time: open_time(4), is_backfilled: false });
    for (id, own) in clients.into_iter().zip(spellings) {
        let one = |kind: &str| format!("{kind} {own} usdm");
        let mut expected = vec![format!("subscribed [{own}] usdm")];
        expected.extend(["quote", "quote", "gap", "empty"].map(one));
        assert_eq!(told(&mut world, id), expected);
    }
    let texts = world.texts(basic);
    assert_eq!(texts[1]["symbol"], "BTC-PERP");
    assert_eq!(texts[1].as_object().unwrap().len(), 13, "{}", texts[1]);
}

#[test]
fn one_that_comes_later_hears_the_newest_candle_and_the_past_under_its_name() {
    let mut world = World::new();
    let first = world.open_with(&perp(r#"["BTC"]"#, ""));
    for minute in 1..4 {
        world.closed_candle("BTC", minute, "5");
    }
    world.open_candle("BTC", 4, "7");
    let late = world.open_with(&perp(r#"["BTCUSDT"]"#, ""));
    assert_eq!(told(&mut world, late), ["subscribed [BTCUSDT] usdm", "quote BTCUSDT usdm"]);
    let since = format!(r#","since":{}"#, open_time(1).0);
    for more in [r#","history":2"#, &since] {
        let past = world.open_with(&perp(r#"["BTC-PERP"]"#, more));
        let own = |kind: &str| format!("{kind} BTC-PERP usdm");
        let mut expected = vec!["subscribed [BTC-PERP] usdm".to_owned()];
        expected.extend(["quote", "quote", "history", "quote"].map(own));
        assert_eq!(told(&mut world, past), expected);
    }
    assert!(told(&mut world, first).iter().all(|text| !text.contains("PERP")));
}

#[test]
fn one_that_is_behind_is_owed_its_own_spelling() {
    let mut world = World::new();
    let id = world.open_with(&perp(r#"["BTC-PERP"]"#, ""));
    let other = world.open_with(&perp(r#"["BTC"]"#, ""));
    world.socket(id).is_blocked = true;
    for minute in 1..40 {
        world.open_candle("BTC", minute, "5");
        world.closed_candle("BTC", minute, "5");
    }
    world.unblock(id);
    let texts = world.texts(id);
    assert!(texts.len() > 39, "{}", texts.len());
    assert!(texts[1..].iter().all(|text| text["symbol"] == "BTC-PERP"), "{texts:?}");
    assert!(world.texts(other)[1..].iter().all(|text| text["symbol"] == "BTC"));
}

#[test]
fn lists_unsubscribes_and_errors_name_it_as_the_client_did() {
    let mut world = World::new();
    let id = world.open_with(&perp(r#"["BTC-PERP","ETH-USDC-SWAP","SOLUSDT"]"#, ""));
    world.texts(id);
    world.say(id, r#"{"op":"list"}"#);
    let list = world.texts(id).pop().unwrap();
    let symbols = json!(["BTC-PERP", "ETH-USDC-SWAP", "SOLUSDT"]);
    assert_eq!(list["subscriptions"][0]["symbols"], symbols);
    // By any of its spellings.
    let end = perp(r#"["BTC-USD-SWAP"]"#, r#","op":"unsubscribe""#);
    world.say(id, &end);
    assert_eq!(told(&mut world, id), ["unsubscribed [BTC-PERP] usdm"]);
    world.reject("ETH");
    assert_eq!(told(&mut world, id), ["error [ETH-USDC-SWAP] usdm"]);
    // The world says of every session that it is one of spot.
    world.session("SOL", false);
    assert_eq!(told(&mut world, id), ["notice [SOLUSDT] spot"]);
}

#[test]
fn a_connection_has_one_name_for_a_series() {
    let mut world = World::new();
    let id = world.open_with(&perp(r#"["BTC-PERP"]"#, ""));
    world.texts(id);
    world.say(id, &perp(r#"["BTC"]"#, r#","op":"subscribe""#));
    let error = world.texts(id).pop().unwrap();
    assert_eq!(error["code"], "named_twice");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("BTC is the series that you have as BTC-PERP"), "{message}");
    // In one request the first counts, and its neighbours are served.
    let twice = world.open_with(&perp(r#"["BTC-PERP","ETH","BTCUSDT"]"#, ""));
    let texts = world.texts(twice);
    assert_eq!(names(&texts), ["subscribed [BTC-PERP,ETH] usdm", "error [BTCUSDT] usdm"]);
    assert_eq!(texts[1]["code"], "named_twice");
}

#[test]
fn at_okx_the_client_s_word_is_in_every_answer_and_tells_two_names_apart() {
    let mut world = World::new();
    let okx = |word: &str, more: &str| {
        format!(
            r#"{{"exchange":"okx","contract_type":"{word}","symbols":["BTC-USDT-SWAP","BTCUSDT"]{more}}}"#
        )
    };
    let id = world.open_with(&okx("um", ""));
    let expected = ["subscribed [BTC-USDT-SWAP] um", "error [BTCUSDT] um"];
    assert_eq!(told(&mut world, id), expected);
    world.say(id, &okx("swap", r#","op":"subscribe""#));
    let error = world.texts(id).pop().unwrap();
    let message = error["message"].as_str().unwrap();
    let says = "BTC-USDT-SWAP (swap) is the series that you have as BTC-USDT-SWAP (um) already";
    assert!(message.contains(says), "{message}");
    world.say(id, &okx("um", r#","op":"unsubscribe""#));
    assert_eq!(told(&mut world, id), ["unsubscribed [BTC-USDT-SWAP] um"]);
}

#[test]
fn a_list_tells_the_case_of_a_coin() {
    let mut world = World::new();
    let market = Market::find(Venue::Hyperliquid, "usdm").unwrap();
    let list = SymbolList::new(["BTC", "kPEPE", "BUSDT"].map(Listed::new).into());
    world.fanout.handle_feed(FeedEvent::Listed { market, list: Arc::new(list) }, world.now);
    let id = world.open_with(&perp(r#"["KPEPE-USDC-SWAP","BUSDT"]"#, ""));
    let asked = world.commands.iter().filter_map(|command| match command {
        Command::Subscribe { instrument, .. } => Some(instrument.symbol.to_string()),
        _ => None,
    });
    assert_eq!(asked.collect::<Vec<_>>(), ["kPEPE", "BUSDT"]);
    assert_eq!(told(&mut world, id)[0], "subscribed [KPEPE-USDC-SWAP,BUSDT] usdm");
}

#[test]
fn the_names_of_a_series_are_bounded_and_make_room_when_their_clients_go() {
    let mut world = World::new();
    let word = |at: usize| {
        format!(r#"{{"exchange":"okx","contract_type":"w{at}","symbols":["BTC-USDT-SWAP"]}}"#)
    };
    let ids: Vec<_> = (0..SERIES_SPELLINGS_MAX).map(|at| world.open_with(&word(at))).collect();
    let beyond = world.open_with(&word(99));
    assert_eq!(world.texts(beyond).pop().unwrap()["code"], "too_many_spellings");
    world.say(ids[3], r#"{"op":"unsubscribe"}"#);
    let again = world.open_with(&word(99));
    assert_eq!(told(&mut world, again), ["subscribed [BTC-USDT-SWAP] w99"]);
    world.open_candle("BTC-USDT-SWAP", 1, "5");
    assert_eq!(told(&mut world, again), ["quote BTC-USDT-SWAP w99"]);
    assert_eq!(told(&mut world, ids[4]).pop().unwrap(), "quote BTC-USDT-SWAP w4");
}

#[test]
fn spot_and_swap_at_okx_are_one_subscription_with_one_limit() {
    let mut world = World::new();
    let id = world.open_with(
        r#"{"exchange":"okx","contract_type":"um","symbols":["BTC-USDT","BTC-USDT-SWAP"],"limit":3}"#,
    );
    assert_eq!(told(&mut world, id), ["subscribed [BTC-USDT,BTC-USDT-SWAP] um"]);
    let markets = world.commands.iter().filter_map(|command| match command {
        Command::Subscribe { instrument, .. } => Some(instrument.market.to_string()),
        _ => None,
    });
    assert_eq!(markets.collect::<Vec<_>>(), ["okx spot", "okx swap"]);
    world.open_candle("BTC-USDT", 1, "5");
    world.open_candle("BTC-USDT-SWAP", 1, "5");
    let update = world.update("BTC-USDT", 1, "6", Some(FinalBy::Flag));
    world.market(MarketEvent::Candle(update));
    let expected =
        ["quote BTC-USDT um", "quote BTC-USDT-SWAP um", "quote BTC-USDT um"].map(str::to_owned);
    let (texts, close) = world.got(id);
    assert_eq!(names(&texts), expected);
    assert_eq!(close.unwrap().0, 1000);
}

#[test]
fn both_are_unsubscribed_by_their_names() {
    let mut world = World::new();
    let head = r#""exchange":"okx","symbols":["BTC-USDT","BTC-USDT-SWAP"]"#;
    let id = world.open_with(&format!("{{{head}}}"));
    assert_eq!(told(&mut world, id), ["subscribed [BTC-USDT,BTC-USDT-SWAP] spot"]);
    world.open_candle("BTC-USDT-SWAP", 1, "5");
    assert_eq!(told(&mut world, id), ["quote BTC-USDT-SWAP swap"], "each its own");
    world.say(id, &format!(r#"{{"op":"unsubscribe",{head}}}"#));
    assert_eq!(told(&mut world, id), ["unsubscribed [BTC-USDT,BTC-USDT-SWAP] spot"]);
}
