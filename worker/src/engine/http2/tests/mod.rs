//! The engine against a server that speaks HTTP/2, and against one that only sends bytes.

mod connections;
mod failures;
mod flow;
mod frames;
mod secure;
mod server;
mod standstills;

use std::rc::Rc;

use barrage_model::plan::Method;
use bytes::Bytes;

use crate::clock::Stamp;
use crate::engine::testing::{Slot, assert_times};
use crate::engine::{Failure, Http2Request, Origin, Request, Terms, http_method};

pub(super) const PATIENCE_MS: u64 = 20_000;

/// Runs a test as a shard runs: one thread, tasks that stay on it.
pub(super) fn on_a_shard<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// A request that differs from `GET /` in a few things.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) path: String,
    pub(super) method: Method,
    pub(super) body: Bytes,
    pub(super) fields: Vec<(&'static str, String)>,
}

pub(super) fn get(path: &str) -> Ask {
    Ask {
        path: path.to_owned(),
        method: Method::Get,
        body: Bytes::new(),
        fields: Vec::new(),
    }
}

pub(super) fn post(path: &str, body: impl Into<Bytes>) -> Ask {
    Ask {
        method: Method::Post,
        body: body.into(),
        ..get(path)
    }
}

impl Ask {
    pub(super) async fn by(&self, slot: &mut Slot, origin: &Origin, timeout_ms: u64) -> Result<(), Failure> {
        let terms = slot.terms(timeout_ms);
        self.within(slot, origin, terms).await
    }

    pub(super) async fn within(&self, slot: &mut Slot, origin: &Origin, terms: Terms<'_>) -> Result<(), Failure> {
        let now = slot.clock.now();
        self.since(now, slot, origin, terms).await
    }

    /// As a request that began at an instant.
    pub(super) async fn since(
        &self,
        began: Stamp,
        slot: &mut Slot,
        origin: &Origin,
        terms: Terms<'_>,
    ) -> Result<(), Failure> {
        let scheme = if origin.server_name.is_some() { "https" } else { "http" };
        let mut head = http::Request::builder()
            .method(http_method(self.method))
            .uri(format!("{scheme}://{}{}", origin.authority, self.path))
            .version(http::Version::HTTP_2)
            .header("user-agent", "test");
        for (name, value) in &self.fields {
            head = head.header(*name, value);
        }
        let head = head.body(()).unwrap();
        let request = Http2Request {
            head: &head,
            body: &self.body,
            origin,
            terms,
        };
        let result = slot.exchange_since(began, &Request::Http2(request)).await;
        assert_times(&slot.answer, &result);
        result
    }
}

/// So many slots of one shard.
pub(super) fn slots(first: Slot, count: usize) -> Vec<Slot> {
    let shared = Rc::clone(&first.shared);
    let mut all = vec![first];
    all.resize_with(count, || Slot::beside(&shared));
    all
}
