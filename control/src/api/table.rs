//! `/v1/slots`, `/v1/plan` and `/v1/table`.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use cellgate_table::diff::{Diff, diff as compare};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::{Answer, change, in_background, read},
    app::App,
    caller::{Asked, At, Json, Nothing, Params, counted_or_none},
    cells::MoveBody,
    problem::Problem,
    view::{KeptTableView, ms_since},
};
use crate::{
    change::{Fleet, MovePermission, restore, slots as change_slots},
    clock::{now_ms, rfc3339},
    model::SlotMap,
    observe::{ProxyState, Unconfirmed},
    plan::{Plan, rebalance, targets},
    publish::Blocked,
    refusal::{Refusal, StorageError},
    store::{KeptTable, TableState},
};

/// Changes that are shown of each kept table: the newest.
const CHANGES_SHOWN_MAX: usize = 5;

/// Who owns the slots.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SlotsView {
    seed: u64,
    slots: u32,
    cells: Vec<SlotShare>,
}

/// The slots of one cell.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SlotShare {
    cell: String,
    count: u32,
    /// How many an even fleet would give it.
    target: u32,
    /// As a table writes them.
    ranges: Vec<String>,
}

/// The table in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TableView {
    /// The revision: the number of the last change.
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    path: String,
    /// The table says all that is intended.
    current: bool,
    /// Why nothing newer is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<Blocked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_because: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_since: Option<String>,
    /// The revision whose table may move more than the limits allow, until every proxy has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    move_allowed_at: Option<u64>,
    /// How long a change has waited to be published, if one does and nothing is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_for_ms: Option<u64>,
    /// Every listed proxy has been seen with it; false where none is listed.
    everywhere: bool,
    /// The listed proxies that have been seen with it.
    confirmed: Vec<String>,
    /// The listed proxies that have not been seen with it.
    not_confirmed: Vec<UnconfirmedView>,
    /// The listed proxies that an operator has declared gone.
    forgotten: Vec<String>,
    /// Why changes cannot be stored, or not for long: the database was displaced, a disk is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_problem: Option<String>,
    /// The daemon's clock, RFC 3339.
    now: String,
}

/// A proxy that has not been seen with the table.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnconfirmedView {
    proxy: String,
    state: ProxyState,
    /// The generation that it was last seen with, and may still have.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
}

/// The tables that are kept, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TableHistory {
    tables: Vec<KeptTableView>,
}

/// Permissions to publish a blocked table.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishBody {
    /// It may move more than the limits allow.
    #[serde(default)]
    allow_move: bool,
    /// It may take the place of a table that somebody else wrote.
    #[serde(default)]
    overwrite: bool,
}

/// Which table to restore.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackBody {
    generation: u64,
    /// More may move than the limits allow.
    #[serde(default)]
    allow_move: bool,
}

/// What a rollback did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RolledBack {
    /// The table that was restored.
    to_generation: u64,
    moved_slots: u32,
    /// Tenants that live in another cell now.
    moved_tenants: u64,
    /// Tenants registered since, which stay where they are.
    kept_tenants: u64,
}

/// Show who owns the slots
#[utoipa::path(get, path = "/v1/slots", operation_id = "show_slots", tag = "table",
    responses((status = 200, body = SlotsView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn slots(State(app): State<App>) -> Result<Answer, Problem> {
    read(&app, |_, read| {
        let fleet = Fleet::of(read)?;
        Ok(slots_view(&fleet))
    })
    .await
}

fn slots_view(fleet: &Fleet) -> SlotsView {
    let map: &SlotMap = &fleet.slots;
    let recipients: Vec<_> = fleet
        .cells
        .iter()
        .filter(|cell| cell.state.takes_tenants())
        .collect();
    let capacities: Vec<_> = recipients.iter().map(|cell| &cell.capacity).collect();
    let wanted = if recipients.is_empty() {
        Vec::new()
    } else {
        targets(map.hash().slots(), &capacities)
    };
    let target = |id: &cellgate_table::CellId| {
        let at = recipients.iter().position(|cell| cell.id == *id)?;
        wanted.get(at).copied()
    };
    let share = |cell: &crate::model::Cell| SlotShare {
        cell: cell.id.to_string(),
        count: map.count_of(&cell.id),
        target: target(&cell.id).unwrap_or(0),
        ranges: map
            .runs()
            .iter()
            .filter(|(_, owner)| *owner == cell.id)
            .map(|(range, _)| range.to_string())
            .collect(),
    };
    SlotsView {
        seed: map.hash().seed(),
        slots: map.hash().slots(),
        cells: fleet.cells.iter().map(share).collect(),
    }
}

/// Give the slots their first owners now
///
/// The daemon does so by itself once the cells have settled.
#[utoipa::path(post, path = "/v1/slots/spread", operation_id = "spread_slots", tag = "table",
    params(("reason" = Option<String>, Query, description = "Why, for the audit log")), security(("token" = [])),
    responses((status = 200, body = SlotsView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn spread(
    State(app): State<App>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    change(&app, StatusCode::OK, asked.request, |_, write| {
        let fleet = change_slots::spread_first(write)?;
        Ok(slots_view(&fleet))
    })
    .await
}

/// Show what a rebalance would move, what it would leave alone, and why
#[utoipa::path(get, path = "/v1/plan", operation_id = "show_plan", tag = "table",
    responses((status = 200, body = Plan), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn plan(State(app): State<App>) -> Result<Answer, Problem> {
    read(&app, |_, read| {
        let fleet = Fleet::of(read)?;
        Ok(rebalance(&fleet.owners(), &fleet.slots))
    })
    .await
}

/// Carry out what the plan would move
#[utoipa::path(post, path = "/v1/plan/apply", operation_id = "apply_plan", tag = "table", request_body = Option<MoveBody>,
    params(("reason" = Option<String>, Query, description = "Why, for the audit log")), security(("token" = [])),
    responses((status = 200, body = Plan), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn apply_plan(
    State(app): State<App>,
    asked: Asked<Json<MoveBody>>,
) -> Result<Answer, Problem> {
    let permission = MovePermission::of(asked.body.0.allow_move);
    change(&app, StatusCode::OK, asked.request, move |daemon, write| {
        change_slots::apply_plan(write, permission, &daemon.rules)
    })
    .await
}

/// Show the table in force, and whether it says all that is intended
#[utoipa::path(get, path = "/v1/table", operation_id = "show_table", tag = "table",
    responses((status = 200, body = TableView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(State(app): State<App>) -> Result<Answer, Problem> {
    read(&app, |daemon, read| {
        let meta = read.meta()?;
        let status = daemon.publisher.status();
        let found = daemon
            .observed
            .seen()
            .confirmations(daemon.config.proxy_names(), status.digest.as_deref());
        let blocked = status.blocked;
        let is_pending = meta.table_wanted > status.considered;
        let pending_since = if is_pending && blocked.is_none() {
            read.time_of_change(meta.table_wanted)?
        } else {
            None
        };
        Ok(TableView {
            revision: meta.revision,
            generation: status.generation,
            digest: status.digest,
            path: daemon.config.table.path.display().to_string(),
            current: blocked.is_none() && !is_pending,
            blocked_because: blocked.as_ref().map(ToString::to_string),
            hint: blocked.as_ref().map(|blocked| blocked.hint().to_owned()),
            blocked_since: blocked.as_ref().map(|_| rfc3339(status.since_ms)),
            blocked,
            move_allowed_at: Some(meta.move_allowed).filter(|generation| *generation > 0),
            // What came of changes before the start is only found out after it.
            pending_for_ms: pending_since.map(|at| ms_since(at.max(daemon.started_ms))),
            everywhere: found.is_everywhere(),
            confirmed: found.confirmed,
            not_confirmed: found.missing.into_iter().map(unconfirmed).collect(),
            forgotten: found.forgotten,
            now: rfc3339(now_ms()),
            storage_problem: daemon.storage_problem(),
        })
    })
    .await
}

fn unconfirmed(it: Unconfirmed) -> UnconfirmedView {
    UnconfirmedView {
        proxy: it.proxy,
        state: it.state,
        generation: it.generation,
    }
}

/// List the tables that are kept
#[utoipa::path(get, path = "/v1/table/history", operation_id = "list_tables", tag = "table",
    responses((status = 200, body = TableHistory), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn history(State(app): State<App>) -> Result<Answer, Problem> {
    read(&app, |_, read| {
        let tables = read.tables()?;
        let mut views = Vec::with_capacity(tables.len());
        for (at, table) in tables.iter().enumerate() {
            // Of the changes before the oldest one that is kept, only its last is known to be in it.
            let before = tables.get(at + 1).map_or_else(
                || table.generation.saturating_sub(1),
                |older| older.generation,
            );
            let (changes, newest) =
                read.changes_between(before, table.generation, CHANGES_SHOWN_MAX)?;
            views.push(KeptTableView::of(table, changes, newest));
        }
        Ok(TableHistory { tables: views })
    })
    .await
}

/// Show a kept table as the file it was
#[utoipa::path(get, path = "/v1/table/{generation}", operation_id = "show_kept_table", tag = "table",
    params(("generation" = u64, Path, description = "Its generation")),
    responses((status = 200, body = String, content_type = "application/yaml"),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn content(
    State(app): State<App>,
    At(generation): At<u64>,
) -> Result<Response, Problem> {
    let content = in_background(&app, move |daemon| {
        daemon.store.read(|read| read.table_content(generation))
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], content).into_response())
}

/// Two tables to compare.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DiffQuery {
    /// Generation of the older one. Default: the one published before `to`.
    #[serde(default, deserialize_with = "counted_or_none")]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    from: Option<u64>,
    /// Generation of the newer one. Default: the one in force.
    #[serde(default, deserialize_with = "counted_or_none")]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    to: Option<u64>,
}

/// Compare two kept tables, seen from the tenants
#[utoipa::path(get, path = "/v1/table/diff", operation_id = "diff_tables", tag = "table", params(DiffQuery),
    responses((status = 200, body = Object), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn diff(
    State(app): State<App>,
    Params(query): Params<DiffQuery>,
) -> Result<Answer, Problem> {
    in_background(&app, move |daemon| {
        let (from, old, to, new, revision) = daemon.store.read(|read| -> Result<_, Refusal> {
            let tables = read.tables()?;
            let published = tables
                .iter()
                .filter(|table| table.state == TableState::Published);
            let kept: Vec<u64> = published.map(|table| table.generation).collect();
            let to = query.to.or_else(|| kept.first().copied()).unwrap_or(0);
            let before = kept.iter().copied().find(|generation| *generation < to);
            let from = query.from.or(before).unwrap_or(0);
            let (old, new) = (read.table_content(from)?, read.table_content(to)?);
            Ok((from, old, to, new, read.meta()?.revision))
        })?;
        // Outside of the read: two large tables take a while, and others want to read too.
        let diff: Diff = compare(&parsed(&old)?, &parsed(&new)?);
        let body = json!({ "from": from, "to": to, "diff": diff });
        Ok(Answer::new(StatusCode::OK, revision, &body))
    })
    .await
}

fn parsed(bytes: &[u8]) -> Result<cellgate_table::Table, Refusal> {
    cellgate_table::parse(bytes)
        .map_err(|problems| StorageError::Corrupt(problems.summary()).into())
}

/// Publish what is blocked, with explicit permission
#[utoipa::path(post, path = "/v1/table/publish", operation_id = "publish_table", tag = "table", request_body = Option<PublishBody>,
    params(("reason" = Option<String>, Query, description = "Why, for the audit log")), security(("token" = [])),
    responses((status = 200, body = Object), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn publish(
    State(app): State<App>,
    asked: Asked<Json<PublishBody>>,
) -> Result<Answer, Problem> {
    let Json(body) = asked.body;
    if !body.allow_move && !body.overwrite {
        let message = "neither `allow_move` nor `overwrite` is true";
        let hint = "set one of them; whatever needs no permission is published by itself";
        return Err(Refusal::bad_input("", message, hint).into());
    }
    let request = asked.request;
    in_background(&app, move |daemon| {
        let standing = daemon.publisher.standing();
        let found = standing.as_ref().map_or(0, |(_, generation)| *generation);
        // Proxies increment the generation of a table edited by hand, so theirs may be the largest.
        let theirs = daemon.observed.seen().newest_generation().unwrap_or(0);
        let done = daemon.change(&request, |write| {
            write.touch_table();
            if body.allow_move {
                write.allow_move();
            }
            if body.overwrite {
                write.skip_to(found.max(theirs) + 1);
            }
            let words = json!({ "allow_move": body.allow_move, "overwrite": body.overwrite });
            write.note("table.publish", "table", &words)?;
            Ok(json!({ "revision": write.revision() }))
        })?;
        // Only now: a permission that was refused, or is an old one said again, must not let anything out.
        if body.overwrite && done.is_change {
            let digest = standing.map(|(digest, _)| digest);
            daemon.publisher.allow_overwrite(digest, theirs);
            daemon.wake.publish.notify_one();
        }
        Ok(Answer::of(&done))
    })
    .await
}

/// Restore the map of an older table, as a new generation
#[utoipa::path(post, path = "/v1/table/rollback", operation_id = "roll_back_table", tag = "table", request_body = RollbackBody,
    params(("reason" = Option<String>, Query, description = "Why, for the audit log")), security(("token" = [])),
    responses((status = 200, body = RolledBack), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn roll_back(
    State(app): State<App>,
    asked: Asked<Json<RollbackBody>>,
) -> Result<Answer, Problem> {
    let Json(body) = asked.body;
    change(&app, StatusCode::OK, asked.request, move |daemon, write| {
        let tables = write.read().tables()?;
        let is_wanted = |table: &KeptTable| {
            table.generation == body.generation && table.state == TableState::Published
        };
        if !tables.iter().any(is_wanted) {
            return Err(Refusal::NoSuchTable(body.generation));
        }
        let table = parsed(&write.read().table_content(body.generation)?)?;
        let permission = MovePermission::of(body.allow_move);
        let restored = restore::roll_back(write, &table, permission, &daemon.rules)?;
        Ok(RolledBack {
            to_generation: body.generation,
            moved_slots: restored.moved_slots,
            moved_tenants: restored.moved_tenants,
            kept_tenants: restored.kept_tenants,
        })
    })
    .await
}
