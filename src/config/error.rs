//! What can be wrong with a configuration, in words that say how to put it right.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line, as it is spelled there.
    Flag(String),
    /// The process environment.
    Environment,
    /// A line of an env file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    /// `flag --wss-port`, `environment`, `.env:12`, `default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Environment => f.write_str("environment"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why the program does not start. Each ends it with exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The command line; the text is complete, with a hint.
    Arguments(String),
    /// The env file cannot be read or parsed.
    EnvFile {
        /// The file, as it was named.
        path: PathBuf,
        /// Line from 1, if it is about one.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// One variable has a value that is not allowed.
    Value {
        /// The variable.
        name: String,
        /// The value, as it was given.
        value: String,
        /// Where it was given.
        source: Source,
        /// What would be right.
        allowed: String,
    },
    /// Two variables contradict each other.
    Relation(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(text) | Self::Relation(text) => f.write_str(text.trim_end()),
            Self::EnvFile { path, line: Some(line), reason } => {
                write!(f, "{}:{line}: {reason}", path.display())
            }
            Self::EnvFile { path, line: None, reason } => {
                write!(f, "{}: {reason}", path.display())
            }
            Self::Value { name, value, source, allowed } => {
                write!(f, "{name}={value:?} (from {source}) is not allowed: give {allowed}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
