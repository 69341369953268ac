//! Longer candles, folded exactly from closed minutes. Owns which minutes a window has, when the
//! window is over, and how a repaired or restated minute changes it. Fetches no minute and
//! publishes nothing.
//!
//! Minutes arrive as their own series publishes them: in order and each once. Minutes that were
//! given up may arrive late, minutes before the live stream arrive by backfill, and any minute may
//! be restated. A window closes with its last minute and not before. While a minute is unknown, the
//! candle of its window counts it as missing.

use std::collections::VecDeque;

use crate::clock::{Lapse, MonoNs, RoughLapse, UnixMs};
use crate::limits::{FOLD_MINUTES_MAX, REPAIR_WINDOWS_MAX};

use super::candle::{Candle, CandleUpdate, FinalBy, Source};
use super::interval::Interval;
use super::series::{ClosedWindow, REMEMBERED};
use super::table::InstrumentId;

/// An event of a longer series, to be published.
// Nearly all values are candles, so that a box would save no memory.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folded {
    /// A candle: open, closed, or closed and corrected (with a revision).
    Candle(CandleUpdate),
    /// A window without trades.
    Empty {
        /// Start of the window.
        open_time: UnixMs,
    },
    /// Windows without any known minute, before the windows that follow them.
    Gap {
        /// Start of the first window.
        first: UnixMs,
        /// Number of windows, at least 1.
        count: u64,
    },
}

/// The newest windows of one longer series.
#[derive(Clone, Debug)]
pub struct Fold {
    instrument: InstrumentId,
    interval: Interval,
    /// Ascending by open time. A window that is complete and can no longer be restated is dropped.
    windows: VecDeque<Window>,
    /// Buffers of dropped windows, for new ones; at most [`SPARE_MAX`].
    spare: Vec<Vec<Minute>>,
    /// The newest minute that has ended, in order: closed, empty or given up.
    ///
    /// Invariant: never decreases.
    ended: Option<UnixMs>,
}

/// What is known about one minute.
// Nearly all values are candles, so that a box would save no memory.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Minute {
    Unknown,
    Empty,
    Running(Candle),
    Closed(Candle),
}

/// What was published for a window that is over.
// Nearly all values are candles, so that a box would save no memory.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Published {
    Gap,
    Empty,
    Candle { candle: Candle, missing: u16, revision: u16 },
}

#[derive(Clone, Debug)]
struct Window {
    open_time: UnixMs,
    minutes: Vec<Minute>,
    /// Number of minutes in `prefix`, from the first. All of them are over, known or not.
    folded: usize,
    /// The sum of the first `folded` minutes.
    prefix: Sum,
    /// The newest open candle that was published.
    running: Option<CandleUpdate>,
    /// The evidence of the newest closed minute.
    final_by: Option<FinalBy>,
    published: Option<Published>,
    /// Whether a backfill put minutes into the window since its candle was last published.
    has_backfilled: bool,
}

/// A sum of minutes. The open of a window is the price of its first trade. A minute without trades
/// therefore counts only if all minutes are without trades.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    /// The sum of the minutes with trades; while none is known, of the minutes without trades.
    candle: Option<Candle>,
    /// Number of minutes that are not in the sum: unknown, or too large for the sum's digits.
    missing: u16,
}

impl Sum {
    fn add(&mut self, window: UnixMs, minute: &Candle) {
        let sum = match &self.candle {
            Some(before) if minute.volume.is_zero() && !before.volume.is_zero() => return,
            Some(before) if before.volume.is_zero() == minute.volume.is_zero() => {
                joined(before, minute)
            }
            _ => Some(Candle { open_time: window, ..*minute }),
        };
        match sum {
            Some(sum) => self.candle = Some(sum),
            None => self.missing += 1,
        }
    }
}

/// A candle joined with the minute after it; `None` if a sum has too many digits.
fn joined(before: &Candle, minute: &Candle) -> Option<Candle> {
    let other_volume = match (&before.other_volume, &minute.other_volume) {
        (Some(before), Some(minute)) => Some(before.checked_add(minute)?),
        _ => None,
    };
    Some(Candle {
        high: before.high.max(minute.high),
        low: before.low.min(minute.low),
        close: minute.close,
        volume: before.volume.checked_add(&minute.volume)?,
        other_volume,
        trades: before.trades + minute.trades,
        ..*before
    })
}

impl Window {
    fn new(open_time: UnixMs, mut minutes: Vec<Minute>, length: usize) -> Self {
        minutes.clear();
        minutes.resize(length, Minute::Unknown);
        Self {
            open_time,
            minutes,
            folded: 0,
            prefix: Sum::default(),
            running: None,
            final_by: None,
            published: None,
            has_backfilled: false,
        }
    }

    fn last_minute(&self) -> UnixMs {
        minute_after(self.open_time, self.minutes.len() - 1)
    }

    fn at(&self, minute: UnixMs) -> usize {
        usize::try_from((minute.0 - self.open_time.0) / MINUTE_MS).expect("a minute of the window")
    }

    /// Sets the minute at place `at`. If `prefix` contains its former state, `prefix` is summed
    /// again.
    fn put(&mut self, at: usize, minute: Minute) {
        self.minutes[at] = minute;
        if at < self.folded {
            (self.folded, self.prefix) = (0, Sum::default());
        }
    }

    /// The sum of the minutes before `end`. The minutes before `over` are over; a later one may
    /// still run.
    fn sum(&mut self, over: usize, end: usize) -> Sum {
        while self.folded < over {
            match &self.minutes[self.folded] {
                Minute::Closed(candle) => self.prefix.add(self.open_time, candle),
                Minute::Empty => {}
                Minute::Running(_) | Minute::Unknown => self.prefix.missing += 1,
            }
            self.folded += 1;
        }
        let mut sum = self.prefix;
        for minute in &self.minutes[self.folded.min(end)..end] {
            match minute {
                Minute::Closed(candle) | Minute::Running(candle) => sum.add(self.open_time, candle),
                Minute::Empty => {}
                Minute::Unknown => sum.missing += 1,
            }
        }
        sum
    }

    /// The sum of all minutes of a window that is over.
    fn whole(&mut self) -> Sum {
        let length = self.minutes.len();
        self.sum(length, length)
    }

    /// Returns whether every minute is known.
    fn is_complete(&self) -> bool {
        let is_known = |minute: &Minute| matches!(minute, Minute::Closed(_) | Minute::Empty);
        self.minutes.iter().all(is_known)
    }
}

impl Fold {
    /// A fold that publishes the series of `interval` as `instrument`.
    ///
    /// # Panics
    /// If `interval` does not consist of minutes.
    pub fn new(instrument: InstrumentId, interval: Interval) -> Self {
        assert!(interval.is_foldable(), "{} is not made of minutes", interval.name());
        let (windows, spare) = (VecDeque::new(), Vec::new());
        Self { instrument, interval, windows, spare, ended: None }
    }

    /// Begins the series after the minute `through`, unless a minute has ended already. Windows
    /// that end with `through` or before are not published.
    pub fn begin(&mut self, through: UnixMs) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(through);
        let first = self.running_window();
        while self.windows.front().is_some_and(|window| Some(window.open_time) < first) {
            self.drop_oldest();
        }
    }

    /// The running window: the window of the first minute that has not ended. `None` before the
    /// first minute has ended.
    pub fn running_window(&self) -> Option<UnixMs> {
        Some(self.interval.open_time(minute_after(self.ended?, 1)))
    }

    /// Returns whether the window is still kept, so that its minutes can change it.
    pub fn has(&self, window: UnixMs) -> bool {
        self.windows.binary_search_by_key(&window, |one| one.open_time).is_ok()
    }

    /// Takes a running candle of a minute.
    pub fn open(&mut self, update: &CandleUpdate, out: &mut Vec<Folded>) {
        let minute = update.candle.open_time;
        if self.ended >= Some(minute) {
            return;
        }
        let Some(window) = self.window(minute) else { return };
        let at = window.at(minute);
        if matches!(window.minutes[at], Minute::Unknown | Minute::Running(_)) {
            window.put(at, Minute::Running(update.candle));
            self.publish_running(minute, Some(update), out);
        }
    }

    /// Takes a closed minute: in order, late or restated.
    pub fn closed(&mut self, update: &CandleUpdate, out: &mut Vec<Folded>) {
        let (minute, received) = (update.candle.open_time, update.received);
        let is_next = self.ended.is_none_or(|ended| minute > ended);
        if let Some(window) = self.window(minute) {
            let at = window.at(minute);
            window.put(at, Minute::Closed(update.candle));
            if is_next {
                window.final_by = update.final_by;
            }
        }
        self.publish_changes(minute, is_next, Some(update), received, out);
    }

    /// Takes a minute without trades, in order or late.
    pub fn empty(&mut self, minute: UnixMs, received: MonoNs, out: &mut Vec<Folded>) {
        let is_next = self.ended.is_none_or(|ended| minute > ended);
        if let Some(window) = self.window(minute) {
            let at = window.at(minute);
            window.put(at, Minute::Empty);
        }
        self.publish_changes(minute, is_next, None, received, out);
    }

    /// Takes `count` minutes from `first` on that were given up. They may still arrive.
    pub fn missing(&mut self, first: UnixMs, count: u64, received: MonoNs, out: &mut Vec<Folded>) {
        let count = usize::try_from(count).unwrap_or(usize::MAX).max(1);
        let last = minute_after(first, count - 1);
        // Windows before this one are never repaired, so that they are not kept.
        let oldest = self.interval.open_time(UnixMs(last.0 - REPAIR_WINDOWS_MAX * MINUTE_MS));
        let mut minute = first;
        while minute <= last {
            let next = UnixMs(self.interval.open_time(minute).0 + self.interval.ms());
            let _made = self.window(minute);
            self.end_through(last.min(before(next)), None, received, out);
            minute = next;
            if minute < oldest {
                let count = ((oldest.0 - minute.0) / self.interval.ms()).unsigned_abs();
                out.push(Folded::Gap { first: minute, count });
                minute = oldest;
                self.ended = Some(before(oldest));
            }
        }
    }

    /// Takes a minute from before the live stream, if nothing better is known about it.
    /// [`Self::publish_backfilled`] publishes its window.
    pub fn backfilled(&mut self, closed_window: &ClosedWindow) {
        let minute = closed_window.open_time();
        let Some(window) = self.window(minute) else { return };
        let at = window.at(minute);
        if !matches!(window.minutes[at], Minute::Closed(_) | Minute::Empty) {
            window.put(at, known(closed_window));
            window.has_backfilled = true;
        }
    }

    /// Publishes the windows that a backfill has changed: one candle for each window, not one for
    /// each minute.
    pub fn publish_backfilled(&mut self, received: MonoNs, out: &mut Vec<Folded>) {
        for at in 0..self.windows.len() {
            let window = &mut self.windows[at];
            if std::mem::take(&mut window.has_backfilled) {
                let (open_time, running) = (window.open_time, window.running);
                self.revise(open_time, received, out);
                if running.is_some() {
                    self.publish_running(open_time, running.as_ref(), out);
                }
            }
        }
    }

    /// Publishes what the new state of `minute` changes.
    fn publish_changes(
        &mut self,
        minute: UnixMs,
        is_next: bool,
        update: Option<&CandleUpdate>,
        received: MonoNs,
        out: &mut Vec<Folded>,
    ) {
        if is_next {
            return self.end_through(minute, update, received, out);
        }
        self.revise(minute, received, out);
        let running = self.find(minute).and_then(|window| window.running);
        if running.is_some() {
            self.publish_running(minute, running.as_ref(), out);
        }
    }

    /// Ends every minute up to `minute`, and closes the windows that end by then.
    fn end_through(
        &mut self,
        minute: UnixMs,
        update: Option<&CandleUpdate>,
        received: MonoNs,
        out: &mut Vec<Folded>,
    ) {
        assert!(self.ended.is_none_or(|ended| minute >= ended), "minutes end in order");
        // The first minute that ends begins the series. Windows that were backfilled before it are
        // dropped, because no client waits for them.
        self.begin(before(minute));
        self.ended = Some(minute);
        let instrument = self.instrument;
        for window in &mut self.windows {
            if window.published.is_none() && window.last_minute() <= minute {
                out.push(close(window, instrument, update, received));
            }
        }
        if let Some(update) = update {
            self.publish_running(minute, Some(update), out);
        }
        let oldest = minute.0 - REMEMBERED_MS;
        while self.windows.front().is_some_and(|window| {
            let last = window.last_minute().0;
            let is_past = last < oldest && window.published.is_some();
            is_past && (window.is_complete() || last < minute.0 - REPAIR_WINDOWS_MAX * MINUTE_MS)
        }) {
            self.drop_oldest();
        }
    }

    /// Publishes the running candle of the window of `minute`. Nothing is published if that window
    /// is over, if a later window runs already, or if the candle is the same as before.
    fn publish_running(
        &mut self,
        minute: UnixMs,
        update: Option<&CandleUpdate>,
        out: &mut Vec<Folded>,
    ) {
        let (instrument, ended) = (self.instrument, self.ended);
        let Some(update) = update else { return };
        let open_time = self.interval.open_time(minute);
        let newer = self.windows.iter().rev().take_while(|window| window.open_time > open_time);
        if newer.into_iter().any(|window| window.running.is_some()) {
            return;
        }
        let Some(window) = self.find(minute).filter(|window| window.published.is_none()) else {
            return;
        };
        let over = match ended {
            Some(ended) if ended >= window.open_time => window.at(ended) + 1,
            _ => 0,
        };
        let is_known = |minute: &Minute| *minute != Minute::Unknown;
        let end = window.minutes.iter().rposition(is_known).map_or(0, |last| last + 1);
        let sum = window.sum(over, end.max(over));
        let Some(candle) = sum.candle else { return };
        let source = Source::Derived { missing: sum.missing };
        let is_same = |before: &CandleUpdate| (before.candle, before.source) == (candle, source);
        if window.running.as_ref().is_some_and(is_same) {
            return;
        }
        let running =
            CandleUpdate { instrument, candle, final_by: None, source, revision: 0, ..*update };
        window.running = Some(running);
        out.push(Folded::Candle(running));
    }

    /// Corrects a window that is over, because one of its minutes has changed.
    fn revise(&mut self, minute: UnixMs, received: MonoNs, out: &mut Vec<Folded>) {
        let instrument = self.instrument;
        let Some(window) = self.find(minute) else { return };
        let Some(published) = window.published else { return };
        let sum = window.whole();
        let Some(candle) = sum.candle else {
            if published == Published::Gap && window.is_complete() {
                window.published = Some(Published::Empty);
                out.push(Folded::Empty { open_time: window.open_time });
            }
            return;
        };
        let revision = match published {
            Published::Gap => 0,
            Published::Empty => 1,
            Published::Candle { candle: before, missing, .. }
                if (before, missing) == (candle, sum.missing) =>
            {
                return;
            }
            Published::Candle { revision, .. } => revision.saturating_add(1),
        };
        window.published = Some(Published::Candle { candle, missing: sum.missing, revision });
        let final_by = window.final_by.unwrap_or(FinalBy::Rest);
        out.push(Folded::Candle(closed_candle(instrument, sum, final_by, revision, received)));
    }

    /// The window of `minute`, created if needed; `None` if the window was dropped.
    fn window(&mut self, minute: UnixMs) -> Option<&mut Window> {
        let open_time = self.interval.open_time(minute);
        let found = self.windows.binary_search_by_key(&open_time, |window| window.open_time);
        let at = match found {
            Ok(at) => at,
            Err(_) if self.running_window().is_some_and(|running| open_time < running) => {
                return None;
            }
            Err(at) => {
                let length = self.interval.minutes();
                let room = self.spare.pop().unwrap_or_default();
                self.windows.insert(at, Window::new(open_time, room, length));
                at
            }
        };
        Some(&mut self.windows[at])
    }

    fn find(&mut self, minute: UnixMs) -> Option<&mut Window> {
        let open_time = self.interval.open_time(minute);
        let at = self.windows.binary_search_by_key(&open_time, |window| window.open_time).ok()?;
        Some(&mut self.windows[at])
    }

    fn drop_oldest(&mut self) {
        let window = self.windows.pop_front();
        self.spare.extend(window.map(|window| window.minutes));
        self.spare.truncate(SPARE_MAX);
    }
}

/// Closes a window with the sum of its minutes.
fn close(
    window: &mut Window,
    instrument: InstrumentId,
    update: Option<&CandleUpdate>,
    received: MonoNs,
) -> Folded {
    let sum = window.whole();
    let Some(candle) = sum.candle else {
        let is_empty = sum.missing == 0;
        window.published = Some(if is_empty { Published::Empty } else { Published::Gap });
        let open_time = window.open_time;
        return match is_empty {
            true => Folded::Empty { open_time },
            false => Folded::Gap { first: open_time, count: 1 },
        };
    };
    window.published = Some(Published::Candle { candle, missing: sum.missing, revision: 0 });
    let final_by = window.final_by.unwrap_or(FinalBy::Rest);
    let closed = closed_candle(instrument, sum, final_by, 0, received);
    Folded::Candle(CandleUpdate {
        event_time: update.and_then(|update| update.event_time),
        ..closed
    })
}

fn closed_candle(
    instrument: InstrumentId,
    sum: Sum,
    final_by: FinalBy,
    revision: u16,
    received: MonoNs,
) -> CandleUpdate {
    CandleUpdate {
        instrument,
        candle: sum.candle.expect("a window with a known minute has a candle"),
        event_time: None,
        received,
        until_ring: Lapse::default(),
        kernel: RoughLapse::UNKNOWN,
        final_by: Some(final_by),
        source: Source::Derived { missing: sum.missing },
        revision,
    }
}

/// The window of `interval` at `open_time`, folded from minutes that are all known. `None` if a
/// minute is unknown, or if a sum has too many digits.
pub fn fold_whole(
    instrument: InstrumentId,
    interval: Interval,
    open_time: UnixMs,
    received: MonoNs,
    minute: impl Fn(UnixMs) -> Option<ClosedWindow>,
) -> Option<ClosedWindow> {
    let mut sum = Sum::default();
    let mut final_by = FinalBy::Rest;
    for at in 0..interval.minutes() {
        match minute(minute_after(open_time, at))? {
            ClosedWindow::Empty { .. } => {}
            ClosedWindow::Candle(update) => {
                sum.add(open_time, &update.candle);
                final_by = update.final_by.unwrap_or(final_by);
            }
        }
    }
    match sum {
        Sum { candle: None, missing: 0 } => Some(ClosedWindow::Empty { open_time }),
        Sum { candle: Some(_), missing: 0 } => {
            Some(ClosedWindow::Candle(closed_candle(instrument, sum, final_by, 0, received)))
        }
        Sum { .. } => None,
    }
}

fn known(closed_window: &ClosedWindow) -> Minute {
    match closed_window {
        ClosedWindow::Candle(update) => Minute::Closed(update.candle),
        ClosedWindow::Empty { .. } => Minute::Empty,
    }
}

fn minute_after(minute: UnixMs, count: usize) -> UnixMs {
    UnixMs(
        minute.0.saturating_add(i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(MINUTE_MS)),
    )
}

fn before(minute: UnixMs) -> UnixMs {
    UnixMs(minute.0 - MINUTE_MS)
}

/// Length of a minute, in ms.
const MINUTE_MS: i64 = 60_000;

/// How far back a minute can be restated, in ms. Source: the windows that a series remembers.
const REMEMBERED_MS: i64 = REMEMBERED as i64 * MINUTE_MS;

/// Buffers kept for new windows. Source: one window runs while the one before can be restated.
const SPARE_MAX: usize = 2;

const _: () =
    assert!(FOLD_MINUTES_MAX <= u16::MAX as usize, "missing minutes are counted in 16 bits");

#[cfg(test)]
mod tests;
