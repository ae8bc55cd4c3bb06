//! The files that are checked: all that git tracks or could add, and that hold text.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// A text file of the repository.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    /// Path from the repository's root, with `/` between its parts.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
}

/// Why the files could not be listed or read.
#[derive(Debug)]
pub(crate) enum TreeError {
    /// git could not be started.
    NoGit(io::Error),
    /// git refused; its own words.
    Git(String),
    /// A listed file could not be read.
    Read(String, io::Error),
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGit(error) => write!(f, "cannot start git to list the files: {error}"),
            Self::Git(words) => write!(f, "git ls-files failed: {}", words.trim()),
            Self::Read(path, error) => write!(f, "cannot read {path}: {error}"),
        }
    }
}

/// Reads the text files of the work tree at `root`, in the order of their paths.
///
/// Files that are deleted but still tracked, links and binary files are left out.
///
/// # Errors
/// Fails if git cannot list the files or one of them cannot be read.
pub(crate) fn read(root: &Path) -> Result<Vec<TextFile>, TreeError> {
    let listing = Command::new("git")
        .arg("-C")
        .arg(root)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .map_err(TreeError::NoGit)?;
    if !listing.status.success() {
        return Err(TreeError::Git(
            String::from_utf8_lossy(&listing.stderr).into_owned(),
        ));
    }
    let listed = String::from_utf8_lossy(&listing.stdout);
    let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut files = Vec::new();
    for path in paths {
        let full = root.join(path);
        if !full.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        let bytes = fs::read(&full).map_err(|error| TreeError::Read(path.to_owned(), error))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(TextFile {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_lists_this_file_once() {
        let files = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
        let here = files
            .iter()
            .filter(|file| file.path == "tools/xtask/src/tree.rs");
        assert_eq!(here.count(), 1);
        assert!(files.iter().all(|file| !file.path.starts_with("target/")));
    }

    #[test]
    fn a_place_that_is_no_directory_is_an_error() {
        assert!(matches!(
            read(Path::new("/dev/null")),
            Err(TreeError::Git(_))
        ));
    }
}
