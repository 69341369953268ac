//! A name that costs its session again and again is found; an exchange that cuts everybody is
//! nobody's fault.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connector_wss::feed::SessionId;
use connector_wss::market::{InstrumentId, Venue};
use connector_wss::messages::FeedEvent;

use crate::pair::{START_MS, config, kline};
use crate::refusals::{
    Act, Published, StandIn, binance_accepts, binance_names, candle, good, hyperliquid_accepts,
    hyperliquid_coin, market, okx_accepts, okx_args,
};

const SECOND: Duration = Duration::from_secs(1);
const TURN: Duration = Duration::from_millis(200);

/// The names of a subscribe message, and its id where it has one.
fn asked(venue: Venue, text: &str) -> Option<(Vec<String>, i64)> {
    match venue {
        Venue::Okx => okx_args(text).map(|names| (names, 0)),
        Venue::Hyperliquid => hyperliquid_coin(text).map(|coin| (vec![coin], 0)),
        _ => binance_names(text),
    }
}

/// Accepts all, and delivers what is not to stay `silent`.
fn accepts(venue: Venue, names: &[String], id: i64, silent: Option<&str>) -> Vec<Act> {
    let served = |name: &&String| silent != Some(name.as_str());
    let count = |name: &String| if served(&name) { 2 } else { 1 };
    match venue {
        Venue::Okx => {
            names.iter().flat_map(|name| okx_accepts(name).into_iter().take(count(name))).collect()
        }
        Venue::Hyperliquid => {
            let acts = |name: &String| hyperliquid_accepts(name).into_iter().take(count(name));
            names.iter().flat_map(acts).collect()
        }
        _ => binance_accepts(&(names.iter().filter(served).cloned().collect(), id)),
    }
}

fn deadly_name(venue: Venue, id: u32) -> String {
    let stem = if id == DEADLY { "DEADLY".to_owned() } else { format!("S{id}") };
    match venue {
        Venue::Okx => format!("{stem}-USDT"),
        Venue::Hyperliquid => stem,
        _ => format!("{stem}USDT"),
    }
}

const DEADLY: u32 = 40;
const ALL_THREE: [(Venue, &str); 3] =
    [(Venue::Binance, "spot"), (Venue::Okx, "spot"), (Venue::Hyperliquid, "usdm")];

/// Sessions, and when each is to be cut.
type Doomed = Arc<Mutex<Vec<(SessionId, u64)>>>;

/// Lets time pass, cuts what is doomed, and delivers the first name each second.
fn run_doomed<F: FnMut(Published<'_>) -> Vec<Act>>(
    exchange: &mut StandIn<F>,
    doomed: &Doomed,
    venue: Venue,
    seconds: i64,
) {
    for turn in 0..seconds * 5 {
        exchange.run(TURN);
        let now = exchange.pair.now.mono.0;
        let due: Vec<_> = doomed.lock().unwrap().extract_if(.., |one| one.1 <= now).collect();
        for (session, _) in due {
            if exchange.pair.peers.contains_key(&session) {
                exchange.pair.cut_one(session);
            }
        }
        if turn % 5 == 0 {
            let name = deadly_name(venue, 0);
            let text = match venue {
                Venue::Okx => match okx_accepts(&name).pop() {
                    Some(Act::Text(text)) => text,
                    _ => unreachable!("a push comes last"),
                },
                Venue::Hyperliquid => candle(&name),
                _ => kline(&name, 0, "3", false, START_MS + turn),
            };
            exchange.pair.push(&text);
        }
    }
}

/// How often the session of `id` was lost.
fn lost<F>(exchange: &StandIn<F>, id: u32) -> usize {
    let is_lost = |event: &&FeedEvent| match event {
        FeedEvent::SessionLost { instruments, .. } => instruments.contains(&InstrumentId(id)),
        _ => false,
    };
    exchange.pair.events.iter().filter(is_lost).count()
}

/// A name is accepted, delivers or not, and its session is cut a little later, each time.
fn assert_deadly_is_found(
    (venue, contract_type): (Venue, &str),
    delay: Duration,
    is_served: bool,
    is_there_first: bool,
) {
    let what = format!("{venue:?}, {delay:?}, served {is_served}, from the first {is_there_first}");
    let doomed = Doomed::default();
    let deaths = doomed.clone();
    let deadly = deadly_name(venue, DEADLY);
    let answer = move |told: Published<'_>| {
        let Some((names, id)) = asked(venue, told.text) else { return Vec::new() };
        if names.contains(&deadly) {
            let at = told.now + u64::try_from(delay.as_nanos()).unwrap();
            deaths.lock().unwrap().push((told.session, at));
        }
        accepts(venue, &names, id, (!is_served).then_some(&deadly))
    };
    let mut exchange = StandIn::new(market(venue, contract_type), config(), answer);
    let name = |id| deadly_name(venue, id);
    if !is_there_first {
        exchange.subscribe(0..DEADLY, name);
        run_doomed(&mut exchange, &doomed, venue, 15);
        assert_eq!(exchange.losses(), 0, "{what}");
    }
    exchange.subscribe(if is_there_first { 0 } else { DEADLY }..DEADLY + 6, name);
    run_doomed(&mut exchange, &doomed, venue, 180);
    let rejected = exchange.rejected();
    assert_eq!(rejected.iter().map(|one| one.0).collect::<Vec<_>>(), [DEADLY], "{what}");
    assert!(rejected[0].1.contains("drops the connection"), "{}", rejected[0].1);
    let delivered: BTreeSet<u32> =
        exchange.pair.candles().iter().map(|update| update.instrument.0).collect();
    assert!((0..DEADLY + 6).all(|id| id == DEADLY || delivered.contains(&id)), "{what}");
    let most = (0..DEADLY).map(|id| lost(&exchange, id)).max().unwrap();
    assert!(
        most <= if is_there_first { 10 } else { 1 },
        "{what}: a neighbour was lost {most} times"
    );
    let before = lost(&exchange, 0);
    run_doomed(&mut exchange, &doomed, venue, 60);
    assert_eq!(lost(&exchange, 0), before, "{what}: it is over");
    exchange.assert_breaker_is_closed();
}

#[test]
fn a_name_that_delivers_and_then_costs_its_session_is_found() {
    for at in ALL_THREE {
        assert_deadly_is_found(at, SECOND * 3, true, false);
        assert_deadly_is_found(at, SECOND * 8, true, false);
    }
}

#[test]
fn a_name_that_is_acknowledged_and_then_costs_its_session_is_found() {
    for at in ALL_THREE {
        assert_deadly_is_found(at, SECOND / 2, false, false);
    }
}

#[test]
fn a_name_that_costs_the_first_session_is_found_by_halving() {
    for at in ALL_THREE {
        assert_deadly_is_found(at, SECOND * 3, true, true);
        assert_deadly_is_found(at, SECOND / 2, false, true);
    }
}

#[test]
fn an_exchange_that_cuts_everybody_is_no_names_fault() {
    for (is_by_chance, (venue, contract_type)) in
        [false, true].into_iter().flat_map(|chance| ALL_THREE.map(|at| (chance, at)))
    {
        let doomed = Doomed::default();
        let deaths = doomed.clone();
        let end = 600_000_000_000;
        let mut seen = BTreeSet::new();
        let mut chance = 7u64;
        let answer = move |told: Published<'_>| {
            let Some((names, id)) = asked(venue, told.text) else { return Vec::new() };
            if told.now < end && seen.insert(told.session) {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let life = if is_by_chance { 1 + (chance >> 33) % 30 } else { 4 };
                deaths.lock().unwrap().push((told.session, told.now + life * 1_000_000_000));
            }
            accepts(venue, &names, id, None)
        };
        let mut exchange = StandIn::new(market(venue, contract_type), config(), answer);
        exchange.subscribe(0..60, |id| deadly_name(venue, id));
        run_doomed(&mut exchange, &doomed, venue, 700);
        assert!(exchange.rejected().is_empty(), "{venue:?}: {:?}", exchange.rejected());
        let (losses, sessions) = (exchange.losses(), exchange.pair.peers.len());
        assert!(sessions <= 14, "{venue:?}: {sessions} sessions");
        run_doomed(&mut exchange, &doomed, venue, 60);
        assert_eq!(exchange.losses(), losses);
    }
}

#[test]
fn a_close_after_a_refusal_is_no_other_names_fault() {
    let answer = |told: Published<'_>| {
        let Some((names, id)) = binance_names(told.text) else { return Vec::new() };
        if !names.iter().any(|name| name.contains("BBB")) {
            return binance_accepts(&(names, id));
        }
        let error = r#"{"code":9,"msg":"Something new is wrong here"}"#;
        let words = format!(r#"{{"error":{error},"id":{id}}}"#);
        vec![Act::Text(words), Act::Close(1008, String::new())]
    };
    let mut exchange = StandIn::new(market(Venue::Binance, "spot"), config(), answer);
    exchange.pair.manners.refuses_tcp = true;
    exchange.subscribe(0..43, |id| match id {
        5 | 21 | 42 => format!("BBB{id}"),
        _ => good(id),
    });
    exchange.pair.manners.refuses_tcp = false;
    run_doomed(&mut exchange, &Doomed::default(), Venue::Binance, 240);
    let mut rejected: Vec<u32> = exchange.rejected().iter().map(|one| one.0).collect();
    rejected.sort_unstable();
    assert_eq!(rejected, [5, 21, 42], "{:?}", exchange.rejected());
    let delivered: BTreeSet<u32> =
        exchange.pair.candles().iter().map(|update| update.instrument.0).collect();
    assert_eq!(delivered.len(), 40);
}

/// An exchange that cuts a connection `life` after each subscription for which `is_cut` is true.
fn cutting(
    (venue, contract_type): (Venue, &str),
    life: Duration,
    mut is_cut: impl FnMut(&Published<'_>, &[String]) -> bool,
) -> (StandIn<impl FnMut(Published<'_>) -> Vec<Act>>, Doomed) {
    let doomed = Doomed::default();
    let deaths = doomed.clone();
    let answer = move |told: Published<'_>| {
        let Some((names, id)) = asked(venue, told.text) else { return Vec::new() };
        if is_cut(&told, &names) {
            let at = told.now + u64::try_from(life.as_nanos()).unwrap();
            deaths.lock().unwrap().push((told.session, at));
        }
        accepts(venue, &names, id, None)
    };
    (StandIn::new(market(venue, contract_type), config(), answer), doomed)
}

#[test]
fn an_exchange_that_keeps_old_sessions_and_cuts_new_ones_is_no_names_fault() {
    for at in ALL_THREE {
        let (mut exchange, doomed) = cutting(at, SECOND, |_, _| false);
        let name = |id| deadly_name(at.0, id);
        exchange.subscribe(0..50, name);
        run_doomed(&mut exchange, &doomed, at.0, 100);
        exchange.subscribe(50..51, name);
        let mut seen: BTreeSet<SessionId> = exchange.pair.peers.keys().copied().take(1).collect();
        for _ in 0..600 {
            for &new in exchange.pair.peers.keys().filter(|&&id| !seen.contains(&id)) {
                doomed.lock().unwrap().push((new, exchange.pair.now.mono.0 + 1_500_000_000));
            }
            seen.extend(exchange.pair.peers.keys().copied());
            run_doomed(&mut exchange, &doomed, at.0, 1);
        }
        assert_eq!(lost(&exchange, 0), 0, "{at:?}: the old session is kept");
        assert!(lost(&exchange, 50) > 0, "{at:?}");
        run_doomed(&mut exchange, &doomed, at.0, 320);
        assert!(exchange.rejected().is_empty(), "{at:?}: {:?}", exchange.rejected());
        assert_eq!(exchange.pair.peers.len(), 2, "{at:?}");
    }
}

#[test]
fn a_name_that_was_served_for_a_minute_waits_alone_and_is_not_rejected() {
    for at in ALL_THREE {
        let last = deadly_name(at.0, 50);
        let (mut exchange, doomed) = cutting(at, SECOND * 3, move |told, names| {
            told.now > 90_000_000_000 && names.contains(&last)
        });
        let name = |id| deadly_name(at.0, id);
        exchange.subscribe(0..51, name);
        run_doomed(&mut exchange, &doomed, at.0, 100);
        let alone = *exchange.pair.peers.keys().last().unwrap();
        exchange.pair.cut_one(alone);
        run_doomed(&mut exchange, &doomed, at.0, 1200);
        assert!(exchange.rejected().is_empty(), "{at:?}: {:?}", exchange.rejected());
        let connects = exchange.pair.connects.len();
        assert!((5..=20).contains(&connects), "{at:?}: {connects} connections, with growing waits");
        assert_eq!(lost(&exchange, 0), 0, "{at:?}");
    }
}
