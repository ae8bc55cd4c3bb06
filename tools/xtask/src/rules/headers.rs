//! Every file says in its first line what it is for.
//!
//! Rust files begin with a `//!` comment; configuration, scripts and CI with a `#` comment, after
//! the interpreter line if there is one, and Python with a docstring. A package's `description` is as good in a manifest.

use crate::finding::{Finding, Rule};
use crate::tree::TextFile;
use crate::workspace::Workspace;

/// A purpose in fewer letters than this says nothing.
const MIN_PURPOSE: usize = 10;

/// Endings of files that a `#` comment must open.
const COMMENTED: [&str; 4] = [".toml", ".sh", ".yml", ".yaml"];

/// Files without a telling first line.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.files.iter().filter_map(missing_header).collect()
}

fn missing_header(file: &TextFile) -> Option<Finding> {
    let mut lines = file.text.lines();
    let mut first = lines.next().unwrap_or_default();
    if file.path.ends_with(".rs") {
        let message = "must begin with a `//!` comment saying what the file is for: \
                       readers decide there whether they are in the right room";
        return (!says_something(first, "//!"))
            .then(|| Finding::new(&file.path, 1, Rule::Header, message));
    }
    let is_script = first.starts_with("#!");
    if !is_script && !COMMENTED.iter().any(|ending| file.path.ends_with(ending)) {
        return None;
    }
    if is_script {
        first = lines.next().unwrap_or_default();
    }
    // What a Python file is for stands in its docstring.
    let opening = if file.path.ends_with(".py") {
        "\"\"\""
    } else {
        "#"
    };
    let described = is_manifest(&file.path)
        && file
            .text
            .lines()
            .any(|line| says_something(line, "description = \""));
    let message = "must begin with a `#` comment saying what the file is for: \
                   configuration without a purpose is never dared to be removed";
    (!described && !says_something(first, opening))
        .then(|| Finding::new(&file.path, 1, Rule::Header, message))
}

/// Whether the file is a package manifest.
pub(crate) fn is_manifest(path: &str) -> bool {
    path.rsplit('/').next() == Some("Cargo.toml")
}

fn says_something(line: &str, opening: &str) -> bool {
    line.strip_prefix(opening)
        .is_some_and(|rest| rest.trim().chars().count() >= MIN_PURPOSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::places;

    #[test]
    fn files_without_a_purpose_are_found() {
        for (path, text) in [
            ("src/a.rs", "fn f() {}\n"),
            ("src/a.rs", "//! Short\n"),
            ("src/a.rs", "// Not documentation at all.\n"),
            ("a.toml", "key = 1\n"),
            ("tools/x/Cargo.toml", "[package]\nname = \"x\"\n"),
            ("a.yml", "key: 1\n"),
            ("a.sh", "#!/bin/sh\nset -e\n"),
            (
                ".ci/run",
                "#!/usr/bin/env bash\n\n# Too late for a purpose.\n",
            ),
            ("a.rs", ""),
        ] {
            assert_eq!(
                places(check, &[(path, text)]),
                [format!("{path}:1: header")],
                "{text}"
            );
        }
    }

    #[test]
    fn files_with_a_purpose_pass() {
        let files = [
            ("src/a.rs", "//! What acts on leases.\n"),
            ("a.toml", "# Formatting that differs from the default.\n"),
            (
                "x/Cargo.toml",
                "[package]\ndescription = \"What the crate does\"\n",
            ),
            (".ci/run", "#!/usr/bin/env bash\n# All checks in one go.\n"),
            ("README.md", "Anything\n"),
            ("data.csv", "a,b\n"),
        ];
        assert_eq!(places(check, &files), Vec::<String>::new());
    }
}
