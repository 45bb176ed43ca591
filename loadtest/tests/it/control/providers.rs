//! Cells made by a program: the example provider, behind the real daemon.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    PATIENCE, cell::DemoCell, control::Control, proxy::Proxy, wait_until, wire::Request,
};

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

/// Parameters and output may hold passwords, and whoever reaches the API may read without the token.
#[test]
fn what_a_provider_is_given_and_says_is_shown_only_with_the_token() {
    let scratch = TempDir::new().expect("the temporary directory can be written to");
    let script = "echo the password is hunter2 >&2; cat > /dev/null; exit 1";
    let command = json!(["/bin/sh", "-c", script]);
    let control = Control::plan(scratch.path(), &scratch.path().join("table.yaml"))
        .line(&format!(
            "providers: {{ mine: {{ type: exec, command: {command} }} }}"
        ))
        .start();
    let cell = json!({ "id": "web-1", "provider": "mine", "params": { "password": "hunter2" } });
    control.change("POST", "/v1/cells", &cell);
    control.wait_for_state("web-1", "failed");
    let seen = control.get("/v1/cells/web-1");
    assert_eq!(seen["params"]["password"], "hunter2");
    assert_eq!(
        operation(&control, "web-1")["output"],
        "the password is hunter2\n"
    );
    for path in [
        "/v1/cells",
        "/v1/cells/web-1",
        "/v1/audit",
        "/v1/events",
        "/v1/proxies",
        "/v1/table",
        "/metrics",
    ] {
        let answer = Request::get(path).send(control.address());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(
            !answer.text().contains("hunter2"),
            "{path}: {}",
            answer.text()
        );
    }
}

/// The newest operation of a cell.
#[track_caller]
fn operation(control: &Control, cell: &str) -> Value {
    control.get(&format!("/v1/cells/{cell}"))["operations"][0].clone()
}
