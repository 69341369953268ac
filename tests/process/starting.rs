//! Starting: side by side, and refused in words that say what to do.

use std::process::Command;

use connector_wss::sim::{self, SimOptions, Simulator};
use rustix::process::Signal;

use super::certificates::Certificate;
use super::client::{BTC, BTC_3, assert_served_three};
use super::harness::{PROGRAM, Process, Server, http, market, wait_until};
use super::raw::{Raw, UPGRADE};

/// What is said by a start that is refused.
fn refused(command: &mut Command, env: &[(&str, &str)]) -> String {
    let env: Vec<_> = env.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    let mut process = Process::spawn(command, &env);
    assert!(matches!(process.wait().code(), Some(1 | 2)), "{}", process.stderr());
    let said = process.stderr();
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
    said
}

fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--simulate");
    command
}

#[test]
fn two_instances_serve_side_by_side() {
    let servers = [Server::simulated(), Server::simulated()];
    assert_ne!(servers[0].clients.port(), servers[1].clients.port());
    for server in &servers {
        assert_served_three(&mut server.ask(BTC_3));
        assert_eq!(server.metric("connector_clients_accepted_total", &[]), 1.0);
    }
}

#[test]
fn memory_is_locked_where_the_limit_is_infinity() {
    let locked_kib = |limit: &str| {
        let script = format!("ulimit -l {limit} && exec \"$0\" \"$@\"");
        let server = Server::start_under(&["sh", "-c", &script]);
        assert_served_three(&mut server.ask(BTC_3));
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    assert_eq!(locked_kib("8192"), 0);
    let may_raise = Command::new("sh").args(["-c", "ulimit -l unlimited"]).status().unwrap();
    match may_raise.success() {
        true => assert!(locked_kib("unlimited") > 1024),
        false => println!("skipped: the limit may not be raised here"),
    }
}

#[test]
fn a_taken_port_is_refused_by_the_name_of_its_variable() {
    let server = Server::simulated();
    let clients = server.clients.port().to_string();
    let ops = server.ops.port().to_string();
    let port = "CONNECTOR_WSS_PORT";
    let health = "CONNECTOR_WSS_HEALTH_CHECK_PORT";
    for (taken, variable, values) in
        [(&clients, port, [&*clients, "0"]), (&ops, health, ["0", &*ops])]
    {
        let said = refused(&mut program(), &[(port, values[0]), (health, values[1])]);
        let address = format!("127.0.0.1:{taken}");
        assert!(said.contains(&address) && said.contains(variable), "{said}");
        assert!(said.contains("in use"), "{said}");
    }
    assert_served_three(&mut server.ask(BTC_3));
}

#[test]
fn a_wrong_value_is_refused_with_its_variable_and_what_is_allowed() {
    for (variable, value, allowed) in [
        ("CONNECTOR_WSS_PORT", "70000", "a port from 0 to 65535"),
        ("CONNECTOR_REST_TIMEOUT", "fast", "a number of seconds from"),
        ("CONNECTOR_WAIT", "sometimes", "spin, adaptive or park"),
        ("CONNECTOR_LOG_FORMAT", "xml", "text or json"),
        ("CONNECTOR_CLIENT_BUFFER_MAX", "12", "a whole number from 65536"),
        ("CONNECTOR_BINANCE_SPOT_WS_URL", "http://x", "ws://host"),
        ("CONNECTOR_PRELOAD", "binance:margin:X", "binance:usdm"),
    ] {
        let said = refused(&mut program(), &[(variable, value)]);
        for part in [variable, value, allowed] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[test]
fn a_file_of_the_client_port_that_is_of_no_use_is_refused_by_its_variable() {
    const CERT: &str = "CONNECTOR_WSS_TLS_CERT_FILE";
    const KEY: &str = "CONNECTOR_WSS_TLS_KEY_FILE";
    const TOKENS: &str = "CONNECTOR_WSS_TOKENS_FILE";
    let (one, other) = (Certificate::new(), Certificate::new());
    let (chain, key, wrong) = (one.chain(), one.key(), other.key());
    let [chain, key, wrong] = [&chain, &key, &wrong].map(|path| path.to_str().unwrap());
    for (given, parts) in [
        (&[(CERT, chain)][..], &[CERT, KEY, "belong together"][..]),
        (&[(CERT, "/nonexistent/x.pem"), (KEY, key)], &[CERT, "/nonexistent/x.pem"]),
        (&[(CERT, key), (KEY, key)], &[CERT, "no CERTIFICATE block"]),
        (&[(CERT, chain), (KEY, chain)], &[KEY, "no PRIVATE KEY block"]),
        (&[(CERT, chain), (KEY, wrong)], &[KEY, wrong]),
        (&[(TOKENS, "/dev/null")], &[TOKENS, "holds no token"]),
        (&[(TOKENS, "/dev/zero")], &[TOKENS, "larger than"]),
        (&[(TOKENS, "/")], &[TOKENS, "directory"]),
    ] {
        let env: Vec<_> = given.iter().copied().chain(free_ports()).collect();
        let said = refused(&mut program(), &env);
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: no {program}");
    }
    found
}

/// Becomes a program to which system calls are forbidden.
const FORBID: &str = include_str!("forbid.py");

/// A server that is started by `wrapper`, to which the host refuses what glommio needs: it serves,
/// says `why` once, and ends in order.
fn serves_on_plain_threads(wrapper: &[&str], why: &[&str]) {
    let mut server = Server::start_under(wrapper);
    assert_served_three(&mut server.ask(BTC_3));
    server.process.signal(Signal::TERM);
    assert!(server.process.wait().success());
    let log = server.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains(" WARNING ")).collect();
    let [warning] = warnings[..] else { panic!("{log}") };
    for part in why.iter().chain(&["running on plain pinned threads"]) {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    assert!(log.ends_with("Server shutdown complete\n"), "{log}");
}

#[test]
fn where_io_uring_is_forbidden_it_serves_on_plain_threads_and_says_so_once() {
    if !has_seccomp() {
        return;
    }
    let why = ["io_uring is forbidden", "seccomp", "io_uring_disabled"];
    // Setting up, entering, registering; and all of them, as the default profiles do.
    for calls in ["425", "426", "427", "425,426,427"] {
        serves_on_plain_threads(&["python3", "-c", FORBID, calls], &why);
    }
}

fn has_seccomp() -> bool {
    if !has("python3") {
        return false;
    }
    let tried = Command::new("python3").args(["-c", FORBID, "425", "true"]).output().unwrap();
    if !tried.status.success() {
        println!("skipped: no seccomp");
    }
    tried.status.success()
}

#[test]
fn where_threads_may_not_be_pinned_and_no_limit_is_shown_it_serves_and_says_so() {
    if !has_seccomp() {
        return;
    }
    let calls = format!("{},{}", libc::SYS_sched_setaffinity, libc::SYS_prlimit64);
    let mut server = Server::start_under(&["python3", "-c", FORBID, &calls]);
    assert_served_three(&mut server.ask(BTC_3));
    server.process.signal(Signal::TERM);
    assert!(server.process.wait().success());
    let log = server.log();
    // Where io_uring is forbidden too, that is what keeps glommio away.
    for part in ["cannot be pinned to CPU", "glommio's executors"] {
        assert!(log.lines().any(|it| it.contains(" WARNING ") && it.contains(part)), "{log}");
    }
}

#[test]
fn a_system_call_that_is_refused_at_start_is_a_sentence_with_a_remedy_and_exit_code_1() {
    if !has_seccomp() {
        return;
    }
    for call in [
        libc::SYS_clone3,
        libc::SYS_eventfd2,
        libc::SYS_epoll_create1,
        libc::SYS_socketpair,
        libc::SYS_listen,
    ] {
        let number = call.to_string();
        let mut command = Command::new("python3");
        command.args(["-c", FORBID, &number, PROGRAM, "--simulate"]);
        let said = refused(&mut command, &free_ports());
        let last = said.trim_end().lines().last().unwrap_or_default();
        assert!(last.contains("cannot ") && last.contains("Operation not permitted"), "{said}");
        assert!(last.contains("seccomp"), "call {call} has no remedy: {said}");
    }
}

#[test]
fn where_no_further_thread_can_be_had_at_some_point_of_the_start_it_says_so_or_does_without() {
    if !has("strace") {
        return;
    }
    let mut refused = 0;
    for number in 1..=16 {
        let mut command = Command::new("strace");
        let inject = format!("inject=clone3:error=EAGAIN:when={number}");
        command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=clone3", "-e", &inject]);
        let env = free_ports().map(|(name, value)| (name.into(), value.into()));
        let mut server = Process::spawn(command.args([PROGRAM, "--simulate"]), &env);
        wait_until("it serves or ends", || {
            !server.is_running() || server.stderr().contains("listening on")
        });
        if server.is_running() {
            server.signal(Signal::TERM);
            assert!(server.wait().success());
            assert!(server.stderr().contains("running on plain pinned threads"), "{number}");
            continue;
        }
        refused += 1;
        assert_eq!(server.wait().code(), Some(1), "{number}");
        let said = server.stderr();
        assert!(!said.contains("panicked") && !said.contains("listening on"), "{number}: {said}");
        assert!(said.contains("cannot start ") && said.contains("limit of threads"), "{said}");
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn where_too_little_memory_may_be_locked_it_serves_on_plain_threads_and_says_so_once() {
    if !has("prlimit") {
        return;
    }
    let why = ["64 KiB", "512 KiB", "ulimit -l", "LimitMEMLOCK"];
    serves_on_plain_threads(&["prlimit", "--memlock=65536:65536"], &why);
}

/// A server that was started under a soft and a hard limit of open files, and the soft limit that
/// it then has.
fn started_with_files(limits: &str) -> (Server, u64) {
    let server = Server::start_under(&["prlimit", &format!("--nofile={limits}")]);
    let path = format!("/proc/{}/limits", server.process.id());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let soft = line.split_whitespace().next().unwrap().parse().unwrap();
    (server, soft)
}

#[test]
fn the_soft_limit_of_open_files_is_raised_so_that_all_clients_are_served() {
    if !has("prlimit") {
        return;
    }
    let (server, soft) = started_with_files("64:12000");
    assert_eq!(soft, 12_000);
    let mut clients: Vec<_> = (0..100).map(|_| server.ask(BTC_3)).collect();
    clients.iter_mut().for_each(assert_served_three);
    assert!(!server.log().contains("files may be open"), "{}", server.log());
}

#[test]
fn a_hard_limit_of_open_files_that_is_too_low_is_warned_of_with_the_remedy() {
    if !has("prlimit") {
        return;
    }
    let (server, soft) = started_with_files("64:4096");
    assert_eq!(soft, 4_096);
    let log = server.log();
    let warned: Vec<_> = log.lines().filter(|line| line.contains("files may be open")).collect();
    assert_eq!(warned.len(), 1, "{log}");
    for part in ["WARNING", "4096", "CONNECTOR_WSS_CLIENTS_MAX=10000", "LimitNOFILE=11280"] {
        assert!(warned[0].contains(part), "{part}: {log}");
    }
    assert_served_three(&mut server.ask(BTC_3));
}

/// Nothing of the server's own may be taken by clients: sessions, REST, names, the ops port.
#[test]
fn with_64_files_clients_leave_the_server_what_it_needs() {
    if !has("prlimit") {
        return;
    }
    let simulator = sim::start(SimOptions::default()).unwrap();
    let mut command = Command::new("prlimit");
    let server = Server::start_by(command.args(["--nofile=64:64", PROGRAM]), &simulator.env());
    let mut first = server.ask(BTC);
    first.next_of("quote");
    let mut others = Vec::new();
    let answer = loop {
        let mut other = Raw::connect(server.clients);
        other.send(UPGRADE.as_bytes());
        let head = other.http_head();
        if !head.starts_with("HTTP/1.1 101 ") {
            break head;
        }
        others.push(other);
        assert!(others.len() < 40, "clients take what the server needs");
    };
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(others.len() >= 8, "{} clients are few", others.len());
    let admitted = format!("at most {} clients are admitted", others.len() + 1);
    assert!(server.log().contains(&admitted), "{admitted}: {}", server.log());
    assert_eq!(server.get("/health").0, 200);
    first
        .send(r#"{"exchange":"binance","contract_type":"usdm","symbols":["BTCUSDT"],"history":2}"#);
    assert_eq!(first.next_of("history").json["count"], 2, "a new session, and REST");
    ask_exchange_to_fail(&simulator);
    first.next_of("notice");
    first.next_of("notice");
    assert!(server.is_ready());
    assert_eq!(server.metric("connector_circuit_breaker_state", &[]), 0.0);
    assert_eq!(server.metric("connector_connection_errors_total", &["local"]), 0.0);
    let (health, ready) = (server.get("/health").0, server.get("/ready").0);
    assert_eq!((health, ready), (200, 200));
}

fn ask_exchange_to_fail(simulator: &Simulator) {
    let target = "/fault?name=disconnect&exchange=binance&contract_type=spot";
    assert_eq!(http(simulator.address(market("spot")), target).0, 200);
}

fn free_ports() -> [(&'static str, &'static str); 2] {
    [("CONNECTOR_WSS_PORT", "0"), ("CONNECTOR_WSS_HEALTH_CHECK_PORT", "0")]
}
