//! `tidy`: runs every rule, takes away what markers allow, and says what was looked at.

use std::fmt;

use crate::allow::{self, Marker};
use crate::finding::Finding;
use crate::rules::{self, size};
use crate::tree::TextFile;
use crate::workspace::Workspace;

/// What `tidy` found, and how much it looked at.
pub(crate) struct Report {
    findings: Vec<Finding>,
    allowed: Vec<Marker>,
    sizes: Sizes,
}

/// How much was looked at, and how close the largest come to their limits.
#[derive(Default)]
struct Sizes {
    files: usize,
    rust_files: usize,
    functions: usize,
    long_files: usize,
    long_functions: usize,
    longest_file: (usize, String),
    longest_function: (usize, String),
}

/// Checks `files` against every rule.
pub(crate) fn check(files: Vec<TextFile>) -> Report {
    let workspace = Workspace::new(files);
    let mut raw = workspace.unreadable.clone();
    raw.extend(rules::ALL.iter().flat_map(|rule| rule(&workspace)));

    let mut findings = Vec::new();
    let mut markers = Vec::new();
    for source in &workspace.sources {
        let (found, malformed) = allow::markers(source);
        markers.extend(found);
        findings.extend(malformed);
    }
    let (allowed, stale): (Vec<Marker>, Vec<Marker>) = markers
        .into_iter()
        .partition(|marker| raw.iter().any(|finding| marker.covers(finding)));
    findings.extend(stale.iter().map(Marker::stale));
    findings.extend(
        raw.into_iter()
            .filter(|finding| !allowed.iter().any(|marker| marker.covers(finding))),
    );
    findings.sort();
    Report {
        findings,
        allowed,
        sizes: measure(&workspace),
    }
}

fn measure(workspace: &Workspace) -> Sizes {
    let mut sizes = Sizes {
        files: workspace.files.len(),
        rust_files: workspace.sources.len(),
        ..Sizes::default()
    };
    for source in &workspace.sources {
        let lines = source.lines.len();
        sizes.long_files += usize::from(lines > size::FILE_AIM);
        if lines > sizes.longest_file.0 {
            sizes.longest_file = (lines, source.path.clone());
        }
        for function in size::functions(source) {
            sizes.functions += 1;
            sizes.long_functions += usize::from(function.lines > size::FN_AIM);
            if function.lines > sizes.longest_function.0 {
                let place = format!("{}:{}", source.path, function.line);
                sizes.longest_function = (function.lines, place);
            }
        }
    }
    sizes
}

impl Report {
    /// Whether every rule holds.
    pub(crate) fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        for Marker {
            path,
            line,
            rule,
            reason,
            ..
        } in &self.allowed
        {
            writeln!(f, "allowed: {path}:{line}: {}: {reason}", rule.name())?;
        }
        let sizes = &self.sizes;
        let (file_lines, file) = &sizes.longest_file;
        let (function_lines, function) = &sizes.longest_function;
        writeln!(
            f,
            "tidy: longest file {file} ({file_lines} lines, {} beyond the aim of {}), longest \
             function {function} ({function_lines} lines, {} beyond the aim of {})",
            sizes.long_files,
            size::FILE_AIM,
            sizes.long_functions,
            size::FN_AIM,
        )?;
        writeln!(
            f,
            "tidy: {} files, {} of them Rust with {} functions; {} allowed by marker; {} findings",
            sizes.files,
            sizes.rust_files,
            sizes.functions,
            self.allowed.len(),
            self.findings.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        let file = TextFile {
            path: "src/node/a.rs".to_owned(),
            text: text.to_owned(),
        };
        check(vec![file])
    }

    fn lines(report: &Report) -> Vec<String> {
        report.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_clean_file_is_clean_and_counted() {
        let report = report("//! What a node does.\nfn f() {\n    g()\n}\n");
        assert_eq!(lines(&report), Vec::<String>::new());
        assert!(report.is_clean());
        let text = report.to_string();
        assert!(
            text.contains("1 files, 1 of them Rust with 1 functions; 0 allowed"),
            "{text}"
        );
    }

    #[test]
    fn a_marker_takes_its_finding_away_and_is_shown() {
        let report = report(
            "//! What a node does.\nfn f() {\n    // tidy: allow(print) — before the log is open\n    eprintln!(\"x\");\n}\n",
        );
        assert!(report.is_clean());
        let text = report.to_string();
        assert!(
            text.starts_with("allowed: src/node/a.rs:3: print: before the log is open"),
            "{text}"
        );
    }

    #[test]
    fn a_marker_that_covers_nothing_is_a_finding() {
        let report = report(
            "//! What a node does.\n// tidy: allow(print) — before the log is open\nfn f() {}\n",
        );
        assert_eq!(lines(&report).len(), 1);
        assert!(lines(&report)[0].starts_with("src/node/a.rs:2: allow: "));
    }

    #[test]
    fn findings_come_in_the_order_of_their_places() {
        let report = report("fn f() {\n    eprintln!(\"x\");\n    dbg!(1);\n}\n");
        assert!(!report.is_clean());
        let starts: Vec<String> = lines(&report)
            .iter()
            .map(|line| line[..line.find(": ").unwrap()].to_owned())
            .collect();
        assert_eq!(
            starts,
            ["src/node/a.rs:1", "src/node/a.rs:2", "src/node/a.rs:3"]
        );
    }
}
