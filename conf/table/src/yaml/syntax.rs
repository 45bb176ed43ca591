//! From the YAML parser's own errors to problems with a place and words for the person who has to mend the file.

use crate::{
    problem::{Problem, Problems},
    yaml::{
        place::{Place, second_document},
        text,
    },
};

/// What our own reading of the tree objects to. The parser puts the path in front of these words.
pub(super) const TAG: &str = "YAML tags are not supported";
pub(super) const UNFOLDS: &str = "aliases unfold to far more than the file's size";
pub(super) const KEY_KIND: &str = "a key of plain text";

/// What people most likely did, by the parser's words.
const HINTS: [(&str, &str); 6] = [
    (
        TAG,
        "remove the word that starts with `!`, or put the value in quotes",
    ),
    (
        UNFOLDS,
        "write the values out instead of repeating them with `*`",
    ),
    (
        KEY_KIND,
        "write `key: value`, with the key on one line and without brackets",
    ),
    (
        "mapping values are not allowed",
        "put a value with `: ` in it in quotes, or mend the indentation of this line or the one before",
    ),
    (
        "unknown anchor",
        "put the value in quotes if its `*` is meant as a letter; else define the anchor with `&` first",
    ),
    (
        "cannot start any token",
        "put the value in quotes: it begins with a character that YAML keeps for itself",
    ),
];

const HINT_ELSE: &str =
    "mend the YAML here; often the mistake is the indentation, a quote or a bracket just before";

/// The problem that made the parser stop.
pub(super) fn problem(error: &serde_yaml::Error, text: &str) -> Problems {
    let location = error.location();
    let place = location.as_ref().and_then(|location| {
        Some(Place {
            line: u32::try_from(location.line()).ok()?,
            column: u32::try_from(location.column()).ok()?,
        })
    });
    let full = error.to_string();
    if let (true, Some(place)) = (full.starts_with("recursion limit exceeded"), place) {
        return text::too_deep(place);
    }
    let (path, message) = words(&full);
    let hint = if begins_with_tab(text, place) {
        "indent with spaces; YAML forbids tabs there"
    } else {
        let known = HINTS.iter().find(|(words, _)| message.contains(words));
        known.map_or(HINT_ELSE, |(_, hint)| hint)
    };
    Problems::one(Problem {
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        path,
        message,
        hint: hint.to_owned(),
    })
}

/// A second document behind a good first one.
pub(super) fn more_than_one_document(text: &str) -> Problems {
    let place = second_document(text);
    Problems::one(Problem {
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        path: String::new(),
        message: "a second YAML document begins here".to_owned(),
        hint: "remove the `---` line; a file holds one document".to_owned(),
    })
}

/// Path and message of an error. The parser writes `path: message at line 1 column 2, context at line 3 column 4`: the
/// first place is reported beside the message already, the context's line is worth keeping.
fn words(full: &str) -> (String, String) {
    for own in [TAG, UNFOLDS, KEY_KIND] {
        let Some((before, _)) = full.split_once(own) else {
            continue;
        };
        return match before.rsplit_once("invalid type: ") {
            Some((path, kind)) => (
                path_of(path),
                format!("a {}{own}", kind.replace("expected", "not")),
            ),
            None => (path_of(before), own.to_owned()),
        };
    }
    let Some((message, rest)) = full.split_once(" at line ") else {
        return (String::new(), full.to_owned());
    };
    let Some((_, context)) = rest.split_once(", ") else {
        return (String::new(), message.to_owned());
    };
    let context = match context.split_once(" at line ") {
        Some((doing, place)) => {
            let line = place.split(' ').next().unwrap_or_default();
            format!("{doing} that begins on line {line}")
        }
        None => context.to_owned(),
    };
    (String::new(), format!("{message} {context}"))
}

fn path_of(text: &str) -> String {
    text.trim_end().trim_end_matches(':').to_owned()
}

fn begins_with_tab(text: &str, place: Option<Place>) -> bool {
    let Some(Place { line, column }) = place else {
        return false;
    };
    let line = text.lines().nth(line as usize - 1).unwrap_or_default();
    line.chars().nth(column as usize - 1) == Some('\t')
}
