//! The `ledger` binary for tests that run real nodes.

#![allow(unreachable_pub)] // nothing is reached from outside of a test

use std::path::{Path, PathBuf};
use std::process::Command;

pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Builds `ledger` as this test was built; the node that is run must not be an old one that happens
/// to lie there. Returns where it is.
pub fn ledger() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(ROOT);
    // Of the whole workspace, and a test with it, as all tests are built: with other features everything
    // would be compiled anew.
    build.args([
        "build",
        "--quiet",
        "--workspace",
        "--bin",
        "ledger",
        "--test",
        "arms",
    ]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.status().expect("cargo runs: it is running this test");
    assert!(built.success(), "ledger does not build");
    Path::new(env!("CARGO_BIN_EXE_bench")).with_file_name("ledger")
}
