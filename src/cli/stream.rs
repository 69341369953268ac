//! Candles from an exchange to stdout, until there are enough, everything has ended, the reader has
//! gone, or a signal ends the program. Everything but candles goes to stderr.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::{Clock, MonoNs};
use crate::config::Config;
use crate::cores::tools::solo::{Heard, Solo};
use crate::messages::{EventName, Notice, Severity};

use super::arguments::{Format, Wanted};
use super::message::Message;
use super::printer::{Printer, gap_words};
use super::progress::Progress;

/// Streams the `wanted` candles. Returns whether all of them were served. An error is the reason
/// why none were, why stdout takes no more, or that no candle came for too long while a `limit` is
/// open.
pub fn run(
    config: &Config,
    wanted: &Wanted,
    format: Option<Format>,
    limit: Limit,
    stop: &AtomicBool,
) -> Result<bool, String> {
    let clock = Clock::new();
    let patience = config.stream_idle_timeout + wanted.pause;
    let mut config = config.clone();
    config.history_candles = config.history_candles.max(wanted.history);
    let solo = Solo::start(&config, clock, std::slice::from_ref(&wanted.request));
    let mut solo = solo.map_err(|error| error.to_string())?;
    let mut reader = Reader {
        printer: Printer::stdout(format),
        progress: Progress::new(clock),
        limit: limit.updates,
        unanswered: if wanted.history > 0 { wanted.symbols } else { 0 },
        clock,
        heard_at: clock.mono(),
        patience: (limit.updates > 0 && !limit.waits).then_some(patience),
        last_words: None,
        has_refusals: false,
        is_advised: false,
    };
    let outcome = reader.follow(&mut solo, stop);
    // If nothing was served, the refusals are the whole report.
    if reader.progress.updates() > 0 || !reader.has_refusals {
        reader.progress.finish();
    }
    solo.stop();
    let is_served = !reader.has_refusals;
    match outcome {
        Ok(End::Over) => Ok(is_served),
        Ok(End::Silence(patience)) => Err(reader.silence(wanted, patience)),
        // The reader has taken its lines and closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(is_served),
        Err(error) => Err(format!("stdout: {error}")),
    }
}

/// When the stream ends.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Updates after which the stream ends; 0: never.
    pub updates: u64,
    /// However long they take.
    pub waits: bool,
}

/// Why nothing more is read.
enum End {
    Over,
    /// No candle came for this long.
    Silence(Duration),
}

/// Handles the outputs of the connector.
struct Reader {
    printer: Printer,
    progress: Progress,
    /// Updates after which the stream ends; 0: never.
    limit: u64,
    /// Symbols with requested history that were neither refused nor have it yet. While there are
    /// any, the limit does not end the stream, because a refusal may come after the updates.
    unanswered: usize,
    clock: Clock,
    /// When a candle, or a message about one, came last.
    heard_at: MonoNs,
    /// Longest time without one.
    patience: Option<Duration>,
    /// The messages since then.
    last_words: Option<String>,
    /// Something was refused.
    has_refusals: bool,
    /// Whether the hint how to find the reason for no candles was written.
    is_advised: bool,
}

impl Reader {
    fn follow(&mut self, solo: &mut Solo, stop: &AtomicBool) -> io::Result<End> {
        while !stop.load(Ordering::Relaxed) {
            solo.turn();
            while let Some(heard) = solo.next_heard() {
                let is_over = match heard {
                    Heard::Text(text) => self.take(&text)?,
                    Heard::Notice(notice) => self.note(&notice),
                    Heard::Over => true,
                };
                if is_over {
                    self.printer.flush()?;
                    return Ok(End::Over);
                }
            }
            self.printer.flush()?;
            if self.progress.show() && is_reader_gone() {
                return Ok(End::Over);
            }
            let patience = self.patience;
            let over = patience.filter(|&it| self.heard_at.after(it) <= self.clock.mono());
            if let Some(patience) = over {
                let is_enough = self.is_enough();
                return Ok(if is_enough { End::Over } else { End::Silence(patience) });
            }
        }
        Ok(End::Over)
    }

    /// The error if no candle came for too long.
    fn silence(&self, wanted: &Wanted, patience: Duration) -> String {
        let (seconds, market, limit) = (patience.as_secs_f64(), wanted.market, self.limit);
        let words = self.last_words.as_deref().unwrap_or("the exchange pushes none");
        format!(
            "no candle of {market} came for {seconds} s, {} of {limit} updates were served; the last \
             word: {words}; --wait waits for as long as it takes, CONNECTOR_STREAM_IDLE_TIMEOUT \
             says for how long else",
            self.progress.updates()
        )
    }

    /// Notes that a candle, or a message about one, has come.
    fn heard(&mut self) {
        (self.heard_at, self.last_words) = (self.clock.mono(), None);
    }

    /// Handles one message. Returns whether it was the last.
    fn take(&mut self, text: &str) -> io::Result<bool> {
        let message: Message<'_> = serde_json::from_str(text)?;
        if matches!(message.kind.as_ref(), "quote" | "correction" | "gap" | "empty" | "history") {
            self.heard();
        }
        match message.kind.as_ref() {
            "quote" if self.is_enough() => {}
            "quote" => {
                self.progress.hide();
                self.printer.candle(text)?;
                self.progress.count(text.contains("\"is_closed_candle\":true"));
            }
            "correction" => {
                self.progress.hide();
                self.printer.candle(text)?;
            }
            "gap" | "empty" => {
                self.progress.hide();
                if !self.printer.gap(text, &message)? {
                    self.say(&gap_words(&message));
                }
            }
            "history" => {
                self.unanswered = self.unanswered.saturating_sub(1);
                if let Some(missing) = message.missing.filter(|&missing| missing > 0) {
                    let symbol = message.symbol.as_deref().unwrap_or("?");
                    self.say(&format!("{missing} closed candles of {symbol} could not be had"));
                }
            }
            "error" => {
                self.has_refusals = true;
                self.unanswered = match message.symbols.len() {
                    0 => 0,
                    count => self.unanswered.saturating_sub(count),
                };
                let words = message.message.as_deref().unwrap_or("refused");
                match &message.exchange_message {
                    Some(theirs) => self.say(&format!("{words} (the exchange says: {theirs})")),
                    None => self.say(words),
                }
            }
            // The loss itself is in a notice of the feed, with the reason.
            "notice" if message.code.as_deref() != Some("session_lost") => {
                self.say(message.message.as_deref().unwrap_or("?"));
            }
            _ => {}
        }
        Ok(self.is_enough() && self.unanswered == 0)
    }

    /// Returns whether the wanted number of updates was written.
    fn is_enough(&self) -> bool {
        self.limit > 0 && self.progress.updates() >= self.limit
    }

    /// Handles a line that the server would log. Rejections are errors too.
    fn note(&mut self, notice: &Notice) -> bool {
        let is_told = notice.event == EventName::SymbolRejected;
        if notice.severity() >= Severity::Warning && !is_told {
            match notice.about.market {
                Some(market) => self.say(&format!("{market}: {}", notice.text)),
                None => self.say(&notice.text),
            }
            self.advise(notice);
        }
        false
    }

    /// Writes once what to do if no session opens at the start.
    fn advise(&mut self, notice: &Notice) {
        let is_lost = notice.event == EventName::SessionLost && self.progress.updates() == 0;
        let Some(market) = notice.about.market.filter(|_| is_lost && !self.is_advised) else {
            return;
        };
        self.is_advised = true;
        let venue = market.venue().name();
        let words = format!("`doctor {venue}` looks for the cause; --simulate needs no internet");
        let _written = writeln!(io::stderr(), "connector-cli: {words}");
    }

    fn say(&mut self, words: &str) {
        self.progress.hide();
        let _written = writeln!(io::stderr(), "connector-cli: {words}");
        self.last_words = Some(words.to_owned());
    }
}

/// Returns whether stdout is a pipe without a reader. In a quiet market no write would show it.
fn is_reader_gone() -> bool {
    let stdout = io::stdout();
    let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let is_answered = poll(&mut asked, Some(&at_once)).is_ok_and(|count| count > 0);
    is_answered && asked[0].revents().contains(PollFlags::ERR)
}
