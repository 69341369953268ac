//! What can be asked of the ledger.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::clock::UnixMs;

use super::times;

/// Which windows are exported, how and where to.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  connector-cli export --exchange binance --symbol BTCUSDT > btc.csv\n  \
                  connector-cli export --format parquet --from 2026-11-01 --to 2026-12-01 --output november.parquet\n  \
                  connector-cli export --format jsonl --interval 1h --symbol BTC-USDT --symbol ETH-USDT | jq .close",
    after_long_help = LONG_HELP
)]
pub struct ExportArguments {
    /// How windows are written
    #[arg(long, short, default_value = "csv")]
    pub(super) format: ExportFormat,
    /// Windows that open at TIME or later: 2026-11-30, 2026-11-30T13:10:00Z, or milliseconds since
    /// 1970. Without an offset it is UTC
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    pub(super) from: Option<UnixMs>,
    /// Windows that open before TIME: the window that opens at TIME is not exported
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    pub(super) to: Option<UnixMs>,
    /// Of this exchange only; can be repeated
    #[arg(long = "exchange", short, value_name = "EXCHANGE")]
    pub(super) exchanges: Vec<String>,
    /// Of this contract type only: spot, usdm, swap, …; can be repeated
    #[arg(long = "contract-type", short, value_name = "TYPE", alias = "market")]
    pub(super) contract_types: Vec<String>,
    /// This symbol only, as the exchange spells it; can be repeated
    #[arg(long = "symbol", short, value_name = "SYMBOL")]
    pub(super) symbols: Vec<String>,
    /// Candles of this length only: 1m, 5m, 1h, …; can be repeated
    #[arg(long = "interval", short, value_name = "INTERVAL")]
    pub(super) intervals: Vec<String>,
    /// Write FILE instead of stdout; Parquet needs it. FILE is complete or as it was before
    #[arg(long, short, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Read this ledger [default: CONNECTOR_LEDGER_FILE, data/candles.sqlite]
    #[arg(long, value_name = "FILE")]
    pub(super) ledger: Option<PathBuf>,
}

/// What `--help` says beyond the options.
const LONG_HELP: &str = "\
What is exported:
  Of each window its newest revision. Series come one after the other, each in the order of time.
  An empty window (nothing was traded, and the exchange makes no candle of it) is a row with kind
  \"empty\" and without prices in jsonl and parquet. In csv it has no row, as in the exchange's files.
  A lost window (a newer revision was published and could not be stored) is unknown: it has no row,
  as a window that is absent. The last line on stderr counts both.

csv
  The columns of Binance's public data files: open_time,open,high,low,close,volume,close_time,
  quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore. What is not known is left
  empty: the taker's volumes always, count where the exchange counts no trades. Times are
  milliseconds. If more than one series is exported, the columns exchange,contract_type,symbol,
  interval come first.
jsonl
  One JSON object a line with the fields of the client protocol, numbers in the exchange's digits,
  and kind, event_time, received_time and position. What is not known is left out.
parquet
  The same columns, compressed with zstd. Each price and volume is there twice: open is a double,
  open_text the exact digits.

volume counts the base asset where the exchange gives it, as for clients of the server. If not, it
is the exchange's own volume; volume_unit names its unit.

Examples:
  connector-cli export --exchange binance --symbol BTCUSDT > btc.csv
  connector-cli export --format parquet --from 2026-11-01 --to 2026-12-01 --output november.parquet
  connector-cli export --format jsonl --interval 1h --symbol BTC-USDT --symbol ETH-USDT | jq .close

The ledger may be in use by a server meanwhile. The exit code is 0, 1 if nothing matches or the
export has failed, or 2 if the command line is wrong.";

/// How windows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// The columns of Binance's public data files
    Csv,
    /// A JSON object a line
    Jsonl,
    /// Columns for DuckDB, polars and pandas, compressed with zstd
    Parquet,
}

/// Which window is explained.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  connector-cli explain binance spot BTCUSDT 2026-11-30T13:10:00Z\n  \
                  connector-cli explain okx swap BTC-USDT-SWAP 1796044200000 --interval 1h --json | jq .revisions\n\n\
                  The exit code is 0 if the window is known, and 1 if not."
)]
pub struct ExplainArguments {
    /// binance, okx, bybit, gateio or hyperliquid
    pub(super) exchange: String,
    /// spot, usdm, swap, …
    #[arg(value_name = "CONTRACT_TYPE")]
    pub(super) contract_type: String,
    /// As the exchange spells it
    pub(super) symbol: String,
    /// A time within the window: 2026-11-30T13:10:00Z, or milliseconds since 1970. Without an
    /// offset it is UTC
    #[arg(value_parser = times::parse)]
    pub(super) time: UnixMs,
    /// Length of the candle
    #[arg(long, short, default_value = "1m")]
    pub(super) interval: String,
    /// One JSON object instead of sentences
    #[arg(long)]
    pub(super) json: bool,
    /// Read this ledger [default: CONNECTOR_LEDGER_FILE, data/candles.sqlite]
    #[arg(long, value_name = "FILE")]
    pub(super) ledger: Option<PathBuf>,
}

/// What can be done with the file.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Check that the file is sound, and list what it has and what it lacks
    Check(CheckArguments),
}

/// Which file is checked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  connector-cli ledger check\n  \
                  connector-cli ledger check /var/lib/connector-wss/candles.sqlite --verbose\n\n\
                  A window is absent if it lies between the first and the last stored window of its series and \
                  has no row: it is unknown.\nThe exit code is 0 if the file is sound, also if windows are \
                  absent or lost, and 1 if not.")]
pub struct CheckArguments {
    /// The ledger [default: CONNECTOR_LEDGER_FILE, data/candles.sqlite]
    pub(super) file: Option<PathBuf>,
    /// List each range of absent windows, and each lost window
    #[arg(long, short)]
    pub(super) verbose: bool,
}
