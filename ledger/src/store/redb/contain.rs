//! Containment of panics inside redb.
//!
//! redb checks much and asserts the rest: a damaged file can make it panic. Here a panic becomes
//! an error value, and its message goes into that error instead of onto standard error. Every
//! call into redb that reads what a file says goes through [`contain`]. (The binary must be built
//! with unwinding panics, which is the default.)

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

thread_local! {
    /// How many containments this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs `f`; a panic in it is returned as its message.
///
/// What `f` borrows must not be relied upon after a panic: callers drop it or mark it unusable.
///
/// # Errors
/// The panic's message.
pub(super) fn contain<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    quiet_hook();
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(f));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|panic| message(panic.as_ref()))
}

/// Drops a value as an unwinding thread does. redb's database then just closes its file; dropped
/// in any other way it commits once more, which a damaged store must be spared: the evidence would
/// change, and redb can abort the process over it (it panics while it cleans up after a panic).
pub(super) fn discard<T>(value: T) {
    let unwind = move || {
        let _value = value;
        resume_unwind(Box::new("discarded"));
    };
    // The outcome is the panic just made, or one more of redb's; either way the value is gone.
    let _: Result<(), String> = contain(unwind);
}

/// Silences the panic message of threads inside a containment, and of no others.
fn quiet_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 {
                usual(info);
            }
        }));
    });
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    format!("the store's engine stopped: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message_and_the_thread_goes_on() {
        assert_eq!(contain(|| 7), Ok(7));
        let inner = contain(|| {
            let nested = contain(|| panic!("deep {}", 1));
            assert!(nested.is_err());
            panic!("flat");
        });
        let text: Result<(), String> = inner;
        assert!(text.is_err_and(|t| t.ends_with("flat")));
        assert_eq!(DEPTH.get(), 0);
    }

    #[test]
    fn what_is_discarded_is_dropped_while_panicking() {
        struct Drops<'a>(&'a Cell<bool>);
        impl Drop for Drops<'_> {
            fn drop(&mut self) {
                self.0.set(std::thread::panicking());
            }
        }
        let panicking = Cell::new(false);
        discard(Drops(&panicking));
        assert!(panicking.get());
        assert!(!std::thread::panicking());
    }
}
