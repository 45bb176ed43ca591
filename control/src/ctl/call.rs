//! Requests, before they are sent: a method, a target whose parts are escaped, and a body.

use std::fmt;

use reqwest::Method;
use serde_json::Value;

use super::args::TenantFormat;

/// Libraries for URIs take the segments `.` and `..` out of a path, however they are written. The API drops this
/// character where it begins a key, and no key holds it.
const ESCAPE: &str = "%1B";

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Empty,
    Json(Value),
    Tenants {
        format: TenantFormat,
        bytes: Vec<u8>,
    },
}

impl Call {
    /// A request to `/v1` and these segments, which may hold anything.
    pub fn new(method: Method, segments: &[&str]) -> Self {
        let mut path = "/v1".to_owned();
        for segment in segments {
            path.push('/');
            if matches!(*segment, "." | "..") {
                path.push_str(ESCAPE);
            }
            path.push_str(&escape(segment));
        }
        Self {
            method,
            path,
            query: Vec::new(),
            body: Body::Empty,
        }
    }

    pub fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: &impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// A parameter that is left out where there is nothing to say.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, &value),
            None => self,
        }
    }

    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    #[must_use]
    pub fn json(self, body: Value) -> Self {
        self.body(Body::Json(body))
    }

    pub fn is_change(&self) -> bool {
        self.method != Method::GET
    }

    /// Path and query, as they are sent.
    pub fn target(&self) -> String {
        let mut target = self.path.clone();
        for (at, (name, value)) in self.query.iter().enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            target.push_str(&escape(value));
        }
        target
    }
}

/// Percent-encodes all but what RFC 3986 calls unreserved (section 2.3).
fn escape(text: &str) -> String {
    use fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("writing to a string never fails");
        }
    }
    escaped
}

/// As tests and people read it.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target())?;
        match &self.body {
            Body::Empty => Ok(()),
            Body::Json(value) => write!(f, " {value}"),
            Body::Tenants { format, bytes } => {
                write!(f, " {} {}", format.as_str(), String::from_utf8_lossy(bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_comes_through_as_one_segment() {
        let check = |key: &str, path: &str| {
            let call = Call::get(&["tenants", key, "pin"]);
            assert_eq!(call.target(), format!("/v1/tenants/{path}/pin"), "{key:?}");
            // What is sent is what a URI library makes of it.
            let url = reqwest::Url::parse(&format!("http://h{}", call.target())).unwrap();
            assert_eq!(url.path(), call.target(), "{key:?}");
        };
        check("acme", "acme");
        check("a/b", "a%2Fb");
        check("100%", "100%25");
        check("%2F", "%252F");
        check("a b+c", "a%20b%2Bc");
        check("what?#", "what%3F%23");
        check("grün", "gr%C3%BCn");
        check("a;b=c&d:e@f", "a%3Bb%3Dc%26d%3Ae%40f");
        check("\\..", "%5C..");
        check(".", "%1B.");
        check("..", "%1B..");
        check("...", "...");
        check(".a", ".a");
        check("%2e", "%252e");
    }

    #[test]
    fn parameters_are_escaped() {
        let call = Call::get(&["explain"])
            .with("key", &"a&b=c d/ü")
            .with_some("limit", Some(3))
            .with_some("after", None::<u64>);
        let target = "/v1/explain?key=a%26b%3Dc%20d%2F%C3%BC&limit=3";
        assert_eq!(call.target(), target);
    }
}
