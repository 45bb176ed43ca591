//! What carrying takes where little moves: every byte arrives, and the proxy does not ask in vain.

use std::{thread, time::Instant};

use super::*;
use crate::support::heavy::figure;

/// How long each goes on.
const TIME: Duration = Duration::from_secs(3);
/// More than all buffers on the way hold.
const LARGE_BYTES: usize = 24 * 1024 * 1024;

/// Measures the proxy's CPU time during some work. One that spins takes all of a core.
#[track_caller]
fn check_cpu<T>(proxy: &Proxy, what: &str, work: impl FnOnce() -> T) -> T {
    let (before, began) = (proxy.cpu_time(), Instant::now());
    let outcome = work();
    let (used, took) = (proxy.cpu_time().saturating_sub(before), began.elapsed());
    figure(format!("{what}: {used:.2?} of CPU in {took:.1?}"));
    assert!(took >= TIME, "{what}: {took:?}");
    assert!(used < took / 4, "{what}: {used:?} in {took:?}");
    outcome
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

/// The ends of pipes that the proxy has open.
fn pipe_ends(proxy: &Proxy) -> usize {
    let entries = fs::read_dir(format!("/proc/{}/fd", proxy.id())).unwrap();
    let links = entries.flatten().map(|entry| fs::read_link(entry.path()));
    links
        .filter(|link| {
            let link = link.as_ref().ok();
            link.is_some_and(|link| link.to_string_lossy().starts_with("pipe:"))
        })
        .count()
}

#[test]
fn ten_bytes_at_a_time() {
    let cell = echo();
    let proxy = plan(table(&cell), "").start();
    let before = pipe_ends(&proxy);
    let mut client = open(&proxy);
    let mut sender = client.try_clone().unwrap();
    check_cpu(&proxy, "10-byte writes", || {
        let sending = thread::spawn(move || {
            let (end, mut sent) = (Instant::now() + TIME, 0);
            while Instant::now() < end {
                sender
                    .write_all(&pattern(sent + 10)[sent..])
                    .expect("it is carried");
                sent += 10;
                thread::sleep(Duration::from_millis(1));
            }
            sender.shutdown(Shutdown::Write).unwrap();
            sent
        });
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        let sent = sending.join().unwrap();
        assert!(back == pattern(sent), "{} of {sent}", back.len());
        figure(format!("{} writes", sent / 10));
    });
    wait_for_entry(&proxy, "finished");
    assert!(pipe_ends(&proxy) > before, "nothing went through a pipe");
}

/// A client that takes little of what its cell sends, and a cell that takes little of what its client sends.
#[test]
fn slow_readers() {
    let cell = Origin::start_without_record(|visit| {
        let Ok(kind) = visit.take(1) else {
            return;
        };
        if kind == b"d" {
            visit.send(pattern(LARGE_BYTES));
            return;
        }
        let (end, mut came) = (Instant::now() + TIME, Vec::new());
        while came.len() < LARGE_BYTES {
            let piece = (LARGE_BYTES - came.len()).min(10_000);
            let Ok(piece) = visit.take(piece) else {
                return;
            };
            came.extend(piece);
            if Instant::now() < end {
                thread::sleep(Duration::from_millis(10));
            }
        }
        let is_right = came == pattern(LARGE_BYTES);
        visit.send(if is_right { "right" } else { "wrong" });
    });
    let proxy = plan(table(&cell), "").start();
    let mut down = open(&proxy);
    down.write_all(b"d").unwrap();
    let mut up = open(&proxy);
    check_cpu(&proxy, "slow readers, both ways", || {
        let sending = thread::spawn(move || {
            up.write_all(b"u").unwrap();
            up.write_all(&pattern(LARGE_BYTES)).unwrap();
            let mut answer = String::new();
            up.read_to_string(&mut answer).unwrap();
            answer
        });
        let (end, mut came) = (Instant::now() + TIME, Vec::new());
        let mut piece = vec![0; 10_000];
        loop {
            let count = down.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            came.extend_from_slice(&piece[..count]);
            if Instant::now() < end {
                thread::sleep(Duration::from_millis(10));
            }
        }
        assert!(came == pattern(LARGE_BYTES), "{} bytes", came.len());
        assert_eq!(sending.join().unwrap(), "right");
    });
}

/// One side has said all; the other one goes on, a little at a time. An end stays there to be seen, again and again.
#[test]
fn half_of_a_connection_is_closed() {
    const WORDS: usize = 60;
    fn say_words(stream: &mut impl FnMut(&[u8])) {
        for word in pattern(WORDS) {
            stream(&[word]);
            thread::sleep(TIME / u32::try_from(WORDS).unwrap());
        }
    }
    let cell = Origin::start_without_record(|visit| {
        if visit.take(1).is_ok_and(|kind| kind == b"c") {
            // The client ends first.
            assert!(visit.take(1).is_err(), "the end was to come");
            say_words(&mut |word| assert!(visit.send(word)));
        } else {
            visit.send("all");
            visit.end_sending();
            let came = visit.take(WORDS).expect("the other half is open");
            assert_eq!(came, pattern(WORDS));
            visit.wait_for_end();
        }
    });
    let proxy = plan(table(&cell), "").start();
    let (mut ends_first, mut ends_last) = (open(&proxy), open(&proxy));
    check_cpu(&proxy, "half-closed, both ways", || {
        ends_first.write_all(b"c").unwrap();
        ends_first.shutdown(Shutdown::Write).unwrap();
        ends_last.write_all(b"s").unwrap();
        let mut came = String::new();
        ends_last.read_to_string(&mut came).unwrap();
        assert_eq!(came, "all");
        say_words(&mut |word| ends_last.write_all(word).unwrap());
        ends_last.shutdown(Shutdown::Write).unwrap();
        let mut words = Vec::new();
        ends_first.read_to_end(&mut words).unwrap();
        assert_eq!(words, pattern(WORDS));
    });
    let ends = wait_for("both lines", PATIENCE, || {
        let ends = entries(&proxy);
        (ends.len() == 2).then_some(ends)
    });
    let words = WORDS as u64;
    for (from_client, from_cell) in [(1, words), (1 + words, 3)] {
        let is_there = ends.iter().any(|entry| {
            entry["bytes_from_client"] == from_client
                && entry["bytes_from_cell"] == from_cell
                && entry["reason"] == "finished"
        });
        assert!(is_there, "{ends:?}");
    }
}
