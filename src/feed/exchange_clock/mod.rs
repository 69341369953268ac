//! The time at an exchange, as its pushes and its REST answers show it. Owns the estimate, and the
//! decision whether a message is believed; does not decide what follows from either.
//!
//! No single source moves the clock. A push is believed unless it lies ahead of the other sources:
//! the other streams of its market and the `Date` of REST. Before there are any, the local wall
//! clock stands in, which may be wrong by days. A push that lies ahead of all sources is believed
//! once a second source agrees and fewer contradict.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::market::InstrumentId;
use crate::venue::Kline;

/// The exchange's time minus the monotonic clock, in ms. It is constant while both run.
type OffsetMs = i64;

/// The clock of one market.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExchangeClock {
    /// The streams that were believed last, with the times that they showed.
    believed: ArrayVec<Witness, WITNESSES_MAX>,
    /// The place in `believed` for the next new stream once all places are taken.
    next_place: usize,
    /// Streams that were not believed and may still turn out to be right.
    strays: ArrayVec<Stray, STRAYS_MAX>,
    /// The time that the `Date` of REST showed.
    rest: Option<Dated>,
    /// The time that a disbelieved `Date` showed.
    doubted: Option<OffsetMs>,
    /// The stream for which REST will be asked for its `Date`.
    asker: Option<InstrumentId>,
    /// REST is not asked for its `Date` alone before.
    ask_at: MonoNs,
}

/// A time that REST showed.
#[derive(Clone, Copy, Debug)]
struct Dated {
    shown: OffsetMs,
    at: MonoNs,
    /// Since when all `Date`s have agreed to within [`EXACT_MS`].
    since: MonoNs,
}

impl Dated {
    /// Returns whether the `Date`s have agreed for a while. A recording that is played too fast
    /// soon shows another time.
    fn is_steady(&self) -> bool {
        self.since.after(STEADY) <= self.at
    }
}

/// The time at which a message was made, as far as the message shows it.
#[derive(Clone, Copy, Debug)]
struct Shown {
    /// It was not made earlier.
    low: OffsetMs,
    /// It was not made later, unless it was delayed. Equal to `low` if the message has its own
    /// time.
    high: OffsetMs,
}

/// A stream that is believed.
#[derive(Clone, Copy, Debug)]
struct Witness {
    source: InstrumentId,
    shown: Shown,
    at: MonoNs,
    /// When the stream was first believed.
    since: MonoNs,
    /// The time that the stream showed when it was first believed. Alone it must stay near that.
    anchor: OffsetMs,
    /// Number of messages in a row that lay far behind.
    behind: u8,
}

/// A stream that is not believed.
#[derive(Clone, Copy, Debug)]
struct Stray {
    source: InstrumentId,
    shown: Shown,
    since: MonoNs,
    at: MonoNs,
    count: u32,
}

impl Shown {
    fn of(kline: &Kline<'_>, mono_ms: i64) -> Self {
        let open_ms = kline.candle.open_time.0;
        let close_ms = kline.interval.close_time(kline.candle.open_time).0;
        let (low, high) = match (kline.event_time, kline.is_closed) {
            (Some(time), _) => (time.0.max(open_ms), time.0.max(open_ms)),
            (None, Some(true)) => (close_ms, close_ms + kline.interval.ms()),
            (None, _) => (open_ms, close_ms),
        };
        Self { low: low - mono_ms, high: high - mono_ms }
    }

    /// The time that the window alone shows: an open window has begun, a closed one is over.
    fn begun(kline: &Kline<'_>, mono_ms: i64) -> Self {
        let interval_ms = kline.interval.ms();
        let is_closed = kline.is_closed == Some(true);
        let window_ms = kline.candle.open_time.0 + if is_closed { interval_ms } else { 0 };
        let low = kline.event_time.map_or(window_ms, |time| time.0.max(window_ms)) - mono_ms;
        Self { low, high: low.max(window_ms + interval_ms - mono_ms) }
    }

    /// Returns whether both may be of the same time, to within `limit_ms`.
    fn agrees(self, other: Self, limit_ms: i64) -> bool {
        self.low <= other.high + limit_ms && other.low <= self.high + limit_ms
    }

    /// The latest time that the message may show if it was delayed by at most [`NEAR_MS`].
    fn latest(self) -> OffsetMs {
        self.high.min(self.low + NEAR_MS)
    }

    fn is_near(self, time: OffsetMs) -> bool {
        self.agrees(Self { low: time, high: time }, NEAR_MS)
    }
}

impl ExchangeClock {
    /// Returns whether a push is believed: it lies at most `limit_ms` ahead of the other sources,
    /// or a second source agrees with it. If the wall clock is known to be right, its window must
    /// also have begun, or be over if the push is flagged closed. A believed push becomes what its
    /// stream shows.
    pub(crate) fn believes(
        &mut self,
        source: InstrumentId,
        kline: &Kline<'_>,
        limit_ms: i64,
        now: Now,
    ) -> bool {
        let shown = Shown::of(kline, mono_ms(now.mono));
        let reference = self.reference(now);
        let is_ahead = shown.low > reference.saturating_add(limit_ms)
            && shown.low > self.shown_beside(source).saturating_add(limit_ms);
        let begun = Shown::begun(kline, mono_ms(now.mono));
        let is_early =
            begun.low > wall(now).saturating_add(CLOCK_ERROR_MS) && self.is_wall_right(source, now);
        let (claim, claim_limit_ms) =
            if is_ahead { (shown, limit_ms) } else { (begun, CLOCK_ERROR_MS) };
        let is_doubtful = is_ahead || is_early;
        if is_doubtful && !self.is_confirmed(source, claim, claim_limit_ms, now) {
            self.asker = Some(source);
            return false;
        }
        let is_exact = shown.low == shown.high && shown.is_near(reference);
        if !is_exact && !self.rest.is_some_and(|rest| rest.is_steady()) {
            // The pushes have no time of their own, or another one than the wall clock, so that
            // REST is asked for the time.
            self.asker = Some(source);
        }
        if !self.strays.is_empty() {
            self.strays.retain(|stray| stray.source != source);
        }
        self.record(source, shown, now.mono);
        true
    }

    /// Returns whether the wall clock is the market's clock, to within seconds. For a while the
    /// `Date` of REST, or two streams with times of their own, have agreed with it, and no streams
    /// are ahead of it.
    #[cold]
    fn is_wall_right(&self, source: InstrumentId, now: Now) -> bool {
        let wall = wall(now);
        let is_wall = |shown: Shown| {
            shown.low == shown.high && shown.low.abs_diff(wall) <= EXACT_MS.unsigned_abs()
        };
        let is_fresh = |one: &&Witness| one.at.after(WITNESS_FRESH) > now.mono;
        let others = self.believed.iter().filter(|one| one.source != source);
        let is_steady = |one: &&Witness| one.since.after(STEADY) <= one.at;
        let agreeing = others.filter(is_fresh).filter(is_steady);
        let agreeing = agreeing.filter(|one| is_wall(one.shown)).count();
        let is_date = self.rest.is_some_and(|rest| {
            rest.is_steady() && is_wall(Shown { low: rest.shown, high: rest.shown })
        });
        let is_ahead = |one: &&Witness| one.shown.low > wall.saturating_add(EXACT_MS);
        let ahead = self.believed.iter().filter(is_ahead).count();
        (is_date || agreeing >= 2) && ahead < self.believed.len().clamp(1, 2)
    }

    /// Takes the time of a REST answer, which is cut to the second. Returns whether it is believed.
    pub(crate) fn apply_date(&mut self, time: UnixMs, now: Now) -> bool {
        let date = time.0.saturating_sub(mono_ms(now.mono));
        let is_near = |other: OffsetMs| date.abs_diff(other) <= NEAR_MS.unsigned_abs();
        if self.leap_to(date, now) {
            return true;
        }
        let wall = wall(now);
        let pushed = self.pushed(wall);
        let is_shown = pushed.is_some_and(|shown| shown.is_near(date));
        let is_refuted = !is_shown && pushed.is_some_and(|shown| shown.is_near(wall));
        let is_known =
            is_shown || is_near(wall) || self.rest.is_some_and(|rest| is_near(rest.shown));
        let is_first = pushed.is_none() && self.rest.is_none();
        let is_repeated = self.doubted.replace(date).is_some_and(is_near);
        if is_refuted {
            self.rest = self.rest.filter(|rest| !is_near(rest.shown));
        }
        if is_refuted || !(is_known || is_first || is_repeated) {
            return false;
        }
        // The answer that was under way for the shortest time is nearest.
        let before = self.rest.filter(|rest| is_near(rest.shown));
        let shown = before.map_or(date, |rest| rest.shown.max(date));
        let same = before.filter(|rest| rest.shown.abs_diff(date) <= EXACT_MS.unsigned_abs());
        let since = same.map_or(now.mono, |rest| rest.since);
        (self.rest, self.doubted) = (Some(Dated { shown, at: now.mono, since }), None);
        true
    }

    /// The exchange's time now; too early by at most the way of a message.
    pub(crate) fn now(&self, now: Now) -> UnixMs {
        UnixMs(self.offset_ms(now).saturating_add(mono_ms(now.mono)))
    }

    /// The exchange's time now, for the beginning of a series: one answer's `Date` does not move it
    /// into a later day than the wall clock's.
    pub(crate) fn begin_now(&self, now: Now) -> UnixMs {
        let shown = self.now(now);
        let latest = now.unix_ms().0.saturating_add(DAY_MS);
        let is_ahead = shown.0 > latest && self.believed.is_empty();
        if is_ahead { now.unix_ms() } else { shown }
    }

    /// The exchange's time minus our monotonic clock, in ms.
    pub(crate) fn offset_ms(&self, now: Now) -> i64 {
        let reference = self.reference(now);
        match self.pushed(reference) {
            None => reference,
            // A push without a time of its own only shows that its window has begun.
            Some(shown) if shown.low < shown.high && shown.is_near(reference) => {
                let is_exact = self.rest.is_some() && self.believed.len() == 1;
                if is_exact { reference } else { shown.low.max(reference) }
            }
            Some(shown) if self.believed.len() == 1 => reference.clamp(shown.low, shown.high),
            Some(shown) => shown.low,
        }
    }

    /// The latest open time of a window that may have begun.
    pub(crate) fn latest_open(&self, now: Now) -> UnixMs {
        let reference = self.reference(now).saturating_add(mono_ms(now.mono));
        UnixMs(self.now(now).0.max(reference).saturating_add(CLOCK_ERROR_MS))
    }

    /// The exchange's time now, if two sources agree on it: a stream other than `but` with REST, or
    /// with the wall clock before REST answered; or REST, for a while, with the wall clock. `None`
    /// if nothing is known, or if a recording is played.
    pub(crate) fn agreed_now(&self, but: InstrumentId, now: Now) -> Option<UnixMs> {
        let reference = self.reference(now);
        let mut others = self.believed.iter().filter(|one| one.source != but);
        if others.any(|one| one.shown.is_near(reference)) {
            return Some(self.now(now));
        }
        let wall = Shown { low: wall(now), high: wall(now) };
        let is_wall = |rest: &Dated| rest.is_steady() && wall.is_near(rest.shown);
        self.rest.filter(is_wall).map(|_| UnixMs(reference.saturating_add(mono_ms(now.mono))))
    }

    /// Returns whether no `Date` of REST contradicts that the window has begun. Otherwise its push
    /// proves nothing about the window before.
    pub(crate) fn has_begun(&self, open_time: UnixMs, now: Now) -> bool {
        let Some(Dated { shown: rest, .. }) = self.rest else { return true };
        let opens_at = open_time.0.saturating_sub(mono_ms(now.mono) + CLOCK_ERROR_MS);
        opens_at <= rest || self.pushed(rest).is_some_and(|shown| opens_at <= shown.low)
    }

    /// The stream with which REST is asked for its `Date` now; `None` while no request is due.
    pub(crate) fn take_asker(&mut self, now: MonoNs) -> Option<InstrumentId> {
        let asker = self.asker.take().filter(|_| self.ask_at <= now)?;
        self.ask_at = now.after(ASK_PAUSE);
        Some(asker)
    }

    /// The time without the pushes: that of REST, unless the streams and the wall clock agree on
    /// another one; the wall clock before REST has answered.
    fn reference(&self, now: Now) -> OffsetMs {
        let wall = wall(now);
        let Some(Dated { shown: rest, .. }) = self.rest else { return wall };
        let is_refuted = rest.abs_diff(wall) > NEAR_MS.unsigned_abs()
            && self.pushed(wall).is_some_and(|shown| shown.is_near(wall) && !shown.is_near(rest));
        if is_refuted { wall } else { rest }
    }

    /// The time that the streams show: the latest on which two agree; else one that agrees with
    /// `reference`; else that of the newest push.
    fn pushed(&self, reference: OffsetMs) -> Option<Shown> {
        let later = |one: &Shown, other: &Shown| one.low.cmp(&other.low);
        let pairs = self.believed.iter().enumerate().flat_map(move |(at, one)| {
            let others = self.believed[at + 1..].iter();
            let agreeing = others.filter(move |other| one.shown.agrees(other.shown, NEAR_MS));
            agreeing.map(move |other| std::cmp::min_by(one.shown, other.shown, later))
        });
        let near =
            || self.believed.iter().map(|one| one.shown).filter(|one| one.is_near(reference));
        let last = || self.believed.iter().max_by_key(|one| one.at).map(|one| one.shown);
        pairs.max_by(later).or_else(|| near().max_by(later)).or_else(last)
    }

    /// The time that two streams other than `source` have reached; else that of the only other one;
    /// else the first time that `source` showed.
    fn shown_beside(&self, source: InstrumentId) -> OffsetMs {
        let (mut first, mut second, mut own) = (OffsetMs::MIN, OffsetMs::MIN, OffsetMs::MIN);
        for one in &self.believed {
            let low = one.shown.latest();
            if one.source == source {
                own = one.anchor;
            } else if low > first {
                (first, second) = (low, first);
            } else {
                second = second.max(low);
            }
        }
        [second, first, own].into_iter().find(|&low| low > OffsetMs::MIN).unwrap_or(second)
    }

    /// Records what a believed stream shows.
    fn record(&mut self, source: InstrumentId, shown: Shown, now: MonoNs) {
        let Some(known) = self.believed.iter_mut().find(|one| one.source == source) else {
            let new = Witness { source, shown, at: now, since: now, anchor: shown.low, behind: 0 };
            if self.believed.is_full() {
                self.believed[self.next_place] = new;
                self.next_place = (self.next_place + 1) % WITNESSES_MAX;
            } else {
                self.believed.push(new);
            }
            return;
        };
        known.at = now;
        if shown.high + NEAR_MS < known.shown.low {
            known.behind = known.behind.saturating_add(1);
            if known.behind < BEHIND_MAX {
                return;
            }
            (known.shown, known.anchor) = (shown, shown.low);
        } else if shown.low < shown.high {
            // That a window has begun stays true.
            known.shown.low = known.shown.low.max(shown.low);
            known.shown.high = known.shown.high.max(shown.high).max(known.shown.low);
        } else {
            known.shown = shown;
        }
        known.behind = 0;
    }

    /// Keeps a push that lies ahead of all other sources. Returns whether a second source agrees
    /// and fewer contradict, or, without any other source, whether the stream has shown this for a
    /// while.
    #[cold]
    fn is_confirmed(
        &mut self,
        source: InstrumentId,
        shown: Shown,
        limit_ms: i64,
        now: Now,
    ) -> bool {
        let stray = self.keep_stray(source, shown, limit_ms, now.mono);
        let (supporters, opponents) = self.votes(source, shown, limit_ms, now.mono);
        // The hosts of an exchange may differ by the seconds by which a window begins early.
        let wall = wall(now);
        let is_right = |rest: Dated| {
            rest.at.after(DATE_FRESH) > now.mono
                || rest.shown.abs_diff(wall) <= NEAR_MS.unsigned_abs()
        };
        let is_refuted = limit_ms > CLOCK_ERROR_MS && self.rest.is_some_and(is_right);
        let is_wall = limit_ms > CLOCK_ERROR_MS
            && opponents == 0
            && shown.agrees(Shown { low: wall, high: wall }, NEAR_MS.min(limit_ms));
        let agreeing = 1 + supporters + usize::from(is_wall);
        let is_steady = stray.count >= STEADY_COUNT && stray.since.after(STEADY) <= now.mono;
        let is_outvoted = agreeing < 2 || agreeing <= opponents;
        if is_refuted || is_outvoted && !(opponents == 0 && is_steady) {
            return false;
        }
        self.leap(shown, limit_ms);
        true
    }

    fn keep_stray(
        &mut self,
        source: InstrumentId,
        shown: Shown,
        limit_ms: i64,
        now: MonoNs,
    ) -> Stray {
        let mut stray = Stray { source, shown, since: now, at: now, count: 1 };
        if let Some(at) = self.strays.iter().position(|one| one.source == source) {
            let before = self.strays.remove(at);
            if before.shown.agrees(shown, limit_ms) {
                (stray.since, stray.count) = (before.since, before.count.saturating_add(1));
            }
        } else if self.strays.is_full() {
            self.strays.remove(0);
        }
        self.strays.push(stray);
        stray
    }

    /// The number of other streams that agree with `shown`, and of those that contradict it. The
    /// newest message of each stream counts, unless it is old.
    fn votes(
        &self,
        source: InstrumentId,
        shown: Shown,
        limit_ms: i64,
        now: MonoNs,
    ) -> (usize, usize) {
        let is_fresh = |at: MonoNs| at.after(WITNESS_FRESH) > now;
        let others = self.strays.iter().filter(|one| one.source != source && is_fresh(one.at));
        let agreeing = others.filter(|one| one.shown.agrees(shown, limit_ms));
        let agreeing: ArrayVec<InstrumentId, STRAYS_MAX> = agreeing.map(|one| one.source).collect();
        let is_other = |one: &&Witness| {
            one.source != source && !agreeing.contains(&one.source) && is_fresh(one.at)
        };
        let others = || self.believed.iter().filter(is_other);
        // A window that may have begun has not yet begun for sure.
        let has_reached = |one: &&Witness| one.shown.low.saturating_add(limit_ms) >= shown.low;
        let supporters = others().filter(has_reached);
        let supporters = supporters.filter(|one| one.shown.agrees(shown, limit_ms)).count();
        (agreeing.len() + supporters, others().count() - supporters)
    }

    /// Moves the clock to a `Date` that agrees with a disbelieved stream: the second source.
    /// Returns whether it moved.
    fn leap_to(&mut self, date: OffsetMs, now: Now) -> bool {
        let shown = Shown { low: date, high: date };
        let is_stray =
            |one: &&Stray| one.at.after(WITNESS_FRESH) > now.mono && one.shown.is_near(date);
        let Some(stray) = self.strays.iter().find(is_stray).copied() else { return false };
        if self.pushed(date).is_some_and(|pushed| pushed.is_near(date)) {
            return false;
        }
        let (supporters, opponents) = self.votes(stray.source, shown, NEAR_MS, now.mono);
        if 2 + supporters <= opponents {
            return false;
        }
        self.leap(stray.shown, NEAR_MS);
        self.rest = Some(Dated { shown: date, at: now.mono, since: now.mono });
        true
    }

    /// Sets the clock again from the streams that agree with `shown`.
    fn leap(&mut self, shown: Shown, limit_ms: i64) {
        let strays = std::mem::take(&mut self.strays);
        self.believed.clear();
        (self.next_place, self.doubted, self.rest) = (0, None, None);
        for one in strays.into_iter().filter(|one| one.shown.agrees(shown, limit_ms)) {
            self.record(one.source, one.shown, one.at);
        }
    }
}

fn mono_ms(at: MonoNs) -> i64 {
    i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX)
}

fn wall(now: Now) -> OffsetMs {
    now.unix_ms().0 - mono_ms(now.mono)
}

/// Most believed streams per market. Source: a few liars among them are outvoted.
const WITNESSES_MAX: usize = 8;

/// Most disbelieved streams per market; beyond, the oldest is forgotten. Source: as many as are
/// believed.
const STRAYS_MAX: usize = 8;

/// Largest difference at which two sources agree, in ms. Source: clocks of hosts are minutes apart
/// at worst, messages of Gate are up to 40 s old, and caches of REST 90 s.
const NEAR_MS: i64 = 300_000;

/// Largest error of a clock that agrees with others, in ms. Source: `Date` is cut to the second,
/// and an answer or a push is under way for a few seconds at worst.
const CLOCK_ERROR_MS: i64 = 10_000;

/// Largest difference between the wall clock and two sources that confirm it, in ms. Source: a
/// `Date` is cut to the second, and answers and pushes are under way for a second or two.
const EXACT_MS: i64 = 3_000;

/// A stream has no vote after this time without a push. Source: two windows, in which even a quiet
/// stream is pushed.
const WITNESS_FRESH: Duration = Duration::from_secs(120);

/// How long a `Date` contradicts a push ahead of it. Later the monotonic clock may have stood still
/// with the host, unless the wall clock still agrees with the `Date`. Source: chosen.
const DATE_FRESH: Duration = Duration::from_secs(300);

/// A stream without any other source is believed against the wall clock after this number of
/// messages. Source: chosen.
const STEADY_COUNT: u32 = 3;
/// It is believed only after this time too. Source: chosen.
const STEADY: Duration = Duration::from_secs(10);

/// Number of messages in a row, all far behind, that set a stream's time back. Source: chosen.
const BEHIND_MAX: u8 = 3;

/// How far an exchange's `Date` alone may lie ahead of the wall clock. Source: hosts are minutes
/// apart, and a host whose clock is a day behind trusts no certificate.
const DAY_MS: i64 = 86_400_000;

/// Shortest pause between two requests for the `Date` of REST alone. Source: chosen.
const ASK_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
