//! The least scenario that still shows a difference.

use std::time::{Duration, Instant};

use super::{
    compare::Difference,
    generate::keep_in_order,
    scenario::{Exchange, Scenario},
    wire::name_of,
};

/// How many smaller ones are played, and how long.
const TRIES_MAX: usize = 300;
const LIMIT: Duration = Duration::from_secs(10);

/// Takes away what is not needed. Nothing is returned if the scenario as it is does not show it.
pub(super) fn shrink(
    scenario: &Scenario,
    mut shows: impl FnMut(&Scenario) -> Option<Difference>,
) -> Option<(Scenario, Difference)> {
    let mut least = scenario.clone();
    let mut shown = shows(&least)?;
    let mut tries = 0;
    let began = Instant::now();
    loop {
        let mut is_smaller = false;
        for step in 0.. {
            let Some(smaller) = smaller(&least, step) else {
                break;
            };
            tries += 1;
            if tries > TRIES_MAX || began.elapsed() > LIMIT {
                return Some((least, shown));
            }
            if let Some(difference) = smaller.as_ref().and_then(&mut shows) {
                least = smaller.expect("it was shown");
                shown = difference;
                is_smaller = true;
            }
        }
        if !is_smaller {
            return Some((least, shown));
        }
    }
}

/// The scenario without one of its parts: `Some(None)` where that part is missing, `None` after the last one.
#[expect(clippy::option_option, reason = "the two say different things")]
fn smaller(scenario: &Scenario, step: usize) -> Option<Option<Scenario>> {
    const PARTS: usize = 96;
    let (at, part) = (step / PARTS, step % PARTS);
    scenario.exchanges.get(at)?;
    let mut smaller = scenario.clone();
    let changed = match part {
        0 if scenario.exchanges.len() > 1 => {
            smaller.exchanges.remove(at);
            true
        }
        0 => false,
        1 => without_cuts(&mut smaller.exchanges[at]),
        2 => {
            smaller.exchanges[at].answers.len() > 1 && smaller.exchanges[at].answers.pop().is_some()
        }
        3 => smaller.exchanges[at].answers.iter_mut().any(|answer| {
            let had = !answer.interim.is_empty();
            answer.interim.clear();
            had
        }),
        4..50 => remove(&mut smaller.exchanges[at].request.fields, part - 4),
        _ => smaller.exchanges[at]
            .answers
            .first_mut()
            .is_some_and(|answer| {
                // Without its framing an answer would have no end.
                let field = answer.text.fields.get(part - 50);
                let frames = field.is_some_and(|field| frames(field));
                !frames && remove(&mut answer.text.fields, part - 50)
            }),
    };
    keep_in_order(&mut smaller.exchanges);
    Some(changed.then_some(smaller))
}

fn frames(field: &[u8]) -> bool {
    let name = name_of(field).to_ascii_lowercase();
    matches!(&name[..], b"content-length" | b"transfer-encoding")
}

fn without_cuts(exchange: &mut Exchange) -> bool {
    let mut all = exchange.answers.iter_mut().map(|answer| &mut answer.cuts);
    let had = all.any(|cuts| !std::mem::take(cuts).is_empty());
    let had_own = !std::mem::take(&mut exchange.cuts).is_empty();
    had || had_own
}

fn remove(fields: &mut Vec<Vec<u8>>, at: usize) -> bool {
    let is_there = at < fields.len();
    if is_there {
        fields.remove(at);
    }
    is_there
}
