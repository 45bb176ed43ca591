//! From what the control plane intends to the bytes of a table.

use std::{collections::BTreeMap, fmt};

use cellgate_table::{
    self as table, CellId, Generation, Problems, Step, Table, TenantKey,
    file::{HashFile, SlotRangeFile, TableFile},
};

use super::{cell::Settings, slots::SlotMap};

/// All that a table says.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// The cells that tenants live in or may come to live in.
    pub cells: BTreeMap<CellId, Settings>,
    pub slots: SlotMap,
    pub overrides: BTreeMap<TenantKey, CellId>,
    pub aliases: BTreeMap<TenantKey, TenantKey>,
    pub rejects: Vec<TenantKey>,
}

/// A table and its bytes, which parse to it.
#[derive(Clone, Debug)]
pub struct Rendered {
    pub table: Table,
    pub bytes: Vec<u8>,
}

impl Rendered {
    /// The same table with a history, at the end of its bytes.
    ///
    /// # Errors
    /// The bytes of the history are not what was meant.
    pub fn with_history(self, history: Vec<Step>) -> Result<Self, NoTable> {
        let mut tail = String::new();
        table::append_history(&mut tail, &history);
        if !history_is(&tail, &history) {
            return Err(NoTable::OtherMeaning("history"));
        }
        let mut bytes = self.bytes;
        bytes.extend_from_slice(tail.as_bytes());
        Ok(Self {
            table: self.table.with_history(history),
            bytes,
        })
    }
}

/// Whether these bytes, at the end of a table, are this history. They are read at the end of a small table: reading a
/// million tenants once more would say nothing about them.
fn history_is(tail: &str, history: &[Step]) -> bool {
    let text = format!(
        "format: 1\ngeneration: {}\nhash: {{ slots: 1 }}\n\
         cells: {{ a: {{ endpoints: [{{ address: \"127.0.0.1:1\" }}] }} }}\nslots: {{ a: [0] }}\n{tail}",
        table::limits::GENERATION_MAX
    );
    table::parse(text.as_bytes()).is_ok_and(|table| table.history() == history)
}

/// Why there is no table to publish.
#[derive(Clone, Debug, PartialEq)]
pub enum NoTable {
    /// Nobody owns the slots yet.
    Unassigned,
    /// A slot or a tenant belongs to a cell that the table does not name: a mistake of the daemon.
    Refused(Problems),
    /// The bytes do not say what was meant: a mistake of the daemon.
    OtherMeaning(&'static str),
}

impl fmt::Display for NoTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unassigned => f.write_str("no cell owns the slots yet"),
            Self::Refused(problems) => write!(
                f,
                "the table is one that proxies refuse: {}",
                problems.summary()
            ),
            Self::OtherMeaning(what) => write!(
                f,
                "the rendered table says something else than was meant about its {what}"
            ),
        }
    }
}

impl std::error::Error for NoTable {}

/// Renders a table, reads its own bytes, and compares.
///
/// # Errors
/// There are no slots to speak of, or the bytes are not what was meant; nothing of that kind may be published.
pub fn render(
    parts: &Parts,
    generation: Generation,
    is_move_allowed: bool,
) -> Result<Rendered, NoTable> {
    if parts.slots.is_unassigned() {
        return Err(NoTable::Unassigned);
    }
    let bytes = table::file::write(&file(parts, generation, is_move_allowed)).into_bytes();
    let table = table::parse(&bytes).map_err(NoTable::Refused)?;
    match difference(parts, &table, generation) {
        None => Ok(Rendered { table, bytes }),
        Some(what) => Err(NoTable::OtherMeaning(what)),
    }
}

fn file(parts: &Parts, generation: Generation, is_move_allowed: bool) -> TableFile {
    let mut slots: BTreeMap<String, Vec<SlotRangeFile>> = BTreeMap::new();
    for (range, owner) in parts.slots.runs() {
        let ranges = slots.entry(owner.to_string()).or_default();
        ranges.push(SlotRangeFile(range.to_string()));
    }
    TableFile {
        format: 1,
        generation: Some(generation.get()),
        allow_move: is_move_allowed,
        hash: HashFile {
            seed: parts.slots.hash().seed(),
            slots: parts.slots.hash().slots(),
        },
        cells: parts
            .cells
            .iter()
            .map(|(id, settings)| (id.to_string(), settings.file()))
            .collect(),
        slots,
        overrides: parts
            .overrides
            .iter()
            .map(|(tenant, cell)| (tenant.to_string(), cell.to_string()))
            .collect(),
        aliases: parts
            .aliases
            .iter()
            .map(|(alias, tenant)| (alias.to_string(), tenant.to_string()))
            .collect(),
        rejects: parts.rejects.iter().map(ToString::to_string).collect(),
        holds: BTreeMap::new(),
        // It is appended once the table is there to be compared with the one before it.
        history: Vec::new(),
    }
}

/// What the table says otherwise than its parts, if anything.
fn difference(parts: &Parts, table: &Table, generation: Generation) -> Option<&'static str> {
    let cells = table
        .cells()
        .iter()
        .map(|cell| (cell.id(), Settings::of_table(cell)));
    let overrides = table
        .overrides()
        .iter()
        .map(|(tenant, cell)| (tenant, table.cell(*cell).id()));
    let aliases = table
        .aliases()
        .iter()
        .map(|(alias, tenant)| (alias, tenant));
    let owners = table.slot_owners().iter();
    let checks = [
        ("generation", table.generation() == Some(generation)),
        ("hash", table.hash() == parts.slots.hash()),
        (
            "cells",
            cells.eq(parts.cells.iter().map(|(id, s)| (id, s.clone()))),
        ),
        (
            "slots",
            owners
                .map(|owner| table.cell(*owner).id())
                .eq(parts.slots.owners()),
        ),
        ("overrides", overrides.eq(&parts.overrides)),
        ("aliases", aliases.eq(&parts.aliases)),
        ("rejects", table.rejects().iter().eq(&parts.rejects)),
    ];
    checks
        .into_iter()
        .find_map(|(what, is_same)| (!is_same).then_some(what))
}

/// The parts of a table that somebody else wrote.
pub fn parts_of(table: &Table) -> Parts {
    let id = |cell| table.cell(cell).id();
    Parts {
        cells: table
            .cells()
            .iter()
            .map(|cell| (cell.id().clone(), Settings::of_table(cell)))
            .collect(),
        slots: SlotMap::of_owners(
            table.hash(),
            table.slot_owners().iter().map(|owner| id(*owner)),
        ),
        overrides: table
            .overrides()
            .iter()
            .map(|(tenant, cell)| (tenant.clone(), id(*cell).clone()))
            .collect(),
        aliases: table.aliases().iter().cloned().collect(),
        rejects: table.rejects().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use cellgate_table::HashSpec;

    use super::*;

    fn id(text: &str) -> CellId {
        CellId::new(text).unwrap()
    }

    fn key(text: &str) -> TenantKey {
        TenantKey::new(text).unwrap()
    }

    fn parts() -> Parts {
        let settings = |port: u16| Settings {
            endpoints: vec![table::Endpoint {
                address: ([127, 0, 0, 1], port).into(),
                weight: 1,
            }],
            in_flight_max: 10,
            tunnels_max: 10_000,
            connections_max: 10_000,
            share: None,
            health_check: None,
            tls: None,
        };
        let (a, b) = (id("a"), id("b"));
        Parts {
            cells: BTreeMap::from([(a.clone(), settings(1)), (b.clone(), settings(2))]),
            slots: SlotMap::of_owners(HashSpec::new(7, 4).unwrap(), [&a, &a, &b, &b]),
            overrides: BTreeMap::from([(key("acme"), b), (key("yes"), a)]),
            aliases: BTreeMap::from([(key("www.acme.example"), key("acme"))]),
            rejects: vec![key("123"), key("evil: corp")],
        }
    }

    #[test]
    fn parts_read_back_from_the_table() {
        let generation = Generation::new(42).unwrap();
        let rendered = render(&parts(), generation, true).unwrap();
        assert_eq!(parts_of(&rendered.table), parts());
        assert!(rendered.table.allow_move());
        assert_eq!(rendered.table.generation(), Some(generation));
        let again = table::render(&rendered.table);
        assert_eq!(again.as_bytes(), rendered.bytes, "it is canonical");
        let step = |number| {
            let generation = Generation::new(number).unwrap();
            Step::new(generation, table::Digest::of(b"before"), 0.07, 3)
        };
        let steps = vec![step(40), step(41)];
        let with = rendered.with_history(steps.clone()).unwrap();
        assert_eq!(table::parse(&with.bytes).unwrap(), with.table);
        assert_eq!(with.table.history(), steps);
        assert_eq!(table::render(&with.table).as_bytes(), with.bytes);
    }

    #[test]
    fn what_proxies_refuse_is_not_rendered() {
        let generation = Generation::FIRST;
        let mut lost = parts();
        lost.cells.remove(&id("b"));
        let refused = render(&lost, generation, false).unwrap_err();
        assert!(matches!(refused, NoTable::Refused(_)), "{refused}");
        let mut empty = parts();
        empty.slots = SlotMap::unassigned(empty.slots.hash());
        assert_eq!(
            render(&empty, generation, false).unwrap_err(),
            NoTable::Unassigned
        );
        let mut unsorted = parts();
        unsorted.rejects.reverse();
        assert_eq!(
            render(&unsorted, generation, false).unwrap_err(),
            NoTable::OtherMeaning("rejects")
        );
    }
}
