//! What the running proxy does with requests and answers, byte by byte.

mod client_side;
mod ends;
mod forwarding;
mod retries;

use crate::support::{Client, Origin, OriginConnection, Proxy, wait_until};

/// An answer that leaves the connection open.
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A request of a tenant without a body, as it may stand on a connection.
fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nX-Tenant-Id: acme\r\n{more}\r\n")
}

/// A request with a body whose length is told.
fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nX-Tenant-Id: acme\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}
