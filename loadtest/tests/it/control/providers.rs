//! Cells made by a program: the example provider, behind the real daemon.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{PATIENCE, cell::DemoCell, control::Control, proxy::Proxy, wait_until};

/// Made, full, failed with its words, tried again, removed: the whole life of a cell of an `exec` provider.
#[test]
fn the_example_provider_makes_cells_and_takes_them_down() {
    let scratch = TempDir::new().expect("the temporary directory can be written to");
    let addresses = scratch.path().join("pool");
    fs::create_dir(&addresses).expect("the scratch directory is ours");
    let cell = DemoCell::start("web-1");
    let list = |text: String| {
        fs::write(addresses.join("addresses"), text).expect("the scratch directory is ours");
    };
    list(format!("# one machine\n{}\n", cell.address()));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/provider-example.sh");
    let command = json!(["/bin/sh", script, addresses]);
    let proxy = Proxy::plan().start_unready();
    let control = Control::plan(scratch.path(), &proxy.table_path())
        .proxy(proxy.admin())
        .line(&format!(
            "providers: {{ pool: {{ type: exec, command: {command}, describe_interval_ms: 200 }} }}"
        ))
        .start();
    let add = |id: &str| json!({ "id": id, "provider": "pool", "stateless": true });
    control.change("POST", "/v1/cells", &add("web-1"));
    control.wait_for_state("web-1", "active");
    control.wait_until_published();
    proxy.wait_ready();
    assert_eq!(proxy.cell_of("anybody"), "web-1");
    assert_eq!(
        operation(&control, "web-1")["output"],
        format!("web-1 gets {}\n", cell.address())
    );

    control.change("POST", "/v1/cells", &add("web-2"));
    control.wait_for_state("web-2", "failed");
    let failed = operation(&control, "web-2");
    assert_eq!(failed["state"], "failed");
    assert_eq!(failed["output"], "no address is free for web-2\n");
    let second = DemoCell::start("web-2");
    list(format!("{}\n{}\n", cell.address(), second.address()));
    control.change("POST", "/v1/cells/web-2/retry", &Value::Null);
    control.wait_for_state("web-2", "active");

    control.change(
        "POST",
        "/v1/cells/web-1/drain",
        &json!({ "allow_move": true }),
    );
    control.wait_for_state("web-1", "drained");
    control.change("DELETE", "/v1/cells/web-1", &Value::Null);
    control.wait_for_state("web-1", "removed");
    assert_eq!(
        operation(&control, "web-1")["output"],
        format!("web-1 gives {} back\n", cell.address())
    );
    control.wait_until_published();
    wait_until("its requests go to the other cell", PATIENCE, || {
        proxy.cell_of("anybody") == "web-2"
    });
}

/// The newest operation of a cell.
#[track_caller]
fn operation(control: &Control, cell: &str) -> Value {
    control.get(&format!("/v1/cells/{cell}"))["operations"][0].clone()
}
