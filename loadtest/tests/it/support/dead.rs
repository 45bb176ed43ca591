//! An address where nobody listens.

use std::net::{SocketAddr, TcpListener, TcpStream};

/// A port that refuses connections. It is the near end of an open connection, so nobody else is
/// given it meanwhile.
pub(crate) struct DeadPort {
    near: TcpStream,
    _listener: TcpListener,
}

impl DeadPort {
    #[track_caller]
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        Self {
            near: TcpStream::connect(address).expect("the listener is ours"),
            _listener: listener,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.near.local_addr().expect("it is connected")
    }
}
