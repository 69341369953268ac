//! What the next session of a market, and its REST, wait for: the longest of backoff, breaker, ban
//! and budget. Owns the gauges of that wait and the log line when it changes. A market also waits
//! for what happens to other markets of its exchange.

use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::feed::limits::budget::Claim;
use crate::feed::limits::rate_limits::{Gates, LimitedAction, Wait};
use crate::feed::session::SessionPhase;
use crate::feed::{Feed, Output};
use crate::limits::CONNECT_PATIENCE;
use crate::market::Market;
use crate::messages::{EventName, FeedEvent};
use crate::metrics::WaitReason;

impl Gates {
    /// The wait of a session of `market` with a backoff until `backoff`.
    pub(crate) fn wait(&self, market: Market, claim: Claim, backoff: MonoNs, now: MonoNs) -> Wait {
        let breaker = self.of(market).breaker.ask_again_at();
        let denied = self.pauses.denied_until(market, LimitedAction::Connect);
        let reasons = [
            (WaitReason::Backoff, backoff.max(self.looked_up_at(market))),
            (WaitReason::Budget, self.budget_at(market, claim)),
            // A trial is under way.
            (WaitReason::Breaker, breaker.unwrap_or(now.after(CONNECT_PATIENCE))),
            (WaitReason::Ban, denied.unwrap_or(MonoNs(0))),
        ];
        let waits = reasons.map(|(reason, until)| Wait { until, reason });
        waits.into_iter().max_by_key(|wait| wait.until).expect("there are four")
    }
}

impl Feed {
    /// The reason of a wait, for a person.
    pub(crate) fn wait_words(
        &self,
        market: Market,
        on: LimitedAction,
        reason: WaitReason,
    ) -> String {
        match reason {
            WaitReason::Backoff => "the last attempt failed".to_owned(),
            WaitReason::Breaker => {
                let failures = self.gates.of(market).breaker.failures();
                format!("the breaker is open after {failures} failures in a row")
            }
            WaitReason::Ban => match self.gates.pauses.status(market, on) {
                0 => "no answer came to this address".to_owned(),
                status => format!("this address was denied with HTTP {status}"),
            },
            WaitReason::Budget => {
                "what the exchange allows one address in new sessions is used up, or kept for \
                 series that have delivered"
                    .to_owned()
            }
        }
    }

    /// Remembers a wait that was logged, and reports it.
    pub(crate) fn remember_wait(&mut self, market: Market, on: LimitedAction, wait: Wait) {
        self.gates.of_mut(market).logged_waits[on as usize] = Some(wait);
        if on == LimitedAction::Connect {
            self.report_wait(market, wait);
        }
    }

    /// Reports a wait to the fan-out, for clients that subscribe on a market without a session.
    pub(crate) fn report_wait(&mut self, market: Market, wait: Wait) {
        let why = match wait.reason {
            WaitReason::Backoff => String::new(),
            reason => self.wait_words(market, LimitedAction::Connect, reason),
        };
        let event = FeedEvent::Waits { market, until: wait.until, why };
        self.outputs.push_back(Output::Event(event));
    }

    /// Shows the wait of each market in the gauges, and logs each change.
    pub(crate) fn report_waits(&mut self, now: Now) {
        let mut waits = [None::<Wait>; Market::COUNT];
        for session in &self.sessions {
            let until = match session.phase {
                SessionPhase::Waiting { until } if !session.members.is_empty() => until,
                SessionPhase::Closing { retry_at: Some(at), .. } => at,
                _ => continue,
            };
            let wait = self.gates.wait(session.market, self.claim(session), until, now.mono);
            let first = &mut waits[session.market.index()];
            if first.is_none_or(|first| wait.until < first.until) {
                *first = Some(wait);
            }
        }
        for market in Market::all() {
            let wait = waits[market.index()];
            let shown = wait.filter(|wait| wait.until > now.mono);
            let metrics = self.market_metrics(market);
            metrics.wait_until_ms.set(shown.map_or(0, |wait| now.unix_ms_at(wait.until).0));
            metrics.wait_reason.set(shown.map_or(0, |wait| wait.reason as i64));
            let is_wanted = metrics.instruments.value() > 0;
            self.log_wait(market, LimitedAction::Connect, wait, now.mono);
            let until = self.gates.pauses.denied_until(market, LimitedAction::Rest);
            let until = until.filter(|_| is_wanted);
            let wait = until.map(|until| Wait { until, reason: WaitReason::Ban });
            self.log_wait(market, LimitedAction::Rest, wait, now.mono);
        }
    }

    fn log_wait(&mut self, market: Market, on: LimitedAction, wait: Option<Wait>, now: MonoNs) {
        let logged = &mut self.gates.of_mut(market).logged_waits[on as usize];
        let Some(wait) = wait else {
            *logged = None;
            return;
        };
        let is_known = logged.is_some_and(|logged| {
            let tolerance = match logged.reason == wait.reason {
                true => SAME_REASON_TOLERANCE,
                false => LOGGED_WAIT_MIN,
            };
            wait.until <= logged.until.after(tolerance)
        });
        let lasts = wait.until.since(now);
        if is_known || lasts < LOGGED_WAIT_MIN {
            return;
        }
        self.remember_wait(market, on, wait);
        let why = self.wait_words(market, on, wait.reason);
        let what = match on {
            LimitedAction::Connect => "no new session for",
            LimitedAction::Rest => "no REST request for",
        };
        let text = format!("{what} {:.1} s: {why}", lasts.as_secs_f64());
        self.notice(EventName::WaitChanged, market, text);
    }
}

/// A shorter wait is not logged. Source: it is over before a person has read of it.
const LOGGED_WAIT_MIN: Duration = Duration::from_secs(5);

/// A wait for the same reason is logged again if it lasts longer by more than this. Source: after a
/// ban one shard asks first, and the others wait up to 20 s for the answer.
const SAME_REASON_TOLERANCE: Duration = Duration::from_secs(20);
