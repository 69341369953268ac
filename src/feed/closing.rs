//! The end of a candle where the exchange does not flag it, or may leave its flag out: a candle
//! without a successor is looked up by REST. Owns who is asked about and what an answer proves. The
//! local clock only decides when to ask; what closes a candle is the exchange's row, together with
//! the exchange's own time or a row after it.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::{MonoNs, Now, UnixMs};
use crate::market::{CandleUpdate, FinalBy, Instrument, InstrumentId, Market, Source, Verdict};
use crate::messages::{RestResponse, Severity};
use crate::venue::{self, Finality, RestCandles, RestError};

use super::Feed;
use super::candles::take_closed;
use super::silence::Purpose;

impl Feed {
    /// From now on candles of `market` are watched for their end, if they need it.
    pub(super) fn arm_close_watch(&mut self, market: Market, now: MonoNs) {
        if venue::finality(market) != Finality::Flag && self.next_close_watch.is_none() {
            self.next_close_watch = Some(now.after(WATCH_EVERY));
        }
    }

    /// Asks about every candle whose window is over for long and that nothing has closed.
    pub(super) fn watch_closes(&mut self, now: Now) {
        if self.next_close_watch.is_none_or(|at| at > now.mono) {
            return;
        }
        let mut is_needed = false;
        for stream in self.streams.wanted() {
            if venue::finality(stream.instrument.market) == Finality::Flag {
                continue;
            }
            is_needed = true;
            let Some((_, open)) = &stream.newest_open else { continue };
            let end = stream.instrument.interval.close_time(open.open_time);
            let is_closed = stream.series.watermark() >= Some(open.open_time);
            let is_overdue = end.0 + GRACE_MS < now.unix_ms().0;
            if is_overdue && !is_closed && !stream.is_closing && stream.ask_close_at <= now.mono {
                stream.is_closing = true;
                self.questions.push(Purpose::Close, stream.id);
            }
        }
        self.next_close_watch = is_needed.then(|| now.mono.after(WATCH_EVERY));
    }

    /// The candles of `id` from its unclosed one on, as REST has them.
    pub(super) fn learn_close(
        &mut self,
        id: InstrumentId,
        result: Result<RestResponse, String>,
        now: Now,
    ) {
        let Some(stream) = self.streams.stream_mut(id) else { return };
        stream.is_closing = false;
        stream.ask_close_at = now.mono.after(ASK_AGAIN);
        let Instrument { market, interval, .. } = stream.instrument;
        let metrics = self.metrics.market(market);
        let read = result.map_err(|message| RestError::Failed { message }).and_then(|response| {
            let read = venue::read_candles(market, &mut self.json, &response, interval)?;
            Ok((exchange_time(&response, &read), read))
        });
        match read {
            Ok((exchange_time, read)) => {
                metrics.backfills_ok.increment();
                self.close_by_rest(id, &read, exchange_time, now);
            }
            Err(error) => {
                metrics.backfills_failed.increment();
                if let RestError::Failed { message } | RestError::UnknownSymbol { message } = error
                {
                    let text = format!("a candle's end could not be looked up: {message}");
                    self.notice(Severity::Warning, market, text);
                }
            }
        }
    }

    /// Closes what the rows prove to be over: the unclosed candle, and those that follow it without
    /// a hole.
    fn close_by_rest(
        &mut self,
        id: InstrumentId,
        read: &RestCandles,
        exchange_time: Option<UnixMs>,
        now: Now,
    ) {
        let Self { streams, queue, metrics, .. } = self;
        let Some(stream) = streams.stream_mut(id).filter(|stream| stream.is_wanted) else { return };
        let Instrument { market, interval, .. } = stream.instrument;
        let Some((_, open)) = &stream.newest_open else { return };
        let mut expected = open.open_time;
        if stream.series.watermark() >= Some(expected) {
            return;
        }
        let newest = read.candles.last().map(|row| row.candle.open_time);
        for row in &read.candles {
            let candle = row.candle;
            if candle.open_time < expected {
                continue;
            }
            let is_past = exchange_time > Some(interval.close_time(candle.open_time));
            let is_over = is_past || newest > Some(candle.open_time);
            if candle.open_time > expected || row.is_closed == Some(false) || !is_over {
                return;
            }
            let verdict = stream.series.close(&candle);
            if matches!(verdict, Verdict::Closed | Verdict::ClosedAfterGap { .. }) {
                let update = CandleUpdate {
                    instrument: id,
                    candle,
                    event_time: None,
                    received: now.mono,
                    final_by: Some(FinalBy::Rest),
                    source: Source::Rest,
                    revision: 0,
                };
                take_closed(stream, queue, metrics.market(market), update, verdict);
            }
            expected = UnixMs(expected.0 + interval.ms());
        }
    }
}

/// The exchange's own time of its answer: from the body, else from the `date` header, to the second.
fn exchange_time(response: &RestResponse, read: &RestCandles) -> Option<UnixMs> {
    let header = || {
        let (_, value) = response.limit_headers.iter().find(|(name, _)| name == "date")?;
        let time = httpdate::parse_http_date(value).ok()?;
        let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since_epoch.as_millis()).ok().map(UnixMs)
    };
    read.server_time.or_else(header)
}

/// A candle without a successor is asked about this long after its window.
/// Source: closing pushes come up to 4 s late (OKCOIN, recorded), one on Hyperliquid 0.2 s.
const GRACE_MS: i64 = 5_000;

/// How often unclosed candles are looked for.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// A candle that REST could not close is asked about again after this long.
/// Source: Hyperliquid's rows of dead minutes appear some seconds late.
const ASK_AGAIN: Duration = Duration::from_secs(10);
