//! The paths of the cell. Handlers turn a request into one call and its result into an answer; they
//! hold no data.

use std::{
    convert::Infallible,
    future::{Future, IntoFuture},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{
        DefaultBodyLimit, FromRequestParts, Path, Query, Request, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
    serve::ListenerExt,
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
    task, time,
};

use super::{
    args::CellName,
    limits::{
        ANSWER_BYTES_MAX, DATABASE_JOBS_MAX, KEY_BYTES_MAX, KEYS_PER_PAGE_MAX, SHUTDOWN_GRACE,
        SLOW_MS_MAX, VALUE_BYTES_MAX,
    },
    problem::Problem,
    store::{Store, StoreError},
    tenant::TenantKey,
};

/// Set by the proxy: whose request this is.
const CELLGATE_TENANT: HeaderName = HeaderName::from_static("x-cellgate-tenant");
/// Set by the proxy: the generation of the table that sent the request here.
const CELLGATE_GENERATION: HeaderName = HeaderName::from_static("x-cellgate-generation");
/// On every answer: which cell gave it.
const CELL: HeaderName = HeaderName::from_static("x-cell");
/// On answers to requests with one tenant header: that tenant, so that a load test can see what
/// was asked.
const TENANT: HeaderName = HeaderName::from_static("x-tenant");

/// One running cell.
#[derive(Debug)]
pub struct Cell {
    name: CellName,
    name_header: HeaderValue,
    version: String,
    healthy: AtomicBool,
    store: Arc<Store>,
    database_jobs: Arc<Semaphore>,
}

impl Cell {
    #[must_use]
    pub fn new(name: CellName, version: String, store: Store) -> Self {
        let name_header =
            HeaderValue::from_str(name.as_str()).expect("cell names are made of header characters");
        Self {
            name,
            name_header,
            version,
            healthy: AtomicBool::new(true),
            store: Arc::new(store),
            database_jobs: Arc::new(Semaphore::new(DATABASE_JOBS_MAX)),
        }
    }

    /// Runs `work` on a thread that may block.
    async fn in_database<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let job = Arc::clone(&self.database_jobs)
            .try_acquire_owned()
            .map_err(|_| Problem::Busy)?;
        let store = Arc::clone(&self.store);
        let outcome = task::spawn_blocking(move || {
            // Held until the work is done, which a client that goes away does not stop.
            let _job = job;
            work(&store)
        });
        outcome
            .await
            .map_err(Problem::Interrupted)?
            .map_err(Problem::Store)
    }
}

/// Serves until `stop` is ready and the requests then in flight have ended, or [`SHUTDOWN_GRACE`]
/// is over.
pub async fn serve(
    listener: TcpListener,
    cell: Cell,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    });
    let (stopping, stopped) = oneshot::channel();
    let serving = axum::serve(listener, router(cell)).with_graceful_shutdown(async move {
        stop.await;
        // Nobody listens any more only if serving has ended already.
        let _ = stopping.send(());
    });
    let grace_over = async {
        if stopped.await.is_ok() {
            time::sleep(SHUTDOWN_GRACE).await;
        }
    };
    tokio::select! {
        served = serving.into_future() => served,
        () = grace_over => {
            let grace_ms = SHUTDOWN_GRACE.as_millis();
            tracing::warn!(grace_ms, "requests were cut off by the shutdown");
            Ok(())
        }
    }
}

fn router(cell: Cell) -> Router {
    let cell = Arc::new(cell);
    Router::new()
        .route("/healthz", get(healthz))
        .route("/admin/health/{state}", post(set_health))
        .route("/kv", get(list_keys))
        .route("/kv/", get(list_keys))
        .route(
            "/kv/{*key}",
            get(read_value).put(write_value).delete(delete_value),
        )
        .route("/whoami", any(whoami))
        .route("/whoami/{*rest}", any(whoami))
        .route("/echo/{*rest}", any(echo))
        .route("/bytes/{n}", get(bytes))
        .route("/slow/{ms}", any(slow))
        .fallback(plain)
        .method_not_allowed_fallback(async || Problem::BadMethod)
        .layer(DefaultBodyLimit::max(VALUE_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&cell), name_cell))
        .with_state(cell)
}

type Shared = State<Arc<Cell>>;

/// Puts the names of cell and tenant on every answer, problems included.
async fn name_cell(State(cell): Shared, request: Request, next: Next) -> Response {
    let tenant = single_tenant(request.headers()).ok().cloned();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CELL, cell.name_header.clone());
    if let Some(tenant) = tenant {
        headers.insert(TENANT, tenant);
    }
    response
}

fn single_tenant(headers: &HeaderMap) -> Result<&HeaderValue, Problem> {
    let mut values = headers.get_all(CELLGATE_TENANT).iter();
    let first = values.next().ok_or(Problem::NoTenant)?;
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Problem::TenantRepeated),
    }
}

impl<S: Sync> FromRequestParts<S> for TenantKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let header = single_tenant(&parts.headers)?;
        TenantKey::try_from(header.as_bytes()).map_err(Problem::BadTenant)
    }
}

async fn healthz(State(cell): Shared) -> Result<&'static str, Problem> {
    if !cell.healthy.load(Ordering::Relaxed) {
        return Err(Problem::Unhealthy);
    }
    Ok("ok")
}

async fn set_health(
    State(cell): Shared,
    headers: HeaderMap,
    state: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    // The proxy names a tenant on all it forwards, so its clients cannot reach this.
    if headers.contains_key(CELLGATE_TENANT) {
        return Err(Problem::AdminFromOutside);
    }
    let Path(text) = state.map_err(Problem::BadPath)?;
    let healthy = match text.as_str() {
        "ok" => true,
        "fail" => false,
        _ => return Err(Problem::BadHealth { text }),
    };
    cell.healthy.store(healthy, Ordering::Relaxed);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysQuery {
    #[serde(default)]
    after: String,
}

#[derive(Serialize)]
struct KeysAnswer {
    keys: Vec<String>,
    more: bool,
}

async fn list_keys(
    State(cell): Shared,
    tenant: TenantKey,
    query: Result<Query<KeysQuery>, QueryRejection>,
) -> Result<Json<KeysAnswer>, Problem> {
    let Query(KeysQuery { after }) = query.map_err(Problem::BadQuery)?;
    let page = cell
        .in_database(move |store| store.keys(&tenant, &after, KEYS_PER_PAGE_MAX))
        .await?;
    Ok(Json(KeysAnswer {
        keys: page.keys,
        more: page.more,
    }))
}

async fn read_value(
    State(cell): Shared,
    tenant: TenantKey,
    path: Result<Path<String>, PathRejection>,
) -> Result<Bytes, Problem> {
    let key = key(path)?;
    let asked = key.clone();
    let value = cell
        .in_database(move |store| store.value(&tenant, &asked))
        .await?;
    value.map(Bytes::from).ok_or(Problem::NoSuchKey { key })
}

async fn write_value(
    State(cell): Shared,
    tenant: TenantKey,
    path: Result<Path<String>, PathRejection>,
    value: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let key = key(path)?;
    let value = value?;
    cell.in_database(move |store| store.put(&tenant, &key, &value))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_value(
    State(cell): Shared,
    tenant: TenantKey,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let key = key(path)?;
    let asked = key.clone();
    if !cell
        .in_database(move |store| store.delete(&tenant, &asked))
        .await?
    {
        return Err(Problem::NoSuchKey { key });
    }
    Ok(StatusCode::NO_CONTENT)
}

fn key(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(key) = path.map_err(Problem::BadPath)?;
    if key.len() > KEY_BYTES_MAX {
        return Err(Problem::KeyTooLong { bytes: key.len() });
    }
    Ok(key)
}

/// What reached the cell. Bytes of headers are shown as the characters of the same number (ISO
/// 8859-1), so that none is lost.
#[derive(Serialize)]
struct Whoami<'a> {
    cell: &'a str,
    version: &'a str,
    tenant: String,
    generation: Option<u64>,
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    headers: Vec<(&'a str, String)>,
}

async fn whoami(
    State(cell): Shared,
    tenant: TenantKey,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let generation = headers
        .get(CELLGATE_GENERATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    let shown = Whoami {
        cell: cell.name.as_str(),
        version: &cell.version,
        tenant: latin1(tenant.as_bytes()),
        generation,
        method: method.as_str(),
        path: uri.path(),
        query: uri.query(),
        headers: headers
            .iter()
            .map(|(name, value)| (name.as_str(), latin1(value.as_bytes())))
            .collect(),
    };
    Json(shown).into_response()
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

async fn echo(_: TenantKey, body: Body) -> Body {
    body
}

async fn bytes(
    _: TenantKey,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let count = number(path, ANSWER_BYTES_MAX)?;
    Ok(([(header::CONTENT_LENGTH, count)], alphabet(count)).into_response())
}

async fn slow(_: TenantKey, path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let wait_ms = number(path, SLOW_MS_MAX)?;
    time::sleep(Duration::from_millis(wait_ms)).await;
    Ok(format!("waited {wait_ms} ms\n"))
}

async fn plain(State(cell): Shared, tenant: TenantKey) -> String {
    format!("cell {} tenant {tenant}\n", cell.name)
}

fn number(path: Result<Path<String>, PathRejection>, max: u64) -> Result<u64, Problem> {
    let Path(text) = path.map_err(Problem::BadPath)?;
    match text.parse() {
        Ok(number) if number <= max => Ok(number),
        _ => Err(Problem::BadNumber { text, max }),
    }
}

/// `count` bytes, `abcdefghijklmnop` over and over.
fn alphabet(count: u64) -> Body {
    const CHUNK_BYTES: usize = 64 * 1024;
    static CHUNK: [u8; CHUNK_BYTES] = {
        let mut chunk = [0; CHUNK_BYTES];
        let mut at = 0;
        while at < CHUNK_BYTES {
            chunk[at] = b"abcdefghijklmnop"[at % 16];
            at += 1;
        }
        chunk
    };

    let chunks = (0..count).step_by(CHUNK_BYTES).map(move |sent| {
        let left = usize::try_from(count - sent).unwrap_or(usize::MAX);
        Ok::<_, Infallible>(Bytes::from_static(&CHUNK[..left.min(CHUNK_BYTES)]))
    });
    Body::from_stream(stream::iter(chunks))
}
