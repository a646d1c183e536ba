//! Data rows: parsed once per run, only the columns that the plan uses, in one block of text per file.

mod pick;
mod read;

pub(super) use pick::{NoRow, pick};
pub(super) use read::read;

/// Largest data file, in bytes.
const FILE_MAX: usize = 256 * 1024 * 1024;
/// Marks a cell that a row does not have.
const ABSENT: u32 = u32::MAX;

/// The rows of one data set.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    text: Box<str>,
    /// Row after row, begin and end of each cell in `text`.
    cells: Box<[(u32, u32)]>,
    columns: usize,
    rows: u32,
}

impl Table {
    /// Number of rows.
    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// A cell; `None` when the row has no such field.
    pub(super) fn cell(&self, row: u32, column: u16) -> Option<&str> {
        let place = row as usize * self.columns + usize::from(column);
        let (start, end) = *self.cells.get(place)?;
        if end == ABSENT {
            None
        } else {
            self.text.get(start as usize..end as usize)
        }
    }
}

/// Collects rows.
#[derive(Debug)]
struct Filling {
    text: String,
    cells: Vec<(u32, u32)>,
    columns: usize,
    rows: u32,
}

impl Filling {
    fn new(columns: usize) -> Self {
        Self {
            text: String::new(),
            cells: Vec::new(),
            columns,
            rows: 0,
        }
    }

    /// Appends a row of as many cells as there are columns.
    fn row<'c>(&mut self, cells: impl Iterator<Item = Option<std::borrow::Cow<'c, str>>>) -> Result<(), String> {
        for cell in cells {
            let start = self.text.len();
            let place = match cell {
                Some(value) => {
                    self.text.push_str(&value);
                    if self.text.len() >= ABSENT as usize {
                        return Err("its values are larger than 4 GiB".to_owned());
                    }
                    (start as u32, self.text.len() as u32)
                }
                None => (0, ABSENT),
            };
            self.cells.push(place);
        }
        self.rows = self.rows.checked_add(1).ok_or("it has too many rows")?;
        Ok(())
    }

    fn finish(self) -> Result<Table, String> {
        if self.rows == 0 {
            return Err("it has no rows".to_owned());
        }
        let Self {
            text,
            cells,
            columns,
            rows,
        } = self;
        Ok(Table {
            text: text.into(),
            cells: cells.into(),
            columns,
            rows,
        })
    }
}
