//! Candles in a pipe.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use connector_wss::clock::Clock;
use connector_wss::limits::CLOSE_DRAIN;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::harness::Scratch;
use super::{Env, cli, run, simulator};

fn quotes(stdout: &str) -> Vec<Value> {
    let quotes: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(quotes.iter().all(|quote| quote["type"] == "quote"), "{stdout}");
    quotes
}

#[test]
fn a_pipe_gets_json_lines_that_end_after_the_limit() {
    let (_simulator, env) = simulator(&[]);
    let (code, stdout, stderr) = run("binance BTCUSDT ethusdt --market spot --limit 7", &env);
    assert_eq!(code, Some(0), "{stderr}");
    let quotes = quotes(&stdout);
    assert_eq!(quotes.len(), 7);
    for symbol in ["BTCUSDT", "ETHUSDT"] {
        assert!(quotes.iter().any(|quote| quote["symbol"] == symbol), "{stdout}");
    }
    assert_eq!(quotes[0]["contract_type"], "spot");
    assert!(stderr.contains("7 updates"), "{stderr}");
}

#[test]
fn csv_has_a_header_and_the_digits_of_the_json() {
    let (_simulator, env) = simulator(&[]);
    let words = "okx BTC-USDT --history 4 --limit 4";
    let (_, json, _) = run(words, &env);
    let (code, csv, stderr) = run(&format!("{words} --format csv"), &env);
    assert_eq!(code, Some(0), "{stderr}");
    let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = rows.next().unwrap();
    let rows: Vec<_> = rows.collect();
    assert_eq!(rows.len(), 4);
    let column = |name: &str| header.iter().position(|column| *column == name).unwrap();
    // The minute may have ended in between: what both know is the same.
    let (open_time, close) = (column("open_time"), column("close"));
    let mut compared = 0;
    for line in json.lines() {
        for row in &rows {
            if line.contains(&format!("\"open_time\":{},", row[open_time])) {
                assert!(line.contains(&format!("\"close\":{},", row[close])), "{line} {row:?}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 3, "{csv}{json}");
}

#[test]
fn csv_has_the_contracts_of_an_exchange_that_counts_both() {
    let (_simulator, env) = simulator(&[]);
    let (code, csv, stderr) = run("gateio BTC_USDT -m um --history 2 -n 2 --format csv", &env);
    assert_eq!(code, Some(0), "{stderr}");
    let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let at = rows.next().unwrap().iter().position(|name| *name == "contract_volume").unwrap();
    assert!(rows.all(|row| row[at].parse::<f64>().unwrap() > 0.0), "{csv}");
}

#[test]
fn closed_only_leaves_open_candles_out() {
    let (_simulator, env) = simulator(&["--time-scale", "60"]);
    let (code, stdout, stderr) = run("bybit BTCUSDT --closed-only -n 3", &env);
    assert_eq!(code, Some(0), "{stderr}");
    let quotes = quotes(&stdout);
    assert_eq!(quotes.len(), 3);
    assert!(quotes.iter().all(|quote| quote["is_closed_candle"] == true), "{stdout}");
    let seqs: Vec<i64> = quotes.iter().map(|quote| quote["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, [seqs[0], seqs[0] + 1, seqs[0] + 2]);
}

#[test]
fn history_comes_first_and_in_order_also_of_longer_candles() {
    let (_simulator, env) = simulator(&[]);
    for interval in ["1m", "5m"] {
        let words =
            format!("binance BTCUSDT --market usdm --interval {interval} --history 6 --limit 8");
        let (code, stdout, stderr) = run(&words, &env);
        assert_eq!(code, Some(0), "{stderr}");
        let quotes = quotes(&stdout);
        assert_eq!(quotes.len(), 8);
        assert!(quotes.iter().all(|quote| quote["interval"] == interval), "{stdout}");
        let past = &quotes[..6];
        assert!(past.iter().all(|quote| quote["is_closed_candle"] == true), "{stdout}");
        let seqs = past
            .windows(2)
            .all(|two| two[0]["seq"].as_i64().unwrap() + 1 == two[1]["seq"].as_i64().unwrap());
        assert!(seqs, "{stdout}");
    }
}

#[test]
fn a_table_can_be_had_in_a_pipe_and_has_no_colours_there() {
    let (_simulator, env) = simulator(&[]);
    let (code, stdout, _) = run("gateio BTC_USDT --limit 2 --format table", &env);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("time ") && !stdout.contains('\u{1b}'), "{stdout}");
    assert_eq!(stdout.lines().filter(|line| line.contains("BTC_USDT")).count(), 2, "{stdout}");
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let (_simulator, env) = simulator(&[]);
    for (words, code, said) in [
        ("binanse BTCUSDT", 2, "did you mean binance?"),
        ("okx BTC-USDT --market spto", 2, "did you mean spot?"),
        ("binance BTCUSDT", 2, "--market spot or usdm or coinm"),
        ("binance BTCUSDT,ETHUSDT --market spot", 2, "by spaces: BTCUSDT ETHUSDT"),
        ("binance btc/usdt --market spot", 2, "did you mean BTCUSDT?"),
        ("bybit BTCUSDT --limit abc", 2, "a whole number"),
        ("binance NOSUCH --market spot", 1, "Invalid symbol."),
        ("binance BTCUSTD --market spot", 1, "did you mean BTCUSDT"),
        ("binance LUNAUSDT --market spot", 1, "LUNAUSDT"),
    ] {
        let (found, stdout, stderr) = run(words, &env);
        assert_eq!(found, Some(code), "{words}: {stderr}");
        assert!(stderr.contains(said) && stdout.is_empty(), "{words}: {stderr}");
        for jargon in ["\"symbols\"", "0 updates", "invalid digit"] {
            assert!(!stderr.contains(jargon), "{words}: {stderr}");
        }
    }
    let wrong = vec![("CONNECTOR_REST_TIMEOUT".to_owned(), "soon".to_owned())];
    let (code, _, stderr) = run("bybit BTCUSDT", &wrong);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("CONNECTOR_REST_TIMEOUT"), "{stderr}");
}

#[test]
fn a_refused_symbol_ends_it_at_once() {
    let clock = Clock::new();
    let (_simulator, env) = simulator(&[]);
    for words in ["bybit NOSUCH --limit 3", "okx NOSUCH-USDT"] {
        let took = (0..3).map(|_| {
            let start = clock.mono();
            let (code, stdout, stderr) = run(words, &env);
            assert_eq!((code, &*stdout, stderr.lines().count()), (Some(1), "", 1), "{stderr}");
            clock.mono().since(start)
        });
        // The best of three: the machine may be busy.
        assert!(took.min().unwrap() < CLOSE_DRAIN, "{words} waits for nobody's farewell");
    }
}

#[test]
fn the_simulated_exchanges_come_with_it() {
    let env = vec![];
    let (code, stdout, stderr) = run("--simulate binance BTCUSDT -m spot -n 2", &env);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(quotes(&stdout).len(), 2);
    let (code, text, stderr) = run("doctor okx --simulate", &env);
    assert!(text.contains("subscription") && code.is_some(), "{text}{stderr}");
    assert!(!text.contains("WRONG         subscription"), "{text}");
}

#[test]
fn no_two_columns_of_the_table_have_one_name() {
    let (_simulator, env) = simulator(&[]);
    let (_, stdout, _) = run("bybit BTCUSDT -n 1 --format table", &env);
    let mut columns: Vec<&str> = stdout.lines().next().unwrap().split_whitespace().collect();
    let count = columns.len();
    columns.sort_unstable();
    columns.dedup();
    assert_eq!(columns.len(), count, "{stdout}");
}

#[test]
fn a_refused_symbol_does_not_end_its_neighbour() {
    let (_simulator, env) = simulator(&[]);
    let folder = Scratch::new();
    let mut command = cli("binance NOSUCH BTCUSDT --market spot", &env, &folder);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(stderr.into_iter().any(|line| line.contains("Invalid symbol.")));
    assert!(stdout.next().unwrap().unwrap().contains("BTCUSDT"));
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_refusal_that_comes_after_the_last_update_is_still_said() {
    let (_simulator, env) = simulator(&[]);
    for (words, refused) in [
        ("binance BTCUSDT NOSUCH -m spot --history 3 -n 3", "NOSUCH"),
        ("binance NOSUCH BTCUSDT btcusdt -m spot --history 3 -n 1", "NOSUCH"),
        ("bybit BTCUSDT NOSUCHUSDT --history 3 -n 3", "NOSUCHUSDT"),
        ("okx BTC-USDT NOSUCH-USDT --history 3 -n 3", "NOSUCH-USDT"),
        ("gateio BTC_USDT NOSUCH_USDT --history 3 -n 3", "NOSUCH_USDT"),
        ("hyperliquid BTC NOSUCH --history 3 -n 3", "NOSUCH"),
    ] {
        let (code, stdout, stderr) = run(words, &env);
        assert_eq!(code, Some(1), "{words}: {stderr}");
        assert!(stderr.contains(refused), "{words}: {stderr}");
        let wanted: usize = words.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(quotes(&stdout).len(), wanted, "{words}: {stdout}");
    }
}

#[test]
fn a_signal_and_a_closed_pipe_end_it_cleanly() {
    let (_simulator, env) = simulator(&[]);
    for signal in [Some(Signal::INT), Some(Signal::TERM), None] {
        let folder = Scratch::new();
        let mut command = cli("bybit BTCUSDT ETHUSDT", &env, &folder);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        let mut rest = String::new();
        match signal {
            Some(signal) => {
                kill_process(Pid::from_child(&child), signal).unwrap();
                stdout.read_to_string(&mut rest).unwrap();
                assert!(rest.is_empty() || rest.ends_with("}\n"), "whole lines: {rest}");
            }
            None => drop(stdout),
        }
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal:?}");
        let mut stderr = String::new();
        child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
        assert!(!stderr.contains("panicked") && stderr.contains("updates"), "{stderr}");
    }
}

#[test]
fn a_reader_that_leaves_in_a_quiet_market_is_noticed() {
    let (_simulator, env) = simulator(&[]);
    let folder = Scratch::new();
    // The minute's end is far away where the limit is not reached.
    let mut command = cli("okx BTC-USDT --closed-only --interval 1d", &env, &folder);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Variables that point at an exchange where nobody listens, and a short patience.
fn nowhere() -> Env {
    let url = |kind: &str, scheme: &str| {
        (format!("CONNECTOR_BINANCE_SPOT_{kind}_URL"), format!("{scheme}://127.0.0.1:1"))
    };
    let patience = ("CONNECTOR_STREAM_IDLE_TIMEOUT".to_owned(), "1.5".to_owned());
    vec![url("WS", "ws"), url("REST", "http"), patience]
}

#[test]
fn a_limit_that_no_candle_serves_ends_with_an_error_that_says_what_was_waited_for() {
    let (code, stdout, stderr) = run("binance BTCUSDT --market spot --limit 3", &nowhere());
    assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
    assert_eq!(stderr.matches("`doctor binance` looks for the cause").count(), 1, "{stderr}");
    let words = stderr.lines().find(|line| line.contains("no candle")).unwrap();
    for part in ["1.5 s", "0 of 3 updates", "refused", "--wait", "CONNECTOR_STREAM_IDLE_TIMEOUT"] {
        assert!(words.contains(part), "{part}: {stderr}");
    }
}

#[test]
fn whoever_says_so_waits_for_a_limit_longer() {
    let folder = Scratch::new();
    let mut command = cli("binance BTCUSDT --market spot --limit 3 --wait", &nowhere(), &folder);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    // The third attempt is made after 1 and 2 s: the patience of the others is over then.
    assert!(lines.by_ref().filter(|line| line.contains("did not come up")).nth(2).is_some());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(lines.all(|line| !line.contains("no candle")));
}
