//! One stream of a simulated exchange: who listens since when, and how far its candle is.
//! Decides nothing about time or limits; that is `exchange`.

use crate::clock::MonoNs;

use super::exchange::ConnectionId;
use super::market::{MINUTE_MS, SimMarket, TrueCandle, slot};

/// One listener of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber {
    /// The connection.
    pub id: ConnectionId,
    /// It gets nothing before.
    pub from: MonoNs,
    /// Whether it has had anything yet.
    pub had_first: bool,
    /// A fault: it gets nothing.
    pub is_muted: bool,
}

/// A stream that somebody listens to.
#[derive(Debug)]
pub struct Stream {
    /// The oldest minute not closed yet, counted from the Unix epoch.
    pub minute: i64,
    /// When the running candle is pushed again.
    pub next_push: MonoNs,
    /// The earlier of the next push and the next close.
    pub next_due: MonoNs,
    /// The running candle as of the last [`Self::refresh`].
    pub candle: TrueCandle,
    /// Who listens.
    pub subscribers: Vec<Subscriber>,
    /// A fault: the next push is sent twice.
    pub duplicate_next: bool,
    /// A fault: the next closing push is left out.
    pub lose_close: bool,
    /// A fault: the next closing push is sent twice.
    pub double_close: bool,
    /// A fault: the next closing push comes after the first of the next minute.
    pub reorder_close: bool,
    /// A fault: the next minute is closed without its last trade, and restated.
    pub restate_close: bool,
    /// A fault: the next closing push comes late.
    pub delay_close: bool,
    /// Closing pushes that were put off: when they are due, their minute, the flag.
    pub delayed: Vec<(MonoNs, TrueCandle, Option<bool>)>,
    /// The candle that was pushed last, running or closed.
    pub pushed: Option<TrueCandle>,
    /// (minute, slot) that `candle` shows.
    shown: (i64, i64),
}

impl Stream {
    /// A stream without listeners that starts in `minute`.
    pub fn new(minute: i64, next_push: MonoNs) -> Self {
        Self {
            minute,
            next_push,
            next_due: next_push,
            candle: TrueCandle::default(),
            subscribers: Vec::new(),
            duplicate_next: false,
            lose_close: false,
            double_close: false,
            reorder_close: false,
            restate_close: false,
            delay_close: false,
            delayed: Vec::new(),
            pushed: None,
            shown: (i64::MIN, 0),
        }
    }

    /// Adds a listener; its first push comes at `from`.
    pub fn join(&mut self, id: ConnectionId, from: MonoNs) {
        self.subscribers.push(Subscriber { id, from, had_first: false, is_muted: false });
        self.next_push = self.next_push.min(from);
        self.next_due = self.next_due.min(from);
    }

    /// Removes a listener; true if it was the last.
    pub fn leave(&mut self, id: ConnectionId) -> bool {
        self.subscribers.retain(|subscriber| subscriber.id != id);
        self.subscribers.is_empty()
    }

    /// Whether somebody who may hear has not heard anything yet.
    pub fn owes_first(&self, now: MonoNs) -> bool {
        self.subscribers.iter().any(|one| !one.had_first && one.from <= now)
    }

    /// Brings the running candle up to `now_ms`; true if trades came. Computes only when a slot is
    /// over, so that a load of many pushes a second costs little.
    pub fn refresh(&mut self, market: &SimMarket, index: usize, now_ms: i64) -> bool {
        let elapsed_ms = now_ms - self.minute * MINUTE_MS;
        let shown = (self.minute, slot(elapsed_ms));
        if shown == self.shown {
            return false;
        }
        let before = self.candle;
        self.shown = shown;
        self.candle = market.running(index, self.minute, elapsed_ms);
        before != self.candle
    }
}
