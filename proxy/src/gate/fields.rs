//! The header fields that say whom a request is for, where it ends and which protocol comes after it.

use super::bytes::{Skeleton, trim};
use super::framing::{TransferCodings, content_length};
use super::host::check_host;
use super::upgrade::{self, Protocol, Upgrade};
use super::version::Version;
use super::{BodyFraming, Refusal};
use crate::field_lines::is_name;

/// What the fields said so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) host: Option<&'a [u8]>,
    pub(super) expects_continue: bool,
    length: Option<u64>,
    codings: TransferCodings,
    /// What may be asked for with Upgrade.
    upgrades: &'a [Protocol],
    /// What the Upgrade lines ask for, taken by themselves.
    asked: Upgrade,
    /// The Connection field has the option `upgrade`.
    connection_upgrade: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(upgrades: &'a [Protocol]) -> Self {
        Self {
            upgrades,
            ..Self::default()
        }
    }

    /// Takes note of a field. `letters` is the number of letters and digits in its name.
    pub(super) fn take(
        &mut self,
        name: &[u8],
        letters: usize,
        value: &'a [u8],
    ) -> Result<(), Refusal> {
        let named = |known: &str| is_name(name, known);
        match name.len() {
            4 if named("host") => self.take_host(value),
            6 if named("expect") => self.take_expect(value),
            7 if named("upgrade") => {
                self.take_upgrade(value);
                Ok(())
            }
            10 if named("connection") => self.take_connection(value),
            14 if named("content-length") => self.take_length(value),
            17 if named("transfer-encoding") => self.codings.take_line(value),
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
        check_host(value)?;
        self.host = Some(value);
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
        if upgrade::allowed(value, self.upgrades).next().is_some() {
            self.asked = Upgrade::Asked;
        } else if self.asked == Upgrade::None {
            self.asked = Upgrade::Dropped;
        }
    }

    /// RFC 9110 section 7.6.1: an intermediary removes what this field names. Naming what frames or routes the message
    /// is a way to have it removed between two programs that both need it.
    fn take_connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for option in value.split(|&byte| byte == b',') {
            let option = trim(option);
            if option.eq_ignore_ascii_case(b"upgrade") {
                self.connection_upgrade = true;
            } else if Skeleton::of(option).frames_or_routes() {
                return Err(Refusal::ConnectionNamesFraming);
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

    pub(super) fn upgrade(&self, version: Version) -> Upgrade {
        match self.asked {
            Upgrade::Asked if version == Version::Http10 || !self.connection_upgrade => {
                Upgrade::Dropped
            }
            asked => asked,
        }
    }
}
