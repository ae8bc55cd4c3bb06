//! The host: its processes, the lock on the data directory, and the lease's record.
//!
//! | must hold | why |
//! |---|---|
//! | a process keeps its lock while it stands still, and loses it when it dies | that is what `flock` does |
//! | a number can become another process's once its process has gone | whoever signals by number alone hits an innocent |
//! | the record is bytes that anybody can damage | it proves nothing, and must not have to |

use std::collections::BTreeMap;

use opsledger::lease::observing::Sight;
use opsledger::lease::record::{Record, RecordFault};
use opsledger::shim::ProcessIdentity;

/// Who a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// A node, by its place.
    Node(usize),
    /// A task's.
    Task,
    /// One that has nothing to do with any of this.
    Innocent,
}

/// A process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) start_time: u64,
    pub(crate) who: Who,
}

/// The host.
#[derive(Debug)]
pub(crate) struct Host {
    boot: u64,
    processes: BTreeMap<i32, Process>,
    /// Numbers of processes that have gone, the last one last.
    pub(crate) gone: Vec<i32>,
    next_pid: i32,
    next_start: u64,
    /// Which process has the lock on the data directory.
    pub(crate) lock: Option<i32>,
    /// What the lease's record holds; nothing if there is no file.
    pub(crate) record: Option<Vec<u8>>,
    /// What it held when a holder had gone.
    earlier: Option<Vec<u8>>,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            boot: 1,
            processes: BTreeMap::new(),
            gone: Vec::new(),
            next_pid: 100,
            next_start: 1,
            lock: None,
            record: None,
            earlier: None,
        }
    }

    /// Which boot this is.
    pub(crate) fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    /// Starts a process.
    pub(crate) fn spawn(&mut self, who: Who) -> ProcessIdentity {
        let pid = self.next_pid;
        self.next_pid += 1;
        self.start(pid, who)
    }

    /// Starts a process under the number of one that has gone: of an earlier holder of the lease, if
    /// that is free, or else of the last one.
    pub(crate) fn recycle(&mut self) -> Option<i32> {
        let earlier = self.earlier.as_ref();
        let named = earlier.and_then(|bytes| Record::parse(bytes).ok());
        let named = named.map(|(record, _)| record.process.pid);
        let index = self.gone.iter().position(|pid| Some(*pid) == named);
        let pid = match index {
            Some(index) => self.gone.remove(index),
            None => self.gone.pop()?,
        };
        self.start(pid, Who::Innocent);
        Some(pid)
    }

    fn start(&mut self, pid: i32, who: Who) -> ProcessIdentity {
        let start_time = self.next_start;
        self.next_start += 1;
        self.processes.insert(pid, Process { start_time, who });
        ProcessIdentity {
            pid,
            start_time,
            boot_id: self.boot_id(),
        }
    }

    /// The process of this number.
    pub(crate) fn process(&self, pid: i32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// Whether the very process that this names is there.
    pub(crate) fn is_there(&self, identity: &ProcessIdentity) -> bool {
        identity.boot_id == self.boot_id()
            && self
                .processes
                .get(&identity.pid)
                .is_some_and(|process| process.start_time == identity.start_time)
    }

    /// A process ends, and with it its lock.
    pub(crate) fn end(&mut self, pid: i32) {
        if self.processes.remove(&pid).is_some() {
            self.gone.push(pid);
        }
        if self.lock == Some(pid) {
            self.lock = None;
            self.earlier.clone_from(&self.record);
        }
    }

    /// The host is without power, and boots again. What is left of the record is up to the disk.
    pub(crate) fn reboot(&mut self, record: Option<Vec<u8>>) {
        self.boot += 1;
        self.processes.clear();
        self.gone.clear();
        self.lock = None;
        self.record = record;
        // Numbers are counted anew, so that old ones come again.
        self.next_pid = 100;
    }

    /// Somebody puts back what the record held when an earlier holder had gone.
    pub(crate) fn bring_back_record(&mut self) {
        if self.earlier.is_some() {
            self.record.clone_from(&self.earlier);
        }
    }

    /// What a look at the record shows.
    pub(crate) fn sight(&self) -> Sight {
        match &self.record {
            None => Err(RecordFault::Missing),
            Some(bytes) => Record::parse(bytes),
        }
    }
}
