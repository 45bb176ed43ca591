//! Clients that ask on and on, at a rate that leaves the machine time, and note what they got.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    latency::Latencies,
    proxy::TENANT,
    wire::{Connection, Request},
};

/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(5);

/// Clients of one tenant, each on a connection of its own.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    /// Since the last call.
    tally: Mutex<Tally>,
}

/// What clients got.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    pub(crate) answered: Latencies,
    pub(crate) refused: Latencies,
    /// Other statuses than 200 and 503, other reasons than the bulkhead, and no answer at all.
    pub(crate) failed: Vec<String>,
}

impl Clients {
    pub(crate) fn start(address: SocketAddr, tenant: &str, count: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..count).map(|_| {
            let (shared, tenant) = (Arc::clone(&shared), tenant.to_owned());
            thread::spawn(move || ask_on(&shared, address, &tenant))
        });
        Self {
            threads: threads.collect(),
            shared,
        }
    }

    /// What they got in this time, from now.
    pub(crate) fn watch(&self, time: Duration) -> Tally {
        drop(self.take());
        thread::sleep(time);
        self.take()
    }

    /// What they got since the last call.
    pub(crate) fn take(&self) -> Tally {
        let mut tally = self.shared.lock();
        std::mem::take(&mut *tally)
    }

    /// Stops them, once those that wait have their answers. Returns what they got since the last
    /// call.
    #[track_caller]
    pub(crate) fn stop(self) -> Tally {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for client in self.threads {
            client.join().expect("clients do not panic");
        }
        std::mem::take(&mut self.shared.tally.lock().expect("clients do not panic"))
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ask_on(shared: &Shared, address: SocketAddr, tenant: &str) {
    let request = Request::get("/").header(TENANT, tenant);
    let mut connection = None;
    while !shared.stopping.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = connection
            .take()
            .map_or_else(|| Connection::try_open(address), Ok)
            .and_then(|mut open: Connection| {
                open.send(request.bytes())?;
                Ok((open.answer("GET")?, open))
            });
        let took = asked.elapsed();
        let mut tally = shared.lock();
        match answer {
            Ok((answer, open)) => {
                match (answer.status, answer.header("x-cellgate-reason")) {
                    (200, None) => tally.answered.add(took),
                    (503, Some("cell_overloaded")) => tally.refused.add(took),
                    _ => tally.failed.push(format!("{answer:?}")),
                }
                connection = Some(open);
            }
            Err(error) => tally.failed.push(error.to_string()),
        }
        drop(tally);
        thread::sleep(PAUSE);
    }
}
