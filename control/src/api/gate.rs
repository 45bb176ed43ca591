//! What every request to `/v1` passes: a limit on how many there are, and the token for those that change something.

use std::{num::NonZeroU32, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest as _, Sha256};

use super::{app::App, problem::Problem};

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Gate {
    app: App,
    /// For those who have the token: nobody else can use up what an operator needs.
    known: Arc<DefaultDirectRateLimiter>,
    others: Arc<DefaultDirectRateLimiter>,
    /// Of the token, so that comparing takes the same time wherever two differ.
    token_digest: [u8; 32],
}

impl Gate {
    pub(super) fn new(app: &App, token: &str) -> Self {
        let rate = app.config.api.requests_per_second_max;
        let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        Self {
            app: App::clone(app),
            known: Arc::new(RateLimiter::direct(Quota::per_second(rate))),
            others: Arc::new(RateLimiter::direct(Quota::per_second(rate))),
            token_digest: Sha256::digest(token).into(),
        }
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return false;
        };
        let Some((scheme, token)) = value.to_str().ok().and_then(|text| text.split_once(' '))
        else {
            return false;
        };
        let digest: [u8; 32] = Sha256::digest(token.trim()).into();
        scheme.eq_ignore_ascii_case("bearer") && digest == self.token_digest
    }
}

pub(super) async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let is_known = gate.knows(request.headers());
    let limiter = if is_known { &gate.known } else { &gate.others };
    if limiter.check().is_err() {
        gate.app.metrics.requests_limited.inc();
        let detail = "there are too many requests at once";
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
            .into_response();
    }
    let only_reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if !only_reads && !is_known {
        let detail = "changes need the bearer token";
        let hint = format!(
            "send `authorization: Bearer …` with what stands in {}",
            gate.app.config.api.token_file.display()
        );
        return Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .hint(hint)
            .into_response();
    }
    next.run(request).await
}
