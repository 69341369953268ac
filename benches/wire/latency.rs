//! Socket to socket: an exchange's bytes in, a client's bytes out, with a relay in the middle. One
//! client at several rates, the same by TLS on the exchange's side, and ever more clients.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustls::ServerConfig;

use crate::clients::Clients;
use crate::exchange::Exchange;
use crate::load::{self, Outcome, Setup};
use crate::process::Relay;
use crate::results::{self, Cell, Curve, Plot, Results, Row};

/// One load that is laid on every relay.
pub(crate) struct Load {
    pub(crate) section: &'static str,
    pub(crate) clients: usize,
    /// Updates a second.
    pub(crate) rate: u64,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

/// Lays the loads on every relay, as often as there are rounds and `time`, and adds what came of it
/// to `results`. A relay's process lives for one round; the relays take turns within it.
pub(crate) fn compare(
    loads: &[Load],
    (rounds, time): (usize, Duration),
    is_tls: bool,
    results: &mut Results,
) {
    let certificate = is_tls.then(certificate);
    let mut outcomes: Vec<Vec<Vec<Outcome>>> =
        loads.iter().map(|_| Relay::ALL.iter().map(|_| Vec::new()).collect()).collect();
    load::rounds(loads[0].section, rounds, time, |round| {
        for turn in 0..Relay::ALL.len() {
            // Whoever comes first in one round does not do so in the next.
            let at = (turn + round) % Relay::ALL.len();
            let mut setup = attach(Relay::ALL[at], certificate.as_ref());
            for (load, outcomes) in loads.iter().zip(&mut outcomes) {
                setup.clients.grow(load.clients);
                outcomes[at].push(setup.measure(load.rate, load.warm_up, load.duration));
            }
        }
    });
    for (load, outcomes) in loads.iter().zip(&outcomes) {
        add_rows(load, outcomes, results);
    }
}

/// A relay with its exchange and the first client.
fn attach(relay: Relay, certificate: Option<&(PathBuf, Arc<ServerConfig>)>) -> Setup {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = listener.local_addr().unwrap();
    let (process, address) = relay.start(upstream, certificate.map(|(path, _)| path.as_path()));
    let tls = certificate.map(|(_, config)| Arc::clone(config));
    // The server connects when its first client asks, the others at once.
    let accepting = std::thread::spawn(move || Exchange::accept(&listener, relay, tls));
    let mut clients = Clients::new(relay, address);
    clients.grow(1);
    let exchange = accepting.join().unwrap();
    Setup { exchange, clients, process }
}

/// The exchange's, and where relays find whom to trust.
fn certificate() -> (PathBuf, Arc<ServerConfig>) {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let path = results::folder().join("authority.pem");
    std::fs::write(&path, &chain).unwrap();
    let config = connector_wss::wire::tls::server_config(chain.as_bytes(), key.as_bytes());
    (path, config.unwrap())
}

/// `outcomes`: of each relay, of each round.
fn add_rows(load: &Load, outcomes: &[Vec<Outcome>], results: &mut Results) {
    let clients = match load.clients {
        1 => "one client".to_owned(),
        clients => format!("{clients} clients"),
    };
    let section = format!("{}, {clients}, {}/s", load.section, load.rate);
    let mut add = |name: &str, unit: &str, cell: &dyn Fn(Relay, &[Outcome]) -> Cell| {
        let cells = Relay::ALL.into_iter().zip(outcomes).map(|(relay, of)| cell(relay, of));
        results.rows.push(Row::new(&section, name, unit, cells.collect()));
    };
    for (name, quantile) in QUANTILES {
        add(name, "µs", &|relay, of| quantile_cell(relay, of, quantile, |one| &one.delays));
    }
    if load.clients > 1 {
        for (name, quantile) in [("last client, p50", 0.5), ("last client, max", 1.0)] {
            add(name, "µs", &|relay, of| quantile_cell(relay, of, quantile, |one| &one.last));
        }
    }
    add("CPU time for an update", "µs", &|relay, of| {
        rounds_cell(relay, of, |one| one.usage.cpu.as_secs_f64() * 1e6 / one.updates as f64)
    });
    add("CPU time for a message", "µs", &|relay, of| {
        rounds_cell(relay, of, |one| one.usage.cpu.as_secs_f64() * 1e6 / one.messages.max(1) as f64)
    });
    add("delivered", "%", &|relay, of| {
        rounds_cell(relay, of, |one| one.messages as f64 * 100.0 / one.delays.len() as f64)
    });
    for (kind, name) in ["page faults, minor", "page faults, major"].into_iter().enumerate() {
        add(name, "", &|relay, of| rounds_cell(relay, of, |one| one.usage.faults[kind] as f64));
    }
    let curves = Relay::ALL.into_iter().zip(outcomes).map(|(relay, of)| curve(relay, of));
    results.plots.push(Plot { name: section.clone(), curves: curves.collect() });
}

const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

fn rounds_cell(relay: Relay, outcomes: &[Outcome], value: impl Fn(&Outcome) -> f64) -> Cell {
    Cell::median(relay.name(), outcomes.iter().map(value).collect())
}

/// Beyond p99.9 one round has too few messages: shown is what all of them had together.
fn quantile_cell(
    relay: Relay,
    outcomes: &[Outcome],
    quantile: f64,
    delays: impl Fn(&Outcome) -> &Histogram<u64>,
) -> Cell {
    let us = |delays: &Histogram<u64>| delays.value_at_quantile(quantile) as f64 / 1000.0;
    let mut cell = rounds_cell(relay, outcomes, |one| us(delays(one)));
    if quantile > 0.999 {
        cell.shown = us(&together(outcomes.iter().map(delays)));
    }
    cell
}

fn together<'a>(mut parts: impl Iterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    let mut whole = parts.next().expect("at least one round").clone();
    parts.for_each(|part| whole.add(part).unwrap());
    whole
}

fn curve(relay: Relay, outcomes: &[Outcome]) -> Curve {
    let delays = together(outcomes.iter().map(|one| &one.delays));
    let steps = delays.iter_quantiles(5).filter(|step| step.quantile() < 1.0);
    let points =
        steps.map(|step| (step.quantile(), step.value_iterated_to() as f64 / 1000.0)).collect();
    Curve { of: relay.name().to_owned(), points }
}
