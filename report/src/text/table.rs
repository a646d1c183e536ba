//! Tables with fixed columns. Words wrap; numbers are never cut: where they do not fit side by side, the table goes on
//! below with the rest of its columns.

use super::WIDTH;
use super::wrap::{width, wrap};
use crate::clean::{MESSAGE_MAX, clean};
use crate::number::count;
use crate::put::put;
use crate::section::{Column, Row, Table};

const INDENT: usize = 2;
/// What is tried in turn to make a table fit: how narrow columns of words may become, and the gap between columns.
const SQUEEZES: [(usize, usize); 4] = [(24, 2), (16, 2), (16, 1), (10, 1)];
/// Widest that a column of words starts with.
const WORDS_MAX: usize = 60;
/// Most lines of one cell.
const CELL_LINES_MAX: usize = 3;

pub(super) fn write(out: &mut String, table: &Table) {
    if !table.caption.is_empty() {
        put!(out, "  {}\n", table.caption);
    }
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| row.cells.iter().map(|cell| clean(cell, MESSAGE_MAX)).collect())
        .collect();
    let widths = natural(&table.columns, &rows);
    let blocks = blocks(&table.columns, widths);
    for (n, block) in blocks.iter().enumerate() {
        block.head(out, &table.columns);
        for (row, cells) in table.rows.iter().zip(&rows) {
            block.row(out, &table.columns, cells);
            if n == 0 {
                note(out, row);
            }
        }
    }
    if table.left_out > 0 {
        put!(out, "  … {} more rows left out\n", count(table.left_out as u64));
    }
}

fn note(out: &mut String, row: &Row) {
    let Some(note) = &row.note else { return };
    let indent = INDENT + 5;
    for line in wrap(&clean(note, MESSAGE_MAX), WIDTH - indent, CELL_LINES_MAX) {
        put!(out, "{:indent$}{line}\n", "");
    }
}

/// The columns that stand side by side, with their widths.
struct Block {
    columns: Vec<(usize, usize)>,
    gap: usize,
}

fn natural(columns: &[Column], rows: &[Vec<String>]) -> Vec<usize> {
    let widest = |(n, column): (usize, &Column)| {
        let cells = rows.iter().filter_map(|row| row.get(n)).map(|cell| width(cell)).max();
        let cells = cells.unwrap_or(0);
        match column {
            Column::Text(head) => width(head).max(cells.min(WORDS_MAX)),
            Column::Number(head) => width(head).max(cells),
        }
    };
    columns.iter().enumerate().map(widest).collect()
}

/// Shrinks columns of words until the table fits; if that is not enough, spreads it over several blocks, each led by
/// the first column of words.
fn blocks(columns: &[Column], mut widths: Vec<usize>) -> Vec<Block> {
    for (least, gap) in SQUEEZES {
        let total = |widths: &[usize]| INDENT + widths.iter().sum::<usize>() + gap * widths.len().saturating_sub(1);
        while total(&widths) > WIDTH {
            let shrinkable = columns.iter().zip(&widths).enumerate();
            let widest = shrinkable
                .filter(|(_, (column, wide))| matches!(column, Column::Text(_)) && **wide > least)
                .max_by_key(|(_, (_, wide))| **wide);
            let Some((widest, _)) = widest else { break };
            widths[widest] -= 1;
        }
        if total(&widths) <= WIDTH {
            return vec![Block {
                columns: widths.into_iter().enumerate().collect(),
                gap,
            }];
        }
    }
    spread(columns, &widths)
}

fn spread(columns: &[Column], widths: &[usize]) -> Vec<Block> {
    let gap = 2;
    let leader = columns
        .iter()
        .position(|column| matches!(column, Column::Text(head) if !head.is_empty()));
    let mut blocks: Vec<Block> = Vec::new();
    let mut used = WIDTH;
    for (n, wide) in widths.iter().enumerate() {
        if used + gap + wide > WIDTH {
            let lead = leader.filter(|lead| !blocks.is_empty() && *lead != n);
            let start: Vec<(usize, usize)> = lead.map(|lead| (lead, widths[lead])).into_iter().collect();
            used = INDENT + start.iter().map(|(_, wide)| wide + gap).sum::<usize>();
            blocks.push(Block { columns: start, gap });
        } else {
            used += gap;
        }
        used += wide;
        if let Some(block) = blocks.last_mut() {
            block.columns.push((n, *wide));
        }
    }
    blocks
}

impl Block {
    fn head(&self, out: &mut String, columns: &[Column]) {
        let heads = self.columns.iter().map(|(n, _)| vec![columns[*n].head().to_owned()]);
        self.lines(out, columns, &heads.collect::<Vec<_>>());
    }

    fn row(&self, out: &mut String, columns: &[Column], cells: &[String]) {
        let cells = self.columns.iter().map(|(n, wide)| {
            let cell = cells.get(*n).map_or("", String::as_str);
            match columns[*n] {
                Column::Text(_) => wrap(cell, *wide, CELL_LINES_MAX),
                Column::Number(_) => vec![cell.to_owned()],
            }
        });
        self.lines(out, columns, &cells.collect::<Vec<_>>());
    }

    fn lines(&self, out: &mut String, columns: &[Column], cells: &[Vec<String>]) {
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..height {
            let mut line = " ".repeat(INDENT);
            for (shown, ((n, wide), cell)) in self.columns.iter().zip(cells).enumerate() {
                if shown > 0 {
                    line.push_str(&" ".repeat(self.gap));
                }
                let text = cell.get(at).map_or("", String::as_str);
                let pad = " ".repeat(wide.saturating_sub(width(text)));
                match columns[*n] {
                    Column::Text(_) => line.extend([text, &pad]),
                    Column::Number(_) => line.extend([pad.as_str(), text]),
                }
            }
            put!(out, "{}\n", line.trim_end());
        }
    }
}
