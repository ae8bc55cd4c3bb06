//! Replay of a recorded workload through a real node: every call becomes a task of its own length,
//! submitted when it was called; then the binary itself checks what it wrote.

mod drive;
mod report;
pub(crate) mod trace;

use std::fs;
use std::path::{Path, PathBuf};

use ledger_core::store::LogReader;
use ledger_core::store::Offline as _;
use ledger_core::store::durable::{JOURNAL_DIR, OfflineReader};
use ledger_core::store::redb::{HEAD_FILE, STORE_FILE};

use self::drive::drive;
use self::report::{Check, Report, Through, Verdict, seconds};
use self::trace::Plan;
use crate::cli::ReplayArgs;
use crate::comparison::round;
use crate::error::{Context, Failure};
use crate::node::{Ledger, Node, runtime};

/// Replays; returns what is to be printed, and whether all went as it should.
///
/// # Errors
/// [`Failure`] if the replay could not be carried through.
pub(crate) fn run(args: &ReplayArgs) -> Result<(String, Outcome), Failure> {
    let plan = Plan::read(&args.file, args.scale.0)?;
    if plan.tasks.is_empty() {
        return Err(Failure::new(format!(
            "{} holds no call that ended",
            args.file.display()
        )));
    }
    let ledger = Ledger::find(args.ledger.as_deref())?;
    let home = Home::make(args)?;
    let report = replay(args, &plan, &ledger, home.path())?;
    let text = if args.json {
        serde_json::to_string(&report).context("writing JSON")? + "\n"
    } else {
        report.to_string()
    };
    let outcome = match report.verdict {
        Verdict::Ok => Outcome::Sound,
        Verdict::Failed => Outcome::Unsound,
    };
    Ok((text, outcome))
}

/// How a replay that was carried through ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every task completed once and every check passed.
    Sound,
    /// Something did not.
    Unsound,
}

/// Where the node's files are: removed at the end, or kept where asked for.
enum Home {
    Removed(tempfile::TempDir),
    Kept(PathBuf),
}

impl Home {
    fn make(args: &ReplayArgs) -> Result<Self, Failure> {
        let Some(keep) = &args.keep else {
            return args.place.make().map(Self::Removed);
        };
        // The node takes an absolute path, and a directory that holds something is not ours.
        fs::create_dir_all(keep).context(format!("making {}", keep.display()))?;
        let path = keep
            .canonicalize()
            .context(format!("looking at {}", keep.display()))?;
        let mut entries = fs::read_dir(&path).context(format!("looking at {}", path.display()))?;
        match entries.next() {
            None => Ok(Self::Kept(path)),
            Some(_) => Err(Failure::new(format!("{} is not empty", path.display()))),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Removed(dir) => dir.path(),
            Self::Kept(path) => path,
        }
    }
}

fn replay(args: &ReplayArgs, plan: &Plan, ledger: &Ledger, home: &Path) -> Result<Report, Failure> {
    let node = Node::start(ledger, home, args.max_running, "")?;
    let data_dir = node.data_dir().to_owned();
    let (driven, status) = runtime()?.block_on(async {
        let driven = drive(node.client().await?, plan, args.max_running).await?;
        let status = node.client().await?.status(None).await;
        Ok::<_, Failure>((driven, status.context("asking for the status")?))
    })?;
    let mut checks = Vec::new();
    let mut check = |through, args: &[&str]| -> Result<(), Failure> {
        checks.push(Check {
            command: args.join(" "),
            through,
            exit_code: ledger.run(&data_dir, args)?,
        });
        Ok(())
    };
    check(Through::Node, &["verify"])?;
    check(Through::Node, &["rebuild", "--check"])?;
    node.stop()?;
    check(Through::Files, &["verify"])?;
    check(Through::Files, &["rebuild", "--check"])?;

    let reader = OfflineReader::open(&data_dir).context("opening the ledger")?;
    let tasks = plan.tasks.len();
    let least = plan.last_arrival().max(plan.work() / args.max_running);
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 tasks")]
    let tasks_per_s = round(tasks as f64 / driven.makespan.as_secs_f64(), 2);
    // A task is in the ledger once: what was submitted twice must not have made a second one.
    let completed = usize::try_from(status.report.tasks.completed).unwrap_or(usize::MAX);
    let mut report = Report {
        replay: args
            .file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        scale: args.scale.0,
        max_running: args.max_running,
        runs: plan.runs,
        tasks,
        left_out: plan.left_out,
        pauses_cut: plan.pauses_cut,
        submitted_twice: driven.submitted_twice,
        not_completed: driven.not_completed.max(completed.abs_diff(tasks)),
        makespan_s: seconds(driven.makespan),
        least_s: seconds(least),
        tasks_per_s,
        queues: status.report.queues.iter().map(Into::into).collect(),
        events: reader.head().context("reading the ledger's head")?.seq.0,
        event_bytes: reader.event_bytes(),
        ledger_bytes: ledger_bytes(&data_dir)?,
        checks,
        verdict: Verdict::Failed,
    };
    report.judge();
    Ok(report)
}

/// Bytes of the files that hold the events.
fn ledger_bytes(data_dir: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for name in [STORE_FILE, HEAD_FILE] {
        let path = data_dir.join(name);
        let meta = fs::metadata(&path).context(format!("looking at {}", path.display()))?;
        bytes += meta.len();
    }
    let journal = data_dir.join(JOURNAL_DIR);
    let segments = fs::read_dir(&journal).context(format!("looking at {}", journal.display()))?;
    for segment in segments {
        let meta = segment.and_then(|segment| segment.metadata());
        bytes += meta.context("looking at a journal segment")?.len();
    }
    Ok(bytes)
}
