//! What a user can do where the host refuses something that the server needs in order to start.

use std::io;

use nix::errno::Errno;

/// The kernel's words and the remedy: `Too many open files (os error 24); raise …`.
pub fn in_words(error: &io::Error) -> String {
    format!("{error}; {}", of(error))
}

/// The remedy alone.
pub fn of(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_i32) {
        Some(Errno::EMFILE | Errno::ENFILE) => {
            "raise the limit of open files (systemd `LimitNOFILE=`, docker run --ulimit nofile=, \
             `ulimit -n`, or on the host `sysctl fs.file-max`)"
        }
        Some(Errno::EAGAIN) => {
            "no thread can be had: raise the limit of threads (systemd `TasksMax=`, docker run \
             --pids-limit, `ulimit -u`)"
        }
        Some(Errno::ENOMEM | Errno::ENOBUFS) => {
            "the host has too little memory for it: raise the limit (systemd `MemoryMax=`, docker \
             run --memory, `ulimit -v`), or end other programs"
        }
        Some(Errno::ENOSPC) => {
            "no room is left: on a disk (`df`), or for what is waited for (`sysctl \
             fs.epoll.max_user_watches`)"
        }
        Some(Errno::EPERM | Errno::EACCES | Errno::ENOSYS) => {
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
    fn what_the_host_refuses_is_said_with_what_to_do() {
        for (errno, part) in [
            (Errno::EMFILE, "LimitNOFILE"),
            (Errno::EAGAIN, "TasksMax"),
            (Errno::ENOMEM, "MemoryMax"),
            (Errno::ENOSPC, "max_user_watches"),
            (Errno::EPERM, "seccomp"),
            (Errno::EIO, "strace"),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            let said = in_words(&error);
            assert!(said.starts_with(&format!("{error}; ")) && said.contains(part), "{said}");
        }
    }
}
