//! Exact decimal numbers in the digits of the exchange. Owns their validation, canonical form,
//! order, sum and product; knows no binary floating point and never rounds.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU8;

use arrayvec::ArrayVec;
use wide::u8x32;

/// Most bytes of a number after trimming, sign and point included. Source: 999 trillion units with
/// eight decimals take 24 bytes; 31 bytes make the whole type 32.
pub const DECIMAL_DIGITS_MAX: usize = 31;

/// A decimal number in canonical text form: `-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?`, no `-0`.
///
/// The digits are those of the exchange: only trailing zeros of the fraction and leading zeros are
/// trimmed. Equal numbers therefore have equal bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    length: NonZeroU8,
    digits: [u8; DECIMAL_DIGITS_MAX],
}

/// Why a text is no [`Decimal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalError {
    /// No decimal number: empty, a stray byte, a plus sign, a point or an exponent without digits.
    Malformed,
    /// More than [`DECIMAL_DIGITS_MAX`] bytes after trimming. The number is never rounded to fit.
    TooLong,
}

impl Decimal {
    /// The number zero.
    pub const ZERO: Self = {
        let mut digits = [0; DECIMAL_DIGITS_MAX];
        digits[0] = b'0';
        Self { length: NonZeroU8::MIN, digits }
    };

    /// Reads a decimal number, `-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?`. An exponent moves the
    /// point: `9.669E-05` becomes `0.00009669`.
    ///
    /// # Errors
    /// [`DecimalError`] if the text is no such number, or has too many digits.
    pub fn parse(text: &[u8]) -> Result<Self, DecimalError> {
        Self::parse_usual(text).map_or_else(|| Self::parse_any(text), Ok)
    }

    /// Reads a number without sign and leading zeros in one pass; `None` for any other text.
    #[inline]
    fn parse_usual(text: &[u8]) -> Option<Self> {
        let (decimal, length) = Self::read_front(text)?;
        (length == text.len()).then_some(decimal)
    }

    /// The number at the front of `text`, up to the first byte that is neither digit nor point, and
    /// its length in bytes. `None` if there is none, or if it has a sign, a leading zero or more
    /// than [`DECIMAL_DIGITS_MAX`] bytes; [`Self::parse`] decides about these.
    #[inline(always)]
    pub fn read_front(text: &[u8]) -> Option<(Self, usize)> {
        match text.first_chunk() {
            Some(front) => Self::read_lanes(front),
            None => Self::read_padded(text),
        }
    }

    #[inline(never)]
    fn read_padded(text: &[u8]) -> Option<(Self, usize)> {
        Self::read_lanes(&padded(text))
    }

    /// Reads all bytes at once, without a branch that depends on the number of digits. A mask has a
    /// bit for each byte, the lowest bit for the first byte.
    #[inline(always)]
    fn read_lanes(front: &[u8; LANES]) -> Option<(Self, usize)> {
        let lanes = u8x32::new(*front);
        let digits = (lanes - u8x32::splat(b'0')).simd_lt(u8x32::splat(10)).to_bitmask();
        let zeros = lanes.simd_eq(u8x32::splat(b'0')).to_bitmask();
        let points = lanes.simd_eq(u8x32::splat(b'.')).to_bitmask();
        let first_point = points & points.wrapping_neg();
        let end = (digits | first_point).trailing_ones();
        let behind = 1u32.checked_shl(end)?;
        let number = behind - 1;
        let point = first_point & number;
        let whole = if point == 0 { number } else { point - 1 };
        let is_padded = zeros & 1 != 0 && whole > 1;
        let is_bare = whole == 0 || point << 1 == behind;
        let has_two_points = point != 0 && points & behind != 0;
        if is_padded || is_bare || has_two_points {
            return None;
        }
        let significant = number & (whole | !(zeros | points));
        let length = u8::try_from(u32::BITS - significant.leading_zeros()).ok()?;
        let kept = lanes & u8x32::new(PLACES).simd_lt(u8x32::splat(length));
        let digits = *kept.as_array().first_chunk()?;
        Some((Self { length: NonZeroU8::new(length)?, digits }, end as usize))
    }

    #[cold]
    fn parse_any(text: &[u8]) -> Result<Self, DecimalError> {
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let (mantissa, exponent) = split_exponent(unsigned)?;
        let (whole, fraction) = split_point(mantissa)?;
        Self::shifted(negative, (whole, fraction), exponent)
    }

    /// The number with these digits before and after the point, and with the point moved to the
    /// right by `exponent` places.
    fn shifted(
        negative: bool,
        (whole, fraction): (&[u8], &[u8]),
        exponent: i64,
    ) -> Result<Self, DecimalError> {
        let digits = || whole.iter().chain(fraction);
        let is_significant = |digit: &u8| *digit != b'0';
        let Some(leading) = digits().position(is_significant) else { return Ok(Self::ZERO) };
        let trailing = digits().rev().position(is_significant).unwrap_or_default();
        let significant = whole.len() + fraction.len() - leading - trailing;
        let places = |count: usize| i64::try_from(count).map_err(|_| DecimalError::TooLong);
        // Number of significant digits before the point; below zero, number of zeros after it.
        let point = places(whole.len())? - places(leading)? + exponent;
        let zeros_before = point.min(0).unsigned_abs();
        let zeros_behind = (point - places(significant)?).max(0).unsigned_abs();
        let room = DECIMAL_DIGITS_MAX as u64;
        if significant as u64 > room || zeros_before.max(zeros_behind) > room {
            return Err(DecimalError::TooLong);
        }
        let mut put = Put::default();
        put.bytes(negative.then_some(b'-'))?;
        if point <= 0 {
            put.bytes(*b"0.")?;
            put.bytes((0..zeros_before).map(|_| b'0'))?;
        }
        for (place, digit) in (0..).zip(digits().skip(leading).take(significant)) {
            put.bytes((place == point && point > 0).then_some(b'.'))?;
            put.bytes([*digit])?;
        }
        put.bytes((0..zeros_behind).map(|_| b'0'))?;
        let length = u8::try_from(put.length).ok().and_then(NonZeroU8::new);
        Ok(Self { length: length.expect("1..=31: there is a digit"), digits: put.digits })
    }

    /// A whole number.
    pub fn from_natural(number: u64) -> Self {
        let (mut digits, mut at, mut rest) = ([0; DECIMAL_DIGITS_MAX], DECIMAL_DIGITS_MAX, number);
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
            if rest == 0 {
                return Self::parse(&digits[at..]).expect("at most 20 digits");
            }
        }
    }

    /// The canonical digits, a valid JSON number.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[..usize::from(self.length.get())]
    }

    /// The canonical digits, a valid JSON number.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("parse admits ASCII digits, '-' and '.' only")
    }

    /// Returns whether the number is zero.
    pub fn is_zero(&self) -> bool {
        self.as_bytes() == b"0"
    }

    /// The exact sum of two numbers that are not below zero. `None` if one is below zero, or if the
    /// sum has more than [`DECIMAL_DIGITS_MAX`] bytes.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        if self.is_negative() || other.is_negative() {
            return None;
        }
        let (left_whole, left_fraction) = self.parts();
        let (right_whole, right_fraction) = other.parts();
        let fraction = left_fraction.len().max(right_fraction.len());
        let mut sum = [0; SUM_BYTES_MAX];
        let (mut at, mut carry) = (SUM_BYTES_MAX, 0);
        let mut put = |left: Option<&u8>, right: Option<&u8>| {
            let digit = |byte: Option<&u8>| byte.map_or(0, |byte| byte - b'0');
            let total = digit(left) + digit(right) + carry;
            carry = total / 10;
            at -= 1;
            sum[at] = b'0' + total % 10;
        };
        for place in (0..fraction).rev() {
            put(left_fraction.get(place), right_fraction.get(place));
        }
        let mut wholes = (left_whole.iter().rev(), right_whole.iter().rev());
        for _ in 0..=left_whole.len().max(right_whole.len()) {
            put(wholes.0.next(), wholes.1.next());
        }
        if fraction == 0 {
            return Self::parse(&sum[at..]).ok();
        }
        let point = SUM_BYTES_MAX - fraction;
        sum.copy_within(at..point, at - 1);
        sum[point - 1] = b'.';
        Self::parse(&sum[at - 1..]).ok()
    }

    /// The exact product of two numbers that are not below zero. `None` if one is below zero, or if
    /// the product has more than [`DECIMAL_DIGITS_MAX`] bytes.
    pub fn checked_mul(&self, other: &Self) -> Option<Self> {
        if self.is_negative() || other.is_negative() {
            return None;
        }
        let (left, right) = (self.parts(), other.parts());
        let digits = |(whole, fraction): (&'_ [u8], &'_ [u8])| {
            let mut digits = ArrayVec::<u8, DECIMAL_DIGITS_MAX>::new();
            digits.extend(whole.iter().chain(fraction).rev().map(|byte| byte - b'0'));
            digits
        };
        let (one, two) = (digits(left), digits(right));
        // The lowest place first.
        let mut product = [0u8; 2 * DECIMAL_DIGITS_MAX];
        for (at, &digit) in one.iter().enumerate() {
            let mut carry = 0;
            for (place, sum) in product[at..].iter_mut().enumerate() {
                let total = *sum + digit * two.get(place).copied().unwrap_or(0) + carry;
                (*sum, carry) = (total % 10, total / 10);
            }
        }
        product.reverse();
        product.iter_mut().for_each(|digit| *digit += b'0');
        let places = i64::try_from(left.1.len() + right.1.len()).ok()?;
        Self::shifted(false, (&product, &[]), -places).ok()
    }

    /// The digits before and after the point of a number that is not below zero.
    fn parts(&self) -> (&[u8], &[u8]) {
        let digits = self.as_bytes();
        match digits.iter().position(|&byte| byte == b'.') {
            Some(point) => (&digits[..point], &digits[point + 1..]),
            None => (digits, &[]),
        }
    }

    /// Returns whether the number is below zero. Prices and volumes never are.
    pub fn is_negative(&self) -> bool {
        self.digits[0] == b'-'
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By exact value.
impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_negative(), other.is_negative()) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => cmp_unsigned(self.as_str(), other.as_str()),
            (true, true) => cmp_unsigned(&other.as_str()[1..], &self.as_str()[1..]),
        }
    }
}

/// Compares canonical digits: the longer whole part is larger, and fractions compare like words.
fn cmp_unsigned(left: &str, right: &str) -> Ordering {
    let split =
        |text: &str| text.split_once('.').map_or((text.len(), 0), |(w, f)| (w.len(), f.len()));
    split(left).0.cmp(&split(right).0).then_with(|| left.cmp(right))
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Decimal {
    type Err = DecimalError;
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        Self::parse(text.as_bytes())
    }
}

/// A text shorter than [`LANES`], padded with zeros. Two loads that may overlap are used, because a
/// copy of unknown length is a call.
#[inline]
fn padded(text: &[u8]) -> [u8; LANES] {
    let length = text.len();
    let (mut low, mut high) = (0, 0);
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let last = u128::from_le_bytes(*last);
        low = u128::from_le_bytes(*first);
        // In two steps, because at sixteen bytes all 128 bits are shifted out.
        high = last >> 8 >> (8 * (LANES - 1 - length));
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let last = u128::from(u64::from_le_bytes(*last));
        low = u128::from(u64::from_le_bytes(*first)) | last << (8 * (length - 8));
    } else {
        text.iter().rev().for_each(|&byte| low = low << 8 | u128::from(byte));
    }
    let mut front = [0; LANES];
    front[..LANES / 2].copy_from_slice(&low.to_le_bytes());
    front[LANES / 2..].copy_from_slice(&high.to_le_bytes());
    front
}

/// The digits before and after the point. A point has digits on both sides.
fn split_point(unsigned: &[u8]) -> Result<(&[u8], &[u8]), DecimalError> {
    let mut point = None;
    for (at, byte) in unsigned.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {}
            b'.' if point.is_none() => point = Some(at),
            _ => return Err(DecimalError::Malformed),
        }
    }
    let (whole, fraction) = match point {
        None => (unsigned, &unsigned[..0]),
        Some(at) if at + 1 < unsigned.len() => (&unsigned[..at], &unsigned[at + 1..]),
        Some(_) => return Err(DecimalError::Malformed),
    };
    if whole.is_empty() { Err(DecimalError::Malformed) } else { Ok((whole, fraction)) }
}

/// The digits before `e` or `E`, and the exponent after it; 0 if there is none.
fn split_exponent(unsigned: &[u8]) -> Result<(&[u8], i64), DecimalError> {
    let Some(at) = unsigned.iter().position(|byte| byte.eq_ignore_ascii_case(&b'e')) else {
        return Ok((unsigned, 0));
    };
    let (sign, digits) = match &unsigned[at + 1..] {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalError::Malformed);
    }
    let add = |sum: i64, digit: &u8| (sum * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX);
    Ok((&unsigned[..at], sign * digits.iter().fold(0, add)))
}

/// The bytes of a number under construction.
#[derive(Default)]
struct Put {
    digits: [u8; DECIMAL_DIGITS_MAX],
    length: usize,
}

impl Put {
    fn bytes(&mut self, bytes: impl IntoIterator<Item = u8>) -> Result<(), DecimalError> {
        for byte in bytes {
            *self.digits.get_mut(self.length).ok_or(DecimalError::TooLong)? = byte;
            self.length += 1;
        }
        Ok(())
    }
}

/// A larger exponent is read as this one: either is too long for any digit but zero. Source: no
/// text that is read is as long.
const EXPONENT_MAX: i64 = 1_000_000_000;

/// Room for the sum of any two numbers. Source: the longest whole part, a carry, a point and the
/// longest fraction.
const SUM_BYTES_MAX: usize = 2 * DECIMAL_DIGITS_MAX + 2;

/// Number of bytes that are read at once. Source: the longest number, and the byte after it.
const LANES: usize = DECIMAL_DIGITS_MAX + 1;

const PLACES: [u8; LANES] = {
    let (mut places, mut at) = ([0; LANES], 0u8);
    while (at as usize) < LANES {
        places[at as usize] = at;
        at += 1;
    }
    places
};

const _: () = assert!(size_of::<Option<Decimal>>() == 32);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> Result<String, DecimalError> {
        Decimal::parse(text.as_bytes()).map(|decimal| decimal.to_string())
    }

    #[test]
    fn whole_numbers_are_their_digits() {
        for number in [0, 7, 10, 27_525_555, u64::MAX] {
            assert_eq!(Decimal::from_natural(number).as_str(), number.to_string());
        }
    }

    #[test]
    fn products_are_exact() {
        let product = |left: &str, right: &str| {
            let [left, right]: [Decimal; 2] = [left, right].map(|one| one.parse().unwrap());
            assert_eq!(left.checked_mul(&right), right.checked_mul(&left));
            left.checked_mul(&right).map(|product| product.to_string())
        };
        for (left, right, expected) in [
            ("541352", "0.0001", Some("54.1352")),
            ("80.5", "100", Some("8050")),
            ("0", "0.01", Some("0")),
            ("0.00000025", "0.0004", Some("0.0000000001")),
            ("999999999999999", "999999999999999", Some("999999999999998000000000000001")),
            ("9999999999999999", "9999999999999999", None),
            ("-1", "2", None),
        ] {
            assert_eq!(product(left, right).as_deref(), expected, "{left} * {right}");
        }
    }

    #[test]
    fn digits_are_kept_and_only_zeros_are_trimmed() {
        for (text, expected) in [
            ("29038.46000000", "29038.46"),
            ("0.00000001", "0.00000001"),
            ("1893", "1893"),
            ("1000", "1000"),
            ("0", "0"),
            ("0.000", "0"),
            ("-0.0", "0"),
            ("-1.50", "-1.5"),
            ("007.70", "7.7"),
            ("3495670.8399999999", "3495670.8399999999"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(Decimal::ZERO, "0.00".parse().unwrap());
    }

    #[test]
    fn what_is_no_plain_number_is_malformed() {
        for text in ["", "-", ".", "1.", ".5", "+1", "1,5", " 1", "NaN", "1.2.3", "0x1", "--1"] {
            assert_eq!(canonical(text), Err(DecimalError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn an_exponent_moves_the_point_and_loses_no_digit() {
        for (text, expected) in [
            ("1e-7", "0.0000001"),
            ("9.669E-05", "0.00009669"),
            ("1.5e3", "1500"),
            ("1.2345e2", "123.45"),
            ("12.30E+1", "123"),
            ("-2.50e-1", "-0.25"),
            ("000.0120e2", "1.2"),
            ("0e999999999999999999999", "0"),
            ("-0.0e-5", "0"),
            ("1e00000000000000000000000000000000000000002", "100"),
            ("1e30", "1000000000000000000000000000000"),
            ("1e-29", "0.00000000000000000000000000001"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["1e31", "1e-30", "1e999999999999999999999", "1e-999999999999999999999"] {
            assert_eq!(canonical(text), Err(DecimalError::TooLong), "{text}");
        }
        for text in ["e5", "1e", "1e+", "1e-", "1e5e5", "1e1.5", "1.e5", "1e 5", "1e--5"] {
            assert_eq!(canonical(text), Err(DecimalError::Malformed), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_not_rounded() {
        assert_eq!(canonical(&"9".repeat(31)).unwrap().len(), 31);
        assert_eq!(canonical(&"9".repeat(32)), Err(DecimalError::TooLong));
        let padded = format!("1.5{}", "0".repeat(100));
        assert_eq!(canonical(&padded).as_deref(), Ok("1.5"));
    }

    #[test]
    fn a_short_text_of_any_length_is_padded_with_zeros() {
        let text: Vec<u8> = (1..=31).collect();
        for length in 0..=text.len() {
            let mut expected = [0; LANES];
            expected[..length].copy_from_slice(&text[..length]);
            assert_eq!(padded(&text[..length]), expected, "{length}");
        }
    }

    #[test]
    fn what_stands_behind_a_number_does_not_matter() {
        for (text, expected) in [
            ("0", "0"),
            ("0.000", "0"),
            ("100", "100"),
            ("100.0", "100"),
            ("1.50", "1.5"),
            (&"9".repeat(31), &"9".repeat(31)),
        ] {
            for behind in ["\"", "\",\"c\":\"29040.12000000\",\"h\":\"29044.00000000\"", "}", "é"]
            {
                let read = Decimal::read_front(format!("{text}{behind}").as_bytes());
                assert_eq!(read, Some((expected.parse().unwrap(), text.len())), "{text}{behind}");
            }
        }
        for text in ["00", "0.", "1.", ".5", "1.2.3", "1..", &"9".repeat(32), &"9.".repeat(16)] {
            let long = format!("{text}\",\"c\":\"29040.12000000\",\"h\":\"29044.00000000\"");
            assert_eq!(Decimal::read_front(long.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn sums_are_exact_or_refused() {
        let sum = |left: &str, right: &str| {
            let (left, right): (Decimal, Decimal) = (left.parse().unwrap(), right.parse().unwrap());
            assert_eq!(left.checked_add(&right), right.checked_add(&left));
            left.checked_add(&right).map(|sum| sum.to_string())
        };
        for (left, right, expected) in [
            ("0", "0", Some("0")),
            ("0.1", "0.2", Some("0.3")),
            ("0.5", "0.5", Some("1")),
            ("999.99", "0.01", Some("1000")),
            ("12345678901234567890", "0.00000001", Some("12345678901234567890.00000001")),
            ("3495670.8399999999", "0.0000000001", Some("3495670.84")),
            ("-1", "2", None),
        ] {
            assert_eq!(sum(left, right).as_deref(), expected, "{left} + {right}");
        }
        assert_eq!(sum(&"9".repeat(31), "1"), None, "a digit more than fits");
        assert_eq!(sum(&"9".repeat(29), "0.01").map(|sum| sum.len()), None);
        assert_eq!(sum(&"9".repeat(31), "0"), Some("9".repeat(31)));
    }

    proptest! {
        #[test]
        fn one_pass_reads_what_all_of_them_do(text in "-?[0-9]{0,4}[.x]?[0-9]{0,28}0{0,4}") {
            if let Some(decimal) = Decimal::parse_usual(text.as_bytes()) {
                prop_assert_eq!(Ok(decimal), Decimal::parse_any(text.as_bytes()), "{}", text);
            } else if let Ok(decimal) = Decimal::parse_any(text.as_bytes()) {
                let is_unusual = text.starts_with('-') || text.starts_with('0') || text.len() > 31;
                prop_assert!(is_unusual, "{} is {}", text, decimal);
            }
        }

        #[test]
        fn a_number_is_read_as_if_nothing_stood_behind_it(
            text in "[0-9]{1,30}|[0-9]{1,15}[.][0-9]{1,14}", behind in "[x,é}\"][x,.0-9é\"]{0,40}"
        ) {
            let is_padded = text.len() > 1 && text.starts_with('0') && !text.starts_with("0.");
            let alone = Decimal::parse_any(text.as_bytes()).unwrap();
            let expected = (!is_padded).then_some((alone, text.len()));
            prop_assert_eq!(Decimal::read_front((text + &behind).as_bytes()), expected);
        }

        #[test]
        fn sums_agree_with_whole_numbers(left in 0u64..=u64::MAX / 2, right in 0u64..=u64::MAX / 2,
                                         scale in 0usize..12) {
            let text = |number: u128| {
                let digits = format!("{number:0>width$}", width = scale + 1);
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                if scale == 0 { digits.clone() } else { format!("{whole}.{fraction}") }
            };
            let decimal = |number: u128| text(number).parse::<Decimal>().unwrap();
            let (left, right) = (u128::from(left), u128::from(right));
            let sum = decimal(left).checked_add(&decimal(right));
            prop_assert_eq!(sum, Some(decimal(left + right)));
        }

        #[test]
        fn an_exponent_means_the_same_as_zeros(
            digits in "[0-9]{1,12}", places in 0usize..12, sign in "[+-]?", letter in "[eE]"
        ) {
            let zeros = "0".repeat(places);
            let text = format!("{digits}{letter}{sign}{places}");
            let spelled = match &*sign {
                "-" => {
                    let padded = format!("{zeros}{digits}");
                    let (whole, fraction) = padded.split_at(padded.len() - places);
                    if places == 0 { padded.clone() } else { format!("{whole}.{fraction}") }
                }
                _ => format!("{digits}{zeros}"),
            };
            prop_assert_eq!(canonical(&text), canonical(&spelled), "{}", text);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Decimal::parse(&bytes);
        }

        #[test]
        fn canonical_form_is_a_fixed_point(whole in 0u64.., fraction in "[0-9]{0,10}") {
            let text = if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") };
            let once = Decimal::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(Decimal::parse(once.as_bytes()).unwrap(), once);
            prop_assert_eq!(once.as_str().parse::<f64>().unwrap(), text.parse::<f64>().unwrap());
        }
    }
}
