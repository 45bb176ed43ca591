//! The safety rules: whether a good table may take the place of the current one.
//!
//! The proxy, `check` and whoever publishes a table call [`take`], so that they never disagree.

use std::fmt;

use crate::{
    diff::{Diff, diff},
    id::Generation,
    problem::Problems,
    read::{TABLE_KEYS, parse},
    table::Table,
    yaml::{Findings, Value, parse_tree},
};

/// How much one table may move unless it says `allow_move: true`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MoveLimits {
    /// Share of the slots, in percent, 0 to 100.
    pub moved_percent_max: f64,
    /// Number of named tenants (overrides and aliases).
    pub moved_overrides_max: usize,
}

impl Default for MoveLimits {
    fn default() -> Self {
        Self {
            moved_percent_max: 25.0,
            moved_overrides_max: 1_000,
        }
    }
}

/// The table in force.
#[derive(Clone, Copy, Debug)]
pub struct Current<'t> {
    /// What it took force under; its file may have said none.
    pub generation: Generation,
    /// What it says.
    pub table: &'t Table,
}

/// A table that may be used.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// It says what the current one says, but perhaps for `allow_move`.
    Unchanged { allow_move: bool },
    /// It is to be used under this generation.
    Changed {
        table: Table,
        generation: Generation,
    },
}

/// Why a good table may not take the place of the current one.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// A slow writer, or a copy from long ago.
    OlderGeneration {
        offered: Generation,
        current: Generation,
    },
    /// Two writers, or an edit that left the number as it was.
    SameGenerationOtherContent { generation: Generation },
    /// The current table has the largest generation there is, so a file edited by hand cannot count on.
    NoGenerationLeft,
    /// More of the hash's range changes hands than [`MoveLimits::moved_percent_max`].
    TooManySlotsMoved {
        percent: f64,
        percent_max: f64,
        /// The seed or the number of slots changes.
        rehashed: bool,
    },
    /// More overrides and aliases change cell than [`MoveLimits::moved_overrides_max`].
    TooManyTenantsMoved { count: usize, count_max: usize },
}

/// Reads a table file and judges it against the current table.
///
/// # Errors
/// All that is wrong with the file, or all the rules that it breaks, each with its place.
pub fn take(
    bytes: &[u8],
    current: Option<Current<'_>>,
    limits: &MoveLimits,
) -> Result<Taken, Problems> {
    let table = parse(bytes)?;
    match judge(&table, current, limits) {
        Ok(None) => Ok(Taken::Unchanged {
            allow_move: table.allow_move(),
        }),
        Ok(Some(generation)) => Ok(Taken::Changed { table, generation }),
        Err(refusals) => Err(with_places(bytes, &refusals)),
    }
}

/// The generation that a table takes force under, or `None` when it changes nothing.
///
/// # Errors
/// Every rule that the table breaks.
pub fn judge(
    table: &Table,
    current: Option<Current<'_>>,
    limits: &MoveLimits,
) -> Result<Option<Generation>, Vec<Refusal>> {
    let Some(current) = current else {
        return Ok(Some(table.generation().unwrap_or(Generation::FIRST)));
    };
    let same = table.same_content(current.table);
    let generation = match table.generation() {
        // Edited by hand: each change counts on by one.
        None if same => return Ok(None),
        None => match current.generation.next() {
            Some(next) => next,
            None => return Err(vec![Refusal::NoGenerationLeft]),
        },
        Some(offered) if offered < current.generation => {
            return Err(vec![Refusal::OlderGeneration {
                offered,
                current: current.generation,
            }]);
        }
        Some(generation) if generation == current.generation && same => return Ok(None),
        Some(generation) if generation == current.generation => {
            return Err(vec![Refusal::SameGenerationOtherContent { generation }]);
        }
        Some(newer) => newer,
    };
    let refusals = if table.allow_move() {
        Vec::new()
    } else {
        excess(&diff(current.table, table), limits)
    };
    if refusals.is_empty() {
        Ok(Some(generation))
    } else {
        Err(refusals)
    }
}

/// What floating point may add to a percentage of slots; a slot itself is at least 0.00009 %.
const ROUNDING: f64 = 1e-9;

fn excess(diff: &Diff, limits: &MoveLimits) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let percent = diff.moved_share * 100.0;
    // 7 of 100 slots are 7.000000000000001 %, which is no more than 7 %.
    if percent > limits.moved_percent_max + ROUNDING {
        refusals.push(Refusal::TooManySlotsMoved {
            percent,
            percent_max: limits.moved_percent_max,
            rehashed: diff.rehashed,
        });
    }
    let count = diff.tenant_moves.len();
    if count > limits.moved_overrides_max {
        refusals.push(Refusal::TooManyTenantsMoved {
            count,
            count_max: limits.moved_overrides_max,
        });
    }
    refusals
}

impl Refusal {
    /// The key in the table file that the refusal is about.
    fn key(&self) -> &'static str {
        match self {
            Self::OlderGeneration { .. }
            | Self::SameGenerationOtherContent { .. }
            | Self::NoGenerationLeft => "generation",
            Self::TooManySlotsMoved { rehashed: true, .. } => "hash",
            Self::TooManySlotsMoved { .. } => "slots",
            Self::TooManyTenantsMoved { .. } => "overrides",
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::OlderGeneration { .. } => {
                "raise the generation above the current one, or leave it out in a file edited by hand"
            }
            Self::SameGenerationOtherContent { .. } => {
                "raise the generation with each change, or leave it out in a file edited by hand"
            }
            Self::NoGenerationLeft => {
                "restart with an empty state directory to begin with a smaller generation"
            }
            Self::TooManySlotsMoved { rehashed: true, .. } => {
                "leave `hash` as it was; if this is meant, add `allow_move: true` to the table for this change"
            }
            Self::TooManySlotsMoved { .. } | Self::TooManyTenantsMoved { .. } => {
                "move in smaller steps; if this is meant, add `allow_move: true` to the table for this change"
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OlderGeneration { offered, current } => {
                write!(
                    f,
                    "generation {offered} is older than the current one, {current}"
                )
            }
            Self::SameGenerationOtherContent { generation } => {
                write!(
                    f,
                    "generation {generation} is in force already, with other content"
                )
            }
            Self::NoGenerationLeft => f.write_str("the current generation is the largest there is"),
            Self::TooManySlotsMoved {
                percent,
                percent_max,
                rehashed,
            } => {
                // Rounded up, so that it never looks like the limit itself.
                let percent = ((percent - ROUNDING) * 100.0).ceil() / 100.0;
                let what = if *rehashed {
                    "tenants, by their new hash,"
                } else {
                    "slots"
                };
                write!(
                    f,
                    "{percent:.2} % of the {what} would move to another cell, more than {percent_max} %"
                )
            }
            Self::TooManyTenantsMoved { count, count_max } => {
                write!(
                    f,
                    "{count} named tenants would move to another cell, more than {count_max}"
                )
            }
        }
    }
}

impl std::error::Error for Refusal {}

fn with_places(bytes: &[u8], refusals: &[Refusal]) -> Problems {
    let mut findings = Findings::default();
    let tree = parse_tree(bytes).expect("the table was read from the same bytes");
    let root = Value::root(&tree);
    let fields = root.fields(&TABLE_KEYS, &mut findings);
    for refusal in refusals {
        let key = fields.and_then(|fields| fields.optional(refusal.key()));
        key.unwrap_or(root)
            .refuse_key(&mut findings, refusal.to_string(), refusal.hint());
    }
    findings.into_problems(
        std::str::from_utf8(bytes).expect("the table was read from the same bytes as text"),
    )
}

#[cfg(test)]
mod tests;
