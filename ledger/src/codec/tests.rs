//! The codec against itself: one encoding for an event, one event for an encoding.

use proptest::prelude::*;

use super::*;
use crate::envelope::{Origin, TraceParent};
use crate::ids::{Entity, Id, Kind};

fn entity() -> impl Strategy<Value = Entity> {
    "[a-z0-9_.]{1,64}/[A-Za-z0-9][A-Za-z0-9._-]{0,127}".prop_map(|s| Entity::new(s).unwrap())
}

fn id() -> impl Strategy<Value = Id> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,127}".prop_map(|s| Id::new(s).unwrap())
}

fn draft() -> impl Strategy<Value = Draft> {
    let origin = (
        entity(),
        proptest::option::of(entity()),
        proptest::option::of(any::<u64>().prop_map(Seq)),
        proptest::option::of(id()),
        proptest::option::of(
            "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}".prop_map(|s| TraceParent::new(&s).unwrap()),
        ),
    )
        .prop_map(
            |(actor, claimed_actor, cause, correlation, traceparent)| Origin {
                actor,
                claimed_actor,
                cause,
                correlation,
                traceparent,
            },
        );
    (
        any::<u128>(),
        "[a-z0-9_.]{1,64}",
        any::<u16>(),
        entity(),
        origin,
        proptest::option::of(id()),
        "[^\"\\\\\u{0}-\u{1f}]{0,300}",
    )
        .prop_map(
            |(event_id, kind, version, subject, origin, idempotency_key, text)| Draft {
                event_id: EventId(Uuid::from_u128(event_id)),
                kind: Kind::new(kind).unwrap(),
                version,
                subject,
                origin,
                idempotency_key,
                data: format!("{{\"t\":\"{text}\"}}"),
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(d in draft(), seq in any::<u64>(), term in any::<u64>(), at in 0..=Timestamp::MAX.0) {
        let mut bytes = Vec::new();
        let len = encode(&d, Seq(seq), Term(term), Timestamp(at), &mut bytes).unwrap();
        prop_assert_eq!(len, bytes.len());
        let read = decode(&bytes).unwrap();
        let h = read.header;
        prop_assert_eq!((h.seq, h.term, h.recorded_at), (Seq(seq), Term(term), Timestamp(at)));
        prop_assert_eq!((h.event_id, h.kind, h.version), (d.event_id, d.kind.as_str(), d.version));
        prop_assert_eq!((h.subject, h.actor), (d.subject.as_str(), d.origin.actor.as_str()));
        prop_assert_eq!(h.claimed_actor, d.origin.claimed_actor.as_deref());
        prop_assert_eq!(h.cause, d.origin.cause);
        prop_assert_eq!(h.correlation, d.origin.correlation.as_deref());
        prop_assert_eq!(h.traceparent, d.origin.traceparent.as_ref().map(TraceParent::as_str));
        prop_assert_eq!(h.idempotency_key, d.idempotency_key.as_deref());
        prop_assert_eq!(read.data, d.data.as_str());
        prop_assert_eq!(peek_seq(&bytes), Some(Seq(seq)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn a_damaged_event_never_panics(d in draft(), at: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index) {
        let mut bytes = Vec::new();
        encode(&d, Seq(1), Term(1), Timestamp(1), &mut bytes).unwrap();
        let len = cut.index(bytes.len());
        // Cut behind a brace inside the payload, the rest looks like a payload; the frame around
        // an event and its hash find that.
        let at_a_brace = bytes[..len].last() == Some(&b'}');
        prop_assert!(at_a_brace || decode(&bytes[..len]).is_err());
        let i = at.index(bytes.len());
        bytes[i] ^= 1 << bit;
        let _ = decode(&bytes);
    }
}

#[test]
fn the_limit_is_exact() {
    let mut d = Draft {
        event_id: EventId(Uuid::nil()),
        kind: Kind::new("app.x").unwrap(),
        version: 1,
        subject: Entity::new("app/x").unwrap(),
        origin: Origin::of(Entity::new("system/test").unwrap()),
        idempotency_key: None,
        data: "{}".into(),
    };
    let mut out = vec![7];
    let header = encode(&d, Seq(1), Term(1), Timestamp(1), &mut out).unwrap() - 2;
    assert_eq!(header_len(&d.kind, &d.subject, &d.origin, None), header);
    let whole = Origin {
        claimed_actor: Some(Entity::new("agent/ada").unwrap()),
        cause: Some(Seq(1)),
        correlation: Some(Id::new("tied").unwrap()),
        traceparent: TraceParent::new(&format!("00-{:032}-{:016}-00", 1, 1)),
        ..d.origin.clone()
    };
    let mut full = Draft {
        origin: whole,
        idempotency_key: Some(Id::new("key").unwrap()),
        ..d.clone()
    };
    let len = header_len(
        &d.kind,
        &d.subject,
        &full.origin,
        full.idempotency_key.as_ref(),
    );
    full.data = "{}".into();
    let encoded = encode(&full, Seq(1), Term(1), Timestamp(1), &mut Vec::new());
    assert_eq!(encoded, Ok(len + 2));
    d.data = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_EVENT - header - 8));
    out.truncate(1);
    assert_eq!(
        encode(&d, Seq(1), Term(1), Timestamp(1), &mut out),
        Ok(MAX_EVENT)
    );
    assert!(decode(&out[1..]).is_ok());
    d.data.insert(2, 'b');
    out.truncate(1);
    assert_eq!(
        encode(&d, Seq(1), Term(1), Timestamp(1), &mut out),
        Err(EncodeError::TooLarge(MAX_EVENT + 1))
    );
    assert_eq!(out, [7], "a refused event leaves nothing behind");
}
