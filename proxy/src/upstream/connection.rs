//! One TCP connection to a cell, between exchanges.

use std::io::{self, Read as _};

use socket2::SockRef;
use tokio::net::TcpStream;

/// What the pool has to know of a connection.
pub trait Idle {
    /// Whether it is open and nothing was sent on it, as of now.
    fn is_silent(&self) -> bool;
    /// The same as far as the event loop has heard of it, which costs nothing while there is nothing to hear.
    fn seems_silent(&self) -> bool;
    /// How many requests it has carried.
    fn served(&self) -> u64;
}

/// A connection on which nothing is under way. It holds no buffer.
#[derive(Debug)]
pub struct Connection {
    pub socket: TcpStream,
    /// Requests it has carried.
    pub served: u64,
    /// The last answer had no body, whatever its fields said. A cell that sends one nevertheless, a moment later, must not
    /// be taken to answer the next request with it.
    pub is_suspect: bool,
}

impl Connection {
    /// A connection that was just made.
    pub fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            served: 0,
            is_suspect: false,
        }
    }

    /// It has carried other requests: the cell may have closed it just as the next one is sent.
    pub fn was_kept(&self) -> bool {
        self.served > 0
    }
}

impl Idle for Connection {
    fn is_silent(&self) -> bool {
        let mut scratch = [0; 1];
        read_now(&self.socket, &mut scratch).is_err_and(|error| is_wait(&error))
    }

    fn seems_silent(&self) -> bool {
        if self.is_suspect {
            return self.is_silent();
        }
        let mut scratch = [0; 1];
        let read = self.socket.try_read(&mut scratch);
        read.is_err_and(|error| is_wait(&error))
    }

    fn served(&self) -> u64 {
        self.served
    }
}

/// Reads what has come, without waiting, and whether or not the event loop has heard of it.
pub(super) fn read_now(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let socket = SockRef::from(socket);
    let mut socket: &socket2::Socket = &socket;
    socket.read(buffer)
}

pub(super) fn is_wait(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener};

    use super::*;

    /// The event loop has not heard of the byte yet, and a reused connection would take it for the next answer.
    #[tokio::test]
    async fn what_a_suspect_sends_too_much_is_found_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap());
        let mut connection = Connection::new(socket.await.unwrap());
        let (mut cell, _) = listener.accept().unwrap();
        connection.is_suspect = true;
        assert!(connection.seems_silent());
        cell.write_all(b"H").unwrap();
        assert!(!connection.seems_silent());
    }
}
