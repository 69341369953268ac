//! JSON as borrowed values, with buffers that are reused. A number stays text, so that no digit is
//! lost. Owns the buffers and the walk over the nodes of a message. Knows no message type.

use super::lex;

/// Reads one JSON text at a time. Allocates only for a text that is longer than all before it.
pub struct JsonReader {
    nodes: Vec<Node>,
    /// The unescaped forms of the strings that have escapes, one after the other.
    unescaped: String,
}

/// The text is not JSON, or is nested deeper than [`DEPTH_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

impl Default for JsonReader {
    fn default() -> Self {
        let unescaped = String::with_capacity(UNESCAPED_BYTES_USUAL);
        Self { nodes: Vec::with_capacity(NODES_USUAL), unescaped }
    }
}

impl JsonReader {
    /// Parses `bytes` and passes the root to `visit`.
    ///
    /// # Errors
    /// As [`Self::read_text`], and if `bytes` are not UTF-8.
    pub fn read<R>(
        &mut self,
        bytes: &[u8],
        visit: impl FnOnce(Value<'_, '_>) -> R,
    ) -> Result<R, NotJson> {
        self.read_text(str::from_utf8(bytes).map_err(|_| NotJson)?, visit)
    }

    /// Parses `text` and passes the root to `visit`. Borrowed values live until `visit` returns.
    /// Then the memory that a long text needed is freed.
    ///
    /// # Errors
    /// [`NotJson`].
    pub fn read_text<R>(
        &mut self,
        text: &str,
        visit: impl FnOnce(Value<'_, '_>) -> R,
    ) -> Result<R, NotJson> {
        let read = self.read_within(text, visit);
        if self.nodes.capacity() > NODES_KEPT_MAX || self.unescaped.capacity() > UNESCAPED_KEPT_MAX
        {
            *self = Self::default();
        }
        read
    }

    fn read_within<R>(
        &mut self,
        text: &str,
        visit: impl FnOnce(Value<'_, '_>) -> R,
    ) -> Result<R, NotJson> {
        // Places in the text are kept in 32 bits.
        u32::try_from(text.len()).map_err(|_| NotJson)?;
        self.nodes.clear();
        self.unescaped.clear();
        let Self { nodes, unescaped } = self;
        let mut parser = Parser { text, nodes, unescaped };
        let end = parser.value(0, DEPTH_MAX)?;
        if parser.token(end).0 != text.len() {
            return Err(NotJson);
        }
        let texts = Texts { message: text, unescaped: &self.unescaped };
        Ok(visit(Value { nodes: &self.nodes, texts: &texts }))
    }
}

/// A value, or the name of a field. An object's and an array's nodes follow it.
#[derive(Clone, Copy, Debug)]
enum Node {
    /// A string without escapes.
    Plain(Span),
    /// A string that has escapes; its place among the unescaped ones.
    Unescaped(Span),
    Number(Span),
    Boolean(bool),
    Null,
    /// Number of nodes of the fields, names and values.
    Object(u32),
    /// Number of nodes of the elements.
    Array(u32),
}

/// A place in a text, in bytes.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // `read_text` refuses longer texts.
    fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    #[inline(always)]
    fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).expect("spans end where characters do")
    }
}

/// A text, and the nodes found so far. Places in the text are taken and given back by value, so
/// that they stay in registers.
struct Parser<'a> {
    text: &'a str,
    nodes: &'a mut Vec<Node>,
    unescaped: &'a mut String,
}

impl<'a> Parser<'a> {
    #[inline(always)]
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The place of the next token from `at` on and its first byte; 0 at the end.
    #[inline(always)]
    fn token(&self, at: usize) -> (usize, u8) {
        match self.bytes().get(at) {
            Some(&byte) if byte > b' ' => (at, byte),
            _ => token_behind_space(self.bytes(), at),
        }
    }

    /// Reads a value from `at` on and returns the place behind it.
    #[inline(always)]
    fn value(&mut self, at: usize, depth_left: usize) -> Result<usize, NotJson> {
        let (at, first) = self.token(at);
        match first {
            b'"' => self.string(at),
            b'-' | b'0'..=b'9' => {
                let end = at + lex::number_length(self.bytes(), at).ok_or(NotJson)?;
                self.nodes.push(Node::Number(Span::new(at, end)));
                Ok(end)
            }
            b'{' => self.object(at, depth_left),
            b'[' => self.array(at, depth_left),
            _ => {
                let length = lex::word_length(&self.bytes()[at..]).ok_or(NotJson)?;
                self.nodes.push(match first {
                    b'n' => Node::Null,
                    _ => Node::Boolean(first == b't'),
                });
                Ok(at + length)
            }
        }
    }

    #[inline(never)]
    fn object(&mut self, at: usize, depth_left: usize) -> Result<usize, NotJson> {
        let depth_left = depth_left.checked_sub(1).ok_or(NotJson)?;
        let node = self.nodes.len();
        self.nodes.push(Node::Object(0));
        let (mut at, mut token) = self.token(at + 1);
        if token == b'}' {
            return Ok(at + 1);
        }
        loop {
            if token != b'"' {
                return Err(NotJson);
            }
            at = self.string(at)?;
            (at, token) = self.token(at);
            if token != b':' {
                return Err(NotJson);
            }
            at = self.value(at + 1, depth_left)?;
            (at, token) = self.token(at);
            if token != b',' {
                break;
            }
            (at, token) = self.token(at + 1);
        }
        self.nodes[node] = Node::Object(self.nodes_behind(node)?);
        if token == b'}' { Ok(at + 1) } else { Err(NotJson) }
    }

    #[inline(never)]
    fn array(&mut self, at: usize, depth_left: usize) -> Result<usize, NotJson> {
        let depth_left = depth_left.checked_sub(1).ok_or(NotJson)?;
        let node = self.nodes.len();
        self.nodes.push(Node::Array(0));
        let (mut at, mut token) = self.token(at + 1);
        if token == b']' {
            return Ok(at + 1);
        }
        loop {
            at = self.value(at, depth_left)?;
            (at, token) = self.token(at);
            at += 1;
            if token != b',' {
                break;
            }
        }
        self.nodes[node] = Node::Array(self.nodes_behind(node)?);
        if token == b']' { Ok(at) } else { Err(NotJson) }
    }

    fn nodes_behind(&self, node: usize) -> Result<u32, NotJson> {
        u32::try_from(self.nodes.len() - node - 1).map_err(|_| NotJson)
    }

    /// Reads the string whose opening quote stands at `at` and returns the place behind it.
    #[inline(always)]
    fn string(&mut self, at: usize) -> Result<usize, NotJson> {
        let start = at + 1;
        let end = start + lex::plain_length(self.bytes(), start);
        if self.bytes().get(end) == Some(&b'"') {
            self.nodes.push(Node::Plain(Span::new(start, end)));
            return Ok(end + 1);
        }
        self.string_with_escapes(start)
    }

    #[inline(never)]
    fn string_with_escapes(&mut self, start: usize) -> Result<usize, NotJson> {
        let (from, mut at) = (self.unescaped.len(), start);
        loop {
            let end = at + lex::plain_length(self.bytes(), at);
            self.unescaped.push_str(&self.text[at..end]);
            match self.bytes().get(end) {
                Some(b'"') => {
                    self.nodes.push(Node::Unescaped(Span::new(from, self.unescaped.len())));
                    return Ok(end + 1);
                }
                Some(b'\\') => {
                    let (character, length) = escaped(&self.bytes()[end + 1..]).ok_or(NotJson)?;
                    self.unescaped.push(character);
                    at = end + 1 + length;
                }
                _ => return Err(NotJson),
            }
        }
    }
}

#[inline(never)]
fn token_behind_space(text: &[u8], at: usize) -> (usize, u8) {
    let rest = text.get(at..).unwrap_or(&[]);
    let at = at + rest.iter().take_while(|&&byte| lex::is_space(byte)).count();
    (at, text.get(at).copied().unwrap_or(0))
}

/// The character of an escape, and the length of the escape without its backslash.
fn escaped(rest: &[u8]) -> Option<(char, usize)> {
    let character = match *rest.first()? {
        byte @ (b'"' | b'\\' | b'/') => char::from(byte),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return escaped_code(&rest[1..]),
        _ => return None,
    };
    Some((character, 1))
}

/// The same after `\u`: one code unit, or two that make one character.
fn escaped_code(rest: &[u8]) -> Option<(char, usize)> {
    let unit = |digits: &[u8]| {
        digits.iter().try_fold(0, |unit: u16, &digit| {
            Some(unit << 4 | u16::try_from(char::from(digit).to_digit(16)?).ok()?)
        })
    };
    let first = unit(rest.get(..4)?)?;
    if !(0xD800..0xDC00).contains(&first) {
        return Some((char::from_u32(u32::from(first))?, 5));
    }
    let second = unit(rest.get(4..10)?.strip_prefix(b"\\u")?)?;
    let character = char::decode_utf16([first, second]).next()?.ok()?;
    Some((character, 11))
}

/// The texts into which the spans of the nodes point.
#[derive(Debug)]
struct Texts<'text> {
    message: &'text str,
    unescaped: &'text str,
}

/// One value of a message.
#[derive(Clone, Copy, Debug)]
pub struct Value<'tape, 'text> {
    /// The value's own nodes, and no other's.
    nodes: &'tape [Node],
    texts: &'tape Texts<'text>,
}

impl<'tape, 'text> Value<'tape, 'text> {
    /// The text of a string, unescaped.
    #[inline]
    pub fn text(self) -> Option<&'text str> {
        self.texts.string(*self.nodes.first()?)
    }

    /// A number as it is written in the text.
    #[inline]
    pub fn number(self) -> Option<&'text str> {
        match self.nodes.first() {
            Some(Node::Number(span)) => Some(span.of(self.texts.message)),
            _ => None,
        }
    }

    /// An integer that fits.
    pub fn integer(self) -> Option<i64> {
        self.number()?.parse().ok()
    }

    /// `true` or `false`.
    pub fn boolean(self) -> Option<bool> {
        match self.nodes.first() {
            Some(Node::Boolean(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// Returns whether it is `null`.
    pub fn is_null(self) -> bool {
        matches!(self.nodes.first(), Some(Node::Null))
    }

    /// The fields of an object, in the order sent.
    #[inline]
    pub fn fields(self) -> Option<Fields<'tape, 'text>> {
        match self.nodes.split_first() {
            Some((Node::Object(_), nodes)) => Some(Fields { nodes, texts: self.texts }),
            _ => None,
        }
    }

    /// The elements of an array, in the order sent.
    #[inline]
    pub fn elements(self) -> Option<Elements<'tape, 'text>> {
        match self.nodes.split_first() {
            Some((Node::Array(_), nodes)) => Some(Elements { nodes, texts: self.texts }),
            _ => None,
        }
    }

    /// Returns whether it is an array.
    pub fn is_array(self) -> bool {
        matches!(self.nodes.first(), Some(Node::Array(_)))
    }
}

impl<'text> Texts<'text> {
    #[inline(always)]
    fn string(&self, node: Node) -> Option<&'text str> {
        match node {
            Node::Plain(span) => Some(span.of(self.message)),
            Node::Unescaped(span) => Some(span.of(self.unescaped)),
            _ => None,
        }
    }
}

/// Walks an object's fields.
#[derive(Clone, Debug)]
pub struct Fields<'tape, 'text> {
    nodes: &'tape [Node],
    texts: &'tape Texts<'text>,
}

impl<'tape, 'text> Iterator for Fields<'tape, 'text> {
    type Item = (&'text str, Value<'tape, 'text>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (&name, rest) = self.nodes.split_first()?;
        let name = self.texts.string(name)?;
        let value;
        (value, self.nodes) = split_value(rest)?;
        Some((name, Value { nodes: value, texts: self.texts }))
    }
}

/// Walks an array's elements.
#[derive(Clone, Debug)]
pub struct Elements<'tape, 'text> {
    nodes: &'tape [Node],
    texts: &'tape Texts<'text>,
}

impl<'tape, 'text> Iterator for Elements<'tape, 'text> {
    type Item = Value<'tape, 'text>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let value;
        (value, self.nodes) = split_value(self.nodes)?;
        Some(Value { nodes: value, texts: self.texts })
    }
}

/// The nodes of the first value, and those that follow it.
#[inline]
fn split_value(nodes: &[Node]) -> Option<(&[Node], &[Node])> {
    let length = match nodes.first()? {
        Node::Object(nodes) | Node::Array(nodes) => *nodes as usize + 1,
        _ => 1,
    };
    nodes.split_at_checked(length)
}

/// Room at the start. Source: a kline push has 300 bytes and 50 nodes.
const UNESCAPED_BYTES_USUAL: usize = 1024;
const NODES_USUAL: usize = 256;

/// The memory for a longer message is freed after it. Source: REST's answer of a thousand rows of a
/// dozen cells; a larger one is rare.
const NODES_KEPT_MAX: usize = 16 * 1024;
const UNESCAPED_KEPT_MAX: usize = 16 * 1024;

/// Most objects and arrays within each other. Source: the deepest message of any venue has 5
/// levels.
pub const DEPTH_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_come_in_order_and_nested_values_are_skipped_whole() {
        let text =
            br#"{"a":[1,{"x":2}],"b":{"c":{"d":[]}},"e":"\u0041b","f":true,"g":null,"h":-7}"#;
        let mut reader = JsonReader::default();
        for _ in 0..2 {
            let keys = reader.read(text, |root| {
                let fields: Vec<_> = root.fields().unwrap().collect();
                let elements: Vec<_> = fields[0].1.elements().unwrap().collect();
                assert_eq!((elements.len(), elements[0].integer()), (2, Some(1)));
                assert!(elements[1].fields().is_some() && fields[1].1.elements().is_none());
                let inner = fields[1].1.fields().unwrap().next().unwrap();
                assert_eq!((inner.0, inner.1.fields().unwrap().count()), ("c", 1));
                assert_eq!(fields[2].1.text(), Some("Ab"));
                assert_eq!(fields[3].1.boolean(), Some(true));
                assert!(fields[4].1.is_null());
                assert_eq!(fields[5].1.integer(), Some(-7));
                fields.iter().map(|field| field.0).collect::<String>()
            });
            assert_eq!(keys.as_deref(), Ok("abefgh"));
        }
    }

    #[test]
    fn what_is_no_json_is_refused_and_the_next_text_is_read() {
        let mut reader = JsonReader::default();
        let deep = "[".repeat(100);
        for text in ["", "{", "nul", "{\"a\":}", "\"", "\u{0}", &deep] {
            assert!(reader.read(text.as_bytes(), |_| ()).is_err(), "{text:?}");
        }
        assert_eq!(reader.read(b"7", |root| root.integer()), Ok(Some(7)));
    }

    #[test]
    fn a_number_keeps_its_digits_and_an_escape_stands_for_its_character() {
        let text = r#"[79139.0100,1e-7,-0,12345678901234567890123,"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z"]"#;
        let read = JsonReader::default().read_text(text, |root| {
            let values: Vec<_> = root.elements().unwrap().collect();
            let numbers: Vec<_> = values.iter().filter_map(|value| value.number()).collect();
            assert_eq!(numbers, ["79139.0100", "1e-7", "-0", "12345678901234567890123"]);
            assert_eq!(values[3].integer(), None);
            values[4].text().map(str::to_owned)
        });
        assert_eq!(read, Ok(Some("a\"\\/\u{8}\u{c}\n\r\té😀z".to_owned())));
        for escape in ["\\u12", "\\ud800", "\\ud800\\u0041", "\\udc00", "\\x", "\\", "\n"] {
            let text = format!("[\"{escape}\"]");
            assert_eq!(JsonReader::default().read_text(&text, |_| ()), Err(NotJson), "{text}");
        }
    }

    /// The same by serde_json, of what both can say.
    fn same(value: Value<'_, '_>, other: &serde_json::Value) -> bool {
        match other {
            serde_json::Value::Null => value.is_null(),
            serde_json::Value::Bool(flag) => value.boolean() == Some(*flag),
            serde_json::Value::Number(number) => {
                number.as_i64().is_none() || value.integer() == number.as_i64()
            }
            serde_json::Value::String(text) => value.text() == Some(text),
            serde_json::Value::Array(others) => {
                let values: Vec<_> = value.elements().unwrap().collect();
                values.len() == others.len()
                    && values.iter().zip(others).all(|(value, other)| same(*value, other))
            }
            serde_json::Value::Object(others) => others.iter().all(|(name, other)| {
                // Of several fields of one name serde_json keeps the last.
                let found = value.fields().unwrap().filter(|(key, _)| key == name).last();
                found.is_some_and(|(_, value)| same(value, other))
            }),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn what_another_parser_reads_is_read_the_same(
            text in "([\\[\\]{}:,\"ab0-9.eE\\-+ \n\\\\]|true|null|\"a\":|\\[1,|, |\"\\\\u00e9\"){0,12}"
        ) {
            let other: Result<serde_json::Value, _> = serde_json::from_str(&text);
            let read = JsonReader::default().read_text(&text, |root| {
                other.as_ref().is_ok_and(|other| same(root, other))
            });
            match &other {
                Ok(_) => prop_assert_eq!(read, Ok(true), "{}", text),
                // It refuses numbers that are too large for a float.
                Err(error) if error.to_string().contains("out of range") => {}
                Err(_) => prop_assert_eq!(read, Err(NotJson), "{}", text),
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = JsonReader::default();
            let _ = reader.read(&bytes, |root| root.fields().map(|fields| fields.count()));
        }
    }
}
