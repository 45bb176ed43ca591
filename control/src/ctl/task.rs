//! What most commands are: one request, a way to show its answer, and something to wait for.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    args::{
        AddArgs, AliasCommand, CellCommand, HealthArgs, ListArgs, NewTenantArgs, PlanCommand,
        ProxyCommand, SettingArgs, SlotsCommand, TableCommand, TenantCommand, TlsArgs, UpdateArgs,
    },
    call::Call,
    failure::Failure,
    show,
    wait::Goal,
};

/// Turns an answer into text.
pub type Show = fn(&Value) -> Result<String, serde_json::Error>;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Task {
    pub call: Call,
    pub show: Show,
    pub goal: Goal,
}

impl Task {
    pub fn new(call: Call, show: Show) -> Self {
        Self {
            call,
            show,
            goal: Goal::None,
        }
    }

    fn until(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }
}

/// What a command about cells asks for.
pub fn of_cell(command: &CellCommand) -> Result<Task, Failure> {
    let at = |method, id: &str, verb: &[&str]| {
        let segments: Vec<&str> = ["cells", id]
            .into_iter()
            .chain(verb.iter().copied())
            .collect();
        Call::new(method, &segments)
    };
    Ok(match command {
        CellCommand::List { state } => Task::new(
            Call::get(&["cells"]).with_some("state", state.as_ref()),
            show::cell::list,
        ),
        CellCommand::Show { id } => Task::new(at(Method::GET, id, &[]), show::cell::detail),
        CellCommand::Add(add) => Task::new(
            Call::new(Method::POST, &["cells"]).json(new_cell(add)),
            show::cell::brief,
        )
        .until(Goal::active(&add.id)),
        CellCommand::Update(update) => Task::new(
            at(Method::PATCH, &update.id, &[]).json(patch(update)?),
            show::cell::updated,
        )
        .until(Goal::Table),
        CellCommand::Drain { id, allow_move } => Task::new(
            at(Method::POST, id, &["drain"]).json(json!({ "allow_move": allow_move })),
            show::cell::drained,
        )
        .until(Goal::drained(id)),
        CellCommand::Activate { id } => {
            Task::new(at(Method::POST, id, &["activate"]), show::cell::brief)
                .until(Goal::active(id))
        }
        CellCommand::Retry { id } => {
            Task::new(at(Method::POST, id, &["retry"]), show::cell::brief).until(Goal::active(id))
        }
        CellCommand::Remove {
            id,
            force,
            allow_move,
            forget,
        } => {
            let mut call = at(Method::DELETE, id, &[]);
            if *force {
                call = call.with("force", &true);
            }
            if *allow_move {
                call = call.with("allow_move", &true);
            }
            if *forget {
                call = call.with("forget", &true);
            }
            Task::new(call, show::cell::brief).until(Goal::removed(id))
        }
        CellCommand::Usage { id, usage } => {
            let usage: BTreeMap<_, _> = usage.iter().cloned().collect();
            Task::new(
                at(Method::PUT, id, &["usage"]).json(json!({ "usage": usage })),
                show::cell::brief,
            )
        }
    })
}

fn new_cell(add: &AddArgs) -> Value {
    let mut body = settings(&add.settings);
    body.insert("id".to_owned(), json!(add.id));
    body.insert("provider".to_owned(), json!(add.provider));
    if !add.params.is_empty() {
        let params: BTreeMap<_, _> = add
            .params
            .iter()
            .map(|param| (&param.name, &param.value))
            .collect();
        body.insert("params".to_owned(), json!(params));
    }
    Value::Object(body)
}

fn patch(update: &UpdateArgs) -> Result<Value, Failure> {
    let mut body = settings(&update.settings);
    if update.no_health_check {
        body.insert("health_check".to_owned(), Value::Null);
    }
    if update.no_tls {
        body.insert("tls".to_owned(), Value::Null);
    }
    if update.no_labels {
        body.insert("labels".to_owned(), json!({}));
    }
    if update.no_capacity {
        body.insert("capacity".to_owned(), json!({}));
    }
    if body.is_empty() {
        return Err(Failure::usage(
            "nothing is named that is to change, such as --max-in-flight or --label",
        ));
    }
    Ok(Value::Object(body))
}

fn settings(args: &SettingArgs) -> Map<String, Value> {
    let mut body = Map::new();
    if !args.endpoints.is_empty() {
        let endpoint = |it: &super::args::Endpoint| match it.weight {
            Some(weight) => json!({ "address": it.address, "weight": weight }),
            None => json!({ "address": it.address }),
        };
        let endpoints: Vec<Value> = args.endpoints.iter().map(endpoint).collect();
        body.insert("endpoints".to_owned(), json!(endpoints));
    }
    if let Some(max_in_flight) = args.max_in_flight {
        body.insert("max_in_flight".to_owned(), json!(max_in_flight));
    }
    if let Some(tunnels_max) = args.tunnels_max {
        body.insert("tunnels_max".to_owned(), json!(tunnels_max));
    }
    if let Some(connections_max) = args.connections_max {
        body.insert("connections_max".to_owned(), json!(connections_max));
    }
    if let Some(share) = &args.share {
        body.insert("share".to_owned(), json!(share));
    }
    if !args.labels.is_empty() {
        let labels: BTreeMap<_, _> = args.labels.iter().cloned().collect();
        body.insert("labels".to_owned(), json!(labels));
    }
    if !args.capacity.is_empty() {
        let capacity: BTreeMap<_, _> = args.capacity.iter().cloned().collect();
        body.insert("capacity".to_owned(), json!(capacity));
    }
    if let Some(stateless) = args.stateless {
        body.insert("stateless".to_owned(), json!(stateless));
    }
    if let Some(check) = health_check(&args.health) {
        body.insert("health_check".to_owned(), check);
    }
    if let Some(tls) = tls(&args.tls) {
        body.insert("tls".to_owned(), tls);
    }
    body
}

fn health_check(args: &HealthArgs) -> Option<Value> {
    let mut check = match (&args.health_path, args.health_tcp) {
        (Some(path), _) => json!({ "type": "http", "path": path }),
        (None, true) => json!({ "type": "tcp" }),
        (None, false) => return None,
    };
    if let Some(host) = &args.health_host {
        check["host"] = json!(host);
    }
    let numbers = [
        ("interval_ms", args.health_interval_ms),
        ("timeout_ms", args.health_timeout_ms),
        ("unhealthy_after", args.health_unhealthy_after),
        ("healthy_after", args.health_healthy_after),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            check[name] = json!(number);
        }
    }
    Some(check)
}

fn tls(args: &TlsArgs) -> Option<Value> {
    let (server_name, ca) = (args.tls_server_name.as_ref()?, args.tls_ca.as_ref()?);
    let mut tls = json!({ "server_name": server_name, "ca": ca });
    if let Some(certificate) = &args.tls_client_certificate {
        tls["client_cert"] = json!({ "certificate": certificate });
        if let Some(key) = &args.tls_client_key {
            tls["client_cert"]["key"] = json!(key);
        }
    }
    Some(tls)
}

/// What a command about one tenant asks for. Those about many have rooms of their own.
pub fn of_tenant(command: &TenantCommand) -> Option<Task> {
    let at = |method, key: &str, verb: &[&str]| {
        let segments: Vec<&str> = ["tenants", key]
            .into_iter()
            .chain(verb.iter().copied())
            .collect();
        Call::new(method, &segments)
    };
    let (call, show): (Call, Show) = match command {
        TenantCommand::List(_) | TenantCommand::Import { .. } | TenantCommand::Export { .. } => {
            return None;
        }
        TenantCommand::Show { key } => {
            return Some(Task::new(at(Method::GET, key, &[]), show::tenant::detail));
        }
        TenantCommand::Add(add) => (
            Call::new(Method::POST, &["tenants"]).json(new_tenant(add)),
            show::tenant::detail,
        ),
        TenantCommand::Remove { key } => (at(Method::DELETE, key, &[]), show::tenant::forgotten),
        TenantCommand::Pin {
            key,
            cell,
            without_data,
        } => (
            at(Method::PUT, key, &["pin"])
                .json(json!({ "cell": cell, "without_data": without_data })),
            show::tenant::detail,
        ),
        TenantCommand::Unpin { key } => (at(Method::DELETE, key, &["pin"]), show::tenant::detail),
        TenantCommand::Reject { key } => (at(Method::PUT, key, &["reject"]), show::tenant::detail),
        TenantCommand::Accept { key } => {
            (at(Method::DELETE, key, &["reject"]), show::tenant::detail)
        }
        TenantCommand::Alias(AliasCommand::Add { key, alias }) => (
            at(Method::PUT, key, &["aliases", alias]),
            show::tenant::detail,
        ),
        TenantCommand::Alias(AliasCommand::Remove { key, alias }) => (
            at(Method::DELETE, key, &["aliases", alias]),
            show::tenant::detail,
        ),
    };
    Some(Task::new(call, show).until(Goal::Table))
}

fn new_tenant(add: &NewTenantArgs) -> Value {
    let mut body = json!({ "key": add.key });
    if let Some(cell) = &add.cell {
        body["cell"] = json!(cell);
    }
    if add.pin {
        body["pin"] = json!(true);
    }
    if add.rejected {
        body["rejected"] = json!(true);
    }
    if !add.aliases.is_empty() {
        body["aliases"] = json!(add.aliases);
    }
    body
}

/// A page of tenants, from `after` on.
pub fn page(list: &ListArgs, limit: Option<u64>, after: Option<&str>) -> Call {
    Call::get(&["tenants"])
        .with_some("cell", list.cell.as_ref())
        .with_some("prefix", list.prefix.as_ref())
        .with_some("placed_by", list.placed_by.as_ref())
        .with_some("rejected", list.rejected.then_some(true))
        .with_some("after", after)
        .with_some("limit", limit)
}

pub fn of_proxy(command: &ProxyCommand) -> Task {
    match command {
        ProxyCommand::Forget { name } => {
            let call = Call::new(Method::POST, &["proxies", name, "forget"]);
            Task::new(call, show::fleet::forgotten)
        }
    }
}

pub fn of_slots(command: Option<&SlotsCommand>) -> Task {
    match command {
        None => Task::new(Call::get(&["slots"]), show::table::slots),
        Some(SlotsCommand::Spread) => {
            let call = Call::new(Method::POST, &["slots", "spread"]);
            Task::new(call, show::table::slots).until(Goal::Table)
        }
    }
}

pub fn of_plan(command: Option<&PlanCommand>) -> Task {
    match command {
        None => Task::new(Call::get(&["plan"]), show::table::plan),
        Some(PlanCommand::Apply { allow_move }) => {
            let body = json!({ "allow_move": allow_move });
            let call = Call::new(Method::POST, &["plan", "apply"]).json(body);
            Task::new(call, show::table::applied).until(Goal::Table)
        }
    }
}

/// What a command about tables asks for, but for `get`, whose answer is not JSON.
pub fn of_table(command: &TableCommand) -> Option<Task> {
    Some(match command {
        TableCommand::Get { .. }
        | TableCommand::Show {
            generation: Some(_),
        } => return None,
        TableCommand::Show { generation: None } => {
            Task::new(Call::get(&["table"]), show::table::state)
        }
        TableCommand::List => Task::new(Call::get(&["table", "history"]), show::table::history),
        TableCommand::Diff { from, to } => {
            let call = Call::get(&["table", "diff"])
                .with_some("from", *from)
                .with_some("to", *to);
            Task::new(call, show::table::diff)
        }
        TableCommand::Publish {
            allow_move,
            overwrite,
        } => {
            let body = json!({ "allow_move": allow_move, "overwrite": overwrite });
            let call = Call::new(Method::POST, &["table", "publish"]).json(body);
            Task::new(call, show::table::publishing).until(Goal::Table)
        }
        TableCommand::Rollback {
            generation,
            allow_move,
        } => {
            let body = json!({ "generation": generation, "allow_move": allow_move });
            let call = Call::new(Method::POST, &["table", "rollback"]).json(body);
            Task::new(call, show::table::rolled_back).until(Goal::Table)
        }
    })
}

#[cfg(test)]
mod tests;
