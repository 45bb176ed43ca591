//! Bytes both ways between two sockets, each way until its source ends; then its sink gets the end, too.
//!
//! Both ways are one task. A connection on which nothing moves holds neither a pipe nor a buffer.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::{io::AsyncWrite, net::TcpStream};

use super::{
    end::End,
    splice::{Lent, Pipes},
};
use crate::{
    buffer::{BUFFER_BYTES, Buffer},
    socket::{PollSend, poll_receive},
    tls::{self, stream::Stream},
    wire::proxy_protocol::begins_header,
};

/// Copied at a time where much comes.
const LARGE_BYTES: usize = 64 * 1024;
/// The system may still hold what was sent within this time, and a reset would take it away.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// One side of a relay.
pub(super) trait Side: AsyncWrite + PollSend + Unpin {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<io::Result<usize>>;
    /// The socket, if nothing is on it.
    fn plain(&self) -> Option<&TcpStream>;
    /// The socket under it.
    fn tcp(&self) -> &TcpStream;
}

impl Side for TcpStream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<io::Result<usize>> {
        poll_receive(self, cx, buffer)
    }

    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl<S: tls::socket::Side + Unpin> Side for Stream<S> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<io::Result<usize>> {
        self.poll_receive(cx, buffer)
    }

    fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(_) => None,
        }
    }

    fn tcp(&self) -> &TcpStream {
        self.tcp()
    }
}

/// Two sides, and what is on its way between them.
#[derive(Debug)]
pub(super) struct Relay<C, S> {
    client: C,
    cell: S,
    up: Direction,
    down: Direction,
    pipes: Arc<Pipes>,
}

/// One way.
#[derive(Debug)]
struct Direction {
    load: Load,
    beginning: Beginning,
    /// The last read filled all the room that it had.
    reads_much: bool,
    has_ended: bool,
    is_done: bool,
    /// Bytes that the sink has taken.
    carried: u64,
    last: Instant,
    /// Why its source broke.
    fault: Option<io::Error>,
}

#[derive(Debug)]
enum Load {
    Nothing,
    Piped(Lent),
    Copied(Buffer),
}

/// The first bytes of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// They may be passed on.
    Good,
    /// They must not be a PROXY header, and could become one.
    Unknown,
}

/// Which side of a direction broke.
#[derive(Debug)]
enum Broken {
    Source(io::Error),
    Sink,
    /// The source begins with a PROXY header.
    Header,
}

impl<C: Side, S: Side> Relay<C, S> {
    /// `ahead` was read from the client already.
    pub(super) fn new(client: C, cell: S, ahead: &[u8], pipes: &Arc<Pipes>) -> Self {
        let mut up = Direction::new();
        if !ahead.is_empty() {
            let mut buffer = Buffer::new();
            buffer.extend_from_slice(ahead);
            up.load = Load::Copied(buffer);
        }
        Self {
            client,
            cell,
            up,
            down: Direction::new(),
            pipes: Arc::clone(pipes),
        }
    }

    /// The client must not begin with a PROXY header. Nothing of it is passed on before it is known that it does not; what
    /// the cell says is not held up by that.
    #[must_use]
    pub(super) fn refusing_header(mut self) -> Self {
        self.up.beginning = Beginning::Unknown;
        self
    }

    /// Why the cell's side broke, if nothing came from there.
    pub(super) fn fault_of_silent_cell(&self) -> Option<&io::Error> {
        self.down.fault.as_ref().filter(|_| self.down.carried == 0)
    }

    /// When a byte last moved.
    pub(super) fn last(&self) -> Instant {
        self.up.last.max(self.down.last)
    }

    /// Bytes that were carried: those of the client, and those of the cell.
    pub(super) fn carried(&self) -> (u64, u64) {
        (self.up.carried, self.down.carried)
    }

    /// Ready at the end; or, where `until_answer`, once the cell has sent something (`None`).
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, until_answer: bool) -> Poll<Option<End>> {
        let up = self
            .up
            .poll(cx, &mut self.client, &mut self.cell, &self.pipes);
        match up {
            Poll::Ready(Err(Broken::Source(_))) => {
                pass_reset(self.cell.tcp(), self.up.last);
                return Poll::Ready(Some(End::ClientBroke));
            }
            Poll::Ready(Err(Broken::Header)) => return Poll::Ready(Some(End::ProxyHeader)),
            _ => {}
        }
        let down = self
            .down
            .poll(cx, &mut self.cell, &mut self.client, &self.pipes);
        match down {
            Poll::Ready(Err(Broken::Source(fault))) => {
                pass_reset(self.client.tcp(), self.down.last);
                self.down.fault = Some(fault);
                return Poll::Ready(Some(End::CellBroke));
            }
            Poll::Ready(Err(_)) => return Poll::Ready(Some(End::ClientBroke)),
            _ => {}
        }
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Some(End::Finished)),
            // What it sent before is passed on first.
            (Poll::Ready(Err(_)), Poll::Ready(Ok(()))) => Poll::Ready(Some(End::CellBroke)),
            _ if until_answer && (self.down.carried > 0 || self.down.has_ended) => {
                Poll::Ready(None)
            }
            _ => Poll::Pending,
        }
    }
}

/// A side that was reset is gone for the other one, too, who learns it in the same way.
fn pass_reset(other: &TcpStream, sent_last: Instant) {
    if sent_last.elapsed() > SETTLED_AFTER {
        // Without it, it sees an end.
        let _ = SockRef::from(other).set_linger(Some(Duration::ZERO));
    }
}

impl Direction {
    fn new() -> Self {
        Self {
            load: Load::Nothing,
            beginning: Beginning::Good,
            reads_much: false,
            has_ended: false,
            is_done: false,
            carried: 0,
            last: Instant::now(),
            fault: None,
        }
    }

    fn poll<F: Side, T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut F,
        sink: &mut T,
        pipes: &Arc<Pipes>,
    ) -> Poll<Result<(), Broken>> {
        if self.is_done {
            let is_whole = matches!(self.load, Load::Nothing);
            return Poll::Ready(if is_whole { Ok(()) } else { Err(Broken::Sink) });
        }
        if self.beginning == Beginning::Unknown {
            ready!(self.poll_beginning(cx, source))?;
        }
        loop {
            if ready!(self.poll_drain(cx, sink)).is_err() {
                self.is_done = true;
                return Poll::Ready(Err(Broken::Sink));
            }
            if self.has_ended {
                self.load = Load::Nothing;
                let ended = ready!(Pin::new(&mut *sink).poll_shutdown(cx));
                self.is_done = true;
                return Poll::Ready(ended.map_err(|_| Broken::Sink));
            }
            match source.poll_readable(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Source(error))),
                Poll::Pending => {
                    self.load = Load::Nothing;
                    return Poll::Pending;
                }
            }
            match self.poll_load(cx, source, sink, pipes) {
                Poll::Ready(Ok(0)) => self.has_ended = true,
                Poll::Ready(Ok(_)) => self.last = Instant::now(),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Source(error))),
                Poll::Pending => {
                    self.load = Load::Nothing;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes as much as is needed to know that the source does not begin with a PROXY header, or that it has ended without.
    fn poll_beginning<F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut F,
    ) -> Poll<Result<(), Broken>> {
        let mut came = match std::mem::replace(&mut self.load, Load::Nothing) {
            Load::Copied(came) => came,
            Load::Nothing | Load::Piped(_) => Buffer::new(),
        };
        let beginning = loop {
            match begins_header(&came) {
                Some(true) => break Poll::Ready(Err(Broken::Header)),
                Some(false) => break Poll::Ready(Ok(())),
                None => {}
            }
            let filled = match source.poll_readable(cx) {
                Poll::Ready(Ok(())) => {
                    came.reserve_for_reading();
                    source.poll_fill(cx, &mut came)
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
            match filled {
                Poll::Ready(Ok(0)) => {
                    self.has_ended = true;
                    break Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(_)) => self.last = Instant::now(),
                Poll::Ready(Err(error)) => break Poll::Ready(Err(Broken::Source(error))),
                Poll::Pending => break Poll::Pending,
            }
        };
        if beginning.is_ready() {
            self.beginning = Beginning::Good;
        }
        if !came.is_empty() {
            self.load = Load::Copied(came);
        }
        beginning
    }

    /// Passes on what is on its way, all of it.
    fn poll_drain<T: Side>(&mut self, cx: &mut Context<'_>, sink: &mut T) -> Poll<io::Result<()>> {
        loop {
            let moved = match &mut self.load {
                Load::Piped(pipe) if pipe.held() > 0 => {
                    let Some(socket) = sink.plain() else {
                        return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
                    };
                    match pipe.drain(socket) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            ready!(socket.poll_write_ready(cx))?;
                            continue;
                        }
                        moved => moved?,
                    }
                }
                Load::Copied(buffer) if !buffer.is_empty() => {
                    let moved = ready!(sink.poll_send(cx, buffer, &[]))?;
                    buffer.advance(moved);
                    moved
                }
                _ => return Poll::Ready(Ok(())),
            };
            if moved == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.carried += moved as u64;
            self.last = Instant::now();
        }
    }

    /// Takes what has come. Nothing is the end.
    fn poll_load<F: Side, T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut F,
        sink: &T,
        pipes: &Arc<Pipes>,
    ) -> Poll<io::Result<usize>> {
        if matches!(self.load, Load::Nothing) {
            let are_plain = source.plain().is_some() && sink.plain().is_some();
            let pipe = if are_plain { pipes.lend() } else { None };
            self.load = pipe.map_or_else(|| Load::Copied(Buffer::new()), Load::Piped);
        }
        match &mut self.load {
            Load::Piped(pipe) => match source.plain() {
                Some(socket) => Poll::Ready(pipe.fill(socket)),
                None => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
            },
            Load::Copied(buffer) => {
                buffer.reserve(if self.reads_much {
                    LARGE_BYTES
                } else {
                    BUFFER_BYTES
                });
                let room = buffer.room();
                let came = ready!(source.poll_fill(cx, buffer))?;
                self.reads_much = came == room;
                Poll::Ready(Ok(came))
            }
            Load::Nothing => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
