//! Storage for bursts. Its pages exist before the first burst needs them.

/// `length` bytes without a meaning. Every page has been written. The kernel would supply pages of
/// zeros only at the first write, each with a page fault, in the middle of a burst.
pub fn touched(length: usize) -> Vec<u8> {
    vec![1; length]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Page faults of this thread that needed no disk. Source: proc(5), field 10 of stat.
    fn faults() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = &stat[stat.rfind(')').unwrap() + 2..];
        after_name.split(' ').nth(10 - 3).unwrap().parse().unwrap()
    }

    #[test]
    fn the_first_write_to_it_finds_its_pages() {
        const PAGES: usize = 1024;
        let mut storage = touched(PAGES * 4096);
        faults();
        let before = faults();
        storage.iter_mut().step_by(4096).for_each(|byte| *byte = 7);
        let met = faults() - before;
        assert!(met < 64, "{met} faults of {PAGES}");
        assert_eq!(storage.iter().filter(|&&byte| byte == 7).count(), PAGES);
    }
}
