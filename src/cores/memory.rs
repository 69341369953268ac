//! Memory that stays: where the host lets this process lock as much as it likes, nothing that it has
//! once touched is ever paged out, so that no candle waits for a disk.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};

/// Locks the process' memory, also what is still to come, if the limit (`LimitMEMLOCK`, `ulimit -l`) is
/// `infinity`. With any other a later allocation could fail for it. Pages are locked as they are
/// touched: what is only reserved, stacks above all, takes nothing. Returns what a user should know.
pub fn lock() -> Option<&'static str> {
    if getrlimit(Resource::Memlock).current.is_some() {
        return None;
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).ok().map(|()| "memory is locked: nothing of it is paged out")
}
