//! What a run found: rows of figures with the rounds that they come from, and percentile curves;
//! and their form on disk. Knows not how anything was measured.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One run, as `target/bench/results.json` holds it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// What the run was made on, by name.
    pub(crate) host: BTreeMap<String, String>,
    /// What `tuning/check.sh` says of the host.
    pub(crate) findings: Vec<Finding>,
    pub(crate) rows: Vec<Row>,
    pub(crate) plots: Vec<Plot>,
}

/// One line of `tuning/check.sh --json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) setting: String,
    pub(crate) state: String,
    pub(crate) found: String,
    pub(crate) recommended: String,
    #[serde(default)]
    pub(crate) why: String,
    #[serde(default)]
    pub(crate) how: String,
}

/// One quantity of everything that was compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) section: String,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) cells: Vec<Cell>,
}

/// One quantity of one of those that were compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) of: String,
    /// The median over the rounds, or what all rounds together came to.
    pub(crate) shown: f64,
    pub(crate) rounds: Vec<f64>,
}

/// Delays by percentile, of one load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plot {
    pub(crate) name: String,
    pub(crate) curves: Vec<Curve>,
}

/// One relay's delays, of all rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) of: String,
    /// The part of the messages, below 1, and the delay in µs that they did not exceed.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Cell {
    pub(crate) fn median(of: &str, rounds: Vec<f64>) -> Self {
        Self { of: of.to_owned(), shown: median(&rounds), rounds }
    }
}

impl Row {
    pub(crate) fn new(section: &str, name: &str, unit: &str, cells: Vec<Cell>) -> Self {
        let [section, name, unit] = [section, name, unit].map(str::to_owned);
        Self { section, name, unit, cells }
    }

    /// Whether relays are compared, and not ways of doing something in one process.
    pub(crate) fn is_of_relays(&self) -> bool {
        self.cell("copier").is_some()
    }

    pub(crate) fn cell(&self, of: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.of == of)
    }

    /// How many times as much `of` takes as `reference`: the median of the rounds' ratios, because
    /// the rounds of both took turns. `None` if either was not measured, or the reference is
    /// nothing.
    pub(crate) fn ratio(&self, of: &str, reference: &str) -> Option<Cell> {
        let (ours, theirs) = (self.cell(of)?, self.cell(reference)?);
        let pairs = ours.rounds.iter().zip(&theirs.rounds);
        let ratios = pairs.map(|(ours, theirs)| ours / theirs).collect();
        let ratio = Cell::median(&format!("{of} / {reference}"), ratios);
        ratio.rounds.iter().all(|ratio| ratio.is_finite()).then_some(ratio)
    }
}

impl Results {
    pub(crate) fn load(path: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))
    }

    /// Saves it in [`folder`]; where.
    pub(crate) fn save(&self, name: &str) -> PathBuf {
        let path = folder().join(name);
        std::fs::write(&path, serde_json::to_string_pretty(self).unwrap()).unwrap();
        path
    }
}

/// Where results and the report are kept: `target/bench`.
pub(crate) fn folder() -> PathBuf {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("bench");
    std::fs::create_dir_all(&target).unwrap();
    target
}

/// Whether a run in short form is asked for, to see that everything works.
pub(crate) fn is_quick() -> bool {
    std::env::var("BENCH_QUICK").is_ok_and(|value| !["", "0"].contains(&&*value))
}

/// 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// From the least to the greatest.
pub(crate) fn range(values: &[f64]) -> f64 {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (most - least).max(0.0)
}
