//! Every interval of every market, from the wish to the candle: the dialects' words are understood
//! by the simulated exchange, whose spellings are its own, and its pushes and rows are read as what
//! it knows to be true. In virtual time, from shortly before a midnight, when windows of all
//! lengths end.

#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use connector_wss::clock::{MonoNs, Now, UnixMs};
use connector_wss::market::{Candle, Interval, Market, Venue, VolumeUnit};
use connector_wss::messages::RestResponse;
use connector_wss::sim::exchange::{ConnectionId, Exchange, Output, Settings};
use connector_wss::sim::http::Request;
use connector_wss::sim::market::SimMarket;
use connector_wss::sim::profile::{Profile, profiles};
use connector_wss::sim::rest::Rest;
use connector_wss::sim::time::SimTime;
use connector_wss::sim::windows;
use connector_wss::venue::{self, Klines, Message, RefusalScope, RestError, SubscribeOp};
use connector_wss::wire::Endpoint;
use connector_wss::wire::json::JsonReader;
use serde_json::Value;

/// A midnight of UTC.
const MIDNIGHT_MS: i64 = 20_139 * 86_400_000;
/// Ten seconds before it.
const START_MS: i64 = MIDNIGHT_MS - 10_000;
const ID: ConnectionId = ConnectionId(1);

fn exchanges() -> Vec<Exchange> {
    let origin = Now { mono: MonoNs(0), unix_us: START_MS * 1000 };
    let exchange = |profile: Profile| {
        let candles = SimMarket::new(1, profile.market, 0);
        let settings = Settings {
            push_interval: profile.push_interval_min.max(Duration::from_millis(250)),
            always_push: false,
            first_data_delay: Duration::ZERO,
            close_delay_ms: profile.close_delay_ms,
            enforce_limits: true,
            connection_life: Duration::from_secs(24 * 3600),
            playback: Arc::new([]),
            playback_speed: 1,
        };
        Exchange::new(profile, candles, settings, SimTime::new(origin, 1), Arc::default())
    };
    profiles().into_iter().map(exchange).collect()
}

fn at(ms: u64) -> MonoNs {
    MonoNs(ms * 1_000_000)
}

fn texts(exchange: &mut Exchange) -> Vec<String> {
    let outputs = std::iter::from_fn(|| exchange.poll_output());
    let text =
        |(_, output)| if let Output::Text(text) = output { Some(text.to_string()) } else { None };
    outputs.filter_map(text).collect()
}

/// Runs until `end_ms` and returns what was pushed.
fn run(exchange: &mut Exchange, end_ms: u64) -> Vec<String> {
    let mut sent = Vec::new();
    while let Some(due) = exchange.next_deadline().filter(|&due| due <= at(end_ms)) {
        exchange.advance(due);
        sent.extend(texts(exchange));
    }
    sent
}

fn connected(all: &mut [Exchange], market: Market) -> &mut Exchange {
    let base = Endpoint::parse(if market.to_string() == "binance usdm" {
        "ws://localhost:1/market"
    } else {
        "ws://localhost:1"
    });
    let path = venue::endpoint(market, &base.unwrap(), false).path;
    let exchange = &mut all[market.index()];
    exchange.connect(ID, &path, at(0)).unwrap();
    exchange
}

/// Asks for one stream, and returns the answers.
fn subscribe(
    exchange: &mut Exchange,
    symbol: &str,
    interval: Interval,
    now: MonoNs,
) -> Vec<String> {
    let (market, mut text) = (exchange.profile.market, String::new());
    let stream = std::iter::once((symbol, interval));
    venue::write_subscribe(market, &mut text, SubscribeOp::Subscribe, 1, stream, UnixMs(START_MS));
    exchange.text(ID, &text, now);
    texts(exchange)
}

/// The candles of a push: symbol, interval, candle, flag.
fn read(market: Market, text: &str) -> Vec<(String, Interval, Candle, Option<bool>)> {
    let read = JsonReader::default().read(text.as_bytes(), |root| {
        let mut klines = Klines::new();
        venue::decode(market, root, &mut klines).unwrap_or_else(|why| panic!("{why:?}: {text}"));
        let rows = klines.iter();
        rows.map(|one| (one.symbol.to_owned(), one.interval, one.candle, one.is_closed)).collect()
    });
    read.unwrap()
}

fn truth(all: &mut [Exchange], market: Market, symbol: &str, of: (Interval, i64)) -> Value {
    let symbol: String = symbol.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let (name, from) = (of.0.name(), of.1);
    let target = format!("/truth?symbol={symbol}&interval={name}&from={from}&to={from}");
    let request = Request { target, ..Request::default() };
    let answer = Rest::default().respond(all, market.index(), &request, at(30_000));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let rows: Value = serde_json::from_str(&answer.body).unwrap();
    rows[0].clone()
}

fn assert_true(what: &str, market: Market, candle: &Candle, row: &Value) {
    assert_eq!(row["open_time"], candle.open_time.0, "{what}: {row}");
    let Candle { open, high, low, close, volume, other_volume, .. } = candle;
    // The truth has as `volume` what clients are sent as that.
    let own_volume = match (market.venue(), market.volume_unit()) {
        (Venue::Gateio, VolumeUnit::Quote) => "quote_volume",
        (Venue::Gateio, VolumeUnit::Contracts) => "contract_volume",
        _ => "volume",
    };
    let base = other_volume.as_ref().filter(|_| own_volume != "volume");
    let told = [("open", open), ("high", high), ("low", low), ("close", close)];
    let volumes = std::iter::once((own_volume, volume)).chain(base.map(|base| ("volume", base)));
    for (name, told) in told.into_iter().chain(volumes) {
        let digits = row[name].as_str().unwrap();
        let digits = match digits.contains('.') {
            true => digits.trim_end_matches('0').trim_end_matches('.'),
            false => digits,
        };
        assert_eq!(told.as_str(), digits, "{what}, {name}: {row}");
    }
}

fn symbol(exchange: &Exchange) -> String {
    let busiest = exchange.market.listings().iter().find(|one| one.trading).unwrap();
    busiest.name.to_string()
}

#[test]
fn the_simulator_and_the_table_of_markets_know_the_same_intervals() {
    for market in Market::all() {
        for &interval in Interval::SERVED {
            let has = windows::spelled(market.venue(), interval).is_some();
            assert_eq!(market.has_own(interval), has, "{market} {}", interval.name());
        }
    }
}

#[test]
fn every_market_pushes_the_true_candle_of_each_of_its_intervals() {
    let mut all = exchanges();
    for market in Market::all() {
        let exchange = connected(&mut all, market);
        let symbol = symbol(exchange);
        let intervals = market.row().intervals;
        for (number, &interval) in (0..).zip(intervals) {
            // Slowly enough for its limits, and read apart from the pushes.
            let now = at(number * 300);
            exchange.advance(now);
            texts(exchange);
            let answers = subscribe(exchange, &symbol, interval, now);
            assert_eq!(answers.len(), 1, "{market} {}: {answers:?}", interval.name());
            // The same symbol in another interval is another stream: acknowledged, not refused.
            assert!(!answers[0].contains("rror") && !answers[0].contains("false"), "{answers:?}");
        }
        let pushed: Vec<_> =
            run(exchange, 20_000).iter().flat_map(|text| read(market, text)).collect();
        for &interval in intervals {
            let open_time = UnixMs(MIDNIGHT_MS - interval.ms());
            let of_window = pushed.iter().filter(|(name, length, candle, _)| {
                (name == &symbol, *length, candle.open_time) == (true, interval, open_time)
            });
            let (_, _, candle, flag) = of_window.clone().next_back().unwrap();
            let flags = of_window.filter(|one| one.3 == Some(true)).count();
            let what = format!("{market} {}", interval.name());
            match market.venue() {
                Venue::Hyperliquid => assert_eq!(*flag, None, "{what}"),
                Venue::Gateio => assert!(flags <= 1, "{what}"),
                _ => assert_eq!((flags, *flag), (1, Some(true)), "{what}"),
            }
            let row = truth(&mut all, market, &symbol, (interval, open_time.0));
            assert_true(&what, market, candle, &row);
        }
    }
}

#[test]
fn every_market_s_rest_side_has_the_rows_of_each_of_its_intervals() {
    let mut all = exchanges();
    let mut json = JsonReader::default();
    for market in Market::all() {
        let symbol = symbol(&all[market.index()]);
        for &interval in market.row().intervals {
            let (step, base) = (interval.ms(), "http://localhost");
            let (from, to) = (UnixMs(MIDNIGHT_MS - 2 * step), UnixMs(MIDNIGHT_MS));
            let query = venue::candles_query(market, base, &symbol, interval, from, to);
            let target = query.url.strip_prefix(base).unwrap().to_owned();
            let body = query.body.unwrap_or_default();
            let request = Request { target, body, ..Request::default() };
            let answer = Rest::default().respond(&mut all, market.index(), &request, at(30_000));
            let response = RestResponse {
                status: answer.status,
                retry_after: None,
                limit_headers: Vec::new(),
                body: answer.body.into_bytes(),
            };
            let what = format!("{market} {}", interval.name());
            let read = venue::read_candles(market, &mut json, &response, (&*symbol, interval));
            let rows = read.unwrap_or_else(|why| panic!("{what}: {why:?}")).candles;
            let times: Vec<i64> = rows.iter().map(|row| row.candle.open_time.0).collect();
            assert_eq!(times, [from.0, MIDNIGHT_MS - step, to.0], "{what}");
            for row in &rows[..2] {
                let of = (interval, row.candle.open_time.0);
                let truth = truth(&mut all, market, &symbol, of);
                assert_true(&what, market, &row.candle, &truth);
            }
        }
    }
}

#[test]
fn what_an_exchange_does_not_have_it_refuses_by_its_own_name() {
    let mut all = exchanges();
    let refused = |market: Market, text: &str| {
        let read = JsonReader::default().read(text.as_bytes(), |root| {
            match venue::decode(market, root, &mut Klines::new()) {
                Ok(Message::Refused(refusal)) => match refusal.scope {
                    RefusalScope::One { interval, .. }
                    | RefusalScope::WholeBecauseOf { interval, .. } => interval,
                    RefusalScope::Whole { .. } => None,
                },
                other => panic!("{other:?}: {text}"),
            }
        });
        read.unwrap()
    };
    for (market, name) in [(Venue::Okx, "swap"), (Venue::Gateio, "spot")] {
        let market = Market::find(market, name).unwrap();
        let exchange = connected(&mut all, market);
        let symbol = symbol(exchange);
        let lacking = if market.venue() == Venue::Okx { Interval::H8 } else { Interval::M3 };
        let answers = subscribe(exchange, &symbol, lacking, at(0));
        let named = refused(market, &answers[0]);
        assert_eq!(named, Some(lacking), "{answers:?}");
    }
    // A symbol that is unknown is so in one interval at a time.
    let linear = Market::find(Venue::Bybit, "linear").unwrap();
    let answers = subscribe(connected(&mut all, linear), "NOPE", Interval::H4, at(0));
    assert_eq!(refused(linear, &answers[0]), Some(Interval::H4), "{answers:?}");
}

#[test]
fn rest_refuses_an_interval_that_it_does_not_have_and_no_symbol_for_it() {
    let mut all = exchanges();
    for (venue, name, interval) in [
        (Venue::Okx, "spot", Interval::H8),
        (Venue::Bybit, "linear", Interval::H8),
        (Venue::Gateio, "um", Interval::H2),
        (Venue::Hyperliquid, "usdm", Interval::H6),
        (Venue::Binance, "coinm", Interval::S1),
    ] {
        let market = Market::find(venue, name).unwrap();
        let symbol = symbol(&all[market.index()]);
        let base = "http://localhost";
        let (from, to) = (UnixMs(MIDNIGHT_MS - interval.ms()), UnixMs(MIDNIGHT_MS));
        let query = venue::candles_query(market, base, &symbol, interval, from, to);
        let request = Request {
            target: query.url.strip_prefix(base).unwrap().to_owned(),
            body: query.body.unwrap_or_default(),
            ..Request::default()
        };
        let answer = Rest::default().respond(&mut all, market.index(), &request, at(0));
        let response = RestResponse {
            status: answer.status,
            retry_after: None,
            limit_headers: Vec::new(),
            body: answer.body.into_bytes(),
        };
        let asked = (&*symbol, interval);
        let read = venue::read_candles(market, &mut JsonReader::default(), &response, asked);
        let is_failed = matches!(read, Err(RestError::Failed { .. } | RestError::NoSense { .. }));
        assert!(is_failed, "{market}: {read:?}");
    }
}
