//! Colors, where they can be shown: `--color`, `NO_COLOR` and what the stream is decide once.

use std::io::IsTerminal;

use anstream::ColorChoice as Choice;
use clap::ValueEnum;
use owo_colors::{OwoColorize, Style};

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal that can, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Paints text, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    color: bool,
}

impl Paint {
    /// Never paints.
    pub(crate) const NEVER: Self = Self { color: false };

    /// For a stream that is a terminal or not.
    pub(crate) fn of(
        choice: ColorChoice,
        stream: &(impl IsTerminal + anstream::stream::RawStream),
    ) -> Self {
        let color = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => anstream::AutoStream::choice(stream) != Choice::Never,
        };
        Self { color }
    }

    /// Whether it paints.
    pub(crate) fn is_active(self) -> bool {
        self.color
    }

    fn paint(self, text: &str, style: Style) -> String {
        if self.color {
            text.style(style).to_string()
        } else {
            text.to_owned()
        }
    }

    /// What matters most in a line.
    pub(crate) fn strong(self, text: &str) -> String {
        self.paint(text, Style::new().bold())
    }

    /// What matters least in a line.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint(text, Style::new().dimmed())
    }

    /// Ended well.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint(text, Style::new().green())
    }

    /// Wants attention.
    pub(crate) fn warn(self, text: &str) -> String {
        self.paint(text, Style::new().yellow())
    }

    /// Ended badly.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint(text, Style::new().red().bold())
    }

    /// Goes on.
    pub(crate) fn active(self, text: &str) -> String {
        self.paint(text, Style::new().cyan())
    }
}
