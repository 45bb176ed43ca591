//! The answer of PostgreSQL's protocol to a session that cannot be: clients show it to their user as any error of a
//! server.

/// An error that ends the connection.
#[derive(Clone, Copy, Debug)]
pub struct ErrorResponse<'a> {
    /// Five letters and digits, out of the appendix "PostgreSQL Error Codes".
    pub sqlstate: &'a str,
    pub message: &'a str,
    pub hint: Option<&'a str>,
}

impl ErrorResponse<'_> {
    /// As it is sent. A zero byte ends a field; those in a text are left out.
    pub fn encode(&self) -> Vec<u8> {
        let fields = [
            (b'S', Some("FATAL")),
            // The same, never translated.
            (b'V', Some("FATAL")),
            (b'C', Some(self.sqlstate)),
            (b'M', Some(self.message)),
            (b'H', self.hint),
        ];
        let mut bytes = vec![b'E', 0, 0, 0, 0];
        for (kind, text) in fields {
            if let Some(text) = text {
                bytes.push(kind);
                bytes.extend(text.bytes().filter(|byte| *byte != 0));
                bytes.push(0);
            }
        }
        bytes.push(0);
        // It includes itself, but not the type.
        let length = u32::try_from(bytes.len() - 1).unwrap_or(u32::MAX);
        bytes[1..5].copy_from_slice(&length.to_be_bytes());
        bytes
    }
}
