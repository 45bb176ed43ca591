//! The HTTP API, described by itself at `/openapi.json`. Handlers turn a request into one read or one change and its
//! result into an answer; they decide nothing.

#![allow(
    clippy::result_large_err,
    reason = "an error is an answer like any other, made once per request"
)]

mod answer;
mod app;
mod caller;
mod cells;
mod connections;
mod cut_short;
mod fleet;
mod gate;
mod host;
mod import;
mod problem;
mod serve;
mod socket;
mod stream;
mod table;
mod tenants;
mod token;
mod view;

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    middleware,
    response::{IntoResponse as _, Response},
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    time::timeout,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{app::App, connections::Limits, problem::Problem, serve::Way};
use crate::config::ConnectionRules;

pub use self::token::{TokenError, Tokens};

/// Connections by the Unix socket, with the token and without. They are the owner's own, and have nothing to do with
/// how many there are by TCP.
const UNIX_CONNECTIONS_MAX: usize = 64;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "cellgate control",
        description = "Cells, tenants, and the table that cellgate's proxies route by.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "cells", description = "Copies of the service"),
        (name = "tenants", description = "Who lives where"),
        (name = "table", description = "Slots, plans and published tables"),
        (name = "fleet", description = "Proxies, events, the audit log")
    ),
    modifiers(&Bearer)
)]
struct Document;

/// Changes need the token.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", scheme);
    }
}

/// The routes under `/v1`, with their description.
fn described() -> (Router<App>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(cells::list, cells::add))
        .routes(routes!(cells::show, cells::update, cells::remove))
        .routes(routes!(cells::drain))
        .routes(routes!(cells::activate))
        .routes(routes!(cells::retry))
        .routes(routes!(cells::report_usage))
        .routes(routes!(tenants::list, tenants::register))
        .routes(routes!(tenants::show, tenants::remove))
        .routes(routes!(tenants::pin, tenants::unpin))
        .routes(routes!(tenants::reject, tenants::accept))
        .routes(routes!(tenants::add_alias, tenants::remove_alias))
        .routes(routes!(tenants::explain))
        .routes(routes!(import::import))
        .routes(routes!(import::export))
        .routes(routes!(table::slots))
        .routes(routes!(table::spread))
        .routes(routes!(table::plan))
        .routes(routes!(table::apply_plan))
        .routes(routes!(table::show))
        .routes(routes!(table::history))
        .routes(routes!(table::content))
        .routes(routes!(table::diff))
        .routes(routes!(table::publish))
        .routes(routes!(table::roll_back))
        .routes(routes!(fleet::list_proxies))
        .routes(routes!(fleet::forget_proxy))
        .routes(routes!(fleet::events))
        .routes(routes!(fleet::audit))
        .split_for_parts()
}

/// The description of the API, as JSON.
pub fn openapi() -> String {
    let (_, document) = described();
    document
        .to_pretty_json()
        .expect("a description is plain data, which always serializes")
}

/// Everything that is served.
pub fn router(daemon: &App, tokens: &Arc<Tokens>) -> Router {
    let (routes, document) = described();
    let document = document
        .to_json()
        .expect("a description is plain data, which always serializes");
    let gate = gate::Gate::new(daemon, tokens);
    let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
    let guarded = routes
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(gate, gate::guard));
    Router::new()
        .merge(guarded)
        .route("/livez", axum::routing::get(async || "ok\n"))
        .route("/readyz", axum::routing::get(ready))
        .route("/metrics", axum::routing::get(metrics))
        .route(
            "/openapi.json",
            axum::routing::get(async move || (json, document.clone())),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(
            Arc::clone(daemon),
            host::guard,
        ))
        .with_state(Arc::clone(daemon))
}

async fn not_found() -> Problem {
    let detail = "there is nothing here";
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
        .hint("/openapi.json lists what there is")
}

async fn method_not_allowed() -> Problem {
    let detail = "this path knows other methods";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        .hint("/openapi.json lists them")
}

/// The disks have so long to say how full they are.
const DISK_LIMIT: Duration = Duration::from_secs(2);

/// Ready once it can store changes and publish them.
async fn ready(State(app): State<App>) -> Response {
    let not_ready = |why: &str| {
        let text = format!("not ready: {why}\n");
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    };
    // First, since what follows asks the same disks.
    if app.is_publish_hanging.load(Ordering::Relaxed) {
        return not_ready(
            "publishing hangs: check the disks of the table's folder and of state_dir",
        );
    }
    let problem = answer::in_background(&app, |daemon| Ok(daemon.storage_problem()));
    match timeout(DISK_LIMIT, problem).await {
        Ok(Ok(None)) => {}
        Ok(Ok(Some(problem))) => return not_ready(&problem),
        Ok(Err(problem)) => return problem.into_response(),
        Err(_) => {
            return not_ready("the disks do not answer: check those of state_dir and the table");
        }
    }
    if let Some(panicked) = app.panics.recent() {
        let text = format!(
            "not ready: the task `{}` panicked and was started again: {}\n",
            panicked.task, panicked.message
        );
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    let status = app.publisher.status();
    match status.blocked {
        None | Some(crate::publish::Blocked::NoTable) => "ok\n".into_response(),
        Some(blocked) => {
            let text = format!("not ready: {blocked}; {}\n", blocked.hint());
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn metrics(State(app): State<App>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    (
        [(axum::http::header::CONTENT_TYPE, kind)],
        app.metrics.render(),
    )
        .into_response()
}

/// Serves the API by TCP until `stop` is true and the requests then in flight are answered.
pub async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    rules: ConnectionRules,
    stop: watch::Receiver<bool>,
) {
    serve::serve(listener, Way::Tcp, router, limits(rules), stop).await;
}

/// The same by the Unix socket.
pub async fn serve_unix(
    listener: UnixListener,
    router: Router,
    rules: ConnectionRules,
    stop: watch::Receiver<bool>,
) {
    let limits = Limits {
        with_token_max: UNIX_CONNECTIONS_MAX,
        without_token_max: UNIX_CONNECTIONS_MAX,
        ..limits(rules)
    };
    serve::serve(listener, Way::Unix, router, limits, stop).await;
}

fn limits(rules: ConnectionRules) -> Limits {
    Limits {
        head: rules.head,
        idle: rules.idle,
        stall: rules.stall,
        with_token_max: rules.with_token_max,
        without_token_max: rules.without_token_max,
    }
}

/// Listens on a Unix socket that only its owner can use. A socket that an earlier run left behind is taken away.
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt as _;

    use rustix::{fs::Mode, process::umask};
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    // Nobody else's from its first moment on. Changing its mode afterwards would leave a gap, and would follow a link that
    // somebody put into its place meanwhile.
    let usual = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let listener = UnixListener::bind(path);
    umask(usual);
    listener
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_the_api_is_described() {
        let document: serde_json::Value = serde_json::from_str(&openapi()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let mut count = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                if !["get", "put", "post", "patch", "delete"].contains(&method.as_str()) {
                    continue;
                }
                count += 1;
                let what = format!("{method} {path}");
                assert!(operation["operationId"].is_string(), "{what}");
                assert!(operation["responses"]["default"].is_object(), "{what}");
                let summary = operation["summary"].as_str().unwrap_or_default();
                assert!(!summary.is_empty(), "{what}");
                let needs_token = operation["security"].is_array();
                assert_eq!(needs_token, method != "get", "{what}");
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let name = parameter["name"].as_str().unwrap();
                    let is_in_path = path.contains(&format!("{{{name}}}"));
                    let place = if is_in_path { "path" } else { "query" };
                    assert_eq!(parameter["in"], place, "{what}: {name}");
                }
            }
        }
        assert!(count > 30, "{count}");
    }
}
