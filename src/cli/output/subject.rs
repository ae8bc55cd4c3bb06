//! What an event is about, in the room there is.
//!
//! A process is named by its boot, its pid and its start time, which together never repeat:
//! `process/7bf6b4b8-b982-4eba-b13b-ca9b68f7d200.31363.1369270`. People look for the pid and want
//! to see at most that another boot is another; `process/7bf6b4b8….31363` is what they get.
//! Programs, and whoever asks for one event, get the whole name.

use std::borrow::Cow;

use super::text::{cut_middle, width};

/// How much of a boot id tells two boots apart for a person: its first group.
const BOOT: usize = 8;
/// Less of it than this says nothing.
const LEAST_BOOT: usize = 4;

/// A subject without what only programs need.
pub(crate) fn short(subject: &str) -> Cow<'_, str> {
    match process(subject) {
        Some((boot, pid)) if boot.len() > BOOT => named(boot, pid, BOOT).into(),
        Some((boot, pid)) => format!("process/{boot}.{pid}").into(),
        None => subject.into(),
    }
}

/// The same in at most `max` columns: of a process the pid is what stays.
pub(crate) fn fit(subject: &str, max: usize) -> String {
    let short = short(subject);
    let over = width(&short).saturating_sub(max);
    if over == 0 {
        return short.into_owned();
    }
    match process(subject) {
        Some((boot, pid)) => {
            let kept = boot.len().min(BOOT).saturating_sub(over);
            let kept = if kept < LEAST_BOOT { 0 } else { kept };
            cut_middle(&named(boot, pid, kept), max)
        }
        None => cut_middle(&short, max),
    }
}

fn named(boot: &str, pid: &str, kept: usize) -> String {
    // The characters of ids are ASCII; anything else would be shown whole.
    format!("process/{}….{pid}", boot.get(..kept).unwrap_or(boot))
}

/// Boot and pid, if it is the subject of a process.
fn process(subject: &str) -> Option<(&str, &str)> {
    let mut parts = subject.strip_prefix("process/")?.rsplitn(3, '.');
    let (start, pid, boot) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (number(start) && number(pid) && !boot.is_empty()).then_some((boot, pid))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROCESS: &str = "process/7bf6b4b8-b982-4eba-b13b-ca9b68f7d200.31363.1369270";

    #[test]
    fn of_a_process_the_pid_stays() {
        assert_eq!(short(PROCESS), "process/7bf6b4b8….31363");
        assert_eq!(fit(PROCESS, 44), "process/7bf6b4b8….31363");
        assert_eq!(fit(PROCESS, 20), "process/7bf6b….31363");
        assert_eq!(fit(PROCESS, 18), "process/….31363");
        assert_eq!(fit(PROCESS, 12), "proces…31363");
        assert_eq!(short("process/b0.7.8"), "process/b0.7");
    }

    #[test]
    fn other_names_are_what_they_are() {
        for name in [
            "task/build-7",
            "process/7bf6b4b8",
            "process/a.b.c",
            "process/7bf6b4b8.1.",
            "app/7bf6b4b8-b982.1.2",
        ] {
            assert_eq!(short(name), name);
            assert_eq!(fit(name, 30), name);
            assert_eq!(fit(name, 8), cut_middle(name, 8));
        }
    }

    proptest! {
        #[test]
        fn it_fits(name in "process/[a-zä0-9.-]{0,20}(\\.[0-9]{1,9}){0,2}", max in 0_usize..40) {
            prop_assert!(width(&fit(&name, max)) <= max);
            let _ = short(&name);
        }
    }
}
