//! Feeds the check of request bodies, `opsledger::api::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| opsledger::api::fuzz::request(data));
