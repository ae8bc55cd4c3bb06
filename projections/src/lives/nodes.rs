//! Nodes: each that leads says so, says once that it has taken up the work, and ends by its own word
//! or with its term. A node that gives back its lease without stopping has ended as a leader.

use ledger_core::ids::{Seq, Term};

use super::facts::{Fact, Step};
use super::finding::{Findings, Life, Problem};
use super::{LifeCycle, Tally};

/// The nodes that lead, or led and were never heard of again.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    open: Vec<Node>,
    ended: u64,
}

#[derive(Debug)]
struct Node {
    name: Box<str>,
    term: Term,
    begun: Seq,
    recovered: bool,
}

impl Nodes {
    fn started(&mut self, step: &Step, findings: &mut Findings) {
        let same = self.open.iter().find(|node| node.term == step.term);
        if let Some(before) = same {
            let life = Life::Node {
                node: &*before.name,
            };
            findings.add(
                life,
                Some(before.begun),
                Some(step.seq),
                Problem::BegunTwice,
            );
            return;
        }
        self.open.push(Node {
            name: step.subject.clone(),
            term: step.term,
            begun: step.seq,
            recovered: false,
        });
    }

    fn recovered(&mut self, step: &Step, findings: &mut Findings) {
        let life = Life::Node {
            node: &*step.subject,
        };
        let now = self.open.iter_mut().find(|node| is(node, step));
        match now {
            Some(node) if node.recovered => {
                findings.add(life, Some(node.begun), Some(step.seq), Problem::BegunTwice);
            }
            Some(node) => node.recovered = true,
            None => findings.not_open(life, step.seq),
        }
        // Whose term was not accounted for is found there.
        self.open.retain(|node| node.term >= step.term);
    }

    /// Ends the node of a term, if it has not ended by itself.
    fn end_of(&mut self, term: Term, seq: Seq, findings: &mut Findings) {
        self.open.retain(|node| {
            if node.term == term {
                self.ended += 1;
                findings.ended(Life::Node { node: &*node.name }, seq);
            }
            node.term != term
        });
    }
}

fn is(node: &Node, step: &Step) -> bool {
    node.term == step.term && node.name == step.subject
}

impl LifeCycle for Nodes {
    fn take(&mut self, step: &Step, findings: &mut Findings) {
        match step.fact {
            Fact::NodeStarted => self.started(step, findings),
            Fact::NodeRecovered { .. } => self.recovered(step, findings),
            Fact::NodeStopped { .. } => {
                if self.open.iter().any(|node| is(node, step)) {
                    self.end_of(step.term, step.seq, findings);
                } else {
                    let node = &*step.subject;
                    findings.not_open(Life::Node { node }, step.seq);
                }
            }
            Fact::LeaseReleased => self.end_of(step.term, step.seq, findings),
            Fact::LeaseLost { term } => self.end_of(term, step.seq, findings),
            _ => {}
        }
    }

    fn end(&mut self, _: &mut Findings) {}

    fn tallies(&self) -> Vec<Tally> {
        vec![Tally {
            family: "node",
            ended: self.ended,
            open: self.open.len() as u64,
        }]
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.open.len()
    }
}
