//! Tenants: registered, pinned, rejected, given other keys, forgotten.

use std::collections::{BTreeMap, BTreeSet};

use cellgate_table::{
    CellId, TenantKey,
    id::has_outer_white_space,
    limits::{ALIASES_MAX, OVERRIDES_MAX, REJECTS_MAX, TENANT_KEY_BYTES_MAX},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{Rules, candidates, cells::parse_id};
use crate::{
    model::{PlacedBy, SlotMap, Tenant},
    plan::place,
    refusal::Refusal,
    store::{Read, Write},
};

/// What a line of the table takes besides the tenant's key, in bytes: a cell's id of usual length, quotes, a line end.
const LINE_BYTES: u64 = 24;
/// Bytes of names; the rest of the table's 128 MiB is for aliases, rejects, slots and cells.
const NAMES_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Aliases of one tenant.
const ALIASES_PER_TENANT_MAX: usize = 100;

/// A tenant to register.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// 1 to 256 bytes without control characters.
    #[schema(min_length = 1, max_length = 256)]
    pub key: String,
    /// Where it is to live; without it the planner chooses.
    #[serde(default)]
    pub cell: Option<String>,
    /// No plan moves it. Needs `cell`.
    #[serde(default)]
    pub pin: bool,
    /// It is answered 403 at the edge.
    #[serde(default)]
    pub rejected: bool,
    /// Other keys of it.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub aliases: Vec<String>,
}

/// A tenant to register, read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    key: TenantKey,
    cell: Option<CellId>,
    is_pinned: bool,
    is_rejected: bool,
    aliases: Vec<TenantKey>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// In the order in which they were asked for.
    pub tenants: Vec<Tenant>,
    /// How many of them are new.
    pub new: usize,
    /// No tenant was registered before.
    pub is_first: bool,
}

/// Registers tenants, all or none of them. Those that are registered already stay as they are, if what is asked of them
/// is what they are.
///
/// # Errors
/// The first thing that is in the way, with the number of the tenant in the batch.
pub fn register(
    write: &mut Write<'_>,
    batch: &[NewTenant],
    rules: &Rules,
) -> Result<Registered, (usize, Refusal)> {
    let mut wanted = Vec::with_capacity(batch.len());
    for (at, new) in batch.iter().enumerate() {
        wanted.push(read_new(new).map_err(|refusal| (at, refusal))?);
    }
    let slots = write.read().slots().map_err(|error| (0, error.into()))?;
    let before = write.read().counts().map_err(|error| (0, error.into()))?;
    let is_first = before.values().all(|counts| counts.tenants == 0);
    let mut found: Vec<Option<Tenant>> = Vec::with_capacity(wanted.len());
    let mut seen: BTreeMap<&TenantKey, usize> = BTreeMap::new();
    for (at, tenant) in wanted.iter().enumerate() {
        if seen.insert(&tenant.key, at).is_some() {
            let refusal = Refusal::bad_input("key", "is duplicated", "name each tenant once");
            return Err((at, refusal));
        }
        let known = find(write.read(), tenant).map_err(|refusal| (at, refusal))?;
        found.push(known);
    }
    for (at, tenant) in wanted.iter().enumerate() {
        if let Some(alias) = tenant.aliases.iter().find(|alias| seen.contains_key(alias)) {
            return Err((at, Refusal::AliasIsTenant(alias.clone())));
        }
    }
    let placed = place_new(write, &wanted, &found, &slots)?;
    let mut tenants = Vec::with_capacity(wanted.len());
    let mut new = 0;
    let mut names = false;
    for (at, (tenant, (known, placed))) in
        wanted.iter().zip(found.into_iter().zip(placed)).enumerate()
    {
        let is_new = known.is_none();
        let Some(record) = known.or(placed) else {
            let refusal = Refusal::NoActiveCell;
            return Err((at, refusal));
        };
        if is_new {
            new += 1;
            let slot = slots.hash().slot(record.key.as_bytes()).get();
            let added = write.add_tenant(&record, slot);
            added.map_err(|error| (at, error.into()))?;
            names |=
                record.placed_by != PlacedBy::Slot || record.is_rejected || rules.names_all_tenants;
        }
        for alias in &tenant.aliases {
            let added = put_alias(write, &record.key, alias).map_err(|refusal| (at, refusal))?;
            names |= added;
            new += usize::from(added && !is_new);
        }
        tenants.push(record);
    }
    if names {
        write.touch_table();
        check_limits(write.read(), batch).map_err(|refusal| (0, refusal))?;
    }
    if new > 0 {
        let (subject, detail) = match &tenants[..] {
            [one] => (one.key.to_string(), json!({ "cell": one.cell })),
            many => (
                "tenants".to_owned(),
                json!({ "count": new, "of": many.len() }),
            ),
        };
        write
            .note("tenant.register", &subject, &detail)
            .map_err(|error| (0, error.into()))?;
    }
    Ok(Registered {
        tenants,
        new,
        is_first,
    })
}

fn check_limits(read: Read<'_>, batch: &[NewTenant]) -> Result<(), Refusal> {
    check_name_limits(read)?;
    if batch.iter().any(|tenant| !tenant.aliases.is_empty()) {
        check_alias_limit(read)?;
    }
    if batch.iter().any(|tenant| tenant.rejected) {
        check_reject_limit(read)?;
    }
    Ok(())
}

fn read_new(new: &NewTenant) -> Result<Wanted, Refusal> {
    let cell = new.cell.as_deref().map(parse_id).transpose()?;
    if new.pin && cell.is_none() {
        let hint = "name the cell to pin it to, or leave `pin` out";
        return Err(Refusal::bad_input("pin", "has no cell", hint));
    }
    if new.aliases.len() > ALIASES_PER_TENANT_MAX {
        let message = format!("are more than {ALIASES_PER_TENANT_MAX}");
        return Err(Refusal::bad_input("aliases", message, "name fewer"));
    }
    let key = parse_key("key", &new.key)?;
    let mut aliases = Vec::with_capacity(new.aliases.len());
    let mut seen = BTreeSet::new();
    for alias in &new.aliases {
        let alias = parse_key("aliases", alias)?;
        if alias == key {
            return Err(Refusal::AliasIsTenant(alias));
        }
        if seen.insert(alias.clone()) {
            aliases.push(alias);
        }
    }
    if !aliases.is_empty() {
        check_alias_target(&key)?;
    }
    Ok(Wanted {
        key,
        cell,
        is_pinned: new.pin,
        is_rejected: new.rejected,
        aliases,
    })
}

/// The tenant as it is registered, if it is, and as it was asked for.
fn find(read: Read<'_>, wanted: &Wanted) -> Result<Option<Tenant>, Refusal> {
    if let Some(tenant) = read.alias_of(&wanted.key)? {
        return Err(Refusal::IsAlias {
            key: wanted.key.clone(),
            tenant,
        });
    }
    let Some(known) = read.find_tenant(&wanted.key)? else {
        return Ok(None);
    };
    let is_elsewhere = wanted.cell.as_ref().is_some_and(|cell| *cell != known.cell);
    let is_otherwise = wanted.is_pinned && known.placed_by != PlacedBy::Pin;
    if is_elsewhere || is_otherwise {
        return Err(Refusal::TenantElsewhere {
            tenant: known.key,
            cell: known.cell,
            placed_by: known.placed_by,
        });
    }
    if wanted.is_rejected && !known.is_rejected {
        let message = "is asked for, and the tenant is registered and let in";
        return Err(Refusal::bad_input(
            "rejected",
            message,
            "reject it by itself",
        ));
    }
    Ok(Some(known))
}

/// A place for each tenant that is new.
fn place_new(
    write: &Write<'_>,
    wanted: &[Wanted],
    found: &[Option<Tenant>],
    slots: &SlotMap,
) -> Result<Vec<Option<Tenant>>, (usize, Refusal)> {
    let read = write.read();
    let owner_of = |tenant: &Wanted| slots.owner(slots.hash().slot(tenant.key.as_bytes()));
    let mut placed: Vec<Option<Tenant>> = vec![None; wanted.len()];
    let mut open = Vec::new();
    for (at, tenant) in wanted.iter().enumerate() {
        if found[at].is_some() {
            continue;
        }
        let Some(cell) = &tenant.cell else {
            open.push(at);
            continue;
        };
        let target = read.cell(cell).map_err(|refusal| (at, refusal))?;
        if !target.state.takes_tenants() {
            let refusal = Refusal::CellTakesNone {
                cell: target.id,
                state: target.state,
            };
            return Err((at, refusal));
        }
        let placed_by = if tenant.is_pinned {
            PlacedBy::Pin
        } else if owner_of(tenant) == Some(cell) {
            PlacedBy::Slot
        } else {
            PlacedBy::Override
        };
        placed[at] = Some(new_tenant(
            write,
            tenant,
            cell.clone(),
            placed_by,
            "asked for",
        ));
    }
    if open.is_empty() {
        return Ok(placed);
    }
    let mut candidates = candidates(read).map_err(|error| (0, error.into()))?;
    for tenant in placed.iter().flatten() {
        let candidate = candidates.iter_mut().find(|it| it.id == tenant.cell);
        if let Some(candidate) = candidate {
            candidate.tenants += 1;
        }
    }
    let owners: Vec<Option<&CellId>> = open.iter().map(|at| owner_of(&wanted[*at])).collect();
    let chosen = place(&candidates, &owners).map_err(|refused| (open[0], refused.into()))?;
    for (at, chosen) in open.into_iter().zip(chosen) {
        let placed_by = if chosen.is_slot_owner {
            PlacedBy::Slot
        } else {
            PlacedBy::Override
        };
        let tenant = new_tenant(write, &wanted[at], chosen.cell, placed_by, &chosen.why);
        placed[at] = Some(tenant);
    }
    Ok(placed)
}

fn new_tenant(
    write: &Write<'_>,
    wanted: &Wanted,
    cell: CellId,
    placed_by: PlacedBy,
    why: &str,
) -> Tenant {
    Tenant {
        key: wanted.key.clone(),
        cell,
        placed_by,
        is_rejected: wanted.is_rejected,
        since: write.revision(),
        why: why.to_owned(),
        registered_ms: write.now_ms(),
    }
}

/// Lets a tenant live in this cell and nowhere else, whatever the planner thinks.
///
/// Its data does not come along: unless it is there already, or it has none, the caller has to say so.
pub fn pin(
    write: &mut Write<'_>,
    key: &TenantKey,
    cell: &CellId,
    is_without_data: bool,
) -> Result<Tenant, Refusal> {
    let read = write.read();
    let mut tenant = read.tenant(key)?;
    let target = read.cell(cell)?;
    if tenant.placed_by == PlacedBy::Pin && tenant.cell == *cell {
        return Ok(tenant);
    }
    if tenant.cell != *cell {
        if !target.state.takes_tenants() {
            return Err(Refusal::CellTakesNone {
                cell: target.id,
                state: target.state,
            });
        }
        let from = read.cell(&tenant.cell)?;
        if !from.is_stateless && !is_without_data {
            return Err(Refusal::HasData {
                tenant: tenant.key,
                from: from.id,
                to: target.id,
            });
        }
        tenant.since = write.revision();
    }
    let from = std::mem::replace(&mut tenant.cell, cell.clone());
    tenant.placed_by = PlacedBy::Pin;
    tenant.why = format!("pinned by {}", write.actor());
    write.place_tenant(&tenant)?;
    write.touch_table();
    let detail = json!({ "from": from, "to": cell, "without_data": is_without_data });
    write.note("tenant.pin", key.as_str(), &detail)?;
    super::settle_draining(write)?;
    Ok(tenant)
}

/// Leaves a tenant where it is, and the rest to the planner again.
pub fn unpin(write: &mut Write<'_>, key: &TenantKey) -> Result<Tenant, Refusal> {
    let mut tenant = write.read().tenant(key)?;
    if tenant.placed_by != PlacedBy::Pin {
        return Ok(tenant);
    }
    let slots = write.read().slots()?;
    let is_at_home = slots.owner(slots.hash().slot(key.as_bytes())) == Some(&tenant.cell);
    tenant.placed_by = if is_at_home {
        PlacedBy::Slot
    } else {
        PlacedBy::Override
    };
    tenant.why = format!("no longer pinned, by {}", write.actor());
    write.place_tenant(&tenant)?;
    write.touch_table();
    write.note(
        "tenant.unpin",
        key.as_str(),
        &json!({ "cell": tenant.cell }),
    )?;
    Ok(tenant)
}

/// Whether a tenant is answered 403 at the edge.
pub fn set_rejected(
    write: &mut Write<'_>,
    key: &TenantKey,
    is_rejected: bool,
) -> Result<Tenant, Refusal> {
    let mut tenant = write.read().tenant(key)?;
    if tenant.is_rejected == is_rejected {
        return Ok(tenant);
    }
    write.set_rejected(key, is_rejected)?;
    tenant.is_rejected = is_rejected;
    check_reject_limit(write.read())?;
    write.touch_table();
    let action = if is_rejected {
        "tenant.reject"
    } else {
        "tenant.accept"
    };
    write.note(action, key.as_str(), &json!({}))?;
    Ok(tenant)
}

/// Gives a tenant another key.
pub fn add_alias(
    write: &mut Write<'_>,
    key: &TenantKey,
    alias: &TenantKey,
) -> Result<Tenant, Refusal> {
    let tenant = write.read().tenant(key)?;
    check_alias_target(key)?;
    if put_alias(write, key, alias)? {
        check_alias_limit(write.read())?;
        write.touch_table();
        write.note("tenant.alias", key.as_str(), &json!({ "alias": alias }))?;
    }
    Ok(tenant)
}

/// A table does not take an alias whose tenant no request can name.
fn check_alias_target(key: &TenantKey) -> Result<(), Refusal> {
    if has_outer_white_space(key.as_bytes()) {
        let hint = "no request can name such a tenant, so it needs no alias";
        return Err(Refusal::bad_input(
            "aliases",
            "the tenant's key begins or ends with white space",
            hint,
        ));
    }
    Ok(())
}

/// True when the alias is new.
fn put_alias(write: &Write<'_>, key: &TenantKey, alias: &TenantKey) -> Result<bool, Refusal> {
    let read = write.read();
    if read.find_tenant(alias)?.is_some() {
        return Err(Refusal::AliasIsTenant(alias.clone()));
    }
    match read.alias_of(alias)? {
        Some(tenant) if tenant == *key => Ok(false),
        Some(tenant) => Err(Refusal::AliasTaken {
            alias: alias.clone(),
            tenant,
        }),
        None if read.aliases_of(key)?.len() >= ALIASES_PER_TENANT_MAX => {
            let message = format!("are {ALIASES_PER_TENANT_MAX}, and no more may be");
            Err(Refusal::bad_input("aliases", message, "remove one"))
        }
        None => {
            write.add_alias(alias, key)?;
            Ok(true)
        }
    }
}

/// Takes a key away from a tenant.
pub fn remove_alias(
    write: &mut Write<'_>,
    key: &TenantKey,
    alias: &TenantKey,
) -> Result<Tenant, Refusal> {
    let tenant = write.read().tenant(key)?;
    if write.read().alias_of(alias)?.as_ref() != Some(key) {
        return Err(Refusal::NoSuchAlias(alias.clone()));
    }
    write.remove_alias(alias)?;
    write.touch_table();
    write.note("tenant.unalias", key.as_str(), &json!({ "alias": alias }))?;
    Ok(tenant)
}

/// Forgets a tenant, with its aliases. Its data stays where it is, and its key leads where its slot does.
pub fn remove(write: &mut Write<'_>, key: &TenantKey, rules: &Rules) -> Result<Tenant, Refusal> {
    let tenant = write.read().tenant(key)?;
    let has_aliases = !write.read().aliases_of(key)?.is_empty();
    write.remove_tenant(key)?;
    let is_named = tenant.placed_by != PlacedBy::Slot;
    if is_named || tenant.is_rejected || has_aliases || rules.names_all_tenants {
        write.touch_table();
    }
    write.note(
        "tenant.remove",
        key.as_str(),
        &json!({ "cell": tenant.cell }),
    )?;
    super::settle_draining(write)?;
    Ok(tenant)
}

/// How many tenants a table can name is its own limit; checked here before it is too late.
pub fn check_name_limits(read: Read<'_>) -> Result<(), Refusal> {
    let counts = read.counts()?;
    let named = counts
        .values()
        .map(|counts| counts.overrides + counts.pins)
        .sum();
    check_limit(
        "key",
        "tenants that the table has to name",
        named,
        OVERRIDES_MAX,
    )?;
    let key_bytes: u64 = counts.values().map(|counts| counts.key_bytes).sum();
    let bytes = key_bytes + named * LINE_BYTES;
    check_limit("key", "bytes of names in the table", bytes, NAMES_BYTES_MAX)
}

/// The same for aliases.
pub fn check_alias_limit(read: Read<'_>) -> Result<(), Refusal> {
    check_limit("aliases", "aliases", read.alias_count()?, ALIASES_MAX)
}

/// The same for rejected tenants.
pub fn check_reject_limit(read: Read<'_>) -> Result<(), Refusal> {
    let count = read.rejected_tenants()?.len() as u64;
    check_limit("rejected", "rejected tenants", count, REJECTS_MAX)
}

fn check_limit(path: &str, what: &str, count: u64, max: usize) -> Result<(), Refusal> {
    if count <= max as u64 {
        return Ok(());
    }
    let message = format!("there would be {count} {what}, more than {max}");
    let hint = "split the fleet over several tables";
    Err(Refusal::bad_input(path, message, hint))
}

/// A tenant's key out of a request.
pub fn parse_key(path: &str, text: &str) -> Result<TenantKey, Refusal> {
    TenantKey::new(text).map_err(|error| {
        let hint = format!("name a tenant by 1 to {TENANT_KEY_BYTES_MAX} bytes");
        Refusal::bad_input(path, error.to_string(), hint)
    })
}
