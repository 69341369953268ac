//! Longer candles folded of closed minutes, exactly. Owns which minutes a window has, when it is over,
//! and what it becomes when a minute is repaired or restated later; asks for no minute and publishes
//! nothing.
//!
//! Minutes come as their own series publishes them: in order, each once; those that were given up may
//! come late, those of the past when they are recalled, and any may be restated. A window closes with
//! its last minute and not before; while a minute of it is not known, its candle says so.

use std::collections::VecDeque;

use crate::clock::{Lapse, MonoNs, RoughLapse, UnixMs};
use crate::limits::{FOLD_MINUTES_MAX, REPAIR_WINDOWS_MAX};

use super::candle::{Candle, CandleUpdate, FinalBy, Source};
use super::interval::Interval;
use super::series::{ClosedWindow, REMEMBERED};
use super::table::InstrumentId;

/// What is to be published of a longer series.
// Nearly all are candles.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folded {
    /// A candle, open, closed, or (with a revision) closed and changed.
    Candle(CandleUpdate),
    /// A window without any trade.
    Empty {
        /// Which one.
        open_time: UnixMs,
    },
    /// Windows of which no minute is known, before what follows them.
    Gap {
        /// The first.
        first: UnixMs,
        /// How many, at least 1.
        count: u64,
    },
}

/// The newest windows of one longer series.
#[derive(Clone, Debug)]
pub struct Fold {
    instrument: InstrumentId,
    interval: Interval,
    /// Ascending. Windows that are complete and can no longer be restated are dropped.
    windows: VecDeque<Window>,
    /// Room of dropped windows, for the next ones.
    spare: Vec<Vec<Minute>>,
    /// The newest minute of which was told how it ended, in order. Never goes back.
    published: Option<UnixMs>,
}

/// What is known of one minute.
// Nearly all are candles.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Minute {
    Unknown,
    Empty,
    Running(Candle),
    Closed(Candle),
}

/// What was published of a window that is over.
// Nearly all are candles.
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
    /// The first so many minutes are in `prefix`: they are over, whether or not they are known.
    folded: usize,
    prefix: Sum,
    /// The newest open candle published.
    running: Option<CandleUpdate>,
    /// The evidence of the newest closed minute.
    final_by: Option<FinalBy>,
    published: Option<Published>,
    /// Whether minutes of the past were put into it since it was told last.
    has_backfilled: bool,
}

/// Minutes added up. A window begins with its first trade: a flat minute counts where all are flat.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    /// Of the minutes with trades, or while there are none, of the flat ones.
    candle: Option<Candle>,
    /// Minutes that are not in it, because they are not known or their sum does not fit.
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

/// A candle and the minute that follows it; `None` if a sum has too many digits.
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
        usize::try_from((minute.0 - self.open_time.0) / STEP_MS).expect("a minute of the window")
    }

    /// Puts a minute; what was added up with another one is added up anew.
    fn put(&mut self, at: usize, minute: Minute) {
        self.minutes[at] = minute;
        if at < self.folded {
            (self.folded, self.prefix) = (0, Sum::default());
        }
    }

    /// The sum of all minutes before `over`, which are over, and of those up to `end` that run.
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

    fn whole(&mut self) -> Sum {
        let length = self.minutes.len();
        self.sum(length, length)
    }

    fn is_complete(&self) -> bool {
        let is_known = |minute: &Minute| matches!(minute, Minute::Closed(_) | Minute::Empty);
        self.minutes.iter().all(is_known)
    }
}

impl Fold {
    /// The series of `interval` that is published as `instrument`.
    ///
    /// # Panics
    /// If `interval` is not made of minutes.
    pub fn new(instrument: InstrumentId, interval: Interval) -> Self {
        assert!(interval.is_foldable(), "{} is not made of minutes", interval.name());
        let (windows, spare) = (VecDeque::new(), Vec::new());
        Self { instrument, interval, windows, spare, published: None }
    }

    /// Everything up to the minute `through` is past: windows that end with it are not published.
    pub fn begin(&mut self, through: UnixMs) {
        if self.published.is_some() {
            return;
        }
        self.published = Some(through);
        let first = self.running_window();
        while self.windows.front().is_some_and(|window| Some(window.open_time) < first) {
            self.drop_oldest();
        }
    }

    /// The window that runs: the one of the first minute of which nothing was told. `None`: nothing
    /// was told at all.
    pub fn running_window(&self) -> Option<UnixMs> {
        Some(self.interval.open_time(minute_after(self.published?, 1)))
    }

    /// Whether the window is among those that change with their minutes.
    pub fn has(&self, window: UnixMs) -> bool {
        self.windows.binary_search_by_key(&window, |one| one.open_time).is_ok()
    }

    /// A minute runs.
    pub fn open(&mut self, update: &CandleUpdate, out: &mut Vec<Folded>) {
        let minute = update.candle.open_time;
        if self.published >= Some(minute) {
            return;
        }
        let Some(window) = self.window(minute) else { return };
        let at = window.at(minute);
        if matches!(window.minutes[at], Minute::Unknown | Minute::Running(_)) {
            window.put(at, Minute::Running(update.candle));
            self.publish_running(minute, Some(update), out);
        }
    }

    /// A minute closed, in order, late, or restated.
    pub fn closed(&mut self, update: &CandleUpdate, out: &mut Vec<Folded>) {
        let (minute, received) = (update.candle.open_time, update.received);
        let is_next = self.published.is_none_or(|published| minute > published);
        if let Some(window) = self.window(minute) {
            let at = window.at(minute);
            window.put(at, Minute::Closed(update.candle));
            if is_next {
                window.final_by = update.final_by;
            }
        }
        self.follow(minute, is_next, Some(update), received, out);
    }

    /// A minute turned out to be without trades, in order or late.
    pub fn empty(&mut self, minute: UnixMs, received: MonoNs, out: &mut Vec<Folded>) {
        let is_next = self.published.is_none_or(|published| minute > published);
        if let Some(window) = self.window(minute) {
            let at = window.at(minute);
            window.put(at, Minute::Empty);
        }
        self.follow(minute, is_next, None, received, out);
    }

    /// `count` minutes from `first` on were given up. They may still come.
    pub fn missing(&mut self, first: UnixMs, count: u64, received: MonoNs, out: &mut Vec<Folded>) {
        let count = usize::try_from(count).unwrap_or(usize::MAX).max(1);
        let last = minute_after(first, count - 1);
        // Older windows are never repaired: nothing of them is kept.
        let oldest = self.interval.open_time(UnixMs(last.0 - REPAIR_WINDOWS_MAX * STEP_MS));
        let mut minute = first;
        while minute <= last {
            let next = UnixMs(self.interval.open_time(minute).0 + self.interval.ms());
            let _made = self.window(minute);
            self.tell(last.min(before(next)), None, received, out);
            minute = next;
            if minute < oldest {
                let count = ((oldest.0 - minute.0) / self.interval.ms()).unsigned_abs();
                out.push(Folded::Gap { first: minute, count });
                (minute, self.published) = (oldest, Some(before(oldest)));
            }
        }
    }

    /// A minute of the past, of which nothing better may be known. It is told with the others that
    /// come with it, see [`Self::publish_backfilled`].
    pub fn backfilled(&mut self, closed_window: &ClosedWindow) {
        let minute = closed_window.open_time();
        let Some(window) = self.window(minute) else { return };
        let at = window.at(minute);
        if !matches!(window.minutes[at], Minute::Closed(_) | Minute::Empty) {
            window.put(at, known(closed_window));
            window.has_backfilled = true;
        }
    }

    /// All minutes of the past that were asked for have come: one candle of each window that they
    /// change, not one for each of them.
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

    /// What follows from what was put into `minute`.
    fn follow(
        &mut self,
        minute: UnixMs,
        is_next: bool,
        update: Option<&CandleUpdate>,
        received: MonoNs,
        out: &mut Vec<Folded>,
    ) {
        if is_next {
            return self.tell(minute, update, received, out);
        }
        self.revise(minute, received, out);
        let running = self.find(minute).and_then(|window| window.running);
        if running.is_some() {
            self.publish_running(minute, running.as_ref(), out);
        }
    }

    /// Everything up to `minute` is over: windows that end with it close.
    fn tell(
        &mut self,
        minute: UnixMs,
        update: Option<&CandleUpdate>,
        received: MonoNs,
        out: &mut Vec<Folded>,
    ) {
        assert!(
            self.published.is_none_or(|published| minute >= published),
            "minutes are told in order"
        );
        // Recalled windows before the first one are nobody's news.
        self.begin(before(minute));
        self.published = Some(minute);
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
            is_past && (window.is_complete() || last < minute.0 - REPAIR_WINDOWS_MAX * STEP_MS)
        }) {
            self.drop_oldest();
        }
    }

    /// Publishes the running candle of the window of `minute`, if that window runs, none after it was
    /// seen to run, and its candle is another than before.
    fn publish_running(
        &mut self,
        minute: UnixMs,
        update: Option<&CandleUpdate>,
        out: &mut Vec<Folded>,
    ) {
        let (instrument, published) = (self.instrument, self.published);
        let Some(update) = update else { return };
        let of = self.interval.open_time(minute);
        let newer = self.windows.iter().rev().take_while(|window| window.open_time > of);
        if newer.into_iter().any(|window| window.running.is_some()) {
            return;
        }
        let Some(window) = self.find(minute).filter(|window| window.published.is_none()) else {
            return;
        };
        let over = match published {
            Some(published) if published >= window.open_time => window.at(published) + 1,
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

    /// A window that is over changes with one of its minutes.
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

    /// The window of `minute`, made if it is not past.
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

/// The window is over.
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
        candle: sum.candle.expect("a window with a minute that is known"),
        event_time: None,
        received,
        until_ring: Lapse::default(),
        kernel: RoughLapse::UNKNOWN,
        final_by: Some(final_by),
        source: Source::Derived { missing: sum.missing },
        revision,
    }
}

/// The window of `interval` at `open_time`, folded of minutes that are all known; `None` if one is
/// not, or a sum has too many digits.
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
        minute.0.saturating_add(i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(STEP_MS)),
    )
}

fn before(minute: UnixMs) -> UnixMs {
    UnixMs(minute.0 - STEP_MS)
}

const STEP_MS: i64 = 60_000;

/// As far back as a minute can be restated.
const REMEMBERED_MS: i64 = REMEMBERED as i64 * STEP_MS;

/// Buffers kept for coming windows: one runs while the one before can be restated.
const SPARE_MAX: usize = 2;

const _: () =
    assert!(FOLD_MINUTES_MAX <= u16::MAX as usize, "missing minutes are counted in 16 bits");

#[cfg(test)]
mod tests;
