//! What is different from an earlier run, beyond what the rounds of both differ among themselves.

use crate::process::Relay;
use crate::results::{Cell, Results, Row, median, range};
use crate::table::{RATIOS, number};

/// A figure that has changed.
pub(crate) struct Change {
    pub(crate) what: String,
    pub(crate) before: f64,
    pub(crate) now: f64,
    /// By how much the medians may differ without saying anything.
    pub(crate) noise: f64,
}

impl Change {
    pub(crate) fn text(&self) -> String {
        let (before, now, noise) = (number(self.before), number(self.now), number(self.noise));
        let by = if self.before == 0.0 {
            "new".to_owned()
        } else {
            format!("{:+.0} %", (self.now / self.before - 1.0) * 100.0)
        };
        format!("{}: {before} → {now} ({by}; noise ±{noise})", self.what)
    }
}

/// Fewer rounds say nothing about their spread.
const ROUNDS_MIN: usize = 3;

/// Every figure and ratio of both runs whose median has moved by more than the noise: the mean of
/// the ranges of both runs' rounds. Of five rounds that is some three times what two medians differ
/// by chance.
pub(crate) fn changes(before: &Results, now: &Results) -> Vec<Change> {
    let mut changes = Vec::new();
    for row in &now.rows {
        let is_same = |other: &&Row| other.section == row.section && other.name == row.name;
        let Some(earlier) = before.rows.iter().find(is_same) else { continue };
        for cell in cells(row) {
            let earlier = cells(earlier).into_iter().find(|other| other.of == cell.of);
            changes.extend(earlier.and_then(|earlier| change(row, &earlier, &cell)));
        }
    }
    changes
}

/// A row's figures and the ratios of ours to theirs.
fn cells(row: &Row) -> Vec<Cell> {
    let ratio = |(ours, theirs): (Relay, Relay)| row.ratio(ours.name(), theirs.name());
    row.cells.iter().cloned().chain(RATIOS.into_iter().filter_map(ratio)).collect()
}

fn change(row: &Row, before: &Cell, now: &Cell) -> Option<Change> {
    if before.rounds.len().min(now.rounds.len()) < ROUNDS_MIN {
        return None;
    }
    let noise = (range(&before.rounds) + range(&now.rounds)) / 2.0;
    let what = format!("{}, {}: {} {}", row.section, row.name, now.of, row.unit);
    let (before, now) = (median(&before.rounds), median(&now.rounds));
    let is_beyond = (now - before).abs() > noise;
    is_beyond.then(|| Change { what: what.trim_end().to_owned(), before, now, noise })
}

/// What of the machine is not as it was.
pub(crate) fn host_changes(before: &Results, now: &Results) -> Vec<String> {
    let of_run = ["duration", "disturbance", "commit"];
    let is_other = |name: &str, value: &str| before.host.get(name).is_none_or(|was| was != value);
    let others = now.host.iter().filter(|(name, value)| is_other(name, value));
    let others = others.filter(|(name, _)| !of_run.contains(&name.as_str()));
    let was = |name: &str| before.host.get(name).map_or("unknown", String::as_str).to_owned();
    others.map(|(name, value)| format!("{name}: {} → {value}", was(name))).collect()
}

pub(crate) fn print(before: &Results, now: &Results) {
    let was = |name: &str| before.host.get(name).map_or("unknown", String::as_str).to_owned();
    println!("\nbeside the run of commit {} ({})", was("commit"), was("disturbance"));
    for change in host_changes(before, now) {
        println!("  another machine: {change}");
    }
    let changes = changes(before, now);
    for change in &changes {
        println!("  {}", change.text());
    }
    println!("  {} figures have changed beyond the noise of both runs' rounds", changes.len());
}
