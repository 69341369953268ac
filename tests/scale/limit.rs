//! A memory limit for one process, where the kernel lets us set one, and what the process uses.

use std::fs;
use std::path::{Path, PathBuf};

/// A control group of this test's own, removed when it is dropped.
pub(crate) struct MemoryLimit {
    group: PathBuf,
    /// In words, for the table.
    pub(crate) kind: &'static str,
}

impl MemoryLimit {
    /// Puts the process `id` under a limit of `bytes`. `None`: no control group can be had.
    pub(crate) fn put(id: u32, bytes: usize) -> Option<Self> {
        let name = format!("connector-scale-{id}");
        [
            ("/sys/fs/cgroup", "memory.max", "cgroup v2"),
            ("/sys/fs/cgroup/unified", "memory.max", "cgroup v2"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "cgroup v1"),
        ]
        .into_iter()
        .find_map(|(root, file, kind)| {
            let group = Path::new(root).join(&name);
            fs::create_dir(&group).ok()?;
            let limit = Self { group, kind };
            // Without the file the controller is not there.
            limit.group.join(file).exists().then_some(())?;
            fs::write(limit.group.join(file), bytes.to_string()).ok()?;
            fs::write(limit.group.join("cgroup.procs"), id.to_string()).ok()?;
            Some(limit)
        })
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Not while the process lives: it is dropped before.
        let _removed = fs::remove_dir(&self.group);
    }
}

/// A line of the process's status, in KiB: `VmRSS`, `VmHWM`.
pub(crate) fn memory_kib(id: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
