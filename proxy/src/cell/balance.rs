//! Which endpoint of a cell takes a request: the better of two drawn by weight ("power of two choices"). Pure: random
//! numbers are an argument.

/// What is known of an endpoint at the moment of choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub weight: u16,
    pub in_flight: u32,
    /// Well enough to be chosen, and not tried by this request already.
    pub is_usable: bool,
}

/// The position of the chosen endpoint, or `None` when none is usable.
///
/// `candidate` is asked about each of `count` endpoints; `dice` are two independent random numbers. Two different
/// endpoints are drawn with a chance in proportion to their weights, and the one with fewer requests in flight for its
/// weight wins (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
pub fn choose(
    count: usize,
    candidate: impl Fn(usize) -> Candidate,
    dice: [u32; 2],
) -> Option<usize> {
    let first = draw(count, &candidate, None, dice[0])?;
    let Some(second) = draw(count, &candidate, Some(first), dice[1]) else {
        return Some(first);
    };
    let load = |at: usize, other: usize| {
        // a/b < c/d without a division.
        u64::from(candidate(at).in_flight) * u64::from(candidate(other).weight)
    };
    Some(if load(second, first) < load(first, second) {
        second
    } else {
        first
    })
}

fn draw(
    count: usize,
    candidate: &impl Fn(usize) -> Candidate,
    except: Option<usize>,
    dice: u32,
) -> Option<usize> {
    let weight = |at: usize| {
        let candidate = candidate(at);
        if candidate.is_usable && except != Some(at) {
            u64::from(candidate.weight)
        } else {
            0
        }
    };
    let total: u64 = (0..count).map(weight).sum();
    if total == 0 {
        return None;
    }
    let mut left = (u64::from(dice) * total) >> 32;
    (0..count).find(|at| {
        let weight = weight(*at);
        let hit = left < weight;
        left = left.saturating_sub(weight);
        hit
    })
}
