//! Recordings: the tool calls of agents' runs, one JSON object a line, and the arrivals of requests,
//! a table.
//!
//! | field of a call | |
//! |---|---|
//! | `run` | which run of an agent |
//! | `tool` | what was called: `Read`, `Bash` … |
//! | `start_s` | when, in seconds since the run began |
//! | `duration_s` | for how long; absent if it never ended |
//! | `command` | what a shell was to run; absent for other tools |
//! | `priority` | the queue, by number or name; if absent, by [`queue_of`] |
//! | `max_runtime_s` | its limit; if absent, what whoever asks makes of the tool |
//!
//! Other fields are passed over. A recorded command is data: it is looked at to tell the queue, never
//! kept, let alone run.
//!
//! A table of arrivals has a line of names, one of which is `arrival_s`: seconds since the first.

use std::io::{self, BufRead, Read};
use std::time::Duration;

use ledger_core::event::Priority;
use ledger_core::time::{Micros, Millis};
use serde::Deserialize;

use crate::scheduler::decide::MAX_RUNTIME;

/// Longest line, in bytes.
pub const MAX_LINE: u64 = 1024 * 1024;
/// Most lines of a recording that say something.
pub const MAX_RECORDS: usize = 1_000_000;
/// Longest time in a recording that is believed, in seconds: a week.
pub const MAX_SECONDS: f64 = 7.0 * 86_400.0;
/// How long before its run's clock a call may begin: recordings have some that did by seconds. They
/// count as having begun with it.
pub const EARLIEST: f64 = -60.0;

/// Where the recording that this was made for is found.
pub const CALLS_SOURCE: &str = "a recording of agents' tool calls, one JSON object a line with run, \
    tool, start_s and duration_s; one can be extracted from the experiments of \
    eunomia-bpf/agentcgroup on GitHub";
/// Where the arrivals that this was made for are found.
pub const ARRIVALS_SOURCE: &str = "a table of arrivals, CSV with a column arrival_s; one can be made \
    of AzureLLMInferenceTrace_code.csv of Azure/AzurePublicDataset on GitHub";

/// Why a recording can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It can't be read.
    #[error("line {line}: {error}")]
    Io {
        /// The line, from 1.
        line: usize,
        /// Why.
        error: io::Error,
    },
    /// A line is not what it should be.
    #[error("line {line}: {fault}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: LineFault,
    },
    /// It says nothing.
    #[error("it is empty")]
    Empty,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineFault {
    /// See [`MAX_LINE`].
    #[error("it is longer than {} KiB", MAX_LINE / 1024)]
    TooLong,
    /// See [`MAX_RECORDS`].
    #[error("there are more than {MAX_RECORDS} records")]
    TooMany,
    /// Not text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// Not a call.
    #[error("it is not a call: {0}")]
    NoCall(String),
    /// A time that nobody believes.
    #[error("{what} is {} s; it must be from {least} to {MAX_SECONDS}", number(*seconds))]
    Time {
        /// Which.
        what: &'static str,
        /// What it says.
        seconds: f64,
        /// The least it may be.
        least: f64,
    },
    /// No queue.
    #[error("there is no queue {0:?}: it is 0, 1 or 2, or interactive, standard or background")]
    Queue(String),
    /// No limit.
    #[error("max_runtime_s is {}; it must be from 0.001 to {}", number(*.0), MAX_RUNTIME.0 / 1000)]
    Limit(f64),
    /// No such column.
    #[error("the first line names no column arrival_s")]
    NoColumn,
    /// Not a number in that column.
    #[error("arrival_s is {0:?}, which is no number")]
    NoNumber(String),
    /// Time runs backwards.
    #[error("arrival_s is before that of the line above")]
    Backwards,
}

/// A recorded call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Which run.
    pub run: String,
    /// What was called.
    pub tool: String,
    /// When, since the run began.
    pub start: Duration,
    /// For how long, if it ended.
    pub duration: Option<Duration>,
    /// Its queue.
    pub queue: Priority,
    /// Its limit, if the recording sets one.
    pub max_runtime: Option<Millis>,
}

#[derive(Deserialize)]
struct Line {
    run: String,
    tool: String,
    start_s: f64,
    duration_s: Option<f64>,
    command: Option<String>,
    priority: Option<serde_json::Value>,
    max_runtime_s: Option<f64>,
}

/// Words of a command by which it is known to build, test or install: what takes long, and what
/// nobody sits and waits for.
const LONG: [&str; 34] = [
    "apt",
    "apt-get",
    "ant",
    "bazel",
    "bundle",
    "cargo",
    "cmake",
    "composer",
    "conda",
    "ctest",
    "docker",
    "dotnet",
    "gradle",
    "gradlew",
    "jest",
    "make",
    "mvn",
    "mypy",
    "ninja",
    "nose2",
    "nosetests",
    "npm",
    "npx",
    "pip",
    "pip3",
    "pnpm",
    "poetry",
    "pytest",
    "rake",
    "setup.py",
    "tox",
    "unittest",
    "uv",
    "yarn",
];

/// The queue of a call, by what is known when it is made; never by how long it then took.
///
/// An agent waits at once for what it reads and looks up: `interactive`. Shell commands and edits are
/// `standard`. What builds, tests or installs takes long and so does a sub-agent (`Task`):
/// `background`.
pub fn queue_of(tool: &str, command: Option<&str>) -> Priority {
    match tool {
        "Read" | "Grep" | "Glob" | "LS" | "WebSearch" | "WebFetch" | "TodoRead" | "BashOutput" => {
            Priority::Interactive
        }
        "Task" => Priority::Background,
        "Bash" if command.is_some_and(is_long) => Priority::Background,
        _ => Priority::Standard,
    }
}

fn is_long(command: &str) -> bool {
    let words = command.split(|c: char| c.is_whitespace() || ";&|()'\"`".contains(c));
    let names = words.map(|word| word.rsplit('/').next().unwrap_or(word));
    names.into_iter().any(|name| LONG.contains(&name))
}

/// Reads a recording of calls.
///
/// # Errors
/// [`TraceError`] with the line.
pub fn read_calls(reader: impl BufRead) -> Result<Vec<Call>, TraceError> {
    let mut calls = Vec::new();
    for_each_line(reader, |_, line| {
        if line.trim().is_empty() {
            return Ok(());
        }
        if calls.len() == MAX_RECORDS {
            return Err(LineFault::TooMany);
        }
        let parsed = serde_json::from_str(line).map_err(|_| no_call(line))?;
        calls.push(call(parsed)?);
        Ok(())
    })?;
    if calls.is_empty() {
        return Err(TraceError::Empty);
    }
    Ok(calls)
}

/// Why a line is no call, in terms of its fields.
fn no_call(line: &str) -> LineFault {
    let why = match serde_json::from_str::<serde_json::Value>(line) {
        Err(error) if error.to_string().contains("out of range") => {
            format!("the number at column {} is too large", error.column())
        }
        Err(error) => format!("it is no JSON object from column {} on", error.column()),
        Ok(serde_json::Value::Object(fields)) => odd_field(&fields),
        Ok(_) => "it is no JSON object".to_owned(),
    };
    LineFault::NoCall(why)
}

/// The first field that is missing or of the wrong type.
fn odd_field(fields: &serde_json::Map<String, serde_json::Value>) -> String {
    let text = |name: &'static str| {
        (
            name,
            "text",
            fields.get(name).is_some_and(|v| v.is_string()),
        )
    };
    let number = |name: &'static str| {
        (
            name,
            "number",
            fields.get(name).is_some_and(|v| v.is_number()),
        )
    };
    let needed = [text("run"), text("tool"), number("start_s")];
    let other = [
        number("duration_s"),
        text("command"),
        number("max_runtime_s"),
    ];
    let absent = |name: &str| fields.get(name).is_none_or(serde_json::Value::is_null);
    let other = other.into_iter().filter(|(name, ..)| !absent(name));
    match needed.into_iter().chain(other).find(|(.., right)| !right) {
        Some((name, ..)) if absent(name) => format!("it has no `{name}`"),
        Some((name, kind, _)) => format!("its `{name}` is no {kind}"),
        None => "a field stands in it twice".to_owned(),
    }
}

/// A number in few digits, however large it is.
fn number(n: f64) -> String {
    if n.abs() < 1e12 {
        n.to_string()
    } else {
        format!("{n:e}")
    }
}

fn call(line: Line) -> Result<Call, LineFault> {
    let queue = match &line.priority {
        None => queue_of(&line.tool, line.command.as_deref()),
        Some(said) => {
            let text = said
                .as_str()
                .map_or_else(|| said.to_string(), str::to_owned);
            let text: String = text.chars().take(40).collect();
            text.parse().map_err(|_| LineFault::Queue(text))?
        }
    };
    let limit = |seconds: f64| {
        let millis = Duration::try_from_secs_f64(seconds).map(|d| d.as_millis());
        let millis = millis.ok().and_then(|millis| u64::try_from(millis).ok());
        let limit = millis.map(Millis).filter(|m| m.0 > 0 && *m <= MAX_RUNTIME);
        limit.ok_or(LineFault::Limit(seconds))
    };
    let duration = |seconds| believed("duration_s", seconds, 0.0);
    Ok(Call {
        queue,
        max_runtime: line.max_runtime_s.map(limit).transpose()?,
        start: believed("start_s", line.start_s, EARLIEST)?,
        duration: line.duration_s.map(duration).transpose()?,
        run: line.run,
        tool: line.tool,
    })
}

fn believed(what: &'static str, seconds: f64, least: f64) -> Result<Duration, LineFault> {
    if (least..=MAX_SECONDS).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds.max(0.0)));
    }
    Err(LineFault::Time {
        what,
        seconds,
        least,
    })
}

/// Reads a table of arrivals: since the first of them, in order.
///
/// # Errors
/// [`TraceError`] with the line.
pub fn read_arrivals(reader: impl BufRead) -> Result<Vec<Micros>, TraceError> {
    let mut column = None;
    let mut arrivals: Vec<Micros> = Vec::new();
    for_each_line(reader, |number, line| {
        let mut cells = line.trim_end().split(',').map(str::trim);
        if number == 1 {
            column = cells.position(|name| name == "arrival_s");
            return column.map(drop).ok_or(LineFault::NoColumn);
        }
        if line.trim().is_empty() {
            return Ok(());
        }
        if arrivals.len() == MAX_RECORDS {
            return Err(LineFault::TooMany);
        }
        let cell = column
            .and_then(|column| cells.nth(column))
            .unwrap_or_default();
        let seconds = cell.parse::<f64>();
        let no_number = |_| LineFault::NoNumber(cell.chars().take(40).collect());
        let at = believed("arrival_s", seconds.map_err(no_number)?, 0.0)?;
        let at = micros(at);
        if arrivals.last().is_some_and(|last| at < *last) {
            return Err(LineFault::Backwards);
        }
        arrivals.push(at);
        Ok(())
    })?;
    if arrivals.is_empty() {
        return Err(TraceError::Empty);
    }
    Ok(arrivals)
}

/// In whole microseconds.
pub fn micros(duration: Duration) -> Micros {
    Micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

fn for_each_line(
    mut reader: impl BufRead,
    mut each: impl FnMut(usize, &str) -> Result<(), LineFault>,
) -> Result<(), TraceError> {
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        let read = (&mut reader).take(MAX_LINE).read_line(&mut text);
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let fault = LineFault::NotText;
                return Err(TraceError::Line { line, fault });
            }
            Err(error) => return Err(TraceError::Io { line, error }),
        }
        let checked = if text.len() as u64 == MAX_LINE {
            Err(LineFault::TooLong)
        } else {
            each(line, &text)
        };
        checked.map_err(|fault| TraceError::Line { line, fault })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: &str) -> String {
        let good = r#"{"run":"a","tool":"Read","start_s":0}"#;
        let text = format!("{good}\n\n{line}\n");
        read_calls(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_with_a_call_is_told_with_its_line() {
        for (line, told) in [
            (
                "nonsense",
                "it is not a call: it is no JSON object from column ",
            ),
            ("[1]", "it is not a call: it is no JSON object"),
            (
                r#"{"run":"a","tool":"Read"}"#,
                "it is not a call: it has no `start_s`",
            ),
            (
                r#"{"run":"a","tool":7,"start_s":1}"#,
                "it is not a call: its `tool` is no text",
            ),
            (
                r#"{"run":"a","tool":"Read","start_s":1,"duration_s":"2"}"#,
                "it is not a call: its `duration_s` is no number",
            ),
            (
                r#"{"run":"a","run":"b","tool":"Read","start_s":1}"#,
                "it is not a call: a field stands in it twice",
            ),
            (
                r#"{"run":"a","tool":"Read","start_s":NaN}"#,
                "it is not a call: it is no JSON object from column 36 on",
            ),
            (
                r#"{"run":"a","tool":"Read","start_s":1e999}"#,
                "it is not a call: the number at column ",
            ),
            (
                r#"{"run":"a","tool":"Read","start_s":-61}"#,
                "start_s is -61 s; it must be from -60",
            ),
            (
                r#"{"run":"a","tool":"Read","start_s":1,"duration_s":-0.1}"#,
                "duration_s is -0.1 s; it must be from 0 to 604800",
            ),
            (
                r#"{"run":"a","tool":"Read","start_s":1,"duration_s":1e9}"#,
                "duration_s is 1000000000",
            ),
            (
                r#"{"run":"a","tool":"Read","start_s":1,"priority":3}"#,
                "there is no queue \"3\": it is 0, 1 or 2",
            ),
            (
                r#"{"run":"a","tool":"Read","start_s":1,"max_runtime_s":0}"#,
                "max_runtime_s is 0; ",
            ),
        ] {
            let found = fault(line);
            assert!(found.starts_with(&format!("line 3: {told}")), "{found}");
        }
        let long = format!("{{\"run\":\"{}\"", "x".repeat(1024 * 1024));
        assert_eq!(fault(&long), "line 3: it is longer than 1024 KiB");
        assert!(matches!(read_calls(&b"\n \n"[..]), Err(TraceError::Empty)));
        let not_text = read_calls(&b"\xff\xfe\n"[..]).unwrap_err().to_string();
        assert_eq!(not_text, "line 1: it is not UTF-8 text");
    }

    #[test]
    fn the_queue_follows_from_what_is_known_when_a_call_is_made() {
        use Priority::{Background, Interactive, Standard};
        for (tool, command, queue) in [
            ("Grep", None, Interactive),
            ("Edit", None, Standard),
            ("Bash", Some("ls -l latest/pytests"), Standard),
            ("Bash", Some("cd x && /usr/bin/pytest -q"), Background),
            ("Bash", Some("(make check)"), Background),
            ("Bash", None, Standard),
            ("Task", None, Background),
            ("Read", Some("make"), Interactive),
        ] {
            assert_eq!(queue_of(tool, command), queue, "{tool} {command:?}");
        }
    }

    #[test]
    fn what_a_line_says_of_its_queue_and_limit_holds() {
        let line = r#"{"run":"a","tool":"Read","start_s":-2.5,"duration_s":1.5,"priority":"background",
            "max_runtime_s":0.25,"other":[1]}"#;
        let calls = read_calls(line.replace('\n', "").as_bytes()).unwrap();
        let call = Call {
            run: "a".into(),
            tool: "Read".into(),
            start: Duration::ZERO,
            duration: Some(Duration::from_millis(1500)),
            queue: Priority::Background,
            max_runtime: Some(Millis(250)),
        };
        assert_eq!(calls, [call]);
    }

    #[test]
    fn arrivals_are_a_column_of_numbers_that_grow() {
        let read = |text: &str| read_arrivals(text.as_bytes());
        let arrivals = read("tokens,arrival_s\n5,0.000\n7, 0.052 \n\n9,0.052\n").unwrap();
        assert_eq!(arrivals, [Micros(0), Micros(52_000), Micros(52_000)]);
        for (text, told) in [
            ("", "it is empty"),
            ("arrival_s\n", "it is empty"),
            (
                "arrival\n1\n",
                "line 1: the first line names no column arrival_s",
            ),
            (
                "arrival_s\nx\n",
                "line 2: arrival_s is \"x\", which is no number",
            ),
            (
                "a,arrival_s\n1\n",
                "line 2: arrival_s is \"\", which is no number",
            ),
            (
                "arrival_s\nNaN\n",
                "line 2: arrival_s is NaN s; it must be from 0 to 604800",
            ),
            (
                "arrival_s\n-1\n",
                "line 2: arrival_s is -1 s; it must be from 0 to 604800",
            ),
            (
                "arrival_s\ninf\n",
                "line 2: arrival_s is inf s; it must be from 0 to 604800",
            ),
            (
                "arrival_s\n1e9\n",
                "line 2: arrival_s is 1000000000 s; it must be",
            ),
            (
                "arrival_s\n2\n1\n",
                "line 3: arrival_s is before that of the line above",
            ),
        ] {
            let found = read(text).unwrap_err().to_string();
            assert!(found.starts_with(told), "{found}");
        }
    }
}
