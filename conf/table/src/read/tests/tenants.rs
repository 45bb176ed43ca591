use super::*;

#[test]
fn aliases_rejects_and_holds() {
    check_good_but(
        "www.acme.example: acme",
        "a: \" acme\"",
        &[
            "19:6: aliases.a: ` acme` begins or ends with white space; remove it; no request can name such a tenant",
        ],
    );
    check_good_but(
        "www.acme.example: acme",
        "a: b\n  b: acme",
        &["19:6: aliases.a: `b` is an alias itself; name the tenant, not another of its aliases"],
    );
    check_good_but(
        "www.acme.example: acme",
        "a: a",
        &["19:6: aliases.a: `a` is an alias itself; name the tenant, not another of its aliases"],
    );
    check_good_but(
        "www.acme.example: acme",
        "acme: globex",
        &[
            "19:3: aliases.acme: stands under `overrides` too; an override belongs to the tenant: pin `globex` instead of its alias",
        ],
    );
    check_good_but(
        "www.acme.example: acme",
        "a: \"\"",
        &["19:6: aliases.a: a tenant key is empty; write a key of 1 to 256 bytes"],
    );
    check_good_but(
        "[evil-corp]",
        "[www.acme.example]",
        &["20:11: rejects[0]: `www.acme.example` is an alias; reject the tenant itself, `acme`"],
    );
    check_with("holds: {}\n", &[]);
    check_with(
        "holds:\n  globex: { mode: writes }\n  acme: { mode: reads }\n",
        &[
            "22:3: holds.globex: holds do not work in this version yet; remove the hold; a table that needs it is refused rather than served without it",
            "23:3: holds.acme: holds do not work in this version yet; remove the hold; a table that needs it is refused rather than served without it",
            "23:17: holds.acme.mode: is `reads`, which is not known here; known are `writes`, `all`",
        ],
    );
    check_with(
        "holds: [globex]\n",
        &["21:8: holds: is a list, not a mapping; write a mapping"],
    );
}

#[test]
fn tenant_keys_keep_their_text() {
    check_keys(
        "  007: us-west-2\n  1e3: us-west-2\n  null: us-west-2\n  ~: us-west-2\n  0x10: us-west-2\n  true: us-west-2\n  no: us-west-2\n  1_000: us-west-2\n  -: us-west-2\n",
        &[
            "-", "0x10", "007", "1_000", "1e3", "no", "null", "true", "~",
        ],
    );
    check_keys(
        "  \"a: b\": us-west-2\n  'it''s': us-west-2\n  a b: us-west-2\n  \" a \": us-west-2\n  ünï: us-west-2\n  \"\\U0001F600\": us-west-2\n",
        &["a: b", "it's", "a b", " a ", "ünï", "😀"],
    );
    // The last one is not a comment: no space before it.
    check_keys("  \"#1\": us-west-2\n  a#1: us-west-2\n", &["#1", "a#1"]);
    // YAML 1.1's line ends within double quotes.
    check_keys(
        "  \"a\\Nb\": us-west-2\n  \"a\\Lb\": us-west-2\n",
        &["a\u{85}b", "a\u{2028}b"],
    );
    check_keys("  \"a\u{feff}b\": us-west-2\n", &["a\u{feff}b"]);
    let longest = "k".repeat(limits::TENANT_KEY_BYTES_MAX);
    check_keys(&format!("  {longest}: us-west-2\n"), &[&longest]);

    let too_long = "k".repeat(limits::TENANT_KEY_BYTES_MAX + 1);
    let shown = format!("overrides.{}…", "k".repeat(60));
    check_good_but(
        "acme: us-west-2",
        &format!("{too_long}: eu-1"),
        &[&format!(
            "17:3: {shown}: a tenant key is longer than 256 bytes; name the tenant by 1 to 256 bytes, its id for instance"
        )],
    );
    check_good_but(
        "acme: us-west-2",
        "\"a\\nb\": eu-1",
        &[
            "17:3: overrides.\"a\\nb\": a tenant key holds a control character; remove line breaks, tabs and other control characters",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "\"\": eu-1",
        &["17:3: overrides.\"\": a tenant key is empty; write a key of 1 to 256 bytes"],
    );
}
