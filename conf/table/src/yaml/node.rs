//! A YAML document as a tree of plain values.

use std::{cell::Cell, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};

use crate::problem::{Problem, Problems};

/// A YAML value. Mappings keep their order and repeated keys, so that a reader can report them.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(Box<str>),
    Sequence(Vec<Node>),
    /// Keys are the text of the key as it stands in the file, so `123:` and `"123":` are the same key.
    Mapping(Vec<(Box<str>, Node)>),
}

/// Reads exactly one YAML document.
///
/// # Errors
/// One problem, with its place where the parser knows it: syntax, encoding, more than one document, a tag, nesting
/// deeper than 128, or aliases that unfold to more than the file's own size warrants.
pub fn parse_tree(bytes: &[u8]) -> Result<Node, Problems> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(not_utf8(bytes, error.valid_up_to())),
    };
    if let Some(at) = text.find('\0') {
        return Err(problem_at(
            text,
            at,
            "holds a NUL byte",
            "this is not a text file; check that the right file is named",
        ));
    }
    if text.trim().is_empty() {
        return Err(Problems::whole_file(
            "the file is empty",
            "write the whole file, or put a finished one in its place with a rename",
        ));
    }
    let budget = Budget::for_file_of(bytes.len());
    let seed = NodeSeed { budget: &budget };
    seed.deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| syntax(&error))
}

fn not_utf8(bytes: &[u8], at: usize) -> Problems {
    let good = String::from_utf8_lossy(&bytes[..at]);
    problem_at(
        &good,
        at,
        "is not UTF-8 text",
        "save the file as UTF-8; if it is a binary file, check that the right file is named",
    )
}

fn problem_at(text: &str, offset: usize, message: &str, hint: &str) -> Problems {
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    let mut problems = Problems::default();
    problems.push(Problem {
        line: u32::try_from(line).ok(),
        column: u32::try_from(column).ok(),
        path: String::new(),
        message: message.to_owned(),
        hint: hint.to_owned(),
    });
    problems
}

fn syntax(error: &serde_yaml::Error) -> Problems {
    let place = error.location();
    let number = |n: usize| u32::try_from(n).ok();
    let full = error.to_string();
    // The parser appends the place to its message, where it would stand twice.
    let message = full.split(" at line ").next().unwrap_or(&full);
    let (message, hint) = if full.contains("more than one document") {
        (
            "the file holds more than one YAML document",
            "remove the `---` lines that separate them",
        )
    } else {
        (
            message,
            "mend the YAML here; often the mistake is the indentation, a quote or a bracket just before",
        )
    };
    let mut problems = Problems::default();
    problems.push(Problem {
        line: place.as_ref().and_then(|p| number(p.line())),
        column: place.as_ref().and_then(|p| number(p.column())),
        path: String::new(),
        message: message.to_owned(),
        hint: hint.to_owned(),
    });
    problems
}

/// What a tree may grow to. Without aliases a file cannot unfold to more nodes and text than it has bytes, so only a
/// file that abuses aliases ("billion laughs") meets the limit.
struct Budget {
    left: Cell<usize>,
}

impl Budget {
    fn for_file_of(bytes: usize) -> Self {
        const SLACK: usize = 64 * 1024;
        Self {
            left: Cell::new(bytes.saturating_mul(2).saturating_add(SLACK)),
        }
    }

    fn spend<E: serde::de::Error>(&self, amount: usize) -> Result<(), E> {
        match self.left.get().checked_sub(amount) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(E::custom("aliases unfold to far more than the file's size")),
        }
    }
}

#[derive(Clone, Copy)]
struct NodeSeed<'b> {
    budget: &'b Budget,
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.budget.spend(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value, a list or a mapping (YAML tags are not supported)")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Integer(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        // A number of more than 38 digits fits no field of ours; as a float it is still told as "a number".
        #[expect(clippy::cast_precision_loss, reason = "only told in an error message")]
        let rounded = value as f64;
        Ok(i128::try_from(value).map_or(Node::Float(rounded), Node::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Node, E> {
        self.budget.spend(value.len())?;
        Ok(Node::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut sequence = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            sequence.push(item);
        }
        Ok(Node::Sequence(sequence))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut mapping = Vec::new();
        while let Some(Key(key)) = entries.next_key()? {
            self.budget.spend(key.len())?;
            mapping.push((key, entries.next_value_seed(self)?));
        }
        Ok(Node::Mapping(mapping))
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(A::Error::custom("YAML tags are not supported"))
    }
}

/// A mapping's key, as it stands in the file: asking for text keeps `007` from turning into the number 7.
struct Key(Box<str>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<str>::deserialize(deserializer).map(Self)
    }
}
