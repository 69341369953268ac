//! How often something may be done: at most so many times in any window, and what is new at most
//! two thirds of that. Owns the instants of the last times; the limits are the venue's.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::MonoNs;

/// At most `count_max` times in any `window`, counted exactly and not by an average.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    count_max: usize,
    window: Duration,
    /// When each of the last times leaves the window, oldest first, never more than `count_max`.
    free_at: VecDeque<MonoNs>,
    /// Times that have begun, and whose window begins when they are over.
    under_way: usize,
    /// The same of those times that were for what is new, never more than are allowed of them.
    new_free_at: VecDeque<MonoNs>,
}

/// For whom something is done that an exchange limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A series that has delivered: all of the budget is there for it.
    Served,
    /// What is new to the exchange, or may wait: a third of the budget is kept from it.
    New,
}

impl Budget {
    pub(crate) fn new(count_max: usize, window: Duration) -> Self {
        assert!(count_max > 0, "a budget of nothing would wait for ever");
        let free_at = VecDeque::with_capacity(count_max);
        Self { count_max, window, free_at, under_way: 0, new_free_at: VecDeque::new() }
    }

    /// When it may be done next for `claim`; in the past if now, never while so much is under way.
    pub(crate) fn ready_at(&self, claim: Claim) -> MonoNs {
        let ready = |times: &VecDeque<MonoNs>, allowed: usize| {
            times.len().checked_sub(allowed).map_or(MonoNs(0), |at| times[at])
        };
        if self.is_under_way() {
            return MonoNs(u64::MAX);
        }
        let all = ready(&self.free_at, self.count_max - self.under_way);
        match claim {
            Claim::Served => all,
            Claim::New => all.max(ready(&self.new_free_at, self.new_max())),
        }
    }

    /// How many of what is new are allowed in any window.
    pub(crate) fn new_max(&self) -> usize {
        self.count_max - self.count_max / RESERVED_PART
    }

    /// Whether less than half of it was used in the window that ends now.
    pub(crate) fn has_slack(&self, now: MonoNs) -> bool {
        let half = self.count_max / 2;
        match self.free_at.len().checked_sub(half.max(1)) {
            Some(at) => self.free_at[at] <= now,
            None => true,
        }
    }

    /// It was done, allowed or not: what cannot wait delays what can.
    pub(crate) fn spend(&mut self, claim: Claim, now: MonoNs) {
        self.push(claim, now.after(self.window));
    }

    /// What was spent at `at` for `claim` never reached the other side: it is free again.
    pub(crate) fn take_back(&mut self, claim: Claim, at: MonoNs) {
        let free_at = at.after(self.window);
        let remove = |times: &mut VecDeque<MonoNs>| {
            if let Some(place) = times.iter().rposition(|&time| time == free_at) {
                times.remove(place);
            }
        };
        remove(&mut self.free_at);
        if claim == Claim::New {
            remove(&mut self.new_free_at);
        }
    }

    /// When what is done now leaves the window.
    pub(crate) fn free_at(&self, now: MonoNs) -> MonoNs {
        now.after(self.window)
    }

    /// It begins, and is over when the other side has it, whenever that is: see [`Self::end`].
    pub(crate) fn begin(&mut self, claim: Claim, now: MonoNs) {
        self.under_way += 1;
        self.note_new(claim, now.after(self.window));
    }

    /// Of what has begun, all but `left` is over, by now at the latest.
    pub(crate) fn end(&mut self, left: usize, now: MonoNs) {
        for _ in left..self.under_way {
            self.note(now.after(self.window));
        }
        self.under_way = self.under_way.min(left);
    }

    /// Whether all that is allowed is under way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way >= self.count_max
    }

    /// It was done before this process began, nobody knows for whom; `at_ns` as in [`crate::feed::Usage`].
    pub(crate) fn spend_before(&mut self, at_ns: i64) {
        let window_ns = i64::try_from(self.window.as_nanos()).unwrap_or(i64::MAX);
        if let Ok(free_at) = u64::try_from(at_ns.saturating_add(window_ns)) {
            self.push(Claim::New, MonoNs(free_at));
        }
    }

    fn push(&mut self, claim: Claim, free_at: MonoNs) {
        self.note(free_at);
        self.note_new(claim, free_at);
    }

    fn note(&mut self, free_at: MonoNs) {
        if self.free_at.len() == self.count_max {
            self.free_at.pop_front();
        }
        self.free_at.push_back(free_at);
    }

    fn note_new(&mut self, claim: Claim, free_at: MonoNs) {
        if claim == Claim::New {
            if self.new_free_at.len() == self.new_max() {
                self.new_free_at.pop_front();
            }
            self.new_free_at.push_back(free_at);
        }
    }
}

/// A third of a budget is kept for what is served already, and a third of the rest by each client
/// for the others. Source: design, "Trust".
pub(crate) const RESERVED_PART: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_leaves_a_third_to_what_is_served_and_has_the_rest() {
        let mut budget = Budget::new(7, Duration::from_secs(1));
        let at = |ms: u64| MonoNs(ms * 1_000_000);
        for ms in 0..5 {
            assert!(budget.ready_at(Claim::New) <= at(ms), "{ms}");
            budget.spend(Claim::New, at(ms));
        }
        assert_eq!(budget.ready_at(Claim::New), at(1_000));
        assert_eq!(budget.ready_at(Claim::Served), at(0));
        (5..7).for_each(|ms| budget.spend(Claim::Served, at(ms)));
        assert_eq!(budget.ready_at(Claim::Served), at(1_000));
        let mut budget = Budget::new(7, Duration::from_secs(1));
        (0..6).for_each(|ms| budget.spend(Claim::Served, at(ms)));
        assert_eq!(budget.ready_at(Claim::New), at(0), "what is left is there for all");
        budget.spend(Claim::New, at(6));
        assert_eq!(budget.ready_at(Claim::New), at(1_000));
        let mut small = Budget::new(1, Duration::from_secs(1));
        assert_eq!(small.ready_at(Claim::New), at(0), "of one there is no third");
        small.spend(Claim::New, at(0));
        assert_eq!(small.ready_at(Claim::New), at(1_000));
    }

    #[test]
    fn what_is_taken_back_is_free_again_and_nothing_else_is() {
        let mut budget = Budget::new(3, Duration::from_secs(1));
        let at = |ms: u64| MonoNs(ms * 1_000_000);
        budget.spend(Claim::New, at(0));
        budget.spend(Claim::New, at(5));
        budget.spend(Claim::Served, at(9));
        assert_eq!(budget.ready_at(Claim::Served), at(1_000));
        budget.take_back(Claim::New, at(5));
        assert_eq!(budget.ready_at(Claim::Served), at(0));
        assert_eq!(budget.ready_at(Claim::New), at(0), "one of two");
        budget.take_back(Claim::New, at(7));
        budget.spend(Claim::New, at(10));
        assert_eq!(budget.ready_at(Claim::Served), at(1_000), "nothing was spent at 7 ms");
        assert_eq!(budget.ready_at(Claim::New), at(1_000));
    }

    #[test]
    fn what_is_under_way_counts_until_it_has_arrived_and_a_window_longer() {
        let mut budget = Budget::new(3, Duration::from_secs(1));
        let at = |ms: u64| MonoNs(ms * 1_000_000);
        (0..2).for_each(|ms| budget.begin(Claim::Served, at(ms)));
        assert_eq!(budget.ready_at(Claim::Served), at(0));
        budget.begin(Claim::Served, at(2));
        assert_eq!(budget.ready_at(Claim::Served), MonoNs(u64::MAX), "also ten seconds later");
        budget.end(1, at(10_000));
        assert_eq!(budget.ready_at(Claim::Served), at(11_000));
        budget.begin(Claim::Served, at(11_000));
        assert_eq!(budget.ready_at(Claim::Served), at(11_000), "the second of the two");
        budget.spend(Claim::Served, at(11_000));
        assert_eq!(budget.ready_at(Claim::Served), at(12_000));
    }

    #[test]
    fn slack_is_what_half_the_budget_leaves() {
        let mut budget = Budget::new(4, Duration::from_secs(1));
        let at = |ms: u64| MonoNs(ms * 1_000_000);
        budget.spend(Claim::Served, at(0));
        assert!(budget.has_slack(at(0)));
        budget.spend(Claim::Served, at(100));
        assert!(!budget.has_slack(at(999)));
        assert!(budget.has_slack(at(1000)), "one is forgotten");
    }

    #[test]
    fn what_was_done_before_the_clock_began_counts_as_long_as_it_matters() {
        let mut budget = Budget::new(2, Duration::from_secs(1));
        budget.spend_before(-1_500_000_000);
        budget.spend_before(-400_000_000);
        assert_eq!(budget.ready_at(Claim::Served), MonoNs(0));
        budget.spend(Claim::Served, MonoNs(0));
        assert_eq!(budget.ready_at(Claim::Served), MonoNs(600_000_000));
    }

    #[test]
    fn no_window_ever_holds_more() {
        let mut budget = Budget::new(4, Duration::from_secs(1));
        assert!(budget.has_slack(MonoNs(0)));
        let (mut now, mut done) = (MonoNs(0), Vec::new());
        for step in 0..1000 {
            while budget.ready_at(Claim::Served) <= now {
                budget.spend(Claim::Served, now);
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
