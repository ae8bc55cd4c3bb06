//! Recurring jobs: due on a real clock, across a kill; defined, changed and refused while a node
//! runs; and what the node does itself.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ledger_core::event::{Event, JobEvent};
use ledger_core::time::Timestamp;
use opsledger::api::wire::PauseRequest;
use projections::jobs::{JobState, RunOutcome, RunState};
use projections::tasks::StateName;
use serde_json::Value;

use crate::support::{Fifo, Ledger, Log, Node, exec, id, named, text};

/// Writes a file of jobs as an editor does: beside it, then over it.
fn write_job(ledger: &Ledger, name: &str, toml: &str) {
    let dir = ledger.dir.join("jobs.d");
    fs::create_dir_all(&dir).unwrap();
    let beside = dir.join(format!(".{name}.swp"));
    fs::write(&beside, toml).unwrap();
    fs::rename(beside, dir.join(name)).unwrap();
}

/// The due times of a job, each of which must be decided once: as runs, and as left out.
fn decided(log: &Log, job: &str, period_us: u64) -> (Vec<Timestamp>, Vec<Timestamp>) {
    let (mut runs, mut out) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (n, event) in log.0.iter().enumerate().filter(|(_, e)| e.of == job) {
        match &event.event {
            Event::Job(JobEvent::Due(due)) => {
                assert!(seen.insert(due.due_at), "decided twice: {event:?}");
                let submitted = &log.0[n + 1];
                assert_eq!(
                    (submitted.kind.as_str(), &*submitted.of),
                    ("task.submitted", &*due.task)
                );
                runs.push(due.due_at);
            }
            Event::Job(JobEvent::Skipped(skipped)) => {
                let mut at = skipped.due_at;
                while at <= skipped.through.unwrap_or(skipped.due_at) {
                    assert!(seen.insert(at), "decided twice: {event:?}");
                    out.push(at);
                    at = Timestamp(at.0 + period_us);
                }
            }
            _ => {}
        }
    }
    let all: Vec<_> = seen.into_iter().collect();
    for pair in all.windows(2) {
        assert_eq!(
            pair[1].0 - pair[0].0,
            period_us,
            "a due time is missing: {pair:?}"
        );
    }
    (runs, out)
}

#[tokio::test]
async fn what_is_due_is_submitted_once_though_the_node_is_killed() {
    let ledger = Ledger::configured(
        "[jobs.tick]\nevery = \"1s\"\ncommand = [\"true\"]\noverlap = \"queue\"\n\
         missed = \"run_all\"\nmissed_at_most = 1000\n",
    );
    for round in 1..=3u64 {
        let node = ledger.up().await;
        // Killed right after a run was recorded, with its task anywhere.
        let mut follower = node.follow(1).await;
        for _ in 0..2 * round {
            follower.find(|e| e.kind == "job.due").await;
        }
        node.crash();
    }
    let node = ledger.up().await;
    let last = node
        .event(|e| e.kind == "job.due" && e.term == node.term)
        .await;
    node.end_of(last.data["task"].as_str().unwrap()).await;
    let list = node.client.jobs(None).await.unwrap();
    let tick = &list.jobs[0];
    assert_eq!((&*tick.name, tick.state), ("tick", JobState::Active));
    assert!(tick.next_due.unwrap() > tick.decided);
    assert_eq!(tick.recent.success_rate(), Some(1.0));
    node.stop_well();

    let log = ledger.assert_sound();
    let (runs, out) = decided(&log, "tick", 1_000_000);
    assert!(runs.len() >= 7 && out.is_empty(), "{runs:?} {out:?}");
    assert_eq!(
        log.count("job.defined"),
        1,
        "a restart defines nothing anew"
    );
    let defined = log.only("job.defined");
    let Event::Job(JobEvent::Defined(e)) = &defined.event else {
        panic!("{defined:?}")
    };
    assert_eq!(
        runs[0].0,
        e.from.0 + 1_000_000,
        "the first is a period later"
    );
    for due in log.of_kind("job.due") {
        let task = due.data["task"].as_str().unwrap();
        assert_eq!(log.life(task)[0], "task.submitted");
    }
}

#[tokio::test]
async fn an_id_that_somebody_has_taken_keeps_no_run_away() {
    let ledger = Ledger::configured("[jobs.tick]\nevery = \"1s\"\ncommand = [\"true\"]\n");
    let node = ledger.up().await;
    let first = node.event(|e| e.kind == "job.due").await;
    let due = first.data["due_at"].as_str().unwrap();
    let due: Timestamp = due.parse().unwrap();
    let taken: Vec<String> = (2..30)
        .map(|seconds| {
            let at = Timestamp(due.0 + seconds * 1_000_000);
            at.to_jiff().strftime("tick-%Y%m%dT%H%M%SZ").to_string()
        })
        .collect();
    for task in &taken {
        node.submit(named(task, exec(&["true"]))).await;
    }
    let mut follower = node.follow(1).await;
    let run = follower
        .find(|e| {
            let task = e.data["task"].as_str().unwrap_or_default();
            e.kind == "job.due" && task.ends_with("Z-2")
        })
        .await;
    let task = run.data["task"].as_str().unwrap();
    assert!(taken.contains(&task.strip_suffix("-2").unwrap().to_owned()));
    let ended = node.end_of(task).await;
    assert_eq!(ended.exit_code, Some(0));
    node.stop_well();
    let log = ledger.assert_sound();
    assert!(
        log.of_kind("job.skipped")
            .iter()
            .all(|skipped| skipped.data["reason"] != "repeated")
    );
}

#[tokio::test]
async fn definitions_are_taken_while_the_node_runs_and_bad_ones_refused() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let mut follower = node.follow(1).await;
    let job =
        |every: &str| format!("[[job]]\nname = \"a\"\nevery = \"{every}\"\ncommand = [\"true\"]\n");
    write_job(&ledger, "a.toml", &job("1h"));
    let defined = follower.find(|e| e.kind.starts_with("job.")).await;
    assert_eq!((defined.kind.as_str(), &*defined.of), ("job.defined", "a"));
    assert_eq!(defined.data["spec"]["source"], "jobs.d/a.toml");
    write_job(&ledger, "a.toml", &job("2h"));
    let changed = follower.find(|e| e.kind.starts_with("job.")).await;
    assert_eq!(changed.kind, "job.changed");

    // Refused with file, line and reason; what was there stays. Another file is taken nonetheless.
    write_job(
        &ledger,
        "a.toml",
        "[jobs.a]\nevery = \"2h\"\ncomand = [\"true\"]\n",
    );
    write_job(
        &ledger,
        "b.toml",
        "[jobs.b]\ncron = \"0 0 30 2 *\"\ncommand = [\"true\"]\n",
    );
    write_job(
        &ledger,
        "c.toml",
        "[jobs.c]\nevery = \"1h\"\ncommand = [\"true\"]\n",
    );
    let next = follower.find(|e| e.kind.starts_with("job.")).await;
    assert_eq!((next.kind.as_str(), &*next.of), ("job.defined", "c"));
    let list = node.client.jobs(None).await.unwrap();
    let names: Vec<_> = list.jobs.iter().map(|job| &*job.name).collect();
    assert_eq!(names, ["a", "c"]);
    let warned = |warnings: &[String], words: &[&str]| {
        let found = warnings
            .iter()
            .any(|w| words.iter().all(|word| w.contains(word)));
        assert!(found, "{words:?} in {warnings:?}");
    };
    let status = node.status().await;
    for warnings in [&list.warnings, &status.node.unwrap().warnings] {
        warned(
            warnings,
            &["jobs.d/a.toml:3: ", "`comand`", "did you mean `command`?"],
        );
        warned(
            warnings,
            &["jobs.d/b.toml:2: ", "`0 0 30 2 *` is never due"],
        );
    }
    assert_eq!(status.jobs.len(), 2);

    // A node that comes up on a file that is bad keeps what it defined.
    node.stop_well();
    let node = ledger.up().await;
    let list = node.client.jobs(None).await.unwrap();
    assert_eq!(list.jobs.len(), 2);
    warned(&list.warnings, &["jobs.d/a.toml:3: "]);
    let mut follower = node.follow(node.log().await.last().seq + 1).await;
    fs::remove_file(ledger.dir.join("jobs.d/b.toml")).unwrap();
    fs::remove_file(ledger.dir.join("jobs.d/a.toml")).unwrap();
    let removed = follower.find(|e| e.kind.starts_with("job.")).await;
    assert_eq!((removed.kind.as_str(), &*removed.of), ("job.removed", "a"));
    // The configuration itself, which was there before.
    ledger.configure("[jobs.d]\nevery = \"1h\"\ncommand = [\"true\"]\n");
    let defined = follower.find(|e| e.kind.starts_with("job.")).await;
    assert_eq!((defined.kind.as_str(), &*defined.of), ("job.defined", "d"));
    let list = node.client.jobs(None).await.unwrap();
    assert_eq!(list.warnings, Vec::<String>::new());
    node.stop_well();
    assert_eq!(ledger.assert_sound().count("job."), 5);
}

#[tokio::test]
async fn a_job_that_is_removed_leaves_its_run_alone() {
    let ledger = Ledger::new();
    let fifo = ledger.fifo("go");
    let command = format!("read line < {}", fifo.show());
    write_job(
        &ledger,
        "w.toml",
        &format!(
            "[jobs.w]\nevery = \"1h\"\nmax_runtime = \"10m\"\ncommand = [\"sh\", \"-c\", \"{command}\"]\n"
        ),
    );
    let node = ledger.up().await;
    let receipt = node.client.run_job(&id("w")).await.unwrap();
    assert!(receipt.task_id.starts_with("w-manual-"), "{receipt:?}");
    node.registered(&receipt.task_id, 1).await;
    fs::remove_file(ledger.dir.join("jobs.d/w.toml")).unwrap();
    node.event(|e| e.kind == "job.removed").await;
    let list = node.client.jobs(None).await.unwrap();
    assert_eq!(list.jobs[0].state, JobState::Removed);
    assert_eq!(list.jobs[0].live, std::slice::from_ref(&receipt.task_id));
    let gone = node.client.run_job(&id("w")).await.unwrap_err();
    assert_eq!(gone.message, "there is no job w");
    fifo.tell("go");
    let ended = node.end_of(&receipt.task_id).await;
    assert_eq!(ended.state, StateName::Completed);
    assert!(node.client.jobs(None).await.unwrap().jobs.is_empty());
    let shown = node.client.job(&id("w"), None).await.unwrap();
    assert!(matches!(
        shown.runs[0].state,
        RunState::Ended {
            outcome: RunOutcome::Completed,
            ..
        }
    ));
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn a_job_that_is_renamed_while_it_runs_is_another_job() {
    let ledger = Ledger::new();
    let (go, go_too) = (ledger.fifo("go"), ledger.fifo("go-too"));
    let job = |name: &str, fifo: &Fifo| {
        format!(
            "[jobs.{name}]\nevery = \"1h\"\noverlap = \"skip\"\nmax_runtime = \"10m\"\n\
             command = [\"sh\", \"-c\", \"read line < {}\"]\n",
            fifo.show()
        )
    };
    write_job(&ledger, "w.toml", &job("old", &go));
    let node = ledger.up().await;
    let first = node.client.run_job(&id("old")).await.unwrap().task_id;
    node.registered(&first, 1).await;
    write_job(&ledger, "w.toml", &job("new", &go_too));
    node.event(|e| e.kind == "job.defined" && e.of == "new")
        .await;
    // The run of the old name goes on and stays that of the old name; the new one owes it nothing.
    let list = node.client.jobs(None).await.unwrap();
    let states: Vec<_> = list
        .jobs
        .iter()
        .map(|job| (&*job.name, job.state))
        .collect();
    assert_eq!(
        states,
        [("new", JobState::Active), ("old", JobState::Removed)]
    );
    assert_eq!(list.jobs[1].live, std::slice::from_ref(&first));
    let second = node.client.run_job(&id("new")).await.unwrap().task_id;
    assert!(second.starts_with("new-manual-"), "{second}");
    node.registered(&second, 1).await;
    go.tell("go");
    assert_eq!(node.end_of(&first).await.state, StateName::Completed);
    go_too.tell("go");
    assert_eq!(node.end_of(&second).await.state, StateName::Completed);
    // And back: the old name is defined anew, and keeps what it ran.
    write_job(&ledger, "w.toml", &job("old", &go));
    node.event(|e| e.kind == "job.removed" && e.of == "new")
        .await;
    let shown = node.client.job(&id("old"), None).await.unwrap();
    assert_eq!(shown.runs.len(), 1);
    node.stop_well();
    let log = ledger.assert_sound();
    let kinds: Vec<_> = log.of_kind("job.").iter().map(|e| &*e.kind).collect();
    let told = |kind: &str| kinds.iter().filter(|k| **k == kind).count();
    assert_eq!((told("job.defined"), told("job.removed")), (3, 2));
}

#[tokio::test]
async fn the_run_before_is_cancelled_left_to_go_on_or_in_the_way() {
    let job = |name: &str, overlap: &str| {
        format!(
            "[jobs.{name}]\nevery = \"1s\"\noverlap = \"{overlap}\"\nmax_runtime = \"10m\"\n\
             command = [\"sleep\", \"600\"]\n"
        )
    };
    let ledger = Ledger::configured(&(job("ends", "cancel_running") + &job("waits", "skip")));
    let node = ledger.up().await;
    let of = |kind: &'static str, job: &'static str| {
        move |e: &crate::support::Logged| e.kind == kind && e.of.starts_with(job)
    };
    let cancelled = node.event(of("task.cancelled", "ends-")).await;
    assert_eq!(
        cancelled.data["reason"], "the next run of job ends is due",
        "{cancelled:?}"
    );
    node.event(of("job.skipped", "waits")).await;
    for name in ["ends", "waits"] {
        let pause = PauseRequest {
            reason: Some("enough".into()),
        };
        node.client.pause_job(&id(name), &pause).await.unwrap();
    }
    for job in node.client.jobs(None).await.unwrap().jobs {
        assert_eq!((job.state, job.next_due), (JobState::Paused, None));
        for task in job.live {
            let _ = node.client.cancel(&task, &Default::default()).await;
            node.end_of(&task).await;
        }
    }
    node.client.resume_job(&id("waits")).await.unwrap();
    assert!(node.client.resume_job(&id("waits")).await.unwrap().replayed);
    node.stop_well();
    let log = ledger.assert_sound();
    let (runs, out) = decided(&log, "waits", 1_000_000);
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert!(!out.is_empty());
    let reason = &log.of_kind("job.skipped")[0].data["reason"];
    assert_eq!(reason, "overlap");
}

#[tokio::test]
async fn runs_that_queue_go_one_after_another() {
    assert_one_by_one(None).await;
}

#[tokio::test]
async fn runs_that_queue_by_a_key_of_their_own_go_one_after_another() {
    assert_one_by_one(Some("own")).await;
}

async fn assert_one_by_one(key: Option<&str>) {
    let ledger = Ledger::new();
    let line = key.map(|key| format!("concurrency_key = \"{key}\"\n"));
    let fifo = ledger.fifo("go");
    let command = format!("read line < {}", fifo.show());
    write_job(
        &ledger,
        "one.toml",
        &format!(
            "[jobs.one]\nevery = \"1s\"\noverlap = \"queue\"\nmax_runtime = \"10m\"\n\
             max_attempts = 2\n{}command = [\"sh\", \"-c\", \"{command}\"]\n",
            line.unwrap_or_default()
        ),
    );
    let node = ledger.up().await;
    let mut follower = node.follow(1).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        let due = follower.find(|e| e.kind == "job.due").await;
        runs.push(due.data["task"].as_str().unwrap().to_owned());
    }
    node.registered(&runs[0], 1).await;
    let waits = node.task(&runs[1]).await;
    assert_eq!(
        (waits.state, waits.terms.max_attempts),
        (StateName::Held, 2)
    );
    let shared = waits.terms.concurrency_key.as_deref();
    assert_eq!(shared, Some(key.unwrap_or("job.one")));
    fifo.tell("go");
    assert_eq!(node.end_of(&runs[0]).await.state, StateName::Completed);
    node.registered(&runs[1], 1).await;
    node.client
        .pause_job(&id("one"), &PauseRequest { reason: None })
        .await
        .unwrap();
    let shown = ledger.cli(&["job", "show", "one"]);
    let shown = text(&shown.stdout);
    assert!(shown.contains("attempts     at most 2"), "{shown}");
    assert_eq!(shown.contains("concurrency  own"), key.is_some(), "{shown}");
    for task in node.client.jobs(None).await.unwrap().jobs[0].live.clone() {
        let _ = node.client.cancel(&task, &Default::default()).await;
        node.end_of(&task).await;
    }
    node.stop_well();
    let log = ledger.assert_sound();
    let (mut running, mut most) = (BTreeSet::new(), 0);
    for event in log.0.iter().filter(|e| e.of.starts_with("one-")) {
        match event.kind.as_str() {
            "task.started" => drop(running.insert(event.of.clone())),
            "task.completed" | "task.cancelled" | "task.failed" | "task.dead" => {
                running.remove(&event.of);
            }
            _ => {}
        }
        most = most.max(running.len());
    }
    assert_eq!(most, 1, "never two at once");
}

/// Runs a job by hand; its exit code and what it wrote.
async fn run(node: &Node, job: &str) -> (Option<i32>, String) {
    let receipt = node.client.run_job(&id(job)).await.unwrap();
    let ended = node.end_of(&receipt.task_id).await;
    let shown = node.task(&receipt.task_id).await;
    (ended.exit_code, shown.outputs.unwrap().stdout.tail)
}

fn make_old(dir: &Path) {
    let eight_days = Duration::from_secs(8 * 24 * 3600);
    let then = SystemTime::now() - eight_days;
    File::open(dir).unwrap().set_modified(then).unwrap();
}

#[tokio::test]
async fn the_node_does_its_own_jobs_and_says_what_it_found() {
    let ledger = Ledger::new();
    let settings = "[disk]\nwarn_below = \"1B\"\n[jobs.ops-refresh]\nenabled = false\n";
    fs::write(ledger.dir.join("ledger.toml"), settings).unwrap();
    let node = ledger.up().await;
    let jobs = node.client.jobs(None).await.unwrap().jobs;
    let names: Vec<_> = jobs.iter().map(|job| &*job.name).collect();
    assert_eq!(
        names,
        ["health-check", "state-checkpoint", "zombie-cleanup"]
    );

    let (code, said) = run(&node, "health-check").await;
    assert_eq!(code, Some(0), "{said}");
    for word in [
        "disk: ",
        "reserve: ",
        "view tasks: ",
        "journal: ",
        "failed: 0",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
    write_job(&ledger, "bad.toml", "nonsense\n");
    write_job(
        &ledger,
        "ops.toml",
        "[jobs.refresh]\nevery = \"1h\"\nbuiltin = \"ops-refresh\"\n",
    );
    node.event(|e| e.kind == "job.defined" && e.of == "refresh")
        .await;
    let (code, said) = run(&node, "health-check").await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("finding: ") && said.contains("jobs.d/bad.toml:1"),
        "{said}"
    );

    let (code, said) = run(&node, "refresh").await;
    assert_eq!(code, Some(0), "{said}");
    for word in ["view jobs: ", "view tasks: ", "disk: ", "ledger.redb: "] {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert!(ledger.dir.join("views/jobs.view").exists());

    let ghost = ledger.attempt_dir("ghost", 1);
    let young = ledger.attempt_dir("young", 1);
    for dir in [&ghost, &young] {
        fs::create_dir_all(dir).unwrap();
    }
    make_old(&ghost);
    let outside = ledger.path("outside");
    fs::create_dir_all(outside.join("1")).unwrap();
    make_old(&outside.join("1"));
    std::os::unix::fs::symlink(&outside, ledger.dir.join("attempts/link")).unwrap();
    let (code, said) = run(&node, "zombie-cleanup").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 past 7d removed"), "{said}");
    assert!(!ghost.exists() && young.exists() && outside.join("1").exists());
    let shown = ledger.cli(&["job", "show", "zombie-cleanup"]);
    assert!(
        text(&shown.stdout).contains("(built in) zombie-cleanup"),
        "{shown:?}"
    );
    node.stop_well();

    let log = ledger.assert_sound();
    let ran = log.of_kind("job.triggered").len();
    assert_eq!(ran, 4);
    assert!(log.of_kind("process.").is_empty(), "they have no process");
}

#[tokio::test]
async fn jobs_are_listed_without_a_node_as_with_one() {
    let ledger = Ledger::configured(
        "[jobs.a]\ncron = \"30 2 * * *\"\ntime_zone = \"Europe/Berlin\"\ncommand = [\"true\"]\n",
    );
    let node = ledger.up().await;
    run(&node, "a").await;
    let listed = |arguments: &[&str]| -> Value {
        let done = ledger.cli(arguments);
        assert!(done.status.success(), "{done:?}");
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let with = listed(&["--json", "job", "list"]);
    let shown = listed(&["--json", "job", "show", "a"]);
    node.stop_well();
    assert_eq!(listed(&["--json", "job", "list"]), with);
    assert_eq!(listed(&["--json", "job", "show", "a"]), shown);
    assert_eq!(with["jobs"][0]["recent"]["succeeded"], 1);
    let refused = ledger.cli(&["job", "run", "a"]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    let table = ledger.cli(&["job", "list"]);
    let table = text(&table.stdout);
    assert!(
        table.contains("30 2 * * * Europe/Berlin") && table.contains("100 %"),
        "{table}"
    );
}
