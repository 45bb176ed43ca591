//! Many tenants under load, each answer from the right cell, whatever happens to the table file.

mod k6;
mod mutants;
mod rewriting;
mod soak;

use std::fmt::Write as _;

use crate::support::{
    heavy::is_acceptance,
    proxy::{Proxy, command},
};

/// The tenants that a table has pinned, beside those that live where their slot says.
const PINNED_EVERY: usize = 10;

fn tenants(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("tenant-{number}"))
        .collect()
}

/// What `explain` says of each tenant, the proxy's and for some of them the program's: lines
/// `tenant<TAB>cell`.
#[track_caller]
fn explained(proxy: &Proxy, tenants: &[String]) -> String {
    let mut lines = String::new();
    let step = if is_acceptance() { 1 } else { 25 };
    for (at, tenant) in tenants.iter().enumerate() {
        let said = proxy.explain(tenant);
        let cell = said["cell"].as_str().expect("each tenant has a cell");
        if at % step == 0 {
            assert_eq!(explained_by_program(proxy, tenant), cell, "{tenant}");
        }
        writeln!(lines, "{tenant}\t{cell}").expect("a String takes whatever is written");
    }
    lines
}

#[track_caller]
fn explained_by_program(proxy: &Proxy, tenant: &str) -> String {
    let output = command()
        .args(["explain", "--output", "json", "--table"])
        .arg(proxy.table_path())
        .arg(tenant)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", output.status);
    let said: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("explain prints JSON");
    said["cell"]
        .as_str()
        .expect("each tenant has a cell")
        .to_owned()
}
