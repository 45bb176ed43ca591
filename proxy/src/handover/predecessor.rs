//! The process before this one, as long as it drains.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    channel::Channel,
    message::{CellReport, Reply, Report, Request},
};

/// How long `/status` waits for it.
const ASK_LIMIT: Duration = Duration::from_millis(500);
/// Whoever waits for its end looks this often.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Questions without an answer.
const OWED_MAX: u32 = 4;

/// For `/status`.
pub type PredecessorStatus = Report;

/// Asks the process before this one what is still in flight there.
#[derive(Debug, Default)]
pub struct Predecessor(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    channel: Channel,
    last: Report,
    /// Replies that have not come in time: they come before any later one.
    owed: u32,
}

impl Predecessor {
    pub(super) fn is(&self, channel: Channel, process: u32) {
        let last = Report {
            process,
            ..Report::default()
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known {
            channel,
            last,
            owed: 0,
        });
    }

    /// Asks for something else than a report. Either the reply came within `limit` and before `gives_up`, or it never will,
    /// and the other side knows.
    pub(super) fn request(
        &self,
        request: &Request,
        limit: Duration,
        gives_up: impl Fn() -> bool,
    ) -> io::Result<Reply> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = guard.as_mut() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        known.channel.send(request, &[])?;
        known.owed += 1;
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && !gives_up() {
            match known.reply(Instant::now() + CHECK_INTERVAL) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                reply => return reply,
            }
        }
        // From here on nothing can be sent to here, so what has not come never will.
        known.channel.end_receiving()?;
        known.reply(Instant::now() + CHECK_INTERVAL)
    }

    /// Says something that has no reply.
    pub(super) fn say(&self, what: &Request) -> io::Result<()> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = &*known else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        known.channel.send(what, &[])
    }

    /// `None` once it is gone. It waits for an answer, for a while.
    pub fn ask(&self) -> Option<PredecessorStatus> {
        self.ask_within(ASK_LIMIT)
    }

    pub(super) fn ask_within(&self, limit: Duration) -> Option<PredecessorStatus> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = guard.as_mut()?;
        let asked = Request::Ask {
            limit_ms: u64::try_from(limit.as_millis() / 2).unwrap_or(0),
        };
        let until = Instant::now() + limit;
        match known.ask(&asked, until) {
            Ok(Reply::Report(report)) => {
                known.last = report;
                known.last.answers = true;
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => known.last.answers = false,
            _ => *guard = None,
        }
        guard.as_ref().map(|known| known.last.clone())
    }

    /// Waits until it is gone, or `limit` is over.
    pub fn wait_until_gone(&self, limit: Duration) {
        let began = Instant::now();
        while began.elapsed() < limit && self.ask_within(CHECK_INTERVAL).is_some() {
            std::thread::sleep(CHECK_INTERVAL);
        }
    }
}

impl Known {
    fn ask(&mut self, asked: &Request, until: Instant) -> io::Result<Reply> {
        // One that does not take them in any more gets no further ones.
        if self.owed < OWED_MAX {
            self.channel.send(asked, &[])?;
            self.owed += 1;
        }
        self.reply(until)
    }

    /// The reply to the last request. Those to earlier ones that come late are nothing any more.
    fn reply(&mut self, until: Instant) -> io::Result<Reply> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let (reply, _) = self.channel.receive(Some(left))?;
            self.owed = self.owed.saturating_sub(1);
            if self.owed == 0 {
                return Ok(reply);
            }
        }
    }
}

impl Report {
    /// What is in flight to a cell in it and in those before it.
    pub fn of_cell(&self, cell: &str) -> CellReport {
        let mut sum = self.cells.get(cell).copied().unwrap_or_default();
        for predecessor in &self.predecessors {
            let of = predecessor.of_cell(cell);
            sum.in_flight = sum.in_flight.saturating_add(of.in_flight);
            sum.tunnels = sum.tunnels.saturating_add(of.tunnels);
            sum.connections = sum.connections.saturating_add(of.connections);
        }
        sum
    }

    /// Requests in flight in it and in those before it.
    pub fn requests(&self) -> usize {
        let before: usize = self.predecessors.iter().map(Self::requests).sum();
        self.requests_in_flight.saturating_add(before)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    /// It was taken for the answer, and both processes drained.
    #[test]
    fn a_report_that_comes_late_is_no_answer_to_anything_else() {
        let (ours, others) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let predecessor = Predecessor::default();
        predecessor.is(Channel::new(ours).unwrap(), 1);
        let late = predecessor.ask_within(Duration::from_millis(1)).unwrap();
        assert!(!late.answers);
        let before = thread::spawn(move || {
            let channel = Channel::new(others).unwrap();
            let limit = Some(Duration::from_secs(20));
            let next = || channel.receive::<Request>(limit).unwrap().0;
            assert!(matches!(next(), Request::Ask { .. }));
            let report = Reply::Report(Report::default());
            channel.send(&report, &[]).unwrap();
            assert!(matches!(next(), Request::Serving { .. }));
            channel.send(&Reply::Committed, &[]).unwrap();
            assert!(matches!(next(), Request::Ask { .. }));
            channel.send(&report, &[]).unwrap();
        });
        let serving = Request::Serving { kept: Vec::new() };
        let answer = predecessor.request(&serving, Duration::from_secs(20), || false);
        assert!(matches!(answer, Ok(Reply::Committed)), "{answer:?}");
        let report = predecessor.ask_within(Duration::from_secs(20)).unwrap();
        assert!(report.answers);
        before.join().unwrap();
    }
}
