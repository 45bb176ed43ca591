//! The side of the successor, which adopts what it gets.

use std::{
    io,
    net::TcpListener,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    channel::Channel,
    message::{Offer, Reply, Request, Role, VERSION},
    place::{self, Place},
    predecessor::Predecessor,
};
use crate::{
    config::Listener,
    state_dir::{Claim, StateDir},
};

/// What a process that serves has offered.
#[derive(Debug)]
pub struct Taking {
    channel: Channel,
    offer: Offer,
    /// In the order of the offer; `None` once taken.
    sockets: Vec<Option<OwnedFd>>,
    place: OwnedFd,
    deadline: Instant,
}

/// What there is once the lock was given. Before this process says that it could serve, nobody relies on it.
#[derive(Debug)]
pub struct Pledged {
    kept: Vec<usize>,
    deadline: Instant,
}

/// The process before has let go, unless this one dies before it accepts.
#[must_use]
#[derive(Debug)]
pub struct Confirmed;

impl Taking {
    /// Asks the process that uses this state directory for what it has.
    pub fn begin(folder: &Path, limit: Duration) -> Result<Self, String> {
        let path = place::path_in(folder);
        let path = path.display();
        let socket = place::reach(folder).map_err(|error| {
            format!(
                "no process to take over from: {path}: {error}; start without --upgrade where none runs, and with the \
                 same `state_dir` and user as the one that does"
            )
        })?;
        let deadline = Instant::now() + limit;
        let failed =
            |error: io::Error| format!("the process at {path} cannot be taken over from: {error}");
        let channel = Channel::new(socket).map_err(failed)?;
        let hello = Request::Hello {
            version: VERSION,
            process: std::process::id(),
        };
        channel.send(&hello, &[]).map_err(failed)?;
        let (reply, mut descriptors) = channel.receive(Some(limit)).map_err(failed)?;
        let offer = match reply {
            Reply::Offer(offer) if offer.version == VERSION => offer,
            Reply::Refused { why } => {
                return Err(format!(
                    "the process at {path} refuses to be taken over from: {why}"
                ));
            }
            _ => return Err(format!("the process at {path} offers nothing")),
        };
        let place = descriptors.pop();
        match place {
            Some(place) if descriptors.len() == offer.sockets.len() => Ok(Self {
                channel,
                offer,
                sockets: descriptors.into_iter().map(Some).collect(),
                place,
                deadline,
            }),
            _ => Err(format!(
                "the process at {path} offers sockets that do not come"
            )),
        }
    }

    pub fn process(&self) -> u32 {
        self.offer.process
    }

    /// Of the table in force there.
    pub fn generation(&self) -> Option<u64> {
        self.offer.generation
    }

    pub fn ticket_keys(&self, listener: &str) -> Option<&[u8]> {
        self.offer.ticket_keys.get(listener).map(Vec::as_slice)
    }

    /// The socket that listens for a listener there, if one does.
    pub fn socket_of(&mut self, role: Role, listener: &Listener) -> Option<TcpListener> {
        let at = self.offer.sockets.iter().position(|offered| {
            let is_same = offered.configured == listener.address
                // A port of the system's choice says nothing.
                && (listener.address.port() != 0
                    || (offered.name == listener.name && offered.role == role));
            is_same && (!listener.address.is_ipv6() || offered.ipv6_only == listener.ipv6_only)
        })?;
        Some(TcpListener::from(self.sockets[at].take()?))
    }

    /// All is there to serve with. From here on this process is the one that writes the state directory.
    pub fn pledge(
        self,
        state_dir: &StateDir,
        table: &Path,
        predecessor: &Arc<Predecessor>,
    ) -> Result<(Claim, Place, Pledged), String> {
        let failed = |error: io::Error| format!("the process before does not let go: {error}");
        self.channel.send(&Request::Ready, &[]).map_err(failed)?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let (reply, mut lock) = self.channel.receive(Some(left)).map_err(failed)?;
        let Reply::Lock = reply else {
            return Err("the process before does not let go".to_owned());
        };
        let claim = state_dir
            .inherit(lock.pop(), table)
            .map_err(|refusal| format!("{refusal}; {}", refusal.hint()))?;
        let place = Place::of(self.place).map_err(failed)?;
        predecessor.is(self.channel, self.offer.process);
        let taken = self.sockets.iter().enumerate();
        let kept = taken.filter(|(_, socket)| socket.is_none());
        let pledged = Pledged {
            kept: kept.map(|(at, _)| at).collect(),
            deadline: self.deadline,
        };
        Ok((claim, place, pledged))
    }
}

impl Pledged {
    /// Says that this process could serve, and has that confirmed: from then on it may accept.
    pub fn serves(
        self,
        predecessor: &Predecessor,
        gives_up: impl Fn() -> bool,
    ) -> Result<Confirmed, String> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let serving = Request::Serving { kept: self.kept };
        match predecessor.request(&serving, left, gives_up) {
            Ok(Reply::Committed) => Ok(Confirmed),
            Ok(_) => Err("the process before goes on serving".to_owned()),
            Err(error) => Err(format!("the process before goes on serving: {error}")),
        }
    }
}

impl Confirmed {
    /// This process accepts: the one before drains. That one may be gone already.
    pub fn accepts(self, predecessor: &Predecessor) {
        let _ = predecessor.say(&Request::Accepting);
    }
}
