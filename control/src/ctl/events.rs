//! Events as they happen.

use std::time::Duration;

use serde::Deserialize as _;
use serde_json::Value;

use super::{
    answers::Event,
    args::Format,
    client::Client,
    failure::Failure,
    output::{Progress, print},
    show,
};

/// Before a stream that ended is asked for again.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// Length of one event; the daemon sends none that comes near it.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Prints events until `limit` of them have come, and goes on where it was when the daemon is restarted.
pub async fn follow(
    client: &Client,
    format: Format,
    after: Option<u64>,
    limit: Option<u64>,
) -> Result<(), Failure> {
    let mut last = after;
    let mut left = limit.unwrap_or(u64::MAX);
    let mut progress = Progress::default();
    let mut stream = client.follow(last).await?;
    loop {
        let mut frames = Frames::default();
        let ended = loop {
            match client.piece(&mut stream).await {
                Ok(Some(bytes)) => frames.add(&bytes),
                Ok(None) => break "the daemon ended the stream".to_owned(),
                Err(failure) => break failure.to_string(),
            }
            while let Some(data) = frames.next() {
                progress.end();
                let event = print_event(client, format, &data)?;
                last = Some(event.id);
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
            }
            if frames.is_too_long() {
                return Err(client.odd("an event without an end"));
            }
        };
        progress.say(&format!("{ended}; connecting again"));
        stream = loop {
            tokio::time::sleep(RECONNECT_AFTER).await;
            match client.follow(last).await {
                Ok(stream) => break stream,
                Err(failure) if failure.is_unreachable() => {}
                Err(failure) => return Err(failure),
            }
        };
        progress.end();
    }
}

fn print_event(client: &Client, format: Format, data: &str) -> Result<Event, Failure> {
    let odd = |error: serde_json::Error| client.odd(error.to_string());
    let value: Value = serde_json::from_str(data).map_err(odd)?;
    let event = Event::deserialize(&value).map_err(odd)?;
    match format {
        Format::Json => print(&format!("{value}\n"))?,
        Format::Table => print(&show::fleet::event(&event))?,
    }
    Ok(event)
}

/// Server-sent events out of pieces that end anywhere (HTML standard, section 9.2.6), as far as the daemon sends them.
#[derive(Debug, Default)]
struct Frames {
    waiting: Vec<u8>,
}

impl Frames {
    fn add(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    fn is_too_long(&self) -> bool {
        self.waiting.len() > EVENT_BYTES_MAX
    }

    /// The data of the next event that has come to its end.
    fn next(&mut self) -> Option<String> {
        loop {
            let end = self.waiting.windows(2).position(|two| two == b"\n\n")?;
            let frame: Vec<u8> = self.waiting.drain(..end + 2).collect();
            let frame = String::from_utf8_lossy(&frame);
            let data: Vec<&str> = frame
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|data| data.strip_prefix(' ').unwrap_or(data))
                .collect();
            if !data.is_empty() {
                return Some(data.join("\n"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_wherever_the_pieces_end() {
        let stream = ": hello\n\nid: 7\nevent: cell.add\ndata: {\"id\":7}\n\n:\n\nid: 8\ndata: a\ndata: b\n\ndata: cut";
        for size in [1, 2, 3, 7, 1000] {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                frames.add(piece);
                while let Some(data) = frames.next() {
                    found.push(data);
                }
            }
            assert_eq!(found, ["{\"id\":7}", "a\nb"], "pieces of {size}");
        }
    }
}
