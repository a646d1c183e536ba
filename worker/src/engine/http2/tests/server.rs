//! A server that answers as the path says, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::engine::Origin;

/// One request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Number of the connection, from 0.
    pub(super) connection: usize,
    pub(super) stream: u32,
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body_bytes: usize,
    /// Why the client gave it up.
    pub(super) reset: Option<Reason>,
}

#[derive(Debug, Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    accepted: AtomicUsize,
    active: AtomicUsize,
    active_max: AtomicUsize,
}

/// How connections are served.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner {
    /// Streams that a connection allows.
    pub(super) streams: Option<u32>,
    /// Requests after which a connection announces its end.
    pub(super) requests: Option<usize>,
    /// What the client may send ahead on a stream.
    pub(super) window: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Http2Server {
    address: SocketAddr,
    log: Arc<Log>,
    scheme: &'static str,
    _task: AbortOnDropHandle<()>,
}

impl Http2Server {
    pub(super) async fn start(manner: Manner) -> Self {
        Self::on(manner, None).await
    }

    pub(super) async fn tls(manner: Manner, config: ServerConfig) -> Self {
        Self::on(manner, Some(config)).await
    }

    async fn on(manner: Manner, tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log: Arc<Log> = Arc::default();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let shared = Arc::clone(&log);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, log, manner) = (acceptor.clone(), Arc::clone(&shared), manner.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => serve(stream, number, manner, log).await,
                        Some(acceptor) => {
                            // A client that refuses our certificate is what some tests are about.
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, number, manner, log).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            log,
            scheme,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(super) fn origin(&self) -> Origin {
        let url = Url::parse(&format!("{}://{}/", self.scheme, self.address)).unwrap();
        Origin::from_url(0, &url).unwrap()
    }

    pub(super) fn accepted(&self) -> usize {
        self.log.accepted.load(Ordering::SeqCst)
    }

    /// Most streams that were in progress at once, over all connections.
    pub(super) fn active_max(&self) -> usize {
        self.log.active_max.load(Ordering::SeqCst)
    }

    /// The requests that have come to their end, in that order.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.log.seen.lock().unwrap().clone()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, number: usize, manner: Manner, log: Arc<Log>) {
    let mut builder = Builder::new();
    if let Some(streams) = manner.streams {
        builder.max_concurrent_streams(streams);
    }
    if let Some(window) = manner.window {
        builder.initial_window_size(window);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let mut requests = JoinSet::new();
    let mut taken = 0;
    while let Some(Ok((request, respond))) = connection.accept().await {
        taken += 1;
        if request.uri().path() == "/abrupt" {
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
        if manner.requests.is_some_and(|most| taken == most) {
            connection.graceful_shutdown();
        }
        let active = log.active.fetch_add(1, Ordering::SeqCst) + 1;
        log.active_max.fetch_max(active, Ordering::SeqCst);
        let log = Arc::clone(&log);
        requests.spawn(async move {
            let seen = answer(number, request, respond).await;
            log.active.fetch_sub(1, Ordering::SeqCst);
            log.seen.lock().unwrap().push(seen);
        });
    }
    while requests.join_next().await.is_some() {}
}

#[expect(clippy::too_many_lines, reason = "one arm for each path")]
async fn answer(connection: usize, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Seen {
    let (head, mut body) = request.into_parts();
    let mut seen = Seen {
        connection,
        stream: respond.stream_id().as_u32(),
        method: head.method.to_string(),
        uri: head.uri.to_string(),
        fields: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body_bytes: 0,
        reset: None,
    };
    let path = head.uri.path().to_owned();
    if path == "/early" {
        let response = Response::builder().header("content-length", 5).body(()).unwrap();
        let mut stream = respond.send_response(response, false).unwrap();
        stream.send_data(Bytes::from_static(b"early"), true).unwrap();
        // Without having read the body: the stream is reset with NO_ERROR when it is dropped.
        return seen;
    }
    let mut received = Vec::new();
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                received.extend_from_slice(&data);
                let _ = body.flow_control().release_capacity(data.len());
            }
            Err(error) => {
                seen.reset = error.reason();
                return seen;
            }
        }
    }
    seen.body_bytes = received.len();
    seen.reset = match path.as_str() {
        "/hang" => std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok(),
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(30)).await;
            send(&mut respond, Response::new(()), Bytes::from_static(b"slow")).await
        }
        "/reset" => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            None
        }
        "/refuse" => {
            respond.send_reset(Reason::REFUSED_STREAM);
            None
        }
        "/half" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"half"), false).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.send_reset(Reason::CANCEL);
            None
        }
        "/empty" => {
            let response = Response::builder().status(204).body(()).unwrap();
            respond.send_response(response, true).unwrap();
            None
        }
        "/interim" => {
            for _ in 0..3 {
                let early = Response::builder().status(103).header("link", "</x>").body(()).unwrap();
                respond.send_informational(early).unwrap();
            }
            send(&mut respond, Response::new(()), Bytes::from_static(b"final")).await
        }
        "/trailers" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"body"), false).unwrap();
            let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), "1".parse().unwrap())]);
            stream.send_trailers(trailers).unwrap();
            None
        }
        "/echo" => send(&mut respond, Response::new(()), received.into()).await,
        "/head" => {
            let response = Response::builder()
                .header("content-length", 1_000_000)
                .body(())
                .unwrap();
            respond.send_response(response, true).unwrap();
            None
        }
        _ => {
            let response = Response::builder().header("x-path", &path).body(()).unwrap();
            let length = path.strip_prefix("/bytes/").map(|count| count.parse().unwrap());
            let body = length.map_or(Bytes::from_static(b"hello"), |count| vec![b'x'; count].into());
            send(&mut respond, response, body).await
        }
    };
    seen
}

/// Sends an answer as the client's windows allow, and says why the client gave up before its end.
async fn send(respond: &mut SendResponse<Bytes>, response: Response<()>, mut body: Bytes) -> Option<Reason> {
    let mut stream = match respond.send_response(response, body.is_empty()) {
        Ok(stream) => stream,
        Err(error) => return error.reason(),
    };
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let capacity = match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(capacity)) => capacity,
            Some(Err(error)) => return error.reason(),
            None => return std::future::poll_fn(|cx| stream.poll_reset(cx)).await.ok(),
        };
        let part = body.split_to(capacity.min(body.len()));
        if let Err(error) = stream.send_data(part, body.is_empty()) {
            return error.reason();
        }
    }
    None
}
