//! The words of verdicts and states, as the schema lists them.

use barrage_metrics::{exit, summary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident from $from:path { $($(#[$about:meta])* $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$about])* $variant,)+
        }
        impl From<$from> for $name {
            fn from(word: $from) -> Self {
                type From = $from;
                match word {
                    $(From::$variant => Self::$variant,)+
                }
            }
        }
        #[cfg(test)]
        impl $name {
            fn pairs() -> Vec<(&'static str, String)> {
                type From = $from;
                vec![$((
                    From::$variant.word(),
                    serde_json::to_value(Self::$variant).unwrap().as_str().unwrap().to_owned(),
                )),+]
            }
        }
    };
}

words!(
    /// What a finished run is worth.
    Verdict from exit::Verdict {
        /// Every SLA held, and the numbers can be trusted.
        Passed,
        /// At least one SLA was breached.
        Failed,
        /// Not enough samples, or more arrivals lost than the plan tolerates.
        Inconclusive,
        /// The generator could not do what the plan asks.
        Invalid,
        /// Stopped by an operator, a signal or a guard.
        Aborted,
        /// A rollout was taken back.
        RolledBack,
        /// A fault could not be undone.
        UndoFailed,
        /// An equation of a ledger does not hold.
        Inconsistent,
    }
);
words!(
    /// Verdict of one SLA.
    SlaVerdict from summary::SlaVerdict {
        /// It held.
        Passed,
        /// It was breached.
        Failed,
        /// Too few samples to say.
        NotEnoughSamples,
        /// It holds so far, but the run goes on.
        Provisional,
        /// Nobody can say: the generator is invalid or may have made what was seen, or some of what it is about is not known.
        NotJudged,
    }
);
words!(
    /// How a worker ended.
    WorkerState from summary::WorkerState {
        /// Still at work.
        Running,
        /// Sent its last counts.
        Finished,
        /// Not heard of any more.
        Lost,
    }
);
words!(
    /// Whether a load generator can be trusted.
    GeneratorVerdict from summary::GeneratorVerdict {
        /// Yes.
        Valid,
        /// Yes, but it was strained.
        Degraded,
        /// No: what it measured is partly its own doing.
        Invalid,
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_every_other_place() {
        let all = [
            Verdict::pairs(),
            SlaVerdict::pairs(),
            WorkerState::pairs(),
            GeneratorVerdict::pairs(),
        ];
        for (own, written) in all.into_iter().flatten() {
            assert_eq!(own, written);
        }
    }
}
