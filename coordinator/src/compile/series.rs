//! How many latency series a run may have.

use barrage_metrics::SERIES_MAX;
use barrage_model::phase::Marks;
use barrage_model::plan::Plan;

/// Series of one request, tag value and segment: response, service and first byte, of answers as expected and of failed ones.
const EACH: usize = 6;

/// Says where a run may have more series than are kept apart.
pub(super) fn warning(plan: &Plan, marks: &Marks) -> Option<String> {
    let requests = plan.named_steps().iter().filter(|step| !step.group).count();
    let segments = marks.iter().filter(|mark| !mark.phases.is_empty()).count();
    let tags = plan.tag_count();
    let product = [requests, tags, segments, EACH].into_iter();
    let series = product.fold(1usize, usize::saturating_mul);
    (series > SERIES_MAX).then(|| {
        format!(
            "the run may have {series} series of latencies, and keeps {SERIES_MAX} apart: the last steps may have no latencies, and their \
             SLAs no verdict (requests: {requests}, combinations of tag values: {tags}, stretches between ends of stages: {segments})"
        )
    })
}
