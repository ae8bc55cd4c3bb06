//! Bad input over the socket: each request is refused with the right status and an error that
//! names what is wrong, nothing is appended, and the node goes on as if nothing had been.

use std::io::{Read, Write};
use std::net::Shutdown;

use opsledger::api::wire::HeadInfo;

use crate::support::{
    Answer, Ledger, Node, exec, get, get_request, named, post, post_request, raw, script, send_only,
};

/// A node, and where its log ended before it was bothered.
struct Bothered {
    ledger: Ledger,
    node: Node,
    before: HeadInfo,
}

async fn bothered() -> Bothered {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let before = node.client.head().await.unwrap();
    Bothered {
        ledger,
        node,
        before,
    }
}

impl Bothered {
    fn post(&self, path: &str, body: &str) -> Answer {
        post(&self.node.socket, path, body)
    }

    /// Each body is refused with this status and code, for the reason given.
    fn refuses(&self, path: &str, status: u16, code: &str, cases: &[(&str, &str)]) {
        for (body, reason) in cases {
            let answer = self.post(path, body);
            assert_eq!(answer.status, status, "{body}: {answer:?}");
            assert_eq!(answer.error().0, code, "{body}: {answer:?}");
            assert!(answer.why().contains(reason), "{body}: {answer:?}");
            let misread = answer.why().starts_with("the request body");
            let hint = answer.json()["error"]["hint"].is_string();
            assert!(hint || !misread, "{body}: {answer:?}");
        }
    }

    /// Nothing was appended, and the node works.
    async fn assert_unmoved(self) {
        assert_eq!(self.node.client.head().await.unwrap(), self.before);
        let view = self.node.run(named("after", exec(&["true"]))).await;
        assert_eq!(view.exit_code, Some(0));
        let status = self.node.status().await;
        assert!(status.projections.iter().all(|p| p.poisoned.is_none()));
        self.node.stop_well();
        self.ledger.assert_sound();
    }
}

#[tokio::test]
async fn submits_that_make_no_sense() {
    let b = bothered().await;
    let exec = |fields: &str| format!(r#"{{"payload":{{"type":"exec",{fields}}}}}"#);
    let with =
        |fields: &str| format!(r#"{{"payload":{{"type":"exec","argv":["true"]}},{fields}}}"#);
    let many = format!(r#""argv":[{}"x"]"#, r#""x","#.repeat(4096));
    let cases = [
        (String::new(), "EOF"),
        ("{".into(), "EOF"),
        ("[]".into(), "invalid"),
        ("null".into(), "invalid type"),
        ("{}".into(), "missing field `payload`"),
        (r#"{"payload":{}}"#.into(), "missing field `type`"),
        (
            r#"{"payload":{"type":"http","url":"x"}}"#.into(),
            "unknown variant `http`",
        ),
        (
            exec(r#""argv":[]"#),
            "command is empty: it needs at least a program",
        ),
        (
            exec(r#""argv":[""]"#),
            "command is empty: it needs at least a program",
        ),
        (exec(r#""argv":"true""#), "invalid type: string"),
        (exec(r#""argv":[1]"#), "invalid type: integer"),
        (exec(r#""argv":["a\u0000b"]"#), "NUL"),
        (exec(&many), "at most 4096"),
        (
            exec(r#""argv":["true"],"shell":true"#),
            "unknown field `shell`",
        ),
        (
            exec(r#""argv":["true"],"env":{"":"x"}"#),
            "environment variable",
        ),
        (
            exec(r#""argv":["true"],"env":{"A=B":"x"}"#),
            "environment variable",
        ),
        (
            exec(r#""argv":["true"],"env":{"A":"x\u0000"}"#),
            "environment variable",
        ),
        (exec(r#""argv":["true"],"cwd":"relative""#), "absolute path"),
        (exec(r#""argv":["true"],"cwd":"/a\u0000""#), "absolute path"),
        (with(r#""priority":3"#), "priority \"3\" does not exist"),
        (with(r#""priority":-1"#), "integer `-1`"),
        (with(r#""priority":"x""#), "string \"x\""),
        (with(r#""priority":1.5"#), "floating point"),
        (with(r#""max_runtime_ms":0"#), "max_runtime"),
        (with(r#""max_runtime_ms":2592000001"#), "max_runtime"),
        (with(r#""max_runtime_ms":-5"#), "integer `-5`"),
        (with(r#""grace_ms":3600001"#), "grace"),
        (with(r#""task_id":"../escape""#), "an id is"),
        (with(r#""task_id":"""#), "an id is"),
        (
            with(&format!(r#""task_id":"{}""#, "x".repeat(129))),
            "an id is",
        ),
        (with(r#""claimed_actor":"nobody""#), "KIND/ID"),
        (with(r#""idempotency_key":"a b""#), "an id is"),
        (with(r#""unknown":1"#), "unknown field `unknown`"),
        (
            with(r#""priority":1,"priority":2"#),
            "duplicate field `priority`",
        ),
        (
            format!("{} x", with(r#""priority":1"#)),
            "trailing characters",
        ),
    ];
    let cases: Vec<_> = cases
        .iter()
        .map(|(body, reason)| (body.as_str(), *reason))
        .collect();
    b.refuses("/v1/tasks", 400, "usage", &cases);
    b.assert_unmoved().await;
}

#[tokio::test]
async fn appends_that_make_no_sense() {
    let b = bothered().await;
    let one = |event: &str| format!(r#"{{"events":[{event}]}}"#);
    let data = |data: &str| one(&format!(r#"{{"kind":"app.x","data":{data}}}"#));
    let kind = |kind: &str| one(&format!(r#"{{"kind":"{kind}","data":{{}}}}"#));
    let with = |f: &str| format!(r#"{{"events":[{{"kind":"app.x","data":{{}}}}],{f}}}"#);
    let many = format!(
        r#"{{"events":[{}{{"kind":"app.x","data":{{}}}}]}}"#,
        r#"{"kind":"app.x","data":{}},"#.repeat(1000)
    );
    let deep = |n: usize| data(&format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n)));
    let cases = [
        (r#"{"events":[]}"#.to_owned(), "1 to 1000 events"),
        (many, "1 to 1000 events"),
        (data("[1]"), "is refused"),
        (data("1"), "is refused"),
        (data("null"), "is refused"),
        (data(r#"{"a":NaN}"#), "expected value"),
        (data(r#"{"a":1e999}"#), "out of range"),
        (data(r#"{"a":1,"a":2}"#), "duplicate key"),
        (data(r#"{"x":{"a":1,"\u0061":2}}"#), "duplicate key"),
        (deep(200), "nested deeper"),
        (deep(100_000), "nested deeper"),
        (data(r#"{"$blob":1}"#), "reserved"),
        (data(r#"{"\u0024blob":{}}"#), "reserved"),
        (one(r#"{"kind":"app.x"}"#), "missing field `data`"),
        (one(r#"{"kind":"app.X","data":{}}"#), "kind"),
        (one(r#"{"kind":"","data":{}}"#), "kind"),
        (kind(&format!("app.{}", "x".repeat(61))), "kind"),
        (
            one(r#"{"kind":"app.x","subject":"x","data":{}}"#),
            "KIND/ID",
        ),
        (
            one(r#"{"kind":"app.x","subject":"a/../b","data":{}}"#),
            "KIND/ID",
        ),
        (
            one(r#"{"kind":"app.x","actor":"a/b","data":{}}"#),
            "unknown field `actor`",
        ),
        (with(r#""traceparent":"00-x""#), "traceparent"),
        (with(r#""expected_head":-1"#), "integer `-1`"),
        (with(r#""expected_version":1"#), "unknown field"),
        (
            one(r#"{"kind":"app.x","expected_version":"new","data":{}}"#),
            "string \"new\"",
        ),
        (with(r#""correlation":"a/b""#), "an id is"),
    ];
    let cases: Vec<_> = cases
        .iter()
        .map(|(body, reason)| (body.as_str(), *reason))
        .collect();
    b.refuses("/v1/events", 400, "usage", &cases);
    for reserved in ["task.submitted", "lease.acquired", "apps.x", "app.", "app"] {
        b.refuses(
            "/v1/events",
            403,
            "refused",
            &[(&kind(reserved), "can't be appended")],
        );
    }
    // The whole batch is refused if one event does not fit: it names a blob and is too large besides.
    let reference = format!(
        r#"{{"blake3":"{}","bytes":1,"media_type":"a/b"}}"#,
        "0".repeat(64)
    );
    let huge = format!(
        r#"{{"events":[{{"kind":"app.ok","data":{{}}}},{{"kind":"app.x","data":{{"$blob":{reference},"a":"{}"}}}}]}}"#,
        "x".repeat(65_600)
    );
    b.refuses("/v1/events", 400, "usage", &[(&huge, "names a blob")]);
    b.assert_unmoved().await;
}

#[tokio::test]
async fn bodies_that_are_too_large_or_not_text() {
    let b = bothered().await;
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(1024 * 1024));
    for path in ["/v1/tasks", "/v1/events", "/v1/tasks/x/cancel"] {
        let answer = b.post(path, &large);
        assert_eq!(answer.status, 413, "{path}: {answer:?}");
        assert_eq!(answer.error().0, "usage");
        assert!(answer.why().contains("1 MiB"), "{answer:?}");
        assert!(answer.json()["error"]["hint"].is_string());
    }
    // One that is only announced is refused before any of it comes, and one that is not announced
    // when it has become too much.
    let head = "POST /v1/events HTTP/1.1\r\nHost: l\r\n";
    let chunk = format!("{:x}\r\n{large}\r\n", large.len());
    for rest in [
        "Content-Length: 1048577\r\n\r\n".to_owned(),
        format!("Transfer-Encoding: chunked\r\n\r\n{chunk}"),
    ] {
        let answer = raw(&b.node.socket, format!("{head}{rest}").as_bytes()).unwrap();
        assert_eq!((answer.status, answer.error().0.as_str()), (413, "usage"));
        assert!(answer.head.contains("connection: close"), "{answer:?}");
    }
    let bytes = post_request(
        "/v1/events",
        b"{\"events\":[{\"kind\":\"app.x\",\"data\":{\"a\":\"\xff\xfe\"}}]}",
    );
    let answer = raw(&b.node.socket, &bytes).unwrap();
    assert_eq!((answer.status, answer.error().0.as_str()), (400, "usage"));
    b.assert_unmoved().await;
}

#[tokio::test]
async fn paths_and_questions_that_lead_nowhere() {
    let b = bothered().await;
    let get = |path: &str| get(&b.node.socket, path);
    let cases = [
        ("/", 404, "not_found"),
        ("/v1", 404, "not_found"),
        ("/v2/status", 404, "not_found"),
        ("/v1/status/", 404, "not_found"),
        ("/v1/tasks/never", 404, "not_found"),
        ("/v1/tasks/never/wait", 404, "not_found"),
        ("/v1/tasks/never/output?stream=stdout", 404, "not_found"),
        (
            "/v1/tasks/never/output?stream=stdout&attempt=1",
            404,
            "not_found",
        ),
        (
            "/v1/tasks/never/output?stream=stdout&attempt=1&follow=true",
            404,
            "not_found",
        ),
        (
            "/v1/tasks/..%2f..%2fledger.redb/output?stream=stdout",
            400,
            "usage",
        ),
        (
            "/v1/tasks/..%2f..%2fledger.redb/output?stream=stdout&attempt=1",
            400,
            "usage",
        ),
        ("/v1/tasks/%00", 400, "usage"),
        ("/v1/tasks/%ff", 400, "usage"),
        ("/v1/tasks/..", 400, "usage"),
        ("/v1/tasks/x/../../status", 404, "not_found"),
        ("/v1/tasks?priority=3", 400, "usage"),
        ("/v1/tasks?priority=x", 400, "usage"),
        ("/v1/tasks?state=odd", 400, "usage"),
        ("/v1/tasks?limit=-1", 400, "usage"),
        ("/v1/tasks?nonsense=1", 400, "usage"),
        ("/v1/tasks/x?at=x", 400, "usage"),
        ("/v1/tasks?at=1000000", 400, "usage"),
        ("/v1/status?at=1000000", 400, "usage"),
        ("/v1/blocks?from=x", 400, "usage"),
        ("/v1/blocks?follow=maybe", 400, "usage"),
        ("/v1/projections/never/snapshot", 404, "not_found"),
        ("/v1/projections/..%2fhead/snapshot", 404, "not_found"),
    ];
    for (path, status, code) in cases {
        let answer = get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.error().0, code, "{path}: {answer:?}");
    }
    b.assert_unmoved().await;
}

#[tokio::test]
async fn endpoints_that_do_not_do_that() {
    let b = bothered().await;
    let cases = [
        ("/v1/tasks/never/cancel", 404, "not_found"),
        ("/v1/tasks/never/retry", 404, "not_found"),
        ("/v1/tasks/..%2fx/cancel", 400, "usage"),
        ("/v1/projections/never/rebuild", 404, "not_found"),
        ("/v1/nothing", 404, "not_found"),
    ];
    for (path, status, code) in cases {
        let answer = b.post(path, "{}");
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (status, code),
            "{path}"
        );
    }
    // What is not there in this direction.
    for (method, path) in [
        ("DELETE", "/v1/tasks/x"),
        ("PUT", "/v1/tasks"),
        ("POST", "/v1/status"),
        ("GET", "/v1/events"),
        ("GET", "/v1/tasks/x/cancel"),
        ("PATCH", "/v1/head"),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: l\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = raw(&b.node.socket, request.as_bytes()).unwrap();
        assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
        assert_eq!(answer.error().0, "usage", "{method} {path}: {answer:?}");
    }
    let empty = get(&b.node.socket, "/v1/blocks?from=1000000");
    assert_eq!(
        (empty.status, empty.body.as_str()),
        (200, "0\r\n\r\n"),
        "nothing there yet"
    );
    b.assert_unmoved().await;
}

#[tokio::test]
async fn a_run_that_never_was_has_no_output() {
    let b = bothered().await;
    b.node.run(named("once", script("echo hello"))).await;
    let path = |attempt: &str| format!("/v1/tasks/once/output?stream=stdout&attempt={attempt}");
    for attempt in ["2", "4294967295"] {
        let answer = get(&b.node.socket, &path(attempt));
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (404, "not_found")
        );
    }
    for attempt in ["0", "-1", "x", "4294967296"] {
        let answer = get(&b.node.socket, &path(attempt));
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (400, "usage"),
            "{attempt}"
        );
    }
    let odd = get(&b.node.socket, "/v1/tasks/once/output?stream=stdin");
    assert_eq!((odd.status, odd.error().0.as_str()), (400, "usage"));
    assert!(get(&b.node.socket, &path("1")).body.contains("hello"));
    b.node.stop_well();
    b.ledger.assert_sound();
}

#[tokio::test]
async fn bytes_that_are_no_requests() {
    let b = bothered().await;
    let socket = &b.node.socket;
    let headers = format!(
        "GET /v1/head HTTP/1.1\r\nHost: l\r\nX: {}\r\n\r\n",
        "x".repeat(1024 * 1024)
    );
    let lines = format!(
        "GET /v1/head HTTP/1.1\r\nHost: l\r\n{}\r\n",
        "X: y\r\n".repeat(5000)
    );
    let path = get_request(&format!("/v1/tasks/{}", "x".repeat(70_000)));
    let junk: [(&[u8], u16); 8] = [
        (b"\0\x01\x02\xff\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /v1/head HTTP/9.9\r\n\r\n", 400),
        (
            b"POST /v1/tasks HTTP/1.1\r\nHost: l\r\nContent-Length: x\r\n\r\n",
            400,
        ),
        (headers.as_bytes(), 431),
        (lines.as_bytes(), 431),
        (&path, 414),
    ];
    for (bytes, status) in junk {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        let answer = raw(socket, bytes).unwrap_or_else(|| panic!("no answer to {shown}"));
        assert_eq!(answer.status, status, "{shown}: {answer:?}");
        // These are answered before there is a request, and then the connection ends.
        assert_eq!(answer.error().0, "usage", "{answer:?}");
        assert!(answer.json()["error"]["hint"].is_string(), "{answer:?}");
        let length = format!("content-length: {}", answer.body.len());
        assert!(answer.head.contains(&length), "{answer:?}");
        assert!(answer.head.contains("connection: close"), "{answer:?}");
    }
    // Behind a request on the same connection, and with it in one piece.
    let sound = b"GET /v1/head HTTP/1.1\r\nHost: l\r\n\r\n";
    let both = raw(socket, &[&sound[..], b"hello\r\n\r\n"].concat()).unwrap();
    assert_eq!(both.status, 200);
    let (_, second) = both.body.split_once("HTTP/1.1 400 ").unwrap();
    let second = format!("HTTP/1.1 400 {second}");
    let second = Answer::parse(second.as_bytes()).unwrap();
    assert_eq!(second.error().0, "usage", "{second:?}");
    let next_protocol = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert!(raw(socket, next_protocol).is_none(), "another protocol");
    // What is strange but a request is answered like any other.
    for (request, status) in [
        ("OPTIONS * HTTP/1.1", 404),
        ("CONNECT there:1 HTTP/1.1", 404),
        ("BREW /v1/head HTTP/1.1", 405),
        ("TRACE http://there/v1/tasks HTTP/1.0", 405),
    ] {
        let request = format!("{request}\r\nConnection: close\r\n\r\n");
        let answer = raw(socket, request.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert!(answer.json()["error"]["hint"].is_string(), "{answer:?}");
    }
    let chunked = b"POST /v1/tasks HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\
        Connection: close\r\n\r\nzz\r\n";
    let answer = raw(socket, chunked);
    assert!(
        answer.is_none_or(|a| a.status == 400),
        "a body that is no body"
    );
    b.assert_unmoved().await;
}

#[tokio::test]
async fn clients_that_stop_in_the_middle() {
    let b = bothered().await;
    let body = br#"{"payload":{"type":"exec","argv":["true"]}}"#;
    let whole = post_request("/v1/tasks", body);
    let mut held = Vec::new();
    for cut in [1, 10, 40, whole.len() - body.len(), whole.len() - 1] {
        // One goes away, one keeps its half open, one shuts down its side and listens.
        drop(send_only(&b.node.socket, &whole[..cut]));
        held.push(send_only(&b.node.socket, &whole[..cut]));
        let half = send_only(&b.node.socket, &whole[..cut]);
        half.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        (&half).read_to_end(&mut answer).unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{answer:?}");
    }
    // A request that comes byte by byte is one all the same.
    let mut slow = send_only(&b.node.socket, b"");
    for byte in get_request("/v1/head") {
        slow.write_all(&[byte]).unwrap();
    }
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // A stream whose reader goes away costs the node nothing.
    drop(send_only(
        &b.node.socket,
        &get_request("/v1/blocks?follow=true"),
    ));
    // Those that are held must not keep the node from stopping.
    b.assert_unmoved().await;
    drop(held);
}
