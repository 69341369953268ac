//! First stage: texts and where they came from. Knows flags, the environment and env files; does
//! not know what any of the texts means.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};

use super::error::{ConfigError, Source};
use super::proxy::ProxyVariables;
use super::table::{self, Kind, VARIABLES, Variable};

/// What the command line says.
pub(super) enum Flags {
    /// `--help` or `--version`: this text is all that is wanted.
    Print(String),
    /// Everything else.
    Given(GivenFlags),
}

/// The flags that were given.
pub(super) struct GivenFlags {
    pub(super) healthcheck: bool,
    pub(super) simulate: bool,
    pub(super) print_config: bool,
    pub(super) env_file: Option<PathBuf>,
    pub(super) values: Vec<(&'static Variable, String)>,
}

/// Reads the command line, the program's name first.
pub(super) fn parse_flags(args: impl Iterator<Item = OsString>) -> Result<Flags, ConfigError> {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.exit_code() == 0 => {
            return Ok(Flags::Print(error.render().to_string()));
        }
        Err(error) => {
            let mut text = error.render().to_string();
            if error.kind() == clap::error::ErrorKind::InvalidSubcommand {
                text += "\nThe server needs no command. Candles on a terminal, and `doctor`, are with connector-cli.";
            }
            return Err(ConfigError::Arguments(text));
        }
    };
    let text = |variable: &'static Variable| {
        let text = matches.get_one::<String>(&variable.name)?;
        Some((variable, text.clone()))
    };
    Ok(Flags::Given(GivenFlags {
        healthcheck: matches.subcommand_name() == Some(HEALTHCHECK),
        simulate: matches.get_flag("simulate"),
        print_config: matches.get_flag("print-config"),
        env_file: matches.get_one::<PathBuf>("env-file").cloned(),
        values: VARIABLES.iter().filter_map(text).collect(),
    }))
}

const HEALTHCHECK: &str = "healthcheck";

fn command() -> Command {
    let switch =
        |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).global(true);
    let env_file = Arg::new("env-file").long("env-file").value_name("FILE").global(true);
    let healthcheck = Command::new(HEALTHCHECK).about(
        "Ask the server that runs with the same variables for its /health: print one line, and end \
         with 0 if it is healthy, else with 1",
    );
    let env_file = env_file.value_parser(clap::value_parser!(PathBuf));
    Command::new("connector-wss")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .after_help(
            "Every variable is a flag, an environment variable and a line of the env file; \
             the flag wins, then the environment. An empty value means the default.",
        )
        .subcommand(healthcheck)
        .disable_help_subcommand(true)
        .arg(switch("simulate").help("Serve the simulated exchanges from inside this process"))
        .arg(env_file.help("Read variables from FILE [default: .env, if it is there]"))
        .arg(switch("print-config").help("Print every effective value with its source, and exit"))
        .next_help_heading("Variables")
        .args(VARIABLES.iter().map(argument))
}

fn argument(variable: &'static Variable) -> Arg {
    let placeholder = match variable.unit {
        "seconds" => "SECONDS",
        "bytes" => "BYTES",
        _ => "VALUE",
    };
    let default = if variable.default.is_empty() { "nothing" } else { variable.default };
    let second = SECOND_FLAGS.iter().find(|(name, _)| *name == variable.name);
    Arg::new(&*variable.name)
        .long(&*variable.flag)
        .visible_aliases(second.map(|&(_, flag)| flag))
        .value_name(placeholder)
        .global(true)
        .allow_hyphen_values(true)
        .help(format!("{} [{}] [default: {default}]", variable.effect, variable.name))
}

/// Texts by variable; what is added later wins.
#[derive(Default)]
pub(super) struct Values {
    given: HashMap<&'static str, (String, Source)>,
    unknown: Vec<(String, Source)>,
    /// `HTTPS_PROXY` and its kin.
    pub(super) proxies: ProxyVariables,
}

impl Values {
    /// Adds an env file: the one named, or `.env` if there is one.
    pub(super) fn add_file(&mut self, named: Option<&Path>) -> Result<(), ConfigError> {
        let path = named.unwrap_or(Path::new(".env"));
        let fail = |line, reason| ConfigError::EnvFile { path: path.into(), line, reason };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(());
            }
            Err(error) => return Err(fail(None, format!("cannot be read: {error}"))),
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        for pair in dotenvy::from_read_iter(text.as_bytes()) {
            let (name, value) = pair.map_err(|error| match error {
                dotenvy::Error::LineParse(line, _) => fail(
                    text.lines().position(|l| l.contains(line.trim())).map(|at| at + 1),
                    "is not NAME=value; a value with spaces needs quotes, and a quote its end"
                        .into(),
                ),
                other => fail(None, other.to_string()),
            })?;
            let source = Source::File { path: path.into(), line: line_of(text, &name) };
            self.add(&name, value, source);
        }
        Ok(())
    }

    /// Adds the process environment; only `CONNECTOR_…` and the variables of proxies are looked at.
    pub(super) fn add_environment(
        &mut self,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        for (name, value) in environment {
            let Some(name) = name.to_str() else { continue };
            if !name.starts_with("CONNECTOR_") {
                self.proxies.add(name, &value.to_string_lossy());
                continue;
            }
            let value = value.into_string().map_err(|value| ConfigError::Value {
                name: name.to_string(),
                value: value.to_string_lossy().into_owned(),
                source: Source::Environment,
                allowed: "text in UTF-8".into(),
            })?;
            self.add(name, value, Source::Environment);
        }
        Ok(())
    }

    /// Adds flags.
    pub(super) fn add_flags(&mut self, flags: Vec<(&'static Variable, String)>) {
        for (variable, value) in flags {
            let source = Source::Flag(format!("--{}", variable.flag));
            self.given.insert(&variable.name, (value, source));
        }
    }

    fn add(&mut self, name: &str, value: String, source: Source) {
        match table::find(name) {
            Some(variable) => {
                self.given.insert(&variable.name, (value, source));
            }
            None if name.starts_with("CONNECTOR_") => self.unknown.push((name.into(), source)),
            None => self.proxies.add(name, &value),
        }
    }

    /// The text in force for `variable`, without white space around it, and where it came from. An
    /// empty text stands for the default, except where it stands for no file.
    pub(super) fn effective(&self, variable: &'static Variable) -> (&str, &Source) {
        let may_be_empty = matches!(variable.kind, Kind::File(_));
        match self.given.get(&*variable.name) {
            Some((text, source)) if may_be_empty || !text.trim().is_empty() => {
                (text.trim(), source)
            }
            _ => (variable.default, &Source::Default),
        }
    }

    /// Returns whether `name` was given a value.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Every effective value as a line of an env file, its source as a comment.
    pub(super) fn render(&self) -> String {
        let mut out = String::new();
        for variable in VARIABLES.iter() {
            let (text, source) = self.effective(variable);
            let plain = !text.contains(|c: char| c.is_whitespace() || "\"'\\$#;".contains(c));
            let quote = if plain { "" } else { "'" };
            let _ = writeln!(out, "{}={quote}{text}{quote} # {source}", variable.name);
        }
        out
    }

    /// Sentences about names nobody reads and variables without effect.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<_> = self.unknown.iter().map(unknown_warning).collect();
        warnings.sort();
        let is_changed = |prefix: &str| {
            let mut named = VARIABLES.iter().filter(|variable| variable.name.starts_with(prefix));
            named.any(|variable| self.effective(variable).0 != variable.default)
        };
        let idle = WITHOUT_EFFECT.iter().filter(|(name, _)| is_changed(name.trim_end_matches('…')));
        warnings
            .extend(idle.map(|(name, why)| format!("{name} is accepted without effect: {why}")));
        warnings
    }
}

fn unknown_warning((name, source): &(String, Source)) -> String {
    let nearest = VARIABLES.iter().map(|v| (edits(name, &v.name), &v.name)).min();
    match nearest {
        Some((edits, nearest)) if edits <= EDITS_MAX => {
            format!(
                "{name} (from {source}) is no variable of this program; did you mean {nearest}?"
            )
        }
        _ => format!("{name} (from {source}) is no variable of this program and has no effect"),
    }
}

/// Line, from 1, of the last assignment to `name`; 1 if there is none.
fn line_of(text: &str, name: &str) -> usize {
    let assigns = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().enumerate().filter(|(_, line)| assigns(line)).last().map_or(1, |(at, _)| at + 1)
}

/// Insertions, deletions and replacements that turn `left` into `right` (Levenshtein).
fn edits(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, a) in left.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Second names of flags. Source: the flags of the Python connector.
const SECOND_FLAGS: [(&str, &str); 2] =
    [("CONNECTOR_WSS_HOST", "host"), ("CONNECTOR_WSS_PORT", "port")];

/// Variables that are read and change nothing, and why. Logged only for a value other than
/// the default, not for a copied example file.
const WITHOUT_EFFECT: [(&str, &str); 2] = [
    ("CONNECTOR_DEDUPLICATION_…", "a watermark per series keeps duplicates out for ever"),
    ("CONNECTOR_OPEN_QUEUE_MAXSIZE", "open candles are conflated where they would have to wait"),
];

/// A misspelling is at most this far from what was meant. Source: a word swapped in (`_S`, `_MS`)
/// or two typos.
const EDITS_MAX: usize = 4;
