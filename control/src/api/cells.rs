//! `/v1/cells`.

use axum::{Extension, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::{Answer, change, read},
    app::App,
    caller::{Asked, At, Json, Nothing, Params},
    problem::Problem,
    view::{CellDetail, CellView, OperationView},
};
use crate::{
    change::{
        MovePermission,
        cells::{self, CellPatch, FieldChange, NewCell, parse_id},
    },
    daemon::Daemon,
    model::{Cell, CellState},
    plan::Plan,
    refusal::Refusal,
    store::Read,
    turns::Standing,
};

/// Which cells to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only those in this state. Removed ones are listed only if asked for.
    state: Option<CellState>,
}

/// All cells.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CellList {
    cells: Vec<CellView>,
}

/// A permission for what moves tenants.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveBody {
    /// More may move in one table than the limits allow.
    #[serde(default)]
    pub(super) allow_move: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveQuery {
    /// Remove it whatever it owns: its slots and tenants go to the other cells, without their data. Needs a reason.
    #[serde(default)]
    force: bool,
    /// More may move in one table than the limits allow.
    #[serde(default)]
    allow_move: bool,
    /// Do not ask its provider, which is gone or has failed to remove it: what it made stays behind. Needs a reason.
    #[serde(default)]
    forget: bool,
    /// Why, for the audit log.
    #[expect(dead_code, reason = "read from the URI, for every change alike")]
    reason: Option<String>,
}

/// How much a cell holds, by dimension.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageBody {
    usage: std::collections::BTreeMap<String, f64>,
}

/// A cell that drains, and what became of what it owned.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Drained {
    cell: CellView,
    plan: Plan,
}

/// A cell after an update, and what the update changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Updated {
    #[serde(flatten)]
    cell: CellView,
    changed: Vec<FieldChange>,
}

fn view(daemon: &Daemon, read: Read<'_>, cell: &Cell) -> Result<CellView, Refusal> {
    let slots = read.slots()?.count_of(&cell.id);
    let seen = daemon.observed.seen();
    // For changes, which need the token.
    Ok(CellView::of(cell, slots, &seen, Standing::WithToken))
}

/// List the cells
#[utoipa::path(get, path = "/v1/cells", operation_id = "list_cells", tag = "cells", params(ListQuery),
    responses((status = 200, body = CellList), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(standing): Extension<Standing>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, Problem> {
    read(&app, move |daemon, read| {
        let slots = read.slots()?;
        let cells = read.cells()?;
        let seen = daemon.observed.seen();
        let wanted = |cell: &Cell| match query.state {
            Some(state) => cell.state == state,
            None => cell.state != CellState::Removed,
        };
        let cells = cells
            .iter()
            .filter(|cell| wanted(cell))
            .map(|cell| CellView::of(cell, slots.count_of(&cell.id), &seen, standing));
        Ok(CellList {
            cells: cells.collect(),
        })
    })
    .await
}

/// Add a cell
#[utoipa::path(post, path = "/v1/cells", operation_id = "add_cell", tag = "cells", request_body = NewCell,
    params(("reason" = Option<String>, Query, description = "Why, for the audit log")), security(("token" = [])),
    responses((status = 201, body = CellView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(app): State<App>,
    asked: Asked<Json<NewCell>>,
) -> Result<Answer, Problem> {
    let Json(new) = asked.body;
    change(
        &app,
        StatusCode::CREATED,
        asked.request,
        move |daemon, write| {
            let cell = cells::add(write, &new, &daemon.rules)?;
            view(daemon, write.read(), &cell)
        },
    )
    .await
}

/// Show a cell, with what its provider did
#[utoipa::path(get, path = "/v1/cells/{id}", operation_id = "show_cell", tag = "cells",
    params(("id" = String, Path, description = "The cell")),
    responses((status = 200, body = CellDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(standing): Extension<Standing>,
    At(id): At<String>,
) -> Result<Answer, Problem> {
    read(&app, move |daemon, read| {
        let cell = read.cell(&parse_id(&id)?)?;
        let slots = read.slots()?.count_of(&cell.id);
        let operations = read.operations_of(&cell.id)?.into_iter();
        Ok(CellDetail {
            cell: CellView::of(&cell, slots, &daemon.observed.seen(), standing),
            operations: operations
                .map(|operation| OperationView::of(operation, standing))
                .collect(),
        })
    })
    .await
}

/// Change what an operator may set of a cell
#[utoipa::path(patch, path = "/v1/cells/{id}", operation_id = "update_cell", tag = "cells", request_body = Option<CellPatch>,
    params(("id" = String, Path, description = "The cell"), ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = Updated), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn update(
    State(app): State<App>,
    At(id): At<String>,
    asked: Asked<Json<CellPatch>>,
) -> Result<Answer, Problem> {
    let Json(patch) = asked.body;
    change(&app, StatusCode::OK, asked.request, move |daemon, write| {
        let (cell, changed) = cells::update(write, &parse_id(&id)?, &patch)?;
        Ok(Updated {
            cell: view(daemon, write.read(), &cell)?,
            changed,
        })
    })
    .await
}

/// Remove a cell that owns nothing, or by force
#[utoipa::path(delete, path = "/v1/cells/{id}", operation_id = "remove_cell", tag = "cells",
    params(("id" = String, Path, description = "The cell"), RemoveQuery), security(("token" = [])),
    responses((status = 200, body = CellView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(app): State<App>,
    At(id): At<String>,
    Params(query): Params<RemoveQuery>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    change(&app, StatusCode::OK, asked.request, move |daemon, write| {
        let id = parse_id(&id)?;
        if query.forget {
            cells::check_forgettable(write, &id, &daemon.rules)?;
        }
        let mut cell = if query.force {
            let permission = MovePermission::of(query.allow_move);
            cells::force_remove(write, &id, permission, &daemon.rules)?
        } else {
            cells::remove(write, &id)?
        };
        if query.forget {
            cell = cells::forget(write, &id)?;
        }
        view(daemon, write.read(), &cell)
    })
    .await
}

/// Let a cell have no more tenants, and move away what has no data in it
#[utoipa::path(post, path = "/v1/cells/{id}/drain", operation_id = "drain_cell", tag = "cells", request_body = Option<MoveBody>,
    params(("id" = String, Path, description = "The cell"), ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = Drained), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn drain(
    State(app): State<App>,
    At(id): At<String>,
    asked: Asked<Json<MoveBody>>,
) -> Result<Answer, Problem> {
    let permission = MovePermission::of(asked.body.0.allow_move);
    change(&app, StatusCode::OK, asked.request, move |daemon, write| {
        let id = parse_id(&id)?;
        let plan = cells::drain(write, &id, permission, &daemon.rules)?;
        let cell = write.read().cell(&id)?;
        Ok(Drained {
            cell: view(daemon, write.read(), &cell)?,
            plan,
        })
    })
    .await
}

/// Let a draining or drained cell have tenants again
#[utoipa::path(post, path = "/v1/cells/{id}/activate", operation_id = "activate_cell", tag = "cells",
    params(("id" = String, Path, description = "The cell"), ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = CellView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn activate(
    State(app): State<App>,
    At(id): At<String>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    change(&app, StatusCode::OK, asked.request, move |daemon, write| {
        let cell = cells::activate(write, &parse_id(&id)?)?;
        view(daemon, write.read(), &cell)
    })
    .await
}

/// Ask the provider once more for a cell that failed
#[utoipa::path(post, path = "/v1/cells/{id}/retry", operation_id = "retry_cell", tag = "cells",
    params(("id" = String, Path, description = "The cell"), ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = CellView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn retry(
    State(app): State<App>,
    At(id): At<String>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    change(&app, StatusCode::OK, asked.request, move |daemon, write| {
        let cell = cells::retry(write, &parse_id(&id)?)?;
        view(daemon, write.read(), &cell)
    })
    .await
}

/// Report how much a cell holds of what the daemon cannot count
#[utoipa::path(put, path = "/v1/cells/{id}/usage", operation_id = "report_cell_usage", tag = "cells", request_body = UsageBody,
    params(("id" = String, Path, description = "The cell"), ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = CellView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn report_usage(
    State(app): State<App>,
    At(id): At<String>,
    asked: Asked<Json<UsageBody>>,
) -> Result<Answer, Problem> {
    let usage = asked.body.0.usage;
    change(&app, StatusCode::OK, asked.request, move |daemon, write| {
        let cell = cells::report_usage(write, &parse_id(&id)?, &usage)?;
        view(daemon, write.read(), &cell)
    })
    .await
}
