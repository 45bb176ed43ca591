//! The fuzz targets' seeds with bytes changed, cut out, repeated and added.

use std::{fs, path::Path};

use proptest::{prelude::*, test_runner::FileFailurePersistence};

use crate::check;

#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Remove(usize, usize),
    Repeat(usize, usize),
    Insert(usize, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..4_096_usize;
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at.clone(), 1..40_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (at.clone(), 1..40_usize).prop_map(|(at, count)| Change::Repeat(at, count)),
        (at, prop::collection::vec(any::<u8>(), 1..12))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: Change) {
    let place = |at: usize| at % (bytes.len() + 1);
    let range = |at: usize, count: usize| place(at)..(place(at) + count).min(bytes.len());
    match change {
        Change::Set(at, byte) => {
            let at = place(at);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        Change::Remove(at, count) => _ = bytes.drain(range(at, count)),
        Change::Repeat(at, count) => {
            let piece = bytes[range(at, count)].to_vec();
            let at = place(at);
            bytes.splice(at..at, piece);
        }
        Change::Insert(at, more) => {
            let at = place(at);
            bytes.splice(at..at, more);
        }
    }
}

/// The seeds of one target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut seeds: Vec<_> = fs::read_dir(folder.join(target))
        .expect("the folder of the seeds")
        .map(|entry| fs::read(entry.expect("an entry of it").path()).expect("a seed"))
        .collect();
    seeds.sort();
    assert!(seeds.len() > 2, "{target}");
    seeds
}

fn run(target: &str, check: fn(&[u8])) {
    let seeds = seeds(target);
    for seed in &seeds {
        check(seed);
    }
    let config = ProptestConfig {
        cases: 10_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    };
    let changes = prop::collection::vec(change(), 0..5);
    let mutated = (prop::sample::select(seeds), changes).prop_map(|(mut bytes, changes)| {
        for change in changes {
            apply(&mut bytes, change);
        }
        bytes
    });
    let any_bytes = prop::collection::vec(any::<u8>(), 0..64);
    proptest!(config, |(bytes in prop_oneof![9 => mutated, 1 => any_bytes])| check(&bytes));
}

#[test]
fn proxy_headers() {
    run("proxy_protocol", check::proxy_protocol);
}

#[test]
fn client_hellos() {
    run("client_hello", check::client_hello);
}

#[test]
fn packets_of_postgres() {
    run("postgres", check::postgres);
}
