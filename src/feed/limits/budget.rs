//! How often an action is allowed: at most N times in any window, and for new claims at most two
//! thirds of that. Owns the times of the newest actions; the venue owns the limits.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::MonoNs;

/// At most `count_max` actions in any `window`, counted exactly and not by an average.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    count_max: usize,
    window: Duration,
    /// When each of the newest actions leaves the window: ascending, at most `count_max`.
    free_at: VecDeque<MonoNs>,
    /// Number of actions that have begun and not ended. Their window begins when they end.
    under_way: usize,
    /// The same as `free_at` for the actions of new claims, at most [`Self::new_max`].
    new_free_at: VecDeque<MonoNs>,
}

/// The beneficiary of an action that an exchange limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A series that has delivered: it may use the whole budget.
    Served,
    /// A series that is new to the exchange, or may wait: a third of the budget is reserved from
    /// it.
    New,
}

impl Budget {
    pub(crate) fn new(count_max: usize, window: Duration) -> Self {
        assert!(count_max > 0, "a budget of nothing would wait for ever");
        let free_at = VecDeque::with_capacity(count_max);
        Self { count_max, window, free_at, under_way: 0, new_free_at: VecDeque::new() }
    }

    /// When the next action is allowed for `claim`: in the past if it is allowed now, never while
    /// all allowed actions are under way.
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

    /// Number of actions for new claims in any window.
    pub(crate) fn new_max(&self) -> usize {
        self.count_max - self.count_max / RESERVED_PART
    }

    /// Returns whether less than half of the budget was used in the window that ends now.
    pub(crate) fn has_slack(&self, now: MonoNs) -> bool {
        let half = self.count_max / 2;
        match self.free_at.len().checked_sub(half.max(1)) {
            Some(at) => self.free_at[at] <= now,
            None => true,
        }
    }

    /// Counts an action, allowed or not: one that cannot wait delays those that can.
    pub(crate) fn spend(&mut self, claim: Claim, now: MonoNs) {
        self.push(claim, now.after(self.window));
    }

    /// Gives back what was spent at `at` for `claim`: it never reached the exchange.
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

    /// When an action of now leaves the window.
    pub(crate) fn free_at(&self, now: MonoNs) -> MonoNs {
        now.after(self.window)
    }

    /// Begins an action, which ends when the other side has received it, see [`Self::end`].
    pub(crate) fn begin(&mut self, claim: Claim, now: MonoNs) {
        self.under_way += 1;
        self.push_new(claim, now.after(self.window));
    }

    /// Ends all begun actions but `left`: they ended by now at the latest.
    pub(crate) fn end(&mut self, left: usize, now: MonoNs) {
        for _ in left..self.under_way {
            self.push_used(now.after(self.window));
        }
        self.under_way = self.under_way.min(left);
    }

    /// Returns whether all allowed actions are under way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way >= self.count_max
    }

    /// Counts an action of unknown claim from before this process. `at_ns` is as in
    /// [`crate::feed::Usage`].
    pub(crate) fn spend_before(&mut self, at_ns: i64) {
        let window_ns = i64::try_from(self.window.as_nanos()).unwrap_or(i64::MAX);
        if let Ok(free_at) = u64::try_from(at_ns.saturating_add(window_ns)) {
            self.push(Claim::New, MonoNs(free_at));
        }
    }

    fn push(&mut self, claim: Claim, free_at: MonoNs) {
        self.push_used(free_at);
        self.push_new(claim, free_at);
    }

    fn push_used(&mut self, free_at: MonoNs) {
        push_newest(&mut self.free_at, self.count_max, free_at);
    }

    fn push_new(&mut self, claim: Claim, free_at: MonoNs) {
        if claim == Claim::New {
            let new_max = self.new_max();
            push_newest(&mut self.new_free_at, new_max, free_at);
        }
    }
}

/// Keeps the newest `count_max` of `times`.
fn push_newest(times: &mut VecDeque<MonoNs>, count_max: usize, free_at: MonoNs) {
    let is_newest = times.back().is_none_or(|&newest| newest <= free_at);
    assert!(is_newest, "the times of a budget ascend: the oldest decides when the next is allowed");
    if times.len() == count_max {
        times.pop_front();
    }
    times.push_back(free_at);
}

/// One part in this number of a budget is reserved: for served streams, and of the rest by each
/// client for the others. Source: design, "Trust".
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
