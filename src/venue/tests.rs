use super::*;
use proptest::prelude::*;

/// A push as the exchange of `market` usually writes it.
fn usual(market: Market, number: i64) -> String {
    let start = 1_700_000_040_000 + number % 1000 * 60_000;
    let (end, now, second) = (start + 59_999, start + 30_123, start / 1000);
    let (price, volume) = (format!("{}.{number:03}0", number % 7), format!("{number}.5"));
    let is_closed = number % 2 == 0;
    match market.venue() {
        Venue::Binance => format!(
            r#"{{"e":"kline","E":{now},"s":"ABC","k":{{"t":{start},"T":{end},"s":"ABC","i":"1m","f":-1,"L":7,"o":"{price}","c":"2","h":"3.0","l":"0.10","v":"{volume}","n":{number},"x":{is_closed},"q":"{volume}","V":"5","Q":"2","B":"0"}}}}"#
        ),
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
            r#"{{"time":{0},"time_ms":{now},"channel":"futures.candlesticks","event":"update","result":[{{"t":{1},"v":"7","c":"2","h":"3","l":"1","o":"{price}","n":"1m_A_B","a":"8","w":false}},{{"t":{second},"v":{number},"c":"2","h":"3","l":"1","o":"{price}","n":"1m_A_B"}}]}}"#,
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

fn read_as_usual(market: Market, text: &str) -> Option<String> {
    let mut klines = Klines::new();
    read_usual(market, text, &mut klines)?;
    Some(format!("{klines:?}"))
}

#[test]
fn what_each_market_usually_says_is_read_as_usual() {
    for market in Market::all() {
        for number in [0, 1, 12_345] {
            let text = usual(market, number);
            let read = read_as_usual(market, &text);
            assert!(read.is_some(), "{text}");
            assert_eq!(read, decoded(market, &text), "{text}");
        }
    }
}

#[test]
fn a_number_with_a_leading_zero_is_no_json() {
    for market in Market::all() {
        let text = usual(market, 5).replace(":17", ":017");
        assert_eq!(read_as_usual(market, &text).is_some(), market.venue() == Venue::Okx, "{text}");
    }
}

/// A change to a text: at a place, so many bytes give way to others.
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn what_is_read_as_usual_is_what_decode_would_have_read(
        market in prop::sample::select(Market::all().collect::<Vec<_>>()),
        number in 0i64..100_000,
        changes in prop::collection::vec(change(), 0..3),
    ) {
        let mut text = usual(market, number);
        for (at, cut, piece) in changes {
            let start = text.floor_char_boundary(at.index(text.len()));
            let end = text.ceil_char_boundary((start + cut).min(text.len()));
            text.replace_range(start..end, &piece);
        }
        if let Some(read) = read_as_usual(market, &text) {
            prop_assert_eq!(Some(read), decoded(market, &text), "{}", text);
        }
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
