//! What decides or is folded iterates in one order: no `HashMap` or `HashSet` there.
//!
//! Their order differs from one process to the next, and with it would events, digests and
//! whatever a replay rebuilds. `BTreeMap` and `BTreeSet` cost little and always agree.

use crate::finding::{Finding, Rule};
use crate::mentions::Kind;
use crate::workspace::Workspace;

/// Modules whose content is decided or folded.
const ORDERED: [&str; 3] = ["decide", "apply", "state"];

/// Types that iterate in an order of their own.
const UNORDERED: [&str; 2] = ["HashMap", "HashSet"];

/// Mentions of unordered collections where order counts.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &workspace.sources {
        if !ORDERED.iter().any(|module| source.belongs_to(module)) {
            continue;
        }
        // Imports are passed over: a marker belongs beside the value that it excuses.
        let uses = source
            .mentions
            .iter()
            .filter(|one| one.kind != Kind::Import && !one.in_test);
        for mention in uses {
            let unordered = |part: &&String| UNORDERED.contains(&part.as_str());
            let Some(name) = mention.parts.iter().find(unordered) else {
                continue;
            };
            let message = format!(
                "`{name}` iterates in another order in every process: use BTree{}",
                name.trim_start_matches("Hash")
            );
            findings.push(Finding::new(
                &source.path,
                mention.line,
                Rule::HashOrder,
                message,
            ));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::places;

    #[test]
    fn unordered_collections_are_found_where_order_counts() {
        for (path, line) in [
            (
                "src/lease/decide.rs",
                "use std::collections::HashMap as M; fn f() { M::new(); }",
            ),
            (
                "projections/src/a/state.rs",
                "use std::collections::HashSet; type A = HashSet<u8>;",
            ),
            (
                "projections/src/a/apply.rs",
                "fn f(a: std::collections::HashMap<u8, u8>) {}",
            ),
            (
                "projections/src/a/state/b.rs",
                "use std::collections::*; type A = HashSet<u8>;",
            ),
        ] {
            let found = places(check, &[(path, &format!("\n{line}\n"))]);
            assert_eq!(found, [format!("{path}:2: hash-order")], "{line}");
        }
    }

    #[test]
    fn ordered_collections_and_other_places_pass() {
        for (path, line) in [
            (
                "src/lease/decide.rs",
                "use std::collections::BTreeMap; type A = BTreeMap<u8, u8>;",
            ),
            (
                "src/lease/run.rs",
                "type A = std::collections::HashMap<u8, u8>;",
            ),
            (
                "src/lease/decide.rs",
                "#[test] fn f() { std::collections::HashSet::new(); }",
            ),
        ] {
            assert_eq!(
                places(check, &[(path, line)]),
                Vec::<String>::new(),
                "{line}"
            );
        }
    }
}
