//! Answers as text for people. What is shown is decided from the answer alone.

pub mod cell;
pub mod fleet;
pub mod table;
pub mod tenant;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::clock::ms_of;

/// A list is cut behind so many, where its length says enough.
const SHOWN_MAX: usize = 20;

/// A date without its fractions of a second.
pub fn date(text: &str) -> String {
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text.to_owned(),
    }
}

/// How long ago a date was at a moment, in one unit: `45s`, `12m`, `3h`, `8d`. Nothing where either is not known.
pub fn age(since: &str, now_ms: Option<i64>) -> String {
    let Some((since_ms, now_ms)) = ms_of(since).zip(now_ms) else {
        return String::new();
    };
    let seconds = (now_ms - since_ms).max(0) / 1_000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A number without digits that say nothing.
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    match text.trim_end_matches('0').trim_end_matches('.') {
        "-0" => "0".to_owned(),
        text => text.to_owned(),
    }
}

/// A share from 0 to 1.
pub fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

/// `name=value`, with spaces in between.
fn pairs<V: ToString>(map: &BTreeMap<String, V>) -> String {
    let pairs: Vec<String> = map
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_string()))
        .collect();
    pairs.join(" ")
}

/// The fields of an object on one line.
pub fn fields(value: &Value) -> String {
    let Some(object) = value.as_object() else {
        return if value.is_null() {
            String::new()
        } else {
            value.to_string()
        };
    };
    let field = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    };
    object.iter().map(field).collect::<Vec<_>>().join(" ")
}

/// The first of them, and how many more there are.
fn cut(items: &[String]) -> String {
    let mut shown: Vec<String> = items.iter().take(SHOWN_MAX).cloned().collect();
    if items.len() > SHOWN_MAX {
        shown.push(format!("… and {} more", items.len() - SHOWN_MAX));
    }
    shown.join(", ")
}

/// `1 slot`, `2 slots`.
pub fn count(count: impl Into<u64>, thing: &str) -> String {
    let count = count.into();
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(number(5.0), "5");
        assert_eq!(number(-0.001), "0");
        assert_eq!(number(0.126), "0.13");
        assert_eq!(number(800.0), "800");
        assert_eq!(percent(0.054), "5.4 %");
        assert_eq!(date("2026-03-01T12:00:00.123Z"), "2026-03-01T12:00:00Z");
        assert_eq!(date("2026-03-01T12:00:00Z"), "2026-03-01T12:00:00Z");
        assert_eq!(count(1_u32, "slot"), "1 slot");
        assert_eq!(count(0_u32, "slot"), "0 slots");
    }

    #[test]
    fn ages_have_one_unit() {
        let now = ms_of("2026-03-09T12:00:00Z");
        for (since, expected) in [
            ("2026-03-09T11:59:15Z", "45s"),
            ("2026-03-09T11:48:00.5Z", "11m"),
            ("2026-03-09T09:00:00Z", "3h"),
            ("2026-03-01T12:00:00Z", "8d"),
            ("2026-03-09T12:00:01Z", "0s"),
            ("", ""),
        ] {
            assert_eq!(age(since, now), expected, "{since}");
        }
        assert_eq!(age("2026-03-09T11:59:15Z", None), "");
    }

    #[test]
    fn long_lists_are_cut() {
        let items: Vec<String> = (0..23).map(|at| at.to_string()).collect();
        assert!(cut(&items).ends_with("18, 19, … and 3 more"));
        assert_eq!(cut(&items[..2]), "0, 1");
    }

    #[test]
    fn details_fit_a_line() {
        let value = serde_json::json!({ "a": "x", "b": 3, "c": null });
        assert_eq!(fields(&value), "a=x b=3 c=null");
        assert_eq!(fields(&serde_json::json!({})), "");
    }
}
