//! What exchanges deny us at the moment, for `/ready` and the page. The duration comes from the
//! pauses of the shards, the text from their notices. Only the ops core uses it, so that no other
//! core waits.

use std::collections::HashMap;

use crate::clock::MonoNs;
use crate::feed::{LimitedAction, Pauses};
use crate::market::Market;
use crate::messages::{EventName, Notice};
use crate::venue;

/// The newest notice about each denial. It does not hold the duration, because an answer to another
/// market may extend a pause without a notice.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    /// By the market of the budget group's name, and what was denied.
    words: HashMap<(Market, Kind), String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Rest,
    Sessions,
}

impl Denials {
    /// Keeps the text of a notice about a denial.
    pub(crate) fn note(&mut self, notice: &Notice) {
        let kind = match notice.event {
            EventName::RestDenied | EventName::RestLimited => Kind::Rest,
            EventName::SessionsDenied => Kind::Sessions,
            _ => return,
        };
        if let Some(market) = notice.about.market {
            let what = notice.text.split(": asking again in").next().unwrap_or_default();
            self.words.insert((venue::budget_group(market), kind), what.to_owned());
        }
    }

    /// What `market` denies us now, if anything.
    pub(crate) fn of(&self, market: Market, pauses: &Pauses, now: MonoNs) -> Option<String> {
        let group = venue::budget_group(market);
        let kinds = [(Kind::Rest, LimitedAction::Rest), (Kind::Sessions, LimitedAction::Connect)];
        let denied = kinds.into_iter().filter_map(|(kind, on)| {
            let lasting = pauses.denied_for(market, on, now)?;
            let what = if kind == Kind::Rest { "REST" } else { "new sessions" };
            let said = format!("HTTP {}", lasting.status);
            // If the text names another status, it belongs to an earlier pause.
            let fits = |words: &&String| lasting.status == 0 || words.contains(&said);
            let words = self.words.get(&(group, kind)).filter(fits).cloned();
            let words = words.unwrap_or_else(|| format!("{what} denied ({said})"));
            Some(format!("{words}: asking again in {} s", lasting.wait.as_secs()))
        });
        let texts: Vec<_> = denied.collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}
