//! What the rows of a REST answer prove about a window. Owns the rules of evidence; fetches nothing
//! and publishes nothing. Only the exchange's own times count here, never the local clock.
//!
//! An answer may come from a server that is behind, whatever its `Date`. Only its own rows show how
//! new it is: a window is over if the answer has a newer row. Where quiet windows have no rows, a
//! window can be the newest traded one for a long time. Then two answers some time apart must
//! agree, and the stream must have been unbroken and have pushed nothing else.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::{Lapse, MonoNs, RoughLapse, UnixMs};
use crate::feed::stream::{FeedStream, FirstAnswers};
use crate::limits::REST_ROWS_MAX;
use crate::market::{Candle, CandleUpdate, ClosedWindow, FinalBy, Interval, Source, Span};
use crate::messages::RestResponse;
use crate::venue::{RestCandle, RestCandles};

/// What one answer proves about a window.
// Nearly all are candles.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The window closed with this candle.
    Closed(Candle),
    /// The window is over, without a trade.
    Empty,
    /// The window closed with this candle (`None`: empty) if another answer some time later agrees.
    Likely(Option<Candle>),
    /// The exchange has no row of the window any more, or never had one.
    Gone,
    /// The answer has, or may have, a row of the window that makes no sense. That is neither a
    /// candle nor an empty window.
    Unreadable,
    /// Nothing: the window may be running, or the answer may be older than it.
    Nothing,
}

/// The time, by the exchange's clock, in which a stream missed nothing: from its first message on
/// the session that carries it to the newest bytes of that session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coverage {
    pub(crate) since: UnixMs,
    pub(crate) until: UnixMs,
    /// The window of the newest running candle on that session. The candle has all trades up to
    /// then.
    pub(crate) running: Option<UnixMs>,
}

/// An answer, with everything else that is known when it is judged.
pub(crate) struct Rows<'a> {
    pub(crate) read: &'a RestCandles,
    /// The exchange's time of the answer, if it has one.
    pub(crate) time: Option<UnixMs>,
    pub(crate) interval: Interval,
    /// The windows that were requested.
    pub(crate) span: Span,
    /// Whether the exchange omits windows without trades.
    pub(crate) omits_quiet: bool,
    /// The oldest window that the exchange surely has a row of.
    pub(crate) oldest: UnixMs,
    /// The newest running candles that were pushed, of the newest window and of the one before. A
    /// row that falls behind them is out of date, for a while.
    pub(crate) ran: [Option<Candle>; 2],
    /// `None` if the stream may have missed something.
    pub(crate) coverage: Option<Coverage>,
}

impl Rows<'_> {
    /// What the answer proves about the requested window `open_time`.
    ///
    /// A row is final if the exchange flags it, or if the answer has a newer row.
    pub(crate) fn judge(&self, open_time: UnixMs) -> Proof {
        let rows = &self.read.candles;
        match rows.binary_search_by_key(&open_time, |row| row.candle.open_time) {
            Ok(at) => self.judge_row(&rows[at]),
            Err(_) if self.read.is_unreadable(open_time) => Proof::Unreadable,
            Err(_) => self.judge_absent(open_time),
        }
    }

    fn judge_row(&self, row: &RestCandle) -> Proof {
        let candle = row.candle;
        let end_ms = self.interval.close_time(candle.open_time).0;
        let has_newer = self.newest() > Some(candle.open_time);
        let is_over = row.is_closed.unwrap_or(has_newer);
        let ran = self.running_of(candle.open_time);
        if ran.is_some_and(|ran| knows_less(&candle, ran)) {
            let is_young = self.time <= Some(UnixMs(end_ms + LAGGING_ROW_MS));
            return if is_over && !is_young { Proof::Likely(Some(candle)) } else { Proof::Nothing };
        }
        if is_over {
            return Proof::Closed(candle);
        }
        let is_as_pushed = match ran {
            Some(ran) => restated(ran, &candle).is_none(),
            None => candle.volume.is_zero(),
        };
        let may_be_last = row.is_closed.is_none() && self.omits_quiet && is_as_pushed;
        let is_over = self.is_after(end_ms + CLOCK_ERROR_MS);
        match may_be_last && is_over && self.is_covered(candle.open_time) {
            true => Proof::Likely(Some(candle)),
            false => Proof::Nothing,
        }
    }

    fn judge_absent(&self, open_time: UnixMs) -> Proof {
        let rows = &self.read.candles;
        let has_older = rows.first().is_some_and(|row| row.candle.open_time < open_time);
        let has_newer = self.newest() > Some(open_time);
        if !has_older && (open_time < self.oldest || has_newer && !self.omits_quiet) {
            return Proof::Gone;
        }
        let end_ms = self.interval.close_time(open_time).0;
        let patience = match self.running_of(open_time) {
            // A window with trades is waited for without end.
            Some(running) if !running.volume.is_zero() => return Proof::Nothing,
            Some(_) => FLAT_ROW_MS,
            // A second answer comes later anyway.
            None if has_newer && has_older => SETTLE_MS,
            None => CLOCK_ERROR_MS,
        };
        if !self.omits_quiet || !self.is_after(end_ms + patience) {
            return Proof::Nothing;
        }
        let is_long_past = self.time > Some(UnixMs(end_ms + LONG_PAST_MS));
        match has_newer {
            true if has_older => Proof::Empty,
            true if self.is_reached(open_time) => Proof::Likely(None),
            // There may have been rows before the oldest of these.
            true => Proof::Gone,
            false if self.lacks_pushed() => Proof::Nothing,
            false if self.is_covered(open_time) => Proof::Likely(None),
            false if is_long_past && has_older => Proof::Likely(None),
            false if is_long_past => Proof::Gone,
            false => Proof::Nothing,
        }
    }

    /// Returns whether the exchange surely keeps rows of this window, though the answer has none
    /// before it: the window is young, and the stream was unbroken in it or pushed candles before
    /// it.
    fn is_reached(&self, open_time: UnixMs) -> bool {
        let is_young = |newest: UnixMs| open_time.0 + KEPT_WINDOWS * self.interval.ms() >= newest.0;
        let ran_before = self.ran.iter().flatten().any(|ran| ran.open_time < open_time);
        let is_known = ran_before || self.is_covered(open_time);
        is_known && self.newest().is_some_and(is_young) && !self.lacks_pushed()
    }

    fn newest(&self) -> Option<UnixMs> {
        self.read.candles.last().map(|row| row.candle.open_time)
    }

    fn running_of(&self, open_time: UnixMs) -> Option<&Candle> {
        self.ran.iter().flatten().find(|running| running.open_time == open_time)
    }

    /// Returns whether the answer is later than `ms`, by its own rows or its date.
    fn is_after(&self, ms: i64) -> bool {
        self.newest().max(self.time) > Some(UnixMs(ms))
    }

    /// Returns whether the stream was unbroken until past the window's end: from the window's
    /// beginning, or since a candle that held all its trades before.
    fn is_covered(&self, open_time: UnixMs) -> bool {
        let end_ms = self.interval.close_time(open_time).0;
        self.coverage.is_some_and(|coverage| {
            let is_whole = coverage.since.0 + CLOCK_ERROR_MS <= open_time.0;
            let is_seen = is_whole || coverage.running == Some(open_time);
            is_seen && coverage.until.0 > end_ms + CLOCK_ERROR_MS
        })
    }

    /// Returns whether the rows fall behind a pushed candle of the requested windows, or of the
    /// window after them. The answer is then older than that push.
    fn lacks_pushed(&self) -> bool {
        let last = UnixMs(self.span.last.0 + self.interval.ms());
        let asked = Span { last, ..self.span };
        let traded = self.ran.iter().flatten().filter(|ran| !ran.volume.is_zero());
        traded.filter(|ran| asked.contains(ran.open_time)).any(|ran| {
            let rows = &self.read.candles;
            let found = rows.iter().find(|row| row.candle.open_time == ran.open_time);
            found.is_none_or(|row| knows_less(&row.candle, ran))
        })
    }
}

/// Returns whether `row` has fewer trades than `ran` of the same window: trades only become more.
pub(crate) fn knows_less(row: &Candle, ran: &Candle) -> bool {
    ran.trades > row.trades && row.trades > 0 || ran.volume > row.volume
}

impl FirstAnswers {
    /// What `rows` prove about `open_time` together with earlier answers. Never `Likely`.
    pub(crate) fn prove(&mut self, rows: &Rows<'_>, open_time: UnixMs, now: MonoNs) -> Proof {
        let proof = rows.judge(open_time);
        let known = self.answers.iter().position(|(at, ..)| *at == open_time);
        let Proof::Likely(candle) = proof else {
            known.map(|at| self.answers.remove(at));
            return proof;
        };
        match known.map(|at| (at, self.answers[at])) {
            Some((_, (_, before, since))) if before == candle => {
                if now >= since.after(AGREE_AFTER) {
                    return candle.map_or(Proof::Empty, Proof::Closed);
                }
                return Proof::Nothing;
            }
            Some((at, _)) => drop(self.answers.remove(at)),
            None => {}
        }
        let is_old = |one: &mut (_, _, MonoNs)| one.2.after(FORGOTTEN_AFTER) <= now;
        while self.answers.len() == REST_ROWS_MAX || self.answers.front_mut().is_some_and(is_old) {
            self.answers.pop_front();
        }
        self.answers.push_back((open_time, candle, now));
        Proof::Nothing
    }

    /// When another answer may prove the first window of `span`.
    pub(crate) fn again_at(&self, span: Span) -> Option<MonoNs> {
        let of_span = self.answers.iter().filter(|(at, ..)| span.contains(*at));
        of_span.map(|(_, _, since)| since.after(AGREE_AFTER)).min()
    }
}

/// A window of `stream` that closed with a row of REST. A volume that the row omits is taken from
/// the newest pushed candle, if both have the same `volume`.
pub(crate) fn closed_by_rest(stream: &FeedStream, row: &Candle, received: MonoNs) -> ClosedWindow {
    let is_same = |ran: &Candle| (ran.open_time, ran.volume) == (row.open_time, row.volume);
    let ran = stream.ran().into_iter().flatten().find(is_same).and_then(|ran| ran.other_volume);
    let row = &Candle { other_volume: row.other_volume.or(ran), ..*row };
    ClosedWindow::Candle(CandleUpdate {
        instrument: stream.id,
        candle: stream.contract_size.complete(row),
        event_time: None,
        received,
        until_ring: Lapse::default(),
        kernel: RoughLapse::UNKNOWN,
        final_by: Some(FinalBy::Rest),
        source: Source::Rest,
        revision: 0,
    })
}

/// `row` if it differs from the published `candle`. What rows omit is taken from the candle, if the
/// volumes agree; what pushes omit is omitted.
pub(crate) fn restated(candle: &Candle, row: &Candle) -> Option<Candle> {
    let is_counted = candle.trades > 0 || candle.volume.is_zero();
    let has_count = row.trades > 0 && is_counted || row.volume.is_zero();
    let ours = candle.other_volume.filter(|_| row.volume == candle.volume);
    let row = Candle {
        trades: if has_count { row.trades } else { candle.trades },
        other_volume: candle.other_volume.and(row.other_volume.or(ours)),
        ..*row
    };
    (row != *candle).then_some(row)
}

/// The exchange's time of its answer: from the body, else from the `date` header, to the second.
pub(crate) fn exchange_time(response: &RestResponse, read: &RestCandles) -> Option<UnixMs> {
    let header = || {
        let (_, value) = response.limit_headers.iter().find(|(name, _)| name == "date")?;
        let time = httpdate::parse_http_date(value).ok()?;
        let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since_epoch.as_millis()).ok().map(UnixMs)
    };
    read.server_time.or_else(header)
}

/// How late a row of a quiet window may be, in ms. Source: Hyperliquid's rows appear some seconds
/// late; REST gateways cache for a second or a few.
const SETTLE_MS: i64 = 10_000;

/// How late the row of a pushed flat candle may be, in ms. Source: a window of the shortest
/// interval.
const FLAT_ROW_MS: i64 = 60_000;

/// How long a row may lag behind the pushes, in ms. A later row is the exchange's final one about
/// its window if two answers agree. Source: caches of REST are up to 90 s old.
pub(crate) const LAGGING_ROW_MS: i64 = 120_000;

/// A row that is absent this long after the window's end, in ms, stays absent. Source: a server
/// that is an hour behind is taken out of service.
const LONG_PAST_MS: i64 = 3_600_000;

/// The number of newest windows that every exchange keeps rows of, if they had trades. Source: the
/// smallest default answer of any exchange has a hundred rows.
const KEPT_WINDOWS: i64 = 30;

/// Largest error of an exchange's clock as it is known here, in ms. Source: `Date` is cut to the
/// second, and messages are under way for up to one.
const CLOCK_ERROR_MS: i64 = 2_000;

/// Shortest time between two answers that agree. Source: a server that lags shows a change
/// meanwhile, and a mark of the interval is not much later.
const AGREE_AFTER: Duration = Duration::from_secs(20);

/// After this time an answer counts as the first again. Source: chosen.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Decimal;
    use crate::venue::RestCandle;

    fn candle(minute: i64, volume: &str, trades: u64) -> Candle {
        let price: Decimal = "1".parse().unwrap();
        Candle {
            open_time: UnixMs(minute * 60_000),
            open: price,
            high: price,
            low: price,
            close: price,
            volume: volume.parse().unwrap(),
            other_volume: None,
            trades,
        }
    }

    fn read(minutes: &[i64], is_closed: Option<bool>) -> RestCandles {
        let row = |&minute| RestCandle { candle: candle(minute, "9", 9), is_closed };
        RestCandles { candles: minutes.iter().map(row).collect(), ..RestCandles::default() }
    }

    /// The rows about minute 2, asked for `late_ms` after its end.
    fn rows<'a>(
        read: &'a RestCandles,
        omits_quiet: bool,
        running: Option<&Candle>,
        late_ms: i64,
    ) -> Rows<'a> {
        Rows {
            read,
            time: Some(UnixMs(3 * 60_000 + late_ms)),
            interval: Interval::M1,
            span: Span { first: UnixMs(60_000), last: UnixMs(120_000) },
            omits_quiet,
            oldest: UnixMs(0),
            ran: [running.copied(), None],
            coverage: None,
        }
    }

    fn judge(
        read: &RestCandles,
        omits_quiet: bool,
        running: Option<&Candle>,
        late_ms: i64,
    ) -> Proof {
        rows(read, omits_quiet, running, late_ms).judge(UnixMs(120_000))
    }

    /// The same on a session that was there all the time.
    fn judge_covered(read: &RestCandles, running: Option<&Candle>, late_ms: i64) -> Proof {
        let until = UnixMs(3 * 60_000 + late_ms);
        let coverage = Some(Coverage { since: UnixMs(90_000), until, running: None });
        Rows { coverage, ..rows(read, true, running, late_ms) }.judge(UnixMs(120_000))
    }

    #[test]
    fn a_row_is_final_with_a_newer_one_beside_it() {
        let closed = Proof::Closed(candle(2, "9", 9));
        for omits_quiet in [false, true] {
            assert_eq!(judge(&read(&[1, 2, 3], None), omits_quiet, None, 0), closed);
            assert_eq!(judge(&read(&[1, 2], None), omits_quiet, None, 600_000), Proof::Nothing);
        }
    }

    #[test]
    fn the_exchange_s_flag_is_the_last_word() {
        let closed = Proof::Closed(candle(2, "9", 9));
        assert_eq!(judge(&read(&[2], Some(true)), false, None, 0), closed);
        assert_eq!(judge(&read(&[2, 3], Some(false)), false, None, 60_000), Proof::Nothing);
        assert_eq!(judge_covered(&read(&[2], Some(false)), None, 60_000), Proof::Nothing);
    }

    #[test]
    fn a_row_that_knows_less_than_was_pushed_is_out_of_date() {
        let rows = read(&[2, 3], None);
        assert_eq!(judge(&rows, false, Some(&candle(2, "10", 0)), 0), Proof::Nothing);
        assert_eq!(judge(&rows, false, Some(&candle(2, "9", 10)), 0), Proof::Nothing);
        let (more, ours) = (candle(2, "10", 10), candle(2, "9", 9));
        assert_eq!(judge(&rows, false, Some(&more), 119_999), Proof::Nothing);
        assert_eq!(judge(&rows, false, Some(&more), 120_000), Proof::Likely(Some(ours)));
        assert_eq!(judge(&rows, false, Some(&candle(2, "8", 8)), 0), Proof::Closed(ours));
        assert_eq!(judge(&rows, false, Some(&candle(1, "10", 0)), 0), Proof::Closed(ours));
    }

    #[test]
    fn an_absent_row_is_an_empty_window_only_between_two_others() {
        let rows = read(&[1, 3], None);
        assert_eq!(judge(&rows, true, None, 10_000), Proof::Empty);
        assert_eq!(judge(&rows, true, None, 5_000), Proof::Nothing);
        assert_eq!(judge(&read(&[1, 4], None), true, None, 5_000), Proof::Empty);
        assert_eq!(judge(&rows, true, Some(&candle(2, "1", 0)), 100_000), Proof::Nothing);
        assert_eq!(judge(&rows, true, Some(&candle(2, "0", 0)), 10_000), Proof::Nothing);
        assert_eq!(judge(&rows, true, Some(&candle(2, "0", 0)), 60_000), Proof::Empty);
        assert_eq!(judge(&rows, false, None, 10_000), Proof::Nothing);
        assert_eq!(judge(&read(&[3], None), false, None, 0), Proof::Gone);
        assert_eq!(
            judge(&read(&[3], None), true, None, 10_000),
            Proof::Gone,
            "older than its rows"
        );
        assert_eq!(judge_covered(&read(&[3], None), None, 10_000), Proof::Likely(None));
        let flat = candle(1, "0", 0);
        assert_eq!(judge(&read(&[3], None), true, Some(&flat), 10_000), Proof::Likely(None));
        assert_eq!(judge(&read(&[40], None), true, Some(&flat), 10_000), Proof::Gone);
        for late_ms in [10_000, 90_000, 3_600_000 - 1] {
            assert_eq!(judge(&read(&[], None), true, None, late_ms), Proof::Nothing);
            assert_eq!(judge(&read(&[1], None), true, None, late_ms), Proof::Nothing);
        }
        assert_eq!(judge(&read(&[], None), true, None, 3_600_001), Proof::Gone);
        assert_eq!(judge(&read(&[1], None), true, None, 3_600_001), Proof::Likely(None));
        assert_eq!(judge(&read(&[], None), false, None, 10_000), Proof::Nothing);
    }

    #[test]
    fn a_row_that_makes_no_sense_is_no_empty_window() {
        let with = |windows: &[i64], is_anywhere| {
            let windows = windows.iter().map(|minute| UnixMs(minute * 60_000)).collect();
            let bad = crate::venue::BadRows { count: 1, windows, is_anywhere, ..<_>::default() };
            RestCandles { bad, ..read(&[1, 3], None) }
        };
        assert_eq!(judge(&with(&[2], false), true, None, 60_000), Proof::Unreadable);
        assert_eq!(judge(&with(&[], true), true, None, 60_000), Proof::Unreadable);
        assert_eq!(judge(&with(&[4], false), true, None, 60_000), Proof::Empty);
        let both = RestCandles { candles: read(&[2, 3], None).candles, ..with(&[2], false) };
        assert_eq!(judge(&both, false, None, 0), Proof::Closed(candle(2, "9", 9)));
    }

    #[test]
    fn windows_from_before_the_exchange_s_oldest_rows_are_not_empty() {
        for read in [read(&[3], None), read(&[], None)] {
            let rows = rows(&read, true, None, 7_200_000);
            let proof = Rows { oldest: UnixMs(180_000), ..rows }.judge(UnixMs(120_000));
            assert_eq!(proof, Proof::Gone);
        }
    }

    #[test]
    fn without_a_newer_row_the_stream_must_be_unbroken_and_agree() {
        let (row, less, more) = (candle(2, "9", 9), candle(2, "8", 8), candle(2, "10", 10));
        let traded = read(&[1, 2], None);
        assert_eq!(judge_covered(&traded, Some(&row), 11_000), Proof::Likely(Some(row)));
        assert_eq!(
            judge_covered(&traded, Some(&row), 1_999),
            Proof::Nothing,
            "not for long enough"
        );
        assert_eq!(judge_covered(&traded, Some(&less), 11_000), Proof::Nothing);
        assert_eq!(judge_covered(&traded, Some(&more), 11_000), Proof::Nothing);
        assert_eq!(judge_covered(&traded, None, 11_000), Proof::Nothing, "it was not pushed");
        let quiet = read(&[1], None);
        assert_eq!(judge_covered(&quiet, None, 11_000), Proof::Likely(None));
        assert_eq!(judge_covered(&quiet, Some(&row), 11_000), Proof::Nothing);
        let late = Coverage { since: UnixMs(150_000), until: UnixMs(200_000), running: None };
        let judge_late = |running, read| {
            let coverage = Some(Coverage { running, ..late });
            Rows { coverage, ..rows(read, true, Some(&row), 11_000) }.judge(UnixMs(120_000))
        };
        assert_eq!(judge_late(None, &traded), Proof::Nothing, "the session came later");
        assert_eq!(judge_late(Some(UnixMs(120_000)), &traded), Proof::Likely(Some(row)));
        let before = candle(1, "10", 10);
        assert_eq!(judge_covered(&quiet, Some(&before), 11_000), Proof::Nothing, "a node behind");
        assert_eq!(judge_covered(&quiet, Some(&candle(1, "9", 9)), 11_000), Proof::Likely(None));
    }

    #[test]
    fn two_answers_some_time_apart_agree() {
        let at = |seconds: u64| MonoNs(seconds * 1_000_000_000);
        let (quiet, traded, newer) =
            (read(&[1], None), read(&[1, 2], None), read(&[1, 2, 3], None));
        let until = UnixMs(300_000);
        let coverage = Some(Coverage { since: UnixMs(90_000), until, running: None });
        let rows = |read| Rows { coverage, ..rows(read, true, None, 20_000) };
        let (mut answers, of) = (FirstAnswers::default(), UnixMs(120_000));
        assert_eq!(answers.prove(&rows(&quiet), of, at(0)), Proof::Nothing);
        assert_eq!(answers.again_at(Span { first: of, last: of }), Some(at(20)));
        assert_eq!(answers.prove(&rows(&quiet), of, at(19)), Proof::Nothing);
        assert_eq!(answers.prove(&rows(&quiet), of, at(20)), Proof::Empty);
        assert_eq!(answers.prove(&rows(&traded), of, at(60)), Proof::Nothing, "they differ");
        assert_eq!(answers.prove(&rows(&quiet), of, at(80)), Proof::Nothing);
        let closed = Proof::Closed(candle(2, "9", 9));
        assert_eq!(answers.prove(&rows(&newer), of, at(81)), closed, "proven by one answer");
    }

    #[test]
    fn what_rows_leave_out_is_no_restatement() {
        let ours = Candle { other_volume: Some(Decimal::ZERO), ..candle(2, "9", 9) };
        assert_eq!(restated(&ours, &candle(2, "9", 0)), None);
        assert_eq!(restated(&candle(2, "9", 0), &Candle { trades: 5, ..ours }), None);
        let flat = candle(2, "0", 0);
        assert_eq!(restated(&flat, &candle(2, "9", 9)), Some(candle(2, "9", 9)));
        let theirs = candle(2, "10", 0);
        let other_volume = None;
        let restated = restated(&ours, &theirs);
        assert_eq!(restated, Some(Candle { volume: theirs.volume, other_volume, ..ours }));
    }
}
