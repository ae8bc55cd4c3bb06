//! Feeds the check `event` of `ledger_core::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ledger_core::fuzz::run("event", data));
