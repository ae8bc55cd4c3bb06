//! FORMAT.md, read for its vectors.

use std::fs;

use ledger_core::ids::LedgerId;

use super::repo;

/// The whole document.
pub(crate) fn document() -> String {
    fs::read_to_string(repo("ledger/FORMAT.md")).unwrap()
}

/// The vectors of one name, each as its fields; a field's value may go on in indented lines.
pub(crate) fn vectors(name: &str) -> Vec<Vec<(String, String)>> {
    let text = document();
    let mut found = Vec::new();
    for part in text.split(&format!("```vector {name}\n")).skip(1) {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in part.split("```").next().unwrap().lines() {
            match line.strip_prefix("  ") {
                Some(more) => fields.last_mut().unwrap().1.push_str(more),
                None => {
                    let (key, value) = line.split_once(':').unwrap();
                    fields.push((key.to_owned(), value.trim().to_owned()));
                }
            }
        }
        found.push(fields);
    }
    assert!(!found.is_empty(), "no vector {name}");
    found
}

pub(crate) fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    let found = fields.iter().find(|(key, _)| key == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0);
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

pub(crate) fn ledger_id() -> LedgerId {
    field(&vectors("key")[0], "ledger").parse().unwrap()
}

pub(crate) fn events() -> Vec<(String, Vec<u8>)> {
    vectors("event")
        .iter()
        .map(|v| (field(v, "json").to_owned(), unhex(field(v, "bytes"))))
        .collect()
}

/// A vector that stands for itself: all its lines.
pub(crate) fn raw_vector(name: &str) -> String {
    let text = document();
    let (_, rest) = text.split_once(&format!("```vector {name}\n")).unwrap();
    rest.split("```").next().unwrap().to_owned()
}
