//! The pinned threads on which duties run: glommio's executors, or plain threads where the host
//! refuses what those need. No byte passes io_uring, so both do the same work in the same time.

use std::io;
use std::thread::JoinHandle;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use super::probe::{self, ProbeError};

/// What duties run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    /// An executor of glommio for each.
    Glommio,
    /// A thread for each.
    Threads,
}

/// A duty that runs.
pub(super) enum Executor {
    Glommio(ExecutorJoinHandle<()>),
    Thread(JoinHandle<io::Result<()>>),
}

impl Runtime {
    /// glommio's, and why not if this host refuses what they need.
    pub(super) fn choose() -> (Self, Option<ProbeError>) {
        match probe::probe() {
            Ok(()) => (Self::Glommio, None),
            Err(error) => (Self::Threads, Some(error)),
        }
    }

    /// Runs what `duty` makes on the CPU `cpu`, where it is made too.
    ///
    /// Errors: no thread can be had, or it may not be pinned; the latter where the executor is
    /// joined.
    pub(super) fn spawn<D: Future<Output = ()> + 'static>(
        self,
        name: &str,
        cpu: usize,
        duty: impl FnOnce() -> D + Send + 'static,
    ) -> io::Result<Executor> {
        match self {
            Self::Glommio => LocalExecutorBuilder::new(Placement::Fixed(cpu))
                .name(name)
                .io_memory(IO_MEMORY_BYTES)
                .spawn(duty)
                .map(Executor::Glommio)
                .map_err(|error| io::Error::other(error.to_string())),
            Self::Threads => std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
                        return Err(io::Error::other(format!("not allowed to run on CPU {cpu}")));
                    }
                    futures_lite::future::block_on(duty());
                    Ok(())
                })
                .map(Executor::Thread),
        }
    }
}

impl Executor {
    /// Waits for its end.
    pub(super) fn join(self) -> io::Result<()> {
        match self {
            Self::Glommio(handle) => {
                handle.join().map_err(|error| io::Error::other(error.to_string()))
            }
            Self::Thread(handle) => {
                handle.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
            }
        }
    }
}

/// The executors do no storage I/O; this is the least that is reserved for it.
const IO_MEMORY_BYTES: usize = 64 * 1024;
