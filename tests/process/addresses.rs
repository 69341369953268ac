//! A name with several addresses, of which some lead nowhere: every one is tried within an attempt.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use connector_wss::sim::{self, SimOptions};
use serde_json::json;

use super::exchanges::synthetic;
use super::harness::{PROGRAM, Scratch, Server, market, wait_until};

const SESSIONS: usize = 20;
const NAME: &str = "exchange.test";

/// Becomes the server, for which the file `$0` holds all names.
const WITH_HOSTS: &str = r#"mount --bind "$0" /etc/hosts && exec "$@""#;

/// A port that answers no one: its queue of connections is full.
struct BlackHole {
    _listener: socket2::Socket,
    _filling: Vec<socket2::Socket>,
}

impl BlackHole {
    fn at(address: SocketAddr) -> Self {
        let socket =
            || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let filling = (0..8)
            .map(|_| {
                let one = socket();
                one.set_nonblocking(true).unwrap();
                let _in_progress = one.connect(&address.into());
                one
            })
            .collect();
        Self { _listener: listener, _filling: filling }
    }

    fn is_silent(address: SocketAddr) -> bool {
        TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err()
    }
}

#[test]
fn a_name_with_dead_addresses_opens_every_session_and_no_breaker() {
    let folder = Scratch::new();
    let hosts = folder.0.join("hosts");
    let lines = ["::1", "127.0.0.2", "127.0.0.1"].map(|address| format!("{address} {NAME}\n"));
    std::fs::write(&hosts, "127.0.0.1 localhost\n".to_owned() + &lines.concat()).unwrap();
    let with_hosts = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", WITH_HOSTS]).arg(&hosts).arg(program);
        command
    };
    let found = with_hosts("getent").args(["ahostsv4", NAME]).output();
    if !found.is_ok_and(|found| String::from_utf8_lossy(&found.stdout).contains("127.0.0.2")) {
        return println!("skipped: no mount namespace can be made here");
    }
    let options = SimOptions { symbols_extra: SESSIONS, ..SimOptions::default() };
    let simulator = sim::start(options).unwrap();
    let spot = market("spot");
    let port = simulator.address(spot).port();
    let silent = SocketAddr::from(([127, 0, 0, 2], port));
    let _hole = BlackHole::at(silent);
    assert!(BlackHole::is_silent(silent));
    let mut env = simulator.env();
    let url = format!("ws://{NAME}:{port}");
    env.push(("CONNECTOR_BINANCE_SPOT_WS_URL".to_owned(), url));
    env.push(("CONNECTOR_MAX_SYMBOL_PER_WS".to_owned(), "1".to_owned()));
    let server = Server::start_by(&mut with_hosts(PROGRAM), &env);
    let symbols: Vec<String> = (0..SESSIONS).map(|number| synthetic(spot, number)).collect();
    let request =
        json!({ "exchange": "binance", "contract_type": "spot", "symbols": symbols }).to_string();
    let _client = server.ask(&request);
    let labels = ["contract_type=\"spot\"", "exchange=\"binance\""];
    wait_until("all sessions are up", || {
        server.metric("connector_active_connections", &labels) == SESSIONS as f64
    });
    assert_eq!(server.metric("connector_connection_errors_total", &labels), 0.0);
    assert_eq!(server.metric("connector_circuit_breaker_state", &labels), 0.0);
}
