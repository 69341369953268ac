//! Captured messages of the exchanges, through the dialects: each is read twice, by the product and
//! by straight-line code over serde_json here, and both must say the same, digit by digit.

#![allow(missing_docs, clippy::unwrap_used)]

mod faithful;
mod flagged;
mod mutate;
mod successor;

use std::path::PathBuf;

use connector_wss::market::{Decimal, Market, Venue};
use connector_wss::metrics::DecodeErrorKind;
use connector_wss::venue::{self, Klines, RestCandle};
use connector_wss::wire::json::JsonReader;
use serde_json::Value;

/// One file of captures: its name, and its messages (one for a REST body).
pub struct Sample {
    pub name: String,
    pub texts: Vec<String>,
}

/// Every file of captures of one exchange, from `CONNECTOR_SAMPLES_DIR`, else beside the
/// repository; none if that is not there.
pub fn samples(exchange: &str) -> Vec<Sample> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/exchanges/samples");
    let folder = std::env::var_os("CONNECTOR_SAMPLES_DIR").map_or(beside.into(), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(folder.join(exchange)) else {
        println!("skipped: no captured messages of {exchange}");
        return Vec::new();
    };
    let mut samples: Vec<Sample> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let content = std::fs::read_to_string(&path).unwrap();
            Sample { texts: texts(&name, &content), name }
        })
        .collect();
    samples.sort_by(|one, other| one.name.cmp(&other.name));
    samples
}

/// Of a session only what was received.
fn texts(name: &str, content: &str) -> Vec<String> {
    if !name.ends_with(".jsonl") {
        return vec![content.to_owned()];
    }
    let lines = content.lines().filter(|line| !line.trim().is_empty());
    if !name.contains(".session.") {
        return lines.map(str::to_owned).collect();
    }
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let received = lines.filter(|line| line["dir"] == "recv");
    received.map(|line| line["raw"].as_str().unwrap().to_owned()).collect()
}

/// A candle, in texts and numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Plain {
    pub symbol: String,
    pub interval_ms: i64,
    pub open_time: i64,
    /// Open, high, low, close, volume.
    pub digits: [String; 5],
    pub other_volume: Option<String>,
    pub trades: u64,
    pub is_closed: Option<bool>,
    pub event_time: Option<i64>,
}

/// A message understood: its `Debug` text and its candles.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub message: String,
    pub klines: Vec<Plain>,
}

pub fn market(venue: Venue, contract_type: &str) -> Market {
    Market::find(venue, contract_type).unwrap_or_else(|| panic!("{contract_type}"))
}

/// What the product makes of `text`.
pub fn decode(market: Market, text: &[u8]) -> Result<Decoded, DecodeErrorKind> {
    if str::from_utf8(text).is_ok_and(|text| venue::is_plain_text(market, text)) {
        return Ok(Decoded { message: "Nothing".to_owned(), klines: Vec::new() });
    }
    let mut pushed = Klines::new();
    let is_push = str::from_utf8(text)
        .is_ok_and(|text| venue::read_push(market, text, &mut pushed).is_some());
    let read = JsonReader::default().read(text, |root| {
        let mut klines = Klines::new();
        let message = format!("{:?}", venue::decode(market, root, &mut klines)?);
        assert!(!is_push || klines == pushed, "read in one pass, it says something else");
        assert_eq!(message == "Klines", !klines.is_empty());
        let klines = klines.iter().map(|kline| Plain {
            event_time: kline.event_time.map(|at| at.0),
            ..plain(
                kline.symbol,
                kline.interval.ms(),
                RestCandle { candle: kline.candle, is_closed: kline.is_closed },
            )
        });
        Ok(Decoded { message, klines: klines.collect() })
    });
    let decoded = read.unwrap_or(Err(DecodeErrorKind::Json));
    assert!(!is_push || decoded.is_ok(), "read in one pass, it is wrong");
    decoded
}

/// Every captured push of a form that is not retired is read in one pass.
#[test]
fn captured_pushes_are_read_in_one_pass() {
    for (venue, contract_types) in [
        (Venue::Binance, &["spot", "usdm", "coinm"][..]),
        (Venue::Okx, &["spot", "swap", "futures"]),
        (Venue::Bybit, &["spot", "linear"]),
        (Venue::Gateio, &["spot", "um", "cm"]),
        (Venue::Hyperliquid, &["spot", "usdm"]),
    ] {
        let mut count = 0;
        for sample in samples(venue.name()) {
            let names = [("perp.", "usdm."), ("sister-okcoin.", ""), ("delivery.", "cm.")];
            let name =
                names.iter().fold(sample.name.clone(), |name, (old, new)| name.replace(old, new));
            let contract_type = name.split('.').find(|part| contract_types.contains(part));
            let Some(contract_type) = contract_type.filter(|_| !name.contains("pre2023")) else {
                continue;
            };
            let market = market(venue, contract_type);
            for text in &sample.texts {
                let is_push =
                    decode(market, text.as_bytes()).is_ok_and(|read| !read.klines.is_empty());
                if is_push {
                    assert!(venue::read_push(market, text, &mut Klines::new()).is_some(), "{text}");
                    count += 1;
                }
            }
        }
        println!("{venue:?}: {count} pushes");
    }
}

/// The product's candle as texts and numbers.
pub fn plain(symbol: &str, interval_ms: i64, read: RestCandle) -> Plain {
    let candle = read.candle;
    Plain {
        symbol: symbol.to_owned(),
        interval_ms,
        open_time: candle.open_time.0,
        digits: [candle.open, candle.high, candle.low, candle.close, candle.volume]
            .map(|digits| digits.to_string()),
        other_volume: candle.other_volume.as_ref().map(Decimal::to_string),
        trades: candle.trades,
        is_closed: read.is_closed,
        event_time: None,
    }
}

/// The digits of a string without the zeros that mean nothing.
pub fn digits(value: &Value) -> String {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is a string"));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    }
}
