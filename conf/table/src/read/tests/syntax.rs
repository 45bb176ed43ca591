use super::*;

#[test]
fn places_count_characters() {
    // Behind wide characters a column is still one for each.
    check_good_but(
        "acme: us-west-2",
        "\"日本😀\": eu-9",
        &["17:10: overrides.\"日本😀\": there is no cell `eu-9`; did you mean `eu-1`?"],
    );
    check_good_but(
        "acme: us-west-2",
        "ä: \"\" # ü\n  ö: eu-9 # ü",
        &[
            "17:6: overrides.ä: there is no cell ``; add it under `cells`, or name one of eu-1, us-west-2",
            "18:6: overrides.ö: there is no cell `eu-9`; did you mean `eu-1`?",
        ],
    );
    let problem = "7:46: cells.eu-1.endpoints[0].weight: is 0, out of range; write a whole number from 1 to 1000";
    let text = good_but("weight: 1", "weight: 0");
    check(format!("\u{feff}{text}"), &[problem]);
    check(text.replace('\n', "\r\n"), &[problem]);
    check(
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
        &[problem],
    );
    check(GOOD.replace('\n', "\r\n"), &[]);
    check(format!("\u{feff}{GOOD}"), &[]);
    check(format!("---\n{GOOD}...\n"), &[]);
    check(format!("%YAML 1.2\n---\n{GOOD}"), &[]);
    check_good_but(
        "weight: 1 }",
        "\tweight:\t0\t}\t# a",
        &[
            "7:47: cells.eu-1.endpoints[0].weight: is 0, out of range; write a whole number from 1 to 1000",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "a\u{feff}b: eu-9",
        &["17:8: overrides.\"a\\u{feff}b\": there is no cell `eu-9`; did you mean `eu-1`?"],
    );
    // Only the problems' own paths are kept, wherever they stand.
    check(
        "- [a, {b: c}]\n",
        &[
            "1:1: the file is a list, not a mapping; check that the right file is named; it has to be a mapping with the keys format, generation, allow_move, hash, cells, slots, overrides, aliases, rejects, holds, history",
        ],
    );
}

#[test]
fn files_that_are_no_table() {
    let empty =
        "the file is empty; write the whole file, or put a finished one in its place with a rename";
    check("", &[empty]);
    check(" \n\t\r\n", &[empty]);
    check("\u{feff}", &[empty]);
    let nothing = "the file says nothing; all it holds are comments or blanks; write the whole file, or put a finished one in its place with a rename";
    for text in ["# nothing\n", "---\n", "null\n", "--- # a\n...\n"] {
        check(text, &[nothing]);
    }
    let keys = "not a mapping; check that the right file is named; it has to be a mapping with the keys format, generation, allow_move, hash, cells, slots, overrides, aliases, rejects, holds, history";
    check(
        "hello\n",
        &[&format!("1:1: the file is the text `hello`, {keys}")],
    );
    check(
        "42\n",
        &[&format!("1:1: the file is the number 42, {keys}")],
    );
    check("[]\n", &[&format!("1:1: the file is a list, {keys}")]);
    check(
        "\u{7f}ELF\u{2}\u{1}\0\0",
        &[
            "1:1: holds the control character '\\u{7f}'; remove it; a text between double quotes may say it as an escape such as \"\\x07\"",
        ],
    );
    check(
        "format: 1\nha\0sh",
        &[
            "2:3: holds a NUL byte; this is not a text file, or one in UTF-16, or one whose writing was cut off; save it as UTF-8",
        ],
    );
    check(
        "format: 1\n# ü\u{1b}[0m\n",
        &[
            "2:4: holds the control character '\\u{1b}'; remove it; a text between double quotes may say it as an escape such as \"\\x07\"",
        ],
    );
    check(
        b"format: 1\nrejects: [\xc3\xbc, \xff]\n",
        &[
            "2:14: is not UTF-8 text; save the file as UTF-8; if it is a binary file, check that the right file is named",
        ],
    );
    check(
        b"\xff\xfef\0o\0",
        &[
            "1:1: is not UTF-8 text; save the file as UTF-8; if it is a binary file, check that the right file is named",
        ],
    );
    let too_large = parse(&vec![b' '; limits::FILE_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(
        too_large.to_string(),
        "the file has 134217729 bytes, more than 134217728; a table this large is not one; check what wrote it"
    );
}

#[test]
fn broken_yaml() {
    let else_hint = "mend the YAML here; often the mistake is the indentation, a quote or a bracket just before";
    check_good_but(
        "weight: 1 }",
        "weight: 1",
        &[&format!(
            "8:9: did not find expected ',' or '}}' while parsing a flow mapping that begins on line 7; {else_hint}"
        )],
    );
    check_good_but(
        "  us-west-2:\n",
        "   us-west-2:\n",
        &[&format!(
            "11:4: did not find expected key while parsing a block mapping that begins on line 5; {else_hint}"
        )],
    );
    check_good_but(
        "    max_in_flight",
        "\tmax_in_flight",
        &[
            "9:1: found character that cannot start any token while scanning for the next token; indent with spaces; YAML forbids tabs there",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "@acme: us-west-2",
        &[
            "17:3: found character that cannot start any token while scanning for the next token; put the value in quotes: it begins with a character that YAML keeps for itself",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "acme: a: b",
        &[
            "17:10: mapping values are not allowed in this context; put a value with `: ` in it in quotes, or mend the indentation of this line or the one before",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "acme: *home",
        &[
            "17:9: unknown anchor; put the value in quotes if its `*` is meant as a letter; else define the anchor with `&` first",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "acme: !cell us-west-2",
        &[
            "17:9: overrides.acme: YAML tags are not supported; remove the word that starts with `!`, or put the value in quotes",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "[a, b]: us-west-2",
        &[
            "17:3: overrides: a sequence, not a key of plain text; write `key: value`, with the key on one line and without brackets",
        ],
    );
}

#[test]
fn documents_and_directives() {
    let else_hint = "mend the YAML here; often the mistake is the indentation, a quote or a bracket just before";
    check(
        format!("{GOOD}---\nformat: 1\n"),
        &[
            "21:1: a second YAML document begins here; remove the `---` line; a file holds one document",
        ],
    );
    check(
        format!("{GOOD}...\n}}\n"),
        &[&format!(
            "22:1: did not find expected <document start>; {else_hint}"
        )],
    );
    check(
        format!("{}\n{GOOD}", "%TAG !a! b\n".repeat(9)),
        &["9:1: more than 8 lines begin with `%`; remove the directives; the file needs none"],
    );
}

#[test]
fn standard_tags_say_what_the_text_says() {
    check_good_but("acme: us-west-2", "acme: !!str us-west-2", &[]);
    check_good_but("[evil-corp]", "[!!str 007]", &[]);
    check_good_but("generation: 42", "generation: !!int \"42\"", &[]);
}

#[test]
fn anchors_and_aliases() {
    let aliased = good_but(
        "{ address: \"127.0.0.1:9003\" }",
        "&a { address: \"127.0.0.1:9003\" }",
    );
    let aliased = aliased.replace("acme: us-west-2", "acme: &home us-west-2\n  globex: *home");
    let table = parse(aliased.as_bytes()).unwrap();
    assert_eq!(table.override_of(b"globex"), table.override_of(b"acme"));
    // A problem inside what an alias repeats is reported at the alias.
    let text = good_but("max_in_flight: 2000", "max_in_flight: &n 0").replace(
        "    endpoints: [{",
        "    max_in_flight: *n\n    endpoints: [{",
    );
    check(
        text,
        &[
            "9:20: cells.eu-1.max_in_flight: is 0, out of range; write a whole number from 1 to 1000000",
            "12:20: cells.us-west-2.max_in_flight: is 0, out of range; write a whole number from 1 to 1000000",
        ],
    );
    let text = good_but(
        "      - { address: \"127.0.0.1:9001\", weight: 1 }",
        "      - &e { address: \"127.0.0.1:9001\", weight: 0 }",
    )
    .replace("[{ address: \"127.0.0.1:9003\" }]", "[*e]");
    check(
        text,
        &[
            "7:49: cells.eu-1.endpoints[0].weight: is 0, out of range; write a whole number from 1 to 1000",
            "12:17: cells.us-west-2.endpoints[0].weight: is 0, out of range; write a whole number from 1 to 1000",
        ],
    );
}

/// The parser takes `*a` for what `&d` names when `&a` is defined twice, so `victim` would live in another cell.
#[test]
fn an_anchor_defined_twice_is_refused() {
    let overrides = "a: &a eu-1\n  b: &b eu-1\n  c: &a eu-1\n  d: &d us-west-2\n  victim: *a";
    check_good_but(
        "acme: us-west-2",
        overrides,
        &[
            "19:6: the anchor `&a` is defined twice; give each anchor a name of its own, or write the values out",
        ],
    );
    // Not anchors, or nobody uses them.
    check_keys(
        "  a&b: us-west-2\n  \"&b\": us-west-2\n  \"*b\": us-west-2 # &b\n",
        &["a&b", "&b", "*b"],
    );
    check_keys("  a: &x us-west-2\n  b: &x us-west-2 # *x\n", &["a", "b"]);
}
