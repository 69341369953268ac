//! JSON into borrowed fields with simd-json, over buffers that are kept. Owns the buffers and the
//! walk over a tape; knows no message.

use simd_json::{Buffers, INPUT_PADDING, Node, StaticNode, Tape};

/// Reads one JSON text at a time. After the longest text so far nothing is allocated.
pub struct JsonReader {
    /// The text and its padding; simd-json unescapes strings in place.
    input: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

/// The text is no JSON, or nested deeper than any venue's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

impl Default for JsonReader {
    fn default() -> Self {
        let buffers = Buffers::with_max_depth(TEXT_BYTES_USUAL, DEPTH_MAX);
        let tape = Tape(Vec::with_capacity(NODES_USUAL));
        Self { input: Vec::with_capacity(TEXT_BYTES_USUAL), buffers, tape }
    }
}

impl JsonReader {
    /// Parses `text` and hands its root to `visit`; what `visit` borrows lives until it returns.
    pub fn read<R>(
        &mut self,
        text: &[u8],
        visit: impl FnOnce(Value<'_, '_>) -> R,
    ) -> Result<R, NotJson> {
        self.input.clear();
        self.input.extend_from_slice(text);
        self.input.resize(text.len() + INPUT_PADDING, b' ');
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let filled =
            simd_json::fill_tape_padded(&mut self.input, text.len(), &mut self.buffers, &mut tape);
        let result = match filled {
            Ok(()) => Ok(visit(Value { nodes: &tape.0 })),
            Err(_) => Err(NotJson),
        };
        self.tape = tape.reset();
        result
    }
}

/// One value on a tape.
#[derive(Clone, Copy, Debug)]
pub struct Value<'tape, 'text> {
    /// The value's own nodes, and no other's.
    nodes: &'tape [Node<'text>],
}

impl<'tape, 'text> Value<'tape, 'text> {
    /// The text of a string, unescaped.
    pub fn text(self) -> Option<&'text str> {
        match self.nodes.first() {
            Some(Node::String(text)) => Some(text),
            _ => None,
        }
    }

    /// An integer that fits.
    pub fn integer(self) -> Option<i64> {
        match self.nodes.first() {
            Some(Node::Static(StaticNode::I64(number))) => Some(*number),
            Some(Node::Static(StaticNode::U64(number))) => i64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// `true` or `false`.
    pub fn boolean(self) -> Option<bool> {
        match self.nodes.first() {
            Some(Node::Static(StaticNode::Bool(flag))) => Some(*flag),
            _ => None,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        matches!(self.nodes.first(), Some(Node::Static(StaticNode::Null)))
    }

    /// The fields of an object, in the order sent.
    pub fn fields(self) -> Option<Fields<'tape, 'text>> {
        match self.nodes.split_first() {
            Some((Node::Object { .. }, rest)) => Some(Fields { nodes: rest }),
            _ => None,
        }
    }

    /// The elements of an array, in the order sent.
    pub fn elements(self) -> Option<Elements<'tape, 'text>> {
        match self.nodes.split_first() {
            Some((Node::Array { .. }, rest)) => Some(Elements { nodes: rest }),
            _ => None,
        }
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        matches!(self.nodes.first(), Some(Node::Array { .. }))
    }
}

/// Walks an object's fields.
#[derive(Clone, Debug)]
pub struct Fields<'tape, 'text> {
    nodes: &'tape [Node<'text>],
}

impl<'tape, 'text> Iterator for Fields<'tape, 'text> {
    type Item = (&'text str, Value<'tape, 'text>);

    fn next(&mut self) -> Option<Self::Item> {
        let (Node::String(key), rest) = self.nodes.split_first()? else { return None };
        let value;
        (value, self.nodes) = split_value(rest)?;
        Some((key, value))
    }
}

/// Walks an array's elements.
#[derive(Clone, Debug)]
pub struct Elements<'tape, 'text> {
    nodes: &'tape [Node<'text>],
}

impl<'tape, 'text> Iterator for Elements<'tape, 'text> {
    type Item = Value<'tape, 'text>;

    fn next(&mut self) -> Option<Self::Item> {
        let value;
        (value, self.nodes) = split_value(self.nodes)?;
        Some(value)
    }
}

/// The first value on the tape, and what follows it.
fn split_value<'tape, 'text>(
    nodes: &'tape [Node<'text>],
) -> Option<(Value<'tape, 'text>, &'tape [Node<'text>])> {
    let length = match nodes.first()? {
        Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
        Node::String(_) | Node::Static(_) => 1,
    };
    let (value, rest) = nodes.split_at_checked(length)?;
    Some((Value { nodes: value }, rest))
}

/// Source: a kline push has 300 bytes and 40 nodes; ample.
const TEXT_BYTES_USUAL: usize = 4 * 1024;
const NODES_USUAL: usize = 256;

/// Source: the deepest message of any venue has 5 levels.
const DEPTH_MAX: usize = 32;

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

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = JsonReader::default().read(&bytes, |root| root.fields().map(|fields| fields.count()));
        }
    }
}
