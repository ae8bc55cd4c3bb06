//! The demo's plot, from an empty directory to its verdict.

use std::time::{Duration, Instant};

use ledger_core::ids::Id;
use projections::status::RecoveryFacts;
use projections::tasks::{StateName, TaskView};

use super::node::DemoNode;
use super::work::{APPROVAL, FAILING, all, make_files};
use super::{Lines, Stage, failed};
use crate::api::wire::{ApiError, ErrorCode, Status, TaskQuery};
use crate::cli::error::{Exit, Failure};
use crate::cli::source::Node;

/// How long the first node works before it is killed.
const BEFORE_KILL: Duration = Duration::from_millis(1500);
/// How often, and how long after each other, a new node is asked what it has found.
const LOOKS: u32 = 50;
const LOOK: Duration = Duration::from_millis(20);
/// Who leads first, and who takes over.
const FIRST: &str = "primary";
const SECOND: &str = "backup";
/// Terms that there must be: the first, that of the takeover, that of the handover.
const TERMS: u64 = 3;

pub(super) fn tell(stage: &mut Stage) -> Result<Exit, Failure> {
    make_files(&stage.files)?;
    expect(
        stage.operator(&["init", "--name", "demo"], Lines::All)?,
        "init",
    )?;
    stage.out.line("")?;
    let first = DemoNode::leader(&stage.exe, &stage.data_dir, FIRST)?;
    let second = DemoNode::standby(&stage.exe, &stage.data_dir, SECOND)?;
    stage.say(format_args!(
        "node {FIRST} leads (process {}), node {SECOND} stands by",
        first.pid()
    ))?;

    let tasks = all(&stage.files);
    let ids: Vec<Id> = tasks
        .iter()
        .filter_map(|task| task.task_id.clone())
        .collect();
    let api = Node::require(&stage.data_dir)?;
    for task in &tasks {
        api.wait(api.client().submit(task))?;
    }
    stage.say(format_args!(
        "{} commands are submitted, in three queues",
        ids.len()
    ))?;

    std::thread::sleep(BEFORE_KILL);
    let before = api.wait(api.client().status(None))?;
    drop(api);
    let killed = Instant::now();
    first.kill()?;
    second.leads()?;
    let took = killed.elapsed();
    stage.say(format_args!(
        "node {FIRST} is killed with -9: {} done, {} running, {} waiting",
        before.report.totals.completed, before.report.tasks.running, before.report.tasks.queued
    ))?;
    let api = Node::require(&stage.data_dir)?;
    let found = came_back(&looked_into(&api)?);
    drop(api);
    stage.say(format_args!(
        "node {SECOND} leads {} ms later: {found}",
        took.as_millis()
    ))?;

    let first = hand_back(stage, &second)?;
    let api = Node::require(&stage.data_dir)?;
    let views = finish(stage, &api, &ids)?;
    show(stage, [second, first], api, &views, ids.len())
}

/// The node that was killed is started again, stands by, and is handed the lease while work goes on.
fn hand_back(stage: &mut Stage, leader: &DemoNode) -> Result<DemoNode, Failure> {
    let first = DemoNode::standby(&stage.exe, &stage.data_dir, FIRST)?;
    stage.say(format_args!("node {FIRST} is back and stands by"))?;
    for args in [&["lease", "status"][..], &["lease", "step-down", "--yes"]] {
        expect(stage.operator(args, Lines::All)?, &args.join(" "))?;
    }
    first.leads()?;
    leader.stands_by()?;
    stage.out.line("")?;
    Ok(first)
}

/// The task that failed is retried by hand, and everything comes to its end.
fn finish(stage: &mut Stage, api: &Node, ids: &[Id]) -> Result<Vec<TaskView>, Failure> {
    let failing = Id::new(FAILING).map_err(|e| failed("the demo's own id", e))?;
    let first = api.wait(api.client().wait(&failing))?;
    stage.say(format_args!(
        "{FAILING} has failed (exit code {}); its file is made and it is retried by hand",
        first.exit_code.unwrap_or_default()
    ))?;
    std::fs::write(stage.files.join(APPROVAL), "go ahead\n")
        .map_err(|e| failed("the approval can't be written", e))?;
    expect(
        stage.operator(&["task", "retry", FAILING], Lines::All)?,
        "task retry",
    )?;
    stage.out.line("")?;
    for id in ids {
        api.wait(api.client().wait(id))?;
    }
    stage.say("every task has ended")?;

    let query = TaskQuery {
        limit: Some(1000),
        ..TaskQuery::default()
    };
    let listed = async { api.client().tasks(&query).await?.collect().await };
    api.wait(listed)
}

/// What an operator would look at, then the end of the nodes and the verdict.
fn show(
    stage: &mut Stage,
    [standby, leader]: [DemoNode; 2],
    api: Node,
    views: &[TaskView],
    expected: usize,
) -> Result<Exit, Failure> {
    let mut codes = Vec::new();
    for (args, lines) in [
        (&["status"][..], Lines::All),
        (&["query", "-k", "lease.*", "-o", "short"][..], Lines::All),
        (&["task", "show", "hangs"][..], Lines::First(14)),
        (&["tail", "-n", "12", "-o", "short"][..], Lines::All),
        (&["verify"][..], Lines::All),
        (&["rebuild", "--check"][..], Lines::All),
    ] {
        codes.push(stage.operator(args, lines)?);
    }
    let status = api.wait(api.client().status(None))?;
    drop(api);
    stage.out.line("")?;
    // Whoever stands by goes first: it would take over.
    let stopped = standby.stop()? && leader.stop()?;
    stage.say("both nodes have stopped in good order")?;
    let verdict = Verdict {
        status: &status,
        views,
        expected,
    };
    let sound = stopped && codes.iter().all(|code| *code == 0) && verdict.holds();
    stage.out.line(verdict.line(sound))?;
    Ok(if sound { Exit::OK } else { Exit::FAILED })
}

fn expect(code: u8, what: &str) -> Result<(), Failure> {
    if code == 0 {
        return Ok(());
    }
    let message = format!("`ledger {what}` ended with exit code {code}");
    Err(ApiError::new(ErrorCode::Failed, message).into())
}

/// What a node says once it has looked into what ran before it; that takes some milliseconds, and on a
/// slow host it need not be waited for.
fn looked_into(api: &Node) -> Result<Status, Failure> {
    for _ in 0..LOOKS {
        let status = api.wait(api.client().status(None))?;
        if recovery(&status).is_some() {
            return Ok(status);
        }
        std::thread::sleep(LOOK);
    }
    api.wait(api.client().status(None))
}

fn recovery(status: &Status) -> Option<&RecoveryFacts> {
    let node = status.report.node.as_ref();
    node.and_then(|node| node.recovery.as_ref())
}

fn came_back(status: &Status) -> String {
    match recovery(status) {
        None => "it is still looking into what runs".to_owned(),
        Some(r) => format!(
            "{} events replayed in {:.1} ms; attempts re-attached {}, \
             ended meanwhile {}, lost {}",
            r.replayed,
            micros_as_ms(r.replay_us.0),
            r.reattached,
            r.closed,
            r.lost
        ),
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds for people")]
fn micros_as_ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// What must hold at the end, and the line that says so.
struct Verdict<'a> {
    status: &'a Status,
    views: &'a [TaskView],
    expected: usize,
}

impl Verdict<'_> {
    fn count(&self, wanted: impl Fn(&TaskView) -> bool) -> usize {
        self.views.iter().filter(|view| wanted(view)).count()
    }

    fn terms(&self) -> u64 {
        let lease = self.status.report.lease.as_ref();
        lease.map_or(0, |lease| lease.facts.term.0)
    }

    /// Everything completed but the one that hangs; that was reaped; the one that failed took
    /// two attempts and all others one; nothing was lost; the lease went over twice.
    fn holds(&self) -> bool {
        let retried = self.count(|v| v.task_id.as_str() == FAILING && v.attempts.len() == 2);
        self.views.len() == self.expected
            && self.count(|v| v.state == StateName::Completed) == self.expected - 1
            && self.count(|v| v.exit_code == Some(124)) == 1
            && retried == 1
            && self.count(|v| v.attempts.len() == 1) == self.expected - 1
            && self.status.report.totals.lost == 0
            && self.terms() == TERMS
    }

    fn line(&self, sound: bool) -> String {
        let report = &self.status.report;
        let doubled = self.count(|v| v.attempts.len() > 1 && v.task_id.as_str() != FAILING);
        format!(
            "{}: {} tasks, {} completed, {} reaped, {} retried by hand, {} lost, {doubled} doubled; \
             {} events, {} terms, {}",
            if sound { "demo passed" } else { "demo FAILED" },
            self.views.len(),
            self.count(|v| v.state == StateName::Completed),
            self.count(|v| v.exit_code == Some(124)),
            report.totals.retried,
            report.totals.lost,
            report.events_total,
            self.terms(),
            if sound { "intact" } else { "see above" },
        )
    }
}
