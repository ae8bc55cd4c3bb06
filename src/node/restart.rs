//! Whether a node could start itself anew, which it does after it gave the lease back: a node that leads
//! well must not be lost to settings, or to a program, that somebody has changed meanwhile.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::life::NodeOptions;
use super::ports::Stopwatch;
use crate::config::Config;

/// How long the program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// What a new life of the node begins with.
#[derive(Debug, Clone)]
pub(crate) struct Restart {
    exe: PathBuf,
    data_dir: PathBuf,
    config_path: Option<PathBuf>,
}

impl Restart {
    pub(super) fn of(options: &NodeOptions) -> Self {
        Self {
            exe: options.exe.clone(),
            data_dir: options.data_dir.clone(),
            config_path: options.config_path.clone(),
        }
    }

    /// Reads the settings and runs the program, as it is now. Blocks.
    ///
    /// # Errors
    /// What a new life would fail over.
    pub(crate) fn check(&self) -> Result<(), String> {
        Config::load(&self.data_dir, self.config_path.as_deref())
            .map_err(|error| error.to_string().trim_end().to_owned())?;
        let program = self.exe.display();
        self.runs().map_err(|why| format!("{program}: {why}"))
    }

    fn runs(&self) -> Result<(), String> {
        let mut child = Command::new(&self.exe)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let begun = Stopwatch::start();
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("it does not tell its version: {status}")),
                Ok(None) if u128::from(begun.elapsed().0) < PATIENCE.as_micros() => {
                    std::thread::sleep(PAUSE)
                }
                Ok(None) => {
                    // It can't have been waited for, so the number is its own.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err("it does not tell its version".to_owned());
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_a_new_life_would_fail_over_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("ledger");
        let restart = Restart {
            exe: program.clone(),
            data_dir: dir.path().to_owned(),
            config_path: None,
        };
        let put = |text: &str| {
            // Written beside and renamed, as nobody may be writing what is run.
            let new = dir.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(&new, &program).unwrap();
        };
        assert!(restart.check().unwrap_err().contains("No such file"));
        put("#!/bin/sh\nexit 3\n");
        assert!(restart.check().unwrap_err().contains("exit status: 3"));
        put("#!/bin/sh\n[ \"$*\" = --version ]\n");
        restart.check().unwrap();
        std::fs::write(dir.path().join("ledger.toml"), "nonsense = 1\n").unwrap();
        assert!(restart.check().unwrap_err().contains("ledger.toml:1"));
    }
}
