//! System calls that fail while the server runs, as strace has them fail: the pipe that brings
//! signals, and the socket over which one server takes the ports over from another.

use std::process::Command;

use rustix::process::Signal;

use super::client::BTC;
use super::harness::{PROGRAM, Scratch, Server};

/// strace as it becomes the server while `failing` (`CALL:error=ERRNO:when=NUMBER`, by thread)
/// fail; `None` where there is no strace.
fn with(failing: &[&str]) -> Option<Command> {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !tried.is_ok_and(|status| status.success()) {
        println!("skipped: no strace, or it may not trace");
        return None;
    }
    let mut command = Command::new("strace");
    let calls: Vec<_> = failing.iter().map(|one| one.split(':').next().unwrap()).collect();
    command.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
    command.args(["-e", &format!("trace={}", calls.join(","))]);
    for one in failing {
        command.args(["-e", &format!("inject={one}")]);
    }
    command.args([PROGRAM, "--simulate"]);
    Some(command)
}

#[test]
fn a_signal_is_heard_whatever_the_pipe_that_brings_it_answered_before() {
    for error in ["EINTR", "EIO", "EBADF"] {
        for times in ["1", "1..3"] {
            let failing = format!("recvfrom:error={error}:when={times}");
            let Some(mut command) = with(&[&failing]) else { return };
            let mut server = Server::start_by(&mut command, &[]);
            server.process.signal(Signal::HUP);
            server.process.signal(Signal::TERM);
            assert_eq!(server.process.wait().code(), Some(0), "{failing}");
            let log = server.log();
            assert!(log.ends_with("Server shutdown complete\n"), "{failing}: {log}");
            let warnings = log.matches("signals cannot be read").count();
            let is_error = error != "EINTR";
            assert!(warnings <= 2 && (!is_error || warnings > 0), "{failing}: {log}");
        }
    }
}

#[test]
fn a_takeover_goes_on_after_a_call_that_was_interrupted() {
    let folder = Scratch::new();
    let socket = folder.0.join("takeover").to_str().unwrap().to_owned();
    let env = [("CONNECTOR_TAKEOVER_SOCKET".to_owned(), socket)];
    // The first in each thread, so that in the takeover's of the predecessor and in the main one of
    // the successor. Sessions try again by themselves.
    let failing =
        ["sendmsg", "connect", "recvmsg"].map(|call| format!("{call}:error=EINTR:when=1"));
    let failing: Vec<_> = failing.iter().map(String::as_str).collect();
    let start = || Some(Server::start_by(&mut with(&failing)?, &env));
    let Some(mut first) = start() else { return };
    let Some(mut second) = start() else { return };
    assert_eq!((second.clients, second.ops), (first.clients, first.ops));
    assert_eq!(first.process.wait().code(), Some(0));
    let log = first.log();
    assert!(log.contains("has taken the ports over"), "{log}");
    assert!(!log.contains("came to nothing"), "{log}");
    assert!(second.log().contains(&format!("from process {}", first.process.id())));
    second.ask(BTC).next_of("quote");
    second.process.signal(Signal::TERM);
    assert_eq!(second.process.wait().code(), Some(0));
}
