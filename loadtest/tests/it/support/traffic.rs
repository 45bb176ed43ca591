//! Clients in the background of a test.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    proxy::{Proxy, TENANT},
    wire::{Connection, Request},
};

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(2);

/// A client that asks for one tenant after the other, on one connection, and wants each answer from
/// the right cell.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    client: thread::JoinHandle<usize>,
}

impl Traffic {
    /// `expected` are tenants and their cells.
    #[track_caller]
    pub(crate) fn start(proxy: &Proxy, expected: &[(&str, &str)]) -> Self {
        assert!(!expected.is_empty(), "traffic needs a tenant");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut connection = Connection::open(proxy.address());
        let requests: Vec<_> = expected
            .iter()
            .map(|&(tenant, cell)| (Request::get("/").header(TENANT, tenant), cell.to_owned()))
            .collect();
        let client = thread::spawn(move || {
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                let (request, cell) = &requests[count % requests.len()];
                let answer = connection.exchange(request);
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.header("x-cell"), Some(&**cell), "{}", answer.text());
                count += 1;
                thread::sleep(PAUSE);
            }
            count
        });
        Self { stop, client }
    }

    /// Stops the client and returns how many answers it got; panics if one of them was wrong, or if
    /// it got no answer.
    #[track_caller]
    pub(crate) fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let count = self
            .client
            .join()
            .expect("each answer comes, and from the right cell");
        assert!(count > 0, "there was no traffic");
        count
    }
}
