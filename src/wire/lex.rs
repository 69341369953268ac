//! The smallest pieces of JSON, found many bytes at a time: where a plain run of a string, a run of
//! digits and a number end. Owns no place in a text; knows no value.

use wide::u8x16;

/// Number of bytes that are examined together.
pub const LANES: usize = 16;

/// Returns whether JSON allows `byte` between its tokens.
#[inline(always)]
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The bytes of `text` from `at` on, followed by zeros where it ends before.
#[inline(always)]
pub fn front(text: &[u8], at: usize) -> u8x16 {
    match text.get(at..).and_then(<[u8]>::first_chunk) {
        Some(front) => u8x16::new(*front),
        None => u8x16::new(last(text, at).to_le_bytes()),
    }
}

/// The same near the end of `text`. It takes the last bytes and shifts out those before `at`,
/// because a copy of unknown length would be a function call.
#[inline(never)]
fn last(text: &[u8], at: usize) -> u128 {
    let Some(last) = text.last_chunk::<LANES>() else {
        let mut front = [0; LANES];
        front.iter_mut().zip(text.get(at..).unwrap_or(&[])).for_each(|(lane, &byte)| *lane = byte);
        return u128::from_le_bytes(front);
    };
    let before = (at + LANES - text.len()).min(LANES);
    // In two steps, because a single shift by all 128 bits would panic.
    let half = u32::try_from(before * 4).expect("at most sixteen bytes");
    u128::from_le_bytes(*last) >> half >> half
}

/// A bit for each of `front`'s bytes that ends a plain run of a string, the first byte's lowest: a
/// quote, a backslash, or a control character.
#[inline(always)]
pub fn specials(front: u8x16) -> u32 {
    let special = front.simd_eq(u8x16::splat(b'"'))
        | front.simd_eq(u8x16::splat(b'\\'))
        | front.simd_lt(u8x16::splat(b' '));
    special.to_bitmask()
}

/// Length of the plain run of `text` from `at` on: up to a quote, a backslash, a control character
/// or the end.
#[inline(always)]
pub fn plain_length(text: &[u8], at: usize) -> usize {
    let plain = specials(front(text, at)).trailing_zeros() as usize;
    if plain < LANES { plain } else { LANES + longer_plain_length(text, at + LANES) }
}

#[inline(never)]
fn longer_plain_length(text: &[u8], at: usize) -> usize {
    let mut length = 0;
    loop {
        let plain = specials(front(text, at + length)).trailing_zeros() as usize;
        if plain < LANES {
            return length + plain;
        }
        length += LANES;
    }
}

/// Number of digits of `text` from `at` on.
#[inline(always)]
pub fn digits_length(text: &[u8], at: usize) -> usize {
    let mut length = 0;
    loop {
        let values = front(text, at + length) - u8x16::splat(b'0');
        let digits = values.simd_lt(u8x16::splat(10)).to_bitmask().trailing_ones() as usize;
        length += digits.min(LANES);
        if digits < LANES {
            return length;
        }
    }
}

/// Length of the JSON number that `text` has at `at`; `None` if there is none.
#[inline(always)]
pub fn number_length(text: &[u8], at: usize) -> Option<usize> {
    let sign = usize::from(text.get(at) == Some(&b'-'));
    let whole = digits_length(text, at + sign);
    if whole == 0 || (whole > 1 && text[at + sign] == b'0') {
        return None;
    }
    let length = sign + whole;
    match text.get(at + length) {
        Some(b'.' | b'e' | b'E') => Some(length + fraction_length(text, at + length)?),
        _ => Some(length),
    }
}

/// Length of the fraction and the exponent at `at`, either of them or both.
#[inline(never)]
fn fraction_length(text: &[u8], at: usize) -> Option<usize> {
    let mut length = 0;
    if text.get(at) == Some(&b'.') {
        let digits = digits_length(text, at + 1);
        length = 1 + digits;
        if digits == 0 {
            return None;
        }
    }
    if matches!(text.get(at + length), Some(b'e' | b'E')) {
        length += 1;
        length += usize::from(matches!(text.get(at + length), Some(b'+' | b'-')));
        let digits = digits_length(text, at + length);
        length += digits;
        if digits == 0 {
            return None;
        }
    }
    Some(length)
}

/// Length of the word (`true`, `false` or `null`) at the front of `rest`; `None` if there is none.
#[inline]
pub fn word_length(rest: &[u8]) -> Option<usize> {
    let words: [&[u8]; 3] = [b"true", b"false", b"null"];
    words.into_iter().find(|word| rest.starts_with(word)).map(<[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn behind_the_end_are_zeros() {
        let text: Vec<u8> = (1..=40).collect();
        for (length, at) in (0..=text.len()).flat_map(|length| (0..60).map(move |at| (length, at)))
        {
            let mut expected = [0; LANES];
            let rest = text[..length].get(at..).unwrap_or(&[]);
            let kept = rest.len().min(LANES);
            expected[..kept].copy_from_slice(&rest[..kept]);
            assert_eq!(front(&text[..length], at).to_array(), expected, "{length} {at}");
        }
    }

    proptest! {
        #[test]
        fn lengths_are_those_found_byte_by_byte(text in "[a-z0-9é\"\\\\\n ]{0,40}|[0-9]{0,40}x?") {
            let rest = text.as_bytes();
            let until = |is_end: fn(u8) -> bool| {
                rest.iter().position(|&byte| is_end(byte)).unwrap_or(rest.len())
            };
            let special = until(|byte| matches!(byte, b'"' | b'\\') || byte < b' ');
            prop_assert_eq!(plain_length(rest, 0), special);
            prop_assert_eq!(digits_length(rest, 0), until(|byte| !byte.is_ascii_digit()));
        }

        #[test]
        fn a_number_is_one_for_another_parser_too(
            text in "-?[0-9]{0,3}[.]?[0-9]{0,20}([eE][+-]?)?[0-9]{0,2}"
        ) {
            let is_whole = number_length(text.as_bytes(), 0) == Some(text.len());
            let number: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&text);
            prop_assert_eq!(is_whole, number.is_ok(), "{}", text);
        }
    }
}
