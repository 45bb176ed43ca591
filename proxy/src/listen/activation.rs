//! Sockets that the service manager has opened, by the protocol of systemd (`sd_listen_fds(3)`).
//!
//! Each has to be one of a listener, by its name or else by its address: one that nobody accepts on would let clients wait
//! for ever.

use std::{env, net::TcpListener};

use listenfd::ListenFd;
use rustix::net::sockopt;

use crate::config::Listener;

/// The names of the sockets, in their order, with colons between them.
const NAMES: &str = "LISTEN_FDNAMES";

/// Sockets that have come with the process.
#[derive(Debug, Default)]
pub struct Activation(Vec<Activated>);

#[derive(Debug)]
struct Activated {
    /// Empty where it has no name.
    name: String,
    socket: TcpListener,
}

impl Activation {
    /// Takes them out of the environment, so that no child takes them for its own. Call it before there are threads.
    ///
    /// # Errors
    /// One is no TCP socket that listens.
    pub fn from_env() -> Result<Self, String> {
        let names = env::var(NAMES).unwrap_or_default();
        let mut came = ListenFd::from_env();
        let mut names = names.split(':').map(str::to_owned);
        let mut sockets = Vec::new();
        for at in 0..came.len() {
            let name = names.next().unwrap_or_default();
            let of = |what: &str| {
                format!(
                    "socket {} of the service manager ({name:?}) {what}; only TCP sockets that listen (ListenStream= \
                     with an address, Accept=no) can be used",
                    at + 1
                )
            };
            let socket = came
                .take_tcp_listener(at)
                .map_err(|error| of(&format!("cannot be used: {error}")))?
                .ok_or_else(|| of("is not there"))?;
            if !sockopt::socket_acceptconn(&socket).is_ok_and(|listens| listens) {
                return Err(of("does not listen"));
            }
            sockets.push(Activated { name, socket });
        }
        Ok(Self(sockets))
    }

    /// The socket of a listener, if one came for it.
    ///
    /// # Errors
    /// One with its name has another address.
    pub fn take(&mut self, listener: &Listener) -> Result<Option<TcpListener>, String> {
        let has_address = |it: &Activated| {
            it.socket
                .local_addr()
                .is_ok_and(|address| address == listener.address)
        };
        // A port of the system's choice says nothing.
        let is_any = listener.address.port() == 0;
        let is_it = |it: &Activated| it.name == listener.name && (is_any || has_address(it));
        let at = self.0.iter().position(is_it);
        let at = at.or_else(|| self.0.iter().position(has_address));
        if let Some(at) = at {
            return Ok(Some(self.0.swap_remove(at).socket));
        }
        match self.0.iter().find(|it| it.name == listener.name) {
            None => Ok(None),
            Some(it) => Err(format!(
                "the service manager's socket of this name listens on {}, and the configuration has {}; make both the same",
                address_of(&it.socket),
                listener.address
            )),
        }
    }

    /// All of them have found their listeners.
    ///
    /// # Errors
    /// Some have not.
    pub fn end(self) -> Result<(), String> {
        let Some(Activated { name, socket }) = self.0.first() else {
            return Ok(());
        };
        Err(format!(
            "the service manager's socket {name:?} on {} belongs to no listener; add a listener with this name or address, or \
             take the socket out of the socket unit",
            address_of(socket)
        ))
    }
}

fn address_of(socket: &TcpListener) -> String {
    let address = socket.local_addr();
    address.map_or_else(|error| error.to_string(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(names: &[&str]) -> (Activation, Vec<std::net::SocketAddr>) {
        let sockets: Vec<Activated> = names
            .iter()
            .map(|name| Activated {
                name: (*name).to_owned(),
                socket: TcpListener::bind("127.0.0.1:0").unwrap(),
            })
            .collect();
        let addresses = sockets.iter().map(|it| it.socket.local_addr().unwrap());
        let addresses = addresses.collect();
        (Activation(sockets), addresses)
    }

    #[test]
    fn names_come_first_then_addresses_and_none_is_left_over() {
        let (mut activation, addresses) = activation(&["cellgate.socket", "edge", "edge", "more"]);
        let mut take = |name: &str, address| {
            let taken = activation.take(&Listener::new(name, address));
            taken.map(|socket| socket.map(|socket| socket.local_addr().unwrap()))
        };
        assert_eq!(take("edge", addresses[2]), Ok(Some(addresses[2])));
        assert_eq!(
            take("edge", ([127, 0, 0, 1], 0).into()),
            Ok(Some(addresses[1]))
        );
        assert_eq!(take("admin", addresses[0]), Ok(Some(addresses[0])));
        assert_eq!(take("admin", addresses[0]), Ok(None));
        let error = take("more", addresses[0]).unwrap_err();
        assert!(error.contains(&addresses[3].to_string()), "{error}");
        let error = activation.end().unwrap_err();
        assert!(
            error.contains("\"more\"") && error.contains("belongs to no listener"),
            "{error}"
        );
        assert_eq!(Activation::default().end(), Ok(()));
    }
}
