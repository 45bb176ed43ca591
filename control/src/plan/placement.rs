//! Places new tenants: each in the least loaded cell that has room.
//!
//! Load is the share used in a cell's tightest dimension; between cells without limits, the number of tenants. A batch
//! ends up balanced as if its tenants had come one by one, but as many of them as possible live where their slot does:
//! those need no line of their own in the table.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
    fmt,
};

use cellgate_table::CellId;

use crate::model::{Amounts, tightest};

/// A cell as placement sees it.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub id: CellId,
    /// Why it may not get tenants, if it may not.
    pub objection: Option<String>,
    pub capacity: Amounts,
    pub usage: Amounts,
    pub tenants: u64,
}

/// Where a new tenant goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub cell: CellId,
    /// It is the cell that owns the tenant's slot.
    pub is_slot_owner: bool,
    pub why: String,
}

/// No cell takes another tenant; the reason of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoCapacity {
    pub reasons: Vec<(CellId, String)>,
}

impl fmt::Display for NoCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            return f.write_str("no capacity: there is no cell");
        }
        f.write_str("no capacity: ")?;
        for (at, (cell, reason)) in self.reasons.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{cell} {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoCapacity {}

/// A cell while a batch is placed.
struct Recipient<'c> {
    candidate: &'c Candidate,
    tenants: u64,
    /// How many of the batch it takes.
    quota: usize,
    /// How many of the batch have their slot here.
    at_home: usize,
}

impl Candidate {
    /// Why it cannot take a tenant more than `tenants`, if it cannot.
    fn objection_at(&self, tenants: u64) -> Option<String> {
        if let Some(objection) = &self.objection {
            return Some(objection.clone());
        }
        let after = tightest(&self.capacity, &self.usage, as_f64(tenants + 1))?;
        (after.share() > 1.0).then(|| {
            let now = tightest(&self.capacity, &self.usage, as_f64(tenants));
            let full = now.map_or_else(|| after.to_string(), |now| now.to_string());
            format!("is full ({full})")
        })
    }

    fn load(&self, tenants: u64) -> Load {
        let tight = tightest(&self.capacity, &self.usage, as_f64(tenants));
        Load {
            share: tight.map_or(0.0, |tight| tight.share()),
            tenants,
        }
    }
}

/// How loaded a cell is. Cells without limits come first, and among them the one with fewest tenants.
#[derive(Clone, Copy, PartialEq)]
struct Load {
    share: f64,
    tenants: u64,
}

impl Load {
    fn cmp(&self, other: &Self) -> Ordering {
        self.share
            .total_cmp(&other.share)
            .then(self.tenants.cmp(&other.tenants))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no fleet has 2^52 tenants, below which this is exact"
)]
fn as_f64(tenants: u64) -> f64 {
    tenants as f64
}

/// Places a batch of new tenants, each given by the cell that owns its slot, if any does.
///
/// # Errors
/// The cells have not room for all of them; then none is placed.
pub fn place(
    candidates: &[Candidate],
    slot_owners: &[Option<&CellId>],
) -> Result<Vec<Placed>, NoCapacity> {
    let at: HashMap<&CellId, usize> = candidates
        .iter()
        .enumerate()
        .map(|(at, candidate)| (&candidate.id, at))
        .collect();
    let homes: Vec<Option<usize>> = slot_owners
        .iter()
        .map(|owner| owner.and_then(|owner| at.get(owner).copied()))
        .collect();
    let mut recipients: Vec<Recipient<'_>> = candidates
        .iter()
        .map(|candidate| Recipient {
            candidate,
            tenants: candidate.tenants,
            quota: 0,
            at_home: 0,
        })
        .collect();
    for home in homes.iter().flatten() {
        recipients[*home].at_home += 1;
    }
    let mut queue: BinaryHeap<Reverse<Turn>> = (0..recipients.len())
        .filter_map(|at| recipients[at].turn(at).map(Reverse))
        .collect();
    for _ in 0..slot_owners.len() {
        let Some(Reverse(Turn { at, .. })) = queue.pop() else {
            return Err(no_capacity(&recipients));
        };
        recipients[at].quota += 1;
        recipients[at].tenants += 1;
        queue.extend(recipients[at].turn(at).map(Reverse));
    }
    Ok(hand_out(&mut recipients, &homes))
}

/// When a cell's turn comes: the least loaded first; of those as little loaded, the one that most of the batch have
/// their slot in.
#[derive(PartialEq)]
struct Turn {
    load: Load,
    wanted: usize,
    at: usize,
}

impl Eq for Turn {}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.load
            .cmp(&other.load)
            .then(other.wanted.cmp(&self.wanted))
            .then(self.at.cmp(&other.at))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Recipient<'_> {
    /// `None` when it takes no tenant more.
    fn turn(&self, at: usize) -> Option<Turn> {
        let objection = self.candidate.objection_at(self.tenants);
        objection.is_none().then(|| Turn {
            load: self.candidate.load(self.tenants),
            wanted: self.at_home.saturating_sub(self.quota),
            at,
        })
    }
}

fn no_capacity(recipients: &[Recipient<'_>]) -> NoCapacity {
    let reason = |recipient: &Recipient<'_>| {
        let objection = recipient.candidate.objection_at(recipient.tenants);
        (
            recipient.candidate.id.clone(),
            objection.unwrap_or_default(),
        )
    };
    NoCapacity {
        reasons: recipients.iter().map(reason).collect(),
    }
}

/// Gives each tenant of the batch a cell: its slot's while that has quota left, then whichever has most.
fn hand_out(recipients: &mut [Recipient<'_>], homes: &[Option<usize>]) -> Vec<Placed> {
    let mut chosen: Vec<Option<usize>> = homes
        .iter()
        .map(|home| {
            let home = (*home)?;
            recipients[home].quota = recipients[home].quota.checked_sub(1)?;
            Some(home)
        })
        .collect();
    for choice in &mut chosen {
        if choice.is_none() {
            let most = (0..recipients.len()).max_by_key(|at| recipients[*at].quota);
            let most = most.expect("the quotas add up to the batch, so a cell has some left");
            recipients[most].quota -= 1;
            *choice = Some(most);
        }
    }
    let why: Vec<String> = recipients.iter().map(|recipient| why(recipient)).collect();
    homes
        .iter()
        .zip(chosen)
        .map(|(home, chosen)| {
            let chosen = chosen.expect("every choice was made above");
            Placed {
                cell: recipients[chosen].candidate.id.clone(),
                is_slot_owner: *home == Some(chosen),
                why: why[chosen].clone(),
            }
        })
        .collect()
}

fn why(recipient: &Recipient<'_>) -> String {
    let candidate = recipient.candidate;
    match tightest(
        &candidate.capacity,
        &candidate.usage,
        as_f64(candidate.tenants),
    ) {
        Some(tight) => format!("least loaded: {tight}"),
        None => format!("fewest tenants: {}", candidate.tenants),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn id(text: &str) -> CellId {
        CellId::new(text).unwrap()
    }

    fn amounts(json: &str) -> Amounts {
        let map: BTreeMap<String, f64> = serde_json::from_str(json).unwrap();
        Amounts::new(map).unwrap()
    }

    fn cell(name: &str, capacity: &str, usage: &str, tenants: u64) -> Candidate {
        Candidate {
            id: id(name),
            objection: None,
            capacity: amounts(capacity),
            usage: amounts(usage),
            tenants,
        }
    }

    /// Places tenants whose slots belong to these cells, and returns where each goes.
    fn check(candidates: &[Candidate], owners: &[&str], expected: &[&str]) {
        let owners: Vec<CellId> = owners.iter().map(|owner| id(owner)).collect();
        let owners: Vec<Option<&CellId>> = owners.iter().map(Some).collect();
        let placed = place(candidates, &owners).unwrap();
        let cells: Vec<&str> = placed.iter().map(|placed| placed.cell.as_str()).collect();
        assert_eq!(cells, expected);
        for (placed, owner) in placed.iter().zip(owners) {
            assert_eq!(placed.is_slot_owner, Some(&placed.cell) == owner);
        }
    }

    #[test]
    fn the_tightest_dimension_decides() {
        let cells = [
            cell("a", r#"{"tenants":100}"#, "{}", 50),
            cell("b", r#"{"tenants":100,"bytes":10}"#, r#"{"bytes":9}"#, 1),
            cell("c", r#"{"tenants":100}"#, "{}", 40),
        ];
        check(&cells, &["a"], &["c"]);
        let placed = place(&cells, &[None]).unwrap();
        assert_eq!(placed[0].why, "least loaded: tenants 40 of 100");
    }

    #[test]
    fn between_equals_the_slot_decides() {
        let cells = [cell("a", "{}", "{}", 5), cell("b", "{}", "{}", 5)];
        check(&cells, &["b"], &["b"]);
        check(&cells, &["a"], &["a"]);
        check(&cells, &["b", "b", "a", "a"], &["b", "b", "a", "a"]);
        // Three have their slot in b, but balance gives it two.
        check(&cells, &["b", "b", "b", "a"], &["b", "b", "a", "a"]);
    }

    #[test]
    fn a_new_cell_gets_new_tenants() {
        let cells = [cell("old", "{}", "{}", 100), cell("new", "{}", "{}", 0)];
        check(&cells, &["old", "old", "old"], &["new", "new", "new"]);
    }

    #[test]
    fn no_capacity_has_reasons() {
        let mut draining = cell("c", "{}", "{}", 0);
        draining.objection = Some("is draining".to_owned());
        let cells = [
            cell("a", r#"{"tenants":2}"#, "{}", 1),
            cell("b", r#"{"bytes":10}"#, r#"{"bytes":11}"#, 0),
            draining,
        ];
        check(&cells, &["b"], &["a"]);
        let refused = place(&cells, &[None, None]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "no capacity: a is full (tenants 2 of 2), b is full (bytes 11 of 10), c is draining"
        );
        let nothing = place(&[], &[None]).unwrap_err();
        assert_eq!(nothing.to_string(), "no capacity: there is no cell");
    }

    /// However a batch is cut, the cells end up as full.
    #[test]
    fn a_batch_balances_as_one_by_one() {
        let start = [("a", 3), ("b", 17), ("c", 0)];
        let run = |batch: usize| {
            let mut cells: Vec<Candidate> = start
                .iter()
                .map(|(name, tenants)| cell(name, r#"{"tenants":1000}"#, "{}", *tenants))
                .collect();
            let owners: Vec<CellId> = (0..240).map(|at| id(["a", "b", "c"][at % 3])).collect();
            for owners in owners.chunks(batch) {
                let owners: Vec<Option<&CellId>> = owners.iter().map(Some).collect();
                for placed in place(&cells, &owners).unwrap() {
                    let at = cells.iter().position(|cell| cell.id == placed.cell);
                    cells[at.unwrap()].tenants += 1;
                }
            }
            cells.iter().map(|cell| cell.tenants).collect::<Vec<_>>()
        };
        for tenants in [run(1), run(7), run(240)] {
            let (least, most) = (tenants.iter().min(), tenants.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{tenants:?}");
        }
    }
}
