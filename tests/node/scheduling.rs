//! What a task waits for, how it is tried again, and what holds a queue or a key: every way through
//! the life of a task, on real processes.

use ledger_core::event::{DeadReason, Priority, Terms};
use ledger_core::time::{Millis, Timestamp};
use opsledger::api::wire::{ErrorCode, PriorityRequest, QueueRequest, SubmitRequest};
use projections::tasks::{Held, StateName};
use serde_json::json;

use crate::support::{LEDGER, Ledger, exec, id, limited, named, script, show, text};

fn on(terms: Terms, mut request: SubmitRequest) -> SubmitRequest {
    request.terms = Some(terms);
    request
}

fn depends(tasks: &[&str]) -> Terms {
    Terms {
        depends_on: tasks.iter().map(|task| id(task)).collect(),
        ..Terms::default()
    }
}

fn ahead(time: Millis) -> Option<Timestamp> {
    Some(ledger_core::clock::now().plus(time))
}

const FAST: &str =
    "[scheduler]\nmax_running = 2\nbackoff_base = \"20ms\"\nbackoff_cap = \"50ms\"\n";

#[tokio::test]
async fn a_task_that_fails_is_tried_again_after_a_pause_and_dead_in_the_end() {
    let ledger = Ledger::configured(FAST);
    let marker = ledger.path("marker");
    let node = ledger.up().await;
    let tries = |max_attempts| Terms {
        max_attempts,
        ..Terms::default()
    };
    // Fails, runs too long, and only then does well.
    let text = format!(
        "case $LEDGER_ATTEMPT in 1) exit 9;; 2) read x < {};; esac",
        ledger.fifo("never").show()
    );
    let request = limited(300, 100, named("third", script(&text)));
    node.submit(on(tries(3), request)).await;
    let third = node.end_of("third").await;
    assert_eq!((third.state, third.failed), (StateName::Completed, 2));
    let request = named("never", script(&format!("test -e {}", show(&marker))));
    node.submit(on(tries(2), request)).await;
    let never = node.end_of("never").await;
    assert_eq!((never.state, never.attempts.len()), (StateName::Dead, 2));
    // Taken out by hand, it has both attempts again.
    node.client.retry(&id("never")).await.unwrap();
    assert_eq!(node.end_of("never").await.attempts.len(), 4);
    node.stop_well();

    let log = ledger.assert_sound();
    assert_eq!(
        log.life("third"),
        [
            "task.submitted",
            "task.started",
            "task.failed",
            "task.requeued",
            "task.started",
            "task.timed_out",
            "task.requeued",
            "task.started",
            "task.completed"
        ]
    );
    let pauses = log.of_kind("task.requeued");
    assert_eq!(pauses.len(), 4);
    for (n, event) in pauses.iter().enumerate() {
        let backoff = &event.data["backoff"];
        let longest = if n == 1 { 40 } else { 20 };
        assert!(
            backoff["delay_ms"].as_u64().unwrap() <= longest,
            "{event:?}"
        );
        assert!(backoff["until"].is_string());
    }
}

#[tokio::test]
async fn tasks_wait_for_others_and_perish_with_them() {
    let ledger = Ledger::new();
    let gate = ledger.fifo("gate");
    let node = ledger.up().await;
    let waits = script(&format!("read x < {}", gate.show()));
    node.submit(named("first", waits.clone())).await;
    let second = on(depends(&["first"]), named("second", exec(&["true"])));
    node.submit(second).await;
    let held = node.task("second").await;
    assert_eq!(held.state, StateName::Held);
    assert_eq!(held.held, Some(Held::Dependency { task: id("first") }));
    gate.tell("go");
    assert_eq!(node.end_of("second").await.state, StateName::Completed);

    node.submit(named("bad", waits)).await;
    for (task, other) in [("b", "bad"), ("c", "b")] {
        node.submit(on(depends(&[other]), named(task, exec(&["true"]))))
            .await;
    }
    let cancel = opsledger::api::wire::CancelRequest::default();
    node.client.cancel(&id("bad"), &cancel).await.unwrap();
    let c = node.end_of("c").await;
    let why = (c.state, c.dead_reason, c.dead_dependency);
    assert_eq!(
        why,
        (StateName::Dead, Some(DeadReason::Dependency), Some(id("b")))
    );

    for (task, other, code, what) in [
        ("x", "x", ErrorCode::Usage, "it can't depend on itself"),
        (
            "x",
            "nobody",
            ErrorCode::NotFound,
            "there is no task nobody",
        ),
        ("x", "bad", ErrorCode::Conflict, "task bad is cancelled"),
        ("x", "c", ErrorCode::Conflict, "task c is dead"),
    ] {
        let request = on(depends(&["second", other]), named(task, exec(&["true"])));
        let refused = node.client.submit(&request).await.unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
        assert!(
            refused.message.contains(what) && refused.hint.is_some(),
            "{refused:?}"
        );
    }
    let refused = node.client.retry(&id("c")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.life("c"), ["task.submitted", "task.dead"]);
    let data = json!({"reason": "dependency", "attempts": 0, "dependency": "b"});
    assert_eq!(log.end_of("c").data, data);
}

#[tokio::test]
async fn a_task_is_started_when_its_time_has_come_and_perishes_when_it_has_passed() {
    let ledger = Ledger::configured("[scheduler]\nmax_running = 1\n");
    let (mut begun, gate) = (ledger.fifo("begun"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let later = Terms {
        not_before: ahead(Millis(300)),
        ..Terms::default()
    };
    let not_before = later.not_before.unwrap();
    // Nothing else happens: the node is woken by the clock.
    node.submit(on(later, named("later", exec(&["true"]))))
        .await;
    let view = node.task("later").await;
    assert_eq!(view.held, Some(Held::NotBefore { until: not_before }));
    assert_eq!(node.end_of("later").await.state, StateName::Completed);

    let busy = script(&format!(
        "echo go > {}; read x < {}",
        begun.show(),
        gate.show()
    ));
    node.submit(named("busy", busy)).await;
    begun.line();
    let short = Terms {
        expires_at: ahead(Millis(200)),
        ..Terms::default()
    };
    let expires_at = short.expires_at.unwrap();
    node.submit(on(short, named("short", exec(&["true"]))))
        .await;
    let short = node.end_of("short").await;
    assert_eq!(
        (short.state, short.dead_reason),
        (StateName::Dead, Some(DeadReason::Expired))
    );
    assert_eq!(short.attempts.len(), 0);
    gate.tell("go");
    node.end_of("busy").await;
    let past = Terms {
        expires_at: Some(Timestamp(1)),
        ..Terms::default()
    };
    let refused = node
        .client
        .submit(&on(past, exec(&["true"])))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::Usage, "{refused}");
    let refused = node.client.retry(&id("short")).await.unwrap_err();
    assert!(refused.message.contains("submit it anew"), "{refused}");
    node.stop_well();
    let log = ledger.assert_sound();
    let started = log.of_kind("task.started")[0];
    assert!(started.recorded_at >= not_before, "{started:?}");
    assert!(log.end_of("short").recorded_at >= expires_at);
}

#[tokio::test]
async fn waiting_raises_a_task_over_those_that_came_later() {
    let ledger = Ledger::configured(
        "[scheduler]\nmax_running = 1\n[scheduler.background]\nboost_after = \"50ms\"\n",
    );
    let (mut begun, gate) = (ledger.fifo("begun"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let busy = script(&format!(
        "echo go > {}; read x < {}",
        begun.show(),
        gate.show()
    ));
    node.submit(named("busy", busy)).await;
    begun.line();
    let of = |queue, mut request: SubmitRequest| {
        request.priority = queue;
        request
    };
    node.submit(of(Priority::Background, named("old", exec(&["true"]))))
        .await;
    // The clock is what is waited for: this is queued when the other has been raised twice.
    let later = Terms {
        not_before: ahead(Millis(200)),
        ..Terms::default()
    };
    let young = of(Priority::Interactive, named("young", exec(&["true"])));
    node.submit(on(later, young)).await;
    let waker = Terms {
        expires_at: ahead(Millis(300)),
        ..Terms::default()
    };
    node.submit(on(waker, named("waker", exec(&["true"]))))
        .await;
    node.end_of("waker").await;
    assert_eq!(node.task("old").await.boost, 2);
    gate.tell("go");
    node.end_of("young").await;
    node.stop_well();
    let log = ledger.assert_sound();
    let started = log.of_kind("task.started");
    let order: Vec<_> = started.iter().map(|e| e.of.as_str()).collect();
    assert_eq!(order, ["busy", "old", "young"]);
    assert_eq!(
        (&started[1].data["boost"], &started[1].data["queue"]),
        (&json!(2), &json!(2))
    );
    assert!(started[2].data["boost"].is_null());
}

#[tokio::test]
async fn a_long_attempt_is_demoted_for_the_next_and_a_slot_is_kept_for_queue_0() {
    let ledger = Ledger::configured(
        "[scheduler]\nmax_running = 2\nbackoff_base = \"1ms\"\n\
         [scheduler.interactive]\nquantum = \"1ms\"\n",
    );
    let (mut begun, gate) = (ledger.fifo("begun"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let twice = Terms {
        max_attempts: 2,
        ..Terms::default()
    };
    let wait = format!("echo go > {}; read x < {}", begun.show(), gate.show());
    let mut long = named("long", script(&format!("{wait}; exit 1")));
    long.priority = Priority::Interactive;
    node.submit(on(twice, long)).await;
    for _ in 0..2 {
        begun.line();
        gate.tell("go");
    }
    let view = node.end_of("long").await;
    assert_eq!(
        (view.priority, view.original_priority),
        (Priority::Standard, Priority::Interactive)
    );
    let queues: Vec<_> = view
        .attempts
        .iter()
        .map(|a| (a.queue, a.demoted_to))
        .collect();
    let expected = [
        (Priority::Interactive, Some(Priority::Standard)),
        (Priority::Standard, None),
    ];
    assert_eq!(queues, expected);

    node.submit(named("one", script(&wait))).await;
    node.submit(named("two", script(&wait))).await;
    begun.line();
    let mut check = named("check", exec(&["true"]));
    check.priority = Priority::Interactive;
    assert_eq!(node.run(check).await.state, StateName::Completed);
    assert_eq!(node.task("two").await.state, StateName::Queued);
    gate.tell("go");
    begun.line();
    gate.tell("go");
    node.end_of("two").await;
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn queues_are_paused_and_resumed_and_tasks_moved_between_them() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let queue = Priority::Standard;
    let request = QueueRequest {
        reason: Some("quiet hours".into()),
    };
    let paused = node.client.pause_queue(queue, &request).await.unwrap();
    assert!(!paused.replayed);
    assert!(
        node.client
            .pause_queue(queue, &request)
            .await
            .unwrap()
            .replayed
    );
    for task in ["waits", "goes"] {
        node.submit(named(task, exec(&["true"]))).await;
    }
    let view = node.task("waits").await;
    assert_eq!(view.state, StateName::Held);
    assert!(matches!(view.held, Some(Held::Paused { why: Some(why), .. }) if why == "quiet hours"));
    let status = node.status().await;
    assert!(status.report.queues[1].paused.is_some());
    assert_eq!(
        (status.queues[1].waiting, status.queues[1].held_paused),
        (0, 2)
    );
    // To a queue that is served.
    let to = PriorityRequest {
        priority: Priority::Interactive,
    };
    let moved = node.client.set_priority(&id("goes"), &to).await.unwrap();
    assert!(!moved.replayed);
    assert_eq!(node.end_of("goes").await.state, StateName::Completed);
    let ended = node
        .client
        .set_priority(&id("goes"), &to)
        .await
        .unwrap_err();
    assert_eq!(ended.code, ErrorCode::Conflict);
    let resume = QueueRequest::default();
    node.client.resume_queue(queue, &resume).await.unwrap();
    assert_eq!(node.end_of("waits").await.state, StateName::Completed);
    assert!(
        node.client
            .resume_queue(queue, &resume)
            .await
            .unwrap()
            .replayed
    );
    node.stop_well();
    let log = ledger.assert_sound();
    let life = [
        "task.submitted",
        "task.reprioritized",
        "task.started",
        "task.completed",
    ];
    assert_eq!(log.life("goes"), life);
    assert_eq!(
        log.only("queue.paused").data,
        json!({"reason": "quiet hours"})
    );
}

#[tokio::test]
async fn rates_and_keys_hold_tasks_and_a_task_can_hold_its_key() {
    let ledger = Ledger::configured(
        "[scheduler]\nmax_running = 8\n[rate.provider]\nrate = \"1/h\"\nburst = 3\n",
    );
    let (mut begun, gate) = (ledger.fifo("begun"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let keyed = |key: &str| Terms {
        concurrency_key: Some(id(key)),
        ..Terms::default()
    };
    let wait = format!("echo go > {}; read x < {}", begun.show(), gate.show());
    node.submit(on(keyed("repo"), named("a", script(&wait))))
        .await;
    begun.line();
    node.submit(on(keyed("repo"), named("b", exec(&["true"]))))
        .await;
    let held = node.task("b").await.held;
    assert_eq!(held, Some(Held::ConcurrencyKey { key: id("repo") }));
    gate.tell("go");
    node.end_of("b").await;

    let rated = || Terms {
        rate_key: Some(id("provider")),
        ..Terms::default()
    };
    let report = format!("{LEDGER} task report --retry-after 400ms --json");
    node.submit(on(rated(), named("reports", script(&report))))
        .await;
    let reports = node.end_of("reports").await;
    assert_eq!(reports.state, StateName::Completed, "{reports:?}");
    node.submit(on(rated(), named("after", exec(&["true"]))))
        .await;
    // Held by the report, then let through: there are tokens left.
    node.end_of("after").await;
    node.submit(on(rated(), named("last", exec(&["true"]))))
        .await;
    node.end_of("last").await;
    node.submit(on(rated(), named("empty", exec(&["true"]))))
        .await;
    let held = node.task("empty").await.held;
    assert!(matches!(held, Some(Held::RateKey { .. })), "{held:?}");
    node.stop_well();

    let log = ledger.assert_sound();
    let throttled = log.only("task.throttled");
    assert_eq!(throttled.data["rate_key"], "provider");
    let until: Timestamp = throttled.data["until"].as_str().unwrap().parse().unwrap();
    let started = log.of_kind("task.started");
    let after = started.iter().find(|e| e.of == "after").unwrap();
    assert!(after.recorded_at >= until, "{after:?}");
    assert_eq!(after.data["rate"]["key"], "provider");
    // What holds a key outlives the node.
    let node = ledger.up().await;
    assert_eq!(node.task("empty").await.state, StateName::Held);
    node.stop_well();
}

#[tokio::test]
async fn a_repeated_submit_gives_the_first_task() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let mut request = on(depends(&[]), named("once", exec(&["true"])));
    request.idempotency_key = Some(id("key-1"));
    let first = node.submit(request.clone()).await;
    request.task_id = Some(id("other"));
    let again = node.submit(request).await;
    assert_eq!(
        (again.task_id, again.seq, again.hash),
        (first.task_id, first.seq, first.hash)
    );
    assert!(again.replayed && !first.replayed);

    node.end_of("once").await;
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_exit_code() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("once", exec(&["true"]))).await;
    let submit = |options: &[&str]| {
        let mut arguments = vec!["task", "submit", "--json"];
        arguments.extend(options);
        arguments.extend(["--", "true"]);
        let done = ledger.cli(&arguments);
        (done.status.code().unwrap(), text(&done.stderr))
    };
    for (options, code, what) in [
        (
            &["--max-attempts", "0"][..],
            2,
            "'--max-attempts <N>': write a number from 1 to 1000",
        ),
        (&["--max-attempts", "4294967295"], 2, "write a number"),
        (
            &["--not-before", "soon"],
            2,
            "--not-before \\\"soon\\\" is no time to wait for",
        ),
        (
            &["--expires", "1970-01-02T00:00:00Z"],
            2,
            "can't be kept\",\"cause\":\"1970-01-02T00:00:00.000000Z is over",
        ),
        (
            &["--not-before", "2h", "--expires", "1h"],
            2,
            "--not-before holds it until",
        ),
        (&["--not-before", "99999d"], 2, "more than ten years ahead"),
        (&["--depends-on", "nobody"], 7, "there is no task nobody"),
        (
            &["--id", "me", "--depends-on", "me"],
            2,
            "it can't depend on itself",
        ),
        (&["--priority", "9"], 2, "does not exist"),
    ] {
        let (exit, said) = submit(options);
        assert_eq!(exit, code, "{options:?}: {said}");
        assert!(said.contains(what), "{options:?}: {said}");
    }
    let typo = r#"{"payload":{"type":"exec","argv":["true"]},"terms":{"max_attemps":2}}"#;
    let answer = crate::support::post(&node.socket, "/v1/tasks", typo);
    assert_eq!(answer.status, 400, "{}", answer.body);
    for (arguments, code) in [
        (&["task", "set-priority", "nobody", "0"][..], 7),
        (&["task", "set-priority", "once", "0"], 8),
        (&["task", "report", "--retry-after", "5s"], 2),
        (
            &[
                "task",
                "report",
                "--retry-after",
                "5s",
                "--task",
                "once",
                "--attempt",
                "1",
            ],
            8,
        ),
        (&["queue", "pause", "urgent"], 2),
    ] {
        let done = ledger.cli(arguments);
        assert_eq!(
            done.status.code(),
            Some(code),
            "{arguments:?}: {}",
            text(&done.stderr)
        );
    }
    node.stop_well();
    ledger.assert_sound();
}
