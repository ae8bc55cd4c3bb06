//! An event from its JSON form, as an importer would read it: independent of how it was written.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod doc;
pub(crate) mod heads;
pub(crate) mod tree;

use std::path::{Path, PathBuf};

use ledger_core::codec::encode;
use ledger_core::envelope::{Draft, EventRef, Origin, TraceParent};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, EventId, Id, Kind, Seq, Term};
use ledger_core::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JsonEvent {
    pub(crate) seq: Seq,
    pub(crate) term: Term,
    pub(crate) recorded_at: Timestamp,
    pub(crate) event_id: EventId,
    pub(crate) kind: Kind,
    pub(crate) version: u16,
    pub(crate) subject: Entity,
    pub(crate) actor: Entity,
    pub(crate) claimed_actor: Option<Entity>,
    pub(crate) cause: Option<Seq>,
    pub(crate) correlation: Option<Id>,
    pub(crate) traceparent: Option<String>,
    pub(crate) idempotency_key: Option<Id>,
    pub(crate) data: Box<RawValue>,
    pub(crate) prev_hash: Hash,
    pub(crate) hash: Hash,
}

impl JsonEvent {
    /// The event's bytes, encoded anew.
    pub(crate) fn encode(self) -> Vec<u8> {
        let traceparent = self.traceparent.map(|t| TraceParent::new(&t).unwrap());
        let draft = Draft {
            event_id: self.event_id,
            kind: self.kind,
            version: self.version,
            subject: self.subject,
            origin: Origin {
                actor: self.actor,
                claimed_actor: self.claimed_actor,
                cause: self.cause,
                correlation: self.correlation,
                traceparent,
            },
            idempotency_key: self.idempotency_key,
            data: self.data.get().to_owned(),
        };
        let mut out = Vec::new();
        encode(&draft, self.seq, self.term, self.recorded_at, &mut out).unwrap();
        out
    }
}

/// The event's bytes, encoded anew from what was decoded.
pub(crate) fn encode_again(event: &EventRef<'_>) -> Vec<u8> {
    let h = &event.header;
    let draft = Draft {
        event_id: h.event_id,
        kind: Kind::new(h.kind).unwrap(),
        version: h.version,
        subject: Entity::new(h.subject).unwrap(),
        origin: Origin {
            actor: Entity::new(h.actor).unwrap(),
            claimed_actor: h.claimed_actor.map(|a| Entity::new(a).unwrap()),
            cause: h.cause,
            correlation: h.correlation.map(|c| Id::new(c).unwrap()),
            traceparent: h.traceparent.map(|t| TraceParent::new(t).unwrap()),
        },
        idempotency_key: h.idempotency_key.map(|k| Id::new(k).unwrap()),
        data: event.data.to_owned(),
    };
    let mut out = Vec::new();
    encode(&draft, h.seq, h.term, h.recorded_at, &mut out).unwrap();
    out
}

/// A path from the top of the repository.
pub(crate) fn repo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
