//! `ledger.toml`: what an operator may set. Every key has a default, so that no file is needed.
//!
//! A key that does not exist is an error that names the nearest one and its line: a setting that
//! is silently ignored is worse than none. The same goes for a value of the wrong type or range, and
//! for keys of which one would silently win over another.

mod apply;
mod backup;
mod checkpoint;
mod fault;
mod lease;
mod reaper;
mod scheduler;
mod snapshots;

use std::borrow::Cow;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ledger_core::ids::Id;
use ledger_core::time::Millis;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use self::backup::{BACKUP_DIR, BackupConfig};
pub use self::checkpoint::CheckpointConfig;
pub(crate) use self::fault::Unreadable;
pub use self::fault::{ConfigError, Fault, FileFaults, LineFault};
use self::fault::{Found, Located, line_of, toml_table, unknown};
pub use self::lease::LeaseConfig;
pub use self::reaper::{CgroupUse, ReaperConfig};
pub use self::scheduler::SchedulerConfig;
pub use self::snapshots::{SnapshotConfig, SnapshotSets};
use crate::names::id_as;
use crate::scheduler::decide::{MAX_GRACE, MAX_RUNTIME};
use crate::units::{format_limit, parse_duration, parse_size};

pub mod jobs;

pub use jobs::JobsConfig;

/// The file's name in the data directory.
pub const FILE_NAME: &str = "ledger.toml";
/// Longest file read, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// `[node]`.
    pub node: NodeConfig,
    /// `[scheduler]`.
    pub scheduler: SchedulerConfig,
    /// `[rate.NAME]`: rate keys that are limited.
    pub rates: scheduler::Rates,
    /// `[concurrency.NAME]`: how many tasks of a concurrency key run at once.
    pub concurrency: scheduler::Concurrency,
    /// `[tasks]`.
    pub tasks: TasksConfig,
    /// `[api]`.
    pub api: ApiConfig,
    /// `[backup]`.
    pub backup: BackupConfig,
    /// `[checkpoint]`.
    pub checkpoint: CheckpointConfig,
    /// `[snapshots.SET]`.
    pub snapshots: SnapshotSets,
    /// `[disk]`.
    pub disk: DiskConfig,
    /// `[blobs]`.
    pub blobs: BlobsConfig,
    /// `[reaper]`.
    pub reaper: ReaperConfig,
    /// `[lease]`.
    pub lease: LeaseConfig,
    /// `[jobs]` and `[[job]]`.
    pub jobs: JobsConfig,
}

/// `[node]`: the node that runs here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// `name`: tells nodes of one ledger apart; its socket is `run/NAME.sock`. Default `primary`.
    pub name: Id,
}

/// Most attempts that may be allowed to run at once.
pub const MAX_RUNNING: u32 = 10_000;

/// `[tasks]`: what holds for a task that does not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TasksConfig {
    /// `max_runtime`: how long an attempt may run. Default 30 s.
    pub max_runtime: Millis,
    /// `grace`: how long SIGTERM may take before SIGKILL follows. Default 5 s.
    pub grace: Millis,
    /// `output_limit`: bytes kept of each stream of an attempt. Default 64 MiB.
    pub output_limit: u64,
}

/// `[api]`: what a client may take of the node's time and room before its request is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// `head_timeout`: how long the head of a request may take to arrive, and how long a
    /// connection may be idle. Default [`HEAD_TIMEOUT`].
    pub head_timeout: Millis,
    /// `body_timeout`: how long the body may take after that. Default [`BODY_TIMEOUT`].
    pub body_timeout: Millis,
    /// `max_connections`: connections at once, 4 to [`MAX_CONNECTIONS`]. Default: a quarter of the
    /// files that a process may have open here, 64 to 1,024.
    pub max_connections: u32,
}

/// `[disk]`: the file system that the data directory is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskConfig {
    /// `reserve`: length of the file that is given up when the disk is full, so that this can be
    /// recorded; `0B` for none. Default [`RESERVE`].
    pub reserve: u64,
    /// `warn_below`: free bytes below which `status` warns. Default [`WARN_BELOW`].
    pub warn_below: u64,
}

/// Recording why a node stops takes a few pages of the journal, and the batch that did not fit may
/// have to be written once more; two megabytes hold both for any usual batch.
pub const RESERVE: u64 = 2 * 1024 * 1024;
/// Longest reserve: beyond it the room is of more use as room.
const MAX_RESERVE: u64 = 1024 * 1024 * 1024;
/// At ten thousand events a second of the usual size, two minutes.
pub const WARN_BELOW: u64 = 512 * 1024 * 1024;

/// `[blobs]`: content that is too large for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobsConfig {
    /// `max_size`: longest blob. Default 1 GiB.
    pub max_size: u64,
    /// `max_in_flight`: bytes of all unfinished uploads together. Default 4 GiB.
    pub max_in_flight: u64,
    /// `grace`: how old a blob must be that nothing names before it is collected. Default 24 h.
    pub grace: Millis,
}

/// A head is a few hundred bytes and comes at once from any program that works; ten seconds leave
/// room for one that is being swapped in.
pub const HEAD_TIMEOUT: Millis = Millis(10_000);
/// A body is a megabyte at most, which a local socket carries in milliseconds; thirty seconds leave
/// room for one that is made while it is sent.
pub const BODY_TIMEOUT: Millis = Millis(30_000);
/// Most connections that may be allowed.
pub const MAX_CONNECTIONS: u32 = 65_536;

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: Id::new("primary").expect("a literal id that follows the rule"),
        }
    }
}

impl Default for TasksConfig {
    fn default() -> Self {
        Self {
            max_runtime: Millis(30_000),
            grace: Millis(5_000),
            output_limit: 64 * 1024 * 1024,
        }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        use nix::sys::resource::{Resource, getrlimit};
        // One that follows a task's output costs three descriptors: a quarter leaves as many again
        // to the ledger, the views and the shims.
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let connections = u32::try_from(files / 4).unwrap_or(u32::MAX);
        Self {
            head_timeout: HEAD_TIMEOUT,
            body_timeout: BODY_TIMEOUT,
            max_connections: connections.clamp(64, 1024),
        }
    }
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            reserve: RESERVE,
            warn_below: WARN_BELOW,
        }
    }
}

impl Default for BlobsConfig {
    fn default() -> Self {
        let limits = ledger_core::blobs::Limits::default();
        Self {
            max_size: limits.bytes,
            max_in_flight: limits.in_flight,
            grace: Millis(24 * 3_600_000),
        }
    }
}

impl Config {
    /// Reads the settings: from `explicit`, which must then exist, or else from `ledger.toml` in
    /// the data directory, or else all defaults.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault and its line.
    pub fn load(data_dir: &Path, explicit: Option<&Path>) -> Result<Self, ConfigError> {
        let path = explicit.map_or_else(|| data_dir.join(FILE_NAME), Path::to_path_buf);
        match read_limited(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(e) if e.is_missing() => match explicit {
                Some(_) => Err(ConfigError::Missing(path)),
                None => Ok(Self::default()),
            },
            Err(error) => Err(error.of(&path)),
        }
    }

    /// Reads the settings from a text; `path` is only named in errors.
    ///
    /// # Errors
    /// [`ConfigError::Faults`] with every fault and its line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::from_toml(text).map_err(|found| found.located(text, path))
    }

    fn from_toml(text: &str) -> Result<Self, Found> {
        let table = toml_table(text)?;
        let mut found = Found::default();
        let mut config = Self::default();
        for (name, value) in table.get_ref() {
            // Jobs go by what holds for tasks, so they are read last.
            if matches!(name.get_ref().as_ref(), "jobs" | "job") {
                continue;
            }
            let before = found.len();
            config.section(name, value, &mut found);
            // Values that could not be read are not held against others.
            if let (DeValue::Table(keys), true) = (value.get_ref(), found.len() == before) {
                config.agreement(name.get_ref(), keys, &mut found);
            }
        }
        config.jobs = jobs::read(
            table.get_ref(),
            &config.tasks,
            &config.checkpoint,
            &mut found,
        );
        found.or(config)
    }

    /// Whether what a section says goes together; `keys` are those that are written.
    fn agreement(&self, section: &str, keys: &DeTable<'_>, found: &mut Found) {
        let (key, problem, others) = match section {
            "lease" => match self.lease.timing() {
                Err((key, fault)) => (key, fault.to_string(), ["heartbeat", "renew_deadline"]),
                Ok(_) => return,
            },
            "scheduler" if self.scheduler.backoff_cap < self.scheduler.backoff_base => {
                let problem = "is below scheduler.backoff_base, which would have no effect";
                (
                    "scheduler.backoff_cap",
                    problem.to_owned(),
                    ["backoff_base"; 2],
                )
            }
            _ => return,
        };
        let own = key.rsplit('.').next().unwrap_or(key);
        // In order by default, so one of them is there.
        let written = [own]
            .into_iter()
            .chain(others)
            .find_map(|key| keys.get(key));
        found.add(Located::value(
            written.map_or(0..0, Spanned::span),
            key,
            problem,
        ));
    }
}

/// Reads a regular file of at most [`MAX_FILE`] bytes. A pipe is not waited for, and a link that leads
/// nowhere is not taken for nothing: what it is to lead to may come back.
pub(crate) fn read_limited(path: &Path) -> Result<String, Unreadable> {
    let opened = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.is_symlink() => {
            return Err(std::io::Error::other("it is a link that leads nowhere").into());
        }
        file => file?,
    };
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file").into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(std::io::Error::other("it is longer than 1 MiB").into());
    }
    String::from_utf8(bytes).map_err(|e| Unreadable::NotText {
        line: line_of(e.as_bytes(), e.utf8_error().valid_up_to()),
    })
}

/// The known name that is most like `found`, if any is near enough to have been meant.
pub fn nearest<'n>(found: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|name| (strsim::jaro_winkler(found, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

type Setter = fn(&mut Config, &DeValue<'_>) -> Result<(), String>;

/// Sets what a table of a section says, whose name is given.
type TableSetter = fn(&mut Config, &Spanned<Cow<'_, str>>, &DeTable<'_>, &mut Found);

struct Section {
    name: &'static str,
    keys: &'static [(&'static str, Setter)],
    /// Tables below it, if it has any.
    tables: Option<TableSetter>,
}

/// Every section and key there is: what is not here is refused.
const SECTIONS: [Section; 13] = [
    Section {
        name: "node",
        keys: &[("name", |c, v| {
            c.node.name = id_as("a name", text(v)?).map_err(|e| format!("is wrong: {e}"))?;
            Ok(())
        })],
        tables: None,
    },
    Section {
        name: "scheduler",
        keys: &[
            ("max_running", |c, v| {
                c.scheduler.max_running = whole(v, 1, MAX_RUNNING)?;
                Ok(())
            }),
            ("backoff_base", |c, v| {
                duration(v).map(|d| c.scheduler.backoff_base = d)
            }),
            ("backoff_cap", |c, v| {
                duration(v).map(|d| c.scheduler.backoff_cap = d)
            }),
        ],
        tables: Some(scheduler::queue),
    },
    Section {
        name: "rate",
        keys: &[],
        tables: Some(scheduler::rate),
    },
    Section {
        name: "concurrency",
        keys: &[],
        tables: Some(scheduler::concurrency),
    },
    Section {
        name: "tasks",
        keys: &[
            ("max_runtime", |c, v| {
                within(v, Millis(1), MAX_RUNTIME).map(|d| c.tasks.max_runtime = d)
            }),
            ("grace", |c, v| {
                within(v, Millis(1), MAX_GRACE).map(|d| c.tasks.grace = d)
            }),
            ("output_limit", |c, v| {
                size(v).map(|s| c.tasks.output_limit = s)
            }),
        ],
        tables: None,
    },
    Section {
        name: "api",
        keys: &[
            ("head_timeout", |c, v| {
                duration(v).map(|d| c.api.head_timeout = d)
            }),
            ("body_timeout", |c, v| {
                duration(v).map(|d| c.api.body_timeout = d)
            }),
            ("max_connections", |c, v| {
                c.api.max_connections = whole(v, 4, MAX_CONNECTIONS)?;
                Ok(())
            }),
        ],
        tables: None,
    },
    Section {
        name: "lease",
        keys: lease::KEYS,
        tables: None,
    },
    Section {
        name: "reaper",
        keys: reaper::KEYS,
        tables: None,
    },
    Section {
        name: "backup",
        keys: &[
            ("dir", |c, v| {
                c.backup.dir = PathBuf::from(text(v)?);
                Ok(())
            }),
            ("every", |c, v| match duration(v)? {
                Millis(0..1000) => Err("must be at least 1s".to_owned()),
                every => {
                    c.backup.every = Some(every);
                    Ok(())
                }
            }),
            ("keep_for", |c, v| {
                duration(v).map(|d| c.backup.keep_for = Some(d))
            }),
            ("keep_at_least", |c, v| {
                c.backup.keep_at_least = whole(v, 1, 1_000_000)?;
                Ok(())
            }),
            ("max_size", |c, v| {
                size(v).map(|s| c.backup.max_size = Some(s))
            }),
        ],
        tables: None,
    },
    Section {
        name: "checkpoint",
        keys: checkpoint::KEYS,
        tables: None,
    },
    Section {
        name: "snapshots",
        keys: &[],
        tables: Some(snapshots::set),
    },
    Section {
        name: "disk",
        keys: &[
            ("reserve", |c, v| match size(v)? {
                reserve if reserve <= MAX_RESERVE => {
                    c.disk.reserve = reserve;
                    Ok(())
                }
                _ => Err("must be at most 1GiB".to_owned()),
            }),
            ("warn_below", |c, v| size(v).map(|s| c.disk.warn_below = s)),
        ],
        tables: None,
    },
    Section {
        name: "blobs",
        keys: &[
            ("max_size", |c, v| size(v).map(|s| c.blobs.max_size = s)),
            ("max_in_flight", |c, v| {
                size(v).map(|s| c.blobs.max_in_flight = s)
            }),
            ("grace", |c, v| duration(v).map(|d| c.blobs.grace = d)),
        ],
        tables: None,
    },
];

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("must be a text in quotes, not {}", article(value)))
}

fn whole(value: &DeValue<'_>, min: u32, max: u32) -> Result<u32, String> {
    value
        .as_integer()
        .and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok())
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

fn duration(value: &DeValue<'_>) -> Result<Millis, String> {
    match parse_duration(text(value)?) {
        Ok(Millis(0)) => Err("must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(e) => Err(format!("is wrong: {e}")),
    }
}

/// A duration of at least and at most so long.
fn within(value: &DeValue<'_>, least: Millis, most: Millis) -> Result<Millis, String> {
    let time = duration(value)?;
    if (least..=most).contains(&time) {
        return Ok(time);
    }
    let (least, most) = (format_limit(least), format_limit(most));
    Err(format!("must be from {least} to {most}"))
}

fn size(value: &DeValue<'_>) -> Result<u64, String> {
    parse_size(text(value)?).map_err(|e| format!("is wrong: {e}"))
}

fn article(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'i']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {name}")
}

#[cfg(test)]
mod tests;
