//! What is measured with: tables that are generated, the same in every run, and an entry of the access log.

use std::{borrow::Cow, fmt::Write as _, net::IpAddr, time::Duration};

use cellgate_proxy::{
    access_log::Entry,
    config::Listener,
    exchange::{Connection, Scheme},
    snapshot::{Accepted, Source},
    tls::CellIdentities,
};
use cellgate_table::{Digest, Generation, Table, parse};

/// Cells of a generated table.
const CELLS: usize = 16;

/// A plain connection of a peer.
pub fn connection(peer: IpAddr) -> Connection {
    let edge = Listener::new("edge", ([0, 0, 0, 0], 8080).into());
    Connection::new(peer, edge.into(), Scheme::Http)
}

/// The key of tenant number `number`, in the shape that many services use.
pub fn tenant(number: usize) -> String {
    format!("tenant-{number:08x}")
}

/// A table file with that many overrides, spread over sixteen cells of two endpoints each.
pub fn table_text(overrides: usize) -> String {
    let mut text = String::from("format: 1\nhash: { seed: 0, slots: 65536 }\ncells:\n");
    let slots_per_cell = 65_536 / CELLS;
    for cell in 0..CELLS {
        line(
            &mut text,
            format_args!(
                "  cell-{cell}: {{ endpoints: [{{ address: \"10.0.{cell}.1:80\" }}, {{ address: \"10.0.{cell}.2:80\" }}] }}"
            ),
        );
    }
    text.push_str("slots:\n");
    for cell in 0..CELLS {
        let first = cell * slots_per_cell;
        line(
            &mut text,
            format_args!(
                "  cell-{cell}: [\"{first}-{}\"]",
                first + slots_per_cell - 1
            ),
        );
    }
    if overrides > 0 {
        text.push_str("overrides:\n");
    }
    for number in 0..overrides {
        line(
            &mut text,
            format_args!("  {}: cell-{}", tenant(number), number % CELLS),
        );
    }
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "{words}").expect("writing to a string never fails");
}

/// The same, read.
pub fn table(overrides: usize) -> Table {
    parse(table_text(overrides).as_bytes()).expect("a generated table is good")
}

/// The same, as the proxy takes it.
pub fn accepted(table: Table) -> Accepted {
    Accepted {
        table,
        generation: Generation::FIRST,
        digest: Digest::of(b"bench"),
        other_digests: Vec::new(),
        source: Source::File,
        cell_tls: CellIdentities::default(),
    }
}

/// Numbers that look random and are the same in every run (xorshift, Marsaglia 2003), so that look-ups do not walk
/// memory in order.
#[derive(Clone, Debug)]
pub struct Scatter(u64);

impl Default for Scatter {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Iterator for Scatter {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Some(self.0)
    }
}

/// A key held in place: a request's key is in the cache when it is looked up, so reading it must cost nothing here.
#[derive(Clone, Copy, Debug)]
pub struct InlineKey {
    bytes: [u8; 31],
    length: u8,
}

impl InlineKey {
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; 31];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self {
            bytes,
            length: u8::try_from(text.len()).expect("a short key"),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// That many keys in scattered order, out of `count` tenants.
pub fn scattered_keys(count: usize, keys: usize) -> Vec<String> {
    let draw = |random: u64| usize::try_from(random % count as u64).expect("below a usize");
    Scatter::default()
        .take(keys)
        .map(|random| tenant(draw(random)))
        .collect()
}

/// An entry of the access log as a small request that a cell answered leaves it.
pub fn usual_entry(connection: &Connection) -> Entry<'_> {
    let head = b"GET /api/v1/orders?page=2 HTTP/1.1\r\nhost: shop.example.com\r\n";
    let took = Duration::from_micros(1_234);
    let mut entry = Entry::body_unread(connection, head, None, took);
    entry.status = 200;
    entry.response_body_bytes = 512;
    entry.tenant = Some(Cow::Borrowed(b"tenant-000012ab"));
    entry.cell = Some(Cow::Borrowed("cell-2"));
    entry.endpoint = Some(([10, 0, 2, 17], 8080).into());
    entry.generation = Some(1_234);
    entry.attempts = Some(1);
    entry.request_id = Some(Cow::Borrowed("5b0c1f6e8c0a4a549d3e3c1f0e9b7a21"));
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_a_good_table() {
        for overrides in [0, 1, 1_000] {
            assert_eq!(table(overrides).overrides().len(), overrides);
        }
    }
}
