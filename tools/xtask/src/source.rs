//! A Rust file, read once: its syntax, its comments, and the paths it mentions.

use proc_macro2::TokenStream;

use crate::mentions::{self, Mention};
use crate::syntax;
use crate::tree::TextFile;

/// A comment that is no documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comment {
    /// Line it starts on, from 1.
    pub(crate) line: usize,
    /// Its text from `//` or `/*` to the end of the line.
    pub(crate) text: String,
}

/// A Rust file that parses.
pub(crate) struct Source {
    /// Path from the repository's root.
    pub(crate) path: String,
    /// The file's lines.
    pub(crate) lines: Vec<String>,
    /// Its syntax tree.
    pub(crate) syntax: syn::File,
    /// Comments that are no documentation, in order.
    pub(crate) comments: Vec<Comment>,
    /// The paths it mentions, resolved as far as one file allows.
    pub(crate) mentions: Vec<Mention>,
}

impl Source {
    /// Reads `file`; `is_test` says that all of it is test code.
    ///
    /// # Errors
    /// The parser's message and line, if the file is not Rust.
    pub(crate) fn parse(file: &TextFile, is_test: bool) -> Result<Self, (usize, String)> {
        let refuse = |span, error: String| (syntax::line_of(span), error);
        let tokens: TokenStream = file
            .text
            .parse()
            .map_err(|error: proc_macro2::LexError| refuse(error.span(), error.to_string()))?;
        let parsed: syn::File =
            syn::parse2(tokens.clone()).map_err(|error| refuse(error.span(), error.to_string()))?;
        let module = module_path(&file.path);
        Ok(Self {
            path: file.path.clone(),
            lines: file.text.lines().map(str::to_owned).collect(),
            comments: comments(&file.text, tokens),
            mentions: mentions::collect(&parsed, &module, is_test),
            syntax: parsed,
        })
    }

    /// The text of a line, from 1; empty beyond the end.
    pub(crate) fn line(&self, number: usize) -> &str {
        number
            .checked_sub(1)
            .and_then(|index| self.lines.get(index))
            .map_or("", String::as_str)
    }

    /// The last part of the path.
    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the file is `NAME.rs`, or part of a directory `NAME` that one was split into.
    pub(crate) fn belongs_to(&self, name: &str) -> bool {
        self.file_name().strip_suffix(".rs") == Some(name)
            || self.path.split('/').rev().skip(1).any(|part| part == name)
    }
}

/// The comments of `text`: what stands between tokens and is not white space.
///
/// Documentation comments are tokens, so that samples inside them and inside string literals
/// are never taken for comments.
fn comments(text: &str, tokens: TokenStream) -> Vec<Comment> {
    let mut found = Vec::new();
    let (mut gap_start, mut line) = (0, 1);
    let mut read_gap = |gap: Option<&str>, line: usize| {
        for (index, part) in gap.unwrap_or_default().lines().enumerate() {
            if !part.trim().is_empty() {
                found.push(Comment {
                    line: line + index,
                    text: part.trim().to_owned(),
                });
            }
        }
    };
    for span in syntax::token_spans(tokens) {
        let range = span.byte_range();
        read_gap(text.get(gap_start..range.start), line);
        (gap_start, line) = (range.end, span.end().line);
    }
    read_gap(text.get(gap_start..), line);
    found
}

/// The modules a file stands for inside its crate; empty for a crate's root.
pub(crate) fn module_path(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let Some(src) = parts.iter().position(|part| *part == "src") else {
        return Vec::new();
    };
    let inside = parts.get(src + 1..).unwrap_or_default();
    let mut modules: Vec<String> = inside
        .iter()
        .map(|part| part.trim_end_matches(".rs").to_owned())
        .collect();
    if matches!(inside.last(), Some(&("mod.rs" | "lib.rs" | "main.rs"))) {
        modules.pop();
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Source {
        let file = TextFile {
            path: "src/lease/decide.rs".to_owned(),
            text: text.to_owned(),
        };
        Source::parse(&file, false).unwrap()
    }

    #[test]
    fn comments_are_found_and_look_alikes_are_not() {
        let source = parse(
            "//! Docs — here.\n// one\nfn f() { // two\n    let s = \"// no\"; /* three */\n}\n/// No.\nstruct S;\n// four",
        );
        let seen: Vec<(usize, &str)> = source
            .comments
            .iter()
            .map(|c| (c.line, c.text.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (2, "// one"),
                (3, "// two"),
                (4, "/* three */"),
                (8, "// four")
            ]
        );
    }

    #[test]
    fn text_that_is_not_rust_is_refused_with_its_line() {
        let file = TextFile {
            path: "a.rs".to_owned(),
            text: "\nfn f( {}\n".to_owned(),
        };
        let error = Source::parse(&file, false).err().unwrap();
        assert_eq!(error.0, 2);
        let file = TextFile {
            path: "a.rs".to_owned(),
            text: "\n\nfn 1() {}".to_owned(),
        };
        assert_eq!(Source::parse(&file, false).err().unwrap().0, 3);
    }

    #[test]
    fn modules_follow_the_path() {
        assert_eq!(module_path("src/lib.rs"), Vec::<String>::new());
        assert_eq!(module_path("ledger/src/store/mod.rs"), ["store"]);
        assert_eq!(module_path("ledger/src/store/redb.rs"), ["store", "redb"]);
        assert_eq!(module_path("tests/cli.rs"), Vec::<String>::new());
    }

    #[test]
    fn a_file_belongs_to_its_name_and_to_its_directories() {
        let source = parse("//! D.\n");
        assert!(source.belongs_to("decide"));
        assert!(source.belongs_to("lease"));
        assert!(!source.belongs_to("apply"));
    }
}
