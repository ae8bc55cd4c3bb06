//! The envelope: what every event carries, whatever its payload says.
//!
//! Two forms. A [`Draft`] is what a decision makes: everything but the position. An [`EventRef`]
//! borrows a stored event's exact bytes; nothing is allocated to look at one. The envelope knows
//! nothing of the payload beyond its kind and version (the idea of Restate's write-ahead log).

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::hash::Hash;
use crate::ids::{Entity, EventId, Id, Kind, Seq, Term};
use crate::time::Timestamp;

/// Who and what an event belongs to: the part of the envelope that a command brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Who it provably was: set by the node from the socket's peer, never by the client.
    pub actor: Entity,
    /// Who the client said it was.
    pub claimed_actor: Option<Entity>,
    /// The event that led to this one.
    pub cause: Option<Seq>,
    /// Ties together everything that one request led to.
    pub correlation: Option<Id>,
    /// W3C trace context, `00-…-…-…`, 55 characters.
    pub traceparent: Option<TraceParent>,
}

impl Origin {
    /// An origin with an actor and nothing else.
    pub fn of(actor: Entity) -> Self {
        Self {
            actor,
            claimed_actor: None,
            cause: None,
            correlation: None,
            traceparent: None,
        }
    }

    /// The same origin, caused by the event at `seq`.
    #[must_use]
    pub fn caused_by(mut self, seq: Seq) -> Self {
        self.cause = Some(seq);
        self
    }
}

/// A W3C `traceparent` of version 00.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent(Box<str>);

impl TraceParent {
    /// Checks and takes a header value; `None` if it is not a version 00 traceparent.
    pub fn new(s: &str) -> Option<Self> {
        is_traceparent(s).then(|| Self(s.into()))
    }

    /// The header value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text is a version 00 `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`, lower case.
pub fn is_traceparent(s: &str) -> bool {
    s.len() == 55
        && s.bytes().enumerate().all(|(i, b)| match i {
            0 | 1 => b == b'0',
            2 | 35 | 52 => b == b'-',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// An event before it has a position: what `decide` returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Made by whoever decides, from time and drawn randomness.
    pub event_id: EventId,
    /// What happened.
    pub kind: Kind,
    /// Version of the kind's payload.
    pub version: u16,
    /// What it is about.
    pub subject: Entity,
    /// Who caused it and why.
    pub origin: Origin,
    /// A second append with the same key returns the first's receipt.
    pub idempotency_key: Option<Id>,
    /// The payload: a minified JSON object.
    pub data: String,
}

/// The envelope of a stored event, borrowed from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Position.
    pub seq: Seq,
    /// Lease term of the writer.
    pub term: Term,
    /// When it was recorded; never before the event in front of it.
    pub recorded_at: Timestamp,
    /// Its id.
    pub event_id: EventId,
    /// What happened.
    pub kind: &'a str,
    /// Version of the kind's payload.
    pub version: u16,
    /// What it is about, `kind/id`.
    pub subject: &'a str,
    /// Who provably caused it, `kind/id`.
    pub actor: &'a str,
    /// Who the client said it was.
    pub claimed_actor: Option<&'a str>,
    /// The event that led to it.
    pub cause: Option<Seq>,
    /// Ties together what one request led to.
    pub correlation: Option<&'a str>,
    /// W3C trace context.
    pub traceparent: Option<&'a str>,
    /// The append's idempotency key.
    pub idempotency_key: Option<&'a str>,
}

impl<'a> Header<'a> {
    /// The id part of the subject.
    pub fn subject_id(&self) -> &'a str {
        self.subject.split_once('/').map_or("", |(_, id)| id)
    }

    /// The part of the kind before its first dot.
    pub fn family(&self) -> &'a str {
        self.kind.split('.').next().unwrap_or_default()
    }
}

/// A stored event: its envelope and its payload, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRef<'a> {
    /// The envelope.
    pub header: Header<'a>,
    /// The payload exactly as stored: one JSON object.
    pub data: &'a str,
}

/// A stored event with its place in the chain: what people and exports see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainedEvent<'a> {
    /// The event.
    pub event: EventRef<'a>,
    /// Hash of the event before it.
    pub prev_hash: Hash,
    /// Its own hash.
    pub hash: Hash,
}

impl Serialize for ChainedEvent<'_> {
    /// The one JSON form of an event: every field in the order of the encoding, absent ones left
    /// out, the payload's exact bytes under `data`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let h = &self.event.header;
        let mut m = serializer.serialize_map(None)?;
        m.serialize_entry("seq", &h.seq)?;
        m.serialize_entry("term", &h.term)?;
        m.serialize_entry("recorded_at", &h.recorded_at)?;
        m.serialize_entry("event_id", &h.event_id)?;
        m.serialize_entry("kind", h.kind)?;
        m.serialize_entry("version", &h.version)?;
        m.serialize_entry("subject", h.subject)?;
        m.serialize_entry("actor", h.actor)?;
        if let Some(claimed) = h.claimed_actor {
            m.serialize_entry("claimed_actor", claimed)?;
        }
        if let Some(cause) = h.cause {
            m.serialize_entry("cause", &cause)?;
        }
        for (name, value) in [
            ("correlation", h.correlation),
            ("traceparent", h.traceparent),
            ("idempotency_key", h.idempotency_key),
        ] {
            if let Some(value) = value {
                m.serialize_entry(name, value)?;
            }
        }
        let raw: &RawValue =
            serde_json::from_str(self.event.data).map_err(serde::ser::Error::custom)?;
        m.serialize_entry("data", raw)?;
        m.serialize_entry("prev_hash", &self.prev_hash)?;
        m.serialize_entry("hash", &self.hash)?;
        m.end()
    }
}
