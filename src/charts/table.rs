//! Tables: names on the left, figures on the right.

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

/// Lays a table out for a terminal: the first column to the left, the others to the right.
///
/// Cells are shown as they are: make text from outside [printable](crate::printable) before.
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_to_the_right_under_their_header() {
        let rows = [("failed", 7), ("answered", 2431)];
        let shown = table(
            ["lookups", "with evenkeel"],
            rows.map(|(name, figure)| [name.to_owned(), figure.to_string()]),
        );
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines.len(), 6, "{shown}");
        assert_eq!(lines[1], "│ lookups  ┆ with evenkeel │", "{shown}");
        assert_eq!(lines[3], "│ failed   ┆             7 │", "{shown}");
        assert_eq!(lines[4], "│ answered ┆          2431 │", "{shown}");
    }
}
