//! What came in steps while a proxy was away.

use super::*;
use crate::render;

/// One step of a history: the generation and digest that it begins with, and what it says that it moved.
fn step(generation: u64, digest: Digest, percent: f64, overrides: usize) -> Step {
    Step {
        generation: Generation::new(generation).unwrap(),
        digest,
        moved_slots_percent: percent,
        moved_overrides: overrides,
    }
}

/// Steps from the table in force on, of generations 42, 43 and so on.
fn steps(moved: &[(f64, usize)]) -> Vec<Step> {
    let digest_of = |at: usize| match at {
        0 => digest(),
        at => Digest::of(&[u8::try_from(at).unwrap()]),
    };
    let entries = moved.iter().zip(42..).enumerate();
    entries
        .map(|(at, ((percent, overrides), generation))| {
            step(generation, digest_of(at), *percent, *overrides)
        })
        .collect()
}

/// What becomes of a table of generation 50 that gives cell `a` this share of the slots, with this history.
fn outcome(share: u32, rest: &str, history: Vec<Step>) -> Result<Allowance, Rejection> {
    let new = parse(text("generation: 50", share, rest).as_bytes()).unwrap();
    judged(&render(&new.with_history(history)))
}

fn judged(text: &str) -> Result<Allowance, Rejection> {
    let table = current();
    let current = Current {
        generation: Generation::new(42).unwrap(),
        digest: digest(),
        other_digests: &[],
        table: &table,
    };
    take(text.as_bytes(), Some(current), &LIMITS).map(|taken| match taken {
        Accepted::Changed { verdict, .. } => verdict.allowance,
        Accepted::Unchanged { .. } => panic!("it changes something"),
    })
}

/// The rejection has these words about the steps, and proves that others have moved on.
#[track_caller]
fn check_left_behind(share: u32, rest: &str, history: Vec<Step>, expected: &str) {
    let rejection = outcome(share, rest, history).unwrap_err();
    let text = rejection.problems.to_string();
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains("more than"),
        "the plain rule is named as well: {text}"
    );
    assert!(rejection.others_moved_on);
}

/// The plain rule alone has refused it.
#[track_caller]
fn check_plain(found: Result<Allowance, Rejection>) {
    let rejection = found.unwrap_err();
    let text = rejection.problems.to_string();
    assert!(!text.contains("steps since then"), "{text}");
    assert!(!rejection.others_moved_on, "{text}");
}

/// The last lines of the current table, and this many new tenants away from their slots.
fn with_moved(count: usize) -> String {
    let table = current();
    let is_at_home_in_a = |key: &String| {
        let home = table.home_of(key.as_bytes());
        table.cell(home.cell).id().as_str() == "a"
    };
    let keys = (0..)
        .map(|number| format!("new-{number}"))
        .filter(is_at_home_in_a);
    let new: Vec<String> = keys.take(count).map(|key| format!(", {key}: b")).collect();
    SAME.replace("z: a", &format!("z: a{}", new.concat()))
}

#[test]
fn what_came_in_steps_within_the_limits_is_accepted() {
    let history = steps(&[(25.0, 0), (0.0, 2), (15.0, 1)]);
    assert_eq!(outcome(90, SAME, history.clone()), Ok(Allowance::Steps(3)));
    // A limit of its own for tenants, too: 2 in each step. Of those who are named already, half may move.
    assert_eq!(
        outcome(50, &with_moved(6), history.clone()),
        Ok(Allowance::Steps(3))
    );
    check_left_behind(
        50,
        &with_moved(7),
        history.clone(),
        "more would move than they account for",
    );
    // Older steps say nothing about the way from the table in force.
    let mut longer = vec![step(7, Digest::of(b"old"), 100.0, 99)];
    longer.extend(history);
    assert_eq!(outcome(90, SAME, longer.clone()), Ok(Allowance::Steps(3)));
    // Within the limits as it is, nobody asks for the steps.
    assert_eq!(outcome(60, SAME, longer), Ok(Allowance::Limits));
    assert_eq!(outcome(60, SAME, Vec::new()), Ok(Allowance::Limits));
}

#[test]
fn one_step_too_large() {
    check_left_behind(
        90,
        SAME,
        steps(&[(10.0, 0), (25.0001, 0), (5.0, 0)]),
        "nor can the steps since then be accepted: the one from generation 43 moved 25.0001 % of the slots and 0 named tenants",
    );
    check_left_behind(
        90,
        SAME,
        steps(&[(20.0, 3), (20.0, 0)]),
        "the one from generation 42 moved 20 % of the slots and 3 named tenants",
    );
}

#[test]
fn the_total_too_large() {
    let too_much = "together they moved 55.00 % of the slots, more than 50 %";
    // By the sum, though some of it went back again, and by the difference itself.
    check_left_behind(
        80,
        SAME,
        steps(&[(25.0, 0), (15.0, 0), (15.0, 0)]),
        too_much,
    );
    let half = steps(&[(20.0, 0), (20.0, 0), (10.0, 0)]);
    assert_eq!(outcome(99, SAME, half.clone()), Ok(Allowance::Steps(3)));
    let text = text("generation: 50", 90, SAME).replace(
        "a: [\"0-89\"], b: [\"90-99\"]",
        "b: [\"0-49\"], a: [\"50-99\"]",
    );
    let swapped = parse(text.as_bytes()).unwrap().with_history(half);
    let rejection = judged(&render(&swapped)).unwrap_err();
    let text = rejection.problems.to_string();
    assert!(
        text.contains("together they moved 100.00 % of the slots"),
        "{text}"
    );
}

/// Of the tenants that are named already no more than the total may move, however many steps there were.
#[test]
fn too_many_known_tenants_in_total() {
    let names: Vec<String> = (0..10).map(|number| format!("t{number}")).collect();
    let pins = |count: usize| {
        let lines = names.iter().enumerate().map(|(at, name)| {
            let cell = if at < count { "b" } else { "a" };
            format!("{name}: {cell}")
        });
        format!("overrides: {{ {} }}", lines.collect::<Vec<_>>().join(", "))
    };
    let old = parse(text("generation: 42", 50, &pins(0)).as_bytes()).unwrap();
    let many = steps(&[(0.0, 2); 6]);
    let judged = |count: usize| {
        let new = parse(text("generation: 50", 50, &pins(count)).as_bytes()).unwrap();
        let current = Current {
            generation: old.generation().unwrap(),
            digest: digest(),
            other_digests: &[],
            table: &old,
        };
        judge(&new.with_history(many.clone()), Some(current), &LIMITS)
    };
    assert_eq!(judged(5).unwrap().unwrap().allowance, Allowance::Steps(6));
    let refusals = judged(6).unwrap_err();
    assert_eq!(
        refusals[1].to_string(),
        "nor can the steps since then be accepted: 6 of the tenants named so far would move, more than 5"
    );
}

/// Whoever writes a table may write any history into it. None lets it move more than the proxy's own limits for a step
/// and for all of them, nor more than it admits.
#[test]
fn a_forged_history_switches_no_limit_off() {
    let harmless = steps(&[(0.0, 0); 8]);
    check_left_behind(90, SAME, harmless, "more would move than they account for");
    check_left_behind(
        99,
        SAME,
        steps(&[(1.0, 0); 8]),
        "more would move than they account for",
    );
    let full = steps(&[(25.0, 2); 2]);
    assert_eq!(
        outcome(50, &with_moved(4), full.clone()),
        Ok(Allowance::Steps(2))
    );
    check_left_behind(
        50,
        &with_moved(5),
        full,
        "more would move than they account for",
    );
    // The largest lie that passes moves no more than the total.
    assert_eq!(
        outcome(99, SAME, steps(&[(25.0, 0); 2])),
        Ok(Allowance::Steps(2))
    );
}

#[test]
fn without_the_own_generation_and_digest_the_plain_rule_holds() {
    check_plain(outcome(90, SAME, Vec::new()));
    let mut other = steps(&[(20.0, 0), (20.0, 0)]);
    other[0].digest = Digest::of(b"of another writer");
    check_plain(outcome(90, SAME, other.clone()));
    other[0].digest = digest();
    other[0].generation = Generation::new(41).unwrap();
    check_plain(outcome(90, SAME, other));
    // But for other files that say the same, such as one without a comment.
    let table = current();
    let other_digests = [Digest::of(b"without a comment")];
    let by_other = |generation: u64| {
        let mut history = steps(&[(20.0, 0), (20.0, 0)]);
        history[0].digest = other_digests[0];
        history[0].generation = Generation::new(generation).unwrap();
        let new = parse(text("generation: 50", 90, SAME).as_bytes()).unwrap();
        let current = Current {
            generation: Generation::new(42).unwrap(),
            digest: digest(),
            other_digests: &other_digests,
            table: &table,
        };
        judge(&new.with_history(history), Some(current), &LIMITS)
            .map(|verdict| verdict.unwrap().allowance)
    };
    assert_eq!(by_other(42), Ok(Allowance::Steps(2)));
    assert!(by_other(41).is_err());
    // A file edited by hand has no history of its own, whatever is left in it.
    let new = parse(text("generation: 50", 90, SAME).as_bytes()).unwrap();
    let text = render(&new.with_history(steps(&[(20.0, 0), (20.0, 0)])));
    assert_eq!(judged(&text), Ok(Allowance::Steps(2)));
    check_plain(judged(&text.replace("generation: 50\n", "")));
}

#[test]
fn a_history_out_of_order_or_too_long_is_a_mistake() {
    let good = parse(text("generation: 50", 60, SAME).as_bytes()).unwrap();
    let good = render(&good.with_history(steps(&[(0.0, 0), (0.0, 0)])));
    for (from, to, expected) in [
        (
            "generation: 43",
            "generation: 41",
            "history[1]: generation 41 is out of order",
        ),
        (
            "generation: 43",
            "generation: 42",
            "history[1]: generation 42 is out of order",
        ),
        (
            "generation: 43",
            "generation: 50",
            "history[1]: generation 50 is out of order",
        ),
        (
            "generation: 43",
            "generation: 0",
            "history[1].generation: is 0, out of range",
        ),
        (
            "moved_overrides: 0",
            "moved_overrides: -1",
            "history[0].moved_overrides: is -1, out of range",
        ),
        (
            "percent: 0.0",
            "percent: 100.1",
            "history[0].moved_slots_percent: is 100.1, out of range",
        ),
        (
            "percent: 0.0",
            "percent: .nan",
            "history[0].moved_slots_percent",
        ),
        (
            "- generation: 42\n  digest",
            "- digest",
            "history[0]: the key `generation` is missing",
        ),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let rejection = judged(&bad).unwrap_err();
        let text = rejection.problems.to_string();
        assert!(text.contains(expected), "{text}");
        assert!(!rejection.others_moved_on);
    }
}

#[test]
fn the_newest_64_steps_are_a_history() {
    let good = parse(text("generation: 50", 60, SAME).as_bytes()).unwrap();
    let good = render(&good.with_history(steps(&[(0.0, 0)])));
    let at = good.find("history:").unwrap();
    let entry = good[at..]
        .lines()
        .skip(1)
        .take(4)
        .collect::<Vec<_>>()
        .join("\n");
    let many = |count: u64| {
        let entries =
            (0..count).map(|number| entry.replace("42", &number.saturating_add(1).to_string()));
        let head = good[..at].replace("generation: 50", "generation: 90");
        format!(
            "{head}history:\n{}\n",
            entries.collect::<Vec<_>>().join("\n")
        )
    };
    assert_eq!(judged(&many(64)), Ok(Allowance::Limits));
    let text = judged(&many(65)).unwrap_err().problems.to_string();
    assert!(
        text.contains("history: has 65 entries; keep the newest 64"),
        "{text}"
    );
}

#[test]
fn a_history_is_appended_as_it_is_rendered() {
    let table = parse(text("generation: 50", 60, SAME).as_bytes()).unwrap();
    // Digests that look like numbers.
    let digest_of = |digits: &str| Digest::parse(&digits.repeat(64)[..64]).unwrap();
    let numbers = ["1", "0", "12345678901234567890e1", "1e1"].map(digest_of);
    let history: Vec<Step> = numbers
        .into_iter()
        .zip(40..)
        .zip([0.0, 0.0001, 100.0, 12.5])
        .map(|((digest, generation), percent)| step(generation, digest, percent, 7))
        .collect();
    let mut appended = render(&table);
    crate::append_history(&mut appended, &history);
    let with = table.clone().with_history(history);
    assert_eq!(appended, render(&with));
    assert_eq!(parse(appended.as_bytes()).unwrap(), with);
    assert!(with.same_content(&table));
    let mut same = render(&table);
    crate::append_history(&mut same, &[]);
    assert_eq!(same, render(&table));
}

#[test]
fn a_step_is_rounded_up_but_not_beyond_what_it_is() {
    let percent = |share: f64| Step::new(Generation::FIRST, digest(), share, 0).moved_slots_percent;
    for (share, expected) in [
        (0.0, 0.0),
        (0.07, 7.0),
        (0.25, 25.0),
        (1.0 / 1_048_576.0, 0.0001),
        (1.0 / 3.0, 33.3334),
        (1.0, 100.0),
    ] {
        assert!(
            (percent(share) - expected).abs() < 1e-12,
            "{share}: {}",
            percent(share)
        );
    }
}
