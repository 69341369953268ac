//! The limits of each exchange: a breaker per market, and budgets per address, which the markets of
//! one venue may share. Owns this shard's part of each budget; other files decide how it is used.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::feed::FeedConfig;
use crate::feed::limits::breaker::Breaker;
use crate::feed::limits::budget::{Budget, Claim};
use crate::feed::limits::pauses::Pauses;
use crate::market::Market;
use crate::metrics::WaitReason;
use crate::venue;

/// Use of an exchange's limits by an earlier process at this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The market.
    pub market: Market,
    /// The limited action.
    pub on: LimitedAction,
    /// When, on the feed's monotonic clock; before its beginning, so usually negative.
    pub at_ns: i64,
    /// Number of actions.
    pub count: usize,
}

/// An action that exchanges limit per address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedAction {
    /// New sessions.
    Connect,
    /// REST requests.
    Rest,
}

/// The gate of every market and the budgets of every group.
pub(crate) struct Gates {
    /// By [`Market::index`].
    gates: Vec<Gate>,
    /// By [`Market::index`] of the group's name, [`venue::budget_group`].
    groups: Vec<Group>,
    pub(crate) pauses: Arc<Pauses>,
}

/// The state that decides whether sessions of a market may connect.
pub(crate) struct Gate {
    pub(crate) breaker: Breaker,
    /// Whether the last session that delivered used the alternate path.
    pub(crate) is_alternate: bool,
    /// Whether a REST row that makes no sense was logged.
    pub(crate) has_shown_row: bool,
    /// While the resolver has no address for the market's host: when one session looks it up again.
    /// The other sessions wait for that answer.
    pub(crate) unresolved_until: Option<MonoNs>,
    /// The newest logged waits, by [`LimitedAction`].
    pub(crate) logged_waits: [Option<Wait>; 2],
}

/// This shard's part of what an exchange allows one address.
pub(crate) struct Group {
    pub(crate) connects: Budget,
    pub(crate) rest: Budget,
    /// Most sessions at once.
    pub(crate) sessions_max: usize,
    /// Most streams at once.
    pub(crate) streams_max: usize,
}

impl Gates {
    pub(crate) fn new(config: &FeedConfig) -> Self {
        let gate = || Gate {
            breaker: Breaker::new(
                config.breaker_threshold,
                config.breaker_recovery,
                config.breaker_half_open_calls,
            ),
            is_alternate: false,
            has_shown_row: false,
            unresolved_until: None,
            logged_waits: [None; 2],
        };
        let mut gates = Self {
            gates: Market::all().map(|_| gate()).collect(),
            groups: Market::all().map(|market| Group::new(market, config.shards)).collect(),
            pauses: config.pauses.clone(),
        };
        // The shard that used it is unknown: each carrier counts its part, rounded up.
        let mut totals = [[0_usize; 2]; Market::COUNT];
        // The wall clock that wrote the file may have been set back between two lines.
        let mut oldest_first = config.usage.clone();
        oldest_first.sort_by_key(|usage| usage.at_ns);
        for usage in &oldest_first {
            let carriers = venue::carriers(usage.market, config.shards);
            let total = &mut totals[venue::budget_group(usage.market).index()][usage.on as usize];
            let before = total.div_ceil(carriers);
            *total += usage.count;
            let group = gates.group_mut(usage.market);
            let budget = match usage.on {
                LimitedAction::Connect => &mut group.connects,
                LimitedAction::Rest => &mut group.rest,
            };
            (before..total.div_ceil(carriers)).for_each(|_| budget.spend_before(usage.at_ns));
        }
        gates
    }

    pub(crate) fn of(&self, market: Market) -> &Gate {
        &self.gates[market.index()]
    }

    pub(crate) fn of_mut(&mut self, market: Market) -> &mut Gate {
        &mut self.gates[market.index()]
    }

    pub(crate) fn group(&self, market: Market) -> &Group {
        &self.groups[venue::budget_group(market).index()]
    }

    pub(crate) fn group_mut(&mut self, market: Market) -> &mut Group {
        &mut self.groups[venue::budget_group(market).index()]
    }

    /// When a session of `market` may connect; `None` while a trial must end first.
    pub(crate) fn connects_at(&self, market: Market, claim: Claim) -> Option<MonoNs> {
        Some(self.of(market).breaker.ask_again_at()?.max(self.sessions_at(market, claim)))
    }

    /// When budget, pauses and the market's name allow a new session.
    pub(crate) fn sessions_at(&self, market: Market, claim: Claim) -> MonoNs {
        let paused = self.pauses.until(market, LimitedAction::Connect);
        self.group(market).connects.ready_at(claim).max(paused).max(self.looked_up_at(market))
    }

    /// When the name of the market's host may be looked up; in the past if now.
    pub(crate) fn looked_up_at(&self, market: Market) -> MonoNs {
        self.of(market).unresolved_until.unwrap_or(MonoNs(0))
    }

    /// When the budget of new sessions of `market` allows one.
    pub(crate) fn budget_at(&self, market: Market, claim: Claim) -> MonoNs {
        let held = self.pauses.held_until(market, LimitedAction::Connect);
        self.group(market).connects.ready_at(claim).max(held)
    }

    /// When a REST request to `market` may be sent.
    pub(crate) fn rest_at(&self, market: Market, claim: Claim) -> MonoNs {
        let paused = self.pauses.until(market, LimitedAction::Rest);
        self.group(market).rest.ready_at(claim).max(paused)
    }
}

/// The end and the reason of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) until: MonoNs,
    pub(crate) reason: WaitReason,
}

impl Group {
    fn new(market: Market, shards: usize) -> Self {
        let limits = venue::limits(market);
        let carriers = venue::carriers(market, shards);
        Self {
            connects: share(limits.connects, limits.connects_window, carriers),
            rest: share(limits.rest_requests, limits.rest_window, carriers),
            sessions_max: (limits.sessions / carriers).max(1),
            streams_max: (limits.streams / carriers).max(1),
        }
    }
}

/// One of `carriers` equal parts of `count` in any `window`. The window is lengthened, because a
/// message that was under way for long arrives together with a later one.
fn share(count: usize, window: Duration, carriers: usize) -> Budget {
    Budget::new((count / carriers).max(1), window + window / ON_THE_WAY_PART)
}

/// The window is lengthened by one part in this number: a minute by 2 s. Source: half of that is a
/// slow way, as far as messages and answers are waited for.
const ON_THE_WAY_PART: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_all_shards_are_never_more_than_the_whole() {
        for market in Market::all() {
            let limits = venue::limits(market);
            for shards in 1..=64 {
                let carriers = venue::carriers(market, shards);
                for whole in [limits.connects, limits.rest_requests, limits.sessions] {
                    assert!((whole / carriers).max(1) * carriers <= whole, "{market}, {shards}");
                }
            }
        }
    }
}
