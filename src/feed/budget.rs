//! How often something may be done: at most so many times in any window. Owns the instants of the
//! last times; the limits are the venue's.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::MonoNs;

/// At most `count_max` times in any `window`, counted exactly and not by an average.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    count_max: usize,
    window: Duration,
    /// When each of the last times leaves the window, oldest first, never more than `count_max`.
    free_at: VecDeque<MonoNs>,
}

impl Budget {
    pub(super) fn new(count_max: usize, window: Duration) -> Self {
        assert!(count_max > 0, "a budget of nothing would wait for ever");
        Self { count_max, window, free_at: VecDeque::with_capacity(count_max) }
    }

    /// When it may be done next; in the past if now.
    pub(super) fn ready_at(&self) -> MonoNs {
        match self.free_at.front() {
            Some(&oldest) if self.free_at.len() == self.count_max => oldest,
            _ => MonoNs(0),
        }
    }

    /// Whether less than half of it was used in the window that ends now.
    pub(super) fn has_slack(&self, now: MonoNs) -> bool {
        let half = self.count_max / 2;
        match self.free_at.len().checked_sub(half.max(1)) {
            Some(at) => self.free_at[at] <= now,
            None => true,
        }
    }

    /// It was done, allowed or not: what cannot wait delays what can.
    pub(super) fn spend(&mut self, now: MonoNs) {
        self.push(now.after(self.window));
    }

    /// It was done before this process began; `at_ns` as in [`super::Spent`].
    pub(super) fn spend_before(&mut self, at_ns: i64) {
        let window_ns = i64::try_from(self.window.as_nanos()).unwrap_or(i64::MAX);
        if let Ok(free_at) = u64::try_from(at_ns.saturating_add(window_ns)) {
            self.push(MonoNs(free_at));
        }
    }

    fn push(&mut self, free_at: MonoNs) {
        if self.free_at.len() == self.count_max {
            self.free_at.pop_front();
        }
        self.free_at.push_back(free_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_is_what_half_the_budget_leaves() {
        let mut budget = Budget::new(4, Duration::from_secs(1));
        let at = |ms: u64| MonoNs(ms * 1_000_000);
        budget.spend(at(0));
        assert!(budget.has_slack(at(0)));
        budget.spend(at(100));
        assert!(!budget.has_slack(at(999)));
        assert!(budget.has_slack(at(1000)), "one is forgotten");
    }

    #[test]
    fn what_was_done_before_the_clock_began_counts_as_long_as_it_matters() {
        let mut budget = Budget::new(2, Duration::from_secs(1));
        budget.spend_before(-1_500_000_000);
        budget.spend_before(-400_000_000);
        assert_eq!(budget.ready_at(), MonoNs(0));
        budget.spend(MonoNs(0));
        assert_eq!(budget.ready_at(), MonoNs(600_000_000));
    }

    #[test]
    fn no_window_ever_holds_more() {
        let mut budget = Budget::new(4, Duration::from_secs(1));
        assert!(budget.has_slack(MonoNs(0)));
        let (mut now, mut done) = (MonoNs(0), Vec::new());
        for step in 0..1000 {
            while budget.ready_at() <= now {
                budget.spend(now);
                done.push(now);
            }
            now = now.after(Duration::from_millis(step % 37));
        }
        assert!(done.len() > 40);
        for window in done.windows(5) {
            assert!(window[4].since(window[0]) >= Duration::from_secs(1));
        }
    }
}
