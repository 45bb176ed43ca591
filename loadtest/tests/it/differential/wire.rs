//! Messages as they come off a wire, and what is compared of them.
//!
//! Fields are compared line by line, byte by byte. Their order counts among those of one name only, as RFC 9110 section
//! 5.3 has it: lines of different names are sorted. Of a body that comes in chunks the content is compared and not
//! where one chunk ends: that says nothing (RFC 9112, section 7.1).

use std::io::ErrorKind;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// More than any message of a scenario has.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
const READ_BYTES: usize = 16 * 1024;
/// Behind one of these a request's name follows, in a head or in a problem's body.
const MARKERS: [&[u8]; 2] = [b"x-request-id: ", b"\"request_id\":\""];
const MADE_NAME_BYTES: usize = 32;
/// A marker and a name are shorter.
const RENAMED_BYTES: usize = 64;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broke {
    Closed,
    Reset,
    /// What came is no message.
    Garbled,
}

/// The head of a message: its first line, and its fields without the line ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) line: Vec<u8>,
    pub(super) fields: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// A body as far as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) framing: Framing,
    pub(super) bytes: Vec<u8>,
    pub(super) trailers: Vec<Vec<u8>>,
    /// Nothing where it came whole.
    pub(super) broke: Option<Broke>,
}

/// What comes in on one connection.
pub(super) struct Wire<R> {
    stream: R,
    ahead: Vec<u8>,
}

impl Head {
    /// Of bytes that end with a blank line.
    fn parse(bytes: &[u8]) -> Self {
        let text = bytes.strip_suffix(b"\r\n\r\n").unwrap_or(bytes);
        let mut lines = text
            .split(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec());
        let line = lines.next().unwrap_or_default();
        let mut fields: Vec<Vec<u8>> = lines.collect();
        // Stable, so lines of one name keep their order.
        fields.sort_by_cached_key(|field| name_of(field).to_ascii_lowercase());
        Self { line, fields }
    }

    /// The value of the first field of this name.
    pub(super) fn field(&self, name: &str) -> Option<&[u8]> {
        let named = |field: &&Vec<u8>| name_of(field).eq_ignore_ascii_case(name.as_bytes());
        let field = self.fields.iter().find(named)?;
        Some(field[name_of(field).len() + 1..].trim_ascii())
    }

    /// Whether a field of this name has this as a member of its list.
    pub(super) fn has_member(&self, name: &str, member: &str) -> bool {
        let named = |field: &&Vec<u8>| name_of(field).eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).any(|field| {
            let value = &field[name.len()..];
            value
                .split(|&byte| matches!(byte, b',' | b':'))
                .any(|part| part.trim_ascii().eq_ignore_ascii_case(member.as_bytes()))
        })
    }

    /// The status of an answer.
    pub(super) fn status(&self) -> u16 {
        let digits = self.line.get(9..12).unwrap_or_default();
        let digits = str::from_utf8(digits).unwrap_or_default();
        digits.parse().unwrap_or(0)
    }

    /// How the body of this request ends.
    pub(super) fn request_framing(&self) -> Framing {
        if self.has_member("transfer-encoding", "chunked") {
            return Framing::Chunked;
        }
        self.length().map_or(Framing::None, Framing::Length)
    }

    /// How the body of this answer ends, to a request of this method.
    pub(super) fn answer_framing(&self, is_head_request: bool) -> Framing {
        match self.status() {
            100..200 | 204 | 304 => Framing::None,
            _ if is_head_request => Framing::None,
            _ if self.has_member("transfer-encoding", "chunked") => Framing::Chunked,
            _ => self.length().map_or(Framing::UntilClose, Framing::Length),
        }
    }

    fn length(&self) -> Option<usize> {
        let value = self.field("content-length")?;
        str::from_utf8(value).ok()?.parse().ok()
    }

    /// The same without white space around values, which is no part of them, and which is shown only where it is compared.
    pub(super) fn plain_text(&self) -> String {
        let fields = self.fields.iter().map(|field| {
            let (name, value) = field.split_at(name_of(field).len());
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            [name, b": ", value].concat()
        });
        let plain = Self {
            line: self.line.clone(),
            fields: fields.collect(),
        };
        plain.text()
    }

    /// As text, for people and for comparisons of a whole.
    pub(super) fn text(&self) -> String {
        let lines = std::iter::once(&self.line).chain(&self.fields);
        let lines: Vec<String> = lines.map(|line| line.escape_ascii().to_string()).collect();
        lines.join("\n")
    }
}

pub(super) fn name_of(field: &[u8]) -> &[u8] {
    let colon = field.iter().position(|&byte| byte == b':');
    &field[..colon.unwrap_or(field.len())]
}

/// Whether it is a name that a proxy made for a request: no two proxies make the same.
pub(super) fn is_made_name(name: &[u8]) -> bool {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    name.len() == MADE_NAME_BYTES && name.iter().all(is_digit)
}

/// Gives all requests that a proxy has named the same name.
fn rename_requests(bytes: &mut [u8]) {
    for marker in MARKERS {
        let places: Vec<usize> = bytes
            .windows(marker.len())
            .enumerate()
            .filter(|(_, window)| *window == marker)
            .map(|(at, _)| at + marker.len())
            .collect();
        for at in places {
            if let Some(name) = bytes.get_mut(at..at + MADE_NAME_BYTES)
                && is_made_name(name)
            {
                name.fill(b'0');
            }
        }
    }
}

impl<R: AsyncRead + Unpin> Wire<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    async fn fill(&mut self) -> Result<(), Broke> {
        if self.ahead.len() > MESSAGE_BYTES_MAX {
            return Err(Broke::Garbled);
        }
        self.ahead.reserve(READ_BYTES);
        let before = self.ahead.len();
        match self.stream.read_buf(&mut self.ahead).await {
            Ok(0) => Err(Broke::Closed),
            Ok(_) => {
                // One may have begun in what came before.
                let from = before.saturating_sub(RENAMED_BYTES);
                rename_requests(&mut self.ahead[from..]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(Broke::Reset),
            Err(_) => Err(Broke::Closed),
        }
    }

    /// The next head.
    pub(super) async fn head(&mut self) -> Result<Head, Broke> {
        let mut searched: usize = 0;
        loop {
            let from = searched.saturating_sub(3);
            let end = self.ahead[from..]
                .windows(4)
                .position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.ahead.drain(..from + end + 4).collect();
                return Ok(Head::parse(&head));
            }
            searched = self.ahead.len();
            self.fill().await?;
        }
    }

    pub(super) async fn body(&mut self, framing: Framing) -> Body {
        let mut body = Body {
            framing,
            bytes: Vec::new(),
            trailers: Vec::new(),
            broke: None,
        };
        let read = match framing {
            Framing::None => Ok(()),
            Framing::Length(length) => self.take_into(length, &mut body.bytes).await,
            Framing::Chunked => self.chunks(&mut body).await,
            Framing::UntilClose => {
                let (bytes, broke) = self.rest().await;
                body.bytes = bytes;
                if broke == Broke::Closed {
                    Ok(())
                } else {
                    Err(broke)
                }
            }
        };
        body.broke = read.err();
        body
    }

    /// All that comes, and how it ended.
    pub(super) async fn rest(&mut self) -> (Vec<u8>, Broke) {
        loop {
            if let Err(broke) = self.fill().await {
                return (std::mem::take(&mut self.ahead), broke);
            }
        }
    }

    async fn chunks(&mut self, body: &mut Body) -> Result<(), Broke> {
        loop {
            let line = self.line().await?;
            let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
            let digits = str::from_utf8(digits.trim_ascii()).map_err(|_| Broke::Garbled)?;
            let size = usize::from_str_radix(digits, 16).map_err(|_| Broke::Garbled)?;
            if size == 0 {
                break;
            }
            self.take_into(size, &mut body.bytes).await?;
            if !self.line().await?.is_empty() {
                return Err(Broke::Garbled);
            }
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(());
            }
            body.trailers.push(line);
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, Broke> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.ahead.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    /// Moves so many bytes, or as many as come.
    async fn take_into(&mut self, count: usize, bytes: &mut Vec<u8>) -> Result<(), Broke> {
        let mut left = count;
        loop {
            let piece = left.min(self.ahead.len());
            bytes.extend(self.ahead.drain(..piece));
            left -= piece;
            if left == 0 {
                return Ok(());
            }
            self.fill().await?;
        }
    }
}
