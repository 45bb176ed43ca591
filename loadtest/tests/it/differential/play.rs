//! Plays scenarios on two proxies and reports what differs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::runtime::Runtime;

use super::{
    allowed::allowed,
    client::address_of,
    compare::{Aspect, Difference, differences},
    generate::scenario,
    pair::{LANES, Outcome, Side, place},
    profile::Profile,
    scenario::{Place, Scenario},
    shrink::shrink,
};

/// Scenarios between two looks at logs and metrics.
const ROUND: usize = 2_000;
/// Kinds of differences after which nobody needs more.
const KINDS_MAX: usize = 12;

/// The two proxies that are compared.
pub(super) struct Pair<'p> {
    pub(super) profile: &'p Profile,
    pub(super) seed: u64,
    pub(super) left: Side,
    pub(super) right: Side,
    runtime: Runtime,
    played: AtomicUsize,
}

/// What was found.
#[derive(Default)]
pub(super) struct Report {
    pub(super) requests: usize,
    pub(super) scenarios: usize,
    /// How often each allowed difference was seen.
    pub(super) allowed: BTreeMap<&'static str, usize>,
    /// Each other kind, with a scenario that shows it.
    pub(super) failures: BTreeMap<String, Failure>,
    /// How often each status came to a client; it shows whether the generator makes sense.
    pub(super) statuses: BTreeMap<u16, usize>,
}

pub(super) struct Failure {
    pub(super) count: usize,
    pub(super) text: String,
}

impl<'p> Pair<'p> {
    /// Each side's keys come after those of the profile.
    pub(super) fn start(
        profile: &'p Profile,
        seed: u64,
        left: &[(&str, &str)],
        right: &[(&str, &str)],
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("there are threads");
        Self {
            profile,
            seed,
            left: Side::start(&runtime, profile, left),
            right: Side::start(&runtime, profile, right),
            runtime,
            played: AtomicUsize::new(0),
        }
    }

    /// Plays so many requests' worth of scenarios.
    pub(super) fn play(&mut self, requests: usize, report: &mut Report) {
        let mut next = 0;
        let end = report.requests + requests;
        while report.requests < end && report.failures.len() < KINDS_MAX {
            let left = end - report.requests;
            let round = next..next + ROUND.min(left.div_ceil(2));
            next = round.end;
            self.play_round(round, report);
        }
    }

    fn play_round(&mut self, round: Range<usize>, report: &mut Report) {
        let shared = Mutex::new((std::mem::take(report), Vec::new()));
        let next = AtomicUsize::new(round.start);
        self.runtime.block_on(async {
            let lane = |lane| self.play_lane(lane, &next, round.end, &shared);
            join_all((0..LANES).map(lane)).await;
        });
        let (found, failed) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        *report = found;
        let mut explained: BTreeSet<usize> = BTreeSet::new();
        for (scenario, differences) in failed {
            explained.insert(scenario.number);
            self.explain(&scenario, &differences, report);
        }
        self.compare_logs(&round, &explained, report);
        self.compare_metrics(&round, report);
    }

    async fn play_lane(
        &self,
        lane: usize,
        next: &AtomicUsize,
        end: usize,
        shared: &Mutex<(Report, Vec<(Arc<Scenario>, Vec<Difference>)>)>,
    ) {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return;
            }
            let scenario = Arc::new(scenario(self.profile, self.seed, number));
            let t0 = std::time::Instant::now();
            let (left, right) = self.play_both(lane, &scenario).await;
            if std::env::var_os("FZ_SLOW").is_some() && t0.elapsed().as_millis() > 300 {
                eprintln!(
                    "SLOW {:?} {}\n{scenario}\n{left:?}",
                    t0.elapsed(),
                    self.name(&scenario)
                );
            }
            let found = differences(&scenario, &left, &right);
            let mut shared = lock(shared);
            let (report, failed) = &mut *shared;
            report.count(&scenario, &left);
            let differences = report.sort_out(found, &scenario);
            if !differences.is_empty() {
                failed.push((scenario, differences));
            }
        }
    }

    async fn play_both(&self, lane: usize, scenario: &Arc<Scenario>) -> (Outcome, Outcome) {
        let place = self.next_place(lane);
        tokio::join!(
            self.left.play(self.profile, scenario, place),
            self.right.play(self.profile, scenario, place),
        )
    }

    fn next_place(&self, lane: usize) -> Place {
        place(lane, self.played.fetch_add(1, Ordering::Relaxed))
    }

    /// The differences that a scenario shows by itself, allowed ones left out.
    pub(super) fn play_alone(&self, scenario: &Scenario) -> Vec<Difference> {
        let scenario = Arc::new(scenario.clone());
        let (left, right) = self.runtime.block_on(self.play_both(0, &scenario));
        let mut found = differences(&scenario, &left, &right);
        found.retain(|difference| allowed(difference, &scenario).is_none());
        found
    }

    /// Notes each kind of difference of a scenario, the first time with the least that shows it.
    fn explain(&self, scenario: &Scenario, differences: &[Difference], report: &mut Report) {
        let kinds: BTreeMap<String, &Difference> = differences
            .iter()
            .map(|difference| (difference.kind(), difference))
            .collect();
        for (kind, difference) in kinds {
            if let Some(known) = report.failures.get_mut(&kind) {
                known.count += 1;
            } else if report.failures.len() < KINDS_MAX {
                let mut text = self.name(scenario);
                let least = shrink(scenario, |smaller| {
                    let found = self.play_alone(smaller);
                    found
                        .into_iter()
                        .find(|found| found.aspect == difference.aspect)
                });
                let (least, shown) = match &least {
                    Some((least, shown)) => (least, shown),
                    None => {
                        text.push_str("it did not show again when it was played alone\n");
                        (scenario, difference)
                    }
                };
                let _ = write!(text, "{shown}{least}");
                report.failures.insert(kind, Failure { count: 1, text });
            }
        }
    }

    fn name(&self, scenario: &Scenario) -> String {
        format!(
            "profile \"{}\", CELLGATE_SEED={}, scenario {}\n",
            self.profile.name, self.seed, scenario.number
        )
    }

    fn compare_logs(
        &mut self,
        round: &Range<usize>,
        explained: &BTreeSet<usize>,
        report: &mut Report,
    ) {
        let (left, right) = (self.left.take_log(), self.right.take_log());
        let by_address: BTreeMap<String, usize> = round
            .clone()
            .map(|number| (address_of(number).to_string(), number))
            .collect();
        let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        for key in keys {
            let number = key.parse().ok().or_else(|| by_address.get(key).copied());
            if left.get(key) == right.get(key)
                || number.is_some_and(|number| explained.contains(&number))
            {
                continue;
            }
            let text = |lines: Option<&Vec<String>>| {
                lines
                    .map(|lines| lines.join("\n           "))
                    .unwrap_or_default()
            };
            let difference = Difference::new(
                Aspect::Log,
                format!("lines of {key}"),
                text(left.get(key)),
                text(right.get(key)),
            );
            // A line of nobody's scenario belongs to none.
            let scenario = scenario(self.profile, self.seed, number.unwrap_or(round.start));
            for difference in report.sort_out(vec![difference], &scenario) {
                let text = format!("{}{difference}{scenario}", self.name(&scenario));
                report.fail(difference.kind(), text);
            }
        }
    }

    fn compare_metrics(&self, round: &Range<usize>, report: &mut Report) {
        let (left, right) = (self.left.metrics(), self.right.metrics());
        let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        let scenario = scenario(self.profile, self.seed, round.start);
        for name in names {
            let value =
                |metrics: &BTreeMap<String, String>| metrics.get(name).cloned().unwrap_or_default();
            let difference = Difference::new(Aspect::Metric, name, value(&left), value(&right));
            if difference.left == difference.right {
                continue;
            }
            for difference in report.sort_out(vec![difference], &scenario) {
                let text = format!(
                    "scenarios {round:?} of profile \"{}\": {difference}",
                    self.profile.name
                );
                report.fail(format!("Metric: {name}"), text);
            }
        }
    }
}

impl Report {
    fn count(&mut self, scenario: &Scenario, outcome: &Outcome) {
        self.scenarios += 1;
        self.requests += scenario.exchanges.len();
        for reply in outcome.seen.iter().flat_map(|seen| &seen.replies) {
            *self.statuses.entry(reply.head.status()).or_default() += 1;
        }
    }

    /// Counts those that are allowed, returns the others.
    fn sort_out(&mut self, found: Vec<Difference>, scenario: &Scenario) -> Vec<Difference> {
        let mut others = Vec::new();
        for difference in found {
            match allowed(&difference, scenario) {
                Some(name) => *self.allowed.entry(name).or_default() += 1,
                None => others.push(difference),
            }
        }
        others
    }

    fn fail(&mut self, kind: String, text: String) {
        let failure = self
            .failures
            .entry(kind)
            .or_insert(Failure { count: 0, text });
        failure.count += 1;
    }
}

/// Waits for all of them, at the same time.
async fn join_all<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
