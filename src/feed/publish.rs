//! The queue of events for the ring. Closed candles and gaps leave in order. Open candles leave in
//! order while there is room, and are conflated beyond. Owns the order of publishing; whether a
//! candle may be published is the decision of its series.

use std::collections::VecDeque;

use crate::feed::Feed;
use crate::feed::stream::FeedStream;
use crate::limits::{OPEN_BURST_MAX, READ_BYTES_MAX};
use crate::market::{CandleUpdate, InstrumentId};
use crate::messages::MarketEvent;

/// Events that wait for the ring.
///
/// Ready events leave in the order of their arrival, before any conflated candle. An instrument
/// with a conflated candle gets no ready open one, so that its updates never overtake each other.
/// An open candle never overtakes the closed candle of an earlier window.
#[derive(Debug)]
pub(crate) struct PublishQueue {
    /// Closed candles, gaps, and at most [`OPEN_BURST_MAX`] open candles, oldest first.
    ready: VecDeque<MarketEvent>,
    /// Number of closed candles and gaps in `ready`.
    closed: usize,
    /// From this number of closed events on the sockets are not read.
    closed_max: usize,
    /// Instruments with a conflated open candle, in the order in which they began to wait.
    conflated: VecDeque<InstrumentId>,
}

impl PublishQueue {
    /// An empty queue. One read of a socket may exceed `closed_max`.
    pub(crate) fn new(closed_max: usize) -> Self {
        let closed_max = closed_max.max(1);
        let burst = READ_BYTES_MAX / CLOSED_PUSH_BYTES_MIN;
        let room = closed_max.min(ROOM_MAX) + burst + OPEN_BURST_MAX;
        let mut ready = VecDeque::with_capacity(room);
        // The pages that a burst needs are written once, so that they are mapped before the burst.
        let filler = || MarketEvent::Begin { instrument: InstrumentId(0) };
        ready.extend(std::iter::repeat_with(filler).take(room.min(4 * OPEN_BURST_MAX)));
        ready.clear();
        Self { ready, closed: 0, closed_max, conflated: VecDeque::new() }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.closed < self.closed_max
    }

    /// Returns whether an open candle may be queued rather than conflated.
    pub(crate) fn has_room_for_open(&self) -> bool {
        self.ready.len() - self.closed < OPEN_BURST_MAX
    }

    /// Queues an open candle. The caller has checked [`Self::has_room_for_open`].
    pub(crate) fn push_open(&mut self, update: CandleUpdate) {
        assert!(update.final_by.is_none(), "a closed candle counts towards its own bound");
        self.ready.push_back(MarketEvent::Candle(update));
    }

    pub(crate) fn push_closed(&mut self, event: MarketEvent) {
        debug_assert!(is_closed(&event), "an open candle has its own bound");
        self.ready.push_back(event);
        self.closed += 1;
    }

    /// Queues `id`, which has a conflated candle since now.
    pub(crate) fn push_conflated(&mut self, id: InstrumentId) {
        self.conflated.push_back(id);
    }

    pub(crate) fn pop_ready(&mut self) -> Option<MarketEvent> {
        let event = self.ready.pop_front()?;
        debug_assert!(
            self.closed <= self.ready.len() + 1,
            "closed events are among the ready ones"
        );
        self.closed -= usize::from(is_closed(&event));
        if self.ready.is_empty() {
            debug_assert!(self.closed == 0, "no closed event waits in an empty queue");
            // The next event takes the first slot again, which is in the cache, and not the next of
            // thousands, which is not.
            self.ready.clear();
        }
        Some(event)
    }

    /// The next instrument with a conflated candle. That candle may have been removed meanwhile.
    pub(crate) fn pop_conflated(&mut self) -> Option<InstrumentId> {
        self.conflated.pop_front()
    }

    /// Returns whether no event waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.conflated.is_empty()
    }

    /// The instrument of the next event.
    pub(crate) fn next_instrument(&self) -> Option<InstrumentId> {
        self.ready.front().map(MarketEvent::instrument).or_else(|| self.conflated.front().copied())
    }

    /// Reserves room for one conflated candle of each of `count` instruments.
    pub(crate) fn reserve_conflated(&mut self, count: usize) {
        self.conflated.reserve(count.saturating_sub(self.conflated.len()));
    }
}

impl Feed {
    /// The next event for the ring: ready events in order, then conflated open candles, one per
    /// instrument. The driver calls this only if the ring has a free slot.
    pub fn next_published(&mut self) -> Option<MarketEvent> {
        let metrics = &self.metrics;
        let depth = |stream: &FeedStream| metrics.market(stream.instrument.market);
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

/// Returns whether an event counts towards the bound of closed events.
pub(crate) fn is_closed(event: &MarketEvent) -> bool {
    !matches!(event, MarketEvent::Candle(CandleUpdate { final_by: None, .. }))
}

/// Fewest bytes of a closed push. Source: the shortest one of any venue is longer, even with a gap
/// before it.
const CLOSED_PUSH_BYTES_MIN: usize = 64;

/// Most events for which room is reserved; a larger bound grows into its room. Source: chosen, far
/// above the default bound.
const ROOM_MAX: usize = 65_536;
