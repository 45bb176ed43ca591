//! How full a cell is, in several dimensions; the tightest one decides.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// Dimensions of one cell.
pub const DIMENSIONS_MAX: usize = 16;
/// Length of a dimension's name, in bytes.
pub const DIMENSION_BYTES_MAX: usize = 63;

/// The largest amount: 2^53, up to which floats count every whole number.
pub const AMOUNT_MAX: f64 = 9_007_199_254_740_992.0;

/// The dimension that the daemon counts by itself: registered tenants.
pub const TENANTS: &str = "tenants";

/// What is measured: `tenants`, or one of the operator's own such as `bytes` or `requests_per_second`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dimension(String);

/// A number per dimension, each from 0 to [`AMOUNT_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Amounts(BTreeMap<Dimension, f64>);

/// How much of a limit is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Utilisation<'c> {
    pub dimension: &'c str,
    pub used: f64,
    pub limit: f64,
}

impl Dimension {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Amounts {
    /// # Errors
    /// Too many dimensions, an invalid name, or a number below 0 or not finite: as text.
    pub fn new(amounts: BTreeMap<String, f64>) -> Result<Self, String> {
        if amounts.len() > DIMENSIONS_MAX {
            return Err(format!(
                "{} dimensions, more than {DIMENSIONS_MAX}",
                amounts.len()
            ));
        }
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        for (name, amount) in &amounts {
            if name.is_empty() || name.len() > DIMENSION_BYTES_MAX || !name.chars().all(is_word) {
                return Err(format!(
                    "`{name}` is not the name of a dimension: 1 to {DIMENSION_BYTES_MAX} lower-case letters, digits or `_`"
                ));
            }
            if !(0.0..=AMOUNT_MAX).contains(amount) {
                return Err(format!("`{name}` is {amount}, not a number from 0 to 2^53"));
            }
        }
        Ok(Self(
            amounts
                .into_iter()
                .map(|(name, amount)| (Dimension(name), amount))
                .collect(),
        ))
    }

    pub fn of(&self, dimension: &str) -> Option<f64> {
        self.0
            .iter()
            .find_map(|(name, amount)| (name.as_str() == dimension).then_some(*amount))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Dimension, f64)> {
        self.0.iter().map(|(name, amount)| (name, *amount))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As plain data, for an answer.
    pub fn to_map(&self) -> BTreeMap<String, f64> {
        self.0
            .iter()
            .map(|(name, amount)| (name.0.clone(), *amount))
            .collect()
    }
}

impl Utilisation<'_> {
    /// From 0; above 1 the limit is passed. A limit of 0 is always full.
    pub fn share(&self) -> f64 {
        if self.limit > 0.0 {
            self.used / self.limit
        } else {
            f64::INFINITY
        }
    }
}

impl fmt::Display for Utilisation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}", self.dimension, self.used, self.limit)
    }
}

/// The dimension in which a cell with `tenants` tenants is fullest; `None` for a cell without limits.
pub fn tightest<'c>(
    capacity: &'c Amounts,
    usage: &Amounts,
    tenants: f64,
) -> Option<Utilisation<'c>> {
    capacity
        .iter()
        .map(|(dimension, limit)| Utilisation {
            dimension: dimension.as_str(),
            used: if dimension.as_str() == TENANTS {
                tenants
            } else {
                usage.of(dimension.as_str()).unwrap_or(0.0)
            },
            limit,
        })
        .max_by(|left, right| {
            left.share()
                .partial_cmp(&right.share())
                .unwrap_or(Ordering::Equal)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(pairs: &[(&str, f64)]) -> Amounts {
        let map = pairs
            .iter()
            .map(|(name, amount)| ((*name).to_owned(), *amount));
        Amounts::new(map.collect()).unwrap()
    }

    #[test]
    fn the_tightest_dimension_decides() {
        let capacity = amounts(&[("tenants", 100.0), ("bytes", 1000.0)]);
        let tight = |bytes, tenants| {
            let usage = amounts(&[("bytes", bytes)]);
            let found = tightest(&capacity, &usage, tenants).unwrap();
            (found.dimension.to_owned(), found.share())
        };
        assert_eq!(tight(0.0, 10.0), ("tenants".to_owned(), 0.1));
        assert_eq!(tight(500.0, 10.0), ("bytes".to_owned(), 0.5));
        assert_eq!(tightest(&amounts(&[]), &amounts(&[]), 10.0), None);
        let none = amounts(&[("tenants", 0.0)]);
        assert!(tightest(&none, &amounts(&[]), 0.0).unwrap().share() > 1.0);
    }

    #[test]
    fn amounts_are_checked() {
        let check =
            |name: &str, amount| Amounts::new(BTreeMap::from([(name.to_owned(), amount)])).is_ok();
        assert!(check("requests_per_second", 0.5));
        assert!(!check("Requests", 1.0) && !check("", 1.0));
        assert!(!check("bytes", -1.0) && !check("bytes", f64::NAN));
        assert!(!check("bytes", f64::INFINITY) && !check("bytes", 1e308));
    }
}
