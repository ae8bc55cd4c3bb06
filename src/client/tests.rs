//! The client against a server of a few lines, so that each fault can be made on purpose.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::routing::{get, post};
use hyper::body::{Bytes, Frame};
use ledger_core::time::Micros;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

const HEAD: &str = r#"{"ledger_id":"00000000-0000-7000-8000-000000000001","seq":9,
    "hash":"0000000000000000000000000000000000000000000000000000000000000000","term":2,
    "recorded_at":"2026-01-31T08:00:00Z"}"#;

const LEADER: &str = r#"{"node":"b","pid":1,"role":"leader","software":"0","seq":9,"term":2,
    "started_at":"2026-01-31T08:00:00Z"}"#;
const STANDBY: &str = r#"{"node":"a","pid":1,"role":"standby","software":"0","seq":9,"term":2,
    "started_at":"2026-01-31T08:00:00Z"}"#;

/// Serves on `run/primary.sock` of a new directory.
async fn serve(router: Router) -> (tempfile::TempDir, Client) {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let listener = UnixListener::bind(run.join("primary.sock")).unwrap();
    let router = router.route("/v1/node", get(|| async { LEADER }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Client::discover(dir.path()).await.unwrap().unwrap();
    (dir, client)
}

#[tokio::test]
async fn answers_and_errors_are_typed() {
    let error = r#"{"error":{"code":"conflict","message":"no","cause":"why","hint":"do"}}"#;
    let router = Router::new()
        .route("/v1/head", get(|| async { HEAD }))
        .route("/v1/status", get(|| async { "{}" }))
        .route(
            "/v1/events",
            post(move || async move { (StatusCode::CONFLICT, error) }),
        )
        .route(
            "/v1/tasks/{id}",
            get(|RawQuery(query): RawQuery| async move {
                assert_eq!(query.as_deref(), Some("at=5"));
                (StatusCode::IM_A_TEAPOT, "tea")
            }),
        );
    let (_dir, client) = serve(router).await;
    assert_eq!(client.head().await.unwrap().seq, Seq(9));
    let error = client.status(None).await.unwrap_err();
    assert_eq!(
        error.message,
        "the node's answer to /v1/status is not understood"
    );
    let request: AppendRequest = serde_json::from_str(r#"{"events":[]}"#).unwrap();
    let error = client.append(&request).await.unwrap_err();
    assert_eq!(
        (error.code, error.hint.as_deref()),
        (ErrorCode::Conflict, Some("do"))
    );
    let error = client
        .task(&Id::new("x").unwrap(), Some(Seq(5)))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Usage);
    let error = client.rebuild("../x").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_request_too_large_is_not_sent() {
    let (_dir, client) = serve(Router::new()).await;
    let big = format!(
        r#"{{"events":[{{"kind":"app.x","data":{{"a":"{}"}}}}]}}"#,
        "x".repeat(MAX_BODY)
    );
    let request: AppendRequest = serde_json::from_str(&big).unwrap();
    assert_eq!(
        client.append(&request).await.unwrap_err().code,
        ErrorCode::Usage
    );
}

#[tokio::test]
async fn many_requests_at_once_share_a_client() {
    let (_dir, client) = serve(Router::new().route("/v1/head", get(|| async { HEAD }))).await;
    let client = Arc::new(client);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.head().await.unwrap().seq })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Seq(9));
    }
}

#[tokio::test]
async fn blocks_and_lines_are_taken_from_any_cut() {
    let mut bytes = Vec::new();
    for body in [&b"first"[..], b"", b"the third"] {
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(body);
    }
    let one_by_one = move |bytes: Vec<u8>| Body::new(Chunks(bytes.into()));
    let router = Router::new()
        .route("/v1/blocks", get(move || async move { one_by_one(bytes) }))
        .route(
            "/v1/tasks",
            get(move || async move { one_by_one(b"{}\n".to_vec()) }),
        );
    let (_dir, client) = serve(router).await;
    let mut blocks = client.blocks(Seq(1), Follow::No).await.unwrap();
    assert_eq!(blocks.next().await.unwrap().unwrap(), b"first");
    assert_eq!(blocks.next().await.unwrap().unwrap(), b"");
    assert_eq!(blocks.next().await.unwrap().unwrap(), b"the third");
    assert_eq!(blocks.next().await.unwrap(), None);
    let mut tasks = client.tasks(&TaskQuery::default()).await.unwrap();
    assert_eq!(tasks.next().await.unwrap_err().code, ErrorCode::Failed);
}

/// A body that comes byte by byte.
struct Chunks(VecDeque<u8>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(
            self.0
                .pop_front()
                .map(|byte| Ok(Frame::data(vec![byte].into()))),
        )
    }
}

#[tokio::test]
async fn a_stream_cut_in_the_middle_is_an_error() {
    let router = Router::new().route("/v1/blocks", get(|| async { vec![9_u8, 0, 0, 0, 1, 2] }));
    let (_dir, client) = serve(router).await;
    let mut blocks = client.blocks(Seq(1), Follow::No).await.unwrap();
    let error = blocks.next().await.unwrap_err();
    assert_eq!(
        error.cause.as_deref(),
        Some("the answer ended in the middle")
    );
    let router = Router::new().route("/v1/blocks", get(|| async { vec![255_u8; 8] }));
    let (_dir, client) = serve(router).await;
    let mut blocks = client.blocks(Seq(1), Follow::No).await.unwrap();
    assert_eq!(
        blocks.next().await.unwrap_err().message,
        "the node sent no blocks"
    );
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_and_nothing_is_sent_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    // Answers one request on each connection and closes it without a word.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                if counter.fetch_add(1, Ordering::SeqCst) == 3 {
                    continue; // The fourth request is taken and never answered.
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{HEAD}",
                    HEAD.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    let client = Client::connect(&path).await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.head().await.unwrap().seq, Seq(9));
    }
    let error = client.head().await.unwrap_err();
    assert_eq!(error.message, "the connection to the node is lost");
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_connection_that_was_idle_for_long_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let listener =
        axum::serve::ListenerExt::tap_io(UnixListener::bind(&path).unwrap(), move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
    let router = Router::new().route("/v1/head", get(|| async { HEAD }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut client = Client::connect(&path).await.unwrap();
    for _ in 0..3 {
        client.head().await.unwrap();
    }
    assert_eq!(opened.load(Ordering::SeqCst), 1);
    client.pool.max_idle_time = Micros(0);
    for _ in 0..3 {
        client.head().await.unwrap();
    }
    assert_eq!(opened.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_deep_directory_and_stale_sockets_are_no_hindrance() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Client::discover(dir.path()).await.unwrap().is_none());
    let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
    let run = deep.join("run");
    std::fs::create_dir_all(&run).unwrap();
    assert!(Client::discover(&deep).await.unwrap().is_none());
    // A socket that nobody listens on any more.
    let here = std::fs::File::open(&run).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&here);
    drop(UnixListener::bind(format!("/proc/self/fd/{fd}/a.sock")).unwrap());
    assert!(Client::discover(&deep).await.unwrap().is_none());
    // One that stands by.
    let listener = UnixListener::bind(format!("/proc/self/fd/{fd}/aa.sock")).unwrap();
    let router = Router::new().route("/v1/node", get(|| async { STANDBY }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let listener = UnixListener::bind(format!("/proc/self/fd/{fd}/b.sock")).unwrap();
    let router = Router::new()
        .route("/v1/node", get(|| async { LEADER }))
        .route("/v1/head", get(|| async { HEAD }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Client::discover(&deep).await.unwrap().unwrap();
    assert_eq!(client.head().await.unwrap().seq, Seq(9));
}

#[tokio::test]
async fn a_node_that_lets_nobody_in_is_busy_and_not_gone() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let socket = run.join("primary.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let none = nix::sys::socket::Backlog::new(0).unwrap();
    nix::sys::socket::listen(&listener, none).unwrap();
    // Nobody accepts: after the few that the system takes for it, it takes no more.
    let mut waiting = Vec::new();
    let error = loop {
        match Client::discover(dir.path()).await {
            Ok(Some(client)) => waiting.push(client),
            Ok(None) => panic!("it is there"),
            Err(error) => break error,
        }
        assert!(waiting.len() < 10, "a backlog of none");
    };
    assert_eq!(error.code, ErrorCode::Refused);
    assert_eq!(error.message, "the node is busy");
}
