//! The progress, on stderr: if stderr is a terminal, a line that is rewritten each second; and one
//! line at the end.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::clock::{Clock, MonoNs};

/// The counts, and when they were shown.
pub(super) struct Progress {
    clock: Clock,
    start: MonoNs,
    updates: u64,
    closed: u64,
    /// Number of updates when the line was last written, and the time.
    shown: (u64, MonoNs),
    is_terminal: bool,
    is_visible: bool,
}

impl Progress {
    pub(super) fn new(clock: Clock) -> Self {
        let start = clock.mono();
        Self {
            clock,
            start,
            updates: 0,
            closed: 0,
            shown: (0, start),
            is_terminal: io::stderr().is_terminal(),
            is_visible: false,
        }
    }

    /// Updates so far.
    pub(super) fn updates(&self) -> u64 {
        self.updates
    }

    /// One more. `is_closed`: a closed candle.
    pub(super) fn count(&mut self, is_closed: bool) {
        self.updates += 1;
        self.closed += u64::from(is_closed);
    }

    /// Removes the line, so that something else can be written.
    pub(super) fn hide(&mut self) {
        if std::mem::take(&mut self.is_visible) {
            let _written = write!(io::stderr(), "\r\x1b[2K");
        }
    }

    /// Writes the line, once a second. Returns whether it was time.
    pub(super) fn show(&mut self) -> bool {
        let now = self.clock.mono();
        let (updates, at) = self.shown;
        let since = now.since(at);
        if since < PERIOD {
            return false;
        }
        self.shown = (self.updates, now);
        if self.is_terminal {
            let line = format!(
                "{} updates, {} closed candles, {:.1}/s, {} s",
                self.updates,
                self.closed,
                rate(self.updates - updates, since),
                now.since(self.start).as_secs()
            );
            let _written = write!(io::stderr(), "\r\x1b[2K{line}");
            self.is_visible = true;
        }
        true
    }

    /// The line at the end.
    pub(super) fn finish(&mut self) {
        self.hide();
        let took = self.clock.mono().since(self.start);
        let _written = writeln!(
            io::stderr(),
            "{} updates, {} closed candles in {:.1} s: {:.1}/s",
            self.updates,
            self.closed,
            took.as_secs_f64(),
            rate(self.updates, took)
        );
    }
}

/// How often the line is written.
const PERIOD: Duration = Duration::from_secs(1);

fn rate(count: u64, period: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / period.as_secs_f64().max(0.001)
}
