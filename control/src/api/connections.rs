//! Who is connected to the API, and which connection is cut: one that is too slow, or one that stands in another one's
//! way.
//!
//! Before its head is read nobody can say whether a caller has the token. So callers without it, and those not known
//! yet, share a part of all connections; a new one that finds that part full does not wait and is not refused: the one
//! that has kept us waiting for the longest time makes room. Whoever has shown the token is not in that part any more.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// How slow a connection may be, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// For a whole request head, from its first byte; on a new connection from the start.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
    /// Without the peer taking a byte of an answer.
    pub(super) stall: Duration,
    /// Connections that have shown the token.
    pub(super) with_token_max: usize,
    /// All others.
    pub(super) without_token_max: usize,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between two requests.
    Idle { since: Instant },
    /// A part of a head has come; or nothing yet, on a new connection.
    Head { since: Instant },
    /// A request is being answered.
    Answering,
}

/// Why a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    SlowHead,
    Idle,
    /// The peer does not take the answer.
    Stalled,
    /// Another one needs its place.
    MadeRoom,
}

impl Cut {
    /// For the log and the metric.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::MadeRoom => "made_room",
        }
    }
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
struct State {
    has_token: bool,
    phase: Phase,
    /// Bytes wait for the peer to take them.
    blocked_since: Option<Instant>,
    cut: Option<Cut>,
}

impl State {
    /// Whether it is too slow.
    fn verdict(&self, limits: &Limits, now: Instant) -> Option<Cut> {
        let is_over = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        if let Some(since) = self.blocked_since {
            // Its answer is not out, whatever else it waits for.
            return is_over(since, limits.stall).then_some(Cut::Stalled);
        }
        match self.phase {
            Phase::Head { since } if is_over(since, limits.head) => Some(Cut::SlowHead),
            Phase::Idle { since } if is_over(since, limits.idle) => Some(Cut::Idle),
            _ => None,
        }
    }

    /// The larger, the rather it makes room: who keeps us waiting before who is being answered, and the oldest first.
    fn worth(&self, number: u64) -> (bool, Option<Instant>, u64) {
        match self.phase {
            Phase::Idle { since } | Phase::Head { since } => (false, Some(since), number),
            Phase::Answering => (true, None, number),
        }
    }
}

/// A connection: what its task, its socket and its requests share.
#[derive(Debug)]
pub(super) struct Connection {
    state: Mutex<State>,
    wake: Notify,
}

impl Connection {
    fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                has_token: false,
                phase: Phase::Head { since: now },
                blocked_since: None,
                cut: None,
            }),
            wake: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self, why: Cut) {
        self.state().cut.get_or_insert(why);
        self.wake.notify_one();
    }

    /// Bytes have come.
    pub(super) fn has_read(&self, now: Instant) {
        let mut state = self.state();
        if let Phase::Idle { .. } = state.phase {
            state.phase = Phase::Head { since: now };
        }
    }

    /// The peer takes no more for now.
    pub(super) fn is_blocked(&self, now: Instant) {
        self.state().blocked_since.get_or_insert(now);
    }

    /// The peer has taken something.
    pub(super) fn has_written(&self, now: Instant) {
        let mut state = self.state();
        state.blocked_since = None;
        if let Phase::Idle { since } = &mut state.phase {
            *since = now;
        }
    }

    /// A request is being answered until the guard is dropped.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.state().phase = Phase::Answering;
        Answering(Arc::clone(self))
    }

    /// Why it was cut, if it was.
    pub(super) fn why_cut(&self) -> Option<Cut> {
        self.state().cut
    }

    /// Waits until it is cut.
    pub(super) async fn until_cut(&self) -> Cut {
        loop {
            if let Some(why) = self.why_cut() {
                return why;
            }
            self.wake.notified().await;
        }
    }
}

/// See [`Connection::answering`].
#[derive(Debug)]
pub(super) struct Answering(Arc<Connection>);

impl Drop for Answering {
    fn drop(&mut self) {
        let since = Instant::now();
        self.0.state().phase = Phase::Idle { since };
    }
}

/// The open connections of a listener.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    connections: BTreeMap<u64, Arc<Connection>>,
    newest: u64,
}

/// An open connection; it is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) connection: Arc<Connection>,
    number: u64,
    connections: Arc<Connections>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connections.open().connections.remove(&self.number);
    }
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many hold a descriptor, those included that are cut and have not ended yet.
    pub(super) fn count(&self) -> usize {
        self.open().connections.len()
    }

    /// Takes a new connection. Another one makes room if there are too many.
    pub(super) fn admit(self: &Arc<Self>, now: Instant) -> Admitted {
        let mut open = self.open();
        let admitted = open.of(false);
        if admitted.len() >= self.limits.without_token_max
            && let Some(oldest) = first_to_go(&admitted)
        {
            oldest.cut(Cut::MadeRoom);
        }
        drop(admitted);
        open.newest += 1;
        let number = open.newest;
        let connection = Arc::new(Connection::new(now));
        open.connections.insert(number, Arc::clone(&connection));
        Admitted {
            connection,
            number,
            connections: Arc::clone(self),
        }
    }

    /// Its caller has shown the token. False if there are too many of these.
    pub(super) fn has_shown_token(&self, connection: &Connection) -> bool {
        let open = self.open();
        if connection.state().has_token {
            return true;
        }
        let known = open.of(true);
        if known.len() >= self.limits.with_token_max {
            let waiting: Vec<_> = known
                .into_iter()
                .filter(|(_, _, state)| state.phase != Phase::Answering)
                .collect();
            let Some(oldest) = first_to_go(&waiting) else {
                return false;
            };
            oldest.cut(Cut::MadeRoom);
        }
        connection.state().has_token = true;
        true
    }

    /// Lets the one go that would go first: there are no descriptors left.
    pub(super) fn make_room(&self) {
        let open = self.open();
        if let Some(oldest) = first_to_go(&open.of(false)) {
            oldest.cut(Cut::MadeRoom);
        }
    }

    /// Cuts those that are too slow.
    pub(super) fn sweep(&self, now: Instant) {
        for connection in self.open().connections.values() {
            let verdict = connection.state().verdict(&self.limits, now);
            if let Some(why) = verdict {
                connection.cut(why);
            }
        }
    }
}

type Seen<'o> = (u64, &'o Arc<Connection>, State);

impl Open {
    /// The connections with or without the token that have not been cut.
    fn of(&self, has_token: bool) -> Vec<Seen<'_>> {
        let seen = self
            .connections
            .iter()
            .map(|(number, connection)| (*number, connection, *connection.state()));
        seen.filter(|(_, _, state)| state.has_token == has_token && state.cut.is_none())
            .collect()
    }
}

fn first_to_go<'o>(seen: &[Seen<'o>]) -> Option<&'o Connection> {
    seen.iter()
        .min_by_key(|(number, _, state)| state.worth(*number))
        .map(|(_, connection, _)| &***connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connections() -> Arc<Connections> {
        Arc::new(Connections::new(Limits {
            head: 10 * SECOND,
            idle: 60 * SECOND,
            stall: 30 * SECOND,
            with_token_max: 2,
            without_token_max: 3,
        }))
    }

    #[test]
    fn the_oldest_that_keeps_us_waiting_makes_room() {
        let connections = connections();
        let now = Instant::now();
        let answered = connections.admit(now);
        let guard = answered.connection.answering();
        let half = connections.admit(now + SECOND);
        let newer = connections.admit(now + 2 * SECOND);
        let operator = connections.admit(now + 3 * SECOND);
        assert_eq!(half.connection.why_cut(), Some(Cut::MadeRoom));
        assert_eq!(newer.connection.why_cut(), None);
        // One with the token is in nobody's way, and nobody is in its.
        assert!(connections.has_shown_token(&operator.connection));
        let others: Vec<_> = (4..9)
            .map(|at| connections.admit(now + at * SECOND))
            .collect();
        assert_eq!(newer.connection.why_cut(), Some(Cut::MadeRoom));
        assert_eq!(operator.connection.why_cut(), None);
        assert_eq!(answered.connection.why_cut(), None, "it is being answered");
        let left = others.iter().filter(|it| it.connection.why_cut().is_none());
        assert_eq!(left.count(), 2);
        drop((guard, others, answered));
        assert_eq!(connections.count(), 3);
    }

    #[test]
    fn those_with_the_token_have_a_limit_of_their_own() {
        let connections = connections();
        let now = Instant::now();
        let all: Vec<_> = (0..3).map(|_| connections.admit(now)).collect();
        let _answers: Vec<_> = all.iter().map(|it| it.connection.answering()).collect();
        assert!(connections.has_shown_token(&all[0].connection));
        assert!(connections.has_shown_token(&all[1].connection));
        assert!(connections.has_shown_token(&all[1].connection), "again");
        assert!(!connections.has_shown_token(&all[2].connection));
        all[0].connection.state().phase = Phase::Idle { since: now };
        assert!(connections.has_shown_token(&all[2].connection));
        assert_eq!(all[0].connection.why_cut(), Some(Cut::MadeRoom));
    }

    #[test]
    fn the_slow_are_cut() {
        let check = |make: fn(&Arc<Connection>, Instant), after: u64, expected: Option<Cut>| {
            let connections = connections();
            let now = Instant::now();
            let admitted = connections.admit(now);
            make(&admitted.connection, now);
            connections.sweep(now + Duration::from_secs(after));
            assert_eq!(admitted.connection.why_cut(), expected, "after {after} s");
        };
        check(|_, _| (), 9, None);
        check(|_, _| (), 10, Some(Cut::SlowHead));
        // More bytes of a head do not make it younger.
        check(
            |it, now| it.has_read(now + 9 * SECOND),
            10,
            Some(Cut::SlowHead),
        );
        let idle = |it: &Arc<Connection>, _| drop(it.answering());
        check(idle, 59, None);
        check(idle, 61, Some(Cut::Idle));
        let next = |it: &Arc<Connection>, now| {
            drop(it.answering());
            it.has_read(now + 50 * SECOND);
        };
        check(next, 59, None);
        check(next, 60, Some(Cut::SlowHead));
        let long = |it: &Arc<Connection>, _| std::mem::forget(it.answering());
        check(long, 10_000, None);
        let stalled = |it: &Arc<Connection>, now| {
            std::mem::forget(it.answering());
            it.is_blocked(now);
            it.is_blocked(now + 20 * SECOND);
        };
        check(stalled, 29, None);
        check(stalled, 30, Some(Cut::Stalled));
        let taking = |it: &Arc<Connection>, now| {
            std::mem::forget(it.answering());
            it.is_blocked(now);
            it.has_written(now + 29 * SECOND);
            it.is_blocked(now + 29 * SECOND);
        };
        check(taking, 58, None);
        check(taking, 59, Some(Cut::Stalled));
    }
}
