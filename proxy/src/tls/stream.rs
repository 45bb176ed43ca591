//! The byte stream of a connection, of a client or to a cell, whatever carries it.

use std::{
    io::{self, Read as _},
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    task::{Context, Poll},
};

use rustls::{ClientConnection, ServerConnection};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::socket::{Side, TlsSocket};
use crate::{
    buffer::Buffer,
    socket::{PollSend, poll_receive, poll_receive_into},
};

/// A client's connection.
pub type ClientSocket = Stream<ServerConnection>;
/// A connection to a cell.
pub type CellSocket = Stream<ClientConnection>;

/// Reads and writes as the fastest way of its kind does. Tokio's traits are there for what is rare.
#[derive(Debug)]
pub enum Stream<S> {
    Plain(TcpStream),
    /// Boxed, so that connections without it are small.
    Tls(Box<TlsSocket<S>>),
}

impl<S> Stream<S> {
    /// The socket under it, for whoever asks the system about it.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(socket) => socket.tcp(),
        }
    }
}

impl<S: Side> Stream<S> {
    /// Waits until there may be something to read, without a buffer for it.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            Self::Tls(socket) => socket.poll_readable(cx),
        }
    }

    /// Receives into the room that a buffer has. The answer is how many bytes came; nothing is the end.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => poll_receive(socket, cx, buffer),
            Self::Tls(socket) => socket.poll_receive(cx, buffer),
        }
    }

    /// Receives into the caller's buffer, at most so many bytes. The answer is how many came; nothing is the end.
    pub fn poll_receive_into(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        bytes_max: Option<u64>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => poll_receive_into(socket, cx, buf, bytes_max),
            Self::Tls(socket) => socket.poll_receive_into(cx, buf, bytes_max),
        }
    }

    /// Receives what has come, without waiting, and whether or not the event loop has heard of it; nothing is the end.
    pub fn receive_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => read_now(socket, buf),
            Self::Tls(socket) => socket.receive_now(buf, read_now),
        }
    }

    /// The same as far as the event loop has heard of it, which costs nothing while there is nothing to hear.
    pub fn receive_known(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read(buf),
            Self::Tls(socket) => socket.receive_now(buf, TcpStream::try_read),
        }
    }

    /// Waits until the system has all that was sent: what carries the stream may hold some of it back.
    pub fn poll_send_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(socket) => Pin::new(&mut **socket).poll_flush(cx),
        }
    }

    /// What was sent is not all, and never will be: the end that the client sees must not look like one that was meant.
    pub fn note_cut(&mut self) {
        if let Self::Tls(socket) = self {
            socket.note_cut();
        }
    }

    /// Says that the stream ends here, where what carries it has a way to say so; it waits for nothing. Without that, the
    /// client could not tell the end from a connection that somebody cut.
    pub fn poll_say_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(socket) => socket.poll_end(cx),
        }
    }
}

fn read_now(socket: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    let socket = SockRef::from(socket);
    let mut socket: &socket2::Socket = &socket;
    socket.read(buf)
}

impl<S: Side> PollSend for Stream<S> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_send(cx, first, second),
            Self::Tls(socket) => socket.poll_send(cx, first, second),
        }
    }
}

impl<S> AsRawFd for Stream<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.tcp().as_raw_fd()
    }
}

impl<S: Side> AsyncRead for Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(socket) => Pin::new(&mut **socket).poll_read(cx, buf),
        }
    }
}

impl<S: Side> AsyncWrite for Stream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(socket) => Pin::new(&mut **socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(socket) => Pin::new(&mut **socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(socket) => Pin::new(&mut **socket).poll_shutdown(cx),
        }
    }
}
