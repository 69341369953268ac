//! `connector-cli`: candles of an exchange on a terminal or in a pipe; `doctor`; `healthcheck`;
//! `export`, `explain` and `ledger check` of the closed candles that a server has stored.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use connector_wss::cli::arguments::{Arguments, Command};
use connector_wss::cli::ledger::{Failure, LedgerCommand, check, explain, export};
use connector_wss::cli::{doctor, stream};
use connector_wss::config::Config;
use connector_wss::cores::process::signals::Signals;
use connector_wss::cores::tools::healthcheck;
use connector_wss::sim;
use signal_hook::consts::{SIGINT, SIGTERM};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut config = match arguments.config() {
        Ok(config) => config,
        Err(error) => return complain(&error.to_string(), USAGE_ERROR_CODE),
    };
    // Served until the end of this function.
    let simulator = config.simulate.then(|| sim::simulate(&mut config)).transpose();
    if let Err(error) = &simulator {
        return complain(&error.to_string(), FAILURE_CODE);
    }
    match &arguments.command {
        None => stream(&arguments, &config),
        Some(Command::Doctor { exchanges, json }) => match doctor::markets(exchanges) {
            Ok(markets) => code(doctor::run(&config, &markets, *json)),
            Err(why) => complain(&why, USAGE_ERROR_CODE),
        },
        Some(Command::Healthcheck) => match healthcheck::ask(&config) {
            Ok(line) => {
                let _written = writeln!(std::io::stdout(), "{line}");
                ExitCode::SUCCESS
            }
            Err(line) => complain(&line, FAILURE_CODE),
        },
        Some(Command::Export(asked)) => match stop_on_signals() {
            Ok(stop) => finished(export::run(&config, asked, &stop).map(|()| true)),
            Err(error) => complain(&error.to_string(), FAILURE_CODE),
        },
        Some(Command::Explain(asked)) => finished(explain::run(&config, asked)),
        Some(Command::Ledger { command: LedgerCommand::Check(asked) }) => {
            finished(check::run(&config, asked))
        }
    }
}

/// The exit code of a command about the ledger.
fn finished(outcome: Result<bool, Failure>) -> ExitCode {
    match outcome {
        Ok(is_fine) => code(is_fine),
        Err(Failure::Usage(why)) => complain(&why, USAGE_ERROR_CODE),
        Err(Failure::Failed(why)) => complain(&why, FAILURE_CODE),
    }
}

fn stream(arguments: &Arguments, config: &Config) -> ExitCode {
    let wanted = match arguments.stream.wanted() {
        Ok(wanted) => wanted,
        Err(why) => return complain(&why, USAGE_ERROR_CODE),
    };
    let stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => return complain(&error.to_string(), FAILURE_CODE),
    };
    let asked = &arguments.stream;
    let limit = stream::Limit { updates: asked.limit, waits: asked.wait };
    match stream::run(config, &wanted, asked.format, limit, &stop) {
        Ok(is_served) => code(is_served),
        Err(why) => complain(&why, FAILURE_CODE),
    }
}

/// What the first signal sets; the second ends the process at once, as where stdout is stuck.
fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::catch(&[SIGINT, SIGTERM])?;
    let flag = Arc::clone(&stop);
    let wait = move || {
        signals.wait();
        flag.store(true, Ordering::Relaxed);
        signals.wait();
        std::process::exit(i32::from(FAILURE_CODE));
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(stop)
}

fn complain(why: &str, code: u8) -> ExitCode {
    let _written = writeln!(std::io::stderr(), "connector-cli: {why}");
    ExitCode::from(code)
}

fn code(is_fine: bool) -> ExitCode {
    if is_fine { ExitCode::SUCCESS } else { ExitCode::from(FAILURE_CODE) }
}

/// Something is wrong, or was refused.
const FAILURE_CODE: u8 = 1;

/// Exit code of a wrong argument, variable or env file. Source: what shells and clap use for
/// misuse.
const USAGE_ERROR_CODE: u8 = 2;
