use super::*;
use proptest::prelude::*;

/// A push as the exchange of `market` writes it in 2026.
fn push(market: Market, number: i64) -> String {
    let start = 1_700_000_040_000 + number % 1000 * 60_000;
    let (end, now, second) = (start + 59_999, start + 30_123, start / 1000);
    let (price, volume) = (format!("{}.{number:03}0", number % 7), format!("{number}.5"));
    let is_closed = number % 2 == 0;
    match market.venue() {
        Venue::Binance => {
            let text = format!(
                r#"{{"e":"kline","E":{now},"s":"ABC","k":{{"t":{start}, "T":{end}, "s":"ABC", "i":"1m", "f":-1, "L":7, "o":"{price}", "c":"2", "h":"3.0", "l":"0.10", "v":"{volume}", "n":{number}, "x":{is_closed}, "q":"{volume}", "V":"5", "Q":"2", "B":"0"}}}}"#
            );
            match market.contract_type().name() {
                "usdm" => text,
                _ => text.replace(' ', ""),
            }
        }
        Venue::Okx => format!(
            r#"{{"arg":{{"channel":"candle1m","instId":"A-B"}},"data":[["{start}","{price}","3","1","2","{volume}","4.0","5","{}"]]}}"#,
            u8::from(is_closed)
        ),
        Venue::Bybit => {
            let data = format!(
                r#""topic":"kline.1.ABC","data":[{{"start":{start},"end":{end},"interval":"1","open":"{price}","close":"2","high":"3","low":"1","volume":"{volume}","turnover":"9.9","confirm":{is_closed},"timestamp":{now}}}],"ts":{now}"#
            );
            match market.contract_type().name() {
                "spot" => format!(r#"{{"type":"snapshot",{data}}}"#),
                _ => format!(r#"{{{data},"type":"snapshot"}}"#),
            }
        }
        Venue::Gateio if market.contract_type().name() == "spot" => format!(
            r#"{{"time":{0},"time_ms":{now},"channel":"spot.candlesticks","event":"update","result":{{"t":"{second}","v":"{volume}","c":"2","h":"3","l":"1","o":"{price}","n":"1m_A_B","a":"8","w":{is_closed}}}}}"#,
            now / 1000
        ),
        Venue::Gateio => format!(
            r#"{{"time":{0},"time_ms":{now},"channel":"futures.candlesticks","event":"update","result":[{{"t":{1},"c":"2","h":"3","l":"1","o":"{price}","a":"8","n":"1m_A_B","w":false,"v":"7"}},{{"t":{second},"c":"2","h":"3","l":"1","o":"{price}","n":"1m_A_B","v":{number}}}]}}"#,
            now / 1000,
            second + 60,
        ),
        Venue::Hyperliquid => format!(
            r#"{{"channel":"candle","data":{{"t":{start},"T":{end},"s":"@107","i":"1m","o":"{price}","c":"2","h":"3","l":"1","v":"{volume}","n":{number}}}}}"#
        ),
    }
}

/// What [`decode`] makes of a text, if it is candles.
fn decoded(market: Market, text: &str) -> Option<String> {
    let read = JsonReader::default().read(text.as_bytes(), |root| {
        let mut klines = Klines::new();
        let is_klines = matches!(decode(market, root, &mut klines), Ok(Message::Klines));
        is_klines.then(|| format!("{klines:?}"))
    });
    read.ok().flatten()
}

fn in_one_pass(market: Market, text: &str) -> Option<String> {
    let mut klines = Klines::new();
    read_push(market, text, &mut klines)?;
    Some(format!("{klines:?}"))
}

#[test]
fn what_each_market_pushes_is_read_in_one_pass() {
    for market in Market::all() {
        for number in [0, 1, 12_345] {
            let text = push(market, number);
            let read = in_one_pass(market, &text);
            assert!(read.is_some(), "{text}");
            assert_eq!(read, decoded(market, &text), "{text}");
        }
    }
}

#[test]
fn binance_s_combined_form_is_read_in_one_pass_wherever_its_name_stands() {
    for market in Market::of(Venue::Binance) {
        let push = push(market, 7);
        let expected = in_one_pass(market, &push);
        for text in [
            format!(r#"{{"stream":"abc@kline_1m","data":{push}}}"#),
            format!(r#"{{ "data" : {push} , "stream" : "abc@kline_1m", "s": "X" }}"#),
            format!(r#"{{"s":"X","data":{push}}}"#),
        ] {
            assert_eq!(in_one_pass(market, &text), expected, "{text}");
            assert_eq!(decoded(market, &text), expected, "{text}");
        }
    }
}

#[test]
fn decimals_of_hyperliquid_may_be_numbers_and_its_candles_an_array() {
    let market = Market::find(Venue::Hyperliquid, "usdm").unwrap();
    let text = push(market, 7);
    let expected = in_one_pass(market, &text);
    let as_number = text.replace(r#""c":"2""#, r#""c":2.0"#).replace(r#""v":"7.5""#, r#""v":7.50"#);
    assert_ne!(as_number, text);
    let as_array = text.replace(r#""data":{"#, r#""data":[{"#).replace("}}", "}]}");
    for text in [as_number, as_array] {
        assert_eq!(in_one_pass(market, &text), expected, "{text}");
        assert_eq!(decoded(market, &text), expected, "{text}");
    }
}

#[test]
fn a_number_with_a_leading_zero_is_no_json() {
    for market in Market::all() {
        let text = push(market, 5).replace(":17", ":017");
        assert_eq!(in_one_pass(market, &text).is_some(), market.venue() == Venue::Okx, "{text}");
    }
}

/// A change to a text: at a place, this number of bytes is replaced.
type Change = (prop::sample::Index, usize, String);

fn change() -> impl Strategy<Value = Change> {
    const PIECES: [&str; 24] = [
        "",
        "0",
        "1",
        "9",
        "60000",
        ".",
        "-",
        "\"",
        "\\",
        "\\u0041",
        "é",
        " ",
        ",",
        "}",
        "]",
        "x",
        "true",
        "null",
        "1m",
        "5m",
        "7000000000000",
        "99999999999999999999",
        "\"x\":1,",
        "\u{7}",
    ];
    (
        any::<prop::sample::Index>(),
        0usize..4,
        prop::sample::select(&PIECES[..]).prop_map(String::from),
    )
}

/// Writes JSON otherwise, as `dice` fall: white space, the order of fields, further fields.
struct Respelling<'a> {
    dice: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    out: String,
    depth: usize,
}

impl Respelling<'_> {
    fn of(text: &str, dice: &[u8]) -> String {
        let dice = dice.iter().cycle();
        let mut respelling = Respelling { dice, out: String::new(), depth: 0 };
        respelling.value(&serde_json::from_str(text).unwrap());
        respelling.out
    }

    fn throw(&mut self, sides: u8) -> usize {
        usize::from(self.dice.next().unwrap() % sides)
    }

    fn space(&mut self) {
        let space = ["", "", "", " ", "\n", "\t ", "\r\n    "][self.throw(7)];
        self.out.push_str(space);
    }

    fn value(&mut self, value: &serde_json::Value) {
        self.space();
        self.depth += 1;
        match value {
            serde_json::Value::Object(fields) => {
                let more =
                    r#"{"-1":-2.50e+3,"é":"x y","longer than eight":null,"z":[{"a":[]},true]}"#;
                let more: serde_json::Value = serde_json::from_str(more).unwrap();
                let more = more.as_object().unwrap().clone();
                let mut fields: Vec<_> = fields.clone().into_iter().collect();
                // What is put in gets fields put in too, down to here: dice that repeat would never
                // end.
                let room = if self.depth <= 4 { more.len() } else { 0 };
                fields.extend(more.into_iter().take(room).filter(|_| self.throw(4) == 0));
                fields.sort_by_cached_key(|_| self.throw(255));
                self.list('{', fields.len(), '}', |this, at| {
                    this.space();
                    this.out.push_str(&serde_json::to_string(&fields[at].0).unwrap());
                    this.space();
                    this.out.push(':');
                    this.value(&fields[at].1);
                });
            }
            serde_json::Value::Array(elements) => {
                self.list('[', elements.len(), ']', |this, at| this.value(&elements[at]));
            }
            leaf => self.out.push_str(&leaf.to_string()),
        }
        self.depth -= 1;
        self.space();
    }

    fn list(&mut self, open: char, count: usize, close: char, one: impl Fn(&mut Self, usize)) {
        self.out.push(open);
        for at in 0..count {
            self.out.push_str(if at == 0 { "" } else { "," });
            one(self, at);
        }
        self.out.push(close);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn what_is_read_in_one_pass_is_what_decode_would_have_read(
        market in prop::sample::select(Market::all().collect::<Vec<_>>()),
        number in 0i64..100_000,
        changes in prop::collection::vec(change(), 0..3),
        dice in prop::option::of(prop::collection::vec(any::<u8>(), 97)),
    ) {
        let mut text = push(market, number);
        if let Some(dice) = dice {
            text = Respelling::of(&text, &dice);
        }
        for (at, cut, piece) in changes {
            let start = text.floor_char_boundary(at.index(text.len()));
            let end = text.ceil_char_boundary((start + cut).min(text.len()));
            text.replace_range(start..end, &piece);
        }
        if let Some(read) = in_one_pass(market, &text) {
            prop_assert_eq!(Some(read), decoded(market, &text), "{}", text);
        }
    }

    #[test]
    fn white_space_order_and_further_fields_are_free(
        market in prop::sample::select(Market::all().collect::<Vec<_>>()),
        number in 0i64..100_000,
        dice in prop::collection::vec(any::<u8>(), 97),
    ) {
        let push = push(market, number);
        let text = Respelling::of(&push, &dice);
        let expected = in_one_pass(market, &push);
        prop_assert!(expected.is_some());
        prop_assert_eq!(&decoded(market, &text), &expected, "{}", text);
        prop_assert_eq!(in_one_pass(market, &text), expected, "{}", text);
    }

    /// An escape is read by `decode`; so is one in a name.
    #[test]
    fn escapes_are_free(
        market in prop::sample::select(Market::all().collect::<Vec<_>>()),
        number in 0i64..100_000,
        at in any::<prop::sample::Index>(),
    ) {
        let push = push(market, number);
        let quoted = |at: &usize| push[..*at].matches('"').count() % 2 == 1;
        let places = (0..push.len()).filter(quoted).filter(|&at| push.as_bytes()[at] != b'"');
        let places: Vec<_> = places.collect();
        let at = places[at.index(places.len())];
        let byte = push.as_bytes()[at];
        let text = format!("{}\\u00{byte:02x}{}", &push[..at], &push[at + 1..]);
        prop_assert_eq!(in_one_pass(market, &text), None, "{}", text);
        prop_assert_eq!(decoded(market, &text), in_one_pass(market, &push), "{}", text);
    }

    #[test]
    fn a_field_that_comes_twice_never_makes_a_candle_of_its_own(
        market in prop::sample::select(Market::all().collect::<Vec<_>>()),
        number in 0i64..100_000,
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let push = push(market, number);
        let commas: Vec<_> = push.match_indices(',').map(|(at, _)| at).collect();
        let from = from.index(commas.len() - 1);
        let field = &push[commas[from]..commas[from + 1]];
        let to = commas[to.index(commas.len())];
        let text = format!("{}{field}{}", &push[..to], &push[to..]);
        if let Some(read) = in_one_pass(market, &text) {
            prop_assert_eq!(Some(read), decoded(market, &text), "{}", text);
        }
    }

    #[test]
    fn a_push_that_is_cut_is_none(
        market in prop::sample::select(Market::all().collect::<Vec<_>>()),
        number in 0i64..100_000,
        dice in prop::collection::vec(any::<u8>(), 97),
        at in any::<prop::sample::Index>(),
    ) {
        let text = Respelling::of(&push(market, number), &dice);
        let text = text.trim_end();
        let cut = &text[..text.floor_char_boundary(at.index(text.len()))];
        prop_assert_eq!((in_one_pass(market, cut), decoded(market, cut)), (None, None), "{}", cut);
    }
}

#[test]
fn fewer_shards_carry_a_venue_that_allows_few_sessions() {
    let carriers = |venue, name, shards| carriers(Market::find(venue, name).unwrap(), shards);
    assert_eq!(carriers(Venue::Binance, "spot", 64), 64);
    assert_eq!(carriers(Venue::Hyperliquid, "usdm", 1), 1);
    assert_eq!(carriers(Venue::Hyperliquid, "usdm", 64), 3);
    assert_eq!(carriers(Venue::Bybit, "inverse", 0), 1);
    assert_eq!(
        carriers(Venue::Okx, "swap", 64),
        limits(Market::find(Venue::Okx, "swap").unwrap()).connects
    );
}
