//! Ids by the words that people know them by: a name, a key. What is wrong with one is said in that word.

use ledger_core::ids::{Id, IdError};

/// Reads an id that people call `what`, such as `a name`.
///
/// # Errors
/// What ids look like, in that word.
pub fn id_as(what: &str, text: &str) -> Result<Id, String> {
    Id::new(text).map_err(|error: IdError| error.to_string().replacen("an id", what, 1))
}

/// As `value_parser` of an option that is a name.
pub(crate) fn name(text: &str) -> Result<Id, String> {
    id_as("a name", text)
}

/// As `value_parser` of an option that is a key.
pub(crate) fn key(text: &str) -> Result<Id, String> {
    id_as("a key", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_the_word_that_was_asked_for() {
        assert_eq!(name("a-1").unwrap().as_str(), "a-1");
        let said = key("a b").unwrap_err();
        assert!(
            said.starts_with("a key is 1 to 128 characters of "),
            "{said}"
        );
    }
}
