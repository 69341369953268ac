//! The readers under libFuzzer. Built by `make fuzz`, with the compiler's coverage counters.

#![no_main]
#![allow(missing_docs, clippy::unwrap_used)]

mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entries::read(data));
