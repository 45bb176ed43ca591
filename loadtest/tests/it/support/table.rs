//! The text of table files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    net::SocketAddr,
};

/// Slots of a table under test, few enough to count in percent.
pub(crate) const SLOTS: usize = 1_000;

/// A table file to be. Without a generation, as a person would write it, unless one is given.
#[derive(Clone)]
pub(crate) struct TableText {
    generation: Option<u64>,
    allow_move: bool,
    cells: BTreeMap<String, CellText>,
    overrides: BTreeMap<String, String>,
    aliases: BTreeMap<String, String>,
    rejects: BTreeSet<String>,
}

#[derive(Clone)]
struct CellText {
    endpoints: Vec<SocketAddr>,
    slots: Vec<String>,
    /// Further lines, such as `max_in_flight: 2`.
    lines: Vec<String>,
}

impl TableText {
    /// A table of these cells, each with an equal share of the slots, in this order.
    pub(crate) fn new<'n>(cells: impl IntoIterator<Item = (&'n str, Vec<SocketAddr>)>) -> Self {
        let cells: Vec<_> = cells.into_iter().collect();
        let count = cells.len();
        let share = |at: usize| {
            let (first, end) = (SLOTS * at / count, SLOTS * (at + 1) / count);
            format!("{first}-{}", end - 1)
        };
        let cells = cells.into_iter().enumerate().map(|(at, (id, endpoints))| {
            let cell = CellText {
                endpoints,
                slots: vec![share(at)],
                lines: Vec::new(),
            };
            (id.to_owned(), cell)
        });
        Self {
            generation: None,
            allow_move: false,
            cells: cells.collect(),
            overrides: BTreeMap::new(),
            aliases: BTreeMap::new(),
            rejects: BTreeSet::new(),
        }
    }

    pub(crate) fn generation(mut self, number: u64) -> Self {
        self.generation = Some(number);
        self
    }

    pub(crate) fn allow_move(mut self) -> Self {
        self.allow_move = true;
        self
    }

    /// Pins a tenant to a cell.
    pub(crate) fn pin(mut self, tenant: &str, cell: &str) -> Self {
        self.overrides.insert(tenant.to_owned(), cell.to_owned());
        self
    }

    pub(crate) fn alias(mut self, key: &str, tenant: &str) -> Self {
        self.aliases.insert(key.to_owned(), tenant.to_owned());
        self
    }

    pub(crate) fn reject(mut self, tenant: &str) -> Self {
        self.rejects.insert(tenant.to_owned());
        self
    }

    /// Adds a line to a cell, such as `max_in_flight: 2`.
    #[track_caller]
    pub(crate) fn cell_line(mut self, cell: &str, line: &str) -> Self {
        self.cell(cell).lines.push(line.to_owned());
        self
    }

    /// Gives a cell these ranges of slots in the place of those it had.
    #[track_caller]
    pub(crate) fn slots(mut self, cell: &str, ranges: &[&str]) -> Self {
        self.cell(cell).slots = ranges.iter().map(ToString::to_string).collect();
        self
    }

    #[track_caller]
    fn cell(&mut self, id: &str) -> &mut CellText {
        self.cells
            .get_mut(id)
            .unwrap_or_else(|| panic!("the table has no cell {id}"))
    }
}

impl Display for TableText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "format: 1")?;
        if let Some(generation) = self.generation {
            writeln!(f, "generation: {generation}")?;
        }
        if self.allow_move {
            writeln!(f, "allow_move: true")?;
        }
        writeln!(f, "hash: {{ seed: 0, slots: {SLOTS} }}\ncells:")?;
        for (id, cell) in &self.cells {
            writeln!(f, "  {id}:\n    endpoints:")?;
            for endpoint in &cell.endpoints {
                writeln!(f, "      - address: \"{endpoint}\"")?;
            }
            for line in &cell.lines {
                writeln!(f, "    {line}")?;
            }
        }
        writeln!(f, "slots:")?;
        for (id, cell) in &self.cells {
            writeln!(f, "  {id}: [{}]", quoted(&cell.slots))?;
        }
        for (name, pairs) in [("overrides", &self.overrides), ("aliases", &self.aliases)] {
            if !pairs.is_empty() {
                writeln!(f, "{name}:")?;
            }
            for (key, value) in pairs {
                writeln!(f, "  {}: {}", quote(key), quote(value))?;
            }
        }
        if !self.rejects.is_empty() {
            writeln!(f, "rejects: [{}]", quoted(&self.rejects))?;
        }
        Ok(())
    }
}

fn quoted<'t>(texts: impl IntoIterator<Item = &'t String>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| quote(text)).collect();
    texts.join(", ")
}

/// A JSON string is a YAML string too.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
