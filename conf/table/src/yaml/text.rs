//! From bytes to text that the YAML parser may be given.
//!
//! The parser copes badly with a few things: it names no place for bytes that are not text, it takes quadratic time for
//! deep nesting and for many directives, it needs a hundred bytes of memory for each value, and it mixes up anchors
//! that share a name. All of them are looked for here, in one cheap pass over the bytes, before it sees the file.

use std::collections::HashSet;

use crate::{
    limits,
    problem::{Problem, Problems, Quoted},
    yaml::place::{self, Place, Scanned, Stop},
};

/// Lines that begin with `%`. A file needs none; the parser compares each with all earlier ones.
const DIRECTIVES_MAX: usize = 8;

/// Brackets and braces that cost the parser little even if each is nested in the one before (about 25 ms).
const BRACKETS_UNCHECKED_MAX: usize = 2_000;

/// The text of a file, without a byte order mark.
///
/// # Errors
/// One problem with its place: the file is empty, is not UTF-8 text, or is something that the parser cannot be given.
pub(super) fn checked(bytes: &[u8]) -> Result<&str, Problems> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => without_mark(text),
        Err(error) => return Err(not_utf8(bytes, error.valid_up_to())),
    };
    if text.trim().is_empty() {
        return Err(Problems::whole_file(
            "the file is empty",
            "write the whole file, or put a finished one in its place with a rename",
        ));
    }
    if let Some((at, character)) = text.char_indices().find(|(_, c)| !may_stand_in_yaml(*c)) {
        return Err(not_yaml_text(text, at, character));
    }
    let shape = Shape::of(text);
    if shape.node_marks > limits::YAML_NODES_MAX {
        return Err(Problems::whole_file(
            format!(
                "the file may hold {} YAML values, more than {}",
                shape.node_marks,
                limits::YAML_NODES_MAX
            ),
            "a file this large is not one of ours; check what wrote it",
        ));
    }
    if let Some(at) = shape.directive_beyond_max {
        return Err(problem_at(
            text,
            at,
            format!("more than {DIRECTIVES_MAX} lines begin with `%`"),
            "remove the directives; the file needs none",
        ));
    }
    check_nesting(text, shape.brackets)?;
    check_anchors(text)?;
    Ok(text)
}

/// Editors on Windows begin a file with a byte order mark; the YAML parser would count it as an indentation.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// What YAML calls printable (YAML 1.2.2, production 1), and the line ends and tabs.
fn may_stand_in_yaml(c: char) -> bool {
    matches!(c,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn not_utf8(bytes: &[u8], at: usize) -> Problems {
    let good = std::str::from_utf8(&bytes[..at]).expect("the bytes are UTF-8 up to here");
    problem_at(
        good,
        at,
        "is not UTF-8 text",
        "save the file as UTF-8; if it is a binary file, check that the right file is named",
    )
}

fn not_yaml_text(text: &str, at: usize, character: char) -> Problems {
    if character == '\0' {
        return problem_at(
            text,
            at,
            "holds a NUL byte",
            "this is not a text file, or one in UTF-16, or one whose writing was cut off; save it as UTF-8",
        );
    }
    problem_at(
        text,
        at,
        format!("holds the control character {character:?}"),
        "remove it; a text between double quotes may say it as an escape such as \"\\x07\"",
    )
}

/// A problem at a byte of the text.
fn problem_at(text: &str, offset: usize, message: impl Into<String>, hint: &str) -> Problems {
    let before = &without_mark(text)[..offset.saturating_sub(mark_bytes(text))];
    let line = before.matches('\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    let column = last.chars().count() + 1;
    Problems::one(Problem {
        line: u32::try_from(line).ok(),
        column: u32::try_from(column).ok(),
        path: String::new(),
        message: message.into(),
        hint: hint.to_owned(),
    })
}

fn mark_bytes(text: &str) -> usize {
    text.len() - without_mark(text).len()
}

/// A rough measure of a file. Quotes and comments are not understood, so what they hold counts too.
struct Shape {
    /// Places where a YAML value may begin: at least half as many as there are values.
    node_marks: usize,
    /// Opening brackets and braces: nesting is never deeper than their number.
    brackets: usize,
    /// Where the first directive beyond the limit stands.
    directive_beyond_max: Option<usize>,
}

impl Shape {
    fn of(text: &str) -> Self {
        let mut shape = Self {
            node_marks: 1,
            brackets: 0,
            directive_beyond_max: None,
        };
        let mut directives = 0;
        let mut previous = b'\n';
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'[' | b'{' => {
                    shape.brackets += 1;
                    shape.node_marks += 1;
                }
                b',' | b'\n' | b'\r' => shape.node_marks += 1,
                b' ' | b'\t' if matches!(previous, b':' | b'-' | b'?') => shape.node_marks += 1,
                b'%' if matches!(previous, b'\n' | b'\r') => {
                    directives += 1;
                    if directives > DIRECTIVES_MAX {
                        shape.directive_beyond_max.get_or_insert(at);
                    }
                }
                _ => {}
            }
            previous = byte;
        }
        shape
    }
}

/// The parser's time grows with the square of the brackets and braces that are open at the same time. Where there are
/// enough of them to matter, the position-keeping parser is asked first: it stops by itself where nesting is too deep.
/// Its other errors are ignored.
fn check_nesting(text: &str, brackets: usize) -> Result<(), Problems> {
    if brackets <= BRACKETS_UNCHECKED_MAX {
        return Ok(());
    }
    match place::scan(text) {
        Err(Stop::TooDeep(place)) => Err(too_deep(place)),
        _ => Ok(()),
    }
}

/// Brackets and braces nested deeper than any table or configuration needs.
pub(super) fn too_deep(place: Place) -> Problems {
    Problems::one(Problem {
        line: Some(place.line),
        column: Some(place.column),
        path: String::new(),
        message: "is nested too deep".to_owned(),
        hint: "files of this kind nest a few levels only; check what wrote it".to_owned(),
    })
}

/// An alias of a name that is given to two anchors may come out as a third one's value (`yaml_serde` 0.10 numbers
/// anchors by how many names there are), so that a tenant would be sent to the wrong cell. Such a file is refused.
fn check_anchors(text: &str) -> Result<(), Problems> {
    if !text.contains('&') || !text.contains('*') {
        return Ok(());
    }
    let Some((at, name)) = anchor_named_twice(text) else {
        return Ok(());
    };
    // What looks like an anchor may stand in a quoted text or a comment, and anchors without an alias do no harm.
    if matches!(place::scan(text), Ok(Scanned { has_aliases: false })) {
        return Ok(());
    }
    Err(problem_at(
        text,
        at,
        format!(
            "the anchor {} is defined twice",
            Quoted(&text[at..=at + name.len()])
        ),
        "give each anchor a name of its own, or write the values out",
    ))
}

/// The second of two anchors with the same name, and its name.
fn anchor_named_twice(text: &str) -> Option<(usize, &str)> {
    let mut seen = HashSet::new();
    text.match_indices('&').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'));
        let name = &rest[..end.unwrap_or(rest.len())];
        (!name.is_empty() && !seen.insert(name)).then_some((at, name))
    })
}
