//! The faces of the coordinator on its one port: gRPC for workers and command lines, HTTP for everybody else. Each is a
//! thin loop around the hub.

mod fleet;
mod http;
mod reports;
mod runs;
mod server;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use barrage_proto::MESSAGE_MAX_BYTES;
use barrage_proto::v1::fleet_server::FleetServer;
use barrage_proto::v1::runs_server::RunsServer;

use crate::hub::Handle;
use crate::store::{Files, Reader, Writer};

pub(crate) use server::{Limits, serve};

/// Largest request of a command line, bytes: a plan of 1 MiB with its values.
const REQUEST_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Largest message of a worker that is no delta, bytes. In memory it can be some twenty times as large.
const WORD_MAX_BYTES: usize = 4 * 1024 * 1024;

/// What every face needs.
#[derive(Clone, Debug)]
pub(crate) struct Faces {
    pub(crate) hub: Handle,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) files: Files,
    /// Tells uploads of the same file apart.
    pub(crate) uploads: Arc<AtomicU64>,
    /// Names in requests must be this host's own: the port is open to this host alone.
    pub(crate) local_only: bool,
}

/// Everything that the port answers.
pub(crate) fn router(faces: &Faces) -> Router {
    let fleet = |most| {
        FleetServer::new(fleet::Fleet(faces.clone()))
            .max_decoding_message_size(most)
            .max_encoding_message_size(MESSAGE_MAX_BYTES)
    };
    let runs = RunsServer::new(runs::Runs(faces.clone()))
        .max_decoding_message_size(REQUEST_MAX_BYTES)
        .max_encoding_message_size(MESSAGE_MAX_BYTES);
    tonic::service::Routes::new(fleet(WORD_MAX_BYTES))
        .add_service(runs)
        .into_axum_router()
        .route_service("/barrage.v1.Fleet/Upload", fleet(MESSAGE_MAX_BYTES))
        .layer(axum::middleware::from_fn(grpc_only))
        .merge(http::router(faces))
        .fallback(nothing_here)
}

fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    request.version() == Version::HTTP_2 && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// tonic itself answers calls of any content type over HTTP/1, and those a page of any site may have a browser send to
/// this port without asking: only what no page can send counts as a call.
async fn grpc_only(request: Request, next: Next) -> Response {
    if is_grpc(&request) {
        return next.run(request).await;
    }
    let why = "calls are gRPC over HTTP/2 with the content type application/grpc\n";
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response()
}

/// A service of a later version is unimplemented; any other path is not there, which must not look well to a health check.
async fn nothing_here(request: Request) -> Response {
    if is_grpc(&request) {
        tonic::Status::unimplemented("this coordinator has no such service").into_http::<axum::body::Body>()
    } else {
        (StatusCode::NOT_FOUND, "nothing here; try /health or /api/runs\n").into_response()
    }
}
