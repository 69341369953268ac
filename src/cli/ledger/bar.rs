//! A progress bar on stderr, for what takes longer than a moment.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::{Clock, MonoNs};

/// A bar that shows itself after [`SHOWN_AFTER`], if stderr is a terminal.
pub(super) struct Bar {
    bar: ProgressBar,
    clock: Clock,
    begun: MonoNs,
    /// It is never shown, or is shown already.
    is_settled: bool,
}

impl Bar {
    /// A bar for `total` of `what`. `is_wanted`: nothing else is written to the terminal meanwhile.
    pub(super) fn new(total: u64, what: &str, is_wanted: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        let template = format!(
            "{{bar:30}} {{percent:>3}} %  {{human_pos}} of {{human_len}} {what}, {{per_sec}}, \
             {{eta}} left"
        );
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        let clock = Clock::new();
        Self { bar, clock, begun: clock.mono(), is_settled: !is_wanted }
    }

    /// `done` more of the total is over.
    pub(super) fn advance(&mut self, done: u64) {
        self.bar.inc(done);
        if !self.is_settled && self.elapsed() >= SHOWN_AFTER {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.is_settled = true;
        }
    }

    /// The time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.mono().since(self.begun)
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// What takes less needs no bar.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
