//! Time as values. Owns the two newtypes for time and the only reads of the host's clocks; all
//! other code receives a [`Now`], so that a test can be the clock.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds on the monotonic clock since [`Clock`] was made. Never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonoNs(pub u64);

/// Milliseconds since the Unix epoch, UTC: the unit of the exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

/// One reading of both clocks. A driver takes one per turn of its engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: deadlines and durations.
    pub mono: MonoNs,
    /// The wall clock in µs since the Unix epoch, for clients. May jump.
    pub unix_us: i64,
}

impl Now {
    /// The wall clock, in ms.
    pub fn unix_ms(self) -> UnixMs {
        UnixMs(self.unix_us.div_euclid(1000))
    }

    /// The wall clock in ms at the instant `at`, which is not over yet.
    pub fn unix_ms_at(self, at: MonoNs) -> UnixMs {
        let ahead_ms = i64::try_from(at.since(self.mono).as_millis()).unwrap_or(i64::MAX);
        UnixMs(self.unix_ms().0.saturating_add(ahead_ms))
    }
}

impl MonoNs {
    /// This instant plus `duration`; the largest instant if the sum does not fit.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.ns_since(earlier))
    }

    /// Nanoseconds from `earlier` to here; zero if `earlier` is later.
    pub fn ns_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A part of an update's way, in four bytes: steps of 16 ns, at most [`Lapse::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lapse(u32);

impl Lapse {
    /// 68 s. A longer time counts as this.
    pub const MAX: Self = Self(u32::MAX);

    /// From `earlier` to `later`; zero if `later` is earlier.
    pub fn between(earlier: MonoNs, later: MonoNs) -> Self {
        Self(u32::try_from(later.ns_since(earlier) / STEP_NS).unwrap_or(u32::MAX))
    }

    /// The instant at its end, if it began at `start`.
    pub fn end(self, start: MonoNs) -> MonoNs {
        MonoNs(start.0.saturating_add(u64::from(self.0) * STEP_NS))
    }
}

const STEP_NS: u64 = 16;

/// A part of an update's way in the one byte that its structure has left: exact to a sixteenth,
/// from 16 ns to more than a minute; or unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoughLapse(u8);

impl RoughLapse {
    /// Not measured.
    pub const UNKNOWN: Self = Self(0);

    /// `ns` long.
    #[allow(clippy::cast_possible_truncation, reason = "eight steps an octave fit into a byte")]
    pub fn of_ns(ns: u64) -> Self {
        let steps = (ns / STEP_NS).min(u64::from(u32::MAX));
        let octave = steps.max(8).ilog2() - 3;
        Self((1 + u64::from(octave) * 8 + (steps >> octave)) as u8)
    }

    /// Its length in ns: the middle of the values with the same byte. `None`: not measured.
    pub fn ns(self) -> Option<u64> {
        let code = u64::from(self.0.checked_sub(1)?);
        let octave = (code / 8).saturating_sub(1);
        let steps = code - octave * 8;
        Some(((steps * 2 + 1) << octave) * (STEP_NS / 2))
    }
}

// The longest is the last step of the 29th octave.
const _: () = assert!(1 + (u32::MAX.ilog2() - 3) * 8 + 15 <= u8::MAX as u32);

impl fmt::Display for UnixMs {
    /// RFC 3339 with milliseconds, `2026-01-31T23:59:59.999+00:00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; RFC3339_BYTES];
        let length = write_rfc3339(self.0 * 1000, 3, &mut text);
        f.write_str(std::str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

/// One reading of both clocks, the wall clock in ns, as the kernel's timestamps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The monotonic clock.
    pub mono: MonoNs,
    /// The wall clock in ns since the Unix epoch. May jump.
    pub unix_ns: i64,
}

impl Reading {
    /// The monotonic time at which the wall clock showed `unix_ns`. `None` if that was after this
    /// reading, or more than `age_max` before it: then the wall clock was set in between.
    pub fn mono_at(self, unix_ns: i64, age_max: Duration) -> Option<MonoNs> {
        let age_ns = u64::try_from(self.unix_ns.checked_sub(unix_ns)?).ok()?;
        let is_likely = u128::from(age_ns) <= age_max.as_nanos();
        is_likely.then(|| MonoNs(self.mono.0.saturating_sub(age_ns)))
    }
}

/// Reads the host's clocks. There is one per core; all have one origin, so that their monotonic
/// readings compare.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock with its monotonic zero now.
    #[allow(clippy::disallowed_methods, clippy::new_without_default)]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// Both clocks, read now.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.mono(), unix_us: i64::try_from(wall.as_micros()).unwrap_or(i64::MAX) }
    }

    /// Both clocks, read now, to the ns.
    #[allow(clippy::disallowed_methods)]
    pub fn reading(&self) -> Reading {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Reading { mono: self.mono(), unix_ns: i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX) }
    }

    /// The monotonic clock, read now.
    #[allow(clippy::disallowed_methods, clippy::cast_possible_truncation)]
    pub fn mono(&self) -> MonoNs {
        MonoNs(Instant::now().duration_since(self.origin).as_nanos() as u64)
    }
}

/// Room that [`write_rfc3339`] needs: `2026-01-31T23:59:59.999999+00:00`.
pub const RFC3339_BYTES: usize = 32;

/// Writes `unix_us` as RFC 3339 in UTC with `fraction` digits of a second (0, 3 or 6) and the
/// offset spelled `+00:00`, as Python's `isoformat()` does. Returns the bytes written.
///
/// Years outside 0000–9999 are clamped to that range.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn write_rfc3339(unix_us: i64, fraction: usize, out: &mut [u8; RFC3339_BYTES]) -> usize {
    let unix_us = unix_us.clamp(YEAR_0_US, YEAR_10000_US - 1);
    let seconds = unix_us.div_euclid(1_000_000);
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u64);
    let (year, month, day) = civil_from_days(days);
    out[..19].copy_from_slice(b"0000-00-00T00:00:00");
    put_digits(&mut out[0..4], year);
    put_digits(&mut out[5..7], month);
    put_digits(&mut out[8..10], day);
    put_digits(&mut out[11..13], second_of_day / 3600);
    put_digits(&mut out[14..16], second_of_day / 60 % 60);
    put_digits(&mut out[17..19], second_of_day % 60);
    let mut length = 19;
    if fraction > 0 {
        let micros = unix_us.rem_euclid(1_000_000) as u64;
        out[19] = b'.';
        put_digits(&mut out[20..20 + fraction], if fraction == 3 { micros / 1000 } else { micros });
        length += 1 + fraction;
    }
    out[length..length + 6].copy_from_slice(b"+00:00");
    length + 6
}

fn put_digits(out: &mut [u8], mut value: u64) {
    for byte in out.iter_mut().rev() {
        *byte = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// Days since 1970-01-01 to (year, month, day); Howard Hinnant's `civil_from_days`.
#[allow(clippy::cast_sign_loss)]
fn civil_from_days(days: i64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as u64, month as u64, day as u64)
}

const YEAR_0_US: i64 = -62_167_219_200_000_000;
const YEAR_10000_US: i64 = 253_402_300_800_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc3339(unix_us: i64, fraction: usize) -> String {
        let mut out = [0; RFC3339_BYTES];
        let length = write_rfc3339(unix_us, fraction, &mut out);
        String::from_utf8(out[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_lapse_is_exact_to_its_step_and_has_an_end() {
        let start = MonoNs(1_000);
        for (ns, kept) in
            [(0, 0), (15, 0), (16, 16), (1_234, 1_232), (5_000_000_000, 5_000_000_000)]
        {
            let end = Lapse::between(start, MonoNs(start.0 + ns)).end(start);
            assert_eq!(end.ns_since(start), kept);
        }
        assert_eq!(Lapse::between(start, MonoNs(u64::MAX)), Lapse::MAX);
        assert_eq!(Lapse::between(start, MonoNs(0)).end(start), start);
    }

    #[test]
    fn a_rough_lapse_is_right_to_within_a_sixteenth() {
        assert_eq!(RoughLapse::UNKNOWN.ns(), None);
        assert_eq!(RoughLapse::default(), RoughLapse::UNKNOWN);
        for ns in (0..36).flat_map(|octave| (0..37).map(move |part| (37 + part) << octave)) {
            let kept = RoughLapse::of_ns(ns).ns().unwrap();
            let longest = u64::from(u32::MAX) * STEP_NS;
            let (off, bound) = (kept.abs_diff(ns.min(longest)), (ns / 16).max(STEP_NS / 2));
            assert!(off <= bound, "{ns} became {kept}");
        }
        let codes: Vec<u8> =
            (0..u64::from(u16::MAX)).map(|at| RoughLapse::of_ns(at * 16).0).collect();
        assert!(codes.is_sorted() && codes[0] == 1, "the longer one is not shown as the shorter");
        assert_eq!(RoughLapse::of_ns(u64::MAX), RoughLapse::of_ns(u64::from(u32::MAX) * STEP_NS));
    }

    #[test]
    fn a_stamp_of_the_wall_clock_is_an_instant_of_the_monotonic_one() {
        let now = Reading { mono: MonoNs(5_000_000_000), unix_ns: 1_700_000_000_000_000_000 };
        let second = Duration::from_secs(1);
        let at = |age_ns: i64| now.mono_at(now.unix_ns - age_ns, second);
        assert_eq!(at(0), Some(now.mono));
        assert_eq!(at(7_001), Some(MonoNs(4_999_992_999)));
        assert_eq!(at(1_000_000_000), Some(MonoNs(4_000_000_000)));
    }

    #[test]
    fn a_stamp_across_which_the_wall_clock_was_set_is_none() {
        let now = Reading { mono: MonoNs(5_000_000_000), unix_ns: 1_700_000_000_000_000_000 };
        let second = Duration::from_secs(1);
        let at = |unix_ns: i64| now.mono_at(unix_ns, second);
        assert_eq!(at(now.unix_ns + 1), None, "set back");
        assert_eq!(at(now.unix_ns - 1_000_000_001), None, "set forward");
        assert_eq!([at(0), at(i64::MIN), at(i64::MAX)], [None; 3], "not a stamp of today");
        let early = Reading { mono: MonoNs(10), ..now };
        assert_eq!(early.mono_at(now.unix_ns - 20, second), Some(MonoNs(0)), "before our zero");
    }

    #[test]
    fn rfc3339_matches_known_instants() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00+00:00");
        assert_eq!(rfc3339(1_709_209_445_123_456, 6), "2024-02-29T12:24:05.123456+00:00");
        assert_eq!(rfc3339(1_709_209_445_123_456, 3), "2024-02-29T12:24:05.123+00:00");
        assert_eq!(rfc3339(-1, 6), "1969-12-31T23:59:59.999999+00:00");
        assert_eq!(rfc3339(i64::MAX, 0), "9999-12-31T23:59:59+00:00");
    }
}
