//! What a request says besides what it asks for: who asks, why, what they saw, and under which name they may ask again.

use std::time::Duration;

use axum::{
    body::{Body as HttpBody, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Query, Request as HttpRequest},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
};
use cellgate_table::limits::GENERATION_MAX;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use super::{app::App, problem::Problem};
use crate::store::{Idempotency, Request};

/// Length of a name of a caller, a reason or an idempotency key, in bytes.
const WORDS_BYTES_MAX: usize = 256;
/// Who asks, as they say themselves. Whoever has the token may say anything; it is for the log.
const ACTOR: &str = "x-cellgate-actor";
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A change that is asked for, with its body.
#[derive(Debug)]
pub(super) struct Asked<T> {
    pub request: Request,
    pub body: T,
}

/// The body of a request that has none.
#[derive(Debug)]
pub(super) struct Nothing;

/// The parts of the path that a route leaves open.
#[derive(Debug)]
pub(super) struct At<T>(pub T);

/// The query parameters.
#[derive(Debug)]
pub(super) struct Params<T>(pub T);

/// What a body is read as.
pub(super) trait Body: Sized {
    fn read(bytes: Bytes, headers: &HeaderMap) -> Result<Self, Problem>;
}

/// A body of JSON.
#[derive(Debug)]
pub(super) struct Json<T>(pub T);

/// A body of lines.
#[derive(Debug)]
pub(super) struct Lines {
    pub bytes: Bytes,
    pub is_csv: bool,
}

impl Body for Nothing {
    fn read(bytes: Bytes, _: &HeaderMap) -> Result<Self, Problem> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self);
        }
        Err(Problem::bad_request("this request has no body").hint("leave it out"))
    }
}

impl<T: DeserializeOwned> Body for Json<T> {
    fn read(bytes: Bytes, headers: &HeaderMap) -> Result<Self, Problem> {
        let kind = content_type(headers);
        let is_json = kind.is_none_or(|kind| kind == "application/json" || kind.ends_with("+json"));
        if !is_json {
            return Err(unsupported("application/json"));
        }
        // A body that may be left out whole is read as an empty object, and so is `null`.
        let bytes = if bytes.is_empty() || &bytes[..] == b"null" {
            Bytes::from_static(b"{}")
        } else {
            bytes
        };
        // A list would be taken for the fields in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(unreadable("it is not an object"));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(unreadable)
    }
}

fn unreadable(why: impl std::fmt::Display) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "bad_input",
        format!("the body cannot be read: {why}"),
    )
}

impl Body for Lines {
    fn read(bytes: Bytes, headers: &HeaderMap) -> Result<Self, Problem> {
        let is_csv = match content_type(headers) {
            Some("text/csv") => true,
            Some("application/x-ndjson" | "application/jsonl" | "application/json") | None => false,
            Some(_) => return Err(unsupported("application/x-ndjson or text/csv")),
        };
        Ok(Self { bytes, is_csv })
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

fn unsupported(wanted: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        format!("the body has to be {wanted}"),
    )
}

impl<T: Body> FromRequest<App> for Asked<T> {
    type Rejection = Problem;

    async fn from_request(http: HttpRequest, app: &App) -> Result<Self, Problem> {
        let (parts, body) = http.into_parts();
        let limit = app.config.api.body_bytes_max;
        let bytes = read_body(body, limit, app.config.api.connections.stall).await?;
        let request = read_request(&parts, &bytes)?;
        let body = T::read(bytes, &parts.headers)?;
        Ok(Self { request, body })
    }
}

/// Reads a body whole. Between two pieces of it no more than `stall` may pass.
async fn read_body(body: HttpBody, limit: usize, stall: Duration) -> Result<Bytes, Problem> {
    let mut body = body.into_data_stream();
    let mut bytes = Vec::new();
    loop {
        let Ok(piece) = timeout(stall, body.next()).await else {
            let detail = format!("nothing of the body came for {} ms", stall.as_millis());
            return Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_too_slow",
                detail,
            ));
        };
        match piece {
            None => return Ok(bytes.into()),
            Some(Err(error)) => {
                let detail = format!("the body cannot be read: {error}");
                return Err(Problem::bad_request(detail));
            }
            Some(Ok(piece)) if bytes.len() + piece.len() > limit => {
                let detail = format!("the body has more than {limit} bytes");
                return Err(Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "body_too_large",
                    detail,
                ));
            }
            Some(Ok(piece)) => bytes.extend_from_slice(&piece),
        }
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<App> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let found = Path::<T>::from_request_parts(parts, app).await;
        found
            .map(|Path(found)| Self(found))
            .map_err(|error| Problem::bad_request(error.body_text()))
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let found = Query::<T>::from_request_parts(parts, app).await;
        found
            .map(|Query(found)| Self(found))
            .map_err(|error| Problem::bad_request(error.body_text()))
    }
}

fn read_request(parts: &Parts, body: &Bytes) -> Result<Request, Problem> {
    let headers = &parts.headers;
    let actor = words(headers, ACTOR)?.unwrap_or_else(|| "api".to_owned());
    let idempotency = words(headers, IDEMPOTENCY_KEY)?.map(|key| Idempotency {
        key,
        fingerprint: fingerprint(parts, body),
    });
    Ok(Request {
        actor,
        reason: reason(parts)?,
        seen: seen(headers)?,
        idempotency,
    })
}

fn words(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .ok()
        .map(str::trim)
        .filter(|text| !text.is_empty() && text.len() <= WORDS_BYTES_MAX);
    text.map(|text| Some(text.to_owned())).ok_or_else(|| {
        Problem::bad_request(format!(
            "the header {name} is not 1 to {WORDS_BYTES_MAX} printable characters"
        ))
    })
}

/// The query parameter `reason`. Others are an error, but for those of a removal, which it reads by itself: a field that
/// belongs in the body must not be overlooked in the query.
fn reason(parts: &Parts) -> Result<Option<String>, Problem> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Why {
        reason: Option<String>,
        force: Option<String>,
        allow_move: Option<String>,
        forget: Option<String>,
    }
    let why = Query::<Why>::try_from_uri(&parts.uri)
        .map_err(|error| Problem::bad_request(error.body_text()))?;
    let mut of_removal = [&why.0.force, &why.0.allow_move, &why.0.forget].into_iter();
    if of_removal.any(Option::is_some) && parts.method != Method::DELETE {
        return Err(Problem::bad_request(
            "`force`, `allow_move` and `forget` are no query parameters here",
        ));
    }
    let reason = why.0.reason.map(|reason| reason.trim().to_owned());
    match reason {
        Some(reason) if reason.len() > WORDS_BYTES_MAX || reason.contains(char::is_control) => {
            Err(Problem::bad_request(format!(
                "the reason has more than {WORDS_BYTES_MAX} bytes, or control characters"
            )))
        }
        reason => Ok(reason.filter(|reason| !reason.is_empty())),
    }
}

/// The revision in `if-match`, as an `etag` of this API gives it.
fn seen(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    number
        .unwrap_or(text)
        .parse()
        .map(Some)
        .map_err(|_| Problem::bad_request("the header if-match is not a revision such as \"42\""))
}

/// A revision, a generation or an id: a number that every JSON reader can hold exactly.
pub(super) fn counted_or_none<'de, D>(deserializer: D) -> Result<Option<u64>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    use serde::Deserialize as _;
    let number = Option::<u64>::deserialize(deserializer)?;
    if number > Some(GENERATION_MAX) {
        let message = format!("a number larger than {GENERATION_MAX}");
        return Err(serde::de::Error::custom(message));
    }
    Ok(number)
}

fn fingerprint(parts: &Parts, body: &Bytes) -> Vec<u8> {
    let mut hash = Sha256::new();
    for piece in [parts.method.as_str(), &parts.uri.to_string()] {
        hash.update((piece.len() as u64).to_be_bytes());
        hash.update(piece);
    }
    hash.update(body);
    hash.finalize().to_vec()
}
