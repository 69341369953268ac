//! The simulated exchanges against the captures: what the simulator pushes and answers has the
//! fields and types that the exchanges' own messages have, so that the dialects and the simulator
//! cannot drift together.

use std::collections::BTreeMap;

use connector_wss::market::{Market, Venue};
use connector_wss::sim::amounts::{self, Amounts, Pushed};
use connector_wss::sim::frames::{self, Op};
use connector_wss::sim::market::SimMarket;
use connector_wss::sim::stream::Track;
use connector_wss::sim::venue;
use connector_wss::sim::venue::binance;
use serde_json::Value;

use super::{decode, market, samples};

const NOW_MS: i64 = 1_740_000_061_500;
const MINUTE: i64 = 1_740_000_000_000 / 60_000;

/// Every path of a message with the type that stands there; elements of an array share one path.
fn shape(text: &str) -> BTreeMap<String, &'static str> {
    fn walk(value: &Value, path: &str, into: &mut BTreeMap<String, &'static str>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(elements) => {
                elements.iter().for_each(|one| walk(one, &format!("{path}/*"), into));
                "array"
            }
            Value::Object(fields) => {
                fields.iter().for_each(|(key, one)| walk(one, &format!("{path}/{key}"), into));
                "object"
            }
        };
        into.insert(path.to_owned(), kind);
    }
    let mut shape = BTreeMap::new();
    walk(&serde_json::from_str(text).unwrap(), "", &mut shape);
    shape
}

fn first_of(exchange: &str, file: &str) -> Option<String> {
    let samples = samples(exchange);
    let found = samples.into_iter().find(|sample| sample.name == file)?;
    found.texts.into_iter().next()
}

/// The simulator's push of one candle that has trades.
fn push(market: Market, flag: Option<bool>) -> String {
    let sim = SimMarket::new(1, market, 0);
    let candle = sim.truth(0, MINUTE);
    assert!(candle.trades > 0);
    let mut text = String::new();
    let pushed = Pushed { candle: &candle, flag };
    venue::write_push(market, &mut text, &sim.listings()[0], &[pushed], NOW_MS);
    text
}

#[test]
fn pushes_have_the_fields_and_types_of_the_captured_ones() {
    // Paths that newer messages have and the captured one does not, or the other way round.
    type Case = (Venue, &'static str, Option<bool>, &'static str, &'static [&'static str]);
    let cases: [Case; 9] = [
        (Venue::Okx, "spot", Some(false), "spot.ws.kline.jsonl", &[]),
        (Venue::Okx, "spot", Some(true), "sister-okcoin.spot.ws.kline.jsonl", &[]),
        (Venue::Bybit, "spot", Some(false), "spot.ws.kline.jsonl", &[]),
        (Venue::Bybit, "linear", Some(true), "linear.ws.kline.jsonl", &[]),
        (Venue::Gateio, "spot", Some(true), "spot.ws.kline.doc.jsonl", &[]),
        (Venue::Gateio, "um", None, "um.ws.kline.jsonl", &["/result/*/a"]),
        (Venue::Gateio, "um", Some(true), "um.ws.kline.2026.jsonl", &[]),
        (Venue::Gateio, "cm", None, "cm.ws.kline.jsonl", &["/time_ms"]),
        (Venue::Hyperliquid, "usdm", None, "perp.ws.kline.jsonl", &[]),
    ];
    for (venue, contract_type, flag, file, other) in cases {
        let Some(captured) = first_of(venue.name(), file) else { continue };
        let market = market(venue, contract_type);
        let mut simulated = shape(&push(market, flag));
        let mut captured = shape(&captured);
        for path in other {
            simulated.remove(*path);
            captured.remove(*path);
        }
        assert_eq!(simulated, captured, "{market}: {file}");
    }
}

/// `text` without what differs from push to push: digits, words in quotes that are no names, and
/// which flag is set. White space, names and their order stay.
fn spelling(text: &str) -> String {
    let parts: Vec<_> = text.split('"').collect();
    let mut spelling = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let is_name = parts.get(at + 1).is_some_and(|next| next.starts_with(':'));
        spelling.push(match (at % 2, is_name) {
            (1, true) => (*part).to_owned(),
            (1, false) => String::new(),
            _ => part.replace("true", "false").replace(|c: char| c.is_ascii_digit(), ""),
        });
    }
    spelling.join("\"")
}

/// To the byte, spaces and order included.
#[test]
fn pushes_of_2026_are_spelt_as_captured() {
    for (venue, contract_type, file) in [
        (Venue::Binance, "spot", "spot.ws.kline.2026.jsonl"),
        (Venue::Binance, "usdm", "usdm.ws.kline.2026.jsonl"),
        (Venue::Binance, "coinm", "coinm.ws.kline.2026.jsonl"),
        (Venue::Gateio, "um", "um.ws.kline.2026.jsonl"),
    ] {
        let Some(captured) = first_of(venue.name(), file) else { continue };
        let market = market(venue, contract_type);
        let simulated = match venue {
            Venue::Binance => binance_push(market),
            _ => push(market, Some(true)),
        };
        assert_eq!(spelling(&simulated), spelling(&captured), "{market}: {file}");
    }
}

fn binance_push(market: Market) -> String {
    let (sim, mut text) = (SimMarket::new(1, market, 0), String::new());
    let (listing, candle) = (&sim.listings()[0], sim.truth(0, MINUTE));
    let contract_type = market.contract_type();
    let track = Track::of(0, candle.interval);
    let said = (&candle, track.form);
    binance::write_kline(&mut text, contract_type, listing, said, NOW_MS, true);
    binance::wrap(&binance::stream_name(listing, track), &text)
}

#[test]
fn acknowledgements_and_errors_have_the_captured_shape() {
    let ack = |venue, contract_type, id: &str, topic: &str| {
        frames::accepted(market(venue, contract_type), Op::Subscribe, id, topic, NOW_MS)
    };
    let okx = r#""channel":"candle1m","instId":"BTC-USDT""#;
    let coin = r#"{"type":"candle","interval":"1m","coin":"BTC"}"#;
    let cases = [
        ("okx", "business.ws.ack.doc.jsonl", ack(Venue::Okx, "spot", "\"1512\"", okx)),
        ("okx", "public-url.ws.error.jsonl", frames::okx_refused("", okx)),
        ("bybit", "spot.ws.ack.jsonl", ack(Venue::Bybit, "spot", "", "")),
        ("bybit", "linear.ws.ack.jsonl", ack(Venue::Bybit, "linear", "", "")),
        ("bybit", "linear.ws.error.jsonl", frames::bybit_error("subscribe", "", "x")),
        ("gateio", "um.ws.ack.modern.jsonl", ack(Venue::Gateio, "um", "", "[\"1m\",\"BTC_USDT\"]")),
        (
            "gateio",
            "um.ws.error.modern.jsonl",
            frames::gateio_refused("futures", "subscribe", "", "[\"1m\",\"X\"]", "x", NOW_MS),
        ),
        ("hyperliquid", "perp.ws.ack.jsonl", ack(Venue::Hyperliquid, "usdm", "", coin)),
        ("hyperliquid", "ws.error.jsonl", frames::hyperliquid_already(Op::Subscribe, coin)),
    ];
    for (exchange, file, simulated) in cases {
        let Some(captured) = first_of(exchange, file) else { continue };
        assert_eq!(shape(&simulated), shape(&captured), "{file}: {simulated}");
    }
}

/// The other way round, and without any capture: what the simulator pushes is what it knows.
#[test]
fn the_dialects_read_what_the_simulator_pushes() {
    for market in Market::all().filter(|market| market.venue() != Venue::Binance) {
        let sim = SimMarket::new(7, market, 1);
        for (index, listing) in sim.listings().iter().enumerate().filter(|(_, one)| one.trading) {
            let candle = sim.truth(index, MINUTE);
            let mut text = String::new();
            let pushed = Pushed { candle: &candle, flag: Some(true) };
            venue::write_push(market, &mut text, listing, &[pushed], NOW_MS);
            let read = decode(market, text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e:?}"));
            let [kline] = &read.klines[..] else { panic!("{text}") };
            let amounts = Amounts { market, listing, candle: &candle };
            let trimmed = |digits: String| match digits.contains('.') {
                true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => digits,
            };
            let price = |ticks| trimmed(amounts::price(listing, ticks));
            let [open, high, low, close] =
                [candle.open, candle.high, candle.low, candle.close].map(price);
            let expected = [open, high, low, close, trimmed(amounts.volume())];
            assert_eq!(kline.digits, expected, "{market}: {text}");
            let other = match market.venue() {
                Venue::Gateio => Some(amounts.base()),
                _ => amounts.quote_volume(),
            };
            assert_eq!(kline.other_volume, other.map(trimmed), "{market}");
            assert_eq!((kline.symbol.as_str(), kline.trades), (&*listing.name, amounts.trades()));
            assert_eq!((kline.open_time, kline.interval_ms), (candle.open_time_ms, 60_000));
            let has_flag = market.venue() != Venue::Hyperliquid;
            assert_eq!(kline.is_closed, has_flag.then_some(true), "{market}");
        }
    }
}
