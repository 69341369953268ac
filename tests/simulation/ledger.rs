//! The ledger as one more party: slow, full for a while, and put back to any earlier commit when
//! the server dies. What it holds is judged against everything that was published.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use connector_wss::clock::{MonoNs, Now, UnixMs};
use connector_wss::cores::ledger::LedgerPort;
use connector_wss::ledger::{self, Store};
use connector_wss::market::{Candle, ClosedWindow, Instrument, Span};
use connector_wss::messages::{LedgerAnswer, LedgerEvent, LedgerRead, Tails};
use connector_wss::metrics::LedgerMetrics;

use super::dice::Dice;

/// A ring as small as this is full where the disk is.
const RING_SLOTS: usize = 256;

/// Windows that may be missing after a start.
pub(crate) const CATCH_UP: usize = 60;

pub(crate) struct Ledger {
    dice: Dice,
    store: Store,
    /// What each transaction has written, for a file that is put back.
    commits: Vec<Commit>,
    port: LedgerPort,
    ring: rtrb::Consumer<LedgerEvent>,
    metrics: Arc<LedgerMetrics>,
    /// When the thread looks at its ring again.
    turns_at: MonoNs,
    /// Questions, each with the time of its answer.
    reads: VecDeque<(MonoNs, LedgerRead)>,
    /// Nothing can be written before.
    full_until: MonoNs,
    full_again_at: MonoNs,
    /// Every candle that was ever published of a window; `None`: it was called empty.
    published: BTreeMap<(String, i64), Vec<Option<Candle>>>,
    /// What this life of the server has published and not lost.
    owed: BTreeMap<(String, i64), Option<Candle>>,
    instruments: HashSet<Instrument>,
    pub(crate) put_back: u64,
    pub(crate) resumed: u64,
    pub(crate) not_stored: u64,
    pub(crate) reads_answered: u64,
}

/// What is written in one transaction.
enum Commit {
    Batch(Vec<LedgerEvent>, Now),
    /// A process has begun, and marked what the one before it may not have verified.
    Begin,
}

fn open() -> Store {
    Store::open(Path::new(":memory:")).unwrap()
}

fn key(instrument: &Instrument, at: UnixMs) -> (String, i64) {
    (format!("{instrument} {}", instrument.interval.name()), at.0)
}

fn candle(window: &ClosedWindow) -> Option<Candle> {
    match window {
        ClosedWindow::Candle(update) => Some(update.candle),
        ClosedWindow::Empty { .. } => None,
    }
}

impl Ledger {
    pub(crate) fn new(seed: u64, now: Now) -> Self {
        let mut dice = Dice::new(seed ^ 0x001e_d6e4);
        let metrics = Arc::new(LedgerMetrics::default());
        let (port, ring) = LedgerPort::new(Arc::clone(&metrics), RING_SLOTS);
        let full_again_at = now.mono.after(dice.ms(60_000, 900_000));
        Self {
            dice,
            store: open(),
            commits: Vec::new(),
            port,
            ring,
            metrics,
            turns_at: now.mono,
            reads: VecDeque::new(),
            full_until: MonoNs(0),
            full_again_at,
            published: BTreeMap::new(),
            owed: BTreeMap::new(),
            instruments: HashSet::new(),
            put_back: 0,
            resumed: 0,
            not_stored: 0,
            reads_answered: 0,
        }
    }

    /// From the fan-out.
    pub(crate) fn push(&mut self, event: LedgerEvent) {
        let LedgerEvent::Closed { instrument, window, is_backfilled } = &event else {
            return self.port.push(event);
        };
        let key = key(instrument, window.open_time());
        self.instruments.insert(instrument.clone());
        let candle = candle(window);
        let before = self.metrics.not_stored.value();
        let is_news = match (is_backfilled, self.owed.get(&key)) {
            // What was published is newer unless REST has more, and an empty window contradicts no
            // candle.
            (true, Some(Some(known))) => candle
                .is_some_and(|candle| candle.volume > known.volume || candle.trades > known.trades),
            // A row of an earlier life may have more.
            (true, None) => !self.published.contains_key(&key),
            (_, Some(Some(_))) => candle.is_some(),
            _ => true,
        };
        self.published.entry(key.clone()).or_default().push(candle);
        self.port.push(event);
        if self.metrics.not_stored.value() > before {
            self.not_stored += 1;
            self.owed.remove(&key);
        } else if is_news {
            self.owed.insert(key, candle);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<MonoNs> {
        let write = (!self.ring.is_empty()).then_some(self.turns_at.max(self.full_until));
        let read = self.reads.front().map(|(at, _)| *at);
        write.into_iter().chain(read).min()
    }

    /// A question of the fan-out. Now and then the answer comes when nobody waits for it any more.
    pub(crate) fn ask(&mut self, read: LedgerRead) {
        let pause = if self.dice.one_in(8) { (900, 5_000) } else { (0, 40) };
        let earliest = self.reads.back().map_or(self.turns_at, |(at, _)| *at);
        let at = earliest.max(self.turns_at).after(self.dice.ms(pause.0, pause.1));
        self.reads.push_back((at, read));
    }

    /// A turn of the thread: writes first, so that an answer has everything that came before it.
    pub(crate) fn advance(&mut self, now: Now) -> Option<LedgerAnswer> {
        self.write(now);
        self.reads.front().filter(|(at, _)| *at <= now.mono)?;
        let (_, read) = self.reads.pop_front()?;
        self.reads_answered += 1;
        let count = i64::try_from(read.span.count(read.instrument.interval)).unwrap();
        let connection = self.store.connection();
        let page = ledger::page(connection, &read.instrument, read.span, count).unwrap();
        let windows = page.windows.iter().filter_map(|stored| stored.window).collect();
        Some(LedgerAnswer { number: read.number, windows })
    }

    fn write(&mut self, now: Now) {
        if self.full_again_at <= now.mono {
            self.full_until = now.mono.after(self.dice.ms(1_000, 400_000));
            self.full_again_at = self.full_until.after(self.dice.ms(60_000, 900_000));
        }
        if self.turns_at > now.mono || self.full_until > now.mono || self.ring.is_empty() {
            return;
        }
        let batch: Vec<LedgerEvent> = std::iter::from_fn(|| self.ring.pop().ok()).collect();
        for event in &batch {
            if let LedgerEvent::Lost { instrument, span } = event {
                self.forget(instrument, *span);
            }
        }
        self.store.append(&batch, now).unwrap();
        self.commits.push(Commit::Batch(batch, now));
        self.turns_at = now.mono.after(self.dice.ms(50, 3_000));
    }

    /// Some windows of the span were lost, and all of it counts as lost.
    fn forget(&mut self, instrument: &Instrument, span: Span) {
        let (first, last) = (key(instrument, span.first), key(instrument, span.last));
        let lost: Vec<_> = self.owed.range(first..=last).map(|(key, _)| key.clone()).collect();
        for key in lost {
            self.owed.remove(&key);
        }
    }

    /// `kill -9`: what is in the ring is lost. The file may be put back to any earlier commit.
    pub(crate) fn die(&mut self) {
        let kept = match self.dice.below(3) {
            0 => self.dice.below(self.commits.len() + 1),
            1 => self.commits.len().saturating_sub(self.dice.below(9)),
            _ => self.commits.len(),
        };
        if kept < self.commits.len() {
            self.put_back += 1;
            self.commits.truncate(kept);
            self.store = open();
            for commit in &self.commits {
                match commit {
                    Commit::Batch(batch, now) => {
                        self.store.append(batch, *now).unwrap();
                    }
                    Commit::Begin => self.store.distrust_unverified().unwrap(),
                }
            }
        }
        self.store.distrust_unverified().unwrap();
        self.commits.push(Commit::Begin);
        self.metrics = Arc::default();
        (self.port, self.ring) = LedgerPort::new(Arc::clone(&self.metrics), RING_SLOTS);
        self.owed.clear();
        self.reads.clear();
    }

    /// Where the next life goes on.
    pub(crate) fn tails(&mut self, now: Now) -> Tails {
        let missing_max = i64::try_from(CATCH_UP).unwrap();
        let tails = ledger::tails(self.store.connection(), missing_max, now.unix_ms()).unwrap();
        self.resumed += tails.len() as u64;
        tails
    }

    /// What is stored was published, and what this life has published is stored in its newest
    /// revision.
    pub(crate) fn judge(&mut self, now: Now) -> Result<u64, String> {
        (self.full_until, self.full_again_at) = (MonoNs(0), MonoNs(u64::MAX));
        self.turns_at = now.mono;
        self.write(now);
        let mut stored = BTreeMap::new();
        for instrument in &self.instruments {
            let span = Span { first: UnixMs(0), last: UnixMs(4_000_000_000_000) };
            let page = ledger::page(self.store.connection(), instrument, span, 1_000_000).unwrap();
            for one in page.windows {
                let found = candle(&one.window.unwrap());
                stored.insert(key(instrument, one.open_time), found);
            }
        }
        for (key, found) in &stored {
            let published = self.published.get(key).map(Vec::as_slice).unwrap_or_default();
            if !published.contains(found) {
                return Err(format!("the ledger has {found:?} of {key:?}, never published"));
            }
        }
        for (key, newest) in &self.owed {
            if stored.get(key) != Some(newest) {
                let at = UnixMs(key.1);
                let it = self.instruments.iter().find(|one| self::key(one, at) == *key).unwrap();
                let rows = ledger::explain(self.store.connection(), it, at).unwrap();
                return Err(format!("the ledger has {rows:?} of {key:?}, and not {newest:?}"));
            }
        }
        Ok(stored.len() as u64)
    }
}
