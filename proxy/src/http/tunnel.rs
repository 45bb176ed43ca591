//! A connection whose two sides agreed on another protocol: bytes both ways, until both have ended or nothing moves.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    time::{Instant, timeout_at},
};

use super::client::ClientStream;
use crate::{
    access_log::Entry, cell::OpenTunnel, listen::ClientSocket, tls::CellSocket, upstream::Switched,
};

/// Read at a time in one direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// The right to carry a tunnel, and what is written down at its end.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) entry: Box<Entry<'static>>,
    /// Held for its `Drop`.
    pub(super) open: OpenTunnel,
}

/// Bytes that were carried, by who sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) from_client: u64,
    pub(super) from_cell: u64,
}

/// When something last moved, in either direction.
struct Activity {
    began: Instant,
    last_ms: AtomicU64,
    idle: Duration,
}

impl Activity {
    fn note(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.fetch_max(now, Ordering::Relaxed);
    }

    fn deadline(&self) -> Instant {
        self.began + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + self.idle
    }
}

/// Carries both directions. Each ends by itself, so a side that has said all may still listen; a failure of one side, or
/// `idle` without a byte in either direction, ends both.
pub(super) async fn carry(client: ClientStream, cell: Switched, idle: Duration) -> Carried {
    // The 101 was flushed before, so nothing waits to be sent.
    let ClientStream { socket, ahead, .. } = client;
    let unread = BytesMut::from(&*ahead);
    // A tunnel may be open for days.
    drop(ahead);
    let ahead = (unread, cell.ahead);
    match (socket, cell.socket) {
        (ClientSocket::Plain(client), CellSocket::Plain(cell)) => {
            carry_halves(client.into_split(), cell.into_split(), ahead, idle).await
        }
        (ClientSocket::Plain(client), CellSocket::Tls(cell)) => {
            carry_halves(client.into_split(), split(*cell), ahead, idle).await
        }
        (ClientSocket::Tls(client), CellSocket::Plain(cell)) => {
            carry_halves(split(*client), cell.into_split(), ahead, idle).await
        }
        (ClientSocket::Tls(client), CellSocket::Tls(cell)) => {
            carry_halves(split(*client), split(*cell), ahead, idle).await
        }
    }
}

async fn carry_halves(
    (client_read, client_write): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    (cell_read, cell_write): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    (from_client_ahead, from_cell_ahead): (BytesMut, BytesMut),
    idle: Duration,
) -> Carried {
    let activity = Activity {
        began: Instant::now(),
        last_ms: AtomicU64::new(0),
        idle,
    };
    let (from_client, from_cell) = (AtomicU64::new(0), AtomicU64::new(0));
    let upward = pump(
        client_read,
        from_client_ahead,
        cell_write,
        &activity,
        &from_client,
    );
    let downward = pump(
        cell_read,
        from_cell_ahead,
        client_write,
        &activity,
        &from_cell,
    );
    // Whatever ended it, it is over: both sides see their connection close.
    let _ = tokio::try_join!(upward, downward);
    Carried {
        from_client: from_client.into_inner(),
        from_cell: from_cell.into_inner(),
    }
}

/// One direction, until its source ends; then its destination gets the end too.
async fn pump(
    mut source: impl AsyncRead + Unpin,
    mut buffer: BytesMut,
    mut destination: impl AsyncWrite + Unpin,
    activity: &Activity,
    carried: &AtomicU64,
) -> io::Result<()> {
    loop {
        if !buffer.is_empty() {
            let count = buffer.len() as u64;
            before_idle(activity, async {
                destination.write_all_buf(&mut buffer).await?;
                destination.flush().await
            })
            .await?;
            carried.fetch_add(count, Ordering::Relaxed);
            activity.note();
        }
        buffer.reserve(BUFFER_BYTES);
        let count = before_idle(activity, source.read_buf(&mut buffer)).await?;
        if count == 0 {
            // Over TLS the end is bytes, too, and a peer that takes nothing keeps them here.
            return before_idle(activity, destination.shutdown()).await;
        }
        activity.note();
    }
}

/// Waits for a step as long as anything moves in the tunnel.
async fn before_idle<T>(
    activity: &Activity,
    step: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut step = std::pin::pin!(step);
    loop {
        let deadline = activity.deadline();
        match timeout_at(deadline, &mut step).await {
            Ok(outcome) => return outcome,
            // The other direction has moved meanwhile.
            Err(_) if activity.deadline() > deadline => {}
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
