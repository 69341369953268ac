//! What systemd is told, at a socket like its own: serving, alive, going down.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::harness::{PATIENCE, Scratch, Server, http, wait_until};

/// A supervisor that started a server: the socket where it listens.
struct Supervisor {
    socket: UnixDatagram,
    _folder: Scratch,
}

impl Supervisor {
    /// Starts a server that is to be heard of twice in 200 ms.
    fn start() -> (Self, Server) {
        let folder = Scratch::new();
        let path = folder.0.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let socket_path = path.to_str().unwrap();
        let server = Server::simulated_with(&[
            ("NOTIFY_SOCKET", socket_path),
            ("WATCHDOG_USEC", "200000"),
            ("CONNECTOR_DRAIN_TIMEOUT", "1"),
        ]);
        (Self { socket, _folder: folder }, server)
    }

    /// The lines of the next message.
    fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a message in time");
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The next message with a line that begins with `start`, and how many lines `WATCHDOG=1` came
    /// before it.
    fn until(&self, start: &str) -> (Vec<String>, usize) {
        let mut alive = 0;
        loop {
            let lines = self.next();
            if lines.iter().any(|line| line.starts_with(start)) {
                return (lines, alive);
            }
            assert!(lines.iter().all(|line| line == "WATCHDOG=1"), "{lines:?}");
            alive += lines.len();
        }
    }
}

#[test]
fn systemd_hears_that_it_serves_that_it_is_alive_and_that_it_goes_down() {
    let (supervisor, mut server) = Supervisor::start();
    let (ready, _) = supervisor.until("READY=1");
    let status = format!("STATUS=serving clients on ws://{}", server.clients);
    assert!(ready.iter().any(|line| line.starts_with(&status)), "{ready:?}");
    assert_eq!(http(server.clients, "/health").0, 200, "ready means that clients are served");
    assert_eq!(server.get("/health").0, 200);
    for _ in 0..3 {
        supervisor.until("WATCHDOG=1");
    }
    server.process.signal(Signal::TERM);
    let (stopping, _) = supervisor.until("STOPPING=1");
    for line in ["EXTEND_TIMEOUT_USEC=11000000", "STATUS=going down"] {
        assert!(stopping.iter().any(|one| one.starts_with(line)), "{stopping:?}");
    }
    assert_eq!(server.process.wait().code(), Some(0));
}

/// Stops one thread of a process until its own input ends: `PTRACE_SEIZE`, `PTRACE_INTERRUPT`. The
/// thread goes on when it is left.
const HOLD: &str = r#"
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
thread, zero = ctypes.c_ulong(int(sys.argv[1])), ctypes.c_ulong(0)
for request in (0x4206, 0x4207):
    if libc.ptrace(ctypes.c_ulong(request), thread, zero, zero) != 0:
        sys.exit("no ptrace here")
sys.stdin.read()
"#;

/// The thread of the server that runs its first shard.
fn hot_thread(server: &Server) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.process.id())).unwrap();
    let mut tasks = tasks.map(|entry| entry.unwrap());
    let is_hot = |entry: &std::fs::DirEntry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        name.starts_with("shard0")
    };
    tasks.find(is_hot).expect("a shard runs").file_name().into_string().unwrap()
}

/// Whoever holds the thread, while it lives; `None` where the kernel does not allow it.
fn hold(thread: &str) -> Option<Child> {
    let mut command = Command::new("python3");
    command.args(["-c", HOLD, thread]).stdin(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("skipped: no python3");
        return None;
    };
    let stopped = format!("/proc/{thread}/stat");
    let is_held = || {
        let stat = std::fs::read_to_string(&stopped).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('t')
    };
    let mut has_ended = false;
    wait_until("the thread is held", || {
        has_ended = child.try_wait().unwrap().is_some();
        has_ended || is_held()
    });
    if has_ended {
        println!("skipped: no ptrace here");
        return None;
    }
    Some(child)
}

#[test]
fn the_watchdog_hears_nothing_while_a_core_is_stuck() {
    let (supervisor, server) = Supervisor::start();
    supervisor.until("READY=1");
    let Some(mut holder) = hold(&hot_thread(&server)) else { return };
    supervisor.until("STATUS=a core is stuck");
    assert_eq!(server.get("/health").0, 503, "the two agree");
    // The ops core has many turns meanwhile.
    for _ in 0..100 {
        std::thread::park_timeout(Duration::from_millis(10));
        assert_eq!(server.get("/health").0, 503);
    }
    // Its input ends with this.
    holder.wait().unwrap();
    let (_, alive) = supervisor.until("STATUS=serving again");
    assert_eq!(alive, 0, "nothing was told of a stuck core");
    supervisor.until("WATCHDOG=1");
    assert_eq!(server.get("/health").0, 200);
    assert!(server.log().contains("every core is alive again"), "{}", server.log());
}
