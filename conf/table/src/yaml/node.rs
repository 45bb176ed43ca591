//! A YAML document as a tree of plain values.

use std::{cell::Cell, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{
    problem::Problems,
    yaml::{syntax, text},
};

/// A YAML value. Mappings keep their order and repeated keys, so that a reader can report them.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A blank, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number, also as `0x1F`, `0o17` or `0b11`.
    Integer(i128),
    /// Any other number, and a whole one too large for [`Integer`](Self::Integer).
    Float(f64),
    /// Everything else that is plain, and all that is quoted.
    Text(Box<str>),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys are the text of the key as it stands in the file, so `123:` and `"123":` are the same key.
    Mapping(Vec<(Box<str>, Node)>),
}

/// Reads exactly one YAML document.
///
/// # Errors
/// One problem, with its place where the parser knows it: an empty file, encoding, syntax, more than one document, a
/// tag, nesting deeper than [`YAML_DEPTH_MAX`](crate::limits::YAML_DEPTH_MAX), more values than
/// [`YAML_NODES_MAX`](crate::limits::YAML_NODES_MAX), or aliases that unfold to more than the file's own size warrants.
pub fn parse_tree(bytes: &[u8]) -> Result<Node, Problems> {
    let text = text::checked(bytes)?;
    let budget = Budget::for_file_of(bytes.len());
    let seed = NodeSeed { budget: &budget };
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let first = documents.next().map(|document| seed.deserialize(document));
    let tree = match first {
        Some(Ok(tree)) => tree,
        Some(Err(error)) => return Err(syntax::problem(&error, text)),
        None => Node::Null,
    };
    if let Some(second) = documents.next() {
        // Text behind the end of the first document that is not YAML comes out as a second document with an error.
        return Err(match IgnoredAny::deserialize(second) {
            Err(error) if error.location().is_some() => syntax::problem(&error, text),
            _ => syntax::more_than_one_document(text),
        });
    }
    if tree == Node::Null {
        return Err(Problems::whole_file(
            "the file says nothing; all it holds are comments or blanks",
            "write the whole file, or put a finished one in its place with a rename",
        ));
    }
    Ok(tree)
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
            None => Err(E::custom(syntax::UNFOLDS)),
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
        f.write_str("a plain value, a list or a mapping")
    }

    /// A document without any value.
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
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
        // A number of more than 38 digits fits no field of ours; as a float it is still reported as "a number".
        #[expect(clippy::cast_precision_loss, reason = "only shown in an error message")]
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
        Err(A::Error::custom(syntax::TAG))
    }
}

/// A mapping's key, as it stands in the file: asking for text keeps `007` from turning into the number 7.
struct Key(Box<str>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(syntax::KEY_KIND)
            }

            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                Ok(Key(text.into()))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}
