//! The smallest sensible proxy on pingora-proxy that does what `make compare` asks of every proxy: the tenant header
//! decides which cell answers, connections are kept alive on both sides. It shows what cellgate adds to the framework
//! below it, or saves.
//!
//! It must not use anything of cellgate's own code.
//!
//!     bare-pingora LISTEN CELL...        bare-pingora 127.0.0.1:8080 127.0.0.1:9001 127.0.0.1:9002

use std::{
    env,
    hash::{DefaultHasher, Hasher as _},
    net::SocketAddr,
};

use async_trait::async_trait;
use pingora::{
    Error, ErrorType, Result,
    modules::http::HttpModules,
    prelude::HttpPeer,
    proxy::{ProxyHttp, Session, http_proxy_service},
    server::{Server, configuration::ServerConf},
};
use tikv_jemallocator::Jemalloc;

const TENANT_HEADER: &str = "x-tenant-id";
/// More than all connections of a load generator, so that none has to be opened anew.
const IDLE_CONNECTIONS_MAX: usize = 4096;

/// The same as cellgate's, so that allocators are not what is compared.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

struct Cells(Vec<SocketAddr>);

impl Cells {
    /// The cell of a tenant, by a hash of its name that is the same in every run.
    fn of(&self, tenant: &[u8]) -> SocketAddr {
        let mut hasher = DefaultHasher::new();
        hasher.write(tenant);
        let cells = self.0.len() as u64;
        let index = usize::try_from(hasher.finish() % cells);
        self.0[index.expect("less than the number of cells")]
    }
}

#[async_trait]
impl ProxyHttp for Cells {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    /// Without the module for compression, which is there by default and does nothing.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn upstream_peer(
        &self,
        session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        let Some(tenant) = session.req_header().headers.get(TENANT_HEADER) else {
            return Error::e_explain(ErrorType::HTTPStatus(400), "no tenant");
        };
        let cell = self.of(tenant.as_bytes());
        Ok(Box::new(HttpPeer::new(cell, false, String::new())))
    }
}

fn main() {
    let mut addresses = env::args().skip(1);
    let listen = addresses
        .next()
        .expect("the first argument is an address to listen on");
    let cells: Vec<SocketAddr> = addresses
        .map(|cell| cell.parse().expect("every further one is a cell's address"))
        .collect();
    assert!(!cells.is_empty(), "at least one cell is needed");
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: IDLE_CONNECTIONS_MAX,
        // What SIGTERM waits for.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Cells(cells));
    proxy.add_tcp(&listen);
    server.add_service(proxy);
    server.run_forever();
}
