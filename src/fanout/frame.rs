//! What is known of a frame that came from an instrument: its kind, its window, and its way so far.
//! Data only.

use crate::clock::{Lapse, MonoNs, RoughLapse, UnixMs};
use crate::market::{CandleUpdate, InstrumentId};

/// What kind of message a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A running candle: may be replaced by its successor.
    Open,
    /// A closed candle, first published.
    Closed,
    /// A closed candle, restated.
    Correction,
    /// A window without trades.
    Empty,
    /// Windows known to be missing.
    Gap,
}

/// What is known of a frame that came from an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameMeta {
    /// The instrument of the message.
    pub(crate) instrument: InstrumentId,
    /// The kind of the message.
    pub(crate) class: Class,
    /// Open time of the candle, or of the first missing window.
    pub(crate) open_time: UnixMs,
    /// Its way so far; `None` if it is not measured.
    pub(crate) hops: Option<Hops>,
    /// The frame is history for this subscription of one client, and no limit counts it. `None`: it
    /// is for every client that was there when it was published.
    pub(crate) history_of: Option<u32>,
    /// Publications before it.
    pub(crate) serial: u64,
}

impl FrameMeta {
    /// Returns whether it is a `quote`: the messages that `limit` counts.
    pub(crate) fn is_quote(&self) -> bool {
        matches!(self.class, Class::Open | Class::Closed) && self.history_of.is_none()
    }
}

/// The way of a pushed candle until the fan-out took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hops {
    /// The exchange's own time of it, if it gave one.
    pub(crate) event_time: Option<UnixMs>,
    /// See [`CandleUpdate::received`].
    pub(crate) received: MonoNs,
    /// See [`CandleUpdate::until_ring`].
    pub(crate) until_ring: Lapse,
    /// See [`CandleUpdate::kernel`].
    pub(crate) kernel: RoughLapse,
    /// The start of the turn that took it out of the ring.
    pub(crate) taken: MonoNs,
}

impl Hops {
    /// The way of `update`, which the fan-out takes at `taken`.
    pub(crate) fn new(update: &CandleUpdate, taken: MonoNs) -> Self {
        let CandleUpdate { event_time, received, until_ring, kernel, .. } = *update;
        Self { event_time, received, until_ring, kernel, taken }
    }
}
