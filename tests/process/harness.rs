//! Processes under test: started in a folder of their own with ports of their own, found by what
//! they print, asked over HTTP, ended by their id. Knows no WebSocket.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use connector_wss::clock::Clock;
use connector_wss::market::{Market, Venue};
use connector_wss::sim::Simulator;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::Client;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_connector-wss");

/// Longer than anything takes on a busy machine; reached only by a failing test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Returns once `condition` holds; looks every few ms. The only place here where time is let pass
/// without something to read.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = Clock::new();
    let start = clock.mono();
    while !condition() {
        assert!(clock.mono().since(start) < PATIENCE, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub(crate) fn market(contract_type: &str) -> Market {
    Market::find(Venue::Binance, contract_type).unwrap()
}

/// A folder of this test's own, removed when it is dropped.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("connector-process-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A child process whose output is kept; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    pub(crate) folder: Scratch,
}

impl Process {
    /// Runs `command` in a folder of its own, with nothing of this process's environment but PATH.
    pub(crate) fn spawn(command: &mut Command, env: &[(String, String)]) -> Self {
        let folder = Scratch::new();
        let log = File::create(folder.0.join("stderr")).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let command = command.current_dir(&folder.0).env_clear().env("PATH", path);
        let command = command.envs(env.iter().map(|(name, value)| (name, value)));
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, folder }
    }

    /// What follows `start` in the next line that begins with it.
    pub(crate) fn line(&self, start: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {start:?}: {}", self.stderr()));
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("stderr")).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_until("the process ends", || !self.is_running());
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- process {} said:\n{}", self.id(), self.stderr());
        }
    }
}

/// A running `connector-wss`.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) clients: SocketAddr,
    pub(crate) ops: SocketAddr,
}

impl Server {
    /// The server on its own simulated exchanges.
    pub(crate) fn simulated() -> Self {
        Self::simulated_with(&[])
    }

    /// As [`Self::simulated`], with further variables.
    pub(crate) fn simulated_with(more: &[(&str, &str)]) -> Self {
        let more = more.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Self::start_with(&["--simulate"], &more.collect::<Vec<_>>())
    }

    /// The server on the exchanges that `exchange` prints, with further variables.
    pub(crate) fn start(exchange: Vec<(String, String)>, more: &[(&str, &str)]) -> Self {
        let more = more.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Self::start_with(&[], &exchange.into_iter().chain(more).collect::<Vec<_>>())
    }

    pub(crate) fn start_with(flags: &[&str], env: &[(String, String)]) -> Self {
        let mut command = Command::new(PROGRAM);
        Self::start_by(command.args(flags), env)
    }

    /// The server on its own simulated exchanges, become by `wrapper`: a program that ends with the
    /// command that it is given.
    pub(crate) fn start_under(wrapper: &[&str]) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).args([PROGRAM, "--simulate"]);
        Self::start_by(&mut command, &[])
    }

    pub(crate) fn start_by(command: &mut Command, env: &[(String, String)]) -> Self {
        let free = ["CONNECTOR_WSS_PORT", "CONNECTOR_WSS_HEALTH_CHECK_PORT"];
        let free = free.map(|name| (name.to_owned(), "0".to_owned()));
        let env: Vec<_> = free.iter().chain(env).cloned().collect();
        let process = Process::spawn(command, &env);
        let clients = process.line("clients:  ");
        let clients = clients.split_once("://").unwrap().1.parse().unwrap();
        let ops = process.line("ops:      http://");
        let ops = ops.split('/').next().unwrap().parse().unwrap();
        Self { process, clients, ops }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.clients)
    }

    /// A client that has sent `request`.
    pub(crate) fn ask(&self, request: &str) -> Client {
        let mut client = self.connect();
        client.send(request);
        client
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        http(self.ops, path)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.get("/ready").0 == 200
    }

    /// The exchange's entry in `/ready`.
    pub(crate) fn readiness(&self, contract_type: &str) -> Value {
        let ready: Value = serde_json::from_str(&self.get("/ready").1).unwrap();
        let mut exchanges = ready["exchanges"].as_array().unwrap().iter();
        exchanges.find(|one| one["contract_type"] == contract_type).unwrap().clone()
    }

    /// Sum of the samples of the family `name` whose labels contain every one of `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        let samples = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (family, rest) = series.split_once('{').unwrap_or((series, ""));
            let fits = family == name && labels.iter().all(|label| rest.contains(label));
            fits.then(|| value.parse::<f64>().unwrap())
        });
        let samples: Vec<f64> = samples.collect();
        assert!(!samples.is_empty(), "no {name}{labels:?}");
        samples.iter().sum()
    }

    /// The log file so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.process.folder.0.join("logs/connector.log")).unwrap()
    }
}

/// A running `connector-sim`.
pub(crate) struct Exchange {
    pub(crate) process: Process,
    pub(crate) env: Vec<(String, String)>,
}

impl Exchange {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_connector-sim"));
        let process = Process::spawn(command.arg("--print-env").args(arguments), &[]);
        let line = || {
            let line = process.line("CONNECTOR_BINANCE_");
            let (name, value) = line.split_once('=').unwrap();
            (format!("CONNECTOR_BINANCE_{name}"), value.to_owned())
        };
        let env = std::iter::repeat_with(line).take(6).collect();
        Self { process, env }
    }

    /// Where the contract type in `name` (upper case) is served.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let name = format!("CONNECTOR_BINANCE_{name}_REST_URL");
        let url = &self.env.iter().find(|(one, _)| *one == name).unwrap().1;
        url.strip_prefix("http://").unwrap().parse().unwrap()
    }
}

/// JSON from a simulator's REST port.
pub(crate) fn ask_exchange(address: SocketAddr, target: &str) -> Value {
    let (status, body) = http(address, target);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// What the simulator counts about spot.
pub(crate) fn spot_stats(simulator: &Simulator) -> Value {
    ask_exchange(simulator.address(market("spot")), "/stats")["binance"]["spot"].take()
}

/// Status and body of `GET path`.
pub(crate) fn http(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
