//! One connection to a cell, between exchanges.

use std::{io, sync::Arc};

use crate::tls::{CellSocket, CellTls};

/// What the pool has to know of a connection.
pub trait Idle {
    /// Whether it is open and nothing was sent on it, as of now. What only concerns what carries it, such as a session's
    /// ticket, is taken from it, and is nothing.
    fn is_silent(&mut self) -> bool;
    /// The same as far as the event loop has heard of it, which costs nothing while there is nothing to hear.
    fn seems_silent(&mut self) -> bool;
    /// How many requests it has carried.
    fn served(&self) -> u64;
}

/// A connection on which nothing is under way. It holds no buffer.
#[derive(Debug)]
pub struct Connection {
    pub socket: CellSocket,
    /// What its TLS was made by, if it has any.
    pub tls: Option<Arc<CellTls>>,
    /// Requests it has carried.
    pub served: u64,
    /// The last answer had no body, whatever its fields said. A cell that sends one nevertheless, a moment later, must not
    /// be taken to answer the next request with it.
    pub is_suspect: bool,
}

impl Connection {
    /// A connection that was just made.
    pub fn new(socket: CellSocket, tls: Option<Arc<CellTls>>) -> Self {
        Self {
            socket,
            tls,
            served: 0,
            is_suspect: false,
        }
    }

    /// It has carried other requests: the cell may have closed it just as the next one is sent.
    pub fn was_kept(&self) -> bool {
        self.served > 0
    }
}

/// Whether a new connection broke because the cell refused what was shown to it.
pub fn is_refusal(tls: Option<&Arc<CellTls>>, served: u64, error: &io::Error) -> bool {
    served == 0 && tls.is_some_and(|tls| tls.is_refusal(error))
}

impl Idle for Connection {
    fn is_silent(&mut self) -> bool {
        let mut scratch = [0; 1];
        let read = self.socket.receive_now(&mut scratch);
        read.is_err_and(|error| is_wait(&error))
    }

    fn seems_silent(&mut self) -> bool {
        if self.is_suspect {
            return self.is_silent();
        }
        let mut scratch = [0; 1];
        let read = self.socket.receive_known(&mut scratch);
        read.is_err_and(|error| is_wait(&error))
    }

    fn served(&self) -> u64 {
        self.served
    }
}

pub(super) fn is_wait(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener};

    use tokio::net::TcpStream;

    use super::*;

    /// The event loop has not heard of the byte yet, and a reused connection would take it for the next answer.
    #[tokio::test]
    async fn what_a_suspect_sends_too_much_is_found_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap());
        let mut connection = Connection::new(CellSocket::Plain(socket.await.unwrap()), None);
        let (mut cell, _) = listener.accept().unwrap();
        connection.is_suspect = true;
        assert!(connection.seems_silent());
        cell.write_all(b"H").unwrap();
        assert!(!connection.seems_silent());
    }
}
