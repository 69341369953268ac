//! Locked memory and returned memory. If the host sets no limit for locked memory, a page that was
//! touched is never paged out, so that no candle waits for a disk. Memory that a storm of names or
//! a crowd of clients has taken is given back to the host.

use std::time::Duration;

use rustix::mm::{MlockAllFlags, mlockall};

use crate::clock::{MonoNs, Now};
use crate::cores::machine::figures;
use crate::cores::machine::rlimits::{self, Resource};

/// Locks the memory of the process, now and later, if the limit (`LimitMEMLOCK`, `ulimit -l`) is
/// `infinity`. With any other limit a later allocation could fail. Pages are locked when they are
/// touched, so that reserved pages, for example of stacks, take nothing. Returns a line for the
/// user.
pub fn lock() -> Option<&'static str> {
    if !rlimits::is_infinite(Resource::RLIMIT_MEMLOCK) {
        return None;
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).ok().map(|()| "memory is locked: nothing of it is paged out")
}

/// Gives free memory back to the host after the process has grown. The allocator itself keeps
/// memory that was freed below a block in use; after a storm of names that is most of it.
#[derive(Debug)]
pub(crate) struct Slack {
    look_at: MonoNs,
    /// Fewest resident bytes since memory was given back; `None` before the first look.
    kept: Option<u64>,
}

impl Slack {
    pub(crate) fn new(now: Now) -> Self {
        Self { look_at: now.mono, kept: None }
    }

    /// The ops core calls this in each of its turns.
    pub(crate) fn look(&mut self, now: Now) {
        if now.mono < self.look_at {
            return;
        }
        self.look_at = now.mono.after(SLACK_LOOK);
        let Some(figures) = figures::read() else { return };
        if self.has_grown(figures.resident_bytes) && give_back() {
            self.kept = figures::read().map(|figures| figures.resident_bytes);
        }
    }

    fn has_grown(&mut self, resident: u64) -> bool {
        let kept = self.kept.map_or(resident, |kept| kept.min(resident));
        self.kept = Some(kept);
        resident - kept >= SLACK
    }
}

/// If the process has grown by less, nothing is done. Source: a storm of names may leave 10 MB.
const SLACK: u64 = 4 * 1024 * 1024;

/// Time between two looks. Source: memory that is given back too soon is allocated again, page by
/// page.
const SLACK_LOOK: Duration = Duration::from_secs(60);

/// Returns whether any memory was given back. A core that allocates meanwhile waits for a few ms at
/// most. The path of a candle allocates nothing.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "only the C library can give back what its allocator keeps")]
fn give_back() -> bool {
    // SAFETY: malloc_trim(3) takes a number of bytes to keep and no pointer, and locks each of its
    // arenas itself: any thread may call it at any time.
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Other allocators give free memory back themselves.
#[cfg(not(target_env = "gnu"))]
fn give_back() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grew_is_looked_at_once_for_each_step() {
        let mut slack = Slack::new(Now { mono: MonoNs(0), unix_us: 0 });
        assert!(!slack.has_grown(50 * SLACK), "that is what it needs");
        assert!(!slack.has_grown(51 * SLACK - 1));
        assert!(slack.has_grown(51 * SLACK));
        assert!(!slack.has_grown(49 * SLACK), "less was enough");
        assert!(slack.has_grown(50 * SLACK));
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn what_lies_free_below_something_in_use_is_given_back() {
        let resident_kb = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let mut blocks = Vec::from_iter((0..16_000).map(|_| vec![1_u8; 2048]));
        let last = blocks.pop();
        drop(blocks);
        let before = resident_kb();
        assert!(give_back());
        assert!(before - resident_kb() > 16_000, "{before} kB and then {} kB", resident_kb());
        drop(last);
    }
}
