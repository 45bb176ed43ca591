//! Cells that record what they get and answer as the scenario says.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::Notify,
    task::JoinSet,
};

use super::{
    scenario::{Answer, ID, Scenario, Text, Then, When, pieces},
    signals::{Signals, bit},
    wire::{Body, Broke, Framing, Head, Wire},
};

/// What a tunnel's cell says first.
const HELLO: &[u8] = b"hello from the other protocol";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A request as a cell got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    /// Of its connections during the scenario, the first is 0.
    pub(super) connection: usize,
    /// Of the requests on that connection, the first is 0.
    pub(super) nth: usize,
    pub(super) head: Head,
    /// `None` while it is being read.
    pub(super) body: Option<Body>,
    /// What came through a tunnel.
    pub(super) tunnelled: Option<Vec<u8>>,
}

/// A cell at one address, which plays in one scenario after the other.
pub(super) struct Cell {
    pub(super) address: SocketAddr,
    stage: Arc<Stage>,
}

#[derive(Default)]
struct Stage {
    scene: Mutex<Scene>,
    /// A request was dealt with.
    changed: Notify,
}

#[derive(Default)]
struct Scene {
    play: Option<Play>,
    connections: usize,
    visits: Vec<Visit>,
    /// How often each request has come.
    times: BTreeMap<usize, usize>,
    busy: usize,
    tasks: JoinSet<()>,
}

/// What is played.
#[derive(Clone)]
pub(super) struct Play {
    pub(super) scenario: Arc<Scenario>,
    pub(super) signals: Arc<Signals>,
}

impl Cell {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("there is always a free port");
        let address = listener.local_addr().expect("the socket is bound");
        let stage = Arc::new(Stage::default());
        let accepting = Arc::clone(&stage);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.take(stream);
            }
        });
        Self { address, stage }
    }

    pub(super) fn begin(&self, play: &Play) {
        let mut scene = self.stage.scene();
        *scene = Scene::default();
        scene.play = Some(play.clone());
    }

    /// Closes all connections and returns what has come, once no request is being dealt with.
    pub(super) async fn end(&self) -> Vec<Visit> {
        loop {
            let changed = self.stage.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            {
                let mut scene = self.stage.scene();
                if scene.busy == 0 {
                    return std::mem::take(&mut *scene).visits;
                }
            }
            changed.await;
        }
    }
}

impl Stage {
    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut scene = self.scene();
        let Some(play) = scene.play.clone() else {
            return;
        };
        let number = scene.connections;
        scene.connections += 1;
        let stage = Arc::clone(self);
        scene.tasks.spawn(async move {
            serve(&stage, &play, number, stream).await;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Scene)) {
        change(&mut self.scene());
        self.changed.notify_waiters();
    }
}

/// A request is being dealt with until this is dropped.
struct Busy<'s> {
    stage: &'s Stage,
    visit: usize,
}

impl<'s> Busy<'s> {
    fn begin(stage: &'s Stage, visit: Visit) -> Self {
        let mut scene = stage.scene();
        scene.busy += 1;
        scene.visits.push(visit);
        let visit = scene.visits.len() - 1;
        Self { stage, visit }
    }

    fn note(&self, change: impl FnOnce(&mut Visit)) {
        // The scenario may have been given up.
        if let Some(visit) = self.stage.scene().visits.get_mut(self.visit) {
            change(visit);
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.stage
            .change(|scene| scene.busy = scene.busy.saturating_sub(1));
    }
}

async fn serve(stage: &Stage, play: &Play, connection: usize, mut stream: TcpStream) {
    let (read, mut write) = stream.split();
    let mut wire = Wire::new(read);
    let mut nth = 0;
    while let Ok(head) = wire.head().await {
        let exchange = exchange_of(&head, &play.scenario);
        let framing = head.request_framing();
        let busy = Busy::begin(
            stage,
            Visit {
                connection,
                nth,
                head,
                body: None,
                tunnelled: None,
            },
        );
        nth += 1;
        let mut visitor = Visitor {
            wire: &mut wire,
            write: &mut write,
            busy: &busy,
            signals: &play.signals,
            framing,
        };
        let goes_on = match exchange {
            Some(exchange) => {
                play.signals.mark(|marks| marks.received |= bit(exchange));
                let answer = answer_to(stage, &play.scenario, exchange);
                visitor.answer(&answer).await
            }
            None => visitor.answer(&last_answer()).await,
        };
        if !goes_on {
            let _ = write.shutdown().await;
            drop(wire);
            drop(stream);
            if let Some(exchange) = exchange {
                play.signals.mark(|marks| marks.closed |= bit(exchange));
            }
            return;
        }
    }
}

/// Which exchange of the scenario a request belongs to. Others only ask whether a connection is kept.
fn exchange_of(head: &Head, scenario: &Scenario) -> Option<usize> {
    let id = str::from_utf8(head.field(ID)?).ok()?;
    let (number, exchange) = id.split_once('-')?;
    let exchange = exchange.parse().ok()?;
    let is_ours = number.parse() == Ok(scenario.number) && exchange < scenario.exchanges.len();
    is_ours.then_some(exchange)
}

fn answer_to(stage: &Stage, scenario: &Scenario, exchange: usize) -> Answer {
    let mut scene = stage.scene();
    let times = scene.times.entry(exchange).or_default();
    let answers = &scenario.exchanges[exchange].answers;
    let answer = &answers[(*times).min(answers.len() - 1)];
    *times += 1;
    answer.clone()
}

/// After this one the proxy has no connection to the cell.
fn last_answer() -> Answer {
    let text = Text {
        line: b"HTTP/1.1 200 OK".to_vec(),
        fields: vec![b"Content-Length: 4".to_vec(), b"Connection: close".to_vec()],
        body: b"last".to_vec(),
    };
    Answer {
        interim: Vec::new(),
        text,
        kept: None,
        cuts: Vec::new(),
        when: When::Read,
        then: Then::Close,
    }
}

/// One request at its cell.
struct Visitor<'v, 's> {
    wire: &'v mut Wire<ReadHalf<'s>>,
    write: &'v mut WriteHalf<'s>,
    busy: &'v Busy<'v>,
    signals: &'v Signals,
    framing: Framing,
}

impl Visitor<'_, '_> {
    /// Whether the connection goes on.
    async fn answer(&mut self, answer: &Answer) -> bool {
        let has_all = match answer.when {
            When::Read => self.read_body().await,
            When::Continued => {
                let _ = self.write.write_all(CONTINUE).await;
                self.read_body().await
            }
            When::Head => true,
            When::Released => {
                let has_all = self.read_body().await;
                self.signals
                    .wait(|marks| marks.is_released || marks.is_over)
                    .await;
                has_all
            }
        };
        if !has_all {
            return false;
        }
        for piece in pieces(&answer.bytes(), &answer.cuts) {
            if self.write.write_all(piece).await.is_err() {
                break;
            }
        }
        let goes_on = match answer.then {
            Then::Next => true,
            // To close with something unread would reset the connection, and could destroy the answer on its way.
            Then::Close if answer.when == When::Head => {
                let _ = self.write.shutdown().await;
                self.wire.rest().await;
                false
            }
            Then::Close => false,
            Then::Silence => {
                self.wire.rest().await;
                false
            }
            Then::Tunnel => {
                self.tunnel().await;
                false
            }
        };
        if goes_on && answer.when == When::Head {
            return self.read_body().await;
        }
        goes_on
    }

    /// Whether all of it came.
    async fn read_body(&mut self) -> bool {
        let body = self.wire.body(self.framing).await;
        let is_whole = body.broke.is_none();
        self.busy.note(|visit| visit.body = Some(body));
        is_whole
    }

    async fn tunnel(&mut self) {
        let _ = self.write.write_all(HELLO).await;
        let (bytes, _) = self.wire.rest().await;
        let _ = self.write.write_all(&bytes).await;
        self.busy.note(|visit| visit.tunnelled = Some(bytes));
    }
}

/// A cell that answers each request with what came, for tenants that no scenario has a cell for. Clients that are there at
/// the same time share it, so its connections carry one request each.
pub(super) async fn start_mirror() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("there is always a free port");
    let address = listener.local_addr().expect("the socket is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(mirror(stream));
        }
    });
    address
}

async fn mirror(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (read, mut write) = stream.split();
    let mut wire = Wire::new(read);
    let Ok(head) = wire.head().await else {
        return;
    };
    let body = wire.body(head.request_framing()).await;
    if body.broke.is_some() {
        return;
    }
    let text = format!("{}\n{}", head.plain_text(), body.bytes.escape_ascii());
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    if write.write_all(answer.as_bytes()).await.is_ok() {
        wire.rest().await;
    }
}

impl Visit {
    /// Whether its body was cut off. How much of it had come by then is a matter of time.
    pub(super) fn is_cut(&self) -> bool {
        let broke = self.body.as_ref().map(|body| body.broke);
        !matches!(broke, Some(None | Some(Broke::Garbled)))
    }
}
