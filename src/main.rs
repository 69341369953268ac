//! `connector-wss`: reads the configuration, starts the cores, waits for a signal, stops in order.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use connector_wss::clock::Clock;
use connector_wss::config::{Action, Config, Preload};
use connector_wss::cores::log;
use connector_wss::cores::log::{LogFile, LogGuard};
use connector_wss::cores::machine::{memory, open_files};
use connector_wss::cores::process::credentials::Reloader;
use connector_wss::cores::process::listeners::Inherited;
use connector_wss::cores::process::remedy;
use connector_wss::cores::process::server::{Server, Stopper};
use connector_wss::cores::process::signals::Signals;
use connector_wss::cores::process::supervisor;
use connector_wss::cores::tools::healthcheck;
use connector_wss::market::{Market, Venue};
use connector_wss::sim::{self, SimError};
use connector_wss::text;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

fn main() -> ExitCode {
    report_panics();
    let inherited = Inherited::take();
    let config = match Config::load(std::env::args_os()) {
        Ok(Action::Run(config)) => *config,
        Ok(Action::Print(text)) => {
            // A reader of only the first lines has closed the pipe, which is not our error.
            let _written = writeln!(std::io::stdout(), "{}", text.trim_end());
            return ExitCode::SUCCESS;
        }
        Ok(Action::Healthcheck(config)) => return print_outcome(healthcheck::ask(&config)),
        Err(error) => {
            let _written = writeln!(std::io::stderr(), "connector-wss: {error}");
            return ExitCode::from(CONFIG_ERROR_CODE);
        }
    };
    let clock = Clock::new();
    let log = match log::start(&config, clock) {
        Ok(log) => log,
        Err(error) => return print_outcome(Err(cannot_start("the log", &error))),
    };
    let outcome = run(config, clock, inherited, log.file());
    if let Err(why) = &outcome {
        tracing::error!("{why}");
    }
    finish(log, outcome.is_ok())
}

/// Exit code of a wrong flag, variable or env file. Source: what shells and clap use for misuse.
const CONFIG_ERROR_CODE: u8 = 2;

/// Prints one line: good news to stdout with exit code 0, bad news to stderr with 1.
fn print_outcome(news: Result<String, String>) -> ExitCode {
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

/// Whether the server serves clients.
static SERVES: AtomicBool = AtomicBool::new(false);

/// Ends a panic during the start in one line: a dependency panics when the host refuses it
/// something, and our own code would return an error. Once the server serves, a panic is a bug and
/// aborts.
fn report_panics() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if SERVES.load(Ordering::Acquire) {
            return abort(panic);
        }
        let why =
            text::visible(panic.payload_as_str().unwrap_or("no reason is given")).into_owned();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let remedy = remedy::of(&std::io::Error::other(""));
        let _ =
            writeln!(std::io::stderr(), "connector-wss: cannot start: {why} ({place}); {remedy}");
        std::process::exit(1);
    }));
}

fn cannot_start(what: &str, error: &std::io::Error) -> String {
    format!("cannot start {what}: {}", remedy::in_words(error))
}

/// Why the simulated exchanges do not run, and what to do.
fn without_simulator(error: &SimError) -> String {
    match error {
        SimError::Bind(_, why) | SimError::Thread(why) | SimError::File(_, why) => {
            format!("{error}; {}", remedy::of(why))
        }
        SimError::Tls(_) | SimError::Playback(..) => error.to_string(),
    }
}

/// Runs the server from start to end.
///
/// # Errors
/// Why it did not start.
fn run(
    mut config: Config,
    clock: Clock,
    inherited: Inherited,
    log_file: LogFile,
) -> Result<(), String> {
    // Before the server's first thread, so that no signal is missed; and before the ports are open,
    // so that nothing can fail afterwards.
    let stop_on = stop_on(config.drain_timeout);
    let stop = stop_on.map_err(|error| cannot_start("the wait for signals", &error))?;
    let reload = reload_on(log_file);
    let reload = reload.map_err(|error| cannot_start("the wait for SIGHUP", &error))?;
    open_files::raise_limit();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(news) = memory::lock() {
        tracing::info!("{news}");
    }
    let simulator = config.simulate.then(|| sim::simulate(&mut config)).transpose();
    let simulator = simulator.map_err(|error| without_simulator(&error))?;
    if config.simulate && config.preload.is_empty() {
        config.preload.push(default_preload());
    }
    let server = Server::start_on(inherited, &config, clock).map_err(|error| error.to_string())?;
    SERVES.store(true, Ordering::Release);
    announce(&server, &config);
    let _waiting = stop.send(server.stopper());
    let _waiting = reload.send(server.reloader(&config));
    server.join();
    drop(simulator);
    Ok(())
}

/// The instrument that is streamed on the simulated exchanges if `CONNECTOR_PRELOAD` is empty: a
/// first try of the server shows candles at once.
fn default_preload() -> Preload {
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
    for proxy in config.proxies.summary() {
        text += &format!("proxy:    {proxy}\n");
        tracing::info!("proxy {proxy}");
    }
    // A supervisor may have closed stdout; the log has the same facts.
    text += &format!("try:      echo '{EXAMPLE}' | websocat {scheme}://{clients}");
    let _written = writeln!(std::io::stdout(), "{text}");
    let ops = server.ops_address.map_or("none".to_owned(), |address| address.to_string());
    tracing::info!("listening on {clients} for clients, ops port {ops}; {}", server.topology);
    supervisor::ready(&format!("serving clients on {scheme}://{clients}{simulated}"));
}

const EXAMPLE: &str =
    r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"],"limit":3}"#;

/// On SIGHUP, opens the log file again, and has the received [`Reloader`] read certificate and
/// tokens again.
fn reload_on(mut log_file: LogFile) -> std::io::Result<Sender<Reloader>> {
    let mut signals = Signals::catch(&[SIGHUP])?;
    let (server, reloader) = channel::<Reloader>();
    let wait = move || {
        let Ok(reloader) = reloader.recv() else { return };
        loop {
            signals.wait();
            log_file.reopen();
            reloader.reload();
        }
    };
    std::thread::Builder::new().name("reload".to_owned()).spawn(wait)?;
    Ok(server)
}

/// On the first signal, begins the drain of the received [`Stopper`]; on the second, ends the
/// process at once.
fn stop_on(drain_timeout: Duration) -> std::io::Result<Sender<Stopper>> {
    let mut signals = Signals::catch(&[SIGTERM, SIGINT])?;
    let (server, stopper) = channel::<Stopper>();
    let wait = move || {
        let Ok(stopper) = stopper.recv() else { return };
        signals.wait();
        tracing::info!("shutting down: telling clients, writing what is owed");
        // Before the drain, since without clients the process ends at once.
        supervisor::stopping(drain_timeout);
        stopper.stop();
        signals.wait();
        eprintln!("connector-wss: second signal, ending at once");
        std::process::exit(1);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(server)
}

/// Logs the last line, and writes everything before it.
fn finish(log: LogGuard, is_orderly: bool) -> ExitCode {
    if is_orderly {
        tracing::info!("Server shutdown complete");
    }
    log.flush();
    if is_orderly { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
