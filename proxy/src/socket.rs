//! Sending to a connection's socket and receiving from it, as tokio does it, but by direct system calls: of a program with
//! several threads the C library looks before and after each call whether its thread is being cancelled, which nobody does
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

/// Sends two pieces as if they were one. The answer is how many bytes were taken.
pub fn poll_send(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    first: &[u8],
    second: &[u8],
) -> Poll<io::Result<usize>> {
    let wanted = first.len() + second.len();
    poll_call(socket, cx, Interest::WRITABLE, wanted, || {
        if second.is_empty() {
            send(socket, first, SendFlags::NOSIGNAL)
        } else if first.is_empty() {
            send(socket, second, SendFlags::NOSIGNAL)
        } else {
            rustix::io::writev(socket, &[IoSlice::new(first), IoSlice::new(second)])
        }
    })
}

/// Receives into the room that a buffer has. The answer is how many bytes came; nothing is the end, if there was room.
pub fn poll_receive(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut Buffer,
) -> Poll<io::Result<usize>> {
    let room = buffer.room();
    poll_call(socket, cx, Interest::READABLE, room, || {
        recv(socket, spare_capacity(buffer.end()), RecvFlags::empty()).map(|(count, _)| count)
    })
}

/// Receives into somebody else's buffer, at most so many bytes. The answer is how many came; nothing is the end.
pub fn poll_receive_into(
    socket: &mut TcpStream,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    bytes_max: usize,
) -> Poll<io::Result<usize>> {
    let before = buf.filled().len();
    if bytes_max >= buf.remaining() {
        ready!(Pin::new(socket).poll_read(cx, buf))?;
    } else {
        let mut window = ReadBuf::new(buf.initialize_unfilled_to(bytes_max));
        ready!(Pin::new(socket).poll_read(cx, &mut window))?;
        let count = window.filled().len();
        buf.advance(count);
    }
    Poll::Ready(Ok(buf.filled().len() - before))
}

/// Calls once the socket is ready, which takes fewer bytes than wanted only if it then is not any more: tokio is told so,
/// and the next call waits for an event instead of asking in vain.
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
