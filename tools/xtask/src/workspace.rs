//! Everything the rules look at: all text files, the Rust ones parsed, and the names of domains.

use std::collections::BTreeSet;

use syn::Item;

use crate::finding::{Finding, Rule};
use crate::source::Source;
use crate::syntax;
use crate::tree::TextFile;

/// Directories under `src/` that are infrastructure; every other one is a domain. `simulate` wires
/// domains as `node` does, with another clock: what it would otherwise have to imitate is what it is
/// to show.
const INFRASTRUCTURE: [&str; 7] = ["node", "api", "cli", "config", "docs", "shim", "simulate"];

/// The repository as the rules see it.
pub(crate) struct Workspace {
    /// Every text file.
    pub(crate) files: Vec<TextFile>,
    /// Every Rust file that parses.
    pub(crate) sources: Vec<Source>,
    /// The domains: directories under `src/` that are no infrastructure.
    pub(crate) domains: BTreeSet<String>,
    /// The directories under `projections/src/`.
    pub(crate) projections: BTreeSet<String>,
    /// Rust files that do not parse.
    pub(crate) unreadable: Vec<Finding>,
}

impl Workspace {
    /// Parses the Rust files among `files` and derives the rest.
    pub(crate) fn new(files: Vec<TextFile>) -> Self {
        let mut domains = directories(&files, "src/");
        domains.retain(|name| !INFRASTRUCTURE.contains(&name.as_str()));
        let projections = directories(&files, "projections/src/");
        let tests = test_modules(&files);
        let mut sources = Vec::new();
        let mut unreadable = Vec::new();
        for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
            match Source::parse(file, is_test(&file.path, &tests)) {
                Ok(source) => sources.push(source),
                Err((line, error)) => {
                    let message = format!("does not parse, so nothing in it is checked: {error}");
                    unreadable.push(Finding::new(&file.path, line, Rule::Syntax, message));
                }
            }
        }
        Self {
            files,
            sources,
            domains,
            projections,
            unreadable,
        }
    }

    /// A workspace of the given paths and texts.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| TextFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        Self::new(files.iter().map(file).collect())
    }
}

/// The directory `path` stands in directly below `top`; a file `NAME.rs` there counts as part
/// of the directory `NAME` if that is one of `known`.
pub(crate) fn room<'p>(path: &'p str, top: &str, known: &BTreeSet<String>) -> Option<&'p str> {
    let inside = path.strip_prefix(top)?;
    let name = match inside.split_once('/') {
        Some((name, _)) => name,
        None => inside.strip_suffix(".rs")?,
    };
    known.contains(name).then_some(name)
}

/// The names of the directories that stand directly below `top` and hold Rust files.
fn directories(files: &[TextFile], top: &str) -> BTreeSet<String> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.filter_map(|file| file.path.strip_prefix(top)?.split_once('/'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Whether a file is test code by its place, or by what declares it.
fn is_test(path: &str, declared: &BTreeSet<String>) -> bool {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let parts: Vec<&str> = stem.split('/').collect();
    parts
        .iter()
        .any(|part| matches!(*part, "tests" | "benches" | "examples"))
        || (1..=parts.len()).any(|end| declared.contains(&parts[..end].join("/")))
}

/// The places, without `.rs`, of modules that a file declares for tests alone:
/// `#[cfg(test)] mod model;`.
fn test_modules(files: &[TextFile]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let Ok(parsed) = syn::parse_file(&file.text) else {
            continue;
        };
        let stem = file.path.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "mod" | "lib" | "main")) => folder,
            _ => stem,
        };
        for item in &parsed.items {
            let Item::Mod(module) = item else { continue };
            if module.content.is_none() && syntax::marks_test(&module.attrs) {
                found.insert(format!("{folder}/{}", module.ident));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_the_directories_that_are_no_infrastructure() {
        let workspace = Workspace::of(&[
            ("src/lib.rs", ""),
            ("src/client.rs", ""),
            ("src/node/step.rs", ""),
            ("src/shim/main.rs", ""),
            ("src/simulate/engine.rs", ""),
            ("src/lease/decide.rs", ""),
            ("src/lease.rs", ""),
            ("src/docs/guide.md", ""),
            ("projections/src/tasks/apply.rs", ""),
        ]);
        assert_eq!(workspace.domains.iter().collect::<Vec<_>>(), ["lease"]);
        assert_eq!(workspace.projections.iter().collect::<Vec<_>>(), ["tasks"]);
        assert_eq!(
            room("src/lease.rs", "src/", &workspace.domains),
            Some("lease")
        );
        assert_eq!(
            room("src/lease/run.rs", "src/", &workspace.domains),
            Some("lease")
        );
        assert_eq!(room("src/client.rs", "src/", &workspace.domains), None);
        assert_eq!(room("src/node/step.rs", "src/", &workspace.domains), None);
    }

    #[test]
    fn test_files_are_known_by_place_and_by_declaration() {
        let call = "fn f() { g() }";
        let workspace = Workspace::of(&[
            ("tests/cli/tail.rs", call),
            ("src/lease/tests.rs", call),
            (
                "src/lease/mod.rs",
                "#[cfg(test)] mod model; mod run; fn f() { g() }",
            ),
            ("src/lease/model.rs", call),
            ("src/lease/model/deep.rs", call),
            ("src/lease/run.rs", "#[cfg(test)] mod props; fn f() { g() }"),
            ("src/lease/run/props.rs", call),
        ]);
        let all_test = |source: &&Source| source.mentions.iter().all(|mention| mention.in_test);
        let tests: Vec<&str> = workspace
            .sources
            .iter()
            .filter(all_test)
            .map(|source| source.path.as_str())
            .collect();
        assert_eq!(
            tests,
            [
                "tests/cli/tail.rs",
                "src/lease/tests.rs",
                "src/lease/model.rs",
                "src/lease/model/deep.rs",
                "src/lease/run/props.rs",
            ]
        );
    }

    #[test]
    fn a_file_that_does_not_parse_is_a_finding() {
        let workspace = Workspace::of(&[("src/lib.rs", "\nfn {")]);
        assert_eq!(workspace.unreadable.len(), 1);
        assert_eq!(workspace.unreadable[0].line, 2);
    }
}
