//! Source mentions only the crates and parts of `std` that its place allows.

use crate::finding::{Finding, Rule};
use crate::mentions::Mention;
use crate::rules::direction::{APPENDING, CRATES, PATHS, Place, TestCode};
use crate::source::Source;
use crate::workspace::{Workspace, room};

/// Mentions against the tables of [`crate::rules::direction`].
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &workspace.sources {
        let decides =
            room(&source.path, "src/", &workspace.domains).is_some() && source.belongs_to("decide");
        let place = Place {
            path: &source.path,
            decides,
        };
        for mention in &source.mentions {
            findings.extend(against_crates(source, mention));
            findings.extend(against_paths(&place, mention));
            findings.extend(against_appending(source, mention));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

fn against_crates(source: &Source, mention: &Mention) -> Option<Finding> {
    let ban = CRATES.iter().find(|ban| {
        ban.rooms.iter().any(|room| source.path.starts_with(room))
            && ban
                .packages
                .iter()
                .any(|package| names(mention, &[&package.replace('-', "_")]))
    })?;
    Some(finding(&source.path, mention, ban.why))
}

fn against_paths(place: &Place<'_>, mention: &Mention) -> Option<Finding> {
    let ban = PATHS.iter().find(|ban| {
        (ban.covers)(place)
            && !(ban.tests == TestCode::Free && mention.in_test)
            && ban.prefixes.iter().any(|prefix| names(mention, prefix))
    })?;
    Some(finding(place.path, mention, ban.why))
}

fn against_appending(source: &Source, mention: &Mention) -> Option<Finding> {
    let appends = |parts: &[String]| parts.iter().any(|part| APPENDING.contains(&part.as_str()));
    let fresh = mention.imported == 0 || !appends(&mention.parts[..mention.imported]);
    (source.path.starts_with("projections/")
        && !mention.in_test
        && mention.starts_with(&["ledger_core"])
        && appends(&mention.parts)
        && fresh)
        .then(|| {
            finding(
                &source.path,
                mention,
                "projections read the log and never append",
            )
        })
}

/// Whether the mention names something under `prefix`, unless an import that it comes through
/// names that already: one finding where it is imported is enough.
fn names(mention: &Mention, prefix: &[&str]) -> bool {
    mention.starts_with(prefix) && mention.imported < prefix.len()
}

fn finding(path: &str, mention: &Mention, why: &str) -> Finding {
    let message = format!("may not use `{}`: {why}", mention.text());
    Finding::new(path, mention.line, Rule::Import, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::places;

    const TESTS: &str = "#[cfg(test)]\nmod tests {";

    #[test]
    fn mentions_against_the_direction_are_found() {
        for (path, line) in [
            ("ledger/src/log.rs", "use tokio::sync::mpsc;"),
            ("ledger/src/log.rs", "use projections::tasks;"),
            ("ledger/src/log.rs", "fn f() { assert!(opsledger::run()); }"),
            ("ledger/src/log.rs", "fn f() { std::process::abort() }"),
            ("ledger/src/log.rs", "use std::{env, fs};"),
            (
                "ledger/src/log.rs",
                "use std::time::{Duration, SystemTime};",
            ),
            ("ledger/tests/a.rs", "use nix::unistd;"),
            (
                "projections/src/tasks/apply.rs",
                "use std::time; fn f(a: time::Instant) {}",
            ),
            ("projections/src/tasks/apply.rs", "use rand::random;"),
            (
                "projections/src/tasks/run.rs",
                "use ledger_core::store::LogWriter;",
            ),
            (
                "projections/src/tasks/run.rs",
                "use ledger_core::store; fn f<T: store::LogWriter>() {}",
            ),
            ("src/node/disk.rs", "fn f(db: redb::Database) {}"),
            ("tests/crash/a.rs", "use redb::Database;"),
            ("src/api/mod.rs", "#[derive(clap::Parser)] struct S;"),
            ("src/lease/decide.rs", "use tokio::time;"),
            ("src/lease/decide.rs", "use std::fs;"),
            ("src/lease/decide/grant.rs", "use std::time::Instant;"),
        ] {
            let found = places(check, &[(path, &format!("\n{line}\n"))]);
            assert_eq!(found, [format!("{path}:2: import")], "{line}");
        }
    }

    #[test]
    fn an_import_is_reported_once_and_not_at_each_use() {
        let text = "use std::time::Instant;\nfn f(a: Instant, b: Instant) {}\n";
        assert_eq!(
            places(check, &[("projections/src/a.rs", text)]),
            ["projections/src/a.rs:1: import"]
        );
    }

    #[test]
    fn what_each_place_may_use_passes() {
        let test = |body: &str| format!("{TESTS} {body} }}");
        for (path, text) in [
            (
                "ledger/src/clock.rs",
                "use std::time::SystemTime;".to_owned(),
            ),
            (
                "ledger/src/log.rs",
                "use redb::Database; use std::time::Duration;".to_owned(),
            ),
            (
                "ledger/src/log.rs",
                test("use std::process::Command; use std::env;"),
            ),
            (
                "ledger/tests/crash.rs",
                "use std::process::Command;".to_owned(),
            ),
            (
                "projections/src/a.rs",
                "use ledger_core::store::LogReader;".to_owned(),
            ),
            (
                "projections/src/a.rs",
                test("use ledger_core::store::LogWriter;"),
            ),
            ("src/cli/tail.rs", "use clap::Args;".to_owned()),
            ("src/main.rs", "use clap::Parser;".to_owned()),
            (
                "src/lease/run.rs",
                "use tokio::time; use std::fs;".to_owned(),
            ),
            ("src/lease/decide.rs", "use std::time::Duration;".to_owned()),
            ("src/node/decide.rs", "use std::fs;".to_owned()),
            ("tools/bench/src/main.rs", "use redb::Database;".to_owned()),
        ] {
            assert_eq!(
                places(check, &[(path, &text)]),
                Vec::<String>::new(),
                "{path}: {text}"
            );
        }
    }
}
