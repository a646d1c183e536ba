//! The two streams to the coordinator, each on a connection of its own, opened again whenever they end.

use std::time::Duration;

use barrage_model::rng::Rng;
use barrage_proto::MESSAGE_MAX_BYTES;
use barrage_proto::v1::fleet_client::FleetClient;
use barrage_proto::v1::{self, from_worker::Frame as Say, to_worker::Frame as Told};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::clock::Clock;

/// A silent connection is asked for a sign of life this often, and given up when none comes for as long.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Most messages that wait to be written on one stream; when it is full the connection counts as broken.
pub(super) const QUEUE: usize = 256;

/// What comes of the streams.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// The control stream is there; this is its write end.
    Up(mpsc::Sender<v1::FromWorker>, Box<FleetClient<Channel>>),
    /// The coordinator says something.
    Told(Box<Told>),
    /// The control stream has ended, or could not be opened.
    Down(Option<LinkError>),
    /// The upload stream is there; this is its write end.
    UploadUp(mpsc::Sender<v1::UploadFrame>),
    /// An answer on the upload stream.
    Reply(v1::UploadReply),
    /// The upload stream has ended.
    UploadDown,
}

/// Why a stream could not be opened, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection.
    #[error("no connection")]
    Connect(#[source] tonic::transport::Error),
    /// The call was refused, or broke off.
    #[error("the coordinator's answer was {code:?}: {message}")]
    Status {
        /// The code.
        code: tonic::Code,
        /// What it said.
        message: String,
    },
}

impl From<tonic::Status> for LinkError {
    fn from(status: tonic::Status) -> Self {
        Self::Status {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

/// The settings of both connections.
pub(super) fn endpoint(url: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(url.to_owned())?
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEP_ALIVE))
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

fn client(channel: Channel) -> FleetClient<Channel> {
    FleetClient::new(channel)
        .max_decoding_message_size(MESSAGE_MAX_BYTES)
        .max_encoding_message_size(MESSAGE_MAX_BYTES)
}

/// Waits between two attempts: doubling, with jitter, so that a fleet does not come back as one.
#[derive(Debug)]
struct Backoff {
    next: Duration,
    rng: Rng,
}

impl Backoff {
    fn new(seed: u64) -> Self {
        Self {
            next: BACKOFF_MIN,
            rng: Rng::from_seed(seed),
        }
    }

    fn reset(&mut self) {
        self.next = BACKOFF_MIN;
    }

    fn wait(&mut self) -> Duration {
        let half = self.next / 2;
        let jitter = self.rng.below(half.as_micros() as u64 + 1);
        self.next = (self.next * 2).min(BACKOFF_MAX);
        half + Duration::from_micros(jitter)
    }
}

/// Keeps the control stream open until `closing`, or until nobody listens any more.
pub(super) async fn control(
    endpoint: Endpoint,
    seed: u64,
    clock: Clock,
    events: mpsc::Sender<LinkEvent>,
    closing: CancellationToken,
) {
    let mut backoff = Backoff::new(seed);
    loop {
        let ended = control_once(&endpoint, clock, &events, &mut backoff).await;
        if events.send(LinkEvent::Down(ended.err())).await.is_err() || closing.is_cancelled() {
            return;
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

async fn control_once(
    endpoint: &Endpoint,
    clock: Clock,
    events: &mpsc::Sender<LinkEvent>,
    backoff: &mut Backoff,
) -> Result<(), LinkError> {
    let channel = endpoint.connect().await.map_err(LinkError::Connect)?;
    let mut client = client(channel);
    let (say, said) = mpsc::channel(QUEUE);
    let probes = say.downgrade();
    // The Hello is in the queue before the call begins, for a coordinator may answer only after it.
    if events.send(LinkEvent::Up(say, Box::new(client.clone()))).await.is_err() {
        return Ok(());
    }
    let mut stream = client.control(ReceiverStream::new(said)).await?.into_inner();
    while let Some(message) = stream.message().await? {
        let received = clock.now();
        backoff.reset();
        let Some(told) = message.frame else { continue };
        let Told::Clock(probe) = told else {
            if events.send(LinkEvent::Told(Box::new(told))).await.is_err() {
                return Ok(());
            }
            continue;
        };
        let Some(say) = probes.upgrade() else { return Ok(()) };
        let reply = v1::ClockReply {
            number: probe.number,
            coordinator_sent_us: probe.coordinator_sent_us,
            worker_received_us: received.as_us(),
            worker_replied_us: clock.now().as_us(),
        };
        // A full queue means a stream that is stuck; the process ends it.
        let _full = say.try_send(v1::FromWorker {
            frame: Some(Say::Clock(reply)),
        });
    }
    Ok(())
}

/// Keeps the upload stream open until `closing`, or until nobody listens any more.
pub(super) async fn upload(endpoint: Endpoint, seed: u64, events: mpsc::Sender<LinkEvent>, closing: CancellationToken) {
    let mut backoff = Backoff::new(seed ^ 1);
    loop {
        if let Err(error) = upload_once(&endpoint, &events, &mut backoff).await {
            tracing::debug!(%error, "the upload stream has ended");
        }
        if events.send(LinkEvent::UploadDown).await.is_err() || closing.is_cancelled() {
            return;
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

async fn upload_once(
    endpoint: &Endpoint,
    events: &mpsc::Sender<LinkEvent>,
    backoff: &mut Backoff,
) -> Result<(), LinkError> {
    let channel = endpoint.connect().await.map_err(LinkError::Connect)?;
    let (frames, queue) = mpsc::channel(QUEUE);
    if events.send(LinkEvent::UploadUp(frames)).await.is_err() {
        return Ok(());
    }
    let mut stream = client(channel).upload(ReceiverStream::new(queue)).await?.into_inner();
    while let Some(reply) = stream.message().await? {
        backoff.reset();
        if events.send(LinkEvent::Reply(reply)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_slower_and_never_at_once() {
        let mut backoff = Backoff::new(7);
        let waits: Vec<Duration> = (0..10).map(|_| backoff.wait()).collect();
        assert!(waits[0] >= BACKOFF_MIN / 2 && waits[0] <= BACKOFF_MIN);
        assert!(waits[9] >= BACKOFF_MAX / 2 && waits[9] <= BACKOFF_MAX);
        backoff.reset();
        assert!(backoff.wait() <= BACKOFF_MIN);
    }
}
