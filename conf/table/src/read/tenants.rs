//! The parts of a table file that name single tenants: overrides, aliases, rejects, holds.

use std::collections::HashSet;

use crate::{
    id::{CellIndex, TenantKey, TenantKeyError},
    limits,
    read::cells,
    table::Cell,
    yaml::{Fields, Findings, Value},
};

#[derive(Default)]
pub(super) struct Tenants {
    pub(super) overrides: Vec<(TenantKey, CellIndex)>,
    pub(super) aliases: Vec<(TenantKey, TenantKey)>,
    pub(super) rejects: Vec<TenantKey>,
}

pub(super) fn read(fields: &Fields<'_>, cells: &[Cell], findings: &mut Findings) -> Tenants {
    let mut tenants = Tenants::default();
    if let Some(value) = fields.optional("overrides") {
        tenants.overrides = read_overrides(&value, cells, findings).unwrap_or_default();
    }
    if let Some(value) = fields.optional("aliases") {
        tenants.aliases = read_aliases(&value, &tenants.overrides, findings).unwrap_or_default();
    }
    if let Some(value) = fields.optional("rejects") {
        tenants.rejects = read_rejects(&value, &tenants.aliases, findings).unwrap_or_default();
    }
    if let Some(value) = fields.optional("holds") {
        refuse_holds(&value, findings);
    }
    tenants
}

fn read_overrides(
    value: &Value<'_>,
    cells: &[Cell],
    findings: &mut Findings,
) -> Option<Vec<(TenantKey, CellIndex)>> {
    let entries = value.entries(findings)?;
    check_count(value, entries.len(), limits::OVERRIDES_MAX, findings)?;
    let mut overrides = Vec::with_capacity(entries.len());
    let mut seen = HashSet::with_capacity(entries.len());
    for (name, value) in entries {
        let key = read_key(name, &value, &mut seen, findings);
        let Some(cell_name) = value.text(findings) else {
            continue;
        };
        let cell = cells::resolve(cell_name, cells);
        if cell.is_none() {
            cells::refuse_unknown_value(&value, cell_name, cells, findings);
        }
        overrides.extend(key.zip(cell));
    }
    overrides.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    Some(overrides)
}

fn read_aliases(
    value: &Value<'_>,
    overrides: &[(TenantKey, CellIndex)],
    findings: &mut Findings,
) -> Option<Vec<(TenantKey, TenantKey)>> {
    let entries = value.entries(findings)?;
    check_count(value, entries.len(), limits::ALIASES_MAX, findings)?;
    let names: HashSet<&str> = value.entries(findings)?.map(|(name, _)| name).collect();
    let mut aliases = Vec::with_capacity(entries.len());
    let mut seen = HashSet::with_capacity(entries.len());
    for (name, value) in entries {
        let alias = read_key(name, &value, &mut seen, findings);
        let Some(target) = value.text(findings) else {
            continue;
        };
        if names.contains(target) {
            let message = format!("`{target}` is an alias itself");
            value.refuse(
                findings,
                message,
                "name the tenant, not another of its aliases",
            );
            continue;
        }
        if overrides
            .binary_search_by(|(key, _)| key.as_str().cmp(name))
            .is_ok()
        {
            let hint =
                format!("an override belongs to the tenant: pin `{target}` instead of its alias");
            value.refuse_key(findings, "stands under `overrides` too", hint);
        }
        match TenantKey::new(target) {
            Ok(tenant) => aliases.extend(alias.map(|alias| (alias, tenant))),
            Err(error) => value.refuse(findings, error.to_string(), hint_for(error)),
        }
    }
    aliases.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    Some(aliases)
}

fn read_rejects(
    value: &Value<'_>,
    aliases: &[(TenantKey, TenantKey)],
    findings: &mut Findings,
) -> Option<Vec<TenantKey>> {
    let items = value.sequence(findings)?;
    check_count(value, items.len(), limits::REJECTS_MAX, findings)?;
    let mut rejects = Vec::with_capacity(items.len());
    let mut seen = HashSet::with_capacity(items.len());
    for item in items {
        let Some(name) = item.text(findings) else {
            continue;
        };
        if let Ok(at) = aliases.binary_search_by(|(alias, _)| alias.as_str().cmp(name)) {
            let hint = format!("reject the tenant itself, `{}`", aliases[at].1);
            item.refuse(findings, format!("`{name}` is an alias"), hint);
            continue;
        }
        match TenantKey::new(name) {
            Ok(key) if seen.insert(key.clone()) => rejects.push(key),
            Ok(_) => item.refuse(
                findings,
                format!("`{name}` stands twice"),
                "keep one of them",
            ),
            Err(error) => item.refuse(findings, error.to_string(), hint_for(error)),
        }
    }
    rejects.sort_unstable();
    Some(rejects)
}

/// Holds are part of the format, but this version cannot keep requests waiting: a table that asks for it is refused
/// whole rather than served without the protection that a tenant's move relies on.
fn refuse_holds(value: &Value<'_>, findings: &mut Findings) {
    #[derive(Clone, Copy)]
    enum Mode {
        Writes,
        All,
    }
    let Some(entries) = value.entries(findings) else {
        return;
    };
    let mut seen = HashSet::new();
    for (name, value) in entries {
        read_key(name, &value, &mut seen, findings);
        let Some(fields) = value.fields(&["mode"], findings) else {
            continue;
        };
        if let Some(mode) = fields.required("mode", findings) {
            let _ = mode.choice(&[("writes", Mode::Writes), ("all", Mode::All)], findings);
        }
        value.refuse_key(
            findings,
            "holds do not work in this version yet",
            "remove the hold; a table that needs it is refused rather than served without it",
        );
    }
}

fn read_key<'v>(
    name: &'v str,
    value: &Value<'_>,
    seen: &mut HashSet<&'v str>,
    findings: &mut Findings,
) -> Option<TenantKey> {
    if !seen.insert(name) {
        value.refuse_key(findings, "stands twice", "keep one of them");
        return None;
    }
    match TenantKey::new(name) {
        Ok(key) => Some(key),
        Err(error) => {
            value.refuse_key(findings, error.to_string(), hint_for(error));
            None
        }
    }
}

fn hint_for(error: TenantKeyError) -> String {
    match error {
        TenantKeyError::Empty => {
            "write the tenant's key, in quotes if it looks like nothing".to_owned()
        }
        TenantKeyError::TooLong => {
            format!(
                "a key has 1 to {} bytes; hash longer ones",
                limits::TENANT_KEY_BYTES_MAX
            )
        }
        TenantKeyError::ControlCharacter => {
            "remove line breaks, tabs and other control characters".to_owned()
        }
    }
}

fn check_count(value: &Value<'_>, count: usize, max: usize, findings: &mut Findings) -> Option<()> {
    if count <= max {
        return Some(());
    }
    value.refuse_key(
        findings,
        format!("has {count} entries, more than {max}"),
        "split the fleet over several tables",
    );
    None
}
