//! The options that every command takes, and which data directory they mean.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::output::escape::escape;
use super::output::style::{ColorChoice, Paint};
use super::output::{Buffering, Out, OutputOptions, Paging, note};
use crate::api::wire::{ApiError, ErrorCode};
use crate::config::{Config, ConfigError};

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Globals {
    /// The data directory [default: .ledger here if there is one, else
    /// $XDG_STATE_HOME/ledger]
    #[arg(long, global = true, value_name = "DIR", env = "LEDGER_DATA_DIR")]
    #[arg(hide_env_values = true, help_heading = "Global options")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The configuration file [default: ledger.toml in the data directory]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Write JSON: results on standard output, errors as objects on standard error
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// When to use color
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_possible_values = true, help_heading = "Global options")]
    #[arg(help = "When to use color: auto, always, never")]
    pub(crate) color: ColorChoice,
    /// Show times in UTC
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) utc: bool,
    /// Never use a pager
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_pager: bool,
}

impl Globals {
    /// Opens standard output as these options say.
    pub(crate) fn out(&self, paging: Paging, buffering: Buffering) -> Out {
        let options = OutputOptions {
            color: self.color,
            utc: self.utc,
            no_pager: self.no_pager,
        };
        // A pager is for people: what asks for JSON is a program, or wants it whole.
        let paging = if self.json { Paging::Never } else { paging };
        Out::open(options, paging, buffering)
    }

    /// The settings, for who only reads. What is wrong with them is said, and keeps nobody from the ledger:
    /// it goes by the defaults instead. A file that was named is another matter.
    ///
    /// # Errors
    /// What is wrong with the file that was named.
    pub(crate) fn settings_to_read_by(&self, data_dir: &Path) -> Result<Config, ConfigError> {
        let loaded = Config::load(data_dir, self.config.as_deref());
        match (loaded, &self.config) {
            (Err(error), None) => {
                let error = error.to_string();
                note(format_args!(
                    "warning: {}; what is shown goes by the defaults",
                    escape(error.trim_end())
                ));
                Ok(Config::default())
            }
            (loaded, _) => loaded,
        }
    }

    /// How standard error is painted.
    pub(crate) fn stderr_paint(&self) -> Paint {
        Paint::of(self.color, &std::io::stderr())
    }

    /// The data directory.
    ///
    /// # Errors
    /// [`ErrorCode::Refused`] if `.ledger` here can't be trusted, [`ErrorCode::Usage`] if there
    /// is nowhere to look.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, ApiError> {
        let named = self
            .data_dir
            .as_ref()
            .filter(|dir| !dir.as_os_str().is_empty());
        match named {
            Some(dir) => std::path::absolute(dir).map_err(|e| {
                ApiError::new(ErrorCode::Failed, "the current directory can't be told").because(e)
            }),
            None => default_dir(),
        }
    }
}

/// The directory's name in the current directory.
const LOCAL: &str = ".ledger";

fn default_dir() -> Result<PathBuf, ApiError> {
    if let Ok(here) = std::env::current_dir() {
        let local = here.join(LOCAL);
        if let Ok(meta) = local.symlink_metadata() {
            let user = nix::unistd::geteuid().as_raw();
            return match distrust(&meta, user) {
                None => Ok(local),
                Some(why) => Err(untrusted(&local, &why)),
            };
        }
    }
    let absolute = |name: &str| {
        // The XDG specification has relative paths ignored.
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("ledger"))
        .ok_or_else(|| {
            ApiError::new(ErrorCode::Usage, "no data directory is named")
                .because("neither XDG_STATE_HOME nor HOME is set")
                .hint("name one with --data-dir or LEDGER_DATA_DIR")
        })
}

/// Why a directory that was merely found must not be used. Somebody else's could make whoever
/// stands in it run their tasks.
fn distrust(meta: &Metadata, user: u32) -> Option<String> {
    if !meta.is_dir() {
        return Some("it is not a directory of its own".to_owned());
    }
    if meta.uid() != user {
        return Some(format!("it belongs to user {}, not to you", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        let mode = meta.mode() & 0o777;
        return Some(format!("others may write to it (mode {mode:04o})"));
    }
    None
}

fn untrusted(dir: &Path, why: &str) -> ApiError {
    ApiError::new(ErrorCode::Refused, format!("{} is not used", dir.display()))
        .because(why)
        .hint(format!(
            "if you trust it, `chmod go-w {LOCAL}`, or name it with --data-dir {LOCAL}"
        ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_a_directory_of_ones_own_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let local = dir.path().join(LOCAL);
        std::fs::create_dir(&local).unwrap();
        let me = local.symlink_metadata().unwrap().uid();
        let judge = |mode: u32, user: u32| {
            std::fs::set_permissions(&local, PermissionsExt::from_mode(mode)).unwrap();
            distrust(&local.symlink_metadata().unwrap(), user)
        };
        assert_eq!(judge(0o700, me), None);
        assert_eq!(judge(0o755, me), None);
        assert_eq!(
            judge(0o770, me).unwrap(),
            "others may write to it (mode 0770)"
        );
        assert_eq!(
            judge(0o702, me).unwrap(),
            "others may write to it (mode 0702)"
        );
        assert!(
            judge(0o700, me + 1)
                .unwrap()
                .starts_with("it belongs to user")
        );
        let link = dir.path().join("link");
        symlink(&local, &link).unwrap();
        assert!(distrust(&link.symlink_metadata().unwrap(), me).is_some());
    }
}
