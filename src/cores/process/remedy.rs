//! What a user can do if the host refuses something that the server needs in order to start.

use std::io;

use rustix::io::Errno;

/// The kernel's words and the remedy: `Too many open files (os error 24); raise …`.
pub fn in_words(error: &io::Error) -> String {
    format!("{error}; {}", of(error))
}

/// The remedy alone.
pub fn of(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE) => {
            "raise the limit of open files (systemd `LimitNOFILE=`, docker run --ulimit nofile=, \
             `ulimit -n`, or on the host `sysctl fs.file-max`)"
        }
        Some(Errno::AGAIN) => {
            "no thread can be had: raise the limit of threads (systemd `TasksMax=`, docker run \
             --pids-limit, `ulimit -u`)"
        }
        Some(Errno::NOMEM | Errno::NOBUFS) => {
            "the host has too little memory for it: raise the limit (systemd `MemoryMax=`, docker \
             run --memory, `ulimit -v`), or end other programs"
        }
        Some(Errno::NOSPC) => {
            "no room is left: on a disk (`df`), or for what is waited for (`sysctl \
             fs.epoll.max_user_watches`)"
        }
        Some(Errno::PERM | Errno::ACCESS | Errno::NOSYS) => {
            "the host forbids it: a seccomp profile, AppArmor, SELinux, or the sandbox that it runs \
             in; `strace -f -Z connector-wss` shows the call that is refused"
        }
        _ => {
            "start it again; where it stays, `strace -f -Z connector-wss` shows the call that fails"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_the_host_has_a_remedy() {
        for (errno, part) in [
            (Errno::MFILE, "LimitNOFILE"),
            (Errno::AGAIN, "TasksMax"),
            (Errno::NOMEM, "MemoryMax"),
            (Errno::NOSPC, "max_user_watches"),
            (Errno::PERM, "seccomp"),
            (Errno::IO, "strace"),
        ] {
            let error = io::Error::from(errno);
            let text = in_words(&error);
            assert!(text.starts_with(&format!("{error}; ")) && text.contains(part), "{text}");
        }
    }
}
