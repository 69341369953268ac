//! The duty cycle of one executor: read the clock, one turn of each role, then wait. After a turn
//! in which a shard found work, the clock is read once more, so that the hops are measured. Owns
//! the order of these steps; each role owns what its turn does.

use std::sync::Arc;

use crate::clock::{Clock, MonoNs, Now};
use crate::cores::fanout::FanoutCore;
use crate::cores::machine::wait::{Ready, Waiter};
use crate::cores::shard::ShardCore;
use crate::metrics::CoreMetrics;

/// The roles of one executor and what they share.
pub struct Duty {
    /// The shards that run here.
    pub shards: Vec<ShardCore>,
    /// The fan-out, if it runs here.
    pub fanout: Option<FanoutCore>,
    /// Their sockets and their sleep.
    pub waiter: Waiter,
    /// The host's clocks.
    pub clock: Clock,
    /// Heartbeat, turns, parks.
    pub metrics: Arc<CoreMetrics>,
}

impl Duty {
    /// Turns until every role is done.
    pub async fn run(mut self) {
        let mut ready = Vec::new();
        let mut turns = 0u64;
        while !self.is_done() {
            let now = self.clock.now();
            self.beat(now);
            let worked = self.turn(now, &ready);
            ready.clear();
            if worked {
                let busy = self.clock.mono().since(now.mono);
                self.metrics.busy_ns.add(u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX));
            }
            if self.waiter.should_park(worked, now.mono) {
                self.park(now, &mut ready);
            } else if self.needs_poll() || turns.is_multiple_of(POLL_EVERY_TURNS) {
                self.waiter.poll(&mut ready);
            }
            turns += 1;
            if turns.is_multiple_of(YIELD_EVERY_TURNS) {
                futures_lite::future::yield_now().await;
            }
        }
    }

    fn turn(&mut self, now: Now, ready: &[Ready]) -> bool {
        let mut worked = !ready.is_empty();
        for shard in &mut self.shards {
            worked |= shard.turn(now, ready, &self.waiter);
        }
        if let Some(fanout) = &mut self.fanout {
            // The turns of the shards have taken time: the hops are measured with a new reading.
            let now = if worked { self.clock.now() } else { now };
            worked |= fanout.turn(now, ready, &self.waiter);
        }
        worked
    }

    fn park(&mut self, now: Now, ready: &mut Vec<Ready>) {
        self.waiter.announce_park();
        if self.has_mail() {
            self.waiter.stay_awake();
            return;
        }
        let deadlines = self.shards.iter().filter_map(ShardCore::next_deadline);
        let fanout = self.fanout.as_ref().and_then(FanoutCore::next_deadline);
        let deadline = deadlines.chain(fanout).min();
        self.waiter.park(now.mono, deadline, &self.metrics, ready);
    }

    fn has_mail(&self) -> bool {
        self.shards.iter().any(ShardCore::has_mail)
            || self.fanout.as_ref().is_some_and(FanoutCore::has_mail)
    }

    /// Returns whether a role has more hot sockets than it reads directly in each turn.
    fn needs_poll(&self) -> bool {
        self.shards.iter().any(ShardCore::needs_poll)
    }

    fn is_done(&self) -> bool {
        self.shards.iter().all(ShardCore::is_done)
            && self.fanout.as_ref().is_none_or(FanoutCore::is_done)
    }

    fn beat(&self, now: Now) {
        let MonoNs(ns) = now.mono;
        self.metrics.heartbeat_ns.set(i64::try_from(ns).unwrap_or(i64::MAX));
        self.metrics.turns.increment();
    }
}

/// While spinning, the other sockets (clients' requests, new connections) are polled once in this
/// many turns. Source: an epoll_wait costs as much as the rest of an idle turn.
const POLL_EVERY_TURNS: u64 = 8;

/// glommio's executor runs once in this many of our turns. Source: nothing else runs on it, and the
/// work that woke us must not wait for it.
const YIELD_EVERY_TURNS: u64 = 64;
