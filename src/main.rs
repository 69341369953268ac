//! `connector-wss`: reads the configuration, starts the cores, waits for a signal, stops in order.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use connector_wss::clock::Clock;
use connector_wss::config::{Action, Config, Preload};
use connector_wss::cores::credentials::Reloader;
use connector_wss::cores::healthcheck;
use connector_wss::cores::listeners::Inherited;
use connector_wss::cores::log::{self, LogGuard};
use connector_wss::cores::server::{Server, Stopper};
use connector_wss::cores::signals::Signals;
use connector_wss::cores::supervisor;
use connector_wss::cores::{memory, open_files};
use connector_wss::market::{Market, Venue};
use connector_wss::sim;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

fn main() -> ExitCode {
    let inherited = Inherited::take();
    let config = match Config::load(std::env::args_os()) {
        Ok(Action::Run(config)) => *config,
        Ok(Action::Print(text)) => {
            // Whoever reads only the first lines has closed the pipe: that is no error of ours.
            let _written = writeln!(std::io::stdout(), "{}", text.trim_end());
            return ExitCode::SUCCESS;
        }
        Ok(Action::Healthcheck(config)) => return say(healthcheck::ask(&config)),
        Err(error) => {
            let _written = writeln!(std::io::stderr(), "connector-wss: {error}");
            return ExitCode::from(CONFIG_ERROR_CODE);
        }
    };
    let clock = Clock::new();
    let log = log::start(&config, clock);
    let outcome = run(config, clock, inherited);
    if let Err(why) = &outcome {
        tracing::error!("{why}");
    }
    finish(log, outcome.is_ok())
}

/// Exit code of a wrong flag, variable or env file. Source: what shells and clap use for misuse.
const CONFIG_ERROR_CODE: u8 = 2;

/// One line: good news to stdout with exit code 0, bad news to stderr with 1.
fn say(news: Result<String, String>) -> ExitCode {
    match news {
        Ok(line) => {
            let _written = writeln!(std::io::stdout(), "{line}");
            ExitCode::SUCCESS
        }
        Err(line) => {
            let _written = writeln!(std::io::stderr(), "connector-wss: {line}");
            ExitCode::FAILURE
        }
    }
}

/// The server's whole life; an error is why it did not start.
fn run(mut config: Config, clock: Clock, inherited: Inherited) -> Result<(), String> {
    let text = |error: &dyn Display| error.to_string();
    // Before the first thread of the server, so that no signal is missed.
    let stop = Signals::catch(&[SIGTERM, SIGINT]).map_err(|error| text(&error))?;
    let reload = Signals::catch(&[SIGHUP]).map_err(|error| text(&error))?;
    open_files::raise_limit();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(news) = memory::lock() {
        tracing::info!("{news}");
    }
    let simulator = config.simulate.then(|| sim::simulate(&mut config)).transpose();
    let simulator = simulator.map_err(|error| text(&error))?;
    if config.simulate && config.preload.is_empty() {
        config.preload.push(first_sight());
    }
    let server = Server::start_on(inherited, &config, clock).map_err(|error| text(&error))?;
    announce(&server, &config);
    let (stopper, reloader) = (server.stopper(), server.reloader(&config));
    reload_on(reload, reloader).map_err(|error| text(&error))?;
    stop_on(stop, stopper, config.drain_timeout).map_err(|error| text(&error))?;
    server.join();
    drop(simulator);
    Ok(())
}

/// Streamed on the simulated exchanges if `CONNECTOR_PRELOAD` names nothing: a first try of the
/// server shows candles at once.
fn first_sight() -> Preload {
    let market = Market::find(Venue::Binance, "spot").expect("Binance has a spot market");
    Preload { market, symbols: vec!["BTCUSDT".to_owned()] }
}

fn announce(server: &Server, config: &Config) {
    let simulated = if config.simulate { ", on the simulated exchanges" } else { "" };
    let (version, clients) = (env!("CARGO_PKG_VERSION"), server.client_address);
    let scheme = if config.wss_tls_cert_file.is_some() { "wss" } else { "ws" };
    let mut text = format!("connector-wss {version}{simulated}\nclients:  {scheme}://{clients}\n");
    if let Some(address) = server.ops_address {
        text += &format!("ops:      http://{address}/  /health  /ready  /metrics\n");
    }
    text += &format!("cores:    {}\n", server.topology);
    // A supervisor may have closed stdout; the log says the same.
    text += &format!("try:      echo '{EXAMPLE}' | websocat {scheme}://{clients}");
    let _written = writeln!(std::io::stdout(), "{text}");
    let ops = server.ops_address.map_or("none".to_owned(), |address| address.to_string());
    tracing::info!("listening on {clients} for clients, ops port {ops}; {}", server.topology);
    supervisor::ready(&format!("serving clients on {scheme}://{clients}{simulated}"));
}

const EXAMPLE: &str =
    r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"],"limit":3}"#;

/// SIGHUP reads certificate and tokens again.
fn reload_on(mut signals: Signals, reloader: Reloader) -> std::io::Result<()> {
    let wait = move || loop {
        signals.wait();
        reloader.reload();
    };
    std::thread::Builder::new().name("reload".to_owned()).spawn(wait)?;
    Ok(())
}

/// The first signal begins the drain, the second ends the process at once.
fn stop_on(mut signals: Signals, stopper: Stopper, drain_timeout: Duration) -> std::io::Result<()> {
    let wait = move || {
        signals.wait();
        tracing::info!("shutting down: telling clients, writing what is owed");
        // First: with nobody to be told the process ends at once.
        supervisor::stopping(drain_timeout);
        stopper.stop();
        signals.wait();
        eprintln!("connector-wss: second signal, ending at once");
        std::process::exit(1);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

/// Writes the last line and everything before it.
fn finish(log: LogGuard, is_orderly: bool) -> ExitCode {
    if is_orderly {
        tracing::info!("Server shutdown complete");
    }
    log.flush();
    if is_orderly { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
