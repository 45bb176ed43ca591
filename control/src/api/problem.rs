//! Refusals as HTTP answers: the one place where a cause gets its status and its stable code.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    refusal::{Refusal, StorageError},
    turns::Standing,
};

/// How long a client does well to wait after 429 and 503.
const RETRY_AFTER_SECONDS: u16 = 1;

/// An error, as RFC 9457 has it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Problem {
    /// What happened, in words that do not change.
    pub title: String,
    pub status: u16,
    /// What happened, in words of this case.
    pub detail: String,
    /// For programs; it never changes its meaning.
    pub code: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Everything that is wrong with what was sent, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub problems: Vec<Value>,
    /// The states that may follow, the reasons of each cell, and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub more: Option<Value>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            title: code.replace('_', " "),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            hint: None,
            problems: Vec::new(),
            more: None,
        }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// There are too many of this kind at the moment.
    pub(super) fn overloaded(detail: &str, standing: Standing) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail);
        match standing {
            Standing::WithToken | Standing::AtSocket => problem.hint("try again in a moment"),
            Standing::WithoutToken => problem.hint(
                "try again in a moment, or send the token: its holders have places of their own",
            ),
        }
    }

    /// The request itself is wrong.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a problem is plain data");
        let mut response = (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body,
        )
            .into_response();
        let headers = response.headers_mut();
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Status and code of a refusal.
fn name_of(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::BadInput(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_input"),
        Refusal::NoSuchCell(_) => (StatusCode::NOT_FOUND, "no_such_cell"),
        Refusal::NoSuchProvider { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "no_such_provider"),
        Refusal::NoSuchProxy(_) => (StatusCode::NOT_FOUND, "no_such_proxy"),
        Refusal::ProxyAnswers(_) => (StatusCode::CONFLICT, "proxy_answers"),
        Refusal::ProviderNotAsked { .. } => (StatusCode::CONFLICT, "provider_not_asked"),
        Refusal::NoSuchTenant(_) => (StatusCode::NOT_FOUND, "no_such_tenant"),
        Refusal::NoSuchAlias(_) => (StatusCode::NOT_FOUND, "no_such_alias"),
        Refusal::NoSuchTable(_) => (StatusCode::NOT_FOUND, "no_such_table"),
        Refusal::CellExists { .. } => (StatusCode::CONFLICT, "cell_exists"),
        Refusal::TooManyCells { .. } => (StatusCode::CONFLICT, "too_many_cells"),
        Refusal::IllegalTransition { .. } => (StatusCode::CONFLICT, "illegal_transition"),
        Refusal::BeingRemoved(_) => (StatusCode::CONFLICT, "being_removed"),
        Refusal::EndpointsFromProvider { .. } => (StatusCode::CONFLICT, "endpoints_from_provider"),
        Refusal::CellOwns { .. } => (StatusCode::CONFLICT, "cell_owns"),
        Refusal::CellTakesNone { .. } => (StatusCode::CONFLICT, "cell_takes_none"),
        Refusal::TenantElsewhere { .. } => (StatusCode::CONFLICT, "tenant_elsewhere"),
        Refusal::HasData { .. } => (StatusCode::CONFLICT, "has_data"),
        Refusal::IsAlias { .. } => (StatusCode::CONFLICT, "is_alias"),
        Refusal::AliasIsTenant(_) => (StatusCode::CONFLICT, "alias_is_tenant"),
        Refusal::AliasTaken { .. } => (StatusCode::CONFLICT, "alias_taken"),
        Refusal::NoCapacity(_) => (StatusCode::CONFLICT, "no_capacity"),
        Refusal::MovesTooMuch(_) => (StatusCode::CONFLICT, "moves_too_much"),
        Refusal::SlotsUnassigned => (StatusCode::CONFLICT, "slots_unassigned"),
        Refusal::SlotsAssigned => (StatusCode::CONFLICT, "slots_assigned"),
        Refusal::NoActiveCell => (StatusCode::CONFLICT, "no_active_cell"),
        Refusal::NoReason(_) => (StatusCode::UNPROCESSABLE_ENTITY, "no_reason"),
        Refusal::Stale { .. } => (StatusCode::PRECONDITION_FAILED, "stale_revision"),
        Refusal::IdempotencyKeyReused => {
            (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused")
        }
        Refusal::CannotRestore(_) => (StatusCode::CONFLICT, "cannot_restore"),
        Refusal::Storage(StorageError::Displaced { .. }) => {
            (StatusCode::SERVICE_UNAVAILABLE, "database_displaced")
        }
        Refusal::Storage(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage_failed"),
    }
}

/// What to do about a refusal, where there is something to say.
fn hint_for(refusal: &Refusal) -> Option<&'static str> {
    Some(match refusal {
        Refusal::CellOwns { .. } => {
            "drain the cell first; or force the removal, with a reason: its tenants lose their data"
        }
        Refusal::CellTakesNone { .. } => "name an active cell",
        Refusal::HasData { .. } => {
            "bring the data there first, then say `without_data`; nothing here can move it yet"
        }
        Refusal::NoCapacity(_) => "add a cell, or raise the capacity of one",
        Refusal::MovesTooMuch(_) => "if it is meant, say `allow_move`",
        Refusal::SlotsUnassigned => {
            "wait until the first cells are active and settled, or spread the slots now"
        }
        Refusal::ProxyAnswers(_) => {
            "stop it first, or take it out of `proxies` in the daemon's configuration"
        }
        Refusal::ProviderNotAsked { .. } => {
            "remove the cell without `forget` first: `forget` leaves behind what the provider has made"
        }
        Refusal::NoReason(_) => "say why, with the parameter `reason`",
        Refusal::Stale { .. } => "read again, and decide on what you see then",
        Refusal::IdempotencyKeyReused => "use a new key for each request",
        Refusal::EndpointsFromProvider { .. } => "leave `endpoints` out",
        Refusal::TenantElsewhere { .. } => {
            "show it with `cellctl tenant show`, and pin it if it is to live elsewhere"
        }
        Refusal::Storage(StorageError::Displaced { .. }) => {
            "export the tenants now if there is no backup: reading still works; then put the database in its place and \
             restart the daemon"
        }
        Refusal::Storage(_) => "nothing was changed; check the daemon's log and its disk",
        _ => return None,
    })
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = name_of(&refusal);
        let mut problem = Self::new(status, code, refusal.to_string());
        problem.hint = hint_for(&refusal).map(str::to_owned);
        match refusal {
            Refusal::BadInput(problems) => {
                problem.problems = problems
                    .problems
                    .iter()
                    .map(|one| {
                        serde_json::json!({ "path": one.path, "message": one.message, "hint": one.hint })
                    })
                    .collect();
            }
            Refusal::IllegalTransition { from, .. } => {
                problem.more =
                    Some(serde_json::json!({ "state": from, "legal": from.followers() }));
            }
            Refusal::NoCapacity(reasons) => {
                let reasons: serde_json::Map<String, Value> = reasons
                    .reasons
                    .into_iter()
                    .map(|(cell, reason)| (cell.to_string(), Value::from(reason)))
                    .collect();
                problem.more = Some(serde_json::json!({ "cells": reasons }));
            }
            Refusal::Stale { current, .. } => {
                problem.more = Some(serde_json::json!({ "revision": current }));
            }
            _ => {}
        }
        problem
    }
}

impl From<crate::refusal::StorageError> for Problem {
    fn from(error: crate::refusal::StorageError) -> Self {
        Refusal::Storage(error).into()
    }
}
