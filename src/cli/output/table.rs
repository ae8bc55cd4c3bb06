//! Tables without lines: columns two blanks apart, numbers to the right, and on a terminal cut to
//! its width at the one column that may be long.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement};

use super::style::Paint;
use super::text;

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    kind: ColumnKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ColumnKind {
    Text,
    Number,
    Elastic,
}

impl Column {
    /// Text.
    pub(crate) const fn text(title: &'static str) -> Self {
        Self {
            title,
            kind: ColumnKind::Text,
        }
    }

    /// Numbers, which align at their ends.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self {
            title,
            kind: ColumnKind::Number,
        }
    }

    /// Text that gives way when there is not enough room; the last column.
    pub(crate) const fn elastic(title: &'static str) -> Self {
        Self {
            title,
            kind: ColumnKind::Elastic,
        }
    }
}

/// A table; cells hold safe text, painted or not after it was cut.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The lines, at most `width` columns wide if that can be done by cutting elastic columns;
    /// `paint` colors a finished cell by its column and content.
    pub(crate) fn render(
        &self,
        width: Option<usize>,
        header: Paint,
        paint: &dyn Fn(usize, &str) -> String,
    ) -> Vec<String> {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                let cells = self.rows.iter().map(|row| text::width(&row[i]));
                cells
                    .chain([text::width(self.columns[i].title)])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let total: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let over = width.map_or(0, |max| total.saturating_sub(max));
        let room = |i: usize| match self.columns[i].kind {
            ColumnKind::Elastic => widths[i].saturating_sub(over).max(4),
            ColumnKind::Text | ColumnKind::Number => widths[i],
        };
        let mut table = comfy_table::Table::new();
        table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(
            self.columns
                .iter()
                .map(|c| Cell::new(c.title))
                .collect::<Vec<_>>(),
        );
        for row in &self.rows {
            let cells = row
                .iter()
                .enumerate()
                .map(|(i, cell)| Cell::new(text::cut(cell, room(i))));
            table.add_row(cells.collect::<Vec<_>>());
        }
        for (i, column) in self.columns.iter().enumerate() {
            if let Some(formatted) = table.column_mut(i) {
                formatted.set_padding((0, if i + 1 == self.columns.len() { 0 } else { 2 }));
                if column.kind == ColumnKind::Number {
                    formatted.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        let lines = table.lines().enumerate();
        lines
            .map(|(n, line)| self.finish(n, line.trim_end(), header, paint))
            .collect()
    }

    /// Paints the cells of a line where they stand, so that color never counts as width.
    fn finish(
        &self,
        n: usize,
        line: &str,
        header: Paint,
        paint: &dyn Fn(usize, &str) -> String,
    ) -> String {
        let Some(row) = n.checked_sub(1).and_then(|n| self.rows.get(n)) else {
            return header.dim(line);
        };
        let (mut out, mut rest) = (String::new(), line);
        for (i, cell) in row.iter().enumerate() {
            // A cell that was cut is left as it is: only whole words carry a color.
            if let Some(at) = (!cell.is_empty())
                .then(|| rest.find(cell.as_str()))
                .flatten()
            {
                out.push_str(&rest[..at]);
                out.push_str(&paint(i, cell));
                rest = &rest[at + cell.len()..];
            }
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_the_elastic_one_gives_way() {
        let mut table = Table::new(&[
            Column::text("NAME"),
            Column::number("N"),
            Column::elastic("WHAT"),
        ]);
        table.row(vec!["a".into(), "1".into(), "short".into()]);
        table.row(vec![
            "long-name".into(),
            "1234".into(),
            "a rather long text at the end".into(),
        ]);
        let plain = |_: usize, cell: &str| cell.to_owned();
        let lines = table.render(Some(30), Paint::NEVER, &plain);
        assert_eq!(
            lines,
            [
                "NAME          N  WHAT",
                "a             1  short",
                "long-name  1234  a rather lon…"
            ]
        );
        assert!(table.render(None, Paint::NEVER, &plain)[2].ends_with("at the end"));
    }
}
