//! A text read from left to right, by whoever knows what comes next. Owns the place in it; whatever is
//! not as expected is `None`, and nothing is said about it: the general reader has the last word.

use wide::u8x16;

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
        let (rest, mut length) = (self.rest(), 0);
        loop {
            let lanes = front(&rest[length..]);
            let special = lanes.simd_eq(u8x16::splat(b'"'))
                | lanes.simd_eq(u8x16::splat(b'\\'))
                | lanes.simd_lt(u8x16::splat(b' '));
            let plain = special.to_bitmask().trailing_zeros() as usize;
            length += plain.min(LANES);
            if plain < LANES {
                break;
            }
        }
        let word = self.text.get(self.at..self.at + length)?;
        self.at += length;
        self.skip("\"").map(|()| word)
    }

    /// A time or a count.
    #[inline(always)]
    pub(super) fn natural(&mut self) -> Option<i64> {
        let rest = self.rest();
        let values = front(rest) - u8x16::splat(b'0');
        let length = values.simd_lt(u8x16::splat(10)).to_bitmask().trailing_ones() as usize;
        let is_padded = length > 1 && rest[0] == b'0';
        let is_cut = length == LANES && rest.get(LANES).is_some_and(u8::is_ascii_digit);
        if length == 0 || is_padded || is_cut {
            return None;
        }
        self.at += length;
        let number = number_of(u128::from_le_bytes(values.to_array()) << (8 * (LANES - length)));
        (number <= NATURAL_MAX.unsigned_abs()).then(|| number.cast_signed())
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

/// Bytes that are looked at together: as many as [`NATURAL_MAX`] has digits.
const LANES: usize = 16;

/// The first bytes of `rest`; behind its end are zeros.
#[inline(always)]
fn front(rest: &[u8]) -> u8x16 {
    u8x16::new(rest.first_chunk().copied().unwrap_or_else(|| {
        let mut front = [0; LANES];
        front[..rest.len()].copy_from_slice(rest);
        front
    }))
}

/// The number of sixteen digits, one in each byte, the highest in the lowest byte.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // The halves are what is wanted.
fn number_of(digits: u128) -> u64 {
    let [high, low] = [digits as u64, (digits >> 64) as u64].map(|eight| {
        // Neighbours are added with their weights: to pairs, and those to fours and to eight.
        let pairs = eight.wrapping_mul(10).wrapping_add(eight >> 8);
        let (even, odd) = (pairs & PAIRS, pairs >> 16 & PAIRS);
        let sum = even.wrapping_mul(100 + (1_000_000 << 32));
        sum.wrapping_add(odd.wrapping_mul(1 + (10_000 << 32))) >> 32
    });
    high * 100_000_000 + low
}

/// Every other pair of digits.
const PAIRS: u64 = 0x0000_00FF_0000_00FF;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn naturals_are_what_they_are_by_the_standard_library(
            text in "(0|[1-9])[0-9]{0,17}", behind in "[,}x]{0,18}"
        ) {
            let whole = format!("{text}{behind}");
            let mut scan = Scanner::new(&whole);
            let is_usual = text.len() == 1 || !text.starts_with('0');
            let expected: Option<i64> = text.parse().ok();
            let expected = expected.filter(|number| is_usual && *number <= NATURAL_MAX);
            prop_assert_eq!(scan.natural(), expected);
            if expected.is_some() {
                prop_assert_eq!(scan.skip(&behind).and_then(|()| scan.end()), Some(()));
            }
        }

        #[test]
        fn a_word_ends_at_its_quote(
            word in "[A-Za-z0-9_@é:-]{0,40}", behind in "[,}\\\\\"]{0,20}"
        ) {
            let whole = format!("{word}\"{behind}");
            let mut scan = Scanner::new(&whole);
            prop_assert_eq!(scan.word(), Some(word.as_str()));
            prop_assert_eq!(scan.skip(&behind).and_then(|()| scan.end()), Some(()));
        }
    }

    #[test]
    fn what_is_escaped_or_cut_is_no_word() {
        for text in
            ["", "abc", "abcdefghijklmnop", "a\\\"b\"", "a\nb\"", "abcdefghijklmnopq\u{1}\""]
        {
            assert_eq!(Scanner::new(text).word(), None, "{text:?}");
        }
    }
}
