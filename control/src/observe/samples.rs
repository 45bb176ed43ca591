//! Counters of the proxies over a window of time, and what they say about a cell's errors.

use std::collections::{BTreeMap, VecDeque};

/// Moments kept of a window, about.
const SAMPLES_PER_WINDOW: i64 = 15;

/// Requests to a cell and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorShare {
    pub requests: f64,
    pub failed: f64,
}

impl ErrorShare {
    /// From 0 to 1.
    pub fn share(&self) -> f64 {
        if self.requests > 0.0 {
            (self.failed / self.requests).min(1.0)
        } else {
            0.0
        }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            failed: self.failed + other.failed,
        }
    }
}

/// What one proxy has counted, by cell, at some moments of a window.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    taken: VecDeque<(i64, BTreeMap<String, ErrorShare>)>,
}

impl Samples {
    /// Records what a proxy has counted by now. A proxy that was restarted counts from 0 again, and so does this.
    pub fn add(&mut self, now_ms: i64, window_ms: i64, counted: BTreeMap<String, ErrorShare>) {
        if let Some((_, last)) = self.taken.back()
            && has_restarted(last, &counted)
        {
            self.taken.clear();
        }
        // The newest one moves on until it is far enough from the one before.
        let is_close = self.taken.len() >= 2
            && now_ms - self.taken[self.taken.len() - 2].0 < window_ms / SAMPLES_PER_WINDOW;
        if is_close {
            self.taken.pop_back();
        }
        self.taken.push_back((now_ms, counted));
        while self.taken.len() > 2 && self.taken[1].0 <= now_ms - window_ms {
            self.taken.pop_front();
        }
    }

    /// What came to a cell within the window.
    pub fn of(&self, cell: &str) -> ErrorShare {
        let (Some((_, first)), Some((_, last))) = (self.taken.front(), self.taken.back()) else {
            return ErrorShare::default();
        };
        let then = first.get(cell).copied().unwrap_or_default();
        let now = last.get(cell).copied().unwrap_or_default();
        ErrorShare {
            requests: (now.requests - then.requests).max(0.0),
            failed: (now.failed - then.failed).max(0.0),
        }
    }

    /// Requests a second to a cell, over the window.
    pub fn rate(&self, cell: &str) -> f64 {
        let (Some((first, _)), Some((last, _))) = (self.taken.front(), self.taken.back()) else {
            return 0.0;
        };
        #[expect(clippy::cast_precision_loss, reason = "a span of milliseconds")]
        let seconds = (last - first) as f64 / 1000.0;
        if seconds > 0.0 {
            self.of(cell).requests / seconds
        } else {
            0.0
        }
    }
}

fn has_restarted(last: &BTreeMap<String, ErrorShare>, now: &BTreeMap<String, ErrorShare>) -> bool {
    last.iter().any(|(cell, last)| {
        now.get(cell)
            .is_some_and(|now| now.requests < last.requests || now.failed < last.failed)
    })
}

/// Reads a proxy's metrics: requests by cell, and of these the ones that failed on the way or with a status of 5xx.
pub(super) fn read_metrics(text: &str) -> BTreeMap<String, ErrorShare> {
    let mut counted: BTreeMap<String, ErrorShare> = BTreeMap::new();
    for line in text.lines() {
        let Some((name, labels, value)) = sample(line) else {
            continue;
        };
        let Some(cell) = label(labels, "cell").filter(|cell| !cell.is_empty()) else {
            continue;
        };
        match name {
            "cellgate_proxy_requests_total" => {
                counted.entry(cell.to_owned()).or_default().requests += value;
            }
            "cellgate_proxy_responses_total" if label(labels, "class") == Some("5xx") => {
                counted.entry(cell.to_owned()).or_default().failed += value;
            }
            _ => {}
        }
    }
    counted
}

/// A line of Prometheus' text format. The labels that are of interest here hold no escapes.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once('}')?;
    Some((name, labels, value.split_whitespace().next()?.parse().ok()?))
}

fn label<'l>(labels: &'l str, name: &str) -> Option<&'l str> {
    labels.split(',').find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        (found.trim() == name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    reason = "small whole numbers, which floats hold exactly"
)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP cellgate_proxy_requests_total Requests admitted to a cell.
cellgate_proxy_requests_total{cell=\"eu-1\"} 100
cellgate_proxy_requests_total{cell=\"eu-2\"} 7
cellgate_proxy_responses_total{cell=\"eu-1\",class=\"2xx\"} 90
cellgate_proxy_responses_total{cell=\"eu-1\",class=\"5xx\"} 10
cellgate_proxy_rejected_total{cell=\"\",reason=\"no_tenant_key\"} 5
cellgate_proxy_table_generation 3
";

    fn of(requests: f64, failed: f64) -> BTreeMap<String, ErrorShare> {
        BTreeMap::from([("a".to_owned(), ErrorShare { requests, failed })])
    }

    #[test]
    fn metrics_are_read() {
        let counted = read_metrics(TEXT);
        let eu_1 = counted["eu-1"];
        assert_eq!(
            (eu_1.requests, eu_1.failed, eu_1.share()),
            (100.0, 10.0, 0.1)
        );
        assert_eq!(counted["eu-2"].failed, 0.0);
        assert_eq!(counted.len(), 2);
        assert!(read_metrics("nonsense{\n}{ 1").is_empty());
    }

    #[test]
    fn only_the_window_counts() {
        let mut samples = Samples::default();
        for (now, requests, failed) in [(0, 0.0, 0.0), (10, 100.0, 50.0), (20, 150.0, 51.0)] {
            samples.add(now * 1000, 10_000, of(requests, failed));
        }
        let share = samples.of("a");
        assert_eq!((share.requests, share.failed), (50.0, 1.0));
        assert_eq!(samples.rate("a"), 5.0);
        assert_eq!(samples.of("b"), ErrorShare::default());
        // The proxy was started anew.
        samples.add(21_000, 10_000, of(3.0, 0.0));
        assert_eq!(samples.of("a").requests, 0.0);
        samples.add(22_000, 10_000, of(9.0, 0.0));
        assert_eq!(samples.of("a").requests, 6.0);
    }
}
