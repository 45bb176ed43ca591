//! Moving bytes from socket to socket by way of a pipe, within the system (`splice(2)`, Linux only).
//!
//! A pipe is lent only while bytes move. It is filled only when it is empty and drained wholly before it is filled again: a
//! pipe has a limit of pieces, too, so one with few bytes can be full, which looks like a socket without any.

#[cfg(target_os = "linux")]
pub(super) use linux::Lent;
#[cfg(target_os = "linux")]
pub use linux::Pipes;
#[cfg(not(target_os = "linux"))]
pub(super) use none::Lent;
#[cfg(not(target_os = "linux"))]
pub use none::Pipes;

/// Of a process. The system lets a user without privileges have 1,024 of full size, and during a hand-over there are two
/// processes.
pub const PIPES_MAX: usize = 512;

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io,
        os::fd::OwnedFd,
        sync::{
            Arc, Mutex, PoisonError,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use rustix::{
        io::retry_on_intr,
        pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, pipe_with, splice},
    };
    use tokio::{io::Interest, net::TcpStream};

    /// What a pipe has to hold to be worth its system calls. The system gives this much, or far less.
    const PIPE_BYTES: usize = 64 * 1024;

    /// The pipes of the process.
    #[derive(Debug)]
    pub struct Pipes {
        idle: Mutex<Vec<Pipe>>,
        /// With those that are lent.
        made: AtomicUsize,
        max: usize,
    }

    #[derive(Debug)]
    struct Pipe {
        reader: OwnedFd,
        writer: OwnedFd,
    }

    /// A pipe that is in use. It goes back when it is dropped, if it is empty.
    #[derive(Debug)]
    pub(in crate::tcp) struct Lent {
        pipe: Option<Pipe>,
        held: usize,
        pipes: Arc<Pipes>,
    }

    impl Pipes {
        pub fn new(max: usize) -> Self {
            Self {
                idle: Mutex::default(),
                made: AtomicUsize::new(0),
                max,
            }
        }

        /// `None` when no pipe can be had; then bytes are copied.
        pub(in crate::tcp) fn lend(self: &Arc<Self>) -> Option<Lent> {
            let idle = self.lock().pop();
            let pipe = idle.or_else(|| self.make())?;
            Some(Lent {
                pipe: Some(pipe),
                held: 0,
                pipes: Arc::clone(self),
            })
        }

        fn make(&self) -> Option<Pipe> {
            if self.made.fetch_add(1, Ordering::AcqRel) < self.max
                && let Ok(pipe) = Pipe::new()
            {
                return Some(pipe);
            }
            self.made.fetch_sub(1, Ordering::AcqRel);
            None
        }

        fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Pipe>> {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Pipe {
        fn new() -> io::Result<Self> {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            if fcntl_getpipe_size(&writer)? < PIPE_BYTES {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            Ok(Self { reader, writer })
        }
    }

    impl Lent {
        /// How many bytes are in it.
        pub(in crate::tcp) fn held(&self) -> usize {
            self.held
        }

        /// Fills the empty pipe. Nothing is the end; `WouldBlock` means that nothing has come.
        pub(in crate::tcp) fn fill(&mut self, source: &TcpStream) -> io::Result<usize> {
            debug_assert!(self.held == 0, "a pipe with bytes in it may take no more");
            let pipe = self.pipe.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            self.held = source.try_io(Interest::READABLE, || {
                Ok(retry_on_intr(|| {
                    splice(source, None, &pipe.writer, None, PIPE_BYTES, FLAGS)
                })?)
            })?;
            Ok(self.held)
        }

        /// Passes on what it holds, as far as the socket takes it.
        pub(in crate::tcp) fn drain(&mut self, sink: &TcpStream) -> io::Result<usize> {
            let pipe = self.pipe.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            let moved = sink.try_io(Interest::WRITABLE, || {
                Ok(retry_on_intr(|| {
                    splice(&pipe.reader, None, sink, None, self.held, FLAGS)
                })?)
            })?;
            self.held -= moved;
            Ok(moved)
        }
    }

    const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

    impl Drop for Lent {
        fn drop(&mut self) {
            match self.pipe.take() {
                Some(pipe) if self.held == 0 => self.pipes.lock().push(pipe),
                // What it still holds is somebody's, and must not reach anybody else.
                _ => {
                    self.pipes.made.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use std::{io, sync::Arc};

    use tokio::net::TcpStream;

    /// This system has no pipes for that.
    #[derive(Debug)]
    pub struct Pipes;

    #[derive(Debug)]
    pub(in crate::tcp) enum Lent {}

    impl Pipes {
        pub fn new(_: usize) -> Self {
            Self
        }

        pub(in crate::tcp) fn lend(self: &Arc<Self>) -> Option<Lent> {
            None
        }
    }

    impl Lent {
        pub(in crate::tcp) fn held(&self) -> usize {
            match *self {}
        }

        pub(in crate::tcp) fn fill(&mut self, _: &TcpStream) -> io::Result<usize> {
            match *self {}
        }

        pub(in crate::tcp) fn drain(&mut self, _: &TcpStream) -> io::Result<usize> {
            match *self {}
        }
    }
}
