//! What becomes due although no message arrives: windows that are over and not closed, holds that
//! end, streams that fell silent, candles to verify. Owns when each stream is checked; `missing`,
//! `backfill` and `verify` own the requests and what follows from them.
//!
//! Streams have no timers. What is due on a stream follows from fields that every push changes, and
//! a timer would have to be set again on the hot path. Instead each stream is looked at every
//! [`WATCH_EVERY`]; what cannot wait for that stands in `urgent` and `holds`.

use std::time::Duration;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::feed::Feed;
use crate::feed::candles::{Publisher, release_given_up};
use crate::feed::repair::backfill::due_wishes;
use crate::feed::stream::{ContractSize, FeedStream, RestPurpose};
use crate::market::{InstrumentId, Market};
use crate::messages::EventName;

/// The requests that a stream needs now.
fn due(stream: &FeedStream, exchange_now: UnixMs, now: MonoNs) -> [Option<RestPurpose>; 2] {
    let repair = &stream.repair;
    if stream.contract_size == ContractSize::Awaited {
        return [None; 2];
    }
    let may_repair = !repair.is_asking && repair.ask_at <= now;
    [
        repair.urgency(stream, exchange_now, now).filter(|_| may_repair),
        repair.verifications.is_due(now).then_some(RestPurpose::Verify),
    ]
}

impl Feed {
    /// Checks all streams, one part of them in each turn.
    pub(crate) fn watch(&mut self, now: Now) {
        self.ask_urgent(now);
        self.end_holds(now);
        if self.next_watch.is_none_or(|at| at > now.mono) {
            return;
        }
        self.drop_forgotten();
        let part = self.watched_part;
        self.watched_part = (part + 1) % PARTS;
        self.next_watch = Some(now.mono.after(WATCH_EVERY / PARTS_U32));
        let Self { streams, clocks, rest_queue, .. } = self;
        for (market, clock) in Market::all().zip(clocks.iter_mut()) {
            if let Some(id) = clock.take_asker(now.mono) {
                rest_queue.push(market, RestPurpose::Clock, id);
            }
        }
        let (mut silent, mut impatient) = (Vec::new(), Vec::new());
        for stream in streams.wanted_slice(part, PARTS) {
            let (market, stream_id) = (stream.instrument.market, stream.id);
            let exchange_now = clocks[market.index()].now(now);
            for purpose in due(stream, exchange_now, now.mono).into_iter().flatten() {
                stream.repair.mark(purpose);
                rest_queue.push(market, purpose, stream.id);
            }
            due_wishes(stream, now.mono, |wish| rest_queue.push_wish(market, (stream_id, wish)));
            if stream.repair.backfills.iter().any(|backfill| backfill.until <= now.mono) {
                impatient.push(stream.id);
            }
            if stream.is_delivering && stream.message_rate.is_broken(now.mono) {
                silent.push(stream.id);
            }
        }
        silent.into_iter().for_each(|id| self.suspect_silence_alone(id, now.mono));
        impatient.into_iter().for_each(|id| self.end_backfills(id, now));
        self.report_late_markets();
    }

    /// Logs once that all candles of a market are late or refused, and once that they are no
    /// longer.
    fn report_late_markets(&mut self) {
        for market in Market::all() {
            let is_late = self.market_metrics(market).is_late();
            if std::mem::replace(&mut self.late_markets[market.index()], is_late) == is_late {
                continue;
            }
            let (event, text) = match is_late {
                true => (EventName::CandlesLate, "all candles that arrive are late or refused"),
                false => (EventName::CandlesTimely, "candles arrive in time again"),
            };
            self.notice(event, market, text.to_owned());
        }
    }

    /// Forgets, at a new subscription, a watermark that lies ahead of the clock: every push up to
    /// it would be late.
    pub(crate) fn forget_ahead(&mut self, id: InstrumentId, now: Now) {
        let Some(stream) = self.streams.stream_mut(id).filter(|one| !one.is_wanted) else { return };
        let market = stream.instrument.market;
        stream.series.forget_ahead(self.clocks[market.index()].latest_open(now));
    }

    /// Asks REST at once for the windows that messages have shown to be missing.
    fn ask_urgent(&mut self, now: Now) {
        for id in std::mem::take(&mut self.urgent) {
            self.end_backfills(id, now);
            let Some(stream) = self.streams.stream_mut(id).filter(|one| one.is_wanted) else {
                continue;
            };
            let market = stream.instrument.market;
            if stream.repair.hold_until.is_some() && !self.holds.contains(&id) {
                self.holds.push(id);
            }
            let exchange_now = self.clocks[market.index()].now(now);
            for purpose in due(stream, exchange_now, now.mono).into_iter().flatten() {
                stream.repair.mark(purpose);
                self.rest_queue.push(market, purpose, id);
            }
            let rest_queue = &mut self.rest_queue;
            due_wishes(stream, now.mono, |wish| rest_queue.push_wish(market, (id, wish)));
        }
    }

    /// Gives up the gaps that were held for long enough.
    fn end_holds(&mut self, now: Now) {
        let Self { holds, streams, queue, metrics, urgent, config, .. } = self;
        holds.retain(|&id| {
            let Some(stream) = streams.stream_mut(id) else { return false };
            let Some(until) = stream.repair.hold_until else { return false };
            if until <= now.mono {
                let metrics = metrics.market(stream.instrument.market);
                let mut publisher =
                    Publisher::new(queue, metrics, urgent, now.mono, config.gap_hold);
                release_given_up(stream, &mut publisher);
            }
            stream.repair.hold_until.is_some()
        });
    }

    /// When [`Self::watch`] has something to do.
    pub(crate) fn watch_deadline(&self) -> Option<MonoNs> {
        let held = self.holds.iter().filter_map(|&id| self.streams.stream(id)?.repair.hold_until);
        let urgent = (!self.urgent.is_empty()).then_some(MonoNs(0));
        held.chain(self.next_watch).chain(urgent).min()
    }

    /// Begins to check the streams, if no check is planned.
    pub(crate) fn arm_watch(&mut self, now: MonoNs) {
        self.next_watch.get_or_insert(now.after(WATCH_EVERY / PARTS_U32));
    }

    /// Asks REST whether a stream has news that used to deliver and fell silent among others.
    fn suspect_silence_alone(&mut self, id: InstrumentId, now: MonoNs) {
        if let Some(stream) = self.streams.stream_mut(id) {
            stream.is_delivering = false;
            self.bring_forward(id, now, None);
        }
    }
}

/// How often each stream is checked. Source: chosen, well below the grace of an overdue window.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Number of parts in which the streams are checked, so that no turn takes long. Source: chosen.
const PARTS: usize = 8;
const PARTS_U32: u32 = 8;
