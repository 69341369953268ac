//! The processes between exchange and client: a relay of this binary, or the server. Starts them,
//! ends them, and reads what they have used.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::results;

/// What stands between the exchange and the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relay {
    /// The least that can be done: bytes are copied.
    Copier,
    /// The same by a thread that sleeps until bytes come: the least CPU time that can be spent.
    Sleeper,
    /// What is usually written.
    Tokio,
    /// This server, never parking.
    Spin,
    /// The same on plain threads, because too little memory may be locked for glommio's executors.
    Threads,
    /// This server as it is by default.
    Adaptive,
}

impl Relay {
    pub(crate) const ALL: [Self; 6] =
        [Self::Copier, Self::Sleeper, Self::Tokio, Self::Spin, Self::Threads, Self::Adaptive];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Copier => "copier",
            Self::Sleeper => "sleeper",
            Self::Tokio => "tokio",
            Self::Spin => "spin",
            Self::Threads => "threads",
            Self::Adaptive => "adaptive",
        }
    }

    /// Whether it knows no WebSocket.
    pub(crate) fn is_copier(self) -> bool {
        matches!(self, Self::Copier | Self::Sleeper)
    }

    pub(crate) fn is_server(self) -> bool {
        matches!(self, Self::Spin | Self::Threads | Self::Adaptive)
    }

    /// Starts it towards the exchange at `upstream`, by TLS if there is an authority's file. Where
    /// it listens for clients.
    pub(crate) fn start(
        self,
        upstream: SocketAddr,
        authority: Option<&Path>,
    ) -> (Running, SocketAddr) {
        if self.is_server() {
            return start_server(self, upstream, authority);
        }
        start_relay(self.name(), upstream, authority)
    }
}

/// Starts a relay of this binary; `name` as `relays::run` has it.
pub(crate) fn start_relay(
    name: &str,
    upstream: SocketAddr,
    authority: Option<&Path>,
) -> (Running, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--relay", name, &upstream.to_string()]).args(authority);
    start(&mut command)
}

/// Starts the server with Binance's spot at `upstream` and no REST.
fn start_server(
    relay: Relay,
    upstream: SocketAddr,
    authority: Option<&Path>,
) -> (Running, SocketAddr) {
    let scheme = if authority.is_some() { "wss" } else { "ws" };
    let program = env!("CARGO_BIN_EXE_connector-wss");
    let (mut command, wait) = match relay {
        Relay::Threads => {
            let mut command = Command::new("prlimit");
            command.args(["--memlock=65536:65536", program]);
            (command, Relay::Spin.name())
        }
        relay => (Command::new(program), relay.name()),
    };
    command
        .env("CONNECTOR_WAIT", wait)
        .env("CONNECTOR_WSS_PORT", "0")
        .env("CONNECTOR_WSS_HEALTH_CHECK_PORT", "0")
        .env("CONNECTOR_LOG_DIR", results::folder().join("log"))
        .env("CONNECTOR_MAX_SYMBOL_PER_WS", "1024")
        .env("CONNECTOR_BINANCE_SPOT_WS_URL", format!("{scheme}://{upstream}"))
        .env("CONNECTOR_BINANCE_SPOT_REST_URL", "http://127.0.0.1:9");
    if let Some(path) = authority {
        command.env("CONNECTOR_TLS_CA_FILE", path);
    }
    start(&mut command)
}

fn start(command: &mut Command) -> (Running, SocketAddr) {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the relay starts");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines
        .by_ref()
        .map(|line| line.expect("the relay says where it listens"))
        .find_map(|line| line.split("ws://").nth(1)?.split_whitespace().next()?.parse().ok())
        .expect("a line with ws://ADDRESS");
    std::thread::spawn(move || lines.for_each(drop));
    (Running(child), address)
}

/// A relay's process; ends with the measurement, whatever becomes of that.
pub(crate) struct Running(Child);

impl Running {
    /// What it has used so far.
    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.0.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Page faults that needed no disk, and those that did.
    pub(crate) faults: [u64; 2],
}

impl Usage {
    /// Source: proc(5), fields 10, 12, 14 and 15 of stat, and the first of schedstat. The kernel
    /// adds to the one in steps of 10 ms, to the other at its ticks; neither is ever too much.
    fn of(pid: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        let field = |at: usize| fields[at - 3].parse::<u64>().unwrap();
        let ticks = field(14) + field(15);
        let by_ticks =
            Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second());
        Self { cpu: by_ticks.max(scheduled(pid)), faults: [field(10), field(12)] }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        let faults = [0, 1].map(|kind| self.faults[kind] - before.faults[kind]);
        Self { cpu: self.cpu.saturating_sub(before.cpu), faults }
    }
}

/// Time of all living threads on a CPU; nothing if the kernel does not count it.
fn scheduled(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(of_task).sum())
}

/// Pins this thread to one of the CPUs it may use.
pub(crate) fn pin(choose: impl Fn(&[core_affinity::CoreId]) -> Option<&core_affinity::CoreId>) {
    let mut cpus = core_affinity::get_core_ids().unwrap_or_default();
    cpus.sort_unstable();
    if let Some(&cpu) = choose(&cpus) {
        core_affinity::set_for_current(cpu);
    }
}

/// Runs the load on the first CPU, the pinned relays run on the last: what is measured is not the
/// scheduler. On a thread of its own, because a relay inherits its starter's CPUs.
pub(crate) fn on_first_cpu<T: Send>(load: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            pin(<[_]>::first);
            load()
        });
        pinned.join().unwrap()
    })
}
