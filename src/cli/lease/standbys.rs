//! The nodes beside the one that leads, as they are shown.

use crate::api::wire::{Neighbor, Role};
use crate::cli::output::Out;
use crate::cli::output::escape::escape;
use crate::cli::output::table::{Column, Table};
use crate::units::{count_of, format_count};

/// Whether it could take over now.
pub(crate) fn is_ready(node: &Neighbor) -> bool {
    node.standing
        .as_ref()
        .is_some_and(|s| s.role == Role::Standby && s.trouble.is_none())
}

/// What is wrong with it.
fn trouble(node: &Neighbor) -> Option<String> {
    match (&node.standing, &node.error) {
        (Some(standing), _) if standing.role == Role::Leader => {
            Some("says that it leads too".to_owned())
        }
        (Some(standing), _) => standing.trouble.clone(),
        (None, Some(error)) => Some(error.to_string()),
        (None, None) => Some("nothing is known of it".to_owned()),
    }
}

/// All of them, one a line.
pub(super) fn table(out: &Out, nodes: &[Neighbor]) -> Vec<String> {
    let mut table = Table::new(&[
        Column::text("NODE"),
        Column::number("PID"),
        Column::number("SEQ"),
        Column::number("BEHIND"),
        Column::elastic("STATE"),
    ]);
    let dash = || "-".to_owned();
    for node in nodes {
        let standing = node.standing.as_ref();
        let state = trouble(node).unwrap_or_else(|| READY.to_owned());
        table.row(vec![
            node.node.to_string(),
            standing.map_or_else(dash, |s| s.pid.to_string()),
            standing.map_or_else(dash, |s| s.seq.to_string()),
            node.behind.map_or_else(dash, format_count),
            escape(&state).into_owned(),
        ]);
    }
    let paint = out.paint;
    table.render(out.width, paint, &|column, cell| match (column, cell) {
        (4, READY) => paint.good(cell),
        (4, _) => paint.bad(cell),
        _ => cell.to_owned(),
    })
}

const READY: &str = "stands by";

/// All of them in one line, for a screen that is about more.
pub(crate) fn line(out: &Out, nodes: &[Neighbor]) -> String {
    /// Columns for what is named; how many more there are comes behind.
    const ROOM: usize = 60;
    if nodes.is_empty() {
        return out
            .paint
            .warn("none: nobody takes over; start one with `ledger up --node NAME`");
    }
    let mut line = String::new();
    let mut length = 0;
    for (at, node) in nodes.iter().enumerate() {
        let plain = match (is_ready(node), node.behind) {
            (false, _) => format!("{} can't take over", node.node),
            (true, None | Some(0)) => format!("{}, up to date", node.node),
            (true, Some(behind)) => {
                format!("{}, {} behind", node.node, count_of(behind, "event"))
            }
        };
        if at > 0 && length + 2 + plain.chars().count() > ROOM {
            line.push_str(&format!("; {} more", nodes.len() - at));
            break;
        }
        if at > 0 {
            line.push_str("; ");
        }
        length += 2 + plain.chars().count();
        line.push_str(&match is_ready(node) {
            true => plain,
            false => out.paint.bad(&plain),
        });
    }
    line
}

/// What an operator must know of them.
pub(crate) fn warnings(nodes: &[Neighbor]) -> Vec<String> {
    let troubled = nodes.iter().filter_map(|node| Some((node, trouble(node)?)));
    troubled
        .map(|(node, trouble)| format!("node {} can't take over: {trouble}", node.node))
        .collect()
}
