//! The paths that a file mentions, made absolute as far as the file alone tells how.
//!
//! A path is resolved through the `use` declarations in scope, through `self` and `super`, and
//! is looked for in macro arguments too, where the compiler sees only tokens. What comes through
//! a glob import of another module stays as written; a rule that must not miss such names
//! matches the end of a path instead of its beginning.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, Meta, Stmt, UseTree};

use crate::syntax;

/// How a path is mentioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In a `use` or `extern crate` declaration.
    Import,
    /// As a type, value, pattern or attribute.
    Path,
    /// As the name of a macro that is called.
    MacroCall,
}

/// One mention of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    /// The path's parts, absolute where that can be known: `crate`, a crate's name or `std`
    /// first. A glob import ends in `*`.
    pub(crate) parts: Vec<String>,
    /// How many of the parts a `use` declaration elsewhere in the file contributed.
    pub(crate) imported: usize,
    /// Line, from 1.
    pub(crate) line: usize,
    /// How it is mentioned.
    pub(crate) kind: Kind,
    /// Whether it stands in code that only tests compile.
    pub(crate) in_test: bool,
}

impl Mention {
    /// Whether the path begins with these parts.
    pub(crate) fn starts_with(&self, prefix: &[&str]) -> bool {
        self.parts.len() >= prefix.len() && self.parts.iter().zip(prefix).all(|(a, b)| a == b)
    }

    /// Whether the path ends with these parts.
    pub(crate) fn ends_with(&self, suffix: &[&str]) -> bool {
        self.parts.len() >= suffix.len()
            && self
                .parts
                .iter()
                .rev()
                .zip(suffix.iter().rev())
                .all(|(a, b)| a == b)
    }

    /// The path as one would write it.
    pub(crate) fn text(&self) -> String {
        self.parts.join("::")
    }
}

/// All mentions in a file that stands for `module` in its crate.
pub(crate) fn collect(file: &syn::File, module: &[String], is_test: bool) -> Vec<Mention> {
    let mut collector = Collector {
        module: module.to_vec(),
        scopes: Vec::new(),
        in_test: is_test,
        mentions: Vec::new(),
    };
    collector.in_scope(file.items.iter().filter_map(as_use), |collector| {
        visit::visit_file(collector, file);
    });
    collector.mentions
}

fn as_use(item: &Item) -> Option<&ItemUse> {
    if let Item::Use(item) = item {
        Some(item)
    } else {
        None
    }
}

/// A name that a `use` declaration brings into scope.
struct Binding {
    name: String,
    parts: Vec<String>,
}

struct Collector {
    module: Vec<String>,
    scopes: Vec<Vec<Binding>>,
    in_test: bool,
    mentions: Vec<Mention>,
}

impl Collector {
    /// Runs `walk` with the names of `uses` in scope, and mentions what they import. Inline
    /// modules see the names around them too: most say `use super::*`, and for the others the
    /// error is on the safe side.
    fn in_scope<'u>(
        &mut self,
        uses: impl Iterator<Item = &'u ItemUse>,
        walk: impl FnOnce(&mut Self),
    ) {
        let uses: Vec<(&ItemUse, Vec<Leaf>)> =
            uses.map(|item| (item, leaves(&item.tree))).collect();
        let mut bindings = Vec::new();
        for (item, leaves) in &uses {
            for leaf in leaves {
                let parts = through_siblings(leaf, uses.iter().flat_map(|(_, leaves)| leaves));
                let (parts, _) = self.resolve(&parts);
                self.under(&item.attrs, |this| {
                    this.push(parts.clone(), 0, leaf.span, Kind::Import)
                });
                bindings.push(Binding {
                    name: leaf.name.clone(),
                    parts,
                });
            }
        }
        self.scopes.push(bindings);
        walk(self);
        self.scopes.pop();
    }

    /// Runs `walk` inside an item with these attributes.
    fn under(&mut self, attrs: &[Attribute], walk: impl FnOnce(&mut Self)) {
        let before = self.in_test;
        self.in_test |= syntax::marks_test(attrs);
        walk(self);
        self.in_test = before;
    }

    /// The absolute path, and how many of its parts came from a binding.
    fn resolve(&self, written: &[String]) -> (Vec<String>, usize) {
        let Some(first) = written.first() else {
            return (Vec::new(), 0);
        };
        let ups = written.iter().take_while(|part| *part == "super").count();
        if first == "self" || ups > 0 {
            let kept = self.module.len().saturating_sub(ups);
            let mut parts = vec!["crate".to_owned()];
            parts.extend(self.module.iter().take(kept).cloned());
            parts.extend(written.iter().skip(ups.max(1)).cloned());
            return (parts, 0);
        }
        let bound = self
            .scopes
            .iter()
            .rev()
            .flatten()
            .find(|binding| binding.name == *first);
        match bound {
            Some(binding) => {
                let parts = binding.parts.iter().chain(&written[1..]).cloned().collect();
                (parts, binding.parts.len())
            }
            None => (written.to_vec(), 0),
        }
    }

    fn mention(&mut self, written: &[String], span: Span, kind: Kind) {
        let (parts, imported) = self.resolve(written);
        self.push(parts, imported, span, kind);
    }

    fn push(&mut self, parts: Vec<String>, imported: usize, span: Span, kind: Kind) {
        let line = syntax::line_of(span);
        self.mentions.push(Mention {
            parts,
            imported,
            line,
            kind,
            in_test: self.in_test,
        });
    }

    /// Finds paths and macro calls in tokens that no parser has given a meaning.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut after_dot = false;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Ident(ident) => {
                    let parts = path_at(&tokens, at);
                    let length = parts.len() * 3 - 2;
                    if !after_dot {
                        let call = is_macro_call(&tokens, at + length);
                        let kind = if call { Kind::MacroCall } else { Kind::Path };
                        self.mention(&parts, ident.span(), kind);
                    }
                    at += length - 1;
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            after_dot = is_punct(tokens.get(at), '.')
                && !is_punct(tokens.get(at + 1), '.')
                && !(at > 0 && is_punct(tokens.get(at - 1), '.'));
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        self.under(syntax::item_attrs(item), |this| {
            visit::visit_item(this, item)
        });
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        self.under(syntax::impl_item_attrs(item), |this| {
            visit::visit_impl_item(this, item)
        });
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let items = item.content.iter().flat_map(|(_, items)| items);
        self.module.push(plain(&item.ident));
        self.in_scope(items.filter_map(as_use), |this| {
            visit::visit_item_mod(this, item)
        });
        self.module.pop();
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        let items = block.stmts.iter().filter_map(|statement| match statement {
            Stmt::Item(item) => as_use(item),
            _ => None,
        });
        self.in_scope(items, |this| visit::visit_block(this, block));
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.mention(&[plain(&item.ident)], item.ident.span(), Kind::Import);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|segment| plain(&segment.ident))
            .collect();
        if let Some(first) = path.segments.first() {
            self.mention(&parts, first.ident.span(), Kind::Path);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let parts: Vec<String> = call
            .path
            .segments
            .iter()
            .map(|segment| plain(&segment.ident))
            .collect();
        if let Some(first) = call.path.segments.first() {
            self.mention(&parts, first.ident.span(), Kind::MacroCall);
        }
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attr: &'ast Attribute) {
        visit::visit_attribute(self, attr);
        if let Meta::List(list) = &attr.meta {
            self.tokens(list.tokens.clone());
        }
    }
}

/// One name in a `use` declaration, its tree flattened.
struct Leaf {
    name: String,
    parts: Vec<String>,
    span: Span,
}

fn leaves(tree: &UseTree) -> Vec<Leaf> {
    let mut found = Vec::new();
    push_leaves(tree, &[], &mut found);
    found
}

/// The leaf's path, its first part replaced by what another `use` beside it names so.
fn through_siblings<'l>(leaf: &Leaf, mut siblings: impl Iterator<Item = &'l Leaf>) -> Vec<String> {
    let first = leaf.parts.first();
    let sibling = siblings.find(|other| {
        first == Some(&other.name) && other.parts.len() > 1 && other.parts != leaf.parts
    });
    match sibling {
        Some(other) => other
            .parts
            .iter()
            .chain(&leaf.parts[1..])
            .cloned()
            .collect(),
        None => leaf.parts.clone(),
    }
}

fn push_leaves(tree: &UseTree, prefix: &[String], found: &mut Vec<Leaf>) {
    let with = |part: String| prefix.iter().cloned().chain([part]).collect::<Vec<_>>();
    match tree {
        UseTree::Path(path) => push_leaves(&path.tree, &with(plain(&path.ident)), found),
        UseTree::Group(group) => {
            group
                .items
                .iter()
                .for_each(|item| push_leaves(item, prefix, found));
        }
        UseTree::Glob(glob) => found.push(Leaf {
            name: "*".to_owned(),
            parts: with("*".to_owned()),
            span: glob.star_token.spans[0],
        }),
        UseTree::Name(name) => found.push(leaf(&name.ident, &name.ident, prefix)),
        UseTree::Rename(rename) => found.push(leaf(&rename.ident, &rename.rename, prefix)),
    }
}

/// The leaf for `target as name`; `self` in a group stands for the group's own path.
fn leaf(target: &Ident, name: &Ident, prefix: &[String]) -> Leaf {
    let names_group = target == "self" && !prefix.is_empty();
    let mut parts = prefix.to_vec();
    if !names_group {
        parts.push(plain(target));
    }
    let name = match prefix.last() {
        Some(last) if names_group && name == "self" => last.clone(),
        _ => plain(name),
    };
    Leaf {
        name,
        parts,
        span: target.span(),
    }
}

/// The path that begins with the identifier at `at`: `a::b::c`.
fn path_at(tokens: &[TokenTree], at: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut next = at;
    while let Some(TokenTree::Ident(ident)) = tokens.get(next) {
        parts.push(plain(ident));
        if !(is_punct(tokens.get(next + 1), ':') && is_punct(tokens.get(next + 2), ':')) {
            break;
        }
        if !matches!(tokens.get(next + 3), Some(TokenTree::Ident(_))) {
            break;
        }
        next += 3;
    }
    parts
}

/// Whether a `!` and a bracketed group stand at `at`.
fn is_macro_call(tokens: &[TokenTree], at: usize) -> bool {
    let bracketed = |group: &Group| group.delimiter() != Delimiter::None;
    is_punct(tokens.get(at), '!')
        && matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if bracketed(group))
}

fn is_punct(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// The identifier without a raw prefix.
fn plain(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mentioned(text: &str) -> Vec<String> {
        let file = syn::parse_file(text).unwrap();
        let module = ["lease".to_owned(), "run".to_owned()];
        collect(&file, &module, false)
            .iter()
            .map(Mention::text)
            .collect()
    }

    fn assert_mentions(text: &str, path: &str) {
        let all = mentioned(text);
        assert!(
            all.iter().any(|one| one == path),
            "{path} is not among {all:?}"
        );
    }

    #[test]
    fn use_trees_are_flattened_and_relative_paths_made_absolute() {
        assert_mentions(
            "use std::{env, time::{self, Instant as I}};",
            "std::time::Instant",
        );
        assert_mentions(
            "use super::super::scheduler::decide;",
            "crate::scheduler::decide",
        );
        assert_mentions("use super::state;", "crate::lease::state");
        assert_mentions("use self::inner::A;", "crate::lease::run::inner::A");
        assert_mentions("use crate::cells::*;", "crate::cells::*");
        assert_mentions(
            "mod tests { use super::super::super::jobs::A; }",
            "crate::jobs::A",
        );
    }

    #[test]
    fn names_lead_back_through_their_imports() {
        assert_mentions(
            "use std::time::{self, Instant as I}; fn f() { I::now(); }",
            "std::time::Instant::now",
        );
        assert_mentions(
            "use std::thread; fn f() { thread::sleep(d); }",
            "std::thread::sleep",
        );
        assert_mentions(
            "fn f() { use tokio::time::sleep; sleep(d); }",
            "tokio::time::sleep",
        );
        assert_mentions(
            "use tokio::time; use time::sleep; fn f() {}",
            "tokio::time::sleep",
        );
    }

    #[test]
    fn macro_arguments_and_derives_are_searched() {
        assert_mentions(
            "fn f() { assert!(std::env::var(X).is_ok()); }",
            "std::env::var",
        );
        assert_mentions("#[derive(Debug, clap::Parser)] struct S;", "clap::Parser");
        assert_mentions(
            "fn f() { select! { a => { nix::unistd::fork() } } }",
            "nix::unistd::fork",
        );
        let file = syn::parse_file("fn f() { outer!({ println!(\"x\") }); }").unwrap();
        let all = collect(&file, &[], false);
        let calls = all
            .iter()
            .filter(|one| one.kind == Kind::MacroCall)
            .map(Mention::text);
        assert_eq!(calls.collect::<Vec<_>>(), ["outer", "println"]);
    }

    #[test]
    fn method_names_in_macros_are_no_paths_and_range_ends_are() {
        let all = mentioned("fn f() { assert!(a.sleep(x) != b..end); }");
        assert!(!all.contains(&"sleep".to_owned()));
        assert!(all.contains(&"end".to_owned()));
    }

    #[test]
    fn test_code_and_lines_are_known() {
        let text = "fn f() { a::b(); }\n#[cfg(test)]\nmod tests {\n    fn g() { c::d(); }\n}\n";
        let all = collect(&syn::parse_file(text).unwrap(), &[], false);
        let of = |path: &str| all.iter().find(|one| one.text() == path).unwrap();
        assert!(!of("a::b").in_test);
        assert!(of("c::d").in_test);
        assert_eq!((of("a::b").line, of("c::d").line), (1, 4));
    }
}
