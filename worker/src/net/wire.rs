//! One open connection as a pair of poll functions, plain or TLS, with exact byte counts.
//!
//! TLS is driven here rather than by an adaptor, so that the bytes on the wire (records and handshake included) are counted
//! and a read costs one system call.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use rustix::net::{RecvFlags, SendFlags};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::task::coop::poll_proceed;

use super::ports::Port;
use super::reactor::{Owned, Reactor};
use crate::clock::Stamp;

/// A connected socket and what has passed through it.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
    /// What broke behind bytes that may still have to be read.
    broken: Option<io::Error>,
    /// As long as the socket is open.
    port: Option<Port>,
}

#[derive(Debug)]
enum Socket {
    /// One that the shard looks after itself.
    Own(Owned),
    /// One that the runtime looks after.
    Runtime {
        stream: TcpStream,
        bytes_in: u64,
        bytes_out: u64,
    },
}

// The system calls are made directly: the C library's `send` and `recv` arm and disarm thread cancellation around each,
// which costs more than everything else in user space that a small request needs of the socket.
impl Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        // An answer without end must not keep the other slots of the shard from their turn.
        let turn = ready!(poll_proceed(cx));
        loop {
            let read = match self {
                Self::Own(own) => Some(ready!(own.poll_read(cx, into))),
                Self::Runtime { .. } => self.try_read(into),
            };
            if let Some(read) = read {
                turn.made_progress();
                return Poll::Ready(read);
            }
            if let Self::Runtime { stream, .. } = self {
                ready!(stream.poll_read_ready(cx))?;
            }
        }
    }

    /// Reads what is there; `None` when nothing is, which costs no system call as long as the runtime knows it.
    fn try_read(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        let (stream, bytes_in) = match self {
            Self::Own(own) => return own.try_read(into),
            Self::Runtime { stream, bytes_in, .. } => (&*stream, bytes_in),
        };
        let mut taken = None;
        let read = stream.try_io(Interest::READABLE, || {
            let (count, _) = rustix::net::recv(stream, &mut *into, RecvFlags::empty())?;
            taken = Some(count);
            // Less than there was room for: nothing more is there, so the runtime may forget that the socket was ready.
            if count > 0 && count < into.len() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        match (taken, read) {
            (Some(count), _) => {
                *bytes_in += count as u64;
                Some(Ok(count))
            }
            (None, Err(error)) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                None
            }
            (None, Err(error)) => Some(Err(error)),
            (None, Ok(())) => None,
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let (stream, bytes_out) = match self {
            Self::Own(own) => return own.poll_write(cx, parts),
            Self::Runtime { stream, bytes_out, .. } => (stream, bytes_out),
        };
        let count = match parts {
            [one] => ready!(poll_send(stream, cx, one))?,
            several => ready!(Pin::new(stream).poll_write_vectored(cx, several))?,
        };
        *bytes_out += count as u64;
        Poll::Ready(Ok(count))
    }

    fn bytes(&self) -> (u64, u64) {
        match self {
            Self::Own(own) => own.bytes(),
            Self::Runtime {
                bytes_in, bytes_out, ..
            } => (*bytes_in, *bytes_out),
        }
    }
}

fn poll_send(stream: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        let sent = stream.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::send(stream, bytes, SendFlags::NOSIGNAL)?)
        });
        match sent {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            done => return Poll::Ready(done),
        }
        ready!(stream.poll_write_ready(cx))?;
    }
}

/// Lends the socket to rustls, which speaks `std::io`: pending becomes `WouldBlock`, the waker stays registered. Without a
/// context nobody waits for what is not there.
struct Lent<'a, 'b> {
    socket: &'a mut Socket,
    cx: Option<&'a mut Context<'b>>,
}

fn blocking<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Lent<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.cx {
            Some(cx) => blocking(self.socket.poll_read(cx, into)),
            None => (self.socket.try_read(into)).unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into())),
        }
    }
}

impl Write for Lent<'_, '_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(from)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut nobody = Context::from_waker(Waker::noop());
        blocking(
            self.socket
                .poll_write(self.cx.as_deref_mut().unwrap_or(&mut nobody), parts),
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What `UnexpectedEof` means of a connection that had been made.
pub(crate) const CUT: &str = "the server closed the TLS connection without saying so";

/// The TLS library's own error, when that is what an I/O error wraps.
pub(crate) fn as_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

impl Wire {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self {
            socket: Socket::Runtime {
                stream,
                bytes_in: 0,
                bytes_out: 0,
            },
            tls: None,
            broken: None,
            port: None,
        }
    }

    /// As [`Wire::plain`], with a socket that the shard looks after itself.
    pub(crate) fn adopted(stream: TcpStream, reactor: &Rc<Reactor>) -> io::Result<Self> {
        Ok(Self {
            socket: Socket::Own(reactor.adopt(stream)?),
            tls: None,
            broken: None,
            port: None,
        })
    }

    /// Keeps the connection's port in mind as long as the socket is open.
    pub(crate) fn keep(&mut self, port: Port) {
        self.port = Some(port);
    }

    /// The socket, if it takes requests that are sent together with those of others.
    pub(crate) fn gathers(&self) -> Option<&Owned> {
        match (&self.socket, &self.tls) {
            (Socket::Own(own), None) => Some(own),
            _ => None,
        }
    }

    /// The instant at which the bytes were there that the latest read has given, if that was before the read. Told once.
    pub(crate) fn take_read_at(&self) -> Option<Stamp> {
        match &self.socket {
            Socket::Own(own) => own.take_read_at(),
            Socket::Runtime { .. } => None,
        }
    }

    /// Whether bytes have left the socket that nobody has asked for yet.
    pub(crate) fn is_ahead(&self) -> bool {
        matches!(&self.socket, Socket::Own(own) if own.is_ahead())
    }

    /// Begins TLS on a plain connection; [`Wire::poll_handshake`] completes it.
    pub(crate) fn start_tls(&mut self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<()> {
        self.tls = Some(Box::new(ClientConnection::new(config, name).map_err(tls_error)?));
        Ok(())
    }

    /// The protocol that the TLS handshake has settled on.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.alpn_protocol()
    }

    /// Bytes received and sent since the connection was made, TLS overhead included.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        self.socket.bytes()
    }

    /// Drives the handshake to its end. A peer that hangs up in the middle is `UnexpectedEof`.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(tls) = &mut self.tls else {
            return Poll::Ready(Ok(()));
        };
        loop {
            ready!(poll_flush(&mut self.socket, tls, cx))?;
            if !tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            match tls.read_tls(&mut Lent {
                socket: &mut self.socket,
                cx: Some(&mut *cx),
            }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            process(&mut self.socket, tls, Some(&mut *cx))?;
        }
    }

    /// Reads what is there without waiting: `None` when nothing is. Nobody is woken when that changes.
    pub(crate) fn try_read(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        if self.tls.is_none() {
            return self.socket.try_read(into);
        }
        match self.decrypt(None, into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            read => Some(read),
        }
    }

    /// Reads decrypted bytes. `Ok(0)` is an orderly end; a TLS peer that hangs up without saying so is `UnexpectedEof`.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.tls.is_none() {
            return self.socket.poll_read(cx, into);
        }
        match self.decrypt(Some(cx), into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            read => Poll::Ready(read),
        }
    }

    /// Reads over TLS; `WouldBlock` when nothing is there.
    fn decrypt(&mut self, mut cx: Option<&mut Context<'_>>, into: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        loop {
            match tls.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if let Some(error) = self.broken.take() {
                return Err(error);
            }
            tls.read_tls(&mut Lent {
                socket: &mut self.socket,
                cx: cx.as_deref_mut(),
            })?;
            self.broken = process(&mut self.socket, tls, cx.as_deref_mut()).err();
        }
    }

    /// Takes some bytes of `parts` and says how many. Over TLS they may still have to be flushed.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Some(tls) = &mut self.tls else {
            return self.socket.poll_write(cx, parts);
        };
        ready!(poll_flush(&mut self.socket, tls, cx))?;
        let taken = tls.writer().write_vectored(parts)?;
        if let Poll::Ready(Err(error)) = poll_flush(&mut self.socket, tls, cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    /// Completes when everything taken has been handed to the socket.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => poll_flush(&mut self.socket, tls, cx),
        }
    }
}

fn poll_flush(socket: &mut Socket, tls: &mut ClientConnection, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while tls.wants_write() {
        match tls.write_tls(&mut Lent {
            socket,
            cx: Some(&mut *cx),
        }) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    Poll::Ready(Ok(()))
}

/// Decrypts what was read; when that fails the peer is told why, as far as the socket takes it.
fn process(socket: &mut Socket, tls: &mut ClientConnection, cx: Option<&mut Context<'_>>) -> io::Result<()> {
    match tls.process_new_packets() {
        Ok(_) => Ok(()),
        Err(error) => {
            let mut nobody = Context::from_waker(Waker::noop());
            let _ = poll_flush(socket, tls, cx.unwrap_or(&mut nobody));
            Err(tls_error(error))
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls {
            // A courtesy that spares the target an error line; whether it arrives changes nothing for us.
            tls.send_close_notify();
            let _ = poll_flush(&mut self.socket, tls, &mut Context::from_waker(Waker::noop()));
        }
    }
}
