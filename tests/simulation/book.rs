//! What one client was told about one series, and the rules that it must obey whatever happens:
//! each closed window once and in order, what is missing told as missing, late repairs only of
//! that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use connector_wss::market::Interval;
use serde_json::Value;

pub(crate) const MINUTE: i64 = 60_000;

/// A window as the client has it.
#[derive(Clone, Debug)]
pub(crate) enum Window {
    Candle { text: String, revision: u64 },
    Empty,
}

/// One client's view of one series, from its first closed window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// The length of the windows.
    interval: Interval,
    /// The window that is to come next, once that is known.
    pub(crate) next: Option<i64>,
    /// The latest window from which the series must begin, by the first running candle.
    first_open: Option<i64>,
    /// The newest window that ran.
    pub(crate) last_open: Option<i64>,
    pub(crate) windows: BTreeMap<i64, Window>,
    /// Candles as they were first called closed.
    pub(crate) firsts: BTreeMap<i64, String>,
    pub(crate) missing: BTreeSet<i64>,
    /// Windows that were told as missing and came later.
    pub(crate) repaired: u64,
    pub(crate) corrections: u64,
    /// What corrections said, by window.
    pub(crate) corrected: Vec<(i64, String)>,
    /// Candles that ran and are not closed, as they were last told.
    running: BTreeMap<i64, String>,
    /// Windows that were closed with less than had been told while they ran.
    pub(crate) shrunk: Vec<(i64, String)>,
    pub(crate) gaps: u64,
    /// The past that follows is to be complete.
    is_resuming: bool,
    /// Rows of the exchange may make no sense: a resume may lack their windows, and reports them.
    pub(crate) may_lack: bool,
    /// Where it resumed: the server may count the revisions of windows up to there anew.
    resumed_from: Option<i64>,
    /// Windows of the past that could not be given, and may still come.
    pub(crate) unavailable: BTreeSet<i64>,
    /// The latest messages, to be shown when a rule is broken.
    log: VecDeque<String>,
}

impl Book {
    /// An empty one of windows of this length.
    pub(crate) fn of(interval: Interval) -> Self {
        Self { interval, ..Self::default() }
    }

    /// Goes on from `since`, where the client resumes: everything after it comes again.
    pub(crate) fn resume(&mut self, since: i64) {
        self.windows.retain(|&open_time, _| open_time <= since);
        self.missing.retain(|&open_time| open_time <= since);
        self.unavailable.retain(|&open_time| open_time <= since);
        self.next = Some(since + self.interval.ms());
        self.resumed_from = self.resumed_from.max(Some(since));
        // The server may not know any more what it told of the window that runs.
        self.running.clear();
        (self.first_open, self.is_resuming) = (None, true);
        self.log.push_back(format!("resumed from {since}"));
    }

    /// From where to resume: everything up to there is known, and too old to be restated.
    pub(crate) fn resume_from(&self) -> Option<i64> {
        let next = self.next?;
        let first_missing = self.missing.first().copied().unwrap_or(next);
        let first = self.windows.first_key_value().map_or(next, |(&first, _)| first);
        let step = self.interval.ms();
        Some(first_missing.min((next - RESTATABLE * step).max(first)) - step)
    }

    /// Takes a message about the series. `Err`: a rule is broken.
    pub(crate) fn take(&mut self, json: &Value, text: &str) -> Result<(), String> {
        if self.log.len() == LOGGED {
            self.log.pop_front();
        }
        self.log.push_back(text.to_owned());
        self.obey(json, text).map_err(|why| {
            let log: Vec<String> = self.log.iter().cloned().collect();
            format!("{why}; the latest messages were\n{}", log.join("\n"))
        })
    }

    fn obey(&mut self, json: &Value, text: &str) -> Result<(), String> {
        match json["type"].as_str() {
            Some("quote") if json["is_closed_candle"] == true => self.closed(json, text),
            Some("quote") => self.open(json, text),
            Some("correction") => self.corrected(json, text),
            Some("gap") => self.gap(json),
            Some("empty") => self.accept_closed(json["open_time"].as_i64().unwrap(), Window::Empty),
            Some("history") => self.history(json),
            other => Err(format!("unknown message {other:?}")),
        }
    }

    fn open(&mut self, json: &Value, text: &str) -> Result<(), String> {
        let open_time = json["open_time"].as_i64().unwrap();
        if self.windows.contains_key(&open_time) {
            return Err(format!("window {open_time} runs after its close"));
        }
        if self.next.is_some_and(|next| open_time < next) {
            return Err(format!("window {open_time} runs, and {:?} was next", self.next));
        }
        if let Some((before, told)) = self.running.last_key_value()
            && (open_time < *before || open_time == *before && is_less(text, told))
        {
            return Err(format!("{text} runs, after {told}"));
        }
        self.running.insert(open_time, text.to_owned());
        self.first_open.get_or_insert(open_time);
        self.last_open = self.last_open.max(Some(open_time));
        Ok(())
    }

    fn closed(&mut self, json: &Value, text: &str) -> Result<(), String> {
        let open_time = json["open_time"].as_i64().unwrap();
        let revision = json["revision"].as_u64().unwrap();
        if json["seq"].as_i64() != Some(open_time / self.interval.ms())
            || json["final_by"].is_null()
        {
            return Err(format!("a closed candle without its identity: {text}"));
        }
        if revision == 0 {
            self.firsts.insert(open_time, text.to_owned());
            if let Some(told) = self.running.get(&open_time)
                && is_less(text, told)
            {
                self.shrunk.push((open_time, format!("{text} closed {told}")));
            }
        }
        self.accept_closed(open_time, Window::Candle { text: text.to_owned(), revision })
    }

    fn accept_closed(&mut self, open_time: i64, window: Window) -> Result<(), String> {
        if self.missing.remove(&open_time) || self.unavailable.remove(&open_time) {
            self.repaired += 1;
            self.windows.insert(open_time, window);
            return Ok(());
        }
        if self.windows.contains_key(&open_time) {
            return Err(format!("window {open_time} twice"));
        }
        self.running = self.running.split_off(&(open_time + 1));
        self.begin(open_time)?;
        if self.next != Some(open_time) {
            return Err(format!("window {open_time} came, and {:?} was next", self.next));
        }
        self.next = Some(open_time + self.interval.ms());
        self.windows.insert(open_time, window);
        Ok(())
    }

    fn begin(&mut self, open_time: i64) -> Result<(), String> {
        if self.next.is_none() {
            if self.first_open.is_some_and(|first| open_time > first) {
                return Err(format!("began with {open_time}, though {:?} ran", self.first_open));
            }
            self.next = Some(open_time);
        }
        Ok(())
    }

    fn corrected(&mut self, json: &Value, text: &str) -> Result<(), String> {
        let open_time = json["open_time"].as_i64().unwrap();
        let revision = json["revision"].as_u64().unwrap();
        let before = match self.windows.get(&open_time) {
            Some(Window::Candle { revision, .. }) => *revision,
            Some(Window::Empty) => revision - 1,
            // Everybody gets it, who might hold the window from an earlier connection.
            None if self.windows.keys().next().is_none_or(|&first| open_time < first) => {
                return Ok(());
            }
            None => return Err(format!("a correction of {open_time}, which was never told")),
        };
        let is_of_before = self.resumed_from >= Some(open_time);
        if revision != before + 1 && !is_of_before {
            return Err(format!("revision {revision} of {open_time} after {before}"));
        }
        if matches!(self.windows.get(&open_time), Some(Window::Candle { .. }))
            && json["previous"].is_null()
            && !is_of_before
        {
            return Err(format!("a correction without what it replaces: {text}"));
        }
        let (told, replaced) = text.split_once("\"previous\":").unwrap_or((text, ""));
        let names = ["open", "high", "low", "close", "volume", "trade_num", "quote_volume"];
        // A derived one may have learnt that nothing was traded in a minute that it lacked.
        let is_derived = text.contains("\"source\":\"derived\"");
        if !is_derived && names.iter().all(|name| digits(told, name) == digits(replaced, name)) {
            return Err(format!("a correction that corrects nothing: {text}"));
        }
        self.corrections += 1;
        self.corrected.push((open_time, told.to_owned()));
        self.windows.insert(open_time, Window::Candle { text: text.to_owned(), revision });
        Ok(())
    }

    fn gap(&mut self, json: &Value) -> Result<(), String> {
        let (from, to) = (json["from"].as_i64().unwrap(), json["to"].as_i64().unwrap());
        self.begin(from)?;
        let step = self.interval.ms();
        // What REST could not give of the past in time may be called missing by the stream, too.
        let is_known = |at: i64| self.unavailable.contains(&at);
        let next = self.next.unwrap_or(from);
        let repeated = (from..next).step_by(step.unsigned_abs() as usize).all(is_known);
        if from > next || !repeated || to < from {
            return Err(format!("a gap from {from}, and {:?} was next", self.next));
        }
        self.gaps += 1;
        if json["reason"] == "unavailable" {
            if self.is_resuming && !self.may_lack {
                return Err(format!("a resume that is not complete, and not refused: {from}"));
            }
            self.unavailable.extend((from..=to).step_by(step.unsigned_abs() as usize));
            self.next = self.next.max(Some(to + step));
            return Ok(());
        }
        self.unavailable.retain(|at| !(from..=to).contains(at));
        self.missing.extend((from..=to).step_by(step.unsigned_abs() as usize));
        self.next = self.next.max(Some(to + step));
        Ok(())
    }

    fn history(&mut self, json: &Value) -> Result<(), String> {
        self.is_resuming = false;
        // Nothing had been heard of the series: nobody knew where its past ends.
        let Some(to) = json["to"].as_i64() else { return Ok(()) };
        match self.next {
            Some(next) if next <= to => Err(format!("history to {to} ended before {next}")),
            _ => {
                self.next.get_or_insert(to + self.interval.ms());
                Ok(())
            }
        }
    }
}

const LOGGED: usize = 8;

/// So many windows may still be restated while the client is away.
const RESTATABLE: i64 = 16;

/// The digits of the number `name` in a message, as they are written.
pub(crate) fn digits<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = text.find(&format!("\"{name}\":"))? + name.len() + 3;
    let rest = &text[start..];
    Some(&rest[..rest.find([',', '}'])?])
}

/// Whether fewer trades are in a candle of an exchange than in another of its window: they only
/// ever become more.
fn is_less(text: &str, than: &str) -> bool {
    let is_derived = |text: &str| text.contains("\"source\":\"derived\"");
    let counted = |text| digits(text, "contract_volume").or_else(|| digits(text, "volume"));
    let volume = |text| counted(text).unwrap().parse::<f64>().unwrap();
    !is_derived(text) && !is_derived(than) && volume(text) < volume(than)
}

/// Whether a candle as told is the true row. Where a row of REST has less, less is asked for.
pub(crate) fn is_true(text: &str, row: &Value) -> Result<(), String> {
    let is_rest =
        ["rest", "derived"].iter().any(|it| text.contains(&format!("\"source\":\"{it}\"")));
    let is_coinm = text.contains("\"exchange\":\"binance\"") && text.contains("\"coinm\"");
    // Gate's rows of contracts have no base amount. None follows from those of inverse contracts,
    // nor where no list said how much a contract is (tests/regression/volumes.rs has what must
    // follow).
    let is_counted_row = is_rest
        && text.contains("\"exchange\":\"gateio\"")
        && text.contains("\"volume_unit\":\"contracts\"");
    for name in ["open", "high", "low", "close", "volume", "quote_volume", "contract_volume"] {
        // Binance's coinm has turnover in the base, which is no quote volume.
        if name == "quote_volume" && is_coinm {
            continue;
        }
        let is_counted = name == "volume" && is_counted_row;
        let Some(truth) = row[if is_counted { "contract_volume" } else { name }].as_str() else {
            continue;
        };
        let truth = match truth.contains('.') {
            true => truth.trim_end_matches('0').trim_end_matches('.'),
            false => truth,
        };
        match digits(text, name) {
            Some(told) if told == truth => {}
            None if is_rest && name == "quote_volume" => {}
            told => return Err(format!("{name} {told:?} is not {truth}: {text}")),
        }
    }
    let trades = row["trade_num"].as_u64().unwrap();
    let told: u64 = digits(text, "trade_num").unwrap().parse().unwrap();
    match told == trades {
        true => Ok(()),
        false => Err(format!("trade_num {told} is not {trades}: {text}")),
    }
}
