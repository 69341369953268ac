//! The closed windows of one instrument, in order. Owns the watermark and the decision whether a
//! window may be published as closed; fetches nothing, publishes nothing and logs nothing.
//!
//! A window that closes after a gap is held until the gap is filled or given up. The caller
//! publishes each window that [`Series::accept_closed`] calls [`Verdict::Next`], and then all
//! windows that [`Series::pop_held`] returns. Each window is then published once and in order.
//! Windows that were given up are remembered and may be repaired once.

use std::collections::VecDeque;

use crate::clock::UnixMs;
use crate::limits::{HELD_WINDOWS_MAX, REPAIR_WINDOWS_MAX};

use super::candle::{Candle, CandleUpdate};
use super::interval::Interval;

/// How a window ended.
// Nearly all are candles.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedWindow {
    /// The window closed with this candle; its `final_by` is set.
    Candle(CandleUpdate),
    /// There was no trade in the window, and the exchange makes no candle of it.
    Empty {
        /// Start of the window.
        open_time: UnixMs,
    },
}

impl ClosedWindow {
    /// Start of the window.
    pub fn open_time(&self) -> UnixMs {
        match self {
            Self::Candle(update) => update.candle.open_time,
            Self::Empty { open_time } => *open_time,
        }
    }

    fn candle(&self) -> Option<Candle> {
        match self {
            Self::Candle(update) => Some(update.candle),
            Self::Empty { .. } => None,
        }
    }
}

/// The verdict of a series on a candle or a closed window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A running candle of a window that is not closed: publish it as open.
    Open,
    /// The next window: publish it, then the windows that [`Series::pop_held`] returns.
    Next,
    /// A later window: the series holds it until the windows before it are known or given up.
    Held,
    /// A window that was given up as missing: publish it late.
    Repaired,
    /// A window that is known already, equal in every field: drop it.
    Duplicate,
    /// A window that was published with other values: publish the correction.
    Correction {
        /// Number of the correction, from 1.
        revision: u16,
    },
    /// Older than the remembered windows, or a running candle of a closed window: drop it.
    Late,
    /// The open time is no multiple of the interval: drop it and count a decode error.
    Misaligned,
}

/// Consecutive windows from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Open time of the first window.
    pub first: UnixMs,
    /// Open time of the last window; never before `first`.
    pub last: UnixMs,
}

impl Span {
    /// The windows of `interval` from `first` to `last`; `None` if `last` lies before `first`.
    pub fn new(first: UnixMs, last: UnixMs) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Number of windows.
    pub fn count(&self, interval: Interval) -> u64 {
        ((self.last.0 - self.first.0) / interval.ms() + 1).unsigned_abs()
    }

    /// Returns whether `open_time` lies in the span.
    pub fn contains(&self, open_time: UnixMs) -> bool {
        (self.first..=self.last).contains(&open_time)
    }

    /// At most the first `count` windows; `count` is at least 1.
    pub fn head(self, count: i64, interval: Interval) -> Self {
        let last = self.last.min(UnixMs(self.first.0 + (count - 1) * interval.ms()));
        Self { last, ..self }
    }

    /// At most the last `count` windows; `count` is at least 1.
    pub fn tail(self, count: i64, interval: Interval) -> Self {
        let first = self.first.max(UnixMs(self.last.0 - (count - 1) * interval.ms()));
        Self { first, ..self }
    }
}

/// A published window that a correction can still change.
#[derive(Clone, Copy, Debug)]
struct Published {
    open_time: UnixMs,
    /// `None` if the window was empty.
    candle: Option<Candle>,
    revision: u16,
}

/// The windows of one instrument, from the first one that is owed.
#[derive(Clone, Debug)]
pub struct Series {
    interval: Interval,
    /// Open time of the window to be published next; `None` until the series has begun.
    ///
    /// Invariant: never decreases. Only [`Self::suspend`] resets it to `None`; the series then
    /// begins again after the watermark.
    next: Option<UnixMs>,
    /// Open time of the newest window that was published or given up.
    watermark: Option<UnixMs>,
    /// The newest published windows, at most [`REMEMBERED`], ascending by open time.
    published: VecDeque<Published>,
    /// Windows that closed after `next`, ascending by open time.
    held: VecDeque<ClosedWindow>,
    /// Windows that were given up and not repaired yet: ascending, never adjoining.
    missing: Vec<Span>,
}

impl Series {
    /// A series without any window.
    pub fn new(interval: Interval) -> Self {
        Self {
            interval,
            next: None,
            watermark: None,
            published: VecDeque::new(),
            held: VecDeque::new(),
            missing: Vec::new(),
        }
    }

    /// Owes every window from `at` on, if the series has not begun yet; never a window at or below
    /// the watermark.
    pub fn begin(&mut self, at: UnixMs) {
        let after = self.watermark.map(|watermark| UnixMs(watermark.0 + self.interval.ms()));
        self.next.get_or_insert(after.map_or(at, |after| after.max(at)));
    }

    /// Goes on after the windows that an earlier process published, ascending and adjoining.
    ///
    /// # Panics
    /// If the series has begun before.
    pub fn resume(&mut self, published: &[ClosedWindow]) {
        assert!(self.next.is_none() && self.watermark.is_none(), "a series begins once");
        let Some(newest) = published.last().map(ClosedWindow::open_time) else { return };
        for window in &published[published.len().saturating_sub(REMEMBERED)..] {
            let (candle, revision) = match window {
                ClosedWindow::Candle(update) => (Some(update.candle), update.revision),
                ClosedWindow::Empty { .. } => (None, 0),
            };
            let open_time = window.open_time();
            self.published.push_back(Published { open_time, candle, revision });
        }
        self.watermark = Some(newest);
        self.next = Some(UnixMs(newest.0 + self.interval.ms()));
    }

    /// Owes nothing until the series begins again: no client wants it, and no client keeps what was
    /// published.
    pub fn suspend(&mut self) {
        self.next = None;
        self.published.clear();
        self.held.clear();
        self.missing.clear();
    }

    /// Forgets a watermark that lies after `latest`, because no window can have closed there. The
    /// series then begins again. Returns whether there was such a watermark.
    pub fn forget_ahead(&mut self, latest: UnixMs) -> bool {
        let is_ahead = self.watermark.max(self.next) > Some(latest);
        if is_ahead {
            self.suspend();
            self.watermark = self.watermark.filter(|&watermark| watermark <= latest);
        }
        is_ahead
    }

    /// Owes no window before `first`. Returns the windows that were owed, if earlier windows of the
    /// series were published.
    pub fn skip_before(&mut self, first: UnixMs) -> Option<Span> {
        let next = self.next.filter(|&next| next < first)?;
        let last = UnixMs(first.0 - self.interval.ms());
        let is_begun = self.watermark.is_some();
        self.next = Some(first);
        self.watermark = self.watermark.max(Some(last));
        self.held.retain(|held| held.open_time() >= first);
        Span::new(next, last).filter(|_| is_begun)
    }

    /// Returns whether the series holds more than [`HELD_WINDOWS_MAX`] windows; the caller then
    /// gives up the gap.
    pub fn is_overfull(&self) -> bool {
        self.held.len() > HELD_WINDOWS_MAX
    }

    /// Open time of the window to be published next, once the series has begun.
    pub fn next(&self) -> Option<UnixMs> {
        self.next
    }

    /// Open time of the newest window that was published or given up.
    pub fn watermark(&self) -> Option<UnixMs> {
        self.watermark
    }

    /// The candle published for this window; `None` if the window is no longer remembered or was
    /// empty.
    pub fn published(&self, open_time: UnixMs) -> Option<&Candle> {
        self.remembered(open_time)?.candle.as_ref()
    }

    /// Returns whether this window is remembered and was published as empty.
    pub fn is_empty(&self, open_time: UnixMs) -> bool {
        self.remembered(open_time).is_some_and(|published| published.candle.is_none())
    }

    /// The missing windows that hold back a later one.
    pub fn gap(&self) -> Option<Span> {
        let last = UnixMs(self.held.front()?.open_time().0 - self.interval.ms());
        Span::new(self.next?, last)
    }

    /// The windows that were given up and not repaired, the oldest first.
    pub fn missing(&self) -> &[Span] {
        &self.missing
    }

    /// Returns whether this window is still to be published, in order or late.
    pub fn is_owed(&self, open_time: UnixMs) -> bool {
        let is_next = self.next.is_some_and(|next| open_time >= next);
        is_next || self.missing.iter().any(|span| span.contains(open_time))
    }

    /// Judges a running candle. Changes nothing.
    pub fn judge_open(&self, candle: &Candle) -> Verdict {
        if !self.interval.is_aligned(candle.open_time) {
            return Verdict::Misaligned;
        }
        match self.watermark {
            Some(watermark) if candle.open_time <= watermark => Verdict::Late,
            _ if self.next.is_some_and(|next| candle.open_time < next) => Verdict::Late,
            _ if self.is_held(candle.open_time) => Verdict::Late,
            _ => Verdict::Open,
        }
    }

    /// Takes a closed window and returns what the caller does with it. The first window begins the
    /// series if [`Self::begin`] did not.
    pub fn accept_closed(&mut self, closed_window: &ClosedWindow) -> Verdict {
        let open_time = closed_window.open_time();
        if !self.interval.is_aligned(open_time) {
            return Verdict::Misaligned;
        }
        if self.next.is_none() && self.watermark.is_none_or(|watermark| open_time > watermark) {
            self.begin(open_time);
        }
        match self.next {
            Some(next) if open_time == next => {
                self.advance(closed_window);
                Verdict::Next
            }
            Some(next) if open_time > next => self.hold(closed_window),
            _ => self.accept_past(closed_window),
        }
    }

    /// Remembers a candle from before the beginning of the series, which a client has received, so
    /// that a correction of it is understood. Does nothing if it is older than the remembered
    /// windows.
    ///
    /// # Panics
    /// If the window is owed: it is then published, not remembered.
    pub fn remember(&mut self, candle: &Candle) {
        let open_time = candle.open_time;
        assert!(!self.is_owed(open_time), "an owed window is published, not remembered");
        let at = self.published.partition_point(|one| one.open_time < open_time);
        let is_known = self.published.get(at).is_some_and(|one| one.open_time == open_time);
        let is_full = self.published.len() == REMEMBERED;
        if is_known || is_full && at == 0 {
            return;
        }
        let dropped = usize::from(is_full && self.published.pop_front().is_some());
        let published = Published { open_time, candle: Some(*candle), revision: 0 };
        self.published.insert(at - dropped, published);
    }

    /// Removes and returns the next window, if it is held and no window before it is missing.
    pub fn pop_held(&mut self) -> Option<ClosedWindow> {
        self.held.front().filter(|held| Some(held.open_time()) == self.next)?;
        let closed_window = self.held.pop_front()?;
        self.advance(&closed_window);
        Some(closed_window)
    }

    /// Gives up the windows that hold back a later one and returns them. [`Self::pop_held`] then
    /// returns the held window.
    pub fn give_up(&mut self) -> Option<Span> {
        let gap = self.gap()?;
        self.watermark = Some(gap.last);
        self.next = Some(UnixMs(gap.last.0 + self.interval.ms()));
        let is_newest = self.missing.last().is_none_or(|span| span.last < gap.first);
        assert!(is_newest, "missing windows ascend");
        self.missing.push(gap);
        let oldest = UnixMs(gap.last.0 - REPAIR_WINDOWS_MAX * self.interval.ms());
        self.missing.retain_mut(|span| {
            span.first = span.first.max(oldest);
            span.first <= span.last
        });
        Some(gap)
    }

    fn is_held(&self, open_time: UnixMs) -> bool {
        !self.held.is_empty() && self.find_held(open_time).is_ok()
    }

    fn find_held(&self, open_time: UnixMs) -> Result<usize, usize> {
        self.held.binary_search_by_key(&open_time, ClosedWindow::open_time)
    }

    fn remembered(&self, open_time: UnixMs) -> Option<&Published> {
        self.published.iter().rev().find(|published| published.open_time == open_time)
    }

    fn hold(&mut self, closed_window: &ClosedWindow) -> Verdict {
        match self.find_held(closed_window.open_time()) {
            Ok(at) if self.held[at].candle() == closed_window.candle() => Verdict::Duplicate,
            // Restated before it was published: the newer candle counts.
            Ok(at) => {
                self.held[at] = *closed_window;
                Verdict::Held
            }
            Err(at) => {
                self.held.insert(at, *closed_window);
                Verdict::Held
            }
        }
    }

    fn accept_past(&mut self, closed_window: &ClosedWindow) -> Verdict {
        let open_time = closed_window.open_time();
        if self.take_missing(open_time) {
            return Verdict::Repaired;
        }
        let mut newest = self.published.iter_mut().rev();
        let Some(published) = newest.find(|published| published.open_time == open_time) else {
            return Verdict::Late;
        };
        match closed_window.candle() {
            // An empty window does not contradict a published candle.
            None => Verdict::Duplicate,
            candle if candle == published.candle => Verdict::Duplicate,
            candle => {
                published.candle = candle;
                published.revision = published.revision.saturating_add(1);
                Verdict::Correction { revision: published.revision }
            }
        }
    }

    /// Removes `open_time` from the missing windows. Returns whether it was missing.
    fn take_missing(&mut self, open_time: UnixMs) -> bool {
        let step = self.interval.ms();
        let Some(at) = self.missing.iter().position(|span| span.contains(open_time)) else {
            return false;
        };
        let span = self.missing.remove(at);
        let before = Span::new(span.first, UnixMs(open_time.0 - step));
        let after = Span::new(UnixMs(open_time.0 + step), span.last);
        self.missing.splice(at..at, before.into_iter().chain(after));
        true
    }

    fn advance(&mut self, closed_window: &ClosedWindow) {
        let open_time = closed_window.open_time();
        assert!(
            self.watermark.is_none_or(|mark| open_time > mark),
            "the watermark never goes back"
        );
        self.watermark = Some(open_time);
        self.next = Some(UnixMs(open_time.0 + self.interval.ms()));
        if self.published.len() == REMEMBERED {
            self.published.pop_front();
        }
        self.published.push_back(Published {
            open_time,
            candle: closed_window.candle(),
            revision: 0,
        });
    }
}

/// Number of published windows that a correction can still change. Source: restatements arrive
/// within seconds of the close; a quarter of an hour outlasts an outage of REST, which finds them.
pub const REMEMBERED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Lapse, MonoNs, RoughLapse};
    use crate::market::{Decimal, FinalBy, InstrumentId, Source};
    use proptest::prelude::*;

    fn candle(minute: i64, close: &str) -> Candle {
        let price: Decimal = close.parse().unwrap();
        Candle {
            open_time: UnixMs(minute * 60_000),
            open: price,
            high: price,
            low: price,
            close: price,
            volume: Decimal::ZERO,
            other_volume: None,
            trades: 0,
        }
    }

    fn closed(minute: i64, close: &str) -> ClosedWindow {
        ClosedWindow::Candle(CandleUpdate {
            instrument: InstrumentId(0),
            candle: candle(minute, close),
            event_time: None,
            received: MonoNs(0),
            until_ring: Lapse::default(),
            kernel: RoughLapse::UNKNOWN,
            final_by: Some(FinalBy::Flag),
            source: Source::Ws,
            revision: 0,
        })
    }

    fn empty(minute: i64) -> ClosedWindow {
        ClosedWindow::Empty { open_time: UnixMs(minute * 60_000) }
    }

    fn span(first: i64, last: i64) -> Span {
        Span { first: UnixMs(first * 60_000), last: UnixMs(last * 60_000) }
    }

    fn held(series: &mut Series) -> Vec<i64> {
        std::iter::from_fn(|| series.pop_held()).map(|one| one.open_time().0 / 60_000).collect()
    }

    #[test]
    fn each_window_closes_once() {
        let mut series = Series::new(Interval::M1);
        assert_eq!(series.accept_closed(&closed(1, "1")), Verdict::Next);
        assert_eq!(series.accept_closed(&closed(1, "1")), Verdict::Duplicate);
        assert_eq!(series.accept_closed(&closed(2, "1")), Verdict::Next);
        assert_eq!(series.accept_closed(&closed(1, "1")), Verdict::Duplicate);
        assert_eq!(series.accept_closed(&closed(0, "1")), Verdict::Late);
        assert_eq!(series.watermark(), Some(UnixMs(120_000)));
    }

    #[test]
    fn a_restated_close_is_a_correction_with_its_own_revision() {
        let mut series = Series::new(Interval::M1);
        series.accept_closed(&closed(1, "1"));
        assert_eq!(series.accept_closed(&closed(1, "2")), Verdict::Correction { revision: 1 });
        assert_eq!(series.accept_closed(&closed(1, "2")), Verdict::Duplicate);
        assert_eq!(series.accept_closed(&closed(2, "3")), Verdict::Next);
        assert_eq!(series.accept_closed(&closed(1, "3")), Verdict::Correction { revision: 2 });
        assert_eq!(series.accept_closed(&closed(2, "4")), Verdict::Correction { revision: 1 });
        assert_eq!(series.published(UnixMs(60_000)), Some(&candle(1, "3")));
    }

    #[test]
    fn a_remembered_candle_may_be_restated() {
        let mut series = Series::new(Interval::M1);
        series.begin(UnixMs(30 * 60_000));
        for minute in (10..28).rev().chain([29]) {
            series.remember(&candle(minute, "1"));
        }
        assert_eq!(series.accept_closed(&closed(29, "2")), Verdict::Correction { revision: 1 });
        assert_eq!(series.accept_closed(&closed(29, "2")), Verdict::Duplicate);
        series.remember(&candle(29, "1"));
        assert_eq!(series.accept_closed(&closed(29, "2")), Verdict::Duplicate);
        assert_eq!(series.accept_closed(&closed(13, "2")), Verdict::Correction { revision: 1 });
        assert_eq!(series.accept_closed(&closed(12, "2")), Verdict::Late, "16 are remembered");
        assert_eq!(series.accept_closed(&closed(30, "2")), Verdict::Next);
    }

    #[test]
    fn a_window_after_a_gap_waits_for_it() {
        let mut series = Series::new(Interval::M1);
        series.accept_closed(&closed(1, "1"));
        assert_eq!(series.accept_closed(&closed(4, "4")), Verdict::Held);
        assert_eq!(series.accept_closed(&closed(4, "4")), Verdict::Duplicate);
        assert_eq!((series.gap(), series.pop_held()), (Some(span(2, 3)), None));
        assert_eq!(series.accept_closed(&closed(3, "3")), Verdict::Held);
        assert_eq!(series.gap(), Some(span(2, 2)));
        assert_eq!(series.accept_closed(&empty(2)), Verdict::Next);
        assert_eq!(held(&mut series), [3, 4]);
        assert_eq!((series.gap(), series.next()), (None, Some(UnixMs(300_000))));
    }

    #[test]
    fn a_gap_that_was_given_up_is_repaired_once() {
        let mut series = Series::new(Interval::M1);
        series.accept_closed(&closed(1, "1"));
        series.accept_closed(&closed(6, "6"));
        assert_eq!(series.give_up(), Some(span(2, 5)));
        assert_eq!((held(&mut series), series.give_up()), (vec![6], None));
        assert_eq!(series.accept_closed(&closed(3, "3")), Verdict::Repaired);
        assert_eq!(series.missing(), [span(2, 2), span(4, 5)]);
        assert_eq!(series.accept_closed(&closed(3, "3")), Verdict::Late);
        assert_eq!(series.accept_closed(&empty(4)), Verdict::Repaired);
        assert_eq!(series.accept_closed(&closed(5, "5")), Verdict::Repaired);
        assert_eq!(series.accept_closed(&closed(2, "2")), Verdict::Repaired);
        assert_eq!(series.missing(), []);
        assert_eq!(series.watermark(), Some(UnixMs(360_000)));
    }

    #[test]
    fn only_the_newest_missing_windows_are_remembered() {
        let mut series = Series::new(Interval::M1);
        series.accept_closed(&closed(0, "1"));
        series.accept_closed(&closed(3, "1"));
        series.give_up();
        held(&mut series);
        let far = REPAIR_WINDOWS_MAX * 3;
        series.accept_closed(&closed(far, "1"));
        assert_eq!(series.give_up(), Some(span(4, far - 1)));
        assert_eq!(series.missing(), [span(far - 1 - REPAIR_WINDOWS_MAX, far - 1)]);
    }

    #[test]
    fn an_empty_window_may_turn_out_to_have_a_candle_but_not_the_reverse() {
        let mut series = Series::new(Interval::M1);
        series.accept_closed(&closed(1, "1"));
        assert_eq!(series.accept_closed(&empty(2)), Verdict::Next);
        assert_eq!(series.accept_closed(&empty(2)), Verdict::Duplicate);
        assert_eq!(series.accept_closed(&empty(1)), Verdict::Duplicate);
        assert_eq!(series.accept_closed(&closed(2, "2")), Verdict::Correction { revision: 1 });
    }

    #[test]
    fn a_running_candle_of_a_closed_window_is_late() {
        let mut series = Series::new(Interval::M1);
        assert_eq!(series.judge_open(&candle(1, "1")), Verdict::Open);
        series.accept_closed(&closed(1, "1"));
        series.accept_closed(&closed(3, "1"));
        assert_eq!(series.judge_open(&candle(1, "1")), Verdict::Late);
        assert_eq!(series.judge_open(&candle(2, "1")), Verdict::Open);
        assert_eq!(series.judge_open(&candle(3, "1")), Verdict::Late, "it is held");
    }

    #[test]
    fn a_suspended_series_begins_again_after_its_watermark() {
        let mut series = Series::new(Interval::M1);
        series.begin(UnixMs(60_000));
        series.begin(UnixMs(0));
        assert_eq!(series.next(), Some(UnixMs(60_000)), "it begins once");
        series.accept_closed(&closed(1, "1"));
        series.accept_closed(&closed(3, "1"));
        series.suspend();
        assert_eq!((series.next(), series.gap()), (None, None));
        assert_eq!(series.accept_closed(&closed(1, "1")), Verdict::Late);
        series.begin(UnixMs(0));
        assert_eq!(series.next(), Some(UnixMs(120_000)));
    }

    #[test]
    fn a_misaligned_window_changes_nothing() {
        let mut series = Series::new(Interval::M1);
        let odd = ClosedWindow::Empty { open_time: UnixMs(60_001) };
        assert_eq!(series.accept_closed(&odd), Verdict::Misaligned);
        assert_eq!((series.next(), series.watermark()), (None, None));
    }

    proptest! {
        /// Whatever arrives and whenever gaps are given up: each window is published once and in
        /// order, and the published and given up windows together are exactly the span.
        #[test]
        fn published_and_given_up_are_the_whole_span(
            steps in proptest::collection::vec((1i64..60, 0u8..8), 1..300),
        ) {
            let mut series = Series::new(Interval::M1);
            let (mut in_order, mut given_up, mut repaired) = (Vec::new(), Vec::new(), Vec::new());
            series.begin(UnixMs(60_000));
            for &(minute, what) in &steps {
                let closed_window = if what == 0 { empty(minute) } else { closed(minute, "1") };
                match series.accept_closed(&closed_window) {
                    Verdict::Next => in_order.push(minute),
                    Verdict::Repaired => repaired.push(minute),
                    _ => {}
                }
                if what == 1 && let Some(span) = series.give_up() {
                    given_up.extend(span.first.0 / 60_000..=span.last.0 / 60_000);
                }
                in_order.extend(held(&mut series));
            }
            prop_assert!(in_order.is_sorted_by(|a, b| a < b));
            let mut all: Vec<i64> = in_order.iter().chain(&given_up).copied().collect();
            all.sort_unstable();
            let end = series.next().unwrap().0 / 60_000;
            prop_assert_eq!(all, (1..end).collect::<Vec<_>>());
            repaired.sort_unstable();
            let once = repaired.len();
            repaired.dedup();
            prop_assert_eq!(repaired.len(), once);
            let open: Vec<i64> = series.missing().iter()
                .flat_map(|span| span.first.0 / 60_000..=span.last.0 / 60_000).collect();
            repaired.extend(open);
            repaired.sort_unstable();
            given_up.sort_unstable();
            prop_assert_eq!(repaired, given_up);
        }
    }
}
