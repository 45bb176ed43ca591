//! Accepts connections and serves them, within limits.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::Request,
};
use cellgate_process::descriptors::is_of_one_connection;
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{debug, warn};

use super::{
    connections::{Admitted, Answering, Connections, Limits},
    socket::{Accept, Socket, Stream},
};

/// From one check for slow connections to the next.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// Bytes of a request head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long accepting pauses when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that were cut and have not ended yet; only when there are more, accepting waits for them.
const ENDING_MAX: usize = 32;
const ENDING_PAUSE: Duration = Duration::from_millis(1);

/// Which connection a request came on.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) connection: Arc<super::connections::Connection>,
    pub(super) connections: Arc<Connections>,
    pub(super) way: Way,
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Tcp,
    /// By the socket, which only its owner can use.
    Unix,
}

/// Serves until `stop` is true and the requests then in flight are answered.
pub(super) async fn serve(
    listener: impl Accept,
    way: Way,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Arc::new(Connections::new(limits));
    let for_each = stop.clone();
    let mut serving = JoinSet::new();
    let mut sweeping = interval(SWEEP_INTERVAL);
    sweeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let open_max = limits.with_token_max + limits.without_token_max + ENDING_MAX;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => {
                    let admitted = connections.admit(Instant::now());
                    let caller = Caller {
                        connection: Arc::clone(&admitted.connection),
                        connections: Arc::clone(&connections),
                        way,
                    };
                    serving.spawn(serve_one(stream, admitted, caller, router.clone(), for_each.clone()));
                    // Those that were cut have to run to end.
                    while connections.count() > open_max {
                        sleep(ENDING_PAUSE).await;
                    }
                }
                Err(error) if is_of_one_connection(&error) => {
                    debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    warn!(%error, "the API cannot accept a connection; it tries again");
                    connections.make_room();
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = sweeping.tick() => connections.sweep(Instant::now()),
            Some(_) = serving.join_next() => {}
            () = stopped(&mut stop) => break,
        }
    }
    drop(listener);
    loop {
        tokio::select! {
            ended = serving.join_next() => if ended.is_none() { return },
            _ = sweeping.tick() => connections.sweep(Instant::now()),
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can say stop any more.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves a connection to its end.
async fn serve_one(
    stream: impl Stream,
    admitted: Admitted,
    caller: Caller,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let connection = Arc::clone(&admitted.connection);
    let socket = Socket::new(stream, Arc::clone(&connection));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let answering = caller.connection.answering();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(caller.clone());
        let answer = router.call(request);
        async move {
            let answer = answer.await?;
            Ok::<_, Infallible>(answer.map(|body| Tracked { body, answering }))
        }
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES_MAX);
    let mut serving = pin!(http.serve_connection(TokioIo::new(socket), service));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            ended = &mut serving => {
                if let Err(error) = ended {
                    debug!(%error, "a connection broke");
                }
                return;
            }
            why = connection.until_cut() => {
                debug!(reason = why.as_str(), "a connection was cut");
                return;
            }
            () = stopped(&mut stop), if !is_stopping => {
                is_stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// An answer's body; the request is being answered until it is gone.
#[derive(Debug)]
struct Tracked {
    body: Body,
    #[expect(dead_code, reason = "held to the end of the answer")]
    answering: Answering,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
