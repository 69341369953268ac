//! Captured messages of the real exchange, played by the simulator to a real server, arrive with
//! every field as captured. Captures are never part of the repository; without them: skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use connector_wss::sim::{self, Playback, SimOptions};
use serde_json::Value;

use super::client::Text;
use super::harness::{Scratch, Server, market};

const CONTRACT_TYPES: [&str; 3] = ["spot", "usdm", "coinm"];

fn samples() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/exchanges/samples");
    let folder = std::env::var_os("CONNECTOR_SAMPLES_DIR").map_or(beside.into(), PathBuf::from);
    // The variable may name the folder of all exchanges, or Binance's own.
    let folders = [folder.join("binance"), folder];
    let found = folders.into_iter().find(|folder| !captures(folder, "spot", "kline").is_empty());
    if found.is_none() {
        println!("skipped: no captures; CONNECTOR_SAMPLES_DIR names their folder");
    }
    found
}

/// The files of `contract_type`, those of sister exchanges included.
fn captures(folder: &Path, contract_type: &str, kind: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let end = format!("{contract_type}.ws.{kind}.jsonl");
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(&end));
    paths.sort();
    paths
}

/// The messages of a capture as the exchange sent them, as text.
fn messages(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let message = |line: &str| {
        let json: Value = serde_json::from_str(line).unwrap();
        match json["dir"].as_str() {
            Some("recv") => Some(json["raw"].as_str().unwrap().to_owned()),
            Some(_) => None,
            None => Some(line.to_owned()),
        }
    };
    lines.filter_map(message).collect()
}

/// The kline push in a message, wrapped or raw.
fn push(message: &str) -> Option<Value> {
    let json: Value = serde_json::from_str(message).unwrap();
    [&json["data"], &json].into_iter().find(|one| one["e"] == "kline").cloned()
}

/// One-minute pushes by symbol, in order: all that is subscribed, and so all that is expected. The
/// captures hold no push twice and none that comes after a newer one; [`assert_in_order`] sees to
/// it, so that nothing is expected to be dropped as duplicate or late.
fn expected(messages: impl Iterator<Item = String>) -> BTreeMap<String, Vec<Value>> {
    let mut by_symbol: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for push in messages.filter_map(|message| push(&message)) {
        if push["k"]["i"] == "1m" {
            let symbol = push["s"].as_str().unwrap().to_owned();
            by_symbol.entry(symbol).or_default().push(push);
        }
    }
    by_symbol.values().for_each(|pushes| assert_in_order(pushes));
    by_symbol
}

fn assert_in_order(pushes: &[Value]) {
    for pair in pushes.windows(2) {
        let key = |push: &Value| (push["k"]["t"].as_i64().unwrap(), push["E"].as_i64().unwrap());
        assert!(key(&pair[0]) < key(&pair[1]), "the capture is in order: {pair:?}");
        let is_after_close = pair[0]["k"]["x"] == true && pair[0]["k"]["t"] == pair[1]["k"]["t"];
        assert!(!is_after_close, "nothing follows a closing push in its window");
    }
}

/// What a client gets of `expected` while `files` are played, by symbol.
fn play(
    contract_type: &str,
    files: Vec<PathBuf>,
    speed: u32,
    tls: bool,
    expected: &BTreeMap<String, Vec<Value>>,
) -> BTreeMap<String, Vec<Text>> {
    let folder = Scratch::new();
    let played = market(contract_type);
    let options = SimOptions {
        playback: Some(Playback { files, market: played, speed }),
        tls,
        tls_ca_out: tls.then(|| folder.0.join("ca.pem")),
        ..SimOptions::default()
    };
    let simulator = sim::start(options).unwrap();
    assert_eq!(simulator.ws_url(market(contract_type)).starts_with("wss:"), tls);
    let server = Server::start(simulator.env(), &[]);
    let symbols: Vec<&String> = expected.keys().collect();
    let request = serde_json::json!({
        "exchange": "binance", "contract_type": contract_type, "symbols": symbols,
    });
    let mut client = server.ask(&request.to_string());
    assert!(client.next().is("subscribed"));
    let mut got: BTreeMap<String, Vec<Text>> = BTreeMap::new();
    let mut open: BTreeSet<&String> = symbols.into_iter().collect();
    while !open.is_empty() {
        let text = client.next();
        assert!(text.is("quote"), "nothing but quotes: {}", text.text);
        let (symbol, last) = expected.get_key_value(text.json["symbol"].as_str().unwrap()).unwrap();
        if is_update_of(&text, last.last().unwrap()) {
            open.remove(symbol);
        }
        got.entry(symbol.clone()).or_default().push(text);
    }
    let pushed: usize = expected.values().map(Vec::len).sum();
    let name = "connector_quotes_processed_total";
    let label = format!("contract_type=\"{contract_type}\"");
    assert_eq!(server.metric(name, &[&label]), pushed as f64);
    for name in ["late", "duplicates_filtered", "corrections", "gaps", "decode_errors"] {
        assert_eq!(server.metric(&format!("connector_{name}_total"), &[]), 0.0, "{name}");
    }
    got
}

fn is_update_of(text: &Text, push: &Value) -> bool {
    let is_same = |name: &str, value: &Value| text.json[name] == *value;
    is_same("open_time", &push["k"]["t"])
        && unix_ms(text.json["timestamp"].as_str().unwrap()) == push["E"].as_i64().unwrap()
}

/// Every field of the client's message against the push, numbers digit by digit.
fn assert_equal(text: &Text, contract_type: &str, push: &Value) {
    let (json, kline) = (&text.json, &push["k"]);
    let digits = [("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"), ("volume", "v")];
    for (name, short) in digits {
        assert_eq!(text.number(name), Some(trimmed(&kline[short])), "{name}: {push}");
    }
    let quote_volume = (contract_type != "coinm").then(|| trimmed(&kline["q"]));
    assert_eq!(text.number("quote_volume"), quote_volume, "{push}");
    let unit = if contract_type == "coinm" { "contracts" } else { "base" };
    let is_closed = kline["x"].as_bool().unwrap();
    let rest = serde_json::json!({
        "type": "quote", "exchange": "binance", "contract_type": contract_type,
        "symbol": push["s"], "trade_num": kline["n"], "is_closed_candle": is_closed,
        "interval": "1m", "open_time": kline["t"], "close_time": kline["T"],
        "seq": kline["t"].as_i64().unwrap() / 60_000, "revision": 0, "source": "ws",
        "final_by": if is_closed { "flag".into() } else { Value::Null }, "volume_unit": unit,
    });
    for (name, value) in rest.as_object().unwrap() {
        assert_eq!(json[name], *value, "{name}: {push}");
    }
    assert!(json["current_time"].as_str().unwrap().ends_with("+00:00"));
    let fields = rest.as_object().unwrap().len() + digits.len() + 2;
    let fields = fields + usize::from(quote_volume.is_some());
    assert_eq!(json.as_object().unwrap().len(), fields, "no field beside those: {}", text.text);
}

/// The digits of a captured price without zeros at the end of its fraction.
fn trimmed(value: &Value) -> &str {
    let text = value.as_str().unwrap();
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.')
}

/// `2021-07-22T22:25:41.424+00:00` in ms since the Unix epoch, by the civil calendar.
fn unix_ms(text: &str) -> i64 {
    assert_eq!((text.len(), &text[23..]), (29, "+00:00"), "{text}");
    let part = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    let (year, month, day) = (part(0, 4), part(5, 7), part(8, 10));
    // March is the first month, so that the leap day is the last.
    let (y, m) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + part(11, 13) * 3600 + part(14, 16) * 60 + part(17, 19);
    seconds * 1000 + part(20, 23)
}

/// As fast as the sockets take it: a burst in which many pushes of one series share one read.
fn replay_burst(contract_type: &str, tls: bool) {
    let Some(folder) = samples() else { return };
    let files = captures(&folder, contract_type, "kline");
    let expected = expected(files.iter().flat_map(|path| messages(path)));
    assert!(expected.len() >= 3);
    assert_whole(contract_type, &expected, &play(contract_type, files, 0, tls, &expected));
}

fn assert_whole(
    contract_type: &str,
    expected: &BTreeMap<String, Vec<Value>>,
    got: &BTreeMap<String, Vec<Text>>,
) {
    for (symbol, pushes) in expected {
        let texts = &got[symbol];
        assert_eq!(texts.len(), pushes.len(), "{symbol}: every push, once");
        for (text, push) in texts.iter().zip(pushes) {
            assert_equal(text, contract_type, push);
        }
    }
}

#[test]
fn captured_spot_messages_arrive_with_every_field_equal_once_each() {
    replay_burst("spot", false);
}

#[test]
fn captured_usdm_messages_arrive_with_every_field_equal_once_each() {
    replay_burst("usdm", false);
}

#[test]
fn captured_coinm_messages_arrive_with_every_field_equal_once_each() {
    replay_burst("coinm", false);
}

#[test]
fn captured_messages_arrive_over_tls_with_every_field_equal_once_each() {
    std::thread::scope(|scope| {
        for contract_type in CONTRACT_TYPES {
            scope.spawn(move || replay_burst(contract_type, true));
        }
    });
}

/// In their own rhythm, sixteen times as fast: nearly 0.1 ms and many seconds between two messages.
#[test]
fn captured_sessions_arrive_whole_and_in_order() {
    let Some(folder) = samples() else { return };
    let mut sessions = Vec::new();
    for contract_type in CONTRACT_TYPES {
        let paths = captures(&folder, contract_type, "session");
        sessions.extend(paths.into_iter().map(|path| (contract_type, path)));
    }
    assert!(sessions.len() >= 5);
    std::thread::scope(|scope| {
        for (contract_type, path) in sessions {
            scope.spawn(move || {
                let expected = expected(messages(&path).into_iter());
                let got = play(contract_type, vec![path], 16, false, &expected);
                assert_whole(contract_type, &expected, &got);
            });
        }
    });
}
