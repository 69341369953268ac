//! The pinned threads on which duties run: glommio's executors, or plain threads where the host
//! refuses what those need. No byte passes io_uring, so both do the same work in the same time.

use std::io;
use std::thread::JoinHandle;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use crate::cores::machine::probe::{self, ProbeError};

/// What the duties run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// Each on an executor of glommio.
    Glommio,
    /// Each on a plain thread.
    Threads,
}

/// A duty that runs.
pub(crate) enum Executor {
    Glommio(ExecutorJoinHandle<()>),
    Thread(JoinHandle<()>),
}

impl Runtime {
    /// glommio's executors; or threads, with the reason, if this host refuses what executors need.
    pub(crate) fn choose() -> (Self, Option<ProbeError>) {
        match probe::probe().and_then(|()| Self::try_glommio()) {
            Ok(()) => (Self::Glommio, None),
            Err(error) => (Self::Threads, Some(error)),
        }
    }

    /// Starts and ends an executor that has nothing to do.
    fn try_glommio() -> Result<(), ProbeError> {
        let executor = Self::Glommio.spawn("probe", None, || async {});
        let tried = executor.and_then(Executor::join);
        tried.map_err(|error| ProbeError::Refused(error.to_string()))
    }

    /// Runs the future that `duty` returns, on `cpu` if one is given; `duty` itself runs there too.
    /// If the host forbids pinning, the thread floats, and a warning is logged.
    ///
    /// Errors: no thread can be started. If the host refuses what glommio needs, [`Executor::join`]
    /// returns that error.
    pub(crate) fn spawn<D: Future<Output = ()> + 'static>(
        self,
        name: &str,
        cpu: Option<usize>,
        duty: impl FnOnce() -> D + Send + 'static,
    ) -> io::Result<Executor> {
        let role = name.to_owned();
        let pinned = move || async move {
            if let Some(cpu) = cpu {
                pin(&role, cpu);
            }
            duty().await;
        };
        match self {
            // The thread pins itself: glommio's own placement reads the whole topology of the CPUs,
            // and panics if one of those files cannot be read.
            Self::Glommio => LocalExecutorBuilder::new(Placement::Unbound)
                .name(name)
                .io_memory(IO_MEMORY_BYTES)
                .spawn(pinned)
                .map(Executor::Glommio)
                .map_err(io::Error::from),
            Self::Threads => std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || futures_lite::future::block_on(pinned()))
                .map(Executor::Thread),
        }
    }
}

fn pin(role: &str, cpu: usize) {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        tracing::warn!(
            "{role} cannot be pinned to CPU {cpu} and floats: its latency is less even. The host \
             forbids sched_setaffinity: a seccomp profile, or the sandbox that it runs in"
        );
    }
}

impl Executor {
    /// Waits for its end.
    pub(crate) fn join(self) -> io::Result<()> {
        match self {
            Self::Glommio(handle) => handle.join().map_err(io::Error::from),
            Self::Thread(handle) => handle.join().map_err(|_| io::Error::other("it panicked")),
        }
    }
}

/// The executors do no storage I/O; this is the least that is reserved for it.
const IO_MEMORY_BYTES: usize = 64 * 1024;
