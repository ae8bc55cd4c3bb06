//! The `ledger` binary.
//!
//! The hidden first argument `__spawner` makes the process the node's spawner instead; it is
//! looked at before anything else so that the spawner's memory, which every shim inherits,
//! stays small.

use std::process::ExitCode;

use opsledger::shim::spawner;

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == spawner::ARGUMENT)
    {
        return spawner::main();
    }
    opsledger::cli::main()
}
