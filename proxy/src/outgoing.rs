//! Bytes on their way to a socket: what waits is sent before what comes later.

use std::{
    io,
    task::{Context, Poll, ready},
};

use crate::{buffer::Buffer, socket::PollSend};

/// Two pieces that are sent as if they were one.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'p> {
    pub first: &'p [u8],
    pub second: &'p [u8],
}

impl<'p> Pieces<'p> {
    pub fn one(piece: &'p [u8]) -> Self {
        Self {
            first: piece,
            second: &[],
        }
    }

    pub fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes what is behind the first `sent` bytes, by one system call. The answer is how many bytes were taken.
    pub fn poll_write(
        self,
        socket: &mut impl PollSend,
        cx: &mut Context<'_>,
        sent: usize,
    ) -> Poll<io::Result<usize>> {
        let (first, second) = (self.first, self.second);
        match first.get(sent..) {
            Some(first) => socket.poll_send(cx, first, second),
            None => socket.poll_send(cx, &[], &second[sent - first.len()..]),
        }
    }
}

/// What was accepted for sending and is not sent yet. Empty, it holds no memory.
#[derive(Debug, Default)]
pub struct Outgoing {
    waiting: Buffer,
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
        self.waiting.release();
    }

    /// Sends what waits and then these bytes. The answer is how many of these were taken, 0 only if it got none.
    pub fn poll_send(
        &mut self,
        socket: &mut impl PollSend,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let waiting = self.waiting.len();
            if waiting == 0 && bytes.is_empty() {
                self.clear();
                return Poll::Ready(Ok(0));
            }
            let pieces = Pieces {
                first: &self.waiting,
                second: bytes,
            };
            let written = pieces.poll_write(socket, cx, 0);
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

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Read as _, net::TcpListener};

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn two_pieces_go_on_wherever_the_last_call_stopped() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap());
        let mut socket = socket.await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let (first, second): (&[u8], &[u8]) = (b"head ", b"body");
        let pieces = Pieces { first, second };
        for sent in 0..pieces.len() {
            let write = poll_fn(|cx| pieces.poll_write(&mut socket, cx, sent));
            assert_eq!(write.await.unwrap(), pieces.len() - sent);
            let mut came = vec![0; pieces.len() - sent];
            peer.read_exact(&mut came).unwrap();
            assert_eq!(came, b"head body"[sent..]);
        }
    }
}
