//! Readers of what comes from outside under mutated input, for `FUZZ_SECONDS` (three by default): a
//! failing input is written to `target/fuzz/` and printed. `make fuzz` runs the same readers under
//! a coverage-guided fuzzer.

#![allow(missing_docs, clippy::unwrap_used)]

mod corpus;
#[path = "../simulation/dice.rs"]
#[allow(dead_code)]
mod dice;
mod entries;

use std::panic::catch_unwind;
use std::time::Duration;

use connector_wss::clock::{Clock, MonoNs};
use corpus::{SEEDS, WORDS};
use dice::Dice;

fn seeds() -> Vec<Vec<u8>> {
    let input = |&(reader, form, text): &(u8, u8, &[u8])| [&[reader, form], text].concat();
    SEEDS.iter().map(input).collect()
}

/// Writes the seeds as files, for the guided fuzzer, where `FUZZ_CORPUS` names a folder.
#[test]
fn corpus_is_read_without_complaint() {
    let folder = std::env::var_os("FUZZ_CORPUS").map(std::path::PathBuf::from);
    for (number, input) in seeds().iter().enumerate() {
        entries::read(input);
        if let Some(folder) = &folder {
            std::fs::write(folder.join(format!("seed-{number}")), input).unwrap();
        }
    }
}

/// One change: a bit, a byte, a word, a cut, a splice with another input.
fn mutate(input: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.below(input.len().max(1));
    match dice.below(8) {
        0 if !input.is_empty() => input[at] ^= 1 << dice.below(8),
        1 if !input.is_empty() => input[at] = dice.roll().to_be_bytes()[0],
        2 => drop(input.splice(at..at, dice.pick(WORDS).iter().copied())),
        3 => input.truncate(at),
        4 if !input.is_empty() => drop(input.remove(at)),
        5 => {
            let end = (at + dice.below(16)).min(input.len());
            let piece = input[at.min(end)..end].to_vec();
            let to = dice.below(input.len() + 1);
            input.splice(to..to, piece);
        }
        6 => {
            let from = dice.below(other.len().max(1));
            input.truncate(at);
            input.extend(&other[from..]);
        }
        _ => {
            let digit = input.iter().skip(at).position(u8::is_ascii_digit);
            if let Some(digit) = digit {
                input[at + digit] = b'0' + dice.roll().to_be_bytes()[0] % 10;
            }
        }
    }
}

#[test]
fn no_reader_panics_or_breaks_its_word() {
    let seconds = std::env::var("FUZZ_SECONDS").map_or(3.0, |text| text.parse().unwrap());
    let seed = std::env::var("SEED").map_or(1, |text| text.parse().unwrap());
    let (clock, mut dice, seeds) = (Clock::new(), Dice::new(seed), seeds());
    let mut runs = 0_u64;
    let end = MonoNs(0).after(Duration::from_secs_f64(seconds));
    while clock.mono() < end {
        for _ in 0..256 {
            let (mut input, other) = (dice.pick(&seeds).clone(), dice.pick(&seeds).clone());
            for _ in 0..=dice.below(6) {
                mutate(&mut input, &other, &mut dice);
            }
            runs += 1;
            if catch_unwind(|| entries::read(&input)).is_err() {
                let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/target/fuzz");
                std::fs::create_dir_all(folder).unwrap();
                let path = format!("{folder}/mutated-{seed}-{runs}");
                std::fs::write(&path, &input).unwrap();
                panic!("{path}: {:?}", String::from_utf8_lossy(&input));
            }
        }
    }
    println!("{runs} inputs in {seconds} s, {} readers", entries::READERS);
}
