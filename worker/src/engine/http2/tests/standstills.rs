//! Requests whose deadline passes while their shard stands still.

use std::io::{Read as _, Write as _};
use std::sync::mpsc;
use std::time::Duration;

use url::Url;

use super::failures::{SETTINGS, frame};
use super::server::{Http2Server, Manner};
use super::{get, on_a_shard, post};
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

/// Sends more than the server grants at first, under a deadline over which the shard stands still. Meanwhile the server grants
/// more, or does not.
async fn uploading(grants: bool) {
    /// What a server grants at first (RFC 9113, section 6.9.2).
    const WINDOW: u32 = 65_535;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let (filled, is_filled) = mpsc::sync_channel(1);
    let (stand, stands) = mpsc::sync_channel(1);
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(SETTINGS).unwrap();
        let (mut buffer, mut received) = ([0; 4_096], 0);
        while received < WINDOW as usize {
            received += stream.read(&mut buffer).unwrap();
        }
        filled.send(()).unwrap();
        stands.recv().unwrap();
        if grants {
            let [whole, one] = [0, 1].map(|stream| frame(8, 0, stream, &WINDOW.to_be_bytes()));
            stream.write_all(&[whole, one].concat()).unwrap();
            filled.send(()).unwrap();
        }
        while let Ok(1..) = stream.read(&mut buffer) {}
    });
    let mut slot = Slot::new(EngineOptions::default());
    let clock = slot.clock;
    let terms = slot.terms(2_000);
    let standstill = async {
        while is_filled.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stand.send(()).unwrap();
        while clock.now() <= terms.deadline || (grants && is_filled.try_recv().is_err()) {
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let (ask, origin) = (post("/", vec![b'x'; 4 << 20]), Origin::from_url(0, &url).unwrap());
    let (result, ()) = tokio::join!(ask.within(&mut slot, &origin, terms), standstill);
    assert_timed_out(&slot.answer, &result, terms.deadline, grants);
    let message = result.unwrap_err().message;
    assert_eq!(*message, "timed out while sending the request");
    drop(slot);
    // The connection goes with its last user.
    tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap();
}

#[test]
fn a_body_for_which_there_was_room_in_a_standstill_was_late_by_us() {
    on_a_shard(async {
        uploading(true).await;
        uploading(false).await;
    });
}
