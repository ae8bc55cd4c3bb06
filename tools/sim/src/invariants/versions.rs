//! What was appended on the strength of a version came right after it.
//!
//! Why: it is how two clients keep out of each other's way; an answer that is wrong once makes it
//! useless.

use std::collections::BTreeMap;

use ledger_core::envelope::Header;
use ledger_core::ids::Seq;
use opsledger::node::command::AppEvent;
use projections::subjects::Version;

use super::{Checked, holds};

const NAME: &str = "appends follow the version that they expect";

/// Events of applications, and what clients were told of theirs.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    told: BTreeMap<String, Vec<Seq>>,
    appended: Vec<(Seq, Vec<AppEvent>)>,
}

impl Versions {
    /// The next event of the history.
    pub(crate) fn event(&mut self, header: &Header<'_>) {
        if header.kind.starts_with("app.") {
            let of = self.told.entry(header.subject.to_owned()).or_default();
            of.push(header.seq);
        }
    }

    /// A client was told that its events are recorded, the last of them here.
    pub(crate) fn recorded(&mut self, last: Seq, events: Vec<AppEvent>) {
        self.appended.push((last, events));
    }

    /// The end of a run.
    pub(crate) fn check(&self) -> Checked {
        for (last, events) in &self.appended {
            let first = Seq((last.0 + 1).saturating_sub(events.len() as u64));
            for event in events {
                let told = self.told.get(event.subject.as_str());
                let before = told.and_then(|told| told.iter().rfind(|seq| **seq < first));
                let version = before.map_or(Version::New, |seq| Version::At(*seq));
                let expected = event.expected;
                holds(
                    NAME,
                    expected.is_none_or(|expected| expected == version),
                    || {
                        format!(
                            "{} at seq {first} expected {expected:?}, found {version}",
                            event.subject
                        )
                    },
                )?;
            }
        }
        Ok(())
    }
}
