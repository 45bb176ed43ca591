//! Passes a challenge of ACME on to whoever asked for the certificate, and takes its answer.
//!
//! The request is written anew out of method, target and host: nothing else of the client's goes there, neither cookies nor
//! authorization. Of the answer the client gets status, type and content.

use std::{fmt, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tracing::debug;

use crate::{
    answer::Reason,
    upstream::{
        AnswerRefusal,
        answer::{AnswerBody, AnswerHead, AnswerScan, INTERIM_ANSWERS_MAX},
        connect,
    },
};

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// From the first byte of the request to the last one of the answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A challenge's answer has some 90 bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) is_head_request: bool,
    pub(super) target: Box<[u8]>,
    pub(super) host: Box<[u8]>,
}

/// What the client gets.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) content_type: Option<Vec<u8>>,
    pub(super) content: Vec<u8>,
}

#[derive(Debug)]
enum Failure {
    Io(io::Error),
    Refused(AnswerRefusal),
    TooLarge,
    Late,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::TooLarge => write!(f, "the answer has more than {ANSWER_BYTES_MAX} bytes"),
            Self::Late => write!(f, "no answer within {ANSWER_LIMIT:?}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<AnswerRefusal> for Failure {
    fn from(refusal: AnswerRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Asks `address`, if there is a place.
pub(super) async fn ask(
    places: &Semaphore,
    address: SocketAddr,
    challenge: &Challenge,
) -> Result<Answered, Reason> {
    let _place = places.try_acquire().map_err(|_| Reason::Overloaded)?;
    let asked = timeout(ANSWER_LIMIT, exchange(address, challenge)).await;
    asked.unwrap_or(Err(Failure::Late)).map_err(|failure| {
        debug!(%address, error = %failure, "a challenge of ACME was not answered");
        Reason::AcmeFailed
    })
}

async fn exchange(address: SocketAddr, challenge: &Challenge) -> Result<Answered, Failure> {
    let mut socket = connect(address, CONNECT_LIMIT).await?;
    let method: &[u8] = if challenge.is_head_request {
        b"HEAD "
    } else {
        b"GET "
    };
    let request = [
        method,
        &challenge.target,
        b" HTTP/1.1\r\nhost: ",
        &challenge.host,
        b"\r\nconnection: close\r\n\r\n",
    ];
    socket.write_all(&request.concat()).await?;
    let mut came = Vec::new();
    for _ in 0..=INTERIM_ANSWERS_MAX {
        let end = head_end(&mut socket, &mut came).await?;
        let mut content_type = None;
        let head = AnswerHead::read_lines(&came[..end], challenge.is_head_request, |line| {
            if line.name.eq_ignore_ascii_case(b"content-type") && !line.is_odd {
                content_type = Some(line.value.to_vec());
            }
        })?;
        came.drain(..end);
        if head.switches_to().is_some() {
            return Err(AnswerRefusal::UnaskedSwitch.into());
        }
        if head.is_interim() {
            continue;
        }
        let content = content(&mut socket, came, AnswerBody::new(head.framing)).await?;
        return Ok(Answered {
            status: head.status,
            content_type,
            content,
        });
    }
    Err(AnswerRefusal::TooManyInterimAnswers.into())
}

/// Reads until the head is whole that `came` begins with; where it ends.
async fn head_end(socket: &mut TcpStream, came: &mut Vec<u8>) -> Result<usize, Failure> {
    let mut scan = AnswerScan::default();
    loop {
        if !came.is_empty()
            && let Some(end) = scan.scan(came)?
        {
            return Ok(end);
        }
        if socket.read_buf(came).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// The whole body, of which `came` is the beginning.
async fn content(
    socket: &mut TcpStream,
    mut came: Vec<u8>,
    mut body: AnswerBody,
) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    loop {
        if !came.is_empty() {
            body.advance_seeing(&came, |data| content.extend_from_slice(data))?;
        }
        if body.is_complete() {
            return Ok(content);
        }
        if content.len() > ANSWER_BYTES_MAX {
            return Err(Failure::TooLarge);
        }
        came.clear();
        if socket.read_buf(&mut came).await? == 0 {
            return if body.ends_with_connection() {
                Ok(content)
            } else {
                Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
            };
        }
    }
}
