//! An open load: pushes are sent at fixed times, whatever comes back, and a delay counts from the
//! time at which its push was due. So a relay that stands still is charged for all that it kept
//! waiting (no coordinated omission).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::clients::Clients;
use crate::exchange::Exchange;
use crate::process::{Running, Usage};

/// One relay between its exchange and its clients.
pub(crate) struct Setup {
    pub(crate) exchange: Exchange,
    pub(crate) clients: Clients,
    pub(crate) process: Running,
}

/// What became of one load. Delays in ns.
pub(crate) struct Outcome {
    /// Of every push to every client, until this had it or a later one; for what never came, until
    /// it was no longer waited for.
    pub(crate) delays: Histogram<u64>,
    /// Of every push, until the last client had it or a later one.
    pub(crate) last: Histogram<u64>,
    /// Messages that arrived.
    pub(crate) messages: u64,
    pub(crate) updates: u64,
    pub(crate) usage: Usage,
}

impl Setup {
    /// After `warm_up` at the same rate.
    pub(crate) fn measure(&mut self, rate: u64, warm_up: Duration, duration: Duration) -> Outcome {
        crate::process::on_first_cpu(|| {
            self.run(rate, warm_up);
            self.run(rate, duration)
        })
    }

    /// Sends `rate` pushes a second for `duration`, then waits for what is still under way.
    fn run(&mut self, rate: u64, duration: Duration) -> Outcome {
        let before = self.process.usage();
        let interval_ns = 1_000_000_000 / rate;
        let total = (rate * u64::try_from(duration.as_millis()).unwrap() / 1000).max(1);
        let base = self.exchange.sent;
        let mut tally = Tally::new(base, total, interval_ns, self.clients.len());
        let begin = Instant::now();
        let elapsed_ns = || u64::try_from(begin.elapsed().as_nanos()).unwrap();
        let give_up = duration + PATIENCE;
        while !tally.is_complete() && begin.elapsed() < give_up {
            let due = (elapsed_ns() / interval_ns).min(total);
            self.exchange.send(due - (self.exchange.sent - base));
            let mut now_ns = None;
            self.clients.receive(|client, number| {
                tally.arrived(client, number, *now_ns.get_or_insert_with(elapsed_ns));
            });
        }
        let usage = self.process.usage().since(before);
        tally.give_up(elapsed_ns());
        let Tally { delays, last, messages, .. } = tally;
        Outcome { delays, last, messages, updates: total, usage }
    }
}

/// How long a relay may take for what it has not delivered in time.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Which client has which push.
struct Tally {
    base: u64,
    total: u64,
    interval_ns: u64,
    /// Each client's newest number.
    newest: Vec<u64>,
    /// How many clients have each push or a later one; the first is number `done + 1`.
    counts: VecDeque<usize>,
    done: u64,
    messages: u64,
    delays: Histogram<u64>,
    last: Histogram<u64>,
}

impl Tally {
    fn new(base: u64, total: u64, interval_ns: u64, clients: usize) -> Self {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        let (newest, counts) = (vec![base; clients], VecDeque::new());
        let (delays, last) = (histogram(), histogram());
        Self { base, total, interval_ns, newest, counts, done: base, messages: 0, delays, last }
    }

    fn is_complete(&self) -> bool {
        self.done == self.base + self.total
    }

    fn arrived(&mut self, client: usize, number: u64, now_ns: u64) {
        let before = self.newest[client];
        if number <= self.base {
            return;
        }
        assert!(number > before && number <= self.base + self.total, "in order, none twice");
        self.messages += 1;
        self.has(client, number, now_ns);
    }

    /// What never came is not left out: it has taken at least so long.
    fn give_up(&mut self, now_ns: u64) {
        for client in 0..self.newest.len() {
            self.has(client, self.base + self.total, now_ns);
        }
    }

    /// The client has everything up to `number`, or later pushes instead.
    fn has(&mut self, client: usize, number: u64, now_ns: u64) {
        let before = std::mem::replace(&mut self.newest[client], number);
        for passed in before + 1..=number {
            self.delays.record(self.delay(passed, now_ns)).unwrap();
            let at = usize::try_from(passed - self.done - 1).unwrap();
            if at >= self.counts.len() {
                self.counts.resize(at + 1, 0);
            }
            self.counts[at] += 1;
        }
        while self.counts.front() == Some(&self.newest.len()) {
            self.counts.pop_front();
            self.done += 1;
            self.last.record(self.delay(self.done, now_ns)).unwrap();
        }
    }

    fn delay(&self, number: u64, now_ns: u64) -> u64 {
        now_ns.saturating_sub((number - self.base) * self.interval_ns).max(1)
    }
}

/// Does `count` rounds, or as many as are expected to end within `time`, but at least one: a host
/// that is busy with other things makes relays late, and each takes longer.
pub(crate) fn rounds(section: &str, count: usize, time: Duration, mut round: impl FnMut(usize)) {
    let begin = Instant::now();
    for number in 0..count {
        round(number);
        eprintln!("{section}: round {} of {count}", number + 1);
        let done = u32::try_from(number + 1).unwrap();
        if number + 1 < count && begin.elapsed() / done * (done + 1) > time {
            return eprintln!("{section}: no time for more rounds");
        }
    }
}
