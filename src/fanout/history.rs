//! The newest closed windows of one series, as they were published or backfilled. Owns the number
//! that is kept and which windows are known; asks no shard for the others.

use std::collections::VecDeque;

use crate::clock::UnixMs;
use crate::market::series::REMEMBERED;
use crate::market::{Candle, CandleUpdate, ClosedWindow, Interval, Span};

/// Closed windows, ascending.
#[derive(Debug, Default)]
pub(crate) struct History {
    slots: VecDeque<ClosedWindow>,
    /// The newest window that was published, as a candle, as empty or as missing. `None`: nothing
    /// was published, and the beginning of the stream is not known.
    newest: Option<UnixMs>,
    /// Windows for which the exchange's rows make no sense, ascending. They are sent as a gap, and
    /// are not asked for again.
    unreadable: VecDeque<UnixMs>,
    /// Number of subscriptions that wait for older windows. While there are any, twice as many
    /// windows are kept.
    readers: usize,
    /// The last corrections, one per window, the oldest first.
    restated: VecDeque<Restated>,
}

/// A correction that was published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restated {
    pub(crate) open_time: UnixMs,
    /// Publications before it.
    pub(crate) serial: u64,
    /// The candle that it replaced, if that was known.
    pub(crate) previous: Option<Candle>,
}

impl History {
    /// The newest window that was published, in any form.
    pub(crate) fn newest(&self) -> Option<UnixMs> {
        self.newest
    }

    /// Notes that everything up to this window was published. Returns whether that is an advance.
    pub(crate) fn advance(&mut self, open_time: UnixMs) -> bool {
        let is_newer = self.newest < Some(open_time);
        self.newest = self.newest.max(Some(open_time));
        is_newer
    }

    /// Keeps a window, or its newer revision. Returns the candle that it replaces.
    pub(crate) fn put(&mut self, closed_window: &ClosedWindow, kept_max: usize) -> Option<Candle> {
        match self.find(closed_window.open_time()) {
            Ok(at) => match std::mem::replace(&mut self.slots[at], *closed_window) {
                ClosedWindow::Candle(replaced) => Some(replaced.candle),
                ClosedWindow::Empty { .. } => None,
            },
            Err(at) => {
                self.slots.insert(at, *closed_window);
                let kept_max = if self.readers > 0 { kept_max * 2 } else { kept_max };
                while self.slots.len() > kept_max {
                    self.slots.pop_front();
                }
                None
            }
        }
    }

    /// Keeps a backfilled window if the window is not known: a published one is newer.
    pub(crate) fn put_backfilled(&mut self, closed_window: &ClosedWindow, kept_max: usize) {
        if self.find(closed_window.open_time()).is_err() {
            self.put(closed_window, kept_max);
        }
    }

    /// Remembers a correction.
    pub(crate) fn add_correction(&mut self, restated: Restated) {
        self.restated.retain(|one| one.open_time != restated.open_time);
        if self.restated.len() >= REMEMBERED {
            self.restated.pop_front();
        }
        self.restated.push_back(restated);
    }

    /// The corrections of windows before `first`, in the order of their windows.
    pub(crate) fn corrections_before(&self, first: UnixMs) -> Vec<Restated> {
        let before = self.restated.iter().filter(|one| one.open_time < first);
        let mut before: Vec<Restated> = before.copied().collect();
        before.sort_by_key(|one| one.open_time);
        before
    }

    /// The unknown windows of `span`, as spans.
    pub(crate) fn absent(&self, span: Span, interval: Interval) -> Vec<Span> {
        let mut absent = Vec::new();
        let mut expected = span.first;
        for closed_window in self.known(span) {
            let before = UnixMs(closed_window.open_time().0 - interval.ms());
            absent.extend(Span::new(expected, before));
            expected = UnixMs(closed_window.open_time().0 + interval.ms());
        }
        absent.extend(Span::new(expected, span.last));
        absent
    }

    /// The windows of `span` that are neither known nor unreadable, as spans.
    pub(crate) fn unasked(&self, span: Span, interval: Interval) -> Vec<Span> {
        let mut unasked = Vec::new();
        for absent in self.absent(span, interval) {
            let mut first = absent.first;
            for &open_time in self.unreadable.iter().filter(|at| absent.contains(**at)) {
                unasked.extend(Span::new(first, UnixMs(open_time.0 - interval.ms())));
                first = UnixMs(open_time.0 + interval.ms());
            }
            unasked.extend(Span::new(first, absent.last));
        }
        unasked
    }

    /// Remembers that the exchange's row of this window makes no sense.
    pub(crate) fn add_unreadable(&mut self, open_time: UnixMs) {
        if let Err(at) = self.unreadable.binary_search(&open_time) {
            self.unreadable.insert(at, open_time);
            while self.unreadable.len() > UNREADABLE_MAX {
                self.unreadable.pop_front();
            }
        }
    }

    /// What is known of one window.
    pub(crate) fn at(&self, open_time: UnixMs) -> Option<&ClosedWindow> {
        self.find(open_time).ok().map(|at| &self.slots[at])
    }

    /// The known windows of `span`, ascending.
    pub(crate) fn known(&self, span: Span) -> impl Iterator<Item = &ClosedWindow> {
        let start = self.slots.partition_point(|slot| slot.open_time() < span.first);
        self.slots.range(start..).take_while(move |slot| slot.open_time() <= span.last)
    }

    /// Counts one more waiting subscription.
    pub(crate) fn pin(&mut self) {
        self.readers += 1;
    }

    /// Counts one waiting subscription less.
    pub(crate) fn unpin(&mut self) {
        self.readers = self.readers.saturating_sub(1);
    }

    fn find(&self, open_time: UnixMs) -> Result<usize, usize> {
        // Nearly every window is appended at the end.
        match self.slots.back() {
            Some(last) if last.open_time() < open_time => Err(self.slots.len()),
            _ => self.slots.binary_search_by_key(&open_time, ClosedWindow::open_time),
        }
    }
}

/// Unreadable windows that are remembered. Above it the oldest are forgotten and asked for again.
/// Source: as many as the feed can repair.
const UNREADABLE_MAX: usize = 1_440;

/// The closed window of a published candle.
pub(crate) fn closed_window(update: &CandleUpdate) -> ClosedWindow {
    ClosedWindow::Candle(*update)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(minute: i64) -> ClosedWindow {
        ClosedWindow::Empty { open_time: UnixMs(minute * 60_000) }
    }

    fn span(first: i64, last: i64) -> Span {
        Span { first: UnixMs(first * 60_000), last: UnixMs(last * 60_000) }
    }

    fn minutes(history: &History) -> Vec<i64> {
        let all = history.known(span(i64::MIN / 60_000, i64::MAX / 60_000));
        all.map(|slot| slot.open_time().0 / 60_000).collect()
    }

    #[test]
    fn the_newest_are_kept_in_order_and_what_is_absent_is_known() {
        let mut history = History::default();
        for minute in [1, 2, 5, 4, 9] {
            history.put(&empty(minute), 4);
        }
        assert_eq!(minutes(&history), [2, 4, 5, 9]);
        let absent = history.absent(span(1, 10), Interval::M1);
        assert_eq!(absent, [span(1, 1), span(3, 3), span(6, 8), span(10, 10)]);
        assert_eq!(history.absent(span(4, 5), Interval::M1), []);
    }

    #[test]
    fn what_is_unreadable_is_absent_and_not_asked_for() {
        let mut history = History::default();
        for minute in [1, 2, 6] {
            history.put(&empty(minute), 9);
        }
        [4, 5, 4].into_iter().for_each(|minute| history.add_unreadable(UnixMs(minute * 60_000)));
        assert_eq!(history.absent(span(1, 7), Interval::M1), [span(3, 5), span(7, 7)]);
        assert_eq!(history.unasked(span(1, 7), Interval::M1), [span(3, 3), span(7, 7)]);
        assert_eq!(history.unasked(span(4, 6), Interval::M1), []);
    }

    #[test]
    fn of_each_window_the_last_correction_is_remembered_and_no_more_than_can_be_corrected() {
        let mut history = History::default();
        let restated = |minute: i64, serial| Restated {
            open_time: UnixMs(minute * 60_000),
            serial,
            previous: None,
        };
        for (minute, serial) in [(7, 1), (3, 2), (7, 3), (5, 4)] {
            history.add_correction(restated(minute, serial));
        }
        let before = |history: &History, minute: i64| {
            let all = history.corrections_before(UnixMs(minute * 60_000)).into_iter();
            all.map(|one| (one.open_time.0 / 60_000, one.serial)).collect::<Vec<_>>()
        };
        assert_eq!(before(&history, 7), [(3, 2), (5, 4)]);
        assert_eq!(before(&history, 8), [(3, 2), (5, 4), (7, 3)]);
        (10..100).for_each(|minute| history.add_correction(restated(minute, 9)));
        assert_eq!(before(&history, 1_000).len(), REMEMBERED);
    }

    #[test]
    fn while_somebody_waits_older_ones_are_kept_too() {
        let mut history = History::default();
        history.pin();
        for minute in (0..6).rev() {
            history.put_backfilled(&empty(minute), 3);
        }
        assert_eq!(minutes(&history), [0, 1, 2, 3, 4, 5]);
        history.unpin();
        history.put(&empty(6), 3);
        assert_eq!(minutes(&history), [4, 5, 6]);
    }
}
