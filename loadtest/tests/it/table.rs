//! The table changes under the proxy.

use crate::support::{fleet::Fleet, proxy::Proxy};

#[test]
fn smoke() {
    let fleet = Fleet::start(2);
    let proxy = Proxy::start(fleet.table());
    assert_eq!(proxy.get("acme", "/").status, 200);
    println!("{}\n{}", proxy.status(), proxy.explain("acme"));
    assert_eq!(proxy.cell_of("acme"), proxy.explain("acme")["cell"]);
    assert_eq!(proxy.metric("table_generation", &[]), Some(1.0));
    println!("{:?}", proxy.metric("requests_total", &[("cell", "cell-1")]));
    proxy.write_table(fleet.table().pin("acme", "cell-2"));
    proxy.wait_for_generation(2);
    println!("{}", proxy.log());
}
