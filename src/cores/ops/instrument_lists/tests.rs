use crate::cores::ops::instrument_lists::*;
use crate::market::Venue;
use std::cell::RefCell;

fn lists() -> Lists {
    Lists::new(vec!["http://h".to_owned(); Market::COUNT], Clock::new(), Arc::default())
}

fn page(status: u16, body: &str) -> Result<PageAnswer<'static>, String> {
    let body = Box::new(std::io::Cursor::new(body.to_owned()));
    Ok(PageAnswer { status, retry_after: None, body })
}

fn none() -> Vec<String> {
    Vec::new()
}

fn found(answers: &[(usize, OpsAnswer)]) -> Vec<(usize, Result<Arc<SymbolList>, String>)> {
    let list = |answer: &OpsAnswer| match answer {
        OpsAnswer::Listed { result, .. } => result.clone(),
        other => panic!("{other:?}"),
    };
    answers.iter().map(|(shard, answer)| (*shard, list(answer))).collect()
}

fn symbols(answers: &[(usize, OpsAnswer)]) -> Vec<(usize, Result<usize, String>)> {
    let all = found(answers).into_iter();
    all.map(|(shard, list)| (shard, list.map(|list| list.len()))).collect()
}

/// A page of Bybit's with one symbol.
fn bybit(symbol: &str, cursor: &str) -> Result<PageAnswer<'static>, String> {
    page(
        200,
        &format!(
            r#"{{"retCode":0,"retMsg":"OK","result":{{"list":[{{"symbol":"{symbol}","status":"Trading"}}],"nextPageCursor":"{cursor}"}}}}"#
        ),
    )
}

fn linear() -> Market {
    Market::find(Venue::Bybit, "linear").unwrap()
}

#[test]
fn a_list_is_fetched_once_for_all_shards_page_by_page() {
    let lists = lists();
    let asked = RefCell::new(Vec::new());
    let ask = |request: &RestRequest| {
        asked.borrow_mut().push(request.url.clone());
        match request.url.contains("cursor=") {
            false => bybit("BTCUSDT", "next"),
            true => bybit("ETHUSDT", ""),
        }
    };
    assert_eq!(symbols(&lists.answer(0, linear(), none(), &ask)), [(0, Ok(2))]);
    assert_eq!(symbols(&lists.answer(3, linear(), none(), &ask)), [(3, Ok(2))]);
    assert_eq!(asked.borrow().len(), 2, "{:?}", asked.borrow());
}

#[test]
fn a_page_that_fails_costs_what_is_on_it_and_nothing_is_taken_for_absent() {
    for last in [page(500, "null"), page(200, "{"), Err("timeout".to_owned())] {
        let (lists, last) = (lists(), RefCell::new(Some(last)));
        let ask = |request: &RestRequest| match request.url.contains("cursor=") {
            false => bybit("BTCUSDT", "next"),
            true => last.borrow_mut().take().unwrap(),
        };
        let list = found(&lists.answer(0, linear(), none(), &ask))[0].1.clone().unwrap();
        assert!(list.find("BTCUSDT").is_some() && !list.lacks("ETHUSDT", None));
    }
}

#[test]
fn a_list_without_an_end_is_cut() {
    let (lists, count) = (lists(), RefCell::new(0));
    let circle = |_: &RestRequest| bybit("A", "same");
    assert_eq!(symbols(&lists.answer(0, linear(), none(), &circle)), [(0, Ok(2))]);
    let inverse = Market::find(Venue::Bybit, "inverse").unwrap();
    let endless = |_: &RestRequest| {
        *count.borrow_mut() += 1;
        bybit("A", &count.borrow().to_string())
    };
    assert_eq!(symbols(&lists.answer(0, inverse, none(), &endless)), [(0, Ok(LIST_PAGES_MAX))]);
}

#[test]
fn a_pause_that_the_exchange_wants_holds_for_all_its_markets() {
    let lists = lists();
    let [swap, spot] = ["swap", "spot"].map(|name| Market::find(Venue::Okx, name).unwrap());
    let busy = |_: &RestRequest| {
        let retry_after = Some("60".to_owned());
        page(429, "{}").map(|page| PageAnswer { retry_after, ..page })
    };
    let why = symbols(&lists.answer(0, swap, none(), &busy))[0].1.clone().unwrap_err();
    assert_eq!(why, "HTTP 429 \"{}\", Retry-After \"60\"; asking again in 60.0 s");
    let spot = lists.answer(0, spot, none(), &|_| panic!("asked before the pause is over"));
    assert!(symbols(&spot)[0].1.clone().unwrap_err().contains("left alone"));
    assert!(
        !lists.pauses.admit(swap, LimitedAction::Rest, lists.clock.mono()),
        "shards obey it too"
    );
}

#[test]
fn who_asks_during_the_fetch_is_answered_after_it() {
    let lists = lists();
    let spot = Market::find(Venue::Binance, "spot").unwrap();
    let answers = lists.answer(0, spot, none(), &|_| {
        let others = lists.answer(1, spot, none(), &|_| panic!("asked twice"));
        assert!(others.is_empty());
        Err("no route to host".to_owned())
    });
    let why = || Err("no route to host".to_owned());
    assert_eq!(symbols(&answers), [(0, why()), (1, why())]);
    let again = lists.answer(2, spot, none(), &|_| panic!("asked again too soon"));
    assert_eq!(symbols(&again), [(2, why())]);
}

fn usdm() -> Market {
    Market::find(Venue::Hyperliquid, "usdm").unwrap()
}

/// Hyperliquid with `count` builders' exchanges, one coin in each.
fn hyperliquid(count: usize, body: &str) -> String {
    let dex = |number: usize| format!(r#",{{"name":"dex{number:02}"}}"#);
    match body.split_once(r#""dex":""#) {
        None if body.contains("perpDexs") => {
            format!("[null{}]", (0..count).map(dex).collect::<String>())
        }
        None => r#"{"universe":[{"name":"BTC"},{"name":"ETH"}]}"#.to_owned(),
        Some((_, dex)) => {
            let dex = dex.split('"').next().unwrap();
            format!(r#"{{"universe":[{{"name":"{dex}:T0","szDecimals":2}}]}}"#)
        }
    }
}

#[test]
fn of_many_builders_exchanges_only_those_wanted_are_asked_for() {
    let (lists, asked) = (lists(), RefCell::new(Vec::new()));
    let ask = |request: &RestRequest| {
        let body = request.body.clone().unwrap();
        asked.borrow_mut().push(body.clone());
        page(200, &hyperliquid(230, &body))
    };
    let list = |parts: &[&str]| {
        let parts = parts.iter().map(|&part| part.to_owned()).collect();
        found(&lists.answer(0, usdm(), parts, &ask))[0].1.clone().unwrap()
    };
    let first = list(&[]);
    assert_eq!(asked.borrow().len(), 2, "{:?}", asked.borrow());
    assert!(first.lacks("BTCC", None) && first.find("BTC").is_some());
    assert!(!first.lacks("dex07:T0", Some("dex07")), "not read yet");
    assert!(first.lacks("dex999:T0", Some("dex999")), "there is none of this name");
    let second = list(&["dex07", "dex999"]);
    assert_eq!(asked.borrow().len(), 3, "{:?}", asked.borrow());
    assert!(second.find("dex07:T0").is_some() && second.lacks("dex07:T1", Some("dex07")));
    let many: Vec<String> = (0..230).map(|number| format!("dex{number:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let third = list(&many);
    assert_eq!(asked.borrow().len(), 2 + PARTS_IN_WINDOW, "within the exchange's budget");
    assert!(third.find("BTC").is_some() && !third.lacks("dex229:T1", Some("dex229")));
}

#[test]
fn a_builders_exchange_whose_page_fails_is_unknown_alone() {
    let lists = lists();
    let ask = |request: &RestRequest| match request.body.as_deref().unwrap() {
        body if body.contains("dex05") => page(500, "null"),
        body => page(200, &hyperliquid(12, body)),
    };
    let parts = ["dex05", "dex06"].map(str::to_owned).into();
    let list = found(&lists.answer(0, usdm(), parts, &ask))[0].1.clone().unwrap();
    assert!(!list.lacks("dex05:T0", Some("dex05")));
    assert!(list.lacks("dex06:T1", Some("dex06")) && list.lacks("BTCC", None));
}

#[test]
fn without_the_names_of_the_builders_exchanges_the_main_list_still_judges() {
    let lists = lists();
    let ask = |request: &RestRequest| match request.body.as_deref().unwrap() {
        body if body.contains("perpDexs") => page(500, "null"),
        body => page(200, &hyperliquid(12, body)),
    };
    let list = found(&lists.answer(0, usdm(), none(), &ask))[0].1.clone().unwrap();
    assert!(list.lacks("BTCC", None) && !list.lacks("dex05:T0", Some("dex05")));
}
