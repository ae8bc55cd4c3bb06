//! Terms: each begins with its acquisition, and ends with its release, or with its loss as a later
//! one records it.

use ledger_core::ids::{Seq, Term};

use super::facts::{Fact, Step};
use super::finding::{Findings, Life, Problem};
use super::{LifeCycle, Tally};

/// The terms that are open.
#[derive(Debug, Default)]
pub(super) struct Terms {
    current: Option<Current>,
    /// Those that a later one has taken over from.
    superseded: Vec<(Term, Seq)>,
    ended: u64,
}

/// The term that the last event is of.
#[derive(Debug)]
struct Current {
    term: Term,
    begun: Seq,
    /// The last of its events that are known of.
    last: Seq,
    ended: Option<Seq>,
    /// Whether events behind its end have been found.
    after: bool,
}

fn life(term: Term) -> Life<&'static str> {
    Life::Term { term }
}

impl Terms {
    fn span(&mut self, step: &Step, last: Seq, acquires: bool, findings: &mut Findings) {
        let (term, seq) = (step.term, step.seq);
        match &mut self.current {
            Some(current) if current.term == term => {
                current.last = last;
                current.check_end(seq, findings);
            }
            before => {
                let before = before.take().filter(|before| before.ended.is_none());
                self.superseded
                    .extend(before.map(|before| (before.term, before.begun)));
                // The event that makes the ledger is of term 0, which nobody holds.
                if term == Term::ZERO {
                    return;
                }
                if !acquires {
                    findings.add(life(term), None, Some(seq), Problem::NotAcquired);
                }
                self.current = Some(Current {
                    term,
                    begun: seq,
                    last,
                    ended: None,
                    after: false,
                });
            }
        }
    }

    fn lost(&mut self, lost: Term, seq: Seq, findings: &mut Findings) {
        if self.current.as_ref().is_none_or(|now| lost >= now.term) {
            findings.add(life(lost), None, Some(seq), Problem::FromLater);
            return;
        }
        let at = self.superseded.iter().position(|(term, _)| *term == lost);
        match at {
            Some(at) => {
                self.superseded.swap_remove(at);
                self.ended += 1;
                findings.ended(life(lost), seq);
            }
            None => findings.not_open(life(lost), seq),
        }
    }
}

impl Current {
    /// Behind its end there must be nothing, from `first` on.
    fn check_end(&mut self, first: Seq, findings: &mut Findings) {
        let Some(ended) = self.ended else { return };
        if self.last > ended && !self.after {
            self.after = true;
            let at = first.max(ended.next());
            findings.add(
                life(self.term),
                Some(self.begun),
                Some(at),
                Problem::AfterEnd { ended },
            );
        }
    }
}

impl LifeCycle for Terms {
    fn take(&mut self, step: &Step, findings: &mut Findings) {
        match step.fact {
            Fact::Span { last, acquires } => self.span(step, last, acquires, findings),
            Fact::LeaseAcquired => {
                let current = self.current.as_ref();
                if let Some(current) = current.filter(|current| current.begun != step.seq) {
                    let begun = Some(current.begun);
                    findings.add(life(step.term), begun, Some(step.seq), Problem::BegunTwice);
                }
            }
            Fact::LeaseReleased => match &mut self.current {
                Some(current) if current.ended.is_none() => {
                    current.ended = Some(step.seq);
                    self.ended += 1;
                    findings.ended(life(step.term), step.seq);
                    current.check_end(step.seq, findings);
                }
                Some(_) | None => findings.not_open(life(step.term), step.seq),
            },
            Fact::LeaseLost { term } => self.lost(term, step.seq, findings),
            Fact::NodeRecovered { .. } => {
                for (term, begun) in self.superseded.drain(..) {
                    findings.add(
                        life(term),
                        Some(begun),
                        Some(step.seq),
                        Problem::Unaccounted,
                    );
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, _: &mut Findings) {}

    fn tallies(&self) -> Vec<Tally> {
        let current = self.current.iter().filter(|now| now.ended.is_none());
        vec![Tally {
            family: "term",
            ended: self.ended,
            open: (self.superseded.len() + current.count()) as u64,
        }]
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.superseded.len() + usize::from(self.current.is_some())
    }
}
