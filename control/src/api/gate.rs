//! What every request to `/v1` passes: a limit on how many there are, and the token for those that change something.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::timeout;

use super::{
    app::App,
    problem::Problem,
    serve::{Caller, Way},
    token::Tokens,
};
use crate::turns::{Standing, TURN};

/// How long a request may wait for its turn.
const TURN_WAIT: Duration = Duration::from_secs(5);

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Gate {
    app: App,
    /// For those who have the token: nobody else can use up what an operator needs.
    known: Arc<DefaultDirectRateLimiter>,
    at_socket: Arc<DefaultDirectRateLimiter>,
    others: Arc<DefaultDirectRateLimiter>,
    tokens: Arc<Tokens>,
}

impl Gate {
    pub(super) fn new(app: &App, tokens: &Arc<Tokens>) -> Self {
        let rate = app.config.api.requests_per_second_max;
        let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        let limiter = || Arc::new(RateLimiter::direct(Quota::per_second(rate)));
        Self {
            app: App::clone(app),
            known: limiter(),
            at_socket: limiter(),
            others: limiter(),
            tokens: Arc::clone(tokens),
        }
    }

    fn standing(&self, headers: &HeaderMap, caller: Option<&Caller>) -> Standing {
        let sent = headers.get(header::AUTHORIZATION);
        let sent = sent.and_then(|value| value.to_str().ok()?.split_once(' '));
        match sent {
            Some((scheme, token))
                if scheme.eq_ignore_ascii_case("bearer") && self.tokens.knows(token.trim()) =>
            {
                Standing::WithToken
            }
            _ if caller.is_some_and(|caller| caller.way == Way::Unix) => Standing::AtSocket,
            _ => Standing::WithoutToken,
        }
    }

    /// Why a request is not let in.
    fn refusal(&self, request: &Request, standing: Standing) -> Option<Problem> {
        let limiter = match standing {
            Standing::WithToken => &self.known,
            Standing::AtSocket => &self.at_socket,
            Standing::WithoutToken => &self.others,
        };
        if limiter.check().is_err() {
            return Some(self.too_many());
        }
        let only_reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
        if !only_reads && standing != Standing::WithToken {
            let detail = "changes need the bearer token";
            let hint = format!(
                "send `authorization: Bearer …` with the token in {}",
                self.app.config.api.token_file.display()
            );
            return Some(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).hint(hint));
        }
        if standing == Standing::WithToken
            && let Some(caller) = request.extensions().get::<Caller>()
            && !caller.connections.has_shown_token(&caller.connection)
        {
            let detail = "there are too many connections that have shown the token";
            return Some(Problem::overloaded(detail, standing));
        }
        None
    }

    fn too_many(&self) -> Problem {
        self.app.metrics.requests_limited.inc();
        let detail = "there are too many requests at the same time";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
    }
}

pub(super) async fn guard(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let standing = gate.standing(request.headers(), request.extensions().get());
    if let Some(problem) = gate.refusal(&request, standing) {
        return problem.into_response();
    }
    request.extensions_mut().insert(standing);
    let Ok(turn) = timeout(TURN_WAIT, gate.app.answers.take(standing)).await else {
        return gate.too_many().into_response();
    };
    TURN.scope(Arc::new(turn), next.run(request)).await
}
