//! `timeouts`.

use cellgate_table::yaml::{
    Fields, Findings,
    settings::{milliseconds, section},
};

use crate::config::Timeouts;

/// Longer than the 60 s of common load balancers.
const KEEPALIVE_MS: u32 = 75_000;

pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Option<Timeouts> {
    let known = [
        "head_ms",
        "keepalive_ms",
        "client_idle_ms",
        "connect_ms",
        "upstream_read_ms",
        "upstream_write_ms",
        "upgrade_idle_ms",
        "shutdown_delay_ms",
        "shutdown_ms",
        "drain_idle_ms",
        "upgrade_ms",
    ];
    section(fields, "timeouts", &known, findings, |fields, findings| {
        let mut ms =
            |name, least, default| milliseconds(fields.as_ref(), name, least, default, findings);
        let head = ms("head_ms", 10, 10_000);
        let keepalive = ms("keepalive_ms", 10, KEEPALIVE_MS);
        let client_idle = ms("client_idle_ms", 10, 60_000);
        let connect = ms("connect_ms", 1, 1_000);
        let upstream_read = ms("upstream_read_ms", 1, 30_000);
        let upstream_write = ms("upstream_write_ms", 1, 30_000);
        let upgrade_idle = ms("upgrade_idle_ms", 1, 3_600_000);
        let shutdown_delay = ms("shutdown_delay_ms", 0, 0);
        let shutdown = ms("shutdown_ms", 0, 30_000);
        // As long as an idle connection may wait at other times, unless it is said.
        let idle_ms = keepalive.map_or(KEEPALIVE_MS.into(), |limit| limit.as_millis());
        let idle_ms = u32::try_from(idle_ms).unwrap_or(u32::MAX);
        let drain_idle = ms("drain_idle_ms", 0, idle_ms);
        let upgrade = ms("upgrade_ms", 1, 60_000);
        Some(Timeouts {
            head: head?,
            keepalive: keepalive?,
            client_idle: client_idle?,
            connect: connect?,
            upstream_read: upstream_read?,
            upstream_write: upstream_write?,
            upgrade_idle: upgrade_idle?,
            shutdown_delay: shutdown_delay?,
            shutdown: shutdown?,
            drain_idle: drain_idle?,
            upgrade: upgrade?,
        })
    })
}
