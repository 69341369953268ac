//! When an exchange is left alone: after its orders and its refusals. One for all shards and
//! workers of an address, because both hold for the address. Owns the lengths of the pauses and the
//! choice of the first request afterwards; the dialects decide what an answer means.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{MonoNs, UnixMs};
use crate::feed::LimitedAction;
use crate::limits::BACKOFF_MAX;
use crate::market::Market;
use crate::venue::{self, Denial};

/// The pauses of new sessions and of REST requests, of each [`venue::budget_group`].
#[derive(Debug)]
pub struct Pauses {
    /// By [`Market::index`] of the group's name, then by [`LimitedAction`].
    pauses: [[Pause; 2]; Market::COUNT],
    /// When sessions may subscribe, by [`Market::index`] of the group's name.
    subscribes_at_ns: [AtomicU64; Market::COUNT],
}

/// One pause. All access is relaxed: a shard that reads an old value sends one more request, and
/// receives the same answer.
#[derive(Debug, Default)]
struct Pause {
    /// The budget is used up until then.
    held_until_ns: AtomicU64,
    /// We are denied until then; or one shard asks, and the others wait for its answer until then.
    denied_until_ns: AtomicU64,
    /// When the denial began.
    denied_since_ns: AtomicU64,
    /// Number of denials in a row. While it is above 0, one shard asks and the others wait.
    denials: AtomicU32,
    /// HTTP status of the newest denial; 0 if no answer arrived.
    status: AtomicU32,
    /// Number of answers in a row that made no sense or were lost, without a denial.
    faults: AtomicU32,
}

/// A denial, and the request that it answers.
#[derive(Clone, Copy, Debug)]
pub struct Denied<'a> {
    /// The meaning of the answer.
    pub denial: Denial,
    /// Its HTTP status; 0 if no answer arrived.
    pub status: u16,
    /// Its `Retry-After`, as sent.
    pub retry_after: Option<&'a str>,
    /// When the request was sent.
    pub asked_at: MonoNs,
    /// The exchange's time now.
    pub exchange_now: UnixMs,
    /// A random number, for jitter.
    pub chance: u64,
}

/// A pause that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// How long it will still last, as far as that is known.
    pub wait: Duration,
    /// HTTP status of the denial; 0 if no answer arrived.
    pub status: u16,
}

/// A pause that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// How long it lasts.
    pub wait: Duration,
    /// The exchange's `Retry-After` for a person, if there is one; else empty.
    pub remark: String,
}

impl Default for Pauses {
    fn default() -> Self {
        let pauses = std::array::from_fn(|_| Default::default());
        Self { pauses, subscribes_at_ns: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Pauses {
    /// Stops the subscriptions of this address until `until`, because it has too many streams
    /// already.
    pub(crate) fn hold_subscribes(&self, market: Market, until: MonoNs) {
        let index = venue::budget_group(market).index();
        self.subscribes_at_ns[index].fetch_max(until.0, Ordering::Relaxed);
    }

    /// When the sessions of this address may subscribe.
    pub(crate) fn subscribes_at(&self, market: Market) -> MonoNs {
        let index = venue::budget_group(market).index();
        MonoNs(self.subscribes_at_ns[index].load(Ordering::Relaxed))
    }

    fn of(&self, market: Market, on: LimitedAction) -> &Pause {
        &self.pauses[venue::budget_group(market).index()][on as usize]
    }

    /// Stops the action until `until`, because its budget is used up.
    pub(crate) fn hold(&self, market: Market, on: LimitedAction, until: MonoNs) {
        self.of(market, on).held_until_ns.fetch_max(until.0, Ordering::Relaxed);
    }

    /// When the action is allowed again.
    pub fn until(&self, market: Market, on: LimitedAction) -> MonoNs {
        let pause = self.of(market, on);
        let held = pause.held_until_ns.load(Ordering::Relaxed);
        MonoNs(held.max(pause.denied_until_ns.load(Ordering::Relaxed)))
    }

    /// How long we are still denied the action; `None` if we are not.
    pub fn denied_for(&self, market: Market, on: LimitedAction, now: MonoNs) -> Option<Lasting> {
        let until = self.denied_until(market, on)?;
        Some(Lasting { wait: until.since(now), status: self.status(market, on) })
    }

    /// Until when we are denied the action; `None` if we are not.
    pub(crate) fn denied_until(&self, market: Market, on: LimitedAction) -> Option<MonoNs> {
        let pause = self.of(market, on);
        let until = MonoNs(pause.denied_until_ns.load(Ordering::Relaxed));
        (pause.denials.load(Ordering::Relaxed) > 0).then_some(until)
    }

    /// Until when the budget of the action is used up.
    pub(crate) fn held_until(&self, market: Market, on: LimitedAction) -> MonoNs {
        MonoNs(self.of(market, on).held_until_ns.load(Ordering::Relaxed))
    }

    /// HTTP status of the newest denial; 0 if no answer arrived.
    pub(crate) fn status(&self, market: Market, on: LimitedAction) -> u16 {
        let status = self.of(market, on).status.load(Ordering::Relaxed);
        u16::try_from(status).unwrap_or_default()
    }

    /// Returns whether one action is allowed now. After a denial only one of all shards may act. It
    /// reports the result with [`Self::admitted`], [`Self::deny`] or [`Self::release`].
    pub fn admit(&self, market: Market, on: LimitedAction, now: MonoNs) -> bool {
        let pause = self.of(market, on);
        if self.until(market, on) > now {
            return false;
        }
        if pause.denials.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let seen = pause.denied_until_ns.load(Ordering::Relaxed);
        let until = now.after(PROBE_PATIENCE).0;
        let swap = |seen| {
            let order = Ordering::Relaxed;
            pause.denied_until_ns.compare_exchange(seen, until, order, order).is_ok()
        };
        seen <= now.0 && swap(seen)
    }

    /// Takes an answer to a request of `asked_at`, which ends a denial that began before.
    pub fn admitted(&self, market: Market, on: LimitedAction, asked_at: MonoNs) {
        let pause = self.of(market, on);
        pause.faults.store(0, Ordering::Relaxed);
        if pause.denials.load(Ordering::Relaxed) > 0 && !pause.is_before(asked_at) {
            pause.denials.store(0, Ordering::Relaxed);
            pause.denied_until_ns.store(0, Ordering::Relaxed);
        }
    }

    /// Lets another shard ask first, because the first request was not sent or proved nothing.
    pub fn release(&self, market: Market, on: LimitedAction, now: MonoNs) {
        let pause = self.of(market, on);
        if pause.denials.load(Ordering::Relaxed) > 0 {
            pause.denied_until_ns.fetch_min(now.0, Ordering::Relaxed);
        }
    }

    /// Takes a denial. Returns the pause that begins; `None` if the pause has begun already, with
    /// the answer to another request of the same time.
    pub fn deny(
        &self,
        market: Market,
        on: LimitedAction,
        denied: &Denied<'_>,
        now: MonoNs,
    ) -> Option<Begun> {
        let pause = self.of(market, on);
        let asked = denied.retry_after;
        let read = asked.and_then(|raw| venue::retry_after(market, raw, denied.exchange_now));
        let denials = pause.denials.load(Ordering::Relaxed);
        if denials > 0 && pause.is_before(denied.asked_at) {
            let until = now.after(read.map_or(Duration::ZERO, |read| read.wait));
            pause.denied_until_ns.fetch_max(until.0, Ordering::Relaxed);
            return None;
        }
        let (first, growth) = denied.denial.pauses();
        let grown = first.saturating_mul(growth.saturating_pow(denials.min(DOUBLINGS_MAX)));
        let grown = grown.min(BACKOFF_MAX.max(first));
        // A part is random, so that hosts that were denied together do not ask together.
        let jitter_ms = denied.chance % u64::try_from(grown.as_millis() / 8 + 1).unwrap_or(1);
        let own = grown - Duration::from_millis(jitter_ms);
        // A `Retry-After` that repeatedly fails to help no longer shortens our own pause.
        let wait = match (read, denials) {
            (Some(read), 0..ASKED_BELIEVED) => read.wait.max(WAIT_MIN),
            (Some(read), _) => read.wait.max(own),
            (None, _) => own,
        };
        pause.denials.store(denials.saturating_add(1), Ordering::Relaxed);
        pause.status.store(u32::from(denied.status), Ordering::Relaxed);
        pause.denied_since_ns.store(now.0, Ordering::Relaxed);
        pause.denied_until_ns.store(now.after(wait).0, Ordering::Relaxed);
        let remark = match (asked, read) {
            (Some(raw), Some(read)) if read.is_capped => {
                format!(", Retry-After {:?}, of which that is the most obeyed", shown(raw))
            }
            (Some(raw), _) => format!(", Retry-After {:?}", shown(raw)),
            (None, _) => String::new(),
        };
        Some(Begun { wait, remark })
    }

    /// Takes an answer that was lost or made no sense. Returns whether this is a
    /// [`Denial::Outage`].
    pub fn is_outage(&self, market: Market, on: LimitedAction) -> bool {
        let pause = self.of(market, on);
        let faults = pause.faults.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        faults >= FAULTS_MAX || pause.denials.load(Ordering::Relaxed) > 0
    }
}

impl Pause {
    /// Returns whether a request of `asked_at` was sent before the denial.
    fn is_before(&self, asked_at: MonoNs) -> bool {
        asked_at.0 < self.denied_since_ns.load(Ordering::Relaxed)
    }
}

fn shown(raw: &str) -> String {
    venue::first_words(raw.as_bytes())
}

/// How long the other shards wait for the first request after a pause. Source: longer than a
/// connection or a REST request may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(20);

/// Shortest `Retry-After` that is obeyed; a shorter one is raised to this. Source: chosen.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// Number of denials in a row for which a `Retry-After` may name a shorter pause than ours. Source:
/// chosen.
const ASKED_BELIEVED: u32 = 2;

/// Faults in a row that count as an outage. Source: one can concern a symbol, two can be chance.
const FAULTS_MAX: u32 = 3;

/// Most growths of a pause. Source: 2^8 times the shortest pause is beyond [`BACKOFF_MAX`].
const DOUBLINGS_MAX: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Venue;

    fn spot() -> Market {
        Market::find(Venue::Bybit, "spot").unwrap()
    }

    fn at(seconds: u64) -> MonoNs {
        MonoNs(seconds * 1_000_000_000)
    }

    fn deny(pauses: &Pauses, denial: Denial, asked_at: u64, now: u64) -> Option<u64> {
        let (exchange_now, chance) = (UnixMs(0), 0);
        let asked_at = at(asked_at);
        let (status, retry_after) = (403, None);
        let denied = Denied { denial, status, retry_after, asked_at, exchange_now, chance };
        let begun = pauses.deny(spot(), LimitedAction::Rest, &denied, at(now));
        begun.map(|begun| begun.wait.as_secs())
    }

    #[test]
    fn a_block_pauses_the_whole_group_ever_longer_and_one_asks_after_it() {
        let pauses = Pauses::default();
        let inverse = Market::find(Venue::Bybit, "inverse").unwrap();
        let admits = |market, now| pauses.admit(market, LimitedAction::Rest, at(now));
        assert!(admits(spot(), 0) && admits(inverse, 0));
        assert_eq!(deny(&pauses, Denial::Block, 0, 1), Some(30));
        assert_eq!(deny(&pauses, Denial::Block, 0, 2), None, "asked together with the first");
        assert!(!admits(spot(), 30) && !admits(inverse, 30));
        assert!(admits(inverse, 31) && !admits(spot(), 31), "one of them");
        for (now, wait) in [(32, 60), (93, 120), (214, 240), (455, 300), (756, 300)] {
            assert_eq!(deny(&pauses, Denial::Block, now - 1, now), Some(wait));
        }
        assert!(admits(spot(), 1056));
        pauses.admitted(spot(), LimitedAction::Rest, at(0));
        assert!(!admits(spot(), 1057), "that was an old answer");
        pauses.admitted(spot(), LimitedAction::Rest, at(1056));
        assert!(admits(spot(), 1057) && admits(inverse, 1057), "all of them");
        assert_eq!(deny(&pauses, Denial::Block, 1057, 1058), Some(30), "from the beginning");
    }

    #[test]
    fn a_probe_that_came_to_nothing_is_made_by_another() {
        let pauses = Pauses::default();
        deny(&pauses, Denial::Outage, 0, 0);
        assert!(pauses.admit(spot(), LimitedAction::Rest, at(2)));
        assert!(!pauses.admit(spot(), LimitedAction::Rest, at(3)));
        pauses.release(spot(), LimitedAction::Rest, at(4));
        assert!(pauses.admit(spot(), LimitedAction::Rest, at(4)));
        assert!(pauses.admit(spot(), LimitedAction::Rest, at(24)), "the first is lost");
    }

    #[test]
    fn what_is_asked_for_is_obeyed_to_its_cap_and_named() {
        let pauses = Pauses::default();
        let denied = |raw, asked_at| {
            let (denial, exchange_now) = (Denial::Limit { wait: None }, UnixMs(1_795_996_800_000));
            let (status, retry_after, chance) = (429, Some(raw), 7);
            let denied = Denied { denial, status, retry_after, asked_at, exchange_now, chance };
            pauses.deny(spot(), LimitedAction::Connect, &denied, asked_at).unwrap()
        };
        let begun = denied("40", at(0));
        assert_eq!((begun.wait.as_secs(), &*begun.remark), (40, ", Retry-After \"40\""));
        let begun = denied("1999999999", at(40));
        assert_eq!(begun.wait.as_secs(), 900);
        assert!(begun.remark.contains("1999999999"), "{}", begun.remark);
        let begun = denied("0", at(940));
        assert!(begun.wait >= Duration::from_secs(200), "it has not helped: {:?}", begun.wait);
    }
}
