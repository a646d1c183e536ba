//! Requests whose deadline passes while their shard stands still.

use std::borrow::Cow;
use std::time::Duration;

use barrage_model::plan::Method;
use url::Url;

use crate::engine::testing::{Do, Server, Slot, Sockets, assert_timed_out, certificate, standing_since};
use crate::engine::{EngineOptions, Origin, Outgoing, Request, Terms};
use crate::net::TlsOptions;

const SOCKETS: [Sockets; 2] = [Sockets::Shard, Sockets::Runtime];

/// Asks on a new connection, under a deadline that has just passed, of a shard that had stood still for so long by then, since
/// the request began. Whether it was told that there was a connection, and how.
async fn connecting(server: &Server, sockets: Sockets, stood: Duration) -> (bool, Cow<'static, str>) {
    let tls = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let mut slot = Slot::over(sockets, EngineOptions::default(), &tls, &[]);
    let deadline = slot.clock.now() - Duration::from_millis(1);
    let began = deadline - stood;
    let awake = standing_since(began);
    let url = format!("https://{}/", server.address);
    let origin = Origin::from_url(0, &Url::parse(&url).unwrap()).unwrap();
    let terms = Terms {
        deadline,
        awake: Some(&awake),
        ..slot.terms(0)
    };
    let out = Outgoing {
        head: b"GET / HTTP/1.1\r\n\r\n",
        body: b"",
        method: Method::Get,
        origin: &origin,
        terms,
    };
    let result = slot.exchange_since(began, &Request::Http1(out)).await;
    let failure = result.clone().unwrap_err();
    let late = failure.read_late_us > 0;
    assert_timed_out(&slot.answer, &result, deadline, late);
    assert!(late || slot.answer.done_at >= deadline + stood, "{failure}");
    assert_eq!((slot.answer.sent_at, slot.answer.wire_requests), (None, 0), "{failure}");
    (late, *failure.message)
}

#[tokio::test]
async fn a_connection_that_is_there_after_a_standstill_was_no_fault_of_the_targets() {
    let (config, _) = certificate(&["localhost"]);
    let (quick, silent) = (
        Server::tls(vec![vec![Do::Read]], config).await,
        Server::start(vec![vec![Do::Hang]]).await,
    );
    for sockets in SOCKETS {
        let there = connecting(&quick, sockets, Duration::from_mins(1)).await;
        assert_eq!(
            there,
            (true, "timed out before the request could be sent".into()),
            "{sockets:?}"
        );
        // Who never shakes hands has had all the time that the standstill took from it, or none if there was none.
        for stood_ms in [30, 0] {
            let waited = connecting(&silent, sockets, Duration::from_millis(stood_ms)).await;
            assert_eq!(
                waited,
                (false, "timed out in the TLS handshake".into()),
                "{sockets:?} {stood_ms}"
            );
        }
    }
    assert!(quick.seen().is_empty(), "nothing is sent after the deadline");
}
