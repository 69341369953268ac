//! A place for lines, with a thread that writes to it, so that a stuck pipe or disk stops no other
//! thread. Owns the queue between them, its bound, and the count of the lines dropped for lack of
//! room.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use crate::cores::log::line::Form;
use crate::limits::LOG_LINES_MAX;

/// A request to the writing thread.
enum Item {
    Line(Vec<u8>),
    /// [`Lines::flush`]: the lines before it are written, and the place is flushed.
    Flush,
    End,
}

/// The sending end of the queue. A line without room is counted and dropped.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    queue: Sender<Item>,
    dropped: Arc<AtomicUsize>,
}

impl Write for Lines {
    /// Takes a whole line. Never fails and never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    /// Asks the thread to flush, and does not wait for it.
    fn flush(&mut self) -> io::Result<()> {
        // If the queue is full, the thread flushes after the lines in it anyway.
        let _full = self.queue.try_send(Item::Flush);
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Keeps the thread. Dropping it writes the lines in the queue, for at most [`LAST_WORDS`]. Later
/// lines are lost.
#[derive(Debug)]
pub(crate) struct WriterGuard {
    queue: Sender<Item>,
    ended: Receiver<()>,
}

impl Drop for WriterGuard {
    fn drop(&mut self) {
        if self.queue.send_timeout(Item::End, LAST_WORDS).is_ok() {
            let _ended = self.ended.recv_timeout(LAST_WORDS);
        }
    }
}

/// How long a stuck place may delay the end of the process: once for room in the queue, and once
/// for writing.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Starts the thread that writes to `place`.
///
/// # Errors
/// No thread can be started.
pub(crate) fn start(
    name: &str,
    place: impl Write + Send + 'static,
    form: Form,
) -> io::Result<(Lines, WriterGuard)> {
    let (queue, items) = bounded(LOG_LINES_MAX);
    let (end, ended) = bounded(1);
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut writer = Writer { place, form, dropped: Arc::clone(&dropped), reported: 0 };
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        writer.run(&items);
        let _nobody_waits = end.send(());
    })?;
    Ok((Lines { queue: queue.clone(), dropped }, WriterGuard { queue, ended }))
}

/// The thread's own state.
struct Writer<W> {
    place: W,
    form: Form,
    dropped: Arc<AtomicUsize>,
    /// Number of dropped lines that were already reported to the place.
    reported: usize,
}

impl<W: Write> Writer<W> {
    fn run(&mut self, items: &Receiver<Item>) {
        for item in items {
            // An error has no other place to go: stderr is such a place itself, and the file
            // reports its own errors to stderr.
            let _failed = match item {
                Item::Line(line) => self.write(&line),
                Item::Flush => self.place.flush(),
                Item::End => {
                    let _failed = self.place.flush();
                    return;
                }
            };
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if let Some(missed) = self.missed() {
            self.place.write_all(missed.as_bytes())?;
        }
        self.place.write_all(line)
    }

    /// The line that stands for the lines dropped since the last one.
    fn missed(&mut self) -> Option<String> {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let missed = dropped - std::mem::replace(&mut self.reported, dropped);
        let text =
            || format!("{missed} lines were dropped: they came faster than they were written");
        (missed > 0).then(|| self.form.line(Level::WARN, &text()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::clock::Clock;
    use crate::config::LogFormat;

    /// A place that takes nothing until it is let go.
    struct Stuck {
        taken: Sender<String>,
        go: Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _taken = self.taken.send(String::from_utf8_lossy(line).into_owned());
            let _let_go = self.go.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_place_that_was_too_slow_says_once_how_many_lines_it_misses() {
        let ((taken, written), (let_go, go)) = (channel(), channel());
        let form = Form { format: LogFormat::Text, clock: Clock::new() };
        let (mut lines, guard) = start("stuck", Stuck { taken, go }, form).unwrap();
        lines.write_all(b"one\n").unwrap();
        assert_eq!(written.recv().unwrap(), "one\n");
        for _ in 0..LOG_LINES_MAX + 2 {
            lines.write_all(b"more\n").unwrap();
        }
        drop(let_go);
        let missed = written.recv().unwrap();
        assert!(missed.contains(" WARNING 2 lines were dropped"), "{missed}");
        assert!(written.iter().take(LOG_LINES_MAX).all(|line| line == "more\n"));
        drop(guard);
    }
}
