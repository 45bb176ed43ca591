//! Reading values without stopping: each method notes what is wrong and gives `None`, so the caller goes on.

use std::ops::RangeInclusive;

use crate::yaml::{
    findings::Findings,
    node::Node,
    place::{At, Focus},
};

/// A node together with its path.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    node: &'a Node,
    at: At<'a>,
}

impl<'a> Value<'a> {
    pub fn root(node: &'a Node) -> Self {
        Self { node, at: At::ROOT }
    }

    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Notes a problem with this value.
    pub fn refuse(
        &self,
        findings: &mut Findings,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        findings.add(self.at, Focus::Value, || (message.into(), hint.into()));
    }

    /// Notes a problem with this value's key.
    pub fn refuse_key(
        &self,
        findings: &mut Findings,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        findings.add(self.at, Focus::Key, || (message.into(), hint.into()));
    }

    fn wrong_kind(&self, findings: &mut Findings, expected: &str) {
        let hint = match self.node {
            Node::Null => format!("give {expected}, or remove the key"),
            Node::Bool(_) | Node::Integer(_) | Node::Float(_) if expected.starts_with("text") => {
                "put it in quotes".to_owned()
            }
            _ => format!("write {expected}"),
        };
        let message = match self.node {
            Node::Null => "is blank".to_owned(),
            other => format!("is {}, not {expected}", other.kind()),
        };
        self.refuse(findings, message, hint);
    }

    pub fn text(&self, findings: &mut Findings) -> Option<&'a str> {
        match self.node {
            Node::Text(text) => Some(text),
            _ => {
                self.wrong_kind(findings, "text");
                None
            }
        }
    }

    pub fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        match self.node {
            Node::Bool(value) => Some(*value),
            _ => {
                self.wrong_kind(findings, "`true` or `false`");
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
        let Node::Integer(value) = *self.node else {
            self.wrong_kind(findings, &format!("a whole number from {low} to {high}"));
            return None;
        };
        if value < low || value > high {
            self.refuse(
                findings,
                format!("is {value}, out of range"),
                format!("write a whole number from {low} to {high}"),
            );
            return None;
        }
        N::try_from(value).ok()
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], findings: &mut Findings) -> Option<T> {
        let known = || {
            choices
                .iter()
                .map(|(word, _)| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let text = match self.node {
            Node::Text(text) => text,
            _ => {
                self.wrong_kind(findings, &format!("one of {}", known()));
                return None;
            }
        };
        let found = choices.iter().find(|(word, _)| *word == &**text);
        if found.is_none() {
            let hint = match nearest(text, choices.iter().map(|(word, _)| *word)) {
                Some(word) => format!("did you mean `{word}`? known are {}", known()),
                None => format!("known are {}", known()),
            };
            self.refuse(
                findings,
                format!("is `{text}`, which is not known here"),
                hint,
            );
        }
        found.map(|(_, choice)| *choice)
    }

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
                self.wrong_kind(findings, "a list");
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
                self.wrong_kind(findings, "a mapping");
                None
            }
        }
    }

    /// The fields of a mapping whose keys are fixed. Unknown and repeated keys are noted here.
    pub fn fields(&'a self, known: &[&str], findings: &mut Findings) -> Option<Fields<'a>> {
        let Node::Mapping(entries) = self.node else {
            self.wrong_kind(
                findings,
                &format!("a mapping with the keys {}", known.join(", ")),
            );
            return None;
        };
        for (index, (name, node)) in entries.iter().enumerate() {
            let value = Value {
                node,
                at: self.at.key(name, index),
            };
            if !known.contains(&&**name) {
                let hint = match nearest(name, known.iter().copied()) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("known here are {}", known.join(", ")),
                };
                value.refuse_key(findings, "is not a known key", hint);
            } else if entries[..index].iter().any(|(earlier, _)| earlier == name) {
                value.refuse_key(findings, "stands twice", "keep one of them");
            }
        }
        Some(Fields {
            owner: self,
            entries,
        })
    }
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
            self.owner.refuse(
                findings,
                format!("the key `{name}` is missing"),
                format!("add `{name}`"),
            );
        }
        found
    }
}

impl Node {
    fn kind(&self) -> String {
        match self {
            Self::Null => "blank".to_owned(),
            Self::Bool(value) => format!("the truth value {value}"),
            Self::Integer(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(text) if text.len() > 40 => "text".to_owned(),
            Self::Text(text) => format!("the text {text:?}"),
            Self::Sequence(_) => "a list".to_owned(),
            Self::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// The known word that a misspelt one most likely meant: at most a third of its letters differ.
pub(crate) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    const WORD_CHARS_MAX: usize = 40;
    if word.chars().count() > WORD_CHARS_MAX {
        return None;
    }
    known
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in characters.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replace = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
