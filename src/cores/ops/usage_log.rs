//! A file with the connects and requests that this address has recently made. With it, a process
//! that is restarted often does not exceed the limits of the exchanges. Owns the format: one line
//! for each second, market and kind.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use crate::clock::{Now, UnixMs};
use crate::feed::{LimitedAction, Usage};
use crate::market::{Market, Venue};
use crate::metrics::{FeedMetrics, Metrics};

/// The entries of the file in `folder`, oldest first; none if there is no file.
pub(crate) fn read(folder: &Path, now: Now) -> Vec<Usage> {
    let text = std::fs::read_to_string(folder.join(FILE)).unwrap_or_default();
    text.lines().filter_map(|line| parse(line, now)).collect()
}

fn parse(line: &str, now: Now) -> Option<Usage> {
    let mut words = line.split(' ');
    let at_ms: i64 = words.next()?.parse().ok()?;
    let venue = Venue::from_name(words.next()?)?;
    let market = Market::find(venue, words.next()?)?;
    let on = match words.next()? {
        "connect" => LimitedAction::Connect,
        "rest" => LimitedAction::Rest,
        _ => return None,
    };
    let count: usize = words.next()?.parse().ok()?;
    let age_ms = now.unix_ms().0.checked_sub(at_ms)?;
    // A line from the future was written before the clock was set back.
    if !(0..KEPT_MS).contains(&age_ms) || count > COUNT_MAX {
        return None;
    }
    let now_ns = i64::try_from(now.mono.0).ok()?;
    Some(Usage { market, on, at_ns: now_ns - age_ms * 1_000_000, count })
}

/// Keeps the file up to date.
#[derive(Debug)]
pub(crate) struct UsageFile {
    path: PathBuf,
    /// (ms, market, kind, count), oldest first.
    lines: VecDeque<(UnixMs, Market, LimitedAction, u64)>,
    /// Connects and REST requests of each market at the last look.
    seen: Vec<(u64, u64)>,
    has_failed: bool,
}

impl UsageFile {
    /// The file in `folder`, continued after its entries.
    pub(crate) fn new(folder: &Path, now: Now) -> Self {
        let line = |usage: Usage| {
            let age_ms = (i64::try_from(now.mono.0).unwrap_or(0) - usage.at_ns) / 1_000_000;
            (UnixMs(now.unix_ms().0 - age_ms), usage.market, usage.on, usage.count as u64)
        };
        Self {
            path: folder.join(FILE),
            lines: read(folder, now).into_iter().map(line).collect(),
            seen: vec![(0, 0); Market::COUNT],
            has_failed: false,
        }
    }

    /// Reads the counters, and writes the file if they have grown.
    pub(crate) fn look(&mut self, metrics: &Metrics, now: Now) {
        let mut has_news = false;
        for market in Market::all() {
            let sum = |read: fn(&FeedMetrics) -> u64| {
                metrics.shards.iter().map(|shard| read(shard.market(market))).sum::<u64>()
            };
            let (connects, rests) =
                (sum(|one| one.connects.value()), sum(|one| one.rest_requests.value()));
            let seen = &mut self.seen[market.index()];
            let news = [
                (LimitedAction::Connect, connects - seen.0),
                (LimitedAction::Rest, rests - seen.1),
            ];
            *seen = (connects, rests);
            for (on, count) in news.into_iter().filter(|(_, count)| *count > 0) {
                has_news = true;
                self.lines.push_back((now.unix_ms(), market, on, count));
            }
        }
        if has_news {
            self.forget_old(now);
            self.write();
        }
    }

    fn forget_old(&mut self, now: Now) {
        let oldest = UnixMs(now.unix_ms().0 - KEPT_MS);
        self.lines.retain(|(at, ..)| *at > oldest);
        while self.lines.len() > LINES_MAX {
            self.lines.pop_front();
        }
    }

    fn write(&mut self) {
        let mut text = String::new();
        for (at, market, on, count) in &self.lines {
            let on = match on {
                LimitedAction::Connect => "connect",
                LimitedAction::Rest => "rest",
            };
            let _ = writeln!(text, "{} {market} {on} {count}", at.0);
        }
        if let Err(error) = replace(&self.path, &text)
            && !std::mem::replace(&mut self.has_failed, true)
        {
            let path = self.path.display();
            tracing::warn!(
                "{path} cannot be written: {error}; restarts in quick succession may exceed the \
                 exchanges' limits"
            );
        }
    }
}

/// Replaces the whole file, or leaves it as it is.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let next = path.with_extension("spent.new");
    std::fs::write(&next, text)?;
    std::fs::rename(next, path)
}

const FILE: &str = "connector.spent";

/// The longest window in which an exchange counts.
const KEPT_MS: i64 = 300_000;

/// Lines of one file. Source: twenty turns a second in which something is used, for five minutes.
const LINES_MAX: usize = 6_000;

/// A line with a larger count is invalid.
const COUNT_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonoNs;
    use std::sync::Arc;

    #[test]
    fn what_one_process_used_the_next_one_knows() {
        let folder = std::env::temp_dir().join(format!("connector-spent-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let spot = Market::find(Venue::Binance, "spot").unwrap();
        let metrics = Metrics {
            shards: vec![Arc::default(), Arc::default()],
            fanout: Arc::default(),
            ledger: Default::default(),
            cores: Vec::new(),
        };
        let at = |seconds: i64| Now {
            mono: MonoNs(50_000_000_000),
            unix_us: (1_700_000_000 + seconds) * 1_000_000,
        };
        let mut file = UsageFile::new(&folder, at(0));
        metrics.shards[0].market(spot).connects.add(2);
        metrics.shards[1].market(spot).connects.add(1);
        metrics.shards[1].market(spot).rest_requests.add(7);
        file.look(&metrics, at(0));
        let usage = read(&folder, at(100));
        let expected = |on, count| Usage { market: spot, on, at_ns: -50_000_000_000, count };
        assert_eq!(usage, [expected(LimitedAction::Connect, 3), expected(LimitedAction::Rest, 7)]);
        assert_eq!(read(&folder, at(301)), [], "that is long ago");
        assert_eq!(read(&folder, at(-1)), [], "the clock was set back");
        let mut next = UsageFile::new(&folder, at(100));
        metrics.shards[0].market(spot).connects.increment();
        next.look(&metrics, at(200));
        assert_eq!(read(&folder, at(200)).len(), 4, "the old lines, and the new");
        std::fs::write(folder.join(FILE), "rubbish\n1 2 3\n\u{0}").unwrap();
        assert_eq!(read(&folder, at(200)), []);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
