//! Plays scenarios on two proxies and reports what differs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::runtime::Runtime;

use super::{
    allowed::allowed,
    client::address_of,
    compare::{Aspect, Difference, differences},
    generate::scenario,
    log::{self, Lines},
    pair::{LANES, Metrics, Outcome, Side, place},
    profile::Profile,
    report::Report,
    scenario::{Place, Scenario},
    shrink::shrink,
};
use crate::support::gauges::wait_until_idle;

/// Scenarios between two checks of logs and metrics.
const ROUND: usize = 2_000;
/// How long after a round logs and metrics may differ.
const SETTLE_LIMIT: Duration = Duration::from_secs(4);
/// The same for one scenario that is played again, or where something differs already.
const SETTLE_LIMIT_ALONE: Duration = Duration::from_millis(100);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// Kinds of differences after which nobody needs more.
const KINDS_MAX: usize = 12;

/// A scenario, and what differed.
type Failed = (Arc<Scenario>, Vec<Difference>);

/// The two proxies that are compared.
pub(super) struct Pair<'p> {
    pub(super) profile: &'p Profile,
    pub(super) seed: u64,
    pub(super) left: Side,
    pub(super) right: Side,
    /// Whether the least scenario is searched for that shows a difference.
    pub(super) shrinks: bool,
    runtime: Runtime,
    played: AtomicUsize,
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
            shrinks: true,
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
            let mut lanes: FuturesUnordered<_> = (0..LANES).map(lane).collect();
            while lanes.next().await.is_some() {}
        });
        let (found, failed) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        *report = found;
        // Before anything is played again.
        let is_fine = failed.is_empty() && report.failures.is_empty();
        let limit = if is_fine {
            SETTLE_LIMIT
        } else {
            SETTLE_LIMIT_ALONE
        };
        let logged = self.log_differences(limit);
        let counted = is_fine.then(|| self.metric_differences());
        for (scenario, differences) in failed {
            self.explain(&scenario, &differences, report);
        }
        self.compare_logs(logged, &round, report);
        // Where something else differs, what is counted follows from that, and from what was played again.
        if report.failures.is_empty() {
            self.compare_metrics(counted.unwrap_or_default(), &round, report);
        }
    }

    async fn play_lane(
        &self,
        lane: usize,
        next: &AtomicUsize,
        end: usize,
        shared: &Mutex<(Report, Vec<Failed>)>,
    ) {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return;
            }
            let scenario = Arc::new(scenario(self.profile, self.seed, number));
            let (left, right) = self.play_both(lane, &scenario).await;
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
    fn play_alone(&mut self, scenario: &Scenario) -> Vec<Difference> {
        let scenario = Arc::new(scenario.clone());
        let (left, right) = self.runtime.block_on(self.play_both(0, &scenario));
        let mut found = differences(&scenario, &left, &right);
        found.extend(
            self.log_differences(SETTLE_LIMIT_ALONE)
                .into_iter()
                .map(|(_, difference)| difference),
        );
        found.retain(|difference| allowed(difference, &scenario).is_none());
        found
    }

    /// Notes each kind of difference of a scenario, the first time with the least that shows it.
    fn explain(&mut self, scenario: &Scenario, differences: &[Difference], report: &mut Report) {
        let kinds: BTreeMap<String, &Difference> = differences
            .iter()
            .map(|difference| (difference.kind(), difference))
            .collect();
        for (kind, difference) in kinds {
            if let Some(known) = report.failures.get_mut(&kind) {
                known.count += 1;
            } else if report.failures.len() < KINDS_MAX {
                let mut text = self.name(scenario);
                let least = self.least_like(scenario, difference);
                let (least, shown) = match &least {
                    Some((least, shown)) => (least, shown),
                    None => {
                        text.push_str(
                            "as it was; it did not show again when it was played alone\n",
                        );
                        (scenario, difference)
                    }
                };
                let _ = write!(text, "{shown}{least}");
                report.fail(kind, text);
            }
        }
    }

    fn least_like(
        &mut self,
        scenario: &Scenario,
        difference: &Difference,
    ) -> Option<(Scenario, Difference)> {
        if !self.shrinks {
            return None;
        }
        shrink(scenario, |smaller| {
            let found = self.play_alone(smaller);
            found.into_iter().find(|found| found.is_like(difference))
        })
    }

    /// The differences between the logs since the last time, and whose they are. Lines are written some time after their
    /// answers, and not in the order of these, so they are given time to become equal.
    fn log_differences(&mut self, limit: Duration) -> Vec<(String, Difference)> {
        wait_until_idle(&self.left.proxy);
        wait_until_idle(&self.right.proxy);
        let end = Instant::now() + limit;
        let (mut left, mut right) = (Lines::new(), Lines::new());
        loop {
            self.left.log.read(&mut left);
            self.right.log.read(&mut right);
            let found = log::differences(&left, &right);
            let is_there = !left.is_empty() || !right.is_empty();
            if (is_there && found.is_empty()) || Instant::now() > end {
                return found;
            }
            std::thread::sleep(BETWEEN_LOOKS);
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
        found: Vec<(String, Difference)>,
        round: &Range<usize>,
        report: &mut Report,
    ) {
        let by_address: BTreeMap<String, usize> = round
            .clone()
            .map(|number| (address_of(number).to_string(), number))
            .collect();
        for (key, difference) in found {
            let number = key.parse().ok().or_else(|| by_address.get(&key).copied());
            // A line of nobody's scenario belongs to none.
            let scenario = scenario(self.profile, self.seed, number.unwrap_or(round.start));
            let others = report.sort_out(vec![difference], &scenario);
            self.explain(&scenario, &others, report);
        }
    }

    /// Some are brought up to date now and then only, so they are given time to become equal.
    fn settled_metrics(&self) -> (Metrics, Metrics) {
        let end = Instant::now() + SETTLE_LIMIT;
        loop {
            let both = (self.left.metrics(), self.right.metrics());
            let is_same = both.0 == both.1;
            if is_same || Instant::now() > end {
                return both;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Where the two have counted differently.
    fn metric_differences(&self) -> Vec<Difference> {
        let (left, right) = self.settled_metrics();
        let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        let difference = |name: &String| {
            let value =
                |metrics: &Metrics| metrics.get(name).map_or(0.0, |value| *value).to_string();
            Difference::new(Aspect::Metric, name, value(&left), value(&right))
        };
        let all = names.into_iter().map(difference);
        all.filter(|difference| difference.left != difference.right)
            .collect()
    }

    fn compare_metrics(&self, found: Vec<Difference>, round: &Range<usize>, report: &mut Report) {
        let scenario = scenario(self.profile, self.seed, round.start);
        for difference in report.sort_out(found, &scenario) {
            let profile = self.profile.name;
            let text = format!(
                "up to scenario {} of profile \"{profile}\": {difference}",
                round.end
            );
            report.fail(format!("Metric: {}", difference.what), text);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
