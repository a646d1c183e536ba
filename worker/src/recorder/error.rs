//! Which errors are kept as samples.

use barrage_model::delta::ErrorSample;
use barrage_model::ids::StepId;
use barrage_model::outcome::FailureClass;

/// Most samples of one step and class in one interval: the sample list shows kinds, the ledger shows numbers.
const SAME_KIND_MAX: usize = 4;
/// Most bytes of a message.
const MESSAGE_BYTES_MAX: usize = 200;

/// Whether another sample of this kind adds to the list.
pub(super) fn is_rare(errors: &[ErrorSample], step: StepId, class: Option<FailureClass>) -> bool {
    errors
        .iter()
        .filter(|error| error.step == step && error.class == class)
        .count()
        < SAME_KIND_MAX
}

/// The message, cut after 200 bytes at a character's end.
pub(super) fn cut(message: &str) -> String {
    message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned()
}
