//! Gaps in a series, and how REST fills them. Owns which windows are fetched, the most urgent
//! first, and what follows from the rows. `rest_evidence` owns what a row proves; the series
//! decides what a window means for it.

use std::time::Duration;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::feed::Feed;
use crate::feed::candles::{Publisher, accept_closed};
use crate::feed::repair::rest_evidence::{Coverage, Proof, Rows, closed_by_rest, exchange_time};
use crate::feed::stream::{FeedStream, Repair, RestPurpose};
use crate::feed::streams::begin_of;
use crate::limits::REST_ROWS_MAX;
use crate::market::{ClosedWindow, Instrument, InstrumentId, Interval, Market, Span};
use crate::messages::{About, EventName, RestResponse};
use crate::metrics::DecodeErrorKind;
use crate::venue::{self, RestCandle, RestCandles, RestError};

impl Repair {
    /// The purpose of the most urgent request for missing windows; `None` if no window is missing.
    pub(crate) fn urgency(
        &self,
        stream: &FeedStream,
        exchange_now: UnixMs,
        now: MonoNs,
    ) -> Option<RestPurpose> {
        let series = &stream.series;
        let next = series.next()?;
        let interval = stream.instrument.interval;
        let is_overdue = exchange_now.0 > interval.close_time(next).0 + GRACE_MS;
        let is_over = self.over_since.is_some_and(|since| since.after(GRACE) <= now);
        match () {
            () if series.gap().is_some() || is_overdue || is_over => Some(RestPurpose::Gap),
            () if !series.missing().is_empty() => Some(RestPurpose::Late),
            () => None,
        }
    }
}

/// The windows to fetch now: those that hold others back, oldest first; else those that are over
/// and not closed; else the newest that were given up. The request also covers older windows that
/// were given up, as far as they fit.
pub(crate) fn missing_span(stream: &FeedStream, exchange_now: UnixMs) -> Option<Span> {
    let Instrument { market, interval, .. } = stream.instrument;
    let rows = rows_max(market);
    let series = &stream.series;
    let next = series.next()?;
    let before = |open_time: UnixMs| UnixMs(open_time.0 - interval.ms());
    let overdue = || {
        let shown = stream.newest_open.as_ref().map(|(_, open)| open.open_time);
        let running = interval.open_time(exchange_now).max(shown.unwrap_or(next));
        Span::new(next, before(running))
    };
    let urgent = series.gap().or_else(overdue).map(|span| span.head(rows, interval));
    let span = urgent.or_else(|| series.missing().last().map(|span| span.tail(rows, interval)))?;
    let reach = Span { first: UnixMs(i64::MIN / 2), ..span }.tail(rows, interval);
    let older = series.missing().iter().map(|older| older.first);
    let first = older.filter(|&first| reach.contains(first)).min();
    Some(Span { first: first.unwrap_or(span.first).min(span.first), ..span })
}

/// Most windows of one request. The rows around them come in addition.
pub(crate) fn rows_max(market: Market) -> i64 {
    let rows = venue::limits(market).rest_rows.min(REST_ROWS_MAX);
    let (before, after) = rows_around(market);
    i64::try_from(rows).expect("a small number") - before - after
}

/// Additional rows before and after the windows of a request. One row after them proves that they
/// are over. Where quiet windows have no row, it takes several rows to find one.
fn rows_around(market: Market) -> (i64, i64) {
    match venue::omits_quiet(market) {
        true => (ROWS_AROUND, ROWS_AROUND),
        false => (0, 1),
    }
}

/// Open times of the first and the last row to fetch for the windows of `span`.
pub(crate) fn rows_asked(
    market: Market,
    interval: Interval,
    span: Span,
    exchange_now: UnixMs,
) -> (UnixMs, UnixMs) {
    let (before, after) = rows_around(market);
    let next = UnixMs(span.last.0 + interval.ms());
    let last = UnixMs(span.last.0 + after * interval.ms());
    let running = interval.open_time(exchange_now);
    (UnixMs(span.first.0 - before * interval.ms()), last.min(running).max(next))
}

/// The oldest window that REST surely has.
pub(crate) fn oldest_row(market: Market, interval: Interval, exchange_now: UnixMs) -> UnixMs {
    let Some(reach) = venue::rest_reach(market) else { return UnixMs(i64::MIN / 2) };
    let running = interval.open_time(exchange_now);
    UnixMs(running.0.saturating_sub((reach - REACH_ERROR) * interval.ms()))
}

impl Feed {
    /// Takes the answer about the missing windows `span` of `id`.
    pub(crate) fn apply_missing(
        &mut self,
        id: InstrumentId,
        span: Span,
        result: Result<RestResponse, String>,
        now: Now,
    ) {
        let Some(stream) = self.streams.stream_mut(id) else { return };
        stream.repair.is_asking = false;
        let read = self.read_rows(id, result, now);
        let closed_window = match read {
            Ok((read, time)) => {
                let closed_window = self.accept_rows(id, span, &read, time, now);
                self.judge_by_closed(id, span, &read, now);
                closed_window
            }
            Err(error) => {
                self.report_failed(id, "missing candles", &error);
                0
            }
        };
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let repair = &mut stream.repair;
        match closed_window {
            0 => {
                let again = repair.first_answers.again_at(span);
                repair.ask_at = again.unwrap_or(now.mono.after(pause(repair.failures)));
                repair.failures = repair.failures.saturating_add(1);
            }
            _ => {
                (repair.failures, repair.ask_at) = (0, now.mono);
                self.urgent.push(id);
            }
        }
    }

    /// The candles of an answer, and the exchange's time of it.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) fn read_rows(
        &mut self,
        id: InstrumentId,
        result: Result<RestResponse, String>,
        now: Now,
    ) -> Result<(RestCandles, Option<UnixMs>), RestError> {
        let Some(stream) = self.streams.stream(id) else { return Err(nobody_asked()) };
        let market = stream.instrument.market;
        let read = result
            .map_err(|message| RestError::Failed { message })
            .and_then(|response| self.read_answer(id, &response, now));
        let metrics = self.metrics.market(market);
        match read {
            Ok(_) => metrics.backfills_ok.increment(),
            Err(_) => metrics.backfills_failed.increment(),
        }
        read
    }

    /// The same for an answer of any purpose. Its time goes to the exchange clock. Rows of windows
    /// that have not begun, and impossible rows, prove nothing: they are removed and counted.
    ///
    /// # Errors
    /// If the answer is an error of the exchange, or is not understood.
    pub(crate) fn read_answer(
        &mut self,
        id: InstrumentId,
        response: &RestResponse,
        now: Now,
    ) -> Result<(RestCandles, Option<UnixMs>), RestError> {
        let Some(stream) = self.streams.stream(id) else { return Err(nobody_asked()) };
        let Instrument { market, interval, ref symbol } = stream.instrument;
        let asked = (&**symbol, interval);
        let mut read = venue::read_candles(market, &mut self.json, response, asked)?;
        let is_before =
            |one: &RestCandle, next: &RestCandle| one.candle.open_time < next.candle.open_time;
        assert!(read.candles.is_sorted_by(is_before), "rows ascend, one for each window");
        let clock = &mut self.clocks[market.index()];
        let time = exchange_time(response, &read).filter(|&time| clock.apply_date(time, now));
        let latest = clock.latest_open(now);
        let errors = &self.metrics.market(market).decode_errors;
        let is_counted = venue::counts_trades(market);
        let RestCandles { candles, bad, .. } = &mut read;
        candles.retain(|RestCandle { candle, .. }| {
            let error = match candle {
                candle if candle.open_time > latest => DecodeErrorKind::Future,
                // Such a row proves neither a candle nor an empty window.
                candle if !candle.is_possible(is_counted) => {
                    bad.windows.push(candle.open_time);
                    DecodeErrorKind::Impossible
                }
                _ => return true,
            };
            errors[error as usize].increment();
            false
        });
        Ok((read, time))
    }

    /// An answer about the windows of `span`, with everything needed to judge it.
    pub(crate) fn rows<'a>(
        &self,
        id: InstrumentId,
        (read, time): (&'a RestCandles, Option<UnixMs>),
        span: Span,
        now: Now,
    ) -> Option<Rows<'a>> {
        let stream = self.streams.stream(id)?;
        let Instrument { market, interval, .. } = stream.instrument;
        let exchange_now = self.clocks[market.index()].now(now);
        Some(Rows {
            read,
            time,
            interval,
            span,
            omits_quiet: venue::omits_quiet(market),
            oldest: oldest_row(market, interval, exchange_now.max(time.unwrap_or(exchange_now))),
            ran: stream.ran(),
            coverage: self.coverage(stream, now),
        })
    }

    /// The time in which the stream surely missed nothing: since its first message on its session,
    /// if that session is open.
    fn coverage(&self, stream: &FeedStream, now: Now) -> Option<Coverage> {
        let index = self.live(stream.unbroken_on?)?;
        let session = Some(&self.sessions[index]).filter(|session| session.is_open())?;
        let exchange_now = self.clocks[stream.instrument.market.index()].now(now);
        let at = |mono: MonoNs| {
            let ago = now.mono.since(mono).as_millis();
            UnixMs(exchange_now.0.saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX)))
        };
        let is_here = stream.newest_on == stream.unbroken_on;
        let running = stream.newest_open.filter(|_| is_here).map(|(_, open)| open.open_time);
        let (since, until) = (at(stream.unbroken_since), at(session.last_received));
        Some(Coverage { since, until, running })
    }

    /// Begins the series of a stream without any message, from the window of its subscription, if
    /// an answer shows that the exchange makes candles of it now.
    pub(crate) fn begin_silent(
        &mut self,
        id: InstrumentId,
        result: &Result<RestResponse, String>,
        now: Now,
    ) {
        let Some(stream) = self.streams.stream(id) else { return };
        let market = stream.instrument.market;
        let Ok(response) = result else { return };
        let Ok((read, Some(_))) = self.read_answer(id, response, now) else {
            return;
        };
        let exchange_now = self.clocks[market.index()].now(now);
        let Some(stream) = self.streams.stream_mut(id) else { return };
        let begin = begin_of(stream, exchange_now, now.mono);
        if read.candles.last().is_some_and(|row| row.candle.open_time >= begin) {
            stream.series.begin(begin);
        }
    }

    pub(crate) fn report_failed(&mut self, id: InstrumentId, what: &str, error: &RestError) {
        let Some(stream) = self.streams.stream(id) else { return };
        if let RestError::Failed { message }
        | RestError::NoSense { message }
        | RestError::UnknownSymbol { message } = error
        {
            let about = About::from(&stream.instrument);
            let text = format!("REST backfill failed ({what}): {message}");
            self.notice(EventName::RestFailed, about, text);
        }
    }

    /// Publishes the windows that the rows prove. Returns the number of windows that were new.
    fn accept_rows(
        &mut self,
        id: InstrumentId,
        span: Span,
        read: &RestCandles,
        time: Option<UnixMs>,
        now: Now,
    ) -> usize {
        let Some(rows) = self.rows(id, (read, time), span, now) else { return 0 };
        let Some(stream) = self.streams.stream_mut(id).filter(|one| one.is_wanted) else {
            return 0;
        };
        let Instrument { market, interval, .. } = stream.instrument;
        let metrics = self.metrics.market(market);
        let (queue, urgent, hold) = (&mut self.queue, &mut self.urgent, self.config.gap_hold);
        let mut publisher = Publisher::new(queue, metrics, urgent, now.mono, hold);
        let mut count = 0;
        let mut open_time = span.first;
        while open_time <= span.last {
            let proof = match stream.series.is_owed(open_time) {
                true => stream.repair.first_answers.prove(&rows, open_time, now.mono),
                false => Proof::Nothing,
            };
            let closed_window = match proof {
                Proof::Closed(candle) => Some(closed_by_rest(stream, &candle, now.mono)),
                Proof::Empty => Some(ClosedWindow::Empty { open_time }),
                Proof::Likely(_) | Proof::Unreadable | Proof::Gone | Proof::Nothing => None,
            };
            if let Some(closed_window) = closed_window {
                count += usize::from(accept_closed(stream, &mut publisher, &closed_window));
            }
            open_time = UnixMs(open_time.0 + interval.ms());
        }
        count
    }
}

fn nobody_asked() -> RestError {
    RestError::Failed { message: "nobody asked".to_owned() }
}

/// The pause after this number of answers in a row without a missing window; it doubles.
pub(crate) fn pause(failures: u32) -> Duration {
    (PAUSE_MIN * 2_u32.pow(failures.min(8))).min(PAUSE_MAX)
}

/// A window that no message closed is fetched this long after its end, in ms. Source: closing
/// pushes arrive up to 4 s late (OKCOIN, recorded), one on Hyperliquid 0.2 s.
const GRACE_MS: i64 = 5_000;
const GRACE: Duration = Duration::from_millis(GRACE_MS.unsigned_abs());

/// The first pause of [`pause`]. Source: chosen.
const PAUSE_MIN: Duration = Duration::from_secs(2);

/// Additional rows on each side where quiet windows have none. Source: at most three in four
/// windows of a quiet symbol have no trade (simulated), and Hyperliquid's flat rows appear some
/// seconds late.
const ROWS_AROUND: i64 = 8;

/// The exchange's oldest row may be this number of windows newer than its limit promises. Source:
/// the exchange's time is known to some minutes at worst.
const REACH_ERROR: i64 = 60;

/// The longest pause of [`pause`]. Source: the shortest window in which an exchange counts
/// requests; a new window closes meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(30);
