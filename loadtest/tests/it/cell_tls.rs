//! TLS to cells: whom a cell has to be, what is shown to it, and that requests go over it as over any other connection.

mod changes;
mod files;
mod refusals;
mod requests;
mod servers;

use std::net::SocketAddr;

use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use crate::support::{
    proxy::{ONLY, Plan, Proxy},
    table::TableText,
    tls::{Authority, Certificates, Pem},
    tls_cell::{Terms, TlsCell},
};

const NAME: &str = "a.example";
const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Who signs the cell's certificate, and the folder that the table names files of.
struct World {
    authority: Authority,
    folder: Certificates,
    server: Pem,
}

impl World {
    /// With `ca.pem`.
    fn new() -> Self {
        let authority = Authority::new();
        let folder = Certificates::new();
        folder.write("ca.pem", &authority.pem());
        let server = authority.server(&[NAME]);
        Self {
            authority,
            folder,
            server,
        }
    }

    fn terms<'t>(&'t self, certificates: &'t [(&'t str, &'t Pem)]) -> Terms<'t> {
        Terms {
            certificates,
            versions: &BOTH,
            clients: None,
        }
    }

    fn cell(&self) -> TlsCell {
        TlsCell::start(&self.terms(&[(NAME, &self.server)]))
    }

    /// `tls` of a cell of this name that the file `ca.pem` is to vouch for, and these further settings.
    fn tls(&self, further: &str) -> String {
        self.tls_by(NAME, "ca.pem", further)
    }

    fn tls_by(&self, name: &str, ca: &str, further: &str) -> String {
        let ca = self.folder.path(ca);
        format!(
            "tls: {{ server_name: {name}, ca: {}{further} }}",
            ca.display()
        )
    }

    /// `client_cert` out of these files.
    fn shown(&self, name: &str) -> String {
        let at = |extension: &str| self.folder.path(&format!("{name}.{extension}"));
        let (certificate, key) = (at("crt"), at("key"));
        format!(
            ", client_cert: {{ certificate: {}, key: {} }}",
            certificate.display(),
            key.display()
        )
    }

    fn plan(&self, cell: SocketAddr) -> Plan {
        Proxy::plan().table(table(cell, &self.tls("")))
    }
}

/// A table of one cell.
fn table(cell: SocketAddr, tls: &str) -> TableText {
    TableText::new([(ONLY, vec![cell])]).cell_line(ONLY, tls)
}

/// Which connection of the cell carried an answer: `plain`, or the name that it was called.
#[track_caller]
fn asked(proxy: &Proxy) -> String {
    let answer = proxy.get("acme", "/");
    assert_eq!(answer.status, 200, "{answer:?}\n{}", proxy.log());
    answer.text().lines().next().unwrap_or_default().to_owned()
}
