//! A message read once, from left to right, each value as what the dialect expects in its field.
//! The order of fields and white space are free, and unknown fields are skipped. Owns the place in
//! the text. What is escaped, or not as expected, is an error here, and the text is then read over
//! [`Value`], which understands all JSON: a dialect reads both through [`Source`].

use wide::u8x16;

use crate::market::Decimal;
use crate::metrics::DecodeErrorKind;
use crate::wire::json::{DEPTH_MAX, Elements, Fields, Value};
use crate::wire::lex::{self, LANES};

use super::fields::{self, NATURAL_MAX};

/// What was read, or why not.
pub(super) type Decoded<T> = Result<T, DecodeErrorKind>;

/// The name of a field: its bytes, the first one lowest. All names that any dialect reads in a push
/// have at most eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

impl Key {
    /// A name that no dialect reads.
    const OTHER: Self = Self(0);

    /// The key of `name`.
    pub(super) const fn of(name: &str) -> Self {
        let (name, mut bits, mut at) = (name.as_bytes(), 0, name.len());
        if at > size_of::<u64>() {
            return Self::OTHER;
        }
        while at > 0 {
            at -= 1;
            // That name would be taken for the one without it.
            if at + 1 == name.len() && name[at] == 0 {
                return Self::OTHER;
            }
            bits = bits << 8 | name[at] as u64;
        }
        Self(bits)
    }

    /// The same of a name that was read.
    #[inline]
    fn read(name: &str) -> Self {
        let name = name.as_bytes();
        let bits = match (name.first_chunk(), name.last_chunk()) {
            _ if name.len() > size_of::<u64>() || name.last() == Some(&0) => 0,
            (Some(first), Some(last)) => {
                let last = u64::from(u32::from_le_bytes(*last));
                u64::from(u32::from_le_bytes(*first)) | last << (8 * (name.len() - 4))
            }
            _ => name.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte)),
        };
        Self(bits)
    }
}

/// How a field is expected to begin: a comma where it is not the first, its name and its colon,
/// then zeros.
pub(super) struct Guess {
    text: [u8; LANES],
    /// A bit for each byte of the text, the first byte's lowest.
    mask: u32,
    length: usize,
    key: Key,
}

impl Guess {
    /// Fields of the names `names` in this order, with `space` behind each comma.
    pub(super) const fn list<const N: usize>(space: &str, names: [&str; N]) -> [Self; N] {
        let mut guesses = [const { Self::FIRST }; N];
        let mut at = 0;
        while at < N {
            let guess = if at == 0 { Self::FIRST } else { Self::FIRST.and(",").and(space) };
            guesses[at] = guess.and("\"").and(names[at]).and("\":");
            guesses[at].key = Key::of(names[at]);
            at += 1;
        }
        guesses
    }

    /// Nothing yet.
    const FIRST: Self = Self { text: [0; LANES], mask: 0, length: 0, key: Key::OTHER };

    const fn and(mut self, text: &str) -> Self {
        let (text, mut at) = (text.as_bytes(), 0);
        while at < text.len() {
            self.text[self.length] = text[at];
            self.length += 1;
            at += 1;
        }
        self.mask = (1 << self.length) - 1;
        self
    }
}

/// A place in a message: a value, to be read exactly once as what the dialect expects. There are
/// loops and no closures, since only so everything is inlined.
pub(super) trait Source<'text>: Sized {
    /// What is left of an object.
    type Fields;
    /// What is left of an array.
    type Elements;

    /// Enters an object whose fields are likely to be `guesses`. One after another saves looking
    /// for the next one's name; from the first that is another one on, they are of no use.
    fn enter_object(&mut self, guesses: &'static [Guess]) -> Decoded<Self::Fields>;

    /// Goes to the value of the next field, whose key this is; `None` leaves the object.
    fn next_field(&mut self, fields: &mut Self::Fields) -> Decoded<Option<Key>>;

    /// Enters an array.
    fn enter_array(&mut self) -> Decoded<Self::Elements>;

    /// Goes to the next element and returns whether there is one; if not, leaves the array.
    fn next_element(&mut self, elements: &mut Self::Elements) -> Decoded<bool>;

    /// Reads a string.
    fn text(&mut self) -> Decoded<&'text str>;

    /// Reads a time or a count.
    fn natural(&mut self) -> Decoded<i64>;

    /// Reads a time or a count in a string.
    fn natural_text(&mut self) -> Decoded<i64>;

    /// Reads a price or a volume in a string.
    fn decimal(&mut self) -> Decoded<Decimal>;

    /// Reads a price or a volume in a string or as a number.
    fn decimal_or_number(&mut self) -> Decoded<Decimal>;

    /// Reads `true` or `false`.
    fn boolean(&mut self) -> Decoded<bool>;

    /// Reads a value of any type that means nothing to the dialect.
    fn skip(&mut self) -> Decoded<()>;

    /// Returns whether the value is an array.
    fn is_array(&mut self) -> bool;
}

/// What was found; the text is no JSON, or another source has to read it.
const UNEXPECTED: DecodeErrorKind = DecodeErrorKind::Json;

/// A place in a text. The steps are inlined, so that what is expected becomes a few compares; what
/// is not inlined takes the place and gives it back by value, so that it stays in registers.
#[derive(Clone, Copy)]
pub(super) struct Scanner<'text> {
    text: &'text str,
    at: usize,
    /// Objects and arrays that may still be entered.
    depth_left: usize,
}

impl<'text> Scanner<'text> {
    pub(super) fn new(text: &'text str) -> Self {
        Self { text, at: 0, depth_left: DEPTH_MAX }
    }

    #[inline(always)]
    fn bytes(&self) -> &'text [u8] {
        self.text.as_bytes()
    }

    #[inline(always)]
    fn rest(&self) -> &'text [u8] {
        &self.bytes()[self.at..]
    }

    /// The first byte of the next token.
    #[inline(always)]
    fn token(&mut self) -> Decoded<u8> {
        match self.bytes().get(self.at) {
            Some(&byte) if byte > b' ' => Ok(byte),
            _ => {
                self.at = behind_space(self.bytes(), self.at);
                self.bytes().get(self.at).copied().ok_or(UNEXPECTED)
            }
        }
    }

    /// The same where a space is as likely as none.
    #[inline(always)]
    fn spaced_token(&mut self) -> Decoded<u8> {
        self.at += usize::from(self.bytes().get(self.at) == Some(&b' '));
        self.token()
    }

    /// Exactly this byte, as the next token.
    #[inline(always)]
    pub(super) fn expect(&mut self, byte: u8) -> Decoded<()> {
        if self.token()? != byte {
            return Err(UNEXPECTED);
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing more.
    pub(super) fn end(&mut self) -> Decoded<()> {
        match self.token() {
            Ok(_) => Err(UNEXPECTED),
            Err(_) => Ok(()),
        }
    }

    /// The name of the next field and its colon.
    #[inline(always)]
    fn key(&mut self) -> Decoded<Key> {
        if self.spaced_token()? != b'"' {
            return Err(UNEXPECTED);
        }
        self.at += 1;
        let front = lex::front(self.bytes(), self.at);
        let length = lex::specials(front).trailing_zeros() as usize;
        let key = match length {
            1..=8 => {
                let [low, _] = halves(front.to_array());
                Key(low & (u64::MAX >> (64 - 8 * length)))
            }
            _ => Key::OTHER,
        };
        match length < LANES {
            true => self.at += length,
            false => self.at += lex::plain_length(self.bytes(), self.at),
        }
        self.quote()?;
        self.expect(b':')?;
        Ok(key)
    }

    #[inline(always)]
    fn is_at(&self, guess: &Guess) -> bool {
        let same = lex::front(self.bytes(), self.at).simd_eq(u8x16::new(guess.text)).to_bitmask();
        same & guess.mask == guess.mask
    }

    /// A field's comma, unless it is the first one, its name of at most eight bytes and its colon,
    /// looked at together, with or without a space behind the comma and the colon. `None`:
    /// something else.
    #[inline(always)]
    fn usual_name(&mut self, is_first: bool) -> Option<Key> {
        let front: &[u8; LANES] = self.bytes().get(self.at..)?.first_chunk()?;
        if !is_first && front[0] != b',' {
            return None;
        }
        let comma = usize::from(!is_first);
        let open = comma + usize::from(front[comma] == b' ');
        let name = front[open + 1..].first_chunk()?;
        let length = (lex::specials(u8x16::new(*front)) >> (open + 1)).trailing_zeros() as usize;
        if front[open] != b'"' || !(1..=size_of::<u64>()).contains(&length) {
            return None;
        }
        let behind: &[u8; 3] = front[open + 1 + length..].first_chunk()?;
        if behind[..2] != *b"\":" {
            return None;
        }
        self.at += open + length + 3 + usize::from(behind[2] == b' ');
        Some(Key(u64::from_le_bytes(*name) & (u64::MAX >> (64 - 8 * length))))
    }

    /// The closing quote of a string.
    #[inline(always)]
    fn quote(&mut self) -> Decoded<()> {
        if self.bytes().get(self.at) != Some(&b'"') {
            return Err(UNEXPECTED);
        }
        self.at += 1;
        Ok(())
    }

    /// The opening quote of a string.
    #[inline(always)]
    fn open_quote(&mut self) -> Decoded<()> {
        self.expect(b'"')
    }

    /// A number of digits only, up to [`NATURAL_MAX`].
    #[inline(always)]
    fn digits(&mut self) -> Decoded<i64> {
        let text = self.bytes();
        let values = lex::front(text, self.at) - u8x16::splat(b'0');
        let length = values.simd_lt(u8x16::splat(10)).to_bitmask().trailing_ones() as usize;
        let is_padded = length > 1 && text.get(self.at) == Some(&b'0');
        let is_cut = length == LANES && text.get(self.at + LANES).is_some_and(u8::is_ascii_digit);
        if length == 0 || is_padded || is_cut {
            return Err(UNEXPECTED);
        }
        self.at += length;
        let number = number_of(u128::from_le_bytes(values.to_array()) << (8 * (LANES - length)));
        if number > NATURAL_MAX.unsigned_abs() {
            return Err(UNEXPECTED);
        }
        Ok(number.cast_signed())
    }

    /// A price or a volume without its quotes.
    #[inline(always)]
    fn price(&mut self) -> Decoded<Decimal> {
        let (decimal, length) = Decimal::read_front(self.rest()).ok_or(UNEXPECTED)?;
        self.at += length;
        Ok(decimal)
    }

    /// A comma, and the price or volume behind it.
    #[inline(always)]
    pub(super) fn next_decimal(&mut self) -> Decoded<Decimal> {
        self.expect(b',')?;
        self.decimal()
    }

    /// The same place as a variable of its own, which stays in registers where one that was handed
    /// over does not.
    #[inline(always)]
    pub(super) fn own(self) -> Self {
        Self { text: self.text, at: self.at, depth_left: self.depth_left }
    }

    /// The place behind an object, an array or a word.
    #[inline(never)]
    fn behind_nested(self) -> Decoded<Self> {
        let mut scan = self.own();
        match scan.token()? {
            b'{' => {
                let mut fields = scan.enter_object(&[])?;
                while scan.next_field(&mut fields)?.is_some() {
                    scan.skip()?;
                }
            }
            b'[' => {
                let mut elements = scan.enter_array()?;
                while scan.next_element(&mut elements)? {
                    scan.skip()?;
                }
            }
            _ => scan.at += lex::word_length(scan.rest()).ok_or(UNEXPECTED)?,
        }
        Ok(scan)
    }

    /// Enters at the bracket `open`.
    #[inline(always)]
    fn enter(&mut self, open: u8, guesses: &'static [Guess]) -> Decoded<Entered> {
        if self.spaced_token()? != open {
            return Err(UNEXPECTED);
        }
        self.depth_left = self.depth_left.checked_sub(1).ok_or(UNEXPECTED)?;
        self.at += 1;
        Ok(Entered { is_first: true, guesses })
    }

    /// Returns whether another field or element follows; if not, leaves at `close`.
    #[inline(always)]
    fn has_next(&mut self, entered: &mut Entered, close: u8) -> Decoded<bool> {
        let is_first = std::mem::replace(&mut entered.is_first, false);
        let token = self.spaced_token()?;
        if token == close {
            self.at += 1;
            self.depth_left += 1;
            return Ok(false);
        }
        if is_first {
            return Ok(true);
        }
        self.at += 1;
        if token == b',' { Ok(true) } else { Err(UNEXPECTED) }
    }
}

/// Where within an object or an array a [`Scanner`] is.
pub(super) struct Entered {
    is_first: bool,
    /// How the next fields may begin.
    guesses: &'static [Guess],
}

impl<'text> Source<'text> for Scanner<'text> {
    type Fields = Entered;
    type Elements = Entered;

    #[inline(always)]
    fn enter_object(&mut self, guesses: &'static [Guess]) -> Decoded<Entered> {
        self.enter(b'{', guesses)
    }

    #[inline(always)]
    fn next_field(&mut self, fields: &mut Entered) -> Decoded<Option<Key>> {
        if let Some((guess, others)) = fields.guesses.split_first() {
            if self.is_at(guess) {
                self.at += guess.length;
                (fields.is_first, fields.guesses) = (false, others);
                return Ok(Some(guess.key));
            }
            fields.guesses = &[];
        }
        if let Some(key) = self.usual_name(fields.is_first) {
            fields.is_first = false;
            return Ok(Some(key));
        }
        match self.has_next(fields, b'}')? {
            true => Ok(Some(self.key()?)),
            false => Ok(None),
        }
    }

    #[inline(always)]
    fn enter_array(&mut self) -> Decoded<Entered> {
        self.enter(b'[', &[])
    }

    #[inline(always)]
    fn next_element(&mut self, elements: &mut Entered) -> Decoded<bool> {
        self.has_next(elements, b']')
    }

    #[inline(always)]
    fn text(&mut self) -> Decoded<&'text str> {
        self.open_quote()?;
        let length = lex::plain_length(self.bytes(), self.at);
        let text = self.text.get(self.at..self.at + length).ok_or(UNEXPECTED)?;
        self.at += length;
        self.quote()?;
        Ok(text)
    }

    #[inline(always)]
    fn natural(&mut self) -> Decoded<i64> {
        self.token()?;
        self.digits()
    }

    #[inline(always)]
    fn natural_text(&mut self) -> Decoded<i64> {
        self.open_quote()?;
        let number = self.digits()?;
        self.quote()?;
        Ok(number)
    }

    #[inline(always)]
    fn decimal(&mut self) -> Decoded<Decimal> {
        self.open_quote()?;
        let decimal = self.price()?;
        self.quote()?;
        Ok(decimal)
    }

    #[inline(always)]
    fn decimal_or_number(&mut self) -> Decoded<Decimal> {
        match self.spaced_token()? {
            b'"' => self.decimal(),
            _ => self.price(),
        }
    }

    #[inline(always)]
    fn boolean(&mut self) -> Decoded<bool> {
        let is_true = self.spaced_token()? == b't';
        let word: &[u8] = if is_true { b"true" } else { b"false" };
        if !self.rest().starts_with(word) {
            return Err(UNEXPECTED);
        }
        self.at += word.len();
        Ok(is_true)
    }

    #[inline(always)]
    fn skip(&mut self) -> Decoded<()> {
        match self.spaced_token()? {
            b'"' => {
                self.at += 1;
                self.at += lex::plain_length(self.bytes(), self.at);
                self.quote()
            }
            b'-' | b'0'..=b'9' => {
                self.at += lex::number_length(self.bytes(), self.at).ok_or(UNEXPECTED)?;
                Ok(())
            }
            _ => {
                *self = self.behind_nested()?;
                Ok(())
            }
        }
    }

    #[inline(always)]
    fn is_array(&mut self) -> bool {
        self.spaced_token() == Ok(b'[')
    }
}

impl<'tape, 'text> Source<'text> for Value<'tape, 'text> {
    type Fields = Fields<'tape, 'text>;
    type Elements = Elements<'tape, 'text>;

    fn enter_object(&mut self, _: &'static [Guess]) -> Decoded<Self::Fields> {
        self.fields().ok_or(DecodeErrorKind::BadField)
    }

    fn next_field(&mut self, fields: &mut Self::Fields) -> Decoded<Option<Key>> {
        let Some((name, value)) = fields.next() else { return Ok(None) };
        *self = value;
        Ok(Some(Key::read(name)))
    }

    fn enter_array(&mut self) -> Decoded<Self::Elements> {
        self.elements().ok_or(DecodeErrorKind::BadField)
    }

    fn next_element(&mut self, elements: &mut Self::Elements) -> Decoded<bool> {
        let Some(value) = elements.next() else { return Ok(false) };
        *self = value;
        Ok(true)
    }

    fn text(&mut self) -> Decoded<&'text str> {
        fields::text(Some(*self))
    }

    fn natural(&mut self) -> Decoded<i64> {
        fields::natural(Some(*self))
    }

    fn natural_text(&mut self) -> Decoded<i64> {
        fields::natural_text(Some(*self))
    }

    fn decimal(&mut self) -> Decoded<Decimal> {
        fields::decimal(Some(*self))
    }

    fn decimal_or_number(&mut self) -> Decoded<Decimal> {
        fields::decimal_or_number(Some(*self))
    }

    fn boolean(&mut self) -> Decoded<bool> {
        Value::boolean(*self).ok_or(DecodeErrorKind::BadField)
    }

    fn skip(&mut self) -> Decoded<()> {
        Ok(())
    }

    fn is_array(&mut self) -> bool {
        Value::is_array(*self)
    }
}

/// The place of the next token, from `at` on.
#[inline(never)]
fn behind_space(text: &[u8], at: usize) -> usize {
    at + text[at..].iter().take_while(|&&byte| lex::is_space(byte)).count()
}

/// A field that must be there.
#[inline(always)]
pub(super) fn required<T>(field: Option<T>) -> Decoded<T> {
    field.ok_or(DecodeErrorKind::MissingField)
}

/// The low and the high eight bytes.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // The halves are what is wanted.
fn halves(front: [u8; LANES]) -> [u64; 2] {
    let bits = u128::from_le_bytes(front);
    [bits as u64, (bits >> 64) as u64]
}

/// The number of sixteen digits, one in each byte, the highest in the lowest byte.
#[inline(always)]
fn number_of(digits: u128) -> u64 {
    let [high, low] = halves(digits.to_le_bytes()).map(|eight| {
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
            prop_assert_eq!(scan.natural().ok(), expected);
            if expected.is_some() {
                prop_assert_eq!(&whole[scan.at..], behind);
            }
        }

        #[test]
        fn a_text_ends_at_its_quote(
            word in "[A-Za-z0-9_@é:-]{0,40}", behind in "[,}\\\\\"]{0,20}"
        ) {
            let whole = format!("\"{word}\"{behind}");
            let mut scan = Scanner::new(&whole);
            prop_assert_eq!(scan.text(), Ok(word.as_str()));
            prop_assert_eq!(&whole[scan.at..], behind);
        }

        #[test]
        fn a_name_has_one_key(one in "[a-zA-Z_é]{0,10}", other in "[a-zA-Z_é]{0,10}") {
            let ended = format!("{one}\0");
            prop_assert_eq!(Key::read(&ended), Key::OTHER);
            prop_assert_eq!(Key::of(&ended), Key::OTHER);
            let text = format!("{{\"{one}\":1}}");
            let mut scan = Scanner::new(&text);
            let mut fields = scan.enter_object(&[]).unwrap();
            prop_assert_eq!(scan.next_field(&mut fields), Ok(Some(Key::of(&one))));
            prop_assert_eq!(Key::read(&one), Key::of(&one));
            let is_same = one == other || one.len().min(other.len()) > 8;
            if !is_same && Key::of(&one) != Key::OTHER {
                prop_assert_ne!(Key::of(&one), Key::of(&other));
            }
        }

        /// Whatever is skipped is JSON for another parser too.
        #[test]
        fn what_is_skipped_is_json(
            text in "([\\[\\]{}:,\"ab0-9.eE\\-+ \n\\\\]|true|null|\"a\":|\\[1,|, ){0,12}"
        ) {
            let mut scan = Scanner::new(&text);
            if scan.skip().and_then(|()| scan.end()).is_ok() {
                let json: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&text);
                prop_assert!(json.is_ok(), "{}", text);
            }
        }
    }

    #[test]
    fn what_is_escaped_or_cut_is_left_to_others() {
        for text in ["", "\"", "\"abc", "\"abcdefghijklmnop", "\"a\\\"b\"", "\"a\nb\""] {
            assert!(Scanner::new(text).text().is_err(), "{text:?}");
            assert!(Scanner::new(text).skip().is_err(), "{text:?}");
        }
    }

    #[test]
    fn fields_are_the_same_whether_they_were_guessed_or_not() {
        const GUESSES: [Guess; 3] = Guess::list(" ", ["a", "bb", "longname"]);
        let keys = |text: &str, guesses| {
            let (mut keys, mut scan) = (Vec::new(), Scanner::new(text));
            let mut fields = scan.enter_object(guesses).unwrap();
            while let Some(key) = scan.next_field(&mut fields).unwrap() {
                keys.push((key, scan.natural().unwrap()));
            }
            keys
        };
        for (text, names) in [
            (r#"{"a":1, "bb":2, "longname":3}"#, &["a", "bb", "longname"][..]),
            (r#"{"a":1,"bb":2, "longname":3}"#, &["a", "bb", "longname"]),
            (r#"{"bb":1, "a":2, "longname":3, "d":4}"#, &["bb", "a", "longname", "d"]),
            (r#"{"a":1, "bb":2, "longname":3, "a":4}"#, &["a", "bb", "longname", "a"]),
            (r#"{"a":1}"#, &["a"]),
            ("{}", &[]),
        ] {
            let expected: Vec<_> = names.iter().map(|name| Key::of(name)).zip(1..).collect();
            assert_eq!(keys(text, &GUESSES), expected, "{text}");
            assert_eq!(keys(text, &[]), expected, "{text}");
        }
    }

    #[test]
    fn white_space_is_free_and_nesting_has_an_end() {
        let text = " \n{ \"a\" :\t[ 1 , { } , [ ] ] \r\n, \"bb\" : \"x\" } ";
        let (mut keys, mut scan) = (Vec::new(), Scanner::new(text));
        let mut fields = scan.enter_object(&[]).unwrap();
        while let Some(key) = scan.next_field(&mut fields).unwrap() {
            keys.push(key);
            scan.skip().unwrap();
        }
        assert_eq!(scan.end(), Ok(()));
        assert_eq!(keys, [Key::of("a"), Key::of("bb")]);
        let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Scanner::new(&deep(DEPTH_MAX)).skip().is_ok());
        assert!(Scanner::new(&deep(DEPTH_MAX + 1)).skip().is_err());
    }
}
