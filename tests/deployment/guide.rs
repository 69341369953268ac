//! The deployment guide names only what there is: metrics, flags, HTTP paths, faults, files and the
//! program's own words; `documents` looks at its links. `tests/acceptance/97-guide.sh` executes its
//! commands, which is slow; this is what can be known without running them.

use std::path::Path;
use std::process::Command;

use connector_wss::config::Config;
use connector_wss::limits::{LOG_FILE_BYTES_MAX, LOG_FILES_KEPT};
use connector_wss::sim::faults::Fault;

use super::harness::{Server, http, wait_until};
use super::queries::{Exposition, breaches, metrics};
use super::{files, value};

const GUIDE: &str = include_str!("../../tuning/deployment.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The lines between fences, with what the guide prints below its commands.
fn console() -> Vec<&'static str> {
    let mut is_inside = false;
    let mut found = Vec::new();
    for line in GUIDE.lines() {
        if line.starts_with("```") {
            is_inside = !is_inside;
        } else if is_inside {
            found.push(line);
        }
    }
    assert!(found.len() > 100 && !is_inside, "{}", found.len());
    found
}

/// The texts between backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Lines of blocks, and what is between backticks elsewhere.
fn code() -> impl Iterator<Item = &'static str> {
    let prose = GUIDE.lines().filter(|line| !line.starts_with("```"));
    console().into_iter().chain(prose.flat_map(spans))
}

/// First columns of the tables of symptoms.
fn symptoms() -> Vec<&'static str> {
    let tables = GUIDE.split("\n| seen | why | remedy |\n|---|---|---|\n").skip(1);
    let rows = tables.flat_map(|table| table.lines().take_while(|line| line.starts_with('|')));
    rows.map(|row| row.split('|').nth(1).unwrap()).collect()
}

#[test]
fn its_metrics_and_labels_are_shown() {
    let server = Server::simulated();
    let text = server.get("/metrics").1;
    let shown = Exposition::parse(&text);
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    let mut named = 0;
    for code in code().filter(|code| !metrics(code).is_empty()) {
        let code = code.replace("version=\"…\"", &version);
        let mut found = breaches(&code, &shown);
        // A histogram is named as a whole.
        found.retain(|why| {
            let name = why.strip_prefix("no metric ").unwrap_or(why);
            !text.contains(&format!("\n{name}_bucket{{"))
        });
        assert_eq!(found, Vec::<String>::new(), "in: {code}");
        named += metrics(&code).len();
    }
    assert!(named > 25, "{named}");
}

#[test]
fn its_flags_are_the_programs() {
    let programs = [
        ("connector-wss", env!("CARGO_BIN_EXE_connector-wss")),
        ("connector-cli", env!("CARGO_BIN_EXE_connector-cli")),
        ("connector-sim", env!("CARGO_BIN_EXE_connector-sim")),
    ];
    let mut named = 0;
    for (name, path) in programs {
        let help = Command::new(path).arg("--help").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let known: Vec<&str> =
            help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        for text in code() {
            for (at, called) in text.match_indices(&format!("{name} ")) {
                let (before, call) = (&text[..at], &text[at + called.len()..]);
                if !(before.is_empty() || before.ends_with("release/") || before.ends_with("bin/"))
                {
                    continue;
                }
                let call = call.split(['|', ';', '>', '&', ')']).next().unwrap();
                for flag in call.split_whitespace().filter(|word| word.starts_with("--")) {
                    assert!(known.contains(&flag), "{name} has no {flag}: {text}");
                    named += 1;
                }
            }
        }
    }
    assert!(named >= 5, "{named}");
}

#[test]
fn its_ports_and_paths_are_served() {
    let config = Config::default();
    assert_eq!((config.wss_port, config.health_check_port), (8765, 8766));
    let server = Server::simulated();
    wait_until("the preloaded symbol is live", || server.is_ready());
    let mut asked = 0;
    for (text, address) in [
        ("localhost:8766/", server.ops),
        ("localhost:8768/", server.ops),
        ("$ops/", server.ops),
        ("localhost:8765/", server.clients),
    ] {
        for line in console() {
            for rest in line.split(text).skip(1) {
                let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '/';
                let path = format!("/{}", rest.split(is_end).next().unwrap());
                assert_eq!(http(address, &path).0, 200, "{path}: {line}");
                asked += 1;
            }
        }
    }
    assert!(asked > 20, "{asked}");
}

#[test]
fn its_faults_are_the_simulators() {
    let names = GUIDE.split("&name=").skip(1);
    let names = names.map(|rest| rest.split(['\'', '&']).next().unwrap());
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 2);
    for name in names {
        assert!(Fault::NAMES.contains(&name), "{name}");
    }
}

/// What the sources say: texts that go over lines are one again.
fn sources() -> String {
    let mut paths = Vec::new();
    files(&Path::new(ROOT).join("src"), &mut paths);
    let texts = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let mut all = String::new();
    for path in texts {
        let text = std::fs::read_to_string(path).unwrap();
        let mut pieces = text.split("\\\n");
        all += pieces.next().unwrap();
        pieces.for_each(|piece| all += piece.trim_start());
    }
    all
}

#[test]
fn its_symptoms_are_in_the_programs_words() {
    let (sources, mut words) = (sources(), 0);
    for symptom in symptoms() {
        for span in spans(symptom).filter(|span| !span.starts_with(['/', '$'])) {
            // What is a variable or a metric is looked at elsewhere.
            let quoted = span.split(['…', '{', '=']);
            let parts = quoted.map(|part| part.trim_matches([' ', '(', ')', ':', ',', '}', '"']));
            for part in parts.filter(|part| part.len() > 2 && !part.starts_with("connector")) {
                assert!(sources.contains(part), "{part:?} of {span:?}");
                words += 1;
            }
        }
    }
    assert!(words > 40, "{words}");
}

#[test]
fn its_log_takes_as_much_as_it_says() {
    let files = u64::try_from(LOG_FILES_KEPT).unwrap() + 1;
    assert_eq!((files, LOG_FILE_BYTES_MAX), (5, 10_000_000));
    assert!(GUIDE.contains("50 MB at most: five files of 10 MB"));
}

#[test]
fn files_that_its_commands_name_are_there() {
    let is_end = |c: char| !c.is_ascii_alphanumeric() && !['/', '.', '-', '_'].contains(&c);
    for line in console() {
        for word in line
            .split(is_end)
            .filter(|word| word.starts_with("tuning/") || word.starts_with("tests/"))
        {
            assert!(Path::new(ROOT).join(word).exists(), "{word}: {line}");
        }
    }
}

#[test]
fn its_unit_of_the_second_one_differs_in_names_and_ports_only() {
    // As its `sed` does.
    let is_user = |line: &&str| line.starts_with("User=") || line.starts_with("Group=");
    let unit: Vec<String> = super::UNIT
        .lines()
        .map(|line| match is_user(&line) {
            true => line.to_owned(),
            false => line.replace("connector-wss", "connector-wss-green"),
        })
        .collect();
    let unit = unit.join("\n");
    assert!(GUIDE.contains("sed -E '/^(User|Group)=/!s/connector-wss/&-green/g'"));
    assert_eq!(value(&unit, "User="), "connector-wss");
    let file = "/etc/connector-wss-green/connector-wss-green.env";
    assert!(GUIDE.contains(file) && value(&unit, "ExecStart=").ends_with(file));
    assert!(value(&unit, "Environment=CONNECTOR_LOG_DIR=").ends_with("/connector-wss-green"));
    assert_eq!(value(&unit, "LogsDirectory="), "connector-wss-green");
}
