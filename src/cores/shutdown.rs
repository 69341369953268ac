//! The one word from outside to the hot cores: go down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::fanout::Departure;

use super::doorbell::Doorbell;

/// Says when to go down, and how, from any thread.
#[derive(Debug)]
pub struct Shutdown {
    /// One more than the place in [`DEPARTURES`]; 0: not asked for.
    requested: AtomicU8,
    bell: Arc<Doorbell>,
}

const DEPARTURES: [Departure; 3] = [Departure::Closed, Departure::Kept, Departure::Succeeded];

impl Shutdown {
    /// Not requested. `bell`: the fan-out core's.
    pub fn new(bell: Arc<Doorbell>) -> Self {
        Self { requested: AtomicU8::new(0), bell }
    }

    /// Begins the drain. May be called more than once; the first call decides.
    pub fn request(&self, departure: Departure) {
        let number = (1..).zip(DEPARTURES).find_map(|(n, one)| (one == departure).then_some(n));
        let number = number.expect("every departure has its place");
        let _first =
            self.requested.compare_exchange(0, number, Ordering::AcqRel, Ordering::Relaxed);
        self.bell.ring();
    }

    /// The drain that has been asked for.
    pub fn requested(&self) -> Option<Departure> {
        let number = usize::from(self.requested.load(Ordering::Acquire));
        DEPARTURES.get(number.checked_sub(1)?).copied()
    }
}
