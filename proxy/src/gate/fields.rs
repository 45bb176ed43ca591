//! The header fields that say whom a request is for, where it ends and what becomes of its connection.

use super::bytes::{Skeleton, trim};
use super::framing::{TransferCodings, content_length};
use super::host::check_host;
use super::{BodyFraming, Refusal, Version};

/// Whether the client asks for another protocol on this connection, RFC 9110 section 7.8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    #[default]
    None,
    /// An Upgrade field that asks for nothing: without `Connection: upgrade`, or on HTTP/1.0. It has to be dropped, as
    /// Pingora and some cells would act on it.
    Stray,
    /// Cleartext HTTP/2. RFC 9113 section 3.1 gave it up; to be dropped together with HTTP2-Settings, and the request
    /// answered as HTTP/1.1.
    H2c,
    WebSocket,
    Other,
}

impl Upgrade {
    /// Whether bytes after the head belong to the other protocol and have to wait for a 101.
    #[must_use]
    pub fn is_asked(self) -> bool {
        matches!(self, Self::WebSocket | Self::Other)
    }
}

/// What the fields said so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) expects_continue: bool,
    length: Option<u64>,
    codings: TransferCodings,
    protocol: Upgrade,
    connection: Connection,
}

/// The connection options that matter here.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl<'a> Fields<'a> {
    /// Takes note of a field. `letters` is the number of letters and digits in its name.
    pub(super) fn take(
        &mut self,
        name: &[u8],
        letters: usize,
        value: &'a [u8],
    ) -> Result<(), Refusal> {
        let named = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if named(b"host") => self.take_host(value),
            6 if named(b"expect") => self.take_expect(value),
            7 if named(b"upgrade") => {
                self.take_upgrade(value);
                Ok(())
            }
            10 if named(b"connection") => self.take_connection(value),
            14 if named(b"content-length") => self.take_length(value),
            17 if named(b"transfer-encoding") => self.codings.take_line(value),
            // `Transfer_Encoding`, `Content--Length`, `'Host`: some program turns these into the real one.
            _ if matches!(letters, 4 | 13 | 16) && Skeleton::of(name).frames_or_routes() => {
                Err(Refusal::LookalikeName)
            }
            _ => Ok(()),
        }
    }

    fn take_host(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        if self.host.is_some() {
            return Err(Refusal::RepeatedHost);
        }
        self.host = Some(check_host(value)?);
        Ok(())
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        // Even when equal: RFC 9110 section 8.6 leaves the choice, and a cell may take the first, the last or the list.
        if self.length.is_some() {
            return Err(Refusal::RepeatedContentLength);
        }
        self.length = Some(content_length(value)?);
        Ok(())
    }

    /// RFC 9110 section 10.1.1 knows one expectation. Others may be answered 417, and a veiled one is a known way to
    /// make two programs disagree on whether a body follows.
    fn take_expect(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.expects_continue || !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::BadExpectation);
        }
        self.expects_continue = true;
        Ok(())
    }

    fn take_upgrade(&mut self, value: &[u8]) {
        for protocol in value.split(|&byte| byte == b',') {
            let protocol = trim(protocol);
            self.protocol = match self.protocol {
                Upgrade::H2c => Upgrade::H2c,
                _ if protocol.eq_ignore_ascii_case(b"h2c") => Upgrade::H2c,
                Upgrade::None if protocol.eq_ignore_ascii_case(b"websocket") => Upgrade::WebSocket,
                _ => Upgrade::Other,
            };
        }
    }

    /// RFC 9110 section 7.6.1: an intermediary removes what this field names. Naming what frames or routes the message
    /// is a way to have it removed between two programs that both need it.
    fn take_connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for option in value.split(|&byte| byte == b',') {
            let option = trim(option);
            match option.len() {
                5 if option.eq_ignore_ascii_case(b"close") => self.connection.close = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.connection.upgrade = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => {
                    self.connection.keep_alive = true;
                }
                _ if Skeleton::of(option).frames_or_routes() => {
                    return Err(Refusal::ConnectionNamesFraming);
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn framing(&self, version: Version) -> Result<BodyFraming, Refusal> {
        match (self.length, self.codings.is_present()) {
            (None, false) => Ok(BodyFraming::None),
            (Some(length), false) => Ok(BodyFraming::Length(length)),
            // RFC 9112 section 6.1: the length has no say then, but a program that thinks otherwise is a smuggler's aim.
            (Some(_), true) => Err(Refusal::LengthAndEncoding),
            (None, true) if version == Version::Http10 => Err(Refusal::EncodingInHttp10),
            (None, true) if self.codings.is_chunked() => Ok(BodyFraming::Chunked),
            (None, true) => Err(Refusal::BadTransferEncoding),
        }
    }

    pub(super) fn has_extra_codings(&self) -> bool {
        self.codings.has_extra()
    }

    /// RFC 9112 section 9.3.
    pub(super) fn keep_alive(&self, version: Version) -> bool {
        !self.connection.close && (version == Version::Http11 || self.connection.keep_alive)
    }

    pub(super) fn upgrade(&self, version: Version) -> Upgrade {
        if self.protocol == Upgrade::None {
            return Upgrade::None;
        }
        if version == Version::Http10 || !self.connection.upgrade {
            return Upgrade::Stray;
        }
        self.protocol
    }
}
