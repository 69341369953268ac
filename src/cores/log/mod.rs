//! The log: lines to stderr and to `connector.log`, which is rotated by size. Each of the two has a
//! thread that writes to it (`log/queue.rs`). Owns the only tracing subscriber; hot cores never
//! log, they send notices.

pub(crate) mod dedup;
mod line;
mod queue;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::MakeWriterExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock::Clock;
use crate::config::{Config, LogLevel};
use crate::limits::{LOG_FILE_BYTES_MAX, LOG_FILES_KEPT};

use line::Form;
use queue::{Lines, WriterGuard};

/// Target of lines about exchanges and their streams: `CONNECTOR_LOG_LEVEL`. Every other target of
/// this program follows `CONNECTOR_WSS_LOG_LEVEL`.
pub const ENGINE_TARGET: &str = "engine";

/// Keeps the log's writers alive. Dropping it writes the lines under way, for at most about one
/// second per place. Later lines are lost, so main drops it last.
#[derive(Debug)]
pub struct LogGuard {
    _writers: Vec<WriterGuard>,
    file: Option<Lines>,
}

impl LogGuard {
    /// Writes everything logged so far. Nothing may be logged afterwards.
    pub fn flush(self) {
        drop(self);
    }

    /// The log's file, to be opened again on request.
    pub fn file(&self) -> LogFile {
        LogFile(self.file.clone())
    }
}

/// `connector.log`, which another thread may ask to be opened again.
#[derive(Clone, Debug)]
pub struct LogFile(Option<Lines>);

impl LogFile {
    /// Begins a new file if the old one was renamed or removed. The next line would do so too.
    pub fn reopen(&mut self) {
        if let Some(lines) = &mut self.0 {
            let _asked = lines.flush();
        }
    }
}

/// Starts logging by `config`. If the folder cannot be written, lines go to stderr only, with a
/// warning there. Once per process: an installed subscriber stays.
///
/// # Errors
/// A writer's thread cannot be started.
pub fn start(config: &Config, clock: Clock) -> io::Result<LogGuard> {
    let filter = Targets::new()
        .with_target(ENGINE_TARGET, filter(config.log_level))
        .with_target(env!("CARGO_CRATE_NAME"), filter(config.wss_log_level))
        .with_default(LevelFilter::WARN.min(filter(config.wss_log_level)));
    let form = Form { format: config.log_format, clock };
    let (stderr, stderr_guard) = queue::start("log-stderr", io::stderr(), form)?;
    let file = RotatingFile::open(&config.log_dir, LOG_FILE_BYTES_MAX, LOG_FILES_KEPT, form);
    let layer = tracing_subscriber::fmt::layer().event_format(form);
    let registry = tracing_subscriber::registry().with(filter);
    match file {
        Ok(file) => {
            let (file, file_guard) = queue::start("log-file", file, form)?;
            let _ = registry.with(layer.with_writer(stderr.and(file.clone()))).try_init();
            Ok(LogGuard { _writers: vec![stderr_guard, file_guard], file: Some(file) })
        }
        Err(error) => {
            let _ = registry.with(layer.with_writer(stderr)).try_init();
            let folder = config.log_dir.display();
            tracing::warn!("{folder} cannot be written ({error}): logging to stderr only");
            Ok(LogGuard { _writers: vec![stderr_guard], file: None })
        }
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Critical => LevelFilter::ERROR,
    }
}

/// `connector.log`, which becomes `connector.log.1` when it is full. That file becomes `.2`, and so
/// on; the oldest is removed. Two servers may write to one folder, as they do while one takes over
/// from the other: each line has the process id of its writer, and each server continues in the
/// file that the other one has begun.
#[derive(Debug)]
struct RotatingFile {
    path: PathBuf,
    file: File,
    bytes_max: u64,
    kept: usize,
    form: Form,
    /// Number of lines since the last successful write that could not be written.
    lines_lost: u64,
}

impl RotatingFile {
    fn open(folder: &Path, bytes_max: u64, kept: usize, form: Form) -> io::Result<Self> {
        let path = folder.join("connector.log");
        let file = create(&path)?;
        Ok(Self { path, file, bytes_max, kept, form, lines_lost: 0 })
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }

    /// Returns whether the path names another file than the open one, or none: another process has
    /// rotated it.
    fn is_replaced(&self) -> io::Result<bool> {
        let open = self.file.metadata()?;
        let is_open = |named: fs::Metadata| (named.dev(), named.ino()) == (open.dev(), open.ino());
        Ok(!fs::metadata(&self.path).is_ok_and(is_open))
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = create(&self.path)?;
        Ok(())
    }

    /// After a failure it may be called again: a file that was moved already is not moved twice.
    fn rotate(&mut self) -> io::Result<()> {
        if self.path.exists() {
            self.shift()?;
        }
        self.reopen()
    }

    fn shift(&self) -> io::Result<()> {
        for number in (1..self.kept).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }

    /// Writes a whole line or nothing, so that the next line does not follow half of one.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_replaced()? {
            self.reopen()?;
        }
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let bytes = self.file.metadata()?.len();
        if bytes > 0 && bytes.saturating_add(length) > self.bytes_max {
            self.rotate()?;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(count @ 1..) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) => {
                    return self
                        .take_back(line.len() - rest.len(), io::ErrorKind::WriteZero.into());
                }
                Err(error) => return self.take_back(line.len() - rest.len(), error),
            }
        }
        Ok(())
    }

    /// The disk took this many bytes of a line and then failed.
    fn take_back(&self, written: usize, error: io::Error) -> io::Result<()> {
        if written > 0 {
            let written = u64::try_from(written).unwrap_or(u64::MAX);
            self.file.set_len(self.file.metadata()?.len().saturating_sub(written))?;
        }
        Err(error)
    }

    /// Stderr has every line anyway. It also gets a line when the file begins to miss lines, and
    /// when it no longer does.
    fn follow_up(&mut self, result: io::Result<()>) -> Option<String> {
        let path = self.path.display();
        match result {
            Ok(()) if self.lines_lost == 0 => None,
            Ok(()) => {
                let lost = std::mem::take(&mut self.lines_lost);
                Some(format!("{path} is written again; it misses {lost} lines"))
            }
            Err(error) => {
                self.lines_lost += 1;
                let is_first = self.lines_lost == 1;
                is_first.then(|| format!("{path} cannot be written: {error}; lines are on stderr"))
            }
        }
    }
}

impl Write for RotatingFile {
    /// Never fails, because the writer thread would then drop the line without a report.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let result = self.append(line);
        if let Some(text) = self.follow_up(result) {
            // With stderr closed there is no place left to report to.
            let _written = io::stderr().write_all(self.form.line(Level::WARN, &text).as_bytes());
        }
        Ok(line.len())
    }

    /// Nothing is buffered. If the file was renamed or removed, a new one is begun.
    fn flush(&mut self) -> io::Result<()> {
        if self.is_replaced()? { self.reopen() } else { Ok(()) }
    }
}

/// Opens the file to append lines. The file and its folder are created if they do not exist.
fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::LogFormat;

    fn form() -> Form {
        Form { format: LogFormat::Text, clock: Clock::new() }
    }

    #[test]
    fn the_file_is_rotated_by_size_and_bounded() {
        let folder = std::env::temp_dir().join(format!("connector-log-{}", std::process::id()));
        let mut file = RotatingFile::open(&folder, 10, 2, form()).unwrap();
        for line in ["one one\n", "two two\n", "three th\n", "four four\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("connector.log"), "four four\n");
        assert_eq!(read("connector.log.1"), "three th\n");
        assert_eq!(read("connector.log.2"), "two two\n");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn two_servers_in_one_folder_write_to_the_same_file_and_rotate_it_once() {
        let folder = std::env::temp_dir().join(format!("connector-two-{}", std::process::id()));
        let open = || RotatingFile::open(&folder, 20, 3, form()).unwrap();
        let mut servers = [open(), open()];
        for number in 0..8 {
            servers[number % 2].write_all(format!("line {number}...\n").as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let files = ["connector.log.3", "connector.log.2", "connector.log.1", "connector.log"];
        let lines = files.map(read);
        assert!(lines.iter().all(|text| text.len() == 20), "{lines:?}");
        let expected: String = (0..8).map(|number| format!("line {number}...\n")).collect();
        assert_eq!(lines.concat(), expected);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_was_renamed_or_removed_with_its_folder_is_begun_anew() {
        let folder = std::env::temp_dir().join(format!("connector-anew-{}", std::process::id()));
        let mut file = RotatingFile::open(&folder, 1000, 2, form()).unwrap();
        file.write_all(b"one\n").unwrap();
        let rotated = folder.join("connector.log-20260131");
        fs::rename(&file.path, &rotated).unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "two\n");
        fs::remove_dir_all(&folder).unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "", "before there is a line");
        file.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "three\n");
        assert_eq!(file.lines_lost, 0);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_full_disk_is_reported_once_and_so_is_its_end() {
        let folder = std::env::temp_dir().join(format!("connector-full-{}", std::process::id()));
        let mut file = RotatingFile::open(&folder, 1000, 2, form()).unwrap();
        fs::remove_file(&file.path).unwrap();
        symlink("/dev/full", &file.path).unwrap();
        let mut say = |line: &[u8]| {
            let result = file.append(line);
            (file.follow_up(result), file.lines_lost)
        };
        let (text, lost) = say(b"one\n");
        assert!(text.is_some_and(|text| text.contains("No space left")) && lost == 1);
        assert_eq!(say(b"two\n"), (None, 2));
        fs::remove_file(&file.path).unwrap();
        let result = file.append(b"three\n");
        assert!(file.follow_up(result).is_some_and(|text| text.contains("misses 2 lines")));
        let result = file.append(b"four\n");
        assert_eq!(file.follow_up(result), None);
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "three\nfour\n");
        file.append(b"half of a li").unwrap();
        let full = io::ErrorKind::StorageFull;
        assert!(file.take_back(12, full.into()).is_err_and(|error| error.kind() == full));
        file.append(b"five\n").unwrap();
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "three\nfour\nfive\n");
        fs::remove_dir_all(&folder).unwrap();
    }
}
