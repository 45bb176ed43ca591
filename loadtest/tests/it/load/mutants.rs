//! Tables with a mistake in them, one after the other, under load: each is refused, quickly, and
//! nobody notices.
//!
//! Some mutations make another good table. Taking it would be right, and traffic would follow it.
//! To keep that apart, the table in force has the highest generation there is: nothing can come
//! after it, so whatever differs from it must be refused, and what says the same in other words
//! changes nothing.

mod mutate;

use std::time::{Duration, Instant};

use mutate::{Mutants, Random};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{
    PATIENCE,
    fleet::Fleet,
    gauges::wait_until_idle,
    heavy::{alone, amount, figure},
    latency::Latencies,
    proxy::{Proxy, rename_over},
    table::TableText,
    traffic::Traffic,
    wire::{Connection, Request},
};

/// The highest generation of format 1.
const GENERATION: u64 = 9_007_199_254_740_991;
/// From the rename to the refusal being shown.
const REFUSED_WITHIN: Duration = Duration::from_millis(100);
/// A machine that is busy with other things is late now and then, whatever the table. So those that
/// took longer get another chance, and there may be so many of them.
const SLOW_MAX: usize = 20;
const CHANCES: usize = 5;
/// Mutants after which the log is read: it keeps its newest lines only.
const LOOK_EVERY: usize = 1_000;

#[test]
fn mutated_tables_are_refused_and_nobody_notices() {
    let _alone = alone();
    let count = amount("CELLGATE_MUTANTS", 1_500);
    let seed = amount("CELLGATE_SEED", 1);
    let fleet = Fleet::start(3);
    let base = base(&fleet);
    let proxy = Proxy::start(&base);
    let traffic: Vec<_> = [("a", "cell-1"), ("b", "cell-2"), ("c", "cell-3")]
        .map(|pinned| Traffic::start(&proxy, &[pinned]))
        .into();

    let mut judge = Judge::new(&proxy);
    let mut times = Latencies::default();
    let (mut same, mut slow) = (0, Vec::new());
    for (number, mutant) in Mutants::new(base.to_string(), Random::new(seed))
        .take(count)
        .enumerate()
    {
        let (took, verdict) = judge.judge(&mutant);
        match verdict {
            Verdict::Refused => times.add(took),
            Verdict::Same => same += 1,
        }
        if took >= REFUSED_WITHIN {
            slow.push(mutant);
        }
        if number % LOOK_EVERY == LOOK_EVERY - 1 {
            assert_eq!(proxy.count_in_log("panicked"), 0, "{}", proxy.log());
        }
    }
    let answers: usize = traffic.into_iter().map(Traffic::stop).sum();
    assert_eq!(proxy.count_in_log("panicked"), 0, "{}", proxy.log());
    assert_eq!(proxy.generation(), GENERATION);
    figure(format!(
        "{count} mutated tables, {same} of them the same in other words, under {answers} requests of \
         which none failed; refused after {times}; {} took longer than {REFUSED_WITHIN:?}",
        slow.len()
    ));
    assert!(slow.len() <= SLOW_MAX, "too many are slow");
    for mutant in slow {
        judge.must_be_quick(&mutant, base.to_string().as_bytes());
    }
    assert!(same < count / 2, "most mutants change nothing");
    wait_until_idle(&proxy);
}

/// A table with something of everything.
fn base(fleet: &Fleet) -> TableText {
    fleet
        .table()
        .generation(GENERATION)
        .cell_line("cell-1", "max_in_flight: 2000")
        .cell_line(
            "cell-2",
            "health_check: { type: http, path: /healthz, interval_ms: 1000 }",
        )
        .cell_line("cell-3", "health_check: { type: tcp }")
        .pin("a", "cell-1")
        .pin("b", "cell-2")
        .pin("c", "cell-3")
        .pin("1234", "cell-3")
        .alias("www.a.example", "a")
        .reject("evil-corp")
        .reject("worse-corp")
}

enum Verdict {
    Refused,
    Same,
}

/// Puts tables in place and sees what the proxy says.
struct Judge<'p> {
    proxy: &'p Proxy,
    admin: Connection,
}

impl<'p> Judge<'p> {
    fn new(proxy: &'p Proxy) -> Self {
        let admin = Connection::open(proxy.admin());
        Self { proxy, admin }
    }

    #[track_caller]
    fn judge(&mut self, mutant: &[u8]) -> (Duration, Verdict) {
        let new = self.proxy.table_path().with_extension("new");
        std::fs::write(&new, mutant).expect("the scratch directory is ours");
        let digest = format!("{:x}", Sha256::digest(mutant));
        rename_over(&new, &self.proxy.table_path());
        let started = Instant::now();
        let what = || format!("a verdict on \"{}\"", mutant.escape_ascii());
        let status = self.verdict_on(&digest, what);
        let took = started.elapsed();

        assert_eq!(status["generation"], GENERATION, "{}", what());
        assert_eq!(status["ready"], true, "{}", what());
        let reload = &status["last_reload"];
        if reload["ok"] == true {
            return (took, Verdict::Same);
        }
        let error = reload["error"].as_str().unwrap_or_default();
        assert!(!error.is_empty(), "no reason is given: {}", what());
        assert!(!error.contains("the loader failed"), "{error}: {}", what());
        (took, Verdict::Refused)
    }

    #[track_caller]
    fn must_be_quick(&mut self, mutant: &[u8], base: &[u8]) {
        let quick = (0..CHANCES).any(|_| {
            // Otherwise it would be the same refusal once more, of which nothing is logged.
            self.judge(base);
            self.judge(mutant).0 < REFUSED_WITHIN
        });
        assert!(quick, "always slow: \"{}\"", mutant.escape_ascii());
    }

    #[track_caller]
    fn verdict_on(&mut self, digest: &str, what: impl Fn() -> String) -> Value {
        let request = Request::get("/status");
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.admin.exchange(&request).json();
            if status["last_reload"]["digest"] == digest {
                return status;
            }
            assert!(Instant::now() < end, "not within {PATIENCE:?}: {}", what());
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}
