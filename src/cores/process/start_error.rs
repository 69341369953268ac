//! Why the server cannot start, in words.

use std::fmt;
use std::path::PathBuf;

use crate::cores::machine::topology::TopologyError;
use crate::cores::process::credentials::CredentialsError;
use crate::cores::process::listen_error::ListenError;

/// Why the server cannot start. Nothing is left running.
#[derive(Debug)]
pub enum StartError {
    /// The configured placement is impossible.
    Topology(TopologyError),
    /// The server cannot listen.
    Listen(ListenError),
    /// `CONNECTOR_TLS_CA_FILE` cannot be used.
    TlsRoots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file of the clients' port cannot be used.
    Credentials(CredentialsError),
    /// An executor or a thread did not start.
    Executor {
        /// What the executor or thread should run.
        name: String,
        /// What went wrong, and what to do.
        why: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topology(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::TlsRoots { path, why } => {
                write!(f, "CONNECTOR_TLS_CA_FILE={}: {why}; give a PEM file", path.display())
            }
            Self::Credentials(error) => error.fmt(f),
            Self::Executor { name, why } => write!(f, "cannot start {name}: {why}"),
        }
    }
}

impl std::error::Error for StartError {}
