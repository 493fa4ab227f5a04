//! Tables: names on the left, figures on the right.

use comfy_table::{
    CellAlignment, Table,
    presets::{NOTHING, UTF8_FULL_CONDENSED},
};

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

/// Lays texts out in columns, two spaces apart, without lines.
///
/// Cells are shown as they are: make text from outside [printable](crate::printable) before.
pub fn columns<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> String {
    const APART: u16 = 2;
    let mut table = Table::new();
    table.load_style(NOTHING);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, APART));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
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

    #[test]
    fn columns_stand_two_spaces_apart_and_end_without_spaces() {
        let rows = [
            ["PROJECT", "NEXT", "WHY"],
            ["a", "in 18s", ""],
            ["größer", "", "x"],
        ];
        let shown = columns(rows.map(|row| row.map(str::to_owned)));
        assert_eq!(
            shown,
            "PROJECT  NEXT    WHY\na        in 18s\ngrößer           x"
        );
        assert_eq!(columns::<2>([]), "");
    }
}
