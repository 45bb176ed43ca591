//! The parts of a table file that name single tenants: overrides, aliases, rejects, holds.

use std::collections::HashSet;

use crate::{
    id::{CellIndex, TenantKey, TenantKeyError, has_outer_white_space},
    limits,
    problem::Quoted,
    read::cells::{self, Cells},
    yaml::{Fields, Findings, Value},
};

#[derive(Default)]
pub(super) struct Tenants {
    pub(super) overrides: Vec<(TenantKey, CellIndex)>,
    pub(super) aliases: Vec<(TenantKey, TenantKey)>,
    pub(super) rejects: Vec<TenantKey>,
}

pub(super) fn read(fields: &Fields<'_>, cells: &Cells, findings: &mut Findings) -> Tenants {
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
    cells: &Cells,
    findings: &mut Findings,
) -> Option<Vec<(TenantKey, CellIndex)>> {
    let entries = value.entries(findings)?;
    check_count(value, entries.len(), limits::OVERRIDES_MAX, findings)?;
    refuse_repeated(value, findings);
    let mut overrides = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let key = read_key(name, &value, findings);
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
    refuse_repeated(value, findings);
    let names: HashSet<&str> = value.entries(findings)?.map(|(name, _)| name).collect();
    let mut aliases = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let alias = read_key(name, &value, findings);
        let Some(target) = value.text(findings) else {
            continue;
        };
        if names.contains(target) {
            value.refuse_with(findings, || {
                (
                    format!("{} is an alias itself", Quoted(target)),
                    "name the tenant, not another of its aliases".to_owned(),
                )
            });
            continue;
        }
        if overrides
            .binary_search_by(|(key, _)| key.as_str().cmp(name))
            .is_ok()
        {
            value.refuse_key_with(findings, || {
                let target = Quoted(target);
                (
                    "stands under `overrides` too".to_owned(),
                    format!("an override belongs to the tenant: pin {target} instead of its alias"),
                )
            });
        }
        // A request's own key cannot have it either: the field that names the tenant to its cell would lose it.
        if has_outer_white_space(target.as_bytes()) {
            value.refuse_with(findings, || {
                (
                    format!("{} begins or ends with white space", Quoted(target)),
                    "remove it; no request can name such a tenant".to_owned(),
                )
            });
            continue;
        }
        match TenantKey::new(target) {
            Ok(tenant) => aliases.extend(alias.map(|alias| (alias, tenant))),
            Err(error) => value.refuse_with(findings, || key_words(error)),
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
            item.refuse_with(findings, || {
                let tenant = Quoted(aliases[at].1.as_str());
                (
                    format!("{} is an alias", Quoted(name)),
                    format!("reject the tenant itself, {tenant}"),
                )
            });
            continue;
        }
        if !seen.insert(name) {
            item.refuse_with(findings, || {
                (
                    format!("{} is duplicated", Quoted(name)),
                    "keep one of them".to_owned(),
                )
            });
            continue;
        }
        match TenantKey::new(name) {
            Ok(key) => rejects.push(key),
            Err(error) => item.refuse_with(findings, || key_words(error)),
        }
    }
    rejects.sort_unstable();
    Some(rejects)
}

/// The keys of one hold.
pub(crate) const HOLD_KEYS: [&str; 1] = ["mode"];

/// Holds are part of the format, but this version cannot keep requests waiting: a table that asks for it is refused
/// whole rather than served without the protection that a tenant's move relies on.
fn refuse_holds(value: &Value<'_>, findings: &mut Findings) {
    let Some(entries) = value.entries(findings) else {
        return;
    };
    refuse_repeated(value, findings);
    for (name, value) in entries {
        read_key(name, &value, findings);
        let Some(fields) = value.fields(&HOLD_KEYS, findings) else {
            continue;
        };
        if let Some(mode) = fields.required("mode", findings) {
            let _ = mode.choice(&[("writes", ()), ("all", ())], findings);
        }
        value.refuse_key(
            findings,
            "holds do not work in this version yet",
            "remove the hold; a table that needs it is refused rather than served without it",
        );
    }
}

/// Notes each entry whose key an earlier one has.
fn refuse_repeated(value: &Value<'_>, findings: &mut Findings) {
    let Some(entries) = value.entries(findings) else {
        return;
    };
    // What a program wrote is sorted: then comparing neighbours is enough, and a million keys need no set.
    let mut names: Vec<&str> = entries.map(|(name, _)| name).collect();
    names.sort_unstable();
    if names.is_sorted_by(|left, right| left < right) {
        return;
    }
    let mut seen = HashSet::with_capacity(names.len());
    for (name, value) in value.entries(findings).into_iter().flatten() {
        if !seen.insert(name) {
            value.refuse_key(findings, "is duplicated", "keep one of them");
        }
    }
}

fn read_key(name: &str, value: &Value<'_>, findings: &mut Findings) -> Option<TenantKey> {
    match TenantKey::new(name) {
        Ok(key) => Some(key),
        Err(error) => {
            value.refuse_key_with(findings, || key_words(error));
            None
        }
    }
}

/// What is wrong with a tenant key, and what to do.
fn key_words(error: TenantKeyError) -> (String, String) {
    let hint = match error {
        TenantKeyError::Empty => {
            format!("write a key of 1 to {} bytes", limits::TENANT_KEY_BYTES_MAX)
        }
        TenantKeyError::TooLong => {
            let max = limits::TENANT_KEY_BYTES_MAX;
            format!("name the tenant by 1 to {max} bytes, its id for instance")
        }
        TenantKeyError::ControlCharacter => {
            "remove line breaks, tabs and other control characters".to_owned()
        }
    };
    (error.to_string(), hint)
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
