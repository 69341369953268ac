//! Where an export is written to. A file is complete, or stays as it was.

use std::fs::{self, File, Permissions};
use std::io::{self, Stdout, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Where the bytes go.
pub(super) enum Output {
    /// To stdout.
    Stdout(Stdout),
    /// Into a device or a pipe that has a name: it is written as it is.
    Device(File),
    /// Into a file beside the one that is asked for, whose place it takes at the end. It goes if
    /// the export fails.
    File {
        /// The new file.
        new: NamedTempFile,
        /// Its name at the end.
        path: PathBuf,
    },
}

impl Output {
    /// Begins `path`, or stdout.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) fn begin(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout(io::stdout())) };
        // What a link leads to is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let old = fs::metadata(&path).ok();
        if old.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            return Ok(Self::Device(File::options().write(true).open(path)?));
        }
        let mode = old.map_or(NEW_FILE_MODE, |old| old.permissions().mode());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let new = tempfile::Builder::new()
            .prefix(".connector-export-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        Ok(Self::File { new, path })
    }

    /// Everything is written: the file gets its name.
    ///
    /// # Errors
    /// The disk does not take it.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        match self {
            Self::File { new, path } => {
                new.as_file().sync_all()?;
                new.persist(path).map_err(|error| error.error)?;
                Ok(())
            }
            Self::Stdout(_) | Self::Device(_) => Ok(()),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::Device(file) => file.write(bytes),
            Self::File { new, .. } => new.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Device(file) => file.flush(),
            Self::File { new, .. } => new.flush(),
        }
    }
}

/// What the user's umask leaves of it is the mode of a new file.
const NEW_FILE_MODE: u32 = 0o666;
