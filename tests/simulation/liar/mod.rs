//! A lying exchange: stands between the simulated exchanges and the server, and changes what one
//! market sends. Owns which lies are active until when; what must come of them is in
//! [`super::lying`].

mod answers;
mod forge;
mod lie;
mod refusals;

use std::collections::BTreeMap;
use std::time::Duration;

use connector_wss::clock::MonoNs;
use connector_wss::market::Market;
use connector_wss::messages::RestResponse;
use connector_wss::sim::exchange::ConnectionId;
use connector_wss::venue;
use serde_json::Value;

use self::answers::{
    BLOCKS, Page, add_row_ahead, corrupt_one, edit, of_another, repeat_rows, set_date,
    shift_server_time,
};
use self::forge::Times;
pub(crate) use self::lie::Lie;
use self::refusals::Refusal;

use super::dice::Dice;

/// A lie that is active.
#[derive(Clone, Copy, Debug)]
struct Active {
    lie: Lie,
    began: MonoNs,
    until: MonoNs,
    /// When something is sent for it next that nothing honest brings on.
    next: MonoNs,
}

/// What becomes of a frame of the server's.
pub(crate) enum Received {
    /// The exchange gets this text.
    Forwarded(String),
    /// The exchange gets nothing; these come back.
    Answered(Vec<Reply>),
}

/// What the liar itself sends on a connection, or does to it.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Text(String),
    Ping,
    /// That it will be closed soon, and all others of the market.
    Notice,
    Close,
    Cut,
}

/// Which market lies, and how at present.
pub(crate) struct Liar {
    pub(crate) market: Market,
    /// The symbol that its refusals, its list and its wrong times are about.
    pub(crate) culprit: String,
    dice: Dice,
    symbols: Vec<String>,
    active: Vec<Active>,
    /// By connection: everything that was asked for on it, and the newest push.
    asked: BTreeMap<ConnectionId, String>,
    pushed: BTreeMap<ConnectionId, String>,
    /// Connections that are to be cut, and when.
    cuts: Vec<(MonoNs, ConnectionId)>,
    pinged_at: MonoNs,
    answers: u64,
    pub(crate) lies: u64,
}

impl Liar {
    /// `symbols`: all of the market, so that the one that a push is about can be found.
    pub(crate) fn new(market: Market, culprit: String, symbols: Vec<String>, dice: Dice) -> Self {
        Self {
            market,
            culprit,
            dice,
            symbols,
            active: Vec::new(),
            asked: BTreeMap::new(),
            pushed: BTreeMap::new(),
            cuts: Vec::new(),
            pinged_at: MonoNs(0),
            answers: 0,
            lies: 0,
        }
    }

    pub(crate) fn begin(&mut self, lie: Lie, now: MonoNs, until: MonoNs) {
        self.active.push(Active { lie, began: now, until, next: now });
    }

    pub(crate) fn stop(&mut self) {
        self.active.clear();
        self.cuts.clear();
    }

    /// Whether it reads nothing from the connections that it has.
    pub(crate) fn is_flooding(&self, now: MonoNs) -> bool {
        let is_fresh = |one: &Active| now < one.until && now < one.began.after(FLOOD);
        self.active.iter().any(|one| one.lie == Lie::Pings && is_fresh(one))
    }

    /// Whether pongs still come for its pings.
    pub(crate) fn has_pinged(&self, market: Market, now: MonoNs) -> bool {
        market == self.market && now < self.pinged_at.after(FLOOD)
    }

    pub(crate) fn is_active(&self, lie: impl Fn(Lie) -> bool, now: MonoNs) -> bool {
        self.active.iter().any(|one| now < one.until && lie(one.lie))
    }

    /// The lies about `market` that are active now.
    fn now(&self, market: Market, now: MonoNs) -> Vec<Lie> {
        let is_same_host = venue::budget_group(market) == venue::budget_group(self.market);
        let is_meant = |one: &&Active| {
            now < one.until && (market == self.market || one.lie.is_to_address() && is_same_host)
        };
        self.active.iter().filter(is_meant).map(|one| one.lie).collect()
    }

    /// The page instead of an accepted handshake: status, header lines, type, body.
    pub(crate) fn handshake(&mut self, market: Market, now: MonoNs) -> Option<(Page, String)> {
        let refused = self.now(market, now).into_iter().find_map(|lie| match lie {
            Lie::Blocked(which) => Some((BLOCKS[which], BLOCKS[which].header.to_owned())),
            Lie::TooMany(wait) => {
                let page = Page { status: 429, header: "", body: "{}", ..BLOCKS[2] };
                Some((page, format!("Retry-After: {wait}\r\n")))
            }
            _ => None,
        });
        self.lies += u64::from(refused.is_some());
        refused
    }

    /// A text frame of the server came.
    pub(crate) fn receive(
        &mut self,
        market: Market,
        id: ConnectionId,
        text: &str,
        now: MonoNs,
    ) -> Received {
        if market != self.market || !refusals::is_subscribe(text) {
            return Received::Forwarded(text.to_owned());
        }
        self.asked.entry(id).or_default().push_str(text);
        for lie in self.now(market, now) {
            let is_named = refusals::names(text, &self.culprit);
            let answer = match lie {
                Lie::Full => refusals::full(market, text).map(|words| vec![Reply::Text(words)]),
                Lie::CostsSession(0) if is_named => Some(vec![Reply::Cut]),
                Lie::CostsSession(ms) if is_named => {
                    self.lies += 1;
                    self.cuts.push((now.after(Duration::from_millis(ms)), id));
                    None
                }
                Lie::Refuses(form) if is_named => {
                    let Refusal { texts, is_closed } =
                        refusals::refusal(market, form, text, &self.culprit);
                    let close = is_closed.then_some(Reply::Close);
                    Some(texts.into_iter().map(Reply::Text).chain(close).collect())
                }
                _ => None,
            };
            if let Some(answer) = answer {
                self.lies += 1;
                return Received::Answered(answer);
            }
        }
        Received::Forwarded(text.to_owned())
    }

    /// What comes on a connection instead of a text of the exchange's.
    pub(crate) fn push(
        &mut self,
        market: Market,
        id: ConnectionId,
        text: &str,
        now: MonoNs,
        now_ms: i64,
    ) -> Vec<String> {
        let mut texts = vec![text.to_owned()];
        if market != self.market {
            return texts;
        }
        let Ok(honest) = serde_json::from_str::<Value>(text) else { return texts };
        let mut is_push = false;
        forge::for_each_candle(&mut honest.clone(), &mut |_| is_push = true);
        if !is_push {
            return texts;
        }
        self.pushed.insert(id, text.to_owned());
        for lie in self.now(market, now) {
            self.lies += 1;
            match lie {
                Lie::PushTimes(times, by_ms)
                    if self.symbol_of(text) == Some(&*self.culprit)
                        && may_be_wrong_by(text, by_ms) =>
                {
                    let mut value = honest.clone();
                    forge::shift_times(&mut value, times, by_ms, now_ms);
                    if times != Times::Events && self.dice.one_in(3) {
                        forge::flag_closed(&mut value);
                    }
                    // Of a series that has not begun nothing is known from which that were a jump.
                    texts = match by_ms.abs() < JUMP_MS {
                        true => vec![text.to_owned(), value.to_string()],
                        false => self.beside(text, value),
                    };
                }
                Lie::PushValues => {
                    let mut value = honest.clone();
                    let dice = &mut self.dice;
                    let corrupt = |candle: &mut Value| {
                        forge::corrupt(market, candle, dice);
                    };
                    forge::for_each_candle(&mut value, &mut { corrupt });
                    texts = self.beside(text, value);
                }
                Lie::Repeats => texts = vec![text.to_owned(); REPEATS],
                Lie::Strangers => texts.extend(self.of_strangers(text)),
                _ => self.lies -= 1,
            }
        }
        texts
    }

    /// A changed push comes instead of the honest one, or beside it.
    fn beside(&mut self, text: &str, changed: Value) -> Vec<String> {
        let changed = changed.to_string();
        match self.dice.below(3) {
            0 => vec![changed],
            1 => vec![text.to_owned(), changed],
            _ => vec![changed, text.to_owned()],
        }
    }

    /// The symbol that a push is about.
    fn symbol_of(&self, text: &str) -> Option<&str> {
        let named = self.symbols.iter().filter(|symbol| text.contains(symbol.as_str()));
        named.max_by_key(|symbol| symbol.len()).map(|symbol| symbol.as_str())
    }

    /// The push, once for each of some symbols that do not exist.
    fn of_strangers(&self, text: &str) -> Vec<String> {
        let Some(symbol) = self.symbol_of(text) else { return Vec::new() };
        let strange = |number| text.replace(symbol, &format!("ZZZ{number}{symbol}"));
        (0..STRANGERS).map(strange).collect()
    }

    /// What is sent by itself now, to connections of the market.
    pub(crate) fn advance(
        &mut self,
        links: &[ConnectionId],
        now: MonoNs,
    ) -> Vec<(ConnectionId, Reply)> {
        let is_due = |cut: &mut (MonoNs, ConnectionId)| cut.0 <= now;
        let cuts = self.cuts.extract_if(.., is_due);
        let mut replies: Vec<(ConnectionId, Reply)> =
            cuts.map(|(_, id)| (id, Reply::Cut)).collect();
        let mut active = std::mem::take(&mut self.active);
        for one in active.iter_mut().filter(|one| one.next <= now && now < one.until) {
            match one.lie {
                Lie::Pings => {
                    one.next = now.after(PINGS_EACH);
                    self.pinged_at = now;
                    let pings = links.iter().flat_map(|&id| (0..PINGS).map(move |_| id));
                    replies.extend(pings.map(|id| (id, Reply::Ping)));
                }
                Lie::Rubbish => {
                    one.next = now.after(self.dice.ms(50, 3_000));
                    for &id in links {
                        replies.push((id, Reply::Text((*self.dice.pick(&RUBBISH)).to_owned())));
                    }
                }
                Lie::Notices => {
                    one.next = now.after(Duration::from_secs(1));
                    replies.extend(links.first().map(|&id| (id, Reply::Notice)));
                }
                Lie::Foreign => {
                    one.next = now.after(self.dice.ms(200, 3_000));
                    replies.extend(self.foreign(links));
                }
                _ => one.next = one.until,
            }
        }
        self.active = active;
        self.lies += replies.len() as u64;
        replies
    }

    /// What one connection was sent, changed, for another one that has not asked for it.
    fn foreign(&mut self, links: &[ConnectionId]) -> Option<(ConnectionId, Reply)> {
        if links.is_empty() {
            return None;
        }
        let (&from, &to) = (self.dice.pick(links), self.dice.pick(links));
        let text = self.pushed.get(&from)?;
        let symbol = self.symbol_of(text)?;
        let asked = self.asked.get(&to).map_or("", |asked| asked.as_str());
        if from == to || refusals::names(asked, symbol) {
            return None;
        }
        let mut value: Value = serde_json::from_str(text).unwrap();
        let market = self.market;
        forge::for_each_candle(&mut value, &mut |candle| forge::inflate(market, candle));
        if self.dice.one_in(2) {
            forge::flag_closed(&mut value);
        }
        Some((to, Reply::Text(value.to_string())))
    }

    /// When [`Self::advance`] has something to send.
    pub(crate) fn next_deadline(&self) -> Option<MonoNs> {
        let due = self.active.iter().flat_map(|one| [one.next.min(one.until), one.until]);
        due.chain(self.cuts.iter().map(|cut| cut.0)).min()
    }

    /// Forgets the lies that have ended.
    pub(crate) fn tidy(&mut self, now: MonoNs) {
        self.active.retain(|one| now < one.until);
    }

    /// The symbol that the list calls halted.
    pub(crate) fn halted(&self, market: Market, now: MonoNs) -> Option<&str> {
        self.now(market, now).contains(&Lie::Halted).then_some(&*self.culprit)
    }

    /// How old the candles of the next REST answer are.
    pub(crate) fn rest_age(&mut self, market: Market, now: MonoNs) -> Option<Duration> {
        let lies = self.now(market, now);
        self.answers += 1;
        let is_old = lies.contains(&Lie::RestOld)
            || lies.contains(&Lie::RestAhead)
            || lies.contains(&Lie::RestNodes) && self.answers.is_multiple_of(2);
        self.lies += u64::from(is_old);
        is_old.then_some(REST_AGE)
    }

    /// Changes a REST answer, whose candles are `age` old. `Retry-After` is given as it is written.
    pub(crate) fn answer(
        &mut self,
        market: Market,
        response: &mut RestResponse,
        age: Option<Duration>,
        (now, now_ms): (MonoNs, i64),
    ) -> Option<&'static str> {
        if let Some(age) = age {
            let age_ms = i64::try_from(age.as_millis()).unwrap();
            edit(response, |value| shift_server_time(value, age_ms, now_ms));
        }
        let mut wait = None;
        for lie in self.now(market, now) {
            self.lies += 1;
            match lie {
                Lie::RestDate(by_ms) => {
                    set_date(response, now_ms.saturating_add(by_ms));
                    edit(response, |value| shift_server_time(value, by_ms, now_ms));
                }
                Lie::RestTimes(by_ms) => edit(response, |value| {
                    forge::for_each_candle(value, &mut |candle| {
                        forge::shift_times(candle, Times::Windows, by_ms, now_ms);
                    });
                }),
                Lie::RestValues => {
                    let dice = &mut self.dice;
                    edit(response, |value| corrupt_one(market, value, dice));
                }
                Lie::RestAhead => edit(response, |value| add_row_ahead(value, now_ms)),
                Lie::RestOther => edit(response, |value| of_another(market, value)),
                Lie::RestHuge => repeat_rows(response),
                Lie::Blocked(which) => {
                    let Page { status, body, .. } = BLOCKS[which];
                    (response.status, response.body) = (status, body.as_bytes().to_vec());
                    response.limit_headers.retain(|(name, _)| name == "date");
                }
                Lie::TooMany(text) => {
                    (response.status, response.body) = (429, b"{}".to_vec());
                    wait = Some(text);
                }
                _ => self.lies -= 1,
            }
        }
        wait
    }
}

/// A shift by less than a new clock is believed at once can be recognised only where windows
/// are shorter.
fn may_be_wrong_by(text: &str, by_ms: i64) -> bool {
    let is_minute =
        ["\"1m\"", "candle1m\"", "kline.1.", "\"1m_"].iter().any(|it| text.contains(it));
    is_minute || by_ms.abs() >= 900_000
}

const RUBBISH: [&str; 12] = [
    "Websocket connection established.",
    "404 page not found",
    "<html><body>502 Bad Gateway</body></html>",
    "",
    " ",
    "null",
    "[]",
    "{}",
    "17",
    "\u{feff}{}",
    "{\"e\":\"kline\"",
    "{\"channel\":\"candle\",\"data\":null,\"k\":[],\"data\":{\"t\":{}}}",
];

/// What is nearer to now is believed of one source, unless it leaves windows out. Source: an
/// interval and five minutes, of the longest interval here.
const JUMP_MS: i64 = 600_001;
const REST_AGE: Duration = Duration::from_secs(90);
const REPEATS: usize = 30;
const STRANGERS: usize = 20;
/// Source: what 3 GB of pongs were seen to take.
const FLOOD: Duration = Duration::from_secs(15);
const PINGS: usize = 50;
const PINGS_EACH: Duration = Duration::from_millis(50);
