//! What a run came to, counted: a batch of runs in which nothing ever went wrong has shown nothing.

use std::collections::BTreeMap;
use std::fmt;

use crate::plan::Fault;

/// Counts of one run, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub seeds: u64,
    /// Events that became durable.
    pub events: u64,
    /// Faults that happened.
    pub faults: BTreeMap<Fault, u64>,
    /// Processes of nodes that died.
    pub crashes: u64,
    /// Of those, with a batch in flight.
    pub torn: u64,
    /// Terms that began after another node's or life's.
    pub takeovers: u64,
    /// Of those, by a standby that had followed.
    pub warm: u64,
    /// Holders that were ended because they were silent.
    pub fenced: u64,
    /// Cores that stopped because their lease ran out.
    pub expired: u64,
    /// Appends that failed.
    pub failed_appends: u64,
    /// Batches that were written after their core had stopped.
    pub late_writes: u64,
    /// Full disks that were recorded.
    pub last_words: u64,
    /// Attempts that were begun.
    pub attempts: u64,
    /// Attempts that were taken up by another life than the one that ordered them.
    pub recovered: u64,
    /// Attempts that were lost.
    pub lost: u64,
    /// Runs of jobs that fell due and were submitted.
    pub due: u64,
    /// Requests that were answered.
    pub answers: u64,
    /// Checkpoints that were made and recorded.
    pub made: u64,
    /// Those that could not be made.
    pub unmade: u64,
    /// Starts from a checkpoint.
    pub used: u64,
    /// Checkpoints that a start has passed over.
    pub passed_over: u64,
    /// Those of which that was recorded.
    pub rejected: u64,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.events += other.events;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (mine, theirs) in self.numbers_mut().into_iter().zip(other.numbers()) {
            *mine += theirs.1;
        }
    }

    fn numbers(&self) -> [(&'static str, u64); 19] {
        [
            ("requests answered", self.answers),
            ("crashes of nodes", self.crashes),
            ("in the middle of a write", self.torn),
            ("takeovers", self.takeovers),
            ("by a warm standby", self.warm),
            ("holders fenced", self.fenced),
            ("leases run out", self.expired),
            ("appends failed", self.failed_appends),
            ("writes after the end", self.late_writes),
            ("full disks recorded", self.last_words),
            ("attempts begun", self.attempts),
            ("attempts recovered", self.recovered),
            ("attempts lost", self.lost),
            ("due runs of jobs", self.due),
            ("checkpoints made", self.made),
            ("checkpoints that could not be made", self.unmade),
            ("starts from a checkpoint", self.used),
            ("checkpoints passed over", self.passed_over),
            ("checkpoints rejected", self.rejected),
        ]
    }

    fn numbers_mut(&mut self) -> [&mut u64; 19] {
        [
            &mut self.answers,
            &mut self.crashes,
            &mut self.torn,
            &mut self.takeovers,
            &mut self.warm,
            &mut self.fenced,
            &mut self.expired,
            &mut self.failed_appends,
            &mut self.late_writes,
            &mut self.last_words,
            &mut self.attempts,
            &mut self.recovered,
            &mut self.lost,
            &mut self.due,
            &mut self.made,
            &mut self.unmade,
            &mut self.used,
            &mut self.passed_over,
            &mut self.rejected,
        ]
    }

    /// What never happened, though it should have among so many runs.
    pub fn missing(&self) -> Vec<String> {
        let numbers = self.numbers().into_iter();
        let numbers = numbers.filter(|(_, count)| *count == 0);
        let never = numbers.map(|(name, _)| name.to_owned());
        let faults = Fault::ALL.iter();
        let faults = faults.filter(|fault| self.faults.get(fault).is_none_or(|count| *count == 0));
        never
            .chain(faults.map(|fault| format!("{fault:?}")))
            .collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>10}  seeds, each run twice", self.seeds)?;
        writeln!(f, "{:>10}  events", self.events)?;
        for (name, count) in self.numbers() {
            writeln!(f, "{count:>10}  {name}")?;
        }
        write!(f, "faults:")?;
        for (fault, count) in &self.faults {
            write!(f, " {fault:?} {count}")?;
        }
        writeln!(f)
    }
}
