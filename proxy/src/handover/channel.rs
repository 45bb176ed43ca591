//! Messages with descriptors over a Unix socket that keeps their borders.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    io::retry_on_intr,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
        sockopt::{self, Timeout},
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// Of a message in one packet. The first byte of each packet says whether the message goes on.
const PIECE_BYTES_MAX: usize = 32 * 1024;
/// Of a whole message.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The system takes at most 253 with a packet.
const DESCRIPTORS_PER_PACKET: usize = 64;
/// Of a whole message.
const DESCRIPTORS_MAX: usize = 1_024;
/// How long the other side may leave its queue full.
const SEND_LIMIT: Duration = Duration::from_secs(5);
const LAST: u8 = 0;
const MORE: u8 = 1;

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(SEND_LIMIT))?;
        Ok(Self(socket))
    }

    pub(super) fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut pieces = bytes.chunks(PIECE_BYTES_MAX).peekable();
        let mut groups = descriptors.chunks(DESCRIPTORS_PER_PACKET).peekable();
        while pieces.peek().is_some() || groups.peek().is_some() {
            let (piece, group) = (
                pieces.next().unwrap_or_default(),
                groups.next().unwrap_or_default(),
            );
            let goes_on = pieces.peek().is_some() || groups.peek().is_some();
            self.send_packet(if goes_on { MORE } else { LAST }, piece, group)?;
        }
        Ok(())
    }

    fn send_packet(&self, mark: u8, piece: &[u8], group: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_PACKET))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !group.is_empty() && !control.push(SendAncillaryMessage::ScmRights(group)) {
            return Err(io::Error::other("no room for descriptors"));
        }
        let mark = [mark];
        let packet = [IoSlice::new(&mark), IoSlice::new(piece)];
        retry_on_intr(|| sendmsg(&self.0, &packet, &mut control, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// The other side cannot send any more; what has been sent can still be received.
    pub(super) fn end_receiving(&self) -> io::Result<()> {
        Ok(shutdown(&self.0, Shutdown::Read)?)
    }

    /// The next message; an error once `limit` is over, or the other side is gone or sends anything else.
    pub(super) fn receive<T: DeserializeOwned>(
        &self,
        limit: Option<Duration>,
    ) -> io::Result<(T, Vec<OwnedFd>)> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
        loop {
            let left = match deadline {
                None => None,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    Some(left)
                }
            };
            sockopt::set_socket_timeout(&self.0, Timeout::Recv, left)?;
            let goes_on = match self.receive_packet(&mut bytes, &mut descriptors) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            if bytes.len() > MESSAGE_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
                return Err(invalid("a message is too large"));
            }
            if !goes_on {
                let message = serde_json::from_slice(&bytes)?;
                return Ok((message, descriptors));
            }
        }
    }

    fn receive_packet(
        &self,
        bytes: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<bool> {
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_PACKET))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut packet = vec![0; 1 + PIECE_BYTES_MAX];
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut packet)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(came) = message {
                descriptors.extend(came);
            }
        }
        if received.bytes == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the other side is gone",
            ));
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(invalid("a packet is too large"));
        }
        bytes.extend_from_slice(&packet[1..received.bytes]);
        match packet[0] {
            LAST => Ok(false),
            MORE => Ok(true),
            _ => Err(invalid("a packet has no mark")),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
