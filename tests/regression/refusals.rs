//! What an exchange refuses, ignores or ends costs only the name at fault, and a limit costs
//! nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use connector_wss::feed::{FeedConfig, SessionId};
use connector_wss::market::{
    Instrument, InstrumentId, Interval, Listed, Market, SymbolList, Venue,
};
use connector_wss::messages::{Command, EventName, FeedEvent, MarketEvent};
use connector_wss::metrics::ConnectionErrorKind;

use crate::cases::case;
use crate::pair::{Pair, START_MS, config, kline};

const SECOND: Duration = Duration::from_secs(1);
const TURN: Duration = Duration::from_millis(200);

/// What the exchange does about a text.
pub(crate) enum Act {
    Text(String),
    Close(u16, String),
    Cut,
}

/// An exchange that answers each text of ours as `answer` says, 200 ms later.
pub(crate) struct StandIn<F> {
    pub(crate) pair: Pair,
    market: Market,
    read: BTreeMap<SessionId, usize>,
    answer: F,
}

impl<F: FnMut(Published<'_>) -> Vec<Act>> StandIn<F> {
    pub(crate) fn new(market: Market, config: FeedConfig, answer: F) -> Self {
        let mut pair = Pair::with(config);
        pair.manners.is_mute = true;
        pair.manners.is_still = true;
        Self { pair, market, read: BTreeMap::new(), answer }
    }

    pub(crate) fn subscribe(&mut self, ids: std::ops::Range<u32>, name: impl Fn(u32) -> String) {
        for id in ids {
            let (market, symbol) = (self.market, name(id).into());
            let instrument = Instrument { market, symbol, interval: Interval::M1 };
            let command = Command::Subscribe { id: InstrumentId(id), instrument, tail: Vec::new() };
            self.pair.feed.handle_command(command, self.pair.now);
        }
        self.pair.pump();
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.pair.now.mono.after(time);
        while self.pair.now.mono < end {
            self.pair.pass(TURN);
            for (id, text) in self.unread() {
                let now = self.pair.now.mono.0;
                if let Some(pong) = pong(&text) {
                    self.pair.push_to(id, pong);
                }
                for act in (self.answer)(Published { session: id, text: &text, now }) {
                    match act {
                        Act::Text(text) => self.pair.push_to(id, &text),
                        Act::Close(code, reason) => self.pair.close(id, code, &reason),
                        Act::Cut if self.pair.peers.contains_key(&id) => self.pair.cut_one(id),
                        Act::Cut => {}
                    }
                }
            }
        }
    }

    fn unread(&mut self) -> Vec<(SessionId, String)> {
        let mut found = Vec::new();
        for (&id, peer) in &self.pair.peers {
            let read = self.read.entry(id).or_default();
            found.extend(peer.texts[*read..].iter().map(|text| (id, text.clone())));
            *read = peer.texts.len();
        }
        found
    }

    pub(crate) fn rejected(&self) -> Vec<(u32, String, String)> {
        let rejection = |event: &FeedEvent| match event {
            FeedEvent::Rejected { instrument, message, exchange_message, .. } => {
                Some((instrument.0, message.clone(), exchange_message.clone()))
            }
            _ => None,
        };
        self.pair.events.iter().filter_map(rejection).collect()
    }

    fn notices(&self, event: EventName) -> Vec<&str> {
        let notices = self.pair.notices.iter().filter(|notice| notice.event == event);
        notices.map(|notice| &*notice.text).collect()
    }

    /// How often a connection was lost or did not come up.
    pub(crate) fn losses(&self) -> u64 {
        let metrics = self.pair.metrics.market(self.market);
        let kinds = metrics.connection_errors.iter();
        kinds.map(|kind| kind.value()).sum()
    }

    pub(crate) fn assert_breaker_is_closed(&self) {
        assert_eq!(self.pair.metrics.market(self.market).breaker_state.value(), 0);
        assert!(self.notices(EventName::BreakerOpen).is_empty());
    }
}

/// The answer to a heartbeat of ours.
fn pong(text: &str) -> Option<&'static str> {
    match text {
        "ping" => Some("pong"),
        r#"{"method":"ping"}"# => Some(r#"{"channel":"pong"}"#),
        r#"{"op":"ping"}"# => {
            Some(r#"{"success":true,"ret_msg":"pong","conn_id":"d","op":"ping"}"#)
        }
        _ if text.contains("futures.ping") => {
            Some(r#"{"time":1,"channel":"futures.pong","event":"","result":null}"#)
        }
        _ => None,
    }
}

/// A text of ours.
#[derive(Clone, Copy)]
pub(crate) struct Published<'a> {
    pub(crate) session: SessionId,
    pub(crate) text: &'a str,
    pub(crate) now: u64,
}

pub(crate) fn market(venue: Venue, contract_type: &str) -> Market {
    Market::find(venue, contract_type).unwrap()
}

pub(crate) fn good(id: u32) -> String {
    format!("S{id}USDT")
}

/// Symbols of a message in Binance's dialect, in upper case; and its id. Nothing for what is no
/// SUBSCRIBE.
pub(crate) fn binance_names(text: &str) -> Option<(Vec<String>, i64)> {
    let message: serde_json::Value = serde_json::from_str(text).ok()?;
    (message["method"] == "SUBSCRIBE").then_some(())?;
    let names = message["params"].as_array()?.iter();
    let names = names.map(|name| name.as_str().unwrap().split('@').next().unwrap().to_uppercase());
    Some((names.collect(), message["id"].as_i64()?))
}

pub(crate) fn binance_accepts((names, id): &(Vec<String>, i64)) -> Vec<Act> {
    let accepted = Act::Text(format!(r#"{{"result":null,"id":{id}}}"#));
    let pushes = names.iter().map(|name| Act::Text(kline(name, 0, "2", false, START_MS)));
    std::iter::once(accepted).chain(pushes).collect()
}

/// A spot market of Binance on which 40 symbols are streamed already, and that refuses what
/// contains `bad` by `refuse`.
fn forty(
    bad: &'static str,
    mut refuse: impl FnMut(i64) -> Vec<Act>,
) -> StandIn<impl FnMut(Published<'_>) -> Vec<Act>> {
    let answer = move |told: Published<'_>| match binance_names(told.text) {
        Some((names, id)) if names.iter().any(|name| name.contains(bad)) => refuse(id),
        Some(names) => binance_accepts(&names),
        None => Vec::new(),
    };
    let mut exchange = StandIn::new(market(Venue::Binance, "spot"), config(), answer);
    exchange.subscribe(0..40, good);
    exchange.run(SECOND * 25);
    assert_eq!((exchange.losses(), exchange.pair.connects.len()), (0, 1));
    exchange
}

/// The message of a case file, its `N` replaced by our id.
fn refusal(name: &str, id: i64) -> Option<String> {
    let case = case(name)?;
    Some(case["answers"][0].as_str().unwrap().replace(":N}", &format!(":{id}}}")))
}

#[test]
fn a_nested_refusal_and_a_close_cost_forty_neighbours_one_reconnect() {
    let Some(words) = refusal("binance-malformed-symbol", 0) else { return };
    let mut exchange = forty("BBB", move |_| {
        vec![Act::Text(words.clone()), Act::Close(1008, "policy".to_owned())]
    });
    exchange.subscribe(40..41, |_| "AAA_BBB".to_owned());
    exchange.run(SECOND * 60);
    let rejected = exchange.rejected();
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_eq!((rejected[0].0, &*rejected[0].2), (40, "Invalid request: invalid stream (2)"));
    assert_eq!((exchange.losses(), exchange.pair.connects.len()), (1, 2));
    exchange.assert_breaker_is_closed();
    assert!(exchange.notices(EventName::NotUnderstood).is_empty());
}

#[test]
fn a_bad_name_among_others_is_found_though_each_refusal_ends_the_session() {
    let Some(words) = refusal("binance-malformed-symbol", 0) else { return };
    let mut exchange =
        forty("BBB", move |_| vec![Act::Text(words.clone()), Act::Close(1008, String::new())]);
    exchange.subscribe(40..50, |id| if id == 44 { "AAA_BBB".to_owned() } else { good(id) });
    exchange.run(SECOND * 60);
    let rejected = exchange.rejected();
    assert_eq!(rejected.iter().map(|one| one.0).collect::<Vec<_>>(), [44], "{rejected:?}");
    let lost = exchange.pair.events.iter().filter(|event| match event {
        FeedEvent::SessionLost { instruments, .. } => instruments.contains(&InstrumentId(0)),
        _ => false,
    });
    assert_eq!(lost.count(), 1, "the 40 were lost once");
    let delivered: std::collections::BTreeSet<u32> =
        exchange.pair.candles().iter().map(|update| update.instrument.0).collect();
    assert_eq!(delivered.len(), 49, "all others are served");
    exchange.assert_breaker_is_closed();
}

#[test]
fn a_bad_name_in_the_first_message_of_a_session_is_found() {
    let Some(words) = refusal("binance-malformed-symbol", 0) else { return };
    let answer = move |told: Published<'_>| match binance_names(told.text) {
        Some((names, _)) if names.iter().any(|name| name == "AAA_BBB") => {
            vec![Act::Text(words.clone()), Act::Close(1008, String::new())]
        }
        Some(names) => binance_accepts(&names),
        None => Vec::new(),
    };
    let mut exchange = StandIn::new(market(Venue::Binance, "spot"), config(), answer);
    exchange.pair.manners.refuses_tcp = true;
    exchange.subscribe(0..41, |id| if id == 17 { "AAA_BBB".to_owned() } else { good(id) });
    exchange.pair.manners.refuses_tcp = false;
    exchange.run(SECOND * 40);
    let rejected = exchange.rejected();
    assert_eq!(rejected.iter().map(|one| one.0).collect::<Vec<_>>(), [17], "{rejected:?}");
    let delivered: std::collections::BTreeSet<u32> =
        exchange.pair.candles().iter().map(|update| update.instrument.0).collect();
    assert_eq!(delivered.len(), 40);
    exchange.assert_breaker_is_closed();
}

#[test]
fn a_nested_refusal_with_an_id_ends_the_bad_name_and_no_session() {
    if case("binance-malformed-symbol-with-id").is_none() {
        return;
    }
    let mut exchange = forty("BBB", |id| {
        vec![Act::Text(refusal("binance-malformed-symbol-with-id", id).unwrap())]
    });
    exchange.subscribe(40..50, |id| if id == 44 { "AAA_BBB".to_owned() } else { good(id) });
    exchange.run(SECOND * 30);
    let rejected = exchange.rejected();
    assert_eq!(rejected.iter().map(|one| one.0).collect::<Vec<_>>(), [44], "{rejected:?}");
    assert_eq!((exchange.losses(), exchange.pair.connects.len()), (0, 1));
    let delivered: std::collections::BTreeSet<u32> =
        exchange.pair.candles().iter().map(|update| update.instrument.0).collect();
    assert_eq!(delivered.len(), 49);
}

#[test]
fn a_refusal_that_names_the_stream_ends_it_alone() {
    let words = |id| {
        let error =
            r#"{"code":2,"msg":"Invalid request: invalid stream","data":"aaa_bbb@kline_1m"}"#;
        vec![Act::Text(format!(r#"{{"error":{error},"id":{id}}}"#))]
    };
    let mut exchange = forty("BBB", words);
    exchange.subscribe(40..50, |id| if id == 44 { "AAA_BBB".to_owned() } else { good(id) });
    exchange.run(SECOND * 5);
    assert_eq!(exchange.rejected().iter().map(|one| one.0).collect::<Vec<_>>(), [44]);
    assert_eq!(exchange.losses(), 0);
}

#[test]
fn too_many_subscriptions_reject_nobody() {
    if case("binance-too-many-nested").is_none() {
        return;
    }
    let mut exchange =
        forty("FULL", |id| vec![Act::Text(refusal("binance-too-many-nested", id).unwrap())]);
    exchange.subscribe(40..41, |_| "FULLUSDT".to_owned());
    exchange.run(SECOND * 150);
    assert!(exchange.rejected().is_empty(), "{:?}", exchange.rejected());
    assert_eq!(exchange.losses(), 0, "{:?}", exchange.pair.notices);
    let texts = exchange.pair.peers.values().flat_map(|peer| &peer.texts);
    let asked = texts.filter(|text| text.contains("fullusdt")).count();
    assert!((3..=5).contains(&asked), "on another session, then once a minute: {asked}");
    assert_eq!(exchange.pair.connects.len(), 2);
}

#[test]
fn no_message_to_binance_is_longer_than_it_reads() {
    let answer = |told: Published<'_>| {
        assert!(told.text.len() <= 4096, "{} bytes are ignored", told.text.len());
        binance_names(told.text).as_ref().map(binance_accepts).unwrap_or_default()
    };
    let settings = FeedConfig { max_symbols_per_session: 200, ..config() };
    let mut exchange = StandIn::new(market(Venue::Binance, "spot"), settings, answer);
    exchange.pair.manners.refuses_tcp = true;
    exchange.subscribe(0..100, |id| format!("{:A>44}", good(id)));
    exchange.pair.manners.refuses_tcp = false;
    exchange.run(SECOND * 5);
    assert_eq!(exchange.pair.candles().len(), 100);
    assert_eq!(exchange.pair.peers.len(), 1);
}

#[test]
fn a_name_that_stays_unanswered_is_rejected_and_costs_no_session() {
    let mut exchange = forty("MUTE", |_| Vec::new());
    exchange.subscribe(40..50, |id| if id == 44 { "MUTEUSDT".to_owned() } else { good(id) });
    for second in 0..120 {
        exchange.run(SECOND);
        exchange.pair.push(&kline("S0USDT", 0, "3", false, START_MS + second));
    }
    let rejected = exchange.rejected();
    assert_eq!(rejected.iter().map(|one| one.0).collect::<Vec<_>>(), [44], "{rejected:?}");
    assert!(rejected[0].1.contains("does not answer"), "{}", rejected[0].1);
    assert_eq!((exchange.losses(), exchange.pair.connects.len()), (0, 1));
    let delivered: std::collections::BTreeSet<u32> =
        exchange.pair.candles().iter().map(|update| update.instrument.0).collect();
    assert_eq!(delivered.len(), 49);
}

#[test]
fn a_name_that_stays_unanswered_where_little_is_traded_costs_one_reconnect() {
    let mut exchange = forty("MUTE", |_| Vec::new());
    exchange.subscribe(40..41, |_| "MUTEUSDT".to_owned());
    for minute in 0..10 {
        exchange.run(SECOND * 30);
        exchange.pair.push(&kline("S0USDT", minute, "3", false, START_MS + minute * 60_000));
    }
    let rejected = exchange.rejected();
    assert_eq!(rejected.iter().map(|one| one.0).collect::<Vec<_>>(), [40], "{rejected:?}");
    let lost = exchange.pair.events.iter().filter(|event| match event {
        FeedEvent::SessionLost { instruments, .. } => instruments.contains(&InstrumentId(0)),
        _ => false,
    });
    assert_eq!(lost.count(), 1, "the 40 were lost once");
    exchange.assert_breaker_is_closed();
}

#[test]
fn a_name_that_is_accepted_and_then_costs_the_session_is_found() {
    let mut deadly: Vec<(SessionId, u64)> = Vec::new();
    let answer = move |told: Published<'_>| {
        let Some(names) = binance_names(told.text) else { return Vec::new() };
        if !names.0.iter().any(|name| name == "DEADLYUSDT") {
            return binance_accepts(&names);
        }
        deadly.push((told.session, told.now));
        let accepted = Act::Text(format!(r#"{{"result":null,"id":{}}}"#, names.1));
        let others: Vec<_> = names.0.into_iter().filter(|name| name != "DEADLYUSDT").collect();
        let pushes = binance_accepts(&(others, 0)).split_off(1);
        std::iter::once(accepted).chain(pushes).chain([Act::Cut]).collect()
    };
    let mut exchange = StandIn::new(market(Venue::Binance, "spot"), config(), answer);
    exchange.subscribe(0..40, good);
    exchange.run(SECOND * 25);
    exchange.subscribe(40..41, |_| "DEADLYUSDT".to_owned());
    for second in 0..120 {
        exchange.run(SECOND);
        exchange.pair.push(&kline("S0USDT", 0, "3", false, START_MS + second));
    }
    let rejected = exchange.rejected();
    assert_eq!(rejected.iter().map(|one| one.0).collect::<Vec<_>>(), [40], "{rejected:?}");
    assert!(rejected[0].1.contains("drops the connection"), "{}", rejected[0].1);
    let lost = exchange.pair.events.iter().filter(|event| match event {
        FeedEvent::SessionLost { instruments, .. } => instruments.contains(&InstrumentId(0)),
        _ => false,
    });
    assert_eq!(lost.count(), 1, "the 40 were lost once");
    exchange.assert_breaker_is_closed();
}

#[test]
fn an_outage_is_no_names_fault() {
    let end = 200_000_000_000;
    let answer = move |told: Published<'_>| match binance_names(told.text) {
        Some(_) if told.now < end => vec![Act::Cut],
        Some(names) => binance_accepts(&names),
        None => Vec::new(),
    };
    for count in [1, 3, 60] {
        let spot = market(Venue::Binance, "spot");
        let mut exchange = StandIn::new(spot, config(), answer);
        exchange.subscribe(0..count, good);
        exchange.run(SECOND * 600);
        assert!(exchange.rejected().is_empty(), "{:?}", exchange.rejected());
        let delivered: std::collections::BTreeSet<u32> =
            exchange.pair.candles().iter().map(|update| update.instrument.0).collect();
        assert_eq!(delivered.len(), usize::try_from(count).unwrap());
        let sessions = exchange.pair.peers.len();
        assert!(sessions <= 4, "{count}: {sessions} sessions");
    }
}

#[test]
fn hyperliquids_silent_drop_is_kept_from_the_others_without_a_list() {
    let perp = market(Venue::Hyperliquid, "usdm");
    let answer = |told: Published<'_>| {
        let Some(coin) = hyperliquid_coin(told.text) else { return Vec::new() };
        if coin == "NOPE" { vec![Act::Cut] } else { hyperliquid_accepts(&coin) }
    };
    let mut exchange = StandIn::new(perp, config(), answer);
    exchange.subscribe(0..40, |id| format!("C{id}"));
    exchange.run(SECOND * 25);
    exchange.subscribe(40..41, |_| "NOPE".to_owned());
    for _ in 0..120 {
        exchange.run(SECOND);
        exchange.pair.push(&candle("C0"));
    }
    let rejected = exchange.rejected();
    assert_eq!(rejected.iter().map(|one| one.0).collect::<Vec<_>>(), [40], "{rejected:?}");
    let lost = exchange.pair.events.iter().filter(|event| match event {
        FeedEvent::SessionLost { instruments, .. } => instruments.contains(&InstrumentId(0)),
        _ => false,
    });
    assert_eq!(lost.count(), 1, "the 40 were lost once");
    exchange.assert_breaker_is_closed();
}

pub(crate) fn hyperliquid_coin(text: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(text).ok()?;
    (message["method"] == "subscribe").then_some(())?;
    Some(message["subscription"]["coin"].as_str()?.to_owned())
}

pub(crate) fn candle(coin: &str) -> String {
    let end = START_MS + 59_999;
    format!(
        r#"{{"channel":"candle","data":{{"t":{START_MS},"T":{end},"s":"{coin}","i":"1m","o":"1.5","c":"2","h":"9","l":"1","v":"2.5","n":7}}}}"#
    )
}

pub(crate) fn hyperliquid_accepts(coin: &str) -> Vec<Act> {
    let subscription = format!(r#"{{"type":"candle","interval":"1m","coin":"{coin}"}}"#);
    let accepted = format!(
        r#"{{"channel":"subscriptionResponse","data":{{"method":"subscribe","subscription":{subscription}}}}}"#
    );
    vec![Act::Text(accepted), Act::Text(candle(coin))]
}

#[test]
fn a_full_address_holds_a_coin_for_a_minute_and_rejects_it_not() {
    let Some(case) = case("hyperliquid-address-full") else { return };
    let words = case["answers"][0].as_str().unwrap().to_owned();
    let perp = market(Venue::Hyperliquid, "usdm");
    let mut freed_at = None;
    let answer = move |told: Published<'_>| {
        let Some(coin) = hyperliquid_coin(told.text) else { return Vec::new() };
        let first = freed_at.is_none();
        let freed = *freed_at.get_or_insert(told.now + 60_000_000_000);
        if first || told.now >= freed {
            hyperliquid_accepts(&coin)
        } else {
            vec![Act::Text(words.clone())]
        }
    };
    let mut exchange = StandIn::new(perp, config(), answer);
    exchange.subscribe(0..1, |_| "BTC".to_owned());
    exchange.run(SECOND * 5);
    exchange.pair.cut();
    exchange.run(SECOND * 30);
    let limits = exchange.notices(EventName::SubscriptionRefused);
    assert_eq!(limits.len(), 1, "{limits:?}");
    assert!(limits[0].contains("Cannot subscribe to more than 1000 channels."), "{}", limits[0]);
    exchange.run(SECOND * 60);
    assert!(exchange.rejected().is_empty(), "{:?}", exchange.rejected());
    assert_eq!((exchange.losses(), exchange.pair.connects.len()), (1, 2));
    let texts = exchange.pair.peers.values().flat_map(|peer| &peer.texts);
    assert_eq!(texts.filter(|text| text.contains("BTC")).count(), 2);
    let back = |event: &&FeedEvent| matches!(event, FeedEvent::SessionBack { .. });
    assert_eq!(exchange.pair.events.iter().filter(back).count(), 1);
}

#[test]
fn a_full_address_holds_what_runs_and_asks_for_the_rest_a_minute_later() {
    let Some(case) = case("hyperliquid-address-full-storm") else { return };
    let words = case["answers"][0].as_str().unwrap().to_owned();
    let perp = market(Venue::Hyperliquid, "usdm");
    let counted: Arc<std::sync::Mutex<Vec<(SessionId, u64)>>> = Arc::default();
    let streams = counted.clone();
    let answer = move |told: Published<'_>| {
        let Some(coin) = hyperliquid_coin(told.text) else { return Vec::new() };
        let mut streams = streams.lock().unwrap();
        streams.retain(|(_, until)| *until > told.now);
        if streams.len() >= 1000 {
            return vec![Act::Text(words.clone())];
        }
        streams.push((told.session, u64::MAX));
        hyperliquid_accepts(&coin)
    };
    let settings = FeedConfig { max_symbols_per_session: 90, ..config() };
    let mut exchange = StandIn::new(perp, settings, answer);
    exchange.subscribe(0..600, |id| format!("C{id}"));
    exchange.run(SECOND * 80);
    assert_eq!((exchange.pair.peers.len(), exchange.losses()), (7, 0));
    assert_eq!(counted.lock().unwrap().len(), 600);
    let dead_until = exchange.pair.now.mono.0 + 60_000_000_000;
    counted.lock().unwrap().iter_mut().for_each(|stream| stream.1 = dead_until);
    exchange.pair.cut();
    let cut = exchange.losses();
    exchange.run(SECOND * 50);
    let live = |exchange: &StandIn<_>| {
        let now = exchange.pair.now.mono.0;
        let live = counted.lock().unwrap();
        live.iter().filter(|stream| stream.1 == u64::MAX && stream.1 > now).count()
    };
    assert_eq!(live(&exchange), 400, "as many as fit");
    exchange.run(SECOND * 80);
    assert_eq!(live(&exchange), 600, "and the rest a minute later");
    assert_eq!((exchange.losses() - cut, exchange.rejected().len()), (0, 0));
    assert_eq!(exchange.pair.peers.len(), 7);
    let limits = exchange.notices(EventName::SubscriptionRefused);
    assert_eq!(limits.len(), 1, "{limits:?}");
}

#[test]
fn too_many_messages_a_minute_is_no_coins_fault() {
    let perp = market(Venue::Hyperliquid, "usdm");
    let mut is_first = true;
    let answer = move |told: Published<'_>| match hyperliquid_coin(told.text) {
        Some(_) if std::mem::take(&mut is_first) => {
            let words = "Cannot send more than 2000 messages per minute.";
            vec![Act::Text(format!(r#"{{"channel":"error","data":"{words}"}}"#))]
        }
        Some(coin) => hyperliquid_accepts(&coin),
        None => Vec::new(),
    };
    let mut exchange = StandIn::new(perp, config(), answer);
    exchange.subscribe(0..3, |id| format!("C{id}"));
    exchange.run(SECOND * 70);
    assert_eq!((exchange.rejected().len(), exchange.losses()), (0, 0));
    let delivered: std::collections::BTreeSet<u32> =
        exchange.pair.candles().iter().map(|update| update.instrument.0).collect();
    assert_eq!(delivered.len(), 3);
}

#[test]
fn a_greeting_in_words_is_no_error_and_hides_no_later_one() {
    let Some(case) = case("hyperliquid-greeting") else { return };
    let greeting = case["answers"][0].as_str().unwrap();
    for (venue, contract_type, text) in [
        (Venue::Hyperliquid, "usdm", greeting),
        (Venue::Hyperliquid, "usdm", "Welcome."),
        (Venue::Bybit, "linear", "connected"),
        (Venue::Binance, "spot", "pong"),
    ] {
        let market = market(venue, contract_type);
        let mut exchange = StandIn::new(market, config(), |_| Vec::new());
        exchange.subscribe(0..1, |_| "BTC".to_owned());
        exchange.pair.push(text);
        assert!(exchange.notices(EventName::NotUnderstood).is_empty(), "{venue:?}: {text}");
        let metrics = exchange.pair.metrics.market(market);
        assert_eq!(metrics.decode_errors.iter().map(|one| one.value()).sum::<u64>(), 0);
        exchange.pair.push("{odd}");
        assert_eq!(exchange.notices(EventName::NotUnderstood).len(), 1, "{venue:?}");
    }
}

pub(crate) fn okx_args(text: &str) -> Option<Vec<String>> {
    let message: serde_json::Value = serde_json::from_str(text).ok()?;
    (message["op"] == "subscribe").then_some(())?;
    let args = message["args"].as_array()?.iter();
    Some(args.map(|arg| arg["instId"].as_str().unwrap().to_owned()).collect())
}

pub(crate) fn okx_accepts(symbol: &str) -> Vec<Act> {
    let arg = format!(r#"{{"channel":"candle1m","instId":"{symbol}"}}"#);
    let row = format!(r#"["{START_MS}","1","3","1","2","5","4","5","0"]"#);
    vec![
        Act::Text(format!(r#"{{"event":"subscribe","arg":{arg},"connId":"x"}}"#)),
        Act::Text(format!(r#"{{"arg":{arg},"data":[{row}]}}"#)),
    ]
}

/// OKX, where 40 symbols are streamed already.
fn okx_forty(
    mut answer: impl FnMut(&[String], u64) -> Option<Vec<Act>>,
) -> StandIn<impl FnMut(Published<'_>) -> Vec<Act>> {
    let answer = move |told: Published<'_>| {
        let Some(args) = okx_args(told.text) else { return Vec::new() };
        let accepted = || args.iter().flat_map(|one| okx_accepts(one)).collect();
        answer(&args, told.now).unwrap_or_else(accepted)
    };
    let mut exchange = StandIn::new(market(Venue::Okx, "spot"), config(), answer);
    exchange.subscribe(0..40, |id| format!("S{id}-USDT"));
    exchange.run(SECOND * 5);
    assert_eq!((exchange.losses(), exchange.pair.connects.len()), (0, 1));
    exchange
}

#[test]
fn okx_names_a_symbol_with_a_dot_and_it_ends_alone() {
    let Some(case) = case("okx-refusal-with-dot") else { return };
    let words = case["answers"][0].as_str().unwrap().to_owned();
    let mut exchange = okx_forty(move |args, _| {
        let bad = args.iter().any(|arg| arg == "AAA-BBB.P").then(|| Act::Text(words.clone()))?;
        let others = args.iter().filter(|arg| *arg != "AAA-BBB.P");
        Some(std::iter::once(bad).chain(others.flat_map(|one| okx_accepts(one))).collect())
    });
    exchange.subscribe(40..41, |_| "AAA-BBB.P".to_owned());
    exchange.run(SECOND);
    let rejected = exchange.rejected();
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert!(rejected[0].2.contains("AAA-BBB.P doesn't exist"), "{}", rejected[0].2);
    exchange.run(SECOND * 20);
    assert_eq!((exchange.losses(), exchange.pair.connects.len()), (0, 1));
}

#[test]
fn okx_repeats_our_text_and_of_two_messages_the_right_one_is_refused() {
    let Some(case) = case("okx-refusal-two-in-flight") else { return };
    let words = case["answers"][0].as_str().unwrap().to_owned();
    let mut exchange = okx_forty(move |args, _| match &*args[0] {
        "ZZZ-BBB" => Some(vec![Act::Text(words.clone())]),
        "AAA-BBB" => Some(Vec::new()),
        _ => None,
    });
    exchange.subscribe(40..41, |_| "AAA-BBB".to_owned());
    exchange.subscribe(41..42, |_| "ZZZ-BBB".to_owned());
    exchange.run(SECOND * 3);
    for act in okx_accepts("AAA-BBB") {
        let Act::Text(text) = act else { continue };
        exchange.pair.push(&text);
    }
    exchange.run(SECOND * 20);
    let rejected = exchange.rejected();
    assert_eq!(rejected.iter().map(|one| one.0).collect::<Vec<_>>(), [41], "{rejected:?}");
    assert_eq!((exchange.losses(), exchange.pair.connects.len()), (0, 1));
}

#[test]
fn a_refusal_that_names_nothing_is_cleared_up_one_by_one() {
    let words = r#"{"event":"error","code":"60013","msg":"Invalid args","connId":"x"}"#;
    let mut exchange = okx_forty(move |args, _| {
        args.iter().any(|arg| arg == "ZZZ-BBB").then(|| vec![Act::Text(words.to_owned())])
    });
    exchange.subscribe(40..43, |id| match id {
        41 => "ZZZ-BBB".to_owned(),
        _ => format!("T{id}-BBB"),
    });
    exchange.run(SECOND * 30);
    let rejected = exchange.rejected();
    assert_eq!(rejected.iter().map(|one| one.0).collect::<Vec<_>>(), [41], "{rejected:?}");
    assert_eq!((exchange.losses(), exchange.pair.connects.len()), (0, 1));
    let delivered: std::collections::BTreeSet<u32> =
        exchange.pair.candles().iter().map(|update| update.instrument.0).collect();
    assert_eq!(delivered.len(), 42);
}

#[test]
fn a_session_with_too_many_channels_is_halved_and_nobody_is_rejected() {
    let mut open: BTreeMap<SessionId, usize> = BTreeMap::new();
    let answer = move |told: Published<'_>| {
        let Some(args) = okx_args(told.text) else { return Vec::new() };
        let count = open.entry(told.session).or_default();
        *count += args.len();
        if *count > 30 {
            return vec![Act::Close(4009, "too many channels".to_owned())];
        }
        args.iter().flat_map(|one| okx_accepts(one)).collect()
    };
    let mut exchange = StandIn::new(market(Venue::Okx, "spot"), config(), answer);
    exchange.subscribe(0..40, |id| format!("S{id}-USDT"));
    exchange.run(SECOND * 30);
    assert!(exchange.rejected().is_empty());
    assert_eq!((exchange.losses(), exchange.pair.peers.len()), (1, 2));
    let delivered: std::collections::BTreeSet<u32> =
        exchange.pair.candles().iter().map(|update| update.instrument.0).collect();
    assert_eq!(delivered.len(), 40);
}

#[test]
fn bybit_is_asked_in_smaller_messages_when_one_has_too_many_args() {
    let mut rejected_sizes = 0;
    let answer = move |told: Published<'_>| {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(told.text) else {
            return Vec::new();
        };
        let Some(args) = message["args"].as_array() else { return Vec::new() };
        let (is_fine, id) = (args.len() <= 10, message["req_id"].as_str().unwrap());
        rejected_sizes += u32::from(!is_fine);
        assert!(rejected_sizes <= 4, "halved each time");
        let words = if is_fine { "" } else { "args size >10" };
        vec![Act::Text(format!(
            r#"{{"success":{is_fine},"ret_msg":"{words}","conn_id":"d","req_id":"{id}","op":"subscribe"}}"#
        ))]
    };
    let linear = market(Venue::Bybit, "linear");
    let mut exchange = StandIn::new(linear, config(), answer);
    exchange.pair.manners.refuses_tcp = true;
    exchange.subscribe(0..40, good);
    exchange.pair.manners.refuses_tcp = false;
    exchange.run(SECOND * 8);
    assert_eq!(exchange.rejected().len(), 0);
    assert_eq!(exchange.pair.connects.len(), 2);
}

#[test]
fn gates_refusal_without_an_id_names_its_stream_in_the_payload() {
    let answer = |told: Published<'_>| {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(told.text) else {
            return Vec::new();
        };
        if message["event"] != "subscribe" {
            return Vec::new();
        }
        let symbol = message["payload"][1].as_str().unwrap();
        let head = r#""time":1790359189,"channel":"futures.candlesticks","event":"subscribe""#;
        vec![Act::Text(match symbol {
            "ODD_USDT" => format!(
                r#"{{{head},"payload":["1m_{symbol}"],"error":{{"code":1,"message":"request payload does not follow json schema"}},"result":{{"status":"fail"}}}}"#
            ),
            _ => {
                format!(r#"{{{head},"payload":["1m","{symbol}"],"result":{{"status":"success"}}}}"#)
            }
        })]
    };
    let um = market(Venue::Gateio, "um");
    let mut exchange = StandIn::new(um, config(), answer);
    exchange.subscribe(0..10, |id| match id {
        4 => "ODD_USDT".to_owned(),
        _ => format!("S{id}_USDT"),
    });
    exchange.run(SECOND * 8);
    let rejected = exchange.rejected();
    assert_eq!(rejected.iter().map(|one| one.0).collect::<Vec<_>>(), [4], "{rejected:?}");
    assert_eq!((exchange.losses(), exchange.pair.connects.len()), (0, 1));
    assert!(exchange.notices(EventName::NotUnderstood).is_empty());
}

#[test]
fn names_that_can_be_no_symbol_are_refused_before_they_are_sent() {
    let spot = market(Venue::Binance, "spot");
    if let Some(case) = case("binance-refused-door") {
        for name in case["client_symbols"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            assert_eq!(spot.canonical_symbol(name), None, "{name:?}");
        }
    }
    for name in ["BTCUSDT", "币安人生USDT", "BTCUSD_PERP", "btcusdt_240628", "A-B.C", "ÄÖUSDT"]
    {
        assert!(spot.canonical_symbol(name).is_some(), "{name}");
    }
    for (venue, contract_type, good, bad) in [
        (Venue::Okx, "spot", "AAA-BBB.P", "AAA+BBB-USDT"),
        (Venue::Okx, "swap", "BTC-USDT-SWAP", "BTC%20-USDT-SWAP"),
        (Venue::Bybit, "linear", "BTC-26SEP25", "BTC,ETH"),
        (Venue::Gateio, "um", "BTC_USDT_20261225", "BTC_USDT#"),
        (Venue::Hyperliquid, "usdm", "xyz:XYZ100", "BTC ETH"),
        (Venue::Hyperliquid, "usdm", "#10", "BTC?"),
        (Venue::Hyperliquid, "spot", "@107", "@107\u{200b}"),
    ] {
        let market = market(venue, contract_type);
        assert!(market.canonical_symbol(good).is_some(), "{market} {good}");
        assert_eq!(market.canonical_symbol(bad), None, "{market} {bad:?}");
    }
}

#[test]
fn what_an_exchange_says_in_hidden_characters_is_shown() {
    let mut exchange = forty("BBB", |id| {
        let error = "{\"code\":2,\"msg\":\"no\u{202e}stream\"}";
        vec![
            Act::Text(format!("{{\"error\":{error},\"id\":{id}}}")),
            Act::Text("{\"odd\":\"\u{200b}\u{feff}\"}".to_owned()),
            Act::Close(1008, "bye\u{202e}\u{200b}".to_owned()),
        ]
    });
    exchange.subscribe(40..41, |_| "AAA_BBB".to_owned());
    exchange.run(SECOND * 5);
    let hidden = |c: char| ('\u{200b}'..='\u{202e}').contains(&c) || c == '\u{feff}';
    let rejected = exchange.rejected();
    assert_eq!(rejected[0].2, "no\\u{202e}stream (2)");
    assert!(exchange.pair.notices.iter().all(|notice| !notice.text.contains(hidden)));
    let why = exchange.pair.events.iter().find_map(|event| match event {
        FeedEvent::SessionLost { why, .. } => Some(why.clone()),
        _ => None,
    });
    assert_eq!(why.as_deref(), Some("closed by the exchange: 1008 bye\\u{202e}\\u{200b}"));
}

#[test]
fn a_stream_that_delivers_while_it_is_listed_as_halted_goes_on_and_its_clients_are_told() {
    let spot = market(Venue::Binance, "spot");
    let list = |halted: Option<&str>| {
        let one = |symbol: &str, halted: Option<&str>| Listed {
            symbol: symbol.to_owned(),
            halted: halted.map(str::to_owned),
            known_as: None,
            contract_size: None,
        };
        let listed = vec![one("BTCUSDT", halted), one("ETHUSDT", None)];
        Arc::new(SymbolList::new(listed))
    };
    let mut pair = Pair::new();
    pair.holds_lists = true;
    pair.manners.is_still = true;
    pair.lists.insert(spot, list(Some("BREAK")));
    for (id, symbol) in [(0, "BTCUSDT"), (1, "ETHUSDT"), (2, "GONEUSDT")] {
        pair.subscribe(id, "spot", symbol);
        pair.push(&kline(symbol, 0, "2", false, START_MS));
    }
    let told = |pair: &Pair| {
        let change = |event: &FeedEvent| match event {
            FeedEvent::ListingChanged { instrument, message, .. } => {
                Some((instrument.0, message.clone()))
            }
            _ => None,
        };
        pair.events.iter().filter_map(change).collect::<Vec<_>>()
    };
    pair.answer_lists();
    let first = told(&pair);
    assert_eq!(first.iter().map(|one| one.0).collect::<Vec<_>>(), [0, 2], "{first:?}");
    assert!(first[0].1.contains("BREAK") && first[1].1.contains("does not list"), "{first:?}");
    let logged = pair.notices.iter().filter(|one| one.event == EventName::ListingChanged);
    assert_eq!(logged.count(), 2);
    pair.push(&kline("BTCUSDT", 0, "3", false, START_MS + 1));
    pair.cut();
    for second in 0..3700 {
        pair.push(&kline("BTCUSDT", 0, "3", false, START_MS + 10 + second));
        pair.push(&kline("GONEUSDT", 0, "3", false, START_MS + 10 + second));
        pair.pass(SECOND);
    }
    pair.lists.insert(spot, list(None));
    pair.answer_lists();
    assert_eq!(told(&pair)[2..], [(0, "binance spot lists BTCUSDT as trading again".to_owned())]);
    let is_rejection = |event: &&FeedEvent| matches!(event, FeedEvent::Rejected { .. });
    assert_eq!(pair.events.iter().filter(is_rejection).count(), 0);
    assert!(pair.candles().iter().filter(|one| one.instrument.0 == 0).count() > 3000);
    assert!(!pair.published.iter().any(|event| matches!(event, MarketEvent::Gap { .. })));
    assert_eq!(pair.errors(ConnectionErrorKind::Closed), 1);
}

#[test]
fn a_name_that_comes_back_under_another_id_before_its_answer_is_not_ended_by_the_old_one() {
    let answer = |told: Published<'_>| {
        let event = if told.text.contains("unsubscribe") { "unsubscribe" } else { "subscribe" };
        told.text
            .match_indices("\"instId\":\"")
            .map(|(at, key)| {
                let name = told.text[at + key.len()..].split('"').next().unwrap();
                Act::Text(format!(
                    r#"{{"event":"{event}","arg":{{"channel":"candle1m","instId":"{name}"}},"connId":"a"}}"#
                ))
            })
            .collect()
    };
    let mut exchange = StandIn::new(market(Venue::Okx, "spot"), config(), answer);
    exchange.subscribe(0..1, |_| "BTC-USDT".to_owned());
    exchange.run(SECOND * 2);
    // Asked for and given up at once, then by another client: the place has another life.
    exchange.subscribe(1..2, |_| "ETH-USDT".to_owned());
    let forget = Command::Forget { id: InstrumentId(1) };
    exchange.pair.feed.handle_command(forget, exchange.pair.now);
    exchange.pair.pump();
    let next = 1 + (1 << 15);
    exchange.subscribe(next..next + 1, |_| "ETH-USDT".to_owned());
    exchange.run(SECOND * 90);
    assert_eq!(exchange.rejected(), []);
    let texts = exchange.pair.peers.values().flat_map(|peer| peer.texts.iter());
    let eth: Vec<&str> = texts
        .filter(|text| text.contains("ETH-USDT"))
        .map(|text| if text.contains("unsubscribe") { "unsubscribe" } else { "subscribe" })
        .collect();
    assert_eq!(eth, ["subscribe", "unsubscribe", "subscribe"]);
    let errors = &exchange.pair.metrics.market(market(Venue::Okx, "spot")).decode_errors;
    assert_eq!(errors.iter().map(|count| count.value()).sum::<u64>(), 0);
}

#[test]
fn a_part_of_the_list_that_could_not_be_read_was_asked_for_again_after_an_hour() {
    let perp = market(Venue::Hyperliquid, "usdm");
    let list = |is_read| {
        let parts = [("dex".to_owned(), is_read)].into();
        Arc::new(SymbolList::new(vec![Listed::new("BTC")]).with_parts(false, Some(parts)))
    };
    let mut pair = Pair::new();
    pair.lists.insert(perp, list(false));
    pair.subscribe_at(0, perp, "BTC");
    pair.subscribe_at(1, perp, "dex:T0");
    pair.pass(Duration::from_secs(1));
    let asked = pair.lists_asked.len();
    pair.pass(Duration::from_secs(61));
    assert_eq!(pair.lists_asked.len(), asked + 1);
    pair.lists.insert(perp, list(true));
    pair.pass(Duration::from_secs(1800));
    assert_eq!(pair.lists_asked.len(), asked + 2, "what is whole is good for an hour");
}
