//! From request to cell: key, alias, override or slot, and whether the cell has room.

use std::{net::IpAddr, sync::Arc};

use super::{Destination, Exchange, Subject, destination::Place};
use crate::{
    answer::Reason,
    config::Ejection,
    metrics::Metrics,
    snapshot::Snapshot,
    tenant_key::{KeyError, RequestKey, UnknownTenants},
};

/// The rules that hold for every request, from the configuration.
#[derive(Debug)]
pub struct Policy {
    pub unknown_tenants: UnknownTenants,
    /// Further attempts inside the cell, where trying again is safe.
    pub retries: usize,
    pub ejection: Ejection,
    pub metrics: Arc<Metrics>,
}

/// A request that the proxy answers by itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: Reason,
    /// What is wrong with this very request.
    pub detail: Option<String>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
        }
    }
}

impl From<KeyError> for Refused {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Missing => Reason::NoTenantKey.into(),
            error => Self {
                reason: match error {
                    KeyError::NoCertificate | KeyError::NoFittingName => Reason::NoCertificate,
                    KeyError::NoExtension => Reason::NoProxyTlv,
                    _ => Reason::BadTenantKey,
                },
                detail: Some(error.to_string()),
            },
        }
    }
}

impl Exchange {
    /// Finds the cell of a request of `client` that names `key`, and takes a place in it. Everything comes from one
    /// snapshot, which is not held.
    pub fn admit(
        &mut self,
        policy: &Policy,
        client: IpAddr,
        key: Result<Box<RequestKey>, KeyError>,
        snapshot: Option<&Snapshot>,
    ) -> Result<(), Refused> {
        self.client = client;
        self.find_cell(policy, key, snapshot)
            .inspect_err(|refused| self.reason = Some(refused.reason))
    }

    fn find_cell(
        &mut self,
        policy: &Policy,
        key: Result<Box<RequestKey>, KeyError>,
        snapshot: Option<&Snapshot>,
    ) -> Result<(), Refused> {
        let refuse = |refused: Refused| {
            policy.metrics.rejected_without_cell(refused.reason);
            refused
        };
        let snapshot = snapshot.ok_or_else(|| refuse(Reason::NoTable.into()))?;
        let key = &*self.key.insert(key.map_err(|error| refuse(error.into()))?);
        let route = snapshot.routes.route(key.as_bytes());
        let cell = snapshot.cell(route.cell);
        let metrics = &cell.state.metrics;
        if route.is_rejected {
            metrics.rejected(Reason::Rejected);
            return Err(Reason::Rejected.into());
        }
        if policy.unknown_tenants == UnknownTenants::Refuse && !route.is_known() {
            return Err(refuse(Reason::UnknownTenant.into()));
        }
        let place = match self.subject {
            Subject::Request => cell.admit().map(Place::Request),
            Subject::Connection => cell.admit_connection(route.tenant).map(Place::Connection),
        };
        let Some(place) = place else {
            metrics.rejected(Reason::CellOverloaded);
            return Err(Reason::CellOverloaded.into());
        };
        match self.subject {
            Subject::Request => metrics.requests.inc(),
            Subject::Connection => metrics.tcp.connections.inc(),
        }
        let alias_target = route.is_alias.then(|| route.tenant.into());
        self.destination = Some(Destination::new(snapshot, cell, alias_target, place));
        Ok(())
    }
}
