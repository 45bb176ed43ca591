//! The part of a table file that lists the cells.

use std::{
    collections::HashSet,
    net::{Ipv6Addr, SocketAddr},
};

use super::tls;
use crate::{
    address::{self, Use},
    file,
    id::{CellId, CellIndex},
    limits,
    problem::Quoted,
    table::{Cell, Endpoint, HealthCheck, Probe, Share},
    yaml::{Fields, Findings, Value, nearest},
};

/// The keys of one cell, of one endpoint and of a health check.
pub(crate) const CELL_KEYS: [&str; 7] = [
    "endpoints",
    "max_in_flight",
    "tunnels_max",
    "connections_max",
    "share",
    "health_check",
    "tls",
];
pub(crate) const ENDPOINT_KEYS: [&str; 2] = ["address", "weight"];
pub(crate) const HEALTH_CHECK_KEYS: [&str; 7] = [
    "type",
    "path",
    "host",
    "interval_ms",
    "timeout_ms",
    "unhealthy_after",
    "healthy_after",
];

/// The cells of a table that is being read.
pub(super) struct Cells {
    /// By id.
    pub(super) list: Vec<Cell>,
    /// Names of cells that cannot be ids: said once, so that what refers to them is not a mistake too.
    misnamed: HashSet<String>,
}

/// The cells by id. `None` only when there is no list at all: a cell with mistakes still counts as known, so that what
/// refers to it is not reported as a mistake too.
pub(super) fn read(value: &Value<'_>, findings: &mut Findings) -> Option<Cells> {
    let entries = value.entries(findings)?;
    if entries.len() == 0 {
        value.refuse_key(
            findings,
            "names no cell",
            "add at least one cell with an endpoint",
        );
        return None;
    }
    if entries.len() > limits::CELLS_MAX {
        let message = format!(
            "has {} cells, more than {}",
            entries.len(),
            limits::CELLS_MAX
        );
        value.refuse_key(findings, message, "split the fleet over several tables");
        return None;
    }
    let mut cells: Vec<Cell> = Vec::with_capacity(entries.len());
    let mut seen = HashSet::new();
    let mut misnamed = HashSet::new();
    for (name, value) in entries {
        let cell = read_cell(&value, findings);
        match CellId::new(name) {
            Ok(id) if seen.insert(id.clone()) => cells.push(Cell { id, ..cell }),
            Ok(_) => value.refuse_key(findings, "is duplicated", "give each cell its own id"),
            Err(error) => {
                misnamed.insert(name.to_owned());
                value.refuse_key_with(findings, || {
                    let hint = format!(
                        "use 1 to {} letters, digits, `-`, `_` or `.`, the first one a letter or digit",
                        limits::CELL_ID_BYTES_MAX
                    );
                    (error.to_string(), hint)
                });
            }
        }
    }
    cells.sort_by(|left, right| left.id.cmp(&right.id));
    let is_any_good = !cells.is_empty();
    is_any_good.then_some(Cells {
        list: cells,
        misnamed,
    })
}

fn read_cell(value: &Value<'_>, findings: &mut Findings) -> Cell {
    let mut cell = Cell {
        id: CellId::new("unnamed").expect("a plain word is a cell id"),
        endpoints: Vec::new(),
        in_flight_max: file::in_flight_default(),
        tunnels_max: file::tunnels_default(),
        connections_max: file::connections_default(),
        share: None,
        health_check: None,
        tls: None,
    };
    let Some(fields) = value.fields(&CELL_KEYS, findings) else {
        return cell;
    };
    if let Some(endpoints) = fields.required("endpoints", findings) {
        cell.endpoints = read_endpoints(&endpoints, findings).unwrap_or_default();
    }
    if let Some(limit) = fields.optional("max_in_flight") {
        let limit = limit.integer(1..=limits::IN_FLIGHT_MAX, findings);
        cell.in_flight_max = limit.unwrap_or(cell.in_flight_max);
    }
    if let Some(limit) = fields.optional("tunnels_max") {
        let limit = limit.integer(0..=limits::TUNNELS_MAX, findings);
        cell.tunnels_max = limit.unwrap_or(cell.tunnels_max);
    }
    if let Some(limit) = fields.optional("connections_max") {
        let limit = limit.integer(0..=limits::CONNECTIONS_MAX, findings);
        cell.connections_max = limit.unwrap_or(cell.connections_max);
    }
    if let Some(share) = fields.optional("share") {
        let choices = [("cell", Share::Cell), ("tenant", Share::Tenant)];
        cell.share = share.choice(&choices, findings);
    }
    if let Some(check) = fields.optional("health_check") {
        cell.health_check = read_health_check(&check, findings);
    }
    if let Some(tls) = fields.optional("tls") {
        cell.tls = tls::read(&tls, findings);
    }
    cell
}

fn read_endpoints(value: &Value<'_>, findings: &mut Findings) -> Option<Vec<Endpoint>> {
    let items = value.sequence(findings)?;
    if items.len() == 0 {
        value.refuse_key(
            findings,
            "is empty",
            "a cell needs at least one endpoint; else remove the cell",
        );
        return None;
    }
    if items.len() > limits::ENDPOINTS_PER_CELL_MAX {
        let message = format!(
            "has {} entries, more than {}",
            items.len(),
            limits::ENDPOINTS_PER_CELL_MAX
        );
        value.refuse_key(
            findings,
            message,
            "put a load balancer of the cell's own in front of it",
        );
        return None;
    }
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(items.len());
    for item in items {
        let Some(fields) = item.fields(&ENDPOINT_KEYS, findings) else {
            continue;
        };
        let address = fields.required("address", findings);
        let address = address.and_then(|value| Some((read_address(&value, findings)?, value)));
        let weight = match fields.optional("weight") {
            Some(weight) => weight.integer(1..=limits::ENDPOINT_WEIGHT_MAX, findings),
            None => Some(file::weight_default()),
        };
        let (Some((address, value)), Some(weight)) = (address, weight) else {
            continue;
        };
        if endpoints.iter().any(|endpoint| endpoint.address == address) {
            value.refuse_with(findings, || {
                (
                    format!("{address} is duplicated in this cell"),
                    "remove one of them; for a larger share of the requests raise its `weight`"
                        .to_owned(),
                )
            });
        }
        endpoints.push(Endpoint { address, weight });
    }
    Some(endpoints)
}

/// Where an endpoint of the cell is reached.
fn read_address(value: &Value<'_>, findings: &mut Findings) -> Option<SocketAddr> {
    match address::parse(value.text(findings)?, Use::Connect) {
        Ok(address) => Some(address),
        Err(objection) => {
            value.refuse(findings, objection.message, objection.hint);
            None
        }
    }
}

fn read_health_check(value: &Value<'_>, findings: &mut Findings) -> Option<HealthCheck> {
    let fields = value.fields(&HEALTH_CHECK_KEYS, findings)?;
    let kind = fields
        .required("type", findings)
        .and_then(|kind| kind.choice(&[("http", Kind::Http), ("tcp", Kind::Tcp)], findings));
    let probe = match kind {
        None => None,
        Some(Kind::Http) => read_http_probe(&fields, findings),
        Some(Kind::Tcp) => {
            let others = ["path", "host"].into_iter();
            let others: Vec<_> = others.filter_map(|name| fields.optional(name)).collect();
            for other in &others {
                let hint = "remove it, or write `type: http`";
                other.refuse_key(findings, "goes with `type: http` only", hint);
            }
            others.is_empty().then_some(Probe::Tcp)
        }
    };
    let number = |name: &str, low: u32, high: u32, default: u32, findings: &mut Findings| {
        fields
            .optional(name)
            .map_or(Some(default), |value| value.integer(low..=high, findings))
    };
    let interval_ms = number(
        "interval_ms",
        100,
        limits::HEALTH_MS_MAX,
        file::interval_default(),
        findings,
    );
    let timeout_ms = number(
        "timeout_ms",
        10,
        limits::HEALTH_MS_MAX,
        file::timeout_default(),
        findings,
    );
    let streak_max = limits::HEALTH_STREAK_MAX;
    let unhealthy_after = number(
        "unhealthy_after",
        1,
        streak_max,
        file::unhealthy_default(),
        findings,
    );
    let healthy_after = number(
        "healthy_after",
        1,
        streak_max,
        file::healthy_default(),
        findings,
    );
    Some(HealthCheck {
        probe: probe?,
        interval_ms: interval_ms?,
        timeout_ms: timeout_ms?,
        unhealthy_after: unhealthy_after?,
        healthy_after: healthy_after?,
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Http,
    Tcp,
}

fn read_http_probe(fields: &Fields<'_>, findings: &mut Findings) -> Option<Probe> {
    let path = match fields.optional("path") {
        Some(value) => read_health_path(&value, findings),
        None => Some(file::HEALTH_PATH_DEFAULT.into()),
    };
    let host = match fields.optional("host") {
        Some(value) => read_health_host(&value, findings).map(Some),
        None => Some(None),
    };
    Some(Probe::Http {
        path: path?,
        host: host?,
    })
}

fn read_health_path(value: &Value<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let text = value.text(findings)?;
    if !is_path_and_query(text) || text.len() > limits::HEALTH_PATH_BYTES_MAX {
        value.refuse_with(findings, || {
            let hint = format!(
                "write a path that starts with `/`, other characters than a URI's as %-escapes, at most {} bytes",
                limits::HEALTH_PATH_BYTES_MAX
            );
            (format!("{} is not a path to ask for", Quoted(text)), hint)
        });
        return None;
    }
    Some(text.into())
}

fn read_health_host(value: &Value<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let text = value.text(findings)?;
    if !is_host(text) || text.len() > limits::HEALTH_HOST_BYTES_MAX {
        value.refuse_with(findings, || {
            let hint = "write what belongs into the `Host` of a request, such as shop.example.com or 127.0.0.1:8000";
            (
                format!("{} is not a host", Quoted(text)),
                hint.to_owned(),
            )
        });
        return None;
    }
    Some(text.into())
}

/// A name or an IP address, with or without a port, as `Host` has it (RFC 9110, section 7.2).
fn is_host(text: &str) -> bool {
    let is_name = |name: &str| {
        let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !name.is_empty() && name.bytes().all(is_label)
    };
    let is_v6 = |host: &str| {
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    match text.rsplit_once(':') {
        Some((host, port)) if is_port(port) => is_name(host) || is_v6(host),
        _ => is_name(text) || is_v6(text),
    }
}

/// A path with or without a query, of the characters that a URI may hold (RFC 3986, sections 3.3 and 3.4).
fn is_path_and_query(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"/?:@-._~!$&'()*+,;=%".contains(&byte);
    let is_escape = |digits: &str| {
        let digits = digits.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    };
    text.starts_with('/') && text.bytes().all(allowed) && text.split('%').skip(1).all(is_escape)
}

/// The cell of that name.
pub(super) fn resolve(name: &str, cells: &Cells) -> Option<CellIndex> {
    let found = cells
        .list
        .binary_search_by(|cell| cell.id.as_str().cmp(name));
    found.ok().map(CellIndex::new)
}

/// Notes a key that names a cell which does not exist.
pub(super) fn refuse_unknown_key(
    value: &Value<'_>,
    name: &str,
    cells: &Cells,
    findings: &mut Findings,
) {
    if !cells.misnamed.contains(name) {
        value.refuse_key_with(findings, || unknown_cell(name, &cells.list));
    }
}

/// Notes a value that names a cell which does not exist.
pub(super) fn refuse_unknown_value(
    value: &Value<'_>,
    name: &str,
    cells: &Cells,
    findings: &mut Findings,
) {
    if !cells.misnamed.contains(name) {
        value.refuse_with(findings, || unknown_cell(name, &cells.list));
    }
}

fn unknown_cell(name: &str, cells: &[Cell]) -> (String, String) {
    let message = format!("there is no cell {}", Quoted(name));
    (message, known_cells(name, cells))
}

fn known_cells(name: &str, cells: &[Cell]) -> String {
    const LISTED_MAX: usize = 8;
    if let Some(id) = nearest(name, cells.iter().map(|cell| cell.id.as_str())) {
        return format!("did you mean `{id}`?");
    }
    let mut listed: Vec<&str> = cells
        .iter()
        .take(LISTED_MAX)
        .map(|cell| cell.id.as_str())
        .collect();
    if cells.len() > LISTED_MAX {
        listed.push("…");
    }
    format!("add it under `cells`, or name one of {}", listed.join(", "))
}
