//! Fitting text into columns of a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How many columns a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text cut at its end to at most `max` columns, with `…` where something is missing.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let mut out = prefix(text, max.saturating_sub(1)).to_owned();
    if max > 0 {
        out.push('…');
    }
    out
}

/// The text cut in its middle: names differ at their ends.
pub(crate) fn cut_middle(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(1);
    let head = prefix(text, room.div_ceil(2));
    let mut tail_start = text.len();
    let mut taken = 0;
    for (at, c) in text.char_indices().rev() {
        taken += c.width().unwrap_or(0);
        if taken > room / 2 {
            break;
        }
        tail_start = at;
    }
    let dots = if max > 0 { "…" } else { "" };
    format!("{head}{dots}{}", &text[tail_start..])
}

/// The text with blanks up to `columns`.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(blanks))
}

/// The text in lines of at most `columns`, broken at blanks; a longer word stands alone.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn prefix(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > columns {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_words_stay_whole() {
        assert_eq!(wrap("one two three", 20), ["one two three"]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a muchtoolong b", 4), ["a", "muchtoolong", "b"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn cuts_leave_the_ends_that_tell() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut_middle("task/0198c1f2-9a3b", 9), "task…9a3b");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(pad("ab", 4), "ab  ");
        assert_eq!(cut("abc", 0), "");
    }

    proptest! {
        #[test]
        fn cuts_never_take_more_room(text in any::<String>(), max in 0_usize..20) {
            prop_assert!(width(&cut(&text, max)) <= max);
            prop_assert!(width(&cut_middle(&text, max)) <= max);
        }
    }
}
