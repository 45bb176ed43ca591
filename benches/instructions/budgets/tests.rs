//! What is said of counts, and what is written for them.

use super::*;

const BUDGETS: &str = "# compiler: rustc 1.0.0\nplan\t1000\nanswer\t500\n";

fn counts(counts: &[(&str, u64)]) -> Vec<Count> {
    let count = |(case, instructions): &(&str, u64)| Count {
        case: (*case).to_owned(),
        instructions: *instructions,
    };
    counts.iter().map(count).collect()
}

/// Whether these pass, and the report's lines that say more than figures.
fn check(cases: &[(&str, u64)], compiler: &str, expected: (bool, &[&str])) {
    let budgets = Budgets::parse(BUDGETS).expect("good budgets");
    let report = Report::new(&counts(cases), &budgets, compiler);
    let text = report.to_string();
    let remarks = text.lines().filter_map(|line| {
        let at = line.find("FAILED").or_else(|| line.find("LOOSE"))?;
        Some(&line[at..])
    });
    let remarks: Vec<&str> = remarks.collect();
    assert_eq!((report.is_within_budgets(), &*remarks), expected, "{text}");
}

#[test]
fn what_is_above_its_budget_fails() {
    let same = "rustc 1.0.0";
    check(&[("plan", 1_000), ("answer", 460)], same, (true, &[]));
    check(
        &[("plan", 1_001), ("answer", 500)],
        same,
        (false, &["FAILED: 1 instructions (0.1 %) above its budget"]),
    );
    check(
        &[("plan", 1_256), ("answer", 500)],
        same,
        (
            false,
            &["FAILED: 256 instructions (25.6 %) above its budget"],
        ),
    );
}

#[test]
fn what_is_far_below_is_remarked() {
    check(
        &[("plan", 908), ("answer", 455)],
        "rustc 1.0.0",
        (
            true,
            &["LOOSE: lower its budget with `make instructions ARGS=--write`"],
        ),
    );
}

#[test]
fn every_case_has_one_budget() {
    check(
        &[("plan", 1_000), ("route", 1)],
        "rustc 1.0.0",
        (
            false,
            &[
                "FAILED: it has no budget; write one with `make instructions ARGS=--write`",
                "FAILED: there is no case answer, but a budget for it",
            ],
        ),
    );
    for (text, why) in [
        ("plan\t1\n", "no line begins with `# compiler: `"),
        ("# compiler: x\nplan 1\n", "not case<TAB>number: plan 1"),
        ("# compiler: x\nplan\t1\nplan\t1\n", "plan has two budgets"),
    ] {
        assert_eq!(Budgets::parse(text), Err(why.to_owned()));
    }
}

#[test]
fn another_compiler_is_allowed_more() {
    check(
        &[("plan", 1_100), ("answer", 1)],
        "rustc 1.1.0",
        (true, &[]),
    );
    check(
        &[("plan", 1_101), ("answer", 500)],
        "rustc 1.1.0",
        (false, &["FAILED: 1 instructions (0.1 %) above its budget"]),
    );
}

#[test]
fn what_is_written_can_be_read_and_has_a_margin() {
    let budgets = Budgets::of(&counts(&[("plan", 1_000), ("answer", 10)]), "rustc 1.0.0");
    assert_eq!(budgets.budget("plan"), Some(1_030));
    assert_eq!(budgets.budget("answer"), Some(11));
    assert_eq!(Budgets::parse(&budgets.to_string()), Ok(budgets));
}
