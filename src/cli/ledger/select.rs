//! Which series of the ledger are meant. A word that matches nothing is answered with what there
//! is.

use std::path::Path;

use crate::clock::UnixMs;
use crate::ledger::StoredSeries;
use crate::market::{Instrument, Interval, Market, Span, Venue};

use super::Failure;
use super::arguments::ExportArguments;
use crate::cli::arguments::find_interval;
use crate::cli::hints::did_you_mean;

/// A series, and what of it is exported.
pub(super) type Chosen = (StoredSeries, Span);

/// One option with the words given for it.
struct Filter<'a> {
    option: &'static str,
    words: &'a [String],
    matches: fn(&Instrument, &str) -> bool,
}

impl Filter<'_> {
    fn admits(&self, instrument: &Instrument) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| (self.matches)(instrument, word))
    }
}

/// The series of `list`, read from `path`, that `asked` means.
///
/// # Errors
/// A word is none of its kind, or one matches no series.
pub(super) fn select(
    list: Vec<StoredSeries>,
    asked: &ExportArguments,
    path: &Path,
) -> Result<Vec<StoredSeries>, Failure> {
    check_words(asked)?;
    let filters = filters(asked);
    let (found, others): (Vec<_>, Vec<_>) = list
        .into_iter()
        .partition(|series| filters.iter().all(|filter| filter.admits(&series.instrument)));
    for filter in &filters {
        let is_missing =
            |word: &&String| !found.iter().any(|series| (filter.matches)(&series.instrument, word));
        if let Some(word) = filter.words.iter().find(is_missing) {
            let all: Vec<&StoredSeries> = found.iter().chain(&others).collect();
            return Err(nothing(filter, word, &all, path));
        }
    }
    if found.is_empty() {
        return Err(Failure::Failed(format!("the ledger {} is empty", path.display())));
    }
    Ok(found)
}

fn filters(asked: &ExportArguments) -> [Filter<'_>; 4] {
    let exchange = |instrument: &Instrument, word: &str| {
        Venue::from_name(word) == Some(instrument.market.venue())
    };
    let contract_type = |instrument: &Instrument, word: &str| {
        Market::find(instrument.market.venue(), word) == Some(instrument.market)
    };
    let interval = |instrument: &Instrument, word: &str| instrument.interval.name() == word;
    [
        Filter { option: "--exchange", words: &asked.exchanges, matches: exchange },
        Filter { option: "--contract-type", words: &asked.contract_types, matches: contract_type },
        Filter { option: "--interval", words: &asked.intervals, matches: interval },
        Filter { option: "--symbol", words: &asked.symbols, matches: is_symbol },
    ]
}

/// Returns whether `word` is the instrument's symbol, in one of the spellings that clients may use.
pub(super) fn is_symbol(instrument: &Instrument, word: &str) -> bool {
    let market = instrument.market;
    let is_it = |symbol: Option<String>| symbol.as_deref() == Some(&*instrument.symbol);
    is_it(market.canonical_symbol(word)) || is_it(market.meant_by(word))
}

/// Words that can match nothing in any ledger.
fn check_words(asked: &ExportArguments) -> Result<(), Failure> {
    let usage = |option: &str, why: String| Failure::Usage(format!("{option}: {why}"));
    let venues = Venue::ALL.map(Venue::name);
    if let Some(word) = asked.exchanges.iter().find(|word| Venue::from_name(word).is_none()) {
        let near = did_you_mean(word, &venues);
        let allowed = venues.join(", ");
        let why = format!("unknown exchange {word:?}; allowed: {allowed}{near}");
        return Err(usage("--exchange", why));
    }
    let is_none = |word: &&String| {
        !Venue::ALL.iter().any(|&venue| Market::find(venue, word.as_str()).is_some())
    };
    if let Some(word) = asked.contract_types.iter().find(is_none) {
        let mut names: Vec<&str> =
            Market::all().map(|market| market.contract_type().name()).collect();
        names.sort_unstable();
        names.dedup();
        let near = did_you_mean(word, &names);
        let why = format!("unknown contract type {word:?}; allowed: {}{near}", names.join(", "));
        return Err(usage("--contract-type", why));
    }
    let unknown = |word: &String| {
        Interval::from_name(word).is_none().then(|| find_interval(word).err()).flatten()
    };
    match asked.intervals.iter().find_map(unknown) {
        Some(why) => Err(usage("--interval", why)),
        None => Ok(()),
    }
}

fn nothing(filter: &Filter<'_>, word: &str, all: &[&StoredSeries], path: &Path) -> Failure {
    let symbols: Vec<&str> = all.iter().map(|series| &*series.instrument.symbol).collect();
    let near = match filter.option {
        "--symbol" => did_you_mean(word, &symbols),
        _ => String::new(),
    };
    Failure::Failed(format!(
        "nothing in the ledger {} matches {} {word} with the other options{near}. {}",
        path.display(),
        filter.option,
        listed(all)
    ))
}

/// The series there are, at most [`LISTED_MAX`] by name.
pub(super) fn listed(all: &[&StoredSeries]) -> String {
    if all.is_empty() {
        return "It has no series".to_owned();
    }
    let named = all.iter().take(LISTED_MAX).map(|series| name(&series.instrument));
    let mut text = format!("It has {}", named.collect::<Vec<_>>().join(", "));
    if let Some(more @ 1..) = all.len().checked_sub(LISTED_MAX) {
        text += &format!(" and {more} more");
    }
    text
}

/// `binance spot BTCUSDT 1m`.
pub(super) fn name(instrument: &Instrument) -> String {
    let Instrument { market, symbol, interval } = instrument;
    format!("{market} {symbol} {}", interval.name())
}

/// The part of each series between the two times of `asked`; those without such a part are left
/// out.
///
/// # Errors
/// Nothing is left.
pub(super) fn within(
    series: Vec<StoredSeries>,
    asked: &ExportArguments,
) -> Result<Vec<Chosen>, Failure> {
    if let (Some(from), Some(to)) = (asked.from, asked.to)
        && from >= to
    {
        let why = format!("--from {from} must lie before --to {to}, which is not exported itself");
        return Err(Failure::Usage(why));
    }
    let part = |series: &StoredSeries| {
        let (interval, span) = (series.instrument.interval, series.span);
        let opens_after = |at: UnixMs| interval.open_time(UnixMs(at.0 + interval.ms() - 1));
        let first = asked.from.map_or(span.first, |from| span.first.max(opens_after(from)));
        let last = asked
            .to
            .map_or(span.last, |to| span.last.min(UnixMs(opens_after(to).0 - interval.ms())));
        Span::new(first, last)
    };
    let chosen: Vec<Chosen> =
        series.iter().filter_map(|one| Some((one.clone(), part(one)?))).collect();
    if chosen.is_empty() {
        return Err(Failure::Failed(outside(&series)));
    }
    Ok(chosen)
}

/// Says that none of `series` has a window between the two times.
pub(super) fn outside(series: &[StoredSeries]) -> String {
    let first = series.iter().map(|one| one.span.first).min();
    let last = series.iter().map(|one| one.span.last).max();
    match (first, last) {
        (Some(first), Some(last)) => format!(
            "no known window lies between these times: the {} series that match have windows from \
             {first} to {last}",
            series.len()
        ),
        _ => "no series matches".to_owned(),
    }
}

/// As many names as one reads.
const LISTED_MAX: usize = 20;
