use cellgate_table::HashSpec;

use super::*;

fn id(text: &str) -> CellId {
    CellId::new(text).unwrap()
}

/// Cells as `name state kind`, with `overrides` and `pins` behind them if there are any; the owners of ten slots by the
/// names' first letters; and the plan, a line each.
fn check(
    cells: &[&str],
    owners: &str,
    plan: impl Fn(&[Owner<'_>], &SlotMap) -> Plan,
    expected: &[&str],
) {
    let words: Vec<Vec<&str>> = cells.iter().map(|cell| cell.split(' ').collect()).collect();
    let ids: Vec<CellId> = words.iter().map(|words| id(words[0])).collect();
    let none = Amounts::default();
    let views: Vec<Owner<'_>> = words
        .iter()
        .zip(&ids)
        .map(|(words, id)| Owner {
            id,
            state: CellState::of(words[1]).unwrap(),
            is_stateless: words[2] == "stateless",
            capacity: &none,
            overrides: words.get(3).map_or(0, |count| count.parse().unwrap()),
            pins: words.get(4).map_or(0, |count| count.parse().unwrap()),
        })
        .collect();
    let of_letter = |letter: char| {
        let found = ids.iter().find(|id| id.as_str().starts_with(letter));
        found.unwrap()
    };
    let hash = HashSpec::new(0, u32::try_from(owners.len()).unwrap()).unwrap();
    let map = SlotMap::of_owners(hash, owners.chars().map(of_letter));
    let plan = plan(&views, &map);
    let mut reported = Vec::new();
    for slot_move in &plan.slot_moves {
        let ranges: Vec<String> = slot_move.slots.iter().map(ToString::to_string).collect();
        let counted: u32 = slot_move.slots.iter().map(|range| range.count()).sum();
        assert_eq!(counted, slot_move.count);
        reported.push(format!(
            "{} {}>{}",
            ranges.join(","),
            slot_move.from,
            slot_move.to
        ));
    }
    for tenant_move in &plan.tenant_moves {
        reported.push(format!(
            "{} tenants of {}",
            tenant_move.count, tenant_move.from
        ));
    }
    for left in &plan.left_alone {
        let why = if left.why == HAS_DATA {
            "data"
        } else if left.why == PINNED {
            "pinned"
        } else {
            "no recipient"
        };
        reported.push(format!("{} of {} stay: {why}", left.what, left.cell));
    }
    assert_eq!(reported, expected, "{cells:?} {owners}");
}

#[test]
fn a_fleet_is_evened_out() {
    check(
        &["a active stateless", "b active stateless"],
        "aaaaaaaaaa",
        rebalance,
        &["5-9 a>b"],
    );
    check(
        &["a active stateful", "b active stateful"],
        "aaaaaaaaaa",
        rebalance,
        &["5 slots of a stay: data"],
    );
    check(
        &["a active stateless", "b active stateless"],
        "aaaaabbbbb",
        rebalance,
        &[],
    );
    check(
        &[
            "a active stateless",
            "b active stateless",
            "c active stateless",
        ],
        "aaaaaabbbb",
        rebalance,
        &["4-5 a>c", "9 b>c"],
    );
    check(
        &["a active stateless", "b warming stateless"],
        "aaaaaaaaaa",
        rebalance,
        &[],
    );
}

#[test]
fn a_draining_cell_is_emptied() {
    let drain_a = |owners: &[Owner<'_>], map: &SlotMap| drain(owners, map, &id("a"));
    check(
        &[
            "a draining stateless 3 1",
            "b active stateful",
            "c active stateless",
        ],
        "aabbaaccaa",
        drain_a,
        &[
            "5,8-9 a>b",
            "0-1,4 a>c",
            "3 tenants of a",
            "1 tenant of a stay: pinned",
        ],
    );
    check(
        &["a draining stateful 3", "b active stateful"],
        "aabbbbbbbb",
        drain_a,
        &["2 slots of a stay: data", "3 tenants of a stay: data"],
    );
    check(
        &["a draining stateless 2", "b draining stateless"],
        "aabbbbbbbb",
        drain_a,
        &[
            "2 slots of a stay: no recipient",
            "2 tenants of a stay: no recipient",
        ],
    );
    check(
        &["a draining stateless", "b active stateless"],
        "aaaaaaaaab",
        rebalance,
        &["0-8 a>b"],
    );
}
