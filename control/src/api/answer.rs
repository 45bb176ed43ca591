//! Answers, each with the revision that it speaks of as its `etag`.

use std::sync::Arc;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;

use super::{app::App, problem::Problem};
use crate::{
    daemon::Daemon,
    refusal::Refusal,
    store::{Done, Read, Request, Write},
    turns::TURN,
};

/// An answer of JSON.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    revision: u64,
    body: Value,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let etag = format!("\"{}\"", self.revision);
        let etag = HeaderValue::from_str(&etag).expect("digits in quotes");
        let mut body = serde_json::to_vec(&self.body).expect("JSON always serializes");
        body.push(b'\n');
        (
            self.status,
            [
                (header::ETAG, etag),
                (
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                ),
            ],
            body,
        )
            .into_response()
    }
}

impl Answer {
    /// An answer to a change.
    pub(super) fn of(done: &Done) -> Self {
        Self::new(StatusCode::OK, done.revision, &done.answer)
    }

    pub(super) fn new(status: StatusCode, revision: u64, body: &impl Serialize) -> Self {
        Self {
            status,
            revision,
            body: serde_json::to_value(body).expect("an answer is plain data"),
        }
    }
}

/// Reads, and answers with what was read.
pub(super) async fn read<T, F>(app: &App, work: F) -> Result<Answer, Problem>
where
    T: Serialize,
    F: FnOnce(&Daemon, Read<'_>) -> Result<T, Refusal> + Send + 'static,
{
    in_background(app, move |daemon| {
        daemon.store.read(|read| {
            let revision = read.meta()?.revision;
            let body = work(daemon, read)?;
            Ok(Answer::new(StatusCode::OK, revision, &body))
        })
    })
    .await
}

/// Makes a change, and answers with what came of it.
pub(super) async fn change<T, F>(
    app: &App,
    status: StatusCode,
    request: Request,
    work: F,
) -> Result<Answer, Problem>
where
    T: Serialize,
    F: FnOnce(&Daemon, &mut Write<'_>) -> Result<T, Refusal> + Send + 'static,
{
    in_background(app, move |daemon| {
        let done: Done = daemon.change(&request, |write| work(daemon, write))?;
        Ok(Answer::new(status, done.revision, &done.answer))
    })
    .await
}

/// Runs what blocks where it may.
pub(super) async fn in_background<T, F>(app: &App, work: F) -> Result<T, Problem>
where
    T: Send + 'static,
    F: FnOnce(&Daemon) -> Result<T, Refusal> + Send + 'static,
{
    let daemon = App::clone(app);
    // Whoever hangs up gives nobody else the place before the work is over.
    let turn = TURN.try_with(Arc::clone).ok();
    let work = move || {
        let _turn = turn;
        work(&daemon)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => {
            tracing::error!(%error, "a request failed");
            let detail = "a mistake in cellgate-control; its log has more";
            Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                detail,
            ))
        }
    }
}
