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
    let policy = policy(globals, &source, &data_dir)?;
    let views = match &source {
        Source::Node(node) => {
            let query = TaskQuery {
                state: args.state.map(|state| state.as_str().to_owned()),
                priority: args.priority.map(Priority::level),
                prefix: None,
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
        let longest = views.iter().map(|view| view.task_id.len()).max();
        let shown = columns(out.width, longest.unwrap_or(0));
        let titles: Vec<_> = shown.iter().map(|i| COLUMNS[*i]).collect();
        let mut table = Table::new(&titles);
        for view in &views {
            let cells = row(view);
            table.row(shown.iter().map(|i| cells[*i].clone()).collect());
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

/// All columns. Ids are never cut: somebody will want to copy one.
const COLUMNS: [Column; 7] = [
    Column::text("TASK"),
    Column::text("STATE"),
    Column::text("QUEUE"),
    Column::number("ATTEMPT"),
    Column::number("RUNTIME"),
    Column::number("EXIT"),
    Column::elastic("COMMAND"),
];
/// What is left out where there is no room for all, first things first: `ledger task show` has it.
const EXPENDABLE: [usize; 3] = [3, 2, 4];
/// What the columns between the id and the command take, together with the gaps.
const BETWEEN: usize = 54;
/// What each of the expendable ones takes of that.
const WIDTHS: [usize; 3] = [9, 16, 9];
/// Less of a command says nothing.
const COMMAND: usize = 12;

/// The columns for which a terminal has room.
fn columns(width: Option<usize>, longest_id: usize) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..COLUMNS.len()).collect();
    let Some(width) = width else {
        return shown;
    };
    let mut taken = longest_id + BETWEEN + COMMAND;
    for (column, freed) in EXPENDABLE.into_iter().zip(WIDTHS) {
        if taken > width {
            shown.retain(|i| *i != column);
            taken -= freed;
        }
    }
    shown
}

fn row(view: &TaskView) -> [String; 7] {
    let dash = || "-".to_owned();
    [
        view.task_id.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_before_ids_do() {
        assert_eq!(columns(None, 128).len(), 7);
        assert_eq!(columns(Some(120), 36).len(), 7);
        assert_eq!(columns(Some(80), 36), [0, 1, 4, 5, 6]);
        assert_eq!(columns(Some(60), 36), [0, 1, 5, 6]);
        assert_eq!(columns(Some(80), 10), [0, 1, 2, 3, 4, 5, 6]);
    }
}
