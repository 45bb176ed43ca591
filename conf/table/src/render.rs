//! From a table to its canonical text.

use std::collections::BTreeMap;

use crate::{
    file::{
        self, CellFile, ClientCertFile, EndpointFile, HashFile, HealthCheckFile, HealthCheckKind,
        ShareFile, SlotRangeFile, TableFile, TlsClientFile,
    },
    history::Step,
    id::CellIndex,
    table::{Cell, HealthCheck, Probe, Share, Table, TlsClient},
};

/// The canonical text of a table: mappings sorted by key, slots as the longest runs, defaults written out, one line per
/// override, no comments.
///
/// `parse(render(table))` gives the same table, and equal tables give equal text; so whoever publishes a table can see
/// by comparing bytes whether anything changed, and two versions of a file differ only in the lines that say something
/// else.
pub fn render(table: &Table) -> String {
    let id = |index: CellIndex| table.cell(index).id().to_string();
    let mut slots: BTreeMap<String, Vec<SlotRangeFile>> = BTreeMap::new();
    for (range, owner) in table.slot_ranges() {
        slots
            .entry(id(owner))
            .or_default()
            .push(SlotRangeFile(range.to_string()));
    }
    let file = TableFile {
        format: 1,
        generation: table.generation().map(super::id::Generation::get),
        allow_move: table.allow_move(),
        hash: HashFile {
            seed: table.hash().seed(),
            slots: table.hash().slots(),
        },
        cells: table
            .cells()
            .iter()
            .map(|cell| (cell.id().to_string(), cell_file(cell)))
            .collect(),
        slots,
        overrides: table
            .overrides()
            .iter()
            .map(|(key, cell)| (key.to_string(), id(*cell)))
            .collect(),
        aliases: table
            .aliases()
            .iter()
            .map(|(alias, tenant)| (alias.to_string(), tenant.to_string()))
            .collect(),
        rejects: table.rejects().iter().map(ToString::to_string).collect(),
        holds: BTreeMap::new(),
        history: table.history().iter().map(Step::file).collect(),
    };
    file::write(&file)
}

/// The text of a table with a history, out of the table's canonical text without one. For whoever knows the history only
/// once the table is there to be compared with the one before it: it saves rendering and reading everything again.
///
/// The history is the last key of the canonical text, so `append_history(render(table), steps)` is the text of
/// `table.with_history(steps)`.
pub fn append_history(text: &mut String, steps: &[Step]) {
    if !steps.is_empty() {
        text.push_str(&file::write_history(steps.iter().map(Step::file).collect()));
    }
}

fn cell_file(cell: &Cell) -> CellFile {
    CellFile {
        endpoints: cell
            .endpoints()
            .iter()
            .map(|endpoint| EndpointFile {
                address: endpoint.address,
                weight: endpoint.weight,
            })
            .collect(),
        max_in_flight: cell.in_flight_max(),
        tunnels_max: cell.tunnels_max(),
        connections_max: cell.connections_max(),
        share: cell.share().map(share_file),
        health_check: cell.health_check().map(health_check_file),
        tls: cell.tls().map(tls_file),
    }
}

fn share_file(share: Share) -> ShareFile {
    match share {
        Share::Cell => ShareFile::Cell,
        Share::Tenant => ShareFile::Tenant,
    }
}

fn health_check_file(check: &HealthCheck) -> HealthCheckFile {
    let (kind, path, host) = match &check.probe {
        Probe::Tcp => (HealthCheckKind::Tcp, None, None),
        Probe::Http { path, host } => {
            let host = host.as_ref().map(ToString::to_string);
            (HealthCheckKind::Http, Some(path.to_string()), host)
        }
    };
    HealthCheckFile {
        kind,
        path,
        host,
        interval_ms: check.interval_ms,
        timeout_ms: check.timeout_ms,
        unhealthy_after: check.unhealthy_after,
        healthy_after: check.healthy_after,
    }
}

fn tls_file(tls: &TlsClient) -> TlsClientFile {
    TlsClientFile {
        server_name: tls.server_name.to_string(),
        ca: tls.ca.to_string(),
        client_cert: tls.client_cert.as_ref().map(|cert| ClientCertFile {
            certificate: cert.certificate.to_string(),
            key: Some(cert.key.to_string()),
        }),
    }
}

#[cfg(test)]
mod tests;
