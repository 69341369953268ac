//! As much of PromQL, and of templates that show labels, as is needed to know which metrics and
//! labels they name; and which of them a program shows.

use std::collections::{BTreeMap, BTreeSet};

/// What `/metrics` shows: of each sample's name, its labels and their values.
pub(crate) struct Exposition(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Exposition {
    pub(crate) fn parse(text: &str) -> Self {
        let mut shown: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let sample = shown.entry(name.to_owned()).or_default();
            for (label, value) in matchers(labels.trim_end_matches('}')) {
                let value = value.strip_prefix('=').unwrap().trim_matches('"').to_owned();
                sample.entry(label).or_default().insert(value);
            }
        }
        Self(shown)
    }

    fn has_label(&self, label: &str) -> bool {
        GIVEN_BY_PROMETHEUS.contains(&label)
            || self.0.values().any(|labels| labels.contains_key(label))
    }
}

/// Labels of the target, not of the program.
const GIVEN_BY_PROMETHEUS: [&str; 2] = ["job", "instance"];

/// A metric as a query names it.
pub(crate) struct Metric {
    pub(crate) name: String,
    /// Label, and operator with value: `="true"`.
    matchers: Vec<(String, String)>,
}

/// Every metric of this program that `text` names.
pub(crate) fn metrics(text: &str) -> Vec<Metric> {
    let starts = text.match_indices("connector_").map(|(at, _)| at);
    let starts = starts.filter(|&at| !text[..at].ends_with(is_word));
    let metric = |at: usize| {
        let rest = &text[at..];
        let name = word(rest);
        let inside = rest[name.len()..].strip_prefix('{');
        let inside = inside.map_or("", |inside| inside.split('}').next().unwrap());
        Metric { name: name.to_owned(), matchers: matchers(inside) }
    };
    starts.map(metric).collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn word(text: &str) -> &str {
    text.split(|c| !is_word(c)).next().unwrap()
}

/// `a="1", b=~"2"` as pairs of a label, and what it is to be.
fn matchers(text: &str) -> Vec<(String, String)> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some(at) = rest.find('"') {
        let label = rest[..at].trim_start_matches([',', ' ']);
        let end = at + 1 + rest[at + 1..].find('"').unwrap();
        let name = word(label);
        found.push((name.to_owned(), rest[name.len() + (at - label.len())..=end].to_owned()));
        rest = &rest[end + 1..];
    }
    found
}

/// Labels that `text` groups by, leaves out, matches on, or shows.
fn labels(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for keyword in ["by (", "without (", "on (", "ignoring ("] {
        for part in text.split(keyword).skip(1) {
            let list = part.split(')').next().unwrap();
            found.extend(list.split(',').map(str::trim).map(str::to_owned));
        }
    }
    for part in text.split("$labels.").skip(1) {
        found.push(word(part).to_owned());
    }
    // A legend: {{label}}. An alert's text has its labels behind `$labels.`, with a space before.
    for part in text.split("{{").skip(1) {
        found.extend(Some(word(part)).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    found
}

/// What `text` asks for and `shown` does not have.
pub(crate) fn breaches(text: &str, shown: &Exposition) -> Vec<String> {
    let mut found = Vec::new();
    for metric in metrics(text) {
        let Some(sample) = shown.0.get(&metric.name) else {
            found.push(format!("no metric {}", metric.name));
            continue;
        };
        for (label, wanted) in &metric.matchers {
            let value = wanted.strip_prefix("=\"").map(|value| value.trim_end_matches('"'));
            let value = value.filter(|value| !value.starts_with('$'));
            match sample.get(label) {
                Some(values) if value.is_none_or(|value| values.contains(value)) => {}
                None if GIVEN_BY_PROMETHEUS.contains(&label.as_str()) => {}
                _ => found.push(format!("{} has no {label}{wanted}", metric.name)),
            }
        }
    }
    let unknown = labels(text).into_iter().filter(|label| !shown.has_label(label));
    found.extend(unknown.map(|label| format!("no metric has the label {label}")));
    found
}
