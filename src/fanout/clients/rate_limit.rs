//! How many messages a client may send per second. Owns its allowance and the order of
//! consequences: messages above the allowance are read later, and only a client that keeps sending
//! is closed. Meanwhile its socket is not read, so what waits is bounded here, and the client's own
//! kernel makes it wait. Owns, too, how many names new to an exchange a client may bring.

use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::fanout::protocol::messages::Refusal;
use crate::fanout::{ClientId, Fanout, Output};
use crate::limits::{
    CLIENT_MESSAGES_BURST, CLIENT_MESSAGES_PER_SECOND, CLIENT_MESSAGES_PER_TURN,
    CLIENT_NEW_NAMES_BURST, CLIENT_NEW_NAMES_PER_SECOND, CLIENT_PAUSE, CLIENT_PAUSES_MAX,
    SYMBOLS_PER_MESSAGE,
};

/// What is left of a client's allowance of messages.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: u32,
    /// Messages in this turn.
    spent: u32,
    counted_at: MonoNs,
    /// Pauses since at least one second's allowance was left.
    pauses: u32,
}

/// When a client's messages are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handling {
    /// When their bytes arrive.
    OnArrival,
    /// In the next turn, because the client has had its share of this one.
    NextTurn,
    /// At `until`, because the client has sent too many.
    Paused { until: MonoNs },
}

/// Whether a client's allowance permits the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateLimit {
    /// The message is handled now.
    Now,
    /// The message is handled at this time at the earliest.
    Later(MonoNs),
    /// The client is closed, because it was paused for long and keeps sending.
    Never,
}

impl Allowance {
    /// A full allowance.
    pub(crate) fn new(now: Now) -> Self {
        Self { left: CLIENT_MESSAGES_BURST, spent: 0, counted_at: now.mono, pauses: 0 }
    }

    /// Whether the next message is permitted now.
    pub(crate) fn rate_limit(&mut self, now: Now) -> RateLimit {
        let earned = earned(&mut self.counted_at, CLIENT_MESSAGES_PER_SECOND, now);
        self.left = self.left.saturating_add(earned).min(CLIENT_MESSAGES_BURST);
        if self.left >= CLIENT_MESSAGES_PER_SECOND {
            self.pauses = 0;
        }
        if self.left > 0 {
            return RateLimit::Now;
        }
        self.pauses += 1;
        if self.pauses > CLIENT_PAUSES_MAX {
            return RateLimit::Never;
        }
        RateLimit::Later(now.mono.after(CLIENT_PAUSE))
    }

    /// Takes one message from the allowance.
    pub(crate) fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.spent = self.spent.saturating_add(1);
    }

    /// Takes what a message with `symbols` symbols costs beyond one message.
    pub(crate) fn spend_on(&mut self, symbols: usize) {
        let more = u32::try_from(symbols / SYMBOLS_PER_MESSAGE).unwrap_or(u32::MAX);
        self.left = self.left.saturating_sub(more);
        self.spent = self.spent.saturating_add(more);
    }

    /// Begins a turn.
    pub(crate) fn begin_turn(&mut self) {
        self.spent = 0;
    }

    /// Returns whether this turn's share is spent.
    pub(crate) fn is_turn_over(&self) -> bool {
        self.spent >= CLIENT_MESSAGES_PER_TURN
    }
}

/// What is left of a client's allowance of names that are new to an exchange.
#[derive(Debug)]
pub(crate) struct NewNames {
    left: u32,
    counted_at: MonoNs,
}

impl NewNames {
    /// A full allowance.
    pub(crate) fn new(now: Now) -> Self {
        Self { left: CLIENT_NEW_NAMES_BURST, counted_at: now.mono }
    }

    /// Adds what was earned since the last call.
    pub(crate) fn earn(&mut self, now: Now) {
        let earned = earned(&mut self.counted_at, CLIENT_NEW_NAMES_PER_SECOND, now);
        self.left = self.left.saturating_add(earned).min(CLIENT_NEW_NAMES_BURST);
    }

    /// Takes `cost` from the allowance. Returns whether that much was left; otherwise nothing is
    /// taken.
    pub(crate) fn spend(&mut self, cost: u32) -> bool {
        let left = self.left.checked_sub(cost);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// How long it takes to earn `cost`, at most a full allowance.
    pub(crate) fn wait(&self, cost: u32) -> Duration {
        let missing = cost.min(CLIENT_NEW_NAMES_BURST).saturating_sub(self.left);
        Duration::from_millis(u64::from(missing) * 1000 / u64::from(CLIENT_NEW_NAMES_PER_SECOND))
    }
}

/// What was earned since `counted_at` at `per_second`. The time for an incomplete unit counts in
/// the next call.
fn earned(counted_at: &mut MonoNs, per_second: u32, now: Now) -> u32 {
    let elapsed_ns = now.mono.since(*counted_at).as_nanos();
    let earned = elapsed_ns.saturating_mul(u128::from(per_second)) / NS_PER_SECOND;
    let counted_ns = earned * NS_PER_SECOND / u128::from(per_second);
    *counted_at =
        MonoNs(counted_at.0.saturating_add(u64::try_from(counted_ns).unwrap_or(u64::MAX)));
    u32::try_from(earned).unwrap_or(u32::MAX)
}

const NS_PER_SECOND: u128 = 1_000_000_000;

impl Fanout {
    /// Pauses the client's messages until `until`.
    pub(crate) fn pause(&mut self, id: ClientId, until: MonoNs, now: Now) {
        if let Some(client) = self.clients.find(id) {
            client.handling = Handling::Paused { until };
        }
        self.want_bytes(id, false);
        self.end_turn(id, now);
    }

    /// Has the driver stop reading the client's socket, or read it again.
    pub(crate) fn want_bytes(&mut self, id: ClientId, wanted: bool) {
        let Some(client) = self.clients.find(id) else { return };
        if client.is_read != wanted {
            client.is_read = wanted;
            self.outputs.push_back(Output::Read { client: id, wanted });
        }
    }

    /// Ends a pause: the client's messages no longer wait for its allowance, nor for the next turn.
    pub(crate) fn end_pause(&mut self, id: ClientId) {
        if let Some(client) = self.clients.find(id) {
            client.handling = Handling::OnArrival;
        }
        self.want_bytes(id, true);
    }

    /// Closes a client that has kept sending through the last pause.
    pub(crate) fn stop_flood(&mut self, id: ClientId, now: Now) {
        let message = "too many messages; wait between requests, or name more symbols in one";
        let refusal = Refusal::new("too_many_messages", message.to_owned());
        self.close_with_error(id, &refusal, now);
    }
}

const _: () = assert!(
    CLIENT_PAUSE.as_millis() * CLIENT_MESSAGES_PER_SECOND as u128 >= 1_000,
    "a pause earns a message"
);
const _: () = assert!(CLIENT_PAUSE.as_nanos() < Duration::from_secs(1).as_nanos());

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono: MonoNs(ms * 1_000_000), ..Now::default() }
    }

    /// Spends all that is allowed at this time. Returns how many messages that were.
    fn exhaust(allowance: &mut Allowance, now: Now) -> u32 {
        let mut handled = 0;
        while allowance.rate_limit(now) == RateLimit::Now {
            allowance.spend();
            handled += 1;
        }
        handled
    }

    #[test]
    fn a_client_that_sends_more_than_the_burst_is_delayed_to_the_rate() {
        let mut allowance = Allowance::new(at(0));
        assert_eq!(exhaust(&mut allowance, at(0)), CLIENT_MESSAGES_BURST);
        let handled: u32 = (1..=100).map(|pause| exhaust(&mut allowance, at(pause * 50))).sum();
        assert_eq!(handled, 5 * CLIENT_MESSAGES_PER_SECOND);
    }

    #[test]
    fn what_is_earned_does_not_depend_on_how_often_it_is_looked_at() {
        let mut names = NewNames::new(at(0));
        assert!(names.spend(CLIENT_NEW_NAMES_BURST));
        (1..=1_000).for_each(|look| names.earn(at(look * 39)));
        let earned = 39 * CLIENT_NEW_NAMES_PER_SECOND;
        assert!(names.spend(earned) && !names.spend(1));
    }

    #[test]
    fn only_a_client_that_never_pauses_is_closed() {
        let mut allowance = Allowance::new(at(0));
        let mut now_ms = 0;
        for _ in 0..10 * CLIENT_PAUSES_MAX {
            exhaust(&mut allowance, at(now_ms));
            now_ms += if allowance.pauses == CLIENT_PAUSES_MAX { 1_000 } else { 50 };
        }
        assert_ne!(allowance.rate_limit(at(now_ms)), RateLimit::Never);
        let is_refused = (0..=CLIENT_PAUSES_MAX).any(|_| {
            now_ms += 50;
            exhaust(&mut allowance, at(now_ms));
            allowance.rate_limit(at(now_ms)) == RateLimit::Never
        });
        assert!(is_refused);
    }
}
