//! Requests whose deadline passes while their shard stands still.

use std::time::Duration;

use url::Url;

use super::server::{Http2Server, Manner};
use super::{get, on_a_shard};
use crate::engine::EngineOptions;
use crate::engine::Origin;
use crate::engine::Terms;
use crate::engine::testing::{Slot, assert_timed_out, standing_since};

/// Asks on a new connection, under a deadline that has just passed, of a shard that had stood still for so long by then, since
/// the request began. Whether it was told that there was a connection, and how.
async fn connecting(origin: &Origin, stood: Duration) -> (bool, String) {
    let mut slot = Slot::new(EngineOptions::default());
    let deadline = slot.clock.now() - Duration::from_millis(1);
    let began = deadline - stood;
    let awake = standing_since(began);
    let terms = Terms {
        deadline,
        awake: Some(&awake),
        ..slot.terms(0)
    };
    let result = get("/").since(began, &mut slot, origin, terms).await;
    let failure = result.clone().unwrap_err();
    let late = failure.read_late_us > 0;
    assert_timed_out(&slot.answer, &result, deadline, late);
    assert!(late || slot.answer.done_at >= deadline + stood, "{failure}");
    assert_eq!((slot.answer.sent_at, slot.answer.wire_requests), (None, 0), "{failure}");
    (late, failure.message.to_string())
}

#[test]
fn a_connection_that_is_there_after_a_standstill_was_no_fault_of_the_targets() {
    on_a_shard(async {
        let server = Http2Server::start(Manner::default()).await;
        let there = connecting(&server.origin(), Duration::from_mins(1)).await;
        assert_eq!(there, (true, "timed out before the request could be sent".to_owned()));
        // Takes connections, and never shakes hands.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
        let origin = Origin::from_url(0, &url).unwrap();
        for stood_ms in [30, 0] {
            let waited = connecting(&origin, Duration::from_millis(stood_ms)).await;
            assert_eq!(
                waited,
                (false, "timed out in the TLS handshake".to_owned()),
                "{stood_ms}"
            );
        }
    });
}
