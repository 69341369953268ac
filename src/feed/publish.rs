//! What waits for the ring: closed candles and gaps in order, open candles conflated. Owns the
//! order of publishing; whether a candle may be published is the series' decision.

use std::collections::VecDeque;

use crate::limits::READ_BYTES_MAX;
use crate::market::{CandleUpdate, InstrumentId};
use crate::messages::MarketEvent;

/// Events on their way to the ring.
///
/// All closed candles leave before any open one, so an open candle never overtakes the closed
/// candle of an earlier window.
#[derive(Debug)]
pub(super) struct PublishQueue {
    /// Closed candles and gaps, oldest first.
    closed: VecDeque<MarketEvent>,
    /// From this many on the sockets are not read.
    closed_max: usize,
    /// Instruments with an open candle waiting, in the order in which they began to wait.
    open: VecDeque<InstrumentId>,
}

impl PublishQueue {
    /// `closed_max` is passed by at most what one read of a socket may bring.
    pub(super) fn new(closed_max: usize) -> Self {
        let closed_max = closed_max.max(1);
        let room = closed_max.min(ROOM_MAX) + READ_BYTES_MAX / CLOSED_PUSH_BYTES_MIN;
        Self { closed: VecDeque::with_capacity(room), closed_max, open: VecDeque::new() }
    }

    pub(super) fn has_room(&self) -> bool {
        self.closed.len() < self.closed_max
    }

    pub(super) fn push_closed(&mut self, event: MarketEvent) {
        self.closed.push_back(event);
    }

    /// `id` has an open candle waiting and had none before.
    pub(super) fn push_open(&mut self, id: InstrumentId) {
        self.open.push_back(id);
    }

    pub(super) fn pop_closed(&mut self) -> Option<MarketEvent> {
        self.closed.pop_front()
    }

    /// The next instrument to look at; its open candle may have been withdrawn meanwhile.
    pub(super) fn pop_open(&mut self) -> Option<InstrumentId> {
        self.open.pop_front()
    }

    /// Whose closed candle or gap is next.
    pub(super) fn next_closed_instrument(&self) -> Option<InstrumentId> {
        let (MarketEvent::Candle(CandleUpdate { instrument, .. })
        | MarketEvent::Gap { instrument, .. }) = self.closed.front()?;
        Some(*instrument)
    }

    /// Whose event is next.
    pub(super) fn next_instrument(&self) -> Option<InstrumentId> {
        self.next_closed_instrument().or_else(|| self.open.front().copied())
    }

    /// Makes room for one waiting open candle of each of `count` instruments.
    pub(super) fn reserve_open(&mut self, count: usize) {
        self.open.reserve(count.saturating_sub(self.open.len()));
    }
}

/// The shortest closed push of any venue has more bytes, even with a gap before it.
const CLOSED_PUSH_BYTES_MIN: usize = 64;

/// Room made at once; a larger bound is grown into.
const ROOM_MAX: usize = 65_536;
