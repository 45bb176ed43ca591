//! Paths through a document, and where they stand in its text.

use std::fmt::Write as _;

use saphyr_parser::{Event, Parser, Span};

/// A path through a document, built on the stack while reading: no allocation unless there is a problem.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    /// The index is needed beside the name because a name may stand twice.
    Key {
        name: &'a str,
        index: usize,
    },
    Item(usize),
}

/// Which side of `key: value` a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    Key,
    Value,
}

impl<'a> At<'a> {
    pub(crate) const ROOT: At<'static> = At {
        parent: None,
        step: Step::Root,
    };

    pub(crate) fn key(&'a self, name: &'a str, index: usize) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Key { name, index },
        }
    }

    pub(crate) fn item(&'a self, index: usize) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Item(index),
        }
    }

    pub(crate) fn to_path(self) -> Path {
        let mut path = match self.parent {
            Some(parent) => parent.to_path(),
            None => Path::default(),
        };
        match self.step {
            Step::Root => {}
            Step::Key { name, index } => {
                if !path.text.is_empty() {
                    path.text.push('.');
                }
                push_name(&mut path.text, name);
                path.indices.push(index);
            }
            Step::Item(index) => {
                write!(path.text, "[{index}]").expect("writing to a string never fails");
                path.indices.push(index);
            }
        }
        path
    }
}

/// Names with a dot or space in them are quoted, so that a path can be read back by a person.
fn push_name(text: &mut String, name: &str) {
    let plain = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    if plain {
        text.push_str(name);
    } else {
        write!(text, "{name:?}").expect("writing to a string never fails");
    }
}

/// A path that outlives the reading: as text for people and as indices for the look-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) text: String,
    pub(crate) indices: Vec<usize>,
}

/// A line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// Where every key and value of a document stands.
#[derive(Debug)]
pub(crate) struct Places {
    root: Spot,
}

#[derive(Debug)]
struct Spot {
    key: Option<Place>,
    value: Place,
    children: Vec<Spot>,
}

impl Places {
    /// `None` when the position-keeping parser cannot follow the text: then problems go without a place.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let mut open: Vec<Open> = Vec::new();
        let mut events = Parser::new_from_str(text);
        while let Some(event) = events.next_event() {
            let (event, span) = event.ok()?;
            let done = match event {
                Event::MappingStart(..) => {
                    open.push(Open::new(span, true));
                    None
                }
                Event::SequenceStart(..) => {
                    open.push(Open::new(span, false));
                    None
                }
                Event::Scalar(..) | Event::Alias(_) => Some(Spot {
                    key: None,
                    value: place(span),
                    children: Vec::new(),
                }),
                Event::MappingEnd | Event::SequenceEnd => Some(open.pop()?.spot),
                _ => None,
            };
            let Some(spot) = done else { continue };
            match open.last_mut() {
                Some(parent) => parent.add(spot),
                None => return Some(Self { root: spot }),
            }
        }
        None
    }

    /// The place of a path, or of its nearest ancestor that stands in the text.
    pub(crate) fn find(&self, path: &Path, focus: Focus) -> Place {
        let mut spot = &self.root;
        for index in &path.indices {
            match spot.children.get(*index) {
                Some(child) => spot = child,
                None => return spot.value,
            }
        }
        match focus {
            Focus::Key => spot.key.unwrap_or(spot.value),
            Focus::Value => spot.value,
        }
    }
}

/// A mapping or sequence whose end has not come yet.
struct Open {
    spot: Spot,
    is_mapping: bool,
    key: Option<Place>,
}

impl Open {
    fn new(span: Span, is_mapping: bool) -> Self {
        let spot = Spot {
            key: None,
            value: place(span),
            children: Vec::new(),
        };
        Self {
            spot,
            is_mapping,
            key: None,
        }
    }

    fn add(&mut self, mut child: Spot) {
        if self.is_mapping {
            match self.key.take() {
                None => {
                    self.key = Some(child.value);
                    return;
                }
                key => child.key = key,
            }
        }
        self.spot.children.push(child);
    }
}

fn place(span: Span) -> Place {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place {
        line: number(span.start.line()),
        column: number(span.start.col() + 1),
    }
}
