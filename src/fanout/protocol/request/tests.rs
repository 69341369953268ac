use crate::fanout::protocol::request::*;
use crate::limits::REQUEST_SYMBOLS_MAX;

fn read(text: &str) -> Result<Request, Box<Refusal>> {
    parse(&mut text.as_bytes().to_vec())
}

fn wanted(text: &str) -> Wanted {
    match read(text).unwrap().op {
        Op::Subscribe(wanted) => wanted,
        other => panic!("{other:?}"),
    }
}

fn symbols(names: Option<&Vec<Name>>) -> Vec<&str> {
    names.unwrap().iter().map(|name| &*name.symbol).collect()
}

#[test]
fn a_request_of_the_python_server_is_understood() {
    let line = "{\"exchange\":\"binance\",\"contract_type\":\"UM\",\
                \"symbols\":[\"btcusdt\",\"ETHUSDT\",\"BTCUSDT\"],\"limit\":3,\"x\":[{}]}\n";
    let wanted = wanted(line);
    assert_eq!(wanted.market.to_string(), "binance usdm");
    assert_eq!(symbols(wanted.names.as_ref()), ["BTCUSDT", "ETHUSDT"]);
    assert_eq!((wanted.limit, wanted.closed_only), (3, false));
}

#[test]
fn nulls_are_absent_and_one_symbol_may_be_a_string() {
    let wanted = wanted(
        r#"{"exchange":"BINANCE","contract_type":"spot","symbols":"BTCUSDT","limit":null,
            "op":null,"id":null,"interval":"1m","history":0,"since":null,"closed_only":true}"#,
    );
    assert_eq!((wanted.limit, wanted.closed_only, wanted.past), (0, true, None));
    assert_eq!(symbols(wanted.names.as_ref()), ["BTCUSDT"]);
}

#[test]
fn the_id_is_kept_as_json() {
    for (id, expected) in [("7", "7"), ("-1", "-1"), ("\"a\\nb\"", "\"a\\nb\"")] {
        let request = read(&format!(r#"{{"op":"ping","id":{id}}}"#)).unwrap();
        assert_eq!(request.id.as_deref(), Some(expected));
    }
    let refusal = read(r#"{"op":"dance","id":"x"}"#).unwrap_err();
    assert_eq!(refusal.id.as_deref(), Some("\"x\""));
}

#[test]
fn each_bad_request_has_its_own_error_that_names_the_field_and_what_is_right() {
    let head = r#""exchange":"binance","contract_type":"spot""#;
    let full = r#""exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]"#;
    for (text, code, field, says) in [
        ("{".to_owned(), "invalid_json", None, "valid JSON"),
        (String::new(), "invalid_json", None, "valid JSON"),
        ("[1]".to_owned(), "not_an_object", None, "\"exchange\":\"binance\""),
        ("{}".to_owned(), "missing_field", Some("exchange"), "allowed: binance"),
        (r#"{"exchange":1}"#.to_owned(), "wrong_type", Some("exchange"), "a string"),
        (r#"{"exchange":"x"}"#.to_owned(), "unknown_exchange", Some("exchange"), "binance"),
        (
            r#"{"exchange":"binance"}"#.to_owned(),
            "missing_field",
            Some("contract_type"),
            "spot, usdm (or um), coinm (or cm)",
        ),
        (
            r#"{"exchange":"binance","contract_type":[]}"#.to_owned(),
            "wrong_type",
            Some("contract_type"),
            "a string",
        ),
        (
            r#"{"exchange":"binance","contract_type":"perp"}"#.to_owned(),
            "unknown_contract_type",
            Some("contract_type"),
            "usdm (or um)",
        ),
        (format!("{{{head}}}"), "missing_field", Some("symbols"), "[\"BTCUSDT\"]"),
        (format!("{{{head},\"symbols\":5}}"), "wrong_type", Some("symbols"), "array"),
        (format!("{{{head},\"symbols\":[5]}}"), "wrong_type", Some("symbols"), "array"),
        (format!("{{{head},\"symbols\":[]}}"), "empty_symbols", Some("symbols"), "one"),
        (format!("{{{head},\"symbols\":[\"A B\"]}}"), "invalid_symbol", Some("symbols"), "A B"),
        (format!("{{{full},\"limit\":-1}}"), "wrong_type", Some("limit"), "0 or more"),
        (format!("{{{full},\"limit\":\"3\"}}"), "wrong_type", Some("limit"), "quotes: \"limit\":3"),
        (format!("{{{full},\"limit\":1.5}}"), "wrong_type", Some("limit"), "integer"),
        (format!("{{{full},\"limit\":true}}"), "wrong_type", Some("limit"), "integer"),
        (format!("{{{full},\"interval\":\"7m\"}}"), "unknown_interval", Some("interval"), "5m"),
        (format!("{{{full},\"interval\":\"1s\"}}"), "unknown_interval", Some("interval"), "1m"),
        (format!("{{{full},\"source\":5}}"), "wrong_type", Some("source"), "exchange, derived"),
        (format!("{{{full},\"source\":\"x\"}}"), "unknown_source", Some("source"), "derived"),
        (format!("{{{full},\"source\":\"derived\"}}"), "not_derived", Some("source"), "longer"),
        (
            r#"{"exchange":"okx","symbols":["A-B"],"interval":"8h","source":"exchange"}"#
                .to_owned(),
            "interval_not_offered",
            Some("interval"),
            "its own are 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 12h, 1d; without \"source\"",
        ),
        (format!("{{{full},\"interval\":1}}"), "wrong_type", Some("interval"), "1m"),
        (format!("{{{full},\"history\":-5}}"), "wrong_type", Some("history"), "integer"),
        (format!("{{{full},\"since\":\"x\"}}"), "wrong_type", Some("since"), "open time"),
        (format!("{{{full},\"since\":{}}}", i64::MAX), "wrong_type", Some("since"), "in ms"),
        (
            format!("{{{full},\"since\":5,\"history\":5}}"),
            "history_and_since",
            Some("since"),
            "one of them",
        ),
        (format!("{{{full},\"closed_only\":1}}"), "wrong_type", Some("closed_only"), "true"),
        (format!("{{{full},\"op\":\"dance\"}}"), "unknown_op", Some("op"), "unsubscribe"),
        (format!("{{{full},\"op\":1}}"), "wrong_type", Some("op"), "unsubscribe"),
        (r#"{"op":"auth"}"#.to_owned(), "missing_field", Some("token"), "a string"),
        (r#"{"op":"auth","token":5}"#.to_owned(), "wrong_type", Some("token"), "a string"),
        (format!("{{{full},\"id\":[]}}"), "wrong_type", Some("id"), "integer"),
        (
            r#"{"op":"unsubscribe","symbols":["A"]}"#.to_owned(),
            "missing_field",
            Some("exchange"),
            "binance",
        ),
    ] {
        let refusal = read(&text).unwrap_err();
        assert_eq!((refusal.code, refusal.field), (code, field), "{text}");
        assert!(refusal.message.contains(says), "{text}: {}", refusal.message);
        assert!(field.is_none_or(|field| refusal.message.contains(field)), "{text}");
    }
}

#[test]
fn the_contract_type_may_be_left_out_where_the_exchange_has_a_default() {
    for (text, market) in [
        (r#""exchange":"bybit","symbols":["BTCUSDT"]"#, "bybit spot"),
        (r#""exchange":"gateio","symbols":["btc_usdt"]"#, "gateio spot"),
        (r#""exchange":"hyperliquid","symbols":["kPEPE"]"#, "hyperliquid usdm"),
        (r#""exchange":"okx","symbols":["BTC-USDT"]"#, "okx spot"),
        (r#""exchange":"okx","symbols":["btc-usd-swap","ETH-USDT-SWAP"]"#, "okx swap"),
        (r#""exchange":"okx","symbols":"BTC-USD-261225""#, "okx futures"),
        (r#""exchange":"bybit","contract_type":"PERP","symbols":["X"]"#, "bybit linear"),
    ] {
        assert_eq!(wanted(&format!("{{{text}}}")).market.to_string(), market);
    }
    for (text, code, says) in [
        (r#""exchange":"okx","symbols":["BTCUSDT"]"#, "invalid_symbol", "such as BTC-USDT"),
        (r#""exchange":"okx"}"#, "missing_field", "contract_type"),
        (
            r#""exchange":"okx","symbols":["BTC-USDT","BTC-USDT-SWAP"],"mark":true"#,
            "mixed_contract_types",
            "one request for each",
        ),
        (
            r#""exchange":"okx","contract_type":"linear","symbols":["*"]"#,
            "unknown_contract_type",
            "spot, swap, futures",
        ),
    ] {
        let refusal = read(&format!("{{{}}}", text.trim_end_matches('}'))).unwrap_err();
        assert_eq!(refusal.code, code, "{text}: {}", refusal.message);
        assert!(refusal.message.contains(says), "{text}: {}", refusal.message);
    }
}

#[test]
fn what_can_be_meant_in_one_way_is_taken_so() {
    let full = r#""exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]"#;
    let marked = format!("\u{feff}{{{full}}}\n");
    assert_eq!(wanted(&marked).market.to_string(), "binance spot");
    for ping in ["ping", " PING\n", r#"{"op":"Ping"}"#, r#"{"op":" PING "}"#] {
        assert!(matches!(read(ping).unwrap().op, Op::Ping), "{ping}");
    }
    let end = format!(r#"{{"op":"UNSUBSCRIBE",{full}}}"#);
    assert!(matches!(read(&end).unwrap().op, Op::Unsubscribe { .. }));
    for (field, limit, past) in [
        (r#""limit":3.0"#, 3, None),
        (r#""limit":3e0"#, 3, None),
        (r#""history":2.0"#, 0, Some(HistoryRequest::Last(2))),
        (r#""since":1.7e12"#, 0, Some(HistoryRequest::Since(UnixMs(1_700_000_000_000)))),
        (r#""fields":"All","source":" Exchange""#, 0, None),
    ] {
        let wanted = wanted(&format!("{{{full},{field}}}"));
        assert_eq!((wanted.limit, wanted.past), (limit, past), "{field}");
    }
    assert!(wanted(&format!("{{{full},\"fields\":\"Basic\"}}")).basic);
    assert_eq!(read(&format!("{{{full},\"id\":7.0}}")).unwrap().id.as_deref(), Some("7"));
    for given in [
        r#""BTCUSDT,ETHUSDT""#,
        r#"["BTCUSDT, ETHUSDT"]"#,
        r#"["BTCUSDT;ETHUSDT"]"#,
        r#"" BTCUSDT ,\n ETHUSDT,""#,
        r#"[" BTCUSDT","ETHUSDT "]"#,
    ] {
        let text = full.replace(r#"["BTCUSDT"]"#, given);
        let wanted = wanted(&format!("{{{text}}}"));
        assert_eq!(symbols(wanted.names.as_ref()), ["BTCUSDT", "ETHUSDT"], "{given}");
    }
    for (field, of) in [("binance", " Binance "), ("spot", "SPOT ")] {
        let text = full.replace(&format!("\"{field}\""), &format!("\"{of}\""));
        assert_eq!(wanted(&format!("{{{text}}}")).market.to_string(), "binance spot", "{of}");
    }
}

#[test]
fn a_mistake_is_answered_with_what_was_meant_and_never_with_itself() {
    let full = r#""exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]"#;
    let with = |from: &str, to: &str| {
        assert!(full.contains(from));
        format!("{{{}}}", full.replace(from, to))
    };
    let exchange = |name: &str| with("binance", name);
    let contract_type = |exchange: &str, name: &str| {
        format!(r#"{{"exchange":"{exchange}","contract_type":"{name}","symbols":["X"]}}"#)
    };
    let symbol = |exchange: &str, name: &str| {
        format!(r#"{{"exchange":"{exchange}","contract_type":"spot","symbols":["{name}"]}}"#)
    };
    let more = |field: &str| format!("{{{full},{field}}}");
    for (text, says) in [
        (exchange("gate"), "did you mean \"gateio\"?"),
        (exchange("GATE.IO"), "did you mean \"gateio\"?"),
        (exchange("okex"), "did you mean \"okx\"?"),
        (exchange("hyper"), "did you mean \"hyperliquid\"?"),
        (exchange("binace"), "did you mean \"binance\"?"),
        (exchange("binance-futures"), "did you mean \"binance\" with \"contract_type\":\"usdm\"?"),
        (exchange("bybit_linear"), "did you mean \"bybit\" with \"contract_type\":\"linear\"?"),
        (contract_type("binance", "futures"), "did you mean \"usdm\" or \"coinm\"?"),
        (contract_type("binance", "USDT-M"), "did you mean \"usdm\"?"),
        (contract_type("bybit", "perpetual"), "did you mean \"linear\" or \"inverse\"?"),
        (contract_type("gateio", "coinm"), "did you mean \"cm\"?"),
        (contract_type("hyperliquid", "um"), "did you mean \"usdm\"?"),
        (contract_type("binance", "spto"), "did you mean \"spot\"?"),
        (symbol("binance", "btc/usdt"), "did you mean \"BTCUSDT\"?"),
        (symbol("bybit", "BTC/USDT:USDT"), "did you mean \"BTCUSDT\"?"),
        (symbol("binance", "BTC USDT"), "did you mean \"BTCUSDT\"?"),
        (symbol("binance", "binance:BTCUSDT"), "did you mean \"BTCUSDT\"?"),
        (symbol("binance", "BTCUSDT ETHUSDT"), "several have commas between them"),
        (symbol("gateio", "btc/usdt"), "did you mean \"BTC_USDT\"?"),
        (symbol("okx", "BTCUSDT"), "did you mean \"BTC-USDT\" or \"BTC-USDT-SWAP\"?"),
        (symbol("okx", "BTC/USDT:USDT"), "did you mean \"BTC-USDT-SWAP\"?"),
        (more(r#""interval":"1M""#), "a minute is \"1m\""),
        (more(r#""interval":"60""#), "did you mean \"1h\" or \"1m\"?"),
        (more(r#""interval":"1min""#), "did you mean \"1m\"?"),
        (more(r#""interval":"1H""#), "did you mean \"1h\"?"),
        (more(r#""interval":"24h""#), "did you mean \"1d\"?"),
        (more(r#""interval":5"#), "did you mean \"5m\"?"),
        (more(r#""since":1700000000"#), "looks like seconds: send \"since\":1700000000000"),
        (more(r#""since":1.7e9"#), "looks like seconds"),
        (more(r#""since":1700000000000000"#), "microseconds: send \"since\":1700000000000"),
        (more(r#""since":1700000000000000000"#), "nanoseconds: send \"since\":1700000000000"),
        (more(r#""since":"2023-11-14T22:13:20Z""#), "no date"),
        (more(r#""since":"1700000000000""#), "without quotes: \"since\":1700000000000"),
        (more(r#""interval":"15M""#), "did you mean \"15m\"?"),
        (more(r#""timeframe":"5m""#), "\"timeframe\" is no field, \"interval\" is"),
        (more(r#""Limit":3"#), "\"Limit\" is no field, \"limit\" is"),
        (more(r#""limt":3"#), "\"limit\" is"),
        (more(r#""closedOnly":true"#), "\"closed_only\" is"),
        (more(r#""action":"unsubscribe""#), "\"action\" is no field, \"op\" is"),
        (more(r#""op":"unsubscribe","method":"x","Interval":"5m""#), "\"interval\" is"),
        (more(r#""op":"unsub""#), "did you mean \"unsubscribe\"?"),
        (more(r#""op":"subscibe""#), "did you mean \"subscribe\"?"),
        (with("symbols", "symbol"), "\"symbol\" is no field, \"symbols\" is"),
        (with("contract_type", "contractType"), "\"contractType\" is no field"),
        (with("exchange", "venue"), "\"venue\" is no field, \"exchange\" is"),
        ("{'exchange':'binance'}".to_owned(), "double quotes"),
        ("{}\0".to_owned(), "NUL"),
        ("{\0\"\0o\0p\0\"\0:\0".to_owned(), "UTF-16"),
        (" ".to_owned(), "it is empty"),
        (more(r#""limit":99999999999999999999"#), "\"limit\" is out of range; right is an integer"),
        (more(r#""limit" : 1e400"#), "\"limit\" is out of range"),
        (more(r#""limit":-1e400"#), "\"limit\" is out of range"),
        (more(r#""history":1e999"#), "\"history\" is out of range"),
        (more(r#""since":170000000000000000000000"#), "\"since\" is out of range"),
        (more(r#""id":18446744073709551616"#), "\"id\" is out of range"),
        (more(r#""limit":1e300"#), "\"limit\" must be an integer, 0 or more"),
        (
            r#"{"exchange":"okx","contract_type":"um","symbols":["*"]}"#.to_owned(),
            "did you mean \"swap\" or \"futures\"?; with symbols their spelling says it",
        ),
        (r#"{"limit":99999999999999999999"#.to_owned(), "\"limit\" is out of range"),
        (r#"{"x":99999999999999999999}"#.to_owned(), "not valid JSON"),
    ] {
        let refusal = read(&text).unwrap_err();
        assert!(refusal.message.contains(says), "{text}: {}", refusal.message);
    }
    let silent = [
        exchange("kraken"),
        exchange("binanceus"),
        exchange(""),
        contract_type("binance", "option"),
        symbol("binance", "$BTC"),
        more(r#""interval":"7m""#),
    ];
    for text in silent {
        let refusal = read(&text).unwrap_err();
        assert!(!refusal.message.contains("did you mean"), "{text}: {}", refusal.message);
    }
}

#[test]
fn at_okx_the_symbol_alone_decides_and_the_word_is_echoed() {
    for word in ["um", "perp", "linear", "swap_coinm", "SPOT", "swap"] {
        let wanted = wanted(&format!(
            r#"{{"exchange":"okx","contract_type":"{word}",
                "symbols":["BTC-USDT-SWAP","btc-usdt","ETH-USD-261225"]}}"#
        ));
        let names = wanted.names.unwrap();
        let markets: Vec<_> = names.iter().map(|name| name.market.to_string()).collect();
        assert_eq!(markets, ["okx swap", "okx spot", "okx futures"]);
        let own = |name: &Name| name.spelling.as_ref().map(|own| own.contract_type.to_string());
        let expected = Some(word.to_owned());
        assert_eq!(own(&names[0]), expected.clone().filter(|word| word != "swap"));
        assert_eq!(own(&names[1]), expected);
    }
}

#[test]
fn hyperliquid_s_coins_are_taken_as_the_python_connector_took_them() {
    for (contract_type, asked, coin) in [
        ("usdm", "BTC-USDC-SWAP", "BTC"),
        ("usdm", "btc-usd-swap", "BTC"),
        ("coinm", "BTC-PERP", "BTC"),
        ("usdm", "BTCUSDT", "BTC"),
        ("usdm", "BTC-USDC", "BTC"),
        ("usdm", "btc", "BTC"),
        ("usdm", "kPEPE-PERP", "kPEPE"),
        ("usdm", "kPEPE", "kPEPE"),
        ("usdm", "xyz:XYZ100", "xyz:XYZ100"),
        ("usdm", "USDT", "USDT"),
        ("spot", "PURR-USDC", "PURR/USDC"),
        ("spot", "purr_usdc", "PURR/USDC"),
        ("spot", "PURR/USDC", "PURR/USDC"),
        ("spot", "@107", "@107"),
    ] {
        let wanted = wanted(&format!(
            r#"{{"exchange":"hyperliquid","contract_type":"{contract_type}","symbols":["{asked}"]}}"#
        ));
        let [name] = &wanted.names.unwrap()[..] else { panic!("{asked}") };
        assert_eq!((&*name.symbol, name.shown()), (coin, asked));
        assert_eq!(name.spelling.is_some(), coin != asked);
    }
}

#[test]
fn longer_candles_are_derived_unless_the_exchange_s_are_asked_for() {
    let head = r#""exchange":"gateio","contract_type":"um","symbols":["BTC_USDT"]"#;
    for (fields, interval, origin) in [
        ("", Interval::M1, CandleSource::Exchange),
        (r#","source":"exchange""#, Interval::M1, CandleSource::Exchange),
        (r#","interval":"5m""#, Interval::M5, CandleSource::Derived),
        (r#","interval":"3m","source":"derived""#, Interval::M3, CandleSource::Derived),
        (r#","interval":"8h","source":"exchange""#, Interval::H8, CandleSource::Exchange),
    ] {
        let wanted = wanted(&format!("{{{head}{fields}}}"));
        assert_eq!((wanted.interval, wanted.origin), (interval, origin), "{fields}");
    }
    let end = format!(r#"{{"op":"unsubscribe",{head},"interval":"5m","source":"exchange"}}"#);
    let Op::Unsubscribe { interval, origin, .. } = read(&end).unwrap().op else { panic!() };
    assert_eq!((interval, origin), (Some(Interval::M5), Some(CandleSource::Exchange)));
}

#[test]
fn more_symbols_than_any_market_has_are_refused() {
    let many: Vec<String> = (0..=REQUEST_SYMBOLS_MAX).map(|i| format!("\"S{i}\"")).collect();
    let head = r#""exchange":"binance","contract_type":"spot","symbols""#;
    let refusal = read(&format!("{{{head}:[{}]}}", many.join(","))).unwrap_err();
    assert_eq!(refusal.code, "too_many_symbols");
}

#[test]
fn deep_nesting_is_no_trouble() {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
    let _either = read(&deep);
    let _unfinished = read(&"[".repeat(60_000));
    let _objects = read(&"{\"a\":".repeat(10_000));
}

#[test]
fn what_can_be_no_symbol_is_refused_and_its_neighbours_are_served() {
    for (head, bad, good) in [
        (r#""exchange":"binance","contract_type":"spot""#, "BTC/USDT", "ETHUSDT"),
        (r#""exchange":"okx","contract_type":"um""#, "BTCUSDT", "ETH-USDT-SWAP"),
        (r#""exchange":"okx""#, "BTCUSDT", "ETH-USDT"),
        (r#""exchange":"bybit""#, "BTC/USDT", "ETHUSDT"),
        (r#""exchange":"gateio""#, "BTC/USDT", "ETH_USDT"),
        (r#""exchange":"hyperliquid""#, "B$C", "ETH"),
    ] {
        for symbols in [format!(r#"["{bad}","{good}"]"#), format!(r#"["{good}","{bad}"]"#)] {
            let wanted = wanted(&format!(r#"{{{head},"symbols":{symbols}}}"#));
            assert_eq!(symbols_of(&wanted), [good], "{head}");
            let refusal = wanted.impossible.unwrap();
            assert_eq!(
                (refusal.code, &refusal.symbols[..]),
                ("invalid_symbol", &[bad.to_owned()][..])
            );
            assert!(refusal.exchange.is_some() && !refusal.message.contains("others"));
        }
        let many = format!(r#"{{{head},"symbols":["{bad}","{bad}x","{good}","?"]}}"#);
        let refusal = wanted(&many).impossible.unwrap();
        assert_eq!(refusal.symbols.len(), 3, "{head}");
        assert!(refusal.message.ends_with("; nor can 2 others"), "{}", refusal.message);
        let none = read(&format!(r#"{{{head},"symbols":["{bad}","?"]}}"#)).unwrap_err();
        assert_eq!((none.code, none.symbols.len()), ("invalid_symbol", 2), "{head}");
    }
}

fn symbols_of(wanted: &Wanted) -> Vec<&str> {
    symbols(wanted.names.as_ref())
}
