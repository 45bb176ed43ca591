//! A client that does what the scenario says, and records what it gets.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{
        TcpSocket, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use super::{
    profile::Profile,
    scenario::{Leave, Place, Scenario, Start, Until, pieces},
    signals::{Signals, bit},
    wire::{Body, Broke, Framing, Head, Wire},
};

/// The client of requests that only wait for the proxy; see [`Client::settle`].
pub(super) const SETTLER: Ipv4Addr = Ipv4Addr::new(127, 99, 0, 1);
/// What they are counted as.
pub(super) const SETTLED: [&str; 2] =
    ["code=\"http2_preface\"", "reason=\"version_not_supported\""];

/// In the place of the exchange's number, in requests that only ask whether connections were kept.
const LAST: usize = 91;

/// What a client says through a tunnel.
const THROUGH: &[u8] = b"through the tunnel";

/// One answer as its client got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) interim: Vec<Head>,
    pub(super) head: Head,
    pub(super) body: Body,
}

/// What became of the client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It answered one more request to each cell.
    Open(Vec<Reply>),
    /// It ended after these bytes, which are beyond all answers.
    Over(Vec<u8>, Broke),
    /// It ended before the answer to this exchange, and after these interim ones.
    Cut(usize, Vec<Head>, Broke),
    /// The client went away.
    Left,
}

/// All that a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) replies: Vec<Reply>,
    /// Of requests on connections of their own.
    pub(super) asides: Vec<Option<Reply>>,
    pub(super) end: End,
    /// The answers to one more request to each cell, on another connection.
    pub(super) last: Option<Vec<Reply>>,
}

/// What a client needs to know.
pub(super) struct Client<'c> {
    pub(super) scenario: &'c Scenario,
    pub(super) profile: &'c Profile,
    pub(super) place: Place,
    pub(super) proxy: SocketAddr,
    pub(super) signals: Arc<Signals>,
}

impl Client<'_> {
    pub(super) async fn play(&self) -> Seen {
        let replies = Mutex::default();
        let asides = Mutex::default();
        let end = match self.connect().await {
            Ok(mut stream) => self.converse(&mut stream, &replies, &asides).await,
            Err(_) => End::Over(Vec::new(), Broke::Reset),
        };
        self.signals.mark(|marks| marks.is_over = true);
        let last = match &end {
            End::Open(_) => None,
            End::Over(..) | End::Cut(..) | End::Left => self.ask_each_cell_anew().await,
        };
        Seen {
            replies: take(replies),
            asides: take(asides),
            end,
            last,
        }
    }

    /// Each scenario has an address of its own, by which its lines in the log are known.
    async fn connect(&self) -> std::io::Result<TcpStream> {
        self.connect_from(address_of(self.scenario.number)).await
    }

    async fn connect_from(&self, address: Ipv4Addr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((address, 0)))?;
        let stream = socket.connect(self.proxy).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn converse(
        &self,
        stream: &mut TcpStream,
        replies: &Mutex<Vec<Reply>>,
        asides: &Mutex<Vec<Option<Reply>>>,
    ) -> End {
        let (read, mut write) = stream.split();
        let mut wire = Wire::new(read);
        let played = {
            let reading = async {
                let end = self.read(&mut wire, replies).await;
                self.signals.mark(|marks| marks.is_over = true);
                end
            };
            let writing = async {
                match self.write(&mut write, asides).await {
                    Some(leave) => leave,
                    // Whoever reads says when it is over.
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                end = reading => Ok(end),
                leave = writing => Err(leave),
            }
        };
        let end = match played {
            Ok(end) => end,
            Err(leave) => {
                if leave == Leave::Reset {
                    // Without it the proxy would learn of the end only when it writes.
                    let _ = write.as_ref().set_zero_linger();
                }
                return End::Left;
            }
        };
        match end {
            None => self.ask_once_more(&mut wire, &mut write).await,
            Some(end) => end,
        }
    }

    /// Sends all requests. The answer is how the client leaves, if it does before it has its answers.
    async fn write(
        &self,
        write: &mut WriteHalf<'_>,
        asides: &Mutex<Vec<Option<Reply>>>,
    ) -> Option<Leave> {
        // What is sent in one piece, so that all of it is there when the first answer comes.
        let mut unsent = Segments::default();
        for (number, exchange) in self.scenario.exchanges.iter().enumerate() {
            if exchange.start != Start::Pipelined {
                unsent.send(write).await;
                self.wait_to_start(number, exchange.start).await;
            }
            if self.signals.marks().is_over {
                return None;
            }
            let id = self.scenario.id(number);
            let bytes = exchange.bytes(&id, self.place);
            if exchange.start == Start::Aside {
                let reply = self.ask_aside(&bytes, exchange.is_head()).await;
                lock(asides).push(reply);
                self.signals.mark(|marks| {
                    marks.answered |= bit(number);
                    marks.is_released = true;
                });
                continue;
            }
            let sent = match exchange.leave {
                Some(Leave::Early(count) | Leave::HalfEarly(count)) => count.min(bytes.len()),
                _ => bytes.len(),
            };
            let Some((count, until)) = exchange.held_body else {
                unsent.add(&bytes[..sent], &exchange.cuts);
                if let Some(leave) = exchange.leave {
                    unsent.send(write).await;
                    return self.leave(number, leave, write).await;
                }
                continue;
            };
            let held = (bytes.len() - exchange.request.body.len() + count).min(sent);
            unsent.add(&bytes[..held], &exchange.cuts);
            unsent.send(write).await;
            self.wait_until(number, until).await;
            if self.signals.marks().is_over {
                return None;
            }
            unsent.add(&bytes[held..sent], &[]);
        }
        unsent.send(write).await;
        self.signals
            .wait(|marks| marks.is_switched || marks.is_over)
            .await;
        if self.signals.marks().is_switched {
            let _ = write.write_all(THROUGH).await;
            let _ = write.shutdown().await;
        }
        None
    }

    /// What is left to do before the client goes away, or nothing when it stays to read.
    async fn leave(&self, number: usize, leave: Leave, write: &mut WriteHalf<'_>) -> Option<Leave> {
        match leave {
            Leave::HalfEarly(_) => {
                let _ = write.shutdown().await;
                return None;
            }
            Leave::Early(_) => {}
            Leave::Reset => {
                self.signals
                    .wait(|marks| marks.received & bit(number) != 0 || marks.is_over)
                    .await;
            }
        }
        Some(leave)
    }

    async fn wait_to_start(&self, number: usize, start: Start) {
        let Some(before) = number.checked_sub(1) else {
            return;
        };
        let before = bit(before);
        match start {
            Start::Pipelined => {}
            Start::Answered => {
                let is_met =
                    |marks: &super::signals::Marks| marks.answered & before != 0 || marks.is_over;
                self.signals.wait(is_met).await;
            }
            Start::Settled => {
                let is_met = |marks: &super::signals::Marks| {
                    let is_done = marks.received & before == 0 || marks.closed & before != 0;
                    (marks.answered & before != 0 && is_done) || marks.is_over
                };
                self.signals.wait(is_met).await;
                if self.signals.marks().answered & before != 0 {
                    self.settle().await;
                }
            }
            Start::Aside => {
                let is_met =
                    |marks: &super::signals::Marks| marks.received & before != 0 || marks.is_over;
                self.signals.wait(is_met).await;
            }
        }
    }

    async fn wait_until(&self, number: usize, until: Until) {
        let this = bit(number);
        self.signals
            .wait(|marks| {
                let seen = match until {
                    Until::Begun => marks.begun,
                    Until::Answered => marks.answered,
                };
                seen & this != 0 || marks.is_over
            })
            .await;
    }

    /// Has the proxy refuse a request. It has one thread: what came to it before, such as the end of a connection to a
    /// cell, it has noticed when it answers. How often this happens is a matter of time, so it is not compared: no
    /// scenario has this address or is refused in this way.
    async fn settle(&self) {
        if let Ok(mut stream) = self.connect_from(SETTLER).await {
            let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\n").await;
            let (read, _write) = stream.split();
            Wire::new(read).rest().await;
        }
    }

    /// Reads all answers. Nothing is returned while the connection may go on.
    async fn read(
        &self,
        wire: &mut Wire<ReadHalf<'_>>,
        replies: &Mutex<Vec<Reply>>,
    ) -> Option<End> {
        for (number, exchange) in self.scenario.exchanges.iter().enumerate() {
            if exchange.start == Start::Aside {
                // Its answer frees the one before, which was read already.
                continue;
            }
            let read = self.read_reply(wire, number, exchange.is_head()).await;
            let reply = match read {
                Ok(reply) => reply,
                Err((interim, broke)) => return Some(End::Cut(number, interim, broke)),
            };
            let is_last = is_last(&reply);
            let is_switch = reply.head.status() == 101;
            lock(replies).push(reply);
            self.signals.mark(|marks| {
                marks.answered |= bit(number);
                marks.is_switched |= is_switch;
                marks.is_over |= is_last;
            });
            if is_last || is_switch || matches!(exchange.leave, Some(Leave::HalfEarly(_))) {
                let (rest, broke) = wire.rest().await;
                return Some(End::Over(rest, broke));
            }
        }
        None
    }

    async fn read_reply(
        &self,
        wire: &mut Wire<ReadHalf<'_>>,
        number: usize,
        is_head_request: bool,
    ) -> Result<Reply, (Vec<Head>, Broke)> {
        let mut interim = Vec::new();
        loop {
            let head = match wire.head().await {
                Ok(head) => head,
                Err(broke) => return Err((interim, broke)),
            };
            self.signals.mark(|marks| marks.begun |= bit(number));
            if matches!(head.status(), 100 | 102..200) {
                interim.push(head);
                continue;
            }
            let body = wire.body(head.answer_framing(is_head_request)).await;
            return Ok(Reply {
                interim,
                head,
                body,
            });
        }
    }

    /// Whether the connection still answers.
    async fn ask_once_more(&self, wire: &mut Wire<ReadHalf<'_>>, write: &mut WriteHalf<'_>) -> End {
        if self.scenario.ends_with_a_close() {
            self.settle().await;
        }
        match self.ask_each_cell(wire, write).await {
            Ok(replies) => End::Open(replies),
            Err((interim, broke)) => End::Cut(LAST, interim, broke),
        }
    }

    /// One request to each cell, which then closes its connection: on the one that was kept, if one was.
    async fn ask_each_cell(
        &self,
        wire: &mut Wire<ReadHalf<'_>>,
        write: &mut WriteHalf<'_>,
    ) -> Result<Vec<Reply>, (Vec<Head>, Broke)> {
        let mut letters: Vec<&str> = self.scenario.letters().collect();
        if letters.is_empty() {
            letters.push("a");
        }
        let id = self.scenario.id(LAST);
        let mut replies = Vec::new();
        for letter in letters {
            let probe = self.profile.probe(&id, letter);
            send(write, &probe.bytes(&id, self.place), &[]).await;
            replies.push(self.read_reply(wire, LAST, false).await?);
        }
        Ok(replies)
    }

    async fn ask_each_cell_anew(&self) -> Option<Vec<Reply>> {
        let mut stream = self.connect().await.ok()?;
        let (read, mut write) = stream.split();
        self.ask_each_cell(&mut Wire::new(read), &mut write)
            .await
            .ok()
    }

    async fn ask_aside(&self, bytes: &[u8], is_head: bool) -> Option<Reply> {
        let mut stream = self.connect().await.ok()?;
        let (read, mut write) = stream.split();
        send(&mut write, bytes, &[]).await;
        self.read_reply(&mut Wire::new(read), LAST, is_head)
            .await
            .ok()
    }
}

/// The address of a scenario's client.
pub(super) fn address_of(number: usize) -> Ipv4Addr {
    let [_, high, middle, low] = u32::try_from(number % (100 << 16))
        .unwrap_or(0)
        .to_be_bytes();
    Ipv4Addr::new(127, 100 + high, middle, low)
}

/// Whether nothing can follow on the connection.
fn is_last(reply: &Reply) -> bool {
    reply.body.broke.is_some()
        || reply.body.framing == Framing::UntilClose
        || reply.head.has_member("connection", "close")
}

/// Bytes to send, and where they are cut.
#[derive(Default)]
struct Segments {
    bytes: Vec<u8>,
    cuts: Vec<usize>,
}

impl Segments {
    fn add(&mut self, bytes: &[u8], cuts: &[usize]) {
        let start = self.bytes.len();
        self.cuts
            .extend(cuts.iter().map(|cut| start + cut.min(&bytes.len())));
        self.bytes.extend_from_slice(bytes);
    }

    async fn send(&mut self, write: &mut WriteHalf<'_>) {
        let Self { bytes, cuts } = std::mem::take(self);
        send(write, &bytes, &cuts).await;
    }
}

/// A proxy that has had enough takes no more; its answer says why.
async fn send(write: &mut WriteHalf<'_>, bytes: &[u8], cuts: &[usize]) {
    for piece in pieces(bytes, cuts) {
        if write.write_all(piece).await.is_err() {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
