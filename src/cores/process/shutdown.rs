//! The only message from outside to the hot cores: stop.

use std::sync::{Arc, OnceLock};

use crate::cores::machine::doorbell::Doorbell;
use crate::fanout::DrainKind;

/// The request to drain, and its kind, from any thread.
#[derive(Debug)]
pub struct Shutdown {
    requested: OnceLock<DrainKind>,
    bell: Arc<Doorbell>,
}

impl Shutdown {
    /// Not requested. `bell`: the fan-out core's.
    pub fn new(bell: Arc<Doorbell>) -> Self {
        Self { requested: OnceLock::new(), bell }
    }

    /// Begins the drain. May be called more than once; the first call decides.
    pub fn request(&self, drain_kind: DrainKind) {
        self.requested.get_or_init(|| drain_kind);
        self.bell.ring();
    }

    /// The drain that has been asked for.
    pub fn requested(&self) -> Option<DrainKind> {
        self.requested.get().copied()
    }
}
