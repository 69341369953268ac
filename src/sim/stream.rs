//! One stream of a simulated exchange: who listens since when, and how far its candle is.
//! Decides nothing about time or limits; that is `exchange`.

use crate::clock::MonoNs;
use crate::market::Interval;

use super::exchange::ConnectionId;
use super::market::{SimMarket, TrueCandle, slot};
use super::windows::Fold;

/// What a stream's messages look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// They name a symbol.
    Symbol,
    /// Binance's futures: they name a pair and a kind of contract.
    Continuous,
}

/// Which candles a stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Track {
    /// The market's index of the symbol.
    pub index: usize,
    /// The length of the candles.
    pub interval: Interval,
    /// What its messages look like.
    pub form: Form,
}

impl Track {
    /// The candles of the symbol at `index`, in messages that name the symbol.
    pub fn of(index: usize, interval: Interval) -> Self {
        Self { index, interval, form: Form::Symbol }
    }
}

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
    /// The symbol and the length of the candles.
    pub track: Track,
    /// The oldest window not closed yet, counted from the Unix epoch.
    pub window: i64,
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
    /// A fault: the next closing push comes after the first of the next window.
    pub reorder_close: bool,
    /// A fault: the next window is closed without its last trade, and restated.
    pub restate_close: bool,
    /// A fault: the next closing push comes late.
    pub delay_close: bool,
    /// Closing pushes that were put off: when they are due, their candle, the flag.
    pub delayed: Vec<(MonoNs, TrueCandle, Option<bool>)>,
    /// The candle that was pushed last, running or closed.
    pub pushed: Option<TrueCandle>,
    /// (window, slot) that `candle` shows.
    shown: (i64, i64),
    fold: Fold,
}

impl Stream {
    /// A stream without listeners that starts in `window`.
    pub fn new(track: Track, window: i64, next_push: MonoNs) -> Self {
        Self {
            track,
            window,
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
            fold: Fold::new(track.interval, window),
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

    /// Returns whether a subscriber that may receive has received nothing yet.
    pub fn owes_first(&self, now: MonoNs) -> bool {
        self.subscribers.iter().any(|one| !one.had_first && one.from <= now)
    }

    /// Brings the running candle up to `now_ms`; true if trades came. Computes only when a slot is
    /// over, so that a load of many pushes a second costs little.
    pub fn refresh(&mut self, market: &SimMarket, now_ms: i64) -> bool {
        let elapsed_ms = now_ms - self.window * self.track.interval.ms();
        let shown = (self.window, slot(self.track.interval, elapsed_ms));
        if shown == self.shown {
            return false;
        }
        if self.fold.of() != (self.track.interval, self.window) {
            self.fold = Fold::new(self.track.interval, self.window);
        }
        let before = self.candle;
        self.shown = shown;
        self.candle = self.fold.at(market, self.track.index, elapsed_ms);
        before != self.candle
    }
}
