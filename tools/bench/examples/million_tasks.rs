//! What a million queued tasks cost: memory for each, and the time of a submit and of a start as the
//! queues fill. Decisions and folds only; nothing is encoded or written.
//!
//! ```text
//! cargo run --release -p bench --example million_tasks -- [TASKS]
//! ```

#![expect(clippy::print_stdout, reason = "what it measures is what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use ledger_core::envelope::Header;
use ledger_core::event::{Exec, Payload, Priority, TaskSubmitted, Terms};
use ledger_core::ids::{EventId, Id, Seq, Term, Uuid};
use ledger_core::time::{Millis, Timestamp};
use opsledger::decided::Decided;
use opsledger::scheduler::{decide, dispatch, policy::Policy};
use projections::framework::Projection;
use projections::tasks::Tasks;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How many are timed together.
const LOT: u64 = 10_000;

struct World {
    tasks: Tasks,
    seq: u64,
}

fn main() -> Outcome<()> {
    let count = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 1_000_000,
    };
    for (what, keyed) in [("plain", false), ("with terms and a key of its own", true)] {
        let mut world = World {
            tasks: Tasks::default(),
            seq: 0,
        };
        let before = resident()?;
        println!("{what}:");
        let mut begun = Instant::now();
        for n in 0..count {
            world.submit(n, keyed)?;
            if (n + 1) % LOT == 0 && (n < LOT || n + 1 == count) {
                report("submit", n + 1, begun);
            }
            if (n + 1) % LOT == 0 {
                begun = Instant::now();
            }
        }
        let bytes = resident()?.saturating_sub(before) * 1024 / count;
        println!("  {bytes} bytes for each of {count} tasks");
        world.start(count)?;
        // What is given back would be used again, and the next figure too low.
        std::mem::forget(world);
    }
    Ok(())
}

fn report(what: &str, at: u64, begun: Instant) {
    let nanos = begun.elapsed().as_nanos() / u128::from(LOT);
    println!("  {what} at {at:>9}: {:.2} µs each", nanos as f64 / 1000.0);
}

/// Resident memory in KiB.
fn resident() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

impl World {
    fn submit(&mut self, n: u64, keyed: bool) -> Outcome<()> {
        let terms = Terms {
            max_attempts: 3,
            not_before: Some(Timestamp(1)),
            expires_at: Some(Timestamp(300_000_000_000_000)),
            depends_on: Vec::new(),
            rate_key: Some(Id::new("provider")?),
            concurrency_key: Some(Id::new(format!("customer-{n}"))?),
            stall_after_ms: None,
        };
        let task = TaskSubmitted {
            priority: Priority::ALL[usize::try_from(n % 3)?],
            payload: Payload::Exec(Exec {
                argv: vec!["sh".into(), "-c".into(), format!("agent --call {n} --json")],
                env: BTreeMap::new(),
                cwd: Some("/srv/fleet/work".into()),
                stdin: None,
            }),
            max_runtime_ms: Millis(30_000),
            grace_ms: Millis(5_000),
            terms: keyed.then(|| Box::new(terms)),
        };
        let id = Id::new(Uuid::from_u128(u128::from(n) << 64 | 0x7000).to_string())?;
        let decided = decide::submit(&self.tasks, &id, task, Timestamp(self.seq))?;
        self.apply(&decided)
    }

    /// Starts as many as are timed together.
    fn start(&mut self, count: u64) -> Outcome<()> {
        let policy = Policy {
            max_running: usize::MAX,
            ..Policy::default()
        };
        let node = Id::new("n")?;
        let begun = Instant::now();
        for _ in 0..LOT.min(count) {
            let now = Timestamp(self.seq);
            let decided = dispatch::dispatch(&self.tasks, &policy, &node, now);
            self.apply(&decided.ok_or("nothing to start")?)?;
        }
        report("start ", count, begun);
        Ok(())
    }

    fn apply(&mut self, decided: &Decided) -> Outcome<()> {
        self.seq += 1;
        let (kind, _) = decided.event.kind_and_data().ok_or("an event of our own")?;
        let header = Header {
            seq: Seq(self.seq),
            term: Term(1),
            recorded_at: Timestamp(self.seq),
            event_id: EventId(Uuid::nil()),
            kind,
            version: 1,
            subject: decided.subject.as_str(),
            actor: "uid/1000",
            claimed_actor: None,
            cause: None,
            correlation: None,
            traceparent: None,
            idempotency_key: None,
        };
        Ok(self.tasks.apply(&header, &decided.event)?)
    }
}
