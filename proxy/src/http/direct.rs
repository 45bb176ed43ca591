//! The direct way: for requests that are whole in hand, which are nearly all of them.
//!
//! Nothing has to happen at the same time for these: their bytes are sent, the answer is read, and passed on. So the
//! general way's channels and boxed hooks are not needed, and a request costs a fraction. Everything unusual goes the
//! general way; until an answer has begun, what came of a request here is handed over, and the general way answers. It
//! alone writes the proxy's own answers.
//!
//! Both ways ask [`exchange`](crate::exchange), and neither decides.

mod answer;
mod cell_side;
mod plan;

use std::{future::poll_fn, task::Poll, time::Instant};

pub use answer::{Coding, Encoded, Ending, copy_usual_head, rewrite_head};
pub use plan::{Plan, PlanRules, Seen, inspect_and_plan};

use super::{client::ClientStream, pace::Pace, services::Services, timer::Timer};
use crate::{
    access_log::{Entry, HeadParts, Served},
    answer::Reason,
    buffer::{BUFFER_BYTES, Buffer},
    clock,
    config::InterimAnswers,
    exchange::{ClientFault, Connection, Exchange, Failure, Refused, UpstreamFault, Verdict},
    lifecycle::Phase,
    outgoing::Pieces,
    request_id::RequestId,
    upstream::{
        AnswerRefusal,
        answer::{AnswerBody, AnswerFraming, AnswerHead, INTERIM_ANSWERS_MAX},
    },
};
use cell_side::{CellSide, Event};

/// Room for what is added to an answer's head.
const ADDED_BYTES: usize = 240;
const CONTINUE: u16 = 100;
/// What is read of a body in one piece.
const PIECE_BYTES_MAX: u64 = 64 * 1024;

/// A request whose head and body are at the front of what its client sent.
#[derive(Debug)]
pub(super) struct Whole<'c> {
    pub(super) plan: Plan,
    pub(super) at: Instant,
    pub(super) head_bytes: usize,
    pub(super) body_bytes: usize,
    pub(super) connection: &'c Connection,
    /// What keeps the browsers of its host on HTTPS.
    pub(super) hsts: Option<&'c str>,
    /// Until the request has begun its way.
    pub(super) request_id: Option<RequestId>,
}

impl Whole<'_> {
    /// How much of what its client sent it is.
    pub(super) fn bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its bytes are taken off what its client sent.
    Answered {
        at: Instant,
        /// The next request may follow.
        is_kept: bool,
    },
    /// The general way is to answer. Its bytes are where they were.
    HandedOver(Box<HandedOver>),
    /// There is nobody to answer, or no way to go on.
    Cut,
}

/// A request that the general way answers, and what was found out about it.
#[derive(Debug)]
pub(super) struct HandedOver {
    pub(super) exchange: Exchange,
    pub(super) refused: Refused,
    /// Of the body, which was read whole.
    pub(super) body_bytes: u64,
}

/// One request on its way to its cell, and the answer on its way back.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something of its own of the request"
)]
pub(super) struct Trip<'t> {
    services: &'t Services,
    client: &'t mut ClientStream,
    timer: &'t mut Timer,
    whole: Whole<'t>,
    exchange: Exchange,
    /// There was a connection to the cell.
    met_cell: bool,
    /// The status that the client was given.
    status: Option<u16>,
    /// Bytes of content that the client was given.
    content: u64,
    /// The same of what is about to be sent.
    unsent_content: u64,
    /// The client was given an interim answer that it did not ask for.
    had_interim: bool,
    /// It may have taken that for the final one, and has asked again.
    is_out_of_step: bool,
    writing: Option<Pace>,
    closes: bool,
    /// When the answer had come whole.
    ended: Option<Instant>,
}

impl<'t> Trip<'t> {
    /// Not a part of a future: that would have a second place for whatever is moved within it.
    pub(super) fn new(
        services: &'t Services,
        client: &'t mut ClientStream,
        timer: &'t mut Timer,
        mut whole: Whole<'t>,
    ) -> Self {
        let exchange = Exchange::new(whole.at, whole.plan.client).called(whole.request_id.take());
        let closes = whole.plan.closes;
        Self {
            services,
            client,
            timer,
            whole,
            exchange,
            met_cell: false,
            status: None,
            content: 0,
            unsent_content: 0,
            had_interim: false,
            is_out_of_step: false,
            writing: None,
            closes,
            ended: None,
        }
    }
}

impl Trip<'_> {
    pub(super) async fn run(&mut self) -> Outcome {
        if let Err(refused) = self.admit() {
            return self.hand_over(refused);
        }
        let (mut may_reuse, mut is_first) = (true, true);
        loop {
            let random = [fastrand::u32(..), fastrand::u32(..)];
            let now = self.began(is_first);
            if self
                .exchange
                .next_endpoint(clock::ms_at(now), random)
                .is_none()
            {
                return self.hand_over(Reason::NoHealthyEndpoint.into());
            }
            let Err(failure) = self.attempt(may_reuse, now).await else {
                return self.finish();
            };
            is_first = false;
            may_reuse &= failure != Failure::StaleConnection;
            let is_repeatable = self.status.is_none()
                && (self.whole.plan.is_idempotent || failure == Failure::Unreachable);
            let now = clock::now_ms();
            let verdict = self
                .services
                .judge(&mut self.exchange, failure, is_repeatable, now);
            match verdict {
                Verdict::Retry => {}
                Verdict::Answer(refused) if self.status.is_none() => {
                    return self.hand_over(refused);
                }
                Verdict::Answer(_) | Verdict::LetGo => {
                    self.record(Instant::now());
                    return Outcome::Cut;
                }
            }
        }
    }

    /// When an attempt begins. The first one of a request without a body begins when it arrives: the clock need not be
    /// asked again.
    fn began(&self, is_first: bool) -> Instant {
        if is_first && self.whole.body_bytes == 0 {
            self.whole.at
        } else {
            Instant::now()
        }
    }

    fn admit(&mut self) -> Result<(), Refused> {
        let Services {
            current, policy, ..
        } = self.services;
        let plan = &mut self.whole.plan;
        let key = plan.key.take();
        let key = key.expect("a request is admitted once");
        let snapshot = current.peek();
        self.exchange
            .admit(policy, plan.client, Ok(key), snapshot.as_deref())?;
        if let Some(destination) = self.exchange.destination() {
            plan.identify(self.exchange.tenant().unwrap_or_default(), destination);
        }
        Ok(())
    }

    fn hand_over(&mut self, refused: Refused) -> Outcome {
        // A body counts once there was a cell to take it.
        let body_bytes = if self.met_cell {
            self.whole.body_bytes as u64
        } else {
            0
        };
        let nothing = Exchange::new(self.whole.at, self.whole.plan.client);
        Outcome::HandedOver(Box::new(HandedOver {
            exchange: std::mem::replace(&mut self.exchange, nothing),
            refused,
            body_bytes,
        }))
    }

    /// Sends the request to the endpoint that was chosen, and passes the answer on.
    async fn attempt(&mut self, may_reuse: bool, now: Instant) -> Result<(), Failure> {
        let plan = &self.whole.plan;
        let mut cell = CellSide::connect(
            self.services,
            &self.exchange,
            plan.is_idempotent,
            may_reuse,
            now,
        )
        .await?;
        self.met_cell = true;
        let mut out = Buffer::new();
        let (mut body, coding) = self.final_head(&mut cell, &mut out).await?;
        loop {
            let taken = self.take_piece(&mut cell, &mut body, coding, &mut out);
            let is_over = body.is_complete() || (cell.has_ended && body.ends_with_connection());
            if is_over {
                if !body.is_complete() {
                    coding.end(&mut out);
                }
                let now = Instant::now();
                cell.put_back(self.services, &self.exchange, now);
                self.ended = Some(now);
            }
            let room = body.bytes_left().unwrap_or(u64::MAX).min(PIECE_BYTES_MAX) as usize;
            let is_little = out.len() <= BUFFER_BYTES + ADDED_BYTES;
            let mut broke = None;
            if taken == Ok(0) && !is_over && is_little && cell.is_full() {
                match cell.more(room).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    // The client still gets what came before.
                    Err(failure) => broke = Some(failure),
                }
            }
            let pieces = Pieces {
                first: &out,
                second: &cell.piece()[..taken.unwrap_or_default()],
            };
            self.send(pieces).await?;
            self.content += std::mem::take(&mut self.unsent_content);
            out.clear();
            taken.map_err(refused)?;
            if let Some(failure) = broke {
                return Err(failure);
            }
            if is_over {
                return Ok(());
            }
            if cell.has_ended {
                return Err(cell.broke());
            }
            cell.make_room(room);
            self.event(&mut cell).await?;
        }
    }

    /// Waits for the final answer's head, with interim ones passed on before it. The head for the client is in `out`
    /// then, unsent.
    async fn final_head(
        &mut self,
        cell: &mut CellSide,
        out: &mut Buffer,
    ) -> Result<(AnswerBody, Coding), Failure> {
        let mut interim_answers = 0;
        loop {
            while cell.came() == 0 && !cell.has_ended {
                self.event(cell).await?;
            }
            // For what is added to a head, and how a chunk is framed.
            out.reserve(cell.came() + ADDED_BYTES);
            // During a drain its client is to come back on another connection, to another process.
            self.closes |= self.services.lifecycle.has_reached(Phase::Draining);
            let is_head_request = self.whole.plan.is_head_request;
            let usual = copy_usual_head(cell.piece(), is_head_request, self.ending(), out);
            let (head, end) = match usual {
                Some(usual) => usual,
                None => {
                    out.clear();
                    let end = self.head_end(cell).await?;
                    (self.read_head(cell.head(end), out)?, end)
                }
            };
            if head.is_interim() {
                interim_answers += 1;
                if interim_answers > INTERIM_ANSWERS_MAX {
                    return Err(refused(AnswerRefusal::TooManyInterimAnswers));
                }
                cell.next_head(end);
                if !out.is_empty() {
                    self.had_interim = true;
                    self.send(Pieces::one(out)).await?;
                    out.clear();
                }
                continue;
            }
            self.exchange.answered();
            self.status = Some(head.status);
            // Now, since nothing of the final answer was sent yet.
            self.is_out_of_step =
                self.had_interim && self.guards_interim() && self.has_asked_again().await;
            let body = AnswerBody::new(head.framing);
            cell.closes = head.closes;
            cell.had_no_body = head.framing == AnswerFraming::None;
            cell.is_cut |= head.stops_reading() && !body.is_complete();
            cell.take_head(end);
            return Ok((body, Coding::of(head.framing)));
        }
    }

    /// Where the head ends that is coming.
    async fn head_end(&mut self, cell: &mut CellSide) -> Result<usize, Failure> {
        loop {
            if let Some(end) = cell.scan().map_err(refused)? {
                return Ok(end);
            }
            if cell.has_ended {
                return Err(cell.broke());
            }
            self.event(cell).await?;
        }
    }

    /// Reads a head, and writes that for the client. An interim one that is not passed on writes nothing.
    fn read_head(&mut self, bytes: &[u8], out: &mut Buffer) -> Result<AnswerHead, Failure> {
        let is_head_request = self.whole.plan.is_head_request;
        let head = rewrite_head(bytes, is_head_request, self.ending(), out).map_err(refused)?;
        if head.switches_to().is_some() {
            return Err(refused(AnswerRefusal::UnaskedSwitch));
        }
        if head.status == CONTINUE && self.guards_interim() {
            out.clear();
        }
        Ok(head)
    }

    fn ending(&self) -> Ending<'_> {
        Ending {
            closes: self.closes,
            request_id: self.exchange.request_id(),
            hsts: self.whole.hsts,
        }
    }

    fn guards_interim(&self) -> bool {
        self.services.upstream.interim_answers == InterimAnswers::Guarded
    }

    /// Adds to `out` what came of the body, or leaves it where it is: the answer is how many bytes of it are to be sent
    /// from there. A refusal stands for all of it.
    fn take_piece(
        &mut self,
        cell: &mut CellSide,
        body: &mut AnswerBody,
        coding: Coding,
        out: &mut Buffer,
    ) -> Result<usize, AnswerRefusal> {
        let piece = cell.piece();
        if piece.is_empty() {
            return Ok(0);
        }
        let Encoded {
            consumed,
            content,
            lent,
        } = coding.encode(body, piece, out)?;
        self.unsent_content += content as u64;
        cell.has_surplus |= consumed < piece.len();
        Ok(lent)
    }

    /// Waits until something more came from the cell, or it ended.
    async fn event(&mut self, cell: &mut CellSide) -> Result<(), Failure> {
        let Self {
            services,
            client,
            timer,
            whole,
            ..
        } = self;
        let held = whole.bytes();
        cell.begin_wait(&services.timeouts);
        let outcome = poll_fn(|cx| {
            let request = Pieces {
                first: &whole.plan.head,
                second: &client.ahead[whole.head_bytes..held],
            };
            cell.poll_send(cx, &services.timeouts, request);
            if let Poll::Ready(event) = cell.poll_read(cx) {
                return Poll::Ready(match event {
                    Event::Came | Event::Ended => Ok(()),
                    Event::Broke => Err(cell.broke()),
                });
            }
            if client.poll_leaving(cx, held).is_ready() {
                return Poll::Ready(Err(Failure::Client(ClientFault::Gone)));
            }
            timer
                .poll_until(cx, cell.until)
                .map(|()| Err(Failure::Upstream(UpstreamFault::TimedOut)))
        });
        let outcome = outcome.await;
        if self.services.access_log.is_on() && self.exchange.awaits_answer() && cell.has_begun {
            self.exchange.answer_began(Instant::now());
        }
        outcome
    }

    /// Sends to the client. It is gone if it takes nothing for too long, or too little.
    async fn send(&mut self, pieces: Pieces<'_>) -> Result<(), Failure> {
        let Self {
            services,
            client,
            timer,
            writing,
            ..
        } = self;
        let mut sent = 0;
        let mut stalled_until = None;
        let outcome = poll_fn(|cx| {
            loop {
                let is_all_taken = sent == pieces.len();
                let step = if is_all_taken {
                    client.poll_send_rest(cx).map_ok(|()| 0)
                } else {
                    client.poll_send_pieces(cx, pieces, sent)
                };
                let Poll::Ready(taken) = step else {
                    let now = Instant::now();
                    let limit = services.timeouts.client_idle;
                    let pace = writing.get_or_insert_with(|| services.writing_pace());
                    pace.wait(now);
                    let until = *stalled_until.get_or_insert(now + limit);
                    return timer.poll_until(cx, until.into()).map(|()| false);
                };
                let taken = match taken {
                    Ok(taken) if taken > 0 || is_all_taken => taken,
                    Ok(_) | Err(_) => return Poll::Ready(false),
                };
                sent += taken;
                if stalled_until.take().is_some()
                    && let Some(pace) = writing
                    && !pace.advance(Instant::now(), taken)
                {
                    return Poll::Ready(false);
                }
                if is_all_taken {
                    return Poll::Ready(true);
                }
            }
        });
        if outcome.await {
            Ok(())
        } else {
            Err(Failure::Client(ClientFault::Gone))
        }
    }

    /// Whether there is more of the client than this request.
    async fn has_asked_again(&mut self) -> bool {
        let held = self.whole.bytes();
        poll_fn(|cx| Poll::Ready(self.client.has_sent_more_than(cx, held))).await
    }

    fn finish(&mut self) -> Outcome {
        // If the client has kept it waiting, the clock has to be asked again.
        let at = self.ended.filter(|_| self.writing.is_none());
        let at = at.unwrap_or_else(Instant::now);
        self.record(at);
        self.client.ahead.advance(self.whole.bytes());
        Outcome::Answered {
            at,
            is_kept: !self.closes && !self.is_out_of_step,
        }
    }

    fn record(&mut self, now: Instant) {
        let took = self.exchange.finish(self.status, now);
        let Self {
            services,
            client,
            whole,
            exchange,
            status,
            content,
            ..
        } = self;
        services.access_log.write(|| {
            let head = &client.ahead[..whole.head_bytes];
            let served = Served {
                head: HeadParts::of(head),
                status: *status,
                took,
                request_body_bytes: whole.body_bytes as u64,
                response_body_bytes: *content,
            };
            Entry::served(served, whole.connection, exchange)
        });
    }
}

fn refused(refusal: AnswerRefusal) -> Failure {
    Failure::Upstream(UpstreamFault::Refused(refusal))
}
