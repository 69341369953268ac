//! `connector-cli` as a process, on the simulated exchanges as another.

#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
#[path = "../process/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../process/connect_proxy.rs"]
mod connect_proxy;
mod doctor;
#[allow(dead_code)]
#[path = "../process/harness.rs"]
mod harness;
mod ledger;
mod stream;

use std::process::{Command, Output};

use connector_wss::market::Market;

use harness::{Process, Scratch};

pub(crate) type Env = Vec<(String, String)>;

/// A `connector-sim` with these options, and the variables that point at it.
pub(crate) fn simulator(options: &[&str]) -> (Process, Env) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connector-sim"));
    let process = Process::spawn(command.arg("--print-env").args(options), &[]);
    let line = || {
        let line = process.line("CONNECTOR_");
        let (name, value) = line.split_once('=').unwrap();
        (format!("CONNECTOR_{name}"), value.to_owned())
    };
    let env = std::iter::repeat_with(line).take(2 * Market::COUNT).collect();
    (process, env)
}

/// `connector-cli` with these words, in a folder of its own and with no other variables.
pub(crate) fn cli(words: &str, env: &Env, folder: &Scratch) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connector-cli"));
    command.args(words.split(' ')).current_dir(&folder.0).env_clear();
    command.envs(env.iter().map(|(name, value)| (name, value)));
    command
}

#[test]
fn each_program_says_its_own_name() {
    for (path, name) in [
        (env!("CARGO_BIN_EXE_connector-cli"), "connector-cli"),
        (env!("CARGO_BIN_EXE_connector-sim"), "connector-sim"),
        (env!("CARGO_BIN_EXE_connector-wss"), "connector-wss"),
    ] {
        let output = Command::new(path).arg("--version").output().unwrap();
        let expected = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}

/// What it says until it ends by itself.
pub(crate) fn run(words: &str, env: &Env) -> (Option<i32>, String, String) {
    let folder = Scratch::new();
    let Output { status, stdout, stderr } = cli(words, env, &folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}
