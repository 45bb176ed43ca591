//! What the connection loop knows of a request once the gate has let its head through.

use super::{
    direct::{Plan, Whole},
    local::Local,
    turn::Arrival,
};
use crate::{
    answer::Extras,
    exchange::Connection,
    gate::{BodyFraming, BodyTracker},
    request_id::RequestId,
};

/// A head that the gate let through.
#[derive(Debug)]
pub(super) struct Inspected {
    pub(super) head_bytes: usize,
    pub(super) arrival: Arrival,
    pub(super) body: BodyTracker,
    /// The Host that Pingora is to see.
    pub(super) respelled_host: Option<Box<str>>,
    /// `None` also once the direct way has taken it.
    pub(super) request_id: Option<RequestId>,
    /// Its host is a name that the listener keeps on HTTPS.
    pub(super) sends_hsts: bool,
    /// The listener answers it by itself.
    pub(super) local: Option<Box<Local>>,
    pub(super) plan: Option<Plan>,
}

impl Inspected {
    /// The request for the direct way, if it is one and all of it is there.
    pub(super) fn take_whole<'c>(&mut self, connection: &'c Connection) -> Option<Whole<'c>> {
        let body_bytes = match self.arrival.body {
            BodyFraming::Length(length @ 1..) if self.arrival.is_body_in_hand => {
                usize::try_from(length).ok()?
            }
            BodyFraming::None | BodyFraming::Length(0) => 0,
            BodyFraming::Length(_) | BodyFraming::Chunked => return None,
        };
        let plan = self.plan.take()?;
        Some(Whole {
            hsts: self.hsts(connection),
            request_id: self.request_id.take(),
            plan,
            at: self.arrival.at,
            head_bytes: self.head_bytes,
            body_bytes,
            connection,
        })
    }
}

impl Inspected {
    /// What keeps the browsers of its host on HTTPS.
    fn hsts<'c>(&self, connection: &'c Connection) -> Option<&'c str> {
        let hsts = connection.listener.http.hsts.as_ref()?;
        self.sends_hsts.then(|| hsts.value())
    }

    pub(super) fn extras<'e>(&'e self, connection: &'e Connection) -> Extras<'e> {
        Extras {
            request_id: self.request_id.as_ref(),
            hsts: self.hsts(connection),
        }
    }
}

/// What an answer says that belongs to no request of a known host.
pub(super) fn named(request_id: Option<&RequestId>) -> Extras<'_> {
    Extras {
        request_id,
        hsts: None,
    }
}
