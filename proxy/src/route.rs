//! From a tenant key to its cell: the look-up on every request's way. Pure, and free of locks and allocation.
//!
//! It answers exactly what [`Table::home_of`] answers, out of a structure made for speed: one hash index over every tenant
//! that the table names, whose entries hold short keys in place, so that a look-up among a million tenants touches one or
//! two cache lines instead of walking a tree. The hash that finds the slot finds the name too.

mod index;
mod slots;

use cellgate_table::{CellIndex, HashSpec, Owner, Table};

pub use index::Destination;
use index::{Entry, NameIndex};
use slots::Slots;

/// The routes of one table.
#[derive(Debug)]
pub struct Routes {
    hash: HashSpec,
    slots: Slots,
    names: NameIndex,
    /// What the aliases in the index mean.
    alias_targets: Box<[AliasTarget]>,
}

#[derive(Debug)]
struct AliasTarget {
    tenant: Box<[u8]>,
    route: Destination,
}

/// The answer for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// The tenant: the key itself, or what it is an alias of.
    pub tenant: &'a [u8],
    pub is_alias: bool,
    pub cell: CellIndex,
    pub owner: Owner,
    pub is_rejected: bool,
}

impl Route<'_> {
    /// True when the table names this tenant: it has an override or an alias.
    pub fn is_known(&self) -> bool {
        self.is_alias || self.owner == Owner::Override
    }
}

impl Routes {
    pub fn new(table: &Table) -> Self {
        let hash = table.hash();
        let mut names = NameIndex::for_names(
            table.overrides().len() + table.aliases().len() + table.rejects().len(),
        );
        for (tenant, cell) in table.overrides() {
            let is_rejected = table.is_rejected(tenant.as_bytes());
            let destination = Destination {
                cell: *cell,
                owner: Owner::Override,
                is_rejected,
            };
            names.insert(
                hash.hash(tenant.as_bytes()),
                tenant.as_bytes(),
                Entry::Tenant(destination),
            );
        }
        for tenant in table.rejects() {
            let home = table.home_of(tenant.as_bytes());
            if home.owner == Owner::Slot {
                let destination = Destination {
                    cell: home.cell,
                    owner: home.owner,
                    is_rejected: true,
                };
                names.insert(home.hash, tenant.as_bytes(), Entry::Tenant(destination));
            }
        }
        let mut alias_targets = Vec::with_capacity(table.aliases().len());
        for (alias, tenant) in table.aliases() {
            let home = table.home_of(tenant.as_bytes());
            let route = Destination {
                cell: home.cell,
                owner: home.owner,
                is_rejected: home.is_rejected,
            };
            let number = u32::try_from(alias_targets.len())
                .expect("a table holds at most ALIASES_MAX aliases");
            names.insert(
                hash.hash(alias.as_bytes()),
                alias.as_bytes(),
                Entry::Alias(number),
            );
            alias_targets.push(AliasTarget {
                tenant: tenant.as_bytes().into(),
                route,
            });
        }
        Self {
            hash,
            slots: Slots::new(table.slot_owners()),
            names,
            alias_targets: alias_targets.into(),
        }
    }

    /// Where a key leads. Every key leads somewhere.
    pub fn route<'a>(&'a self, key: &'a [u8]) -> Route<'a> {
        let hash = self.hash.hash(key);
        let (tenant, is_alias, destination) = match self.names.find(hash, key) {
            None => {
                let cell = self.slots.owner(self.hash.slot_of_hash(hash));
                (
                    key,
                    false,
                    Destination {
                        cell,
                        owner: Owner::Slot,
                        is_rejected: false,
                    },
                )
            }
            Some(Entry::Tenant(destination)) => (key, false, destination),
            Some(Entry::Alias(number)) => {
                let target = &self.alias_targets[number as usize];
                (&*target.tenant, true, target.route)
            }
        };
        let Destination {
            cell,
            owner,
            is_rejected,
        } = destination;
        Route {
            tenant,
            is_alias,
            cell,
            owner,
            is_rejected,
        }
    }
}

#[cfg(test)]
mod tests;
