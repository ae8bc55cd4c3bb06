//! Names and numbers of the log as types, so that a term can't be passed for a sequence number
//! and a text that was never checked can't become an id.
//!
//! Rules (frozen with event encoding v1): a kind is `[a-z0-9_.]{1,64}`, an id is
//! `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, a subject or actor is `kind/id` built of those two.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
pub use uuid::Uuid;

/// Position of an event: 1, 2, 3 … without gaps. The only order there is.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first event.
    pub const ZERO: Self = Self(0);
    /// The first event of every ledger, `ledger.created`.
    pub const FIRST: Self = Self(1);

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Lease term of the writer: 0 only for `ledger.created`, then +1 at each acquisition.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Term(pub u64);

impl Term {
    /// The term of `ledger.created`, before anyone led.
    pub const ZERO: Self = Self(0);

    /// The term that the next acquisition takes.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

macro_rules! display_number {
    ($($t:ty),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(&self.0, f) }
        }
    )*};
}
display_number!(Seq, Term);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                Uuid::parse_str(s).map(Self).map_err(|_| IdError::Uuid)
            }
        }
    };
}
uuid_id!(
    /// Which ledger: made once by `ledger init`, in the domain of every hash.
    LedgerId
);
uuid_id!(
    /// Which event, independent of its position: a UUIDv7.
    EventId
);

/// Why a text is not a name of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not an event kind.
    #[error("a kind is 1 to 64 characters of a-z, 0-9, '_' and '.'")]
    Kind,
    /// Not an id.
    #[error(
        "an id is 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-', and starts with a letter or digit"
    )]
    Id,
    /// Not a subject or actor.
    #[error("a subject or actor is KIND/ID, such as task/build-7 or agent/ada")]
    Entity,
    /// Not a UUID.
    #[error("not a UUID")]
    Uuid,
}

/// Longest kind in bytes.
pub const MAX_KIND: usize = 64;
/// Longest id in bytes.
pub const MAX_ID: usize = 128;

/// Whether these bytes are an event kind.
pub fn is_kind(s: &str) -> bool {
    is_kind_bytes(s.as_bytes())
}

/// Whether these bytes are an id.
pub fn is_id(s: &str) -> bool {
    is_id_bytes(s.as_bytes())
}

/// Whether these bytes are `kind/id`.
pub fn is_entity(s: &str) -> bool {
    let bytes = s.as_bytes();
    let slash = bytes.iter().position(|&b| b == b'/');
    slash.is_some_and(|at| is_kind_bytes(&bytes[..at]) && is_id_bytes(&bytes[at + 1..]))
}

// Every event that is read has three names or more. Looking at all bytes of one instead of ending
// at the first bad one lets the compiler look at 16 at a time.

fn is_kind_bytes(bytes: &[u8]) -> bool {
    (1..=MAX_KIND).contains(&bytes.len())
        && bytes.iter().fold(true, |good, &b| {
            good & (b.is_ascii_lowercase() | b.is_ascii_digit() | (b == b'_') | (b == b'.'))
        })
}

fn is_id_bytes(bytes: &[u8]) -> bool {
    (1..=MAX_ID).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().fold(true, |good, &b| {
            // `| 0x20` makes letters small and moves no other byte into their range.
            let letter = (b | 0x20).is_ascii_lowercase();
            good & (letter | b.is_ascii_digit() | (b == b'.') | (b == b'_') | (b == b'-'))
        })
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:path, $err:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the text and takes it.
            ///
            /// # Errors
            /// [`IdError`] if the text does not follow the rule.
            pub fn new(s: impl AsRef<str>) -> Result<Self, IdError> {
                let s = s.as_ref();
                if $check(s) { Ok(Self(s.into())) } else { Err($err) }
            }

            /// The text.
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str { &self.0 }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str { &self.0 }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Debug::fmt(&self.0, f) }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> { Self::new(s) }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.serialize_str(&self.0) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                crate::text::parsed(d, "a name")
            }
        }
    };
}

checked_text!(
    /// What happened: `task.submitted`, `app.deploy.done`. The part before the first dot is the
    /// family.
    Kind, is_kind, IdError::Kind
);
checked_text!(
    /// A checked name of anything: a task, a node, an idempotency key.
    Id, is_id, IdError::Id
);
checked_text!(
    /// `kind/id`: what an event is about (its subject) or who caused it (its actor).
    Entity, is_entity, IdError::Entity
);

impl Kind {
    /// The part before the first dot, which names the family.
    pub fn family(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

impl Entity {
    /// Builds `kind/id` from its two checked parts.
    ///
    /// # Errors
    /// [`IdError::Entity`] if either part does not follow its rule.
    pub fn of(kind: &str, id: &str) -> Result<Self, IdError> {
        Self::new(format!("{kind}/{id}"))
    }

    /// The part before the slash.
    pub fn kind(&self) -> &str {
        self.0.split_once('/').map_or("", |(k, _)| k)
    }

    /// The part after the slash.
    pub fn id(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, i)| i)
    }
}

/// The subject of a task's events.
pub fn task_subject(id: &Id) -> Entity {
    Entity(format!("task/{id}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_their_rules() {
        for good in ["a", "7", "Task-1.x_y", &"a".repeat(128)] {
            assert!(Id::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".a",
            "-a",
            "_a",
            "a/b",
            "a b",
            "ä",
            "a\0",
            &"a".repeat(129),
        ] {
            assert_eq!(Id::new(bad), Err(IdError::Id), "{bad}");
        }
        for bad in ["", "A", "a-b", "a/b", &"a".repeat(65)] {
            assert_eq!(Kind::new(bad), Err(IdError::Kind), "{bad}");
        }
        for bad in ["task", "task/", "/x", "task/.x", "Task/x", "task/a/b"] {
            assert_eq!(Entity::new(bad), Err(IdError::Entity), "{bad}");
        }
        let entity = Entity::new("task/build-7").unwrap();
        assert_eq!((entity.kind(), entity.id()), ("task", "build-7"));
    }

    #[test]
    fn every_byte_is_taken_or_refused_as_the_rule_says() {
        for c in ('\0'..='ÿ').chain(['Ā', '／']) {
            for before in ["a", "0123456789abcdefg"] {
                let name = format!("{before}{c}{before}");
                let kind = matches!(c, 'a'..='z' | '0'..='9' | '_' | '.');
                let id = c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                assert_eq!((is_kind(&name), is_id(&name)), (kind, id), "{name:?}");
            }
        }
    }

    #[test]
    fn deserializing_checks_too() {
        assert!(serde_json::from_str::<Id>("\"../etc\"").is_err());
        assert!(serde_json::from_str::<Id>("\"ok\"").is_ok());
    }
}
