//! Listeners with TLS: which certificate a client gets, which clients are served, and that requests go over it as over any
//! other connection.

mod certificates;
mod clients;
mod crowd;
mod hsts;
mod programs;
mod requests;

use std::{net::SocketAddr, sync::Arc};

use rustls::{ClientConfig, version::TLS13};

use crate::support::{
    proxy::{Plan, Proxy},
    tls::{Authority, Certificates, client},
    wire::Connection,
};

const NAME: &str = "one.example.com";

/// A proxy with TLS, its certificates' folder, and who signed them.
struct World {
    authority: Authority,
    certificates: Certificates,
}

impl World {
    /// With one certificate, for [`NAME`].
    fn new() -> Self {
        let world = Self {
            authority: Authority::new(),
            certificates: Certificates::new(),
        };
        let pem = world.authority.server(&[NAME]);
        world.certificates.write_pair("one", &pem);
        world
            .certificates
            .write("authority.ca", &world.authority.pem());
        world
    }

    /// A proxy whose listener has the folder's certificates, and these further settings.
    fn plan(&self, cell: SocketAddr, further: &str) -> Plan {
        let folder = self.certificates.folder().display();
        let tls = format!("{{ directory: {folder}, {further} }}");
        Proxy::in_front_of(cell).set("listeners", &listener(&tls))
    }

    fn client(&self) -> Arc<ClientConfig> {
        self.authority.client_config(&[&TLS13], None)
    }

    #[track_caller]
    fn connect(&self, proxy: &Proxy) -> Connection {
        let tls = client(&self.client(), NAME);
        Connection::try_open_tls(proxy.address(), tls).expect("the client may come in")
    }
}

fn listener(tls: &str) -> String {
    format!(r#"[{{ name: edge, address: "127.0.0.1:0", tls: {tls} }}]"#)
}
