//! Tables in Markdown, aligned so that they read well on a terminal too.

use super::stats::Spread;

/// A table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|cell| (*cell).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text that ends with a line break.
    pub(crate) fn markdown(&self) -> String {
        let columns = self.head.len();
        let cell = |row: &[String], column: usize| row.get(column).map_or("", String::as_str).replace('|', "/");
        let width = |column: usize| {
            let cells = std::iter::once(&self.head)
                .chain(&self.rows)
                .map(|row| cell(row, column).chars().count());
            cells.max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &[String]| {
            let cells = widths.iter().enumerate().map(|(column, width)| {
                let text = cell(row, column);
                let fill = " ".repeat(width - text.chars().count());
                format!(" {text}{fill} |")
            });
            format!("|{}\n", cells.collect::<String>())
        };
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}|{}|\n{rows}", line(&self.head), rule.join("|"))
    }
}

/// `1.23 [1.11–1.30]` with so many decimals; a dash when there is nothing.
pub(crate) fn spread(values: &[f64], decimals: usize) -> String {
    let Some(found) = Spread::of(values) else {
        return "–".to_owned();
    };
    let number = |value: f64| grouped(value, decimals);
    if values.len() == 1 {
        return number(found.median);
    }
    format!("{} [{}–{}]", number(found.median), number(found.min), number(found.max))
}

/// A number with thousands set apart by commas.
pub(crate) fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    let sign = if value < 0.0 { "−" } else { "" };
    format!("{sign}{out}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_bars_cannot_break_a_table() {
        let mut table = Table::new(&["client", "µs"]);
        table.row(vec!["a|b".to_owned(), "1".to_owned()]);
        table.row(vec!["–".to_owned()]);
        assert_eq!(
            table.markdown(),
            "| client | µs  |\n|--------|-----|\n| a/b    | 1   |\n| –      |     |\n"
        );
    }

    #[test]
    fn numbers_are_grouped_and_ranges_shown() {
        assert_eq!(grouped(1_234_567.0, 0), "1,234,567");
        assert_eq!(grouped(999.0, 0), "999");
        assert_eq!(grouped(-1_000.25, 1), "−1,000.2");
        assert_eq!(spread(&[3.0, 1.0, 2_000.0], 2), "3.00 [1.00–2,000.00]");
        assert_eq!(spread(&[3.0], 1), "3.0");
        assert_eq!(spread(&[], 1), "–");
    }
}
