//! What a client that is behind is still owed. Owns the order (closed candles, corrections, gaps
//! and answers as they came; open candles last, only the newest of each series) and the frames that
//! several clients share. Writes to no socket and counts no subscription.

use std::collections::{HashMap, VecDeque};

use crate::clock::UnixMs;
use crate::fanout::frame::{Class, FrameMeta};
use crate::limits::SPARE_FRAMES_MAX;
use crate::market::{InstrumentId, Interval};

/// Handle of a frame in the [`FramePool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameId(u32);

/// Frames that at least one client is owed, each stored once. A freed frame keeps its buffer for
/// the next one, so that a fan-out that was busy before does not allocate.
#[derive(Debug, Default)]
pub(crate) struct FramePool {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    owners: u32,
    /// `None`: an answer to one client, owed whatever the client subscribes.
    meta: Option<FrameMeta>,
    bytes: Vec<u8>,
}

impl FramePool {
    /// Stores `bytes` without an owner. At least one [`Self::own`] follows every call.
    pub(crate) fn insert(&mut self, bytes: &[u8], meta: Option<FrameMeta>) -> FrameId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { owners: 0, meta: None, bytes: Vec::new() });
            u32::try_from(self.slots.len() - 1).expect("memory ends before 4 billion frames")
        });
        let slot = &mut self.slots[index as usize];
        assert_eq!(slot.owners, 0, "a free slot has no owner");
        slot.meta = meta;
        slot.bytes.clear();
        slot.bytes.extend_from_slice(bytes);
        FrameId(index)
    }

    /// Counts one more client that is owed the frame.
    fn own(&mut self, id: FrameId) {
        self.slots[id.0 as usize].owners += 1;
    }

    /// Counts one client less. The last one frees the frame.
    pub(crate) fn release(&mut self, id: FrameId) {
        let slot = &mut self.slots[id.0 as usize];
        assert!(slot.owners > 0, "released more often than owned");
        slot.owners -= 1;
        if slot.owners == 0 {
            if slot.bytes.capacity() > KEPT_BYTES_MAX || self.free.len() >= SPARE_FRAMES_MAX {
                slot.bytes = Vec::new();
            }
            self.free.push(id.0);
        }
    }

    /// The frame's bytes.
    pub(crate) fn bytes(&self, id: FrameId) -> &[u8] {
        &self.slots[id.0 as usize].bytes
    }

    /// What is known of the frame; `None` for an answer.
    pub(crate) fn meta(&self, id: FrameId) -> Option<FrameMeta> {
        self.slots[id.0 as usize].meta
    }

    /// Number of frames that a client is owed.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// What one client is owed beyond the bytes ready for its socket.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// In order: closed candles, corrections, gaps, answers.
    ordered: VecDeque<FrameId>,
    /// The newest open candle of each series.
    open: HashMap<InstrumentId, OwedOpen>,
    /// The series in `open`, oldest first. It may name a series without a candle, or a series
    /// twice.
    open_order: VecDeque<InstrumentId>,
    bytes: usize,
}

/// An open candle that waits to be written.
#[derive(Clone, Copy, Debug)]
struct OwedOpen {
    frame: FrameId,
    /// How many open candles of the series it replaced before they were written.
    conflated: u32,
}

/// The next frame to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owed {
    /// The caller releases it.
    pub(crate) frame: FrameId,
    /// How many open candles of its series it replaced before they were written.
    pub(crate) conflated: u32,
}

impl Outbox {
    /// Returns whether nothing is owed.
    pub(crate) fn is_empty(&self) -> bool {
        self.ordered.is_empty() && self.open.is_empty()
    }

    /// Bytes owed.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the frame `id`. Returns whether an open candle was conflated: replaced by its
    /// successor, or made useless by its own closed candle.
    pub(crate) fn owe(&mut self, frames: &mut FramePool, id: FrameId) -> bool {
        frames.own(id);
        self.bytes += frames.bytes(id).len();
        match frames.meta(id) {
            Some(FrameMeta { class: Class::Open, instrument, .. }) => {
                let Some(owed) = self.open.get_mut(&instrument) else {
                    self.open.insert(instrument, OwedOpen { frame: id, conflated: 0 });
                    self.open_order.push_back(instrument);
                    return false;
                };
                owed.conflated = owed.conflated.saturating_add(1);
                let old = std::mem::replace(&mut owed.frame, id);
                self.drop_frame(frames, old)
            }
            Some(FrameMeta { class: Class::Closed, instrument, open_time, .. }) => {
                self.ordered.push_back(id);
                let stale = self.open.get(&instrument).map(|owed| owed.frame);
                let stale = stale.filter(|&open| {
                    frames.meta(open).is_some_and(|meta| meta.open_time <= open_time)
                });
                stale.is_some_and(|old| {
                    self.open.remove(&instrument);
                    self.drop_frame(frames, old)
                })
            }
            Some(FrameMeta { class: Class::Correction | Class::Empty | Class::Gap, .. }) | None => {
                self.ordered.push_back(id);
                false
            }
        }
    }

    /// Takes the next frame to be written; the caller releases it. After the last one, the storage
    /// of a burst is freed.
    pub(crate) fn pop(&mut self, frames: &FramePool) -> Option<Owed> {
        let ordered = self.ordered.pop_front().map(|frame| Owed { frame, conflated: 0 });
        let Some(owed) = ordered.or_else(|| self.pop_open()) else {
            *self = Self::default();
            return None;
        };
        self.bytes -= frames.bytes(owed.frame).len();
        Some(owed)
    }

    /// Drops everything that is owed.
    pub(crate) fn clear(&mut self, frames: &mut FramePool) {
        while let Some(owed) = self.pop(frames) {
            frames.release(owed.frame);
        }
    }

    /// Interval and open time of the oldest owed closed candle or correction: a client that is
    /// closed now has not received it. `interval`: of an instrument; `None` if it was forgotten.
    pub(crate) fn oldest_closed(
        &self,
        frames: &FramePool,
        interval: impl Fn(InstrumentId) -> Option<Interval>,
    ) -> Option<(Interval, UnixMs)> {
        let metas = self.ordered.iter().filter_map(|&id| frames.meta(id));
        let closed = metas.filter(|meta| matches!(meta.class, Class::Closed | Class::Correction));
        let known = closed.filter_map(|meta| Some((interval(meta.instrument)?, meta.open_time)));
        known.min_by_key(|&(_, open_time)| open_time)
    }

    fn pop_open(&mut self) -> Option<Owed> {
        loop {
            let instrument = self.open_order.pop_front()?;
            if let Some(OwedOpen { frame, conflated }) = self.open.remove(&instrument) {
                return Some(Owed { frame, conflated });
            }
        }
    }

    /// Always true, for the callers' convenience.
    fn drop_frame(&mut self, frames: &mut FramePool, id: FrameId) -> bool {
        self.bytes -= frames.bytes(id).len();
        frames.release(id);
        true
    }
}

/// Buffers above this are freed. Source: a quote has 500 bytes; a list of symbols up to 60 kB.
const KEPT_BYTES_MAX: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(instrument: u32, class: Class, minute: i64) -> Option<FrameMeta> {
        let (instrument, open_time) = (InstrumentId(instrument), UnixMs(minute * 60_000));
        Some(FrameMeta { instrument, class, open_time, hops: None, history_of: None, serial: 0 })
    }

    fn owe(
        outbox: &mut Outbox,
        frames: &mut FramePool,
        text: &str,
        meta: Option<FrameMeta>,
    ) -> bool {
        let id = frames.insert(text.as_bytes(), meta);
        outbox.owe(frames, id)
    }

    fn drain(outbox: &mut Outbox, frames: &mut FramePool) -> Vec<String> {
        std::iter::from_fn(|| {
            let Owed { frame, conflated } = outbox.pop(frames)?;
            let mut text = String::from_utf8(frames.bytes(frame).to_vec()).unwrap();
            (0..conflated).for_each(|_| text.push('*'));
            frames.release(frame);
            Some(text)
        })
        .collect()
    }

    #[test]
    fn closed_candle_is_never_conflated() {
        let (mut outbox, mut frames) = (Outbox::default(), FramePool::default());
        for minute in 0..50 {
            let text = format!("c{minute}");
            assert!(!owe(&mut outbox, &mut frames, &text, meta(0, Class::Closed, minute)));
        }
        let expected: Vec<String> = (0..50).map(|minute| format!("c{minute}")).collect();
        assert_eq!(drain(&mut outbox, &mut frames), expected);
    }

    #[test]
    fn an_open_candle_is_replaced_by_its_successor_and_comes_after_what_is_closed() {
        let (mut outbox, mut frames) = (Outbox::default(), FramePool::default());
        assert!(!owe(&mut outbox, &mut frames, "o1", meta(0, Class::Open, 1)));
        assert!(!owe(&mut outbox, &mut frames, "other", meta(1, Class::Open, 1)));
        assert!(owe(&mut outbox, &mut frames, "o1'", meta(0, Class::Open, 1)));
        owe(&mut outbox, &mut frames, "c0", meta(0, Class::Closed, 0));
        owe(&mut outbox, &mut frames, "answer", None);
        assert_eq!(outbox.bytes(), "o1'othercoanswer".len());
        let drained = drain(&mut outbox, &mut frames);
        assert_eq!(drained, ["c0", "answer", "o1'*", "other"], "* for each that it replaced");
        assert_eq!((outbox.bytes(), frames.in_use()), (0, 0));
    }

    #[test]
    fn an_open_candle_never_follows_its_own_close() {
        let (mut outbox, mut frames) = (Outbox::default(), FramePool::default());
        owe(&mut outbox, &mut frames, "o1", meta(0, Class::Open, 1));
        assert!(owe(&mut outbox, &mut frames, "c1", meta(0, Class::Closed, 1)));
        owe(&mut outbox, &mut frames, "o2", meta(0, Class::Open, 2));
        assert_eq!(drain(&mut outbox, &mut frames), ["c1", "o2"]);
        assert_eq!(frames.in_use(), 0);
    }

    #[test]
    fn what_a_closed_candle_made_pointless_is_no_matter_of_the_next_open_one() {
        let (mut outbox, mut frames) = (Outbox::default(), FramePool::default());
        for text in ["o1", "o1'", "o1\""] {
            owe(&mut outbox, &mut frames, text, meta(0, Class::Open, 1));
        }
        owe(&mut outbox, &mut frames, "c1", meta(0, Class::Closed, 1));
        owe(&mut outbox, &mut frames, "o2", meta(0, Class::Open, 2));
        assert_eq!(drain(&mut outbox, &mut frames), ["c1", "o2"]);
    }

    #[test]
    fn a_shared_frame_is_stored_once_and_freed_with_its_last_owner() {
        let (mut one, mut two) = (Outbox::default(), Outbox::default());
        let mut frames = FramePool::default();
        let id = frames.insert(b"shared", meta(0, Class::Closed, 7));
        one.owe(&mut frames, id);
        two.owe(&mut frames, id);
        let interval = |id| (id == InstrumentId(0)).then_some(Interval::M1);
        assert_eq!(one.oldest_closed(&frames, interval), Some((Interval::M1, UnixMs(420_000))));
        assert_eq!(one.oldest_closed(&frames, |_| None), None);
        assert_eq!(frames.in_use(), 1);
        one.clear(&mut frames);
        assert_eq!(drain(&mut two, &mut frames), ["shared"]);
        assert_eq!(frames.in_use(), 0);
    }
}
