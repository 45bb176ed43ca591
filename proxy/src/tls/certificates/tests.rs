use super::*;
use crate::tls::testing::{certificate, valid_in};

/// 2026-11-28.
const NOW: i64 = 1_795_824_000;

fn load(pairs: &[Pair], default: Option<&str>) -> Certificates {
    let loaded = Certificates::load(pairs, default, NOW, None);
    loaded.unwrap_or_else(|problems| panic!("{}", problems[0]))
}

#[track_caller]
fn refusal(pairs: &[Pair], previous: Option<&Certificates>) -> String {
    let problems = Certificates::load(pairs, None, NOW, previous).unwrap_err();
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    problems.join("\n")
}

#[test]
fn a_name_has_its_own_certificate_or_a_wildcard_or_the_default() {
    let pairs = [
        certificate(&["one.example.com", "*.two.example.com"]).pair("first"),
        certificate(&["*.example.com", "EXAMPLE.com"]).pair("second"),
    ];
    let by_name = load(&pairs, None);
    let check = |name: &str, expected: Option<&str>| {
        let found = by_name.named(name).map(|choices| choices[0].file.to_str());
        assert_eq!(found.flatten(), expected, "{name}");
    };
    check("one.example.com", Some("first.crt"));
    check("ONE.example.com", Some("first.crt"));
    check("one.example.com.", Some("first.crt"));
    check("other.example.com", Some("second.crt"));
    check("a.two.example.com", Some("first.crt"));
    // A wildcard stands for one label, and not for none.
    check("two.example.com", Some("second.crt"));
    check("a.b.example.com", None);
    check("example.com", Some("second.crt"));
    check("com", None);
    check("", None);
    assert_eq!(by_name.default[0].file, Path::new("first.crt"));
    let chosen = load(&pairs, Some("x.example.com"));
    assert_eq!(chosen.default[0].file, Path::new("second.crt"));
    let missing = Certificates::load(&pairs, Some("example.net"), NOW, None).unwrap_err();
    assert!(
        missing[0].to_string().contains("`example.net`"),
        "{}",
        missing[0]
    );
}

#[test]
fn of_two_for_a_name_the_one_that_is_valid_longer_is_used() {
    let name = ["one.example.com"];
    let pairs = [
        valid_in(&name, 2020..2030).pair("older"),
        valid_in(&name, 2020..2031).pair("newer"),
    ];
    let by_name = load(&pairs, None);
    assert_eq!(
        by_name.named(name[0]).unwrap()[0].file,
        Path::new("newer.crt")
    );
    assert_eq!(by_name.default[0].file, Path::new("newer.crt"));
}

#[test]
fn each_file_that_is_bad_is_named_with_what_is_wrong() {
    let good = certificate(&["one.example.com"]);
    let other = certificate(&["two.example.com"]);
    let mut mixed = good.pair("mixed");
    mixed.key.bytes = other.key.clone().into();
    let mut no_key = good.pair("no-key");
    no_key.key.bytes = good.certificate.clone().into();
    let mut no_certificate = good.pair("no-certificate");
    no_certificate.certificate.bytes = b"nothing".to_vec();
    let mut torn = good.pair("torn");
    torn.certificate.bytes.truncate(good.certificate.len() / 2);
    let refusals = refusal(
        &[mixed, no_key, no_certificate, torn, other.pair("good")],
        None,
    );
    let lines: Vec<&str> = refusals.lines().collect();
    assert_eq!(lines.len(), 4, "{refusals}");
    for (line, expected) in lines.iter().zip([
        "mixed.key: the key does not fit the certificate in mixed.crt",
        "no-key.key: holds no private key",
        "no-certificate.crt: holds no certificate",
        "torn.crt: is not PEM",
    ]) {
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn what_is_expired_may_stay_but_does_not_replace_what_is_there() {
    let expired = valid_in(&["one.example.com"], 2020..2021).pair("one");
    let early = valid_in(&["two.example.com"], 2030..2031).pair("two");
    let by_name = load(std::slice::from_ref(&expired), None);
    let untimely = by_name.untimely(NOW);
    assert_eq!(untimely.len(), 1);
    let text = untimely[0].to_string();
    let expected = "one.crt: the certificate expired on 2021-01-01T00:00:00Z (for one.example.com)";
    assert!(text.starts_with(expected), "{text}");
    let both = [expired, early];
    let refused = refusal(&both, Some(&by_name));
    let expected = "two.crt: the certificate is not valid before 2030-01-01T00:00:00Z";
    assert!(refused.starts_with(expected), "{refused}");
    assert_eq!(refused.lines().count(), 1);
}

#[test]
fn what_did_not_change_is_not_read_again() {
    let pairs = [
        certificate(&["one.example.com"]).pair("one"),
        certificate(&["two.example.com"]).pair("two"),
    ];
    let before = load(&pairs, None);
    let [one, _] = pairs;
    let pairs = [one, certificate(&["two.example.com"]).pair("two")];
    let after = Certificates::load(&pairs, None, NOW, Some(&before)).unwrap();
    assert!(Arc::ptr_eq(&before.loaded[0], &after.loaded[0]));
    assert!(!Arc::ptr_eq(&before.loaded[1], &after.loaded[1]));
}
