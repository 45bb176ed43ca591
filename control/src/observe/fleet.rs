//! What the listed proxies, taken together, were seen with. A proxy that does not answer comes back with the table that it
//! had, so it counts; one that an operator has declared gone does not, until it answers again.

use cellgate_table::CellId;

use super::{ProxyState, ProxyStatus, Seen};

/// Which listed proxies have been seen with a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirmations {
    pub confirmed: Vec<String>,
    pub missing: Vec<Unconfirmed>,
    /// No part of the fleet.
    pub forgotten: Vec<String>,
}

/// A proxy that has not been seen with a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    pub proxy: String,
    pub state: ProxyState,
    /// What it was last seen with; it may still have it.
    pub generation: Option<u64>,
}

impl Confirmations {
    /// Every proxy of the fleet has the table, and there is one.
    pub fn is_everywhere(&self) -> bool {
        self.missing.is_empty() && !self.confirmed.is_empty()
    }
}

impl Seen {
    /// Which of the listed proxies have been seen with the table of this digest.
    pub fn confirmations<'n>(
        &self,
        listed: impl Iterator<Item = &'n str>,
        digest: Option<&str>,
    ) -> Confirmations {
        let mut found = Confirmations::default();
        for name in listed {
            let status = self.proxies.get(name);
            let has = |digest: &str| status.is_some_and(|it| it.has(digest));
            if status.is_some_and(|it| it.is_forgotten) {
                found.forgotten.push(name.to_owned());
            } else if digest.is_some_and(has) {
                found.confirmed.push(name.to_owned());
            } else {
                found.missing.push(Unconfirmed {
                    proxy: name.to_owned(),
                    state: status.map_or(ProxyState::Unknown, |it| it.state),
                    generation: status.and_then(ProxyStatus::oldest_generation),
                });
            }
        }
        found
    }

    /// Whether each of these proxies was seen with at least this generation.
    pub fn all_of_have<'n>(&self, listed: impl Iterator<Item = &'n str>, generation: u64) -> bool {
        let has = |name: &str| {
            let status = self.proxies.get(name);
            status.is_some_and(|it| it.is_forgotten || it.oldest_generation() >= Some(generation))
        };
        listed.into_iter().all(has)
    }

    /// The first of these proxies that may still send requests to a cell. Only one that was seen with a table of
    /// `clear_from` or later, which does not name the cell, does not: with an older one it may since have accepted one
    /// between the two that does.
    pub fn may_name<'n>(
        &self,
        mut listed: impl Iterator<Item = &'n str>,
        cell: &CellId,
        clear_from: u64,
    ) -> Option<&'n str> {
        listed.find(|name| match self.proxies.get(*name) {
            Some(status) if status.is_forgotten => false,
            Some(status) => {
                status.oldest_generation() < Some(clear_from)
                    || status.cells.contains_key(cell.as_str())
            }
            None => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::proxies::ProxyCell;

    fn status(state: ProxyState, generation: u64, digest: &str) -> ProxyStatus {
        ProxyStatus {
            state,
            generation: Some(generation),
            digest: Some(digest.to_owned()),
            seen_ms: Some(1),
            cells: [("a".to_owned(), ProxyCell::default())].into(),
            ..ProxyStatus::default()
        }
    }

    fn seen(statuses: &[(&str, ProxyStatus)]) -> Seen {
        let mut seen = Seen::default();
        for (name, status) in statuses {
            seen.proxies.insert((*name).to_owned(), status.clone());
        }
        seen
    }

    #[test]
    fn only_what_was_seen_confirms() {
        let seen = seen(&[
            ("has-it", status(ProxyState::Reachable, 7, "d")),
            ("had-it", status(ProxyState::Unreachable, 7, "d")),
            ("other", status(ProxyState::Reachable, 7, "e")),
            ("old", status(ProxyState::Unreachable, 6, "c")),
            (
                "gone",
                ProxyStatus {
                    is_forgotten: true,
                    ..status(ProxyState::Unreachable, 6, "c")
                },
            ),
        ]);
        let check = |listed: &[&str], confirmed: usize, missing: &[&str], is_everywhere: bool| {
            let found = seen.confirmations(listed.iter().copied(), Some("d"));
            let names: Vec<&str> = found.missing.iter().map(|it| &*it.proxy).collect();
            assert_eq!(found.confirmed.len(), confirmed, "{listed:?}");
            assert_eq!(names, missing, "{listed:?}");
            assert_eq!(found.is_everywhere(), is_everywhere, "{listed:?}");
        };
        check(&["has-it", "had-it"], 2, &[], true);
        check(
            &["has-it", "other", "old", "never"],
            1,
            &["other", "old", "never"],
            false,
        );
        check(&["has-it", "gone"], 1, &[], true);
        check(&["gone"], 0, &[], false);
        check(&[], 0, &[], false);
        let none = seen.confirmations(["has-it"].into_iter(), None);
        assert!(!none.is_everywhere());
        assert!(seen.all_of_have(["has-it", "gone"].into_iter(), 7));
        assert!(!seen.all_of_have(["old"].into_iter(), 7));
        assert!(!seen.all_of_have(["never"].into_iter(), 7));
    }

    #[test]
    fn a_proxy_that_was_never_seen_may_name_anything() {
        let gone = ProxyStatus {
            is_forgotten: true,
            ..ProxyStatus::default()
        };
        let seen = seen(&[
            ("edge", status(ProxyState::Unreachable, 7, "d")),
            ("gone", gone),
        ]);
        let check = |listed: &[&'static str], cell: &str, clear_from, expected: Option<&str>| {
            let cell = CellId::new(cell).unwrap();
            let found = seen.may_name(listed.iter().copied(), &cell, clear_from);
            assert_eq!(found, expected);
        };
        check(&["edge"], "a", 7, Some("edge"));
        check(&["edge"], "b", 7, None);
        // Between 7 and 8 there may have been a table that names it.
        check(&["edge"], "b", 8, Some("edge"));
        check(&["edge", "never"], "b", 7, Some("never"));
        check(&["gone"], "a", 7, None);
    }
}
