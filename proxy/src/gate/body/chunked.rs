//! The chunked transfer coding, RFC 9112 section 7.1, as a state machine that can stop between any two bytes.

use super::progress::{Progress, take};
use crate::gate::Refusal;
use crate::gate::bytes::{CR, LF, QUOTED, Skeleton, TEXT, TOKEN, is, is_space};

/// Bytes of chunk extensions in one request, all chunks together (RFC 9112 section 7.1.1 asks for a limit on the total).
/// In an answer, which may go on for days, it limits each chunk's.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4 * 1024;
/// Bytes of the trailer section, without the empty line that ends it.
pub const TRAILER_BYTES_MAX: usize = 4 * 1024;
/// Hexadecimal digits of a chunk size, leading zeros included: what fits into 64 bits.
const CHUNK_SIZE_DIGITS_MAX: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Chunked {
    step: Step,
    dialect: Dialect,
    /// Body bytes that may still come.
    allowance: u64,
    /// The size being read, then what is left of the chunk's data.
    left: u64,
    digits: usize,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailer_name: Skeleton,
}

/// Whose body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// To the letter: whoever reads it next may be less strict.
    Request,
    /// White space may stand before the end of a chunk's first line, as some servers pad it to a fixed width. Nobody
    /// reads another size from it.
    Answer,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`, RFC 9112 section 7.1.1. White space before the end
/// of the line is not in the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// White space was seen where only a semicolon can follow.
    BeforeSemicolon,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Value,
    Quoted,
    QuotedPair,
    AfterQuoted,
}

impl Chunked {
    pub(super) fn new(body_bytes_max: u64, dialect: Dialect) -> Self {
        Self {
            step: Step::Size,
            dialect,
            allowance: body_bytes_max,
            left: 0,
            digits: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            trailer_name: Skeleton::default(),
        }
    }

    /// Takes the next bytes and shows the pieces of the decoded body among them.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        mut see: impl FnMut(&[u8]),
    ) -> Result<Progress, Refusal> {
        let mut consumed = 0;
        while self.step != Step::End && consumed < bytes.len() {
            if self.step == Step::Data {
                let data = take(&mut self.left, bytes.len() - consumed);
                see(&bytes[consumed..consumed + data]);
                consumed += data;
                if self.left == 0 {
                    self.step = Step::DataCr;
                }
                continue;
            }
            self.step = self.read(bytes[consumed])?;
            consumed += 1;
        }
        Ok(Progress {
            consumed,
            complete: self.step == Step::End,
        })
    }

    fn read(&mut self, byte: u8) -> Result<Step, Refusal> {
        match self.step {
            Step::Size => self.read_size(byte),
            Step::Extension(extension) => {
                self.extension_bytes += 1;
                if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
                    return Err(Refusal::ChunkExtensionsTooLarge);
                }
                if byte == CR
                    && extension == Extension::BeforeSemicolon
                    && self.dialect == Dialect::Answer
                {
                    return Ok(Step::SizeLf);
                }
                extension.read(byte).ok_or(Refusal::BadChunkExtension)
            }
            Step::SizeLf if byte == LF => self.begin_data(),
            Step::SizeLf => Err(Refusal::BareCr),
            Step::DataCr if byte == CR => Ok(Step::DataLf),
            Step::DataLf if byte == LF => {
                self.digits = 0;
                if self.dialect == Dialect::Answer {
                    self.extension_bytes = 0;
                    self.allowance = u64::MAX;
                }
                Ok(Step::Size)
            }
            Step::DataCr | Step::DataLf => Err(Refusal::BadChunkEnd),
            Step::TrailerStart
            | Step::TrailerName
            | Step::TrailerValue
            | Step::TrailerLf
            | Step::EndLf => self.read_trailer(byte),
            // The loop in `advance` handles both.
            Step::Data | Step::End => Ok(self.step),
        }
    }

    fn read_size(&mut self, byte: u8) -> Result<Step, Refusal> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.digits == 0 => return Err(Refusal::BadChunkSize),
            CR => return Ok(Step::SizeLf),
            b';' => return Ok(Step::Extension(Extension::BeforeName)),
            b' ' | b'\t' => return Ok(Step::Extension(Extension::BeforeSemicolon)),
            _ => return Err(Refusal::BadChunkSize),
        };
        if self.digits == CHUNK_SIZE_DIGITS_MAX {
            return Err(Refusal::BadChunkSize);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(Step::Size)
    }

    fn begin_data(&mut self) -> Result<Step, Refusal> {
        if self.left == 0 {
            return Ok(Step::TrailerStart);
        }
        self.allowance = self
            .allowance
            .checked_sub(self.left)
            .ok_or(Refusal::BodyTooLarge)?;
        Ok(Step::Data)
    }

    fn read_trailer(&mut self, byte: u8) -> Result<Step, Refusal> {
        let ends_section = matches!(self.step, Step::EndLf)
            || matches!((self.step, byte), (Step::TrailerStart, CR));
        if !ends_section {
            self.trailer_bytes += 1;
        }
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(Refusal::TrailersTooLarge);
        }
        match (self.step, byte) {
            (Step::TrailerStart, CR) => Ok(Step::EndLf),
            (Step::EndLf, LF) => Ok(Step::End),
            (Step::TrailerStart, _) if is(byte, TOKEN) => {
                self.trailer_name = Skeleton::default();
                self.trailer_name.push(byte);
                Ok(Step::TrailerName)
            }
            (Step::TrailerName, b':') if self.trailer_name.frames_or_routes() => {
                Err(Refusal::ForbiddenTrailer)
            }
            (Step::TrailerName, b':') => Ok(Step::TrailerValue),
            (Step::TrailerName, _) if is(byte, TOKEN) => {
                self.trailer_name.push(byte);
                Ok(Step::TrailerName)
            }
            (Step::TrailerValue, CR) => Ok(Step::TrailerLf),
            (Step::TrailerValue, _) if is(byte, TEXT) => Ok(Step::TrailerValue),
            (Step::TrailerLf, LF) => Ok(Step::TrailerStart),
            (Step::TrailerLf | Step::EndLf, _) => Err(Refusal::BareCr),
            (_, LF) => Err(Refusal::BareLf),
            _ => Err(Refusal::BadTrailer),
        }
    }
}

impl Extension {
    /// The next step, or nothing when the byte cannot stand here.
    fn read(self, byte: u8) -> Option<Step> {
        use Extension::{
            AfterName, AfterQuoted, BeforeName, BeforeSemicolon, BeforeValue, Name, Quoted,
            QuotedPair, Value,
        };
        let next = match (self, byte) {
            (BeforeSemicolon | Name | AfterName | Value | AfterQuoted, b';') => BeforeName,
            (Name | AfterName, b'=') => BeforeValue,
            (Name | Value | AfterQuoted, CR) => return Some(Step::SizeLf),
            (BeforeName | Name, _) if is(byte, TOKEN) => Name,
            (BeforeValue | Value, _) if is(byte, TOKEN) => Value,
            (BeforeValue, b'"') => Quoted,
            (Quoted, b'"') => AfterQuoted,
            (Quoted, b'\\') => QuotedPair,
            (Quoted, _) if is(byte, QUOTED) => Quoted,
            (QuotedPair, _) if is(byte, TEXT) => Quoted,
            (BeforeName | BeforeValue | BeforeSemicolon | AfterName, _) if is_space(byte) => self,
            (Name, _) if is_space(byte) => AfterName,
            (Value | AfterQuoted, _) if is_space(byte) => BeforeSemicolon,
            _ => return None,
        };
        Some(Step::Extension(next))
    }
}
