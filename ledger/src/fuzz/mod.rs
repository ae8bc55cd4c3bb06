//! What must hold of every input that comes from outside: a function for each way in. The fuzzer
//! (`tools/fuzz`) looks for inputs for which it does not, and tests try all that are kept.
//!
//! | check | what comes in | what must hold |
//! |---|---|---|
//! | `journal` | the bytes of segments | what is recovered follows, and reads back when written again |
//! | `head` | the head file | one encoding for each head |
//! | `block` | a block | one encoding; checking it and making a batch of it come to the same |
//! | `event` | an encoded event | one encoding; a known payload reads back |
//! | `payload` | what an application sends | it stays the JSON that it is, minified once and for all |
//! | `proof` | proofs, heads, keys | one text for each |
//! | `stream` | a stream of blocks | what is read is what was sent, however it comes |
//! | `scan` | a damaged file | what is found lies in it, in order, and is what it is said to be |
//!
//! Where a checksum or a hash stands in the way of the fuzzer, the check puts the right one in.

mod bytes;
mod files;
mod text;

/// A check: panics if what must hold does not.
pub type Check = fn(&[u8]);

/// All checks of this crate, by name.
pub const CHECKS: [(&str, Check); 8] = [
    ("journal", crate::store::journal::fuzz::check),
    ("head", files::head),
    ("block", bytes::block),
    ("event", bytes::event),
    ("payload", text::payload),
    ("proof", text::proof),
    ("stream", bytes::stream),
    ("scan", files::scan),
];

/// Runs the check of this name.
///
/// # Panics
/// If there is none, or it does not hold.
pub fn run(name: &str, data: &[u8]) {
    let check = CHECKS.iter().find(|(known, _)| *known == name);
    let (_, check) = check.unwrap_or_else(|| panic!("there is no check {name}"));
    check(data);
}

#[cfg(test)]
mod seeds;
