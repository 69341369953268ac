//! The documents against the program and against themselves: what they name is there, and what a
//! client or an operator sees is in one of them. Their place: a README beside what it describes,
//! `tuning/` for whoever runs it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use connector_wss::config::VARIABLES;

use super::files;
use super::harness::Server;
use super::queries;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What a newcomer reads in ten minutes. Source: house rules.
const README_WORDS_MAX: usize = 3_200;
/// What is still read in one breath. Source: house rules.
const PARAGRAPH_WORDS_MAX: usize = 80;

/// One `.md` file of the repository, or `.env.example`.
struct Document {
    /// From the repository's root.
    name: String,
    path: PathBuf,
    text: String,
}

impl Document {
    fn read(path: &Path) -> Self {
        let name = path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned();
        Self { name, path: path.to_owned(), text: std::fs::read_to_string(path).unwrap() }
    }

    /// Lines outside of code blocks.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut is_code = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
    }

    /// What stands between single backticks.
    fn spans(&self) -> impl Iterator<Item = &str> {
        self.prose().flat_map(|line| line.split('`').skip(1).step_by(2))
    }

    /// Targets of links.
    fn targets(&self) -> impl Iterator<Item = &str> {
        let rests = self.prose().flat_map(|line| line.split("](").skip(1));
        rests.map(|rest| rest.split(')').next().unwrap())
    }

    fn has_heading(&self, wanted: &str) -> bool {
        self.prose().filter(|line| line.starts_with('#')).any(|line| anchor(line) == wanted)
    }
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn documents() -> Vec<Document> {
    let root = Path::new(ROOT);
    let mut paths = vec![root.join("README.md"), root.join(".env.example")];
    for folder in ["src", "tests", "benches", "tuning"] {
        files(&root.join(folder), &mut paths);
    }
    let is_document =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "md" || end == "example");
    let found: Vec<_> = paths.iter().filter(|path| is_document(path)).collect();
    assert!(found.len() >= 7, "the documents are where they were: {found:?}");
    found.into_iter().map(|path| Document::read(path)).collect()
}

fn readme() -> Document {
    Document::read(&Path::new(ROOT).join("README.md"))
}

#[test]
fn the_readme_is_read_in_ten_minutes() {
    let words = readme().text.split_whitespace().count();
    assert!((2_000..=README_WORDS_MAX).contains(&words), "{words} words");
}

/// Blocks of prose with their number of words. A row of a table and an item of a list are blocks of
/// their own.
fn paragraphs(document: &Document) -> Vec<(String, usize)> {
    let mut found: Vec<String> = vec![String::new()];
    for line in document.prose() {
        let is_item = line.trim_start().starts_with(['-', '|', '#'])
            || line.trim_start().split_once(". ").is_some_and(|(n, _)| n.parse::<u8>().is_ok());
        if line.is_empty() || is_item {
            found.push(String::new());
        }
        let last = found.last_mut().unwrap();
        last.push_str(line);
        last.push(' ');
    }
    let counted = found.into_iter().map(|text| {
        let words = text.split_whitespace().filter(|word| *word != "|").count();
        (text, words)
    });
    counted.collect()
}

#[test]
fn no_paragraph_is_longer_than_a_breath() {
    let mut breaches = Vec::new();
    for document in documents().iter().filter(|one| one.name.ends_with(".md")) {
        for (text, words) in paragraphs(document) {
            if words > PARAGRAPH_WORDS_MAX {
                let start: String = text.chars().take(60).collect();
                breaches.push(format!("{}: {words} words: {start}…", document.name));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    let (mut links, mut anchors) = (0, 0);
    for document in documents() {
        for target in document.targets().filter(|target| !target.contains("://")) {
            let (to, heading) = target.split_once('#').unwrap_or((target, ""));
            let folder = document.path.with_file_name("");
            let to = if to.is_empty() { document.path.clone() } else { folder.join(to) };
            assert!(to.exists(), "{target} in {}", document.name);
            links += 1;
            if !heading.is_empty() {
                let linked = Document::read(&to.canonicalize().unwrap());
                assert!(linked.has_heading(heading), "{target} in {}", document.name);
                anchors += 1;
            }
        }
    }
    assert!(links > 50 && anchors > 20, "{links} links, {anchors} to headings");
}

#[test]
fn files_that_a_document_names_are_there() {
    let mut named = 0;
    for document in documents() {
        let folders = ["src/", "tests/", "benches/", "tuning/"];
        for span in document.spans() {
            // A command: its program and what it is given.
            for word in span.split_whitespace() {
                if folders.iter().any(|folder| word.starts_with(folder)) {
                    assert!(Path::new(ROOT).join(word).exists(), "{word} in {}", document.name);
                    named += 1;
                }
            }
        }
    }
    assert!(named > 15, "{named}");
}

/// Words of `text` that begin with `prefix`, such as names of variables and metrics.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c)).filter(|word| word.starts_with(prefix)).collect()
}

#[test]
fn variables_that_a_document_names_are_the_programs() {
    let mut named = BTreeSet::new();
    let documents = documents();
    for document in &documents {
        for word in words(&document.text, "CONNECTOR_") {
            let is_known = VARIABLES.iter().any(|variable| variable.name == word);
            // The guide shows what is logged about a misspelt one.
            assert!(is_known || word == "CONNECTOR_WSS_PROT", "{word} in {}", document.name);
            named.insert(word);
        }
    }
    let missing = VARIABLES.iter().filter(|variable| !named.contains(&*variable.name));
    assert_eq!(missing.count(), 0, "every variable is in a document");
}

/// Names of what `/metrics` shows, as in its lines `# TYPE`.
fn shown_metrics(text: &str) -> BTreeSet<&str> {
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    names.map(|rest| rest.split(' ').next().unwrap()).collect()
}

#[test]
fn every_metric_is_documented_and_no_other() {
    let server = Server::simulated();
    let text = server.get("/metrics").1;
    let shown = shown_metrics(&text);
    assert!(shown.len() > 60, "{}", shown.len());
    let mut documented = BTreeSet::new();
    let documents = documents();
    for document in documents.iter().filter(|one| one.name.ends_with(".md")) {
        for prefix in ["connector_", "process_"] {
            documented.extend(words(&document.text, prefix));
        }
        for metric in queries::metrics(&document.text) {
            let name = metric.name.trim_end_matches("_bucket");
            assert!(shown.contains(name), "{name} in {}", document.name);
        }
    }
    let missing: Vec<_> = shown.difference(&documented).collect();
    assert!(missing.is_empty(), "documented nowhere: {missing:?}");
}

/// All that is between backticks anywhere.
fn all_spans(documents: &[Document]) -> BTreeSet<&str> {
    documents.iter().flat_map(Document::spans).collect()
}

#[test]
fn every_value_of_a_label_is_documented() {
    let server = Server::simulated();
    let text = server.get("/metrics").1;
    let documents = documents();
    let documented = all_spans(&documents);
    let mut values = BTreeSet::new();
    for label in ["by", "cause", "error_type", "hop", "kind", "reason", "result", "status"] {
        let start = format!("{label}=\"");
        let parts = text.split(&*start).skip(1);
        values.extend(parts.map(|part| part.split('"').next().unwrap().to_owned()));
    }
    assert!(values.len() > 40, "{values:?}");
    let missing: Vec<_> = values.iter().filter(|value| !documented.contains(&***value)).collect();
    assert!(missing.is_empty(), "documented nowhere: {missing:?}");
}

/// The sources, one text.
fn sources() -> String {
    let mut paths = Vec::new();
    files(&Path::new(ROOT).join("src"), &mut paths);
    let rust = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    rust.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// The texts in quotes that directly follow `start` in the sources.
fn literals_after<'a>(sources: &'a str, start: &str) -> BTreeSet<&'a str> {
    let rests = sources.split(start).skip(1);
    let quoted = rests.filter_map(|rest| rest.trim_start().strip_prefix('"'));
    quoted.map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn every_code_of_an_error_is_documented() {
    let (sources, documents) = (sources(), documents());
    let documented = all_spans(&documents);
    let mut codes = literals_after(&sources, "Refusal::new(");
    codes.extend(literals_after(&sources, "Refusal::field("));
    assert!(codes.len() > 40, "the codes are where they were: {codes:?}");
    // An error of the tests in the sources.
    codes.remove("x");
    let missing: Vec<_> = codes.difference(&documented).collect();
    assert!(missing.is_empty(), "documented nowhere: {missing:?}");
}

#[test]
fn every_code_that_the_protocol_lists_is_one_of_the_program() {
    let path = Path::new(ROOT).join("src/fanout/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let sources = sources();
    let mut listed = 0;
    for table in text.split("\n| `code` | meaning |\n|---|---|\n").skip(1) {
        for row in table.lines().take_while(|line| line.starts_with('|')) {
            for code in row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
                assert!(sources.contains(&format!("\"{code}\"")), "{code}");
                listed += 1;
            }
        }
    }
    assert!(listed > 45, "{listed}");
}

#[test]
fn every_event_of_the_log_is_documented() {
    let (sources, documents) = (sources(), documents());
    let documented = all_spans(&documents);
    let names = sources.split("impl EventName {").nth(1).unwrap();
    let names = names.split("fn severity").next().unwrap();
    let names = literals_after(names, "=> ");
    assert!(names.len() > 25, "{names:?}");
    let missing: Vec<_> = names.difference(&documented).collect();
    assert!(missing.is_empty(), "documented nowhere: {missing:?}");
}
