//! Clients that take their time: what is not a whole request in time is ended, whoever waits for
//! an answer is not, and there is a limit to how many there may be.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use opsledger::api::wire::{OutputQuery, Stream};

use crate::support::{
    Answer, Ledger, Node, exec, get, get_request, id, named, post_request, script, send_only, text,
};

/// Everything that comes until the node closes.
fn rest(mut stream: &UnixStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // A node that has not read everything resets the connection, behind what it had to say.
        Err(e) => assert_eq!(
            e.kind(),
            ErrorKind::ConnectionReset,
            "the node does not close"
        ),
    }
    text(&bytes)
}

/// A connection that is being served: the head of its answer has come.
fn follows(node: &Node) -> UnixStream {
    let mut stream = send_only(&node.socket, &get_request("/v1/blocks?follow=true"));
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    stream
}

// On two threads, so that the client sees its own idle connection end while this one waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_that_does_not_arrive_is_not_waited_for() {
    let ledger = Ledger::configured("[api]\nhead_timeout = \"500ms\"\nbody_timeout = \"500ms\"\n");
    let gate = ledger.fifo("gate");
    let node = ledger.up().await;
    let before = node.client.head().await.unwrap();
    let body = br#"{"events":[{"kind":"app.x","data":{}}]}"#;
    let whole = post_request("/v1/events", body);
    let head = whole.len() - body.len();

    // Nothing, or half a head: there is nobody to answer. Half a body: its sender is told.
    let sent = |cuts: &[usize]| -> Vec<_> {
        let send = |cut: &usize| send_only(&node.socket, &whole[..*cut]);
        cuts.iter().map(send).collect()
    };
    let halves = sent(&[0, 1, 20, head - 1]);
    let bodies = sent(&[head, head + 1, whole.len() - 1]);
    for half in &halves {
        assert_eq!(rest(half), "");
    }
    for half in &bodies {
        let said = rest(half);
        let answer = Answer::parse(said.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.error().0.as_str()), (408, "timeout"));
        assert!(answer.head.contains("connection: close"), "{answer:?}");
        assert!(answer.why().contains("not complete after 500ms"));
        assert!(answer.json()["error"]["hint"].is_string());
    }
    // A connection that has had an answer and says no more.
    let idle = send_only(
        &node.socket,
        b"GET /v1/head HTTP/1.1\r\nHost: ledger\r\n\r\n",
    );
    assert!(rest(&idle).starts_with("HTTP/1.1 200"));
    assert_eq!(node.client.head().await.unwrap(), before);

    // Whoever has asked may wait for the answer as long as it takes.
    let wait = format!("read line < {}; echo $line", gate.show());
    node.submit(named("waits", script(&wait))).await;
    let query = OutputQuery {
        stream: Stream::Stdout,
        attempt: None,
        follow: true,
    };
    let mut output = node.client.output(&id("waits"), &query).await.unwrap();
    let end = send_only(&node.socket, &get_request("/v1/tasks/waits/wait"));
    for _ in 0..2 {
        assert_eq!(rest(&send_only(&node.socket, b"")), "");
    }
    gate.tell("on");
    assert_eq!(output.next().await.unwrap().unwrap(), "on\n");
    assert!(rest(&end).starts_with("HTTP/1.1 200"));
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_the_next_is_not() {
    let ledger = Ledger::configured("[api]\nmax_connections = 4\n");
    let node = ledger.up().await;
    let socket = &node.socket;
    // The client of the node has one.
    node.client.head().await.unwrap();
    let mut held: Vec<_> = (0..3).map(|_| follows(&node)).collect();
    let answer = get(socket, "/v1/head");
    assert_eq!((answer.status, answer.error().0.as_str()), (503, "refused"));
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    assert!(answer.json()["error"]["hint"].is_string());
    // Those that are there are served.
    node.client.head().await.unwrap();
    drop(held.pop());
    // The node learns of that in its own time.
    while get(socket, "/v1/head").status != 200 {}
    node.run(named("after", exec(&["true"]))).await;
    drop(held);
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn a_flood_of_silent_connections_passes() {
    let ledger = Ledger::configured("[api]\nhead_timeout = \"500ms\"\nmax_connections = 4\n");
    let node = ledger.up().await;
    // More than are served, more than are turned away, and more than once.
    let silent: Vec<_> = (0..300).map(|_| send_only(&node.socket, b"")).collect();
    for stream in &silent {
        assert_eq!(rest(stream), "");
    }
    assert_eq!(get(&node.socket, "/v1/head").status, 200);
    let mut asked = send_only(&node.socket, b"");
    asked.write_all(&get_request("/v1/head")).unwrap();
    assert!(rest(&asked).starts_with("HTTP/1.1 200"));
    node.stop_well();
    ledger.assert_sound();
}
