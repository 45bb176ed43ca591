//! The way to the daemon and back.

use std::{fs::File, io::Read as _, path::PathBuf, time::Duration};

use cellgate_process::root_cause;
use reqwest::{Response, StatusCode, header};
use serde_json::Value;

use super::{
    args::{Global, TokenSource},
    call::{Body, Call},
    failure::{Failure, Problem},
};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer may take; an import writes thousands of tenants in it.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);
/// A stream that sends nothing for so long is dead: the daemon says something every 15 seconds.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Before a request is sent for the second time.
const RETRY_AFTER: Duration = Duration::from_millis(300);
/// Random bytes of an idempotency key, which is written in hexadecimal.
const KEY_BYTES: usize = 16;
/// Longer tokens than the daemon makes or takes.
const TOKEN_BYTES_MAX: u64 = 4 * 1024;

/// See the module's documentation.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    /// What comes before `/v1`.
    base: String,
    /// Where that is, for people.
    place: String,
    token: TokenSource,
    actor: String,
    reason: Option<String>,
    if_revision: Option<u64>,
}

impl Client {
    pub fn new(global: &Global, token: TokenSource) -> Result<Self, Failure> {
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(ANSWER_LIMIT)
            .user_agent(concat!("cellctl/", env!("CARGO_PKG_VERSION")));
        let (base, place) = match &global.socket {
            Some(path) => {
                http = http.unix_socket(path.clone());
                ("http://localhost".to_owned(), path.display().to_string())
            }
            None => (global.server.clone(), global.server.clone()),
        };
        let http = http.build().map_err(|error| Failure::Unreachable {
            place: place.clone(),
            error: innermost(&error),
            is_lost: false,
        })?;
        Ok(Self {
            http,
            base,
            place,
            token,
            actor: global.actor.clone().unwrap_or_else(who),
            reason: global.reason.clone(),
            if_revision: global.if_revision,
        })
    }

    /// Sends, and reads the answer, which is JSON.
    pub async fn json(&self, call: &Call) -> Result<Value, Failure> {
        let bytes = self.bytes(call).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.odd(error.to_string()))
    }

    /// Sends, and reads the answer as it is.
    pub async fn bytes(&self, call: &Call) -> Result<Vec<u8>, Failure> {
        let answer = self.send(call).await?;
        match answer.bytes().await {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Sends, and hands on the answer before its body has come. A change is named, so that sending it twice makes it once.
    pub async fn send(&self, call: &Call) -> Result<Response, Failure> {
        let key = call.is_change().then(random_key).transpose()?;
        // Reads go without it too, but holders of the token see more, and have places of their own.
        let token = match self.token() {
            Err(failure) if call.is_change() => return Err(failure),
            token => token.ok(),
        };
        let request = || {
            let request = with_token(self.request(call), token.as_ref());
            match &key {
                Some(key) => self.as_change(request, key),
                None => request,
            }
        };
        let mut sent = request().send().await;
        if let Err(error) = &sent
            && (error.is_connect() || error.is_request())
            && !error.is_timeout()
        {
            tokio::time::sleep(RETRY_AFTER).await;
            sent = request().send().await;
        }
        let answer = sent.map_err(|error| self.broken(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refusal(answer).await)
    }

    /// Follows the events behind this one, or those to come.
    pub async fn follow(&self, after: Option<u64>) -> Result<Response, Failure> {
        let call = Call::get(&["events"]).with_some("after", after);
        let mut request = with_token(self.request(&call), self.token().ok().as_ref())
            .header(header::ACCEPT, "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let answer = request.send().await.map_err(|error| self.broken(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refusal(answer).await)
    }

    /// The next piece of an answer's body; `None` at its end.
    pub async fn piece(&self, answer: &mut Response) -> Result<Option<Vec<u8>>, Failure> {
        match tokio::time::timeout(SILENCE_LIMIT, answer.chunk()).await {
            Ok(Ok(piece)) => Ok(piece.map(Into::into)),
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(Failure::Unreachable {
                place: self.place.clone(),
                error: "it has fallen silent".to_owned(),
                is_lost: true,
            }),
        }
    }

    /// The same client, without the revision that was seen: for what follows on a change of its own.
    pub fn forget_revision(&mut self) {
        self.if_revision = None;
    }

    pub fn odd(&self, error: impl Into<String>) -> Failure {
        Failure::OddAnswer {
            place: self.place.clone(),
            error: error.into(),
        }
    }

    fn request(&self, call: &Call) -> reqwest::RequestBuilder {
        let mut target = call.target();
        if let Some(reason) = &self.reason
            && call.is_change()
        {
            target = call.clone().with("reason", reason).target();
        }
        let url = format!("{}{target}", self.base);
        let request = self.http.request(call.method.clone(), url);
        match &call.body {
            Body::Empty => request,
            Body::Json(value) => request.json(value),
            Body::Tenants { format, bytes } => {
                let kind = match format {
                    super::args::TenantFormat::Csv => "text/csv",
                    super::args::TenantFormat::Ndjson => "application/x-ndjson",
                };
                request
                    .header(header::CONTENT_TYPE, kind)
                    .body(bytes.clone())
            }
        }
    }

    fn as_change(&self, request: reqwest::RequestBuilder, key: &str) -> reqwest::RequestBuilder {
        let mut request = request
            .header("idempotency-key", key)
            .header("x-cellgate-actor", &self.actor);
        if let Some(revision) = self.if_revision {
            request = request.header(header::IF_MATCH, format!("\"{revision}\""));
        }
        request
    }

    fn token(&self) -> Result<String, Failure> {
        let (path, text) = match &self.token {
            TokenSource::Given(token) => (PathBuf::from("CELLCTL_TOKEN"), token.clone()),
            TokenSource::File(path) => {
                let mut text = String::new();
                let read = File::open(path)
                    .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text));
                read.map_err(|error| Failure::NoToken {
                    path: path.clone(),
                    error: error.to_string(),
                })?;
                (path.clone(), text)
            }
        };
        // The daemon takes two while one takes the place of the other. The first is the one it has known for longer.
        let token = text.trim().lines().next().unwrap_or_default().trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::NoToken {
                path,
                error: "it does not hold one token of printable characters".to_owned(),
            });
        }
        Ok(token.to_owned())
    }

    async fn refusal(&self, answer: Response) -> Failure {
        let status = answer.status();
        let problem = match answer.bytes().await {
            Ok(bytes) => serde_json::from_slice::<Problem>(&bytes),
            Err(error) => return self.broken(&error),
        };
        match problem {
            Ok(problem) => Failure::Refused(Box::new(problem)),
            Err(_) if status == StatusCode::NOT_FOUND => self.odd("there is no such path"),
            Err(_) => self.odd(format!("status {status}")),
        }
    }

    fn broken(&self, error: &reqwest::Error) -> Failure {
        Failure::Unreachable {
            place: self.place.clone(),
            error: innermost(error),
            is_lost: !error.is_connect(),
        }
    }
}

fn with_token(request: reqwest::RequestBuilder, token: Option<&String>) -> reqwest::RequestBuilder {
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

/// In few words.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    root_cause(error).to_string()
}

fn random_key() -> Result<String, Failure> {
    use std::fmt::Write as _;
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; KEY_BYTES];
    let read = File::open(SOURCE).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| Failure::File {
        path: SOURCE.into(),
        error: error.to_string(),
    })?;
    let mut key = String::with_capacity(2 * KEY_BYTES);
    for byte in bytes {
        write!(key, "{byte:02x}").expect("writing to a string never fails");
    }
    Ok(key)
}

/// Who runs this, and where. It is sent for the log; nothing trusts it.
fn who() -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = set("USER")
        .or_else(|| set("LOGNAME"))
        .unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| set("HOSTNAME"))
        .unwrap_or_default();
    let printable = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    let (user, host) = (user.trim(), host.trim());
    let name = if host.is_empty() {
        user.to_owned()
    } else {
        format!("{user}@{host}")
    };
    name.chars().map(printable).take(200).collect()
}
