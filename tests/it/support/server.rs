//! A full HTTP server (HTTP/1.1, HTTP/2, TLS) that checks what it receives and keeps every request.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::header::HeaderMap;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Complaints kept; the first ones say enough.
const COMPLAINTS_MAX: usize = 20;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path, still encoded.
    pub path: String,
    /// The query, still encoded; empty when there is none.
    pub query: String,
    /// What it was sent to: the `host` header, or HTTP/2's authority.
    pub host: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The protocol's version.
    pub version: Version,
    /// Number of its connection.
    pub connection: u64,
    /// Where it came from.
    pub peer: SocketAddr,
    /// The server name of the TLS handshake.
    pub sni: Option<String>,
    /// When it had come.
    pub at: Instant,
}

impl Seen {
    /// The value of a header field as text; empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("test headers are ASCII"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("no JSON: {error}: {}", self.text()))
    }

    /// Method and path.
    pub fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// How long it takes.
    pub delay: Duration,
}

impl Reply {
    /// 200 with a text.
    pub fn text(body: impl Into<String>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: Bytes::from(body.into()),
            delay: Duration::ZERO,
        }
    }

    /// 200 with JSON.
    pub fn json(body: &Value) -> Self {
        Self::text(body.to_string()).with("content-type", "application/json")
    }

    /// Another status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// One more header field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Later.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// What a server says to a request: an answer, or what is wrong with the request.
pub type Handler = Box<dyn Fn(&Seen) -> Result<Reply, String> + Send + Sync>;

#[derive(Default)]
struct Books {
    seen: Mutex<Vec<Seen>>,
    complaints: Mutex<Vec<String>>,
    connections: AtomicU64,
}

/// A server on a thread of its own, which ends with the test.
pub struct Server {
    /// Its base URL.
    pub url: String,
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate in PEM, under TLS.
    pub certificate: Option<String>,
    books: Arc<Books>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves in the clear: HTTP/1.1, and HTTP/2 by prior knowledge.
    pub fn start(handler: impl Fn(&Seen) -> Result<Reply, String> + Send + Sync + 'static) -> Self {
        Self::on(Box::new(handler), None)
    }

    /// Serves under TLS with a certificate for `127.0.0.1` and `names` that nobody has signed.
    pub fn tls(names: &[&str], handler: impl Fn(&Seen) -> Result<Reply, String> + Send + Sync + 'static) -> Self {
        Self::on(Box::new(handler), Some(certificate(names)))
    }

    fn on(handler: Handler, tls: Option<(ServerConfig, String)>) -> Self {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let address = listener.local_addr().expect("a listener has an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (config, certificate) = tls.unzip();
        let acceptor = config.map(|config| TlsAcceptor::from(Arc::new(config)));
        let (books, stop) = (Arc::new(Books::default()), CancellationToken::new());
        let (shared, stopped) = (Arc::clone(&books), stop.clone());
        let handler = Arc::new(handler);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = accept(listener, acceptor, &handler, &shared) => {}
                }
            });
        });
        Self {
            url: format!("{scheme}://{address}"),
            address,
            certificate,
            books,
            stop,
            thread: Some(thread),
        }
    }

    /// Every request so far, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.books.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests have come so far.
    pub fn count(&self) -> u64 {
        self.books.seen.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.books.connections.load(Ordering::Relaxed)
    }

    /// Asserts that every request was as it should be.
    #[track_caller]
    pub fn assert_content(&self) {
        let complaints = self.books.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(complaints.is_empty(), "the server complains: {complaints:#?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of the server shows as a failed run.
            let _panicked = thread.join();
        }
    }
}

/// A port on which nothing listens: bound for a moment, so that it was free.
pub fn closed_port() -> u16 {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a listener has an address").port()
}

/// A certificate signed by itself and a server's configuration with it.
pub fn certificate(names: &[&str]) -> (ServerConfig, String) {
    let mut all = vec!["127.0.0.1".to_owned()];
    all.extend(names.iter().map(|name| (*name).to_owned()));
    let made = rcgen::generate_simple_self_signed(all).expect("a certificate can be made");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key fits the certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (config, made.cert.pem())
}

async fn accept(listener: StdListener, tls: Option<TlsAcceptor>, handler: &Arc<Handler>, books: &Arc<Books>) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, peer)) = accepted else { continue };
                let number = books.connections.fetch_add(1, Ordering::Relaxed);
                // A failure of the option costs time only.
                let _slower = stream.set_nodelay(true);
                let (tls, handler, books) = (tls.clone(), Arc::clone(handler), Arc::clone(books));
                connections.spawn(async move {
                    let from = From { peer, number, sni: None };
                    match tls {
                        None => serve(stream, from, handler, books).await,
                        Some(acceptor) => {
                            // A client that refuses the certificate is what some tests are about.
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            let sni = stream.get_ref().1.server_name().map(str::to_owned);
                            serve(stream, From { sni, ..from }, handler, books).await;
                        }
                    }
                });
            }
        }
    }
}

#[derive(Clone)]
struct From {
    peer: SocketAddr,
    number: u64,
    sni: Option<String>,
}

#[expect(clippy::disallowed_methods, reason = "the checking server's own clock")]
fn now() -> Instant {
    Instant::now()
}

async fn serve<S>(stream: S, from: From, handler: Arc<Handler>, books: Arc<Books>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, from.clone(), Arc::clone(&handler), Arc::clone(&books)));
    // What ends a connection is the client's affair; the test looks at what the client saw.
    let _ended = Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    from: From,
    handler: Arc<Handler>,
    books: Arc<Books>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes);
    let broken = body.as_ref().err().map(ToString::to_string);
    let host = head.headers.get("host").and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        host: host.or(authority).unwrap_or_default().to_owned(),
        headers: head.headers.clone(),
        body: body.unwrap_or_default(),
        version: head.version,
        connection: from.number,
        peer: from.peer,
        sni: from.sni,
        at: now(),
    };
    books
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(seen.clone());
    let judged = match broken {
        Some(error) => Err(format!("the body did not come: {error}")),
        None => handler(&seen),
    };
    let reply = judged.unwrap_or_else(|complaint| {
        let mut complaints = books.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.len() < COMPLAINTS_MAX {
            complaints.push(format!("{}: {complaint}", seen.what()));
        }
        Reply::text(complaint).status(400)
    });
    if !reply.delay.is_zero() {
        tokio::time::sleep(reply.delay).await;
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response
        .body(Full::new(reply.body))
        .expect("test answers are well formed"))
}
