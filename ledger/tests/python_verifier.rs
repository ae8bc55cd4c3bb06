//! The format through other eyes: the verifier in Python, written from FORMAT.md, agrees with
//! this code on what is intact and finds what was tampered with.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use common::repo;

/// Runs the verifier; `None` where there is no Python, which CI does not accept.
fn verify(file: &Path, args: &[&str]) -> Option<Output> {
    let script = repo("tools/verify_export.py");
    let run = Command::new("python3")
        .arg(script)
        .arg(file)
        .args(args)
        .output();
    match run {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none(), "CI needs python3");
            None
        }
        Err(error) => panic!("python3: {error}"),
    }
}

#[test]
fn it_finds_the_golden_events_intact() {
    let file = repo("fixtures/v1/events.blocks");
    let lines = fs::read_to_string(repo("fixtures/v1/events.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let head = format!("{}:{}", last["seq"], last["hash"].as_str().unwrap());
    let args = [
        "--ledger",
        "01987654-3210-7abc-8def-0123456789ab",
        "--head",
        &head,
    ];
    let Some(output) = verify(&file, &args) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains(&format!("head: {head}\n")), "{said}");
    assert!(
        said.contains(&format!("{} events", lines.lines().count())),
        "{said}"
    );
}

#[test]
fn it_finds_what_was_tampered_with() {
    let sound = fs::read(repo("fixtures/v1/events.blocks")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tampered");
    let first = 4 + usize::try_from(u32::from_le_bytes(sound[..4].try_into().unwrap())).unwrap();
    let last = sound.len() - 1;
    let flips = [
        0,
        4,
        8,
        12,
        25,
        60,
        84,
        90,
        first - 1,
        first + 20,
        3000,
        last,
    ];
    let flipped = flips.map(|at| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        bytes
    });
    let others = [
        sound[..sound.len() - 1].to_vec(),
        sound[first..].to_vec(),
        [&sound[..], &sound[first..]].concat(),
        Vec::new(),
    ];
    for (n, bytes) in flipped.iter().chain(&others).enumerate() {
        fs::write(&file, bytes).unwrap();
        let Some(output) = verify(&file, &[]) else {
            return;
        };
        assert_eq!(output.status.code(), Some(3), "case {n}: {output:?}");
    }
    // What a chain alone can't find: a cut behind a whole block. A head from elsewhere does.
    fs::write(&file, &sound[..first]).unwrap();
    let zero = format!("2:{}", "0".repeat(64));
    let Some(cut) = verify(&file, &[]) else {
        return;
    };
    assert!(cut.status.success(), "{cut:?}");
    let Some(cut) = verify(&file, &["--head", &zero]) else {
        return;
    };
    assert_eq!(cut.status.code(), Some(3), "{cut:?}");
}

/// The golden events as a complete export: their lines, and the one that ends it.
fn exported() -> String {
    let lines = fs::read_to_string(repo("fixtures/v1/events.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let end = serde_json::json!({"export": {
        "format": 1, "ledger_id": "01987654-3210-7abc-8def-0123456789ab",
        "events": lines.lines().count(), "complete": true,
        "seq": last["seq"], "hash": last["hash"],
    }});
    format!("{lines}{end}\n")
}

#[test]
fn it_makes_the_events_of_exported_lines_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("export.jsonl");
    let sound = exported();
    fs::write(&file, &sound).unwrap();
    let Some(output) = verify(&file, &[]) else {
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let code = |text: &str| {
        fs::write(&file, text).unwrap();
        verify(&file, &[]).and_then(|output| output.status.code())
    };
    let end = sound.trim_end().rfind('\n').unwrap() + 1;
    let first = sound.find('\n').unwrap() + 1;
    for damaged in [
        sound.replacen("\"kind\":\"task.", "\"kind\":\"tusk.", 1),
        sound.replacen("\"term\":1", "\"term\":2", 1),
        sound.replacen("Z\",\"event_id\"", "1Z\",\"event_id\"", 1),
        sound[..end].to_owned(),
        sound[..sound.len() - 1].to_owned(),
        format!("{sound}\n"),
        sound.replace("\"format\":1,", "\"format\":2,"),
        format!("{}{}", &sound[..first], &sound[end..]),
    ] {
        assert_ne!(damaged, sound);
        assert_eq!(code(&damaged), Some(3), "{damaged}");
    }
    for part in [
        &sound[first..],
        &sound.replace("\"complete\":true", "\"complete\":false"),
    ] {
        assert_eq!(code(part), Some(2), "{part}");
    }
}
