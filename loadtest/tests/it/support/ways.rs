//! The ways that a request can take through the proxy, and tests that run over each.
//!
//! What a test asserts holds for all of them. Where it may not, the test asks [`way`] and says why.

use std::cell::Cell;

/// What `direct` in `proxy.yaml` is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Requests that are whole in hand go to their cell directly.
    Direct,
    /// All requests go the general way, through Pingora.
    General,
    /// As directly, from clients that speak TLS: see [`Proxy::open`](super::proxy::Proxy::open).
    Tls,
}

impl Way {
    /// The value of `direct`.
    pub(crate) fn switch(self) -> &'static str {
        match self {
            Self::Direct | Self::Tls => "on",
            Self::General => "off",
        }
    }
}

thread_local! {
    static WAY: Cell<Option<Way>> = const { Cell::new(None) };
}

/// The way that the test of this thread is about. Nothing where it does not matter: a proxy then has its default.
pub(crate) fn way() -> Option<Way> {
    WAY.get()
}

/// Runs a test whose proxies all go this way. A thread that the test starts would not know of it, so proxies are made on
/// the test's own thread.
pub(crate) fn over(way: Way, test: fn()) {
    WAY.set(Some(way));
    test();
    WAY.set(None);
}

/// Makes a test of a function for each of these ways.
macro_rules! over_ways {
    ($test:ident, $($name:ident: $way:ident),+) => {
        mod $test {
            use crate::support::ways::{Way, over};

            $(
                #[test]
                fn $name() {
                    over(Way::$way, super::$test);
                }
            )+
        }
    };
}

pub(crate) use over_ways;

/// Makes two tests of each function, `name::direct` and `name::general`.
macro_rules! both_ways {
    ($($test:ident),+ $(,)?) => {$(
        crate::support::ways::over_ways!($test, direct: Direct, general: General);
    )+};
}

pub(crate) use both_ways;

/// Makes three: also `name::tls`.
macro_rules! every_way {
    ($($test:ident),+ $(,)?) => {$(
        crate::support::ways::over_ways!($test, direct: Direct, general: General, tls: Tls);
    )+};
}

pub(crate) use every_way;
