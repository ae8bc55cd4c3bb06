//! What a check reports: a rule that is broken, where, and why the rule is there.

use std::fmt;

/// The rules, by the names that findings show and `tidy: allow(…)` markers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// A file says at its top what it is for.
    Header,
    /// A file is a room with one purpose, not a warehouse.
    FileSize,
    /// A function can be read at once.
    FnSize,
    /// A Rust file parses; nothing else can be checked in one that doesn't.
    Syntax,
    /// A manifest depends only on what its crate may use.
    Dependency,
    /// Source names only what its crate or module may use.
    Import,
    /// Domains and projections do not import their siblings.
    Domain,
    /// `apply` names every event of its family.
    Wildcard,
    /// The process ends in one place.
    Exit,
    /// Tests wait for events, not for time.
    Sleep,
    /// Output goes through the command line's output code.
    Print,
    /// Whatever is hashed or replayed has one order.
    HashOrder,
    /// Time and chance are inputs.
    Clock,
    /// Every `unsafe` says why it is sound.
    Safety,
    /// The project speaks of itself alone, and of what is done.
    Words,
    /// A marker names a rule, has a reason and covers a finding.
    Allow,
}

impl Rule {
    /// Every rule, in the order above.
    pub(crate) const ALL: [Self; 16] = [
        Self::Header,
        Self::FileSize,
        Self::FnSize,
        Self::Syntax,
        Self::Dependency,
        Self::Import,
        Self::Domain,
        Self::Wildcard,
        Self::Exit,
        Self::Sleep,
        Self::Print,
        Self::HashOrder,
        Self::Clock,
        Self::Safety,
        Self::Words,
        Self::Allow,
    ];

    /// The rule's name in findings and markers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::FileSize => "file-size",
            Self::FnSize => "fn-size",
            Self::Syntax => "syntax",
            Self::Dependency => "dependency",
            Self::Import => "import",
            Self::Domain => "domain",
            Self::Wildcard => "wildcard",
            Self::Exit => "exit",
            Self::Sleep => "sleep",
            Self::Print => "print",
            Self::HashOrder => "hash-order",
            Self::Clock => "clock",
            Self::Safety => "safety",
            Self::Words => "words",
            Self::Allow => "allow",
        }
    }

    /// The rule called `name`, if there is one that a marker may allow.
    pub(crate) fn allowable(name: &str) -> Option<Self> {
        let rule = Self::ALL.into_iter().find(|rule| rule.name() == name)?;
        (rule != Self::Allow && rule != Self::Syntax).then_some(rule)
    }

    /// Whether the rule is about the file as a whole, so that a marker anywhere in it counts.
    pub(crate) fn is_about_the_file(self) -> bool {
        matches!(self, Self::Header | Self::FileSize)
    }
}

/// One broken rule at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the repository's root, with `/` between its parts.
    pub(crate) path: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// The broken rule.
    pub(crate) rule: Rule,
    /// What was found, and why it may not be.
    pub(crate) message: String,
}

impl Finding {
    /// A finding of `rule` at `path:line`.
    pub(crate) fn new(path: &str, line: usize, rule: Rule, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            rule,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {}",
            self.path,
            self.line,
            self.rule.name(),
            self.message
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back_to_their_rule() {
        for rule in Rule::ALL {
            let allowable = rule != Rule::Allow && rule != Rule::Syntax;
            assert_eq!(Rule::allowable(rule.name()), allowable.then_some(rule));
        }
        assert_eq!(Rule::allowable("no-such-rule"), None);
    }

    #[test]
    fn a_finding_is_one_line_with_its_place_first() {
        let finding = Finding::new("src/a.rs", 7, Rule::Clock, "reads a clock");
        assert_eq!(finding.to_string(), "src/a.rs:7: clock: reads a clock");
    }
}
