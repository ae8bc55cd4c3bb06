//! Lines give the ledger back to the last hash, or say which of them does not; a table holds all.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::envelope::{Draft, TraceParent};
use crate::ids::{Entity, Id, LedgerId, Seq, Term};
use crate::store::memory::MemoryStore;
use crate::store::samples::{batch_of, event, genesis, ledger_id};
use crate::store::{LogReader, LogWriter, for_each_event};
use crate::verify::{Verdict, verify_offline};

/// Events with every combination of optional fields, and payloads that only their exact bytes give
/// back.
fn draft(n: u64, size: usize) -> Draft {
    let mut draft = event(n, size);
    let id = |text: &str| Id::new(text).unwrap();
    if n & 1 != 0 {
        draft.origin.claimed_actor = Some(Entity::new("agent/ada").unwrap());
    }
    if n & 2 != 0 {
        draft.origin.cause = Some(Seq(n));
    }
    if n & 4 != 0 {
        draft.origin.correlation = Some(id("req-1"));
    }
    if n & 8 != 0 {
        let text = format!("00-{}-{}-01", "a".repeat(32), "b".repeat(16));
        draft.origin.traceparent = TraceParent::new(&text);
    }
    if n & 16 != 0 {
        draft.idempotency_key = Some(id("key.1"));
    }
    if n.is_multiple_of(3) {
        draft.data = r#"{"a":1.50,"b":-0,"c":"\u0041\"\\ü,\r\n","d":[]}"#.into();
    }
    draft.version = (n % 7) as u16;
    draft
}

fn sample(sizes: &[Vec<usize>]) -> MemoryStore {
    let ledger = ledger_id(1);
    let mut store = MemoryStore::new(ledger);
    store.append(&genesis(ledger)).unwrap();
    for (term, sizes) in (1..).zip(sizes) {
        let head = LogWriter::head(&store);
        let drafts: Vec<Draft> = (head.seq.0 + 1..)
            .zip(sizes)
            .map(|(n, &size)| draft(n, size))
            .collect();
        store
            .append(&batch_of(ledger, head, Term(term), &drafts))
            .unwrap();
    }
    store
}

fn exported(store: &MemoryStore) -> String {
    let mut writer = JsonlWriter::new(Vec::new());
    let walked = for_each_event(store, Seq::FIRST, |event| {
        writer.write(&event).unwrap();
        ControlFlow::<()>::Continue(())
    });
    assert!(walked.unwrap().is_continue());
    let head = LogReader::head(store).unwrap();
    let lines = writer
        .finish(store_id(store), head, Extent::Complete, None)
        .unwrap();
    String::from_utf8(lines).unwrap()
}

fn store_id(store: &MemoryStore) -> LedgerId {
    LogReader::ledger_id(store)
}

fn events(reader: &dyn LogReader) -> Vec<Vec<u8>> {
    let blocks = reader.blocks(Seq::FIRST).unwrap().map(Result::unwrap);
    let events = blocks.flat_map(|b| b.iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
    events.collect()
}

fn refused(lines: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    import_jsonl(lines.as_bytes(), dir.path(), &|_| {})
        .expect_err(lines)
        .to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_was_exported_is_imported_to_the_last_hash(
        sizes in prop::collection::vec(prop::collection::vec(1_usize..60_000, 1..8), 1..6),
    ) {
        let store = sample(&sizes);
        let head = LogReader::head(&store).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let imported = import_jsonl(exported(&store).as_bytes(), dir.path(), &|_| {}).unwrap();
        let reader = imported.store.reader();
        prop_assert_eq!(LogReader::ledger_id(&reader), store_id(&store));
        prop_assert_eq!(reader.head().unwrap(), head);
        prop_assert_eq!(events(&reader), events(&store));
        imported.store.close().unwrap();
        let report = verify_offline(dir.path(), NonZeroUsize::MIN, &|_, _| {}).unwrap();
        prop_assert_eq!(report.verdict, Verdict::Intact);
    }
}

#[test]
fn every_changed_character_and_every_cut_is_refused() {
    let lines = exported(&sample(&[vec![40; 34]]));
    assert!(lines.is_ascii() || lines.contains('ü'));
    for at in (0..lines.len()).step_by(13) {
        let mut changed = lines.clone().into_bytes();
        changed[at] ^= 1;
        if let Ok(changed) = String::from_utf8(changed) {
            refused(&changed);
        }
        if lines.is_char_boundary(at) {
            refused(&lines[..at]);
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let whole = exported(&sample(&[vec![40; 3]]));
    let lines: Vec<&str> = whole.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    let cases = [
        (
            joined(&lines[..4]),
            "line 5: the export was cut: its last line, which says what it is, is missing",
        ),
        (
            joined(&lines[1..]),
            "line 1: a ledger does not begin with app.sample",
        ),
        (
            joined(&[lines[0], lines[2]]),
            "line 2: seq 3 stands where seq 2 belongs",
        ),
        (
            joined(&[&lines[..], &lines[..1]].concat()),
            "line 6: there is something behind the line that ends the export",
        ),
        (
            joined(&[lines[0], "{}"]),
            "line 2: it is not a line of an export: missing field `seq` at line 1 column 2",
        ),
        (
            joined(&[lines[0], "x"]),
            "line 2: it is not a line of an export: expected value at line 1 column 1",
        ),
        (
            whole.replace("\"format\":1,\"ledger_id\"", "\"format\":2,\"ledger_id\""),
            "line 5: the export has format 2; this binary knows 1",
        ),
        (
            whole.replace("\"complete\":true", "\"complete\":false"),
            "the export holds 4 of 4 events: only a complete one can be imported",
        ),
    ];
    for (lines, expected) in cases {
        assert_eq!(refused(&lines), expected);
    }
    let other = whole.replacen("xxx", "xyx", 1);
    let said = refused(&other);
    assert!(
        said.starts_with("line 2: seq 2 is not what was exported: its hash is "),
        "{said}"
    );
    let fewer = joined(&[lines[0], lines[1], lines[4]]);
    assert!(refused(&fewer).starts_with("line 3: the export should have 4 events"));
    assert_eq!(refused(&joined(&lines[4..])), "there are no events");
}

#[test]
fn a_table_has_every_field_of_every_event() {
    let store = sample(&[vec![40; 33], vec![SPREADSHEET_CELL + 100]]);
    let mut writer = CsvWriter::new(Vec::new()).unwrap();
    let mut fields = Vec::new();
    let walked = for_each_event(&store, Seq::FIRST, |event| {
        writer.write(&event).unwrap();
        let json: serde_json::Value =
            serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
        fields.push((json, event.event.data.to_owned()));
        ControlFlow::<()>::Continue(())
    });
    assert!(walked.unwrap().is_continue());
    assert_eq!((writer.events(), writer.long()), (35, 1));
    let table = String::from_utf8(writer.finish().unwrap()).unwrap();
    let mut records = parse_csv(&table).into_iter();
    let names = records.next().unwrap();
    for ((json, data), record) in fields.into_iter().zip(records.by_ref()) {
        for (name, cell) in names.iter().zip(record) {
            let expected = match &json[name] {
                _ if name == "data" => data.clone(),
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(cell, expected, "{name}");
        }
        assert!(json.as_object().unwrap().keys().all(|k| names.contains(k)));
    }
    assert!(records.next().is_none());
}

/// RFC 4180, strictly.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let mut records = vec![vec![String::new()]];
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(c) = chars.next() {
        let record = records.last_mut().unwrap();
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                record.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(String::new()),
            '\r' if !quoted => {
                assert_eq!(chars.next(), Some('\n'));
                records.push(vec![String::new()]);
            }
            c => record.last_mut().unwrap().push(c),
        }
    }
    assert_eq!(records.pop(), Some(vec![String::new()]));
    records
}
