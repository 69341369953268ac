//! `connector-wss`: reads the configuration, starts the cores, waits for a signal, stops in order.

use std::process::ExitCode;

use connector_wss::clock::Clock;
fn main() -> ExitCode {
    let _ = Clock::new();
    ExitCode::SUCCESS
}
