//! What a running node shows: the log as it grows, the end of a task, output as it is written,
//! status, tasks and projections, now and as of a position.

use std::time::Duration;

use ledger_core::event::Priority;
use ledger_core::ids::Seq;
use opsledger::api::wire::{ErrorCode, OutputQuery, Stream, TaskQuery};
use projections::tasks::StateName;

use crate::support::{Ledger, exec, id, limited, named, script, show, text};

fn stdout(follow: bool) -> OutputQuery {
    OutputQuery {
        stream: Stream::Stdout,
        attempt: None,
        follow,
    }
}

#[tokio::test]
async fn the_log_is_followed_without_gaps_over_a_restart() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let mut follower = node.follow(1).await;
    let mut seen = Vec::new();
    for n in 0..20 {
        let name = format!("t{n}");
        node.run(named(&name, exec(&["true"]))).await;
        // The follower checks that no event is missing or repeated.
        loop {
            let event = follower.next().await.unwrap();
            let ended = event.kind == "task.completed" && event.of == name;
            seen.push(event.hash);
            if ended {
                break;
            }
        }
    }
    node.stop_well();
    while let Some(event) = follower.next().await {
        seen.push(event.hash);
    }
    let node = ledger.up().await;
    let mut follower = node.follow(u64::try_from(seen.len()).unwrap() + 1).await;
    node.run(named("last", exec(&["true"]))).await;
    loop {
        let event = follower.next().await.unwrap();
        seen.push(event.hash);
        if event.kind == "task.completed" {
            break;
        }
    }
    node.stop_well();
    let log = ledger.assert_sound();
    let hashes: Vec<_> = log.0.iter().map(|e| e.hash).collect();
    assert_eq!(seen, hashes[..seen.len()]);
}

#[tokio::test]
async fn a_graceful_stop_ends_streams_and_answers_those_who_wait() {
    let ledger = Ledger::new();
    let (mut begun, gate) = (ledger.fifo("begun"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let wait = format!("echo on > {}; read x < {}", begun.show(), gate.show());
    node.submit(named("waits", script(&wait))).await;
    begun.line();
    let mut follower = node.follow(1).await;
    while follower.next().await.unwrap().kind != "process.registered" {}
    let client = opsledger::client::Client::connect(&node.socket)
        .await
        .unwrap();
    let waiting = tokio::spawn(async move { client.wait(&id("waits")).await });
    let mut output = node
        .client
        .output(&id("waits"), &stdout(true))
        .await
        .unwrap();
    let pid = node.pid();
    // One who waits must have been heard before the node is told to stop.
    node.status().await;
    let stopped = tokio::task::spawn_blocking(move || node.stop());
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotLeader, "{refused}");
    assert!(!matches!(output.next().await, Ok(Some(_))));
    let mut last = None;
    while let Some(event) = follower.next().await {
        last = Some(event.kind);
    }
    assert_eq!(follower.broke, None);
    assert_eq!(
        last.as_deref(),
        Some("lease.released"),
        "a follower sees the very end"
    );
    let ended = stopped.await.unwrap();
    assert_eq!(ended.status.code(), Some(0), "{pid}: {ended:?}");
    gate.tell("go");
}

#[tokio::test]
async fn output_is_followed_while_it_is_written() {
    let ledger = Ledger::configured("[scheduler]\nmax_running = 1\n");
    let (mut begun, gate) = (ledger.fifo("begun"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let wait = format!("echo on > {}; read x < {}", begun.show(), gate.show());
    node.submit(named("first", script(&wait))).await;
    begun.line();
    let text_of = format!(
        "echo one; read x < {0}; echo two; echo aside >&2; read x < {0}; head -c 200000 /dev/zero",
        gate.show()
    );
    node.submit(named("talks", script(&text_of))).await;
    // It waits in its queue; whoever follows waits with it.
    let unread = node.client.output(&id("talks"), &stdout(false)).await;
    assert_eq!(unread.unwrap_err().code, ErrorCode::NotFound);
    let mut output = node
        .client
        .output(&id("talks"), &stdout(true))
        .await
        .unwrap();
    gate.tell("let the first end");
    let mut read = Vec::new();
    while !read.ends_with(b"one\n") {
        read.extend_from_slice(&output.next().await.unwrap().unwrap());
    }
    gate.tell("on");
    while !read.ends_with(b"two\n") {
        read.extend_from_slice(&output.next().await.unwrap().unwrap());
    }
    let mut so_far = node
        .client
        .output(&id("talks"), &stdout(false))
        .await
        .unwrap();
    assert_eq!(so_far.next().await.unwrap().unwrap(), "one\ntwo\n");
    assert_eq!(so_far.next().await.unwrap(), None);
    gate.tell("on");
    while let Some(bytes) = output.next().await.unwrap() {
        read.extend_from_slice(&bytes);
    }
    assert_eq!(read.len(), 8 + 200_000);
    let mut errors = stdout(false);
    errors.stream = Stream::Stderr;
    let mut aside = node.client.output(&id("talks"), &errors).await.unwrap();
    assert_eq!(text(&aside.next().await.unwrap().unwrap()), "aside\n");
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn whoever_follows_a_task_that_was_retried_sees_the_run_that_comes() {
    let ledger = Ledger::configured("[scheduler]\nmax_running = 1\n");
    let (mut begun, gate) = (ledger.fifo("begun"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let marker = ledger.path("second-time");
    let text_of = format!(
        "test -e {0} && echo again || {{ touch {0}; echo first; exit 1; }}",
        show(&marker)
    );
    node.run(named("twice", script(&text_of))).await;
    let wait = format!("echo on > {}; read x < {}", begun.show(), gate.show());
    node.submit(named("blocks", script(&wait))).await;
    begun.line();
    node.client.retry(&id("twice")).await.unwrap();
    // It waits behind the other: what is there to read is of its first run, what is to come is not.
    let (twice, client) = (id("twice"), &node.client);
    let mut so_far = client.output(&twice, &stdout(false)).await.unwrap();
    let mut coming = client.output(&twice, &stdout(true)).await.unwrap();
    gate.tell("let the other end");
    for (output, expected) in [(&mut so_far, "first\n"), (&mut coming, "again\n")] {
        let mut read = Vec::new();
        while let Some(bytes) = output.next().await.unwrap() {
            read.extend_from_slice(&bytes);
        }
        assert_eq!(text(&read), expected);
    }
    assert_eq!(node.end_of("twice").await.exit_code, Some(0));
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn whoever_waits_for_a_task_hears_of_its_end_once_it_is_durable() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let refused = node.client.wait(&id("never")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    let receipt = node.submit(exec(&["true"])).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = opsledger::client::Client::connect(&node.socket)
            .await
            .unwrap();
        let task = receipt.task_id.clone();
        waiting.spawn(async move { client.wait(&task).await.unwrap() });
    }
    for view in waiting.join_all().await {
        assert_eq!(
            (view.state, view.exit_code),
            (StateName::Completed, Some(0))
        );
    }
    // The end is there for a reader at once, and for one who asks late.
    let log = node.log().await;
    assert_eq!(log.end_of(&receipt.task_id).kind, "task.completed");
    assert_eq!(node.end_of(&receipt.task_id).await.exit_code, Some(0));
    node.stop_well();
}

#[tokio::test]
async fn status_and_lists_say_what_the_log_says() {
    let ledger = Ledger::configured("[scheduler]\nmax_running = 1\n");
    let (mut begun, gate) = (ledger.fifo("begun"), ledger.fifo("gate"));
    let node = ledger.up().await;
    node.run(named("good", exec(&["true"]))).await;
    node.run(named("bad", exec(&["false"]))).await;
    node.run(named("slow", limited(50, 1000, exec(&["sleep", "600"]))))
        .await;
    let at = node.client.head().await.unwrap().seq;
    let wait = format!("echo on > {}; read x < {}", begun.show(), gate.show());
    node.submit(named("runs", script(&wait))).await;
    begun.line();
    let mut low = named("queued", exec(&["true"]));
    low.priority = Priority::Background;
    node.submit(low).await;

    let status = node.status().await;
    let info = status.node.unwrap();
    assert_eq!(
        (info.role.as_str(), info.node.as_str()),
        ("leader", "primary")
    );
    assert_eq!(i32::try_from(info.pid).unwrap(), node.pid());
    let head = node.client.head().await.unwrap();
    assert!(
        status
            .projections
            .iter()
            .all(|p| p.seq <= head.seq && p.poisoned.is_none())
    );
    assert!(!status.projections.is_empty());
    let lease = status.report.lease.unwrap();
    assert_eq!(
        (lease.facts.holder.as_str(), lease.facts.term.0),
        ("primary", node.term)
    );
    assert!((at.0..=head.seq.0).contains(&status.report.events_total));

    let list = |state: Option<&str>, priority: Option<u8>, at: Option<Seq>| TaskQuery {
        prefix: None,
        state: state.map(str::to_owned),
        priority,
        limit: None,
        at,
    };
    let names = async |query: TaskQuery| -> Vec<String> {
        let lines = node.client.tasks(&query).await.unwrap();
        let tasks = lines.collect().await.unwrap();
        tasks.iter().map(|t| t.task_id.to_string()).collect()
    };
    assert_eq!(
        names(list(None, None, None)).await,
        ["queued", "runs", "slow", "bad", "good"]
    );
    assert_eq!(names(list(Some("dead"), None, None)).await, ["slow", "bad"]);
    assert_eq!(names(list(Some("running"), None, None)).await, ["runs"]);
    assert_eq!(names(list(None, Some(2), None)).await, ["queued"]);
    assert_eq!(
        names(list(None, None, Some(at))).await,
        ["slow", "bad", "good"]
    );
    let limited = TaskQuery {
        limit: Some(1),
        ..list(None, None, None)
    };
    assert_eq!(names(limited).await, ["queued"]);
    let begun = TaskQuery {
        prefix: Some("slo".into()),
        ..list(None, None, None)
    };
    assert_eq!(names(begun).await, ["slow"]);
    let first = node.client.task(&id("good"), Some(Seq(5))).await.unwrap();
    assert_eq!(first.state, StateName::Queued, "as of its submit");
    gate.tell("go");
    node.end_of("queued").await;
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn projections_are_listed_dumped_and_rebuilt_in_a_running_node() {
    // Every view has something to show.
    let job = "[jobs.j]\nevery = \"1h\"\ncommand = [\"true\"]\n";
    let ledger = Ledger::configured(job);
    let node = ledger.up().await;
    for n in 0..5 {
        node.run(named(&format!("t{n}"), exec(&["true"]))).await;
    }
    let made = ledger.cli(&["checkpoint", "create"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let check = ledger.cli(&["rebuild", "--check"]);
    assert!(check.status.success(), "{}", text(&check.stderr));
    let before = node.client.projections().await.unwrap();
    let head = node.client.head().await.unwrap();
    assert!(before.len() >= 2, "{before:?}");
    for info in &before {
        assert_eq!(info.seq, head.seq, "{info:?}");
        let rebuilt = node.client.rebuild(&info.name).await.unwrap();
        assert_eq!(
            (rebuilt.digest, rebuilt.seq),
            (info.digest, info.seq),
            "{info:?}"
        );
        let mut dump = node.client.snapshot(&info.name).await.unwrap();
        assert_eq!(dump.head().name, info.name);
        assert_eq!(Some(dump.head().digest), info.digest);
        let mut rows = 0;
        while let Some((key, _)) = dump.row().await.unwrap() {
            assert!(!key.is_empty());
            rows += 1;
        }
        assert!(rows > 0, "{info:?}");
    }
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn a_deep_data_directory_works_like_any_other() {
    let ledger = Ledger::at(&format!("{0}/{0}/{0}/data", "deep".repeat(30)));
    assert!(ledger.dir.as_os_str().len() > 300);
    let node = ledger.up().await;
    assert_eq!(
        node.run(named("far", exec(&["pwd"]))).await.exit_code,
        Some(0)
    );
    let through_cli = ledger.cli(&["exec", "--", "echo", "hello"]);
    assert_eq!(text(&through_cli.stdout), "hello\n", "{through_cli:?}");
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn a_node_with_nothing_to_do_does_nothing() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("warm", exec(&["true"]))).await;
    let switches = || -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
        let of = |entry: std::fs::DirEntry| -> u64 {
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let line = status
                .lines()
                .find(|l| l.starts_with("voluntary_ctxt_switches"));
            line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
                .unwrap_or(0)
        };
        threads.map(|entry| of(entry.unwrap())).sum()
    };
    // A loop that wakes up for nothing does so hundreds of times a second; what a node may do now
    // and then is far below. The time is no deadline: a slow machine only makes fewer of them.
    let before = switches();
    // tidy: allow(sleep) — that nothing happens announces itself to nobody
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let woken = switches() - before;
    assert!(woken < 100, "an idle node woke up {woken} times");
    node.stop_well();
}
