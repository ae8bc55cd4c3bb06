//! Content that is too large for events: stored, named, read back, checked and collected.

use std::io::{Cursor, Read};
use std::ops::Add as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use ledger_core::blobs::{BlobRef, MediaType};
use ledger_core::hash::Hash;
use ledger_core::time::Millis;
use opsledger::api::wire::{AppendEvent, AppendRequest, CollectRequest, ErrorCode, MAX_DOCUMENT};
use serde_json::value::RawValue;

use crate::support::{Ledger, Node, exec, get, named, post, send_only, show, text};

fn append(data: &str) -> AppendRequest {
    AppendRequest {
        events: vec![AppendEvent {
            kind: "app.x".parse().unwrap(),
            subject: None,
            expected_version: None,
            data: RawValue::from_string(data.to_owned()).unwrap(),
        }],
        idempotency_key: None,
        expected_head: None,
        claimed_actor: None,
        correlation: None,
        cause: None,
        traceparent: None,
    }
}

fn path(ledger: &Ledger, digest: Hash) -> PathBuf {
    let hex = digest.to_string();
    ledger.dir.join("blobs").join(&hex[..2]).join(&hex[2..])
}

async fn put(node: &Node, content: &[u8]) -> BlobRef {
    let content = Cursor::new(content.to_vec());
    let stored = node
        .client
        .upload_blob(content, &MediaType::unknown())
        .await;
    stored.unwrap()
}

fn code(done: &Output) -> Option<i32> {
    done.status.code()
}

/// Bytes that are made as they are read.
struct Endless(u64);

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = out.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
        out[..count].fill(7);
        self.0 -= count as u64;
        Ok(count)
    }
}

#[tokio::test]
async fn data_that_is_too_large_becomes_a_blob_without_its_secrets() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let secret = format!("AKIA{}", "A1B2".repeat(4));
    let data = |size: usize| format!(r#"{{ "key": "{secret}", "fill": "{}" }}"#, "x".repeat(size));
    // As a part of the request.
    node.client.append(&append(&data(100_000))).await.unwrap();
    // Uploaded before, because it is larger than a request may be.
    let file = ledger.path("large.json");
    std::fs::write(&file, data(3_000_000)).unwrap();
    let at = format!("@{}", show(&file));
    let done = ledger.cli(&["append", "app.y", "--data", &at]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let log = node.log().await;
    for (event, size) in log
        .of_kind("app.x")
        .iter()
        .chain(&log.of_kind("app.y"))
        .zip([100_000, 3_000_000])
    {
        let reference: BlobRef = serde_json::from_value(event.data["$blob"].clone()).unwrap();
        assert_eq!(event.data.as_object().unwrap().len(), 1);
        assert_eq!(&*reference.media_type, "application/json");
        let read = ledger.cli(&["blob", "get", &reference.blake3.to_string()]);
        let stored = text(&read.stdout);
        assert!(!stored.contains(&secret) && stored.contains("[redacted:aws-key]"));
        assert_eq!(stored.len() as u64, reference.bytes);
        assert!(stored.starts_with(r#"{"key":""#), "{}", &stored[..40]);
        assert!(stored.ends_with(&"x".repeat(size)[..10].to_owned().add("\"}")));
    }
    let shown = ledger.cli(&["show", &log.last().seq.to_string()]);
    assert!(text(&shown.stdout).contains("$blob"), "{shown:?}");
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn content_of_any_size_streams_in_and_out() {
    let ledger = Ledger::configured("[blobs]\nmax_size = \"40MiB\"\n");
    let node = ledger.up().await;
    let media_type: MediaType = "video/mp4; codecs=av1".parse().unwrap();
    let stored = node.client.upload_blob(Endless(40 << 20), &media_type);
    let stored = stored.await.unwrap();
    assert_eq!((stored.bytes, &stored.media_type), (40 << 20, &media_type));
    let mut out = node.client.blob(stored.blake3).await.unwrap();
    let (mut hasher, mut len) = (blake3::Hasher::new(), 0);
    while let Some(bytes) = out.next().await.unwrap() {
        hasher.update(&bytes);
        len += bytes.len();
    }
    assert_eq!(len, 40 << 20);
    assert_eq!(Hash(*hasher.finalize().as_bytes()), stored.blake3);
    // A byte more is too much, announced or not.
    let refused = node
        .client
        .upload_blob(Endless((40 << 20) + 1), &media_type);
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Usage, "{refused:?}");
    assert!(refused.message.contains("at most 41943040"), "{refused}");
    let announced = post(&node.socket, "/v1/blobs?media_type=nonsense", "x");
    assert_eq!(announced.status, 400, "{announced:?}");
    let large = Endless(MAX_DOCUMENT as u64 + 1);
    let refused = node.client.upload_blob(large, &MediaType::json()).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::Usage);
    let no_object = Cursor::new(b"[1]".to_vec());
    let refused = node.client.upload_blob(no_object, &MediaType::json()).await;
    assert!(refused.unwrap_err().message.contains("refused"));
    let missing = get(&node.socket, &format!("/v1/blobs/{}", "0".repeat(64)));
    assert_eq!(missing.status, 404, "{missing:?}");
    assert_eq!(get(&node.socket, "/v1/blobs/x").status, 400);
    let left = ledger.dir.join("blobs/incoming");
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0);
    node.stop_well();
}

#[tokio::test]
async fn an_upload_that_is_cut_off_stores_nothing() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let head = "POST /v1/blobs HTTP/1.1\r\nHost: ledger\r\nContent-Length: 100\r\n\r\nhalf";
    let connection = send_only(&node.socket, head.as_bytes());
    // It is being written when the next one is whole.
    put(&node, b"whole").await;
    drop(connection);
    node.stop_well();
    let node = ledger.up().await;
    let incoming = ledger.dir.join("blobs/incoming");
    assert_eq!(std::fs::read_dir(incoming).unwrap().count(), 0);
    let listed = ledger.cli(&["blob", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    node.stop_well();
}

#[tokio::test]
async fn only_what_is_there_can_be_named() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let stored = put(&node, b"content").await;
    let head = node.client.head().await.unwrap();
    let other = BlobRef {
        blake3: Hash::of(b"other"),
        ..stored.clone()
    };
    let longer = BlobRef {
        bytes: 8,
        ..stored.clone()
    };
    for (wrong, code) in [
        (&other, ErrorCode::NotFound),
        (&longer, ErrorCode::Conflict),
    ] {
        let refused = node.client.append(&append(&wrong.to_payload())).await;
        assert_eq!(refused.unwrap_err().code, code);
    }
    assert_eq!(node.client.head().await.unwrap(), head);
    let file = ledger.path("picture");
    std::fs::write(&file, b"content").unwrap();
    let arguments = [
        "append",
        "app.shot",
        "--blob",
        show(&file),
        "--media-type",
        "image/png",
    ];
    let done = ledger.cli(&[&arguments[..], &["--data", r#"{"of":"it"}"#]].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let event = node.log().await.last().clone();
    assert_eq!(event.data["of"], "it");
    assert_eq!(event.data["$blob"]["blake3"], stored.blake3.to_string());
    assert_eq!(event.data["$blob"]["media_type"], "image/png");
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn garbage_is_collected_and_what_is_named_or_about_to_be_is_not() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let kept = put(&node, b"named").await;
    node.client
        .append(&append(&kept.to_payload()))
        .await
        .unwrap();
    let waiting = put(&node, b"about to be named").await;
    let now = CollectRequest {
        grace_ms: Some(Millis(0)),
        dry_run: false,
    };
    let report = node.client.collect_blobs(&now).await.unwrap();
    assert_eq!((report.named, report.removed, report.leased), (1, 0, 1));
    node.stop_well();

    // Whoever uploaded it has gone with the node: it is garbage, once it is old.
    let node = ledger.up().await;
    let usual = CollectRequest::default();
    let young = node.client.collect_blobs(&usual).await.unwrap();
    assert_eq!((young.named, young.removed, young.young), (1, 0, 1));
    let unasked = ledger.cli(&["blob", "gc", "--grace", "0s"]);
    assert_eq!(code(&unasked), Some(2), "{unasked:?}");
    let dry = ledger.cli(&["blob", "gc", "--grace", "0s", "--dry-run"]);
    assert!(text(&dry.stdout).contains("would go: 1 blob"), "{dry:?}");
    assert!(path(&ledger, waiting.blake3).exists());
    let done = ledger.cli(&["blob", "gc", "--grace", "0s", "--yes"]);
    assert!(text(&done.stdout).contains("removed: 1 blob"), "{done:?}");
    assert!(!path(&ledger, waiting.blake3).exists());
    // Too late to name it; uploaded again, it is there again.
    let late = node.client.append(&append(&waiting.to_payload())).await;
    assert_eq!(late.unwrap_err().code, ErrorCode::NotFound);
    put(&node, b"about to be named").await;
    node.client
        .append(&append(&waiting.to_payload()))
        .await
        .unwrap();
    let report = node.client.collect_blobs(&now).await.unwrap();
    assert_eq!((report.named, report.removed), (2, 0));
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn what_is_missing_or_damaged_is_found() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let (damaged, missing) = (put(&node, b"damaged").await, put(&node, b"missing").await);
    for blob in [&damaged, &missing] {
        node.client
            .append(&append(&blob.to_payload()))
            .await
            .unwrap();
    }
    let verified = ledger.cli(&["verify"]);
    assert!(verified.status.success(), "{verified:?}");
    assert!(
        text(&verified.stdout).contains("2 blobs, 14 B"),
        "{verified:?}"
    );
    std::fs::write(path(&ledger, damaged.blake3), b"damageD").unwrap();
    std::fs::remove_file(path(&ledger, missing.blake3)).unwrap();
    let name = damaged.blake3.to_string();
    let read = ledger.cli(&["blob", "get", &name]);
    assert_eq!((code(&read), read.stdout.len()), (Some(3), 0), "{read:?}");
    let file = ledger.path("out");
    let read = ledger.cli(&["blob", "get", &name, "-o", show(&file)]);
    assert_eq!((code(&read), file.exists()), (Some(3), false), "{read:?}");
    // One piece is all there is of it, so the answer may be cut before its head was sent.
    if let Ok(mut out) = node.client.blob(damaged.blake3).await {
        assert!(out.next().await.is_err(), "cut short");
    }
    let read = ledger.cli(&["blob", "get", &missing.blake3.to_string()]);
    assert_eq!(code(&read), Some(7), "{read:?}");
    // With the node and without.
    for node in [Some(node), None] {
        for command in [&["verify"][..], &["blob", "verify"]] {
            let found = ledger.cli(command);
            assert_eq!(code(&found), Some(3), "{found:?}");
            let said = text(&found.stdout);
            assert!(said.contains("its bytes have the hash"), "{said}");
            assert!(said.contains("it is missing"), "{said}");
        }
        if let Some(node) = node {
            node.stop_well();
        }
    }
    // The same content again mends it.
    let node = ledger.up().await;
    for content in ["damaged", "missing"] {
        put(&node, content.as_bytes()).await;
    }
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn a_command_that_is_too_large_is_refused_and_reads_a_blob_instead() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let long = "x".repeat(70_000);
    let refused = node
        .client
        .submit(&exec(&["echo", &long]))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::Usage);
    assert!(
        refused.hint.as_deref().unwrap().contains("ledger blob put"),
        "{refused:?}"
    );
    let mut child = ledger.command(&["blob", "put", "-"]);
    let mut child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), long.as_bytes()).unwrap();
    let stored = text(&child.wait_with_output().unwrap().stdout);
    let digest = stored.split(' ').next().unwrap();
    let program = crate::support::LEDGER;
    let dir = show(&ledger.dir);
    let task = exec(&[program, "--data-dir", dir, "blob", "get", digest]);
    let view = node.run(named("reads", task)).await;
    assert_eq!(view.exit_code, Some(0), "{view:?}");
    node.stop_well();
    let log = ledger.assert_sound();
    let outputs = &log.end_of("reads").data["outputs"];
    assert_eq!(outputs["stdout"]["bytes"], 70_000);
    assert_eq!(outputs["stdout"]["blake3"], digest);
}

/// A ledger with a document that is too large for an event; what it is, and its blob.
async fn with_document(ledger: &Ledger) -> (String, Hash) {
    let node = ledger.up().await;
    let document = format!("{{\"text\":\"{}\"}}", "abc ".repeat(50_000));
    let file = ledger.path("document.json");
    std::fs::write(&file, &document).unwrap();
    let data = format!("@{}", show(&file));
    let done = ledger.cli(&["append", "app.report", "--data", &data]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    node.stop_well();
    (document.clone(), Hash::of(document.as_bytes()))
}

/// Runs a command on another data directory than the ledger's own.
fn on(ledger: &Ledger, dir: &std::path::Path, arguments: &[&str]) -> Output {
    let global = ["--data-dir", show(dir)];
    let command = [&global[..], arguments].concat();
    let mut ledger_there = std::process::Command::new(crate::support::LEDGER);
    let home = ledger_there.current_dir(ledger.path(""));
    home.args(command).output().unwrap()
}

#[tokio::test]
async fn copies_have_the_blobs_or_say_that_they_have_not() {
    let ledger = Ledger::new();
    let (document, digest) = with_document(&ledger).await;
    let (backups, name) = (ledger.path("backups"), digest.to_string());
    let shelf = format!("blobs/{}/{}", &name[..2], &name[2..]);
    let made = ledger.cli(&["backup", "--to", show(&backups)]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let (lines, apart) = (ledger.path("lines"), ledger.path("apart"));
    let export = |more: &[&str]| {
        let _ = std::fs::remove_file(&lines);
        let usual = ["export", "--format", "jsonl", "--to", show(&lines)];
        ledger.cli(&[&usual[..], more].concat())
    };
    let without = export(&[]);
    assert!(
        text(&without.stderr).contains("1 blob that the events name"),
        "{without:?}"
    );
    let with = export(&["--blobs", show(&apart)]);
    assert!(with.status.success(), "{}", text(&with.stderr));

    // Restored or imported with them, all is there.
    let (restored, imported) = (ledger.path("restored"), ledger.path("imported"));
    let from = ["restore", "latest", "--dir", show(&backups)];
    let done = ledger.cli(&[&from[..], &["--into", show(&restored)]].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let from = ["import", show(&lines), "--blobs", show(&apart)];
    let done = ledger.cli(&[&from[..], &["--into", show(&imported)]].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    for dir in [&restored, &imported] {
        let verified = on(&ledger, dir, &["blob", "verify"]);
        assert!(verified.status.success(), "{verified:?}");
        let verified = on(&ledger, dir, &["verify"]);
        assert_ne!(code(&verified), Some(3), "{verified:?}");
        let got = on(&ledger, dir, &["blob", "get", &name]);
        assert_eq!(text(&got.stdout), document);
    }
    // Imported without, it is said, then and later.
    let bare = ledger.path("bare");
    let done = ledger.cli(&["import", show(&lines), "--into", show(&bare)]);
    assert_eq!(code(&done), Some(5), "{done:?}");
    assert!(text(&done.stderr).contains(&name), "{done:?}");
    assert_eq!(code(&on(&ledger, &bare, &["verify"])), Some(3));

    // Damaged in the backup it is found; what can be restored is, and what can't is named.
    let file = ledger.cli(&["--json", "backup", "list", "--dir", show(&backups)]);
    let listed: serde_json::Value = serde_json::from_slice(&file.stdout).unwrap();
    let backup = PathBuf::from(listed[0]["path"].as_str().unwrap());
    std::fs::write(backup.join(&shelf), "something else").unwrap();
    let found = ledger.cli(&["backup", "verify", show(&backup)]);
    assert_eq!(code(&found), Some(3), "{found:?}");
    assert!(text(&found.stdout).contains(&shelf), "{found:?}");
    let into = ledger.path("less");
    let done = ledger.cli(&["restore", show(&backup), "--into", show(&into)]);
    assert_eq!(code(&done), Some(5), "{done:?}");
    assert!(text(&done.stderr).contains(&name), "{done:?}");

    // Lost everywhere, it is said of the next backup and of the next export.
    std::fs::remove_file(ledger.dir.join(&shelf)).unwrap();
    let made = ledger.cli(&["backup", "--to", show(&backups)]);
    assert_eq!(code(&made), Some(5), "{made:?}");
    assert!(text(&made.stderr).contains("it is missing"), "{made:?}");
    let found = ledger.cli(&["backup", "verify", "--dir", show(&backups)]);
    assert_eq!(code(&found), Some(5), "{found:?}");
    let elsewhere = ledger.path("elsewhere");
    let done = export(&["--blobs", show(&elsewhere)]);
    assert_eq!(code(&done), Some(5), "{done:?}");
}
