//! Checkpoints of a node: a leader makes them beside its core, as `node/checkpoints` does on a thread of
//! its own, and a start begins with one. The making itself is the real one; its files come onto the disk
//! step by step.

use std::ops::ControlFlow;
use std::rc::Rc;

use ledger_core::envelope::Origin;
use ledger_core::event::{
    CheckpointCause, CheckpointCreated, CheckpointEvent, CheckpointFailed, CheckpointRejected,
};
use ledger_core::ids::{Id, Seq};
use ledger_core::store::durable::DurableStore;
use ledger_core::store::{LogReader, for_each_event};
use ledger_core::time::Micros;
use opsledger::node::checkpoints::{
    CheckpointFile, MakeError, PassedOver, Recovered, Wish, fold_upto, make_file,
};
use opsledger::node::command::{Command, Rejected, Reply};
use opsledger::node::core::node_subject;
use opsledger::node::decision::Decision;
use projections::framework::{Fold, Position, catch_up, rebuild, unwatched};

use super::Do;
use crate::invariants::checkpoints::{made, unmade};
use crate::invariants::projections::{same, unfolded};
use crate::invariants::{Broken, Checked};
use crate::mutants::Bug;
use crate::plan::MS;
use crate::shelf::{Trouble, View, said};
use crate::world::{Happening, World, id, say};

/// The longest of a making's steps.
const STEP: u64 = 300 * MS;

/// How far the making of a checkpoint has come.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write,
    Sync,
    Name,
    Settle,
    Record,
}

/// A checkpoint that is being made.
pub(crate) struct Making {
    next: Step,
    file: CheckpointFile,
    bytes: Rc<[u8]>,
    facts: CheckpointCreated,
    begun: u64,
}

impl World {
    /// What a leader does about checkpoints when it begins: has recorded what was passed over, and removes
    /// what an interrupted making has left.
    pub(crate) fn begin_checkpoints(&mut self, slot: usize, passed: Vec<PassedOver>) {
        for PassedOver { file, reason } in passed {
            let seq = Some(file.seq);
            let rejected = CheckpointRejected { reason, seq };
            self.note_checkpoint(slot, file.name, CheckpointEvent::Rejected(rejected));
        }
        self.shelf.clear();
        self.checkpoint_later(slot);
    }

    fn checkpoint_later(&mut self, slot: usize) {
        if let Some(every) = self.plan.checkpoint_every {
            let after = self.streams.checkpoints.between(1, 2 * every);
            self.node_later(slot, after, Do::Checkpoint);
        }
    }

    /// Begins to make a checkpoint, or goes on with it.
    pub(crate) fn checkpoint(&mut self, slot: usize) -> Checked {
        let Some(leading) = self.nodes[slot].leading() else {
            return Ok(());
        };
        match leading.making.take() {
            Some(making) => {
                self.go_on_making(slot, making);
                Ok(())
            }
            None => self.begin_making(slot),
        }
    }

    fn begin_making(&mut self, slot: usize) -> Checked {
        let draws = &mut self.streams.checkpoints;
        let trouble = (self.disk_fails && draws.one_in(2)).then(|| match draws.one_in(2) {
            true => Trouble::Sync,
            false => Trouble::Room(draws.below(40_000)),
        });
        let store = self.nodes[slot].leading().and_then(|l| l.store.as_ref());
        let Some(store) = store.filter(|_| self.healing.is_none()) else {
            return Ok(());
        };
        self.clients.checkpoints += 1;
        let name = id(&format!("c{}", self.clients.checkpoints));
        let wish = Wish {
            cause: CheckpointCause::Events,
            name: None,
            extra: None,
        };
        let view = View::of(&self.shelf, trouble);
        let reader = store.reader();
        let outcome = make_file(&view, &reader, &wish, &name, self.clocks.wall());
        let (bytes, is_open) = (view.into_new(), reader.head().is_ok());
        let (file, facts) = match outcome {
            Ok(made) => made,
            // A store that was closed fails whoever reads it.
            Err(_) if !is_open => return Ok(()),
            Err(MakeError::Stopping) => return Ok(()),
            Err(error) if trouble.is_none() => return Err(unmade(&error)),
            Err(error) => {
                self.shelf.write(&bytes);
                let failed = CheckpointFailed {
                    cause: wish.cause,
                    reason: error.to_string(),
                };
                self.note_checkpoint(slot, name, CheckpointEvent::Failed(failed));
                self.checkpoint_later(slot);
                return Ok(());
            }
        };
        if facts.seq == self.must.acknowledged.last() {
            made(&facts, &self.mirror.part_digests())?;
        }
        let life = self.nodes[slot].life_name();
        say!(self, "{life} makes checkpoint {}", said(&file));
        let draws = &mut self.streams.checkpoints;
        let begun = draws.index(bytes.len() + 1);
        self.shelf.write(&bytes[..begun]);
        if draws.one_in(2)
            && let Some(fault) = self.ambush.take()
        {
            let when = draws.time(MS, 2 * STEP);
            self.later(when, Happening::Strike(fault));
        }
        let making = Making {
            next: Step::Write,
            file,
            bytes,
            facts,
            begun: self.clocks.now,
        };
        self.make_next(slot, making);
        Ok(())
    }

    fn make_next(&mut self, slot: usize, making: Making) {
        let after = self.streams.checkpoints.time(100, STEP);
        if let Some(leading) = self.nodes[slot].leading() {
            leading.making = Some(making);
            self.node_later(slot, after, Do::Checkpoint);
        }
    }

    fn go_on_making(&mut self, slot: usize, mut making: Making) {
        making.next = match making.next {
            Step::Write => {
                self.shelf.write(&making.bytes);
                match self.plan.is_planted(Bug::NamedUnsynced) {
                    true => Step::Name,
                    false => Step::Sync,
                }
            }
            Step::Sync => {
                self.shelf.sync();
                Step::Name
            }
            Step::Name => {
                self.shelf.name(&making.file);
                Step::Settle
            }
            Step::Settle => {
                self.shelf.settle();
                Step::Record
            }
            Step::Record => {
                let mut facts = making.facts;
                // What the real clock has measured is no part of a run.
                facts.took_us = Some(Micros(self.clocks.now - making.begun));
                let created = CheckpointEvent::Created(facts);
                self.note_checkpoint(slot, making.file.name, created);
                return self.checkpoint_later(slot);
            }
        };
        self.make_next(slot, making);
    }

    fn note_checkpoint(&mut self, slot: usize, name: Id, event: CheckpointEvent) {
        let origin = Origin::of(node_subject(&self.nodes[slot].name));
        let event = Box::new(event);
        self.ask_as(slot, origin, Command::NoteCheckpoint { name, event });
    }

    /// What was to be recorded of a checkpoint is: a damaged one is set aside.
    pub(crate) fn checkpoint_noted(&mut self, command: &Command, result: &Result<Reply, Rejected>) {
        if let (Command::NoteCheckpoint { name, event }, Ok(Reply::Recorded(_))) = (command, result)
            && let CheckpointEvent::Rejected(CheckpointRejected { seq: Some(seq), .. }) = **event
        {
            let name = name.clone();
            self.shelf.set_aside(&CheckpointFile { seq, name });
        }
    }

    /// Comes to the state of a ledger's end, as a node does that has not followed.
    pub(crate) fn restored(
        &mut self,
        store: &DurableStore,
        name: &str,
    ) -> Result<Recovered, Broken> {
        let reader = store.reader();
        let short = self.plan.is_planted(Bug::OffByOneReplay);
        let upto = short.then(|| Seq(self.must.acknowledged.last().0 - 1));
        let files = View::of(&self.shelf, None);
        let recovered = fold_upto(&files, &reader, upto);
        let mut recovered = recovered.map_err(|e| unfolded(&e))?;
        if !short {
            let known = &self.must.checkpoints;
            known.used(&self.shelf, &recovered.report, name)?;
            known.kept(&self.shelf)?;
        }
        for PassedOver { file, reason } in &recovered.report.passed_over {
            self.tally.passed_over += 1;
            say!(self, "{name} passes over {}: {reason}", said(file));
        }
        let Some(from) = recovered.report.checkpoint.clone() else {
            return Ok(recovered);
        };
        self.tally.used += 1;
        say!(self, "{name} begins with {} at seq {}", from.name, from.seq);
        if self.plan.is_planted(Bug::LateReplay) {
            recovered.fold = late(&files, &reader, from.seq)?;
        }
        if self.streams.checkpoints.one_in(4) {
            let as_of = fold_upto(&files, &reader, Some(from.seq)).map_err(|e| unfolded(&e))?;
            let plain = rebuild::<Decision>(&reader, Some(from.seq), &mut unwatched);
            let plain = plain.map_err(|e| unfolded(&e))?;
            same(plain.state(), as_of.fold.state(), "its checkpoint")?;
        }
        let at = recovered.fold.position();
        self.must.acknowledged.stands(at.seq, at.hash, name)?;
        Ok(recovered)
    }
}

/// A replay that begins one event too late behind a checkpoint.
fn late(files: &View<'_>, reader: &dyn LogReader, from: Seq) -> Result<Fold<Decision>, Broken> {
    let at = fold_upto(files, reader, Some(from)).map_err(|e| unfolded(&e))?;
    let next = for_each_event(reader, from.next(), |chained| {
        ControlFlow::Break(chained.hash)
    });
    let ControlFlow::Break(hash) = next.map_err(|e| unfolded(&e))? else {
        return Ok(at.fold);
    };
    let seq = from.next();
    let mut fold = Fold::resume(at.fold.into_state(), Position { seq, hash });
    catch_up(&mut fold, reader, None, &mut unwatched).map_err(|e| unfolded(&e))?;
    Ok(fold)
}
