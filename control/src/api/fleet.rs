//! `/v1/proxies`, `/v1/events` and `/v1/audit`.

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::{Answer, in_background, read},
    app::App,
    caller::{Asked, At, Nothing, Params, counted_or_none},
    problem::Problem,
    stream,
    view::{AuditView, ProxyView},
};
use crate::{
    change::proxies,
    config::ProxyConfig,
    daemon::Daemon,
    events::Event,
    observe::{ProxyState, ProxyStatus},
    refusal::Refusal,
    store::AuditFilter,
    turns::Standing,
};

const LINES_MAX: usize = 1_000;
const LINES_DEFAULT: usize = 100;

/// The proxies that are watched.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProxyList {
    /// The generation of the table that they should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    published_generation: Option<u64>,
    proxies: Vec<ProxyView>,
}

/// Events, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventList {
    events: Vec<Event>,
}

/// Lines of the audit log, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditList {
    entries: Vec<AuditView>,
}

/// Show which proxy has which table
#[utoipa::path(get, path = "/v1/proxies", operation_id = "list_proxies", tag = "fleet",
    responses((status = 200, body = ProxyList), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_proxies(State(app): State<App>) -> Result<Answer, Problem> {
    read(&app, |daemon, _| {
        let published = daemon.publisher.status().generation;
        let seen = daemon.observed.seen();
        let view = |config: &ProxyConfig| match seen.proxies.get(&config.name) {
            Some(status) => ProxyView::of(&config.name, status, published),
            None => ProxyView::of(&config.name, &unseen(daemon, config), published),
        };
        Ok(ProxyList {
            published_generation: published,
            proxies: daemon.config.proxies.iter().map(view).collect(),
        })
    })
    .await
}

/// A proxy that has not been asked yet.
fn unseen(daemon: &Daemon, config: &ProxyConfig) -> ProxyStatus {
    ProxyStatus {
        admin: config.admin.to_string(),
        state_since_ms: daemon.started_ms,
        ..ProxyStatus::default()
    }
}

/// Say that a listed proxy is permanently gone
///
/// No removal and no wait waits for it any more, until it answers again or the configuration no longer lists it. Tables
/// do not change: this is not how a proxy is declared gone in a move of a tenant.
#[utoipa::path(post, path = "/v1/proxies/{name}/forget", operation_id = "forget_proxy", tag = "fleet",
    params(("name" = String, Path, description = "The proxy"), ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = ProxyView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn forget_proxy(
    State(app): State<App>,
    At(name): At<String>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    in_background(&app, move |daemon| {
        let mut listed = daemon.config.proxies.iter();
        let Some(proxy) = listed.find(|proxy| proxy.name == name) else {
            return Err(Refusal::NoSuchProxy(name));
        };
        let status = {
            let seen = daemon.observed.seen();
            let known = seen.proxies.get(&name).cloned();
            known.unwrap_or_else(|| unseen(daemon, proxy))
        };
        let published = daemon.publisher.status().generation;
        let done = daemon.change(&asked.request, |write| {
            proxies::forget(write, &status.known(&name), status.state)?;
            let status = ProxyStatus {
                is_forgotten: true,
                ..status.clone()
            };
            Ok(ProxyView::of(&name, &status, published))
        })?;
        // A request that is only repeated says nothing about the proxy as it is now.
        if done.is_change {
            let mut seen = daemon.observed.seen();
            let known = seen.proxies.entry(name).or_insert(status);
            known.is_forgotten = known.state != ProxyState::Reachable;
        }
        // A removal may have waited for it.
        daemon.wake.operate.notify_one();
        Ok(Answer::of(&done))
    })
    .await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Only events behind this id. Without it the newest ones.
    #[serde(default, deserialize_with = "counted_or_none")]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    after: Option<u64>,
    /// How many at most, 1 to 1,000. Default 100.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
}

/// List what happened, or follow it
///
/// With `accept: text/event-stream` the answer does not end: each event is sent as it happens, and `last-event-id` takes
/// up where another stream ended.
#[utoipa::path(get, path = "/v1/events", operation_id = "list_events", tag = "fleet", params(EventsQuery),
    responses((status = 200, body = EventList), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn events(
    State(app): State<App>,
    Params(query): Params<EventsQuery>,
    Extension(standing): Extension<Standing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = lines(query.limit)?;
    let accepts = |kind: &str| {
        let values = headers.get_all(header::ACCEPT);
        values
            .iter()
            .any(|value| value.to_str().is_ok_and(|text| text.contains(kind)))
    };
    if accepts("text/event-stream") {
        let last = headers
            .get("last-event-id")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        return Ok(stream::follow(&app, last.or(query.after), standing));
    }
    let answer = read(&app, move |daemon, _| {
        Ok(EventList {
            events: match query.after {
                Some(after) => daemon.events.after(after, limit),
                None => daemon.events.newest(limit),
            },
        })
    })
    .await?;
    Ok(answer.into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Only lines about this cell or tenant, or one of the words `table`, `slots`, `tenants`.
    subject: Option<String>,
    /// Only lines older than this id: the smallest of the page before.
    #[serde(default, deserialize_with = "counted_or_none")]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    before: Option<u64>,
    /// How many at most, 1 to 1,000. Default 100.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
}

/// Show who changed what, when and why
#[utoipa::path(get, path = "/v1/audit", operation_id = "list_audit", tag = "fleet", params(AuditQuery),
    responses((status = 200, body = AuditList), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn audit(
    State(app): State<App>,
    Params(query): Params<AuditQuery>,
) -> Result<Answer, Problem> {
    let limit = lines(query.limit)?;
    read(&app, move |_, read| {
        let filter = AuditFilter {
            subject: query.subject,
            before: query.before,
            after: None,
        };
        let entries = read.audit(&filter, limit)?;
        Ok(AuditList {
            entries: entries.into_iter().map(AuditView::of).collect(),
        })
    })
    .await
}

fn lines(limit: Option<usize>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(LINES_DEFAULT);
    if (1..=LINES_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::bad_request(format!(
        "limit is {limit}, not 1 to {LINES_MAX}"
    )))
}
