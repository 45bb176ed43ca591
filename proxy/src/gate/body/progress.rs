//! How far a body has come with the bytes at hand.

/// How far the bytes of one call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many of the bytes belong to this request. Fewer than were given only when it is complete.
    pub consumed: usize,
    /// The request has ended; whatever else there is belongs to the next one.
    pub complete: bool,
}

/// Takes as much of `available` as `left` allows off `left`.
pub(super) fn take(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).map_or(available, |left| left.min(available));
    *left -= taken as u64;
    taken
}
