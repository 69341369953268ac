//! Every message broken in every way: cut, fields removed, moved and retyped. Knows no dialect.

use connector_wss::market::Market;

use super::{Decoded, decode};

/// JSON with the order of its fields and the digits of its numbers.
#[derive(Clone, Debug)]
enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    /// A string with its quotes, a number, or a word.
    Leaf(String),
}

/// What a dialect does not read: the paths of fields (`/data/*/timestamp`), where `*` is any place
/// in an array. `either /path`: it is read, as a number or as a text.
pub(crate) type Unread<'a> = &'a [&'a str];

/// Breaks a push of candles in every way. However broken, it is an error, or the same candles where
/// only unread fields were touched, or fewer of the same where one of several was taken out. Cells
/// whose path is in `optional` may be missing from their row.
pub(crate) fn assert_push_is_safe(
    market: Market,
    text: &str,
    unread: Unread<'_>,
    optional: Unread<'_>,
) {
    let whole = decode(market, text.as_bytes()).unwrap();
    assert!(!whole.klines.is_empty(), "{text}");
    assert_cut_is_no_message(market, text);
    for edit in edits(&parse(text)) {
        let read = decode(market, edit.text.as_bytes());
        let is = |list: Unread<'_>| list.iter().any(|pattern| matches(pattern, &edit.path));
        let what = format!("{} {} of {text}:\n{}\n{read:?}", edit.what, edit.path, edit.text);
        match (edit.what, &read) {
            ("removed", _) if is(optional) => {}
            // A number as a text, or one of another value: not wrong in itself.
            ("retyped", Ok(other)) if is_either(unread, &edit.path) => {
                assert_eq!(other.klines.len(), whole.klines.len(), "{what}");
            }
            ("moved", _) => assert_eq!(read.as_ref(), Ok(&whole), "{what}"),
            _ if is(unread) => assert_eq!(read.as_ref(), Ok(&whole), "{what}"),
            ("taken out", Ok(rest)) => assert!(is_part(rest, &whole), "{what}"),
            (_, Ok(_)) => panic!("{what}"),
            (_, Err(_)) => {}
        }
    }
}

/// Whether the field at `path` may be a number or a text of the same digits.
fn is_either(unread: Unread<'_>, path: &str) -> bool {
    let either = unread.iter().filter_map(|pattern| pattern.strip_prefix("either "));
    either.into_iter().any(|pattern| matches(pattern, path))
}

/// Breaks a message that holds no candle in every way: it never becomes one.
pub(crate) fn assert_never_a_candle(market: Market, text: &str) {
    assert_cut_is_no_message(market, text);
    for edit in edits(&parse(text)) {
        if let Ok(read) = decode(market, edit.text.as_bytes()) {
            assert!(read.klines.is_empty(), "{}", edit.text);
        }
    }
}

fn assert_cut_is_no_message(market: Market, text: &str) {
    for length in 0..text.trim_end().len() {
        let read = decode(market, &text.as_bytes()[..length]);
        assert!(read.is_err(), "{length} bytes of {text}: {read:?}");
    }
}

fn is_part(rest: &Decoded, whole: &Decoded) -> bool {
    rest.klines.len() < whole.klines.len()
        && rest.klines.iter().all(|kline| whole.klines.contains(kline))
}

/// Whether `path` is at or below `pattern`.
fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    pattern.split('/').all(|wanted| {
        let part = parts.next();
        part.is_some_and(|part| {
            part == wanted || (wanted == "*" && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
    })
}

struct Edit {
    what: &'static str,
    path: String,
    text: String,
}

fn edits(root: &Json) -> Vec<Edit> {
    let mut edits = Vec::new();
    walk(root, "", &mut |what, path, json| {
        edits.push(Edit { what, path: path.to_owned(), text: write(json) });
    });
    edits
}

type Emit<'a> = &'a mut dyn FnMut(&'static str, &str, &Json);

/// Emits `json` with every single edit at it or below it.
fn walk(json: &Json, path: &str, emit: Emit<'_>) {
    for other in retyped(json) {
        emit("retyped", path, &other);
    }
    match json {
        Json::Object(fields) => {
            for at in 0..fields.len() {
                let below = format!("{path}/{}", fields[at].0);
                let mut fewer = fields.clone();
                fewer.remove(at);
                emit("removed", &below, &Json::Object(fewer));
                if at + 1 < fields.len() {
                    let mut moved = fields.clone();
                    moved.swap(at, at + 1);
                    emit("moved", &below, &Json::Object(moved));
                }
                walk(&fields[at].1, &below, &mut |what, path, inner| {
                    let mut changed = fields.clone();
                    changed[at].1 = inner.clone();
                    emit(what, path, &Json::Object(changed));
                });
            }
        }
        Json::Array(elements) => {
            for at in 0..elements.len() {
                let below = format!("{path}/{at}");
                let mut fewer = elements.clone();
                let what = match fewer.remove(at) {
                    Json::Leaf(_) => "removed",
                    Json::Object(_) | Json::Array(_) => "taken out",
                };
                emit(what, &below, &Json::Array(fewer));
                walk(&elements[at], &below, &mut |what, path, inner| {
                    let mut changed = elements.clone();
                    changed[at] = inner.clone();
                    emit(what, path, &Json::Array(changed));
                });
            }
        }
        Json::Leaf(_) => {}
    }
}

/// Values of other types, among them the nearest: a number as a string and the reverse.
fn retyped(json: &Json) -> Vec<Json> {
    let leaf = |text: &str| Json::Leaf(text.to_owned());
    let mut others = vec![Json::Array(vec![json.clone()])];
    others.push(Json::Object(vec![("a".to_owned(), json.clone())]));
    for word in ["null", "true", "7", "\"\""] {
        if !matches!(json, Json::Leaf(text) if text.as_bytes()[0] == word.as_bytes()[0]) {
            others.push(leaf(word));
        }
    }
    match json {
        Json::Leaf(text) => {
            let bare = text.trim_matches('"');
            let is_number = bare.parse::<f64>().is_ok();
            let is_boolean = matches!(text.as_str(), "true" | "false");
            // A number for a number and a flag for a flag are no other type.
            if is_number && !text.starts_with('"') {
                others.retain(|other| !matches!(other, Json::Leaf(text) if text == "7"));
            }
            if is_boolean {
                others.retain(|other| !matches!(other, Json::Leaf(text) if text == "true"));
            }
            match text.starts_with('"') {
                true if is_number => others.push(leaf(bare)),
                true => {}
                false => others.push(leaf(&format!("\"{text}\""))),
            }
        }
        Json::Array(_) => others.push(Json::Object(Vec::new())),
        Json::Object(_) => others.push(Json::Array(Vec::new())),
    }
    others
}

fn write(json: &Json) -> String {
    match json {
        Json::Leaf(text) => text.clone(),
        Json::Array(elements) => {
            format!("[{}]", elements.iter().map(write).collect::<Vec<_>>().join(","))
        }
        Json::Object(fields) => {
            let field = |(key, value): &(String, Json)| format!("\"{key}\":{}", write(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
        }
    }
}

fn parse(text: &str) -> Json {
    let (json, rest) = parse_value(text);
    assert!(rest.trim().is_empty(), "{rest:?} after the end");
    json
}

/// The first value of `text`, and what follows it; panics on what is no JSON.
fn parse_value(text: &str) -> (Json, &str) {
    let text = text.trim_start();
    match text.as_bytes()[0] {
        b'{' => {
            let (mut fields, mut rest) = (Vec::new(), text[1..].trim_start());
            while !rest.starts_with('}') {
                let (key, after) = parse_value(rest);
                let Json::Leaf(key) = key else { panic!("a key is a string: {rest}") };
                let after = after.trim_start().strip_prefix(':').unwrap();
                let (value, after) = parse_value(after);
                fields.push((key.trim_matches('"').to_owned(), value));
                rest = after.trim_start();
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            }
            (Json::Object(fields), &rest[1..])
        }
        b'[' => {
            let (mut elements, mut rest) = (Vec::new(), text[1..].trim_start());
            while !rest.starts_with(']') {
                let (element, after) = parse_value(rest);
                elements.push(element);
                rest = after.trim_start();
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            }
            (Json::Array(elements), &rest[1..])
        }
        b'"' => {
            let mut is_escaped = true;
            let end = text.bytes().position(|byte| {
                let is_end = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                is_end
            });
            let end = end.unwrap() + 1;
            (Json::Leaf(text[..end].to_owned()), &text[end..])
        }
        _ => {
            let end = text.find([',', ']', '}', ' ', '\n', '\r']).unwrap_or(text.len());
            (Json::Leaf(text[..end].to_owned()), &text[end..])
        }
    }
}

#[test]
fn every_edit_is_made() {
    let text = r#"{"a":[1,"2\"}"],"b":{"c":true}}"#;
    assert_eq!(write(&parse(text)), text);
    let edits = edits(&parse(text));
    let has = |wanted: &str| edits.iter().any(|edit| edit.text == wanted);
    assert!(has(r#"{"b":{"c":true}}"#), "removed");
    assert!(has(r#"{"b":{"c":true},"a":[1,"2\"}"]}"#), "moved");
    assert!(has(r#"{"a":["1","2\"}"],"b":{"c":true}}"#), "number to string");
    assert!(has(r#"{"a":[1],"b":{"c":true}}"#), "element removed");
    assert!(has(r#"{"a":[1,"2\"}"],"b":{"c":null}}"#), "retyped");
    assert!(matches("/a/*", "/a/1") && matches("/b", "/b/c") && !matches("/b/c", "/b"));
}
