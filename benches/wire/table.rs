//! A run's figures as one table.

use std::fmt::Write as _;

use crate::process::Relay;
use crate::results::{Results, Row, median};

pub(crate) fn print(results: &Results) {
    println!();
    for (name, value) in &results.host {
        println!("{name}: {value}");
    }
    let untuned = results.findings.iter().filter(|finding| finding.state == "differs");
    let untuned: Vec<&str> = untuned.map(|finding| &*finding.setting).collect();
    println!("untuned: {} (make tune-check says why and how)", untuned.join(", "));
    print!("\n{:<45}", "medians over the rounds; p99.99 and max of all");
    HEADS.iter().for_each(|head| print!("{head:>10}"));
    println!();
    let mut section = "";
    for row in &results.rows {
        if row.section != section {
            section = &row.section;
            println!("{section}");
        }
        println!("{}", line(row));
    }
}

const HEADS: [&str; 11] = [
    "copier",
    "sleeper",
    "tokio",
    "spin",
    "threads",
    "adaptive",
    "spin/copy",
    "spin/tok",
    "thr/spin",
    "adap/slp",
    "adap/tok",
];

/// What is compared with what.
pub(crate) const RATIOS: [(Relay, Relay); 5] = [
    (Relay::Spin, Relay::Copier),
    (Relay::Spin, Relay::Tokio),
    (Relay::Threads, Relay::Spin),
    (Relay::Adaptive, Relay::Sleeper),
    (Relay::Adaptive, Relay::Tokio),
];

fn line(row: &Row) -> String {
    let mut line = format!("  {:<35}{:>8}", row.name, row.unit);
    if !row.is_of_relays() {
        for cell in &row.cells {
            let least = cell.rounds.iter().copied().fold(f64::INFINITY, f64::min);
            let most = cell.rounds.iter().copied().fold(0.0, f64::max);
            let (shown, least, most) = (number(cell.shown), number(least), number(most));
            let _written = write!(line, "{shown:>10}  {} ({least} to {most})", cell.of);
        }
        return line;
    }
    for relay in Relay::ALL {
        let value = row.cell(relay.name()).map_or("–".to_owned(), |cell| number(cell.shown));
        let _written = write!(line, "{value:>10}");
    }
    for (ours, theirs) in RATIOS {
        let ratio = row.ratio(ours.name(), theirs.name());
        let ratio =
            ratio.map_or("–".to_owned(), |ratio| format!("{:.2}x", median(&ratio.rounds)));
        let _written = write!(line, "{ratio:>10}");
    }
    line
}

/// As many digits as tell something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        least if least < 10.0 => format!("{value:.2}"),
        little if little < 1_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
