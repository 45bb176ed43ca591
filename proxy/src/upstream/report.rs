//! What is known of an exchange while it is under way and after it: written by its stream, read by whoever answers for
//! the request.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::BytesMut;

use crate::tls::CellSocket;

/// One exchange. A second attempt has a report of its own.
#[derive(Debug, Default)]
pub struct Report {
    pub(super) was_kept: Flag,
    pub(super) request_sent: Flag,
    answer_begun: Flag,
    /// The clock is read when the answer begins.
    is_timed: bool,
    answer_begun_at: OnceLock<Instant>,
    pub(super) answer_over: Flag,
    pub(super) spoiled: Flag,
    pub(super) switched: Flag,
    pub(super) extra_codings: Flag,
    pub(super) unmet: Flag,
    tunnel: Mutex<Option<Switched>>,
}

/// A connection whose two sides agreed on another protocol.
#[derive(Debug)]
pub struct Switched {
    pub socket: CellSocket,
    /// What the cell sent of the new protocol so far.
    pub ahead: BytesMut,
}

/// Something that becomes true once.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Report {
    /// One that says when the answer began.
    pub fn timed() -> Self {
        Self {
            is_timed: true,
            ..Self::default()
        }
    }

    pub(super) fn begin_answer(&self) {
        if self.is_timed {
            self.answer_begun_at.get_or_init(Instant::now);
        }
        self.answer_begun.raise();
    }

    /// When the answer's first byte came, if it did and somebody asked for that.
    pub fn answer_begun_at(&self) -> Option<Instant> {
        self.answer_begun_at.get().copied()
    }

    /// The connection had carried other requests before: the cell may have closed it just as the request was sent.
    pub fn was_kept(&self) -> bool {
        self.was_kept.is_raised()
    }

    /// All of the request was given to the system to send.
    pub fn is_request_sent(&self) -> bool {
        self.request_sent.is_raised()
    }

    /// At least one byte of an answer came, be it of an interim one.
    pub fn is_answer_begun(&self) -> bool {
        self.answer_begun.is_raised()
    }

    /// The answer has come whole.
    pub fn is_answer_over(&self) -> bool {
        self.answer_over.is_raised()
    }

    /// The connection is of no further use: the rest of the request was held back, the answer was refused or cut short,
    /// or something came after it.
    pub fn is_spoiled(&self) -> bool {
        self.spoiled.is_raised()
    }

    /// The cell agreed to another protocol.
    pub fn is_switched(&self) -> bool {
        self.switched.is_raised()
    }

    /// The answer's body went through another transfer coding before `chunked`. A client of HTTP/1.0 would get it
    /// undecoded.
    pub fn has_extra_codings(&self) -> bool {
        self.extra_codings.is_raised()
    }

    /// The cell refused what was shown to it, after a handshake that seemed done: it has read nothing of the request.
    pub fn is_unmet(&self) -> bool {
        self.unmet.is_raised()
    }

    /// The connection after a switch, once the exchange's stream was dropped. It is given out once.
    pub fn take_switched(&self) -> Option<Switched> {
        self.tunnel().take()
    }

    pub(super) fn hand_out(&self, switched: Switched) {
        *self.tunnel() = Some(switched);
    }

    fn tunnel(&self) -> MutexGuard<'_, Option<Switched>> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
