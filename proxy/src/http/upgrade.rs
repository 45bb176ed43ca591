//! What a cell sees of a client's Upgrade: the protocols that are allowed, in the client's order, or nothing. Whether the
//! cell agrees is not decided here.

use http::{HeaderValue, header};
use pingora::{Result, http::RequestHeader};

use crate::gate::{Protocol, Upgrade, allowed};

/// Drops what is not allowed, so that nobody acts on it: Pingora would on the field alone, without `Connection:
/// upgrade`. What is left is one line; with nothing left the request goes on as plain HTTP/1.1.
pub(super) fn limit(request: &mut RequestHeader, upgrade: Upgrade, protocols: &[Protocol]) {
    if upgrade == Upgrade::None {
        return;
    }
    let offer = upgrade
        .is_asked()
        .then(|| offer(request, protocols))
        .flatten();
    // It belongs to h2c, which is never allowed.
    request.remove_header("http2-settings");
    request.remove_header(&header::UPGRADE);
    if let Some(offer) = offer {
        // An offer that cannot be written is left out; what was there is gone already.
        let _ = request.insert_header(header::UPGRADE, offer);
    }
}

/// The value of the one Upgrade line that a cell gets.
fn offer(request: &RequestHeader, protocols: &[Protocol]) -> Option<HeaderValue> {
    let lines = request.headers.get_all(header::UPGRADE);
    let members: Vec<&[u8]> = lines
        .iter()
        .flat_map(|line| allowed(line.as_bytes(), protocols))
        .collect();
    if members.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&members.join(&b", "[..])).ok()
}

/// Offers to the cell what [`limit`] left of the client's offer. Pingora by itself passes on `websocket` only.
pub(super) fn pass_on(upstream: &mut RequestHeader, client: &RequestHeader) -> Result<()> {
    let Some(offer) = client.headers.get(header::UPGRADE) else {
        return Ok(());
    };
    upstream.insert_header(header::CONNECTION, "upgrade")?;
    upstream.insert_header(header::UPGRADE, offer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_sees_what_is_allowed_in_one_line() {
        let protocols = ["websocket", "foo/1"].map(|name| Protocol::parse(name).unwrap());
        for (upgrade, lines, expected) in [
            (Upgrade::Asked, &["websocket"][..], Some("websocket")),
            (
                Upgrade::Asked,
                &["h2c, Foo/1", "x", "websocket"],
                Some("Foo/1, websocket"),
            ),
            (Upgrade::Dropped, &["websocket"], None),
            (Upgrade::Dropped, &["h2c", "x"], None),
            (Upgrade::None, &[], None),
        ] {
            let mut client = RequestHeader::build("GET", b"/", None).unwrap();
            for line in lines {
                client.append_header(header::UPGRADE, *line).unwrap();
            }
            client.append_header("http2-settings", "AAA").unwrap();
            limit(&mut client, upgrade, &protocols);
            let mut upstream = RequestHeader::build("GET", b"/", None).unwrap();
            pass_on(&mut upstream, &client).unwrap();
            for request in [&client, &upstream] {
                let found = request.headers.get_all(header::UPGRADE);
                let found: Vec<&str> = found.iter().map(|line| line.to_str().unwrap()).collect();
                assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{lines:?}");
            }
            let settings = client.headers.contains_key("http2-settings");
            assert_eq!(settings, upgrade == Upgrade::None, "{lines:?}");
            let asks = upstream.headers.get(header::CONNECTION).is_some();
            assert_eq!(asks, expected.is_some(), "{lines:?}");
        }
    }
}
