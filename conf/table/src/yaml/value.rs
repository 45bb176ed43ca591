//! Reading values without stopping: each method notes what is wrong and gives `None`, so the caller goes on.

use std::ops::RangeInclusive;

use crate::{
    problem::Quoted,
    yaml::{
        findings::Findings,
        node::Node,
        place::{At, Focus},
        slips,
    },
};

// The kinds of values, in words for messages.
const TEXT: &str = "text";
const NUMBER: &str = "a whole number";
const MAPPING: &str = "a mapping";

/// A node together with its path.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    node: &'a Node,
    at: At<'a>,
}

impl<'a> Value<'a> {
    /// The whole document.
    pub fn root(node: &'a Node) -> Self {
        Self { node, at: At::ROOT }
    }

    /// What stands there.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Notes a problem with this value: what is wrong, and what to do.
    pub fn refuse(
        &self,
        findings: &mut Findings,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.refuse_with(findings, || (message.into(), hint.into()));
    }

    /// Notes a problem with this value's key.
    pub fn refuse_key(
        &self,
        findings: &mut Findings,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.refuse_key_with(findings, || (message.into(), hint.into()));
    }

    /// Like [`refuse`](Self::refuse), with words that are costly to make: message and hint.
    pub fn refuse_with(&self, findings: &mut Findings, words: impl FnOnce() -> (String, String)) {
        findings.add(self.at, Focus::Value, words);
    }

    /// Like [`refuse_key`](Self::refuse_key), with words that are costly to make: message and hint.
    pub fn refuse_key_with(
        &self,
        findings: &mut Findings,
        words: impl FnOnce() -> (String, String),
    ) {
        findings.add(self.at, Focus::Key, words);
    }

    /// Notes a value of the wrong kind: `kind` is what it should be, `wanted` the same in full.
    fn refuse_kind(&self, findings: &mut Findings, kind: &str, wanted: impl FnOnce() -> String) {
        self.refuse_with(findings, || {
            let wanted = wanted();
            let found = self.node.kind();
            if self.at.is_root() {
                return (
                    format!("the file is {found}, not {kind}"),
                    format!("check that the right file is named; it has to be {wanted}"),
                );
            }
            match self.node {
                Node::Null => (
                    "is blank".to_owned(),
                    format!("give {wanted}, or remove it"),
                ),
                Node::Bool(_) | Node::Integer(_) | Node::Float(_) if kind == TEXT => (
                    format!("is {found}, not {kind}"),
                    "put it in quotes".to_owned(),
                ),
                Node::Text(text) if kind == NUMBER && text.parse::<i128>().is_ok() => (
                    format!("is {found}, not {kind}"),
                    "write it without quotes".to_owned(),
                ),
                Node::Text(text) if kind == NUMBER => {
                    let hint = slips::instead_of_number(self.at.name(), text);
                    let hint = hint.unwrap_or_else(|| format!("write {wanted}"));
                    (format!("is {found}, not {kind}"), hint)
                }
                _ => (format!("is {found}, not {kind}"), format!("write {wanted}")),
            }
        });
    }

    /// A text. A number or a boolean is not a text: it needs quotes.
    pub fn text(&self, findings: &mut Findings) -> Option<&'a str> {
        match self.node {
            Node::Text(text) => Some(text),
            _ => {
                self.refuse_kind(findings, TEXT, || TEXT.to_owned());
                None
            }
        }
    }

    /// `true` or `false`, and nothing that only looks like it.
    pub fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        match self.node {
            Node::Bool(value) => Some(*value),
            _ => {
                let wanted = "`true` or `false`";
                self.refuse_kind(findings, wanted, || wanted.to_owned());
                None
            }
        }
    }

    /// A whole number within `range`.
    pub fn integer<N>(&self, range: RangeInclusive<N>, findings: &mut Findings) -> Option<N>
    where
        N: Copy + Into<i128> + TryFrom<i128>,
    {
        let (low, high): (i128, i128) = ((*range.start()).into(), (*range.end()).into());
        let allowed = || {
            if low == high {
                format!("the number {low}")
            } else {
                format!("a whole number from {low} to {high}")
            }
        };
        let Node::Integer(value) = *self.node else {
            self.refuse_kind(findings, NUMBER, allowed);
            return None;
        };
        if value < low || value > high {
            self.refuse_with(findings, || {
                (
                    format!("is {value}, out of range"),
                    format!("write {}", allowed()),
                )
            });
            return None;
        }
        N::try_from(value).ok()
    }

    /// A number within `range`, whole or not.
    pub fn number(&self, range: RangeInclusive<f64>, findings: &mut Findings) -> Option<f64> {
        let (low, high) = (*range.start(), *range.end());
        #[expect(
            clippy::cast_precision_loss,
            reason = "the ranges of the format are small"
        )]
        let value = match *self.node {
            Node::Integer(value) => value as f64,
            Node::Float(value) => value,
            _ => {
                self.refuse_kind(findings, NUMBER, || {
                    format!("a number from {low} to {high}")
                });
                return None;
            }
        };
        if range.contains(&value) {
            return Some(value);
        }
        let hint = format!("write a number from {low} to {high}");
        self.refuse(findings, format!("is {value}, out of range"), hint);
        None
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], findings: &mut Findings) -> Option<T> {
        let known = || {
            let words = choices.iter().map(|(word, _)| format!("`{word}`"));
            words.collect::<Vec<_>>().join(", ")
        };
        let Node::Text(text) = self.node else {
            self.refuse_kind(findings, "a word", || format!("one of {}", known()));
            return None;
        };
        let found = choices.iter().find(|(word, _)| *word == &**text);
        if found.is_none() {
            self.refuse_with(findings, || {
                let words = choices.iter().map(|(word, _)| *word);
                let hint = match (slips::later_protocol(text, &known()), nearest(text, words)) {
                    (Some(hint), _) => hint,
                    (None, Some(word)) => format!("did you mean `{word}`? known are {}", known()),
                    (None, None) => format!("known are {}", known()),
                };
                let message = format!("is {}, which is not known here", Quoted(text));
                (message, hint)
            });
        }
        found.map(|(_, choice)| *choice)
    }

    /// The items of a list.
    pub fn sequence(
        &'a self,
        findings: &mut Findings,
    ) -> Option<impl ExactSizeIterator<Item = Value<'a>> + use<'a>> {
        match self.node {
            Node::Sequence(items) => Some(items.iter().enumerate().map(|(index, node)| Value {
                node,
                at: self.at.item(index),
            })),
            _ => {
                self.refuse_kind(findings, "a list", || "a list".to_owned());
                None
            }
        }
    }

    /// The entries of a mapping whose keys are data (cell ids, tenant keys), repeated keys included.
    pub fn entries(
        &'a self,
        findings: &mut Findings,
    ) -> Option<impl ExactSizeIterator<Item = (&'a str, Value<'a>)> + use<'a>> {
        match self.node {
            Node::Mapping(entries) => {
                Some(entries.iter().enumerate().map(|(index, (name, node))| {
                    (
                        &**name,
                        Value {
                            node,
                            at: self.at.key(name, index),
                        },
                    )
                }))
            }
            _ => {
                self.refuse_kind(findings, MAPPING, || MAPPING.to_owned());
                None
            }
        }
    }

    /// The fields of a mapping whose keys are fixed. Unknown and repeated keys are noted here.
    pub fn fields(&'a self, known: &[&str], findings: &mut Findings) -> Option<Fields<'a>> {
        let Node::Mapping(entries) = self.node else {
            self.refuse_kind(findings, MAPPING, || {
                format!("a mapping with the keys {}", known.join(", "))
            });
            return None;
        };
        let mut seen = vec![false; known.len()];
        for (index, (name, node)) in entries.iter().enumerate() {
            let value = Value {
                node,
                at: self.at.key(name, index),
            };
            let Some(at) = known.iter().position(|word| *word == &**name) else {
                value.refuse_key_with(findings, || unknown_key(name, known));
                continue;
            };
            if std::mem::replace(&mut seen[at], true) {
                value.refuse_key(findings, "is duplicated", "keep one of them");
            }
        }
        Some(Fields {
            owner: self,
            entries,
        })
    }
}

fn unknown_key(name: &str, known: &[&str]) -> (String, String) {
    if name == "<<" {
        return (
            "merge keys are not supported".to_owned(),
            "write the fields out".to_owned(),
        );
    }
    if let Some(words) = slips::later_key(name, known) {
        return words;
    }
    let meant = nearest(name, known.iter().copied()).or_else(|| slips::longer_key(name, known));
    let hint = match meant {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("known here are {}", known.join(", ")),
    };
    ("is not a known key".to_owned(), hint)
}

/// The fields of a mapping with fixed keys.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    owner: &'a Value<'a>,
    entries: &'a [(Box<str>, Node)],
}

impl<'a> Fields<'a> {
    /// A field that may be left out; one that is there but blank is still read, and refused by its type.
    pub fn optional(&self, name: &str) -> Option<Value<'a>> {
        let (index, (name, node)) = self
            .entries
            .iter()
            .enumerate()
            .find(|(_, (key, _))| &**key == name)?;
        Some(Value {
            node,
            at: self.owner.at.key(name, index),
        })
    }

    /// A field that must be there.
    pub fn required(&self, name: &str, findings: &mut Findings) -> Option<Value<'a>> {
        let found = self.optional(name);
        if found.is_none() {
            self.owner.refuse_key_with(findings, || {
                (
                    format!("the key `{name}` is missing"),
                    format!("add `{name}`"),
                )
            });
        }
        found
    }
}

impl Node {
    /// What it is, in words for a message.
    fn kind(&self) -> String {
        match self {
            Self::Null => "blank".to_owned(),
            Self::Bool(value) => format!("the truth value {value}"),
            Self::Integer(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(text) => format!("the text {}", Quoted(text)),
            Self::Sequence(_) => "a list".to_owned(),
            Self::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// The known word that a misspelt one most likely meant: at most a third of its letters differ. Where two words are as
/// near, none is named: an operator in a hurry would take the wrong one.
pub(crate) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    const WORD_BYTES_MAX: usize = 63;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    let mut is_tie = false;
    for candidate in known {
        let allowed = (candidate.len() / 3).max(1);
        let limit = best.map_or(allowed, |(least, _)| allowed.min(least));
        let Some(distance) = edit_distance(word.as_bytes(), candidate.as_bytes(), limit) else {
            continue;
        };
        is_tie = best.is_some_and(|(least, _)| distance == least);
        if !is_tie {
            best = Some((distance, candidate));
        }
    }
    best.filter(|_| !is_tie).map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in bytes (what is known is ASCII); `None` when it is beyond `limit`.
fn edit_distance(left: &[u8], right: &[u8], limit: usize) -> Option<usize> {
    // What both begin and end with costs nothing: names of a fleet are often alike.
    let same = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    let (left, right) = (&left[same..], &right[same..]);
    let ends = left.iter().rev().zip(right.iter().rev());
    let same = ends.take_while(|(l, r)| l == r).count();
    let (left, right) = (&left[..left.len() - same], &right[..right.len() - same]);
    if left.len().abs_diff(right.len()) > limit {
        return None;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replace = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
        if row.iter().all(|distance| *distance > limit) {
            return None;
        }
    }
    Some(row[right.len()]).filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests;
