//! Reading a checked text from JSON or another format without copying it first.
//!
//! serde's own way through `Cow<str>` always makes a copy unless a field is marked as borrowing,
//! which newtypes can't be. Ids and digests are in every payload, so this is a tenth of what
//! decoding one costs.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

/// Deserializes a `T` from a text by its [`FromStr`]; `rule` says what was expected.
pub(crate) fn parsed<'de, T, D>(deserializer: D, rule: &'static str) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(Parse {
        rule,
        parsed: PhantomData,
    })
}

struct Parse<T> {
    rule: &'static str,
    parsed: PhantomData<T>,
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Parse<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(Error::custom)
    }
}
