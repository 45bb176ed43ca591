//! Lines of the access logs, and how those of one scenario differ.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::compare::{Aspect, Difference};

/// What is compared of a line.
pub(super) type Line = Map<String, Value>;

/// A line, and whose it is: a scenario's, by its number, or where the target does not say, a client's.
pub(super) fn read(line: &str) -> (String, Line) {
    let mut line: Line = serde_json::from_str(line).expect("a line is JSON");
    for volatile in ["time", "duration_ms"] {
        line.remove(volatile);
    }
    if let Some(endpoint) = line.get_mut("endpoint") {
        // Each side has ports of its own.
        *endpoint = true.into();
    }
    let text = |field: &str| line.get(field).and_then(Value::as_str).unwrap_or_default();
    let number = id_of(text("target")).and_then(|(number, _)| number.parse::<usize>().ok());
    let key = number.map_or_else(|| text("client").to_owned(), |number| number.to_string());
    (key, line)
}

/// The differences between the lines of one scenario, field by field where there are as many of them.
pub(super) fn differences(key: &str, left: &[Line], right: &[Line]) -> Vec<Difference> {
    let mut left: Vec<&Line> = left.iter().collect();
    let mut right: Vec<&Line> = right.iter().collect();
    // Those that both have.
    left.retain(|line| match right.iter().position(|other| other == line) {
        Some(at) => {
            right.remove(at);
            false
        }
        None => true,
    });
    let place = |line: &&Line| (line.get("target").map(ToString::to_string), line.len());
    left.sort_by_key(place);
    right.sort_by_key(place);
    if left.len() != right.len() {
        let text = |lines: &[&Line]| {
            let lines: Vec<String> = lines
                .iter()
                .map(|line| Value::Object((*line).clone()).to_string())
                .collect();
            format!("{} more lines: {}", lines.len(), lines.join(" / "))
        };
        let what = format!("lines of {key}");
        return vec![Difference::new(
            Aspect::Log,
            what,
            text(&left),
            text(&right),
        )];
    }
    let mut found = Vec::new();
    for (left, right) in left.into_iter().zip(right) {
        let fields: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        for field in fields {
            if left.get(field) == right.get(field) {
                continue;
            }
            let text = |field: &str| left.get(field).and_then(Value::as_str).unwrap_or_default();
            let what = format!(
                "a line of {key}, target {}, reason \"{}\"",
                text("target"),
                text("reason")
            );
            let text = |line: &Line| format!("{field}: {:?}", line.get(field));
            let mut difference = Difference::new(Aspect::Log, what, text(left), text(right));
            difference.exchange = exchange_of(left);
            found.push(difference);
        }
    }
    found
}

/// The number of a scenario and what follows it in a target.
fn id_of(target: &str) -> Option<(&str, &str)> {
    let (_, rest) = target.split_once("/~")?;
    rest.split_once('-')
}

/// Which exchange of its scenario a line is about.
fn exchange_of(line: &Line) -> Option<usize> {
    let (_, rest) = id_of(line.get("target")?.as_str()?)?;
    let end = rest.find(|character: char| !character.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}
