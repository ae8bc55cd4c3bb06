//! What a task runs, as small as it was recorded: its types would take several allocations, and most
//! tasks are only looked at when they are started.

use ledger_core::event::Payload;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A payload as minified JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed(Box<str>);

impl Packed {
    pub(super) fn new(payload: &Payload) -> Self {
        let json = serde_json::to_string(payload);
        Self(
            json.expect("payloads hold only strings and maps of them")
                .into(),
        )
    }

    /// What is known to have been made of a payload.
    pub(super) fn known(json: &str) -> Self {
        Self(json.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn unpack(&self) -> Payload {
        serde_json::from_str(&self.0).expect("it was made of a payload")
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Payload::deserialize(d).map(|payload| Self::new(&payload))
    }
}

#[cfg(test)]
mod tests {
    use ledger_core::event::{Builtin, BuiltinJob};

    use super::*;

    #[test]
    fn what_the_node_does_itself_comes_out_as_it_went_in_and_so_from_a_row() {
        for job in BuiltinJob::ALL {
            let payload = Payload::Builtin(Builtin { job });
            let packed = Packed::new(&payload);
            assert_eq!(packed.unpack(), payload);
            let row = serde_json::to_string(&packed).unwrap();
            assert_eq!(row, serde_json::to_string(&payload).unwrap());
            assert_eq!(serde_json::from_str::<Packed>(&row).unwrap(), packed);
        }
    }
}
