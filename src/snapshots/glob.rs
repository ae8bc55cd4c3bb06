//! Patterns over paths beneath a directory: `conf/**/*.toml`. `*` and `?` stay within a name, `**` is
//! any number of names. A name that begins with a dot is a name like any other.
//!
//! A pattern is matched name by name, with the set of places in it that may come next, so a directory
//! that nothing can match in is not even opened, and the time is bounded by both lengths.

use std::fmt;

use super::manifest::{PathFault, check_path};

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathGlob {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any number of names, also none.
    AnyDepth,
    /// One name.
    Name(Box<str>),
}

/// Places in a pattern that the next name may be held against, by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places(Vec<bool>);

impl PathGlob {
    /// Reads a pattern, which is relative and stays beneath the directory.
    ///
    /// # Errors
    /// [`PathFault`].
    pub fn new(text: &str) -> Result<Self, PathFault> {
        check_path(text)?;
        let mut parts: Vec<Part> = Vec::new();
        for name in text.split('/') {
            match name {
                // Two say no more than one.
                "**" if parts.last() == Some(&Part::AnyDepth) => {}
                "**" => parts.push(Part::AnyDepth),
                name => parts.push(Part::Name(name.into())),
            }
        }
        // What is beneath a directory, not the directory.
        if parts.last() == Some(&Part::AnyDepth) {
            parts.push(Part::Name("*".into()));
        }
        Ok(Self {
            text: text.into(),
            parts,
        })
    }

    /// Before the first name.
    pub(super) fn begin(&self) -> Places {
        let mut places = Places(vec![false; self.parts.len() + 1]);
        places.0[0] = true;
        self.skip(&mut places);
        places
    }

    /// After another name.
    pub(super) fn step(&self, at: &Places, name: &str) -> Places {
        let mut next = Places(vec![false; self.parts.len() + 1]);
        for (index, part) in self.parts.iter().enumerate() {
            if !at.0[index] {
                continue;
            }
            match part {
                Part::AnyDepth => next.0[index] = true,
                Part::Name(pattern) if fits(pattern, name) => next.0[index + 1] = true,
                Part::Name(_) => {}
            }
        }
        self.skip(&mut next);
        next
    }

    /// `**` may be no name at all.
    fn skip(&self, places: &mut Places) {
        for (index, part) in self.parts.iter().enumerate() {
            if places.0[index] && *part == Part::AnyDepth {
                places.0[index + 1] = true;
            }
        }
    }
}

impl Places {
    /// Whether the names so far are all that the pattern asks for.
    pub(super) fn is_match(&self) -> bool {
        self.0.last().copied().unwrap_or(false)
    }

    /// Whether a name more could lead to a match.
    pub(super) fn goes_on(&self) -> bool {
        let rest = self.0.len().saturating_sub(1);
        self.0[..rest].contains(&true)
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a name fits a pattern of `*` and `?`. Backtracks over one star at most.
fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (p, n) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(glob: &PathGlob, path: &str) -> Places {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.fold(glob.begin(), |at, name| glob.step(&at, name))
    }

    fn matches(pattern: &str, path: &str) -> bool {
        places(&PathGlob::new(pattern).unwrap(), path).is_match()
    }

    #[test]
    fn stars_stay_in_a_name_and_two_go_through_directories() {
        for (pattern, path) in [
            ("conf/*.toml", "conf/a.toml"),
            ("conf/**/*.toml", "conf/a.toml"),
            ("conf/**/*.toml", "conf/x/y/a.toml"),
            ("**", "a"),
            ("**", "a/.b/c"),
            ("conf/**", "conf/x/y"),
            ("**/**/a", "a"),
            ("?.txt", "ä.txt"),
            ("a*b*c", "a-b-b-c"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("conf/*.toml", "conf/x/a.toml"),
            ("conf/*.toml", "a.toml"),
            ("conf/**", "conf"),
            ("conf/**/*.toml", "config/a.toml"),
            ("a?", "a"),
            ("*", ""),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_stays_beneath_its_directory() {
        for bad in ["", "/etc/*", "../x", "a/../b", "a//b", "./a", "a/", "a\0b"] {
            assert!(PathGlob::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_directory_that_nothing_can_match_in_is_not_opened() {
        let glob = PathGlob::new("conf/*/x.toml").unwrap();
        assert!(places(&glob, "conf").goes_on() && places(&glob, "conf/a").goes_on());
        assert!(!places(&glob, "other").goes_on());
        assert!(!places(&glob, "conf/a/x.toml").goes_on(), "it is all");
        assert!(places(&PathGlob::new("**/x").unwrap(), "a/b").goes_on());
    }

    /// The same by trying everything.
    fn model(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), None) => model(rest, path),
            (Some((&"**", rest)), Some((_, shorter))) => {
                model(rest, path) || model(pattern, shorter)
            }
            (Some((name, rest)), Some((first, shorter))) => {
                (*name == "*" || name == first) && model(rest, shorter)
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn places_find_what_trying_everything_finds(
            pattern in prop::collection::vec(prop::sample::select(vec!["**", "*", "a", "b"]), 1..6),
            path in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..6),
        ) {
            let mut asked = pattern.clone();
            if asked.last() == Some(&"**") {
                asked.push("*");
            }
            prop_assert_eq!(
                matches(&pattern.join("/"), &path.join("/")),
                model(&asked, &path)
            );
        }
    }
}
