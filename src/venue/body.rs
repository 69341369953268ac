//! What the body of an answer says outside its rows: one field of an object, and its first words.

use crate::text;
use crate::wire::json::JsonReader;

/// The text of one field of a body that is a JSON object.
pub(super) fn field_text(body: &[u8], key: &str) -> Option<String> {
    let read = JsonReader::default().read(body, |root| {
        let (_, value) = root.fields()?.find(|(name, _)| *name == key)?;
        let number = || value.integer().map(|number| number.to_string());
        value.text().map(str::to_owned).or_else(number)
    });
    read.ok().flatten()
}

/// The first words of an answer, for a person: without the tags of a page, on one line, with
/// nothing that a terminal would obey. Empty if there are none.
pub fn first_words(body: &[u8]) -> String {
    let head = String::from_utf8_lossy(&body[..body.len().min(WORDS_SEARCHED_BYTES)]);
    let (mut words, mut rest) = (String::new(), &*head);
    while let Some(next) = rest.chars().next() {
        if let Some(behind) = skip_tag(rest) {
            (rest, words) = (behind, words + " ");
            continue;
        }
        rest = &rest[next.len_utf8()..];
        words.push(if is_shown(next) { next } else { ' ' });
    }
    let shown = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match shown.char_indices().nth(WORDS_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &shown[..cut]),
        None => shown,
    }
}

/// What follows the tag at the front of `text`, and with a script or a style what that holds.
fn skip_tag(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('<')?;
    if !inside.starts_with(|next: char| next.is_ascii_alphabetic() || "/!?".contains(next)) {
        return None;
    }
    let is = |name: &str| inside.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name));
    let end = [("script", "</script"), ("style", "</style"), ("!--", "-->")];
    let end = end.iter().find(|(name, _)| is(name)).map_or(">", |(_, end)| end);
    let at = inside.find(end).map_or(inside.len(), |at| at + end.len());
    let behind = &inside[at..];
    let closing_tag = || behind.split_once('>').map_or("", |(_, rest)| rest);
    Some(if end.ends_with('>') { behind } else { closing_tag() })
}

/// Neither hidden nor what stands for bytes that are no text.
fn is_shown(c: char) -> bool {
    !text::is_hidden(c) && c != char::REPLACEMENT_CHARACTER
}

/// As much of a body is looked through for words. Source: the head of a page is mostly shorter.
const WORDS_SEARCHED_BYTES: usize = 4 * 1024;

/// As many characters of a body as a line of the log, `/ready` and `doctor` show.
const WORDS_CHARS_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_words_of_a_page_are_its_text() {
        for (body, expected) in [
            ("<html><body>Request blocked.</body></html>", "Request blocked."),
            (
                "<!doctype html><head><style>b{a:1}</style><title>403</title><script>x<y</script>\
                 </head>\r\n<h1>Access\tdenied</h1>",
                "403 Access denied",
            ),
            ("{\"code\":0,\"msg\":\"no\"}", "{\"code\":0,\"msg\":\"no\"}"),
            ("a\u{1b}[31mb\u{202e}c\u{0}d", "a [31mb c d"),
            ("a\u{600}b\u{3164}c\u{e000}d", "a b c d"),
            ("1 < 2", "1 < 2"),
            ("<script>never ends", ""),
            ("", ""),
        ] {
            assert_eq!(first_words(body.as_bytes()), expected, "{body:?}");
        }
        assert_eq!(first_words(&[0x1f, 0x8b, 8, 0, 0, 0xff, 0xfe]), "");
        assert_eq!(first_words("é".repeat(500).as_bytes()).chars().count(), WORDS_CHARS_MAX + 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let words = first_words(&bytes);
            prop_assert!(words.chars().all(is_shown) && !words.contains("  "), "{words:?}");
        }
    }
}
