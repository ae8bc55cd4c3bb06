//! Payloads at the door: strict JSON in, the same tokens without white space out.
//!
//! The text of every token is kept as it was sent (a number stays `1.50`, a string keeps its
//! escapes), so that what was hashed is what was said. Refused: anything but an object, duplicate
//! keys, nesting deeper than [`MAX_DEPTH`], NaN and infinities (which are not JSON).

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of arrays and objects in a payload.
pub const MAX_DEPTH: usize = 64;

/// Why a text is not accepted as a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or JSON that is refused; the text says what and where.
    #[error("{0}")]
    Malformed(String),
    /// JSON, but not an object.
    #[error("the payload must be a JSON object, such as {{\"key\":\"value\"}}")]
    NotAnObject,
}

/// Checks one JSON object and returns it without insignificant white space.
///
/// # Errors
/// [`JsonError`] if the text is not one strict JSON object.
pub fn minify_object(text: &str) -> Result<String, JsonError> {
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r']);
    let mut de = serde_json::Deserializer::from_str(trimmed);
    Strict { depth: 0 }
        .deserialize(&mut de)
        .and_then(|()| de.end())
        .map_err(|e| JsonError::Malformed(e.to_string()))?;
    if !trimmed.starts_with('{') {
        return Err(JsonError::NotAnObject);
    }
    Ok(strip(trimmed))
}

/// Drops white space outside strings; the text is known to be valid JSON.
fn strip(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped, mut from) = (false, false, 0);
    for (i, b) in text.bytes().enumerate() {
        if in_string {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if b == b'"' {
            in_string = true;
        } else if matches!(b, b' ' | b'\t' | b'\n' | b'\r') {
            out.push_str(&text[from..i]);
            from = i + 1;
        }
    }
    out.push_str(&text[from..]);
    out
}

/// Walks a value, refusing duplicate keys and deep nesting.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!(
                "nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

/// A key, unescaped, so that `"a"` and `"\u0061"` are found to be the same.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = BTreeSet::new();
        while let Some(Key(key)) = map.next_key()? {
            if seen.contains(&key) {
                return Err(serde::de::Error::custom(format_args!(
                    "duplicate key {key:?}"
                )));
            }
            map.next_value_seed(inner)?;
            seen.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_tokens_stay() {
        let text =
            " {\n \"a b\" : [ 1.50 , 1e3,-0 ] ,\t\"c\":\"x \\\" y\\u0041\", \"n\": null }\r\n";
        assert_eq!(
            minify_object(text).unwrap(),
            r#"{"a b":[1.50,1e3,-0],"c":"x \" y\u0041","n":null}"#
        );
        assert_eq!(minify_object("{}").unwrap(), "{}");
    }

    #[test]
    fn what_is_not_a_strict_object_is_refused() {
        for bad in ["[1]", "1", "\"x\"", "null"] {
            assert_eq!(minify_object(bad), Err(JsonError::NotAnObject), "{bad}");
        }
        for bad in [
            "",
            "{",
            "{}}",
            "{\"a\":NaN}",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\":1,\"a\":2}",
            "{\"x\":{\"a\":1,\"\\u0061\":2}}",
            "{\"a\":1e999}",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":Infinity}",
        ] {
            assert!(
                matches!(minify_object(bad), Err(JsonError::Malformed(_))),
                "{bad}"
            );
        }
        let deep = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
        assert!(minify_object(&deep(MAX_DEPTH - 1)).is_ok());
        assert!(minify_object(&deep(MAX_DEPTH)).is_err());
        assert!(minify_object(&deep(100_000)).is_err());
    }
}
