//! Who may use what: the tables behind the checks of manifests and of paths in source.
//!
//! The crates depend in one direction, `ledger <- projections <- root <- tools`, and what is
//! folded or decided has neither a clock nor the system to ask.

/// Packages that a crate may not depend on, in any section of its manifest or by path.
pub(crate) struct CrateBan {
    /// The crate's directory, with a `/` at its end; empty for the root package.
    pub(crate) home: &'static str,
    /// Directories of the root package and its tests that the ban on paths covers.
    pub(crate) rooms: &'static [&'static str],
    /// The packages, by the names they are published under.
    pub(crate) packages: &'static [&'static str],
    /// Why.
    pub(crate) why: &'static str,
}

/// The bans on packages.
pub(crate) const CRATES: [CrateBan; 5] = [
    CrateBan {
        home: "ledger/",
        rooms: &["ledger/"],
        packages: &["projections", "opsledger"],
        why: "dependencies run ledger <- projections <- root, never back",
    },
    CrateBan {
        home: "ledger/",
        rooms: &["ledger/"],
        packages: &["tokio", "clap", "nix"],
        why: "the ledger knows no process, no socket and no terminal",
    },
    CrateBan {
        home: "projections/",
        rooms: &["projections/"],
        packages: &["opsledger"],
        why: "dependencies run ledger <- projections <- root, never back",
    },
    CrateBan {
        home: "projections/",
        rooms: &["projections/"],
        packages: &["tokio", "clap", "nix", "rand", "fastrand", "getrandom"],
        why: "a projection is a pure fold over the log: no runtime, no system, no chance",
    },
    CrateBan {
        home: "",
        rooms: &["src/", "tests/"],
        packages: &["redb"],
        why: "the store's engine stays behind the traits of ledger-core",
    },
];

/// Paths that may not be mentioned in some part of the tree.
pub(crate) struct PathBan {
    /// Whether the ban covers a file.
    pub(crate) covers: fn(&Place<'_>) -> bool,
    /// The beginnings of the paths.
    pub(crate) prefixes: &'static [&'static [&'static str]],
    /// Whether code that only tests compile is covered too.
    pub(crate) tests: TestCode,
    /// Why.
    pub(crate) why: &'static str,
}

/// What a ban says about code that only tests compile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TestCode {
    /// Tests may use it.
    Free,
    /// Tests may not use it either.
    Covered,
}

/// Where a file stands.
pub(crate) struct Place<'a> {
    /// Its path.
    pub(crate) path: &'a str,
    /// Whether it is the `decide` module of a domain, or a part of it.
    pub(crate) decides: bool,
}

impl Place<'_> {
    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// Whether the file is `module.rs` or stands in the directory `module/`.
    pub(crate) fn is_module(&self, module: &str) -> bool {
        self.path
            .strip_prefix(module)
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }
}

/// The bans on paths, beyond those on whole packages.
pub(crate) const PATHS: [PathBan; 6] = [
    PathBan {
        covers: |place| place.is_in("ledger/"),
        prefixes: &[&["std", "process"], &["std", "env"]],
        tests: TestCode::Free,
        why: "the ledger knows neither processes nor the environment; callers pass values in",
    },
    PathBan {
        covers: |place| place.is_in("ledger/") && !place.is_module("ledger/src/clock"),
        prefixes: &[&["std", "time", "SystemTime"]],
        tests: TestCode::Free,
        why: "wall-clock time enters the ledger through its clock module alone",
    },
    PathBan {
        covers: |place| place.is_in("projections/"),
        prefixes: &[
            &["std", "process"],
            &["std", "time", "SystemTime"],
            &["std", "time", "Instant"],
            &["std", "hash", "RandomState"],
            &["std", "collections", "hash_map", "RandomState"],
        ],
        tests: TestCode::Free,
        why: "a projection depends on nothing but the log, or a replay would differ",
    },
    PathBan {
        covers: |place| {
            place.is_in("src/") && !place.is_module("src/cli") && place.path != "src/main.rs"
        },
        prefixes: &[&["clap"], &["clap_complete"], &["clap_mangen"]],
        tests: TestCode::Covered,
        why: "the command line is one way in; only src/cli/ and src/main.rs know its parser",
    },
    PathBan {
        covers: |place| place.decides,
        prefixes: &[
            &["tokio"],
            &["nix"],
            &["libc"],
            &["rand"],
            &["fastrand"],
            &["getrandom"],
        ],
        tests: TestCode::Covered,
        why: "decide is a pure function of state, command, now and rng",
    },
    PathBan {
        covers: |place| place.decides,
        prefixes: &[
            &["std", "fs"],
            &["std", "process"],
            &["std", "env"],
            &["std", "net"],
            &["std", "thread"],
            &["std", "time", "SystemTime"],
            &["std", "time", "Instant"],
        ],
        tests: TestCode::Free,
        why: "decide is a pure function of state, command, now and rng",
    },
];

/// Names in `ledger_core` that append; projections may not mention them outside tests.
pub(crate) const APPENDING: [&str; 1] = ["LogWriter"];
