//! Definitions of jobs from their files to the core, at the start and whenever they change.
//!
//! - What counts is what files hold: an event of the file system only says when to look, and when
//!   nothing differs nothing follows. An editor that writes beside and renames, and one that writes
//!   twice, come to the same.
//! - A file that can't be read or understood is refused whole, with its line and the reason, and what it
//!   defined before stays, also across a restart: the log knows which file each job came from.
//! - Files are looked at when one was closed, moved or removed, so one that is being written is left
//!   alone; one that was cut to nothing is taken for that.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, PipeReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use ledger_core::envelope::Origin;
use ledger_core::event::JobSpec;
use ledger_core::ids::Id;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use projections::jobs::Jobs;
use tokio::sync::oneshot;

use super::command::{Command, Rejected, Reply};
use super::core::node_subject;
use super::threads::Mail;
use crate::config::jobs::{BUILT_IN, JOBS_DIR, fault, parse_file};
use crate::config::{Config, ConfigError, FILE_NAME, TasksConfig, read_limited};
use crate::jobs::decide::next_due;

/// What can't be used of the definitions, in words.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<String>>);

impl Faults {
    /// As it is now.
    pub(crate) fn now(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, faults: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }
}

/// Jobs of the log whose schedule this host can't read, in words.
pub(crate) fn unscheduled(jobs: &Jobs) -> Vec<String> {
    let told = jobs.iter().filter_map(|job| {
        let error = next_due(job).err()?;
        Some(format!("job {} is never due here: {error}", job.name))
    });
    told.collect()
}

/// What the files say.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Every job.
    pub(crate) jobs: BTreeMap<Id, JobSpec>,
    /// What could not be used.
    pub(crate) faults: Vec<String>,
}

/// The files that define jobs, and what they said last.
#[derive(Debug)]
pub(crate) struct Definitions {
    data_dir: PathBuf,
    config: PathBuf,
    tasks: TasksConfig,
    /// What each source held when it was last looked at; nothing if it could not be read.
    seen: Option<BTreeMap<String, Option<String>>>,
    /// What each source defined when it could last be used.
    good: BTreeMap<String, BTreeMap<Id, JobSpec>>,
}

impl Definitions {
    /// Before the first look. `config` is the configuration that `path` holds; `known` are the jobs
    /// of the log, for files that can't be used now.
    pub(crate) fn new(data_dir: &Path, path: Option<&Path>, config: &Config, known: &Jobs) -> Self {
        let mut good: BTreeMap<String, BTreeMap<Id, JobSpec>> = BTreeMap::new();
        for job in known.iter() {
            let Some(spec) = job.spec().filter(|spec| spec.source.starts_with(JOBS_DIR)) else {
                continue;
            };
            let source = good.entry(spec.source.clone()).or_default();
            source.insert(job.name.clone(), spec.clone());
        }
        good.insert(FILE_NAME.to_owned(), config.jobs.defined.clone());
        let own = data_dir.join(FILE_NAME);
        Self {
            data_dir: data_dir.to_owned(),
            // With a directory in front, which is watched.
            config: path.map_or(own, |path| {
                std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
            }),
            tasks: config.tasks.clone(),
            seen: None,
            good,
        }
    }

    /// Looks at the files; nothing if they hold what they held.
    pub(crate) fn load(&mut self) -> Option<Loaded> {
        let (texts, mut faults) = self.read();
        if self.seen.as_ref() == Some(&texts) {
            return None;
        }
        let before = self.seen.replace(texts.clone()).unwrap_or_default();
        let had_text = |source: &str| {
            let before = before.get(source).and_then(Option::as_deref);
            before.is_some_and(|text| !text.is_empty())
        };
        let mut jobs = BTreeMap::new();
        // The configuration comes first: it says what holds for tasks, and its names go first.
        let main = texts.get(FILE_NAME).and_then(Option::as_deref);
        match main {
            Some("") if had_text(FILE_NAME) => faults.push(emptied(&self.config)),
            Some(text) => match Config::parse(text, &self.config) {
                Ok(config) => {
                    self.tasks = config.tasks;
                    self.good.insert(FILE_NAME.to_owned(), config.jobs.defined);
                }
                Err(error) => faults.extend(each_fault(&error)),
            },
            None => {}
        }
        jobs.extend(self.good.get(FILE_NAME).cloned().unwrap_or_default());
        for (source, text) in texts.iter().filter(|(source, _)| *source != FILE_NAME) {
            let path = self.data_dir.join(source);
            let taken = |name: &Id| jobs.get(name).map(|job: &JobSpec| owner(&job.source));
            match text.as_deref() {
                // Between being cut and being written again; whoever means it removes the file.
                Some("") => faults.push(emptied(&path)),
                Some(text) => match parse_file(text, &path, source, &self.tasks, &taken) {
                    Ok(defined) => drop(self.good.insert(source.clone(), defined)),
                    Err(error) => faults.extend(each_fault(&error)),
                },
                None => {}
            }
            for (name, spec) in self.good.get(source).into_iter().flatten() {
                jobs.entry(name.clone()).or_insert_with(|| spec.clone());
            }
        }
        self.good.retain(|source, _| texts.contains_key(source));
        Some(Loaded { jobs, faults })
    }

    /// The content of every source, nothing for one that can't be read now, and what is wrong.
    fn read(&self) -> (BTreeMap<String, Option<String>>, Vec<String>) {
        let (mut read, mut faults) = (BTreeMap::new(), Vec::new());
        let mut take = |source: String, path: &Path, missing: Option<&str>| {
            let text = match read_limited(path) {
                Ok(text) => Some(text),
                Err(error) if error.is_missing() => match missing {
                    Some(text) => Some(text.to_owned()),
                    // It went while it was looked for.
                    None => return,
                },
                Err(error) => {
                    faults.extend(each_fault(&error.of(path)));
                    None
                }
            };
            read.insert(source, text);
        };
        // Without a configuration the defaults hold, as with one that says nothing.
        take(FILE_NAME.to_owned(), &self.config, Some("# none"));
        let dir = self.data_dir.join(JOBS_DIR);
        let listed = std::fs::read_dir(&dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match listed {
            Ok(entries) => {
                let names = entries
                    .iter()
                    .filter_map(|entry| entry.file_name().into_string().ok());
                let wanted = names.filter(|name| name.ends_with(".toml") && !name.starts_with('.'));
                let sorted: BTreeSet<String> = wanted.collect();
                for name in sorted {
                    take(format!("{JOBS_DIR}/{name}"), &dir.join(&name), None);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                faults.push(fault(&dir, &format!("it can't be read: {error}")));
                // What it held stays.
                let held = self.good.keys().filter(|source| *source != FILE_NAME);
                read.extend(held.map(|source| (source.clone(), None)));
            }
        }
        (read, faults)
    }
}

fn owner(source: &str) -> String {
    match source {
        BUILT_IN => format!("the node itself (change it in {FILE_NAME})"),
        file => file.to_owned(),
    }
}

fn emptied(path: &Path) -> String {
    fault(path, "it is empty: remove it if its jobs are to go")
}

/// Each fault of a file as a text of its own.
fn each_fault(error: &ConfigError) -> Vec<String> {
    match error {
        ConfigError::Faults(faults) => faults.texts(),
        ConfigError::Missing(_) | ConfigError::Io { .. } => vec![error.to_string()],
    }
}

/// The node stops, or has stopped.
struct Stopping;

/// Keeps the jobs that the log knows true to the files.
pub(super) struct Keeper {
    pub(super) node: Id,
    pub(super) definitions: Definitions,
    pub(super) faults: Arc<Faults>,
    pub(super) inbox: Sender<Mail>,
}

type Answer = oneshot::Receiver<Result<Reply, Rejected>>;

impl Keeper {
    /// Looks at the files for the first time and has them recorded before anyone asks for anything,
    /// then goes on in a thread of its own until the other end of `stop` is closed. Returns what tells
    /// that they are recorded.
    pub(super) fn start(mut self, stop: PipeReader) -> std::io::Result<oneshot::Receiver<()>> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // Before the look, so that what changes after it is seen.
        self.watch(&inotify);
        let first = self
            .definitions
            .load()
            .and_then(|loaded| self.send(loaded).ok());
        let thread = std::thread::Builder::new().name("jobs".into());
        let (recorded, known) = oneshot::channel();
        let run = move || drop(self.run(&inotify, &stop, first, recorded));
        thread.spawn(run)?;
        Ok(known)
    }

    fn run(
        &mut self,
        inotify: &Inotify,
        stop: &PipeReader,
        first: Option<(Answer, Vec<String>)>,
        recorded: oneshot::Sender<()>,
    ) -> Result<(), Stopping> {
        if let Some((answer, faults)) = first {
            self.settle(answer, faults)?;
        }
        // Nobody listens any more if the node has stopped meanwhile.
        let _ = recorded.send(());
        loop {
            let mut ready = [
                PollFd::new(inotify.as_fd(), PollFlags::POLLIN),
                PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "changes of jobs are not seen any more");
                    return Err(Stopping);
                }
            }
            if ready[1].revents().is_some_and(|events| !events.is_empty()) {
                return Err(Stopping);
            }
            // What has changed is seen by looking; the events have done their part.
            while inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
            self.watch(inotify);
            if let Some(loaded) = self.definitions.load() {
                let (answer, faults) = self.send(loaded)?;
                self.settle(answer, faults)?;
            }
        }
    }

    /// Watches what is there; what is watched already stays so. Not by `notify`: it would wake for
    /// every write to the ledger's own files, which are in the same directory.
    fn watch(&self, inotify: &Inotify) {
        let settled = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE;
        let dirs = [
            self.definitions.config.parent(),
            Some(&self.definitions.data_dir),
        ];
        for dir in dirs.into_iter().flatten() {
            // Directories are made here, and files only now and then.
            let flags = settled | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ONLYDIR;
            if let Err(error) = inotify.add_watch(dir, flags) {
                tracing::warn!(%error, dir = %dir.display(), "changes of jobs are not seen here");
            }
        }
        // It need not be there.
        let _ = inotify.add_watch(
            &self.definitions.data_dir.join(JOBS_DIR),
            settled | AddWatchFlags::IN_ONLYDIR,
        );
    }

    fn send(&self, loaded: Loaded) -> Result<(Answer, Vec<String>), Stopping> {
        // They show from now on, also to the job that looks for them.
        self.faults.set(loaded.faults.clone());
        for fault in &loaded.faults {
            tracing::warn!(fault, "jobs are as they were");
        }
        let (reply, answer) = oneshot::channel();
        let asked = Mail::Ask {
            origin: Origin::of(node_subject(&self.node)),
            command: Command::DefineJobs { jobs: loaded.jobs },
            reply,
        };
        self.inbox.send(asked).map_err(|_| Stopping)?;
        Ok((answer, loaded.faults))
    }

    fn settle(&self, answer: Answer, mut faults: Vec<String>) -> Result<(), Stopping> {
        match answer.blocking_recv() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Rejected::NotLeading(_))) | Err(_) => Err(Stopping),
            Ok(Err(rejected)) => {
                tracing::warn!(%rejected, "jobs are as they were");
                faults.push(rejected.to_string());
                self.faults.set(faults);
                Ok(())
            }
        }
    }
}
