//! Bytes on their way to a socket: what waits is sent before what comes later.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::{io::AsyncWrite as _, net::TcpStream};

/// What was accepted for sending and is not sent yet. Empty, it holds no memory.
#[derive(Debug, Default)]
pub struct Outgoing {
    waiting: BytesMut,
}

impl Outgoing {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keeps bytes for later.
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    pub fn clear(&mut self) {
        self.waiting = BytesMut::new();
    }

    /// Sends what waits and then these bytes. The answer is how many of these were taken, 0 only if there are none.
    pub fn poll_send(
        &mut self,
        socket: &mut TcpStream,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let waiting = self.waiting.len();
            if waiting == 0 && bytes.is_empty() {
                self.clear();
                return Poll::Ready(Ok(0));
            }
            let socket = Pin::new(&mut *socket);
            let written = if waiting == 0 {
                socket.poll_write(cx, bytes)
            } else if bytes.is_empty() {
                socket.poll_write(cx, &self.waiting)
            } else {
                let both = [IoSlice::new(&self.waiting), IoSlice::new(bytes)];
                socket.poll_write_vectored(cx, &both)
            };
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written.min(waiting));
            if written > waiting {
                self.clear();
                return Poll::Ready(Ok(written - waiting));
            }
        }
    }
}
