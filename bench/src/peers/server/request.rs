//! Cuts requests out of a byte stream: whole ones, half ones, several at once.

/// Most bytes of one request, head and body.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 << 10;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// Any path that is not special.
    Plain,
    /// The JSON answer.
    Item,
    /// The server's own counters: what follows `/~/`.
    Control(&'a str),
}

/// The first request of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// Its bytes, body included.
    pub(crate) length: usize,
    /// What it asks for.
    pub(crate) route: Route<'a>,
    /// Spoken in HTTP/1.0, where keeping the connection must be said.
    pub(crate) old: bool,
    /// The client closes after the answer.
    pub(crate) close: bool,
}

/// What the start of a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// More bytes are needed.
    Partial,
    /// A whole request.
    Whole(Request<'a>),
    /// Not a request that this server understands, or one that is too long.
    Bad,
}

/// Looks at the start of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some((line, mut at)) = line(bytes, 0) else {
        return partial(bytes.len());
    };
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(_), Some(path), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Parsed::Bad;
    };
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Parsed::Bad,
    };
    let mut body = 0;
    let mut close = old;
    loop {
        let Some((header, after)) = self::line(bytes, at) else {
            return partial(bytes.len());
        };
        at = after;
        if header.is_empty() {
            break;
        }
        if let Some(value) = value(header, b"content-length") {
            let Some(length) = number(value) else {
                return Parsed::Bad;
            };
            body = length;
        } else if let Some(value) = value(header, b"connection") {
            close = value.eq_ignore_ascii_case(b"close") || (old && !value.eq_ignore_ascii_case(b"keep-alive"));
        } else if value(header, b"transfer-encoding").is_some() {
            return Parsed::Bad;
        }
    }
    let Some(length) = at.checked_add(body).filter(|length| *length <= REQUEST_BYTES_MAX) else {
        return Parsed::Bad;
    };
    if bytes.len() < length {
        return Parsed::Partial;
    }
    route(path).map_or(Parsed::Bad, |route| {
        Parsed::Whole(Request {
            length,
            route,
            old,
            close,
        })
    })
}

fn partial(length: usize) -> Parsed<'static> {
    if length < REQUEST_BYTES_MAX {
        Parsed::Partial
    } else {
        Parsed::Bad
    }
}

/// The line that begins at `from` without its end, and where the next one begins.
fn line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let end = from + bytes[from..].iter().position(|byte| *byte == b'\n')?;
    let line = &bytes[from..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// The value of a header field, if it has this name.
fn value<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = header.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn route(path: &[u8]) -> Option<Route<'_>> {
    match path {
        b"/item" => Some(Route::Item),
        [b'/', b'~', b'/', rest @ ..] => std::str::from_utf8(rest).ok().map(Route::Control),
        [b'/', ..] => Some(Route::Plain),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Request<'_> {
        match parse(text.as_bytes()) {
            Parsed::Whole(request) => request,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn the_first_of_several_is_cut_out() {
        let one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let request = whole(one);
        assert_eq!(
            (request.length, request.route, request.old, request.close),
            (one.len(), Route::Plain, false, false)
        );
        assert_eq!(whole(&format!("{one}{one}")).length, one.len());
        assert_eq!(whole("GET /item HTTP/1.1\r\n\r\n").route, Route::Item);
        assert_eq!(whole("GET /~/state HTTP/1.1\r\n\r\n").route, Route::Control("state"));
    }

    #[test]
    fn every_beginning_of_a_request_is_partial() {
        let text = b"POST /a HTTP/1.1\r\nHost: a\r\nCONTENT-LENGTH: 3\r\n\r\nabc";
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), Parsed::Partial, "{end}");
        }
        assert!(matches!(parse(text), Parsed::Whole(request) if request.length == text.len()));
    }

    #[test]
    fn who_keeps_the_connection() {
        for (text, old, close) in [
            ("GET / HTTP/1.0\r\n\r\n", true, true),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, false),
            ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false, true),
            ("GET / HTTP/1.1\r\nconnection: keep-alive\r\n\r\n", false, false),
        ] {
            let request = whole(text);
            assert_eq!((request.old, request.close), (old, close), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_bad_and_never_endless() {
        for text in [
            "GET /\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / x HTTP/1.1\r\n\r\n",
            "GET a HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 65536\r\n\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Parsed::Bad, "{text:?}");
        }
        assert_eq!(parse(&vec![b'a'; REQUEST_BYTES_MAX]), Parsed::Bad);
    }
}
