//! Gate's volumes: clients got turnover at spot and contracts at futures where the Python connector
//! gave the base amount, 10,000 to 97,000 times as much.

use std::sync::Arc;
use std::time::Duration;

use connector_wss::clock::UnixMs;
use connector_wss::market::{
    Candle, CandleUpdate, FinalBy, InstrumentId, Listed, Market, SymbolList, Venue,
};
use connector_wss::messages::{BackfillFrom, Command, MarketEvent, RestResponse, Wish};
use serde_json::Value;

use super::pair::{Pair, START_MS};
use super::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn gate(contract_type: &str) -> Market {
    Market::find(Venue::Gateio, contract_type).unwrap()
}

/// A push of futures: `minute` after the start, with so many contracts, and behind the volume
/// whatever else its candle has.
fn push(symbol: &str, minute: i64, contracts: u64, more: &str) -> String {
    let seconds = START_MS / 1000 + minute * 60;
    format!(
        r#"{{"time":{seconds},"time_ms":{},"channel":"futures.candlesticks","event":"update","result":[{{"t":{seconds},"c":"2","h":"2","l":"2","o":"2","n":"1m_{symbol}","v":{contracts}{more}}}]}}"#,
        seconds * 1000 + 999
    )
}

/// REST's rows: minute and contracts.
fn rows(pair: &Pair, rows: &[(i64, u64)]) -> RestResponse {
    let time = Duration::from_micros(pair.now.unix_us.unsigned_abs());
    let row = |(minute, contracts): &(i64, u64)| {
        let seconds = START_MS / 1000 + minute * 60;
        format!(r#"{{"t":{seconds},"v":{contracts},"c":"2","h":"2","l":"2","o":"2","sum":"0.3"}}"#)
    };
    let body = rows.iter().map(row).collect::<Vec<_>>().join(",");
    RestResponse {
        status: 200,
        retry_after: None,
        limit_headers: vec![(
            "date".to_owned(),
            httpdate::fmt_http_date(std::time::UNIX_EPOCH + time),
        )],
        body: format!("[{body}]").into_bytes(),
    }
}

/// One contract, subscribed; the list says how much of the base asset it is.
fn subscribed(market: Market, symbol: &str, size: &str) -> Pair {
    let mut pair = Pair::new();
    let listed = Listed { contract_size: size.parse().ok(), ..Listed::new(symbol) };
    pair.lists.insert(market, Arc::new(SymbolList::new(vec![listed])));
    pair.subscribe_at(0, market, symbol);
    pair
}

/// Minute, whether it is closed, base amount and contracts of each candle.
fn amounts(pair: &Pair) -> Vec<(i64, bool, Option<String>, String)> {
    let amount = |update: CandleUpdate| {
        let Candle { open_time, volume, other_volume, .. } = update.candle;
        let minute = (open_time.0 - START_MS) / 60_000;
        let base = other_volume.map(|base| base.to_string());
        (minute, update.is_closed(), base, volume.to_string())
    };
    pair.candles().into_iter().map(amount).collect()
}

fn amount(
    minute: i64,
    is_closed: bool,
    base: &str,
    contracts: u64,
) -> (i64, bool, Option<String>, String) {
    (minute, is_closed, Some(base.to_owned()), contracts.to_string())
}

#[test]
fn contracts_are_the_same_base_amount_pushed_with_it_without_it_and_by_rest() {
    let mut pair = subscribed(gate("um"), "BTC_USDT", "0.0001");
    pair.push(&push("BTC_USDT", 0, 1230, r#","a":"0.123","w":false"#));
    pair.push(&push("BTC_USDT", 0, 1240, ""));
    pair.push(&push("BTC_USDT", 0, 1250, r#","a":"0.125","w":true"#));
    // The close of minute 1 is lost with its session.
    pair.push(&push("BTC_USDT", 1, 7, ""));
    pair.cut();
    pair.pass(SECOND * 70);
    let all = rows(&pair, &[(0, 1250), (1, 999_999), (2, 3)]);
    pair.manners.rest_answer = Some(all);
    pair.push(&push("BTC_USDT", 2, 3, ""));
    pair.pass(SECOND * 60);
    let expected = [
        amount(0, false, "0.123", 1230),
        amount(0, false, "0.124", 1240),
        amount(0, true, "0.125", 1250),
        amount(1, false, "0.0007", 7),
        amount(1, true, "99.9999", 999_999),
    ];
    assert_eq!(amounts(&pair), expected);
}

#[test]
fn rest_was_asked_for_rows_whose_contracts_nobody_could_convert() {
    let mut pair = Pair::new();
    pair.holds_lists = true;
    let um = gate("um");
    let listed = Listed { contract_size: "0.01".parse().ok(), ..Listed::new("ETH_USDT") };
    pair.lists.insert(um, Arc::new(SymbolList::new(vec![listed])));
    pair.manners.rest_answer = Some(rows(&pair, &[(-3, 5), (-2, 0), (-1, 70), (0, 1)]));
    pair.subscribe_at(0, um, "ETH_USDT");
    let (id, from) = (InstrumentId(0), BackfillFrom::Window(UnixMs(START_MS - 180_000)));
    pair.feed
        .handle_command(Command::Backfill { id, from, to: None, wish: Wish::default() }, pair.now);
    pair.pump();
    pair.pass(SECOND * 5);
    assert!(pair.rests.is_empty(), "the list is not there: {:?}", pair.rests);
    pair.answer_lists();
    pair.pass(SECOND * 5);
    let backfilled = pair.published.iter().filter_map(|event| match event {
        MarketEvent::Backfilled(update) => update.candle.other_volume,
        MarketEvent::Candle(update) if update.is_closed() => update.candle.other_volume,
        _ => None,
    });
    let backfilled: Vec<_> = backfilled.map(|base| base.to_string()).collect();
    assert_eq!(backfilled, ["0.05", "0"]);
}

#[test]
fn a_row_of_an_inverse_contract_takes_the_amount_that_was_pushed_with_as_many() {
    let mut pair = subscribed(gate("cm"), "BTC_USD", "none");
    pair.push(&push("BTC_USD", 0, 500, r#","a":"0.0052""#));
    pair.cut();
    pair.pass(SECOND * 70);
    pair.manners.rest_answer = Some(rows(&pair, &[(0, 500), (1, 40), (2, 0)]));
    pair.push(&push("BTC_USD", 2, 0, r#","a":"0""#));
    pair.pass(SECOND * 60);
    let expected = [
        amount(0, false, "0.0052", 500),
        amount(0, true, "0.0052", 500),
        // Nothing was pushed of it, and the price of each contract is not known.
        (1, true, None, "40".to_owned()),
    ];
    assert_eq!(amounts(&pair), expected);
    assert!(pair.candles().iter().all(|update| update.revision == 0));
}

/// What a client gets of Gate's candle with these amounts.
fn quote(contract_type: &str, volume: &str, other_volume: Option<&str>) -> Value {
    let mut world = World::new();
    let id = world.open_with(&format!(
        r#"{{"exchange":"gateio","contract_type":"{contract_type}","symbols":["BTC_USDT"]}}"#
    ));
    let update = world.update("BTC_USDT", 1, "2", Some(FinalBy::Flag));
    let other_volume = other_volume.map(|other| other.parse().unwrap());
    let candle = Candle { volume: volume.parse().unwrap(), other_volume, ..update.candle };
    world.market(MarketEvent::Candle(CandleUpdate { candle, ..update }));
    world.texts(id).pop().unwrap()
}

#[test]
fn volume_was_turnover_at_spot_and_contracts_at_futures() {
    for (contract_type, own, base, expected) in [
        ("spot", "238.5", Some("0.0025"), r#"[0.0025,"base",238.5,null]"#),
        ("um", "1250", Some("0.125"), r#"[0.125,"base",null,1250]"#),
        ("cm", "500", Some("0.0052"), r#"[0.0052,"base",null,500]"#),
        ("spot", "238.5", None, r#"[238.5,"quote",238.5,null]"#),
        ("cm", "500", None, r#"[500,"contracts",null,500]"#),
    ] {
        let quote = quote(contract_type, own, base);
        let names = ["volume", "volume_unit", "quote_volume", "contract_volume"];
        let told = Value::from_iter(names.map(|name| quote[name].clone()));
        assert_eq!(told.to_string(), expected, "{contract_type}: {quote}");
    }
}
