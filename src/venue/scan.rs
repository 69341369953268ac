//! A text read from left to right, by whoever knows what comes next. Owns the place in it; whatever is
//! not as expected is `None`, and nothing is said about it: the general reader has the last word.

use crate::market::Decimal;

use super::fields::NATURAL_MAX;

/// A place in a text. The steps are inlined, so that what is expected becomes a few compares.
pub(super) struct Scanner<'text> {
    text: &'text str,
    at: usize,
}

impl<'text> Scanner<'text> {
    pub(super) fn new(text: &'text str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'text [u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Exactly this.
    #[inline(always)]
    pub(super) fn skip(&mut self, expected: &str) -> Option<()> {
        let found = self.rest().get(..expected.len())?;
        (found == expected.as_bytes()).then(|| self.at += expected.len())
    }

    /// Nothing more.
    pub(super) fn end(&self) -> Option<()> {
        (self.at == self.text.len()).then_some(())
    }

    /// A string's characters, none of them escaped, and its closing quote.
    #[inline(always)]
    pub(super) fn word(&mut self) -> Option<&'text str> {
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let length = self.rest().iter().position(is_special)?;
        let word = self.text.get(self.at..self.at + length)?;
        self.at += length;
        self.skip("\"").map(|()| word)
    }

    /// A time or a count.
    #[inline(always)]
    pub(super) fn natural(&mut self) -> Option<i64> {
        let rest = self.rest();
        let (mut length, mut number) = (0, 0);
        for byte in rest.iter().take(NATURAL_DIGITS_MAX + 1) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            number = number * 10 + i64::from(digit);
            length += 1;
        }
        self.at += length;
        let is_number = length == 1 || length > 1 && rest[0] != b'0';
        (is_number && number <= NATURAL_MAX).then_some(number)
    }

    /// A price or a volume, and the closing quote of its string.
    #[inline(always)]
    pub(super) fn decimal(&mut self) -> Option<Decimal> {
        let (decimal, length) = Decimal::read_front(self.rest())?;
        self.at += length;
        self.skip("\"").map(|()| decimal)
    }

    /// The same, behind exactly this.
    #[inline(always)]
    pub(super) fn decimal_after(&mut self, expected: &str) -> Option<Decimal> {
        self.skip(expected)?;
        self.decimal()
    }

    /// `true` or `false`.
    #[inline(always)]
    pub(super) fn boolean(&mut self) -> Option<bool> {
        let is_true = self.skip("true").is_some();
        if !is_true {
            self.skip("false")?;
        }
        Some(is_true)
    }
}

/// One digit more than [`NATURAL_MAX`] has.
const NATURAL_DIGITS_MAX: usize = 17;
