//! Every `unsafe` block and impl has a `// SAFETY:` comment directly above.
//!
//! Above the block's own line or above the statement it is part of; attributes and further
//! comment lines may stand between.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::finding::{Finding, Rule};
use crate::source::Source;
use crate::syntax::line_of;
use crate::workspace::Workspace;

/// How the comment begins.
const OPENING: &str = "SAFETY:";

/// Unsafe code that does not say why it is sound.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &workspace.sources {
        let mut uses = Uses {
            statement: 0,
            found: Vec::new(),
        };
        uses.visit_file(&source.syntax);
        for (line, statement) in uses.found {
            if !explained(source, line) && !explained(source, statement) {
                let message = "`unsafe` without a `// SAFETY:` comment above: say why the \
                               compiler's rules hold here, or nobody can check that they do";
                findings.push(Finding::new(&source.path, line, Rule::Safety, message));
            }
        }
    }
    findings
}

/// Whether the comments directly above `line` hold a safety comment.
fn explained(source: &Source, line: usize) -> bool {
    (1..line)
        .rev()
        .take_while(|&above| {
            let text = source.line(above).trim_start();
            text.starts_with("//") || text.starts_with("#[")
        })
        .any(|above| {
            let text = source.line(above).trim_start();
            text.trim_start_matches('/')
                .trim_start()
                .starts_with(OPENING)
        })
}

/// The lines of unsafe code, each with the line of the statement around it.
struct Uses {
    statement: usize,
    found: Vec<(usize, usize)>,
}

impl Uses {
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match (token, tokens.get(at + 1)) {
                (TokenTree::Ident(word), Some(TokenTree::Group(group)))
                    if word == "unsafe" && group.delimiter() == Delimiter::Brace =>
                {
                    self.found.push((line_of(word.span()), self.statement));
                }
                (TokenTree::Group(group), _) => self.tokens(group.stream()),
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        let around = self.statement;
        self.statement = first_line(statement);
        visit::visit_stmt(self, statement);
        self.statement = around;
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.found
            .push((line_of(block.unsafe_token.span), self.statement));
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = &item.unsafety {
            self.found.push((line_of(token.span), 0));
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }
}

/// The line a statement starts on, its attributes included.
fn first_line(statement: &syn::Stmt) -> usize {
    use syn::spanned::Spanned;
    line_of(statement.span())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::places;

    fn found(text: &str) -> Vec<String> {
        places(check, &[("src/a.rs", text)])
    }

    #[test]
    fn unexplained_unsafe_is_found() {
        assert_eq!(
            found("fn f() {\n    unsafe { g() }\n}"),
            ["src/a.rs:2: safety"]
        );
        assert_eq!(found("unsafe impl Send for S {}"), ["src/a.rs:1: safety"]);
        assert_eq!(
            found("// Safe, surely.\nunsafe impl Send for S {}"),
            ["src/a.rs:2: safety"]
        );
        assert_eq!(
            found("fn f() { m!({ unsafe { g() } }) }"),
            ["src/a.rs:1: safety"]
        );
        let far = "fn f() {\n    // SAFETY: about h.\n    h();\n    unsafe { g() }\n}";
        assert_eq!(found(far), ["src/a.rs:4: safety"]);
    }

    #[test]
    fn explained_unsafe_passes() {
        for text in [
            "fn f() {\n    // SAFETY: g has no\n    // requirements.\n    unsafe { g() }\n}",
            "fn f() {\n    // SAFETY: the pointer is ours.\n    #[allow(unsafe_code)]\n    let a = unsafe { g() };\n}",
            "fn f() {\n    // SAFETY: the pointer is ours.\n    let a = b\n        .or(unsafe { g() });\n}",
            "// SAFETY: S owns what it points to.\nunsafe impl Send for S {}",
            "fn f() {\n    // SAFETY: g has none.\n    m!(unsafe { g() });\n}",
            "fn f() { m(\"unsafe { }\") }",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }
}
