//! Files that mean harm, or that went wrong in a big way.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use cellgate_table::parse;

/// How large the files are. Without optimisation everything takes ten times as long.
const MANY: usize = if cfg!(debug_assertions) {
    20_000
} else {
    1_000_000
};

/// Time to refuse a file with [`MANY`] mistakes. It takes a second or two on an idle machine; what is quadratic takes hours.
const BUDGET: Duration = Duration::from_secs(30);

/// Refuses a file in time, with these words among the first problem's.
#[track_caller]
fn check(text: &str, expected: &str) {
    let started = Instant::now();
    let problems = parse(text.as_bytes()).expect_err("such a file is refused");
    let elapsed = started.elapsed();
    let first = problems.summary();
    assert!(first.contains(expected), "{first}");
    assert!(first.len() < 1_000, "{} bytes of words", first.len());
    assert!(elapsed < BUDGET, "took {elapsed:?}: {first}");
}

/// A good table of these many slots, with these lines at its end and this list of slot ranges for its only cell.
fn table(slots: u32, ranges: &str, rest: &str) -> String {
    format!(
        "format: 1\nhash: {{ slots: {slots} }}\ncells: {{ a: {{ endpoints: [{{ address: \"127.0.0.1:1\" }}] }} }}\nslots: {{ a: [{ranges}] }}\n{rest}\n"
    )
}

/// `line` once for each number, `@` standing for it.
fn lines(head: &str, line: &str, count: usize) -> String {
    let mut text = format!("{head}\n");
    for number in 0..count {
        writeln!(text, "{}", line.replace('@', &number.to_string())).unwrap();
    }
    text
}

#[test]
fn aliases_that_unfold() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{items}]").unwrap();
    }
    let unfold = "aliases unfold to far more than the file's size";
    check(&laughs, unfold);
    check(
        &lines(&format!("a: &a {}", "x".repeat(MANY)), "a@: *a", MANY / 10),
        unfold,
    );
    check(
        &lines(
            &format!("a: &a {}", "x".repeat(MANY)),
            "? *a\n: @",
            MANY / 10,
        ),
        unfold,
    );
    check("a: &a [*a]\n", "is nested too deep");
}

#[test]
fn nesting() {
    // Enough for the parser to take minutes if it were given such a file.
    const DEEP: usize = 200_000;
    let deep = "is nested too deep";
    check(&"[".repeat(10_000), deep);
    for unit in [
        "[",
        "[\n",
        "{a: ",
        "{? ",
        "[{\"}\": ",
        "- ",
        "[]: [",
        "!!seq [",
        "[ # ]\n",
    ] {
        let problems = parse(unit.repeat(2_000).as_bytes()).unwrap_err();
        assert_eq!(problems.count(), 1, "{unit:?}");
        check(&unit.repeat(DEEP), "");
    }
    check(&"[".repeat(DEEP), deep);
    check(&"{a: ".repeat(DEEP), deep);
    check(&"- ".repeat(DEEP), deep);
    let mut stairs = String::new();
    for level in 0..2_000 {
        writeln!(stairs, "{}a:", " ".repeat(level)).unwrap();
    }
    check(&stairs, deep);
}

#[test]
fn a_million_mistakes() {
    check(
        &table(1, "0", &lines("", "unknown-@: 1", MANY)),
        "unknown-0: is not a known key",
    );
    // The known key stands behind many others, and again and again.
    let repeated = lines("", "unknown-@: 1", 100_000) + &"format: 1\n".repeat(100_000);
    check(&repeated, "unknown-0: is not a known key");
    check(
        &table(1, "0", &lines("overrides:", "  tenant-@: b", MANY)),
        "there is no cell `b`",
    );
    check(
        &table(1, "0", &lines("overrides:", "  tenant: a", MANY)),
        "is duplicated",
    );
    check(
        &table(1, "0", &lines("overrides:", "  tenant-@: 1", MANY)),
        "put it in quotes",
    );
    check(
        &table(1, "0", &lines("aliases:", "  tenant-@: tenant-0", MANY)),
        "is an alias itself",
    );
    check(
        &table(1, "0", &lines("rejects:", "- \"\"", MANY)),
        "a tenant key is empty",
    );
    check(
        &table(1, "0", &lines("holds:", "  tenant-@: {}", MANY)),
        "the key `mode` is missing",
    );
    check(&table(1, "0", &lines("- a", "- b", MANY)), "");
}

#[test]
fn slots_listed_again_and_again() {
    let slots = cellgate_table::limits::SLOTS_MAX;
    let all = format!("0-{}", slots - 1);
    check(
        &table(slots, &vec![&*all; MANY / 10].join(","), ""),
        "already belong to cell `a`",
    );
    check(
        &table(slots, &lines("", "x@,", MANY), ""),
        "is not a range of slots",
    );
    let other = "cells: { a: { endpoints: [{ address: \"127.0.0.1:1\" }] }, b";
    let alternating = table(slots, &lines("", "@0,", MANY.min(slots as usize) / 10), "")
        .replace("cells: { a", other);
    check(&alternating, "");
}

/// 4,096 cells whose names are all alike, and a hundred names that are nearly theirs.
#[test]
fn many_names_that_are_nearly_right() {
    let mut text = "format: 1\nhash: { slots: 1 }\ncells:\n".to_owned();
    let id = |number: usize| {
        format!("a-very-long-name-of-a-cell-that-differs-in-the-end-only-{number:05}")
    };
    for number in 0..4_096 {
        writeln!(
            text,
            "  {}: {{ endpoints: [{{ address: \"127.0.0.1:1\" }}] }}",
            id(number)
        )
        .unwrap();
    }
    writeln!(text, "slots: {{ {}: [0] }}\noverrides:", id(0)).unwrap();
    for number in 0..MANY {
        writeln!(text, "  tenant-{number}: {}", id(50_000 + number % 40_000)).unwrap();
    }
    check(&text, "there is no cell `a-very-long-name");
}

#[test]
fn large_pieces() {
    let large = "k".repeat(MANY * 10);
    check(&large, "the file is the text `kkkk");
    check(&table(1, "0", &format!("{large}: 1")), "");
    check(
        &table(1, "0", &format!("overrides: {{ \"{large}\": {large} }}")),
        "",
    );
    check(&table(1, &large, ""), "is not a range of slots");
    check(&format!("\"{}", "\\".repeat(MANY * 10)), "");
    check(&"\n".repeat(MANY * 10), "the file is empty");
    check(&"#\n".repeat(MANY * 5), "the file says nothing");
    check(
        &"%TAG !a! b\n".repeat(MANY),
        "more than 8 lines begin with `%`",
    );
    check(&lines("", "a@: &a@ 1", MANY), "");
    check(&format!("[{}]", "a,".repeat(MANY)), "the file is a list");
    check(
        &",".repeat(17_000_000),
        "the file may hold 17000001 YAML values, more than 16000000",
    );
}

/// An aliased text of 4 MB, ten thousand times: 40 GB if it were unfolded. Memory is a process's own affair, so a
/// process of its own is asked for its peak.
#[cfg(target_os = "linux")]
#[test]
fn aliases_take_little_memory() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "hostile::peak_of_unfolding_aliases",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (_, peak) = printed
        .split_once("VmHWM:")
        .unwrap_or_else(|| panic!("no peak in {printed}"));
    let kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib < 128 * 1024, "{kib} KiB at the peak");
}

#[cfg(target_os = "linux")]
#[test]
fn peak_of_unfolding_aliases() {
    let text = lines(&format!("a: &a {}", "x".repeat(4 << 20)), "a@: *a", 10_000);
    check(&text, "aliases unfold");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!(
        "{}",
        status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap()
    );
}
