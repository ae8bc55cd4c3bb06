//! The rules, one file a group. Each is a function from the workspace to findings.
//!
//! To add one: a variant of [`crate::finding::Rule`], a file here with its `check` and tests that
//! show both a violation found and a clean sample passed, and a line in [`ALL`].

mod calls;
mod direction;
mod headers;
mod imports;
mod manifests;
mod order;
mod safety;
mod siblings;
pub(crate) mod size;
mod wildcard;
mod words;

use crate::finding::Finding;
use crate::workspace::Workspace;

/// A group of rules.
pub(crate) type Check = fn(&Workspace) -> Vec<Finding>;

/// Every group.
pub(crate) const ALL: [Check; 10] = [
    headers::check,
    size::check,
    manifests::check,
    imports::check,
    siblings::check,
    wildcard::check,
    calls::check,
    order::check,
    safety::check,
    words::check,
];

/// The findings of `check` in files with the given paths and texts, as `path:line: rule`.
#[cfg(test)]
pub(crate) fn places(check: Check, files: &[(&str, &str)]) -> Vec<String> {
    let workspace = Workspace::of(files);
    assert_eq!(workspace.unreadable, [], "the samples must parse");
    let place = |found: &Finding| format!("{}:{}: {}", found.path, found.line, found.rule.name());
    check(&workspace).iter().map(place).collect()
}
