//! The thread `ledger`: takes closed windows out of the fan-out core's ring and writes them to the
//! file, at low priority. Owns the file, its retries and its end; what a row is, `crate::ledger`
//! knows. A disk that is slow, full or broken delays nobody: the ring fills, and the fan-out core
//! counts what finds no room.

mod file;
mod port;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, mem};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::clock::{Clock, MonoNs, Now};
use crate::config::Config;
use crate::cores::machine::doorbell::Doorbell;
use crate::ledger::{self, PRUNED_AT_ONCE, Retention};
use crate::limits::{
    LEDGER_BATCH_MAX, LEDGER_END, LEDGER_READS_MAX, LEDGER_RETRY, LEDGER_RETRY_MAX,
    LEDGER_RING_SLOTS, LEDGER_TURN,
};
use crate::messages::{LedgerAnswer, LedgerEvent, LedgerRead, Tails};
use crate::metrics::LedgerMetrics;

use file::{Closed, LedgerFile};
pub use port::LedgerPort;

/// The running ledger.
#[derive(Debug)]
pub struct LedgerThread {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What the server's start gets of the ledger.
#[derive(Debug)]
pub struct Ledger {
    /// For the end of the server.
    pub thread: LedgerThread,
    /// For the fan-out core.
    pub port: LedgerPort,
    /// For the fan-out core.
    pub tails: Tails,
}

impl Ledger {
    /// Opens the file and starts the thread; `None` where no file is configured. A file that cannot
    /// be opened is tried again later, and the server runs without it meanwhile.
    ///
    /// # Errors
    /// The thread does not start.
    pub fn start(
        config: &Config,
        clock: Clock,
        metrics: &Arc<LedgerMetrics>,
        bell: Arc<Doorbell>,
        takes_over: bool,
    ) -> io::Result<Option<Self>> {
        let Some(path) = config.ledger_file.clone() else { return Ok(None) };
        metrics.enabled.set(1);
        let (mut port, ring) = LedgerPort::new(Arc::clone(metrics), LEDGER_RING_SLOTS);
        let days = u64::try_from(config.ledger_days).unwrap_or(u64::MAX);
        let (questions, asked) = bounded(LEDGER_READS_MAX);
        let (answers, answered) = bounded(LEDGER_READS_MAX);
        let mut writer = Writer {
            path,
            ring,
            questions: asked,
            answers,
            bell,
            clock,
            metrics: Arc::clone(metrics),
            retention: Retention {
                age: Duration::from_secs(days.saturating_mul(86_400)),
                bytes_max: u64::try_from(config.ledger_bytes_max).unwrap_or(u64::MAX),
            },
            file: None,
            pending: Vec::new(),
            retry: LEDGER_RETRY,
            try_at: MonoNs(0),
            is_reported: false,
            is_pruned: false,
            holder_ends: clock.mono().after(if takes_over { TAKEOVER } else { Duration::ZERO }),
        };
        let now = clock.now();
        writer.open(now);
        let tails = writer.tails(config.ledger_catch_up, now);
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            if let Err(error) = rustix::process::nice(19) {
                tracing::warn!("the ledger's thread keeps its priority: {error}");
            }
            writer.run(&until);
        })?;
        port.join(questions, answered, thread.thread().clone());
        Ok(Some(Self { thread: LedgerThread { stop, thread }, port, tails }))
    }
}

impl LedgerThread {
    /// Writes what is in the ring, for at most [`LEDGER_END`], and closes the file.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the ledger's thread has panicked");
        }
    }
}

/// The thread's own state.
struct Writer {
    path: PathBuf,
    ring: rtrb::Consumer<LedgerEvent>,
    questions: Receiver<LedgerRead>,
    answers: Sender<LedgerAnswer>,
    /// The fan-out core's.
    bell: Arc<Doorbell>,
    clock: Clock,
    metrics: Arc<LedgerMetrics>,
    retention: Retention,
    /// `None` while it cannot be opened.
    file: Option<LedgerFile>,
    /// Out of the ring and not written yet, at most [`LEDGER_BATCH_MAX`].
    pending: Vec<LedgerEvent>,
    /// The pause after the next failure.
    retry: Duration,
    /// No attempt is made before this.
    try_at: MonoNs,
    /// The present trouble is in the log.
    is_reported: bool,
    /// Until then another process may hold the file without a word: it is about to end.
    holder_ends: MonoNs,
    /// The last pruning has left nothing to be removed.
    is_pruned: bool,
}

impl Writer {
    fn run(&mut self, stop: &AtomicBool) {
        let mut pruned_at = MonoNs(0);
        while !stop.load(Ordering::Acquire) {
            let now = self.clock.now();
            let is_busy = self.turn(now) | self.answer();
            let prune_again = if self.is_pruned { PRUNE_EVERY } else { LEDGER_TURN };
            if now.mono >= pruned_at.after(prune_again) {
                pruned_at = now.mono;
                self.prune(now);
            }
            if !is_busy {
                thread::park_timeout(LEDGER_TURN);
            }
        }
        self.finish();
    }

    /// Writes what has come. Returns whether more may wait.
    fn turn(&mut self, now: Now) -> bool {
        self.fill();
        let depth = self.ring.slots() + self.pending.len();
        self.metrics.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        if now.mono < self.try_at {
            return false;
        }
        if self.file.is_none() {
            self.open(now);
        }
        let was_full = self.pending.len() >= LEDGER_BATCH_MAX;
        self.write(now) && was_full
    }

    /// Answers some questions. Everything that came before them is written, unless the disk does
    /// not take it: then the answer lacks it. Returns whether more may wait.
    fn answer(&mut self) -> bool {
        for _ in 0..ANSWERS_AT_ONCE {
            let Ok(LedgerRead { number, instrument, span }) = self.questions.try_recv() else {
                return false;
            };
            let count = i64::try_from(span.count(instrument.interval)).unwrap_or(i64::MAX);
            let page = self
                .file
                .as_ref()
                .map(|file| ledger::page(file.store.connection(), &instrument, span, count));
            let windows = match page {
                Some(Ok(page)) => page.windows.iter().filter_map(|stored| stored.window).collect(),
                // Whether the file is damaged, the next write finds out.
                Some(Err(_)) => {
                    self.metrics.errors.increment();
                    Vec::new()
                }
                None => Vec::new(),
            };
            // Nobody waits for more answers than there is room for.
            let _sent = self.answers.try_send(LedgerAnswer { number, windows });
            self.bell.ring();
        }
        true
    }

    fn fill(&mut self) {
        let room = LEDGER_BATCH_MAX - self.pending.len();
        let count = self.ring.slots().min(room);
        if let Ok(batch) = self.ring.read_chunk(count) {
            self.pending.extend(batch);
        }
    }

    /// Writes the pending windows. Returns whether all of them are stored.
    fn write(&mut self, now: Now) -> bool {
        let Some(file) = &mut self.file else { return false };
        if self.pending.is_empty() && !self.is_reported {
            return true;
        }
        match file.store.append(&self.pending, now) {
            Ok(appended) => {
                self.pending.clear();
                self.metrics.rows.add(appended.rows);
                if let Some(close) = appended.newest_close {
                    let newest = self.metrics.newest_close_ms.value().max(close.0);
                    self.metrics.newest_close_ms.set(newest);
                }
                self.metrics.queue_depth.set(i64::try_from(self.ring.slots()).unwrap_or(0));
                self.succeed();
                true
            }
            Err(error) => {
                if ledger::is_damage(&error) {
                    // Opening it again sets it aside.
                    self.file = None;
                }
                self.fail(&format!("cannot be written: {error} (look at the disk's room)"), now);
                false
            }
        }
    }

    fn open(&mut self, now: Now) {
        match LedgerFile::open(&self.path) {
            Ok(mut file) => {
                if let Some(damaged) = file.set_aside.take() {
                    self.metrics.errors.increment();
                    tracing::error!(
                        "the ledger {} was damaged ({}): it is now {}, and a new one is begun",
                        self.path.display(),
                        damaged.why,
                        damaged.to.display()
                    );
                }
                self.file = Some(file);
                self.metrics.storing.set(1);
            }
            Err(Closed::Held { .. }) if now.mono < self.holder_ends => {
                self.try_at = now.mono.after(LEDGER_TURN);
            }
            Err(closed) => self.fail(&format!("cannot be opened: {closed}"), now),
        }
    }

    fn succeed(&mut self) {
        self.retry = LEDGER_RETRY;
        self.metrics.storing.set(1);
        if mem::take(&mut self.is_reported) {
            let not_stored = self.metrics.not_stored.value();
            tracing::warn!(
                "the ledger {} is written again; closed windows not stored since the start: \
                 {not_stored}",
                self.path.display()
            );
        }
    }

    fn fail(&mut self, why: &str, now: Now) {
        self.metrics.errors.increment();
        self.metrics.storing.set(0);
        self.try_at = now.mono.after(self.retry);
        self.retry = (self.retry * 2).min(LEDGER_RETRY_MAX);
        if !mem::replace(&mut self.is_reported, true) {
            tracing::warn!(
                "the ledger {} {why}. Clients are served as before; {LEDGER_RING_SLOTS} closed \
                 windows can wait, and it is tried again at least every {LEDGER_RETRY_MAX:?}",
                self.path.display()
            );
        }
    }

    fn prune(&mut self, now: Now) {
        let Some(file) = &mut self.file else { return };
        match file.store.prune(self.retention, now) {
            Ok(pruned) => {
                self.is_pruned = pruned < PRUNED_AT_ONCE;
                self.metrics.pruned.add(u64::try_from(pruned).unwrap_or(u64::MAX));
            }
            Err(error) => {
                self.is_pruned = true;
                self.fail(&format!("cannot be pruned: {error}"), now);
            }
        }
        if let Some(file) = &self.file
            && let Ok(bytes) = file.store.bytes()
        {
            self.metrics.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// The series whose newest stored window is at most `catch_up` windows old. Another process may
    /// hold the file: it is read then as far as that one has written it.
    fn tails(&mut self, catch_up: usize, now: Now) -> Tails {
        let missing_max = i64::try_from(catch_up).unwrap_or(0);
        if missing_max == 0 {
            return Tails::new();
        }
        let found = match &self.file {
            Some(file) => ledger::tails(file.store.connection(), missing_max, now.unix_ms()),
            None => match ledger::open_read_only(&self.path) {
                Ok(connection) => ledger::tails(&connection, missing_max, now.unix_ms()),
                Err(_) => return Tails::new(),
            },
        };
        found.unwrap_or_else(|error| {
            if ledger::is_damage(&error) {
                self.file = None;
            }
            self.fail(&format!("cannot be read: {error}"), now);
            Tails::new()
        })
    }

    fn finish(&mut self) {
        let end = self.clock.mono().after(LEDGER_END);
        loop {
            let now = self.clock.now();
            self.fill();
            if self.pending.is_empty() && self.ring.is_empty() {
                return;
            }
            if self.file.is_none() {
                self.open(now);
            }
            let is_written = self.write(now);
            if now.mono >= end {
                break;
            }
            if !is_written {
                thread::park_timeout(LEDGER_TURN);
            }
        }
        let unwritten = self.pending.len() + self.ring.slots();
        tracing::warn!(
            "the ledger {} could not be written before the end: {unwritten} closed windows are not \
             stored",
            self.path.display()
        );
    }
}

/// Questions that are answered between two looks at the ring. Source: each takes about a ms.
const ANSWERS_AT_ONCE: usize = 16;

/// How long the server from which we take over may still write the file. Source: the longest drain
/// of the examples, with room; the ring holds that long.
const TAKEOVER: Duration = Duration::from_secs(60);

/// How often the age of the oldest row and the size of the file are looked at. Source: a day has
/// many of it, and each costs next to nothing.
const PRUNE_EVERY: Duration = Duration::from_secs(5);
