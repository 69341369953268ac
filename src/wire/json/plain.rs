//! JSON as exchanges push it, in one pass over the text: no white space, no escapes, whole numbers.
//! Owns nothing and copies nothing. What is not of that kind, or no JSON at all, is left to the
//! general reader, which has the last word on it.

use simd_json::{Node, StaticNode};

/// Fills `nodes`, which is empty, as the general reader would. `None`: it is to read `text` itself,
/// and what is in `nodes` is worth nothing.
pub(super) fn fill<'text>(text: &'text str, nodes: &mut Vec<Node<'text>>) -> Option<()> {
    let mut scanner = Scanner { text, at: 0 };
    let mut open = [Container::default(); DEPTH_MAX];
    let mut depth = 0;
    loop {
        // A value.
        match scanner.peek()? {
            b'"' => nodes.push(Node::String(scanner.string()?)),
            start @ (b'{' | b'[') => {
                scanner.at += 1;
                let is_object = start == b'{';
                let container = open.get_mut(depth)?;
                *container = Container { node: nodes.len(), len: 0, is_object };
                depth += 1;
                nodes.push(container.node(0));
                let is_empty = scanner.peek()? == container.end();
                if !is_empty {
                    if is_object {
                        nodes.push(Node::String(scanner.key()?));
                    }
                    continue;
                }
            }
            _ => nodes.push(Node::Static(scanner.scalar()?)),
        }
        // What follows it, and the ends of all that ends here.
        loop {
            let Some(parent) = depth.checked_sub(1) else {
                return (scanner.at == text.len()).then_some(());
            };
            let container = &mut open[parent];
            let is_empty = nodes.len() == container.node + 1;
            container.len += usize::from(!is_empty);
            let next = scanner.peek()?;
            scanner.at += 1;
            if next == b',' && !is_empty {
                if container.is_object {
                    nodes.push(Node::String(scanner.key()?));
                }
                break;
            }
            if next != container.end() {
                return None;
            }
            let count = nodes.len() - container.node - 1;
            nodes[container.node] = container.node(count);
            depth = parent;
        }
    }
}

/// An object or array whose end has not come.
#[derive(Clone, Copy, Default)]
struct Container {
    /// Where its node is.
    node: usize,
    /// Its fields or elements so far.
    len: usize,
    is_object: bool,
}

impl Container {
    fn end(self) -> u8 {
        if self.is_object { b'}' } else { b']' }
    }

    fn node(self, count: usize) -> Node<'static> {
        let len = self.len;
        if self.is_object { Node::Object { len, count } } else { Node::Array { len, count } }
    }
}

/// A place in the text. Its steps are inlined: a call for each would cost more than they do.
struct Scanner<'text> {
    text: &'text str,
    at: usize,
}

impl<'text> Scanner<'text> {
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline(always)]
    fn skip(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    #[inline(always)]
    fn skip_word(&mut self, word: &[u8]) -> Option<()> {
        let rest = &self.text.as_bytes()[self.at..];
        rest.starts_with(word).then(|| self.at += word.len())
    }

    /// A string and its colon.
    #[inline(always)]
    fn key(&mut self) -> Option<&'text str> {
        let key = self.string()?;
        self.skip(b':').map(|()| key)
    }

    /// A string without escapes.
    #[inline(always)]
    fn string(&mut self) -> Option<&'text str> {
        self.skip(b'"')?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start;
        // Eight bytes at a time, as far as there are eight.
        let end = loop {
            let Some(word) = bytes.get(at..at + 8) else {
                break at + bytes[at..].iter().position(|&byte| is_special(byte))?;
            };
            let special = special_bytes(u64::from_le_bytes(word.try_into().ok()?));
            if special != 0 {
                break at + special.trailing_zeros() as usize / 8;
            }
            at += 8;
        };
        self.at = end + 1;
        (bytes[end] == b'"').then(|| &self.text[start..end])
    }

    /// A whole number, or a word.
    #[inline(always)]
    fn scalar(&mut self) -> Option<StaticNode> {
        match self.peek()? {
            b't' => self.skip_word(b"true").map(|()| StaticNode::Bool(true)),
            b'f' => self.skip_word(b"false").map(|()| StaticNode::Bool(false)),
            b'n' => self.skip_word(b"null").map(|()| StaticNode::Null),
            b'-' => {
                self.at += 1;
                let number = i64::try_from(self.natural()?).ok()?;
                (number != 0).then_some(StaticNode::I64(-number))
            }
            _ => self.natural().map(StaticNode::U64),
        }
    }

    /// A number without sign, point and exponent.
    #[inline(always)]
    fn natural(&mut self) -> Option<u64> {
        let rest = &self.text.as_bytes()[self.at..];
        let (mut count, mut number) = (0, 0);
        for byte in rest.iter().take(NATURAL_DIGITS_MAX + 1) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            number = number * 10 + u64::from(digit);
            count += 1;
        }
        let is_padded = count > 1 && rest[0] == b'0';
        self.at += count;
        (count > 0 && count <= NATURAL_DIGITS_MAX && !is_padded).then_some(number)
    }
}

/// Whether a string ends here, or is not plain.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..0x20)
}

/// The high bit of each byte that [`is_special`], and perhaps of bytes above the first of them
/// (borrows run upwards), so that only the lowest counts.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zero_bytes(word ^ (ONES * b'"' as u64));
    let escapes = zero_bytes(word ^ (ONES * b'\\' as u64));
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | escapes | controls) & HIGHS
}

/// Source: the deepest push of any venue has 3 levels.
const DEPTH_MAX: usize = 8;

/// So many digits fit in 64 bits, and an `i64`.
const NATURAL_DIGITS_MAX: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn general(text: &str) -> Option<Vec<String>> {
        let mut bytes = text.as_bytes().to_vec();
        let tape = simd_json::to_tape(&mut bytes).ok()?;
        Some(tape.0.iter().map(|node| format!("{node:?}")).collect())
    }

    fn plain(text: &str) -> Option<Vec<String>> {
        let mut nodes = Vec::new();
        fill(text, &mut nodes)?;
        Some(nodes.iter().map(|node| format!("{node:?}")).collect())
    }

    #[test]
    fn what_exchanges_push_is_plain() {
        for text in [
            r#"{"e":"kline","E":1672515782136,"k":{"t":0,"o":"0.0010","x":false,"f":-1},"q":null}"#,
            r#"{"data":[["1","2"],["3",""]],"empty":[],"none":{},"deep":[[[]],{"a":[1,2]}],"é":"ü€"}"#,
            r#""alone""#,
            "7",
            "[]",
            "true",
        ] {
            assert_eq!(plain(text), general(text), "{text}");
            assert!(plain(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_general_reader() {
        for text in [
            "",
            " 1",
            "1 ",
            "1.5",
            "1e3",
            "01",
            "-0",
            "-",
            "1234567890123456789",
            "\"a\\n\"",
            "\"a",
            "\"\t\"",
            "{",
            "[1,]",
            "[,1]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{\"a\":}",
            "{1:2}",
            "[1}",
            "{\"a\":1]",
            "[1][2]",
            "tru",
            "{,\"a\":1}",
            "[1 ,2]",
            "[[[[[[[[[]]]]]]]]]",
        ] {
            assert_eq!(plain(text), None, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_string_is_found_at_every_place() {
        for length in 0..40 {
            for end in [
                "\"",
                "\"}",
                "\",\"x\":1}",
                "\\\"\"",
                "\u{1}\"",
                "\u{1f}\"",
                " \"",
                "\u{7f}\"",
                "ü\"",
            ] {
                let text = format!("\"{}{end}", "é".repeat(length / 2) + &"a".repeat(length % 2));
                let mut scanner = Scanner { text: &text, at: 0 };
                let found = scanner.string();
                let inner = &text[1..];
                let at = inner.bytes().position(is_special).unwrap();
                let expected = (inner.as_bytes()[at] == b'"').then(|| &inner[..at]);
                assert_eq!(found, expected, "{text}");
            }
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,20}".prop_map(Into::into),
            "[0-9.]{1,20}".prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::vec(("[a-zA-Z]{0,9}", inner), 0..6)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_general_reader_or_says_nothing(
            value in json(),
            cut in any::<proptest::sample::Index>(),
            byte in prop::option::of(prop::sample::select(&b"\"\\{}[],:0-9.e nt\x01"[..])),
        ) {
            let mut text = value.to_string();
            if let Some(byte) = byte {
                let at = cut.index(text.len());
                if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                    text.replace_range(at..=at, &char::from(byte).to_string());
                }
            }
            if let Some(nodes) = plain(&text) {
                prop_assert_eq!(Some(nodes), general(&text), "{}", text);
            }
        }
    }
}
