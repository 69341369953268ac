//! Whether glommio's executors can run on this host. io_uring and locked memory are tried before
//! the executors start. If they are refused, the same duties run on plain threads.

use std::fmt;

use crate::cores::machine::rlimits::{self, Resource};

/// Why glommio's executors cannot run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// The kernel has no io_uring, or is too old.
    NoIoUring(String),
    /// The kernel has io_uring, and forbids it to this process.
    IoUringForbidden(String),
    /// An executor did not start when it was tried.
    Refused(String),
    /// Too little memory may be locked.
    MemlockTooLow {
        /// The limit, in bytes.
        limit: u64,
    },
}

impl ProbeError {
    /// What is wrong, without a full stop.
    pub(crate) fn problem(&self) -> String {
        match self {
            Self::NoIoUring(why) => format!("io_uring is not available ({why})"),
            Self::IoUringForbidden(why) => {
                format!("io_uring is forbidden to this process ({why})")
            }
            Self::Refused(why) => format!("glommio's executors do not start here ({why})"),
            Self::MemlockTooLow { limit } => format!(
                "only {} KiB of memory may be locked, {} KiB are needed",
                limit / 1024,
                MEMLOCK_BYTES_MIN / 1024
            ),
        }
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::NoIoUring(_) => "They need Linux 5.8 or newer with CONFIG_IO_URING",
            Self::IoUringForbidden(_) => {
                "On the host: `sysctl -w kernel.io_uring_disabled=0`. In a container: the default \
                 seccomp profile forbids it; allow io_uring_setup, io_uring_enter and \
                 io_uring_register (docker run --security-opt seccomp=PROFILE.json, or in \
                 Kubernetes securityContext.seccompProfile type Localhost)"
            }
            Self::Refused(_) => {
                "They need io_uring, eventfd and getrlimit: a seccomp profile or a sandbox may forbid \
                 one of them, or the limit of threads or open files is reached"
            }
            Self::MemlockTooLow { .. } => {
                "Raise the limit: `ulimit -l unlimited`, systemd `LimitMEMLOCK=infinity`, docker \
                 run --ulimit memlock=-1, or `memlock` in /etc/security/limits.conf"
            }
        }
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {RUNS_ANYWAY}. {}", self.problem(), self.remedy())
    }
}

impl std::error::Error for ProbeError {}

/// What happens where glommio's executors cannot run.
pub(crate) const RUNS_ANYWAY: &str = "running on plain pinned threads instead of glommio's \
    executors, at the same speed";

/// Least memory that must be lockable. Source: glommio 0.9 refuses to start an executor below it.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Asks the kernel for the same things as an executor.
pub(crate) fn probe() -> Result<(), ProbeError> {
    memlock()?;
    io_uring()
}

/// Creates a ring, registers with it and enters it. A host may forbid each of these alone.
pub(crate) fn io_uring() -> Result<(), ProbeError> {
    let mut known = io_uring::Probe::new();
    let tried = io_uring::IoUring::new(PROBE_RING_ENTRIES).and_then(|ring| {
        ring.submitter().register_probe(&mut known)?;
        ring.submitter().submit_and_wait(0)
    });
    match tried {
        Ok(_) if known.is_supported(NEWEST_OPERATION) => Ok(()),
        Ok(_) => Err(ProbeError::NoIoUring("the kernel is too old".to_owned())),
        Err(error) => Err(judge(&error)),
    }
}

/// Source: what glommio 0.9 needs came with Linux 5.8, as `tee` did.
const NEWEST_OPERATION: u8 = io_uring::opcode::Tee::CODE;

const PROBE_RING_ENTRIES: u32 = 8;

/// Looks at the limit of locked memory.
pub(crate) fn memlock() -> Result<(), ProbeError> {
    judge_memlock(rlimits::of(Resource::RLIMIT_MEMLOCK).soft)
}

fn judge_memlock(limit: Option<u64>) -> Result<(), ProbeError> {
    match limit {
        Some(limit) if limit < MEMLOCK_BYTES_MIN => Err(ProbeError::MemlockTooLow { limit }),
        _ => Ok(()),
    }
}

fn judge(error: &std::io::Error) -> ProbeError {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => ProbeError::IoUringForbidden(error.to_string()),
        std::io::ErrorKind::OutOfMemory => {
            let limit = rlimits::of(Resource::RLIMIT_MEMLOCK).soft.unwrap_or(u64::MAX);
            ProbeError::MemlockTooLow { limit }
        }
        _ => ProbeError::NoIoUring(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    #[test]
    fn each_refusal_names_its_remedy() {
        let forbidden = judge(&Error::from_raw_os_error(1)).to_string();
        assert!(forbidden.contains("seccomp") && forbidden.contains("io_uring_disabled"));
        let missing = judge(&Error::from_raw_os_error(38)).to_string();
        assert!(missing.contains("5.8"), "{missing}");
        let low = judge_memlock(Some(64 * 1024)).unwrap_err().to_string();
        assert!(low.contains("64 KiB") && low.contains("LimitMEMLOCK"), "{low}");
        assert_eq!(judge_memlock(None), Ok(()));
    }
}
