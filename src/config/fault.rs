//! What is wrong with a file of settings: all of it, each fault with its line, in words that say what is
//! allowed there.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::nearest;

/// Most faults of a file that are told one by one; of more it is said how many they are.
const MAX_FAULTS: usize = 20;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named is not there.
    #[error("there is no configuration file {}", .0.display())]
    Missing(PathBuf),
    /// The file can't be read.
    #[error("{} can't be read: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not what it should be.
    #[error(transparent)]
    Faults(FileFaults),
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFaults {
    path: PathBuf,
    /// By line; at least one, at most [`MAX_FAULTS`].
    lines: Vec<LineFault>,
    /// How many there are besides.
    more: usize,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not TOML, or not a text at all.
    #[error("{0}")]
    Syntax(String),
    /// There is no such section or key.
    #[error("there is no {what} `{found}`{}", nearest_hint(.nearest.as_deref()))]
    Unknown {
        /// `section` or `key`.
        what: &'static str,
        /// What was written.
        found: String,
        /// What was meant, perhaps.
        nearest: Option<String>,
    },
    /// A value that its key can't have.
    #[error("`{key}` {problem}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
}

fn nearest_hint(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

impl FileFaults {
    /// The only fault of a file.
    pub(super) fn one(path: &Path, line: usize, fault: Fault) -> Self {
        Self {
            path: path.to_path_buf(),
            lines: vec![LineFault { line, fault }],
            more: 0,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lines.len() + self.more
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Each with its line, without the file.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let lines = self.lines.iter();
        let lines = lines.map(|LineFault { line, fault }| format!("line {line}: {fault}"));
        lines.chain((self.more > 0).then(|| format!("and {} more", self.more)))
    }

    /// Each as a text of its own.
    pub fn texts(&self) -> Vec<String> {
        let path = self.path.display();
        let lines = self.lines.iter();
        let mut texts: Vec<String> = lines
            .map(|LineFault { line, fault }| format!("{path}:{line}: {fault}"))
            .collect();
        texts.extend((self.more > 0).then(|| format!("{path}: {} more faults", self.more)));
        texts
    }
}

impl fmt::Display for FileFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join("\n"))
    }
}

impl std::error::Error for FileFaults {}

/// Why a file can't be read as text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It can't be read at all.
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    /// It is not UTF-8.
    #[error("this is not text: save the file as UTF-8")]
    NotText {
        /// Its first line that is not, from 1.
        line: usize,
    },
}

impl Unreadable {
    /// Whether there is no such file.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// As what is wrong with that file.
    pub(crate) fn of(self, path: &Path) -> ConfigError {
        match self {
            Self::Io(error) => ConfigError::Io {
                path: path.to_path_buf(),
                error,
            },
            Self::NotText { line } => {
                let fault = Fault::Syntax(self.to_string());
                ConfigError::Faults(FileFaults::one(path, line, fault))
            }
        }
    }
}

/// The line of a byte, from 1.
pub(super) fn line_of(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|b| **b == b'\n').count()
}

/// A fault at a byte of the text.
pub(super) struct Located {
    at: usize,
    fault: Fault,
}

impl Located {
    pub(super) fn value(span: Range<usize>, key: &str, problem: String) -> Self {
        let fault = Fault::Value {
            key: key.to_owned(),
            problem,
        };
        Self {
            at: span.start,
            fault,
        }
    }
}

pub(super) fn unknown<'n>(
    what: &'static str,
    found: &Spanned<Cow<'_, str>>,
    known: impl Iterator<Item = &'n str>,
) -> Located {
    let name = found.get_ref().as_ref();
    let fault = Fault::Unknown {
        what,
        found: name.to_owned(),
        nearest: nearest(name, known).map(str::to_owned),
    };
    Located {
        at: found.span().start,
        fault,
    }
}

/// What was found to be wrong so far.
#[derive(Default)]
pub(super) struct Found(Vec<Located>);

impl Found {
    pub(super) fn add(&mut self, located: Located) {
        self.0.push(located);
    }

    /// What was read, unless that is wrong.
    pub(super) fn keep<T>(&mut self, read: Result<T, Located>) -> Option<T> {
        read.map_err(|located| self.add(located)).ok()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What was read if nothing is wrong.
    pub(super) fn or<T>(self, read: T) -> Result<T, Self> {
        if self.0.is_empty() {
            Ok(read)
        } else {
            Err(self)
        }
    }

    pub(super) fn into_first(self) -> Option<Fault> {
        self.0.into_iter().next().map(|located| located.fault)
    }

    /// By line, of the text that was read.
    pub(super) fn located(mut self, text: &str, path: &Path) -> ConfigError {
        self.0.sort_by_key(|located| located.at);
        let more = self.0.len().saturating_sub(MAX_FAULTS);
        let lines = self.0.into_iter().take(MAX_FAULTS);
        let lines = lines.map(|Located { at, fault }| LineFault {
            line: line_of(text.as_bytes(), at),
            fault,
        });
        ConfigError::Faults(FileFaults {
            path: path.to_path_buf(),
            lines: lines.collect(),
            more,
        })
    }
}

/// Reads TOML. What follows a fault of it may be read wrongly, so then nothing else is looked for.
pub(super) fn toml_table(text: &str) -> Result<Spanned<DeTable<'_>>, Found> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut found = Found::default();
    let mut last = 0;
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        let line = line_of(text.as_bytes(), at);
        // One slip of the pen is often several faults to the parser.
        if line != last {
            let rest = text.get(at..).and_then(|rest| rest.lines().next());
            let words = in_words(error.message(), rest.unwrap_or_default());
            let fault = Fault::Syntax(words.to_owned());
            found.add(Located { at, fault });
        }
        last = line;
    }
    found.or(table)
}

/// What the parser means, for people who don't know its grammar; `rest` is the line from there on.
fn in_words(message: &str, rest: &str) -> &'static str {
    let said = message.split(", expected").next().unwrap_or(message);
    let about = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let nothing = rest.trim().is_empty() || rest.trim().starts_with('#');
    if about(&["must be quoted", "invalid value"]) && !nothing {
        "a text must stand in quotes, such as \"5m\"; a number, true and false without"
    } else if about(&["duplicate key"]) {
        "this key or section stands here for the second time; keep one of them"
    } else if about(&["extend value"]) {
        "this key has a value already and can't be a section too; keep one of them"
    } else if about(&[
        "key with no value",
        "missing value",
        "must be quoted",
        "invalid value",
    ]) {
        "this key has no value; write KEY = VALUE on one line"
    } else if about(&["extra `=`"]) {
        "there is a second `=`; write KEY = VALUE, one on a line"
    } else if about(&[
        "array table",
        "unclosed table",
        "invalid table",
        "table open",
    ]) {
        "this is no name of a section; write [SECTION] on a line of its own"
    } else if about(&["inline table", "key-value pair"]) {
        "this is no table; write { NAME = \"VALUE\", NAME = \"VALUE\" }"
    } else if about(&["array"]) {
        "this is no list; write [\"one\", \"two\"]"
    } else if about(&["quoted key", "keys cannot", "invalid key"]) {
        "this is no name of a key; it is of letters, digits, `_` and `-`, as in KEY = VALUE"
    } else if about(&["string", "quote", "escape", "unicode"]) {
        "this text is not closed, or has a `\\` before what needs none; write it in quotes on one \
         line, with `\\\\` for each `\\`"
    } else if about(&["recurs"]) {
        "this is nested too deep"
    } else if about(&[
        "number", "integer", "float", "digit", "sign", "zero", "radix",
    ]) {
        "this is no number; write digits only, such as 60"
    } else {
        "this is no setting; write KEY = VALUE, or [SECTION] on a line of its own"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        match toml_table(text) {
            Ok(_) => String::new(),
            Err(found) => found.located(text, Path::new("f")).to_string(),
        }
    }

    #[test]
    fn what_is_not_toml_is_said_in_words_of_settings() {
        for (text, said) in [
            ("a = \n", "f:1: this key has no value; write KEY = VALUE"),
            ("\na = 5m\n", "f:2: a text must stand in quotes"),
            ("a = x\nb = y\n", "f:1: a text must stand in quotes"),
            ("a = 1\na = 2\n", "f:2: this key or section stands here for"),
            ("[a\nb = 1\n", "f:1: this is no name of a section"),
            ("a = [1, 2\n", "f:1: this is no list"),
            ("a = { b = 1\n", "f:1: this is no table"),
            ("a = \"x\nb = 1\n", "f:1: this text is not closed"),
            (
                "a = \"\\q\"\n",
                "f:1: this text is not closed, or has a `\\`",
            ),
            ("a\n", "f:1: this key has no value"),
            ("= 1\n", "f:1: this is no name of a key"),
            ("a = 01\n", "f:1: this is no number"),
            ("a == 1\n", "f:1: there is a second `=`"),
            ("a = b = 1\n", "f:1: this is no setting; write KEY = VALUE"),
        ] {
            let found = faults(text);
            assert!(found.starts_with(said), "{text:?}: {found}");
            for jargon in ["expected", "literal", "array", "inline", "newline"] {
                assert!(!found.contains(jargon), "{text:?}: {found}");
            }
        }
        assert_eq!(faults("a = x\nb = y\n").lines().count(), 2);
    }

    #[test]
    fn no_more_faults_are_told_than_somebody_reads() {
        let found = faults(&"a = x\n".repeat(30));
        assert_eq!(found.lines().count(), MAX_FAULTS + 1);
        assert!(found.ends_with("\nf: 10 more faults"), "{found}");
    }
}
