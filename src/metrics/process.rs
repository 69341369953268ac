//! What the standard Prometheus clients show of their own process. Owns the figures and how they
//! are read from `/proc/self/stat`; opens no file.

/// The process itself, at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessFigures {
    /// `process_cpu_seconds_total`: user and system time.
    pub cpu_seconds: f64,
    /// `process_virtual_memory_bytes`.
    pub virtual_bytes: u64,
    /// `process_resident_memory_bytes`.
    pub resident_bytes: u64,
    /// `process_start_time_seconds`: Unix time.
    pub start_seconds: f64,
    /// `process_open_fds`.
    pub open_files: u64,
    /// `process_max_fds`: the soft limit; `None`: there is none.
    pub open_files_max: Option<u64>,
}

/// What the kernel counts in, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// Clock ticks in a second.
    pub ticks_per_second: u64,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Unix time at which the host was booted, in seconds.
    pub boot_seconds: u64,
}

impl ProcessFigures {
    /// Reads the text of `/proc/self/stat`; `None` if it is not as `proc(5)` has it.
    #[allow(clippy::cast_precision_loss)]
    pub fn parse(stat: &str, units: Units, open_files: u64, max: Option<u64>) -> Option<Self> {
        // The program's name stands in brackets and may have anything inside.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - FIRST_FIELD)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / units.ticks_per_second as f64;
        Some(Self {
            cpu_seconds: seconds(field(UTIME)?.checked_add(field(STIME)?)?),
            virtual_bytes: field(VSIZE)?,
            resident_bytes: field(RSS)?.checked_mul(units.page_bytes)?,
            start_seconds: units.boot_seconds as f64 + seconds(field(START_TIME)?),
            open_files,
            open_files_max: max,
        })
    }
}

/// The boot time in the text of `/proc/stat`, Unix time in seconds.
pub fn boot_seconds(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The number of the first field behind the name. Source: `proc(5)`, as all of these.
const FIRST_FIELD: usize = 3;
/// User time, in ticks.
const UTIME: usize = 14;
/// System time, in ticks.
const STIME: usize = 15;
/// When the process began, in ticks since the host was booted.
const START_TIME: usize = 22;
/// Virtual memory, in bytes.
const VSIZE: usize = 23;
/// Resident memory, in pages.
const RSS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 wrote it, but for the name.
    const STAT: &str = "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 3021 0 7 0 250 50 0 0 20 0 12 0 \
                        123456 1073741824 2048 18446744073709551615 1 1 0 0 0 0 0 4096 17602 0";
    const UNITS: Units = Units { ticks_per_second: 100, page_bytes: 4096, boot_seconds: 1_000_000 };

    #[test]
    fn the_figures_are_those_of_proc_in_seconds_and_bytes() {
        let expected = ProcessFigures {
            cpu_seconds: 3.0,
            virtual_bytes: 1 << 30,
            resident_bytes: 8 << 20,
            start_seconds: 1_001_234.56,
            open_files: 40,
            open_files_max: Some(1024),
        };
        assert_eq!(ProcessFigures::parse(STAT, UNITS, 40, Some(1024)), Some(expected));
        assert_eq!(boot_seconds("cpu 1 2\nbtime 1700000000\nprocesses 9\n"), Some(1_700_000_000));
    }

    #[test]
    fn what_is_cut_short_or_no_number_is_none() {
        for stat in ["", "4242 (x) S 1", &STAT.replace("2048", "-"), &STAT[..STAT.len() / 2]] {
            assert_eq!(ProcessFigures::parse(stat, UNITS, 0, None), None, "{stat}");
        }
        assert_eq!(boot_seconds("cpu 1\nbtime soon\n"), None);
    }
}
