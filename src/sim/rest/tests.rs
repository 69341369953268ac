//! Budgets, bans and the simulator's own questions, in virtual time.

use std::sync::Arc;

use super::super::SimOptions;
use super::super::market::SimMarket;
use super::super::profile::{Profile, profiles};
use super::super::time::SimTime;
use super::*;
use crate::clock::Now;

/// 10 s into a minute.
const START_MS: i64 = 1_740_000_010_000;
const SPOT: usize = 0;
const USDM: usize = 1;
const COINM: usize = 2;

fn exchanges() -> Vec<Exchange> {
    let origin = Now { mono: MonoNs(0), unix_us: START_MS * 1000 };
    let options = SimOptions::default();
    let exchange = |profile: Profile| {
        let (candles, settings) =
            (SimMarket::new(1, profile.market, 0), options.settings(&profile, None));
        Exchange::new(profile, candles, settings, SimTime::new(origin, 1), Arc::default())
    };
    profiles().into_iter().map(exchange).collect()
}

fn ask(rest: &mut Rest, all: &mut [Exchange], index: usize, target: &str, now: MonoNs) -> Response {
    let request = Request { target: target.to_owned(), ..Request::default() };
    rest.respond(all, index, &request, now)
}

fn at(seconds: u64) -> MonoNs {
    MonoNs(seconds * 1_000_000_000)
}

#[test]
fn both_kinds_of_futures_share_one_budget_and_each_minute_has_its_own() {
    let (mut rest, mut all) = (Rest::default(), exchanges());
    let mut used = |index, target, now| {
        let response = ask(&mut rest, &mut all, index, target, now);
        assert_eq!(response.status, 200, "{}", response.body);
        let used = response.headers.iter().find(|(name, _)| *name == "X-MBX-USED-WEIGHT");
        used.and_then(|(_, value)| value.parse::<u32>().ok())
    };
    assert_eq!(used(COINM, "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1m", at(0)), Some(5));
    assert_eq!(used(USDM, "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=99", at(0)), Some(6));
    let most = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1001";
    assert_eq!(used(USDM, most, at(59)), Some(16));
    assert_eq!(used(SPOT, "/api/v3/exchangeInfo", at(59)), Some(20));
    assert_eq!(used(USDM, "/fapi/v1/ping", at(60)), Some(1));
}

#[test]
fn those_who_go_on_after_429_are_banned_and_the_ban_ends() {
    let (mut rest, mut all) = (Rest::default(), exchanges());
    let fault = "/fault?contract_type=spot&name=rate_limit&value=30";
    assert_eq!(ask(&mut rest, &mut all, USDM, fault, at(0)).status, 200);
    let mut ping = |now| {
        let response = ask(&mut rest, &mut all, SPOT, "/api/v3/ping", now);
        (response.status, response.retry_after)
    };
    for refused in 1..=u64::from(REFUSALS_MAX) {
        for _on_the_way in 0..REFUSALS_MAX {
            assert_eq!(ping(at(refused)), (429, Some(31 - refused)));
        }
    }
    assert_eq!(ping(at(6)), (418, Some(121)));
    assert_eq!(ping(at(100)), (418, Some(27)));
    assert_eq!(ping(at(126)), (200, None));
}

#[test]
fn truth_tells_closed_candles_only_and_refuses_what_it_cannot_know() {
    let (mut rest, mut all) = (Rest::default(), exchanges());
    let mut ask = |query: &str| {
        let response = ask(&mut rest, &mut all, USDM, &format!("/truth?{query}"), at(60));
        let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
        (response.status, body)
    };
    let (from, to) = (START_MS - 130_000, START_MS + 600_000);
    let query = format!("contract_type=spot&symbol=BTCUSDT&from={from}&to={to}");
    let (status, rows) = ask(&query);
    let opens: Vec<_> = rows.as_array().unwrap().iter().map(|row| &row["open_time"]).collect();
    assert_eq!(status, 200);
    // The minute of the start is over by now, the next one runs.
    assert_eq!(opens, [START_MS - 130_000, START_MS - 70_000, START_MS - 10_000]);
    assert!(rows[0]["open"].as_str().unwrap().contains('.'));
    for wrong in ["symbol=NOSUCH&from=0&to=1", "symbol=BTCUSDT&from=x", "contract_type=swap"] {
        assert_eq!(ask(wrong).0, 400, "{wrong}");
    }
}

#[test]
fn listings_are_json_and_some_are_halted() {
    let (mut rest, mut all) = (Rest::default(), exchanges());
    let cases = [("/api/v3", "status"), ("/fapi/v1", "status"), ("/dapi/v1", "contractStatus")];
    for (index, (prefix, key)) in cases.into_iter().enumerate() {
        let response = ask(&mut rest, &mut all, index, &format!("{prefix}/exchangeInfo"), at(0));
        let info: serde_json::Value = serde_json::from_str(&response.body).unwrap();
        let symbols = info["symbols"].as_array().unwrap();
        let halted = symbols.iter().filter(|symbol| symbol[key] != "TRADING").count();
        assert!((1..symbols.len()).contains(&halted));
        assert!(symbols.iter().all(|symbol| symbol["baseAsset"] != symbol["symbol"]));
    }
    assert_eq!(ask(&mut rest, &mut all, SPOT, "/fapi/v1/ping", at(0)).status, 404);
}

#[test]
fn rest_is_slow_broken_cut_or_old_on_request_and_says_the_right_time() {
    let klines = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=2";
    let (mut rest, mut all) = (Rest::default(), exchanges());
    let mut answer = |name: &str, now| {
        let fault = format!("/fault?contract_type=spot&name={name}&value=10");
        if !name.is_empty() {
            assert_eq!(ask(&mut rest, &mut all, SPOT, &fault, now).status, 200);
        }
        ask(&mut rest, &mut all, SPOT, klines, now)
    };
    assert_eq!(answer("slow_rest", at(0)).delay, Duration::from_secs(3));
    let broken = answer("rest_error", at(20));
    assert_eq!((broken.status, broken.delay), (500, Duration::ZERO));
    assert!(broken.body.starts_with("<html>"));
    let cut = answer("rest_garbage", at(40));
    assert!(cut.status == 200 && serde_json::from_str::<serde_json::Value>(&cut.body).is_err());
    // Two seconds into a minute, five seconds old: the minute before runs.
    let newest = |response: &Response| {
        let rows: serde_json::Value = serde_json::from_str(&response.body).unwrap();
        rows.as_array().unwrap().last().unwrap()[0].as_i64().unwrap()
    };
    let (old, fresh) = (answer("rest_stale", at(112)), answer("", at(123)));
    assert_eq!(newest(&fresh) - newest(&old), MINUTE_MS);
    let date = |response: &Response| {
        let (_, value) = response.headers.iter().find(|(name, _)| *name == "Date").unwrap();
        httpdate::parse_http_date(value).unwrap()
    };
    assert_eq!(date(&fresh).duration_since(date(&old)).unwrap(), Duration::from_secs(11));
}

#[test]
fn a_clock_that_is_ahead_is_ahead_in_what_is_said() {
    let (mut rest, mut all) = (Rest::default(), exchanges());
    let fault = "/fault?contract_type=spot&name=clock_skew_ms&value=5000";
    assert_eq!(ask(&mut rest, &mut all, SPOT, fault, at(0)).status, 200);
    assert_eq!(all[SPOT].sent_ms(at(1)) - all[SPOT].unix_ms(at(1)), 5000);
    assert_eq!(all[USDM].sent_ms(at(1)), all[USDM].unix_ms(at(1)));
}
