//! A server gives way to the next while clients storm its port: nobody is refused, and every client
//! comes back without a candle missing. Once by taking the sockets over from the server that runs,
//! once with the sockets in the hands of a supervisor, as systemd's socket activation has it.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use command_fds::{CommandFdExt, FdMapping};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;

use super::client::{BTC, Client};
use super::harness::{Exchange, PROGRAM, Process, Scratch, Server, ask_exchange, http, wait_until};

/// Threads that connect, ask, and go, over and over.
const STORM_THREADS: usize = 4;
/// Clients that stay until they are told to go, and then come back.
const STAYING: usize = 20;
const MINUTE_MS: i64 = 60_000;

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcomes {
    served: usize,
    /// Told to connect again before they were served.
    told_to_move: usize,
    refused: Vec<String>,
}

/// Clients that connect without a pause, until the storm is over.
struct Storm {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Outcomes>>,
}

impl Storm {
    fn begin(server: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let blow = |_| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || {
                let mut outcomes = Outcomes::default();
                while !is_over.load(Ordering::Relaxed) {
                    outcomes.count(visit(server));
                }
                outcomes
            })
        };
        let threads = (0..STORM_THREADS).map(blow).collect();
        Self { is_over, threads }
    }

    fn end(self) -> Outcomes {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Outcomes::default();
        for thread in self.threads {
            let one = thread.join().unwrap();
            all.served += one.served;
            all.told_to_move += one.told_to_move;
            all.refused.extend(one.refused);
        }
        all
    }
}

impl Outcomes {
    fn count(&mut self, visit: Result<bool, String>) {
        match visit {
            Ok(true) => self.served += 1,
            Ok(false) => self.told_to_move += 1,
            Err(why) => self.refused.push(why),
        }
    }
}

/// One client that wants one quote. `false`: it was told to connect again; an error: anything else
/// happened to it than that.
fn visit(server: SocketAddr) -> Result<bool, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(server).map_err(|error| text(&error))?;
    stream.set_read_timeout(Some(super::harness::PATIENCE)).unwrap();
    let upgraded = tungstenite::client(format!("ws://{server}/"), stream);
    let mut socket = upgraded.map_err(|error| text(&error))?.0;
    let request = BTC.replace('}', r#","limit":1}"#);
    // Who has been told to go already may not be heard any more.
    let _sent = socket.send(tungstenite::Message::text(request));
    let mut is_told = false;
    loop {
        match socket.read() {
            Ok(tungstenite::Message::Text(text)) if text.contains(r#""type":"quote""#) => {
                return Ok(true);
            }
            Ok(tungstenite::Message::Text(text)) => is_told |= text.contains("connect again now"),
            Ok(tungstenite::Message::Close(Some(frame)))
                if is_told && u16::from(frame.code) == 1001 =>
            {
                return Ok(false);
            }
            Ok(tungstenite::Message::Close(frame)) => return Err(format!("closed: {frame:?}")),
            Ok(_) => {}
            Err(error) => return Err(text(&error)),
        }
    }
}

/// A client that has the closed candles from `since` on, the newest of which it has seen.
struct Staying {
    client: Client,
    newest: i64,
}

fn resume(server: SocketAddr, since: i64) -> Client {
    let mut client = Client::connect(server);
    let request = serde_json::json!({
        "exchange": "binance", "contract_type": "spot", "symbols": ["BTCUSDT"], "since": since,
    });
    client.send(&request.to_string());
    client
}

impl Staying {
    /// Connects, and reads up to its first running candle.
    fn come(server: SocketAddr, since: i64) -> Self {
        let mut staying = Self { client: resume(server, since), newest: since };
        staying.read_past();
        staying
    }

    /// Every closed candle after the newest it knows, without a hole, up to the running one.
    fn read_past(&mut self) {
        loop {
            let text = self.client.next();
            assert!(!text.is("gap") && !text.is("error"), "{}", text.text);
            if !text.is("quote") {
                continue;
            }
            let open_time = text.json["open_time"].as_i64().unwrap();
            if text.is_closed_candle() {
                assert_eq!(open_time, self.newest + MINUTE_MS, "{}", text.text);
                self.newest = open_time;
            } else {
                // A minute that is over may still be pushed as running for a moment.
                assert!(open_time > self.newest, "{}", text.text);
                return;
            }
        }
    }

    /// Reads until it is told to move, and comes back with what it knows.
    fn move_on(mut self, server: SocketAddr) -> Self {
        let (texts, code, _) = self.client.until_close();
        assert_eq!(code, 1001);
        assert_eq!(texts.last().unwrap().json["code"], "draining");
        for closed in texts.iter().filter(|text| text.is_closed_candle()) {
            self.newest = closed.json["open_time"].as_i64().unwrap();
        }
        // As if it had missed the latest, so that there is something to be resumed at any second.
        Self::come(server, self.newest - 3 * MINUTE_MS)
    }
}

/// Clients that know the past up to ten minutes ago.
fn staying(server: SocketAddr) -> Vec<Staying> {
    let mut first = Client::connect(server);
    first.send(BTC);
    let open_time = first.next_of("quote").json["open_time"].as_i64().unwrap();
    let since = open_time - 10 * MINUTE_MS;
    (0..STAYING).map(|_| Staying::come(server, since)).collect()
}

fn assert_zero_refused(storm: Storm) {
    let outcomes = storm.end();
    assert_eq!(outcomes.refused, Vec::<String>::new(), "{outcomes:?}");
    assert!(outcomes.served >= STORM_THREADS, "{outcomes:?}");
    eprintln!("served {}, told to move {}", outcomes.served, outcomes.told_to_move);
}

#[test]
fn a_successor_takes_the_ports_over_in_a_storm_and_nobody_is_refused() {
    let exchange = Exchange::start(&[]);
    let folder = Scratch::new();
    let socket = folder.0.join("takeover").to_str().unwrap().to_owned();
    let takeover = [("CONNECTOR_TAKEOVER_SOCKET", &*socket)];
    let mut first = Server::start(exchange.env.clone(), &takeover);
    let (clients, ops) = (first.clients, first.ops);
    let staying = staying(clients);
    let storm = Storm::begin(clients);

    // The same variables, and so the ports that the first was given.
    // The exchange refuses it for a second: until then it does not take over.
    let fault = "/fault?name=refuse&value=1&exchange=binance&contract_type=usdm";
    ask_exchange(exchange.address("USDM"), fault);
    let more = [
        ("CONNECTOR_PRELOAD", "binance:spot:BTCUSDT;binance:usdm:BTCUSDT,ETHUSDT"),
        ("CONNECTOR_RECONNECT_DELAY", "0.2"),
    ];
    let second = Server::start(exchange.env.clone(), &[&takeover[..], &more].concat());
    let sessions = second.metric("connector_active_connections", &[]);
    assert_eq!(sessions, 2.0, "it is warm before it takes over");
    assert_eq!((second.clients, second.ops), (clients, ops));
    let staying: Vec<_> = staying.into_iter().map(|one| one.move_on(clients)).collect();
    assert_eq!(first.process.wait().code(), Some(0));
    let log = first.log();
    assert!(log.contains("has taken the ports over"), "{log}");
    assert!(log.trim_end().ends_with("Server shutdown complete"), "{log}");
    assert!(second.log().contains(&format!("from process {}", first.process.id())));

    // And once more, from the successor to the next.
    let mut third = Server::start(exchange.env, &takeover);
    let mut second = second;
    staying.into_iter().for_each(|one| drop(one.move_on(clients)));
    assert_eq!(second.process.wait().code(), Some(0));
    assert_zero_refused(storm);
    assert_eq!(http(ops, "/ready").0, 200);
    third.process.signal(Signal::TERM);
    assert_eq!(third.process.wait().code(), Some(0));
    assert!(TcpStream::connect(clients).is_err(), "nobody listens any more");
}

#[test]
fn a_server_that_goes_down_already_still_hands_over() {
    let exchange = Exchange::start(&["--symbols-extra", "20"]);
    let folder = Scratch::new();
    let socket = folder.0.join("takeover").to_str().unwrap().to_owned();
    let takeover = [("CONNECTOR_TAKEOVER_SOCKET", &*socket)];
    let mut first = Server::start(exchange.env.clone(), &takeover);
    let clients = first.clients;
    let symbols: Vec<String> = (1..=20).map(|number| format!("SIM{number:04}USDT")).collect();
    let past = serde_json::json!({
        "exchange": "binance", "contract_type": "spot", "symbols": symbols, "history": 120,
    })
    .to_string();
    let mut client = first.ask(&past);
    (0..20).for_each(|_| drop(client.next_of("history")));
    // What this one is owed, from memory now, and does not read keeps the first from ending at
    // once.
    let mut slow = Client::connect_narrow(clients);
    slow.send(&past);
    slow.next_of("subscribed");
    first.process.signal(Signal::TERM);
    // From here on it accepts nobody any more.
    client.next_of("notice");
    assert!(first.get("/ready").1.contains("draining"));
    let waiting = TcpStream::connect(clients).unwrap();
    let second = Server::start(exchange.env, &takeover);
    assert!(first.process.is_running(), "or else this shows nothing");
    let (mut waiting, _) = tungstenite::client(format!("ws://{clients}/"), waiting).unwrap();
    waiting.send(tungstenite::Message::text(BTC)).unwrap();
    while !waiting.read().unwrap().to_text().unwrap().contains(r#""type":"quote""#) {}
    assert_eq!(http(second.ops, "/ready").0, 200);
    assert_eq!(first.process.wait().code(), Some(0));
}

#[test]
fn a_successor_that_cannot_serve_leaves_the_first_as_it_is() {
    let folder = Scratch::new();
    let socket = folder.0.join("takeover").to_str().unwrap().to_owned();
    let variables = |port: &str| {
        let pairs = [("CONNECTOR_TAKEOVER_SOCKET", &*socket), ("CONNECTOR_WSS_PORT", port)];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    };
    let first = Server::start_with(&["--simulate"], &variables("0"));
    let mut client = first.ask(BTC);
    client.next_of("quote");
    let mut other = Process::spawn(Command::new(PROGRAM).arg("--simulate"), &variables("1"));
    assert_eq!(other.wait().code(), Some(1));
    let said = other.stderr();
    assert!(said.contains(&format!("listens on {}", first.clients)), "{said}");
    assert!(said.contains("127.0.0.1:1 is configured here"), "{said}");
    wait_until("the first says so", || first.log().contains("a takeover came to nothing"));
    client.next_of("quote");
    assert!(first.is_ready());
}

#[test]
fn a_predecessor_that_does_not_hear_keeps_the_ports_and_the_successor_ends() {
    let folder = Scratch::new();
    let socket = folder.0.join("takeover");
    let door = UnixListener::bind(&socket).unwrap();
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let clients = sockets[0].local_addr().unwrap();
    let env = [
        ("CONNECTOR_TAKEOVER_SOCKET", socket.to_str().unwrap()),
        ("CONNECTOR_WSS_PORT", "0"),
        ("CONNECTOR_WSS_HEALTH_CHECK_PORT", "0"),
    ];
    let env: Vec<_> =
        env.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    let mut successor = Process::spawn(Command::new(PROGRAM).arg("--simulate"), &env);
    let (stream, _) = door.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let handed = [sockets[0].as_fd(), sockets[1].as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&handed)));
    sendmsg(&stream, &[IoSlice::new(b"1")], &mut control, SendFlags::empty()).unwrap();
    (&stream).read_exact(&mut [0]).unwrap();
    // It serves by now, beside the predecessor.
    let mut client = Client::connect(clients);
    client.send(BTC);
    client.next_of("quote");
    drop(stream);
    let (texts, code, reason) = client.until_close();
    assert_eq!((code, &*reason), (1001, "a new server is at this address"));
    assert_eq!(texts.last().unwrap().json["code"], "draining");
    assert_eq!(successor.wait().code(), Some(1));
    let said = successor.stderr();
    assert!(said.contains("did not hear that this one serves"), "{said}");
    TcpStream::connect(clients).expect("the predecessor listens as before");
}

/// Starts servers on sockets that it holds itself, as systemd does for a socket unit.
struct Supervisor {
    sockets: [TcpListener; 2],
    env: Vec<(String, String)>,
}

impl Supervisor {
    fn new(mut env: Vec<(String, String)>) -> Self {
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let names = ["CONNECTOR_WSS_PORT", "CONNECTOR_WSS_HEALTH_CHECK_PORT"];
        for (name, socket) in names.iter().zip(&sockets) {
            env.push(((*name).to_owned(), socket.local_addr().unwrap().port().to_string()));
        }
        env.push(("LISTEN_FDS".to_owned(), "2".to_owned()));
        Self { sockets, env }
    }

    fn start(&self) -> Server {
        let mut command = Command::new(PROGRAM);
        // In the other order: they are told apart by their ports.
        let mappings = self.sockets.iter().rev().zip(3..).map(|(socket, child_fd)| FdMapping {
            parent_fd: socket.try_clone().unwrap().into(),
            child_fd,
        });
        command.fd_mappings(mappings.collect()).unwrap();
        Server::start_by(&mut command, &self.env)
    }
}

#[test]
fn a_supervisor_that_holds_the_sockets_restarts_the_server_in_a_storm_and_nobody_is_refused() {
    let exchange = Exchange::start(&[]);
    let supervisor = Supervisor::new(exchange.env);
    let clients = supervisor.sockets[0].local_addr().unwrap();
    let mut first = supervisor.start();
    assert_eq!((first.clients, first.ops), (clients, supervisor.sockets[1].local_addr().unwrap()));
    let staying = staying(clients);
    let storm = Storm::begin(clients);
    first.process.signal(Signal::TERM);
    assert_eq!(first.process.wait().code(), Some(0));
    // Who connects now waits in the kernel's queue.
    let second = supervisor.start();
    staying.into_iter().for_each(|one| drop(one.move_on(clients)));
    assert_zero_refused(storm);
    assert!(second.is_ready());
}

#[test]
fn sockets_of_no_use_from_a_supervisor_are_refused_with_what_would_be_right() {
    let supervisor = Supervisor::new(vec![("CONNECTOR_WSS_PORT".to_owned(), "1".to_owned())]);
    let mut env = supervisor.env.clone();
    env.retain(|(name, value)| name != "CONNECTOR_WSS_PORT" || value == "1");
    let mut command = Command::new(PROGRAM);
    let socket = supervisor.sockets[0].try_clone().unwrap().into();
    command.fd_mappings(vec![FdMapping { parent_fd: socket, child_fd: 3 }]).unwrap();
    env.retain(|(name, _)| name != "LISTEN_FDS");
    env.push(("LISTEN_FDS".to_owned(), "1".to_owned()));
    let mut process = Process::spawn(command.arg("--simulate"), &env);
    assert_eq!(process.wait().code(), Some(1));
    let (said, port) = (process.stderr(), supervisor.sockets[0].local_addr().unwrap().port());
    assert!(said.contains(&format!("has port {port}, neither 1 nor")), "{said}");
    assert!(said.contains("ListenStream="), "{said}");
}
