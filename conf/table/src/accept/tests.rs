use proptest::prelude::*;

use super::*;
use crate::{diff::diff, testing};

const LIMITS: MoveLimits = MoveLimits {
    moved_percent_max: 25.0,
    moved_overrides_max: 2,
    moved_total_percent_max: 50.0,
};

/// The digest of the file in force.
fn digest() -> Digest {
    Digest::of(b"in force")
}

/// A table of 100 slots, as text: `head` are its first lines, `share` the slots of cell `a`, `rest` its last lines.
fn text(head: &str, share: u32, rest: &str) -> String {
    format!(
        r#"{head}
format: 1
hash: {{ slots: 100 }}
cells:
  a: {{ endpoints: [{{ address: "127.0.0.1:1" }}] }}
  b: {{ endpoints: [{{ address: "127.0.0.1:2" }}] }}
slots: {{ a: ["0-{}"], b: ["{share}-99"] }}
{rest}
"#,
        share - 1
    )
}

/// The current table: 50 slots for each cell, generation 42.
fn current() -> Table {
    parse(text("generation: 42", 50, SAME).as_bytes()).unwrap()
}

/// What becomes of a file when the current table is in force: `unchanged`, the generation, or the problems.
fn outcome(text: &str) -> String {
    let table = current();
    let current = Current {
        generation: Generation::new(42).unwrap(),
        digest: digest(),
        other_digests: &[],
        table: &table,
    };
    match take(text.as_bytes(), Some(current), &LIMITS) {
        Ok(Accepted::Unchanged { .. }) => "unchanged".to_owned(),
        Ok(Accepted::Changed { table, verdict }) => {
            assert_eq!(table, parse(text.as_bytes()).unwrap());
            format!("generation {}", verdict.generation)
        }
        Err(rejection) => rejection.problems.to_string(),
    }
}

#[track_caller]
fn check(head: &str, share: u32, rest: &str, expected: &str) {
    let text = text(head, share, rest);
    assert_eq!(outcome(&text), expected, "for:\n{text}");
}

/// The last lines of the current table.
const SAME: &str = "overrides: { x: a, y: a, z: a }\naliases: { w: x }";

/// The same with other cells.
fn pinned(x: &str, y: &str, z: &str) -> String {
    format!("overrides: {{ x: {x}, y: {y}, z: {z} }}\naliases: {{ w: x }}")
}

#[test]
fn the_first_table_is_taken_whatever_it_says() {
    let take_first = |text: &str| {
        take(text.as_bytes(), None, &LIMITS).map(|taken| match taken {
            Accepted::Changed { verdict, .. } => verdict.generation.get(),
            Accepted::Unchanged { .. } => panic!("nothing to be the same as"),
        })
    };
    assert_eq!(take_first(&text("generation: 7", 50, "")), Ok(7));
    assert_eq!(take_first(&text("", 50, "")), Ok(1));
    assert!(take_first("format: 1").is_err());
}

#[test]
fn generations() {
    check(
        "generation: 43",
        50,
        &pinned("b", "a", "a"),
        "generation 43",
    );
    check("generation: 1000", 50, SAME, "generation 1000");
    check("generation: 42", 50, SAME, "unchanged");
    check(
        "generation: 41",
        50,
        SAME,
        "1:1: generation: generation 41 is older than the current one, 42; raise the generation above the current one, or leave it out in a file edited by hand",
    );
    check(
        "generation: 42",
        50,
        &pinned("b", "a", "a"),
        "1:1: generation: generation 42 is in force already, with other content; raise the generation with each change, or leave it out in a file edited by hand",
    );
    // Comments, order and defaults are no content, and neither is the word that allows moves.
    check(
        "# a comment\ngeneration: 42",
        50,
        "aliases: { \"w\": x }\noverrides: { z: a, y: a, x: a }\nrejects: []",
        "unchanged",
    );
    check("generation: 42\nallow_move: true", 50, SAME, "unchanged");
}

#[test]
fn a_file_edited_by_hand_takes_the_next_generation() {
    check("", 50, SAME, "unchanged");
    check("", 50, &pinned("b", "a", "a"), "generation 43");
    check("allow_move: true", 1, SAME, "generation 43");

    // One edit after another.
    let (mut table, mut generation) = (current(), Generation::new(42).unwrap());
    for (cell, expected) in [("b", 43), ("a", 44), ("a", 44), ("b", 45)] {
        let text = text("", 50, &pinned(cell, "a", "a"));
        let current = Current {
            generation,
            digest: digest(),
            other_digests: &[],
            table: &table,
        };
        if let Accepted::Changed {
            table: new,
            verdict,
        } = take(text.as_bytes(), Some(current), &LIMITS).unwrap()
        {
            (table, generation) = (new, verdict.generation);
        }
        assert_eq!(generation.get(), expected);
    }
}

/// The largest generation is the last: a file edited by hand must not take force under a number that is taken.
#[test]
fn there_is_no_generation_after_the_largest() {
    let table = current();
    let generation = Generation::new(crate::limits::GENERATION_MAX).unwrap();
    let current = Current {
        generation,
        digest: digest(),
        other_digests: &[],
        table: &table,
    };
    let take = |text: String| {
        take(text.as_bytes(), Some(current), &LIMITS)
            .map_err(|rejection| rejection.problems.to_string())
    };
    let unchanged = Accepted::Unchanged { allow_move: false };
    assert_eq!(take(text("", 50, SAME)), Ok(unchanged));
    assert_eq!(
        take(text("", 50, &pinned("b", "a", "a"))).unwrap_err(),
        "2:1: the current generation is the largest there is; restart with an empty state directory to begin with a smaller generation"
    );
}

#[test]
fn moves_are_limited() {
    let small_steps = "move in smaller steps; if this is meant, add `allow_move: true` to the table for this change";
    check("generation: 43", 75, SAME, "generation 43");
    let slots = format!(
        "7:1: slots: 26.00 % of the slots would move to another cell, more than 25 %; {small_steps}"
    );
    check("generation: 43", 76, SAME, &slots);
    check("", 76, SAME, &slots);
    check(
        "generation: 43\nallow_move: false",
        24,
        SAME,
        &slots.replace("7:1", "8:1"),
    );
    check("generation: 43\nallow_move: true", 1, SAME, "generation 43");

    // The alias `w` moves with its tenant `x`.
    check(
        "generation: 43",
        50,
        &pinned("b", "a", "a"),
        "generation 43",
    );
    let tenants = format!(
        "8:1: overrides: 3 named tenants would move to another cell, more than 2; {small_steps}"
    );
    check("generation: 43", 50, &pinned("b", "b", "a"), &tenants);
    check(
        "generation: 43\nallow_move: true",
        50,
        &pinned("b", "b", "b"),
        "generation 43",
    );
    // Both together, each with its place.
    check(
        "generation: 43",
        76,
        &pinned("b", "b", "a"),
        &format!("{slots}\n{tenants}"),
    );
}

#[test]
fn the_limit_itself_is_allowed() {
    // Whatever floating point makes of it.
    for moved in 0..50 {
        let new = parse(text("", 50 - moved, SAME).as_bytes()).unwrap();
        let limits = MoveLimits {
            moved_percent_max: f64::from(moved),
            ..LIMITS
        };
        let current = Current {
            generation: Generation::FIRST,
            digest: digest(),
            other_digests: &[],
            table: &current(),
        };
        assert!(
            judge(&new, Some(current), &limits).is_ok(),
            "{moved} of 100 slots"
        );
    }
    // A share just above the limit does not look like the limit.
    let limits = MoveLimits {
        moved_percent_max: 24.999_999,
        ..LIMITS
    };
    let new = parse(text("", 75, SAME).as_bytes()).unwrap();
    let generation = Generation::FIRST;
    let refusals = judge(
        &new,
        Some(Current {
            generation,
            digest: digest(),
            other_digests: &[],
            table: &current(),
        }),
        &limits,
    )
    .unwrap_err();
    assert_eq!(
        refusals[0].to_string(),
        "25.00 % of the slots would move to another cell, more than 24.999999 %"
    );
}

#[test]
fn another_hash_is_reported_as_such() {
    let text = text("generation: 43", 50, SAME).replace("slots: 100", "slots: 100, seed: 1");
    assert_eq!(
        outcome(&text),
        "3:1: hash: 50.00 % of the tenants, by their new hash, would move to another cell, more than 25 %; leave `hash` as it was; if this is meant, add `allow_move: true` to the table for this change"
    );
    // Twice the slots for the same owners: nobody moves.
    let text = text_with_double_slots();
    assert_eq!(outcome(&text), "generation 43");
}

fn text_with_double_slots() -> String {
    text("generation: 43", 50, SAME)
        .replace("slots: 100", "slots: 200")
        .replace("0-49", "0-99")
        .replace("50-99", "100-199")
}

#[test]
fn a_bad_file_is_refused_for_what_is_wrong_in_it() {
    check(
        "generation: 41\nalow_move: true",
        50,
        SAME,
        "2:1: alow_move: is not a known key; did you mean `allow_move`?",
    );
    assert_eq!(
        outcome(""),
        "the file is empty; write the whole file, or put a finished one in its place with a rename"
    );
}

mod steps;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is offered: a generation never goes back, a number never stands for two contents, and too large a move
    /// needs the table's own word.
    #[test]
    fn judgement_keeps_its_promises(
        old in testing::small_table(),
        new in testing::small_table(),
        number in prop_oneof![1..10_u64, Just(crate::limits::GENERATION_MAX)],
        offered in proptest::option::of(1..12_u64),
        moved_percent_max in prop_oneof![Just(0.0), Just(100.0), 0.0..100.0],
    ) {
        let generation = Generation::new(number).unwrap();
        let new = Table { generation: offered.and_then(Generation::new), ..new };
        let limits = MoveLimits { moved_percent_max, ..LIMITS };
        let same = new.same_content(&old);
        match judge(&new, Some(Current { generation, digest: digest(), other_digests: &[], table: &old }), &limits) {
            Ok(None) => prop_assert!(same),
            Ok(Some(verdict)) => {
                prop_assert!(verdict.generation > generation);
                prop_assert!(new.generation().is_none_or(|offered| offered == verdict.generation));
                let diff = diff(&old, &new);
                let small = diff.moved_share * 100.0 <= moved_percent_max && diff.tenant_moves.len() <= 2;
                prop_assert!(small || new.allow_move());
            }
            Err(refusals) => {
                prop_assert!(!refusals.is_empty());
                prop_assert!(!same || offered.is_some_and(|offered| offered < number));
            }
        }
        // The table in force never refuses itself.
        let mut again = old.clone();
        again.generation = Some(generation);
        let again = judge(&again, Some(Current { generation, digest: digest(), other_digests: &[], table: &old }), &limits);
        prop_assert_eq!(again, Ok(None));
    }
}
