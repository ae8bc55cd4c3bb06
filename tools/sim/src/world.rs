//! The world: everything there is in a run, and the loop that lets one thing happen after the other.
//!
//! What is real: the core and its sequencer, every decision, the durable store over the simulated disk,
//! folds and replay, checkpoints, the holder's and the observer's side of the lease and the record's text. What is
//! played: the disk, the clocks, processes and their numbers, the lock, shims and what they look
//! after, sockets, and the threads around the core (as `threads.rs`, `pulse.rs`, `standby.rs` and
//! `boot.rs` of the node wire them).

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::clock;
use ledger_core::codec;
use ledger_core::envelope::{Draft, EventRef, Header, Origin};
use ledger_core::event::{Event, LEDGER_FORMAT, LeaseEvent, LedgerCreated, LedgerEvent};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, LedgerId, Term, Uuid};
use ledger_core::store::sim::{Disk, new_ledger};
use opsledger::node::command::AttemptId;
use opsledger::node::core::ledger_subject;
use opsledger::node::decision::Decision;
use projections::framework::Projection;

use crate::chance::Draws;
use crate::clients::Clients;
use crate::clocks::Clocks;
use crate::heal::Healing;
use crate::host::Host;
use crate::invariants::acknowledged::Acknowledged;
use crate::invariants::attempts::Attempts;
use crate::invariants::checkpoints::Checkpoints;
use crate::invariants::jobs::Jobs;
use crate::invariants::projections::unfolded;
use crate::invariants::terminal::Accepted;
use crate::invariants::terms::Terms;
use crate::invariants::versions::Versions;
use crate::invariants::writers::Writers;
use crate::invariants::{Broken, Checked};
use crate::node::{Do, Node};
use crate::plan::{Fault, Plan, Wish};
use crate::queue::Queue;
use crate::shelf::Shelf;
use crate::shims::{ShimDo, Shims};
use crate::tally::Tally;
use crate::trace::Trace;

/// Writes a line of the trace.
macro_rules! say {
    ($world:expr, $($what:tt)+) => {
        $world.trace.line($world.clocks.now, format_args!($($what)+))
    };
}
pub(crate) use say;

/// Something that is to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A node's process is started.
    Start(usize),
    /// A life of a node does something; nothing if it has ended.
    Node(usize, u64, Do),
    /// The process of a life goes on.
    Resume(usize, u64),
    /// The process of a life, which was killed, is gone.
    Gone(usize, u64),
    /// Something of an attempt.
    Shim(AttemptId, ShimDo),
    /// A client asks something.
    Ask,
    /// Something goes wrong.
    Fault,
    /// This goes wrong, in the middle of a write.
    Strike(Fault),
    /// The disk works again.
    DiskMended,
    /// Nothing goes wrong any more.
    Calm,
    /// It is looked whether everything has come to its end.
    Look,
}

/// What must hold, and what is known for it.
#[derive(Debug, Default)]
pub(crate) struct Invariants {
    pub(crate) acknowledged: Acknowledged,
    pub(crate) terms: Terms,
    pub(crate) writers: Writers,
    pub(crate) attempts: Attempts,
    pub(crate) accepted: Accepted,
    pub(crate) versions: Versions,
    pub(crate) jobs: Jobs,
    pub(crate) checkpoints: Checkpoints,
}

/// Streams of chance, one for each concern.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) faults: Draws,
    pub(crate) times: Draws,
    pub(crate) disk: Draws,
    pub(crate) work: Draws,
    pub(crate) shims: Draws,
    pub(crate) ids: Draws,
    pub(crate) checkpoints: Draws,
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) queue: Queue<Happening>,
    pub(crate) clocks: Clocks,
    pub(crate) streams: Streams,
    pub(crate) ledger: LedgerId,
    pub(crate) disk: Disk,
    /// Whether calls of the disk may have failed since it was last whole, so that a ledger that can't
    /// be opened is no surprise.
    pub(crate) disk_fails: bool,
    /// Writes take up to so many milliseconds.
    pub(crate) disk_ms: u64,
    /// Until when beats can't be written.
    pub(crate) beats_fail_until: u64,
    pub(crate) host: Host,
    pub(crate) nodes: Vec<Node>,
    pub(crate) shims: Shims,
    pub(crate) shelf: Shelf,
    pub(crate) clients: Clients,
    /// What is durable, folded.
    pub(crate) mirror: Decision,
    pub(crate) must: Invariants,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    /// What goes wrong in the middle of the next write.
    pub(crate) ambush: Option<Fault>,
    pub(crate) healing: Option<Healing>,
    pub(crate) over: bool,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What did not hold.
    pub broken: Option<Broken>,
    /// Counts.
    pub tally: Tally,
    /// Of everything that happened, in order.
    pub digest: [u8; 32],
    /// Simulated time at its end, in microseconds.
    pub ended_at: u64,
    /// What happened, if that was kept.
    pub lines: Vec<String>,
}

impl World {
    fn new(seed: u64, wish: &Wish) -> Result<Self, Broken> {
        let plan = Plan::draw(seed, wish);
        let stream = |name| Draws::of(seed, name);
        let ledger = LedgerId(Uuid::from_u128(u128::from(seed) << 64 | 0x7000_8000));
        let clocks = Clocks::new();
        let genesis = genesis(ledger, &clocks).map_err(|what| unfolded(&what))?;
        let image = new_ledger(ledger, &genesis).map_err(|error| unfolded(&error))?;
        let nodes = (0..plan.nodes).map(Node::new).collect();
        let mut world = Self {
            disk_ms: plan.disk_ms,
            queue: Queue::default(),
            streams: Streams {
                faults: stream("faults"),
                times: stream("times"),
                disk: stream("disk"),
                work: stream("work"),
                shims: stream("shims"),
                ids: stream("ids"),
                checkpoints: stream("checkpoints"),
            },
            clocks,
            ledger,
            disk: Disk::holding(&image),
            disk_fails: false,
            beats_fail_until: 0,
            host: Host::new(),
            nodes,
            shims: Shims::default(),
            shelf: Shelf::default(),
            clients: Clients::default(),
            mirror: Decision::default(),
            must: Invariants::default(),
            trace: Trace::new(wish.trace),
            tally: Tally {
                seeds: 1,
                ..Tally::default()
            },
            ambush: None,
            healing: None,
            over: false,
            plan,
        };
        if world.plan.is_planted(crate::mutants::Bug::SkipSync) {
            world.disk.lie();
        }
        for (bytes, hash) in genesis.events() {
            world.shown(bytes, hash)?;
        }
        for slot in 0..world.plan.nodes {
            let at = world.streams.times.below(3);
            world.queue.put(at, Happening::Start(slot));
        }
        world.queue.put(1, Happening::Ask);
        if !world.plan.faults.is_empty() {
            world.queue.put(crate::plan::SECOND, Happening::Fault);
        }
        world.queue.put(world.plan.safety, Happening::Calm);
        say!(world, "{:?}", world.plan);
        Ok(world)
    }

    fn go_to_the_end(&mut self) -> Checked {
        while let Some((at, happening)) = self.queue.take() {
            self.clocks.now = at;
            self.happen(happening)?;
            if self.over {
                return Ok(());
            }
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Checked {
        match happening {
            Happening::Start(slot) => self.start(slot),
            Happening::Node(slot, life, what) => return self.of_node(slot, life, what),
            Happening::Resume(slot, life) => self.resume(slot, life),
            Happening::Gone(slot, life) => {
                if self.nodes[slot].life == life {
                    return self.dies(slot, "goes");
                }
            }
            Happening::Shim(attempt, what) => return self.of_shim(&attempt, what),
            Happening::Ask => self.ask_something(),
            Happening::Fault => return self.fault(),
            Happening::Strike(fault) => return self.strike(fault),
            Happening::DiskMended => self.mend_disk(),
            Happening::Calm => self.calm(),
            Happening::Look => return self.look_for_the_end(),
        }
        Ok(())
    }

    /// Puts something so much later.
    pub(crate) fn later(&mut self, after: u64, what: Happening) {
        self.queue.put(self.clocks.now + after, what);
    }

    /// An event that somebody outside is shown, because it is durable or was found in the files.
    pub(crate) fn shown(&mut self, bytes: &[u8], hash: Hash) -> Checked {
        let decoded = codec::decode(bytes).map_err(|error| unfolded(&error))?;
        self.shown_event(&decoded, hash)
    }

    /// The same, of one that was read.
    pub(crate) fn shown_event(&mut self, decoded: &EventRef<'_>, hash: Hash) -> Checked {
        let header = &decoded.header;
        if !self.must.acknowledged.shown(header.seq, hash)? {
            return Ok(());
        }
        let event = Event::decode(decoded).map_err(|error| unfolded(&error))?;
        self.must.terms.event(header)?;
        self.must.versions.event(header);
        self.must.jobs.event(header, &event)?;
        self.must.checkpoints.event(header, &event);
        self.count(header, &event);
        let folded = self.mirror.apply(header, &event);
        folded.map_err(|error| unfolded(&error))?;
        self.shims.know_order(header, &event);
        Ok(())
    }

    fn count(&mut self, header: &Header<'_>, event: &Event) {
        self.tally.events += 1;
        if matches!(event, Event::Lease(LeaseEvent::Acquired(_))) && header.term > Term(1) {
            self.tally.takeovers += 1;
        }
        match header.kind {
            "task.lost" => self.tally.lost += 1,
            "checkpoint.created" => self.tally.made += 1,
            "checkpoint.failed" => self.tally.unmade += 1,
            "checkpoint.rejected" => self.tally.rejected += 1,
            _ => {}
        }
        self.tally.due = self.must.jobs.due;
    }
}

/// One run of a seed.
pub(crate) fn run(seed: u64, wish: &Wish) -> Run {
    let mut world = match World::new(seed, wish) {
        Ok(world) => world,
        Err(broken) => {
            return Run {
                broken: Some(broken),
                tally: Tally::default(),
                digest: [0; 32],
                ended_at: 0,
                lines: Vec::new(),
            };
        }
    };
    let broken = world.go_to_the_end().err();
    if let Some(broken) = &broken {
        say!(world, "BROKEN {broken}");
    }
    Run {
        broken,
        digest: world.trace.digest(),
        ended_at: world.clocks.now,
        lines: std::mem::take(&mut world.trace.lines),
        tally: world.tally,
    }
}

/// The batch that the ledger begins with.
fn genesis(ledger: LedgerId, clocks: &Clocks) -> Result<ledger_core::chain::Batch, String> {
    let said = |e: &dyn std::fmt::Display| e.to_string();
    let created = LedgerEvent::Created(LedgerCreated {
        ledger_id: ledger,
        format: LEDGER_FORMAT,
        name: id("simulated"),
        software: "sim".into(),
        key_fingerprint: None,
    });
    let (kind, data) = Event::from(created).kind_and_data().unwrap_or_default();
    let draft = Draft {
        event_id: clock::event_id(clocks.wall(), [0; 10]),
        kind: kind.parse().map_err(|e| said(&e))?,
        version: 1,
        subject: ledger_subject(ledger),
        origin: Origin::of(entity("uid/0")),
        idempotency_key: None,
        data,
    };
    let mut builder = BatchBuilder::new(ChainKey::new(ledger), Head::EMPTY, Term::ZERO);
    let pushed = builder.push(&[draft], clocks.wall());
    pushed.map_err(|e| said(&e))?;
    Ok(builder.take())
}

/// An id made of a constant and numbers.
pub(crate) fn id(text: &str) -> Id {
    Id::new(text).expect("made of letters and digits here")
}

/// An entity made of constants and numbers.
pub(crate) fn entity(text: &str) -> Entity {
    Entity::new(text).expect("made of letters and digits here")
}
