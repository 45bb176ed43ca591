//! How many slots each cell should own.

use cellgate_table::{CellId, HashSpec};

use crate::model::{Amounts, SlotMap, capacity::TENANTS};

/// The number of slots for each cell, in proportion to the tenants that it can hold. If one of them does not say how many
/// that are, all count the same.
///
/// They add up to `slots`; what cannot be divided goes to the largest remainders, first cells first.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of at most SLOTS_MAX slots, rounded down"
)]
pub fn targets(slots: u32, capacities: &[&Amounts]) -> Vec<u32> {
    let stated: Option<Vec<f64>> = capacities
        .iter()
        .map(|capacity| capacity.of(TENANTS))
        .collect();
    let weights = stated
        .filter(|weights| weights.iter().sum::<f64>() > 0.0)
        .unwrap_or_else(|| vec![1.0; capacities.len()]);
    let total: f64 = weights.iter().sum();
    let exact: Vec<f64> = weights
        .iter()
        .map(|weight| f64::from(slots) * (weight / total))
        .collect();
    let mut whole: Vec<u32> = exact.iter().map(|share| share.floor() as u32).collect();
    let given: u32 = whole.iter().sum();
    let mut by_remainder: Vec<usize> = (0..exact.len()).collect();
    by_remainder.sort_by(|left, right| exact[*right].fract().total_cmp(&exact[*left].fract()));
    for at in by_remainder
        .into_iter()
        .cycle()
        .take(slots.saturating_sub(given) as usize)
    {
        whole[at] += 1;
    }
    whole
}

/// The first map: each cell gets its share, in one run. `None` without a cell.
pub fn spread(hash: HashSpec, cells: &[(&CellId, &Amounts)]) -> Option<SlotMap> {
    if cells.is_empty() {
        return None;
    }
    let capacities: Vec<&Amounts> = cells.iter().map(|(_, capacity)| *capacity).collect();
    let counts = targets(hash.slots(), &capacities);
    let owners = cells
        .iter()
        .zip(counts)
        .flat_map(|((id, _), count)| std::iter::repeat_n(*id, count as usize));
    Some(SlotMap::of_owners(hash, owners))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tenants(count: f64) -> Amounts {
        Amounts::new(BTreeMap::from([(TENANTS.to_owned(), count)])).unwrap()
    }

    #[test]
    fn shares_follow_capacity() {
        let check = |capacities: &[Amounts], expected: &[u32]| {
            let capacities: Vec<&Amounts> = capacities.iter().collect();
            let found = targets(100, &capacities);
            assert_eq!(found, expected);
        };
        let none = Amounts::default();
        check(&[tenants(10.0), tenants(30.0)], &[25, 75]);
        check(&[none.clone(), none.clone(), none.clone()], &[34, 33, 33]);
        check(&[tenants(10.0), none], &[50, 50]);
        check(&[tenants(0.0), tenants(5.0)], &[0, 100]);
        check(&[tenants(0.0), tenants(0.0)], &[50, 50]);
        check(&[tenants(9e15), tenants(9e15)], &[50, 50]);
    }

    #[test]
    fn the_first_map_has_a_run_for_each_cell() {
        let (a, b) = (CellId::new("a").unwrap(), CellId::new("b").unwrap());
        let hash = HashSpec::new(0, 10).unwrap();
        let map = spread(hash, &[(&a, &tenants(1.0)), (&b, &tenants(4.0))]).unwrap();
        let runs: Vec<String> = map
            .runs()
            .iter()
            .map(|(range, owner)| format!("{range}:{owner}"))
            .collect();
        assert_eq!(runs, ["0-1:a", "2-9:b"]);
        assert_eq!(spread(hash, &[]), None);
    }
}
