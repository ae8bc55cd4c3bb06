//! `apply` names every event of its family, so that a new one stops the build until someone
//! decides what it does to the state.
//!
//! A heuristic, since types are unknown here: in `apply.rs`, and in the files of a directory
//! `apply/`, a match with an arm on `…Event::…` has no arm that catches all.

use syn::visit::{self, Visit};
use syn::{Pat, PatIdent};

use crate::finding::{Finding, Rule};
use crate::syntax;
use crate::workspace::Workspace;

/// Catch-all arms in matches over events.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in workspace
        .sources
        .iter()
        .filter(|source| source.belongs_to("apply"))
    {
        let mut matches = Matches { lines: Vec::new() };
        matches.visit_file(&source.syntax);
        findings.extend(matches.lines.into_iter().map(|line| {
            let message = "an arm that catches all in a match over events: name them, so that a \
                           new event stops the build until someone decides";
            Finding::new(&source.path, line, Rule::Wildcard, message)
        }));
    }
    findings
}

struct Matches {
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for Matches {
    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        let arms = &expression.arms;
        if arms.iter().any(|arm| names_event(&arm.pat)) {
            let caught = arms.iter().filter_map(|arm| catch_all(&arm.pat));
            self.lines.extend(caught.map(syntax::line_of));
        }
        visit::visit_expr_match(self, expression);
    }
}

/// Whether a path in the pattern goes through a type whose name ends in `Event`.
fn names_event(pattern: &Pat) -> bool {
    struct Names(bool);
    impl<'ast> Visit<'ast> for Names {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            let above = path.segments.len().saturating_sub(1);
            let mut owners = path.segments.iter().take(above);
            self.0 |= owners.any(|segment| segment.ident.to_string().ends_with("Event"));
        }
    }
    let mut names = Names(false);
    names.visit_pat(pattern);
    names.0
}

/// Where the pattern is `_`, or a name that binds anything; constants are upper case.
fn catch_all(pattern: &Pat) -> Option<proc_macro2::Span> {
    match pattern {
        Pat::Wild(wild) => Some(wild.underscore_token.spans[0]),
        Pat::Ident(PatIdent {
            ident,
            subpat: None,
            ..
        }) if ident
            .to_string()
            .starts_with(|first: char| first.is_lowercase() || first == '_') =>
        {
            Some(ident.span())
        }
        Pat::Guard(guarded) => catch_all(&guarded.pat),
        Pat::Paren(inner) => catch_all(&inner.pat),
        Pat::Or(or) => or.cases.iter().find_map(catch_all),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::places;

    fn found(path: &str, last_arm: &str) -> usize {
        let text = format!(
            "fn apply(e: &TaskEvent) {{ match e {{\n TaskEvent::Submitted {{ .. }} => a(),\n {last_arm}\n}} }}"
        );
        let places = places(check, &[(path, &text)]);
        assert!(
            places
                .iter()
                .all(|place| *place == format!("{path}:3: wildcard")),
            "{places:?}"
        );
        places.len()
    }

    #[test]
    fn arms_that_catch_all_events_are_found() {
        let path = "projections/src/tasks/apply.rs";
        assert_eq!(found(path, "_ => {}"), 1);
        assert_eq!(found(path, "_ if late => {}"), 1);
        assert_eq!(found(path, "other => drop(other),"), 1);
        assert_eq!(found(path, "TaskEvent::Ended | _ => {}"), 1);
        assert_eq!(found("projections/src/tasks/apply/retry.rs", "_ => {}"), 1);
    }

    #[test]
    fn arms_that_name_events_and_other_matches_pass() {
        assert_eq!(
            found(
                "projections/src/tasks/apply.rs",
                "TaskEvent::Ended(_) => {}"
            ),
            0
        );
        assert_eq!(found("projections/src/tasks/query.rs", "_ => {}"), 0);
        let other = "fn f(n: u8) { match n { 0 => {}, _ => {} } }";
        assert_eq!(
            places(check, &[("src/a/apply.rs", other)]),
            Vec::<String>::new()
        );
    }
}
