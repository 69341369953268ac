//! The command line and its meaning. The error for a mistake names what would be right.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::config::{Action, Config, ConfigError};
use crate::limits::{HISTORY_CANDLES_MAX, PAST_PATIENCE};
use crate::market::{Interval, Market, Venue, spelled};

use super::hints::{did_you_mean, no_single_symbol, no_symbol, symbol_example};
use super::ledger::{ExplainArguments, ExportArguments, LedgerCommand};

/// Candles of a crypto exchange, straight from the exchange: a table on a terminal, JSON lines in a
/// pipe. Endpoints and limits come from the same CONNECTOR_… variables and .env as the server's.
#[derive(Debug, Parser)]
#[command(
    name = "connector-cli",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  connector-cli --simulate binance BTCUSDT --market spot    # needs no internet\n  \
                  connector-cli binance BTCUSDT ETHUSDT --market spot --limit 10\n  \
                  connector-cli okx BTC-USDT --interval 5m --history 12 --limit 12 --format csv\n  \
                  connector-cli export --symbol BTCUSDT > btc.csv                       # out of the ledger\n  \
                  connector-cli doctor"
)]
pub struct Arguments {
    /// Something else than candles.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Which candles.
    #[command(flatten)]
    pub stream: StreamArguments,
    /// Read variables from FILE [default: .env, if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    pub env_file: Option<PathBuf>,
    /// Use the simulated exchanges inside this process instead of the real ones
    #[arg(long, global = true)]
    pub simulate: bool,
}

/// What else there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Examine this host and every exchange; the exit code is 1 if something is wrong
    Doctor {
        /// Exchanges to examine [default: all]
        exchanges: Vec<String>,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Ask the server that runs with the same variables for its /health; the exit code is 0 or 1
    Healthcheck,
    /// Write closed candles of the ledger as CSV, JSON lines or Parquet; a server may be writing it
    Export(Box<ExportArguments>),
    /// Say what the ledger knows of one window: revisions, evidence, sources and times
    Explain(Box<ExplainArguments>),
    /// Look after the ledger's file
    Ledger {
        /// What is done
        #[command(subcommand)]
        command: LedgerCommand,
    },
}

/// Which candles, and how they are written.
#[derive(Debug, Args)]
pub struct StreamArguments {
    /// binance, okx, bybit, gateio or hyperliquid
    #[arg(required = true)]
    exchange: Option<String>,
    /// Separated by spaces, as the exchange spells them: BTCUSDT, BTC-USDT, BTC_USDT, …
    #[arg(value_name = "SYMBOL")]
    symbols: Vec<String>,
    /// Contract type: spot, usdm, swap, … [default: the exchange's usual one; binance has none]
    #[arg(long, short, value_name = "TYPE", alias = "contract-type")]
    market: Option<String>,
    /// End after N updates, also those of --history; 0: without end (the Python connector ends
    /// after 10). If no update comes for CONNECTOR_STREAM_IDLE_TIMEOUT, the program ends with an
    /// error
    #[arg(long, short = 'n', value_name = "N", default_value_t = 0, value_parser = limit,
          allow_negative_numbers = true)]
    pub limit: u64,
    /// With --limit: wait without end
    #[arg(long)]
    pub wait: bool,
    /// First the last N closed candles of each symbol; at most a day of minutes
    #[arg(long, value_name = "N", value_parser = history, allow_negative_numbers = true)]
    history: Option<usize>,
    /// Length of the candles: 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h or 1d
    #[arg(long, short, default_value = "1m")]
    interval: String,
    /// Closed candles only
    #[arg(long)]
    closed_only: bool,
    /// How updates are written [default: table on a terminal, json elsewhere]
    #[arg(long, short)]
    pub format: Option<Format>,
}

/// How updates are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// The server's messages, one a line
    Json,
    /// With a header
    Csv,
}

/// A valid request for candles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where.
    pub market: Market,
    /// How many symbols.
    pub symbols: usize,
    /// As a request of the client protocol.
    pub request: String,
    /// Closed candles of the past.
    pub history: usize,
    /// Longest pause between candles that the requested interval and history explain, whatever the
    /// exchange pushes.
    pub pause: Duration,
}

impl Arguments {
    /// The configuration, as the server would read it.
    ///
    /// Errors: as [`Config::load`].
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut flags = vec![OsString::from("connector-cli")];
        if let Some(file) = &self.env_file {
            flags.extend(["--env-file".into(), file.into()]);
        }
        if self.simulate {
            flags.push("--simulate".into());
        }
        match Config::load(flags.into_iter())? {
            Action::Run(config) => Ok(*config),
            other => Err(ConfigError::Arguments(format!("no configuration: {other:?}"))),
        }
    }
}

impl StreamArguments {
    /// The requested candles. An error names what would be right.
    pub fn wanted(&self) -> Result<Wanted, String> {
        let venue = find_venue(self.exchange.as_deref().unwrap_or_default());
        let venue = venue.map_err(|why| match why.ends_with('?') {
            true => why,
            false => format!("{why}; the exchange comes first: connector-cli {EXAMPLE}"),
        })?;
        if self.symbols.is_empty() {
            return Err(format!(
                "name at least one symbol of {}, as the exchange spells it: connector-cli {} {}",
                venue.name(),
                venue.name(),
                symbol_example(venue)
            ));
        }
        if let Some(why) = self.symbols.iter().find_map(|word| no_single_symbol(venue, word)) {
            return Err(why);
        }
        let market = self.market(venue)?;
        if let Some(why) = self.symbols.iter().find_map(|symbol| no_symbol(market, symbol)) {
            return Err(why);
        }
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        put("exchange", json!(venue.name()));
        put("contract_type", json!(market.contract_type().name()));
        put("symbols", json!(self.symbols));
        let interval = find_interval(&self.interval)?;
        put("interval", json!(interval.name()));
        put("closed_only", json!(self.closed_only));
        let history = self.history.unwrap_or(0);
        let most = HISTORY_CANDLES_MAX / interval.minutes();
        if history > most {
            let name = interval.name();
            return Err(format!("--history {history}: at most {most} windows of {name}, a day"));
        }
        let mut pause = Duration::ZERO;
        if history > 0 {
            put("history", json!(history));
            pause += PAST_PATIENCE;
        }
        if self.closed_only {
            pause += Duration::from_millis(interval.ms().unsigned_abs());
        }
        let request = Value::Object(fields).to_string();
        let symbols = self.symbols.iter().map(|symbol| symbol.to_uppercase());
        let symbols = symbols.collect::<HashSet<_>>().len();
        Ok(Wanted { market, symbols, request, history, pause })
    }

    /// The market named, else the one that the exchange or its symbols tell.
    fn market(&self, venue: Venue) -> Result<Market, String> {
        let names: Vec<&str> =
            Market::of(venue).map(|market| market.contract_type().name()).collect();
        let allowed = names.join(", ");
        if let Some(name) = &self.market {
            return Market::find(venue, name).ok_or_else(|| {
                let near = did_you_mean(name, &names);
                format!("unknown market {name:?} of {}; allowed: {allowed}{near}", venue.name())
            });
        }
        let mut found = self.symbols.iter().map(|symbol| Market::default_of(venue, symbol));
        let first = found.next().flatten();
        if let Some(market) = first.filter(|&market| found.all(|other| other == Some(market))) {
            return Ok(market);
        }
        let spot = Market::of(venue).next().expect("every exchange has a market");
        let strange = |symbol: &&String| Market::default_of(venue, symbol).is_none();
        let strange = self.symbols.iter().filter(|_| venue != Venue::Binance).find(strange);
        Err(match strange.and_then(|symbol| no_symbol(spot, symbol)) {
            Some(why) => why,
            None => {
                format!("say which market of {}: --market {}", venue.name(), names.join(" or "))
            }
        })
    }
}

/// The exchange called `name`; an error names the nearest.
pub fn find_venue(name: &str) -> Result<Venue, String> {
    let venues = Venue::ALL.map(Venue::name);
    Venue::from_name(name).ok_or_else(|| {
        let near = did_you_mean(
            name,
            &[&venues[..], &["doctor", "healthcheck", "export", "explain", "ledger"]].concat(),
        );
        format!("unknown exchange {name:?}; allowed: {}{near}", venues.join(", "))
    })
}

/// The interval called `name`; an error names the nearest.
pub(super) fn find_interval(name: &str) -> Result<Interval, String> {
    let served = |interval: &Interval| Interval::SERVED.contains(interval);
    Interval::from_name(name).filter(served).ok_or_else(|| {
        let names: Vec<&str> = Interval::SERVED.iter().map(|interval| interval.name()).collect();
        let near = spelled::intervals(name).into_iter().next();
        let near = near.map_or(String::new(), |it| format!("; did you mean {}?", it.name()));
        format!("unknown interval {name:?}; allowed: {}{near}", names.join(", "))
    })
}

fn limit(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "give a whole number of updates; 0: without end".to_owned())
}

fn history(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "give a whole number of closed candles, such as 12".to_owned())
}

/// An example of a command that shows candles.
const EXAMPLE: &str = "binance BTCUSDT --market spot";

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(line: &str) -> Result<Wanted, String> {
        let words = std::iter::once("connector-cli").chain(line.split(' '));
        Arguments::try_parse_from(words).unwrap().stream.wanted()
    }

    #[test]
    fn what_is_asked_becomes_a_request() {
        let line = "okx BTC-USDT ETH-USDT --interval 5m --history 3 --closed-only";
        let wanted = wanted(line).unwrap();
        assert_eq!((wanted.symbols, wanted.history), (2, 3));
        assert_eq!(wanted.pause, PAST_PATIENCE + Duration::from_secs(300));
        let request: Value = serde_json::from_str(&wanted.request).unwrap();
        let expected = json!({
            "exchange": "okx", "contract_type": "spot", "symbols": ["BTC-USDT", "ETH-USDT"],
            "interval": "5m", "closed_only": true, "history": 3
        });
        assert_eq!(request, expected);
    }

    #[test]
    fn a_mistake_is_answered_with_what_would_be_right() {
        for (line, words) in [
            ("binanse BTCUSDT", "did you mean binance?"),
            ("docter", "did you mean doctor?"),
            ("nasdaq AAPL", "allowed: binance, okx, bybit, gateio, hyperliquid"),
            ("BTCUSDT", "the exchange comes first: connector-cli binance BTCUSDT --market spot"),
            ("binance BTCUSDT", "--market spot or usdm or coinm"),
            ("binance BTCUSDT --market spto", "did you mean spot?"),
            ("okx BTC-USDT BTC-USDT-SWAP", "--market spot or swap or futures"),
            (
                "bybit",
                "at least one symbol of bybit, as the exchange spells it: connector-cli bybit",
            ),
            ("bybit BTCUSDT --interval 7m", "allowed: 1m, 3m, 5m"),
            ("bybit BTCUSDT --interval 60min", "did you mean 1h?"),
            ("bybit BTCUSDT --history 1441", "at most 1440 windows of 1m"),
            ("bybit BTCUSDT --history 289 --interval 5m", "at most 288 windows of 5m"),
            ("bybit BTCUSDT,ETHUSDT", "separate symbols by spaces: BTCUSDT ETHUSDT"),
            ("okx btc/usdt", "did you mean BTC-USDT?"),
            ("okx BTCUSDT", "did you mean BTC-USDT?"),
            ("okx BTC-USDT-SWAP --market spot", "is of okx swap: --market swap"),
            ("binance BTCUSDT spot", "a contract type: --market spot"),
        ] {
            let error = wanted(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn a_count_that_is_none_is_refused_in_words() {
        for (line, words) in [
            ("bybit BTCUSDT --limit abc", "a whole number of updates; 0: without end"),
            ("bybit BTCUSDT --limit -1", "a whole number of updates; 0: without end"),
            ("bybit BTCUSDT --history 1.5", "a whole number of closed candles"),
        ] {
            let words_of_line = std::iter::once("connector-cli").chain(line.split(' '));
            let error = Arguments::try_parse_from(words_of_line).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn a_command_needs_no_exchange() {
        let arguments = Arguments::try_parse_from(["connector-cli", "doctor", "--json"]).unwrap();
        assert!(matches!(arguments.command, Some(Command::Doctor { json: true, .. })));
        assert!(Arguments::try_parse_from(["connector-cli"]).is_err());
    }
}
