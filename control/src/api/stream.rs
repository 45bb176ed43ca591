//! Events as they happen (server-sent events).

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse as _, Response,
    sse::{Event as SseEvent, KeepAlive, Sse},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{app::App, problem::Problem};
use crate::turns::Standing;

/// Events that may wait for a slow reader; then the newest wait in the log.
const WAITING_MAX: usize = 64;
/// Events read from the log together.
const PIECE: usize = 64;
/// A line without meaning, so that both ends find out when the other one is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Sends the events behind `after`, or those to come, until the reader goes.
pub(super) fn follow(app: &App, after: Option<u64>, standing: Standing) -> Response {
    let (sender, receiver) = mpsc::channel::<Result<SseEvent, Infallible>>(WAITING_MAX);
    let Some(turn) = app.followers.try_take(standing) else {
        return Problem::overloaded("there are too many readers of the events", standing)
            .into_response();
    };
    let app = App::clone(app);
    tokio::spawn(async move {
        let _turn = turn;
        let mut newest = app.events.follow();
        // A stream of another run of the daemon ended behind where this one is.
        let start = *newest.borrow();
        let mut last = after.filter(|after| *after <= start).unwrap_or(start);
        loop {
            for event in app.events.after(last, PIECE) {
                last = event.id;
                let data = serde_json::to_string(&event).expect("an event is plain data");
                let sse = SseEvent::default()
                    .id(event.id.to_string())
                    .event(event.kind)
                    .data(data);
                if sender.send(Ok(sse)).await.is_err() {
                    return;
                }
            }
            let is_behind = *newest.borrow_and_update() > last;
            if is_behind {
                continue;
            }
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    Sse::new(ReceiverStream::new(receiver))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}
