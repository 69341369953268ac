//! House rules as a test: imports go one way, and what is dangerous or slow stays in its place.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each part of `src/` may use of the others; itself is always allowed.
const MAY_USE: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("clock", &[]),
    ("rng", &[]),
    ("text", &[]),
    ("market", &["limits", "clock", "rng", "text"]),
    ("messages", &["limits", "clock", "rng", "text", "market"]),
    ("metrics", &["limits", "clock", "rng", "text", "market"]),
    ("wire", &["limits", "clock", "rng", "text"]),
    ("venue", &["limits", "clock", "rng", "text", "market", "messages", "metrics", "wire"]),
    ("feed", &["limits", "clock", "rng", "text", "market", "messages", "metrics", "wire", "venue"]),
    ("fanout", &["limits", "clock", "rng", "text", "market", "messages", "metrics", "wire"]),
    ("health", &["limits", "clock", "rng", "text", "market", "messages", "metrics", "wire"]),
    (
        "config",
        &[
            "limits", "clock", "rng", "text", "market", "messages", "metrics", "wire", "venue",
            "feed", "fanout", "health",
        ],
    ),
    (
        "sim",
        &[
            "limits", "clock", "rng", "text", "market", "messages", "metrics", "wire", "venue",
            "config",
        ],
    ),
    (
        "cores",
        &[
            "limits", "clock", "rng", "text", "market", "messages", "metrics", "wire", "venue",
            "feed", "fanout", "health", "config", "sim",
        ],
    ),
    ("cli", &["limits", "clock", "rng", "text", "market", "messages", "config", "cores"]),
];

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).unwrap().to_owned();
                let first = relative.components().next().unwrap();
                let part = Path::new(first.as_os_str()).file_stem().unwrap();
                let text = fs::read_to_string(&path).unwrap();
                found.push((part.to_str().unwrap().to_owned(), relative, text));
            }
        }
    }
    assert!(found.len() > 20, "the sources are where they were");
    found
}

/// Code without comments.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn imports_go_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut breaches = Vec::new();
    for (part, path, text) in sources() {
        let Some(may_use) = allowed.get(part.as_str()) else { continue };
        for used in code(&text).split("crate::").skip(1) {
            let used: String =
                used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let is_part = allowed.contains_key(used.as_str());
            if is_part && used != part && !may_use.contains(&used.as_str()) {
                breaches.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn every_part_has_its_rule() {
    for (part, path, _) in sources() {
        let is_known = MAY_USE.iter().any(|(name, _)| *name == part);
        assert!(is_known || ["lib", "main", "bin"].contains(&&*part), "{}", path.display());
    }
}

#[test]
fn the_world_is_touched_in_cores_and_in_the_simulators_server_only() {
    for (part, path, text) in sources() {
        let text = code(&text);
        for word in ["glommio::", "mio::", "std::net::TcpStream", "TcpListener"] {
            let is_allowed = part == "cores" || path == Path::new("sim/server.rs");
            let is_tested = text
                .find("#[cfg(test)]")
                .is_some_and(|tests| text.find(word).is_some_and(|at| at > tests));
            assert!(
                !text.contains(word) || is_allowed || is_tested || path.starts_with("sim"),
                "{}: {word}",
                path.display()
            );
        }
    }
}

#[test]
fn the_engines_know_no_clock_and_no_thread() {
    for (part, path, text) in sources() {
        if !["market", "venue", "feed", "fanout", "wire"].contains(&&*part) {
            continue;
        }
        let text = code(&text);
        for word in
            ["Instant::now", "SystemTime", "std::thread", "thread_rng", "rand::rng", "println!"]
        {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    for (_, path, text) in sources() {
        for word in ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "#[ignore]"] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}
