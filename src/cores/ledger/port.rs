//! The fan-out core's end of the ring to the ledger. It never waits: what finds no room is counted
//! and named later.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::Thread;

use crossbeam_channel::{Receiver, Sender};

use crate::market::{Instrument, Span};
use crate::messages::{LedgerAnswer, LedgerEvent, LedgerRead};
use crate::metrics::LedgerMetrics;

/// Where the fan-out core puts closed windows.
#[derive(Debug)]
pub struct LedgerPort {
    ring: rtrb::Producer<LedgerEvent>,
    /// The windows that found no room, from the first to the last of each series. They are named as
    /// soon as there is room, before anything newer.
    lost: HashMap<Instrument, Span>,
    metrics: Arc<LedgerMetrics>,
    /// Questions, at most [`crate::limits::LEDGER_READS_MAX`] under way, and the thread to wake for
    /// them.
    reads: Option<Reads>,
}

#[derive(Debug)]
struct Reads {
    questions: Sender<LedgerRead>,
    answers: Receiver<LedgerAnswer>,
    thread: Thread,
}

impl LedgerPort {
    /// A port to a ring of this many slots, and the thread's end of the ring.
    pub fn new(metrics: Arc<LedgerMetrics>, slots: usize) -> (Self, rtrb::Consumer<LedgerEvent>) {
        let (ring, consumer) = rtrb::RingBuffer::new(slots);
        (Self { ring, lost: HashMap::new(), metrics, reads: None }, consumer)
    }

    /// Joins the port with the thread that answers questions.
    pub(crate) fn join(
        &mut self,
        questions: Sender<LedgerRead>,
        answers: Receiver<LedgerAnswer>,
        thread: Thread,
    ) {
        self.reads = Some(Reads { questions, answers, thread });
    }

    /// Asks for stored windows. A question that finds no room is not answered: the fan-out gives it
    /// up after [`crate::limits::LEDGER_PATIENCE`].
    pub fn ask(&self, read: LedgerRead) {
        let Some(reads) = &self.reads else { return };
        if reads.questions.try_send(read).is_ok() {
            reads.thread.unpark();
        }
    }

    /// The next answer, if there is one.
    pub fn answer(&self) -> Option<LedgerAnswer> {
        self.reads.as_ref()?.answers.try_recv().ok()
    }

    /// Returns whether an answer waits.
    pub fn has_answer(&self) -> bool {
        self.reads.as_ref().is_some_and(|reads| !reads.answers.is_empty())
    }

    /// Puts a closed window into the ring, or counts it as not stored.
    pub fn push(&mut self, event: LedgerEvent) {
        if !self.lost.is_empty() {
            self.name_lost();
        }
        let refused = match self.lost.is_empty() {
            true => self.ring.push(event).err().map(|rtrb::PushError::Full(event)| event),
            false => Some(event),
        };
        let Some(LedgerEvent::Closed { instrument, window, .. }) = refused else { return };
        self.metrics.not_stored.increment();
        let at = window.open_time();
        let span = self.lost.entry(instrument).or_insert(Span { first: at, last: at });
        *span = Span { first: span.first.min(at), last: span.last.max(at) };
    }

    /// Names the windows that found no room, once there is room to name all of them.
    fn name_lost(&mut self) {
        if self.ring.slots() < self.lost.len() {
            return;
        }
        for (instrument, span) in self.lost.drain() {
            let pushed = self.ring.push(LedgerEvent::Lost { instrument, span });
            assert!(pushed.is_ok(), "the slots were counted");
        }
        self.lost = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;
    use crate::market::{ClosedWindow, Interval, Market};

    fn empty(symbol: &str, minute: i64) -> LedgerEvent {
        let market = Market::all().next().unwrap();
        let instrument = Instrument { market, symbol: symbol.into(), interval: Interval::M1 };
        let window = ClosedWindow::Empty { open_time: UnixMs(minute * 60_000) };
        LedgerEvent::Closed { instrument, window, is_backfilled: false }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_named_before_anything_newer() {
        let metrics = Arc::new(LedgerMetrics::default());
        let slots = 20;
        let (mut port, mut ring) = LedgerPort::new(Arc::clone(&metrics), 20);
        (0..slots).for_each(|minute| port.push(empty("A", minute)));
        assert_eq!(metrics.not_stored.value(), 0);
        for (symbol, minute) in [("A", slots + 3), ("B", 7), ("A", slots)] {
            port.push(empty(symbol, minute));
        }
        assert_eq!(metrics.not_stored.value(), 3);
        // Room for one is not room for both series.
        ring.pop().unwrap();
        port.push(empty("C", 1));
        assert_eq!(metrics.not_stored.value(), 4);
        (1..slots).for_each(|_| drop(ring.pop().unwrap()));
        port.push(empty("A", slots + 4));
        let mut named: Vec<_> = std::iter::from_fn(|| ring.pop().ok()).collect();
        assert_eq!(named.pop(), Some(empty("A", slots + 4)), "the newest comes last");
        let mut spans: Vec<_> = named
            .iter()
            .map(|event| match event {
                LedgerEvent::Lost { instrument, span } => {
                    (&*instrument.symbol, span.first.0 / 60_000, span.last.0 / 60_000)
                }
                _ => panic!("{event:?}"),
            })
            .collect();
        spans.sort_unstable();
        assert_eq!(spans, [("A", slots, slots + 3), ("B", 7, 7), ("C", 1, 1)]);
        assert_eq!(metrics.not_stored.value(), 4);
    }
}
