use super::*;

fn problem(line: Option<u32>, path: &str) -> Problem {
    Problem {
        line,
        column: line.map(|_| 3),
        path: path.to_owned(),
        message: "is wrong".to_owned(),
        hint: "mend it".to_owned(),
    }
}

#[test]
fn one_line_for_each_problem() {
    let check = |file: &str, problems: &[Problem], more: usize, expected: &str| {
        let problems = Problems {
            file: file.to_owned(),
            problems: problems.to_vec(),
            more,
        };
        assert_eq!(problems.to_string(), expected);
    };
    check(
        "",
        &[problem(Some(7), "a.b")],
        0,
        "7:3: a.b: is wrong; mend it",
    );
    check(
        "t.yaml",
        &[problem(Some(7), "")],
        0,
        "t.yaml:7:3: is wrong; mend it",
    );
    check(
        "t.yaml",
        &[problem(None, "")],
        0,
        "t.yaml: is wrong; mend it",
    );
    check(
        "t.yaml",
        &[problem(None, "a"), problem(Some(7), "b")],
        1,
        "t.yaml: a: is wrong; mend it\nt.yaml:7:3: b: is wrong; mend it\n… and 1 more problem",
    );
}

#[test]
fn pieces_of_a_file_are_cut_and_escaped() {
    let check = |text: &str, expected: &str| assert_eq!(Quoted(text).to_string(), expected);
    check("", "``");
    check("it's \"1\" ü 😀", "`it's \"1\" ü 😀`");
    check("a\nb\u{1b}[31m\\", "`a\\nb\\u{1b}[31m\\\\`");
    check(&"ü".repeat(60), &format!("`{}`", "ü".repeat(60)));
    check(&"ü".repeat(61), &format!("`{}…`", "ü".repeat(60)));
}
