//! The one place where what went wrong becomes an answer.

use std::error::Error as StdError;

use axum::{
    Json,
    extract::rejection::{BytesRejection, PathRejection, QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::task::JoinError;

use super::{
    limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX},
    store::StoreError,
    tenant::TenantKeyError,
};

/// Whatever keeps the cell from doing what a request asks.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("the request has no x-cellgate-tenant header")]
    NoTenant,
    #[error("the request has more than one x-cellgate-tenant header")]
    TenantRepeated,
    #[error("x-cellgate-tenant cannot name a tenant")]
    BadTenant(#[source] TenantKeyError),
    #[error("the path cannot be decoded")]
    BadPath(#[source] PathRejection),
    #[error("the query string cannot be understood")]
    BadQuery(#[source] QueryRejection),
    #[error("the body cannot be read")]
    BadBody(#[source] BytesRejection),
    #[error("{text:?} is not a number from 0 to {max}")]
    BadNumber { text: String, max: u64 },
    #[error("{text:?} is neither `ok` nor `fail`")]
    BadHealth { text: String },
    #[error("the key has {bytes} bytes, more than {KEY_BYTES_MAX}")]
    KeyTooLong { bytes: usize },
    #[error("the value has more than {VALUE_BYTES_MAX} bytes")]
    ValueTooLong,
    #[error("the tenant has no key {key:?}")]
    NoSuchKey { key: String },
    #[error("the path does not take this method")]
    BadMethod,
    #[error("admin paths are not for requests that came through the proxy")]
    AdminFromOutside,
    #[error("the cell was set to report that it is unhealthy")]
    Unhealthy,
    #[error("too many requests wait for the database")]
    Busy,
    #[error("the tenant's data is out of reach")]
    Store(#[source] StoreError),
    #[error("the database work ended early")]
    Interrupted(#[source] JoinError),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoTenant
            | Self::TenantRepeated
            | Self::BadTenant(_)
            | Self::BadPath(_)
            | Self::BadQuery(_)
            | Self::BadBody(_)
            | Self::BadNumber { .. }
            | Self::BadHealth { .. }
            | Self::KeyTooLong { .. } => StatusCode::BAD_REQUEST,
            Self::AdminFromOutside => StatusCode::FORBIDDEN,
            Self::NoSuchKey { .. } => StatusCode::NOT_FOUND,
            Self::BadMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::ValueTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unhealthy | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) | Self::Interrupted(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// By what programs distinguish problems.
    fn code(&self) -> &'static str {
        match self {
            Self::NoTenant => "no_tenant",
            Self::TenantRepeated | Self::BadTenant(_) => "bad_tenant",
            Self::BadPath(_) => "bad_path",
            Self::BadQuery(_) => "bad_query",
            Self::BadBody(_) => "bad_body",
            Self::BadNumber { .. } => "bad_number",
            Self::BadHealth { .. } => "bad_health",
            Self::KeyTooLong { .. } => "key_too_long",
            Self::ValueTooLong => "value_too_long",
            Self::NoSuchKey { .. } => "no_such_key",
            Self::BadMethod => "bad_method",
            Self::AdminFromOutside => "admin_from_outside",
            Self::Unhealthy => "unhealthy",
            Self::Busy => "busy",
            Self::Store(_) | Self::Interrupted(_) => "internal",
        }
    }

    /// The sentence for the caller: the causes too if they are the caller's, else only that it
    /// failed.
    fn detail(&self) -> String {
        match self {
            Self::Store(_) | Self::Interrupted(_) => self.to_string(),
            _ => self.chain(),
        }
    }

    fn chain(&self) -> String {
        let mut chain = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // The framework's errors state their own causes.
            if !chain.ends_with(&message) {
                chain.push_str(": ");
                chain.push_str(&message);
            }
            cause = error.source();
        }
        chain
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::ValueTooLong;
        }
        Self::BadBody(rejection)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = self.chain(), "request failed");
        }
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "code": self.code(),
            "detail": self.detail(),
        });
        let media_type = HeaderValue::from_static("application/problem+json");
        (status, [(header::CONTENT_TYPE, media_type)], Json(body)).into_response()
    }
}
