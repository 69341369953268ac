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

/// A program for which `lines` are all names, but for `localhost`; `None` where no mount namespace
/// can be made.
fn with_hosts(folder: &Scratch, lines: &str, program: &str) -> Option<Command> {
    let hosts = folder.0.join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 localhost\n{lines}")).unwrap();
    let with_hosts = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", WITH_HOSTS]).arg(&hosts).arg(program);
        command
    };
    let name = lines.split_whitespace().nth(1)?;
    let found = with_hosts("getent").args(["hosts", name]).output().ok()?;
    found.status.success().then(|| with_hosts(program))
}

#[test]
fn an_exchange_s_name_that_is_led_astray_is_named_once_and_blocked_names_are_not_dialled() {
    let folder = Scratch::new();
    let lines = "127.0.0.1 stream.binance.com\n0.0.0.0 fstream.binance.com\n";
    let Some(mut command) = with_hosts(&folder, lines, PROGRAM) else {
        return println!("skipped: no mount namespace can be made here");
    };
    let options = SimOptions { symbols_extra: 2, ..SimOptions::default() };
    let simulator = sim::start(options).unwrap();
    let mut env = simulator.env();
    for (kind, name, path) in
        [("spot", "stream.binance.com", ""), ("usdm", "fstream.binance.com", "/market")]
    {
        let port = simulator.address(market(kind)).port();
        let variable = format!("CONNECTOR_BINANCE_{}_WS_URL", kind.to_uppercase());
        env.push((variable, format!("ws://{name}:{port}{path}")));
    }
    env.push(("CONNECTOR_MAX_SYMBOL_PER_WS".to_owned(), "1".to_owned()));
    let server = Server::start_by(&mut command, &env);
    let request = |kind: &str| {
        let symbols = [1, 2].map(|number| synthetic(market(kind), number));
        json!({ "exchange": "binance", "contract_type": kind, "symbols": symbols }).to_string()
    };
    // What stands there serves all the same: it may be a gateway.
    let mut spot = server.ask(&request("spot"));
    spot.next_of("quote");
    let mut usdm = server.ask(&request("usdm"));
    let notice = usdm.next_of("notice");
    let message = notice.json["message"].as_str().unwrap();
    assert!(message.contains("the name is blocked: it is 0.0.0.0"), "{message}");
    wait_until("the second session is up, too", || {
        server.metric("connector_active_connections", &["contract_type=\"spot\""]) == 2.0
    });
    let log = server.log();
    assert_eq!(log.matches("stream.binance.com is 127.0.0.1 here").count(), 1, "{log}");
}

#[test]
fn a_name_with_dead_addresses_opens_every_session_and_no_breaker() {
    let folder = Scratch::new();
    let lines = ["::1", "127.0.0.2", "127.0.0.1"].map(|address| format!("{address} {NAME}\n"));
    let Some(mut command) = with_hosts(&folder, &lines.concat(), PROGRAM) else {
        return println!("skipped: no mount namespace can be made here");
    };
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
    let server = Server::start_by(&mut command, &env);
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
