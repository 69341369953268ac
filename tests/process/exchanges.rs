//! All five exchanges at once: the truth from every market, one wrong symbol among good ones, and
//! hundreds of symbols within each exchange's limits, also when every session is lost together.

use std::collections::BTreeSet;

use connector_wss::market::{Market, Venue};
use connector_wss::sim::{self, SimOptions, Simulator};
use serde_json::{Value, json};

use super::client::Text;
use super::harness::{Server, ask_exchange, http, wait_until};

/// A synthetic symbol of the simulator, in the market's spelling.
pub(crate) fn synthetic(market: Market, number: usize) -> String {
    match (market.venue(), market.contract_type().name()) {
        (Venue::Binance, "coinm") => format!("SIM{number:04}USD_PERP"),
        (Venue::Okx, "spot") => format!("SIM{number:04}-USDT"),
        (Venue::Okx, "swap") => format!("SIM{number:04}-USDT-SWAP"),
        (Venue::Okx, _) => format!("SIM{number:04}-USDT-261225"),
        (Venue::Bybit, "inverse") => format!("SIM{number:04}USD"),
        (Venue::Gateio, "cm") => format!("SIM{number:04}_USD"),
        (Venue::Gateio, _) => format!("SIM{number:04}_USDT"),
        (Venue::Hyperliquid, "spot") => format!("@{}", 1000 + number),
        (Venue::Hyperliquid, _) => format!("SIM{number:04}"),
        _ => format!("SIM{number:04}USDT"),
    }
}

fn request(market: Market, symbols: &[String], closed_only: bool) -> String {
    json!({
        "exchange": market.venue().name(), "contract_type": market.contract_type().name(),
        "symbols": symbols, "closed_only": closed_only,
    })
    .to_string()
}

/// `candles`, of one series, are the truth without a hole, from the first to the last.
pub(crate) fn assert_truth(simulator: &Simulator, market: Market, symbol: &str, candles: &[Text]) {
    let at = |index: usize| candles[index].json["open_time"].as_i64().unwrap();
    let (venue, kind) = (market.venue().name(), market.contract_type().name());
    let symbol = symbol.replace('/', "%2F").replace('@', "%40");
    let target = format!(
        "/truth?exchange={venue}&contract_type={kind}&symbol={symbol}&interval={}&from={}&to={}",
        candles[0].json["interval"].as_str().unwrap(),
        at(0),
        at(candles.len() - 1)
    );
    let truth = ask_exchange(simulator.address(market), &target);
    let truth = truth.as_array().unwrap();
    assert_eq!(truth.len(), candles.len(), "{market} {symbol}: none missing, none twice");
    for (candle, row) in candles.iter().zip(truth) {
        for name in ["open", "high", "low", "close", "volume", "quote_volume", "contract_volume"] {
            let (Some(digits), Some(told)) = (row[name].as_str(), candle.number(name)) else {
                assert_ne!(name, "volume", "{market}: {row} {}", candle.text);
                continue;
            };
            let digits = match digits.contains('.') {
                true => digits.trim_end_matches('0').trim_end_matches('.'),
                false => digits,
            };
            assert_eq!(told, digits, "{market} {name}: {row} {}", candle.text);
        }
        assert_eq!(candle.json["trade_num"], row["trade_num"], "{market}: {}", candle.text);
        assert_eq!(candle.json["revision"], 0, "{market}: {}", candle.text);
    }
}

#[test]
fn every_market_delivers_the_truth_of_five_minutes() {
    let options = SimOptions { time_scale: 20, symbols_extra: 2, ..SimOptions::default() };
    let simulator = sim::start(options).unwrap();
    let server = Server::start(simulator.env(), &[]);
    let subscribed = Market::all().map(|market| {
        let symbols = [1, 2].map(|number| synthetic(market, number));
        let client = server.ask(&request(market, &symbols, true));
        (market, symbols, client)
    });
    for (market, symbols, mut client) in subscribed.collect::<Vec<_>>() {
        let mut closed: [Vec<Text>; 2] = Default::default();
        while closed.iter().any(|candles| candles.len() < 5) {
            let text = client.next();
            assert!(text.is("quote") || text.is("subscribed"), "{market}: {}", text.text);
            if text.is_closed_candle() {
                let at = symbols.iter().position(|one| text.json["symbol"] == *one).unwrap();
                closed[at].push(text);
            }
        }
        for (symbol, candles) in symbols.iter().zip(&closed) {
            assert_truth(&simulator, market, symbol, candles);
        }
    }
    for name in ["gaps", "decode_errors"] {
        assert_eq!(server.metric(&format!("connector_{name}_total"), &[]), 0.0, "{name}");
    }
    // Hyperliquid's: two symbols of three markets, but for the minute in which each began.
    assert!(server.metric("connector_closed_by_total", &["successor"]) >= 24.0);
}

#[test]
fn one_wrong_symbol_among_good_ones_gets_one_error_and_costs_no_neighbour() {
    let options = SimOptions { symbols_extra: 99, ..SimOptions::default() };
    let simulator = sim::start(options).unwrap();
    let server = Server::start(simulator.env(), &[]);
    for market in Market::all() {
        let mut symbols: Vec<String> = (1..=99).map(|number| synthetic(market, number)).collect();
        let wrong = synthetic(market, 7).replace("SIM0007", "NOSUCH").replace("@1007", "@77");
        // Among those that the first session carries: the others wait for the list, which would
        // tell.
        symbols.insert(30, wrong.clone());
        let mut client = server.ask(&request(market, &symbols, false));
        let (mut errors, mut heard) = (Vec::new(), BTreeSet::new());
        while heard.len() < 99 || errors.is_empty() {
            let text = client.next();
            if text.is("quote") {
                heard.insert(text.json["symbol"].as_str().unwrap().to_owned());
            } else if text.is("error") {
                errors.push(text);
            }
        }
        let [error] = &errors[..] else { panic!("{market}: {errors:?}") };
        assert_eq!(error.json["symbols"], json!([wrong]), "{}", error.text);
        let (venue, kind) = (market.venue().name(), market.contract_type().name());
        let about = (&error.json["exchange"], &error.json["contract_type"]);
        assert_eq!(about, (&json!(venue), &json!(kind)), "{}", error.text);
        let words = error.json["exchange_message"].as_str().unwrap_or("");
        let expected = match market.venue() {
            Venue::Binance => "Invalid symbol.",
            Venue::Okx => "doesn't exist",
            Venue::Bybit => "Invalid symbol :[kline.1.",
            Venue::Gateio => "unknown c",
            // It says nothing: it would have cut the session. The list tells.
            Venue::Hyperliquid => "",
        };
        assert!(words.contains(expected), "{market}: {}", error.text);
        assert!(!heard.contains(&wrong));
    }
}

fn stats(simulator: &Simulator, market: Market) -> Value {
    let all = ask_exchange(simulator.address(market), "/stats");
    all[market.venue().name()][market.contract_type().name()].clone()
}

#[test]
fn six_hundred_symbols_stay_within_each_exchange_s_limits() {
    let options = SimOptions { symbols_extra: 600, ..SimOptions::default() };
    let simulator = sim::start(options).unwrap();
    let markets = [
        (Venue::Binance, "spot"),
        (Venue::Okx, "swap"),
        (Venue::Bybit, "spot"),
        (Venue::Gateio, "um"),
        (Venue::Hyperliquid, "usdm"),
    ];
    let markets = markets.map(|(venue, name)| Market::find(venue, name).unwrap());
    let preload = markets.map(|market| {
        let symbols: Vec<String> = (1..=600).map(|number| synthetic(market, number)).collect();
        let (venue, kind) = (market.venue().name(), market.contract_type().name());
        format!("{venue}:{kind}:{}", symbols.join(","))
    });
    let server = Server::start(simulator.env(), &[("CONNECTOR_PRELOAD", &preload.join(";"))]);
    let is_complete = || {
        markets.iter().all(|&market| stats(&simulator, market)["subscriptions_total"] == 600)
            && server.is_ready()
    };
    wait_until("everything is subscribed", is_complete);
    for market in markets {
        let target = format!(
            "/fault?name=disconnect&exchange={}&contract_type={}",
            market.venue().name(),
            market.contract_type().name()
        );
        assert_eq!(http(simulator.address(market), &target).0, 200);
        assert_eq!(stats(&simulator, market)["subscriptions_total"], 0);
    }
    wait_until("everything is subscribed again", is_complete);
    for market in markets {
        let stats = stats(&simulator, market);
        assert_eq!(stats["limit_cuts"], 0, "{market}: {stats:.300}");
        assert_eq!(stats["subscriptions_total"], 600, "{market}");
    }
    assert_eq!(server.metric("connector_decode_errors_total", &[]), 0.0);
    assert_eq!(server.metric("connector_symbols_rejected_total", &[]), 0.0);
}
