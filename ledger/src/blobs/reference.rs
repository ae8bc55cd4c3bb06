//! How an event names a blob: the reserved key [`KEY`] at the top level of its payload.
//!
//! - The key is written without escapes, once, with a [`BlobRef`] behind it. Deeper in a payload it
//!   means nothing.
//! - A payload that is nothing but a reference of media type [`JSON`] stands for that document: it is
//!   the payload, kept outside. Any other reference is something that belongs to the event.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::hash::Hash;

/// The reserved key.
pub const KEY: &str = "$blob";
/// The media type of a payload that is kept as a blob.
pub const JSON: &str = "application/json";
/// The media type of bytes of which nothing is said.
pub const DEFAULT_MEDIA_TYPE: &str = "application/octet-stream";

/// Longest media type, in bytes.
const MAX_MEDIA_TYPE: usize = 127;

/// What kind of content a blob is: `type/subtype`, perhaps with parameters, as in HTTP; at most 127
/// printable ASCII characters without `"` and `\`. It is what somebody said; nothing checks it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct MediaType(Box<str>);

impl MediaType {
    /// Takes a text if it is one.
    pub fn new(text: &str) -> Option<Self> {
        let plain = |b: u8| (b == b' ' || b.is_ascii_graphic()) && b != b'"' && b != b'\\';
        let named = |part: &str| {
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
            !part.is_empty() && part.bytes().all(token)
        };
        let essence = text.split(';').next().unwrap_or_default().trim_end();
        let (kind, sub) = essence.split_once('/')?;
        let fits = text.len() <= MAX_MEDIA_TYPE && text.bytes().all(plain);
        (fits && named(kind) && named(sub)).then(|| Self(text.into()))
    }

    /// Of bytes of which nothing is said.
    pub fn unknown() -> Self {
        Self(DEFAULT_MEDIA_TYPE.into())
    }

    /// Of a payload.
    pub fn json() -> Self {
        Self(JSON.into())
    }
}

impl Deref for MediaType {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for MediaType {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text).ok_or("a media type is type/subtype, at most 127 characters")
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(d)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A blob as an event names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// Its name: the BLAKE3 of its bytes.
    pub blake3: Hash,
    /// How many there are.
    pub bytes: u64,
    /// What they are.
    pub media_type: MediaType,
}

impl BlobRef {
    /// The payload that is nothing but this reference.
    pub fn to_payload(&self) -> String {
        let reference = serde_json::to_string(self).expect("it holds a number and two texts");
        format!("{{\"{KEY}\":{reference}}}")
    }
}

/// Why a payload that uses the reserved key names no blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key {KEY} is reserved for {{\"blake3\":…,\"bytes\":…,\"media_type\":…}} at the top level: {0}"
)]
pub struct ReferenceError(String);

/// The blob that a minified payload names, if it does.
///
/// # Errors
/// [`ReferenceError`] if it has the reserved key at its top level with something else behind it, or
/// written with escapes.
pub fn in_payload(data: &str) -> Result<Option<BlobRef>, ReferenceError> {
    // Most payloads end here: one that has the key has its letters, or an escape.
    if !data.contains(KEY) && !data.contains("\\u") {
        return Ok(None);
    }
    let wrong = |e: &dyn fmt::Display| ReferenceError(e.to_string());
    let found: TopLevel<'_> = serde_json::from_str(data).map_err(|e| wrong(&e))?;
    let Some(raw) = found.0 else { return Ok(None) };
    if !data.contains("\"$blob\":") {
        return Err(wrong(&"it is written with escapes"));
    }
    serde_json::from_str(raw.get())
        .map(Some)
        .map_err(|e| wrong(&e))
}

/// What stands behind the key at the top level of an object.
struct TopLevel<'a>(Option<&'a RawValue>);

impl<'de> Deserialize<'de> for TopLevel<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = TopLevel<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<Key<'de>>()? {
                    if key.0 == KEY {
                        found = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(TopLevel(found))
            }
        }
        d.deserialize_map(Keys)
    }
}

/// A key, borrowed where it can be.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> BlobRef {
        BlobRef {
            blake3: Hash::of(b"x"),
            bytes: 1,
            media_type: MediaType::json(),
        }
    }

    #[test]
    fn a_reference_reads_back_at_the_top_level_and_nowhere_else() {
        let payload = sample().to_payload();
        assert_eq!(in_payload(&payload), Ok(Some(sample())));
        let beside = format!("{{\"a\":[1],{}", &payload[1..]);
        assert_eq!(in_payload(&beside), Ok(Some(sample())));
        let deeper = format!("{{\"a\":{payload}}}");
        assert_eq!(in_payload(&deeper), Ok(None));
        for none in [
            "{}",
            r#"{"a":"$blob"}"#,
            r#"{"blob":1}"#,
            r#"{"a\u0024":1}"#,
        ] {
            assert_eq!(in_payload(none), Ok(None), "{none}");
        }
    }

    #[test]
    fn the_key_with_anything_else_behind_it_is_an_error() {
        let hash = Hash::of(b"x");
        let more =
            format!(r#"{{"$blob":{{"blake3":"{hash}","bytes":1,"media_type":"a/b","more":1}}}}"#);
        let media = format!(r#"{{"$blob":{{"blake3":"{hash}","bytes":1,"media_type":"a"}}}}"#);
        let escaped = sample().to_payload().replace('$', "\\u0024");
        for bad in [r#"{"$blob":1}"#, r#"{"$blob":{}}"#, r#"{"$blob":null}"#] {
            assert!(in_payload(bad).is_err(), "{bad}");
        }
        for bad in [more, media, escaped] {
            assert!(in_payload(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn media_types_are_told_from_other_texts() {
        for good in ["text/plain", "text/plain; charset=utf-8", "image/svg+xml"] {
            assert!(MediaType::new(good).is_some(), "{good}");
        }
        let long = format!("a/{}", "b".repeat(MAX_MEDIA_TYPE));
        for bad in [
            "", "text", "/", "a/", "/b", "a b/c", "a/b\n", "a/b;\"", &long,
        ] {
            assert!(MediaType::new(bad).is_none(), "{bad}");
        }
    }
}
