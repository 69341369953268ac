//! An exchange that refuses every handshake. Owns what follows for the group of its markets, and
//! what their clients receive.

use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::feed::limits::pauses::Denied;
use crate::feed::limits::rate_limits::LimitedAction;
use crate::feed::repair::answers::status_words;
use crate::feed::session::lifecycle::Socket;
use crate::feed::session::{ReportedLoss, SessionPhase, Succession};
use crate::feed::{Feed, Output};
use crate::market::{InstrumentId, Market};
use crate::messages::{EventName, FeedEvent};
use crate::metrics::ConnectionErrorKind;
use crate::venue::{self, Denial};
use crate::wire::WireError;

impl Feed {
    /// Ends a session after the exchange answered its handshake with an HTTP status. If the refusal
    /// concerns our address and not only this session, all sessions of the group wait.
    pub(crate) fn lose_refused(
        &mut self,
        index: usize,
        error: &WireError,
        socket: Socket,
        now: Now,
    ) {
        let WireError::Refused { status, retry_after, body, .. } = error else { return };
        let market = self.sessions[index].market;
        let words = status_words(*status, body);
        let asked_at = match self.sessions[index].phase {
            SessionPhase::Connecting { since } => since,
            _ => now.mono,
        };
        let mut remark = String::new();
        match venue::denial(market, *status, body) {
            // Backoff and breaker handle an outage.
            None | Some(Denial::Outage) => {
                self.gates.pauses.release(market, LimitedAction::Connect, now.mono);
            }
            Some(denial) => {
                let denial = match denial {
                    Denial::Limit { wait } => Denial::Limit { wait: wait.or(TOO_MANY_PAUSE) },
                    other => other,
                };
                let exchange_now = self.clocks[market.index()].now(now);
                let (retry_after, chance) = (retry_after.as_deref(), self.rng.roll());
                let status = *status;
                let denied = Denied { denial, status, retry_after, asked_at, exchange_now, chance };
                let pauses = &self.gates.pauses;
                let begun = pauses.deny(market, LimitedAction::Connect, &denied, now.mono);
                if let Some(begun) = begun {
                    self.notice_denied(market, LimitedAction::Connect, denial, &words, &begun);
                    remark = begun.remark;
                    if begun.wait >= REPORTED_WAIT_MIN {
                        let claim = self.claim(&self.sessions[index]);
                        let wait = self.gates.wait(market, claim, now.mono, now.mono);
                        self.report_wait(market, wait);
                        self.report_denied(market, &words);
                    }
                }
            }
        }
        let why = format!("WebSocket handshake: {words}{remark}");
        self.lose(index, ConnectionErrorKind::Handshake, &why, socket, now.mono);
    }

    /// Reports the denial to the clients of every session of the group that is not open, once each.
    fn report_denied(&mut self, market: Market, words: &str) {
        let group = venue::budget_group(market);
        for index in 0..self.sessions.len() {
            let session = &self.sessions[index];
            let is_here = venue::budget_group(session.market) == group;
            if is_here && !session.is_open() && session.phase != SessionPhase::Free {
                self.report_denied_on(index, words);
            }
        }
    }

    fn report_denied_on(&mut self, index: usize, words: &str) {
        let session = &mut self.sessions[index];
        let is_successor = matches!(session.succession, Succession::SuccessorOf(_));
        let is_reported = matches!(session.reported_loss, Some(ReportedLoss::Denied(_)));
        if is_reported || is_successor || session.members.is_empty() {
            return;
        }
        // The first candle reports that the session is back.
        session.reported_loss = Some(ReportedLoss::Denied(words.to_owned()));
        let (market, instruments) = (session.market, session.members.clone());
        let event = FeedEvent::Denied { market, instruments, why: words.to_owned() };
        self.outputs.push_back(Output::Event(event));
    }

    /// Reports that a session may not connect because another one was denied.
    pub(crate) fn report_denied_elsewhere(&mut self, index: usize, now: MonoNs) {
        let market = self.sessions[index].market;
        let denied = self.gates.pauses.denied_for(market, LimitedAction::Connect, now);
        if let Some(denied) = denied.filter(|denied| denied.wait >= REPORTED_WAIT_MIN) {
            self.report_denied_on(index, &format!("HTTP {}", denied.status));
        }
    }

    /// Reports to the clients of a session why it may not connect yet, although it was not lost.
    pub(crate) fn report_waiting(&mut self, index: usize, now: MonoNs) {
        let session = &self.sessions[index];
        let market = session.market;
        if session.reported_loss.is_some() || session.members.is_empty() {
            return;
        }
        let wait = self.gates.wait(market, self.claim(session), now, now);
        if wait.until.since(now) >= REPORTED_WAIT_MIN {
            self.report_wait(market, wait);
            let why = self.wait_words(market, LimitedAction::Connect, wait.reason);
            self.report_lost(index, &why);
        }
    }

    /// Reports the loss or denial of a session to the clients of an instrument that joined it
    /// later.
    pub(crate) fn report_lost_to(&mut self, index: usize, id: InstrumentId) {
        let session = &self.sessions[index];
        if session.is_open() {
            return;
        }
        let (market, instruments) = (session.market, vec![id]);
        let event = match session.reported_loss.clone() {
            None => return,
            Some(ReportedLoss::Lost(why)) => FeedEvent::SessionLost { market, instruments, why },
            Some(ReportedLoss::Denied(why)) => FeedEvent::Denied { market, instruments, why },
        };
        self.outputs.push_back(Output::Event(event));
    }

    /// The event name under which a denial is logged.
    pub(crate) fn denial_event(on: LimitedAction, denial: Denial) -> EventName {
        match (on, denial) {
            (LimitedAction::Rest, Denial::Limit { .. }) => EventName::RestLimited,
            (LimitedAction::Rest, Denial::Block | Denial::Outage) => EventName::RestDenied,
            (LimitedAction::Connect, _) => EventName::SessionsDenied,
        }
    }
}

/// The pause of new sessions after an exchange found us too many and named no time. Source: the
/// longest window in which an exchange counts connects and bans is five minutes.
const TOO_MANY_PAUSE: Option<Duration> = Some(Duration::from_secs(300));

/// A shorter wait is not reported. Source: it is over before a person has read of it.
const REPORTED_WAIT_MIN: Duration = Duration::from_secs(5);
