//! A socket with TLS on it, of either side: what is sent and received by way of rustls, in the same steps as on one without.

use std::{
    fmt,
    future::poll_fn,
    io::{self, BufRead as _, IoSlice, Write as _},
    ops::DerefMut,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustls::{
    ClientConnection, ConnectionCommon, ServerConnection, SideData, client::ClientConnectionData,
    server::ServerConnectionData,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
};

use crate::{
    buffer::{BUFFER_BYTES, Buffer},
    socket::{poll_receive, room_of},
};

/// A record with all that surrounds it (RFC 8446, section 5.2), and the beginning of the next.
const LARGE_READ_BYTES: usize = 17 * 1024;

/// One side of a connection, as rustls has it.
pub trait Side: DerefMut<Target = ConnectionCommon<Self::Data>> + Unpin {
    type Data: SideData;
}

impl Side for ServerConnection {
    type Data = ServerConnectionData;
}

impl Side for ClientConnection {
    type Data = ClientConnectionData;
}

/// See the module's documentation.
pub struct TlsSocket<S = ServerConnection> {
    socket: TcpStream,
    tls: S,
    /// What came and was not deciphered yet. It has memory only while there is something.
    received: Buffer,
    /// The last read filled all the room that it had.
    reads_much: bool,
    /// So many of the next bytes to send were taken already: they are encrypted, and their sender learns of it as they go to
    /// the system, and of the last one once all of that is there. So a client that takes nothing is as slow here as without
    /// TLS, one that takes little is seen to take it, and nobody needs to see to what is left here.
    taken: usize,
    /// So many encrypted bytes went to the system since the sender learned of any.
    written: usize,
    /// The end is not to be said.
    is_cut: bool,
}

/// How far a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There are bytes to work on, by [`TlsSocket::work_on_handshake`].
    Work,
    Done,
}

impl<S> fmt::Debug for TlsSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSocket")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// The system's side of rustls' writing.
struct Ciphertext<'s>(&'s TcpStream);

impl io::Write for Ciphertext<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S> TlsSocket<S> {
    /// Before its handshake. `received` is what came already.
    pub fn new(socket: TcpStream, tls: S, received: Buffer) -> Self {
        Self {
            socket,
            tls,
            received,
            reads_much: false,
            taken: 0,
            written: 0,
            is_cut: false,
        }
    }

    /// The socket under it, for whoever asks the system about it. Bytes sent or received there would break the connection.
    pub fn tcp(&self) -> &TcpStream {
        &self.socket
    }

    pub fn connection(&self) -> &S {
        &self.tls
    }
}

impl<S: Side> TlsSocket<S> {
    /// Sends what the handshake has to send and waits for what the peer answers. Of the work that a handshake is, it does
    /// none.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        ready!(self.poll_flush_ciphertext(cx))?;
        if !self.tls.is_handshaking() {
            return Poll::Ready(Ok(Step::Done));
        }
        if self.received.is_empty() && ready!(self.poll_fill(cx))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(Step::Work))
    }

    /// Works on what came of the handshake. It waits for nothing.
    pub fn work_on_handshake(&mut self) -> io::Result<()> {
        self.take_ciphertext().map(drop)
    }

    /// What was sent is not all, and never will be: the end is not said, so that the peer can tell.
    pub fn note_cut(&mut self) {
        self.is_cut = true;
    }

    /// Says why the handshake is refused, ends the connection, and reads on for a while: were it closed with bytes unread,
    /// the system could throw away what the peer is to read.
    pub async fn refuse_handshake(mut self, bytes_max: usize) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush_ciphertext(cx)).await?;
        self.socket.shutdown().await?;
        let mut left = bytes_max;
        let mut scratch = vec![0; BUFFER_BYTES];
        while left > 0 {
            match self.socket.read(&mut scratch).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    }

    /// Ready when there may be something to receive, without memory for it.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let nothing_is_here = match self.tls.reader().fill_buf() {
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            Ok(_) => false,
        };
        if nothing_is_here && self.received.is_empty() {
            return self.socket.poll_read_ready(cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Receives into the room that a buffer has. The answer is how many bytes came; nothing is the end.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(buffer.room() > 0, "nothing would look like the end");
        self.poll_plaintext(cx, buffer.room(), |bytes| buffer.extend_from_slice(bytes))
    }

    /// Receives into the caller's buffer, at most so many bytes.
    pub fn poll_receive_into(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        bytes_max: Option<u64>,
    ) -> Poll<io::Result<usize>> {
        let room = room_of(buf, bytes_max);
        self.poll_plaintext(cx, room, |bytes| buf.put_slice(bytes))
    }

    /// Receives into the caller's buffer what has come, without waiting, by this way to read from the system: for whoever
    /// has to know now, whether or not the event loop has heard of it. Nothing is the end; what only concerns TLS, such as
    /// a session's ticket, does not count.
    pub fn receive_now(
        &mut self,
        buf: &mut [u8],
        read: impl Fn(&TcpStream, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        loop {
            let room = buf.remaining();
            if let Some(count) = self.take_plaintext(room, |bytes| buf.put_slice(bytes))? {
                return Ok(count);
            }
            if self.received.is_empty() {
                let mut scratch = [0; BUFFER_BYTES];
                let count = read(&self.socket, &mut scratch)?;
                if count == 0 {
                    self.tls.read_tls(&mut io::empty())?;
                    self.decipher()?;
                    continue;
                }
                self.received.extend_from_slice(&scratch[..count]);
            }
            self.take_ciphertext()?;
        }
    }

    /// Sends two pieces as if they were one. The answer is how many bytes are with the system; whoever has to wait comes
    /// back with the same bytes, and may have more behind them.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wanted = first.len() + second.len();
        if self.taken == 0 && wanted > 0 {
            ready!(self.poll_flush_ciphertext(cx))?;
            let pieces = [IoSlice::new(first), IoSlice::new(second)];
            // Up to the limit of rustls' own buffer, 64 KiB.
            self.taken = self.tls.writer().write_vectored(&pieces)?;
            self.written = 0;
        }
        let gone = match self.poll_flush_ciphertext(cx)? {
            Poll::Ready(()) => self.taken,
            // Not the last byte before all is with the system. What surrounds the records counts too, which is little.
            Poll::Pending => self.written.min(self.taken.saturating_sub(1)),
        };
        let sent = gone.min(wanted);
        if sent == 0 && wanted > 0 {
            return Poll::Pending;
        }
        self.written = 0;
        self.taken -= sent;
        Poll::Ready(Ok(sent))
    }

    /// Says that nothing more is sent, in TLS and under it.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_cut {
            // Further calls do nothing.
            self.tls.send_close_notify();
        }
        ready!(self.poll_flush_ciphertext(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Gives up to so many deciphered bytes to `take`, and receives until there are some. Nothing is the end that the peer
    /// has said; an end without it is an error, for anybody on the way could have made it.
    fn poll_plaintext(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(count) = self.take_plaintext(room, &mut take)? {
                return Poll::Ready(Ok(count));
            }
            ready!(self.poll_ciphertext(cx))?;
        }
    }

    /// The same of what was deciphered already. `None` when nothing was.
    fn take_plaintext(
        &mut self,
        room: usize,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<Option<usize>> {
        let mut count = 0;
        while count < room {
            let mut reader = self.tls.reader();
            match reader.fill_buf() {
                Ok([]) => return Ok(Some(count)),
                Ok(chunk) => {
                    let fits = chunk.len().min(room - count);
                    take(&chunk[..fits]);
                    reader.consume(fits);
                    count += fits;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // It is met again by whoever comes for more.
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok((count > 0 || room == 0).then_some(count))
    }

    /// Receives and deciphers. The answer is how many bytes that took; nothing is the end of the connection.
    fn poll_ciphertext(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // What rustls has to say by itself, such as a new key, goes out before its peer is waited for.
        let flushed = self.poll_flush_ciphertext(cx);
        if self.received.is_empty() {
            match (self.poll_fill(cx), flushed) {
                (Poll::Ready(Ok(0)), _) => {
                    self.tls.read_tls(&mut io::empty())?;
                    return Poll::Ready(self.decipher().map(|()| 0));
                }
                // A peer that takes nothing any more may have said why before.
                (Poll::Ready(Ok(_)), _) => {}
                (_, Poll::Ready(Err(error))) | (Poll::Ready(Err(error)), _) => {
                    return Poll::Ready(Err(error));
                }
                (Poll::Pending, _) => return Poll::Pending,
            }
        }
        Poll::Ready(self.take_ciphertext())
    }

    /// Deciphers what was received. The answer is how many bytes that took.
    fn take_ciphertext(&mut self) -> io::Result<usize> {
        let mut count = 0;
        // No more than what can be taken from there at once: rustls refuses to hold much.
        while !self.received.is_empty() {
            let read = self.tls.read_tls(&mut &self.received[..])?;
            if read == 0 {
                // The peer has said that it is done; what it sends after that is nothing.
                self.received.clear();
                break;
            }
            self.received.advance(read);
            count += read;
            self.decipher()?;
            let nothing_is_here = self.tls.reader().fill_buf().is_err();
            if !nothing_is_here {
                break;
            }
        }
        if self.received.is_empty() {
            self.received.release();
        }
        Ok(count)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = if self.reads_much {
            LARGE_READ_BYTES
        } else {
            BUFFER_BYTES
        };
        self.received.reserve(room);
        let Poll::Ready(outcome) = poll_receive(&self.socket, cx, &mut self.received) else {
            self.received.release();
            return Poll::Pending;
        };
        self.reads_much = self.received.room() == 0;
        Poll::Ready(outcome)
    }

    fn decipher(&mut self) -> io::Result<()> {
        let Err(error) = self.tls.process_new_packets() else {
            return Ok(());
        };
        // The peer gets to know why, if that can be sent without waiting.
        let _ = self.tls.write_tls(&mut Ciphertext(&self.socket));
        Err(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn poll_flush_ciphertext(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Ciphertext(&self.socket)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_write_ready(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Side> AsyncRead for TlsSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_receive_into(cx, buf, None).map_ok(drop)
    }
}

impl<S: Side> AsyncWrite for TlsSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes, &[])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_ciphertext(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(cx)
    }
}

#[cfg(test)]
mod tests;
