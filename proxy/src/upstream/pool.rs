//! Connections to cells that wait for their next request.
//!
//! A connection is given out again only for the same transport and, where a cell keeps them apart, the same tenant: both
//! are compared whole. A cell has its own limit, so that neither a busy cell nor a caller with a million keys takes the
//! place of another cell's connections.
//!
//! Each thread has a shard of its own, since a connection is best used by the thread whose event loop it belongs to. The
//! pool does no I/O but a check, without waiting, whether a connection is still open and silent.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cellgate_table::{CellId, Digest};
use hashbrown::HashTable;

use super::connection::{Connection, Idle};

/// The whole identity of a connection to an endpoint: two connections of which this is equal may stand in for each
/// other. Every setting that a connection is made with belongs here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transport {
    cell: CellId,
    address: SocketAddr,
    /// Of the name that the cell has to have, of whom it is trusted by, and of what is shown to it, by content.
    tls: Option<Digest>,
    /// Of the cell. Made once, and not for every request.
    hash: u64,
}

impl Transport {
    pub fn new(cell: CellId, address: SocketAddr, tls: Option<Digest>) -> Self {
        let mut hasher = DefaultHasher::new();
        cell.hash(&mut hasher);
        Self {
            cell,
            address,
            tls,
            hash: hasher.finish(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    pub idle_total_max: usize,
    pub idle_per_cell_max: usize,
    /// How long a connection may wait. To be shorter than the time after which cells close it.
    pub idle: Duration,
    /// Requests that one connection carries in its life; 0 means any number.
    pub requests_per_connection_max: u64,
}

/// How it is found out whether a kept connection is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleCheck {
    /// As far as the event loop has heard, which costs nothing.
    Notified,
    /// By asking the system.
    Probed,
}

impl IdleCheck {
    /// For a request that may be repeated, or may not.
    pub fn before(is_idempotent: bool) -> Self {
        if is_idempotent {
            Self::Notified
        } else {
            Self::Probed
        }
    }
}

/// See the module's documentation.
pub struct Pool<C = Connection> {
    limits: PoolLimits,
    shards: Box<[Mutex<Shard<C>>]>,
    idle: AtomicUsize,
    /// How many may be kept at the moment: what the limits say, or less.
    idle_max: AtomicUsize,
    /// How many of each cell's connections are in all shards together.
    idle_by_cell: Mutex<HashMap<CellId, Arc<AtomicUsize>>>,
    reused: AtomicU64,
    missed: AtomicU64,
}

struct Shard<C> {
    cells: HashTable<OfCell<C>>,
}

/// The connections to one cell in one shard, the newest last.
struct OfCell<C> {
    cell: CellId,
    hash: u64,
    waiting: VecDeque<Waiting<C>>,
    in_all_shards: Arc<AtomicUsize>,
}

struct Waiting<C> {
    transport: Arc<Transport>,
    tenant: Option<Box<[u8]>>,
    since: Instant,
    connection: C,
}

impl<C: Idle> Pool<C> {
    pub fn new(limits: PoolLimits) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let shard = || {
            Mutex::new(Shard {
                cells: HashTable::new(),
            })
        };
        Self {
            limits,
            shards: (0..threads).map(|_| shard()).collect(),
            idle: AtomicUsize::new(0),
            idle_max: AtomicUsize::new(limits.idle_total_max),
            idle_by_cell: Mutex::new(HashMap::new()),
            reused: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }
    }

    /// The newest connection that fits and is still open and silent, as far as `check` shows. `tenant` is the whole key, or
    /// `None` where the cell's connections are shared by its tenants.
    pub fn take(
        &self,
        transport: &Arc<Transport>,
        tenant: Option<&[u8]>,
        check: IdleCheck,
        now: Instant,
    ) -> Option<C> {
        let own = self.own_shard();
        for step in 0..self.shards.len() {
            let shard = &self.shards[(own + step) % self.shards.len()];
            while let Some(mut found) = self.find(shard, step == 0, transport, tenant) {
                // Outside the lock, as it is a system call; so is closing what does not pass.
                let waited = now.saturating_duration_since(found.since);
                let is_fresh = waited < self.limits.idle;
                let is_silent = match check {
                    IdleCheck::Notified => found.connection.seems_silent(),
                    IdleCheck::Probed => found.connection.is_silent(),
                };
                if is_fresh && is_silent {
                    self.reused.fetch_add(1, Ordering::Relaxed);
                    return Some(found.connection);
                }
            }
        }
        self.missed.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Keeps a connection for the next request to the same transport and tenant, unless it has carried as many as one
    /// may. Makes room by closing the cell's oldest, or when there are too many in all, the oldest of the cell that has
    /// most.
    pub fn put(
        &self,
        transport: Arc<Transport>,
        tenant: Option<Box<[u8]>>,
        connection: C,
        now: Instant,
    ) {
        let requests_max = self.limits.requests_per_connection_max;
        if requests_max != 0 && connection.served() >= requests_max {
            return;
        }
        let of_transport = Arc::clone(&transport);
        let cell = &of_transport.cell;
        let waiting = Waiting {
            transport,
            tenant,
            since: now,
            connection,
        };
        let mut shard = lock(&self.shards[self.own_shard()]);
        let place = shard.cells.entry(
            of_transport.hash,
            |of_cell| of_cell.cell == *cell,
            |of_cell| of_cell.hash,
        );
        let mut place = place.or_insert_with(|| OfCell {
            cell: cell.clone(),
            hash: of_transport.hash,
            waiting: VecDeque::new(),
            in_all_shards: self.count_of(cell),
        });
        let of_cell = place.get_mut();
        of_cell.waiting.push_back(waiting);
        let of_this_cell = of_cell.in_all_shards.fetch_add(1, Ordering::AcqRel) + 1;
        let in_all = self.idle.fetch_add(1, Ordering::AcqRel) + 1;

        let evicted = if of_this_cell > self.limits.idle_per_cell_max {
            of_cell.waiting.pop_front().inspect(|_| self.left(of_cell))
        } else if in_all > self.idle_max.load(Ordering::Relaxed) {
            self.take_oldest_of_largest(&mut shard)
        } else {
            None
        };
        drop(shard);
        drop(evicted);
    }

    /// Keeps no more than so many from now on, whatever the limits say, and closes the oldest of those that are too many.
    pub fn keep_at_most(&self, max: usize) {
        let max = max.min(self.limits.idle_total_max);
        self.idle_max.store(max, Ordering::Relaxed);
        let own = self.own_shard();
        for step in 0..self.shards.len() {
            let shard = &self.shards[(own + step) % self.shards.len()];
            while self.idle() > max {
                let evicted = self.take_oldest_of_largest(&mut lock(shard));
                if evicted.is_none() {
                    break;
                }
            }
        }
    }

    /// The oldest connection of the cell that has most in a shard.
    fn take_oldest_of_largest(&self, shard: &mut Shard<C>) -> Option<Waiting<C>> {
        let largest = shard
            .cells
            .iter_mut()
            .max_by_key(|cell| cell.waiting.len())?;
        let oldest = largest.waiting.pop_front()?;
        self.left(largest);
        Some(oldest)
    }

    /// Closes what has waited for too long at `now`, and what the cell has closed or spoken on.
    pub fn sweep(&self, now: Instant) {
        self.retain(|_, waiting| {
            now.saturating_duration_since(waiting.since) < self.limits.idle
                && waiting.connection.seems_silent()
        });
    }

    /// Closes the connections to all cells but those named, for cells that have left the table.
    pub fn retain_cells(&self, is_kept: impl Fn(&CellId) -> bool) {
        self.retain(|cell, _| is_kept(cell));
    }

    /// How many connections wait.
    pub fn idle(&self) -> usize {
        self.idle.load(Ordering::Relaxed)
    }

    /// How many connections were given out again.
    pub fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    /// How often no connection fitted, so that a new one was needed.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn find(
        &self,
        shard: &Mutex<Shard<C>>,
        is_own: bool,
        transport: &Arc<Transport>,
        tenant: Option<&[u8]>,
    ) -> Option<Waiting<C>> {
        let mut shard = if is_own {
            lock(shard)
        } else {
            // Another thread is at it. A new connection costs less than waiting in line for many threads.
            shard.try_lock().ok()?
        };
        let of_cell = shard
            .cells
            .find_mut(transport.hash, |of_cell| of_cell.cell == transport.cell)?;
        let at = of_cell
            .waiting
            .iter()
            .rposition(|waiting| waiting.fits(transport, tenant))?;
        let found = of_cell.waiting.remove(at);
        self.left(of_cell);
        found
    }

    fn retain(&self, is_kept: impl Fn(&CellId, &mut Waiting<C>) -> bool) {
        let mut closed = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.cells.retain(|of_cell| {
                for mut waiting in std::mem::take(&mut of_cell.waiting) {
                    if is_kept(&of_cell.cell, &mut waiting) {
                        of_cell.waiting.push_back(waiting);
                    } else {
                        closed.push(waiting);
                        self.left(of_cell);
                    }
                }
                !of_cell.waiting.is_empty()
            });
            drop(shard);
            // Closing is a system call each, so it is done while nobody waits for the lock.
            closed.clear();
        }
        // Under the lock that `count_of` takes: nobody can get hold of a count while it is forgotten.
        let mut idle_by_cell = lock(&self.idle_by_cell);
        idle_by_cell.retain(|_, count| Arc::strong_count(count) > 1);
    }

    fn count_of(&self, cell: &CellId) -> Arc<AtomicUsize> {
        let mut idle_by_cell = lock(&self.idle_by_cell);
        Arc::clone(idle_by_cell.entry(cell.clone()).or_default())
    }

    /// One of the cell's connections has left the pool.
    fn left(&self, of_cell: &OfCell<C>) {
        of_cell.in_all_shards.fetch_sub(1, Ordering::AcqRel);
        self.idle.fetch_sub(1, Ordering::AcqRel);
    }

    fn own_shard(&self) -> usize {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        THREAD.with(|thread| thread % self.shards.len())
    }
}

impl<C> Waiting<C> {
    fn fits(&self, transport: &Arc<Transport>, tenant: Option<&[u8]>) -> bool {
        (Arc::ptr_eq(&self.transport, transport) || self.transport == *transport)
            && self.tenant.as_deref() == tenant
    }
}

/// No pool is left half changed by a panic: each change is one call on one collection, and the counts follow it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("limits", &self.limits)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}
