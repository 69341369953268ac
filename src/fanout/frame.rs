//! What is known of a frame that came from an instrument: its kind, its window, and its way so far.
//! Data only.

use crate::clock::{Lapse, MonoNs, RoughLapse, UnixMs};
use crate::market::{CandleUpdate, InstrumentId};

/// What kind of message a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
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

/// What is known about a frame that came from an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameMeta {
    /// Whose message it is.
    pub(super) instrument: InstrumentId,
    /// What it says.
    pub(super) class: Class,
    /// Open time of the candle, or of the first missing window.
    pub(super) open_time: UnixMs,
    /// Its way so far; `None` if that is not measured.
    pub(super) hops: Option<Hops>,
    /// It is the past of this subscription of one client: counted by no limit. `None`: it is for
    /// everybody who was there when it was published.
    pub(super) past_of: Option<u32>,
    /// Publications before it.
    pub(super) serial: u64,
}

impl FrameMeta {
    /// Whether it is a `quote`: what `limit` counts.
    pub(super) fn is_quote(&self) -> bool {
        matches!(self.class, Class::Open | Class::Closed) && self.past_of.is_none()
    }
}

/// The way of a pushed candle until the fan-out took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hops {
    /// The exchange's own time of it, if it gave one.
    pub(super) event_time: Option<UnixMs>,
    /// See [`CandleUpdate::received`].
    pub(super) received: MonoNs,
    /// See [`CandleUpdate::until_ring`].
    pub(super) until_ring: Lapse,
    /// See [`CandleUpdate::kernel`].
    pub(super) kernel: RoughLapse,
    /// The start of the turn that took it out of the ring.
    pub(super) taken: MonoNs,
}

impl Hops {
    /// Of `update`, taken now.
    pub(super) fn new(update: &CandleUpdate, taken: MonoNs) -> Self {
        let CandleUpdate { event_time, received, until_ring, kernel, .. } = *update;
        Self { event_time, received, until_ring, kernel, taken }
    }
}
