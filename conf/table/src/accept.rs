//! The safety rules: whether a good table may take the place of the current one.
//!
//! The proxy, `check` and whoever publishes a table call [`take`], so that they never disagree.

use std::fmt;

use crate::{
    diff::{Diff, diff},
    digest::Digest,
    history::Step,
    id::Generation,
    limits::PERCENT_ROUNDING as ROUNDING,
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
    /// How much all steps since the table in force may move together, in percent, 0 to 100: of the slots, and of the
    /// tenants that the table in force names. Only where the steps are each within the two limits above.
    pub moved_total_percent_max: f64,
}

impl Default for MoveLimits {
    fn default() -> Self {
        Self {
            moved_percent_max: 25.0,
            moved_overrides_max: 1_000,
            moved_total_percent_max: 50.0,
        }
    }
}

/// The table in force.
#[derive(Clone, Copy, Debug)]
pub struct Current<'t> {
    /// What it took force under; its file may have said none.
    pub generation: Generation,
    /// The digest of its file.
    pub digest: Digest,
    /// The digests of other files that said the same under the same generation, such as one without a comment.
    pub other_digests: &'t [Digest],
    /// What it says.
    pub table: &'t Table,
}

/// A table that may be used.
#[derive(Clone, Debug, PartialEq)]
pub enum Accepted {
    /// It says what the current one says, but perhaps for `allow_move`.
    Unchanged { allow_move: bool },
    /// It is to be used under this generation.
    Changed { table: Table, verdict: Verdict },
}

/// How a table may take force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub generation: Generation,
    pub allowance: Allowance,
}

/// What allows a table to move as much as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// There is no table in force.
    FirstTable,
    /// It is within the limits.
    Limits,
    /// It says `allow_move: true`, and may or may not need it.
    AllowMove,
    /// It is not within the limits, but each of this many steps in its history is, and so are all of them together.
    Steps(usize),
}

/// Why a table file may not be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    pub problems: Problems,
    /// The file proves that others have moved on: its history names the table in force, by generation and digest, and
    /// what came since is more than the limits allow, in steps as well. Whoever serves by the table in force sends
    /// tenants where they no longer live.
    pub others_moved_on: bool,
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
    /// The current table has the largest generation there is, so a file edited by hand cannot take the next one.
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
    /// The history names the table in force, but the steps since then cannot be accepted either.
    StepsRefused(StepsRefusal),
}

/// Why a table cannot be accepted by the steps of its history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepsRefusal {
    /// One of the steps is beyond [`MoveLimits::moved_percent_max`] or [`MoveLimits::moved_overrides_max`].
    StepTooLarge { step: Step },
    /// All steps together, or the difference itself, move more than [`MoveLimits::moved_total_percent_max`] of the slots.
    TooManySlots { percent: f64, percent_max: f64 },
    /// Of the tenants that the table in force names, more move than [`MoveLimits::moved_total_percent_max`].
    TooManyTenants { count: usize, count_max: usize },
    /// More moves than the steps account for: the history is not that of this table.
    Unaccounted,
}

/// Reads a table file and judges it against the current table.
///
/// # Errors
/// All that is wrong with the file, or all the rules that it breaks, each with its place.
pub fn take(
    bytes: &[u8],
    current: Option<Current<'_>>,
    limits: &MoveLimits,
) -> Result<Accepted, Rejection> {
    let table = parse(bytes).map_err(|problems| Rejection {
        problems,
        others_moved_on: false,
    })?;
    match judge(&table, current, limits) {
        Ok(None) => Ok(Accepted::Unchanged {
            allow_move: table.allow_move(),
        }),
        Ok(Some(verdict)) => Ok(Accepted::Changed { table, verdict }),
        Err(refusals) => Err(Rejection {
            problems: with_places(bytes, &refusals),
            others_moved_on: (refusals.iter())
                .any(|refusal| matches!(refusal, Refusal::StepsRefused(_))),
        }),
    }
}

/// How a table may take force, or `None` when it changes nothing.
///
/// # Errors
/// Every rule that the table breaks.
pub fn judge(
    table: &Table,
    current: Option<Current<'_>>,
    limits: &MoveLimits,
) -> Result<Option<Verdict>, Vec<Refusal>> {
    let Some(current) = current else {
        return Ok(Some(Verdict {
            generation: table.generation().unwrap_or(Generation::FIRST),
            allowance: Allowance::FirstTable,
        }));
    };
    let same = table.same_content(current.table);
    let generation = match table.generation() {
        // Edited by hand: each change takes the next generation.
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
    let allowance = if table.allow_move() {
        Allowance::AllowMove
    } else {
        allowance_of_moves(table, current, limits)?
    };
    Ok(Some(Verdict {
        generation,
        allowance,
    }))
}

fn allowance_of_moves(
    table: &Table,
    current: Current<'_>,
    limits: &MoveLimits,
) -> Result<Allowance, Vec<Refusal>> {
    let diff = diff(current.table, table);
    let mut refusals = excess(&diff, limits);
    if refusals.is_empty() {
        return Ok(Allowance::Limits);
    }
    let steps = steps_since(table, current);
    if steps.is_empty() {
        return Err(refusals);
    }
    match steps_excess(steps, &diff, current.table, limits) {
        None => Ok(Allowance::Steps(steps.len())),
        Some(refusal) => {
            refusals.push(Refusal::StepsRefused(refusal));
            Err(refusals)
        }
    }
}

/// The steps from the table in force to this one; empty when the history does not name the table in force, by both its
/// generation and its digest. A file without a generation is edited by hand, so its history is that of another one.
fn steps_since<'t>(table: &'t Table, current: Current<'_>) -> &'t [Step] {
    let history = table.history();
    let is_current = |step: &Step| {
        let mut digests = current.other_digests.iter().chain([&current.digest]);
        step.generation == current.generation && digests.any(|digest| *digest == step.digest)
    };
    match history.iter().position(is_current) {
        Some(at) if table.generation().is_some() => &history[at..],
        _ => &[],
    }
}

/// Why these steps may not be accepted one after the other, if they may not. The writer of the table says how much each
/// of them moved, so the difference itself is held against what it says, and has limits of its own.
fn steps_excess(
    steps: &[Step],
    diff: &Diff,
    current: &Table,
    limits: &MoveLimits,
) -> Option<StepsRefusal> {
    let is_too_large = |step: &&Step| {
        step.moved_slots_percent > limits.moved_percent_max + ROUNDING
            || step.moved_overrides > limits.moved_overrides_max
    };
    if let Some(step) = steps.iter().find(is_too_large) {
        return Some(StepsRefusal::StepTooLarge { step: *step });
    }
    let percent = diff.moved_share * 100.0;
    let total: f64 = steps.iter().map(|step| step.moved_slots_percent).sum();
    let percent_max = limits.moved_total_percent_max;
    if total.max(percent) > percent_max + ROUNDING {
        return Some(StepsRefusal::TooManySlots {
            percent: total.max(percent),
            percent_max,
        });
    }
    // A slot that moves to and fro counts twice in the steps, but none can move without one of them. Tenants can: one
    // that follows its slot in a first step and is named in a second counts in neither. So for them the limit of a step
    // stands for what it says.
    let count = diff.tenant_moves.len();
    let tenants_max = limits.moved_overrides_max.saturating_mul(steps.len());
    if percent > total + ROUNDING || count > tenants_max {
        return Some(StepsRefusal::Unaccounted);
    }
    let is_known =
        |key: &[u8]| current.override_of(key).is_some() || current.alias_of(key).is_some();
    let moves = diff.tenant_moves.iter();
    let count = moves.filter(|it| is_known(it.tenant.as_bytes())).count();
    let known = current.overrides().len() + current.aliases().len();
    let count_max = share_of(known, percent_max).max(limits.moved_overrides_max);
    (count > count_max).then_some(StepsRefusal::TooManyTenants { count, count_max })
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a table names a few million tenants at most"
)]
fn share_of(count: usize, percent: f64) -> usize {
    (count as f64 * percent / 100.0) as usize
}

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
            Self::StepsRefused(_) => "history",
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
            Self::StepsRefused(_) => {
                "if the table is right, have it published once more with `cellctl table publish --allow-move`"
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
            Self::StepsRefused(refusal) => {
                write!(f, "nor can the steps since then be accepted: {refusal}")
            }
        }
    }
}

impl fmt::Display for StepsRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StepTooLarge { step } => write!(
                f,
                "the one from generation {} moved {} % of the slots and {} named tenants",
                step.generation, step.moved_slots_percent, step.moved_overrides
            ),
            Self::TooManySlots {
                percent,
                percent_max,
            } => write!(
                f,
                "together they moved {percent:.2} % of the slots, more than {percent_max} %"
            ),
            Self::TooManyTenants { count, count_max } => write!(
                f,
                "{count} of the tenants named so far would move, more than {count_max}"
            ),
            Self::Unaccounted => f.write_str(
                "more would move than they account for, so the history is not this table's",
            ),
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
