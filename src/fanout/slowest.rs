//! The way of an update from an exchange's socket to a client's, in hops. Owns what a frame remembers
//! of them.

use crate::clock::{Lapse, MonoNs, UnixMs};
use crate::market::CandleUpdate;

/// The way of a pushed candle until the fan-out took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hops {
    /// The exchange's own time of it, if it gave one.
    pub(super) event_time: Option<UnixMs>,
    /// See [`CandleUpdate::received`].
    pub(super) received: MonoNs,
    /// See [`CandleUpdate::until_ring`].
    pub(super) until_ring: Lapse,
    /// The start of the turn that took it out of the ring.
    pub(super) taken: MonoNs,
}

impl Hops {
    /// Of `update`, taken now.
    pub(super) fn new(update: &CandleUpdate, taken: MonoNs) -> Self {
        let CandleUpdate { event_time, received, until_ring, .. } = *update;
        Self { event_time, received, until_ring, taken }
    }
}
