//! Columns without lines: a heading, then a row for each thing, readable by people and by `awk`.

use crate::render::style::{BOLD, clean, paint};
use anstyle::Style;

/// A piece of a row: its style and its text.
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// In this style. An empty text becomes "-", so that columns can be counted.
    pub(crate) fn styled(style: Style, text: impl AsRef<str>) -> Self {
        let text = clean(text.as_ref());
        Self { text: if text.is_empty() { "-".to_string() } else { text.into_owned() }, style }
    }

    /// Without any.
    pub(crate) fn plain(text: impl AsRef<str>) -> Self {
        Self::styled(Style::new(), text)
    }
}

/// The table as text; every line ends with a newline and without blanks.
pub(crate) fn table(heading: &[&str], rows: &[Vec<Cell>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
        cells.chain(heading.get(column).map(|text| text.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let heading: Vec<Cell> = heading.iter().map(|text| Cell::styled(BOLD, text)).collect();
    std::iter::once(&heading).chain(rows).map(|row| line(row, &widths)).collect()
}

fn line(row: &[Cell], widths: &[usize]) -> String {
    let mut text = String::new();
    for (column, cell) in row.iter().enumerate() {
        text.push_str(&paint(cell.style, &cell.text));
        if column + 1 < row.len() {
            let blank = widths[column].saturating_sub(cell.text.chars().count()) + 3;
            text.extend(std::iter::repeat_n(' ', blank));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_no_line_ends_in_blanks() {
        let rows = [vec![Cell::plain("storefront/web"), Cell::plain("3/3")], vec![Cell::plain("x"), Cell::plain("")]];
        let text = anstream::adapter::strip_str(&table(&["WORKLOAD", "RUNNING"], &rows)).to_string();
        assert_eq!(text, "WORKLOAD         RUNNING\nstorefront/web   3/3\nx                -\n");
    }
}
