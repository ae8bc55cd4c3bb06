//! The `ledger` binary: nothing but a door to [`opsledger::cli`].
//!
//! The hidden first argument `__spawner` makes the process the node's spawner instead; it is
//! looked at before anything else so that the spawner's memory, which every shim inherits,
//! stays small.

use std::process::ExitCode;

use opsledger::shim::spawner;

// Events are decoded on one thread and freed on another, which glibc's arenas serialize.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == spawner::ARGUMENT)
    {
        return spawner::main();
    }
    opsledger::cli::main()
}
