//! What a seed draws before its run begins: how many nodes, what goes wrong and how often, how large
//! things are. Most runs know only some kinds of faults, so that none hides what another would show
//! (swarm testing, Groce 2012).

use std::collections::BTreeSet;

use ledger_core::store::durable::{SealIn, Settings, Structure};
use opsledger::lease::timing::Timing;
use opsledger::node::disk::SMALL;

use crate::chance::Draws;
use crate::mutants::Bug;

/// A microsecond, a millisecond and a second in simulated time.
pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;

/// Something that goes wrong, or is done to the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A node's process is killed.
    Kill,
    /// A node's process stands still, and may go on later.
    Pause,
    /// The host loses power: what was not synced may be there, in parts, or not.
    PowerFailure,
    /// Calls of the disk fail.
    DiskFails,
    /// The disk is full.
    DiskFull,
    /// The disk takes its time.
    DiskSlow,
    /// The wall clock is set.
    ClockStep,
    /// The wall clock runs too fast or too slow from now on.
    ClockDrift,
    /// Somebody damages the lease's record.
    RecordDamaged,
    /// Beats can't be written for a while.
    BeatFails,
    /// A node is stopped in good order.
    Stop,
    /// The leader is asked to step down.
    StepDown,
    /// A shim is killed, and its task's processes with it.
    ShimKilled,
    /// A shim takes long to begin.
    LateShim,
    /// The number of a process that has gone is given to an innocent one.
    PidRecycled,
    /// A killed process does not go for a while.
    Unkillable,
    /// Somebody damages a checkpoint.
    CheckpointDamaged,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Kill,
        Self::Pause,
        Self::PowerFailure,
        Self::DiskFails,
        Self::DiskFull,
        Self::DiskSlow,
        Self::ClockStep,
        Self::ClockDrift,
        Self::RecordDamaged,
        Self::BeatFails,
        Self::Stop,
        Self::StepDown,
        Self::ShimKilled,
        Self::LateShim,
        Self::PidRecycled,
        Self::Unkillable,
        Self::CheckpointDamaged,
    ];
}

/// What is asked of a run beside its seed.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Kinds of faults that are left out.
    pub without: BTreeSet<Fault>,
    /// End the part with faults after this much simulated time, in microseconds.
    pub upto: Option<u64>,
    /// A defect that is planted.
    pub bug: Option<Bug>,
    /// Keep the trace.
    pub trace: bool,
}

/// What a seed has drawn.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) faults: Vec<Fault>,
    /// Mean time between faults.
    pub(crate) fault_every: u64,
    /// Mean time between requests.
    pub(crate) ask_every: u64,
    /// When the safety phase ends.
    pub(crate) safety: u64,
    pub(crate) settings: Settings,
    pub(crate) timing: Timing,
    /// Slowest write of a healthy disk.
    pub(crate) disk_ms: u64,
    pub(crate) max_running: u32,
    /// Up to how many events a batch is written by the core's own thread: real nodes have one
    /// number, which is rarely exceeded here.
    pub(crate) small: usize,
    /// Mean time between checkpoints, if any are made.
    pub(crate) checkpoint_every: Option<u64>,
    pub(crate) bug: Option<Bug>,
}

impl Plan {
    pub(crate) fn draw(seed: u64, wish: &Wish) -> Self {
        let mut draws = Draws::of(seed, "plan");
        let nodes = [1, 2, 2, 3][draws.index(4)];
        let chosen = draws.any();
        let all = draws.one_in(4);
        let faults = (0..).zip(Fault::ALL).filter(|(bit, fault)| {
            // Without these nothing is ever recovered.
            let base = matches!(fault, Fault::Kill | Fault::PowerFailure) && chosen & 0b11 != 0;
            all || base || chosen >> (8 + bit) & 1 == 1
        });
        let faults = faults.map(|(_, fault)| fault);
        let faults = faults
            .filter(|fault| !wish.without.contains(fault))
            .collect();
        let block_cap = [1024, 4096][draws.index(2)];
        let safety = draws.between(4, 24) * SECOND;
        Self {
            nodes,
            faults,
            fault_every: draws.time(200 * MS, 4 * SECOND),
            ask_every: draws.time(30 * MS, SECOND),
            safety: wish.upto.map_or(safety, |upto| upto.min(safety)),
            settings: Settings {
                segment_bytes: [4096, 16 * 1024][draws.index(2)],
                seal_bytes: 2 * block_cap,
                block_cap,
                lag_bytes: 64 * 1024,
                sealing: SealIn::Foreground,
                structure: Structure::Trusted,
            },
            timing: Timing::default(),
            disk_ms: draws.time(1, 40),
            max_running: 1 + draws.below(4) as u32,
            small: [0, 2, SMALL][draws.index(3)],
            checkpoint_every: (!draws.one_in(8)).then(|| draws.time(300 * MS, 6 * SECOND)),
            bug: wish.bug,
        }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    pub(crate) fn is_planted(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
}
