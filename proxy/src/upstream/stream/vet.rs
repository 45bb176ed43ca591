//! What becomes of the bytes of an answer that were read: vetted, cut out or refused. Nothing here reads or waits.

use super::{Answer, CellStream, Interim};
use crate::{
    gate::was_offered,
    upstream::{
        AnswerRefusal,
        answer::{AnswerBody, AnswerFraming, AnswerHead, AnswerScan, INTERIM_ANSWERS_MAX},
    },
};

impl CellStream {
    /// Vets what was read and not vetted yet.
    pub(super) fn vet(&mut self) {
        loop {
            let unvetted = &self.ahead[self.vetted..];
            if unvetted.is_empty() {
                return;
            }
            self.terms.report.begin_answer();
            let outcome = match &mut self.answer {
                Answer::Head(scan) => match scan.scan(unvetted) {
                    Ok(None) => return,
                    Ok(Some(end)) => self.take_head(end),
                    Err(refusal) => Err(refusal),
                },
                Answer::Body(body) => match body.advance(unvetted) {
                    Ok(progress) => {
                        self.vetted += progress.consumed;
                        if progress.complete {
                            self.end_answer();
                        }
                        Ok(())
                    }
                    Err(refusal) => Err(refusal),
                },
                Answer::Over => {
                    // Of no answer: whose it is, nobody knows.
                    return self.spoil();
                }
                Answer::Cut | Answer::Switched | Answer::Refused(_) => return,
            };
            if let Err(refusal) = outcome {
                self.refuse(refusal);
            }
        }
    }

    /// Reads the head that ends after this many bytes that were not vetted.
    fn take_head(&mut self, end: usize) -> Result<(), AnswerRefusal> {
        let bytes = &self.ahead[self.vetted..self.vetted + end];
        let head = AnswerHead::read(bytes, self.terms.is_head_request)?;
        if head.is_interim() {
            self.interim_answers += 1;
            if self.interim_answers > INTERIM_ANSWERS_MAX {
                return Err(AnswerRefusal::TooManyInterimAnswers);
            }
            self.answer = Answer::Head(AnswerScan::default());
            if self.passes_on(head.status) {
                self.vetted += end;
            } else {
                let rest = self.ahead.split_off(self.vetted + end);
                self.ahead.truncate(self.vetted);
                self.ahead.unsplit(rest);
            }
            return Ok(());
        }
        if let Some(chosen) = head.switches_to() {
            let offers = self.terms.offers.as_deref();
            let offers = offers.ok_or(AnswerRefusal::UnaskedSwitch)?;
            if !was_offered(offers, &bytes[chosen]) {
                return Err(AnswerRefusal::OtherProtocol);
            }
        }
        self.vetted += end;
        if head.extra_codings {
            self.terms.report.extra_codings.raise();
        }
        if head.switches_to().is_some() {
            self.terms.report.switched.raise();
            self.answer = Answer::Switched;
            self.mute();
            return Ok(());
        }
        self.closes = head.closes;
        self.had_no_body = head.framing == AnswerFraming::None;
        let body = AnswerBody::new(head.framing);
        if body.is_complete() {
            self.end_answer();
        } else {
            self.answer = Answer::Body(body);
            if head.stops_reading() {
                self.mute();
            }
        }
        Ok(())
    }

    fn passes_on(&self, status: u16) -> bool {
        match self.terms.interim {
            Interim::Forward => true,
            Interim::DropUnaskedContinue => status != 100,
            Interim::DropAll => false,
        }
    }

    pub(super) fn end_answer(&mut self) {
        self.answer = Answer::Over;
        self.terms.report.answer_over.raise();
        self.mute();
    }

    pub(super) fn refuse(&mut self, refusal: AnswerRefusal) {
        self.answer = Answer::Refused(refusal);
        self.spoil();
        self.mute();
    }

    /// The cell has closed its side.
    pub(super) fn take_end(&mut self) {
        match &self.answer {
            Answer::Body(body) if body.ends_with_connection() => self.end_answer(),
            Answer::Head(_) | Answer::Body(_) => {
                self.answer = Answer::Cut;
                self.spoil();
                self.mute();
            }
            Answer::Over | Answer::Cut | Answer::Switched | Answer::Refused(_) => {}
        }
    }
}
