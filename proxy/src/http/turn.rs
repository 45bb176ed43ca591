//! One request's turn on its connection: what the connection loop, the hooks and the client's stream share of it.
//!
//! Pingora offers no typed way from whoever hands it a request to its hooks: what it carries for us is `dyn Any`, and
//! over HTTP/2 nothing at all. But hooks and connection loop run in one task, so the request travels as a value of the
//! task, and the hooks' context takes it when Pingora makes that context.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use http::HeaderValue;
use tokio::task_local;

use super::{direct::HandedOver, returned::Returned, tunnel::Ticket};
use crate::{
    exchange::Connection,
    gate::{BodyFraming, Head, Upgrade},
    request_id::RequestId,
    upstream::{Report, Switched},
};

task_local! {
    static ARRIVED: RefCell<Option<Arrived>>;
}

/// A request on its way into Pingora.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) connection: Arc<Connection>,
    pub(super) arrival: Arrival,
    pub(super) turn: Arc<Turn>,
    /// What came of the request on the direct way, if it went there.
    pub(super) handed_over: Option<Box<HandedOver>>,
    /// Its host is a name that the listener keeps on HTTPS.
    pub(super) sends_hsts: bool,
    /// What it is called, unless it was handed over with that.
    pub(super) request_id: Option<RequestId>,
}

/// What the gate learned of a request before Pingora parses it.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a finding of its own of the gate"
)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) body: BodyFraming,
    pub(super) expects_continue: bool,
    pub(super) upgrade: Upgrade,
    /// Its body went through another coding before `chunked`.
    pub(super) extra_codings: bool,
    /// The connection to the cell is not to be used again after this request.
    pub(super) spoils_upstream: bool,
    /// All of its body was read before its cell was looked for.
    pub(super) is_body_in_hand: bool,
}

/// Shared by those who work on the request at the same time.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Set once nothing more of the answer will come for the client.
    answer_is_over: AtomicBool,
    /// Set if the client was given a part of the answer, and the rest will not come.
    answer_is_cut: AtomicBool,
    /// When the cell made its answer, if it says so: Pingora puts the present time there.
    dates: Mutex<Vec<HeaderValue>>,
    /// The client's connection, when Pingora is done with it.
    returned: Mutex<Option<Returned>>,
    /// The tunnel that begins after this request, and the cell's side of it.
    tunnel: Mutex<Option<(Ticket, Arc<Report>)>>,
}

impl Arrived {
    /// What keeps the browsers of its host on HTTPS.
    pub(super) fn hsts(&self) -> Option<&str> {
        let hsts = self.connection.listener.http.hsts.as_ref()?;
        self.sends_hsts.then(|| hsts.value())
    }

    /// Runs Pingora on this request, whose hooks find it by [`Arrived::take`].
    pub(super) async fn scope<F: Future>(self, processing: F) -> F::Output {
        ARRIVED.scope(RefCell::new(Some(self)), processing).await
    }

    /// The request that this task works on.
    pub(super) fn take() -> Self {
        ARRIVED
            .with(RefCell::take)
            .expect("the connection loop hands over one request at a time, and Pingora makes one context for each")
    }
}

impl Arrival {
    pub(super) fn of(head: &Head<'_>) -> Self {
        Self {
            at: Instant::now(),
            body: head.body,
            expects_continue: head.expects_continue,
            upgrade: head.upgrade,
            extra_codings: head.extra_codings,
            // What follows a body that some servers do not read must not share its connection.
            spoils_upstream: head.has_undefined_body || head.extra_codings,
            is_body_in_hand: false,
        }
    }

    /// It asks for another protocol on this connection.
    pub(super) fn asks_for_switch(&self) -> bool {
        self.upgrade.is_asked()
    }
}

impl Turn {
    pub(super) fn note_answer_over(&self) {
        self.answer_is_over.store(true, Ordering::Release);
    }

    pub(super) fn answer_is_over(&self) -> bool {
        self.answer_is_over.load(Ordering::Acquire)
    }

    pub(super) fn note_answer_cut(&self) {
        self.answer_is_cut.store(true, Ordering::Release);
    }

    pub(super) fn answer_is_cut(&self) -> bool {
        self.answer_is_cut.load(Ordering::Acquire)
    }

    pub(super) fn keep_dates(&self, dates: Vec<HeaderValue>) {
        *lock(&self.dates) = dates;
    }

    pub(super) fn take_dates(&self) -> Vec<HeaderValue> {
        std::mem::take(&mut *lock(&self.dates))
    }

    pub(super) fn begin_tunnel(&self, ticket: Ticket, report: Arc<Report>) {
        *lock(&self.tunnel) = Some((ticket, report));
    }

    /// The tunnel to carry, once Pingora has dropped both of its streams, and the cell's side of it if it is still there.
    pub(super) fn take_tunnel(&self) -> Option<(Ticket, Option<Switched>)> {
        let (ticket, report) = lock(&self.tunnel).take()?;
        Some((ticket, report.take_switched()))
    }

    pub(super) fn give_back(&self, returned: Returned) {
        *lock(&self.returned) = Some(returned);
    }

    /// The client's connection, once Pingora has dropped its stream.
    pub(super) fn take_client(&self) -> Option<Returned> {
        lock(&self.returned).take()
    }
}

/// What is held here is put in and taken out whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
