//! Receipts: what they name is in the log, a key makes a request count once, a batch is all or
//! nothing, and an expected head and expected versions are held to.

use std::sync::Arc;

use ledger_core::ids::Seq;
use opsledger::api::wire::{ApiError, AppendEvent, AppendRequest, ErrorCode};
use opsledger::client::Client;
use serde_json::value::RawValue;

use crate::support::{Ledger, exec, id, named};

fn event(kind: &str, data: &str) -> AppendEvent {
    AppendEvent {
        kind: kind.parse().unwrap(),
        subject: None,
        expected_version: None,
        data: RawValue::from_string(data.to_owned()).unwrap(),
    }
}

fn append(events: Vec<AppendEvent>) -> AppendRequest {
    AppendRequest {
        events,
        idempotency_key: None,
        expected_head: None,
        claimed_actor: None,
        correlation: None,
        cause: None,
        traceparent: None,
    }
}

fn keyed(key: &str, events: Vec<AppendEvent>) -> AppendRequest {
    AppendRequest {
        idempotency_key: Some(id(key)),
        ..append(events)
    }
}

#[tokio::test]
async fn a_receipt_names_the_last_event_of_what_was_appended() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let mut request = append(vec![
        event("app.deploy.begun", r#"{ "n" : 1 }"#),
        event("app.deploy.done", r#"{"n":2}"#),
    ]);
    request.events[1].subject = Some("service/web".parse().unwrap());
    request.claimed_actor = Some("agent/ada".parse().unwrap());
    request.correlation = Some(id("roll-out"));
    request.cause = Some(Seq(1));
    request.traceparent = Some(format!("00-{}-{}-01", "a".repeat(32), "b".repeat(16)));
    let receipt = node.client.append(&request).await.unwrap();
    let head = node.client.head().await.unwrap();
    assert_eq!((receipt.seq, receipt.hash), (head.seq, head.hash));
    assert_eq!(receipt.term.0, node.term);
    node.stop_well();
    let log = ledger.assert_sound();
    let (first, second) = (log.only("app.deploy.begun"), log.only("app.deploy.done"));
    assert_eq!((second.seq, second.hash), (receipt.seq.0, receipt.hash));
    assert_eq!(first.seq + 1, second.seq);
    assert_eq!((first.of.as_str(), second.of.as_str()), ("default", "web"));
    assert_eq!((first.cause, second.cause), (Some(Seq(1)), Some(Seq(1))));
    assert_eq!(second.data, serde_json::json!({"n": 2}));
}

#[tokio::test]
async fn a_key_stands_for_what_it_was_first_used_for() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let mut request = exec(&["true"]);
    request.idempotency_key = Some(id("submit-once"));
    let task = node.submit(request.clone()).await;
    let events = vec![event("app.a", "{}"), event("app.b", "{}")];
    let request_of = |events| keyed("append-once", events);
    let appended = node.client.append(&request_of(events.clone())).await;
    // The same is answered with the first, also by the next node.
    node.stop_well();
    let node = ledger.up().await;
    assert!(node.submit(request).await.replayed);
    let again = node.client.append(&request_of(events)).await.unwrap();
    assert_eq!((again.seq, again.replayed), (appended.unwrap().seq, true));

    let mut another = exec(&["false"]);
    another.idempotency_key = Some(id("submit-once"));
    let other = node.client.submit(&another).await.unwrap_err();
    assert_eq!(other.code, ErrorCode::Conflict, "{other}");
    assert!(other.message.contains(task.task_id.as_str()), "{other}");
    for events in [
        vec![event("app.a", "{}"), event("app.b", "{\"n\":1}")],
        vec![event("app.b", "{}"), event("app.b", "{}")],
    ] {
        let other = node.client.append(&request_of(events)).await;
        assert_eq!(other.unwrap_err().code, ErrorCode::Conflict);
    }
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!((log.count("task.submitted"), log.count("app.b")), (1, 1));
}

#[tokio::test]
async fn a_key_makes_a_request_count_once_however_often_it_is_sent() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let client = Arc::new(Client::connect(&node.socket).await.unwrap());
    let mut sent = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let client = Arc::clone(&client);
        sent.spawn(async move {
            let mut request = exec(&["true"]);
            request.idempotency_key = Some(id("submit-once"));
            let task = client.submit(&request).await.unwrap();
            let events = vec![event("app.a", "{}"), event("app.b", "{}")];
            let appended = client.append(&keyed("append-once", events)).await.unwrap();
            (task, appended)
        });
    }
    let receipts = sent.join_all().await;
    let (task, appended) = &receipts[0];
    for (other_task, other_appended) in &receipts {
        assert_eq!(
            (&other_task.task_id, other_task.seq, other_task.hash),
            (&task.task_id, task.seq, task.hash)
        );
        assert_eq!(
            (other_appended.seq, other_appended.hash),
            (appended.seq, appended.hash)
        );
    }
    assert_eq!(
        receipts.iter().filter(|(task, _)| !task.replayed).count(),
        1
    );
    assert_eq!(
        receipts
            .iter()
            .filter(|(_, appended)| !appended.replayed)
            .count(),
        1
    );
    node.end_of(&task.task_id).await;
    node.crash();

    // A key outlives the node, and belongs to the request it was first used for.
    let node = ledger.up().await;
    let mut request = exec(&["true"]);
    request.idempotency_key = Some(id("submit-once"));
    let again = node.client.submit(&request).await.unwrap();
    assert!(again.replayed);
    assert_eq!(
        (&again.task_id, again.seq, again.hash),
        (&task.task_id, task.seq, task.hash)
    );
    assert_eq!(again.term, task.term);
    request.idempotency_key = Some(id("append-once"));
    let other = node.client.submit(&request).await.unwrap_err();
    assert_eq!(other.code, ErrorCode::Conflict, "{other}");
    let events = vec![event("app.c", "{}")];
    let other = node
        .client
        .append(&keyed("submit-once", events))
        .await
        .unwrap_err();
    assert_eq!(other.code, ErrorCode::Conflict, "{other}");
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("task.submitted"), 1);
    assert_eq!(
        (log.count("app.a"), log.count("app.b"), log.count("app.c")),
        (1, 1, 0)
    );
    assert_eq!(log.only("app.b").key.as_deref(), Some("append-once"));
}

#[tokio::test]
async fn an_id_is_taken_once() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("taken", exec(&["true"]))).await;
    let refused = node
        .client
        .submit(&named("taken", exec(&["true"])))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(refused.message.contains("taken"), "{refused}");
    node.stop_well();
    assert_eq!(ledger.assert_sound().count("task.submitted"), 1);
}

#[tokio::test]
async fn an_append_is_all_or_nothing() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let before = node.client.head().await.unwrap();
    let missing = r#"{"$blob":{"blake3":"H","bytes":1,"media_type":"a/b"}}"#;
    let missing = missing.replace('H', &"0".repeat(64));
    let mut events: Vec<_> = (0..10).map(|_| event("app.small", "{}")).collect();
    events.push(event("app.huge", &missing));
    let refused = node
        .client
        .append(&keyed("whole", events))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    assert_eq!(node.client.head().await.unwrap(), before);
    let events = vec![event("app.small", "{}"), event("task.done", "{}")];
    let refused = node.client.append(&append(events)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Refused);
    assert!(
        refused.message.starts_with("event 2 of 2: kind task.done"),
        "{refused}"
    );
    // The refused request has not used its key.
    let events = (0..1000).map(|_| event("app.small", "{}")).collect();
    let receipt = node.client.append(&keyed("whole", events)).await.unwrap();
    assert_eq!(
        (receipt.seq.0, receipt.replayed),
        (before.seq.0 + 1000, false)
    );
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!((log.count("app.small"), log.count("app.huge")), (1000, 0));
}

#[tokio::test]
async fn an_event_may_be_as_large_as_the_format_allows() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let sized = |size: usize| {
        let data = format!(r#"{{"a":"{}"}}"#, "x".repeat(size));
        append(vec![event("app.large", &data)])
    };
    // Data and header together have 65,535 bytes; where exactly the header's share ends is its
    // own affair, so the edge is looked for. Beyond it the data is a blob.
    let (mut fits, mut too_large) = (60_000, 65_536);
    while too_large - fits > 1 {
        let middle = usize::midpoint(fits, too_large);
        node.client.append(&sized(middle)).await.unwrap();
        match node.log().await.last().data.get("$blob") {
            None => fits = middle,
            Some(named) => {
                assert_eq!(named["bytes"], middle + r#"{"a":""}"#.len());
                too_large = middle;
            }
        }
    }
    node.stop_well();
    let log = ledger.assert_sound();
    let largest = log
        .of_kind("app.large")
        .iter()
        .filter_map(|e| Some(e.data["a"].as_str()?.len()))
        .max();
    assert_eq!(largest, Some(fits));
}

#[tokio::test]
async fn an_expected_head_is_held_to() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let at = |expected: u64| AppendRequest {
        expected_head: Some(Seq(expected)),
        ..append(vec![event("app.x", "{}")])
    };
    let head = node.client.head().await.unwrap().seq.0;
    for wrong in [0, head - 1, head + 1, u64::MAX] {
        let refused = node.client.append(&at(wrong)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Conflict, "{wrong}: {refused}");
        assert!(
            refused.message.contains(&format!("seq {head}")),
            "{refused}"
        );
    }
    // Of many who expect the same head, one gets it.
    let client = Arc::new(Client::connect(&node.socket).await.unwrap());
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (client, request) = (Arc::clone(&client), at(head));
        racing.spawn(async move { client.append(&request).await });
    }
    let won = racing
        .join_all()
        .await
        .into_iter()
        .filter(Result::is_ok)
        .count();
    assert_eq!(won, 1);
    node.stop_well();
    assert_eq!(ledger.assert_sound().count("app.x"), 1);
}

/// An event about a subject that must stand at a version, 0 if it must be new.
fn about(subject: &str, expected: Option<u64>) -> AppendEvent {
    AppendEvent {
        subject: Some(subject.parse().unwrap()),
        expected_version: expected.map(Seq),
        ..event("app.x", "{}")
    }
}

/// Appends one such event; returns the version that its subject has then.
async fn advance(client: &Client, subject: &str, expected: u64) -> Result<u64, ApiError> {
    let request = append(vec![about(subject, Some(expected))]);
    client.append(&request).await.map(|receipt| receipt.seq.0)
}

/// The version that a conflict names.
fn actual(result: Result<u64, ApiError>) -> u64 {
    let refused = result.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict, "{refused}");
    assert!(refused.hint.is_some(), "{refused}");
    refused.actual.unwrap().0
}

#[tokio::test]
async fn an_expected_version_is_held_to() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let client = &node.client;
    let web = advance(client, "service/web", 0).await.unwrap();
    let db = advance(client, "service/db", 0).await.unwrap();
    for wrong in [0, 1, db, web + 1, u64::MAX] {
        let refused = advance(client, "service/web", wrong).await;
        assert_eq!(actual(refused), web, "{wrong}");
    }
    assert_eq!(actual(advance(client, "service/never", web).await), 0);

    // All or nothing, each held against what was there before.
    let batch = async |web: u64, db: u64| {
        let request = append(vec![
            about("service/web", Some(web)),
            about("service/new", None),
            about("service/db", Some(db)),
            about("service/web", Some(web)),
        ]);
        client.append(&request).await.map(|receipt| receipt.seq.0)
    };
    assert_eq!(actual(batch(web, web).await), db);
    let last = batch(web, db).await.unwrap();
    assert_eq!(actual(advance(client, "service/web", web).await), last);

    // What the node itself records about something of that name is not the application's.
    node.run(named("both", exec(&["true"]))).await;
    let noted = advance(client, "task/both", 0).await.unwrap();
    assert_eq!(actual(advance(client, "task/both", 0).await), noted);
    node.stop_well();
    assert_eq!(ledger.assert_sound().count("app.x"), 7);
}

#[tokio::test]
async fn versions_outlive_the_node_and_one_of_many_gets_the_next() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let first = advance(&node.client, "service/web", 0).await.unwrap();
    let client = Arc::new(Client::connect(&node.socket).await.unwrap());
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = Arc::clone(&client);
        racing.spawn(async move { advance(&client, "service/web", first).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) =
        racing.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    let second = *won[0].as_ref().unwrap();
    for lost in lost {
        assert_eq!(actual(lost), second);
    }
    node.crash();

    let node = ledger.up().await;
    let refused = advance(&node.client, "service/web", first).await;
    assert_eq!(actual(refused), second);
    // A key answers before any expectation is looked at.
    let request = keyed("once", vec![about("service/web", Some(second))]);
    let receipt = node.client.append(&request).await.unwrap();
    let again = node.client.append(&request).await.unwrap();
    assert_eq!((again.seq, again.replayed), (receipt.seq, true));
    node.stop_well();
    assert_eq!(ledger.assert_sound().count("app.x"), 3);
}

#[tokio::test]
async fn what_is_said_to_have_led_to_an_append_must_have_happened() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let head = node.client.head().await.unwrap().seq;
    let caused = |cause: Seq| AppendRequest {
        cause: Some(cause),
        ..append(vec![event("app.x", "{}")])
    };
    for (cause, code) in [
        (Seq(0), ErrorCode::Usage),
        (head.next(), ErrorCode::NotFound),
        (Seq(99_999), ErrorCode::NotFound),
    ] {
        let error = node.client.append(&caused(cause)).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
    }
    assert_eq!(
        node.client.head().await.unwrap().seq,
        head,
        "nothing was appended"
    );
    node.client.append(&caused(head)).await.unwrap();
    node.stop_well();
}
