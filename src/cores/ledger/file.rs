//! The ledger's file and the process that may write it: opens it, sets a damaged one aside, and
//! says why it cannot be opened.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::cores::process::remedy;
use crate::ledger::{self, OpenError, Store};

/// The open file. No other process writes it meanwhile.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    pub(crate) store: Store,
    /// What was found damaged and set aside when the file was opened.
    pub(crate) set_aside: Option<SetAside>,
    /// Held until the file is closed.
    _lock: File,
}

/// A damaged file that was set aside.
#[derive(Debug)]
pub(crate) struct SetAside {
    pub(crate) to: PathBuf,
    pub(crate) why: String,
}

/// Why the file cannot be written.
#[derive(Debug)]
pub(crate) enum Closed {
    /// Another process writes it.
    Held {
        /// Its process id, if it has said so.
        by: String,
    },
    /// The disk, the folder or the file do not let us.
    Refused(String),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { by } => write!(
                f,
                "process {by} writes it; give each server a CONNECTOR_LEDGER_FILE of its own"
            ),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl LedgerFile {
    /// Opens or begins the file at `path`, with its folder.
    ///
    /// # Errors
    /// Another process writes it, or it cannot be used.
    pub(crate) fn open(path: &Path) -> Result<Self, Closed> {
        let lock = lock(path)?;
        let refused = |error: OpenError| match error {
            OpenError::Refused(error) => Closed::Refused(format!(
                "{error}; give a file in a folder that the server may write to, on a disk with room"
            )),
            error => Closed::Refused(error.to_string()),
        };
        match Store::open(path) {
            Ok(store) => Ok(Self { store, set_aside: None, _lock: lock }),
            Err(OpenError::Damaged(why)) => {
                let to = set_aside(path).map_err(|error| {
                    Closed::Refused(format!("{why}, and it cannot be set aside: {error}"))
                })?;
                let store = Store::open(path).map_err(refused)?;
                Ok(Self { store, set_aside: Some(SetAside { to, why }), _lock: lock })
            }
            Err(error) => Err(refused(error)),
        }
    }
}

/// Takes the lock beside the file, and writes our process id into it. A lock on the file itself
/// would get in the way of SQLite's own.
fn lock(path: &Path) -> Result<File, Closed> {
    let refused = |error: std::io::Error| Closed::Refused(remedy::in_words(&error));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(refused)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let options = File::options().read(true).write(true).create(true).truncate(false).open(name);
    let mut file = options.map_err(refused)?;
    match file.try_lock() {
        Ok(()) => {
            let written = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| write!(file, "{}", std::process::id()));
            // Only a person needs the number.
            let _ignored = written;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            let _ignored = Read::by_ref(&mut file).take(20).read_to_string(&mut by);
            let is_number = !by.is_empty() && by.bytes().all(|byte| byte.is_ascii_digit());
            Err(Closed::Held { by: if is_number { by } else { "(unknown)".to_owned() } })
        }
        Err(TryLockError::Error(error)) => Err(refused(error)),
    }
}

/// Renames the file and what SQLite has beside it.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let to = ledger::aside(path);
    for suffix in ["-wal", "-shm", ""] {
        let with = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        match fs::rename(with(path), with(&to)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(to)
}
