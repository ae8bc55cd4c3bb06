//! What can be said where no node leads: the lock, the lease's record and whether its process lives, the
//! last term by the log, and the nodes that listen nonetheless.

use std::path::Path;
use std::time::{Duration, Instant};

use ledger_core::event::{Event, LeaseEvent, ReleaseReason};
use ledger_core::ids::{Id, Seq, Term};
use ledger_core::store::LogReader;
use ledger_core::store::durable::OfflineReader;
use ledger_core::time::Timestamp;
use serde::Serialize;

use super::standbys;
use crate::api::wire::Neighbor;
use crate::audit::filter::{Filter, SeqRange};
use crate::cli::error::Failure;
use crate::cli::output::Out;
use crate::cli::output::escape::escape;
use crate::cli::source::scan::scan_back;
use crate::client::nodes::Surveyed;
use crate::lease::file;
use crate::lease::lock::DirLock;
use crate::node::holder::{self, Named, Process};

/// How long a beat is waited for.
const LONGEST: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// A ledger that nobody leads.
#[derive(Debug, Serialize)]
pub(crate) struct Leaderless {
    /// Nobody.
    holder: Option<Id>,
    /// Whether some process has the data directory locked; absent if that can't be told.
    locked: Option<bool>,
    /// Who says in the lease's record that it holds the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Named>,
    /// Whether that one goes on beating: then it leads, and it is only not reached.
    beats: bool,
    /// Why there is no record to be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_fault: Option<String>,
    /// The last term; absent while the files can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<LastTerm>,
    /// The nodes that listen.
    nodes: Vec<Neighbor>,
}

/// The last term by the log.
#[derive(Debug, Serialize)]
struct LastTerm {
    holder: Id,
    term: Term,
    acquired: Seq,
    acquired_at: Timestamp,
    /// Why it was given back; absent if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    released: Option<ReleaseReason>,
}

impl Leaderless {
    /// Looks at everything but the nodes, which were looked at.
    pub(crate) fn of(data_dir: &Path, nodes: Vec<Surveyed>) -> Self {
        let (record, record_fault) = match holder::look(data_dir) {
            Ok(named) => (Some(named), None),
            Err(fault) => (None, Some(fault.to_string())),
        };
        let locked = DirLock::is_held(data_dir).ok();
        let beats = record.as_ref().is_some_and(|named| {
            let answers = nodes.iter().any(|node| node.name == named.holder);
            let may = locked == Some(true) && named.process == Process::Lives && !answers;
            may && goes_on(
                data_dir,
                Duration::from_millis(named.ttl.0 / 2).min(LONGEST),
            )
        });
        Self {
            holder: None,
            locked,
            beats,
            record,
            record_fault,
            // Whatever keeps the files from being read, this is not the command that says it.
            last: last_term(data_dir).ok().flatten(),
            nodes: nodes.into_iter().map(neighbor).collect(),
        }
    }

    /// For people.
    pub(crate) fn lines(&self, out: &Out) -> Vec<String> {
        let field = |name: &str, value: &str| {
            format!("{} {value}", out.paint.strong(&format!("{name:<8}")))
        };
        let leader = match &self.record {
            Some(named) if self.beats => format!("{} leads, and can't be reached", named.holder),
            Some(_) | None => "nobody leads".to_owned(),
        };
        let mut lines = vec![
            field("leader", &out.paint.bad(&leader)),
            field("lock", &self.lock()),
        ];
        lines.extend(self.last.as_ref().map(|last| {
            let how = match last.released {
                Some(reason) => format!("given back ({})", word(reason)),
                None => "not given back".to_owned(),
            };
            let since = out.times.full(last.acquired_at);
            let text = format!(
                "term {} of {}, since {since}, {how}",
                last.term, last.holder
            );
            field("last", &text)
        }));
        if self.nodes.is_empty() {
            lines.push(field("nodes", &out.paint.warn(self.unheard())));
        } else {
            lines.push(String::new());
            lines.extend(standbys::table(out, &self.nodes));
        }
        lines
    }

    /// What to do where no node listens.
    fn unheard(&self) -> &'static str {
        let lives = self.record.as_ref().map(|named| named.process) == Some(Process::Lives);
        match self.locked {
            Some(true) if self.beats => {
                "none listens: the socket is gone from run/; the log of that node says why"
            }
            Some(true) if lives => "none listens yet; if that lasts, the log of that node says why",
            _ => "none; start one with `ledger up`",
        }
    }

    fn lock(&self) -> String {
        let named = self.record.as_ref();
        match (self.locked, named) {
            (Some(false), _) if self.nodes.is_empty() => {
                "free: a node that starts now leads".to_owned()
            }
            (Some(false), _) => "free: a node that stands by is about to take it".to_owned(),
            (None, _) => "can't be looked at".to_owned(),
            (Some(true), Some(named)) => {
                let process = format!("process {} of node {}", named.pid, named.holder);
                match named.process {
                    Process::Lives if self.beats => format!("held by {process}, which works"),
                    Process::Lives => {
                        format!("held by {process}, which is starting, stopping or hangs")
                    }
                    Process::Stopped => format!("held by {process}, which was stopped by a signal"),
                    Process::Gone => format!("held by somebody unknown: {process} has gone"),
                    Process::Unknown => format!("held, by {process} as its record says"),
                }
            }
            (Some(true), None) => {
                let why = self.record_fault.as_deref().unwrap_or_default();
                format!("held by somebody unknown: {}", escape(why))
            }
        }
    }
}

/// Whether the holder beats, as can be told within this time: then it works, whoever can't reach it.
fn goes_on(data_dir: &Path, patience: Duration) -> bool {
    let begun = Instant::now();
    let Ok((_, first)) = file::read(data_dir) else {
        return false;
    };
    while begun.elapsed() < patience {
        std::thread::sleep(PAUSE);
        if file::read(data_dir).is_ok_and(|(_, beat)| beat != first) {
            return true;
        }
    }
    false
}

const fn word(reason: ReleaseReason) -> &'static str {
    match reason {
        ReleaseReason::Shutdown => "it was stopped",
        ReleaseReason::DiskFull => "the disk was full",
        ReleaseReason::StepDown => "it stepped down",
    }
}

fn neighbor(node: Surveyed) -> Neighbor {
    let (standing, error) = match node.answer {
        Ok((_, standing)) => (Some(standing), None),
        Err(error) => (None, Some(error)),
    };
    Neighbor {
        node: node.name,
        standing,
        behind: None,
        error,
    }
}

/// The last term that the log knows, if its files can be read: nobody has them open.
fn last_term(data_dir: &Path) -> Result<Option<LastTerm>, Failure> {
    let reader = OfflineReader::open(data_dir)?;
    let range = SeqRange {
        first: Seq::FIRST,
        last: reader.head()?.seq,
    };
    let filter: Filter = "lease.*".parse()?;
    let (mut released, mut found) = (None, None);
    scan_back(&reader, range, &filter, &mut |event| {
        match Event::decode(&event.event) {
            Ok(Event::Lease(LeaseEvent::Released(e))) => released = Some(e.reason),
            Ok(Event::Lease(LeaseEvent::Acquired(e))) => {
                let header = &event.event.header;
                found = Some(LastTerm {
                    holder: e.holder,
                    term: header.term,
                    acquired: header.seq,
                    acquired_at: header.recorded_at,
                    released,
                });
                return Ok(std::ops::ControlFlow::Break(()));
            }
            Ok(_) | Err(_) => {}
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    Ok(found)
}
