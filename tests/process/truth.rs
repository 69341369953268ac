//! Closed candles at a client against what the simulator knows to be true: digit for digit, none
//! missing, none twice, in order; also beside a client that never reads.

use std::collections::BTreeMap;

use connector_wss::sim::{self, SimOptions, Simulator};
use serde_json::{Value, json};

use super::client::{Client, Text};
use super::harness::{Server, ask_exchange, market, wait_until};

type Closed = BTreeMap<(String, String), Vec<Text>>;

/// A minute passes in a second.
fn fast() -> SimOptions {
    SimOptions { time_scale: 60, ..SimOptions::default() }
}

fn request(contract_type: &str, symbols: &[String], closed_only: bool) -> String {
    json!({
        "exchange": "binance", "contract_type": contract_type, "symbols": symbols,
        "closed_only": closed_only,
    })
    .to_string()
}

fn synthetic(contract_type: &str, count: usize) -> Vec<String> {
    let end = if contract_type == "coinm" { "USD_PERP" } else { "USDT" };
    (1..=count).map(|number| format!("SIM{number:04}{end}")).collect()
}

/// Reads until each of `series` series has had `minutes` closed candles.
fn read_closed(client: &mut Client, series: usize, minutes: usize) -> Closed {
    let mut closed = Closed::new();
    let mut complete = 0;
    while complete < series {
        let text = client.next();
        assert!(text.is("quote") || text.is("subscribed"), "{}", text.text);
        if !text.is_closed_candle() {
            continue;
        }
        let field = |name: &str| text.json[name].as_str().unwrap().to_owned();
        let of_series = closed.entry((field("contract_type"), field("symbol"))).or_default();
        of_series.push(text);
        complete += usize::from(of_series.len() == minutes);
    }
    closed
}

/// `closed` is the truth without a hole, from its first candle to its last.
fn assert_true(simulator: &Simulator, closed: &Closed) {
    for ((contract_type, symbol), candles) in closed {
        let at = |index: usize| candles[index].json["open_time"].as_i64().unwrap();
        let target = format!(
            "/truth?exchange=binance&contract_type={contract_type}&symbol={symbol}&from={}&to={}",
            at(0),
            at(candles.len() - 1)
        );
        let truth = ask_exchange(simulator.address(market(contract_type)), &target);
        let truth = truth.as_array().unwrap();
        assert_eq!(
            truth.len(),
            candles.len(),
            "{contract_type} {symbol}: none missing, none twice"
        );
        for (candle, row) in candles.iter().zip(truth) {
            assert_same(candle, row, contract_type != "coinm");
        }
    }
}

fn assert_same(candle: &Text, row: &Value, has_quote_volume: bool) {
    let names = ["open", "high", "low", "close", "volume"];
    let names = names.into_iter().chain(has_quote_volume.then_some("quote_volume"));
    for name in names {
        let digits = row[name].as_str().unwrap();
        let fraction = digits.contains('.');
        let digits = if fraction { digits.trim_end_matches('0') } else { digits };
        let digits = digits.trim_end_matches('.');
        assert_eq!(candle.number(name), Some(digits), "{name}: {row} {}", candle.text);
    }
    for name in ["open_time", "close_time", "trade_num"] {
        assert_eq!(candle.json[name], row[name], "{name}: {row} {}", candle.text);
    }
    assert_eq!((&candle.json["revision"], &candle.json["final_by"]), (&0.into(), &"flag".into()));
}

#[test]
fn closed_candles_of_sixty_series_over_twenty_minutes_are_the_truth() {
    let simulator = sim::start(SimOptions { symbols_extra: 14, ..fast() }).unwrap();
    let server = Server::start(simulator.env(), &[]);
    let mut client = server.connect();
    // Busy, quiet, whole contracts, small prices, names of other scripts, dated; and synthetic
    // ones.
    let usual: [(&str, [&str; 6]); 3] = [
        ("spot", ["BTCUSDT", "ETHBTC", "BELBTC", "QUIETUSDT", "币安人生USDT", "DOGEUSDT"]),
        ("usdm", ["BTCUSDT", "SOLUSDT", "CTKUSDT", "QUIETUSDT", "币安人生USDT", "BTCUSDT_261225"]),
        (
            "coinm",
            [
                "BTCUSD_PERP",
                "ETHUSD_PERP",
                "BNBUSD_PERP",
                "QUIETUSD_PERP",
                "ETCUSD_PERP",
                "BTCUSD_261225",
            ],
        ),
    ];
    for (contract_type, names) in usual {
        let names = names.into_iter().map(str::to_owned);
        let symbols: Vec<_> = names.chain(synthetic(contract_type, 14)).collect();
        client.send(&request(contract_type, &symbols, true));
    }
    let closed = read_closed(&mut client, 60, 20);
    assert_eq!(closed.len(), 60);
    assert_true(&simulator, &closed);
    for name in ["gaps", "corrections", "duplicates_filtered", "decode_errors"] {
        assert_eq!(server.metric(&format!("connector_{name}_total"), &[]), 0.0, "{name}");
    }
}

#[test]
fn who_never_reads_is_closed_and_who_reads_misses_no_closed_candle() {
    const SERIES: usize = 100;
    let load = SimOptions { symbols_extra: SERIES, updates_per_second: 10, ..fast() };
    let simulator = sim::start(load).unwrap();
    let server = Server::start(simulator.env(), &[("CONNECTOR_CLIENT_BUFFER_MAX", "65536")]);
    let request = request("spot", &synthetic("spot", SERIES), false);
    let mut reader = server.ask(&request);
    let mut idler = Client::connect_narrow(server.clients);
    idler.send(&request);
    let closed = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_closed(&mut reader, SERIES, 12));
        wait_until("the idler is closed", || {
            server.metric("connector_slow_disconnects_total", &[]) == 1.0
        });
        // It wakes up in time to be told from where to resume.
        let (texts, code, reason) = idler.until_close();
        assert_eq!(code, 1013, "{reason}");
        assert!(texts.iter().any(|text| text.is("quote")));
        assert!(reason.contains("since"), "{reason}");
        reader.join().unwrap()
    });
    assert_true(&simulator, &closed);
    assert_eq!(server.metric("connector_slow_disconnects_total", &[]), 1.0);
    assert_eq!(server.metric("connector_clients", &[]), 1.0);
}
