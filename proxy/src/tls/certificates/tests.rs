use super::*;
use crate::tls::material::FileBytes;
use crate::tls::testing::{certificate, found, valid_in, with_unknown_extension};

/// 2026-11-28.
const NOW: i64 = 1_795_824_000;

fn load(pairs: &[Pair], default: Option<&str>) -> Certificates {
    let loaded = judged(pairs, default, None);
    let (loaded, refused) = loaded.unwrap_or_else(|problems| panic!("{}", problems[0]));
    assert!(refused.is_empty(), "{}", refused[0]);
    loaded
}

type Judged = Result<(Certificates, Vec<Problems>), Vec<Problems>>;

fn judged(pairs: &[Pair], default: Option<&str>, previous: Option<&Certificates>) -> Judged {
    let entries = pairs.iter().map(found).collect();
    Certificates::load(entries, default, NOW, previous)
}

#[track_caller]
fn refusal(pairs: &[Pair], previous: Option<&Certificates>) -> String {
    let (_, problems) = judged(pairs, None, previous).expect("one is left");
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
    let missing = judged(&pairs, Some("example.net"), None).unwrap_err();
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
fn of_two_for_a_name_one_that_is_valid_is_used() {
    let name = ["one.example.com"];
    let pairs = [
        valid_in(&name, 2020..2030).pair("this"),
        valid_in(&name, 2029..2040).pair("next"),
    ];
    let by_name = load(&pairs, None);
    let choices = by_name.named(name[0]).unwrap();
    let year = |year: i64| (year - 1970) * 31_557_600;
    let check = |now: i64, schemes: &[SignatureScheme], expected: &str| {
        let chosen = choose(choices, schemes, now).unwrap();
        assert_eq!(chosen.file, Path::new(expected), "{now}");
    };
    let known = [SignatureScheme::ECDSA_NISTP256_SHA256];
    check(NOW, &known, "this.crt");
    check(year(2035), &known, "next.crt");
    // Where none is valid, as where both are, the one that is valid longest.
    for now in [year(2010), year(2029) + 86_400 * 30, year(2050)] {
        check(now, &known, "next.crt");
    }
    // A client that can check none of them is shown one all the same.
    check(NOW, &[], "next.crt");
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
    // Of the two files it is the certificate that is at fault, not its key.
    let strange = with_unknown_extension(&["three.example.com"]).pair("strange");
    let pairs = [
        mixed,
        no_key,
        no_certificate,
        torn,
        strange,
        other.pair("good"),
    ];
    let refusals = refusal(&pairs, None);
    let lines: Vec<&str> = refusals.lines().collect();
    assert_eq!(lines.len(), 5, "{refusals}");
    for (line, expected) in lines.iter().zip([
        "mixed.key: the key does not fit the certificate in mixed.crt",
        "no-key.key: holds no private key",
        "no-certificate.crt: holds no certificate",
        "torn.crt: is not PEM",
        "strange.crt: holds a certificate that cannot be used",
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
    let after = judged(&pairs, None, Some(&before)).unwrap().0;
    let is_same =
        |at: usize| Arc::ptr_eq(&before.loaded[at].certified, &after.loaded[at].certified);
    assert!(is_same(0) && !is_same(1));
    assert!(!after.are_as(&before));
    let unchanged = |pair: &Pair| Entry {
        read: Ok(Reading::Unchanged),
        ..found(pair)
    };
    let entries = pairs.iter().map(unchanged).collect();
    let (again, _) = Certificates::load(entries, None, NOW, Some(&after)).unwrap();
    assert!(again.are_as(&after));
}

#[test]
fn a_pair_that_is_refused_keeps_its_certificate_and_stops_no_other() {
    let (one, two) = (["one.example.com"], ["two.example.com"]);
    let before = load(
        &[certificate(&one).pair("one"), certificate(&two).pair("two")],
        None,
    );
    let renewed = certificate(&two).pair("two");
    let mut bad = certificate(&one).pair("one");
    bad.key.bytes = certificate(&one).key.into();
    let new_and_bad = Pair {
        certificate: FileBytes {
            path: "three.crt".into(),
            bytes: Vec::new(),
        },
        key: bad.key.clone(),
    };
    let pairs = [bad, renewed, new_and_bad];
    let (after, refused) = judged(&pairs, None, Some(&before)).unwrap();
    assert_eq!(refused.len(), 2);
    assert_eq!(after.loaded.len(), 2);
    assert_eq!(after.loaded[0].digest, before.loaded[0].digest);
    assert_ne!(after.loaded[1].digest, before.loaded[1].digest);
    // At the start it is left out, unless it is named or nothing is left.
    let (started, refused) = judged(&pairs, Some("one.example.com"), None).unwrap();
    assert_eq!(started.loaded.len(), 1);
    assert_eq!(started.default[0].file, Path::new("two.crt"));
    assert_eq!(refused.len(), 3, "and nothing has the name of the default");
    judged(&pairs[..1], None, None).unwrap_err();
    let named = pairs.iter().map(|pair| Entry {
        is_named: true,
        ..found(pair)
    });
    assert_eq!(
        Certificates::load(named.collect(), None, NOW, None)
            .unwrap_err()
            .len(),
        2
    );
}
