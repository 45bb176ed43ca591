//! What the rooms of the daemon share, and the way of a change: into the database, then out to whoever waits for it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cellgate_process::folder_of;
use cellgate_table::HashSpec;
use serde::Serialize;
use tokio::sync::Notify;

use crate::{
    change::Rules,
    clock,
    config::Config,
    events::Events,
    metrics::Metrics,
    observe::{Observed, ProxyStatus},
    panics::Panics,
    provider::Provider,
    publish::Publisher,
    refusal::{Refusal, StorageError},
    storage::full_disk,
    store::{AuditFilter, Done, Request, Store, Write},
    turns::Turns,
};

/// Exports at the same time: with the token, at the Unix socket without it, and by TCP without it.
const EXPORTS_MAX: [usize; 3] = [4, 4, 2];
/// Readers that follow the events at the same time, likewise.
const FOLLOWERS_MAX: [usize; 3] = [32, 32, 16];
/// Requests being answered at the same time, likewise. The last are fewer than the database's readers, so that one of
/// these is left for an operator; the others wait in line.
const ANSWERS_MAX: [usize; 3] = [256, 64, 2];
/// Audit lines read together and turned into events.
const NOTES_MAX: usize = 1_000;

/// See the module's documentation.
#[derive(Debug)]
pub struct Daemon {
    pub config: Config,
    pub rules: Rules,
    pub store: Arc<Store>,
    pub publisher: Publisher,
    pub providers: BTreeMap<String, Provider>,
    pub observed: Observed,
    pub events: Events,
    pub metrics: Metrics,
    pub wake: Wake,
    pub panics: Panics,
    /// Publishing has not ended within its time: a disk hangs.
    pub is_publish_hanging: AtomicBool,
    pub started_ms: i64,
    /// The last change could not be stored.
    pub is_storage_failing: AtomicBool,
    /// What was wrong with the storage when it was last checked.
    pub known_storage_problem: std::sync::Mutex<Option<String>>,
    /// Exports under way; each takes a thread for as long as its reader likes.
    pub exports: Turns,
    /// Readers that follow the events.
    pub followers: Turns,
    /// Requests whose answer is being made.
    pub answers: Turns,
    /// The newest audit line that has become an event.
    reported: std::sync::Mutex<u64>,
}

/// Wakes the tasks before their time.
#[derive(Debug, Default)]
pub struct Wake {
    pub publish: Notify,
    pub operate: Notify,
}

impl Daemon {
    pub fn new(
        config: Config,
        store: Arc<Store>,
        publisher: Publisher,
    ) -> Result<Self, StorageError> {
        let mut providers = vec![crate::change::cells::STATIC.to_owned()];
        providers.extend(config.providers.keys().cloned());
        let rules = Rules {
            move_limits: config.table.move_limits,
            names_all_tenants: config.table.names_all_tenants,
            providers,
        };
        let reported = store.read(|read| read.newest_audit_id())?;
        let observed = recall_proxies(&config, &store)?;
        let metrics = Metrics::new();
        Ok(Self {
            providers: config
                .providers
                .iter()
                .map(|(name, config)| (name.clone(), Provider::new(config)))
                .collect(),
            rules,
            store,
            publisher,
            observed,
            events: Events::default(),
            panics: Panics::new(metrics.task_panics.clone()),
            metrics,
            wake: Wake::default(),
            started_ms: clock::now_ms(),
            is_storage_failing: AtomicBool::new(false),
            is_publish_hanging: AtomicBool::new(false),
            known_storage_problem: std::sync::Mutex::default(),
            exports: turns(EXPORTS_MAX),
            followers: turns(FOLLOWERS_MAX),
            answers: turns(ANSWERS_MAX),
            reported: std::sync::Mutex::new(reported),
            config,
        })
    }

    /// Makes a change and reports it. Blocks while the database is written.
    pub fn change<T: Serialize>(
        &self,
        request: &Request,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, Refusal>,
    ) -> Result<Done, Refusal> {
        let done = self
            .store
            .change(request, clock::now_ms(), work)
            .inspect_err(|refusal| {
                if let Refusal::Storage(error) = refusal {
                    tracing::error!(%error, "a change could not be stored");
                    self.metrics.storage_failures.inc();
                    self.is_storage_failing.store(true, Ordering::Relaxed);
                }
            })?;
        if done.is_change {
            self.is_storage_failing.store(false, Ordering::Relaxed);
            self.metrics.changes.inc();
            self.report_changes();
            self.wake.publish.notify_one();
            if done.asks_provider {
                self.wake.operate.notify_one();
            }
        }
        Ok(done)
    }

    /// Why changes cannot be stored, or not for long, if that is so. Asks the disks.
    pub fn storage_problem(&self) -> Option<String> {
        if let Err(error) = self.store.check_place() {
            return Some(error.to_string());
        }
        let table = folder_of(&self.config.table.path);
        if let Some(problem) = full_disk(&self.config.state_dir).or_else(|| full_disk(&table)) {
            return Some(problem);
        }
        self.is_storage_failing
            .load(Ordering::Relaxed)
            .then(|| "the last change could not be stored; check the log and the disk".to_owned())
    }

    /// Turns new lines of the audit log into events.
    fn report_changes(&self) {
        let mut reported = self
            .reported
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let filter = AuditFilter {
            after: Some(*reported),
            ..AuditFilter::default()
        };
        let lines = match self.store.read(|read| read.audit(&filter, NOTES_MAX)) {
            Ok(lines) => lines,
            Err(error) => {
                tracing::warn!(%error, "changes cannot be reported as events");
                return;
            }
        };
        for line in lines {
            *reported = (*reported).max(line.id);
            tracing::info!(
                revision = line.revision,
                actor = line.actor,
                action = line.action,
                subject = line.subject,
                reason = line.reason,
                "changed"
            );
            let mut detail = line.detail;
            detail["revision"] = line.revision.into();
            detail["actor"] = line.actor.into();
            if let Some(reason) = line.reason {
                detail["reason"] = reason.into();
            }
            self.events
                .add(line.at_ms, &line.action, &line.subject, detail);
        }
    }
}

/// What the listed proxies were seen with before a restart.
fn recall_proxies(config: &Config, store: &Store) -> Result<Observed, StorageError> {
    let listed: Vec<&str> = config.proxy_names().collect();
    store.drop_unlisted_proxies(&listed)?;
    let observed = Observed::default();
    let now = clock::now_ms();
    for known in store.read(|read| read.known_proxies())? {
        let mut listed = config.proxies.iter();
        if let Some(proxy) = listed.find(|proxy| proxy.name == known.name) {
            let status = ProxyStatus::of_known(&known, proxy.admin.to_string(), now);
            observed.seen().proxies.insert(known.name, status);
        }
    }
    Ok(observed)
}

fn turns([with_token, at_socket, without_token]: [usize; 3]) -> Turns {
    Turns::new(with_token, at_socket, without_token)
}

/// Sets, in a database that is new, how keys become slots. Later the database decides.
pub fn set_first_hash(store: &Store, hash: HashSpec) -> Result<(), Refusal> {
    let meta = store.read(|read| read.meta())?;
    if meta.revision > 0 {
        if meta.hash != hash {
            tracing::warn!(
                seed = meta.hash.seed(),
                slots = meta.hash.slots(),
                "the configuration names another hash than the database; the database's stays"
            );
        }
        return Ok(());
    }
    store.change(
        &Request::of_daemon("start"),
        clock::now_ms(),
        |write| -> Result<(), Refusal> {
            write.put_hash(hash)?;
            let detail = serde_json::json!({ "seed": hash.seed(), "slots": hash.slots() });
            write.note("hash.set", "table", &detail)?;
            Ok(())
        },
    )?;
    Ok(())
}

/// The database's file in the state directory.
pub fn database_path(state_dir: &Path) -> std::path::PathBuf {
    state_dir.join("control.sqlite")
}
