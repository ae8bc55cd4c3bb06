//! On a terminal: everything fits its width, and nothing that a task chose to be called or to
//! print acts on it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use crate::sample::{Sample, bare};

/// What a command shows on a terminal of 80 columns.
fn on_terminal(sample: &Sample, arguments: &[&str]) -> String {
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(&size, None).unwrap();
    let (master, slave) = (File::from(pty.master), File::from(pty.slave));
    let mut command = bare(sample.room.path());
    command
        .env("TERM", "xterm")
        .env("TZ", "CET-1")
        .arg("--data-dir")
        .arg(&sample.dir)
        .args(arguments)
        .stdout(Stdio::from(slave.try_clone().unwrap()))
        .stderr(Stdio::from(slave));
    let mut child = command.spawn().unwrap();
    // The command holds the other end; once it has ended, reading does too.
    drop(command);
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    let mut master = master;
    loop {
        match master.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => shown.extend_from_slice(&buffer[..n]),
        }
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(shown).unwrap()
}

#[test]
fn lines_fit_and_times_are_local_with_their_zone() {
    let sample = Sample::new();
    let plain = ["--color", "never", "--no-pager"];
    for command in [
        &["tail"][..],
        &["task", "list"],
        &["status"],
        &["projections", "list"],
        &["ps"],
    ] {
        let shown = on_terminal(&sample, &[&plain[..], command].concat());
        for line in shown.lines() {
            let long = line.starts_with("warning:");
            assert!(long || line.chars().count() <= 80, "{line}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        assert!(!shown.contains('\u{202e}'), "{shown:?}");
    }
    let shown = on_terminal(&sample, &[&plain[..], &["tail"]].concat());
    insta::assert_snapshot!("terminal_tail", shown.replace("\r\n", "\n"));
    let status = on_terminal(&sample, &[&plain[..], &["status"]].concat());
    assert!(status.lines().count() <= 24, "{status}");
    let utc = on_terminal(
        &sample,
        &[&plain[..], &["--utc", "tail", "-n", "1"]].concat(),
    );
    assert!(utc.starts_with("── 2024-01-31 UTC ──"), "{utc}");
}

#[test]
fn processes_are_shown_by_their_pids() {
    let sample = Sample::with_process();
    let shown = on_terminal(
        &sample,
        &["--color", "never", "--no-pager", "tail", "-n", "5"],
    );
    insta::assert_snapshot!("terminal_processes", shown.replace("\r\n", "\n"));
    // Elsewhere there is more room; in what is made for programs, and for one event, nothing is
    // left out.
    insta::assert_snapshot!("tail_processes", sample.shows(&["tail", "-n", "5"]));
    let whole = "process/7bf6b4b8-b982-4eba-b13b-ca9b68f7d200.31363.1369270";
    for command in [
        &["tail", "-o", "jsonl"][..],
        &["tail", "-o", "short-iso"],
        &["tail", "-o", "verbose"],
        &["--json", "tail"],
        &["query", "--json"],
        &["show", "16"],
        &["show", "15"],
    ] {
        assert!(sample.shows(command).contains(whole), "{command:?}");
    }
    let show = on_terminal(&sample, &["--color", "never", "--no-pager", "show", "16"]);
    assert!(show.contains(whole), "{show}");
    assert_eq!(
        sample.shows(&["query", "--subject", whole, "--count"]),
        "2\n"
    );
}

#[test]
fn colors_are_ours_alone_and_can_be_turned_off() {
    let sample = Sample::new();
    let shown = on_terminal(&sample, &["--no-pager", "tail"]);
    assert!(shown.contains("\u{1b}["), "{shown:?}");
    assert!(!shown.contains("\u{1b}[2J"), "{shown:?}");
    let task = on_terminal(&sample, &["--no-pager", "task", "show", "evil"]);
    assert!(task.contains("\\x1b[31mred"), "{task:?}");
    assert!(!task.contains("\u{1b}[31mred"), "{task:?}");
    // Elsewhere nothing is colored unless asked for.
    assert!(!sample.shows(&["tail"]).contains('\u{1b}'));
    assert!(
        sample
            .shows(&["--color", "always", "status"])
            .contains("\u{1b}[")
    );
}

#[test]
fn a_pager_is_used_on_a_terminal_only() {
    let sample = Sample::new();
    let pager = sample.room.path().join("pager.sh");
    std::fs::write(&pager, "#!/bin/sh\nsed 's/^/PAGED /'\n").unwrap();
    std::fs::set_permissions(&pager, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = |arguments: &[&str]| {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).unwrap();
        let (mut master, slave) = (File::from(pty.master), File::from(pty.slave));
        let mut command = bare(sample.room.path());
        command
            .env("PAGER", &pager)
            .arg("--data-dir")
            .arg(&sample.dir)
            .args(arguments);
        command.stdout(Stdio::from(slave));
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut shown = Vec::new();
        // The terminal's end reports an error once nobody holds the other one.
        let _ = master.read_to_end(&mut shown);
        assert!(child.wait().unwrap().success());
        String::from_utf8(shown).unwrap()
    };
    assert!(run(&["tail", "-n", "1"]).contains("PAGED "));
    assert!(!run(&["tail", "-n", "1", "--no-pager"]).contains("PAGED "));
    let mut command = bare(sample.room.path());
    command
        .env("PAGER", &pager)
        .arg("--data-dir")
        .arg(&sample.dir)
        .arg("tail");
    assert!(
        !sample
            .ran(command.output().unwrap())
            .stdout
            .contains("PAGED ")
    );
}

/// `ledger status --watch` on a terminal of ten rows.
struct Watched {
    child: Child,
    master: File,
    slave: File,
    shown: String,
}

type Start = fn(&Sample) -> Watched;

impl Watched {
    fn start(sample: &Sample) -> Self {
        Self::started(sample, bare(sample.room.path()))
    }

    /// By somebody who has signals ignored, as `nohup` and a shell's `&` do.
    fn start_unheeding(sample: &Sample) -> Self {
        let ledger = bare(sample.room.path());
        let mut command = Command::new("sh");
        let ignore = "trap '' INT TERM HUP; exec \"$0\" \"$@\"";
        command.args(["-c", ignore]).arg(ledger.get_program());
        command.env_clear().envs(
            ledger
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command.current_dir(sample.room.path());
        Self::started(sample, command)
    }

    fn started(sample: &Sample, mut command: Command) -> Self {
        let size = Winsize {
            ws_row: 10,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).unwrap();
        let (master, slave) = (File::from(pty.master), File::from(pty.slave));
        let end = || Stdio::from(slave.try_clone().unwrap());
        command.args(["--data-dir"]).arg(&sample.dir);
        command.args(["--color", "never", "status", "--watch"]);
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn();
        Self {
            child: child.unwrap(),
            master,
            slave,
            shown: String::new(),
        }
    }

    /// Reads on until it is shown.
    fn read_to(&mut self, wanted: &str) {
        let mut buffer = [0; 4096];
        while !self.shown.contains(wanted) {
            let n = self.master.read(&mut buffer).unwrap();
            self.shown.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }

    /// Whether keys are passed on one by one and unseen.
    fn takes_keys(&self) -> bool {
        let flags = tcgetattr(&self.slave).unwrap().local_flags;
        !flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO)
    }
}

#[test]
fn the_watched_status_fits_and_q_ends_it() {
    let sample = Sample::new();
    let mut watched = Watched::start(&sample);
    watched.read_to(" more lines");
    assert!(watched.takes_keys());
    let frame = watched.shown.split("\u{1b}[H").nth(1).unwrap();
    assert_eq!(frame.matches('\n').count(), 9, "{frame:?}");
    // Other keys do nothing.
    watched.master.write_all(b"x\nq").unwrap();
    assert_eq!(watched.child.wait().unwrap().code(), Some(0));
    assert!(!watched.takes_keys(), "the terminal is as it was");
}

#[test]
fn a_signal_ends_the_watched_status_and_the_terminal_is_as_it_was() {
    let sample = Sample::new();
    let starts: [(Signal, Start); 3] = [
        (Signal::SIGINT, Watched::start),
        (Signal::SIGTERM, Watched::start),
        (Signal::SIGINT, Watched::start_unheeding),
    ];
    for (signal, start) in starts {
        let mut watched = start(&sample);
        watched.read_to(" more lines");
        assert!(watched.takes_keys());
        let pid = Pid::from_raw(i32::try_from(watched.child.id()).unwrap());
        kill(pid, signal).unwrap();
        let status = watched.child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal as i32));
        assert!(!watched.takes_keys());
    }
}
