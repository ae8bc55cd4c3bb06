//! Decision state: all that the core folds in order to decide, as one projection, so that a node
//! that comes up folds the log once for all of it.

use ledger_core::envelope::Header;
use ledger_core::event::{Event, PartDigest};
use ledger_core::ids::Seq;
use projections::framework::{
    ApplyError, Projection, RestoreError, digest, pack_rows, unpack_rows,
};
use projections::idempotency::Idempotency;
use projections::jobs::Jobs;
use projections::leases::Leases;
use projections::processes::Processes;
use projections::standing::Standing;
use projections::subjects::Subjects;
use projections::tasks::Tasks;
use serde::{Deserialize, Serialize};

/// Everything the core decides by.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// Tasks and queues.
    pub tasks: Tasks,
    /// Recurring jobs.
    pub jobs: Jobs,
    /// Who leads.
    pub leases: Leases,
    /// What is watched.
    pub processes: Processes,
    /// Idempotency keys.
    pub keys: Idempotency,
    /// Versions of what applications record events about.
    pub subjects: Subjects,
    /// Whether work goes on.
    pub standing: Standing,
    /// The first event that this binary does not know: whoever decides over it decides blindly.
    unknown: Option<Unknown>,
}

/// An event of a kind or payload version that this binary does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Unknown {
    seq: Seq,
    kind: String,
    version: u16,
}

impl Decision {
    /// Position, kind and payload version of the first event that this binary does not know.
    pub fn unknown(&self) -> Option<(Seq, &str, u16)> {
        self.unknown
            .as_ref()
            .map(|u| (u.seq, u.kind.as_str(), u.version))
    }
}

/// Calls a macro with each part and its type, in the order in which they are packed.
macro_rules! each_part {
    ($call:ident) => {
        $call!(jobs: Jobs, keys: Idempotency, leases: Leases, processes: Processes,
            standing: Standing, subjects: Subjects);
    };
}

fn digest_of<P: Projection>(part: &P) -> PartDigest {
    PartDigest {
        name: P::NAME.to_owned(),
        version: P::VERSION,
        digest: digest(P::NAME, P::VERSION, |emit| part.rows(emit)),
    }
}

fn digest_while<P: Projection>(part: &P, go_on: &dyn Fn() -> bool) -> Option<PartDigest> {
    let mut all = go_on();
    let digest = digest(P::NAME, P::VERSION, |emit| {
        part.rows_while(&mut |key, value| {
            emit(key, value);
            all = all && go_on();
            all
        });
    });
    all.then(|| PartDigest {
        name: P::NAME.to_owned(),
        version: P::VERSION,
        digest,
    })
}

/// Takes a part's digest and its packed bytes.
pub type Take<'t, E> = dyn FnMut(PartDigest, &[u8]) -> Result<(), E> + 't;

/// A part's version and bytes by its name, as they were found.
type Found<'a> = dyn Fn(&str) -> Option<(u32, &'a [u8])> + 'a;

fn part<'a, P: Projection>(found: &Found<'a>) -> Result<&'a [u8], RestoreError> {
    let wrong = |reason: String| RestoreError::row(P::NAME, reason);
    match found(P::NAME) {
        None => Err(wrong("the part is missing".into())),
        Some((version, bytes)) if version == P::VERSION => Ok(bytes),
        Some((version, _)) => Err(wrong(format!(
            "the part has version {version}, this binary has version {}",
            P::VERSION
        ))),
    }
}

impl Decision {
    /// Hands out each part as packed bytes, one at a time, with its digest. State over events that this
    /// binary does not know is not to be packed: a later binary would take them for folded.
    ///
    /// # Errors
    /// The first error of `take`.
    pub fn pack<E>(&self, take: &mut Take<'_, E>) -> Result<(), E> {
        macro_rules! pack {
            ($($field:ident: $part:ty),+) => {
                $(take(digest_of(&self.$field), &pack_rows(&self.$field))?;)+
            };
        }
        each_part!(pack);
        take(digest_of(&self.tasks), &self.tasks.pack())
    }

    /// The state that [`Decision::pack`] handed out. The bytes must be known to be those.
    ///
    /// # Errors
    /// [`RestoreError`], also for parts of other versions.
    pub fn unpack(found: &Found<'_>) -> Result<Self, RestoreError> {
        let mut state = Self::default();
        macro_rules! unpack {
            ($($field:ident: $part:ty),+) => {
                $(state.$field = unpack_rows(part::<$part>(found)?)?;)+
            };
        }
        each_part!(unpack);
        state.tasks = Tasks::unpack(part::<Tasks>(found)?)?;
        Ok(state)
    }

    /// The digests of all parts, in the order in which they are packed.
    pub fn part_digests(&self) -> Vec<PartDigest> {
        let digests = self.part_digests_while(&|| true);
        digests.expect("nothing has stopped it")
    }

    /// [`Decision::part_digests`], if all of them are made before `go_on` says no. It is asked before each
    /// row: those of a million tasks take a while.
    pub fn part_digests_while(&self, go_on: &dyn Fn() -> bool) -> Option<Vec<PartDigest>> {
        let mut digests = Vec::new();
        macro_rules! add {
            ($($field:ident: $part:ty),+) => {
                $(digests.push(digest_while(&self.$field, go_on)?);)+
            };
        }
        each_part!(add);
        digests.push(digest_while(&self.tasks, go_on)?);
        Some(digests)
    }
}

impl Projection for Decision {
    const NAME: &'static str = "decision";
    const VERSION: u32 = Tasks::VERSION * 100_000_000
        + Processes::VERSION * 10_000_000
        + Leases::VERSION * 1_000_000
        + Idempotency::VERSION * 10_000
        + Subjects::VERSION * 100
        + Standing::VERSION * 10
        + Jobs::VERSION;

    fn wants(_kind: &str) -> bool {
        // Any event may carry an idempotency key, and time passes with each.
        true
    }

    fn apply(&mut self, header: &Header<'_>, event: &Event) -> Result<(), ApplyError> {
        if matches!(event, Event::Unknown) {
            self.unknown.get_or_insert_with(|| Unknown {
                seq: header.seq,
                kind: header.kind.to_owned(),
                version: header.version,
            });
            return self.keys.apply(header, event);
        }
        if Tasks::wants(header.kind) {
            self.tasks.apply(header, event)?;
        }
        if Jobs::wants(header.kind) {
            self.jobs.apply(header, event)?;
        }
        if Leases::wants(header.kind) {
            self.leases.apply(header, event)?;
        }
        if Processes::wants(header.kind) {
            self.processes.apply(header, event)?;
        }
        if Subjects::wants(header.kind) {
            self.subjects.apply(header, event)?;
        }
        if Standing::wants(header.kind) {
            self.standing.apply(header, event)?;
        }
        self.keys.apply(header, event)
    }

    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        self.jobs
            .rows(&mut |key, value| emit(&format!("jobs/{key}"), value));
        self.keys
            .rows(&mut |key, value| emit(&format!("keys/{key}"), value));
        self.leases
            .rows(&mut |key, value| emit(&format!("leases/{key}"), value));
        self.processes
            .rows(&mut |key, value| emit(&format!("processes/{key}"), value));
        self.standing
            .rows(&mut |key, value| emit(&format!("standing/{key}"), value));
        self.subjects
            .rows(&mut |key, value| emit(&format!("subjects/{key}"), value));
        self.tasks
            .rows(&mut |key, value| emit(&format!("tasks/{key}"), value));
        if let Some(unknown) = &self.unknown {
            let value = serde_json::to_string(unknown).expect("it holds a number and two texts");
            emit("unknown", &value);
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        let (mut jobs, mut keys, mut leases) = (Vec::new(), Vec::new(), Vec::new());
        let (mut standing, mut subjects, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        let mut processes = Vec::new();
        let mut unknown = None;
        for (key, value) in rows {
            if key == "unknown" {
                let parsed = serde_json::from_str(&value);
                unknown = Some(parsed.map_err(|e| RestoreError::row(key, e.to_string()))?);
                continue;
            }
            let part = match key.split_once('/') {
                Some(("jobs", _)) => &mut jobs,
                Some(("keys", _)) => &mut keys,
                Some(("leases", _)) => &mut leases,
                Some(("processes", _)) => &mut processes,
                Some(("standing", _)) => &mut standing,
                Some(("subjects", _)) => &mut subjects,
                Some(("tasks", _)) => &mut tasks,
                _ => return Err(RestoreError::row(key, "belongs to no part")),
            };
            let rest = key.split_once('/').map_or("", |(_, rest)| rest);
            part.push((rest.to_owned(), value));
        }
        Ok(Self {
            jobs: Jobs::from_rows(&mut jobs.into_iter())?,
            keys: Idempotency::from_rows(&mut keys.into_iter())?,
            leases: Leases::from_rows(&mut leases.into_iter())?,
            processes: Processes::from_rows(&mut processes.into_iter())?,
            standing: Standing::from_rows(&mut standing.into_iter())?,
            subjects: Subjects::from_rows(&mut subjects.into_iter())?,
            tasks: Tasks::from_rows(&mut tasks.into_iter())?,
            unknown,
        })
    }
}
