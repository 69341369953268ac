//! What `connector-cli doctor` looks at: this host, and every exchange as it is configured. Owns
//! the list of checks and their bounds in time; how they are shown is `cli`'s.

mod host;
mod reach;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde::Serialize;

use crate::clock::Clock;
use crate::config::Config;
use crate::cores::process::server::tls_config;
use crate::market::Market;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `host`, or a market such as `binance spot`.
    pub about: String,
    /// What was looked at, in a word or two.
    pub check: &'static str,
    /// How it is.
    pub outcome: Outcome,
    /// What was found: if something is wrong, a sentence.
    pub found: String,
    /// What to do about it; `None` where nothing is wrong.
    pub remedy: Option<String>,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and a user should know something about it.
    Warning,
    /// Something is wrong: the doctor's exit code is not 0.
    Failed,
    /// Not looked at, because of what failed before.
    Skipped,
}

impl Check {
    fn new(about: &str, check: &'static str, outcome: Outcome, found: String) -> Self {
        Self { about: about.to_owned(), check, outcome, found, remedy: None }
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Looks at everything: the host first, then `markets`, all at once. Takes [`PATIENCE_MAX`] at
/// most.
pub fn examine(config: &Config, markets: &[Market], clock: Clock) -> Vec<Check> {
    let mut checks = host::examine(config);
    match tls_config(config) {
        Ok(tls) => checks.extend(examine_exchanges(config, markets, clock, &tls)),
        Err(error) => {
            let failed = Check::new("host", "trust", Outcome::Failed, error.to_string());
            checks.push(failed.remedy("give CONNECTOR_TLS_CA_FILE a PEM file, or leave it empty"));
        }
    }
    checks
}

fn examine_exchanges(
    config: &Config,
    markets: &[Market],
    clock: Clock,
    tls: &Arc<ClientConfig>,
) -> Vec<Check> {
    let reached = reach::examine(config, markets, clock, tls);
    let trials = trial::examine(config, &reached, clock);
    let of = |market: Market| {
        let reached = reached.iter().filter(move |one| one.market == market);
        let trial = trials.iter().filter(move |(of, _)| *of == market);
        let reached = reached.flat_map(|one| one.checks.iter().cloned());
        reached.chain(trial.map(|(_, check)| check.clone()))
    };
    markets.iter().flat_map(|&market| of(market)).collect()
}

/// Names, TCP, TLS and REST, all exchanges at once.
const REACH_PATIENCE: Duration = Duration::from_millis(4_500);

/// The first candle of each exchange, all at once. Source: OKX lets a third session begin after 2.2
/// s.
const TRIAL_PATIENCE: Duration = Duration::from_secs(4);

/// What both and the goodbye take together.
pub const PATIENCE_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(
    REACH_PATIENCE.as_millis() + TRIAL_PATIENCE.as_millis() + 1_000 < PATIENCE_MAX.as_millis()
);
