//! Texts from outside, shown to people: which characters may stand in a symbol, and which are
//! escaped so that nothing is hidden in a log or on a screen. Knows no exchange.

use std::borrow::Cow;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Returns whether `c` cannot be seen, or changes how its neighbours look: control and format
/// characters, separators of lines, private and unassigned ones, and letters and marks without a
/// shape of their own.
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Surrogate
            | GeneralCategory::Unassigned
    ) || HIDDEN_LETTERS.iter().any(|range| range.contains(&c))
}

/// Returns whether `c` is a letter, a mark or a digit of any script, and can be seen.
pub fn is_letter_or_digit(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    let is_named = matches!(
        c.general_category(),
        GeneralCategory::UppercaseLetter
            | GeneralCategory::LowercaseLetter
            | GeneralCategory::TitlecaseLetter
            | GeneralCategory::ModifierLetter
            | GeneralCategory::OtherLetter
            | GeneralCategory::NonspacingMark
            | GeneralCategory::SpacingMark
            | GeneralCategory::DecimalNumber
    );
    is_named && !is_hidden(c)
}

/// `text` with every hidden character as an escape, such as `\n` or `\u{200b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Letters and marks that are drawn as nothing. Source: Unicode 16, DerivedCoreProperties.txt,
/// `Default_Ignorable_Code_Point`, as far as the general category does not show it.
const HIDDEN_LETTERS: [std::ops::RangeInclusive<char>; 9] = [
    '\u{34f}'..='\u{34f}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2065}'..='\u{2065}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{e0100}'..='\u{e01ef}',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped_and_the_rest_stays() {
        let plain = "BTC ü 币安人生 é नमस्ते ✓ €";
        assert!(matches!(visible(plain), Cow::Borrowed(text) if text == plain));
        for (hidden, shown) in [
            ("a\u{200b}b", "a\\u{200b}b"),
            ("\u{feff}", "\\u{feff}"),
            ("\u{202e}x\n", "\\u{202e}x\\n"),
            ("\u{2028}\u{85}", "\\u{2028}\\u{85}"),
            ("\u{3164}", "\\u{3164}"),
            ("\u{e0001}", "\\u{e0001}"),
            ("\u{ad}", "\\u{ad}"),
        ] {
            assert_eq!(visible(hidden), shown);
        }
    }

    #[test]
    fn letters_and_digits_of_every_script_are_told_from_signs() {
        assert!("aZ9ü币이ไทหนึ่งк".chars().all(is_letter_or_digit));
        let signs = "+|#%&$€✓ \u{200d}\u{3164}\u{fe0f}\u{a0}";
        assert!(!signs.chars().any(is_letter_or_digit));
    }
}
