//! `cellctl`: the command line of the daemon. It speaks the HTTP API and nothing else: it knows neither the database nor
//! the daemon's configuration, so that it works from any machine and decides nothing.

pub mod answers;
pub mod args;
pub mod call;
pub mod client;
pub mod events;
pub mod failure;
pub mod fitted;
pub mod import;
pub mod manual;
pub mod output;
pub mod show;
pub mod status;
pub mod task;
pub mod terminal;
pub mod wait;

use std::{process::ExitCode, time::Duration};

use serde::Deserialize as _;
use serde_json::Value;

use self::{
    args::{Command, Format, Global, ListArgs, TableCommand, TenantCommand},
    call::Call,
    client::Client,
    output::{pretty, print, print_bytes},
    task::{Show, Task},
    wait::{Goal, Reached, Scope},
};

pub use self::{args::Cli, failure::Failure};

/// The token itself; see [`Global::token_source`].
const TOKEN_VARIABLE: &str = "CELLCTL_TOKEN";
/// How many are asked for in one request where all tenants are listed and nothing else is said.
const PAGE: u64 = 1_000;

/// Does what the command line asks for.
pub async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Completions { shell } => manual::completions(shell)?,
        Command::Man { dir } => manual::pages(dir.as_deref())?,
        command => {
            let token = cli.global.token_source(std::env::var(TOKEN_VARIABLE).ok());
            let client = Client::new(&cli.global, token)?;
            let mut session = Session {
                client,
                global: cli.global,
            };
            return session.run(command).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One command and whom it speaks to.
#[derive(Debug)]
struct Session {
    client: Client,
    global: Global,
}

impl Session {
    async fn run(&mut self, command: Command) -> Result<ExitCode, Failure> {
        match command {
            Command::Cell(command) => self.perform(task::of_cell(&command)?).await?,
            Command::Tenant(command) => self.tenants(command).await?,
            Command::Slots { command } => self.perform(task::of_slots(command.as_ref())).await?,
            Command::Plan { command } => self.perform(task::of_plan(command.as_ref())).await?,
            Command::Table(command) => self.table(&command).await?,
            Command::Proxies => {
                let task = Task::new(Call::get(&["proxies"]), show::fleet::proxies);
                self.perform(task).await?;
            }
            Command::Proxy(command) => self.perform(task::of_proxy(&command)).await?,
            Command::Events {
                follow: true,
                after,
                limit,
            } => events::follow(&self.client, self.global.output, after, limit).await?,
            Command::Events { after, limit, .. } => {
                let call = Call::get(&["events"])
                    .with_some("after", after)
                    .with_some("limit", limit);
                self.perform(Task::new(call, show::fleet::events)).await?;
            }
            Command::Audit { subject, limit } => {
                let call = Call::get(&["audit"])
                    .with_some("subject", subject)
                    .with_some("limit", limit);
                self.perform(Task::new(call, show::fleet::audit)).await?;
            }
            Command::Explain { key } => self.explain(&key).await?,
            Command::Status {
                watch: Some(seconds),
                ..
            } => self.watch(Duration::from_secs(seconds)).await?,
            Command::Status { check, .. } => return self.status(check).await,
            Command::Completions { .. } | Command::Man { .. } => {
                unreachable!("these need no daemon, and are done with before there is a session")
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Sends the request of a task, shows the answer, and waits if that is asked for.
    async fn perform(&self, task: Task) -> Result<(), Failure> {
        let answer = self.client.json(&task.call).await?;
        self.conclude(answer, task.show, &task.goal).await
    }

    /// Shows an answer, and waits if that is asked for. People see it immediately; JSON is one document, printed at the end.
    async fn conclude(&self, answer: Value, show: Show, goal: &Goal) -> Result<(), Failure> {
        let is_waiting = self.global.wait && *goal != Goal::None;
        if self.global.output == Format::Table {
            self.print(&answer, show)?;
            if is_waiting {
                let reached = self.reach(goal).await?;
                print(&format!("{}\n", reached.words))?;
            }
            return Ok(());
        }
        if !is_waiting {
            return print(&pretty(&answer));
        }
        let reached = self.reach(goal).await?;
        if !reached.is_confirmed {
            output::Progress::note(&reached.words);
        }
        match goal {
            Goal::Cell { id, .. } => {
                let cell = self.client.json(&Call::get(&["cells", id])).await?;
                print(&pretty(&cell))
            }
            _ => print(&pretty(&answer)),
        }
    }

    async fn reach(&self, goal: &Goal) -> Result<Reached, Failure> {
        let limit = Duration::from_secs(self.global.timeout);
        let scope = if self.global.reachable_only {
            Scope::Reachable
        } else {
            Scope::Listed
        };
        wait::reach(&self.client, goal, scope, limit).await
    }

    fn print(&self, answer: &Value, show: Show) -> Result<(), Failure> {
        print(&show(answer).map_err(|error| self.client.odd(error.to_string()))?)
    }

    async fn tenants(&mut self, command: TenantCommand) -> Result<(), Failure> {
        if let Some(task) = task::of_tenant(&command) {
            return self.perform(task).await;
        }
        match command {
            TenantCommand::List(list) if list.all => self.all_tenants(&list).await,
            TenantCommand::List(list) => self.page_of_tenants(&list).await,
            TenantCommand::Import { file, format } => {
                let format = import::format_of(&file, format)?;
                let answer = import::import(&mut self.client, &file, format).await?;
                self.conclude(answer, show::tenant::imported, &Goal::Table)
                    .await
            }
            TenantCommand::Export { format } => import::export(&self.client, format).await,
            _ => unreachable!("every other command is a task"),
        }
    }

    async fn page_of_tenants(&self, list: &ListArgs) -> Result<(), Failure> {
        let call = task::page(list, list.limit, list.after.as_deref());
        let answer = self.client.json(&call).await?;
        if self.global.output == Format::Json {
            return print(&pretty(&answer));
        }
        self.print(&answer, show::tenant::list)?;
        if let Some(next) = answer["next"].as_str() {
            let more = format!("there are more: --after '{next}' goes on, --all lists all");
            output::Progress::note(&more);
        }
        Ok(())
    }

    /// Page by page, so that as many as there are need no memory. The JSON is that of one page that holds all.
    async fn all_tenants(&self, list: &ListArgs) -> Result<(), Failure> {
        let limit = Some(list.limit.unwrap_or(PAGE));
        let mut after = list.after.clone();
        let mut is_first = true;
        let is_json = self.global.output == Format::Json;
        loop {
            let call = task::page(list, limit, after.as_deref());
            let answer = self.client.json(&call).await?;
            if is_json {
                let tenants = answer["tenants"].as_array();
                let tenants = tenants.ok_or_else(|| self.client.odd("no tenants in it"))?;
                print(&part_of_list(tenants, is_first))?;
                is_first &= tenants.is_empty();
            } else {
                let show = if is_first {
                    show::tenant::list
                } else {
                    show::tenant::more
                };
                self.print(&answer, show)?;
                is_first = false;
            }
            after = answer["next"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        match (is_json, is_first) {
            (false, _) => Ok(()),
            (true, true) => print("{\n  \"tenants\": []\n}\n"),
            (true, false) => print("\n  ]\n}\n"),
        }
    }

    async fn table(&self, command: &TableCommand) -> Result<(), Failure> {
        match (task::of_table(command), command) {
            (Some(task), _) => self.perform(task).await,
            (
                None,
                TableCommand::Get { generation }
                | TableCommand::Show {
                    generation: Some(generation),
                },
            ) => {
                let call = Call::get(&["table", &generation.to_string()]);
                print_bytes(&self.client.bytes(&call).await?)
            }
            (None, _) => unreachable!("every other command is a task"),
        }
    }

    async fn explain(&self, key: &str) -> Result<(), Failure> {
        let call = Call::get(&["explain"]).with("key", &key);
        let answer = self.client.json(&call).await?;
        if self.global.output == Format::Json {
            return print(&pretty(&answer));
        }
        let mut aliases = Vec::new();
        if answer["registered"] == true
            && let Some(tenant) = answer["tenant"].as_str()
        {
            let detail = self.client.json(&Call::get(&["tenants", tenant])).await?;
            aliases = Vec::deserialize(&detail["aliases"])
                .map_err(|error| self.client.odd(error.to_string()))?;
        }
        let text = show::tenant::explained(&answer, &aliases);
        print(&text.map_err(|error| self.client.odd(error.to_string()))?)
    }

    async fn status(&self, is_check: bool) -> Result<ExitCode, Failure> {
        let status = status::ask(&self.client).await?;
        match self.global.output {
            Format::Json => print(&pretty(&status.json()))?,
            Format::Table => print(&status.text(terminal::columns()))?,
        }
        if is_check && status.needs_attention() {
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Session {
    /// Shows the status until it is interrupted; a daemon that cannot be reached meanwhile is a line of it.
    async fn watch(&self, period: Duration) -> Result<(), Failure> {
        loop {
            match (status::ask(&self.client).await, self.global.output) {
                (Ok(status), Format::Json) => print(&format!("{}\n", status.json()))?,
                (Ok(status), Format::Table) => {
                    print(&terminal::screen(&status.text(terminal::columns())))?;
                }
                (Err(failure), Format::Table) if failure.is_unreachable() => {
                    print(&terminal::screen(&failure.text()))?;
                }
                (Err(failure), Format::Json) if failure.is_unreachable() => {
                    output::Progress::note(&failure.to_string());
                }
                (Err(failure), _) => return Err(failure),
            }
            tokio::time::sleep(period).await;
        }
    }
}

/// Some items of a list that is printed bit by bit, as [`pretty`] would print them all.
fn part_of_list(items: &[Value], is_first: bool) -> String {
    let mut text = String::new();
    for (at, item) in items.iter().enumerate() {
        text.push_str(match (is_first, at) {
            (true, 0) => "{\n  \"tenants\": [\n",
            _ => ",\n",
        });
        let item = pretty(item);
        let lines: Vec<String> = item.lines().map(|line| format!("    {line}")).collect();
        text.push_str(&lines.join("\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_in_parts_is_the_list() {
        let items = [json!({ "a": 1 }), json!({ "b": [2] }), json!({ "c": {} })];
        let parts =
            part_of_list(&items[..2], true) + &part_of_list(&items[2..], false) + "\n  ]\n}\n";
        assert_eq!(parts, pretty(&json!({ "tenants": items })));
        assert_eq!(
            "{\n  \"tenants\": []\n}\n",
            pretty(&json!({ "tenants": [] }))
        );
    }
}
