//! The simulated exchanges as a process: prints where they listen, then serves until SIGTERM.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use connector_wss::market::ContractType;
use connector_wss::sim::{self, Playback, SimError, SimOptions, Simulator};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A simulated Binance on loopback: spot, usdm and coinm, WebSocket and REST on one port each.
///
/// Candles depend on the seed alone, so every minute's truth is known:
///   curl 'http://127.0.0.1:PORT/truth?symbol=BTCUSDT&from=MS&to=MS'
/// Counters, and faults on request:
///   curl http://127.0.0.1:PORT/stats
///   curl -X POST 'http://127.0.0.1:PORT/fault?name=disconnect&contract_type=spot'
/// Faults: disconnect, half_open, silence, shutdown_notice, refuse, malformed, delay_first_ms,
/// duplicate, lost_close, double_close, rate_limit; with &value= seconds (or ms for delay_first_ms).
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Arguments {
    /// Seed of the market: the same seed gives the same candles
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Port of spot, WebSocket and REST; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    spot_port: u16,
    /// Port of usdm
    #[arg(long, default_value_t = 0)]
    usdm_port: u16,
    /// Port of coinm
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
    /// Closing push so many ms after the minute, MIN-MAX [default: spot 5-120, futures 200-2000]
    #[arg(long, value_name = "MIN-MAX", value_parser = parse_range)]
    close_delay_ms: Option<(u64, u64)>,
    /// List so many synthetic symbols beside the usual: SIM0001USDT, SIM0001USD_PERP, …
    #[arg(long, default_value_t = 0, value_name = "N")]
    symbols_extra: usize,
    /// Load: every subscribed stream gets so many updates a second
    #[arg(long, default_value_t = 0, value_name = "N")]
    updates_per_second: u32,
    /// Minutes pass so many times as fast
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
    /// Write the certificate authority's PEM here
    #[arg(long, value_name = "FILE")]
    tls_ca_out: Option<PathBuf>,
    /// Play captured messages instead of the simulated market, byte for byte
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    playback: Vec<PathBuf>,
    /// Whose messages the captures hold
    #[arg(long, value_enum, default_value_t = Kind::Spot)]
    playback_contract_type: Kind,
    /// Captured time runs so many times as fast; 0: as fast as possible
    #[arg(long, default_value_t = 1)]
    playback_speed: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Spot,
    Usdm,
    Coinm,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let print_env = arguments.print_env;
    match run(arguments.into(), print_env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("connector-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: SimOptions, print_env: bool) -> Result<(), SimError> {
    // Before the first thread and the first line, so that no signal is missed.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(SimError::Thread)?;
    let simulator = sim::start(options)?;
    announce(&simulator, print_env);
    signals.forever().next();
    simulator.stop();
    Ok(())
}

/// Whoever reads this may have gone away; that is no reason not to serve.
fn announce(simulator: &Simulator, print_env: bool) {
    let mut out = std::io::stdout().lock();
    if !print_env {
        writeln!(out, "# Simulated Binance is listening; point a connector at it with:").ok();
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

impl From<Arguments> for SimOptions {
    fn from(arguments: Arguments) -> Self {
        let playback = (!arguments.playback.is_empty()).then_some(Playback {
            files: arguments.playback,
            contract_type: match arguments.playback_contract_type {
                Kind::Spot => ContractType::Spot,
                Kind::Usdm => ContractType::Usdm,
                Kind::Coinm => ContractType::Coinm,
            },
            speed: arguments.playback_speed,
        });
        Self {
            seed: arguments.seed,
            ports: [arguments.spot_port, arguments.usdm_port, arguments.coinm_port],
            push_interval: Duration::from_millis(arguments.push_interval_ms),
            updates_per_second: arguments.updates_per_second,
            first_data_delay: Duration::from_millis(arguments.first_data_delay_ms),
            close_delay_ms: arguments.close_delay_ms,
            symbols_extra: arguments.symbols_extra,
            time_scale: arguments.time_scale,
            enforce_limits: !arguments.no_limits,
            connection_life: Duration::from_secs(arguments.connection_life_s),
            tls: arguments.tls,
            tls_ca_out: arguments.tls_ca_out,
            playback,
        }
    }
}
