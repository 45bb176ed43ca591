//! Paths through a document, and where they stand in its text.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use saphyr_parser::{Event, Marker, Parser};

use crate::{limits, problem::Cut};

/// A path through a document, built on the stack while reading: no allocation unless there is a problem.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    /// The index is needed beside the name because a name may be duplicated.
    Key {
        name: &'a str,
        index: usize,
    },
    Item(usize),
}

/// Which side of `key: value` a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// The key; for an item of a list, which has none, the item itself.
    Key,
    /// The value.
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

    /// The name of the nearest key; empty without one.
    pub(crate) fn name(self) -> &'a str {
        match (self.step, self.parent) {
            (Step::Key { name, .. }, _) => name,
            (_, Some(parent)) => parent.name(),
            (_, None) => "",
        }
    }

    pub(crate) fn is_root(self) -> bool {
        self.parent.is_none()
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
    let name = Cut(name);
    if plain {
        write!(text, "{name}").expect("writing to a string never fails");
    } else {
        write!(text, "\"{name}\"").expect("writing to a string never fails");
    }
}

/// A path that outlives the reading: as text for people and as indices for the look-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) text: String,
    pub(crate) indices: Vec<usize>,
}

/// A line and column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Place {
    fn of(marker: &Marker) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            line: number(marker.line()),
            column: number(marker.col() + 1),
        }
    }
}

/// Where the keys and values of a few paths stand in a text.
///
/// Only the asked paths are kept while the text goes by, so a mistake in a large file costs no second copy of it.
#[derive(Debug, Default)]
pub(crate) struct Places {
    root: Spot,
}

#[derive(Debug, Default)]
struct Spot {
    key: Option<Place>,
    value: Option<Place>,
    children: BTreeMap<usize, Spot>,
}

impl Places {
    /// Looks the paths up. Where the position-keeping parser cannot follow the text, the rest stays without a place.
    pub(crate) fn of<'p>(text: &str, paths: impl Iterator<Item = &'p Path>) -> Self {
        let mut places = Self::default();
        for path in paths {
            let mut spot = &mut places.root;
            for index in &path.indices {
                spot = spot.children.entry(*index).or_default();
            }
        }
        places.fill(text);
        places
    }

    fn fill(&mut self, text: &str) {
        let mut walk = Walk {
            open: Vec::new(),
            root: &mut self.root,
        };
        let text = tamed(text);
        let mut events = Parser::new_from_str(&text);
        while let Some(Ok((event, span))) = events.next_event() {
            let place = Place::of(&span.start);
            match event {
                Event::MappingStart(..) => walk.open(place, true),
                Event::SequenceStart(..) => walk.open(place, false),
                Event::Scalar(..) | Event::Alias(_) => walk.scalar(place),
                Event::MappingEnd | Event::SequenceEnd => walk.close(),
                Event::DocumentEnd => return,
                _ => {}
            }
            if walk.open.len() > limits::YAML_DEPTH_MAX {
                return;
            }
        }
    }

    /// The place of a path, or of its nearest ancestor that stands in the text (what an alias repeats does not).
    pub(crate) fn find(&self, path: &Path, focus: Focus) -> Option<Place> {
        let mut spot = &self.root;
        for index in &path.indices {
            match spot.children.get(index) {
                Some(child) if child.value.is_some() => spot = child,
                _ => return spot.value,
            }
        }
        match focus {
            Focus::Key => spot.key.or(spot.value),
            Focus::Value => spot.value,
        }
    }
}

/// The collections that are open at a point of the text.
struct Walk<'s> {
    open: Vec<Open>,
    root: &'s mut Spot,
}

struct Open {
    is_mapping: bool,
    /// The key whose value has not come yet.
    key: Option<Place>,
    /// Number of entries so far.
    count: usize,
    /// The entry is on the way to a path that is asked for.
    is_wanted: bool,
}

impl Walk<'_> {
    fn scalar(&mut self, place: Place) {
        self.node(place);
    }

    fn open(&mut self, place: Place, is_mapping: bool) {
        let is_wanted = self.node(place);
        self.open.push(Open {
            is_mapping,
            key: None,
            count: 0,
            is_wanted,
        });
    }

    fn close(&mut self) {
        self.open.pop();
    }

    /// Notes a node; true when something in it is asked for.
    fn node(&mut self, place: Place) -> bool {
        let Some(parent) = self.open.last_mut() else {
            self.root.value = Some(place);
            return true;
        };
        if parent.is_mapping && parent.key.is_none() {
            parent.key = Some(place);
            return false;
        }
        let key = parent.key.take();
        parent.count += 1;
        if !parent.is_wanted {
            return false;
        }
        let mut spot = &mut *self.root;
        for open in &self.open {
            match spot.children.get_mut(&(open.count - 1)) {
                Some(child) => spot = child,
                None => return false,
            }
        }
        spot.key = key;
        spot.value = Some(place);
        true
    }
}

/// The text with the same places, but without what the position-keeping parser is stricter about than the other: tabs
/// behind a colon and byte order marks within.
fn tamed(text: &str) -> Cow<'_, str> {
    if text.contains(['\t', '\u{feff}']) {
        Cow::Owned(text.replace('\t', " ").replace('\u{feff}', "_"))
    } else {
        Cow::Borrowed(text)
    }
}

/// What a whole text holds, all its documents.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(crate) has_aliases: bool,
}

/// Why the position-keeping parser stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    TooDeep(Place),
    Other,
}

/// Reads through a text without keeping any of it.
pub(crate) fn scan(text: &str) -> Result<Scanned, Stop> {
    let mut scanned = Scanned::default();
    let mut depth = 0_usize;
    let text = tamed(text);
    let mut events = Parser::new_from_str(&text);
    while let Some(event) = events.next_event() {
        let (event, span) = event.map_err(|error| {
            if error.info().contains("recursion limit") {
                Stop::TooDeep(Place::of(error.marker()))
            } else {
                Stop::Other
            }
        })?;
        match event {
            Event::Alias(_) => scanned.has_aliases = true,
            Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
            Event::MappingEnd | Event::SequenceEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits::YAML_DEPTH_MAX {
            return Err(Stop::TooDeep(Place::of(&span.start)));
        }
    }
    Ok(scanned)
}

/// Where the second document of a text begins.
pub(crate) fn second_document(text: &str) -> Option<Place> {
    let mut documents = 0;
    let mut events = Parser::new_from_str(text);
    while let Some(Ok((event, span))) = events.next_event() {
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
        }
        if documents == 2 {
            return Some(Place::of(&span.start));
        }
    }
    None
}
