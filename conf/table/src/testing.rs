//! Tables made by chance, for the tests of several modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use proptest::{prelude::*, sample::Index, strategy::Union};

use crate::{
    address::Use,
    digest::Digest,
    hash::HashSpec,
    history::Step,
    id::{CellId, CellIndex, Generation, TenantKey, has_outer_white_space},
    limits,
    table::{Cell, ClientCert, Endpoint, HealthCheck, Probe, Share, Table, TlsClient},
};

/// Any table, with all kinds of names and numbers.
pub(crate) fn any_table() -> impl Strategy<Value = Table> {
    let slots = prop_oneof![9 => 1..=64_u32, 1 => 1..=5_000_u32];
    tables(
        (any::<u64>(), slots),
        "[A-Za-z0-9][A-Za-z0-9._-]{0,12}",
        any_key(),
    )
}

/// A table of few slots, cells and tenants, so that two of them have much in common.
pub(crate) fn small_table() -> impl Strategy<Value = Table> {
    tables((0..2_u64, 1..=8_u32), "[abc]", "[a-f]")
}

/// Any legal tenant key, those that trouble YAML more often than others.
pub(crate) fn any_key() -> impl Strategy<Value = String> {
    let legal = |text: &String| TenantKey::new(text).is_ok();
    Union::new_weighted(vec![
        (4, "[a-z0-9-]{1,20}".boxed()),
        (4, proptest::sample::select(weird_keys()).boxed()),
        (2, "\\PC{1,16}".prop_filter("illegal", legal).boxed()),
        (
            2,
            proptest::collection::vec(any::<char>(), 1..20)
                .prop_map(|chars| chars.into_iter().collect())
                .prop_filter("illegal", legal)
                .boxed(),
        ),
        (2, "[-:#?&*!|>%@`'\"\\[\\]{}, ~=<0-9.eE+x_]{1,8}".boxed()),
    ])
}

#[rustfmt::skip]
const WEIRD_KEYS: &[&str] = &[
    "~", "null", "Null", "yes", "no", "on", "off", "y", "n", "true", "False", "007",
    "1e3", "0x1F", "0b1", "0o7", "1_000", ".5", ".inf", "-.inf", ".nan", "+1", "-1", "-",
    "--", "---", "...", "- a", "? a", ": a", "a: b", "a:", ":a", "a #b", "#", "#a",
    "&a", "*a", "!a", "!!str", "|", ">", "%YAML 1.2", "@a", "`a`", "'", "''", "\"",
    "\"\"", "'a'", "\"a\"", "it's", "say \"hi\"", "\\", "\\n", "\\u0041", "[", "]", "[a]", "{",
    "}", "{a: b}", ",", "a, b", " ", "  ", " a", "a ", " a ", "<<", "=", "2001-01-01",
    "12:30:45", "a\u{85}b", "\u{85}", "a\u{2028}b", "\u{2029}", "a\u{feff}b", "\u{feff}", "\u{feff}a", "\u{80}", "\u{9f}", "\u{a0}", "\u{ad}",
    "\u{200b}", "\u{202e}abc", "\u{fffd}", "\u{fffe}", "\u{ffff}", "\u{e000}", "\u{10000}", "\u{10ffff}", "é", "e\u{301}", "日本", "😀",
    "🏳\u{200d}🌈",
];

/// Legal tenant keys that mean something else in YAML, or need care when they are written.
pub(crate) fn weird_keys() -> Vec<String> {
    let mut keys: Vec<String> = WEIRD_KEYS.iter().map(ToString::to_string).collect();
    let max = limits::TENANT_KEY_BYTES_MAX;
    keys.extend([
        "k".repeat(max),
        "é".repeat(max / 2),
        "😀".repeat(max / 4),
        " ".repeat(max),
        "a ".repeat(max / 2),
        "'".repeat(max),
    ]);
    keys
}

fn tables(
    hashes: impl Strategy<Value = (u64, u32)>,
    cell_ids: &'static str,
    keys: impl Strategy<Value = String> + 'static,
) -> impl Strategy<Value = Table> {
    let key = keys.prop_map(|text| TenantKey::new(&text).unwrap()).boxed();
    let cells = proptest::collection::btree_map(cell_ids, any_cell(), 1..4);
    (
        proptest::option::of(1..=limits::GENERATION_MAX),
        any::<bool>(),
        hashes,
        cells,
        proptest::collection::vec(any::<Index>(), 1..20),
        proptest::collection::btree_map(key.clone(), any::<Index>(), 0..8),
        proptest::collection::btree_map(key.clone(), key.clone(), 0..5),
        proptest::collection::btree_set(key, 0..4),
        proptest::collection::vec(
            (
                1..1_000_u64,
                any::<[u8; 4]>(),
                0..=1_000_000_u32,
                0..=limits::MOVED_OVERRIDES_MAX,
            ),
            0..4,
        ),
    )
        .prop_map(
            |(generation, allow_move, hash, cells, owners, overrides, aliases, rejects, steps)| {
                Raw {
                    generation,
                    allow_move,
                    hash,
                    cells,
                    owners,
                    overrides,
                    aliases,
                    rejects,
                    steps,
                }
            },
        )
        .prop_map(Raw::into_table)
}

/// What chance gave, not yet consistent.
#[derive(Debug)]
struct Raw {
    generation: Option<u64>,
    allow_move: bool,
    hash: (u64, u32),
    cells: BTreeMap<String, Cell>,
    /// The owners of slots; repeated until there are enough.
    owners: Vec<Index>,
    overrides: BTreeMap<TenantKey, Index>,
    aliases: BTreeMap<TenantKey, TenantKey>,
    rejects: BTreeSet<TenantKey>,
    steps: Vec<(u64, [u8; 4], u32, u32)>,
}

impl Raw {
    fn into_table(mut self) -> Table {
        let overrides = self.overrides;
        self.aliases
            .retain(|alias, _| !overrides.contains_key(alias));
        let names: BTreeSet<TenantKey> = self.aliases.keys().cloned().collect();
        self.aliases.retain(|_, tenant| {
            !names.contains(tenant) && !has_outer_white_space(tenant.as_bytes())
        });
        self.rejects.retain(|key| !self.aliases.contains_key(key));
        let count = self.cells.len();
        let (seed, slots) = self.hash;
        let owners = self.owners.iter().cycle().take(slots as usize);
        Table {
            generation: self.generation.and_then(Generation::new),
            allow_move: self.allow_move,
            hash: HashSpec::new(seed, slots).unwrap(),
            cells: (self.cells.into_iter())
                .map(|(id, cell)| Cell {
                    id: CellId::new(&id).unwrap(),
                    ..cell
                })
                .collect(),
            slots: owners
                .map(|index| CellIndex::new(index.index(count)))
                .collect(),
            overrides: (overrides.into_iter())
                .map(|(key, index)| (key, CellIndex::new(index.index(count))))
                .collect(),
            aliases: self.aliases.into_iter().collect(),
            rejects: self.rejects.into_iter().collect(),
            history: self
                .generation
                .map_or_else(Vec::new, |own| history(own, &self.steps)),
        }
    }
}

/// Steps back from the newest table, as far as there are generations.
fn history(own: u64, steps: &[(u64, [u8; 4], u32, u32)]) -> Vec<Step> {
    let mut generation = own;
    let mut history = Vec::new();
    for (back, content, percent, moved_overrides) in steps {
        let Some(before) = generation.checked_sub(*back).and_then(Generation::new) else {
            break;
        };
        generation = before.get();
        history.push(Step {
            generation: before,
            digest: Digest::of(content),
            moved_slots_percent: f64::from(*percent) / 10_000.0,
            moved_overrides: *moved_overrides as usize,
        });
    }
    history.reverse();
    history
}

fn any_cell() -> impl Strategy<Value = Cell> {
    let endpoints = proptest::collection::btree_map(
        any::<SocketAddr>().prop_filter("plain addresses", is_plain),
        1..=limits::ENDPOINT_WEIGHT_MAX,
        1..3,
    );
    (
        endpoints,
        1..=limits::IN_FLIGHT_MAX,
        0..=limits::TUNNELS_MAX,
        0..=limits::CONNECTIONS_MAX,
        proptest::option::of(prop_oneof![Just(Share::Cell), Just(Share::Tenant)]),
        proptest::option::of(any_health_check()),
        proptest::option::of(any_tls()),
    )
        .prop_map(
            |(endpoints, in_flight_max, tunnels_max, connections_max, share, health_check, tls)| {
                Cell {
                    id: CellId::new("unnamed").unwrap(),
                    endpoints: (endpoints.into_iter())
                        .map(|(address, weight)| Endpoint { address, weight })
                        .collect(),
                    in_flight_max,
                    tunnels_max,
                    connections_max,
                    share,
                    health_check,
                    tls,
                }
            },
        )
}

/// A flow label has no place in an address's text, and where nobody can be reached is refused.
fn is_plain(address: &SocketAddr) -> bool {
    let has_label = matches!(address, SocketAddr::V6(v6) if v6.flowinfo() != 0);
    !has_label && crate::address::parse(&address.to_string(), Use::Connect).is_ok()
}

fn any_tls() -> impl Strategy<Value = TlsClient> {
    let name = prop_oneof![
        "[a-zA-Z_][a-z0-9_]{0,5}(\\.[0-9]{1,3}-x)?(\\.[a-z]{1,5})?",
        any::<std::net::IpAddr>().prop_map(|address| address.to_string()),
    ];
    // All that paths can be but for control characters: what troubles YAML among it.
    let path = || prop_oneof!["(\\.\\./|/)?[a-z ]{1,9}\\.pem", "\\PC{1,12}"];
    let client_cert = (path(), path()).prop_map(|(certificate, key)| ClientCert {
        certificate: certificate.into(),
        key: key.into(),
    });
    (name, path(), proptest::option::of(client_cert)).prop_map(|(name, ca, client_cert)| {
        TlsClient {
            server_name: name.into(),
            ca: ca.into(),
            client_cert,
        }
    })
}

fn any_health_check() -> impl Strategy<Value = HealthCheck> {
    let probe = prop_oneof![
        Just(Probe::Tcp),
        (
            "/([A-Za-z0-9/?:@._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){0,12}",
            proptest::option::of(prop_oneof![
                Just("no".to_owned()),
                "[a-z][a-z0-9-]{0,5}(\\.[a-z]{1,3})?(:[1-9][0-9]{0,3})?",
                "\\[::[1-9]\\](:80)?",
            ]),
        )
            .prop_map(|(path, host)| Probe::Http {
                path: path.into(),
                host: host.map(Into::into),
            }),
    ];
    let streak = 1..=limits::HEALTH_STREAK_MAX;
    (
        probe,
        100..=limits::HEALTH_MS_MAX,
        10..=limits::HEALTH_MS_MAX,
        streak.clone(),
        streak,
    )
        .prop_map(
            |(probe, interval_ms, timeout_ms, unhealthy_after, healthy_after)| HealthCheck {
                probe,
                interval_ms,
                timeout_ms,
                unhealthy_after,
                healthy_after,
            },
        )
}
