//! Instrument lists, fetched by the REST workers and kept for all shards. Owns the cache and the
//! rule that one list is fetched by one worker at a time; what a list says is the dialects'.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, MonoNs};
use crate::market::{Listed, Market, SymbolList};
use crate::messages::{OpsAnswer, RestRequest, RestResponse};
use crate::venue::{self, RestQuery};

/// The lists of all markets, shared by the workers.
pub(super) struct Lists {
    clock: Clock,
    /// REST base URL of each market, by [`Market::index`].
    bases: Vec<String>,
    entries: Vec<Mutex<Entry>>,
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lists").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Entry {
    /// What was found last, and until when it is good.
    found: Option<(Result<Arc<SymbolList>, String>, MonoNs)>,
    is_being_fetched: bool,
    /// Shards that asked while it was.
    askers: Vec<usize>,
}

impl Lists {
    /// No lists yet, of markets with these REST base URLs.
    pub(super) fn new(bases: Vec<String>) -> Self {
        let entries = Market::all().map(|_| Mutex::default()).collect();
        Self { clock: Clock::new(), bases, entries }
    }

    /// Answers for `shard` and for all who asked in between: from the cache, or by `ask`. No answers:
    /// another worker is about to have the list, and answers then.
    pub(super) fn answer(
        &self,
        shard: usize,
        market: Market,
        ask: impl Fn(&RestRequest) -> Result<RestResponse, String>,
    ) -> Vec<(usize, OpsAnswer)> {
        let entry = &self.entries[market.index()];
        {
            let mut entry = lock(entry);
            if let Some((found, good_until)) = &entry.found
                && *good_until > self.clock.mono()
            {
                return vec![(shard, OpsAnswer::Listed { market, result: found.clone() })];
            }
            entry.askers.push(shard);
            if std::mem::replace(&mut entry.is_being_fetched, true) {
                return Vec::new();
            }
        }
        let fetched = fetch(market, &self.bases[market.index()], ask);
        let life = match &fetched {
            Ok(_) => FRESH,
            Err((_, wait)) => wait.unwrap_or(RETRY).max(RETRY),
        };
        if let Err((why, Some(wait))) = &fetched {
            self.leave_alone(market, why, *wait);
        }
        let result = fetched.map_err(|(why, _)| why);
        let mut entry = lock(entry);
        entry.found = Some((result.clone(), self.clock.mono().after(life)));
        entry.is_being_fetched = false;
        let askers = std::mem::take(&mut entry.askers).into_iter();
        askers.map(|shard| (shard, OpsAnswer::Listed { market, result: result.clone() })).collect()
    }
}

impl Lists {
    /// The exchange wants a pause: the lists of the markets that share its limits with `market` are
    /// not asked for either, unless they are there.
    fn leave_alone(&self, market: Market, why: &str, wait: Duration) {
        let group = venue::budget_group(market);
        let until = self.clock.mono().after(wait);
        for other in Market::all().filter(|&other| venue::budget_group(other) == group) {
            let mut entry = lock(&self.entries[other.index()]);
            if !entry.is_being_fetched && !matches!(&entry.found, Some((Ok(_), _))) {
                entry.found = Some((Err(why.to_owned()), until));
            }
        }
    }
}

fn lock(entry: &Mutex<Entry>) -> std::sync::MutexGuard<'_, Entry> {
    entry.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why there is no list, and how long the exchange wants to be left alone.
type NoList = (String, Option<Duration>);

fn fetch(
    market: Market,
    base: &str,
    ask: impl Fn(&RestRequest) -> Result<RestResponse, String>,
) -> Result<Arc<SymbolList>, NoList> {
    let mut listed: Vec<Listed> = Vec::new();
    let mut pages = vec![None::<String>];
    let mut next = 0;
    while let Some(page) = pages.get(next).cloned() {
        if next >= PAGES_MAX {
            return Err((format!("it has more than {PAGES_MAX} pages"), None));
        }
        next += 1;
        let page = page.as_deref();
        let RestQuery { url, body, headers } = venue::instruments_query(market, base, page);
        let response =
            ask(&RestRequest { id: 0, url, body, headers }).map_err(|why| (why, None))?;
        let wait = response.retry_after;
        let read = venue::read_instruments(market, page, &response).map_err(|why| (why, wait))?;
        listed.extend(read.listed);
        pages.extend(read.more.into_iter().map(Some));
    }
    Ok(Arc::new(SymbolList::new(listed)))
}

/// A list is good for so long. Source: exchanges announce listings a day ahead.
const FRESH: Duration = Duration::from_secs(3600);

/// What could not be had is not asked for again before.
const RETRY: Duration = Duration::from_secs(30);

/// Pages of one list. Source: Bybit's linear list has two of 500; Hyperliquid has a page for each
/// builder's exchange, a dozen in 2026.
const PAGES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Venue;
    use std::cell::RefCell;

    fn response(status: u16, body: &str) -> RestResponse {
        let body = body.as_bytes().to_vec();
        RestResponse { status, retry_after: None, limit_headers: vec![], body }
    }

    fn symbols(answers: &[(usize, OpsAnswer)]) -> Vec<(usize, Result<usize, String>)> {
        let length = |answer: &OpsAnswer| match answer {
            OpsAnswer::Listed { result, .. } => {
                result.as_ref().map(|list| list.len()).map_err(Clone::clone)
            }
            other => panic!("{other:?}"),
        };
        answers.iter().map(|(shard, answer)| (*shard, length(answer))).collect()
    }

    #[test]
    fn a_list_is_fetched_once_for_all_shards_page_by_page() {
        let lists = Lists::new(vec!["http://h".to_owned(); Market::COUNT]);
        let linear = Market::find(Venue::Bybit, "linear").unwrap();
        let asked = RefCell::new(Vec::new());
        let ask = |request: &RestRequest| {
            asked.borrow_mut().push(request.url.clone());
            let (symbol, cursor) = match request.url.contains("cursor=") {
                false => ("BTCUSDT", "next"),
                true => ("ETHUSDT", ""),
            };
            Ok(response(
                200,
                &format!(
                    r#"{{"retCode":0,"retMsg":"OK","result":{{"list":[{{"symbol":"{symbol}","status":"Trading"}}],"nextPageCursor":"{cursor}"}}}}"#
                ),
            ))
        };
        assert_eq!(symbols(&lists.answer(0, linear, ask)), [(0, Ok(2))]);
        assert_eq!(symbols(&lists.answer(3, linear, ask)), [(3, Ok(2))]);
        assert_eq!(asked.borrow().len(), 2, "{:?}", asked.borrow());
    }

    #[test]
    fn a_pause_that_the_exchange_wants_holds_for_all_its_markets() {
        let lists = Lists::new(vec!["http://h".to_owned(); Market::COUNT]);
        let [swap, spot] = ["swap", "spot"].map(|name| Market::find(Venue::Okx, name).unwrap());
        let busy = |_: &RestRequest| {
            Ok(RestResponse { retry_after: Some(Duration::from_secs(60)), ..response(429, "{}") })
        };
        assert!(symbols(&lists.answer(0, swap, busy))[0].1.is_err());
        let spot = lists.answer(0, spot, |_| panic!("asked before the pause is over"));
        assert!(symbols(&spot)[0].1.is_err());
    }

    #[test]
    fn who_asks_during_the_fetch_is_answered_after_it() {
        let lists = Lists::new(vec!["http://h".to_owned(); Market::COUNT]);
        let spot = Market::find(Venue::Binance, "spot").unwrap();
        let answers = lists.answer(0, spot, |_| {
            let none = lists.answer(1, spot, |_| panic!("asked twice"));
            assert!(none.is_empty());
            Err("no route to host".to_owned())
        });
        let why = || Err("no route to host".to_owned());
        assert_eq!(symbols(&answers), [(0, why()), (1, why())]);
        let again = lists.answer(2, spot, |_| panic!("asked again too soon"));
        assert_eq!(symbols(&again), [(2, why())]);
    }
}
