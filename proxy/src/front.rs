//! Gives each connection to what serves its listener's protocol. One service accepts for all, so that they share threads and
//! the limit of connections.

use pingora::server::ShutdownWatch;

use crate::{
    config::ListenerProtocol,
    http::Edge,
    listen::{Accepted, ServeConnection},
    tcp::Carrier,
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Front {
    pub http: Edge,
    pub tcp: Carrier,
}

impl ServeConnection for Front {
    async fn serve(&self, accepted: Box<Accepted>, shutdown: &ShutdownWatch) {
        match accepted.listener.protocol {
            ListenerProtocol::Http => self.http.serve(accepted, shutdown).await,
            ListenerProtocol::Tcp(relaying) => self.tcp.serve(accepted, relaying, shutdown).await,
        }
    }

    fn listeners_closed(&self) {
        self.http.listeners_closed();
    }
}
