//! The tables that people read, 80 columns wide.

use std::fmt::Write;

use opsledger::simulate::mix::LoadOf;

use super::plot;
use super::report::{Comparison, Figures, Over, Report, Setting};
use super::{ARMS, Arm};

/// What is to be reached against first in first out without a reaper: figures that are published for
/// another scheduler (AgentRM, arXiv 2603.13110) on workloads whose parameters are not.
const WAIT_BAR: f64 = -0.86;
const WASTE_BAR: f64 = -0.96;
const THROUGHPUT_BAR: f64 = 2.68;
/// The load at which the last of them is asked for.
const THROUGHPUT_LOAD: f64 = 1.2;

/// The whole text.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write_all(&mut out, report);
    out
}

fn write_all(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "{} tasks, one of {} calls that ended drawn for each; {} slots; {:.0}% hang until\n\
         they are reaped or the horizon, which is the last arrival; limit {} times the\n\
         tool's p99, at least 1 s; medians over seeds 1 to {}. A wait that is not over\n\
         at the horizon counts as long as it was.",
        report.tasks,
        report.calls,
        report.slots,
        report.hung * 100.0,
        report.limit_factor,
        report.seeds,
    )?;
    let limits = report.limits_ms.iter();
    #[expect(clippy::cast_precision_loss, reason = "limits are below 2^52 ms")]
    let limits = limits.map(|(tool, ms)| format!("{tool} {}", short(*ms as f64 / 1000.0)));
    let limits: Vec<String> = limits.collect();
    writeln!(out, "\nlimits, s:")?;
    for line in limits.chunks(5) {
        writeln!(out, "  {}", line.join(", "))?;
    }
    for setting in &report.settings {
        write_setting(out, setting)?;
    }
    if let Some(machine) = &report.machine {
        writeln!(
            out,
            "\n== on a real node, time {} times as fast, told in the trace's time; seed 1; in\n\
             brackets the same in virtual time; left: hung at the horizon; after: processes\n\
             that were there when the node had ended",
            report.time_scale
        )?;
        for line in machine.lines() {
            writeln!(out, "{line}")?;
        }
    }
    for comparison in &report.real {
        write_real(out, comparison)?;
    }
    Ok(())
}

fn write_setting(out: &mut String, setting: &Setting) -> std::fmt::Result {
    #[expect(clippy::cast_precision_loss, reason = "times are below 2^52 µs")]
    let drawn = |of: fn(&super::report::Draw) -> u64| setting.drawn(|draw| of(draw) as f64);
    let work = drawn(|draw| draw.mean_work_us.0) / 1e6;
    let slots = drawn(|draw| draw.mean_slots_us.0) / 1e6;
    let (of, other, load) = match setting.load_of {
        LoadOf::Work => ("work", "slots", setting.load * slots / work),
        LoadOf::Slots => ("slots", "work", setting.load * work / slots),
    };
    writeln!(
        out,
        "\n== load {} of {of} ({load:.2} of {other}): horizon {} s, mean service {work:.2} s,\n   \
         {slots:.2} s with the limit of what hangs; {} tasks hang\n",
        setting.load,
        short(drawn(|draw| draw.horizon_us.0) / 1e6),
        drawn(|draw| draw.hung as u64),
    )?;
    writeln!(
        out,
        "{:<12}  {:^40}  {:>6} {:>6} {:>5}",
        "", "wait, s: p50 / p95", "done", "slots", "left"
    )?;
    writeln!(
        out,
        "{:<12}{:>14}{:>14}{:>14}  {:>6} {:>6} {:>5}",
        "", "interactive", "standard", "background", "a s", "hung", "over"
    )?;
    for (n, arm) in ARMS.iter().enumerate() {
        let at = |queue: usize, p: usize| setting.figure(n, |f| f.waits_s[queue][p]).median;
        let wait = |queue| format!("{} / {}", short(at(queue, 0)), short(at(queue, 1)));
        #[expect(clippy::cast_precision_loss, reason = "at most as many as slots")]
        let left = setting.figure(n, |f| f.leftover as f64).median;
        writeln!(
            out,
            "{:<12}{:>14}{:>14}{:>14}  {:>6.3} {:>5.1}% {left:>5}",
            arm.name,
            wait(0),
            wait(1),
            wait(2),
            setting.figure(n, |f| f.throughput_per_s).median,
            setting.figure(n, |f| f.waste).median * 100.0,
        )?;
    }
    out.push('\n');
    plot::waits(out, setting)?;
    out.push('\n');
    write_ratios(out, setting)
}

/// How the arms stand to the first of them, and the last to the one that differs from it in the order
/// alone.
fn write_ratios(out: &mut String, setting: &Setting) -> std::fmt::Result {
    let all = "all seeds";
    writeln!(
        out,
        "{:<18}{:>12}{:>12}{:>12}{:>12}  wanted",
        "against fifo", "fifo+reaper", "mlfq", "mlfq+reaper", all
    )?;
    let mut row = |name: &str, of: fn(&Figures) -> f64, bar: Option<Bar>| {
        let told = |over: f64| bar.map_or_else(|| share(over), |bar| bar.told(over));
        let ratio = |arm| setting.ratio(arm, 0, of);
        let last = ratio(3);
        // The unit stands once.
        let least = told(last.least);
        let range = format!(
            "{}..{}",
            least.trim_end_matches(['%', 'x']),
            told(last.most)
        );
        let verdict = bar.map_or_else(String::new, |bar| bar.verdict(last));
        writeln!(
            out,
            "{name:<18}{:>12}{:>12}{:>12}{range:>12}  {verdict}",
            told(ratio(1).median),
            told(ratio(2).median),
            told(last.median),
        )
    };
    let times = |at_least| Some(Bar::Times(at_least));
    let of_load = setting.load >= THROUGHPUT_LOAD;
    row(
        "  interactive p95",
        |f| f.waits_s[0][1],
        Some(Bar::Less(WAIT_BAR)),
    )?;
    row("  hung slots", |f| f.waste, Some(Bar::Less(WASTE_BAR)))?;
    row(
        "  throughput",
        |f| f.throughput_per_s,
        times(of_load.then_some(THROUGHPUT_BAR)),
    )?;
    writeln!(
        out,
        "\nmlfq+reaper against fifo+reaper, what the order alone gains:"
    )?;
    for (queue, name) in ["interactive", "standard", "background"]
        .into_iter()
        .enumerate()
    {
        let gain = |p: usize| share(setting.ratio(3, 1, |f| f.waits_s[queue][p]).median);
        writeln!(
            out,
            "  {name:<12} p50 {:>6}  p95 {:>6}  p99 {:>6}",
            gain(0),
            gain(1),
            gain(2)
        )?;
    }
    let done = setting.ratio(3, 1, |f| f.throughput_per_s);
    writeln!(
        out,
        "  throughput   {:.2}x ({:.2}..{:.2})",
        done.median, done.least, done.most
    )
}

/// What is asked of a ratio.
#[derive(Debug, Clone, Copy)]
enum Bar {
    /// So much less, as a change.
    Less(f64),
    /// So many times as much, where that is asked at all.
    Times(Option<f64>),
}

impl Bar {
    fn told(self, ratio: f64) -> String {
        match self {
            Self::Less(_) => share(ratio),
            Self::Times(_) if ratio.is_finite() => format!("{ratio:.1}x"),
            Self::Times(_) => "-".to_owned(),
        }
    }

    fn verdict(self, over: Over) -> String {
        let met = |met: bool| if met { "met" } else { "missed" };
        match self {
            Self::Less(change) => {
                format!(
                    "{} {}",
                    share(1.0 + change),
                    met(over.median - 1.0 <= change)
                )
            }
            Self::Times(Some(times)) => format!("{times}x {}", met(over.median >= times)),
            Self::Times(None) => String::new(),
        }
    }
}

fn write_real(out: &mut String, comparison: &Comparison) -> std::fmt::Result {
    writeln!(
        out,
        "\nload {} of work\n{:<12}{:>20}{:>16}{:>16}{:>9}{:>7}",
        comparison.load, "", "interactive p95, s", "done a s", "hung slots", "left", "after"
    )?;
    for run in &comparison.runs {
        let (real, simulated) = (&run.real, &run.simulated);
        let pair = |real: String, simulated: String| format!("{real} ({simulated})");
        let wait = |f: &Figures| short(f.waits_s[0][1]);
        let done = |f: &Figures| format!("{:.3}", f.throughput_per_s);
        let hung = |f: &Figures| format!("{:.1}%", f.waste * 100.0);
        writeln!(
            out,
            "{:<12}{:>20}{:>16}{:>16}{:>9}{:>7}",
            run.arm,
            pair(wait(real), wait(simulated)),
            pair(done(real), done(simulated)),
            pair(hung(real), hung(simulated)),
            pair(real.leftover.to_string(), simulated.leftover.to_string()),
            run.processes_left,
        )?;
    }
    Ok(())
}

/// A change: `-86%`, `+3%`.
fn share(ratio: f64) -> String {
    if ratio.is_finite() {
        format!("{:+.0}%", (ratio - 1.0) * 100.0)
    } else {
        "-".to_owned()
    }
}

/// Seconds in at most six characters.
pub(super) fn short(seconds: f64) -> String {
    match seconds {
        s if s <= 0.0 => "0".to_owned(),
        s if s < 0.01 => format!("{s:.3}"),
        s if s < 1.0 => format!("{s:.2}"),
        s if s < 100.0 => format!("{s:.1}"),
        s => format!("{s:.0}"),
    }
}

/// An arm's name, for the plot.
pub(super) fn name(arm: &Arm) -> &'static str {
    arm.name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_changes_have_a_sign() {
        assert_eq!(short(0.0), "0");
        assert_eq!(short(0.0049), "0.005");
        assert_eq!(short(0.25), "0.25");
        assert_eq!(short(31.26), "31.3");
        assert_eq!(short(1404.2), "1404");
        assert_eq!(share(0.14), "-86%");
        assert_eq!(share(1.03), "+3%");
        assert_eq!(share(f64::NAN), "-");
    }

    #[test]
    fn a_bar_is_met_or_missed_by_the_median() {
        let over = |median| Over {
            median,
            least: 0.0,
            most: 9.0,
        };
        assert_eq!(Bar::Less(WAIT_BAR).verdict(over(0.14)), "-86% met");
        assert_eq!(Bar::Less(WAIT_BAR).verdict(over(0.15)), "-86% missed");
        assert_eq!(Bar::Times(Some(2.68)).verdict(over(2.7)), "2.68x met");
        assert_eq!(Bar::Times(Some(2.68)).verdict(over(2.6)), "2.68x missed");
        assert_eq!(Bar::Less(WASTE_BAR).verdict(over(f64::NAN)), "-96% missed");
    }
}
