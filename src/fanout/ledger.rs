//! What the ledger keeps, and what it gives back: at the start the series that go on where an
//! earlier process stopped, and later the past that clients ask for. Knows no file and no thread.

use std::collections::VecDeque;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::fanout::{Fanout, Output};
use crate::limits::{LEDGER_PATIENCE, LEDGER_READS_MAX};
use crate::market::{CandleUpdate, ClosedWindow, Instrument, InstrumentId, Span};
use crate::messages::{
    BackfillFrom, Command, LedgerAnswer, LedgerEvent, LedgerRead, MarketEvent, Wish,
};

/// The questions to the ledger that are not answered yet, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct LedgerReads {
    waiting: VecDeque<Waiting>,
    /// Questions so far.
    asked: u64,
}

/// A [`Command::Backfill`] that goes to the shard with what the ledger does not have.
#[derive(Debug)]
struct Waiting {
    number: u64,
    until: MonoNs,
    id: InstrumentId,
    span: Span,
    wish: Wish,
}

impl LedgerReads {
    /// When the oldest question is given up.
    pub(crate) fn deadline(&self) -> Option<MonoNs> {
        self.waiting.front().map(|waiting| waiting.until)
    }
}

impl Fanout {
    /// What the ledger keeps of a shard's message: closed windows of the exchange's own series.
    /// `None`: nothing. To be called before [`Self::handle_market`].
    pub fn ledger_event(&self, event: &MarketEvent) -> Option<LedgerEvent> {
        let (window, is_backfilled) = match event {
            MarketEvent::Candle(update) if update.is_closed() => {
                (ClosedWindow::Candle(*update), false)
            }
            MarketEvent::Backfilled(update) => (ClosedWindow::Candle(*update), true),
            MarketEvent::Empty { open_time, is_backfilled, .. } => {
                (ClosedWindow::Empty { open_time: *open_time }, *is_backfilled)
            }
            MarketEvent::Verified { instrument, open_time } => {
                let instrument = self.hub.find_instrument(*instrument)?.clone();
                return Some(LedgerEvent::Verified { instrument, open_time: *open_time });
            }
            MarketEvent::Candle(_)
            | MarketEvent::Begin { .. }
            | MarketEvent::BackfillGap { .. }
            | MarketEvent::BackfillEnd { .. }
            | MarketEvent::Gap { .. } => return None,
        };
        let instrument = self.hub.find_instrument(event.instrument())?.clone();
        Some(LedgerEvent::Closed { instrument, window, is_backfilled })
    }

    /// The windows of an earlier process behind which this series begins: at its first
    /// subscription, and not where too much is missing by now. Clients may ask for them at once.
    pub(crate) fn resume(
        &mut self,
        id: InstrumentId,
        instrument: &Instrument,
        now: Now,
    ) -> Vec<ClosedWindow> {
        if self.tails.is_empty() || self.hub.base(id).is_some() {
            return Vec::new();
        }
        let Some(mut tail) = self.tails.remove(instrument) else { return Vec::new() };
        let interval_ms = instrument.interval.ms();
        let missing_max = i64::try_from(self.config.catch_up).unwrap_or(i64::MAX);
        let oldest = instrument.interval.open_time(now.unix_ms()).0
            - interval_ms.saturating_mul(missing_max.saturating_add(1));
        let newest = tail.last().map(ClosedWindow::open_time);
        let Some(stream) = self.hub.stream(id).filter(|_| newest >= Some(UnixMs(oldest))) else {
            return Vec::new();
        };
        for window in &mut tail {
            if let ClosedWindow::Candle(update) = window {
                *update = CandleUpdate { instrument: id, ..*update };
            }
            stream.history.put(window, self.config.history_candles);
            stream.history.advance(window.open_time());
        }
        tail
    }

    /// Asks the ledger for the windows of a backfill before the exchange is asked. Returns whether
    /// it is asked: not without a ledger, where the windows are not known, or where too many
    /// questions wait.
    pub(crate) fn ask_ledger(&mut self, id: InstrumentId, command: &Command, now: Now) -> bool {
        let &Command::Backfill { from: BackfillFrom::Window(first), to: Some(last), wish, .. } =
            command
        else {
            return false;
        };
        let reads = &mut self.ledger_reads;
        let Some(span) = Span::new(first, last).filter(|_| self.config.has_ledger) else {
            return false;
        };
        if reads.waiting.len() >= LEDGER_READS_MAX {
            return false;
        }
        reads.asked += 1;
        let (number, until) = (reads.asked, now.mono.after(LEDGER_PATIENCE));
        reads.waiting.push_back(Waiting { number, until, id, span, wish });
        let instrument = self.hub.instrument(id).clone();
        let read = LedgerRead { number, instrument, span };
        self.outputs.push_back(Output::ReadLedger(Box::new(read)));
        true
    }

    /// Takes an answer of the ledger. The exchange is asked for what it lacks.
    pub fn handle_ledger(&mut self, answer: LedgerAnswer, now: Now) {
        let waiting = &mut self.ledger_reads.waiting;
        let Some(at) = waiting.iter().position(|one| one.number == answer.number) else { return };
        let Some(asked) = waiting.remove(at) else { return };
        self.end_ledger_read(&asked, answer.windows, now);
    }

    /// Asks the exchange where the ledger has not answered in time.
    pub(crate) fn give_up_ledger_reads(&mut self, now: Now) {
        while self.ledger_reads.deadline().is_some_and(|until| until <= now.mono) {
            let Some(asked) = self.ledger_reads.waiting.pop_front() else { return };
            self.end_ledger_read(&asked, Vec::new(), now);
        }
    }

    /// Does what the shard would do for the windows that the ledger has, and passes on the rest.
    fn end_ledger_read(&mut self, asked: &Waiting, windows: Vec<ClosedWindow>, now: Now) {
        let &Waiting { id, span, wish, .. } = asked;
        let Some(interval) = self.hub.find_instrument(id).map(|one| one.interval) else { return };
        let (mut first_absent, mut last_absent) = (span.first, span.last);
        for window in &windows {
            if window.open_time() == first_absent {
                first_absent = UnixMs(first_absent.0 + interval.ms());
            }
        }
        for window in windows.iter().rev() {
            if window.open_time() == last_absent {
                last_absent = UnixMs(last_absent.0 - interval.ms());
            }
        }
        for window in windows {
            let event = match window {
                ClosedWindow::Candle(update) => {
                    MarketEvent::Backfilled(CandleUpdate { instrument: id, ..update })
                }
                ClosedWindow::Empty { open_time } => {
                    MarketEvent::Empty { instrument: id, open_time, is_backfilled: true }
                }
            };
            self.handle_market(&event, now);
        }
        if first_absent > last_absent {
            let (from, through, ticket) = (span.first, span.last, wish.ticket);
            let end = MarketEvent::BackfillEnd { instrument: id, from, through, ticket };
            return self.handle_market(&end, now);
        }
        let (from, to) = (BackfillFrom::Window(first_absent), Some(last_absent));
        self.command_shard(id, Command::Backfill { id, from, to, wish });
    }
}
