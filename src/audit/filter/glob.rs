//! Globs over names of the log: `task.*`, `task/build-?`. Matching never backtracks more than one
//! star, so its time is bounded by the product of both lengths, which are short by type.

use std::str::FromStr;

use super::FilterError;

/// A pattern over kinds, subjects or actors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// Whether the whole name fits.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where to go on if what follows the last star does not fit: one character further.
        let mut retry: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    retry = Some((p + 1, n));
                    p += 1;
                }
                Some(c) if *c == b'?' || *c == name[n] => {
                    p += 1;
                    n += 1;
                }
                _ => match retry {
                    Some((after_star, from)) => {
                        retry = Some((after_star, from + 1));
                        (p, n) = (after_star, from + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == b'*')
    }
}

impl FromStr for Glob {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"._-/*?".contains(&b);
        if text.is_empty() || text.len() > super::MAX_PATTERN || !text.bytes().all(known) {
            return Err(FilterError::Glob(text.chars().take(80).collect()));
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_take_any_run_and_question_marks_one() {
        for (glob, name, fits) in [
            ("task.*", "task.submitted", true),
            ("task.*", "task", false),
            ("*", "", true),
            ("*.done", "app.deploy.done", true),
            ("task/build-?", "task/build-7", true),
            ("task/build-?", "task/build-17", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("task", "task.x", false),
        ] {
            assert_eq!(
                glob.parse::<Glob>().unwrap().matches(name),
                fits,
                "{glob} {name}"
            );
        }
        assert!("task .*".parse::<Glob>().is_err());
        assert!("".parse::<Glob>().is_err());
    }

    /// The definition, without regard to time.
    fn fits(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                fits(&pattern[1..], name) || (!name.is_empty() && fits(pattern, &name[1..]))
            }
            (Some(b'?'), Some(_)) => fits(&pattern[1..], &name[1..]),
            (Some(a), Some(b)) => a == b && fits(&pattern[1..], &name[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(glob in "[ab*?]{1,8}", name in "[ab]{0,10}") {
            let expected = fits(glob.as_bytes(), name.as_bytes());
            prop_assert_eq!(glob.parse::<Glob>().unwrap().matches(&name), expected);
        }
    }
}
