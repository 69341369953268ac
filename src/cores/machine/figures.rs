//! The process as `/proc` shows it, read on the ops core when it is scraped.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

use crate::cores::machine::open_files;
use crate::metrics::process::{ProcessFigures, Units, boot_seconds};

/// The figures now; `None` where `/proc` is not there or shows something else.
pub(crate) fn read() -> Option<ProcessFigures> {
    let units = Units {
        ticks_per_second: clock_ticks_per_second(),
        page_bytes: u64::try_from(page_size()).ok()?,
        boot_seconds: boot_seconds(&fs::read_to_string("/proc/stat").ok()?)?,
    };
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The folder itself is open while it is counted.
    let open_files = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    let open_files = u64::try_from(open_files).ok()?;
    ProcessFigures::parse(&stat, units, open_files, open_files::limit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_plausible_figures() {
        let figures = read().unwrap();
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(figures.resident_bytes > 100_000, "{figures:?}");
        assert!(figures.virtual_bytes >= figures.resident_bytes, "{figures:?}");
        assert!((0.0..1e6).contains(&figures.cpu_seconds), "{figures:?}");
        assert!(figures.open_files >= 3, "{figures:?}");
        assert!(figures.open_files_max.is_none_or(|max| max >= figures.open_files), "{figures:?}");
        // The boot time is known to a second only.
        assert!((now - 86_400.0..now + 2.0).contains(&figures.start_seconds), "{figures:?}");
    }
}
