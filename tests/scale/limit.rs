//! A memory limit for one process, where the kernel lets us set one; what the process uses, and
//! what the kernel holds for it.

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

/// The most bytes that the kernel holds for one connection of the server at `port`, not taken by
/// the client yet. Source: proc_net_tcp, `tx_queue`.
pub(crate) fn unsent_bytes_max(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let end = format!(":{port:04X}");
    let unsent = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let queue = fields[1].ends_with(&end).then(|| fields[4].split(':').next())??;
        Some(usize::from_str_radix(queue, 16).unwrap())
    });
    unsent.max().unwrap_or(0)
}
