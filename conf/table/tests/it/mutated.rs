//! Good tables that went wrong a little: cut off, a bit flipped, pieces moved. The same check as the fuzz target's.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use crate::check;

/// Time for one small file: a refusal within 100 ms where code is optimised.
const BUDGET: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 100 });

/// The fuzz target's seeds, by name.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut seeds: Vec<_> = (fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().display().to_string(),
                fs::read(path).unwrap(),
            )
        })
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 12, "only {} seeds were found", seeds.len());
    seeds
}

/// Checks one file, in time. What fails is printed as it can be pasted into a test.
fn check_in_time(bytes: &[u8]) {
    let run = || {
        let started = Instant::now();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check::check(bytes))) {
            eprintln!("panicked for b\"{}\"", bytes.escape_ascii());
            resume_unwind(panic);
        }
        started.elapsed()
    };
    // A machine that is busy elsewhere may be late once, hardly three times.
    let in_time = (0..3).any(|_| run() < BUDGET);
    assert!(
        in_time,
        "took more than {BUDGET:?} for b\"{}\"",
        bytes.escape_ascii()
    );
}

#[test]
fn every_seed() {
    for (_, bytes) in seeds() {
        check_in_time(&bytes);
    }
}

#[test]
fn cut_off_at_every_byte() {
    for (_, bytes) in seeds() {
        for length in 0..bytes.len() {
            check_in_time(&bytes[..length]);
        }
    }
}

#[test]
fn every_bit_flipped() {
    let seeds = seeds();
    for name in ["smallest.yaml", "json.yaml", "anchors.yaml", "blocks.yaml"] {
        let (_, bytes) = seeds.iter().find(|(other, _)| other == name).unwrap();
        let mut bytes = bytes.clone();
        for at in 0..bytes.len() * 8 {
            bytes[at / 8] ^= 1 << (at % 8);
            check_in_time(&bytes);
            bytes[at / 8] ^= 1 << (at % 8);
        }
    }
}

#[test]
fn lines_left_out_swapped_and_doubled() {
    for (_, bytes) in seeds() {
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        for first in 0..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(first);
            check_in_time(&fewer.concat());
            for second in 0..lines.len() {
                let mut swapped = lines.clone();
                swapped.swap(first, second);
                check_in_time(&swapped.concat());
                let mut more = lines.clone();
                more.insert(second, lines[first]);
                check_in_time(&more.concat());
            }
        }
    }
}

/// Pieces that mean something to YAML or to a table.
const TOKENS: [&str; 44] = [
    "&a ",
    "*a",
    "&a",
    "!x ",
    "!!str ",
    "!!int ",
    "<<: ",
    "- ",
    "? ",
    ": ",
    ":",
    ", ",
    "[",
    "]",
    "{",
    "}",
    "|\n",
    ">-\n",
    "'",
    "\"",
    "\\",
    "\\u2028",
    "#",
    " # ",
    "%TAG ",
    "---\n",
    "...\n",
    "\n",
    "\r\n",
    "\t",
    "  ",
    "~",
    "0",
    "-1",
    "1e3",
    "18446744073709551616",
    "format: 1\n",
    "a: ",
    "slots",
    "cells:",
    "\u{feff}",
    "\u{85}",
    "\0",
    "\u{1b}",
];

/// Numbers that look like chance and are the same in each run (xorshift, Marsaglia 2003).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let (from, to) = (self.below(bytes.len() + 1), self.below(bytes.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        let near = (from + self.below(8)).min(bytes.len());
        match self.below(7) {
            0 if !bytes.is_empty() => bytes[from.min(to.saturating_sub(1))] ^= 1 << self.below(8),
            1 => drop(bytes.drain(from..near)),
            2 => drop(bytes.drain(from..to)),
            3 => {
                let piece = bytes[from..to].to_vec();
                let at = self.below(bytes.len() + 1);
                bytes.splice(at..at, piece);
            }
            4 => {
                let (start, end) = (self.below(other.len()), self.below(other.len()));
                let piece = other[start.min(end)..start.max(end)].to_vec();
                bytes.splice(from..near, piece);
            }
            5 => bytes.truncate(to),
            _ => {
                let token = TOKENS[self.below(TOKENS.len())];
                bytes.splice(from..near, token.bytes());
            }
        }
    }
}

/// What the fuzzer does where its toolchain is missing: the same seeds and check, deterministic mutations.
#[test]
fn mutated_seeds() {
    const MUTANTS_PER_SEED: usize = 1_000;
    const BYTES_MAX: usize = 4_096;
    let seeds = seeds();
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for (_, seed) in &seeds {
        let mut bytes = seed.clone();
        for number in 0..MUTANTS_PER_SEED {
            // A few mutations on top of each other, then from the seed again.
            if number % 8 == 0 {
                bytes.clone_from(seed);
            }
            let (_, other) = &seeds[chance.below(seeds.len())];
            chance.mutate(&mut bytes, other);
            bytes.truncate(BYTES_MAX);
            check_in_time(&bytes);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check_in_time(&bytes);
    }

    #[test]
    fn any_text(text in "\\PC{0,60}") {
        check_in_time(text.as_bytes());
    }

    #[test]
    fn any_text_of_yaml(tokens in proptest::collection::vec(proptest::sample::select(TOKENS.to_vec()), 0..40)) {
        check_in_time(tokens.concat().as_bytes());
    }
}
