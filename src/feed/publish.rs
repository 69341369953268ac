//! What waits for the ring: closed candles and gaps in order, open candles in order too while there
//! is room and conflated beyond. Owns the order of publishing; whether a candle may be published is
//! the series' decision.

use std::collections::VecDeque;

use crate::limits::{OPEN_BURST_MAX, READ_BYTES_MAX};
use crate::market::{CandleUpdate, InstrumentId};
use crate::messages::MarketEvent;

use crate::feed::Feed;
use crate::feed::stream::Stream;

/// Events on their way to the ring.
///
/// What is ready leaves in the order in which it came, before any conflated candle. An instrument
/// with a conflated candle gets no ready open one, so its updates never overtake each other; and
/// an open candle never overtakes the closed candle of an earlier window.
#[derive(Debug)]
pub(crate) struct PublishQueue {
    /// Closed candles, gaps, and as many open candles as there is room for, oldest first.
    ready: VecDeque<MarketEvent>,
    /// How many of `ready` are closed candles or gaps.
    closed: usize,
    /// From this many on the sockets are not read.
    closed_max: usize,
    /// Instruments with a conflated open candle, in the order in which they began to wait.
    conflated: VecDeque<InstrumentId>,
}

impl PublishQueue {
    /// `closed_max` is passed by at most what one read of a socket may bring.
    pub(crate) fn new(closed_max: usize) -> Self {
        let closed_max = closed_max.max(1);
        let burst = READ_BYTES_MAX / CLOSED_PUSH_BYTES_MIN;
        let room = closed_max.min(ROOM_MAX) + burst + OPEN_BURST_MAX;
        let mut ready = VecDeque::with_capacity(room);
        // What a burst needs is filled once, so that its pages are there before it comes.
        let filler = || MarketEvent::Begin { instrument: InstrumentId(0) };
        ready.extend(std::iter::repeat_with(filler).take(room.min(4 * OPEN_BURST_MAX)));
        ready.clear();
        Self { ready, closed: 0, closed_max, conflated: VecDeque::new() }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.closed < self.closed_max
    }

    /// Whether an open candle may be made ready rather than conflated.
    pub(crate) fn has_room_for_open(&self) -> bool {
        self.ready.len() - self.closed < OPEN_BURST_MAX
    }

    /// An open candle, while [`Self::has_room_for_open`].
    pub(crate) fn push_open(&mut self, update: CandleUpdate) {
        assert!(update.final_by.is_none(), "a closed candle counts towards its own bound");
        self.ready.push_back(MarketEvent::Candle(update));
    }

    pub(crate) fn push_closed(&mut self, event: MarketEvent) {
        self.ready.push_back(event);
        self.closed += 1;
    }

    /// `id` has a conflated candle waiting and had none before.
    pub(crate) fn push_conflated(&mut self, id: InstrumentId) {
        self.conflated.push_back(id);
    }

    pub(crate) fn pop_ready(&mut self) -> Option<MarketEvent> {
        let event = self.ready.pop_front()?;
        self.closed -= usize::from(is_closed(&event));
        if self.ready.is_empty() {
            // The next event takes the first slot again, which is in the cache, and not the next of
            // thousands, which is not.
            self.ready.clear();
        }
        Some(event)
    }

    /// The next instrument to look at; its open candle may have been withdrawn meanwhile.
    pub(crate) fn pop_conflated(&mut self) -> Option<InstrumentId> {
        self.conflated.pop_front()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.conflated.is_empty()
    }

    /// Whose event is next.
    pub(crate) fn next_instrument(&self) -> Option<InstrumentId> {
        self.ready.front().map(MarketEvent::instrument).or_else(|| self.conflated.front().copied())
    }

    /// Makes room for one conflated candle of each of `count` instruments.
    pub(crate) fn reserve_conflated(&mut self, count: usize) {
        self.conflated.reserve(count.saturating_sub(self.conflated.len()));
    }
}

impl Feed {
    /// The next event for the ring: what is ready in its order, then conflated open candles, one
    /// per instrument. To be called only when the ring has a free slot.
    pub fn next_published(&mut self) -> Option<MarketEvent> {
        let metrics = &self.metrics;
        let depth = |stream: &Stream| metrics.market(stream.instrument.market);
        if let Some(event) = self.queue.pop_ready() {
            if let Some(stream) = self.streams.stream(event.instrument()) {
                let metrics = depth(stream);
                match is_closed(&event) {
                    true => metrics.closed_queue_depth.add(-1),
                    false => metrics.open_queue_depth.add(-1),
                }
            }
            return Some(event);
        }
        while let Some(id) = self.queue.pop_conflated() {
            let Some(stream) = self.streams.stream_mut(id) else { continue };
            stream.is_queued = false;
            if let Some(update) = stream.waiting.take() {
                depth(stream).open_queue_depth.add(-1);
                return Some(MarketEvent::Candle(update));
            }
        }
        None
    }
}

/// Whether an event counts towards the bound of closed candles.
pub(crate) fn is_closed(event: &MarketEvent) -> bool {
    !matches!(event, MarketEvent::Candle(CandleUpdate { final_by: None, .. }))
}

/// The shortest closed push of any venue has more bytes, even with a gap before it.
const CLOSED_PUSH_BYTES_MIN: usize = 64;

/// Room made at once; a larger bound is grown into.
const ROOM_MAX: usize = 65_536;
