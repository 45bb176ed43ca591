//! What somebody should check after an import: it may have gone where nobody meant it to go.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::Cell;

/// Cells that a message names one by one.
const NAMED_MAX: usize = 5;

/// Something to check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportWarning {
    pub code: ImportWarningCode,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportWarningCode {
    /// The first tenants came while only some of the cells had limits.
    LimitsMissing,
    /// One cell has a large share of all tenants.
    OneCell,
}

impl ImportWarningCode {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LimitsMissing => "limits_missing",
            Self::OneCell => "one_cell",
        }
    }
}

/// What to warn of, given the cells as they are after the import. `is_first`: there was no tenant before.
pub fn import_warnings(cells: &[Cell], is_first: bool, percent_max: u32) -> Vec<ImportWarning> {
    let active: Vec<&Cell> = cells
        .iter()
        .filter(|cell| cell.state.takes_tenants())
        .collect();
    let mut warnings = Vec::new();
    if is_first {
        warnings.extend(limits_missing(&active));
    }
    warnings.extend(one_cell(&active, cells, percent_max));
    warnings
}

fn limits_missing(active: &[&Cell]) -> Option<ImportWarning> {
    let (without, with): (Vec<&Cell>, Vec<&Cell>) = active
        .iter()
        .copied()
        .partition(|cell| cell.capacity.is_empty());
    if with.is_empty() || without.is_empty() {
        return None;
    }
    let message = format!(
        "only some cells have limits ({}), others have none ({}); a cell without limits counts as empty, so tenants that \
         name no cell go to {}. Give every cell a limit with `cellctl cell update ID --capacity tenants=N`, or none",
        named(&with),
        named(&without),
        named(&without),
    );
    Some(ImportWarning {
        code: ImportWarningCode::LimitsMissing,
        message,
    })
}

fn one_cell(active: &[&Cell], cells: &[Cell], percent_max: u32) -> Option<ImportWarning> {
    let total: u64 = cells.iter().map(|cell| cell.tenants).sum();
    // A handful of tenants cannot be spread evenly.
    if active.len() < 2 || total < 2 * active.len() as u64 {
        return None;
    }
    let fullest = cells.iter().max_by_key(|cell| cell.tenants)?;
    let percent = u128::from(fullest.tenants) * 100 / u128::from(total);
    let is_over = u128::from(fullest.tenants) * 100 > u128::from(total) * u128::from(percent_max);
    is_over.then(|| ImportWarning {
        code: ImportWarningCode::OneCell,
        message: format!(
            "cell {} now has {} of {total} tenants ({percent} %), more than {percent_max} % (`cells.tenants_percent_max`): \
             one fault there hurts all of them. Check the cells that the file names, and the limits of the cells",
            fullest.id, fullest.tenants
        ),
    })
}

fn named(cells: &[&Cell]) -> String {
    let mut names: Vec<String> = cells
        .iter()
        .take(NAMED_MAX)
        .map(|cell| cell.id.to_string())
        .collect();
    if cells.len() > NAMED_MAX {
        names.push(format!("{} more", cells.len() - NAMED_MAX));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cellgate_table::CellId;

    use super::*;
    use crate::model::{Amounts, CellState, cell::SettingsSpec};

    fn cell(id: &str, tenants: u64, limit: Option<f64>) -> Cell {
        let spec: SettingsSpec = serde_json::from_str("{}").unwrap();
        let limits = limit.map(|limit| ("tenants".to_owned(), limit));
        Cell {
            id: CellId::new(id).unwrap(),
            state: CellState::Active,
            state_reason: None,
            state_since_ms: 0,
            provider: "static".to_owned(),
            params: serde_json::json!({}),
            settings: spec.settings().unwrap(),
            labels: BTreeMap::new(),
            is_stateless: false,
            capacity: Amounts::new(limits.into_iter().collect()).unwrap(),
            usage: Amounts::default(),
            was_in_table: true,
            tenants,
        }
    }

    fn check(cells: &[Cell], is_first: bool, expected: &[&str]) {
        let found = import_warnings(cells, is_first, 60);
        let codes: Vec<&str> = found.iter().map(|it| it.code.as_str()).collect();
        assert_eq!(codes, expected, "{found:?}");
    }

    #[test]
    fn limits_on_some_cells_only_are_warned_of_once() {
        let mixed = [
            cell("a", 5, Some(100.0)),
            cell("b", 5, None),
            cell("c", 5, None),
        ];
        check(&mixed, true, &["limits_missing"]);
        check(&mixed, false, &[]);
        check(&[cell("a", 5, None), cell("b", 5, None)], true, &[]);
        let all = [cell("a", 5, Some(9.0)), cell("b", 5, Some(9.0))];
        check(&all, true, &[]);
        let message = &import_warnings(&mixed, true, 60)[0].message;
        let expected = "only some cells have limits (a), others have none (b, c); ";
        assert!(message.starts_with(expected), "{message}");
    }

    #[test]
    fn most_tenants_in_one_cell_are_warned_of() {
        check(&[cell("a", 60, None), cell("b", 40, None)], false, &[]);
        check(
            &[cell("a", 61, None), cell("b", 39, None)],
            false,
            &["one_cell"],
        );
        check(&[cell("a", 3, None), cell("b", 0, None)], false, &[]);
        check(&[cell("a", 90, None)], false, &[]);
        let mut draining = cell("a", 90, None);
        draining.state = CellState::Draining;
        let rest = [draining, cell("b", 5, None), cell("c", 5, None)];
        check(&rest, false, &["one_cell"]);
    }
}
