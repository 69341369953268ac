//! House rules as a test: imports go one way, and what is dangerous or slow stays in its place.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
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
    ("ledger", &["limits", "clock", "rng", "text", "market", "messages", "metrics", "wire"]),
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
            "feed", "fanout", "health", "ledger", "config", "sim",
        ],
    ),
    ("cli", &["limits", "clock", "rng", "text", "market", "messages", "ledger", "config", "cores"]),
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

/// The module path of a source file, without the crate: `feed::repair::verify`.
fn module_of(path: &Path) -> Vec<String> {
    let text = path.with_extension("").to_str().unwrap().replace('/', "::");
    let text = text.strip_suffix("::mod").map_or(text.clone(), str::to_owned);
    text.split("::").map(str::to_owned).collect()
}

/// The paths that `use` declarations name, braces written out.
fn used_paths(code: &str) -> Vec<String> {
    fn expand(text: &str, found: &mut Vec<String>) {
        let Some((before, inside)) = text.split_once('{') else {
            return found.push(text.split_whitespace().next().unwrap_or_default().to_owned());
        };
        // The word may stand in a text.
        let Some((inside, _)) = inside.rsplit_once('}') else { return };
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    let one = inside[start..at].trim();
                    if !one.is_empty() {
                        expand(&format!("{}{one}", before.trim()), found);
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    let code = code.replace('\n', " ");
    for declaration in code.split(" use ").skip(1) {
        expand(declaration.split(';').next().unwrap(), &mut found);
    }
    found
}

/// Files that import each other, over any number of steps. A folder's `mod.rs` names what is in it
/// and is left out.
#[test]
fn no_two_files_of_a_folder_import_each_other_in_a_circle() {
    let sources = sources();
    let modules: BTreeSet<Vec<String>> =
        sources.iter().map(|(_, path, _)| module_of(path)).collect();
    let mut imports: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (_, path, text) in &sources {
        let module = module_of(path);
        if path.ends_with("mod.rs") || path.ends_with("tests.rs") {
            continue;
        }
        let own = imports.entry(module.clone()).or_default();
        let code = format!(" {}", code(text));
        for used in used_paths(code.split("#[cfg(test)]\nmod ").next().unwrap()) {
            let mut steps: Vec<String> = used.split("::").map(str::to_owned).collect();
            let mut from = module.clone();
            match steps[0].as_str() {
                "crate" => from.clear(),
                "super" => drop(from.pop()),
                _ => continue,
            }
            steps.remove(0);
            while steps.first().is_some_and(|step| step == "super") {
                from.pop();
                steps.remove(0);
            }
            while steps.first().is_some_and(|step| {
                let next: Vec<String> = from.iter().chain([step]).cloned().collect();
                modules.contains(&next)
            }) {
                from.push(steps.remove(0));
            }
            own.insert(from);
        }
    }
    // What imports nothing that is left is taken out until only circles remain.
    loop {
        let left: BTreeSet<Vec<String>> = imports.keys().cloned().collect();
        imports.retain(|module, used| used.iter().any(|one| one != module && left.contains(one)));
        if imports.len() == left.len() {
            break;
        }
    }
    let names: Vec<String> = imports.keys().map(|module| module.join("::")).collect();
    assert!(names.is_empty(), "in or above a circle: {names:#?}");
}

#[test]
fn lines_and_functions_fit_on_a_screen() {
    let mut breaches = Vec::new();
    for (_, path, text) in sources() {
        let is_table = path.ends_with("tests.rs") || path.ends_with("table.rs");
        if text.lines().count() > FILE_LINES_MAX {
            breaches.push(format!("{}: {FILE_LINES_MAX} lines", path.display()));
        }
        let mut begun: Option<(usize, usize, &str)> = None;
        for (number, line) in text.lines().enumerate() {
            // A text for people is not broken up, nor is a row of a table.
            let is_text = line.contains('"') || line.ends_with('\\') || line.contains("//! |");
            if line.chars().count() > COLUMNS_MAX && !is_text {
                breaches.push(format!("{}:{}: {COLUMNS_MAX} columns", path.display(), number + 1));
            }
            let indent = line.len() - line.trim_start().len();
            let is_function = line.trim_start().split(' ').take(4).any(|word| word == "fn");
            if begun.is_none() && is_function && !line.ends_with(';') && !line.ends_with('}') {
                begun = Some((number, indent, line.trim()));
            }
            if let Some((first, _, name)) =
                begun.filter(|(_, at, _)| indent == *at && line.trim() == "}")
            {
                if number - first + 1 > FUNCTION_LINES_MAX && !is_table {
                    breaches.push(format!("{}:{}: {name}", path.display(), first + 1));
                }
                begun = None;
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

/// Source: `.rustfmt.toml`.
const COLUMNS_MAX: usize = 100;

/// A file holds one thing.
const FILE_LINES_MAX: usize = 700;

/// A function fits on a screen; a table of cases or of variables need not.
const FUNCTION_LINES_MAX: usize = 70;

/// Words of a private language in comments, and what stands for them.
const BANNED: &[(&str, &str)] = &[
    ("told", "published, sent, reported, logged"),
    ("hole", "gap"),
    ("holes", "gaps"),
    ("so many", "at most `N`"),
    ("so long", "for `timeout`"),
    ("so often", "every `interval`"),
    ("whoever", "a client that"),
    ("to be had", "available"),
    ("who has", "a client that has"),
    ("of which", "two sentences"),
];

#[test]
fn comments_are_in_plain_english() {
    let mut breaches = Vec::new();
    for (_, path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
            let words: String = comment
                .chars()
                .map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' })
                .collect();
            let words = format!(" {} ", words.split_whitespace().collect::<Vec<_>>().join(" "));
            for (banned, better) in BANNED {
                if words.contains(&format!(" {banned} ")) {
                    let place = format!("{}:{}", path.display(), number + 1);
                    breaches.push(format!("{place}: {banned}; better: {better}"));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{}: {breaches:#?}", breaches.len());
}

/// The compiler does not look at public enums.
#[test]
fn no_variant_is_dead() {
    let all: String = sources().into_iter().map(|(_, _, text)| code(&text)).collect();
    let mut dead = Vec::new();
    for (_, path, text) in sources() {
        let code = code(&text);
        for body in code.split("enum ").skip(1) {
            let Some((name, rest)) = body.split_once('{') else { continue };
            let body = rest.split("\n}").next().unwrap();
            for line in body.lines() {
                let is_variant = line.starts_with("    ")
                    && line[4..].starts_with(|c: char| c.is_ascii_uppercase());
                let variant: String =
                    line.trim().chars().take_while(|c| c.is_alphanumeric()).collect();
                let is_catch_all = line.contains("IgnoredAny");
                if is_variant && !is_catch_all && !all.contains(&format!("::{variant}")) {
                    dead.push(format!("{}: {}::{variant}", path.display(), name.trim()));
                }
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}
