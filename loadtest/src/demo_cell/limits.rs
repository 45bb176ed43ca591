//! Every limit of the demo cell. Nothing here is configurable: a demo has no operator.

use std::time::Duration;

/// A tenant key, in bytes.
pub const TENANT_BYTES_MAX: usize = 256;

/// A key of the key-value store, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// A value of the key-value store, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Keys in one answer of `GET /kv`.
pub const KEYS_PER_PAGE_MAX: u32 = 1_000;

/// The answer of `/bytes/{n}`, in bytes.
pub const ANSWER_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The wait of `/slow/{ms}`, in milliseconds.
pub const SLOW_MS_MAX: u64 = 60_000;

/// Tenants whose database is kept open. Each takes three file descriptors, and macOS gives a
/// process 256.
pub const OPEN_DATABASES_MAX: usize = 64;

/// Threads that run statements.
pub const DATABASE_THREADS_MAX: usize = 32;

/// Requests that use the database or wait for a thread to; one more is answered 503.
pub const DATABASE_JOBS_MAX: usize = 1_024;

/// How long a statement waits for another process that has locked the tenant's file.
pub const DATABASE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long requests in flight may go on after SIGTERM.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
