//! The one way around a rule: a marker beside the code, with a reason.
//!
//! `// tidy: allow(RULE) — REASON` covers its own line or, alone on its line, the next line of
//! code below. Rules about a whole file are covered from anywhere in it. A marker without a
//! reason, with an unknown rule, or that covers nothing is a finding, so that exceptions can
//! neither pile up in a list nor outlive their cause.

use crate::finding::{Finding, Rule};
use crate::source::{Comment, Source};

/// How a marker begins, after the comment sign.
const OPENING: &str = "tidy: allow(";

/// A marker that names a rule and gives a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// File it stands in.
    pub(crate) path: String,
    /// Line it stands on.
    pub(crate) line: usize,
    /// Line of code it covers.
    covers: usize,
    /// The rule it suspends there.
    pub(crate) rule: Rule,
    /// Why.
    pub(crate) reason: String,
}

impl Marker {
    /// Whether the marker covers `finding`.
    pub(crate) fn covers(&self, finding: &Finding) -> bool {
        self.path == finding.path
            && self.rule == finding.rule
            && (self.rule.is_about_the_file() || self.covers == finding.line)
    }

    /// The finding that this marker has nothing to cover.
    pub(crate) fn stale(&self) -> Finding {
        let message = format!(
            "allow({}) covers nothing: the rule holds here, so the marker must go",
            self.rule.name()
        );
        Finding::new(&self.path, self.line, Rule::Allow, message)
    }
}

/// The markers in a file, and findings for those that are not written as they must be.
pub(crate) fn markers(source: &Source) -> (Vec<Marker>, Vec<Finding>) {
    let mut markers = Vec::new();
    let mut findings = Vec::new();
    for comment in &source.comments {
        let words = comment.text.trim_start_matches(['/', '*', ' ']);
        let Some(rest) = words.strip_prefix(OPENING) else {
            continue;
        };
        match parse(rest) {
            Ok((rule, reason)) => markers.push(Marker {
                path: source.path.clone(),
                line: comment.line,
                covers: covered_line(source, comment),
                rule,
                reason,
            }),
            Err(why) => findings.push(Finding::new(&source.path, comment.line, Rule::Allow, why)),
        }
    }
    (markers, findings)
}

/// Reads `RULE) — REASON`.
fn parse(rest: &str) -> Result<(Rule, String), String> {
    let (name, reason) = rest.split_once(')').unwrap_or((rest, ""));
    let rule = Rule::allowable(name.trim())
        .ok_or_else(|| format!("there is no rule `{}` that could be allowed", name.trim()))?;
    let reason = reason
        .trim_start_matches([' ', '—', '-', ':'])
        .trim_end_matches(['*', '/', ' ']);
    if reason.split_whitespace().count() < 2 {
        return Err(format!(
            "allow({}) gives no reason: write `— why` after it",
            rule.name()
        ));
    }
    Ok((rule, reason.to_owned()))
}

/// The line that a marker covers: its own if code stands there, else the next one that is
/// neither empty nor a comment nor an attribute.
fn covered_line(source: &Source, comment: &Comment) -> usize {
    let is_code = |line: usize| {
        let text = source.line(line).trim_start();
        !(text.is_empty() || text.starts_with("//") || text.starts_with("/*"))
    };
    if is_code(comment.line) {
        return comment.line;
    }
    let end = source.lines.len();
    (comment.line..=end)
        .find(|&line| is_code(line) && !source.line(line).trim_start().starts_with("#["))
        .unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TextFile;

    fn read(text: &str) -> (Vec<Marker>, Vec<Finding>) {
        let file = TextFile {
            path: "a.rs".to_owned(),
            text: text.to_owned(),
        };
        markers(&Source::parse(&file, false).unwrap())
    }

    #[test]
    fn a_marker_covers_its_line_or_the_code_below() {
        let (found, wrong) = read(
            "//! D.\n// tidy: allow(clock) — the port itself\n// and more\n#[inline]\nfn f() {}\n\
             fn g() {} // tidy: allow(print) -- shown to people\n",
        );
        assert_eq!(wrong, []);
        let seen: Vec<_> = found
            .iter()
            .map(|m| (m.rule, m.covers, m.reason.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (Rule::Clock, 5, "the port itself"),
                (Rule::Print, 6, "shown to people")
            ]
        );
        assert!(found[0].covers(&Finding::new("a.rs", 5, Rule::Clock, "")));
        assert!(!found[0].covers(&Finding::new("a.rs", 5, Rule::Print, "")));
        assert!(!found[0].covers(&Finding::new("a.rs", 6, Rule::Clock, "")));
        assert!(!found[0].covers(&Finding::new("b.rs", 5, Rule::Clock, "")));
    }

    #[test]
    fn rules_about_a_file_are_covered_from_anywhere_in_it() {
        let (found, _) = read("//! D.\nfn f() {}\n// tidy: allow(file-size) — one long table\n");
        assert!(found[0].covers(&Finding::new("a.rs", 1, Rule::FileSize, "")));
    }

    #[test]
    fn markers_without_reason_or_known_rule_are_findings() {
        for text in [
            "// tidy: allow(clock)\n",
            "// tidy: allow(clock) —\n",
            "// tidy: allow(clock) — because\n",
            "// tidy: allow(no-such) — for a good reason\n",
            "// tidy: allow(allow) — for a good reason\n",
            "// tidy: allow(clock\n",
        ] {
            let (found, wrong) = read(text);
            assert_eq!((found.len(), wrong.len()), (0, 1), "{text}");
        }
    }

    #[test]
    fn markers_in_strings_and_documentation_are_text() {
        let (found, wrong) =
            read("//! // tidy: allow(clock)\nconst S: &str = \"// tidy: allow(clock)\";\n");
        assert_eq!((found.len(), wrong.len()), (0, 0));
    }
}
