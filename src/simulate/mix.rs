//! Workloads out of recordings: the calls as they were made, or as many as there are arrivals, drawn
//! from the calls.

use std::collections::BTreeMap;
use std::time::Duration;

use ledger_core::ids::Id;
use ledger_core::time::{Micros, Millis, Timestamp};

use super::chance::Chance;
use super::summary::percentile;
use super::trace::{Call, micros};
use super::work::{Course, Manner, SHORTEST, Work};
use crate::scheduler::decide::MAX_RUNTIME;

/// When simulated time begins, if the workload is of no time: any other would do.
pub const BEGIN: Timestamp = Timestamp(1_767_225_600_000_000);
/// Longest pause between two calls of a run; one that was left standing does not decide how long a
/// fleet takes.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How many times the 99th percentile of its tool a task may run, if nothing is said.
pub const LIMIT_FACTOR: f64 = 10.0;
/// Shortest limit: a second is nothing to whoever waits for a hung task, and starting a process can
/// take a good part of it.
pub const SHORTEST_LIMIT: Millis = Millis(1000);
/// The limit of a tool of which no call ever ended: the node's own default.
pub const UNKNOWN_LIMIT: Millis = Millis(30_000);

/// What is done with calls that never ended in the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unended {
    /// They are left out.
    LeftOut,
    /// They hang.
    Hang,
}

/// Calls as they were made: all runs begin together, as a fleet's do, and each call arrives when it
/// did in its run, whatever has become of the call before: the recording already holds how long
/// agents waited and thought.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The calls by arrival, since the first run began.
    pub calls: Vec<(Duration, Call)>,
    /// Runs of agents.
    pub runs: usize,
    /// Calls that never ended.
    pub unended: usize,
    /// Pauses that were cut to [`LONGEST_PAUSE`].
    pub pauses_cut: usize,
}

impl Made {
    /// Puts recorded calls in order.
    pub fn of(calls: Vec<Call>) -> Self {
        let mut runs: BTreeMap<String, Vec<Call>> = BTreeMap::new();
        for call in calls {
            runs.entry(call.run.clone()).or_default().push(call);
        }
        let mut made = Self {
            calls: Vec::new(),
            runs: runs.len(),
            unended: 0,
            pauses_cut: 0,
        };
        for mut calls in runs.into_values() {
            calls.sort_by_key(|call| call.start);
            let (mut arrival, mut before) = (Duration::ZERO, Duration::ZERO);
            for call in calls {
                let pause = call.start.saturating_sub(before);
                made.pauses_cut += usize::from(pause > LONGEST_PAUSE);
                arrival += pause.min(LONGEST_PAUSE);
                before = call.start;
                made.unended += usize::from(call.duration.is_none());
                made.calls.push((arrival, call));
            }
        }
        made.calls.sort_by_key(|(arrival, _)| *arrival);
        made
    }

    /// The calls as tasks.
    pub fn work(&self, limits: &Limits, unended: Unended) -> Vec<Work> {
        let wanted = |call: &Call| call.duration.is_some() || unended == Unended::Hang;
        let calls = self.calls.iter().filter(|(_, call)| wanted(call));
        let task = |(n, (arrival, call)): (usize, &(Duration, Call))| {
            let course = call.duration.map_or(Course::Hangs, ends);
            task(n, micros(*arrival), call, course, limits)
        };
        calls.enumerate().map(task).collect()
    }
}

/// How long calls of each tool may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits(BTreeMap<String, Millis>);

impl Limits {
    /// So many times the 99th percentile (nearest rank) of the calls of each tool that ended, at least
    /// [`SHORTEST_LIMIT`].
    pub fn of(calls: &[Call], factor: f64) -> Self {
        let mut lengths: BTreeMap<&str, Vec<Micros>> = BTreeMap::new();
        for call in calls {
            let ended = lengths.entry(&call.tool).or_default();
            ended.extend(call.duration.map(micros));
        }
        let limit = |mut lengths: Vec<Micros>| {
            lengths.sort_unstable();
            let Some(longest) = percentile(&lengths, 99) else {
                return UNKNOWN_LIMIT;
            };
            let limit = Duration::from_micros(longest.0).mul_f64(factor).as_millis();
            let limit = Millis(u64::try_from(limit).unwrap_or(u64::MAX));
            limit.clamp(SHORTEST_LIMIT, MAX_RUNTIME)
        };
        let tools = lengths.into_iter();
        Self(
            tools
                .map(|(tool, lengths)| (tool.to_owned(), limit(lengths)))
                .collect(),
        )
    }

    /// That of a call.
    pub fn limit(&self, call: &Call) -> Millis {
        let of_tool = || self.0.get(&call.tool).copied().unwrap_or(UNKNOWN_LIMIT);
        call.max_runtime.unwrap_or_else(of_tool)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Millis)> {
        self.0.iter().map(|(tool, limit)| (tool.as_str(), *limit))
    }
}

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// Arrival rate times mean service over slots, which the time between arrivals is stretched to;
    /// above 0.
    pub load: f64,
    /// What of it counts as service.
    pub load_of: LoadOf,
    /// Slots.
    pub slots: usize,
    /// The share of tasks that hang, 0 to 1.
    pub hung: f64,
    /// What chance is made of.
    pub seed: u64,
}

/// What counts as the service of a drawn task, where the load is reckoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadOf {
    /// What the drawn call took, also of one that hangs: the load of work that anybody wants.
    Work,
    /// Of one that hangs, its limit: the load on the slots of a node that reaps.
    Slots,
}

/// A drawn workload, and what it offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The tasks.
    pub work: Vec<Work>,
    /// How many of them hang.
    pub hung: usize,
    /// Mean of what the drawn calls took.
    pub mean_work: Micros,
    /// The same with the limit of those that hang.
    pub mean_slots: Micros,
    /// When the last arrives, since the first.
    pub span: Micros,
}

/// Draws a call for each arrival, of those that ended; `None` if there is none, or no time between the
/// arrivals.
pub fn draw(arrivals: &[Micros], calls: &[Call], limits: &Limits, mix: &Mix) -> Option<Drawn> {
    let ended: Vec<(&Call, Duration)> = calls
        .iter()
        .filter_map(|call| Some((call, call.duration?)))
        .collect();
    let (first, last) = (arrivals.first()?, arrivals.last()?);
    if ended.is_empty() || first == last {
        return None;
    }
    let mut chance = Chance::new(mix.seed);
    let drawn: Vec<(usize, bool)> = arrivals
        .iter()
        .map(|_| (chance.below(ended.len()), chance.happens(mix.hung)))
        .collect();
    let work_time: Duration = drawn.iter().map(|(n, _)| ended[*n].1).sum();
    let slot_time = drawn.iter().map(|(n, hangs)| match ended[*n] {
        (call, _) if *hangs => Duration::from_millis(limits.limit(call).0),
        (_, took) => took,
    });
    let slot_time: Duration = slot_time.sum();
    let service = match mix.load_of {
        LoadOf::Work => work_time,
        LoadOf::Slots => slot_time,
    };
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 slots")]
    let span = service.as_secs_f64() / (mix.slots as f64 * mix.load);
    let stretch = span / Duration::from_micros(last.0 - first.0).as_secs_f64();
    let arrival = |at: &Micros| micros(Duration::from_micros(at.0 - first.0).mul_f64(stretch));
    let tasks = arrivals.iter().zip(&drawn).enumerate();
    let work: Vec<Work> = tasks
        .map(|(n, (at, (call, hangs)))| {
            let (call, duration) = ended[*call];
            let course = if *hangs {
                Course::Hangs
            } else {
                ends(duration)
            };
            task(n, arrival(at), call, course, limits)
        })
        .collect();
    let count = u32::try_from(work.len()).unwrap_or(u32::MAX);
    Some(Drawn {
        hung: drawn.iter().filter(|(_, hangs)| *hangs).count(),
        mean_work: micros(work_time / count),
        mean_slots: micros(slot_time / count),
        span: arrival(last),
        work,
    })
}

fn ends(duration: Duration) -> Course {
    Course::Ends(micros(duration).max(SHORTEST), Manner::Well)
}

fn task(n: usize, arrival: Micros, call: &Call, course: Course, limits: &Limits) -> Work {
    Work {
        id: Id::new(format!("t{}", n + 1)).expect("a letter and digits are an id"),
        arrival: Timestamp(BEGIN.0.saturating_add(arrival.0)),
        queue: call.queue,
        max_runtime: limits.limit(call),
        terms: None,
        courses: vec![course],
        withdrawn: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace::read_calls;
    use super::*;

    fn made(text: &str) -> Made {
        Made::of(read_calls(text.as_bytes()).unwrap())
    }

    #[test]
    fn calls_arrive_when_they_did_in_their_run() {
        let made = made(
            r#"{"run":"a","tool":"Read","start_s":9,"duration_s":1}
{"run":"b","tool":"Bash","start_s":4}
{"run":"a","tool":"Read","start_s":3,"duration_s":2}
{"run":"a","tool":"Read","start_s":8009,"duration_s":1}"#,
        );
        let arrivals: Vec<u64> = made.calls.iter().map(|(at, _)| at.as_secs()).collect();
        assert_eq!(arrivals, [3, 4, 9, 609]);
        assert_eq!((made.runs, made.unended, made.pauses_cut), (2, 1, 1));
        let calls: Vec<Call> = made.calls.iter().map(|(_, call)| call.clone()).collect();
        let limits = Limits::of(&calls, 10.0);
        let work = made.work(&limits, Unended::LeftOut);
        assert_eq!(work.len(), 3);
        assert_eq!(work[1].arrival, Timestamp(BEGIN.0 + 9_000_000));
        assert_eq!(work[0].max_runtime, Millis(20_000));
        let work = made.work(&limits, Unended::Hang);
        assert_eq!(work[1].courses, [Course::Hangs]);
        assert_eq!(work[1].max_runtime, UNKNOWN_LIMIT);
    }

    #[test]
    fn what_is_drawn_offers_the_load_that_was_asked_for() {
        let calls = read_calls(
            &br#"{"run":"a","tool":"Read","start_s":0,"duration_s":0.5}
{"run":"a","tool":"Bash","start_s":0,"duration_s":6}
{"run":"a","tool":"Bash","start_s":0}"#[..],
        )
        .unwrap();
        let arrivals: Vec<Micros> = (0..2_000).map(|n| Micros(n * n)).collect();
        let limits = Limits::of(&calls, 10.0);
        let mix = Mix {
            load: 0.8,
            load_of: LoadOf::Work,
            slots: 4,
            hung: 0.25,
            seed: 7,
        };
        let drawn = draw(&arrivals, &calls, &limits, &mix).unwrap();
        assert_eq!(drawn, draw(&arrivals, &calls, &limits, &mix).unwrap());
        let offered = |mean: Micros, span: Micros| 2_000 * mean.0 / (4 * span.0 / 100);
        let of_work = offered(drawn.mean_work, drawn.span);
        assert!((79..=80).contains(&of_work), "{of_work}");
        let load_of = LoadOf::Slots;
        let slots = draw(&arrivals, &calls, &limits, &Mix { load_of, ..mix }).unwrap();
        let of_slots = offered(slots.mean_slots, slots.span);
        assert!((79..=80).contains(&of_slots), "{of_slots}");
        assert!(slots.mean_slots.0 > 3 * slots.mean_work.0);
        assert!((400..600).contains(&drawn.hung), "{}", drawn.hung);
        let other = Mix { seed: 8, ..mix };
        assert_ne!(drawn, draw(&arrivals, &calls, &limits, &other).unwrap());
        assert_eq!(draw(&arrivals[..1], &calls, &limits, &mix), None);
        assert_eq!(draw(&arrivals, &calls[2..], &limits, &mix), None);
    }
}
