//! psycopg, which brings a newer client's library than the distribution's: one that begins TLS directly, if its options say so.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    servers::{Server, programs},
    *,
};
use crate::support::{
    heavy::skip,
    programs::{free_address, haproxy},
    python,
};

const PSYCOPG: &str = "psycopg[binary]==3.3.9";
/// What the server calls itself, and as many bytes as need several packets.
const SCRIPT: &str = r#"
import sys, psycopg
assert psycopg.pq.version() >= 170000, psycopg.pq.version()
with psycopg.connect(sys.argv[1]) as connection:
    name = connection.execute("show cluster_name").fetchone()[0]
    rows = connection.execute("select repeat('x', 1000) from generate_series(1, 500)").fetchall()
    assert [row[0] for row in rows] == ["x" * 1000] * 500
    print(name)
"#;
const NAMES: [(&str, &str); 2] = [("acme.example", "acme"), ("other.example", "other")];

struct World {
    python: PathBuf,
    servers: [Server; 2],
    authority: Authority,
    folder: Certificates,
}

impl World {
    fn new() -> Option<Self> {
        let Some(programs) = programs() else {
            skip("it needs PostgreSQL's server");
            return None;
        };
        let Some(python) = python::installed("python", PSYCOPG, "-cimport psycopg") else {
            skip("psycopg cannot be installed (python3 with venv, pip, the Python package index)");
            return None;
        };
        let (authority, folder) = (Authority::new(), Certificates::new());
        folder.write("ca.pem", &authority.pem());
        folder.write_pair("both", &authority.server(&NAMES.map(|(name, _)| name)));
        let servers =
            NAMES.map(|(name, id)| Server::start(&programs, id, &authority.server(&[name])));
        Some(Self {
            python,
            servers,
            authority,
            folder,
        })
    }

    fn ca(&self) -> PathBuf {
        self.folder.path("ca.pem")
    }

    /// A table of these addresses, and a further line for each cell out of its name.
    fn table(&self, addresses: [SocketAddr; 2], line: &dyn Fn(&str) -> String) -> TableText {
        let cells = [0, 1].map(|at| (NAMES[at].1, vec![addresses[at]]));
        let mut table = TableText::new(cells);
        for (name, id) in NAMES {
            table = table.pin(id, id);
            let line = line(name);
            if !line.is_empty() {
                table = table.cell_line(id, &line);
            }
        }
        table
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        [0, 1].map(|at| ([127, 0, 0, 1], self.servers[at].port).into())
    }

    /// What the server that psycopg gets to calls itself, or what psycopg says.
    fn asked(&self, proxy: &Proxy, name: &str, options: &str) -> Result<String, String> {
        let target = format!(
            "host={name} hostaddr=127.0.0.1 port={} user=tester dbname=postgres connect_timeout=10 \
             gssencmode=disable sslrootcert={} {options}",
            proxy.address().port(),
            self.ca().display()
        );
        let output = Command::new(&self.python)
            .args(["-c", SCRIPT, &target])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    #[track_caller]
    fn check(&self, proxy: &Proxy, options: &str) {
        for (name, id) in NAMES {
            let asked = self.asked(proxy, name, options);
            assert_eq!(asked.as_deref(), Ok(id), "{options}\n{}", proxy.log());
        }
    }

    fn tls(&self) -> String {
        format!(", tls: {{ directory: {} }}", self.folder.folder().display())
    }
}

fn verified(name: &str, ca: &Path) -> String {
    format!("tls: {{ server_name: {name}, ca: {} }}", ca.display())
}

const BOTH_WAYS: [&str; 3] = [
    "sslmode=require",
    "sslmode=verify-full",
    "sslmode=verify-full sslnegotiation=direct",
];

#[test]
fn tls_ends_at_the_proxy_whichever_way_it_begins() {
    let Some(world) = World::new() else { return };
    let ca = world.ca();
    for is_verified in [true, false] {
        let table = world.table(world.addresses(), &|name| {
            let line = is_verified.then(|| verified(name, &ca));
            line.unwrap_or_default()
        });
        let proxy = postgres(table, &world.tls()).start();
        for options in BOTH_WAYS {
            world.check(&proxy, options);
        }
        let refused = world.asked(&proxy, NAMES[0].0, "sslmode=disable");
        assert!(refused.unwrap_err().contains("sslmode=require"));
    }
}

#[test]
fn tls_ends_at_the_server_after_it_was_asked() {
    let Some(world) = World::new() else { return };
    let table = world.table(world.addresses(), &|_| String::new());
    let proxy = postgres(table, "").start();
    for options in &BOTH_WAYS[..2] {
        world.check(&proxy, options);
    }
}

/// The servers of the distribution know no direct TLS. One that does is made of `HAProxy` and such a server.
#[test]
fn direct_tls_needs_nothing_of_the_proxy() {
    let Some(world) = World::new() else { return };
    let addresses = [free_address(), free_address()];
    let sections: Vec<_> = (0..2)
        .map(|at| {
            let (name, id) = NAMES[at];
            let pem = world.authority.server(&[name]);
            let both = (world.folder).write(&format!("{id}.both"), &(pem.certificate + &pem.key));
            format!(
                "listen {id}\n  bind {} ssl crt {} alpn postgresql\n  server s {}\n",
                addresses[at],
                both.display(),
                world.addresses()[at]
            )
        })
        .collect();
    let Some(_haproxy) = haproxy(&sections.concat(), &addresses) else {
        return skip("it needs haproxy");
    };
    let table = world.table(addresses, &|_| String::new());
    for starttls in ["", ", starttls: postgresql"] {
        let listener =
            format!("[{{ name: edge, address: \"127.0.0.1:0\", protocol: tcp {starttls} }}]");
        let proxy = postgres(table.clone(), "")
            .set("listeners", &listener)
            .start();
        world.check(&proxy, BOTH_WAYS[2]);
        for (name, _) in NAMES {
            wait_until("its name is logged", PATIENCE, || {
                entries(&proxy).iter().any(|entry| entry["sni"] == name)
            });
        }
    }
}
