//! Files and functions stay small enough to be read at once.
//!
//! There is an aim and a limit. What lies between is counted in the summary; what exceeds the
//! limit is a finding. A file's size is its lines, a function's the lines between its braces,
//! with whatever is nested in it.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::finding::{Finding, Rule};
use crate::source::Source;
use crate::workspace::Workspace;

/// Lines that a file should have at most.
pub(crate) const FILE_AIM: usize = 500;
/// Lines beyond which a file is a finding.
pub(crate) const FILE_LIMIT: usize = 600;
/// Lines that a function's body should have at most.
pub(crate) const FN_AIM: usize = 70;
/// Lines beyond which a function is a finding.
pub(crate) const FN_LIMIT: usize = 80;

/// A function's size and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// Line of its `fn`, from 1.
    pub(crate) line: usize,
    /// Lines between its braces.
    pub(crate) lines: usize,
}

/// Files and functions beyond their limits.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &workspace.sources {
        let lines = source.lines.len();
        if lines > FILE_LIMIT {
            let message =
                format!("{lines} lines, limit {FILE_LIMIT} (aim {FILE_AIM}): split it by purpose");
            findings.push(Finding::new(&source.path, 1, Rule::FileSize, message));
        }
        for function in functions(source)
            .into_iter()
            .filter(|one| one.lines > FN_LIMIT)
        {
            let message = format!(
                "`{}` has {} lines, limit {FN_LIMIT} (aim {FN_AIM}): name its parts",
                function.name, function.lines
            );
            findings.push(Finding::new(
                &source.path,
                function.line,
                Rule::FnSize,
                message,
            ));
        }
    }
    findings
}

/// Every function with a body in the file, those inside macro arguments too.
pub(crate) fn functions(source: &Source) -> Vec<Function> {
    let mut counter = Counter { found: Vec::new() };
    counter.visit_file(&source.syntax);
    counter.found
}

struct Counter {
    found: Vec<Function>,
}

impl Counter {
    fn block(&mut self, signature: &syn::Signature, block: &syn::Block) {
        self.push(
            &signature.ident,
            signature.fn_token.span.start().line,
            block.brace_token.span,
        );
    }

    fn push(
        &mut self,
        name: &proc_macro2::Ident,
        line: usize,
        braces: proc_macro2::extra::DelimSpan,
    ) {
        let (open, close) = (braces.open().start().line, braces.close().end().line);
        let lines = close.saturating_sub(open + 1);
        self.found.push(Function {
            name: name.to_string(),
            line,
            lines,
        });
    }

    /// Functions among tokens, as in the arguments of `proptest!`.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(word) if word == "fn" => {
                    let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else {
                        continue;
                    };
                    if let Some(body) = body_after(&tokens[at..]) {
                        self.push(name, word.span().start().line, body.delim_span());
                    }
                }
                _ => {}
            }
        }
    }
}

/// The first braces before a `;`.
fn body_after(tokens: &[TokenTree]) -> Option<&Group> {
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return Some(group),
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            _ => {}
        }
    }
    None
}

impl<'ast> Visit<'ast> for Counter {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.block(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.block(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.block(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::places;

    fn with_body(opening: &str, lines: usize, closing: &str) -> String {
        format!("{opening}\n{}{closing}\n", "    work();\n".repeat(lines))
    }

    #[test]
    fn a_file_is_found_one_line_beyond_the_limit() {
        let fits = "//\n".repeat(FILE_LIMIT);
        assert_eq!(
            places(check, &[("fixtures/a.rs", &fits)]),
            Vec::<String>::new()
        );
        let exceeds = "//\n".repeat(FILE_LIMIT + 1);
        assert_eq!(
            places(check, &[("fixtures/a.rs", &exceeds)]),
            ["fixtures/a.rs:1: file-size"]
        );
    }

    #[test]
    fn functions_of_every_sort_are_found_one_line_beyond_the_limit() {
        for (opening, closing) in [
            ("fn f() {", "}"),
            ("#[test] fn f() {", "}"),
            ("impl S { fn f() {", "} }"),
            ("trait T { fn f() {", "} }"),
            ("fn g() { fn f() {", "} }"),
            ("mod m { fn f() {", "} }"),
            ("proptest! { #[test] fn f(x in 0..9u8) {", "} }"),
        ] {
            let fits = with_body(opening, FN_LIMIT, closing);
            assert_eq!(
                places(check, &[("a.rs", &fits)]),
                Vec::<String>::new(),
                "{opening}"
            );
            let exceeds = with_body(opening, FN_LIMIT + 1, closing);
            let found = places(check, &[("a.rs", &exceeds)]);
            assert!(
                found.iter().all(|one| one == "a.rs:1: fn-size"),
                "{found:?}"
            );
            assert!(!found.is_empty(), "{opening}");
        }
    }

    #[test]
    fn a_body_on_one_line_has_no_lines_between_its_braces() {
        let workspace = Workspace::of(&[("a.rs", "fn f() { g() }\nfn h(\n) {\n    g()\n}\n")]);
        let sizes: Vec<usize> = functions(&workspace.sources[0])
            .iter()
            .map(|one| one.lines)
            .collect();
        assert_eq!(sizes, [0, 1]);
    }
}
