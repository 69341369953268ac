//! What REST answers show in addition to the rows: limits, blocks, outages, rows that make no
//! sense. Owns what is counted, logged and paused; `rest_evidence` owns what a row proves.

use crate::clock::{MonoNs, Now};
use crate::feed::Feed;
use crate::feed::limits::pauses::{Begun, Denied};
use crate::feed::limits::rate_limits::{LimitedAction, Wait};
use crate::market::{Instrument, InstrumentId, Market};
use crate::messages::{About, EventName, RestResponse};
use crate::metrics::WaitReason;
use crate::venue::{self, BadRows, Denial, RestError};

impl Feed {
    /// Pauses REST for all shards if an answer shows that the exchange denies us or soon would, or
    /// if answers are lost or make no sense.
    pub(crate) fn apply_limits(
        &mut self,
        id: InstrumentId,
        asked_at: MonoNs,
        result: &Result<RestResponse, String>,
        now: Now,
    ) {
        let Some(stream) = self.streams.stream(id) else { return };
        let Instrument { market, interval, ref symbol } = stream.instrument;
        let exchange_now = self.clocks[market.index()].now(now);
        let read = match result {
            Ok(response) => {
                if let Some(wait) = venue::rest_exhausted(market, response, exchange_now) {
                    self.gates.pauses.hold(market, LimitedAction::Rest, now.mono.after(wait));
                }
                venue::read_candles(market, &mut self.json, response, (symbol, interval))
            }
            Err(message) => Err(RestError::NoSense { message: message.clone() }),
        };
        match read {
            Ok(read) => {
                self.count_bad_rows(id, &read.bad, read.candles.len());
                self.apply_answer(market, asked_at, now);
            }
            Err(error) => match self.denial_of(market, &error) {
                Some(denial) => self.apply_denial(market, denial, (asked_at, result), now),
                None if matches!(error, RestError::NoSense { .. }) => {}
                None => self.apply_answer(market, asked_at, now),
            },
        }
    }

    /// The denial that an error shows; `None` if the error concerns only this request.
    fn denial_of(&self, market: Market, error: &RestError) -> Option<Denial> {
        match error {
            RestError::UnknownSymbol { .. } | RestError::Failed { .. } => None,
            RestError::Denied { denial } => Some(*denial),
            RestError::TooFast { wait } => {
                let wait = wait.or(Some(venue::limits(market).rest_window));
                Some(Denial::Limit { wait })
            }
            RestError::NoSense { .. } => {
                let is_outage = self.gates.pauses.is_outage(market, LimitedAction::Rest);
                is_outage.then_some(Denial::Outage)
            }
        }
    }

    fn apply_denial(
        &mut self,
        market: Market,
        denial: Denial,
        (asked_at, result): (MonoNs, &Result<RestResponse, String>),
        now: Now,
    ) {
        if matches!(denial, Denial::Limit { .. }) {
            self.market_metrics(market).rest_refused.increment();
        }
        let (status, retry_after, words) = match result {
            Ok(answer) => {
                let words = status_words(answer.status, &answer.body);
                (answer.status, answer.retry_after.as_deref(), words)
            }
            Err(why) => (0, None, why.clone()),
        };
        let exchange_now = self.clocks[market.index()].now(now);
        let chance = self.rng.roll();
        let denied = Denied { denial, status, retry_after, asked_at, exchange_now, chance };
        if let Some(begun) = self.gates.pauses.deny(market, LimitedAction::Rest, &denied, now.mono)
        {
            self.notice_denied(market, LimitedAction::Rest, denial, &words, &begun);
            let until = now.mono.after(begun.wait);
            self.remember_wait(
                market,
                LimitedAction::Rest,
                Wait { until, reason: WaitReason::Ban },
            );
        }
    }

    /// Takes the fact that the exchange answered a request of `asked_at`.
    fn apply_answer(&mut self, market: Market, asked_at: MonoNs, now: Now) {
        let is_denied = |feed: &Self| {
            feed.gates.pauses.denied_for(market, LimitedAction::Rest, now.mono).is_some()
        };
        let was_denied = is_denied(self);
        self.gates.pauses.admitted(market, LimitedAction::Rest, asked_at);
        if was_denied && !is_denied(self) {
            self.notice(EventName::RestAnswers, market, "REST answers again".to_owned());
        }
    }

    /// Logs a pause once: what was answered, and how long nothing is asked.
    pub(crate) fn notice_denied(
        &mut self,
        market: Market,
        on: LimitedAction,
        denial: Denial,
        words: &str,
        begun: &Begun,
    ) {
        let event = Self::denial_event(on, denial);
        let what = match (on, denial) {
            (LimitedAction::Rest, Denial::Limit { .. }) => "REST limit reached",
            (LimitedAction::Rest, Denial::Block) => "REST is blocked",
            (LimitedAction::Rest, Denial::Outage) => "REST is out of order",
            (LimitedAction::Connect, Denial::Limit { .. }) => "limit of new sessions reached",
            (LimitedAction::Connect, Denial::Block | Denial::Outage) => "new sessions are blocked",
        };
        let Begun { wait, remark } = begun;
        let text = format!("{what} ({words}{remark}): asking again in {:.1} s", wait.as_secs_f64());
        self.notice(event, market, text);
    }

    /// Counts rows that make no sense, and logs the first one of each market.
    fn count_bad_rows(&mut self, id: InstrumentId, bad: &BadRows, good: usize) {
        let Some(stream) = self.streams.stream(id).filter(|_| bad.count > 0) else { return };
        let (market, about) = (stream.instrument.market, About::from(&stream.instrument));
        self.market_metrics(market).bad_rows.add(bad.count as u64);
        if !std::mem::replace(&mut self.gates.of_mut(market).has_shown_row, true) {
            let BadRows { count, first_words, .. } = bad;
            let text = format!(
                "{count} of {} rows of REST not understood ({first_words}): their windows stay \
                 missing; further ones are counted only",
                good + count
            );
            self.notice(EventName::RowNotUnderstood, about, text);
        }
    }
}

/// Status and first words of an answer, for a person.
pub(crate) fn status_words(status: u16, body: &[u8]) -> String {
    match venue::first_words(body) {
        words if words.is_empty() => format!("HTTP {status}"),
        words => format!("HTTP {status} {words:?}"),
    }
}
