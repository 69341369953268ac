//! Longer candles derived from minutes: this file is to derived series what a shard is to the
//! exchange's own. Owns which derived series are attached to which one-minute series, and how their
//! history is asked for in minutes. [`Fold`] makes longer candles of minutes.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::{Now, UnixMs};
use crate::fanout::Fanout;
use crate::limits::FOLD_MINUTES_MAX;
use crate::market::fold::fold_whole;
use crate::market::{CandleUpdate, ClosedWindow, Fold, Folded, InstrumentId, Interval, Span};
use crate::messages::{BackfillFrom, Command, MarketEvent, Wish};

/// How a derived series is made, while it is streamed.
#[derive(Debug)]
pub(crate) struct Derivation {
    fold: Fold,
    interval: Interval,
    /// The backfills that its subscriptions wait for, the oldest first.
    backfills: VecDeque<Backfill>,
}

/// Windows that are wanted, until their minutes have come.
#[derive(Debug)]
struct Backfill {
    from: BackfillFrom,
    to: Option<UnixMs>,
    /// The backfill of minutes that it waits for, in the count of the one-minute series; 0: none.
    ticket: u64,
    /// The wish of the derived series.
    wish: Wish,
    minutes: BTreeMap<i64, ClosedWindow>,
}

impl Backfill {
    /// Keeps a minute. A backfilled one does not replace a published one.
    fn keep(&mut self, closed_window: &ClosedWindow, is_backfilled: bool) {
        let minute = closed_window.open_time().0;
        if !is_backfilled || !self.minutes.contains_key(&minute) {
            self.minutes.insert(minute, *closed_window);
        }
    }
}

/// Number of windows that the history of a derived series has at most.
pub(crate) fn derived_windows_max(interval: Interval) -> usize {
    FOLD_MINUTES_MAX / interval.minutes().max(1)
}

impl Fanout {
    /// Does for a derived series what a shard would do for one of its own.
    pub(crate) fn command_derived(
        &mut self,
        id: InstrumentId,
        base: InstrumentId,
        command: &Command,
        now: Now,
    ) {
        match command {
            Command::Subscribe { .. } => self.attach(id, base, now),
            Command::Unsubscribe { .. } | Command::Forget { .. } => self.detach(id, base),
            Command::Backfill { from, to, wish, .. } => {
                self.backfill_minutes(id, base, (*from, *to), *wish, now);
                self.end_derived_backfills(id, base, now);
            }
            Command::Stop => {}
        }
    }

    /// Folds the minutes of `base` into `id` from now on. The known minutes of the running window
    /// are folded at once; the others are asked for.
    fn attach(&mut self, id: InstrumentId, base: InstrumentId, now: Now) {
        let interval = self.hub.instrument(id).interval;
        if self.hub.attach_derived(id, base) {
            self.command_subscribe(base, now);
        }
        let mut fold = Fold::new(id, interval);
        let mut out = std::mem::take(&mut self.folded);
        let Some(minutes) = self.hub.stream(base) else { return };
        let mut wanted = (BackfillFrom::Last(count(interval)), None);
        let mut is_asked = true;
        if let Some(newest) = minutes.history.newest() {
            fold.begin(newest);
            let window = fold.running_window().unwrap_or(newest);
            let span = Span::new(window, newest);
            for closed_window in span.into_iter().flat_map(|span| minutes.history.known(span)) {
                fold.backfilled(closed_window);
            }
            let absent = span.map_or_else(Vec::new, |it| minutes.history.absent(it, Interval::M1));
            match (absent.first(), absent.last()) {
                (Some(first), Some(last)) => {
                    wanted = (BackfillFrom::Window(first.first), Some(last.last));
                }
                _ => is_asked = false,
            }
        }
        if let Some(latest) = minutes.latest(now).filter(|latest| !latest.is_closed()) {
            fold.open(&latest, &mut out);
        }
        // It is the newest candle of the new stream, and is not published.
        let newest = out.drain(..).rev().find_map(|folded| match folded {
            Folded::Candle(update) => Some(update),
            Folded::Empty { .. } | Folded::Gap { .. } => None,
        });
        self.folded = out;
        if is_asked {
            // The backfill is for the first client, if there is one.
            let first = self.hub.stream(id).and_then(|stream| stream.interests.first());
            let client = first.map_or(u32::MAX, |interest| interest.client);
            self.ask_minutes(base, wanted, Wish { client, ..Wish::default() }, now);
        }
        let Some(stream) = self.hub.stream(id) else { return };
        stream.start();
        stream.derivation =
            Some(Box::new(Derivation { fold, interval, backfills: VecDeque::new() }));
        if let Some(newest) = newest {
            stream.take(&newest);
        }
    }

    /// Stops making `id`.
    fn detach(&mut self, id: InstrumentId, base: InstrumentId) {
        if let Some(stream) = self.hub.stream(id) {
            stream.derivation = None;
        }
        self.hub.detach_derived(id, base);
    }

    /// Asks for the minutes of past windows. Returns the ticket to wait for.
    fn ask_minutes(
        &mut self,
        base: InstrumentId,
        (from, to): (BackfillFrom, Option<UnixMs>),
        wish: Wish,
        now: Now,
    ) -> u64 {
        let span = match (from, to) {
            (BackfillFrom::Window(first), Some(last)) => Span::new(first, last),
            _ => None,
        };
        let ticket = self.hub.stream(base).map_or(0, |minutes| minutes.backfills.ask(span));
        let wish = Wish { ticket, ..wish };
        self.command(base, Command::Backfill { id: base, from, to, wish }, now);
        ticket
    }

    fn backfill_minutes(
        &mut self,
        id: InstrumentId,
        base: InstrumentId,
        (from, to): (BackfillFrom, Option<UnixMs>),
        wish: Wish,
        now: Now,
    ) {
        let interval = self.hub.instrument(id).interval;
        let Some(minutes) = self.hub.stream(base) else { return };
        let mut backfill = Backfill { from, to, ticket: 0, wish, minutes: BTreeMap::new() };
        backfill.ticket = match minutes.history.newest() {
            None => {
                let from = match from {
                    BackfillFrom::Last(windows) => BackfillFrom::Last(
                        windows.saturating_add(1).saturating_mul(count(interval)),
                    ),
                    BackfillFrom::Window(first) => BackfillFrom::Window(first),
                };
                self.ask_minutes(base, (from, None), wish, now)
            }
            Some(newest) => {
                let windows = window_range(&backfill, interval, newest);
                let last = UnixMs(windows.1.0 + interval.ms() - Interval::M1.ms());
                let span = Span::new(windows.0, last);
                let known = span.into_iter().flat_map(|span| minutes.history.known(span));
                known.for_each(|closed_window| backfill.keep(closed_window, false));
                let absent =
                    span.map_or_else(Vec::new, |span| minutes.history.absent(span, Interval::M1));
                match (absent.first(), absent.last()) {
                    (Some(first), Some(last)) => {
                        let wanted = (BackfillFrom::Window(first.first), Some(last.last));
                        self.ask_minutes(base, wanted, wish, now)
                    }
                    _ => 0,
                }
            }
        };
        if let Some(derivation) = self.hub.derivation(id) {
            derivation.backfills.push_back(backfill);
        }
    }

    /// Publishes the windows for which all minutes have come.
    fn end_derived_backfills(&mut self, id: InstrumentId, base: InstrumentId, now: Now) {
        loop {
            let Some(derivation) = self.hub.derivation(id) else { return };
            let interval = derivation.interval;
            let tickets: Vec<u64> =
                derivation.backfills.iter().map(|backfill| backfill.ticket).collect();
            let Some(minutes) = self.hub.stream(base) else { return };
            let due = tickets.iter().position(|&ticket| minutes.backfills.is_ended(ticket));
            let (Some(at), Some(newest)) = (due, minutes.history.newest()) else { return };
            let backfill = self.hub.derivation(id).and_then(|one| one.backfills.remove(at));
            let Some(backfill) = backfill else { return };
            let ticket = backfill.wish.ticket;
            let (first, last) = window_range(&backfill, interval, newest);
            self.fold_backfilled(id, &backfill, (first, last), now);
            let through = last.max(UnixMs(first.0 - interval.ms()));
            let end = MarketEvent::BackfillEnd { instrument: id, from: first, through, ticket };
            self.handle_market(&end, now);
        }
    }

    /// Publishes the complete windows of a derived series, though other windows of the same wish
    /// may still come.
    pub(crate) fn publish_complete_windows(&mut self, id: InstrumentId, now: Now) {
        let newest = self.hub.base(id).and_then(|base| self.hub.history_end(base));
        let (Some(newest), Some(derivation)) = (newest, self.hub.derivation(id)) else { return };
        let interval = derivation.interval;
        let backfills = std::mem::take(&mut derivation.backfills);
        for backfill in &backfills {
            self.fold_backfilled(id, backfill, window_range(backfill, interval, newest), now);
        }
        if let Some(derivation) = self.hub.derivation(id) {
            derivation.backfills = backfills;
        }
    }

    /// Publishes the windows from `first` to `last` for which all minutes are known.
    fn fold_backfilled(
        &mut self,
        id: InstrumentId,
        backfill: &Backfill,
        (first, last): (UnixMs, UnixMs),
        now: Now,
    ) {
        let interval = self.hub.instrument(id).interval;
        let minute = |at: UnixMs| backfill.minutes.get(&at.0).copied();
        let mut window = first;
        while window <= last {
            let event = match fold_whole(id, interval, window, now.mono, minute) {
                None => None,
                Some(ClosedWindow::Candle(update)) => Some(MarketEvent::Backfilled(update)),
                Some(ClosedWindow::Empty { open_time }) => {
                    Some(MarketEvent::Empty { instrument: id, open_time, is_backfilled: true })
                }
            };
            event.into_iter().for_each(|event| self.handle_market(&event, now));
            window = UnixMs(window.0 + interval.ms());
        }
    }

    /// Folds an event of a series into the series derived from it.
    pub(crate) fn derive(&mut self, base: InstrumentId, event: &MarketEvent, now: Now) {
        let Some(minutes) = self.hub.stream(base).filter(|stream| stream.is_live()) else { return };
        let newest = minutes.history.newest();
        for at in 0.. {
            let Some(id) = self.hub.derived_at(base, at) else { return };
            let mut out = std::mem::take(&mut self.folded);
            if let Some(derivation) = self.hub.derivation(id) {
                derivation.take(event, newest, now, &mut out);
            }
            for folded in out.drain(..) {
                self.handle_market(&published(id, folded), now);
            }
            self.folded = out;
            if let MarketEvent::Candle(update) = event
                && update.is_closed()
            {
                self.restate_past(id, base, update.candle.open_time, now);
            }
            if matches!(event, MarketEvent::BackfillEnd { .. }) {
                self.end_derived_backfills(id, base, now);
            }
        }
    }
}

impl Fanout {
    /// Publishes a correction if a restated minute changes a backfilled window that is no longer
    /// folded.
    fn restate_past(&mut self, id: InstrumentId, base: InstrumentId, minute: UnixMs, now: Now) {
        let interval = self.hub.instrument(id).interval;
        let window = interval.open_time(minute);
        if self.hub.derivation(id).is_none_or(|derivation| derivation.fold.has(window)) {
            return;
        }
        let kept = self.hub.stream(id).and_then(|stream| stream.history.at(window).copied());
        let Some(ClosedWindow::Candle(kept)) = kept else { return };
        let Some(minutes) = self.hub.stream(base) else { return };
        let known = |at: UnixMs| minutes.history.at(at).copied();
        let whole = fold_whole(id, interval, window, now.mono, known);
        if let Some(ClosedWindow::Candle(whole)) = whole
            && whole.candle != kept.candle
        {
            let revision = kept.revision.saturating_add(1);
            self.handle_market(&MarketEvent::Candle(CandleUpdate { revision, ..whole }), now);
        }
    }
}

impl Derivation {
    /// Folds one event of the minutes. `newest`: the newest minute that was published.
    fn take(
        &mut self,
        event: &MarketEvent,
        newest: Option<UnixMs>,
        now: Now,
        out: &mut Vec<Folded>,
    ) {
        let fold = &mut self.fold;
        let (closed_window, is_backfilled) = match event {
            MarketEvent::Candle(update) if !update.is_closed() => return fold.open(update, out),
            MarketEvent::Gap { first_missing, missing, .. } => {
                return fold.missing(*first_missing, *missing, now.mono, out);
            }
            MarketEvent::BackfillEnd { .. } => {
                newest.into_iter().for_each(|newest| fold.begin(newest));
                return fold.publish_backfilled(now.mono, out);
            }
            MarketEvent::Begin { .. }
            | MarketEvent::Verified { .. }
            | MarketEvent::BackfillGap { .. } => return,
            MarketEvent::Candle(update) => {
                fold.closed(update, out);
                (ClosedWindow::Candle(*update), false)
            }
            MarketEvent::Empty { open_time, is_backfilled: false, .. } => {
                fold.empty(*open_time, now.mono, out);
                (ClosedWindow::Empty { open_time: *open_time }, false)
            }
            MarketEvent::Backfilled(update) => (ClosedWindow::Candle(*update), true),
            MarketEvent::Empty { open_time, .. } => {
                (ClosedWindow::Empty { open_time: *open_time }, true)
            }
        };
        if is_backfilled {
            fold.backfilled(&closed_window);
        }
        self.backfills.iter_mut().for_each(|backfill| backfill.keep(&closed_window, is_backfilled));
    }
}

/// The first and the last window of a backfill. `newest`: the newest past minute.
fn window_range(backfill: &Backfill, interval: Interval, newest: UnixMs) -> (UnixMs, UnixMs) {
    let running = interval.open_time(UnixMs(newest.0 + Interval::M1.ms()));
    let end = UnixMs(running.0 - interval.ms());
    let last = backfill.to.map_or(end, |to| to.min(end));
    let first = match backfill.from {
        BackfillFrom::Window(first) => first,
        BackfillFrom::Last(windows) => UnixMs(last.0 - (i64::from(windows) - 1) * interval.ms()),
    };
    (first, last)
}

fn published(instrument: InstrumentId, folded: Folded) -> MarketEvent {
    match folded {
        Folded::Candle(update) => MarketEvent::Candle(update),
        Folded::Empty { open_time } => {
            MarketEvent::Empty { instrument, open_time, is_backfilled: false }
        }
        Folded::Gap { first, count } => {
            MarketEvent::Gap { instrument, first_missing: first, missing: count }
        }
    }
}

/// Number of minutes in a window.
fn count(interval: Interval) -> u32 {
    u32::try_from(interval.minutes()).unwrap_or(u32::MAX)
}
