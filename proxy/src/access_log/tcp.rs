//! What a line of the access log says of a TCP listener's connection.

use std::time::{Duration, SystemTime};

use cellgate_process::lines::Shard;

use super::{
    Line,
    entry::push_tls,
    json::{push_bare_ip, push_endpoint, push_ip, push_ms, push_number, push_text},
};
use crate::{
    clock::DateWriter,
    config::AccessLogFormat,
    exchange::{Connection, Destination, Exchange},
    tcp::End,
};

/// One connection, at its end.
#[derive(Debug)]
pub struct TcpEntry<'a> {
    connection: &'a Connection,
    exchange: &'a Exchange,
    end: End,
    took: Duration,
    /// Of a hello that is the cell's.
    server_name: Option<&'a str>,
    bytes_from_client: u64,
    bytes_from_cell: u64,
}

impl<'a> TcpEntry<'a> {
    /// Of a connection that carried nothing.
    pub fn new(
        connection: &'a Connection,
        exchange: &'a Exchange,
        end: End,
        took: Duration,
    ) -> Self {
        Self {
            connection,
            exchange,
            end,
            took,
            server_name: None,
            bytes_from_client: 0,
            bytes_from_cell: 0,
        }
    }

    /// The server's name that the client asks for, where its TLS is the cell's and the name had to be known.
    #[must_use]
    pub fn asking_for(mut self, server_name: Option<&'a str>) -> Self {
        self.server_name = server_name;
        self
    }

    #[must_use]
    pub fn carried(mut self, from_client: u64, from_cell: u64) -> Self {
        self.bytes_from_client = from_client;
        self.bytes_from_cell = from_cell;
        self
    }

    fn render_json(&self, dates: &mut DateWriter, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"time":""#);
        dates.write(SystemTime::now(), out);
        out.extend_from_slice(br#"","listener":"#);
        push_text(out, self.connection.listener.name.as_bytes());
        out.extend_from_slice(br#","protocol":"tcp","client":"#);
        push_ip(out, self.connection.peer);
        if let Some(tls) = &self.connection.tls {
            push_tls(out, tls);
        }
        if let Some(name) = self.server_name {
            out.extend_from_slice(br#","sni":"#);
            push_text(out, name.as_bytes());
        }
        out.extend_from_slice(br#","reason":"#);
        push_text(out, self.end.code().as_bytes());
        out.extend_from_slice(br#","duration_ms":"#);
        push_ms(out, self.took);
        out.extend_from_slice(br#","bytes_from_client":"#);
        push_number(out, self.bytes_from_client);
        out.extend_from_slice(br#","bytes_from_cell":"#);
        push_number(out, self.bytes_from_cell);
        self.render_way(out);
        out.extend_from_slice(b"}\n");
    }

    fn render_way(&self, out: &mut Vec<u8>) {
        if let Some(tenant) = self.exchange.tenant() {
            out.extend_from_slice(br#","tenant":"#);
            push_text(out, tenant);
        }
        if let Some(endpoint) = self.exchange.endpoint_address() {
            out.extend_from_slice(br#","endpoint":"#);
            push_endpoint(out, endpoint);
        }
        if let Some(destination) = self.exchange.destination() {
            out.extend_from_slice(br#","cell":"#);
            push_text(out, destination.cell().state.id.as_str().as_bytes());
            out.extend_from_slice(br#","generation":"#);
            push_number(out, destination.generation().get());
            out.extend_from_slice(br#","attempts":"#);
            push_number(out, Destination::attempts(destination) as u64);
        }
    }

    /// The format is for requests; a connection has neither method nor status.
    fn render_combined(&self, dates: &mut DateWriter, out: &mut Vec<u8>) {
        push_bare_ip(out, self.connection.peer);
        out.extend_from_slice(b" - - [");
        dates.write_common(SystemTime::now(), out);
        out.extend_from_slice(b"] \"-\" 0 ");
        push_number(out, self.bytes_from_cell);
        out.extend_from_slice(b" \"-\" \"-\"\n");
    }
}

impl Line for TcpEntry<'_> {
    fn shard(&self) -> Shard {
        Shard::of(self.connection)
    }

    fn render(&self, format: AccessLogFormat, dates: &mut DateWriter, out: &mut Vec<u8>) {
        match format {
            AccessLogFormat::Json => self.render_json(dates, out),
            AccessLogFormat::Combined => self.render_combined(dates, out),
        }
    }
}
