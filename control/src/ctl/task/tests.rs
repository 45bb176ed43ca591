use clap::Parser as _;

use super::*;
use crate::ctl::args::{Cli, Command};

fn task(line: &str) -> Result<Task, String> {
    let words = std::iter::once("cellctl").chain(line.split(' '));
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let task = match &cli.command {
        Command::Cell(command) => of_cell(command).map_err(|failure| failure.to_string())?,
        Command::Tenant(TenantCommand::List(list)) => Task::new(
            page(list, list.limit, list.after.as_deref()),
            show::tenant::list,
        ),
        Command::Tenant(command) => of_tenant(command).ok_or("no single request")?,
        Command::Slots { command } => of_slots(command.as_ref()),
        Command::Plan { command } => of_plan(command.as_ref()),
        Command::Table(command) => of_table(command).ok_or("no single request")?,
        other => return Err(format!("{other:?}")),
    };
    Ok(task)
}

fn check(line: &str, expected: &str) {
    let task = task(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(task.call.to_string(), expected, "{line}");
}

#[test]
fn words_about_cells_become_requests() {
    check("cell list", "GET /v1/cells");
    check("cell list --state removed", "GET /v1/cells?state=removed");
    check("cell show a/b", "GET /v1/cells/a%2Fb");
    check(
        "cell add a --endpoint 1.2.3.4:5 --endpoint [::1]:6=3",
        r#"POST /v1/cells {"endpoints":[{"address":"1.2.3.4:5"},{"address":"[::1]:6","weight":3}],"id":"a","provider":"static"}"#,
    );
    check(
        "cell add a --provider p --param size=1.0 --param n:=3 --param l:=[true] --stateless --label z=a=b --capacity tenants=5",
        r#"POST /v1/cells {"capacity":{"tenants":5.0},"id":"a","labels":{"z":"a=b"},"params":{"l":[true],"n":3,"size":"1.0"},"provider":"p","stateless":true}"#,
    );
    check(
        "cell add a --health-path /h --health-host b.example --health-interval-ms 500 --health-timeout-ms 50",
        r#"POST /v1/cells {"health_check":{"host":"b.example","interval_ms":500,"path":"/h","timeout_ms":50,"type":"http"},"id":"a","provider":"static"}"#,
    );
    check(
        "cell update a --health-tcp --health-unhealthy-after 1 --health-healthy-after 4",
        r#"PATCH /v1/cells/a {"health_check":{"healthy_after":4,"type":"tcp","unhealthy_after":1}}"#,
    );
    check(
        "cell update a --tls-server-name a.example --tls-ca ca.pem",
        r#"PATCH /v1/cells/a {"tls":{"ca":"ca.pem","server_name":"a.example"}}"#,
    );
    check(
        "cell add a --tls-server-name a --tls-ca c --tls-client-certificate p.crt --tls-client-key p.key",
        r#"POST /v1/cells {"id":"a","provider":"static","tls":{"ca":"c","client_cert":{"certificate":"p.crt","key":"p.key"},"server_name":"a"}}"#,
    );
    check(
        "cell update a --no-health-check --no-tls --no-labels --no-capacity --stateless=false --max-in-flight 9",
        r#"PATCH /v1/cells/a {"capacity":{},"health_check":null,"labels":{},"max_in_flight":9,"stateless":false,"tls":null}"#,
    );
    check(
        "cell drain a",
        r#"POST /v1/cells/a/drain {"allow_move":false}"#,
    );
    check(
        "cell drain a --allow-move",
        r#"POST /v1/cells/a/drain {"allow_move":true}"#,
    );
    check("cell activate a", "POST /v1/cells/a/activate");
    check("cell retry a", "POST /v1/cells/a/retry");
    check("cell remove a", "DELETE /v1/cells/a");
    check(
        "cell remove a --force --allow-move",
        "DELETE /v1/cells/a?force=true&allow_move=true",
    );
    check(
        "cell usage a gb=1.5 n=2",
        r#"PUT /v1/cells/a/usage {"usage":{"gb":1.5,"n":2.0}}"#,
    );
}

#[test]
fn words_about_tenants_become_requests() {
    check("tenant list", "GET /v1/tenants");
    check(
        "tenant list --cell a --prefix x/ --placed-by pin --rejected --after k --limit 7",
        "GET /v1/tenants?cell=a&prefix=x%2F&placed_by=pin&rejected=true&after=k&limit=7",
    );
    check("tenant show ..", "GET /v1/tenants/%1B..");
    check("tenant add k", r#"POST /v1/tenants {"key":"k"}"#);
    check(
        "tenant add k --cell a --pin --alias x --alias y --rejected",
        r#"POST /v1/tenants {"aliases":["x","y"],"cell":"a","key":"k","pin":true,"rejected":true}"#,
    );
    check("tenant remove k", "DELETE /v1/tenants/k");
    check(
        "tenant pin k a",
        r#"PUT /v1/tenants/k/pin {"cell":"a","without_data":false}"#,
    );
    check(
        "tenant pin k a --without-data",
        r#"PUT /v1/tenants/k/pin {"cell":"a","without_data":true}"#,
    );
    check("tenant unpin k", "DELETE /v1/tenants/k/pin");
    check("tenant reject k", "PUT /v1/tenants/k/reject");
    check("tenant accept k", "DELETE /v1/tenants/k/reject");
    check("tenant alias add k w/x", "PUT /v1/tenants/k/aliases/w%2Fx");
    check(
        "tenant alias remove k .",
        "DELETE /v1/tenants/k/aliases/%1B.",
    );
}

#[test]
fn words_about_tables_become_requests() {
    check("slots", "GET /v1/slots");
    check("slots spread", "POST /v1/slots/spread");
    check("plan", "GET /v1/plan");
    check(
        "plan apply --allow-move",
        r#"POST /v1/plan/apply {"allow_move":true}"#,
    );
    check("table show", "GET /v1/table");
    check("table list", "GET /v1/table/history");
    check("table diff", "GET /v1/table/diff");
    check("table diff 3", "GET /v1/table/diff?from=3");
    check("table diff 3 5", "GET /v1/table/diff?from=3&to=5");
    check(
        "table publish",
        r#"POST /v1/table/publish {"allow_move":false,"overwrite":false}"#,
    );
    check(
        "table rollback 4",
        r#"POST /v1/table/rollback {"allow_move":false,"generation":4}"#,
    );
}

#[test]
fn what_cannot_be_is_wrong_usage() {
    let check = |line: &str, expected: &str| {
        let error = task(line)
            .err()
            .unwrap_or_else(|| panic!("{line} is taken"));
        assert!(error.contains(expected), "{line}: {error}");
    };
    check("cell add", "required");
    check("cell add a --endpoint 1.2.3.4:5=x", "not a whole number");
    check("cell add a --label zone", "NAME=VALUE");
    check("cell add a --capacity tenants=many", "not a number");
    check("cell add a --capacity tenants=inf", "not a number");
    check("cell add a --param n:=[", "not JSON");
    check(
        "cell add a --health-path / --health-tcp",
        "cannot be used with",
    );
    check("cell update a --health-interval-ms 5", "required");
    check(
        "cell update a --no-health-check --health-tcp",
        "cannot be used with",
    );
    check(
        "cell update a --no-labels --label a=b",
        "cannot be used with",
    );
    check("cell update a", "nothing is named");
    check("cell list --state unhealthy", "possible values");
    check("cell remove a --allow-move", "--force");
    check("cell usage a", "required");
    check("tenant add k --pin", "--cell");
    check("tenant list --placed-by luck", "possible values");
    check("table diff three", "invalid");
    check("slots --server https://h", "SSH tunnel");
    check("slots --timeout 0", "1..=86400");
    check("slots --actor ü", "printable");
}

#[test]
fn changes_know_what_to_wait_for() {
    let check =
        |line: &str, expected: Goal| assert_eq!(task(line).unwrap().goal, expected, "{line}");
    check("cell add a", Goal::active("a"));
    check("cell drain a", Goal::drained("a"));
    check("cell remove a", Goal::removed("a"));
    check("cell show a", Goal::None);
    check("cell usage a gb=1", Goal::None);
    check("tenant pin k a", Goal::Table);
    check("tenant show k", Goal::None);
    check("plan", Goal::None);
    check("table rollback 3", Goal::Table);
}
