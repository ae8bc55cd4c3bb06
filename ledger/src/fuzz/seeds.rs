//! The inputs that are kept: seeds, which the fuzzer begins with, and whatever once broke a check.
//! Both stand in `tools/fuzz`, in a directory for each check.

use std::fs;
use std::path::{Path, PathBuf};

use super::bytes::LEDGER;
use super::{CHECKS, run};
use crate::codec::decode;
use crate::event::Event;
use crate::hash::Hash;
use crate::ids::{Seq, Term};
use crate::store::redb::HeadFile;
use crate::store::samples::{batch, genesis};
use crate::store::{pack, read_block, write_block};

fn home(kept: &str, check: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/fuzz");
    tools.join(kept).join(check)
}

/// A block of FORMAT.md between its fences, as text.
fn vector(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("FORMAT.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("```vector {name}\n")).unwrap();
    rest.split("```").next().unwrap().to_owned()
}

/// The check, a name, the bytes.
type Seed = (&'static str, &'static str, Vec<u8>);

/// The first golden event of each kind that this code knows.
fn one_of_each_kind() -> Vec<Seed> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let golden = fs::read(top.join("fixtures/v1/events.blocks")).unwrap();
    let mut source = &golden[..];
    let mut events = Vec::new();
    while let Some(block) = read_block(&mut source).unwrap() {
        events.extend(block.iter().map(<[u8]>::to_vec));
    }
    let of_kind = |kind: &'static str| {
        let is = |event: &&Vec<u8>| decode(event).is_ok_and(|e| e.header.kind == kind);
        let found = events.iter().find(is)?;
        Some(("event", kind, found.clone()))
    };
    Event::known_kinds().filter_map(of_kind).collect()
}

/// The seeds.
fn made() -> Vec<Seed> {
    let genesis = genesis(LEDGER);
    let more = batch(LEDGER, genesis.head(), Term(1), &[30, 300, 0]);
    let first = pack(&genesis, None).remove(0);
    let second = pack(&more, None).remove(0);
    let mut stream = Vec::new();
    for block in [&first, &second] {
        write_block(&mut stream, block).unwrap();
    }
    let head = HeadFile {
        ledger_id: LEDGER,
        seq: Seq(4),
        hash: Hash([9; 32]),
    };
    let mut seeds = vec![
        (
            "journal",
            "two-segments",
            crate::store::journal::fuzz::seed(),
        ),
        ("head", "head", head.encode().to_vec()),
        ("block", "first", first.as_bytes().to_vec()),
        ("block", "three", second.as_bytes().to_vec()),
        ("stream", "two-blocks", stream.clone()),
        ("scan", "two-blocks", [vec![1; 99], stream].concat()),
        (
            "scan",
            "segment",
            crate::store::journal::fuzz::seed()[1..].to_vec(),
        ),
        (
            "payload",
            "nested",
            br#"{ "a" : [ 1.50 , 1e3 , -0 , {} ] , "b" : "x\" \u0041" }"#.to_vec(),
        ),
        ("payload", "empty", b"{}".to_vec()),
        ("proof", "note", vector("note").into_bytes()),
        ("proof", "inclusion", vector("inclusion").into_bytes()),
        ("proof", "consistency", vector("consistency").into_bytes()),
        ("proof", "verifier", super::text::VERIFIER.into()),
    ];
    let note = vector("note");
    let text = note.split("\n\n").next().unwrap();
    seeds.push(("proof", "checkpoint", format!("{text}\n").into_bytes()));
    let keys = vector("keys");
    let signer = keys.lines().find_map(|line| line.strip_prefix("signer: "));
    seeds.push(("proof", "signer", signer.unwrap().into()));
    let smallest = second.iter().last().unwrap();
    seeds.push(("event", "smallest", smallest.to_vec()));
    seeds.extend(one_of_each_kind());
    seeds
}

#[test]
fn the_seeds_are_those_that_are_made_here() {
    for (check, name, bytes) in made() {
        let path = home("seeds", check).join(name);
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_default();
        assert!(
            kept == bytes,
            "{}: UPDATE_SEEDS=1 writes it anew",
            path.display()
        );
    }
}

#[test]
fn every_input_that_is_kept_holds() {
    for (check, _) in CHECKS {
        let mut tried = 0;
        for kept in ["seeds", "regressions"] {
            let Ok(inputs) = fs::read_dir(home(kept, check)) else {
                continue;
            };
            for input in inputs {
                run(check, &fs::read(input.unwrap().path()).unwrap());
                tried += 1;
            }
        }
        assert!(tried > 0, "there is nothing to begin with for {check}");
    }
}
