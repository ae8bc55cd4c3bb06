//! Words that the project's text never holds: places of the machines it was written on, and
//! marks of work left undone.

use crate::finding::{Finding, Rule};
use crate::workspace::Workspace;

/// Something that may not stand in any text file.
struct Needle {
    /// The text, in parts: this file must not find itself.
    parts: &'static [&'static str],
    /// Whether it counts only as a whole word.
    whole_word: bool,
    why: &'static str,
}

const FOREIGN: &str = "the project speaks of itself alone, not of where it was written";
const UNDONE: &str = "what is not done is not in the tree; write down what is, or do it";

const NEEDLES: [Needle; 7] = [
    Needle {
        parts: &["/wo", "rk/"],
        whole_word: false,
        why: FOREIGN,
    },
    Needle {
        parts: &["/tmp", "/wt"],
        whole_word: false,
        why: FOREIGN,
    },
    Needle {
        parts: &["shared", "/design"],
        whole_word: false,
        why: FOREIGN,
    },
    Needle {
        parts: &["shared", "/spec"],
        whole_word: false,
        why: FOREIGN,
    },
    Needle {
        parts: &["TO", "DO"],
        whole_word: true,
        why: UNDONE,
    },
    Needle {
        parts: &["FIX", "ME"],
        whole_word: true,
        why: UNDONE,
    },
    Needle {
        parts: &["XX", "X"],
        whole_word: true,
        why: UNDONE,
    },
];

/// Lines with a word that may not stand there.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let needles: Vec<(String, &Needle)> = NEEDLES
        .iter()
        .map(|needle| (needle.parts.concat(), needle))
        .collect();
    let mut findings = Vec::new();
    for file in &workspace.files {
        for (word, needle) in &needles {
            // One search of the file first: most hold none of the words.
            if !file.text.contains(word.as_str()) {
                continue;
            }
            for (index, line) in file.text.lines().enumerate() {
                if occurs(line, word, needle.whole_word) {
                    let message = format!("holds `{word}`: {}", needle.why);
                    findings.push(Finding::new(&file.path, index + 1, Rule::Words, message));
                }
            }
        }
    }
    findings
}

fn occurs(line: &str, word: &str, whole_word: bool) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !whole_word
            || !(line[..at].ends_with(in_word) || line[at + word.len()..].starts_with(in_word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::places;

    #[test]
    fn every_word_is_found_in_every_sort_of_file() {
        for needle in &NEEDLES {
            let word = needle.parts.concat();
            for path in ["src/a.rs", "README.md", "x.toml", ".ci/run"] {
                let text = format!("// fine\n// this {word}: not\n");
                assert_eq!(
                    places(check, &[(path, &text)]),
                    [format!("{path}:2: words")]
                );
            }
        }
    }

    #[test]
    fn longer_words_and_other_cases_pass() {
        let undone = NEEDLES.iter().filter(|needle| needle.whole_word);
        for word in undone.map(|needle| needle.parts.concat()) {
            let text = format!(
                "// a{word} {word}S _{word} {}\n// frame/working\n",
                word.to_lowercase()
            );
            assert_eq!(places(check, &[("src/a.rs", &text)]), Vec::<String>::new());
        }
    }
}
