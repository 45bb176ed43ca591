//! The configurations under which both proxies run.

use super::scenario::{Answer, Exchange, Start, Text, Then, When};

/// A field for tenants, where they have one.
pub(super) const TENANT: &str = "x-tenant-id";

/// How requests name their tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    Header,
    /// By path, query, cookie, header or address.
    Any,
    Host,
}

#[derive(Debug)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    pub(super) naming: Naming,
    /// Top-level keys of `proxy.yaml`.
    pub(super) keys: &'static [(&'static str, &'static str)],
    /// `limits.body_buffered_bytes_max` and `limits.body_bytes_max`.
    pub(super) body_buffered_bytes_max: usize,
    pub(super) body_bytes_max: usize,
    /// Its cells may say nothing until the proxy has had enough.
    pub(super) has_silence: bool,
    /// Of how many requests it gets one.
    pub(super) share: usize,
}

pub(super) static PROFILES: [Profile; 4] = [
    Profile {
        name: "defaults",
        naming: Naming::Header,
        keys: &[(
            "limits",
            "{ body_buffered_bytes_max: 2000, body_bytes_max: 100000 }",
        )],
        body_buffered_bytes_max: 2_000,
        body_bytes_max: 100_000,
        has_silence: false,
        share: 2,
    },
    Profile {
        name: "behind balancers",
        naming: Naming::Any,
        keys: &[
            (
                "tenant_key",
                "[{ path: \"/t/{tenant}/\" }, { query: tenant }, { cookie: tenant }, { header: x-tenant-id }, \
                 { source_ip: true }]",
            ),
            ("trusted_proxies", "[\"127.0.0.0/8\"]"),
            (
                "trusted_headers",
                "[x-forwarded-for, x-forwarded-proto, x-forwarded-host, x-forwarded-port, forwarded, x-real-ip, \
                 x-forwarded-prefix]",
            ),
            (
                "limits",
                "{ body_buffered_bytes_max: 300, body_bytes_max: 20000, upgrades: [websocket, foo/2] }",
            ),
            ("upstream", "{ interim_answers: forwarded, retries: 2 }"),
        ],
        body_buffered_bytes_max: 300,
        body_bytes_max: 20_000,
        has_silence: false,
        share: 4,
    },
    Profile {
        name: "hosts, little allowed",
        naming: Naming::Host,
        keys: &[
            ("tenant_key", "[{ host: \"{tenant}.example.com\" }]"),
            ("unknown_tenants", "refuse"),
            (
                "limits",
                "{ body_buffered_bytes_max: 0, body_bytes_max: 5000, headers_max: 40, head_bytes_max: 4096, \
                 upgrades: [] }",
            ),
            (
                "upstream",
                "{ retries: 0, share: tenant, requests_per_connection_max: 2 }",
            ),
        ],
        body_buffered_bytes_max: 0,
        body_bytes_max: 5_000,
        has_silence: false,
        share: 4,
    },
    Profile {
        name: "impatient",
        naming: Naming::Header,
        keys: &[
            ("timeouts", "{ upstream_read_ms: 700, client_idle_ms: 700 }"),
            (
                "limits",
                "{ body_buffered_bytes_max: 2000, body_bytes_max: 100000 }",
            ),
        ],
        body_buffered_bytes_max: 2_000,
        body_bytes_max: 100_000,
        has_silence: true,
        share: 200,
    },
];

impl Profile {
    /// A plain request to a cell, which asks for nothing but whether connections are kept.
    pub(super) fn probe(&self, id: &str, letter: &str) -> Exchange {
        let tenant = format!("tn-{letter}-000");
        let host = match self.naming {
            Naming::Host => format!("Host: {tenant}.example.com"),
            Naming::Header | Naming::Any => "Host: test".to_owned(),
        };
        let mut fields = vec![host.into_bytes()];
        if self.naming != Naming::Host {
            fields.push(format!("{TENANT}: {tenant}").into_bytes());
        }
        Exchange {
            request: Text {
                line: format!("GET /~{id} HTTP/1.1").into_bytes(),
                fields,
                body: Vec::new(),
            },
            cuts: Vec::new(),
            start: Start::Answered,
            held_body: None,
            leave: None,
            answers: Vec::new(),
        }
    }
}

impl Answer {
    /// A plain one.
    pub(super) fn ok(body: &str) -> Self {
        let length = format!("Content-Length: {}", body.len());
        Self {
            interim: Vec::new(),
            text: Text {
                line: b"HTTP/1.1 200 OK".to_vec(),
                fields: vec![length.into_bytes()],
                body: body.as_bytes().to_vec(),
            },
            kept: None,
            cuts: Vec::new(),
            when: When::Read,
            then: Then::Next,
        }
    }
}
