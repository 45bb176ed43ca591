//! From bytes to a table: the one place where a table file is understood and checked.

pub(crate) mod cells;
pub(crate) mod tenants;
pub(crate) mod tls;

use std::collections::HashSet;

use self::cells::Cells;
use crate::{
    hash::HashSpec,
    history,
    id::{CellIndex, Generation},
    limits,
    problem::{Problems, Quoted},
    slots::{Assignment, SlotRange},
    table::{Cell, Table},
    yaml::{Fields, Findings, Node, Value, parse_tree},
};

/// The keys of a table file.
pub(crate) const TABLE_KEYS: [&str; 11] = [
    "format",
    "generation",
    "allow_move",
    "hash",
    "cells",
    "slots",
    "overrides",
    "aliases",
    "rejects",
    "holds",
    "history",
];

/// The keys of `hash`.
pub(crate) const HASH_KEYS: [&str; 2] = ["seed", "slots"];

/// Reads a table file of format 1.
///
/// # Errors
/// Everything that is wrong with the file, in the file's order; at most
/// [`PROBLEMS_REPORTED_MAX`](limits::PROBLEMS_REPORTED_MAX) of them reported one by one. A mistake in the YAML itself
/// is the only one reported, since nothing behind it can be trusted.
pub fn parse(bytes: &[u8]) -> Result<Table, Problems> {
    if bytes.len() > limits::FILE_BYTES_MAX {
        return Err(Problems::whole_file(
            format!(
                "the file has {} bytes, more than {}",
                bytes.len(),
                limits::FILE_BYTES_MAX
            ),
            "a table this large is not one; check what wrote it",
        ));
    }
    let tree = parse_tree(bytes)?;
    let mut findings = Findings::default();
    let table = read_table(&tree, &mut findings);
    match table {
        Some(table) if findings.is_empty() => Ok(table),
        _ => {
            let text =
                std::str::from_utf8(bytes).expect("the tree was read from the same bytes as text");
            Err(findings.into_problems(text))
        }
    }
}

fn read_table(tree: &Node, findings: &mut Findings) -> Option<Table> {
    let root = Value::root(tree);
    let fields = root.fields(&TABLE_KEYS, findings)?;
    read_format(&fields, findings);
    let generation = match fields.optional("generation") {
        Some(value) => value
            .integer(1..=limits::GENERATION_MAX, findings)
            .and_then(Generation::new),
        None => None,
    };
    let allow_move = fields
        .optional("allow_move")
        .and_then(|value| value.boolean(findings));
    let hash = fields
        .required("hash", findings)
        .and_then(|value| read_hash(value, findings));
    let cells = fields
        .required("cells", findings)
        .and_then(|value| cells::read(&value, findings));
    // Later parts are judged against the cells; without a list of cells each of them would be "unknown".
    let cells = cells?;
    let slots = fields
        .required("slots", findings)
        .and_then(|value| read_slots(&value, hash?, &cells, findings));
    let tenants = tenants::read(&fields, &cells, findings);
    let history = match fields.optional("history") {
        Some(value) => history::read(&value, generation, findings)?,
        None => Vec::new(),
    };
    Some(Table {
        generation,
        allow_move: allow_move.unwrap_or(false),
        hash: hash?,
        cells: cells.list,
        slots: slots?,
        overrides: tenants.overrides,
        aliases: tenants.aliases,
        rejects: tenants.rejects,
        history,
    })
}

fn read_format(fields: &Fields<'_>, findings: &mut Findings) {
    let Some(value) = fields.required("format", findings) else {
        return;
    };
    match value.node() {
        Node::Integer(1) => {}
        Node::Integer(other) => value.refuse(
            findings,
            format!("is {other}, a format that this version does not know"),
            "write `format: 1`, or use a version of cellgate that knows this format",
        ),
        _ => {
            let _ = value.integer(1..=1_u8, findings);
        }
    }
}

fn read_hash(value: Value<'_>, findings: &mut Findings) -> Option<HashSpec> {
    let fields = value.fields(&HASH_KEYS, findings)?;
    let seed = match fields.optional("seed") {
        Some(seed) => seed.integer(0..=u64::MAX, findings),
        None => Some(0),
    };
    let slots = fields
        .required("slots", findings)
        .and_then(|slots| slots.integer(1..=limits::SLOTS_MAX, findings));
    HashSpec::new(seed?, slots?)
}

fn read_slots(
    value: &Value<'_>,
    hash: HashSpec,
    cells: &Cells,
    findings: &mut Findings,
) -> Option<Box<[CellIndex]>> {
    let mut assignment = Assignment::new(hash.slots());
    let mut seen = HashSet::new();
    // Slots whose range cannot be read belong to somebody all the same, so who owns none is not known then.
    let mut is_all_read = true;
    for (name, ranges) in value.entries(findings)? {
        if !seen.insert(name) {
            ranges.refuse_key(
                findings,
                "is duplicated",
                "write all ranges of a cell in one list",
            );
        }
        let cell = cells::resolve(name, cells);
        if cell.is_none() {
            cells::refuse_unknown_key(&ranges, name, cells, findings);
        }
        let Some(items) = ranges.sequence(findings) else {
            is_all_read = false;
            continue;
        };
        for item in items {
            let Some(range) = read_slot_range(&item, hash.slots(), findings) else {
                is_all_read = false;
                continue;
            };
            if let Err(taken) = assignment.assign(range, cell) {
                item.refuse_with(findings, || taken_words(taken, &assignment, &cells.list));
            }
        }
    }
    if is_all_read && assignment.has_unassigned() {
        refuse_unassigned(value, &assignment, findings);
    }
    assignment.finish()
}

fn taken_words(taken: SlotRange, assignment: &Assignment, cells: &[Cell]) -> (String, String) {
    let (run, owner) = assignment.first_run(taken);
    let owner = match owner {
        Some(owner) => format!("cell `{}`", cells[owner.get()].id()),
        None => "an unknown cell".to_owned(),
    };
    let (noun, verb) = if run.count() == 1 {
        ("slot", "belongs")
    } else {
        ("slots", "belong")
    };
    (
        format!("{noun} {run} already {verb} to {owner}"),
        "give each slot to exactly one cell".to_owned(),
    )
}

fn read_slot_range(item: &Value<'_>, slots: u32, findings: &mut Findings) -> Option<SlotRange> {
    let number;
    let text = match item.node() {
        Node::Integer(slot) => {
            number = slot.to_string();
            &number
        }
        _ => item.text(findings)?,
    };
    match SlotRange::parse(text, slots) {
        Ok(range) => Some(range),
        Err(error) => {
            item.refuse_with(findings, || {
                (
                    format!("{} {error}", Quoted(text)),
                    format!("write `first-last` or one slot, within 0-{}", slots - 1),
                )
            });
            None
        }
    }
}

fn refuse_unassigned(value: &Value<'_>, assignment: &Assignment, findings: &mut Findings) {
    const LISTED_MAX: usize = 8;
    value.refuse_key_with(findings, || {
        let total: u32 = assignment.unassigned().map(SlotRange::count).sum();
        let mut listed: Vec<String> = assignment
            .unassigned()
            .take(LISTED_MAX)
            .map(|range| range.to_string())
            .collect();
        if assignment.unassigned().nth(LISTED_MAX).is_some() {
            listed.push("…".to_owned());
        }
        let listed = listed.join(", ");
        let message = if total == 1 {
            format!("slot {listed} belongs to no cell")
        } else {
            format!("{total} slots belong to no cell: {listed}")
        };
        (message, "give each slot to exactly one cell".to_owned())
    });
}

#[cfg(test)]
mod tests;
