//! What an update of a cell changed: field by field, from what to what.

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::model::Cell;

/// A field that an update changed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldChange {
    pub field: String,
    /// `null` where there was nothing.
    #[schema(value_type = Object)]
    pub from: Value,
    /// `null` where there is nothing now.
    #[schema(value_type = Object)]
    pub to: Value,
}

/// The fields that an operator may set, where the cells differ.
pub(super) fn changed(before: &Cell, after: &Cell) -> Vec<FieldChange> {
    let before = fields(before);
    fields(after)
        .into_iter()
        .filter_map(|(field, to)| {
            let from = before.get(&field).cloned().unwrap_or(Value::Null);
            (from != to).then_some(FieldChange { field, from, to })
        })
        .collect()
}

/// As the audit log has them.
pub(super) fn detail(changed: &[FieldChange]) -> Value {
    let one = |it: &FieldChange| (it.field.clone(), json!({ "from": it.from, "to": it.to }));
    Value::Object(changed.iter().map(one).collect())
}

fn fields(cell: &Cell) -> Map<String, Value> {
    let spec = cell.settings.spec();
    let fields = [
        ("endpoints", json!(spec.endpoints)),
        ("max_in_flight", json!(spec.max_in_flight)),
        ("tunnels_max", json!(spec.tunnels_max)),
        ("connections_max", json!(spec.connections_max)),
        ("share", json!(spec.share)),
        ("health_check", json!(spec.health_check)),
        ("tls", json!(spec.tls)),
        ("labels", json!(cell.labels)),
        ("stateless", json!(cell.is_stateless)),
        ("capacity", json!(cell.capacity)),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
