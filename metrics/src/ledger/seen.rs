//! Which worker processes have reported in a stretch of run time, and what each had in progress then.

use barrage_model::sketch::Compact;

/// Iterations in progress by process, which go by a number. Of several reports the latest counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// By number: iterations in progress plus one, 0 for a process that has not reported. Empty while it is closed.
    open: Vec<u64>,
    /// The same for a stretch to which little is added: a byte or two for a process.
    closed: Compact,
}

impl Seen {
    /// A process reports. One that reports again does so in the order of its deltas.
    pub(crate) fn saw(&mut self, process: u32, in_progress: u64) {
        let closed = std::mem::take(&mut self.closed);
        for (process, code) in closed.iter().chain([(process, in_progress.saturating_add(1))]) {
            let place = process as usize;
            if self.open.len() <= place {
                self.open.resize(place + 1, 0);
            }
            self.open[place] = code;
        }
    }

    /// A later stretch becomes part of this one.
    pub(crate) fn join(&mut self, later: &Self) {
        for (process, in_progress) in later.iter() {
            self.saw(process, in_progress);
        }
    }

    /// The processes that have reported, in order of their number, and what each had in progress.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.codes().map(|(process, code)| (process, code - 1))
    }

    /// Takes the form that is small.
    pub(crate) fn close(&mut self) {
        *self = Self {
            open: Vec::new(),
            closed: Compact::new(self.codes(), 0),
        };
    }

    fn codes(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let open = (0u32..).zip(self.open.iter().copied()).filter(|(_, code)| *code > 0);
        open.chain(self.closed.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_report_counts_and_closing_changes_nothing() {
        let mut seen = Seen::default();
        for (process, in_progress) in [(3, 10), (0, 0), (3, 4), (300, u64::MAX - 1)] {
            seen.saw(process, in_progress);
            seen.close();
        }
        assert_eq!(seen.iter().collect::<Vec<_>>(), [(0, 0), (3, 4), (300, u64::MAX - 1)]);
        let mut later = Seen::default();
        later.saw(3, 0);
        later.saw(1, 7);
        seen.join(&later);
        assert_eq!(
            seen.iter().collect::<Vec<_>>(),
            [(0, 0), (1, 7), (3, 0), (300, u64::MAX - 1)]
        );
    }
}
