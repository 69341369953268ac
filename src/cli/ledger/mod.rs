//! The ledger on the command line: exports of it, what is known of one window, and whether the file
//! is sound. Everything here only reads, in short steps, also while a server writes the file.
//!
//! | question | file |
//! |---|---|
//! | What can be asked? | `arguments.rs`, `times.rs` |
//! | Which series are meant? | `select.rs` |
//! | How does an export run? | `export.rs`, `bar.rs` |
//! | What does a window look like outside? | `line.rs` |
//! | How are CSV, JSON lines and Parquet written, and where to? | `sink.rs`, `parquet.rs`, `output.rs` |
//! | What is known of one window? | `explain.rs`, `state.rs` |
//! | Is the file sound, and what does it lack? | `check.rs` |

pub(super) mod arguments;
mod bar;
pub mod check;
pub mod explain;
pub mod export;
mod line;
mod output;
mod parquet;
mod select;
mod sink;
mod state;
mod times;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::ledger::{Connection, LedgerError, OpenError, is_damage, open_read_only};

pub use arguments::{CheckArguments, ExplainArguments, ExportArguments, LedgerCommand};

/// Why a command about the ledger has ended without its result.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// The ledger, the disk or a signal was in the way, or nothing matches.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(why) | Self::Failed(why)) = self;
        f.write_str(why)
    }
}

/// The ledger that is read.
struct Reader {
    path: PathBuf,
    connection: Connection,
}

impl Reader {
    /// Opens `file`, or the one of the configuration.
    fn open(file: Option<&Path>, config: &Config) -> Result<Self, Failure> {
        let Some(path) = file.or(config.ledger_file.as_deref()) else {
            let why = "there is no ledger: CONNECTOR_LEDGER_FILE is empty; name the file";
            return Err(Failure::Usage(why.to_owned()));
        };
        let name = path.display();
        if !path.exists() {
            return Err(Failure::Failed(format!(
                "there is no ledger {name}; name the file of your server \
                 (CONNECTOR_LEDGER_FILE)"
            )));
        }
        match open_read_only(path) {
            Ok(connection) => Ok(Self { path: path.to_owned(), connection }),
            Err(OpenError::Refused(error)) => Err(Failure::Failed(format!(
                "the ledger {name} cannot be opened: {error}; without a running server it is read \
                 from a folder that you may write to: be the server's user, or copy the file"
            ))),
            Err(error) => Err(Failure::Failed(format!("the ledger {name}: {error}"))),
        }
    }

    /// Says that reading has failed.
    fn failure(&self, error: &LedgerError) -> Failure {
        let name = self.path.display();
        let advice = match is_damage(error) {
            true => format!("; connector-cli ledger check {name} looks at the whole file"),
            false => String::new(),
        };
        Failure::Failed(format!("the ledger {name} cannot be read: {error}{advice}"))
    }
}
