//! Closed candles outlive the process: the real program, killed and started again, on a file that
//! is held by another, damaged, or impossible.

use std::path::Path;

use connector_wss::clock::UnixMs;
use connector_wss::ledger::{self, OpenError};
use connector_wss::market::{ClosedWindow, Instrument, Interval, Span};
use rustix::process::Signal;

use super::client::{BTC, BTC_3, Text, assert_served_three};
use super::harness::{Exchange, Scratch, Server, market, wait_until};

fn start(exchange: &Exchange, file: &Path) -> Server {
    let preload = "binance:spot:BTCUSDT,ETHUSDT";
    let more = [("CONNECTOR_LEDGER_FILE", file.to_str().unwrap()), ("CONNECTOR_PRELOAD", preload)];
    Server::start(exchange.env.clone(), &more)
}

/// The digits of what is stored of a minute of BTCUSDT.
fn stored(file: &Path, open_time: i64) -> Option<Vec<String>> {
    let connection = match ledger::open_read_only(file) {
        Ok(connection) => connection,
        Err(OpenError::Refused(_)) => return None,
        Err(error) => panic!("{error}"),
    };
    let instrument =
        Instrument { market: market("spot"), symbol: "BTCUSDT".into(), interval: Interval::M1 };
    let span = Span { first: UnixMs(open_time), last: UnixMs(open_time) };
    let page = ledger::page(&connection, &instrument, span, 1).unwrap();
    let ClosedWindow::Candle(update) = page.windows.first()?.window? else { return None };
    let candle = update.candle;
    let prices = [candle.open, candle.high, candle.low, candle.close, candle.volume];
    Some(prices.map(|digits| digits.to_string()).into())
}

fn digits(text: &Text) -> Vec<String> {
    let names = ["open", "high", "low", "close", "volume"];
    names.map(|name| text.number(name).unwrap().to_owned()).into()
}

fn closed(client: &mut super::client::Client) -> Text {
    std::iter::repeat_with(|| client.next()).find(Text::is_closed_candle).unwrap()
}

#[test]
fn a_killed_server_goes_on_where_it_stopped_and_asks_no_exchange_for_what_it_knows() {
    let (exchange, folder) = (Exchange::start(&[]), Scratch::new());
    let file = folder.0.join("deep/candles.sqlite");
    let mut server = start(&exchange, &file);
    let candle = closed(&mut server.ask(BTC));
    let open_time = candle.json["open_time"].as_i64().unwrap();
    wait_until("it is stored", || stored(&file, open_time).is_some());
    assert_eq!(stored(&file, open_time).unwrap(), digits(&candle));
    server.process.signal(Signal::KILL);
    server.process.wait();

    let mut server = start(&exchange, &file);
    let since = BTC.replace('}', &format!(",\"since\":{}}}", open_time - 60_000));
    let mut client = server.ask(&since);
    let again = closed(&mut client);
    assert_eq!(again.json["open_time"], candle.json["open_time"]);
    assert_eq!((digits(&again), &again.json["revision"]), (digits(&candle), &0.into()));
    client.next_of("history");
    assert_eq!(client.next_of("quote").json["is_closed_candle"], false, "and it goes on");
    assert_eq!(server.metric("connector_rest_requests_total", &["binance"]), 0.0);
    assert_eq!(server.metric("connector_gaps_total", &[]), 0.0);
    server.process.signal(Signal::TERM);
    assert!(server.process.wait().success());
}

#[test]
fn a_second_server_is_told_who_writes_the_file_and_writes_it_once_that_one_ends() {
    let (exchange, folder) = (Exchange::start(&[]), Scratch::new());
    let file = folder.0.join("candles.sqlite");
    let mut first = start(&exchange, &file);
    let second = start(&exchange, &file);
    assert_served_three(&mut second.ask(BTC_3));
    let holder = format!("process {} writes it", first.process.id());
    wait_until("it says who holds the file", || second.log().contains(&holder));
    assert_eq!(second.metric("connector_ledger_storing", &[]), 0.0);
    assert_eq!(first.metric("connector_ledger_storing", &[]), 1.0);
    first.process.signal(Signal::TERM);
    assert!(first.process.wait().success());
    wait_until("it is its turn", || second.metric("connector_ledger_storing", &[]) == 1.0);
}

#[test]
fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
    let (exchange, folder) = (Exchange::start(&[]), Scratch::new());
    let file = folder.0.join("candles.sqlite");
    std::fs::write(&file, [0x5a; 10_000]).unwrap();
    let server = start(&exchange, &file);
    assert_served_three(&mut server.ask(BTC_3));
    let aside = folder.0.join("candles.sqlite.damaged");
    assert_eq!(std::fs::read(aside).unwrap(), [0x5a; 10_000]);
    let log = server.log();
    assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    assert!(log.contains("was damaged"), "{log}");
    assert_eq!(server.metric("connector_ledger_storing", &[]), 1.0);
    assert!(ledger::check(&ledger::open_read_only(&file).unwrap()).is_ok());
}

#[test]
fn a_file_that_cannot_be_costs_a_warning_and_no_client() {
    let exchange = Exchange::start(&[]);
    let mut server = start(&exchange, Path::new("/dev/null/candles.sqlite"));
    assert_served_three(&mut server.ask(BTC_3));
    let log = server.log();
    assert_eq!(log.matches("/dev/null/candles.sqlite cannot be opened").count(), 1, "{log}");
    assert_eq!(server.metric("connector_ledger_enabled", &[]), 1.0);
    assert_eq!(server.metric("connector_ledger_storing", &[]), 0.0);
    server.process.signal(Signal::TERM);
    assert!(server.process.wait().success());
}

#[test]
fn an_empty_variable_is_no_ledger() {
    let exchange = Exchange::start(&[]);
    let server = start(&exchange, Path::new(""));
    assert_served_three(&mut server.ask(BTC_3));
    assert_eq!(server.metric("connector_ledger_enabled", &[]), 0.0);
    assert!(!server.process.folder.0.join("data").exists());
}
