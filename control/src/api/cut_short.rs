//! A body that says so when it is not whole.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// A part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Page(Bytes),
    /// There is no more: the body was whole.
    End,
    /// There is more, which cannot be had. This line says so.
    Failed(Bytes),
}

/// A body of pieces. Without [`Piece::End`] it ends in an error, so that the connection breaks off before the body's
/// proper end: whatever happens to whoever sends the pieces, half a body never looks whole.
#[derive(Debug)]
pub(super) struct CutShort {
    pieces: mpsc::Receiver<Piece>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The last line is with the server, which sends it once this body has nothing more for a moment.
    SendingLastLine,
    Failed,
}

impl CutShort {
    pub(super) fn new(pieces: mpsc::Receiver<Piece>) -> Self {
        Self {
            pieces,
            state: State::Open,
        }
    }
}

impl HttpBody for CutShort {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.state {
            State::Open => {}
            State::SendingLastLine => {
                self.state = State::Failed;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            State::Failed => {
                return Poll::Ready(Some(Err(io::Error::other("the body is not whole"))));
            }
        }
        match std::task::ready!(self.pieces.poll_recv(cx)) {
            Some(Piece::Page(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Piece::End) => Poll::Ready(None),
            Some(Piece::Failed(line)) => {
                self.state = State::SendingLastLine;
                Poll::Ready(Some(Ok(Frame::data(line))))
            }
            None => {
                self.state = State::Failed;
                Poll::Ready(Some(Err(io::Error::other("the body is not whole"))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin};

    use super::*;

    #[tokio::test]
    async fn half_a_body_does_not_look_whole() {
        let check = async |pieces: &[Piece], expected: &str, is_whole: bool| {
            let (sender, receiver) = mpsc::channel(8);
            for piece in pieces {
                sender.try_send(piece.clone()).unwrap();
            }
            drop(sender);
            let mut body = pin!(CutShort::new(receiver));
            let mut text = Vec::new();
            let ended = loop {
                match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                    Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap()),
                    Some(Err(_)) => break false,
                    None => break true,
                }
            };
            assert_eq!(
                (str::from_utf8(&text).unwrap(), ended),
                (expected, is_whole),
                "{pieces:?}"
            );
        };
        let page = |text: &'static str| Piece::Page(Bytes::from_static(text.as_bytes()));
        check(&[page("a"), page("b"), Piece::End], "ab", true).await;
        check(&[Piece::End], "", true).await;
        check(&[page("a")], "a", false).await;
        check(&[], "", false).await;
        check(
            &[page("a"), Piece::Failed(Bytes::from_static(b"no"))],
            "ano",
            false,
        )
        .await;
    }
}
