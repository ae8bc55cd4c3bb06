//! Short commands through a node, from submit to seen end, beside a loop that spawns and waits and
//! keeps nothing: what the log, the claims, the captured output and the digests cost.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ledger_core::event::{Exec, Payload, Priority};
use opsledger::api::wire::SubmitRequest;
use opsledger::client::Client;
use projections::tasks::StateName;

use crate::comparison::{Bar, Comparison, params};
use crate::error::{Context, Failure};
use crate::node::{Ledger, Node, runtime};
use crate::rounds::{Contestant, interleave};
use crate::settings::Settings;

/// What is run.
const PROGRAM: &str = "/bin/true";
/// How many clients, or spawning threads, there are in each comparison.
const PARALLEL: [u64; 3] = [1, 4, 8];
/// Attempts that the node may run at once: no client ever waits for a slot.
const MAX_RUNNING: u32 = 16;
/// Least ratio.
const BAR: f64 = 0.45;

/// Compares a node with a bare loop.
///
/// # Errors
/// The first [`Failure`].
pub(crate) fn compare(
    dir: &Path,
    ledger: &Ledger,
    settings: &Settings,
) -> Result<Vec<Comparison>, Failure> {
    let home = tempfile::tempdir_in(dir).context("making a directory for a node")?;
    let node = Node::start(ledger, home.path(), MAX_RUNNING, "")?;
    let mut comparisons = Vec::new();
    for parallel in PARALLEL {
        let mut contestants = [
            Contestant::new("ours", || through_node(&node, parallel, settings.span)),
            Contestant::new("spawn", || spawning(parallel, settings.span)),
        ];
        let figure = format!("exec, {parallel} at once");
        let figures = interleave(&figure, settings.rounds, &mut contestants)?;
        comparisons.push(Comparison::of_rounds(
            ("exec", "commands/s"),
            params([("parallel", parallel.into())]),
            &figures[0],
            ("spawn", &figures[1]),
            Some(Bar::AtLeast(BAR)),
        ));
    }
    node.stop()?;
    Ok(comparisons)
}

/// A task that runs a command, and what else holds for it by default.
pub(crate) fn task(argv: Vec<String>) -> SubmitRequest {
    SubmitRequest {
        task_id: None,
        priority: Priority::Standard,
        payload: Payload::Exec(Exec {
            argv,
            env: BTreeMap::new(),
            cwd: None,
            stdin: None,
        }),
        max_runtime_ms: None,
        grace_ms: None,
        terms: None,
        idempotency_key: None,
        claimed_actor: None,
        correlation: None,
    }
}

/// Commands that ended within `span`, a second; a tenth of it goes before to warm up.
struct Window {
    from: Instant,
    until: Instant,
    ended: AtomicU64,
    failed: AtomicBool,
}

impl Window {
    fn begin(span: Duration) -> Self {
        let from = Instant::now() + span / 10;
        Self {
            from,
            until: from + span,
            ended: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        }
    }

    /// Whether another command is to be run.
    fn is_open(&self) -> bool {
        Instant::now() < self.until && !self.failed.load(Ordering::Relaxed)
    }

    /// A command ended just now.
    fn count(&self) {
        let now = Instant::now();
        if (self.from..self.until).contains(&now) {
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A command went wrong: nobody needs to go on.
    fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 commands")]
    fn rate(&self) -> f64 {
        let ended = self.ended.load(Ordering::Relaxed) as f64;
        ended / (self.until - self.from).as_secs_f64()
    }
}

fn through_node(node: &Node, clients: u64, span: Duration) -> Result<f64, Failure> {
    runtime()?.block_on(async {
        let client = std::sync::Arc::new(node.client().await?);
        let window = std::sync::Arc::new(Window::begin(span));
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let (client, window) = (client.clone(), window.clone());
                tokio::spawn(async move {
                    let ended = submit_and_wait(&client, &window).await;
                    if ended.is_err() {
                        window.fail();
                    }
                    ended
                })
            })
            .collect();
        for task in tasks {
            task.await.context("a client")??;
        }
        Ok(window.rate())
    })
}

async fn submit_and_wait(client: &Client, window: &Window) -> Result<(), Failure> {
    while window.is_open() {
        let receipt = client
            .submit(&task(vec![PROGRAM.to_owned()]))
            .await
            .context("submitting a task")?;
        let ended = client
            .wait(&receipt.task_id)
            .await
            .context("waiting for a task")?;
        if ended.state != StateName::Completed {
            return Err(Failure::new(format!(
                "task {} is {}, exit code {:?}",
                ended.task_id,
                ended.state.as_str(),
                ended.exit_code
            )));
        }
        window.count();
    }
    Ok(())
}

fn spawning(threads: u64, span: Duration) -> Result<f64, Failure> {
    let window = Window::begin(span);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| spawn_and_wait(&window).inspect_err(|_| window.fail())))
            .collect();
        for thread in threads {
            thread
                .join()
                .map_err(|_| Failure::new("a spawning thread panicked"))??;
        }
        Ok(window.rate())
    })
}

fn spawn_and_wait(window: &Window) -> Result<(), Failure> {
    while window.is_open() {
        let status = Command::new(PROGRAM)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context(format!("running {PROGRAM}"))?;
        if !status.success() {
            return Err(Failure::new(format!("{PROGRAM} ended with {status}")));
        }
        window.count();
    }
    Ok(())
}
