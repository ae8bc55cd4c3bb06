//! Siblings don't import each other: domains under `src/`, and folders of projections.
//!
//! Domains meet only in events; `node/` wires them. A projection that read another would have
//! two positions at once; their tests may, to see them side by side. The shim outlives nodes and versions, so it knows no domain.

use crate::finding::{Finding, Rule};
use crate::mentions::Mention;
use crate::source::Source;
use crate::workspace::{Workspace, room};

/// The folder of projections that all others may use.
const SHARED_PROJECTION: &str = "framework";

/// Imports among siblings.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &workspace.sources {
        let domain = room(&source.path, "src/", &workspace.domains);
        let projection = room(&source.path, "projections/src/", &workspace.projections);
        let is_shim = source.path.starts_with("src/shim/") || source.path == "src/shim.rs";
        for mention in &source.mentions {
            let Some(target) = inside_crate(mention) else {
                continue;
            };
            let why = if domain.is_some() && target == "*" {
                "a glob import of the whole crate hides which domains are used"
            } else if domain.is_some_and(|own| own != target && workspace.domains.contains(target))
            {
                "domains meet only in events; node/ wires them"
            } else if is_shim && workspace.domains.contains(target) {
                "the shim outlives nodes and versions, so it knows no domain"
            } else if !mention.in_test
                && projection.is_some_and(|own| own != target && is_projection(workspace, target))
            {
                "a projection folds the log and reads no other projection"
            } else {
                continue;
            };
            findings.push(finding(source, mention, why));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// The first part of a path below `crate`, unless an import in the same file, which is reported
/// by itself, contributed it.
fn inside_crate(mention: &Mention) -> Option<&str> {
    let inside = mention.starts_with(&["crate"]) && mention.imported < 2;
    mention.parts.get(1).filter(|_| inside).map(String::as_str)
}

fn is_projection(workspace: &Workspace, name: &str) -> bool {
    name != SHARED_PROJECTION && workspace.projections.contains(name)
}

fn finding(source: &Source, mention: &Mention, why: &str) -> Finding {
    let message = format!("may not use `{}`: {why}", mention.text());
    Finding::new(&source.path, mention.line, Rule::Domain, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::places;

    /// What `check` says of `text` at `path` beside two domains and three projections.
    fn found(path: &str, text: &str) -> Vec<String> {
        places(
            check,
            &[
                ("src/lease/mod.rs", ""),
                ("src/scheduler/mod.rs", ""),
                ("src/node/mod.rs", ""),
                ("projections/src/tasks/mod.rs", ""),
                ("projections/src/status/mod.rs", ""),
                ("projections/src/framework/mod.rs", ""),
                (path, text),
            ],
        )
    }

    #[test]
    fn imports_among_siblings_are_found() {
        for (path, line) in [
            ("src/lease/run.rs", "use crate::scheduler::decide;"),
            ("src/lease/run.rs", "use crate::{node, scheduler};"),
            ("src/lease/run.rs", "use super::super::scheduler;"),
            (
                "src/lease/run.rs",
                "fn f() { crate::scheduler::decide::f() }",
            ),
            (
                "src/lease/run.rs",
                "fn f() { assert!(crate::scheduler::f()) }",
            ),
            ("src/lease/run.rs", "use crate::*;"),
            ("src/lease.rs", "use crate::scheduler;"),
            ("src/shim/spawn.rs", "use crate::lease::Term;"),
            (
                "projections/src/tasks/apply.rs",
                "use crate::status::State;",
            ),
            (
                "projections/src/status/apply.rs",
                "use crate::tasks::State;",
            ),
            (
                "projections/src/framework/worker.rs",
                "use crate::tasks::State;",
            ),
        ] {
            let seen = found(path, &format!("\n{line}\n"));
            assert_eq!(seen, [format!("{path}:2: domain")], "{line}");
        }
    }

    #[test]
    fn what_siblings_share_passes() {
        for (path, text) in [
            (
                "src/lease/run.rs",
                "use crate::lease::decide; use super::decide::f;",
            ),
            (
                "src/lease/run.rs",
                "use crate::node::ports::Clock; use crate::client::Client;",
            ),
            ("src/lease/run.rs", "use projections::scheduler::State;"),
            ("src/node/step.rs", "use crate::{lease, scheduler};"),
            ("src/shim/spawn.rs", "use crate::node::ports::Process;"),
            (
                "projections/src/tasks/apply.rs",
                "use crate::framework::Projection;",
            ),
            ("projections/src/lib.rs", "use crate::tasks::State;"),
        ] {
            assert_eq!(found(path, text), Vec::<String>::new(), "{path}: {text}");
        }
    }
}
