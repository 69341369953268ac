//! The command line: what may be said, and what it means. A mistake is answered with what would be
//! right.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::config::{Action, Config, ConfigError};
use crate::limits::{HISTORY_CANDLES_MAX, PAST_PATIENCE};
use crate::market::{Interval, Market, Venue};

/// Candles of a crypto exchange, straight from the exchange: a table on a terminal, JSON lines in a
/// pipe. Endpoints and limits come from the same CONNECTOR_… variables and .env as the server's.
#[derive(Debug, Parser)]
#[command(
    name = "connector-cli",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  connector-cli binance BTCUSDT ETHUSDT --market spot --limit 10\n  \
                  connector-cli okx BTC-USDT --interval 5m --history 12 --closed-only --format csv\n  \
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
}

/// What else there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at this host and at every exchange; exit code 1 if something is wrong
    Doctor {
        /// Exchanges to look at [default: all]
        exchanges: Vec<String>,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Ask the server that runs with the same variables for its /health: exit code 0 or 1
    Healthcheck,
}

/// Which candles, and how they are written.
#[derive(Debug, Args)]
pub struct StreamArguments {
    /// binance, okx, bybit, gateio or hyperliquid
    #[arg(required = true)]
    exchange: Option<String>,
    /// As the exchange spells them: BTCUSDT, BTC-USDT, BTC_USDT, …
    #[arg(value_name = "SYMBOL")]
    symbols: Vec<String>,
    /// Contract type: spot, usdm, swap, … [default: the exchange's usual one; binance has none]
    #[arg(long, short, value_name = "TYPE", alias = "contract-type")]
    market: Option<String>,
    /// End after so many updates, those of the past included; 0: without end. Where none comes for
    /// CONNECTOR_STREAM_IDLE_TIMEOUT it ends with an error
    #[arg(long, short = 'n', value_name = "N", default_value_t = 0)]
    pub limit: u64,
    /// With --limit: wait for as long as it takes
    #[arg(long)]
    pub wait: bool,
    /// The last N closed candles of each symbol first
    #[arg(long, value_name = "N")]
    history: Option<u32>,
    /// Length of the candles
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

/// Candles that were asked for, without a mistake in it.
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
    /// How long no candle may come for the sake of what was asked, whatever the exchange pushes.
    pub pause: Duration,
}

impl Arguments {
    /// The configuration that the server would have.
    ///
    /// Errors: as [`Config::load`].
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut flags = vec![OsString::from("connector-cli")];
        if let Some(file) = &self.env_file {
            flags.extend(["--env-file".into(), file.into()]);
        }
        match Config::load(flags.into_iter())? {
            Action::Run(config) => Ok(*config),
            other => Err(ConfigError::Arguments(format!("no configuration: {other:?}"))),
        }
    }
}

impl StreamArguments {
    /// What is wanted; an error says what would be right.
    pub fn wanted(&self) -> Result<Wanted, String> {
        let venue = find_venue(self.exchange.as_deref().unwrap_or_default())?;
        if self.symbols.is_empty() {
            return Err(format!(
                "name at least one symbol of {}, as the exchange spells it",
                venue.name()
            ));
        }
        let market = self.market(venue)?;
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        put("exchange", json!(venue.name()));
        put("contract_type", json!(market.contract_type().name()));
        put("symbols", json!(self.symbols));
        let interval = find_interval(&self.interval)?;
        put("interval", json!(interval.name()));
        put("closed_only", json!(self.closed_only));
        let history = usize::try_from(self.history.unwrap_or(0)).unwrap_or(usize::MAX);
        if history > HISTORY_CANDLES_MAX {
            return Err(format!("--history {history}: at most {HISTORY_CANDLES_MAX}"));
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
        Ok(Wanted { market, symbols: self.symbols.len(), request, history, pause })
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
        match first.filter(|&market| found.all(|other| other == Some(market))) {
            Some(market) => Ok(market),
            None => Err(format!("say which market of {}: --market {allowed}", venue.name())),
        }
    }
}

/// The exchange called `name`; an error names the nearest.
pub fn find_venue(name: &str) -> Result<Venue, String> {
    let venues = Venue::ALL.map(Venue::name);
    Venue::from_name(name).ok_or_else(|| {
        let near = did_you_mean(name, &[&venues[..], &["doctor", "healthcheck"]].concat());
        format!("unknown exchange {name:?}; allowed: {}{near}", venues.join(", "))
    })
}

fn find_interval(name: &str) -> Result<Interval, String> {
    let served = |interval: &Interval| Interval::SERVED.contains(interval);
    Interval::from_name(name).filter(served).ok_or_else(|| {
        let names: Vec<&str> = Interval::SERVED.iter().map(|interval| interval.name()).collect();
        format!("unknown interval {name:?}; allowed: {}", names.join(", "))
    })
}

/// `; did you mean binance?`, or nothing where nothing is near.
fn did_you_mean(wanted: &str, names: &[&str]) -> String {
    let wanted = wanted.to_ascii_lowercase();
    let mistakes = |name: &&str| strsim::osa_distance(&wanted, name);
    let nearest = names.iter().min_by_key(|name| mistakes(name));
    match nearest.filter(|name| mistakes(name) <= MISTAKES_MAX) {
        Some(name) => format!("; did you mean {name}?"),
        None => String::new(),
    }
}

/// More than these, and another word was meant.
const MISTAKES_MAX: usize = 2;

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
            ("binance BTCUSDT", "--market spot, usdm, coinm"),
            ("binance BTCUSDT --market spto", "did you mean spot?"),
            ("okx BTC-USDT BTC-USDT-SWAP", "--market spot, swap, futures"),
            ("bybit", "at least one symbol"),
            ("bybit BTCUSDT --interval 7m", "allowed: 1m, 3m, 5m"),
            ("bybit BTCUSDT --history 1441", "at most 1440"),
        ] {
            let error = wanted(line).unwrap_err();
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
