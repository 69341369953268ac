//! The listener of `connector-wss`, every part of it, with one difference: messages go back as they
//! came. For the Autobahn test suite's fuzzing client. Takes the flags and variables of the server.

use std::process::ExitCode;

use connector_wss::clock::Clock;
use connector_wss::config::{Action, Config};
use connector_wss::cores::log;
use connector_wss::cores::process::server::Server;

/// The largest message that is echoed. Source: Autobahn, cases 9.1.6 and 9.2.6.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("echo_server: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until the process is killed.
fn run() -> Result<(), String> {
    let config = match Config::load(std::env::args_os()).map_err(|error| error.to_string())? {
        Action::Run(config) => *config,
        Action::Print(text) => {
            println!("{text}");
            return Ok(());
        }
        Action::Healthcheck(_) => return Err("there is no ops port to ask here".to_owned()),
    };
    let clock = Clock::new();
    let _log = log::start(&config, clock).expect("no thread for the log");
    let server = Server::start_echo(&config, clock, MESSAGE_BYTES_MAX);
    let server = server.map_err(|error| error.to_string())?;
    println!("listening on {}", server.client_address);
    server.join();
    Ok(())
}
