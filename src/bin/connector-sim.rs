//! The simulated exchanges as a process: prints where they listen, then serves until SIGTERM.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use connector_wss::cores::process::signals::Signals;
use connector_wss::market::{Market, Venue};
use connector_wss::sim::{self, Playback, SimError, SimOptions, Simulator};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Simulated exchanges on loopback (Binance, OKX, Bybit, Gate, Hyperliquid): every contract type
/// has one port for WebSocket and REST.
///
/// Candles depend on the seed alone, so every minute's truth is known:
///   curl 'http://127.0.0.1:PORT/truth?symbol=BTCUSDT&from=MS&to=MS'
/// as is that of longer windows, the fold of their minutes, up to a day: &interval=5m
/// One answer holds a week of minutes at most; a question for more is refused.
/// Counters, and faults on request:
///   curl http://127.0.0.1:PORT/stats
///   curl -X POST 'http://127.0.0.1:PORT/fault?name=disconnect&exchange=okx&contract_type=swap'
/// Faults: disconnect, half_open, silence, shutdown_notice, refuse, malformed, delay_first_ms,
/// duplicate, lost_close, double_close, reordered, restated_close, late_close, empty_minute, muted,
/// clock_skew_ms, rate_limit, slow_rest, rest_error, rest_garbage, rest_stale, rest_lags; with
/// &value= seconds, or ms where the name ends so.
///
/// Known are candles of trades from a minute to a day, instrument lists, the exchange's time, and
/// Binance's ticker/price. Not known:
///   accounts, orders and every signed request; trades, order books, tickers and funding;
///   candles of mark and index prices, of seconds, of more than a day, and of days that begin at
///   another hour than 0:00 UTC;
///   Binance's WebSocket API, OKX's and Bybit's options, Gate's delivery contracts, Hyperliquid's
///   builder exchanges and outcome markets;
///   OKX's channel of instruments; on one socket of OKX or Hyperliquid, symbols of another contract
///   type than its port's;
///   compression and binary encodings;
///   listings that come and go: a dated contract is never delivered, and every symbol has candles
///   back to 1970.
#[derive(Debug, Parser)]
#[command(name = "connector-sim", version, verbatim_doc_comment)]
struct Arguments {
    /// Seed of the market: the same seed gives the same candles
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Port of the first market, the others follow in the order of the printed variables; 0 takes
    /// free ones
    #[arg(long, default_value_t = 0)]
    base_port: u16,
    /// Port of Binance's spot, WebSocket and REST; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    spot_port: u16,
    /// Port of Binance's usdm
    #[arg(long, default_value_t = 0)]
    usdm_port: u16,
    /// Port of Binance's coinm
    #[arg(long, default_value_t = 0)]
    coinm_port: u16,
    /// Print the CONNECTOR_…_URL lines that point a connector here, and nothing else
    #[arg(long)]
    print_env: bool,
    /// Milliseconds between two pushes of a running candle
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    push_interval_ms: u64,
    /// Milliseconds from a subscription to its first data
    #[arg(long, default_value_t = 0)]
    first_data_delay_ms: u64,
    /// Delay of the closing push in ms after the minute, MIN-MAX [default: spot 5-120, futures
    /// 200-2000]
    #[arg(long, value_name = "MIN-MAX", value_parser = parse_range)]
    close_delay_ms: Option<(u64, u64)>,
    /// Number of synthetic symbols listed beside the usual: SIM0001USDT, SIM0001USD_PERP, …
    #[arg(long, default_value_t = 0, value_name = "N")]
    symbols_extra: usize,
    /// Load: updates a second of every subscribed stream
    #[arg(long, default_value_t = 0, value_name = "N")]
    updates_per_second: u32,
    /// How many times as fast minutes pass
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    time_scale: u32,
    /// Do not enforce the exchange's limits (message rates, connections, REST weight)
    #[arg(long)]
    no_limits: bool,
    /// Seconds until a connection is closed
    #[arg(long, default_value_t = 86_400)]
    connection_life_s: u64,
    /// Speak TLS (wss, https) with a certificate for localhost and 127.0.0.1
    #[arg(long, requires = "tls_ca_out")]
    tls: bool,
    /// A further host name in that certificate; may be repeated
    #[arg(long, value_name = "HOST", requires = "tls")]
    tls_name: Vec<String>,
    /// Write the certificate authority's PEM here
    #[arg(long, value_name = "FILE")]
    tls_ca_out: Option<PathBuf>,
    /// Play captured messages instead of the simulated market, byte for byte
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    playback: Vec<PathBuf>,
    /// Whose messages the captures hold: the exchange
    #[arg(long, default_value = "binance", value_parser = parse_venue)]
    playback_exchange: Venue,
    /// Whose messages the captures hold: the contract type
    #[arg(long, default_value = "spot")]
    playback_contract_type: String,
    /// How many times as fast captured time runs; 0: as fast as possible
    #[arg(long, default_value_t = 1)]
    playback_speed: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let print_env = arguments.print_env;
    let options = arguments.options().unwrap_or_else(|why| {
        Arguments::command().error(clap::error::ErrorKind::InvalidValue, why).exit()
    });
    match run(options, print_env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("connector-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: SimOptions, print_env: bool) -> Result<(), SimError> {
    // Before the first thread and the first line, so that no signal is missed.
    let mut signals = Signals::catch(&[SIGTERM, SIGINT]).map_err(SimError::Thread)?;
    let simulator = sim::start(options)?;
    announce(&simulator, print_env);
    signals.wait();
    simulator.stop();
    Ok(())
}

/// The reader of this may have gone away; the simulator serves all the same.
fn announce(simulator: &Simulator, print_env: bool) {
    let mut out = std::io::stdout().lock();
    if !print_env {
        writeln!(out, "# The simulated exchanges are listening; point a connector at them with:")
            .ok();
    }
    for (name, value) in simulator.env() {
        writeln!(out, "{name}={value}").ok();
    }
    out.flush().ok();
}

fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let ends = text.split_once('-').unwrap_or((text, text));
    match (ends.0.parse(), ends.1.parse()) {
        (Ok(least), Ok(most)) if least <= most && most < 60_000 => Ok((least, most)),
        _ => Err("allowed: MIN-MAX in ms, below 60000".to_owned()),
    }
}

fn parse_venue(text: &str) -> Result<Venue, String> {
    Venue::from_name(text)
        .ok_or_else(|| format!("allowed: {}", Venue::ALL.map(Venue::name).join(", ")))
}

impl Arguments {
    fn options(self) -> Result<SimOptions, String> {
        let played = Market::find(self.playback_exchange, &self.playback_contract_type);
        let played = played.ok_or_else(|| {
            let names = Market::of(self.playback_exchange).map(|one| one.contract_type().name());
            let names = names.collect::<Vec<_>>().join(", ");
            format!("--playback-contract-type: allowed: {names}")
        })?;
        let playback = (!self.playback.is_empty()).then_some(Playback {
            files: self.playback,
            market: played,
            speed: self.playback_speed,
        });
        let mut ports = [0; Market::COUNT];
        for (port, offset) in ports.iter_mut().zip(0..).filter(|_| self.base_port > 0) {
            *port = self.base_port.saturating_add(offset);
        }
        for (port, given) in ports.iter_mut().zip([self.spot_port, self.usdm_port, self.coinm_port])
        {
            *port = if given > 0 { given } else { *port };
        }
        Ok(SimOptions {
            seed: self.seed,
            ports,
            push_interval: Duration::from_millis(self.push_interval_ms),
            updates_per_second: self.updates_per_second,
            first_data_delay: Duration::from_millis(self.first_data_delay_ms),
            close_delay_ms: self.close_delay_ms,
            symbols_extra: self.symbols_extra,
            time_scale: self.time_scale,
            enforce_limits: !self.no_limits,
            connection_life: Duration::from_secs(self.connection_life_s),
            tls: self.tls,
            tls_names: self.tls_name,
            tls_ca_out: self.tls_ca_out,
            playback,
        })
    }
}
