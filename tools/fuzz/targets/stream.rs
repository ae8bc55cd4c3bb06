//! Feeds the check `stream` of `ledger_core::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ledger_core::fuzz::run("stream", data));
