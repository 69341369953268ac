//! Wakes a parked core from another thread. Owns one eventfd and a flag that shows whether the core
//! is parked: ringing a busy core costs one load.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

/// A doorbell. One core listens; any thread rings.
#[derive(Debug)]
pub struct Doorbell {
    bell: OwnedFd,
    is_parked: AtomicBool,
}

impl Doorbell {
    /// A doorbell without a listener.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { bell, is_parked: AtomicBool::new(false) })
    }

    /// Wakes the listener if it is parked. Called after the message has been put into its queue.
    pub fn ring(&self) {
        // Pairs with the fence in `announce_park`: either the listener sees the message when it
        // looks again, or we see its flag. A plain load before the message was visible would
        // let both miss each other.
        fence(Ordering::SeqCst);
        if self.is_parked.load(Ordering::Relaxed) {
            // A write fails only if the counter of the eventfd is full. The listener then wakes
            // anyway.
            let _rung = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// The listener is about to park: it must look at its queues once more after this.
    pub fn announce_park(&self) {
        self.is_parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The listener is awake again.
    pub fn end_park(&self) {
        self.is_parked.store(false, Ordering::Relaxed);
    }

    /// Forgets the rings so far. Called when the bell has woken the listener.
    pub fn clear(&self) {
        let _count = rustix::io::read(&self.bell, &mut [0; 8]);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
