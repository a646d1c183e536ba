//! The samples of a sliding window, second by second.

use std::collections::VecDeque;

use crate::pile::Pile;
use crate::samples::Samples;

/// The samples of the latest seconds, those of each apart as well: what has been added is taken away again, even if more
/// has come to that second since.
#[derive(Clone, Debug, Default)]
pub(super) struct Seconds {
    samples: Samples,
    each: VecDeque<Vec<(Pile, bool)>>,
}

impl Seconds {
    pub(super) fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Adds a second; lets go of those that came before so many.
    pub(super) fn slide(&mut self, second: Vec<(Pile, bool)>, length: u32) {
        for (pile, censored) in &second {
            self.samples.add_pile(pile, *censored);
        }
        self.each.push_back(second);
        if self.each.len() > length as usize {
            for (pile, censored) in self.each.pop_front().unwrap_or_default() {
                self.samples.remove_pile(&pile, censored);
            }
        }
    }
}
