//! From notices to lines: repeated texts are counted, the lines of one event are limited per
//! minute, and each count is logged. Owns the rates; `line.rs` owns the form of a line.
//!
//! Nothing hides anything else: each event has an allowance of its own in each market, so that a
//! flood of lost sessions leaves room for the breaker that opens meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use tracing::Level;

use crate::clock::MonoNs;
use crate::cores::log::ENGINE_TARGET;
use crate::limits::{
    LOG_EVENT_BURST, LOG_EVENT_PAUSE, LOG_REPEAT_WINDOW, LOG_REPEAT_WINDOW_MAX, LOG_REPEATS_MAX,
};
use crate::market::Market;
use crate::messages::{About, EventName, Notice, Severity};

/// Writes a line. The number counts the events that were not written and for which the line stands.
pub(crate) type WriteLine<'w> = &'w mut dyn FnMut(&Notice, Option<u64>);

/// The lines written lately, and the counts of those that were not written.
#[derive(Debug, Default)]
pub(crate) struct LogDedup {
    /// By text, with the market before it.
    recent: HashMap<(Option<Market>, String), Recent>,
    /// One for each event and market.
    floods: HashMap<(EventName, Option<Market>), Flood>,
    dropped_reported: u64,
    dropped: Allowance,
}

/// A text that was written, and how often it was repeated since then.
#[derive(Debug)]
struct Recent {
    notice: Notice,
    since: MonoNs,
    window: Duration,
    count: u64,
}

/// One event in one market.
#[derive(Debug, Default)]
struct Flood {
    allowance: Allowance,
    held_back: u64,
    /// The newest notice that was held back. Its `about` has only what all of them have in common.
    last: Option<Notice>,
}

impl LogDedup {
    /// Writes the notice, or counts it.
    pub(crate) fn take(&mut self, notice: Notice, now: MonoNs, write: WriteLine<'_>) {
        let key = (notice.about.market, notice.text.clone());
        if let Some(recent) = self.recent.get_mut(&key) {
            recent.count += 1;
            recent.notice.about = std::mem::take(&mut recent.notice.about).common(&notice.about);
            return;
        }
        let flood = self.floods.entry((notice.event, notice.about.market)).or_default();
        if flood.held_back > 0 || !flood.allowance.spend(now) {
            return flood.hold(notice);
        }
        write(&notice, None);
        if self.recent.len() < LOG_REPEATS_MAX {
            let recent = Recent { notice, since: now, window: LOG_REPEAT_WINDOW, count: 0 };
            self.recent.insert(key, recent);
        }
    }

    /// Writes the counts that are due; without `now`, all of them.
    pub(crate) fn flush(&mut self, now: Option<MonoNs>, write: WriteLine<'_>) {
        self.recent.retain(|_, recent| {
            if now.is_some_and(|now| now.since(recent.since) < recent.window) {
                return true;
            }
            let Some(now) = now.filter(|_| recent.count > 0) else {
                if recent.count > 0 {
                    write(&recent.notice, Some(recent.count));
                }
                return false;
            };
            // The repetition goes on, so that its count is written less and less often.
            write(&recent.notice, Some(std::mem::take(&mut recent.count)));
            recent.since = now;
            recent.window = (recent.window * 2).min(LOG_REPEAT_WINDOW_MAX);
            true
        });
        for flood in self.floods.values_mut().filter(|flood| flood.held_back > 0) {
            if now.is_none_or(|now| flood.allowance.spend(now)) {
                flood.write_held(write);
            }
        }
    }

    /// The number of notices dropped since the last report, if a report is due. `total` counts all
    /// that were ever dropped.
    pub(crate) fn newly_dropped(&mut self, total: u64, now: MonoNs) -> Option<u64> {
        let count = total.saturating_sub(self.dropped_reported);
        if count == 0 || !self.dropped.spend(now) {
            return None;
        }
        self.dropped_reported = total;
        Some(count)
    }
}

impl Flood {
    fn hold(&mut self, mut notice: Notice) {
        self.held_back += 1;
        if let Some(before) = self.last.take() {
            notice.about = notice.about.common(&before.about);
        }
        self.last = Some(notice);
    }

    fn write_held(&mut self, write: WriteLine<'_>) {
        let count = std::mem::take(&mut self.held_back);
        let Some(Notice { event, about, text }) = self.last.take() else { return };
        match count {
            1 => write(&Notice { event, about, text }, None),
            _ => {
                let text = format!("too many of these to be written; the last: {text}");
                write(&Notice { event, about, text }, Some(count));
            }
        }
    }
}

/// [`LOG_EVENT_BURST`] lines, and one more after each [`LOG_EVENT_PAUSE`].
#[derive(Debug, Default)]
struct Allowance {
    /// When the allowance is full again.
    full_at: MonoNs,
}

impl Allowance {
    /// Takes one line from the allowance. Returns whether one was left.
    fn spend(&mut self, now: MonoNs) -> bool {
        let full_at = self.full_at.max(now).after(LOG_EVENT_PAUSE);
        let fits = full_at <= now.after(LOG_EVENT_PAUSE * LOG_EVENT_BURST);
        if fits {
            self.full_at = full_at;
        }
        fits
    }
}

/// One line with the fields of its event. tracing's macros need a constant level and target, hence
/// the table.
pub(crate) fn write_line(notice: &Notice, repeated: Option<u64>) {
    let About { market, ref symbol, interval, session, shard } = notice.about;
    macro_rules! line {
        ($target:expr, $level:expr) => {
            tracing::event!(
                target: $target,
                $level,
                event = notice.event.name(),
                exchange = market.map(|market| market.venue().name()),
                contract_type = market.map(|market| market.contract_type().name()),
                symbol = symbol.as_deref(),
                interval = interval.map(|interval| interval.name()),
                session = session,
                shard = shard,
                repeated = repeated,
                "{}",
                notice.text
            )
        };
    }
    const SERVER_TARGET: &str = module_path!();
    match (notice.severity(), market.is_some()) {
        (Severity::Debug, true) => line!(ENGINE_TARGET, Level::DEBUG),
        (Severity::Info, true) => line!(ENGINE_TARGET, Level::INFO),
        (Severity::Warning, true) => line!(ENGINE_TARGET, Level::WARN),
        (Severity::Error, true) => line!(ENGINE_TARGET, Level::ERROR),
        (Severity::Debug, false) => line!(SERVER_TARGET, Level::DEBUG),
        (Severity::Info, false) => line!(SERVER_TARGET, Level::INFO),
        (Severity::Warning, false) => line!(SERVER_TARGET, Level::WARN),
        (Severity::Error, false) => line!(SERVER_TARGET, Level::ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Venue;

    type Lines = Vec<(Notice, Option<u64>)>;

    const SECOND_NS: u64 = 1_000_000_000;

    fn market(contract_type: &str) -> Market {
        Market::find(Venue::Binance, contract_type).unwrap()
    }

    fn lost(session: u32, text: &str) -> Notice {
        let about = About { session: Some(session), ..About::from(market("spot")) };
        Notice { event: EventName::SessionLost, about, text: text.to_owned() }
    }

    /// Takes and flushes in one turn, as the ops core does.
    fn turn(dedup: &mut LogDedup, notices: Vec<Notice>, ns: u64) -> Lines {
        let mut lines = Lines::new();
        let mut write = |notice: &Notice, count| lines.push((notice.clone(), count));
        for notice in notices {
            dedup.take(notice, MonoNs(ns), &mut write);
        }
        dedup.flush(Some(MonoNs(ns)), &mut write);
        lines
    }

    #[test]
    fn repeated_notices_are_counted_and_written_ever_more_rarely() {
        let mut dedup = LogDedup::default();
        let same = |count| vec![lost(0, "again"); count];
        assert_eq!(turn(&mut dedup, same(3), 0), [(lost(0, "again"), None)]);
        assert_eq!(turn(&mut dedup, same(0), SECOND_NS - 1), []);
        assert_eq!(turn(&mut dedup, same(0), SECOND_NS), [(lost(0, "again"), Some(2))]);
        // From now on for two seconds, then for four, and at most for a minute.
        assert_eq!(turn(&mut dedup, same(5), 2 * SECOND_NS), []);
        assert_eq!(turn(&mut dedup, same(0), 3 * SECOND_NS), [(lost(0, "again"), Some(5))]);
        let mut written = 0;
        for second in 4..3_600 {
            written += turn(&mut dedup, same(10), second * SECOND_NS).len();
        }
        assert!((60..=66).contains(&written), "{written}");
        // The repetition ends: the last count is written, and the text counts as new again.
        assert_eq!(turn(&mut dedup, same(0), 3_700 * SECOND_NS).len(), 1);
        assert_eq!(turn(&mut dedup, same(0), 3_800 * SECOND_NS), []);
        assert!(dedup.recent.is_empty());
        assert_eq!(turn(&mut dedup, same(1), 3_800 * SECOND_NS), [(lost(0, "again"), None)]);
    }

    #[test]
    fn a_run_of_one_text_names_only_what_all_of_it_is_about() {
        let mut dedup = LogDedup::default();
        turn(&mut dedup, vec![lost(0, "reset"), lost(1, "reset")], 0);
        let lines = turn(&mut dedup, vec![], SECOND_NS);
        let about = About::from(market("spot"));
        assert_eq!(lines, [(Notice { about, ..lost(0, "reset") }, Some(1))]);
    }

    #[test]
    fn a_flood_of_one_event_is_bounded_and_every_one_of_it_is_counted() {
        let mut dedup = LogDedup::default();
        let (mut lines, mut sent) = (Lines::new(), 0);
        // Fifty sessions that are lost again and again, ten times a second, for an hour.
        for turn_index in 0..36_000_u64 {
            let texts = (0..50).map(|at| lost(at, &format!("session {at} is lost: {turn_index}")));
            sent += 50;
            lines.extend(turn(&mut dedup, texts.collect(), turn_index * SECOND_NS / 10));
        }
        let mut rest = |notice: &Notice, count| lines.push((notice.clone(), count));
        dedup.flush(None, &mut rest);
        let a_minute = 60 / LOG_EVENT_PAUSE.as_secs();
        let most = u64::from(LOG_EVENT_BURST) + 60 * a_minute + 1;
        assert!(lines.len() as u64 <= most, "{} lines", lines.len());
        let written: u64 = lines.iter().map(|(_, count)| count.unwrap_or(1)).sum();
        assert_eq!(written, sent);
        let (last, count) = lines.last().unwrap();
        assert!(count.is_some() && last.about == About::from(market("spot")), "{last:?}");
        assert!(last.text.starts_with("too many of these to be written; the last: session 49 "));
    }

    #[test]
    fn a_flood_leaves_room_for_other_events_and_other_markets() {
        let mut dedup = LogDedup::default();
        let flood = (0..1_000).map(|at| lost(0, &at.to_string())).collect();
        assert_eq!(turn(&mut dedup, flood, 0).len(), LOG_EVENT_BURST as usize);
        let open = Notice { event: EventName::BreakerOpen, ..lost(0, "5 failures in a row") };
        let other = Notice { about: About::from(market("usdm")), ..lost(0, "elsewhere") };
        let lines = turn(&mut dedup, vec![lost(0, "one more"), open.clone(), other.clone()], 1);
        assert_eq!(lines, [(open, None), (other, None)]);
        // The rest is written as soon as a line is allowed.
        let lines = turn(&mut dedup, vec![], 3 * SECOND_NS);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].1, Some(1_001 - u64::from(LOG_EVENT_BURST)));
    }

    #[test]
    fn notices_that_did_not_get_here_are_reported_once() {
        let mut dedup = LogDedup::default();
        assert_eq!(dedup.newly_dropped(0, MonoNs(0)), None);
        assert_eq!(dedup.newly_dropped(7, MonoNs(0)), Some(7));
        assert_eq!(dedup.newly_dropped(7, MonoNs(1)), None);
        assert_eq!(dedup.newly_dropped(9, MonoNs(2)), Some(2));
    }
}
