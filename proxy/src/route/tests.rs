//! The index against the table's own, slow answer.

use cellgate_table::parse;

use super::{
    index::{Entry, NameIndex},
    *,
};

/// Names of all lengths that are held in different ways, and both sides of each border.
const LENGTHS: [usize; 12] = [1, 2, 17, 18, 19, 24, 25, 26, 100, 254, 255, 256];

/// Some name; longer ones differ in their last bytes only.
fn name(number: usize) -> String {
    let length = LENGTHS[number % LENGTHS.len()];
    let number = format!("{number:x}");
    if number.len() >= length {
        number
    } else {
        format!("{}{number}", "n".repeat(length - number.len()))
    }
}

/// No name of [`name`], and as long as one of them.
fn alias(number: usize) -> String {
    let name = name(number);
    match name.len() {
        256 => format!("@{}", &name[1..]),
        _ => format!("@{name}"),
    }
}

/// A table with `count` overrides, aliases (of overridden and of other tenants) and rejects, which overlap.
fn table(count: usize) -> Table {
    let lines = |kind: &str, lines: Vec<String>| {
        if lines.is_empty() {
            return String::new();
        }
        format!("{kind}:\n{}\n", lines.join("\n"))
    };
    let cell = |number: usize| ["a", "b", "c"][number % 3];
    let overrides = (0..count).map(|n| format!("  \"{}\": {}", name(n), cell(n)));
    let aliases = (0..count).map(|n| match n % 2 {
        0 => format!("  \"{}\": \"{}\"", alias(n), name(n)),
        _ => format!("  \"{}\": \"unnamed-{n}\"", alias(n)),
    });
    let rejects = (0..count).map(|n| match n % 3 {
        0 => format!("  - \"{}\"", name(n)),
        1 => format!("  - \"unnamed-{n}\""),
        _ => format!("  - \"rejected-{n}\""),
    });
    let text = format!(
        "format: 1\nhash: {{ seed: 7, slots: 97 }}\ncells:\n\
         {}slots: {{ a: [\"0-30\"], b: [\"31-60\"], c: [\"61-96\"] }}\n{}{}{}",
        ["a", "b", "c"]
            .map(|cell| format!("  {cell}: {{ endpoints: [{{ address: \"127.0.0.1:1\" }}] }}\n"))
            .concat(),
        lines("overrides", overrides.collect()),
        lines("aliases", aliases.collect()),
        lines("rejects", rejects.collect()),
    );
    parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn check(routes: &Routes, table: &Table, key: &[u8]) {
    let home = table.home_of(key);
    let expected = Route {
        tenant: home.tenant,
        is_alias: home.is_alias,
        cell: home.cell,
        owner: home.owner,
        is_rejected: home.is_rejected,
    };
    assert_eq!(
        routes.route(key),
        expected,
        "{:?}",
        key.escape_ascii().to_string()
    );
    let is_known = home.is_alias || home.owner == Owner::Override;
    assert_eq!(expected.is_known(), is_known);
}

#[test]
fn routes_agree_with_the_table() {
    for count in [0, 1, 2, 3, 10, 1_000] {
        let table = table(count);
        let routes = Routes::new(&table);
        let named = table.overrides().iter().map(|(key, _)| key);
        let named = named.chain(table.aliases().iter().flat_map(|(alias, to)| [alias, to]));
        for key in named.chain(table.rejects()) {
            let key = key.as_bytes();
            check(&routes, &table, key);
            // Its neighbours: another last byte, a byte less, a byte more.
            let mut other = key.to_vec();
            *other.last_mut().unwrap() ^= 1;
            check(&routes, &table, &other);
            check(&routes, &table, &key[..key.len() - 1]);
            check(&routes, &table, &[key, b"x"].concat());
        }
        for number in 0..2_000_u32 {
            check(&routes, &table, &number.to_le_bytes());
            check(&routes, &table, format!("tenant-{number}").as_bytes());
        }
        for length in 1..=256 {
            check(&routes, &table, &vec![0xff; length]);
        }
    }
}

#[test]
fn a_tenant_may_have_every_role_at_once() {
    let text = "format: 1\nhash: { slots: 2 }\ncells:\n  \
        a: { endpoints: [{ address: \"127.0.0.1:1\" }] }\n  \
        b: { endpoints: [{ address: \"127.0.0.1:2\" }] }\n\
        slots: { a: [\"0-1\"] }\noverrides: { pinned: b }\n\
        aliases: { nick: pinned, other: plain, bad-nick: bad }\nrejects: [pinned, bad]\n";
    let table = parse(text.as_bytes()).unwrap();
    let routes = Routes::new(&table);
    let check = |key: &str, cell: &str, is_rejected: bool, is_known: bool| {
        let route = routes.route(key.as_bytes());
        assert_eq!(table.cell(route.cell).id().as_str(), cell, "{key}");
        assert_eq!(
            (route.is_rejected, route.is_known()),
            (is_rejected, is_known),
            "{key}"
        );
    };
    check("pinned", "b", true, true);
    check("nick", "b", true, true);
    check("plain", "a", false, false);
    check("other", "a", false, true);
    // Only named to be rejected: no more known than any other tenant.
    check("bad", "a", true, false);
    check("bad-nick", "a", true, true);
    check("anybody", "a", false, false);
}

/// Names that share their whole hash are still distinguished.
#[test]
fn equal_hashes_are_distinguished() {
    for count in [1_u32, 2, 5, 50] {
        let mut index = NameIndex::for_names(count as usize);
        let key = |number: u32| format!("name-{number}").into_bytes();
        for number in 0..count {
            index.insert(u64::MAX, &key(number), Entry::Alias(number));
        }
        for number in 0..count {
            assert_eq!(
                index.find(u64::MAX, &key(number)),
                Some(Entry::Alias(number))
            );
        }
        assert_eq!(index.find(u64::MAX, &key(count)), None);
        assert_eq!(index.find(0, b"name-x"), None);
    }
}

/// Same place, same low half of the hash, same length: only the bytes distinguish them.
#[test]
fn keys_are_compared_whole() {
    let mut index = NameIndex::for_names(LENGTHS.len() * 2);
    let key = |length: usize, last: u8| [vec![b'k'; length - 1], vec![last]].concat();
    for (number, length) in (0..).zip(LENGTHS) {
        index.insert(42, &key(length, b'a'), Entry::Alias(number));
        index.insert(42, &key(length, b'b'), Entry::Alias(100 + number));
    }
    for (number, length) in (0..).zip(LENGTHS) {
        assert_eq!(
            index.find(42, &key(length, b'a')),
            Some(Entry::Alias(number))
        );
        assert_eq!(
            index.find(42, &key(length, b'b')),
            Some(Entry::Alias(100 + number))
        );
        assert_eq!(index.find(42, &key(length, b'c')), None);
    }
}

#[test]
fn an_index_of_no_names_finds_none() {
    assert_eq!(NameIndex::for_names(0).find(0, b"a"), None);
}
