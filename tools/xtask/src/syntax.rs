//! Small questions about syntax trees that several rules ask.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::{Attribute, ImplItem, Item, Meta};

/// The line a span starts on, from 1.
pub(crate) fn line_of(span: Span) -> usize {
    span.start().line
}

/// The byte ranges of all tokens in order, the brackets of groups as tokens of their own.
pub(crate) fn token_spans(tokens: TokenStream) -> Vec<Span> {
    let mut spans = Vec::new();
    push_spans(tokens, &mut spans);
    spans
}

fn push_spans(tokens: TokenStream, spans: &mut Vec<Span>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let bracketed = group.delimiter() != Delimiter::None;
                if bracketed {
                    spans.push(group.span_open());
                }
                push_spans(group.stream(), spans);
                if bracketed {
                    spans.push(group.span_close());
                }
            }
            other => spans.push(other.span()),
        }
    }
}

/// Whether the attributes mark code that is compiled for tests alone.
pub(crate) fn marks_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let name = attr
            .path()
            .segments
            .last()
            .map(|segment| segment.ident.to_string());
        match (name.as_deref(), &attr.meta) {
            (Some("test"), _) => true,
            (Some("cfg"), Meta::List(list)) => requires_test(list.tokens.clone()),
            _ => false,
        }
    })
}

/// Whether a `cfg` predicate names `test` outside a `not(…)`.
fn requires_test(predicate: TokenStream) -> bool {
    let mut negated = false;
    for token in predicate {
        match token {
            TokenTree::Ident(ident) if ident == "test" => return true,
            TokenTree::Ident(ident) => negated = ident == "not",
            TokenTree::Group(group) if !negated && requires_test(group.stream()) => return true,
            _ => {}
        }
    }
    false
}

/// The attributes of an item.
pub(crate) fn item_attrs(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The attributes of an item in an `impl`.
pub(crate) fn impl_item_attrs(item: &ImplItem) -> &[Attribute] {
    match item {
        ImplItem::Const(item) => &item.attrs,
        ImplItem::Fn(item) => &item.attrs,
        ImplItem::Macro(item) => &item.attrs,
        ImplItem::Type(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(source: &str) -> bool {
        let item: Item = syn::parse_str(source).unwrap();
        marks_test(item_attrs(&item))
    }

    #[test]
    fn test_code_is_told_from_shipped_code() {
        assert!(marks("#[test] fn f() {}"));
        assert!(marks(
            "#[tokio::test(flavor = \"multi_thread\")] async fn f() {}"
        ));
        assert!(marks("#[cfg(test)] mod m {}"));
        assert!(marks("#[cfg(any(test, feature = \"x\"))] mod m {}"));
        assert!(!marks("#[cfg(not(test))] mod m {}"));
        assert!(!marks("#[cfg(unix)] fn f() {}"));
        assert!(!marks("#[inline] fn f() {}"));
    }

    #[test]
    fn token_spans_are_in_order_and_include_brackets() {
        let tokens: TokenStream = "fn f(a: [u8; 2]) {}".parse().unwrap();
        let starts: Vec<usize> = token_spans(tokens)
            .iter()
            .map(|span| span.start().column)
            .collect();
        assert_eq!(starts, [0, 3, 4, 5, 6, 8, 9, 11, 13, 14, 15, 17, 18]);
    }
}
