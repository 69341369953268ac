//! The one word from outside to the hot cores: go down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::doorbell::Doorbell;

/// Says when to go down, from any thread.
#[derive(Debug)]
pub struct Shutdown {
    is_requested: AtomicBool,
    bell: Arc<Doorbell>,
}

impl Shutdown {
    /// Not requested. `bell`: the fan-out core's.
    pub fn new(bell: Arc<Doorbell>) -> Self {
        Self { is_requested: AtomicBool::new(false), bell }
    }

    /// Begins the drain. May be called more than once.
    pub fn request(&self) {
        self.is_requested.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Whether the drain has been asked for.
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::Acquire)
    }
}

