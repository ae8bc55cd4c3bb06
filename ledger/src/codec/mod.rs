//! Event encoding v1: the exact bytes of an event, which the chain hashes as stored.
//!
//! ```text
//!  0  u8    encoding, 1                 44  u8 length + kind
//!  1  u8    which optional fields       ..  u8 length + subject
//!  2  u16   version of the payload      ..  u8 length + actor
//!  4  u64   seq                         ..  optional fields, in the order of their flag bits
//! 12  u64   term                        ..  payload: all the rest, one minified JSON object
//! 20  u64   recorded_at, microseconds
//! 28  [16]  event id
//! ```
//!
//! All integers are little endian. There is one encoding for an event and one event for an
//! encoding: no padding, no field that may be written two ways. An encoded event is at most
//! [`MAX_EVENT`] bytes (the limit of C2SP tlog-tiles entries).

mod json;

pub use json::{JsonError, MAX_DEPTH, minify_object};

use uuid::Uuid;

use crate::envelope::{Draft, EventRef, Header, Origin, TraceParent, is_traceparent};
use crate::ids::{Entity, EventId, Id, Kind, Seq, Term, is_entity, is_id, is_kind};
use crate::time::Timestamp;

/// The encoding that this code writes.
pub const ENCODING: u8 = 1;
/// Longest encoded event, header and payload together, in bytes.
pub const MAX_EVENT: usize = 65_535;
/// Bytes of the fixed part in front of the first text.
pub const FIXED: usize = 44;

const HAS_CLAIMED_ACTOR: u8 = 1;
const HAS_CAUSE: u8 = 1 << 1;
const HAS_CORRELATION: u8 = 1 << 2;
const HAS_TRACEPARENT: u8 = 1 << 3;
const HAS_IDEMPOTENCY_KEY: u8 = 1 << 4;
const KNOWN_FLAGS: u8 = (1 << 5) - 1;

/// Why an event cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Header and payload together are over the limit.
    #[error("the event is {0} bytes long; at most {MAX_EVENT} fit, header included")]
    TooLarge(usize),
}

/// Why bytes are not an event. `at` is the offset of the fault within the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at} of the event")]
pub struct DecodeError {
    /// Offset of the fault in the encoded event.
    pub at: usize,
    /// What is wrong there.
    pub what: DecodeFault,
}

/// What is wrong with the bytes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFault {
    /// Encoding byte is not one that this code knows.
    #[error("unknown event encoding {0}")]
    Encoding(u8),
    /// Bits that no field belongs to.
    #[error("unknown header flags {0:#04x}")]
    Flags(u8),
    /// The bytes end inside a field.
    #[error("the event ends inside its header")]
    Short,
    /// More bytes than an event may have.
    #[error("the event is longer than {MAX_EVENT} bytes")]
    Long,
    /// Not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A name that breaks its rule.
    #[error("malformed {0}")]
    Name(&'static str),
    /// A time after [`Timestamp::MAX`].
    #[error("the time is after the year 9999")]
    Time,
    /// The payload does not look like an object.
    #[error("the payload is not a JSON object")]
    Payload,
}

/// Writes the one encoding of an event behind what `out` already holds; returns its length.
///
/// # Errors
/// [`EncodeError::TooLarge`]; `out` is then as it was.
pub fn encode(
    draft: &Draft,
    seq: Seq,
    term: Term,
    recorded_at: Timestamp,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    let start = out.len();
    let origin = &draft.origin;
    let mut flags = 0;
    for (bit, present) in [
        (HAS_CLAIMED_ACTOR, origin.claimed_actor.is_some()),
        (HAS_CAUSE, origin.cause.is_some()),
        (HAS_CORRELATION, origin.correlation.is_some()),
        (HAS_TRACEPARENT, origin.traceparent.is_some()),
        (HAS_IDEMPOTENCY_KEY, draft.idempotency_key.is_some()),
    ] {
        if present {
            flags |= bit;
        }
    }
    out.extend_from_slice(&[ENCODING, flags]);
    out.extend_from_slice(&draft.version.to_le_bytes());
    out.extend_from_slice(&seq.0.to_le_bytes());
    out.extend_from_slice(&term.0.to_le_bytes());
    out.extend_from_slice(&recorded_at.0.to_le_bytes());
    out.extend_from_slice(draft.event_id.0.as_bytes());
    put_text(out, &draft.kind);
    put_text(out, &draft.subject);
    put_text(out, &origin.actor);
    if let Some(claimed) = &origin.claimed_actor {
        put_text(out, claimed);
    }
    if let Some(cause) = origin.cause {
        out.extend_from_slice(&cause.0.to_le_bytes());
    }
    if let Some(correlation) = &origin.correlation {
        put_text(out, correlation);
    }
    if let Some(traceparent) = &origin.traceparent {
        put_text(out, traceparent.as_str());
    }
    if let Some(key) = &draft.idempotency_key {
        put_text(out, key);
    }
    out.extend_from_slice(draft.data.as_bytes());
    let len = out.len() - start;
    if len > MAX_EVENT {
        out.truncate(start);
        return Err(EncodeError::TooLarge(len));
    }
    Ok(len)
}

/// Bytes of an encoded event in front of its payload.
pub fn header_len(kind: &Kind, subject: &Entity, origin: &Origin, key: Option<&Id>) -> usize {
    let text = |text: &str| 1 + text.len();
    let optional = |text: Option<&str>| text.map_or(0, |text| 1 + text.len());
    FIXED
        + text(kind)
        + text(subject)
        + text(&origin.actor)
        + optional(origin.claimed_actor.as_deref())
        + origin.cause.map_or(0, |_| 8)
        + optional(origin.correlation.as_deref())
        + optional(origin.traceparent.as_ref().map(TraceParent::as_str))
        + optional(key.map(|key| &**key))
}

/// Kinds, ids and entities are at most 193 bytes long by their types, so one length byte does.
fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= usize::from(u8::MAX));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "names are shorter than 256 bytes by type"
    )]
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// Reads an event from exactly its bytes, borrowing all of it. The payload is checked to be UTF-8
/// between braces and not parsed: whoever wants it decodes it by kind.
///
/// # Errors
/// [`DecodeError`] with the offset and the fault.
pub fn decode(bytes: &[u8]) -> Result<EventRef<'_>, DecodeError> {
    let mut cursor = Cursor { bytes, at: 0 };
    if bytes.len() > MAX_EVENT {
        return Err(DecodeError {
            at: MAX_EVENT,
            what: DecodeFault::Long,
        });
    }
    let [encoding, flags] = cursor.take::<2>()?;
    if encoding != ENCODING {
        return Err(DecodeError {
            at: 0,
            what: DecodeFault::Encoding(encoding),
        });
    }
    if flags & !KNOWN_FLAGS != 0 {
        return Err(DecodeError {
            at: 1,
            what: DecodeFault::Flags(flags),
        });
    }
    let version = u16::from_le_bytes(cursor.take()?);
    let seq = Seq(cursor.u64()?);
    let term = Term(cursor.u64()?);
    let recorded_at = Timestamp(cursor.u64()?);
    if recorded_at > Timestamp::MAX {
        return Err(DecodeError {
            at: 20,
            what: DecodeFault::Time,
        });
    }
    let event_id = EventId(Uuid::from_bytes(cursor.take()?));
    let header = Header {
        seq,
        term,
        recorded_at,
        event_id,
        version,
        kind: cursor.name("kind", is_kind)?,
        subject: cursor.name("subject", is_entity)?,
        actor: cursor.name("actor", is_entity)?,
        claimed_actor: cursor.name_if(flags & HAS_CLAIMED_ACTOR, "claimed actor", is_entity)?,
        cause: if flags & HAS_CAUSE == 0 {
            None
        } else {
            Some(Seq(cursor.u64()?))
        },
        correlation: cursor.name_if(flags & HAS_CORRELATION, "correlation", is_id)?,
        traceparent: cursor.name_if(flags & HAS_TRACEPARENT, "traceparent", is_traceparent)?,
        idempotency_key: cursor.name_if(flags & HAS_IDEMPOTENCY_KEY, "idempotency key", is_id)?,
    };
    let data = cursor.rest()?;
    Ok(EventRef { header, data })
}

/// The position of an encoded event without decoding the rest; `None` if it is too short.
pub fn peek_seq(bytes: &[u8]) -> Option<Seq> {
    bytes
        .get(4..12)?
        .try_into()
        .ok()
        .map(|b| Seq(u64::from_le_bytes(b)))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn fault(&self, what: DecodeFault) -> DecodeError {
        DecodeError { at: self.at, what }
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let slice = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.get(..len))
            .ok_or(self.fault(DecodeFault::Short))?;
        self.at += len;
        Ok(slice)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let slice = self.slice(N)?;
        Ok(slice.try_into().expect("slice() returned N bytes"))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn name(&mut self, what: &'static str, rule: fn(&str) -> bool) -> Result<&'a str, DecodeError> {
        let [len] = self.take()?;
        let at = self.at;
        let slice = self.slice(usize::from(len))?;
        let text = std::str::from_utf8(slice).map_err(|_| DecodeError {
            at,
            what: DecodeFault::Utf8,
        })?;
        if !rule(text) {
            return Err(DecodeError {
                at,
                what: DecodeFault::Name(what),
            });
        }
        Ok(text)
    }

    fn name_if(
        &mut self,
        flag: u8,
        what: &'static str,
        rule: fn(&str) -> bool,
    ) -> Result<Option<&'a str>, DecodeError> {
        if flag == 0 {
            Ok(None)
        } else {
            self.name(what, rule).map(Some)
        }
    }

    fn rest(&mut self) -> Result<&'a str, DecodeError> {
        let slice = &self.bytes[self.at..];
        if slice.len() < 2 || slice[0] != b'{' || slice[slice.len() - 1] != b'}' {
            return Err(self.fault(DecodeFault::Payload));
        }
        std::str::from_utf8(slice).map_err(|e| DecodeError {
            at: self.at + e.valid_up_to(),
            what: DecodeFault::Utf8,
        })
    }
}

#[cfg(test)]
mod tests;
