"""Starts the server again and again, each time with one system call that fails, and judges the end.

starts.py SERVER [--jobs N] [--only NAME[,NAME...]] [--show]

Each start either serves and stops in order, or ends with a sentence, a remedy and exit code 1 or 2.
None panics, aborts, shows a back-trace, hangs, or ends without a word.

The calls of a start are counted by strace, thread by thread; strace makes them fail too. What the
dynamic loader and the standard library do before `main` is not the server's and is left out.
"""

import argparse
import collections
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

# What the kernel may answer, by man page. Calls that are not named here cannot fail in a start, or
# fail in nobody's sight.
ERRORS = {
    "openat": ["EMFILE", "EACCES"], "read": ["EIO", "EINTR"], "write": ["EIO"], "mmap": ["ENOMEM"],
    "mprotect": ["ENOMEM"], "socket": ["EMFILE"], "bind": ["EACCES"], "listen": ["EADDRINUSE"],
    "setsockopt": ["ENOPROTOOPT"], "getsockopt": ["ENOBUFS"], "getsockname": ["ENOBUFS"],
    "socketpair": ["EMFILE"], "epoll_create1": ["EMFILE"], "epoll_ctl": ["ENOSPC"],
    "epoll_wait": ["EINTR", "EPERM"], "eventfd2": ["EMFILE"], "pipe2": ["EMFILE"],
    "clone3": ["EAGAIN"], "sched_setaffinity": ["EPERM"], "sched_getaffinity": ["EPERM"],
    "io_uring_setup": ["EPERM", "ENOMEM"], "io_uring_enter": ["EPERM"],
    "io_uring_register": ["EPERM"], "fcntl": ["EMFILE"], "getrandom": ["ENOSYS"],
    "statx": ["EACCES"], "fstat": ["EACCES"], "newfstatat": ["EACCES"], "mkdir": ["EACCES"],
    "rt_sigaction": ["EINVAL"], "rt_sigprocmask": ["EINVAL"], "prctl": ["EPERM"],
    "prlimit64": ["EPERM"], "mlockall": ["ENOMEM"], "timerfd_create": ["EMFILE"],
    "timerfd_settime": ["EINVAL"], "getdents64": ["EIO"], "ioctl": ["ENOTTY"], "lseek": ["ESPIPE"],
    "sigaltstack": ["ENOMEM"], "madvise": ["EINVAL"], "uname": ["EPERM"],
    "readlink": ["EACCES"], "getcwd": ["EACCES"], "accept4": ["EINTR", "EMFILE"],
    "connect": ["EINTR"], "poll": ["ENOMEM"], "sched_yield": ["ENOSYS"], "recvmsg": ["EINTR"],
    "sendmsg": ["EINTR"], "sendto": ["ENOBUFS"], "recvfrom": ["EINTR", "EIO", "EBADF"], "getuid": ["EPERM"],
    "unlink": ["EACCES"], "rename": ["EACCES"], "dup": ["EMFILE"], "flock": ["EWOULDBLOCK"],
    "mremap": ["ENOMEM"], "set_robust_list": ["EINVAL"], "rseq": ["EPERM"],
}

PATIENCE = 20.0
# The Rust runtime's words where no memory is left. Nothing can be said then that takes memory.
NO_MEMORY = re.compile(r"memory allocation of \d+ bytes failed")
# The calls by which a signal's handler wakes its thread.
SIGNAL_CALLS = ("sendto", "write")
# What a sentence must have beside the kernel's words.
REMEDY = ("raise ", "set ", "stop it", "give ", "strace", "allow", "sysctl", ".env: cannot be read")
BACKTRACE = ("panicked", "RUST_BACKTRACE", "stack backtrace", "fatal runtime error")


def environment(folder):
    return {
        "PATH": os.environ["PATH"], "HOME": folder, "CONNECTOR_WSS_PORT": "0",
        "CONNECTOR_WSS_HEALTH_CHECK_PORT": "0", "CONNECTOR_SHARDS": "1", "CONNECTOR_WAIT": "park",
    }


class Start:
    """A server that is being started in a folder of its own, under strace."""

    def __init__(self, server, options):
        self.folder = tempfile.TemporaryDirectory(prefix="starts-")
        folder = self.folder.name
        self.out, self.err = (os.path.join(folder, name) for name in ("out", "err"))
        strace = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", *options, server, "--simulate"]
        with open(self.out, "w") as out, open(self.err, "w") as err:
            self.process = subprocess.Popen(
                strace, cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, stdout=out,
                stderr=err, start_new_session=True)

    def text(self, path):
        with open(path, errors="replace") as file:
            return file.read()

    def wait(self, done):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if done():
                return True
            time.sleep(0.02)
        return False

    def has_ended(self):
        return self.process.poll() is not None

    def serves(self):
        return "try: " in self.text(self.out) or any(
            line in self.text(self.err) for line in ("listening on", "session 0 is up"))

    def close(self):
        if not self.has_ended():
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


def counts(server):
    """How often each call is made, by the thread that makes it most often; and by the loader."""
    with tempfile.TemporaryDirectory(prefix="starts-") as folder:
        trace = os.path.join(folder, "trace")
        start = Start(server, ["-o", trace, "-e", "trace=" + ",".join(ERRORS)])
        if not start.wait(start.serves):
            sys.exit("it does not start at all: " + start.text(start.err))
        start.process.send_signal(signal.SIGTERM)
        start.wait(start.has_ended)
        time.sleep(0.2)
        lines = start.text(trace).splitlines()
        start.close()
    threads = collections.defaultdict(collections.Counter)
    loader, is_loading = collections.Counter(), True
    for line in lines:
        if "--- SIGTERM" in line:
            break
        found = re.match(r"(\d+)\s+(\w+)\(", line)
        if not found:
            continue
        thread, call = found.groups()
        # The first call of `main`.
        is_loading = is_loading and '".env"' not in line
        if is_loading:
            loader[call] += 1
        threads[thread][call] += 1
    most = collections.Counter()
    for counter in threads.values():
        for call, count in counter.items():
            most[call] = max(most[call], count)
    return most, loader


def judge(server, call, error, number):
    """What is wrong with the start whose `number`th `call` fails; nothing if it is well."""
    inject = f"inject={call}:error={error}:when={number}"
    start = Start(server, ["-o", "/dev/null", "-e", f"trace={call}", "-e", inject])
    try:
        settled = start.wait(lambda: start.serves() or start.has_ended())
        if not settled:
            return "hangs", start.text(start.err)
        if not start.has_ended():
            start.process.send_signal(signal.SIGTERM)
            if not start.wait(start.has_ended) and call in SIGNAL_CALLS:
                # The call that failed may be the one by which the signal's handler wakes its thread,
                # which no kernel refuses: the operator sends the signal again.
                start.process.send_signal(signal.SIGTERM)
            if not start.wait(start.has_ended):
                return "does not stop", start.text(start.err)
            served = True
        else:
            served = False
        said, code = start.text(start.err), start.process.returncode
    finally:
        start.close()
    if any(word in said for word in BACKTRACE):
        return "panics" if not served else "panics while it serves", said
    if NO_MEMORY.search(said) and code == -signal.SIGABRT:
        return None, said
    if code == 127 and "error while loading shared libraries" in said:
        return None, said
    if served:
        return (None if code == 0 else f"ends with {code} when told to stop"), said
    if code not in (1, 2):
        return f"ends with {code}", said
    sentence = said.strip().splitlines()
    if not sentence:
        return "ends without a word", said
    if not any(word in sentence[-1] for word in REMEDY):
        return "ends without a remedy", said
    return None, said


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="")
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    server = os.path.abspath(given.server)
    most, loader = counts(server)
    only = set(filter(None, given.only.split(",")))
    tries = [
        (call, error, number)
        for call, count in sorted(most.items()) if not only or call in only
        for error in ERRORS[call]
        # A kernel that does not know a call never knows it.
        for number in (["1+"] if error == "ENOSYS" else range(loader[call] + 1, count + 1))
    ]
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        for what, (wrong, said) in zip(tries, pool.map(lambda one: judge(server, *one), tries)):
            name = "{} {} at call {}".format(*what)
            if wrong:
                bad += 1
                print(f"{name}: {wrong}\n" + "".join(f"    {line}\n" for line in said.splitlines()[:6]))
            elif given.show:
                print(f"{name}: well: {(said.strip().splitlines() or ['-'])[-1]}")
    print(f"{len(tries)} starts with one failing system call, {bad} not as they should be")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
