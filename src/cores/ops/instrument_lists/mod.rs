//! Instrument lists, fetched by workers of their own and kept for all shards. Owns the cache, the
//! rule that one worker at a time fetches a list, and the number of pages that are asked for; the
//! dialects read the lists.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, MonoNs};
use crate::feed::{Denied, LimitedAction, Pauses};
use crate::limits::{LIST_PAGES_MAX, LIST_PARTS_MAX, LIST_PATIENCE};
use crate::market::{Listed, Market, SymbolList};
use crate::messages::{OpsAnswer, RestRequest};
use crate::venue::{self, Denial, InstrumentPage, RestQuery};

/// The lists of all markets, shared by the workers.
pub(crate) struct Lists {
    clock: Clock,
    pauses: Arc<Pauses>,
    /// REST base URL of each market, by [`Market::index`].
    bases: Vec<String>,
    entries: Vec<Mutex<Entry>>,
    /// When the last parts were asked for, by [`Market::index`] of the budget group's name.
    parts_asked: Vec<Mutex<VecDeque<MonoNs>>>,
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lists").finish_non_exhaustive()
    }
}

/// What an exchange answered to a request for a page.
pub(crate) struct PageAnswer<'a> {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    /// Read as it comes.
    pub(crate) body: Box<dyn Read + 'a>,
}

/// Asks an exchange for a page.
type Ask<'a> = &'a dyn Fn(&RestRequest) -> Result<PageAnswer<'a>, String>;

#[derive(Default)]
struct Entry {
    /// What was found last, and until when it is good.
    found: Option<(Found, MonoNs)>,
    /// The parts that were read, or why not, and until when that is good.
    parts: BTreeMap<String, (Result<Vec<Listed>, String>, MonoNs)>,
    /// Parts that shards have asked for since.
    wanted: BTreeSet<String>,
    /// The list of what was found; `None` where that has changed since.
    built: Option<Arc<SymbolList>>,
    is_being_fetched: bool,
    /// Shards that asked while it was.
    askers: Vec<usize>,
}

type Found = Result<MainPages, String>;

/// The pages that every list has.
#[derive(Clone, Default)]
struct MainPages {
    listed: Vec<Listed>,
    /// Why the last ones are missing, if they are.
    cut: Option<String>,
    /// The names of the list's parts, where they are known.
    parts: Option<BTreeSet<String>>,
}

/// One thing to be fetched.
enum Task {
    Main,
    Part(String),
}

impl Lists {
    /// No lists yet, of markets with these REST base URLs.
    pub(crate) fn new(bases: Vec<String>, clock: Clock, pauses: Arc<Pauses>) -> Self {
        let entries = Market::all().map(|_| Mutex::default()).collect();
        let parts_asked = Market::all().map(|_| Mutex::default()).collect();
        Self { clock, pauses, bases, entries, parts_asked }
    }

    /// Answers `shard`, and all shards that asked in the meantime: from the cache, or by `ask`.
    /// `parts`: the parts of the list that are wanted beside its main pages. Without an answer,
    /// another worker is fetching the list, and answers later.
    pub(crate) fn answer(
        &self,
        shard: usize,
        market: Market,
        parts: Vec<String>,
        ask: Ask<'_>,
    ) -> Vec<(usize, OpsAnswer)> {
        let entry = &self.entries[market.index()];
        {
            let mut entry = lock(entry);
            entry.askers.push(shard);
            let room = LIST_PARTS_MAX.saturating_sub(entry.parts.len() + entry.wanted.len());
            entry.wanted.extend(parts.into_iter().take(room));
            if std::mem::replace(&mut entry.is_being_fetched, true) {
                return Vec::new();
            }
        }
        loop {
            let task = {
                let mut entry = lock(entry);
                match entry.next_task(self.clock.mono()) {
                    Some(task) => task,
                    None => return entry.finish(market),
                }
            };
            match task {
                Task::Main => {
                    let (found, life) = self.fetch(market, ask);
                    let mut entry = lock(entry);
                    entry.found = Some((found, self.clock.mono().after(life)));
                    entry.built = None;
                }
                Task::Part(part) => {
                    let page = match self.may_ask_part(market) {
                        true => self.page(market, Some(&part), ask),
                        false => Err("more parts of the list are wanted than may be asked".into()),
                    };
                    let life = if page.is_ok() { FRESH } else { RETRY };
                    let good_until = self.clock.mono().after(life);
                    let mut entry = lock(entry);
                    entry.parts.insert(part, (page.map(|page| page.listed), good_until));
                    entry.built = None;
                }
            }
        }
    }

    /// The main pages, and how long they are good. A page that cannot be read costs what would be
    /// on it and on those after it.
    fn fetch(&self, market: Market, ask: Ask<'_>) -> (Found, Duration) {
        let until = self.clock.mono().after(LIST_PATIENCE);
        let (mut main, mut page) = (MainPages::default(), None::<String>);
        for count in 1.. {
            let read = self.page(market, page.as_deref(), ask);
            let is_first = count == 1;
            let InstrumentPage { listed, next, parts_page, .. } = match read {
                Err(why) if is_first => return (Err(why), self.retry(market)),
                Err(why) => {
                    main.cut = Some(why);
                    break;
                }
                Ok(page) => page,
            };
            main.listed.extend(listed);
            if let Some(parts_page) = parts_page {
                let parts = self.page(market, Some(&parts_page), ask);
                main.parts = parts.ok().map(|page| page.parts.into_iter().collect());
            }
            let is_new = next != page;
            let Some(next) = next else { break };
            if count >= LIST_PAGES_MAX || !is_new || self.clock.mono() >= until {
                main.cut = Some(format!("it goes on after {count} pages"));
                break;
            }
            page = Some(next);
        }
        let lacks_parts = main.parts.is_none() && venue::list_part(market, ANY_PART).is_some();
        let life = if main.cut.is_some() || lacks_parts { self.retry(market) } else { FRESH };
        (Ok(main), life)
    }

    /// One page. The exchange's pauses hold for it as for every other request, and it may begin
    /// one.
    fn page(
        &self,
        market: Market,
        page: Option<&str>,
        ask: Ask<'_>,
    ) -> Result<InstrumentPage, String> {
        let asked_at = self.clock.mono();
        if !self.pauses.admit(market, LimitedAction::Rest, asked_at) {
            let wait = self.pauses.until(market, LimitedAction::Rest).since(asked_at);
            return Err(format!("REST is left alone for {:.1} s more", wait.as_secs_f64()));
        }
        let RestQuery { url, body, headers } =
            venue::instruments_query(market, &self.bases[market.index()], page);
        let answer = ask(&RestRequest { id: 0, url, body, headers, body_bytes_max: 0 });
        let (status, retry_after, result) = match answer {
            Err(why) => (0, None, Err((None, why))),
            Ok(PageAnswer { status, retry_after, body }) => {
                (status, retry_after, read_page(market, page, status, body))
            }
        };
        let (denial, why) = match result {
            Ok(page) => {
                self.pauses.admitted(market, LimitedAction::Rest, asked_at);
                return Ok(page);
            }
            Err(failed) => failed,
        };
        let is_outage = || status == 0 && self.pauses.is_outage(market, LimitedAction::Rest);
        let Some(denial) = denial.or_else(|| is_outage().then_some(Denial::Outage)) else {
            self.pauses.release(market, LimitedAction::Rest, self.clock.mono());
            return Err(why);
        };
        let (now, retry_after) = (self.clock.now(), retry_after.as_deref());
        let (exchange_now, chance) = (now.unix_ms(), now.mono.0);
        let denied = Denied { denial, status, retry_after, asked_at, exchange_now, chance };
        match self.pauses.deny(market, LimitedAction::Rest, &denied, now.mono) {
            None => Err(why),
            Some(begun) => Err(format!(
                "{why}{}; asking again in {:.1} s",
                begun.remark,
                begun.wait.as_secs_f64()
            )),
        }
    }

    /// When what could not be had may be asked for again.
    fn retry(&self, market: Market) -> Duration {
        let now = self.clock.mono();
        self.pauses.until(market, LimitedAction::Rest).since(now).max(RETRY)
    }

    /// Returns whether one more part may be asked for: there are many parts, and each weighs as
    /// much as candles.
    fn may_ask_part(&self, market: Market) -> bool {
        let now = self.clock.mono();
        let mut asked = lock(&self.parts_asked[venue::budget_group(market).index()]);
        while asked.front().is_some_and(|first| first.after(PARTS_WINDOW) <= now) {
            asked.pop_front();
        }
        let may = asked.len() < PARTS_IN_WINDOW;
        if may {
            asked.push_back(now);
        }
        may
    }
}

impl Entry {
    fn next_task(&mut self, now: MonoNs) -> Option<Task> {
        if self.found.as_ref().is_none_or(|(_, good_until)| *good_until <= now) {
            return Some(Task::Main);
        }
        while let Some(part) = self.wanted.pop_first() {
            let is_known = match &self.found {
                Some((Ok(main), _)) => main.parts.as_ref().is_none_or(|all| all.contains(&part)),
                _ => false,
            };
            let is_good = self.parts.get(&part).is_some_and(|(_, good_until)| *good_until > now);
            if is_known && !is_good {
                return Some(Task::Part(part));
            }
        }
        None
    }

    fn finish(&mut self, market: Market) -> Vec<(usize, OpsAnswer)> {
        self.is_being_fetched = false;
        let result = match &self.found {
            Some((Ok(main), _)) => {
                let built = self.built.take().unwrap_or_else(|| Arc::new(self.list(main)));
                Ok(Arc::clone(self.built.insert(built)))
            }
            Some((Err(why), _)) => Err(why.clone()),
            None => Err("it was not asked for".to_owned()),
        };
        let askers = std::mem::take(&mut self.askers).into_iter();
        askers.map(|shard| (shard, OpsAnswer::Listed { market, result: result.clone() })).collect()
    }

    fn list(&self, main: &MainPages) -> SymbolList {
        let read = self.parts.values().filter_map(|(part, _)| part.as_ref().ok()).flatten();
        let listed = main.listed.iter().chain(read).cloned().collect();
        let is_read = |part: &String| self.parts.get(part).is_some_and(|(part, _)| part.is_ok());
        let state = |part: &String| (part.clone(), is_read(part));
        let parts = main.parts.as_ref().map(|parts| parts.iter().map(state).collect());
        SymbolList::new(listed).with_parts(main.cut.is_some(), parts)
    }
}

/// The page, or what the answer denies us and what was wrong.
fn read_page(
    market: Market,
    page: Option<&str>,
    status: u16,
    body: Box<dyn Read + '_>,
) -> Result<InstrumentPage, (Option<Denial>, String)> {
    let mut body = BufReader::with_capacity(READ_BYTES, body);
    let front = body.fill_buf().unwrap_or_default();
    let denial = venue::denial(market, status, front);
    if denial.is_none() && status == 200 {
        return venue::read_instruments(market, page, body).map_err(|why| (None, why));
    }
    Err((denial, format!("HTTP {status} {:?}", venue::first_words(front))))
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a list is valid. Source: exchanges announce listings a day ahead.
const FRESH: Duration = Duration::from_secs(3600);

/// What could not be had is not asked for again before.
const RETRY: Duration = Duration::from_secs(30);

/// Parts of lists that are asked for in any [`PARTS_WINDOW`]. Source: a page of Hyperliquid weighs
/// 20 of the 1,200 a minute; its candles take 990 of them and the main pages of its lists 100.
const PARTS_IN_WINDOW: usize = 5;
/// See [`PARTS_IN_WINDOW`].
const PARTS_WINDOW: Duration = Duration::from_secs(60);

/// A symbol that stands in a part wherever there are any.
const ANY_PART: &str = "part:symbol";

/// Read from an exchange at a time.
const READ_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests;
