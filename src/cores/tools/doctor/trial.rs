//! A trial of every exchange that was reached: one symbol on one session, until its first candle.
//! One feed does them all, so that they keep to the exchanges' limits as the server does.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::clock::Clock;
use crate::config::Config;
use crate::cores::tools::doctor::reach::Reached;
use crate::cores::tools::doctor::{Check, Outcome, TRIAL_PATIENCE};
use crate::cores::tools::solo::{Heard, Solo};
use crate::market::{Market, Venue};
use crate::messages::{Notice, Severity};

/// Subscribes one symbol in each market where that is possible, and reports the outcome.
pub(crate) fn examine(config: &Config, reached: &[Reached], clock: Clock) -> Vec<(Market, Check)> {
    let ready = reached.iter().filter(|one| one.is_reachable);
    let mut trials: BTreeMap<Market, Trial> = ready
        .filter_map(|one| Some((one.market, Trial::new(one.market, one.symbol.clone()?))))
        .collect();
    let outcome = if trials.is_empty() { Ok(()) } else { run(config, &mut trials, clock) };
    let judge = |one: &Reached| {
        let about = one.market.to_string();
        match (trials.get(&one.market), &outcome) {
            (Some(_), Err(why)) => Check::new(&about, "subscription", Outcome::Failed, why.clone()),
            (Some(trial), Ok(())) => trial.judge(&about),
            (None, _) => {
                let found = "not looked at: see above".to_owned();
                Check::new(&about, "subscription", Outcome::Skipped, found)
            }
        }
    };
    reached.iter().map(|one| (one.market, judge(one))).collect()
}

fn run(config: &Config, trials: &mut BTreeMap<Market, Trial>, clock: Clock) -> Result<(), String> {
    let requests: Vec<String> =
        trials.iter().map(|(&market, trial)| trial.request(market)).collect();
    let start = clock.mono();
    let mut solo = Solo::start(config, clock, &requests).map_err(|error| error.to_string())?;
    let until = start.after(TRIAL_PATIENCE);
    while clock.mono() < until && trials.values().any(|trial| trial.result.is_none()) {
        solo.turn();
        let took_ms = clock.mono().since(start).as_millis();
        while let Some(heard) = solo.next_heard() {
            match heard {
                Heard::Text(text) => take(trials, &text, took_ms),
                Heard::Notice(notice) => note(trials, notice),
                Heard::Over => {}
            }
        }
    }
    solo.stop();
    Ok(())
}

/// What became of one symbol.
struct Trial {
    symbol: String,
    result: Option<Result<String, String>>,
    /// The last trouble that was reported.
    trouble: Option<String>,
}

impl Trial {
    fn new(market: Market, symbol: String) -> Self {
        let symbol = market.canonical_symbol(&symbol).unwrap_or(symbol);
        Self { symbol, result: None, trouble: None }
    }

    fn request(&self, market: Market) -> String {
        let (venue, contract_type) = (market.venue().name(), market.contract_type().name());
        let symbols = [&self.symbol];
        serde_json::json!({
            "exchange": venue, "contract_type": contract_type, "symbols": symbols
        })
        .to_string()
    }

    fn judge(&self, about: &str) -> Check {
        let failed = |found: String| Check::new(about, "subscription", Outcome::Failed, found);
        match (&self.result, &self.trouble) {
            (Some(Ok(found)), _) => {
                Check::new(about, "subscription", Outcome::Ok, found.clone())
            }
            (Some(Err(why)), _) => failed(why.clone())
                .remedy("the exchange is reached; check that its URL is the one of this market"),
            (None, Some(trouble)) => failed(trouble.clone()).remedy(
                "the host answers, the session does not work: check the path in its …_WS_URL, and \
                 proxies on the way",
            ),
            (None, None) => {
                failed(format!("no candle of {} in {TRIAL_PATIENCE:?}", self.symbol)).remedy(
                    "the session is silent: the exchange may be down or may have moved this stream; \
                     check its status page, then its …_WS_URL",
                )
            }
        }
    }
}

#[derive(Deserialize)]
struct Message {
    r#type: String,
    exchange: Option<String>,
    contract_type: Option<String>,
    message: Option<String>,
    exchange_message: Option<String>,
}

fn take(trials: &mut BTreeMap<Market, Trial>, text: &str, took_ms: u128) {
    let Ok(message) = serde_json::from_str::<Message>(text) else { return };
    let venue = message.exchange.as_deref().and_then(Venue::from_name);
    let named = venue.zip(message.contract_type.as_deref());
    let market = named.and_then(|(venue, contract_type)| Market::find(venue, contract_type));
    let Some(trial) = market.and_then(|market| trials.get_mut(&market)) else { return };
    match message.r#type.as_str() {
        "quote" if trial.result.is_none() => {
            let found = format!("a candle of {} after {took_ms} ms", trial.symbol);
            trial.result = Some(Ok(found));
        }
        "error" => {
            let words = [message.message, message.exchange_message].into_iter().flatten();
            trial.result = Some(Err(words.collect::<Vec<_>>().join(": ")));
        }
        _ => {}
    }
}

fn note(trials: &mut BTreeMap<Market, Trial>, notice: Notice) {
    if let Some(market) = notice.about.market.filter(|_| notice.severity() >= Severity::Warning)
        && let Some(trial) = trials.get_mut(&market)
    {
        trial.trouble = Some(notice.text);
    }
}
