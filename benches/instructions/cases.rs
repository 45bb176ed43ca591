//! What is counted: the pure parts of a request's way, on what requests and answers usually look like. The set-up of a
//! case is not counted.

mod heads;

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use cellgate_benches::{connection, scattered_keys, table, usual_entry};
use cellgate_proxy::buffer::Buffer;
use cellgate_proxy::{
    clock::DateWriter,
    exchange::Connection,
    field_lines::{FieldLine, FieldLines},
    forwarding::{Trust, TrustedHeaders},
    gate::GateLimits,
    http::direct::{Coding, Ending, PlanRules, copy_usual_head, inspect_and_plan, rewrite_head},
    net::Networks,
    request_id::RequestId,
    route::Routes,
    tenant_key::{KeyRule, KeyRules, PathPattern, Pattern, RequestKey, RequestView, Source},
    upstream::answer::{AnswerBody, AnswerFraming, AnswerScan},
};

/// Overrides of the table in which keys are looked up.
const OVERRIDES: usize = 100_000;
/// Keys that are looked up in turn: the same number for each call would always find the same way through the index.
const KEYS: usize = 100;

/// What a request is called where nobody has named it.
const RANDOM: u128 = 0x5b0c_1f6e_8c0a_4a54_9d3e_3c1f_0e9b_7a21;

const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 133));
const TRUSTED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

/// Something that is counted by itself.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Does it once.
    pub(crate) call: Box<dyn FnMut()>,
}

/// All cases, in the order in which they are shown.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = vec![
        plan("plan a small GET", heads::SMALL, STRANGER),
        plan("plan a GET with 11 fields", heads::BROWSER, STRANGER),
        plan("plan a GET of a trusted proxy", heads::FORWARDED, TRUSTED),
        usual_answer("copy an answer of 4 fields", heads::SMALL_ANSWER),
        usual_answer("copy an answer of 10 fields", heads::ANSWER),
        rewritten_answer("rewrite an answer of 10 fields", heads::ANSWER),
        chunked_piece(),
    ];
    cases.extend(look_ups());
    cases.extend(key_rules());
    cases.push(log_line());
    cases
}

fn case(name: &'static str, call: impl FnMut() + 'static) -> Case {
    Case {
        name,
        call: Box::new(call),
    }
}

/// From a request's head to the one for its cell. Its buffer comes from the allocator here, and mostly from the thread's
/// own stock in the proxy.
fn plan(name: &'static str, head: &'static str, peer: IpAddr) -> Case {
    let mut proxies = Networks::default();
    proxies.add("10.0.0.0/8").expect("a network");
    let rules = PlanRules {
        preflights: None,
        trust: Trust {
            proxies,
            headers: TrustedHeaders::default(),
        },
        names_requests: true,
        goes_direct: true,
    };
    let mut connection = connection(peer);
    Arc::make_mut(&mut connection.listener).key_rules = KeyRules::new(vec![rule(header())]).into();
    let limits = GateLimits::default();
    case(name, move || {
        let seen = inspect_and_plan(
            black_box(head.as_bytes()),
            &limits,
            &rules,
            &connection,
            black_box(RANDOM),
        );
        let plan = seen.expect("a good head").plan;
        black_box(plan.expect("a request for the direct way"));
    })
}

/// From a cell's head to the one for the client, as nearly all answers go. It has a date, for the proxy's own depends on
/// the clock.
fn usual_answer(name: &'static str, head: &'static str) -> Case {
    let (mut out, id) = (Buffer::new(), RequestId::new(RANDOM));
    case(name, move || {
        out.clear();
        let copied = copy_usual_head(black_box(head.as_bytes()), false, ending(&id), &mut out);
        black_box((copied.expect("a usual head"), &out));
    })
}

fn ending(id: &RequestId) -> Ending<'_> {
    Ending {
        closes: false,
        request_id: Some(id),
        hsts: None,
    }
}

/// The same for an answer that is unusual.
fn rewritten_answer(name: &'static str, head: &'static str) -> Case {
    let (mut out, id) = (Buffer::new(), RequestId::new(RANDOM));
    case(name, move || {
        let bytes = black_box(head.as_bytes());
        let end = AnswerScan::default().scan(bytes).expect("a good head");
        let end = end.expect("a whole head");
        out.clear();
        let head = rewrite_head(&bytes[..end], false, ending(&id), &mut out);
        let head = head.expect("a good head");
        black_box((head, &out));
    })
}

/// A whole body of two chunks, of 100 and 1,000 bytes.
fn chunked_piece() -> Case {
    let mut piece = Vec::new();
    for (size, length) in [("64", 100), ("3e8", 1_000)] {
        piece.extend_from_slice(size.as_bytes());
        piece.extend_from_slice(b"\r\n");
        piece.resize(piece.len() + length, b'x');
        piece.extend_from_slice(b"\r\n");
    }
    piece.extend_from_slice(b"0\r\n\r\n");
    let mut out = Buffer::new();
    case("body of 2 chunks", move || {
        let mut body = AnswerBody::new(AnswerFraming::Chunked);
        out.clear();
        let encoded = Coding::Chunks.encode(&mut body, black_box(&piece), &mut out);
        black_box((encoded.expect("a good body"), &out));
    })
}

/// From a key to its cell, for tenants with an override and for others.
fn look_ups() -> [Case; 2] {
    let look_up = |name, routes: Routes, keys: Vec<String>| {
        let mut next = 0;
        case(name, move || {
            let key = keys[next].as_bytes();
            next = (next + 1) % KEYS;
            black_box(routes.route(black_box(key)).cell);
        })
    };
    let table = table(OVERRIDES);
    let keys = scattered_keys(OVERRIDES, KEYS);
    let others = keys.iter().map(|key| format!("{key}-other")).collect();
    [
        look_up("look up an override", Routes::new(&table), keys),
        look_up("look up a slot", Routes::new(&table), others),
    ]
}

/// From a request's fields to its key, by one rule of each kind.
fn key_rules() -> impl Iterator<Item = Case> {
    let name = |text: &str| text.as_bytes().into();
    let pattern = |text| Pattern::parse(text).expect("a pattern");
    let path = PathPattern::parse("/t/{tenant}/").expect("a pattern");
    [
        ("key out of a header", rule(header())),
        (
            "key out of a header's part",
            KeyRule {
                source: header(),
                pattern: Some(pattern("tenant-{tenant}")),
            },
        ),
        (
            "key out of the host",
            rule(Source::Host(pattern("{tenant}.example.com"))),
        ),
        ("key out of the path", rule(Source::Path(path))),
        ("key out of the query", rule(Source::Query(name("tenant")))),
        ("key out of a cookie", rule(Source::Cookie(name("tenant")))),
        ("key out of the address", rule(Source::SourceIp)),
    ]
    .into_iter()
    .map(|(name, rule)| key_rule(name, rule))
}

fn key_rule(name: &'static str, rule: KeyRule) -> Case {
    let rules = KeyRules::new(vec![rule]);
    let lines: Vec<FieldLine<'static>> = heads::fields(heads::BROWSER).collect();
    let mut key = RequestKey::default();
    case(name, move || {
        let view = RequestView {
            lines: FieldLines(&lines),
            path: b"/t/tenant-000012ab/orders",
            query: Some(b"view=open&tenant=tenant-000012ab&limit=50"),
            host: b"tenant-000012ab.example.com",
            client: STRANGER,
            evidence: None,
        };
        let read = rules.read_key(black_box(&view), &mut key);
        read.expect("the request has a key");
        black_box(&key);
    })
}

fn rule(source: Source) -> KeyRule {
    KeyRule {
        source,
        pattern: None,
    }
}

fn header() -> Source {
    Source::Header("x-tenant-id".parse().expect("a name"))
}

/// One line of the access log, rendered.
fn log_line() -> Case {
    let (mut dates, mut line) = (DateWriter::default(), Vec::new());
    let connection = connection(STRANGER);
    let connection: &'static Connection = Box::leak(Box::new(connection));
    let mut entry = usual_entry(connection);
    // As many digits in every run.
    entry.time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_772_366_400_123);
    case("access log line", move || {
        line.clear();
        black_box(&entry).render_json(&mut dates, &mut line);
        black_box(&line);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_does_its_work_and_has_a_name_of_its_own() {
        let mut names = Vec::new();
        for mut case in all() {
            (case.call)();
            assert!(!names.contains(&case.name), "{}", case.name);
            names.push(case.name);
        }
    }
}
