//! The updates that recently took longest from an exchange's socket to a client's, with the times
//! of their hops. Owns which few are kept; what is made of them is for the reader.

use arrayvec::ArrayVec;

use crate::clock::MonoNs;
use crate::fanout::Fanout;
use crate::fanout::frame::{Class, FrameMeta, Hops};
use crate::limits::{SLOWEST_PERIOD, SLOWEST_UPDATES};
use crate::messages::{SlowUpdate, SlowUpdates};

/// The slowest updates since they were last taken, each once, for the slowest of its clients.
#[derive(Debug, Default)]
pub(crate) struct Slowest {
    kept: ArrayVec<Kept, SLOWEST_UPDATES>,
    /// An update that took no longer than this is not kept: the shortest time in a full list,
    /// otherwise 0.
    least_ns: u64,
    taken_at: MonoNs,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    meta: FrameMeta,
    hops: Hops,
    written: MonoNs,
}

impl Kept {
    fn total_ns(&self) -> u64 {
        self.written.ns_since(self.hops.received)
    }
}

impl Slowest {
    /// Records that a client's socket has taken the last byte of an update. Usually one comparison.
    pub(crate) fn record(&mut self, meta: &FrameMeta, hops: &Hops, written: MonoNs) {
        if written.ns_since(hops.received) > self.least_ns {
            self.keep(Kept { meta: *meta, hops: *hops, written });
        }
    }

    #[cold]
    fn keep(&mut self, new: Kept) {
        let same = self.kept.iter_mut().find(|kept| kept.meta.serial == new.meta.serial);
        if let Some(same) = same {
            if new.total_ns() > same.total_ns() {
                *same = new;
            }
        } else if self.kept.try_push(new).is_err() {
            let fastest = self.kept.iter_mut().min_by_key(|kept| kept.total_ns());
            *fastest.expect("the list is full") = new;
        }
        if self.kept.is_full() {
            self.least_ns = self.kept.iter().map(Kept::total_ns).min().unwrap_or(0);
        }
    }

    fn is_due(&self, now: MonoNs) -> bool {
        !self.kept.is_empty() && now.since(self.taken_at) >= SLOWEST_PERIOD
    }

    fn take(&mut self, now: MonoNs) -> ArrayVec<Kept, SLOWEST_UPDATES> {
        (self.least_ns, self.taken_at) = (0, now);
        std::mem::take(&mut self.kept)
    }
}

impl Fanout {
    /// Returns whether [`Self::take_slowest`] has something to give: at most once per
    /// [`SLOWEST_PERIOD`].
    pub fn has_slowest(&self, now: MonoNs) -> bool {
        self.slowest.is_due(now)
    }

    /// The slowest updates since they were last taken, in no order. Allocates nothing.
    pub fn take_slowest(&mut self, now: MonoNs) -> SlowUpdates {
        let kept = self.slowest.take(now);
        let update = |Kept { meta, hops, written }| {
            Some(SlowUpdate {
                instrument: self.hub.find_instrument(meta.instrument)?.clone(),
                is_closed: meta.class != Class::Open,
                open_time: meta.open_time,
                event_time: hops.event_time,
                kernel: hops.kernel,
                received: hops.received,
                put: hops.until_ring.end(hops.received),
                taken: hops.taken,
                written,
            })
        };
        kept.into_iter().filter_map(update).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Lapse, RoughLapse, UnixMs};
    use crate::market::InstrumentId;

    /// Records update number `serial`, which took `total_ns`.
    fn record(slowest: &mut Slowest, serial: u64, total_ns: u64) {
        let (received, until_ring, taken) = (MonoNs(10), Lapse::default(), MonoNs(10));
        let kernel = RoughLapse::UNKNOWN;
        let hops = Hops { event_time: None, received, until_ring, kernel, taken };
        let meta = FrameMeta {
            instrument: InstrumentId(0),
            class: Class::Open,
            open_time: UnixMs(0),
            hops: Some(hops),
            history_of: None,
            serial,
        };
        slowest.record(&meta, &hops, MonoNs(10 + total_ns));
    }

    fn totals(slowest: &mut Slowest, now: MonoNs) -> Vec<(u64, u64)> {
        let kept = slowest.take(now);
        let mut totals: Vec<_> = kept.iter().map(|k| (k.total_ns(), k.meta.serial)).collect();
        totals.sort_unstable();
        totals
    }

    #[test]
    fn the_slowest_are_kept_whatever_their_order() {
        let mut slowest = Slowest::default();
        // 37 and 1000 have no common factor: every number below 1000 once.
        (0..1000).for_each(|serial| record(&mut slowest, serial, serial * 37 % 1000 + 1));
        let slow = totals(&mut slowest, MonoNs(0));
        let expected: Vec<u64> = (0..SLOWEST_UPDATES as u64).map(|at| 985 + at).collect();
        assert_eq!(slow.iter().map(|(total, _)| *total).collect::<Vec<_>>(), expected);
        record(&mut slowest, 2000, 1);
        assert_eq!(totals(&mut slowest, MonoNs(0)), [(1, 2000)], "begun anew");
    }

    #[test]
    fn an_update_is_kept_once_at_the_slowest_of_its_clients() {
        let mut slowest = Slowest::default();
        (0..1000).for_each(|client| record(&mut slowest, 7, client * 37 % 1000 + 1));
        record(&mut slowest, 8, 500);
        assert_eq!(totals(&mut slowest, MonoNs(0)), [(500, 8), (1000, 7)]);
    }

    #[test]
    fn they_are_due_once_a_period_and_not_while_there_are_none() {
        let mut slowest = Slowest::default();
        let at = |periods: u32| MonoNs(0).after(SLOWEST_PERIOD * periods);
        assert!(!slowest.is_due(at(9)));
        record(&mut slowest, 1, 1);
        assert!(slowest.is_due(at(9)));
        slowest.take(at(9));
        record(&mut slowest, 2, 1);
        assert!(!slowest.is_due(MonoNs(at(10).0 - 1)));
        assert!(slowest.is_due(at(10)));
    }
}
