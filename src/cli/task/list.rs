//! `ledger task list`.

use ledger_core::clock;
use ledger_core::event::Priority;
use projections::tasks::{StateName, TaskView, Tasks};

use super::view::{fold, held_by, paint_state, policy};
use crate::api::wire::TaskQuery;
use crate::cli::error::{Exit, Failure};
use crate::cli::filter_args::AtArg;
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::event::payload_line;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::text::cut_middle;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Source;
use crate::scheduler::held;
use crate::units::format_duration;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only in this state: queued, held, running, cancelling, completed, cancelled, dead
    #[arg(long, value_name = "STATE")]
    state: Option<StateName>,
    /// Only of this queue: 0, 1 or 2
    #[arg(long, short = 'p', value_name = "N")]
    priority: Option<Priority>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value = "100")]
    limit: usize,
    #[command(flatten)]
    at: AtArg,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let at = args.at.seq(source.reader())?;
    let policy = policy(globals, &data_dir)?;
    let views = match &source {
        Source::Node(node) => {
            let query = TaskQuery {
                state: args.state.map(|state| state.as_str().to_owned()),
                priority: args.priority.map(Priority::level),
                limit: Some(args.limit),
                at,
            };
            node.wait(async { node.client().tasks(&query).await?.collect().await })?
        }
        Source::Files(_) => {
            let folded = fold::<Tasks>(source.reader(), at)?;
            let tasks = folded.state();
            let now = clock::now();
            let tasks = tasks
                .iter()
                .rev()
                .map(|task| held::view(tasks, &policy, task, now));
            let wanted = tasks.filter(|task| {
                args.state.is_none_or(|state| task.state == state)
                    && args.priority.is_none_or(|queue| task.priority == queue)
            });
            wanted.take(args.limit).collect()
        }
    };
    let mut out = globals.out(Paging::Allowed, Buffering::Full);
    if globals.json {
        out.json(&views)?;
    } else {
        let id_width = out
            .width
            .map_or(usize::MAX, |columns| (columns / 4).clamp(16, 36));
        let mut table = Table::new(&[
            Column::text("TASK"),
            Column::text("STATE"),
            Column::text("QUEUE"),
            Column::number("ATTEMPT"),
            Column::number("RUNTIME"),
            Column::number("EXIT"),
            Column::elastic("COMMAND"),
        ]);
        for view in &views {
            table.row(row(view, id_width));
        }
        let paint = out.paint;
        let color = |column: usize, cell: &str| match column {
            1 => paint_state(paint, cell),
            _ => cell.to_owned(),
        };
        let lines = table.render(out.width, paint, &color);
        out.lines(lines)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

fn row(view: &TaskView, id_width: usize) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![
        cut_middle(&view.task_id, id_width),
        view.state.as_str().to_owned(),
        view.priority.to_string(),
        view.attempt
            .map_or_else(dash, |attempt| attempt.to_string()),
        view.runtime_us.map_or_else(dash, format_duration),
        view.exit_code.map_or_else(dash, |code| code.to_string()),
        match &view.held {
            Some(held) => format!(
                "({}) {}",
                held_by(held),
                escape(&payload_line(&view.payload))
            ),
            None => escape(&payload_line(&view.payload)).into_owned(),
        },
    ]
}
