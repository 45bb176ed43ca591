//! Sending to a connection's socket and receiving from it: tokio says when, and the system calls are made directly. In a
//! program with several threads, the C library checks for thread cancellation around each call, and nobody cancels threads
//! here.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{
    buffer::spare_capacity,
    io::retry_on_intr,
    net::{RecvFlags, SendFlags, recv, send},
};
use tokio::{
    io::{AsyncRead as _, Interest, ReadBuf},
    net::TcpStream,
};

use crate::buffer::Buffer;

/// What bytes are sent on.
pub trait PollSend {
    /// Sends two pieces as if they were one. The answer is how many bytes were taken.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>>;
}

impl PollSend for TcpStream {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>> {
        poll_send(self, cx, first, second)
    }
}

/// Sends two pieces as if they were one. The answer is how many bytes were taken.
fn poll_send(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    first: &[u8],
    second: &[u8],
) -> Poll<io::Result<usize>> {
    let wanted = first.len() + second.len();
    // No call here needs a flag against SIGPIPE: programs in Rust ignore that signal from their start.
    poll_call(socket, cx, Interest::WRITABLE, wanted, || {
        if second.is_empty() {
            send(socket, first, SendFlags::empty())
        } else if first.is_empty() {
            send(socket, second, SendFlags::empty())
        } else {
            rustix::io::writev(socket, &[IoSlice::new(first), IoSlice::new(second)])
        }
    })
}

/// Receives into the room that a buffer has. The answer is how many bytes came; nothing is the end.
pub fn poll_receive(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut Buffer,
) -> Poll<io::Result<usize>> {
    let room = buffer.room();
    debug_assert!(room > 0, "nothing would look like the end");
    poll_call(socket, cx, Interest::READABLE, room, || {
        recv(socket, spare_capacity(buffer.memory()), RecvFlags::empty()).map(|(count, _)| count)
    })
}

/// Receives into the caller's buffer, at most so many bytes. The answer is how many came; nothing is the end.
///
/// This is tokio's own reading: memory that holds no bytes yet cannot be handed to a system call without `unsafe`, and
/// clearing it first would cost more than is saved.
pub fn poll_receive_into(
    socket: &mut TcpStream,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    bytes_max: Option<u64>,
) -> Poll<io::Result<usize>> {
    let before = buf.filled().len();
    let room = room_of(buf, bytes_max);
    if room == buf.remaining() {
        ready!(Pin::new(socket).poll_read(cx, buf))?;
    } else {
        let mut window = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(socket).poll_read(cx, &mut window))?;
        let count = window.filled().len();
        buf.advance(count);
    }
    Poll::Ready(Ok(buf.filled().len() - before))
}

/// How much may be received into a buffer of which no more than this may be used.
pub fn room_of(buf: &ReadBuf<'_>, bytes_max: Option<u64>) -> usize {
    let bytes_max = bytes_max.map_or(usize::MAX, |max| max.try_into().unwrap_or(usize::MAX));
    bytes_max.min(buf.remaining())
}

/// Makes a call when the socket is ready for it. A call that moves fewer bytes than wanted has used the readiness up: it is
/// cleared, so that the next call waits for an event and does not try in vain.
fn poll_call(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    interest: Interest,
    wanted: usize,
    mut call: impl FnMut() -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    let mut was_asked = false;
    loop {
        // A socket nearly always takes what is sent, so tokio is asked only if it did not. Reading asks each time, which
        // is how a task whose sockets never rest learns that its turn is over.
        if interest.is_readable() {
            ready!(socket.poll_read_ready(cx))?;
        } else if was_asked {
            ready!(socket.poll_write_ready(cx))?;
        }
        was_asked = true;
        let mut moved = None;
        let outcome = socket.try_io(interest, || {
            let count = retry_on_intr(&mut call)?;
            moved = Some(count);
            if (1..wanted).contains(&count) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        match (moved, outcome) {
            (Some(count), _) => return Poll::Ready(Ok(count)),
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                return Poll::Ready(Err(error));
            }
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        io::{Read as _, Write as _},
        time::Duration,
    };

    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A socket of ours, and the peer's, which blocks.
    async fn pair() -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().await.unwrap().0, peer)
    }

    async fn send_once(socket: &TcpStream, first: &[u8], second: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| poll_send(socket, cx, first, second)).await
    }

    async fn receive_once(socket: &TcpStream, buffer: &mut Buffer) -> io::Result<usize> {
        poll_fn(|cx| poll_receive(socket, cx, buffer)).await
    }

    #[tokio::test]
    async fn a_sender_that_had_to_wait_goes_on_when_there_is_room() {
        const BYTES: usize = 32 * 1024 * 1024;
        let (socket, mut peer) = pair().await;
        let bytes: Vec<u8> = (0..BYTES).map(|at| at.to_le_bytes()[1]).collect();
        let mut sent = 0;
        // Nobody reads: after a while it takes no more.
        loop {
            let (first, second) = bytes[sent..].split_at(1_000);
            let sending = poll_fn(|cx| Poll::Ready(poll_send(&socket, cx, first, second)));
            let Poll::Ready(taken) = sending.await else {
                break;
            };
            sent += taken.unwrap();
            assert!(sent + 1_000 < BYTES);
        }
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all)
        });
        while sent < BYTES {
            let taken = timeout(PATIENCE, send_once(&socket, &bytes[sent..], &[])).await;
            sent += taken.expect("the peer reads").unwrap();
        }
        drop(socket);
        assert!(reader.join().unwrap().unwrap() == bytes);
    }

    #[tokio::test]
    async fn what_comes_in_pieces_is_received_and_then_the_end() {
        let (socket, mut peer) = pair().await;
        let mut buffer = Buffer::new();
        let mut expected = Vec::new();
        // Less than there is room for, exactly as much, and more.
        for bytes in [1, 100, 4_096, 10_000, 70_000] {
            let piece: Vec<u8> = (0..bytes).map(|at: usize| at.to_le_bytes()[0]).collect();
            peer.write_all(&piece).unwrap();
            expected.extend_from_slice(&piece);
            while buffer.len() < expected.len() {
                buffer.reserve_for_reading();
                let count = timeout(PATIENCE, receive_once(&socket, &mut buffer)).await;
                assert!(count.expect("it was sent").unwrap() > 0);
            }
            buffer.reserve_for_reading();
            let nothing = poll_fn(|cx| Poll::Ready(poll_receive(&socket, cx, &mut buffer))).await;
            assert!(nothing.is_pending());
        }
        assert_eq!(*buffer, expected);
        drop(peer);
        let end = timeout(PATIENCE, receive_once(&socket, &mut buffer)).await;
        assert_eq!(end.expect("it has ended").unwrap(), 0);
    }

    #[tokio::test]
    async fn a_reset_is_an_error_and_not_the_end() {
        let (socket, peer) = pair().await;
        socket2::SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        let mut buffer = Buffer::new();
        buffer.reserve_for_reading();
        let outcome = timeout(PATIENCE, receive_once(&socket, &mut buffer)).await;
        let error = outcome.expect("it is over").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn no_more_is_read_into_the_callers_buffer_than_it_asks_for() {
        for wanted in [Some(3), Some(16), Some(100), None] {
            let (mut socket, mut peer) = pair().await;
            peer.write_all(b"0123456789abcdefghij").unwrap();
            let mut memory = [0; 16];
            let mut buf = ReadBuf::new(&mut memory);
            buf.put_slice(b"> ");
            let read = poll_fn(|cx| poll_receive_into(&mut socket, cx, &mut buf, wanted));
            let count = timeout(PATIENCE, read).await.expect("it was sent").unwrap();
            let expected = wanted.map_or(14, |wanted| wanted.min(14) as usize);
            assert_eq!(count, expected, "{wanted:?}");
            assert_eq!(buf.filled()[2..], b"0123456789abcdefghij"[..expected]);
        }
    }
}
