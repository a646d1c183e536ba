//! Renders one request, sends it, and judges the answer.

use std::borrow::Cow;
use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::ids::{LoadId, SegmentId, TagId};
use barrage_model::outcome::{FailureClass, IterationEnd, Outcome};
use barrage_model::plan::OnFailure;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::answers::Reading;
use super::cancel::Cancelled;
use super::compile::{Body, Destination, Http2Head, Program, Request, Wire, resolve};
use super::connections::ShardContext;
use super::render::{Given, RenderError};
use super::text::Text;
use super::user::Values;
use super::values::Scope;
use crate::clock::Stamp;
use crate::engine::{
    Answer, Cause, EngineSet, Failure, FullRequest, Http2Request, Outgoing, Request as EngineRequest, Terms, WireBytes,
};
use crate::net::{Origin, Scarce};
use crate::recorder::{Recorder, StepSample};

/// Buffer capacity that a user keeps between requests.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Where a user's requests are rendered.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    head: Vec<u8>,
    body: Vec<u8>,
    /// A URL or header value on its way.
    scratch: Vec<u8>,
    url: String,
    fields: HeaderMap,
    request: http::Request<()>,
    payload: Bytes,
}

/// A request that is ready to be sent, in the plan's bytes or the user's buffers.
pub(super) struct Rendered<'a> {
    pub(super) origin: u32,
    pub(super) body: &'a [u8],
    pub(super) form: Form<'a>,
}

/// What each engine takes.
pub(super) enum Form<'a> {
    Http1 {
        head: &'a [u8],
    },
    Http2 {
        head: &'a http::Request<()>,
        body: &'a Bytes,
    },
    Full {
        url: &'a str,
        fields: &'a HeaderMap,
    },
}

impl Buffers {
    /// Bytes that they hold on to.
    pub(super) fn capacity(&self) -> usize {
        let Self {
            head,
            body,
            scratch,
            url,
            payload,
            ..
        } = self;
        head.capacity() + body.capacity() + scratch.capacity() + url.capacity() + payload.len()
    }

    /// Renders a request. Without gaps nothing is copied.
    pub(super) fn render<'a>(
        &'a mut self,
        program: &Program,
        request: &'a Request,
        scope: &Scope<'_>,
    ) -> Result<Rendered<'a>, RenderError> {
        let Self {
            head,
            body,
            scratch,
            url,
            fields,
            request: made,
            payload,
        } = self;
        let body: &[u8] = match &request.body {
            Body::Fixed(bytes) => bytes,
            Body::Made(text, boundary) => {
                fresh(body);
                text.render(scope, Given::default(), body)?;
                if boundary.as_ref().is_some_and(|boundary| !boundary.is_kept(body)) {
                    return Err(RenderError::Other("a part of its body contains the boundary"));
                }
                body
            }
        };
        let (origin, target) = match &request.destination {
            Destination::Fixed(origin) => (*origin, String::new()),
            Destination::Dynamic { url, target } => {
                scratch.clear();
                url.render(scope, Given::default(), scratch)?;
                let url = String::from_utf8_lossy(scratch);
                resolve(&url, &program.origins, *target).map_err(RenderError::Other)?
            }
        };
        let host = &program.origins.get(origin).authority;
        let given = Given {
            target: target.as_bytes(),
            host,
            length: body.len(),
        };
        let form = match &request.wire {
            Wire::Http1(text) => Form::Http1 {
                head: bytes(text, scope, given, head)?,
            },
            Wire::Http2(planned) => Form::Http2 {
                head: whole(planned, program.origins.get(origin), (scope, given), head, made)?,
                body: shared(&request.body, body, payload),
            },
            Wire::Full { target, fields: texts } => {
                url.clear();
                url.push_str(full_base(program, origin)?);
                url.push_str(&String::from_utf8_lossy(bytes(target, scope, given, head)?));
                fields.clear();
                for (name, text) in texts {
                    let value = bytes(text, scope, given, scratch)?;
                    let value = HeaderValue::from_bytes(value);
                    fields.append(
                        name,
                        value.map_err(|_| RenderError::Other("a header value is not valid"))?,
                    );
                }
                Form::Full { url, fields }
            }
        };
        Ok(Rendered { origin, body, form })
    }
}

/// `http://host:port` for the full client. The request's own target was looked at before the run, but a URL that is made of a
/// value may lead to another.
fn full_base(program: &Program, origin: u32) -> Result<&str, RenderError> {
    if program.origins.hides_tls_name(origin) {
        let problem = "its URL leads to an https target with a `host` of its own, which the full client cannot use";
        return Err(RenderError::Other(problem));
    }
    Ok(program.origins.base(origin))
}

/// The head of an HTTP/2 request: the plan's own when it has no gap, else made in `made`.
fn whole<'a>(
    planned: &'a Http2Head,
    origin: &Origin,
    (scope, given): (&Scope<'_>, Given<'_>),
    buffer: &mut Vec<u8>,
    made: &'a mut http::Request<()>,
) -> Result<&'a http::Request<()>, RenderError> {
    match planned {
        Http2Head::Fixed(head) => Ok(head),
        Http2Head::Made(frame) => {
            fresh(buffer);
            *made = frame.render(origin, scope, given, buffer)?;
            Ok(made)
        }
    }
}

/// The body in the form that a stream takes; one that was made for this request is copied once.
fn shared<'a>(planned: &'a Body, made: &[u8], payload: &'a mut Bytes) -> &'a Bytes {
    match planned {
        Body::Fixed(bytes) => bytes,
        Body::Made(..) => {
            *payload = Bytes::copy_from_slice(made);
            payload
        }
    }
}

/// The text's bytes: its own when it has no gap, else rendered into `buffer`.
fn bytes<'a>(
    text: &'a Text,
    scope: &Scope<'_>,
    given: Given<'_>,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], RenderError> {
    if let Some(bytes) = text.as_static() {
        return Ok(bytes);
    }
    fresh(buffer);
    text.render(scope, given, buffer)?;
    Ok(buffer)
}

fn fresh(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(KEPT_CAPACITY);
}

impl<'a> Rendered<'a> {
    /// The request in the form that its engine takes.
    pub(super) fn for_engine(&self, program: &'a Program, request: &Request, terms: Terms<'a>) -> EngineRequest<'a> {
        let body = self.body;
        match self.form {
            Form::Http1 { head } => EngineRequest::Http1(Outgoing {
                head,
                body,
                method: request.method,
                origin: program.origins.get(self.origin),
                terms,
            }),
            Form::Http2 { head, body } => EngineRequest::Http2(Http2Request {
                head,
                body,
                origin: program.origins.get(self.origin),
                terms,
            }),
            Form::Full { url, fields } => EngineRequest::Full(FullRequest {
                method: request.method,
                url,
                headers: fields,
                body,
                decompress: request.decompress,
                redirects: request.redirects,
                terms,
            }),
        }
    }
}

/// How a step ended, and why it did not end well.
pub(super) struct Judged {
    pub(super) outcome: Outcome,
    /// Empty when nothing went wrong; may hold secrets.
    pub(super) message: Cow<'static, str>,
}

impl Judged {
    #[cold]
    pub(super) fn not_rendered(error: &RenderError) -> Self {
        let outcome = Outcome::Failed(FailureClass::Protocol);
        Self {
            outcome,
            message: error.to_string().into(),
        }
    }

    #[cold]
    pub(super) fn without_row(data: &str) -> Self {
        Self {
            outcome: Outcome::Failed(FailureClass::Protocol),
            message: format!("the data set `{data}` has no row for this iteration").into(),
        }
    }

    fn ok() -> Self {
        Self {
            outcome: Outcome::Ok,
            message: Cow::Borrowed(""),
        }
    }

    #[cold]
    fn cancelled() -> Self {
        Self {
            outcome: Outcome::Cancelled,
            message: "given up at the end of the run".into(),
        }
    }

    #[cold]
    fn failed(failure: Failure) -> Self {
        // Not sent because the grant had ended: no result of the target's, and the end of the iteration.
        Self {
            outcome: failure.cause.outcome().unwrap_or(Outcome::Cancelled),
            message: *failure.message,
        }
    }
}

/// Sends a request of a load's and reads its answer; `None` when it is given up before. Where the grant has ended by the time at
/// which there is a connection, as when the shard stood still meanwhile, the request is sent on the next grant, if that comes
/// within `patience`.
pub(super) async fn exchange(
    engines: &mut EngineSet,
    (asked, answer): (&EngineRequest<'_>, &mut Answer),
    (shard, cancel): (&ShardContext, &mut Cancelled),
    patience: Duration,
) -> Option<Result<(), Failure>> {
    let result = {
        let exchange = pin!(engines.exchange(asked, answer));
        cancel.unless(exchange).await
    };
    match result {
        Some(Err(failure)) if was_not_granted(asked, &failure) && !patience.is_zero() => {
            let until = shard.clock.now() + patience;
            Box::pin(renewed(engines, (*asked, answer), (shard, cancel), (failure, until))).await
        }
        other => other,
    }
}

/// Whether nothing was sent for want of a grant. The full client does not tell: it may have followed a redirect, and may have used
/// another connection than the one that was being made.
fn was_not_granted(asked: &EngineRequest<'_>, failure: &Failure) -> bool {
    failure.cause == Cause::Expired && !matches!(asked, EngineRequest::Full(_))
}

/// Sends a request on the renewal of a grant, if that comes in time. The wait for it is no time of the target's.
#[cold]
async fn renewed(
    engines: &mut EngineSet,
    (mut asked, answer): (EngineRequest<'_>, &mut Answer),
    (shard, cancel): (&ShardContext, &mut Cancelled),
    (mut failure, until): (Failure, Stamp),
) -> Option<Result<(), Failure>> {
    loop {
        let began = shard.clock.now();
        let terms = asked.terms_mut();
        if began <= terms.deadline {
            cancel.unless(pin!(shard.renewal(until))).await?;
            terms.deadline = terms.deadline + shard.clock.now().since(began);
        }
        if shard.lacks_grant() || began > terms.deadline {
            answer.done_at = shard.clock.now();
            return Some(Err(failure));
        }
        // The age of connections is judged by it.
        let asked_at = std::mem::replace(&mut answer.began_at, shard.clock.now());
        let result = {
            let exchange = pin!(engines.exchange(&asked, answer));
            cancel.unless(exchange).await
        };
        answer.began_at = asked_at;
        match result {
            Some(Err(again)) if was_not_granted(&asked, &again) => failure = again,
            other => return other,
        }
    }
}

/// Lets the shard's other slots have a turn after a failure: it may have come without any waiting, for want of a descriptor or
/// a local port, and would come again at once.
pub(super) async fn after(result: Option<&Result<(), Failure>>) {
    if matches!(result, Some(Err(_))) {
        tokio::task::yield_now().await;
    }
}

/// What comes after an exchange of a load's: the answer is judged, and what is extracted from it kept. Without a result the
/// exchange was given up.
pub(super) fn settle(
    program: &Program,
    (load, request): (LoadId, &Request),
    result: Option<Result<(), Failure>>,
    (answer, values): (&mut Answer, &mut Values),
    (shard, recorder): (&ShardContext, &RefCell<Recorder>),
) -> Judged {
    let Some(result) = result else {
        answer.done_at = shard.clock.now();
        return Judged::cancelled();
    };
    let done_at = answer.done_at;
    shard.awake.ended(load, answer.began_at, done_at);
    let mut scarce = result.as_ref().err().and_then(|failure| failure.scarce);
    if let Err(Failure {
        read_late_us: late @ 1..,
        ..
    }) = &result
        && shard
            .awake
            .hid(done_at - Duration::from_micros((*late).into()), done_at)
    {
        scarce = Some(Scarce::Time);
    }
    let mut judged = judge(program, request, result, answer, values);
    if judged.outcome == Outcome::Failed(FailureClass::Check) && is_slow_by_us(program, request, answer, values, shard)
    {
        scarce = Some(Scarce::Time);
    }
    if let Some(scarce) = scarce {
        recorder.borrow_mut().fell_short(scarce, done_at);
    }
    if scarce == Some(Scarce::Time) {
        judged.message = format!("{}: {}", Scarce::Time.blame(), judged.message).into();
    }
    judged
}

/// Whether an answer that its checks have refused would have passed them in the time in which this shard did not stand still.
#[cold]
fn is_slow_by_us(program: &Program, request: &Request, answer: &Answer, values: &Values, shard: &ShardContext) -> bool {
    let stood = answer.sent_at.map_or(Duration::ZERO, |sent_at| {
        shard.awake.stood_within(sent_at, answer.done_at)
    });
    if stood.is_zero() {
        return false;
    }
    let reading = Reading::new(answer, &program.redactor);
    let scope = values.scope(program, Some(answer));
    let without = service(answer).saturating_sub(stood);
    request.checks.judge(&reading, &scope, without).is_ok()
}

/// Records the end of a step that was due at an instant, in an iteration of a segment.
pub(super) fn record(
    program: &Program,
    request: &Request,
    answer: &Answer,
    (due, segment): (Stamp, SegmentId),
    (judged, body_bytes): (&Judged, usize),
    recorder: &RefCell<Recorder>,
) {
    let WireBytes { received, sent } = answer.wire.unwrap_or_default();
    let body_sent = (body_bytes as u64).saturating_sub(answer.body_bytes_unsent);
    let message = program.redactor.clean(&judged.message);
    recorder.borrow_mut().step_ended(&StepSample {
        step: request.id,
        tag: tag(program, answer),
        segment,
        outcome: judged.outcome,
        due,
        sent_at: answer.sent_at,
        done_at: answer.done_at,
        timings: answer.timings,
        wire_requests: answer.wire_requests,
        body_bytes_in: answer.body_bytes_in,
        body_bytes_out: if answer.sent_at.is_some() { body_sent } else { 0 },
        wire_bytes_in: received,
        wire_bytes_out: sent,
        status: (answer.status != 0).then_some(answer.status),
        message: &message,
    });
}

/// How a step's outcome ends its iteration; `None` when it goes on.
pub(super) fn end_of(outcome: Outcome, request: &Request) -> Option<IterationEnd> {
    match outcome {
        Outcome::Cancelled => Some(IterationEnd::Cancelled),
        Outcome::Failed(_) | Outcome::Timeout if request.on_failure == OnFailure::End => Some(IterationEnd::BrokenOff),
        Outcome::Ok | Outcome::Failed(_) | Outcome::Timeout => None,
    }
}

/// Judges an answer, and keeps what is extracted from it.
pub(super) fn judge(
    program: &Program,
    request: &Request,
    result: Result<(), Failure>,
    answer: &Answer,
    values: &mut Values,
) -> Judged {
    if let Err(failure) = result {
        return Judged::failed(failure);
    }
    if request.extracts.is_empty() && request.checks.ask_only_for(answer.status) {
        return Judged::ok();
    }
    let reading = Reading::new(answer, &program.redactor);
    let scope = values.scope(program, Some(answer));
    if let Err((class, message)) = request.checks.judge(&reading, &scope, service(answer)) {
        return Judged {
            outcome: Outcome::Failed(class),
            message: message.into(),
        };
    }
    let mut judged = Judged::ok();
    let found: Vec<(u32, Result<Arc<str>, String>)> = request
        .extracts
        .iter()
        .map(|extract| (extract.slot, extract.value(&reading)))
        .collect();
    for (slot, value) in found {
        match value {
            Ok(value) => values.set(slot, Some(value)),
            Err(message) if judged.outcome == Outcome::Ok => {
                judged.outcome = Outcome::Failed(FailureClass::Extract);
                judged.message = message.into();
            }
            Err(_) => {}
        }
    }
    judged
}

/// From the send to the end of the answer.
pub(super) fn service(answer: &Answer) -> Duration {
    answer
        .sent_at
        .map_or(Duration::ZERO, |sent_at| answer.done_at.since(sent_at))
}

/// The combination of tag values that an answer carries.
pub(super) fn tag(program: &Program, answer: &Answer) -> TagId {
    let plan = &program.plan;
    if plan.tags.is_empty() || answer.status == 0 {
        return TagId(0);
    }
    plan.tag_id(
        plan.tags
            .iter()
            .map(|rule| rule.digit(answer.headers.get(&rule.header))),
    )
}
