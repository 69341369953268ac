//! Binance's messages, whole and broken, through the whole feed.

use std::path::PathBuf;

use connector_wss::market::CandleUpdate;
use connector_wss::metrics::DecodeErrorKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::pair::{Pair, START_MS, kline};

/// Real messages: `CONNECTOR_SAMPLES_DIR`, else beside the repository.
fn samples() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/exchanges/samples");
    let folder = std::env::var_os("CONNECTOR_SAMPLES_DIR").map_or(beside.into(), PathBuf::from);
    let folder = folder.join("binance");
    folder.is_dir().then_some(folder)
}

/// (contract type, message) of every capture.
fn captured() -> Vec<(String, String)> {
    let Some(folder) = samples() else { return Vec::new() };
    let mut messages = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let is_session = name.ends_with(".ws.session.jsonl");
        let is_push =
            [".ws.kline.jsonl", ".ws.kline.2026.jsonl"].iter().any(|end| name.ends_with(end));
        if !is_session && !is_push {
            continue;
        }
        let contract_type = ["spot", "usdm", "coinm"].into_iter().find(|word| name.contains(word));
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let text = if is_session {
                let line: Value = serde_json::from_str(line).unwrap();
                line["raw"].as_str().map(str::to_owned)
            } else {
                Some(line.to_owned())
            };
            messages.extend(text.map(|text| (contract_type.unwrap().to_owned(), text)));
        }
    }
    messages
}

/// The digits of a decimal without the zeros that mean nothing; written apart from the product's.
fn digits(value: &Value) -> String {
    let text = value.as_str().unwrap();
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text.to_owned()
    }
}

fn assert_equal(update: &CandleUpdate, push: &Value, contract_type: &str) {
    let (k, candle) = (&push["k"], &update.candle);
    assert_eq!(update.event_time.unwrap().0, push["E"].as_i64().unwrap());
    assert_eq!(candle.open_time.0, k["t"].as_i64().unwrap());
    let prices = [candle.open, candle.high, candle.low, candle.close, candle.volume];
    for (decimal, key) in prices.into_iter().zip(["o", "h", "l", "c", "v"]) {
        assert_eq!(decimal.as_str(), digits(&k[key]), "{key} of {push}");
    }
    let other_volume = candle.other_volume.map(|decimal| decimal.to_string());
    assert_eq!(other_volume, (contract_type != "coinm").then(|| digits(&k["q"])));
    assert_eq!(candle.trades, k["n"].as_u64().unwrap());
    assert_eq!(update.is_closed(), k["x"].as_bool().unwrap());
}

#[test]
fn every_captured_push_becomes_its_candle() {
    let (mut klines, messages) = (0, captured());
    if messages.is_empty() {
        return println!("skipped: no captured messages");
    }
    for (contract_type, text) in messages {
        let message: Value = serde_json::from_str(&text).unwrap();
        let push = message.get("data").unwrap_or(&message);
        if push["e"] != "kline" || push["k"]["i"] != "1m" {
            continue;
        }
        let mut pair = Pair::new();
        pair.now.unix_us = push["E"].as_i64().unwrap() * 1000;
        pair.subscribe(0, &contract_type, push["s"].as_str().unwrap());
        pair.push(&text);
        assert_equal(&pair.candles()[0], push, &contract_type);
        klines += 1;
    }
    assert!(klines > 50, "{klines} captured pushes");
}

/// Pushes `text`, which is no message, and sees that it is counted and harms nothing.
fn assert_counted(pair: &mut Pair, text: &str) {
    let before = pair.decode_errors_total();
    pair.push(text);
    assert_eq!(pair.decode_errors_total(), before + 1, "{text}");
    assert!(pair.published.is_empty(), "{text}");
    assert_eq!((pair.peers.len(), pair.connects.len()), (1, 1));
}

#[test]
fn every_truncation_is_counted_and_the_session_goes_on() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    let raw = kline("BTCUSDT", 0, "2", false, START_MS);
    let combined = format!(r#"{{"stream":"btcusdt@kline_1m","data":{raw}}}"#);
    for text in [&raw, &combined] {
        for length in 0..text.len() {
            assert_counted(&mut pair, &text[..length]);
        }
    }
    assert_eq!(pair.decode_errors(DecodeErrorKind::Json), pair.decode_errors_total());
    let notices = pair.notices.iter().filter(|notice| notice.text.contains("not understood"));
    assert_eq!(notices.count(), 1, "the log is told once");
    pair.push(&combined);
    assert_eq!(pair.candles().len(), 1);
}

#[test]
fn every_field_removed_or_retyped_is_counted() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    let push: Value = serde_json::from_str(&kline("BTCUSDT", 0, "2", false, START_MS)).unwrap();
    let inner = ["t", "T", "s", "i", "o", "h", "l", "c", "v", "n", "x", "q"].map(|key| ["k", key]);
    let outer = ["e", "E", "s", "k"].map(|key| ["", key]);
    for [parent, key] in outer.into_iter().chain(inner) {
        let place = if parent.is_empty() { String::new() } else { format!("/{parent}") };
        let mut removed = push.clone();
        removed.pointer_mut(&place).unwrap().as_object_mut().unwrap().remove(key);
        assert_counted(&mut pair, &removed.to_string());
        for other in [json!(null), json!([1]), json!({}), json!(-1), json!(1.5), json!("x y")] {
            let mut retyped = push.clone();
            retyped.pointer_mut(&place).unwrap()[key] = other;
            assert_counted(&mut pair, &retyped.to_string());
        }
    }
    assert!(pair.decode_errors(DecodeErrorKind::MissingField) >= 16);
    assert!(pair.decode_errors(DecodeErrorKind::BadField) > 16);
}

#[test]
fn each_kind_of_bad_message_has_its_own_count() {
    let mut pair = Pair::subscribed(&["BTCUSDT"]);
    let good = kline("BTCUSDT", 0, "2", false, START_MS);
    let long = good.replace("9000.00", &"9".repeat(40));
    let exponent = good.replace("9000.00", "3x5");
    let negative = good.replace("9000.00", "-3.00");
    let open_time = START_MS.to_string();
    let misaligned = good.replace(&format!("\"t\":{open_time}"), "\"t\":1700000040001");
    let stranger = good.replace("BTCUSDT", "ETHUSDT");
    let trade = r#"{"e":"trade","E":1,"s":"BTCUSDT"}"#;
    for (text, kind) in [
        (long.as_str(), DecodeErrorKind::NumberTooLong),
        (&exponent, DecodeErrorKind::BadNumber),
        (&negative, DecodeErrorKind::BadField),
        (&misaligned, DecodeErrorKind::Misaligned),
        (&kline("BTCUSDT", 500_000, "2", true, START_MS), DecodeErrorKind::BadField),
        (&stranger, DecodeErrorKind::Unknown),
        (trade, DecodeErrorKind::Unknown),
        ("[]", DecodeErrorKind::Unknown),
        (r#"{"result":null,"id":99}"#, DecodeErrorKind::Unknown),
        (r#"{"code":2,"msg":"Invalid request"}"#, DecodeErrorKind::Unknown),
        (r#"{"code":2}"#, DecodeErrorKind::MissingField),
    ] {
        let before = pair.decode_errors(kind);
        assert_counted(&mut pair, text);
        assert_eq!(pair.decode_errors(kind), before + 1, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_texts_never_panic(texts in proptest::collection::vec(".{0,80}", 1..20)) {
        let mut pair = Pair::subscribed(&["BTCUSDT"]);
        texts.iter().for_each(|text| pair.push(text));
        prop_assert_eq!(pair.decode_errors_total(), texts.len() as u64);
    }

    #[test]
    fn mutated_pushes_never_panic(
        edits in proptest::collection::vec((0usize..250, 0x20u8..0x7f), 1..6),
    ) {
        let mut pair = Pair::subscribed(&["BTCUSDT"]);
        let mut bytes = kline("BTCUSDT", 0, "2", true, START_MS).into_bytes();
        for (at, byte) in edits {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        pair.push(std::str::from_utf8(&bytes).unwrap());
    }

    #[test]
    fn arbitrary_socket_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        is_early in any::<bool>(),
    ) {
        let mut pair = Pair::new();
        pair.manners.is_dead = is_early;
        pair.subscribe(0, "spot", "BTCUSDT");
        let session = pair.only();
        pair.feed.handle_bytes(session, &bytes, pair.now);
        pair.pump();
        pair.manners.is_dead = false;
        pair.pass(std::time::Duration::from_secs(45));
        prop_assert_eq!(pair.streams(), ["btcusdt@kline_1m"]);
    }
}
