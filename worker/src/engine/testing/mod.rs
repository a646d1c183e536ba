//! Servers that say exactly what a test wants, byte by byte, and a client to ask them.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barrage_model::outcome::FailureClass;
use barrage_model::plan::{DnsPolicy, Method, Resolve};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, ServerConfig};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::{Answer, Cause, EngineOptions, EngineSet, EngineShared, Failure, Origin, Outgoing, Request, Terms};
use crate::clock::{Clock, Stamp};
use crate::net::{Reactor, Resolver, TlsOptions};
use crate::shard::Awake;

/// One thing that a server does with a connection.
#[derive(Clone, Debug)]
pub(crate) enum Do {
    /// Reads one request, its body included.
    Read,
    /// Reads one request head and leaves the body.
    ReadHead,
    /// Reads frames of HTTP/2 up to the head of a request, the preface before them included.
    ReadHttp2,
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes in pieces of this length, each a packet of its own.
    Pieces(Vec<u8>, usize),
    /// Waits.
    Wait(Duration),
    /// Keeps the connection open until the client closes it.
    Hang,
    /// Resets the connection; must be the last thing.
    Reset,
    /// Hangs up without the farewell that TLS asks for; must be the last thing.
    Cut,
}

pub(crate) fn send(text: &str) -> Do {
    Do::Send(text.as_bytes().to_vec())
}

/// A server whose n-th connection goes by the n-th script, the last script serving all others.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    resumed: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    scheme: &'static str,
    _task: AbortOnDropHandle<()>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Server {
    pub(crate) async fn start(scripts: Vec<Vec<Do>>) -> Self {
        Self::on("127.0.0.1:0", scripts, None).await.unwrap()
    }

    pub(crate) async fn tls(scripts: Vec<Vec<Do>>, config: ServerConfig) -> Self {
        Self::on("127.0.0.1:0", scripts, Some(config)).await.unwrap()
    }

    pub(crate) async fn on(address: &str, scripts: Vec<Vec<Do>>, tls: Option<ServerConfig>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let accepted = Arc::new(AtomicUsize::new(0));
        let resumed = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let (count, log, again) = (Arc::clone(&accepted), Arc::clone(&seen), Arc::clone(&resumed));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let at = count.fetch_add(1, Ordering::SeqCst).min(scripts.len() - 1);
                let tls = acceptor.clone().map(|acceptor| (acceptor, Arc::clone(&again)));
                connections.spawn(serve(stream, tls, scripts[at].clone(), Arc::clone(&log)));
            }
        });
        Ok(Self {
            address,
            accepted,
            resumed,
            seen,
            scheme,
            _task: AbortOnDropHandle::new(task),
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(crate) fn origin(&self, index: u32) -> Origin {
        Origin::from_url(index, &Url::parse(&self.url("/")).unwrap()).unwrap()
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Connections that went on with a session of an earlier one.
    pub(crate) fn resumed(&self) -> usize {
        self.resumed.load(Ordering::SeqCst)
    }

    /// The requests read so far.
    pub(crate) fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    tls: Option<(TlsAcceptor, Arc<AtomicUsize>)>,
    script: Vec<Do>,
    log: Arc<Mutex<Vec<Vec<u8>>>>,
) {
    stream.set_nodelay(true).unwrap();
    if matches!(script.last(), Some(Do::Reset)) {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let cut = matches!(script.last(), Some(Do::Cut));
    let mut stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some((acceptor, resumed)) => match acceptor.accept(stream).await {
            Ok(stream) => {
                let kind = stream.get_ref().1.handshake_kind();
                resumed.fetch_add(usize::from(kind == Some(HandshakeKind::Resumed)), Ordering::SeqCst);
                Box::new(stream)
            }
            // The client refused our certificate, which is what some tests are about.
            Err(_) => return,
        },
    };
    for step in script {
        // A client that has gone away ends the script; the test looks at what the client saw.
        match step {
            Do::Read | Do::ReadHead => match read_request(&mut *stream, matches!(step, Do::Read)).await {
                Some(request) => log.lock().unwrap().push(request),
                None => return,
            },
            Do::ReadHttp2 => match read_http2(&mut *stream).await {
                Some(frames) => log.lock().unwrap().push(frames),
                None => return,
            },
            Do::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            Do::Pieces(bytes, length) => {
                for piece in bytes.chunks(length) {
                    if stream.write_all(piece).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            Do::Wait(time) => tokio::time::sleep(time).await,
            Do::Hang => {
                let mut rest = [0; 4_096];
                while let Ok(1..) = stream.read(&mut rest).await {}
                return;
            }
            Do::Reset | Do::Cut => return,
        }
    }
    if !cut {
        let _ = stream.shutdown().await;
    }
}

async fn read_http2(stream: &mut dyn Stream) -> Option<Vec<u8>> {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    let mut bytes = Vec::new();
    let mut at = 0;
    loop {
        let mut more = [0; 4_096];
        let count = stream.read(&mut more).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&more[..count]);
        if at == 0 && bytes.starts_with(b"PRI") {
            at = PREFACE;
        }
        while let Some(head) = bytes.get(at..at + 9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let kind = head[3];
            at += 9 + length;
            if kind == HEADERS {
                return Some(bytes);
            }
        }
    }
}

async fn read_request(stream: &mut dyn Stream, with_body: bool) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    if let Some((_, rest)) = head.split_once("content-length: ").filter(|_| with_body) {
        let length: usize = rest.split("\r\n").next()?.parse().ok()?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        request.extend_from_slice(&body);
    }
    Some(request)
}

/// A certificate for `names` signed by itself, and a server that shows it.
pub(crate) fn certificate(names: &[&str]) -> (ServerConfig, Vec<u8>) {
    let (config, (pem, _)) = certified(names, false);
    (config, pem)
}

/// The same with its key; the server may ask for a certificate of the client's, which has to be its own.
pub(crate) fn certified(names: &[&str], asks: bool) -> (ServerConfig, (Vec<u8>, Vec<u8>)) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = if asks {
        config.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        config.with_no_client_auth()
    };
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let key = made.signing_key.serialize_pem().into_bytes();
    (config, (made.cert.pem().into_bytes(), key))
}

/// Who looks after a slot's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// The shard, as under load.
    Shard,
    /// The runtime, as in setup, teardown and `plan try`.
    Runtime,
}

/// One slot with what it needs.
pub(crate) struct Slot {
    pub(crate) clock: Clock,
    pub(crate) shared: Rc<EngineShared>,
    pub(crate) set: EngineSet,
    pub(crate) answer: Answer,
    reactor: Option<Rc<Reactor>>,
}

impl Slot {
    pub(crate) fn new(options: EngineOptions) -> Self {
        Self::with(options, &TlsOptions::default(), &[])
    }

    pub(crate) fn with(options: EngineOptions, tls: &TlsOptions, fixed: &[Resolve]) -> Self {
        Self::over(Sockets::Shard, options, tls, fixed)
    }

    pub(crate) fn over(sockets: Sockets, options: EngineOptions, tls: &TlsOptions, fixed: &[Resolve]) -> Self {
        let clock = Clock::boot();
        let resolver = Arc::new(Resolver::new(clock, DnsPolicy::Once, fixed));
        let reactor = (sockets == Sockets::Shard).then(|| Reactor::new(clock).unwrap());
        let shared = EngineShared::new(clock, resolver, tls.build().unwrap(), options, reactor.clone());
        let set = EngineSet::new(&shared);
        Self {
            clock,
            shared,
            set,
            answer: Answer::default(),
            reactor,
        }
    }

    /// Another slot of the same shard, for the `http2` engine.
    pub(crate) fn beside(shared: &Rc<EngineShared>) -> Self {
        Self {
            clock: shared.clock(),
            shared: Rc::clone(shared),
            set: EngineSet::new(shared),
            answer: Answer::default(),
            reactor: None,
        }
    }

    /// What looks after its sockets, unless the runtime does.
    pub(crate) fn reactor(&self) -> Option<Rc<Reactor>> {
        self.reactor.clone()
    }

    pub(crate) fn terms(&self, timeout_ms: u64) -> Terms<'static> {
        let deadline = self.clock.now() + Duration::from_millis(timeout_ms);
        Terms {
            keep_body: true,
            want_headers: true,
            deadline,
            send_by: None,
            awake: None,
        }
    }

    /// Sends `GET /` (or another method) through the raw engine.
    pub(crate) async fn ask(&mut self, origin: &Origin, method: Method, timeout_ms: u64) -> Result<(), Failure> {
        let head = format!("{} / HTTP/1.1\r\nhost: {}\r\n\r\n", method.word(), origin.authority);
        let terms = self.terms(timeout_ms);
        let out = Outgoing {
            head: head.as_bytes(),
            body: b"",
            method,
            origin,
            terms,
        };
        self.send(&out).await
    }

    pub(crate) async fn send(&mut self, out: &Outgoing<'_>) -> Result<(), Failure> {
        self.exchange(&Request::Http1(*out)).await
    }

    pub(crate) async fn exchange(&mut self, request: &Request<'_>) -> Result<(), Failure> {
        self.exchange_since(self.clock.now(), request).await
    }

    /// The same for a request that began at an instant.
    pub(crate) async fn exchange_since(&mut self, began: Stamp, request: &Request<'_>) -> Result<(), Failure> {
        self.answer.clear(began);
        let work = self.set.exchange(request, &mut self.answer);
        match &self.reactor {
            Some(reactor) => driven(reactor, work).await,
            None => work.await,
        }
    }

    /// The result in a form that tables can hold: `200 hello` or `failed reset`.
    pub(crate) fn word(&self, result: &Result<(), Failure>) -> String {
        match result {
            Ok(()) => format!("{} {}", self.answer.status, self.answer.body.escape_ascii()),
            Err(failure) => cause_word(failure.cause),
        }
    }
}

/// What a shard knows that has stood still since an instant.
pub(crate) fn standing_since(at: Stamp) -> Awake {
    let awake = Awake::default();
    awake.told(at);
    awake
}

/// Checks that a request has timed out, and whether something came of it after its deadline, in that very instant.
#[track_caller]
pub(crate) fn assert_timed_out(answer: &Answer, result: &Result<(), Failure>, deadline: Stamp, late: bool) {
    assert_times(answer, result);
    let failure = result.as_ref().unwrap_err();
    assert_eq!(failure.cause, Cause::Timeout, "{failure}");
    let by = if late {
        answer.done_at.since(deadline)
    } else {
        Duration::ZERO
    };
    assert_eq!(u128::from(failure.read_late_us), by.as_micros(), "{failure}");
    assert_eq!(failure.read_late_us > 0, late, "{failure}");
}

/// Does work as a shard does that of its slots: between a look at the sockets and the sending of what is handed in.
pub(crate) async fn driven<T>(reactor: &Reactor, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        reactor.listen(cx);
        reactor.look();
        reactor.gather();
        let done = work.as_mut().poll(cx);
        reactor.flush();
        done
    })
    .await
}

pub(crate) fn cause_word(cause: Cause) -> String {
    match cause {
        Cause::Failed(class) => format!("failed {}", FailureClass::word(class)),
        Cause::Timeout => "timeout".to_owned(),
        Cause::Expired => "expired".to_owned(),
    }
}

/// Checks what holds for every exchange, however it ended.
#[track_caller]
pub(crate) fn assert_times(answer: &Answer, result: &Result<(), Failure>) {
    assert!(answer.done_at >= answer.began_at);
    assert_ne!(answer.done_at, Stamp::from_us(0));
    if let Some(sent_at) = answer.sent_at {
        assert!(answer.began_at <= sent_at && sent_at <= answer.done_at);
        let first_byte = answer.timings.first_byte.unwrap_or_default();
        assert!(first_byte <= answer.done_at.since(sent_at));
    }
    match result {
        Ok(()) => assert!(answer.sent_at.is_some() && answer.wire_requests > 0),
        Err(failure) => assert!(failure.message.len() <= 200 && !failure.message.is_empty()),
    }
}

/// Waits until `reached` holds, for at most five seconds.
pub(crate) async fn until(reached: impl Fn() -> bool) {
    for _ in 0..500 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the awaited state was not reached");
}
