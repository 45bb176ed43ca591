use super::*;

#[test]
fn the_nearest_word() {
    let check = |word: &str, known: &[&str], expected: Option<&str>| {
        assert_eq!(
            nearest(word, known.iter().copied()),
            expected,
            "{word:?} of {known:?}"
        );
    };
    check(
        "max_in_fligth",
        &["endpoints", "max_in_flight"],
        Some("max_in_flight"),
    );
    check("wieght", &["address", "weight"], Some("weight"));
    check("Weight", &["address", "weight"], Some("weight"));
    check("slot", &["slots", "hash"], Some("slots"));
    check("tpc", &["http", "tcp"], None);
    check("https", &["http", "tcp"], Some("http"));
    check("", &["a"], Some("a"));
    check("eu-west-ï", &["eu-west-i"], Some("eu-west-i"));
    check("version", &["format", "generation"], None);
    // A word as near as another is no advice, wherever it stands.
    check("eu-3", &["eu-1", "eu-2"], None);
    check("eu-3", &["eu-1", "eu-2", "eu-33"], None);
    check("eu-12", &["eu-1", "us-12", "eu-1-2"], None);
    check(
        "eu-west-12",
        &["eu-west-1", "eu-west-12b", "us-east-12"],
        None,
    );
    check(
        "eu-west-12",
        &["us-east-1", "eu-west-2", "us-east-12"],
        Some("eu-west-2"),
    );
    check(&"k".repeat(64), &["k"], None);
}

#[test]
fn edit_distances() {
    let check = |left: &str, right: &str, expected: usize| {
        let (left, right) = (left.as_bytes(), right.as_bytes());
        for limit in 0..10 {
            let found = Some(expected).filter(|distance| *distance <= limit);
            assert_eq!(
                edit_distance(left, right, limit),
                found,
                "{left:?} {right:?} {limit}"
            );
            assert_eq!(
                edit_distance(right, left, limit),
                found,
                "{right:?} {left:?} {limit}"
            );
        }
    };
    check("", "", 0);
    check("a", "", 1);
    check("abc", "abc", 0);
    check("kitten", "sitting", 3);
    check("saturday", "sunday", 3);
    check("abab", "ab", 2);
    check("aab", "ab", 1);
    check("abcdef", "fedcba", 6);
}
