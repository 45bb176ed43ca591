//! The steps that led to a table: what its writer says of the tables before it.
//!
//! A proxy that was away for some of them measures each step by its own limits, instead of all of them as one; see
//! [`accept`](crate::accept).

use crate::{
    digest::Digest,
    file::StepFile,
    id::Generation,
    limits,
    yaml::{Findings, Value},
};

/// A table that was published earlier, and how much the step *from* it moved.
///
/// The step leads to the table of the next entry; that of the last entry leads to the table which names this history.
/// So a table never has to contain its own digest, and each step from a known table on is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The generation of the table that the step began with.
    pub generation: Generation,
    /// The digest of that table's bytes.
    pub digest: Digest,
    /// Share of the slots that the step gave to another cell, in percent, 0 to 100; rounded up to four decimals.
    pub moved_slots_percent: f64,
    /// How many named tenants (overrides and aliases) the step took to another cell.
    pub moved_overrides: usize,
}

/// Decimals of a percentage in a history: one slot of the most that there are is 0.0001 %.
const DECIMALS: f64 = 10_000.0;

impl Step {
    /// The step from a published table to the next one, with what the [`Diff`](crate::diff::Diff) of the two says:
    /// `moved_share`, from 0 to 1, and the number of `tenant_moves`.
    pub fn new(
        generation: Generation,
        digest: Digest,
        moved_share: f64,
        moved_overrides: usize,
    ) -> Self {
        let percent = moved_share * 100.0;
        // What floating point adds to a whole share is no reason to round it up.
        let percent = (percent - limits::PERCENT_ROUNDING).max(0.0);
        let percent = (percent * DECIMALS).ceil() / DECIMALS;
        Self {
            generation,
            digest,
            moved_slots_percent: percent.min(100.0),
            moved_overrides,
        }
    }

    pub(crate) fn file(&self) -> StepFile {
        StepFile {
            generation: self.generation.get(),
            digest: self.digest.to_string(),
            moved_slots_percent: self.moved_slots_percent,
            moved_overrides: self.moved_overrides as u64,
        }
    }
}

/// The keys of an entry of `history`.
pub(crate) const STEP_KEYS: [&str; 4] = [
    "generation",
    "digest",
    "moved_slots_percent",
    "moved_overrides",
];

/// Reads `history` of a table of this generation.
pub(crate) fn read(
    value: &Value<'_>,
    table: Option<Generation>,
    findings: &mut Findings,
) -> Option<Vec<Step>> {
    let items = value.sequence(findings)?;
    if items.len() > limits::HISTORY_STEPS_MAX {
        let message = format!("has {} entries", items.len());
        let hint = format!("keep the newest {}", limits::HISTORY_STEPS_MAX);
        value.refuse_key(findings, message, hint);
        return None;
    }
    let mut steps: Vec<Step> = Vec::with_capacity(items.len());
    for item in items {
        let step = read_step(item, findings)?;
        let before = steps.last().map(|step| step.generation);
        if before.is_some_and(|before| before >= step.generation)
            || table.is_some_and(|table| step.generation >= table)
        {
            item.refuse(
                findings,
                format!("generation {} is out of order", step.generation),
                "list the tables before this one by generation, the oldest first; or remove the history from a file \
                 edited by hand",
            );
            return None;
        }
        steps.push(step);
    }
    Some(steps)
}

fn read_step(item: Value<'_>, findings: &mut Findings) -> Option<Step> {
    let fields = item.fields(&STEP_KEYS, findings)?;
    let generation = fields
        .required("generation", findings)
        .and_then(|value| value.integer(1..=limits::GENERATION_MAX, findings))
        .and_then(Generation::new);
    let digest = fields
        .required("digest", findings)
        .and_then(|value| read_digest(&value, findings));
    let percent = fields
        .required("moved_slots_percent", findings)
        .and_then(|value| value.number(0.0..=100.0, findings));
    let overrides = fields
        .required("moved_overrides", findings)
        .and_then(|value| value.integer(0..=limits::MOVED_OVERRIDES_MAX, findings));
    Some(Step {
        generation: generation?,
        digest: digest?,
        moved_slots_percent: percent?,
        moved_overrides: overrides? as usize,
    })
}

fn read_digest(value: &Value<'_>, findings: &mut Findings) -> Option<Digest> {
    let digest = Digest::parse(value.text(findings)?);
    if digest.is_none() {
        let hint = "write the SHA-256 of that table's file as 64 lower-case hex digits";
        value.refuse(findings, "is not a digest", hint);
    }
    digest
}
