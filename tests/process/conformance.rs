//! RFC 6455 by the numbers of the Autobahn suite's cases, for machines that cannot run it: what a
//! client sends, and the exact answer, Close and FIN included. Before the echo, and before the
//! listener as it is shipped where a case needs no echo.

mod cases;
mod handshakes;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use connector_wss::clock::Clock;
use connector_wss::config::Config;
use connector_wss::cores::process::server::Server as Cores;

use super::client::BTC;
use super::harness::{Scratch, Server};
use super::raw::{BINARY, CLOSE, FINAL, Frame, Raw, TEXT, frame};
use cases::{Case, cases};

/// The largest message that the echo under test takes.
pub(super) const ECHO_BYTES_MAX: usize = 1024 * 1024;

/// Cases under way at once.
const WORKERS: usize = 4;

/// The listener with its echo, in this process.
struct Echo {
    cores: Option<Cores>,
    address: SocketAddr,
    _folder: Scratch,
}

impl Echo {
    fn start() -> Self {
        let folder = Scratch::new();
        let config = Config::from_pairs(&[
            ("CONNECTOR_WSS_PORT", "0"),
            ("CONNECTOR_WSS_HEALTH_CHECK_ENABLED", "false"),
            ("CONNECTOR_LOG_DIR", folder.0.to_str().unwrap()),
            ("CONNECTOR_CLIENT_BUFFER_MAX", "16777216"),
        ]);
        let cores = Cores::start_echo(&config.unwrap(), Clock::new(), ECHO_BYTES_MAX).unwrap();
        let address = cores.client_address;
        Self { cores: Some(cores), address, _folder: folder }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(cores) = self.cores.take() {
            cores.stopper().stop();
            cores.join();
        }
    }
}

/// Runs `judge` on every case, a few at a time; the names of those that failed, and why.
fn run(cases: &[Case], judge: impl Fn(&Case) -> Result<(), String> + Sync) {
    let next = AtomicUsize::new(0);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut failures = Vec::new();
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(why) = judge(case) {
                            failures.push(format!("{}: {why}", case.name));
                        }
                    }
                    failures
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let (count, failed) = (cases.len(), failures.len());
    assert!(failures.is_empty(), "{failed} of {count} cases:\n{}", failures.join("\n"));
}

/// Sends a case's pieces and reads everything up to FIN.
fn perform(mut raw: Raw, case: &Case) -> (Vec<Frame>, Option<u16>) {
    case.pieces.iter().for_each(|piece| raw.send(piece));
    raw.until_fin()
}

/// A client that had a subscription, so that what is no request does not close it.
fn practised(server: SocketAddr) -> Raw {
    let mut raw = Raw::open(server);
    for request in [BTC, r#"{"op":"unsubscribe"}"#] {
        raw.send(&frame(FINAL | TEXT, request.as_bytes()));
    }
    raw
}

fn differ<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, wanted: &T) -> Result<(), String> {
    if got == wanted {
        return Ok(());
    }
    Err(format!("{what}: {:.200} instead of {:.200}", format!("{got:?}"), format!("{wanted:?}")))
}

#[test]
fn the_echo_answers_every_case_as_the_protocol_has_it() {
    let echo = Echo::start();
    let cases = cases();
    assert!(cases.len() > 300, "{} cases", cases.len());
    run(&cases, |case| {
        let (frames, code) = perform(Raw::open(echo.address), case);
        differ("frames", &frames, &case.answer)?;
        differ("close code", &code, &case.code)
    });
}

#[test]
fn the_listener_as_it_is_shipped_closes_every_case_with_the_same_code() {
    let server = Server::simulated();
    let (mut cases, all) = (cases(), cases().len());
    cases.retain(|case| case.is_for_all);
    assert!(cases.len() > all / 2, "{} cases", cases.len());
    run(&cases, |case| {
        let (frames, code) = perform(practised(server.clients), case);
        let is_message = |&(first, _): &Frame| [FINAL | TEXT, FINAL | BINARY].contains(&first);
        // What it says to messages that are no requests is `requests`' to test.
        let rest = |frames: &[Frame]| {
            frames.iter().filter(|frame| !is_message(frame)).cloned().collect::<Vec<_>>()
        };
        differ("frames", &rest(&frames), &rest(&case.answer))?;
        differ("close code", &code, &case.code)
    });
    assert_eq!(server.metric("connector_slow_disconnects_total", &[]), 0.0);
}

#[test]
fn a_client_that_stays_after_our_close_is_cut_off() {
    let echo = Echo::start();
    let mut raw = Raw::open(echo.address);
    raw.send(&frame(FINAL | CLOSE, &[]));
    assert_eq!(raw.until_fin(), (Vec::new(), None));
    // FIN is out and reads go on for a second; then the socket is closed, which a write notices.
    super::harness::wait_until("the socket is closed", || raw.try_send(b"x").is_err());
}
