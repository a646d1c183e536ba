//! The HTTP API.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use barrage_model::ids::RunId;
use barrage_report::Format;
use serde::Serialize;

use super::Faces;
use super::reports::{ReportError, render};

/// Runs in the list.
const LIST: u32 = 100;

pub(super) fn router(faces: &Faces) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/api/runs", get(runs))
        .route("/api/runs/{id}", get(report))
        .layer(axum::middleware::from_fn_with_state(faces.clone(), own_name))
        .with_state(faces.clone())
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: String,
    protocol: u32,
    workers: u32,
    running: u32,
}

#[derive(Serialize)]
struct Line {
    id: String,
    name: String,
    state: String,
    verdict: Option<String>,
    exit_code: Option<u8>,
    started_at: Option<String>,
    duration_us: u64,
    started: u64,
    stored_bytes: u64,
}

/// A page of another site may have its own name resolve to this host; a port that is open to this host alone answers to
/// this host's names only.
async fn own_name(State(faces): State<Faces>, request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let named = named.or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str));
    if faces.local_only && !named.is_some_and(is_own) {
        return (
            StatusCode::FORBIDDEN,
            "this port answers to this host's own names only\n",
        )
            .into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'"),
    );
    response
}

/// Whether an authority names this host: `localhost` or a loopback address.
fn is_own(authority: &str) -> bool {
    let Ok(uri) = authority.parse::<Uri>() else {
        return false;
    };
    let Some(host) = uri.host() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn problem(status: StatusCode, text: &str) -> Response {
    json(status, &serde_json::json!({ "error": text }))
}

async fn health(State(faces): State<Faces>) -> Response {
    let Ok(reply) = faces.hub.health().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the coordinator is stopping");
    };
    let status = if reply.store_ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let health = Health {
        status: if reply.store_ok {
            "ok"
        } else {
            "the store cannot be written to"
        },
        version: reply.version,
        protocol: reply.protocol,
        workers: reply.workers,
        running: reply.running,
    };
    json(status, &health)
}

async fn runs(State(faces): State<Faces>) -> Response {
    let listed = tokio::task::spawn_blocking(move || faces.reader.list(LIST)).await;
    let Ok(Ok(lines)) = listed else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "could not read from the store");
    };
    let filled = |text: String| Some(text).filter(|text| !text.is_empty());
    let lines: Vec<Line> = lines
        .into_iter()
        .map(|line| Line {
            id: line.id.to_string(),
            name: line.name,
            state: line.state,
            verdict: filled(line.verdict),
            exit_code: line.exit_code,
            started_at: filled(line.started_at),
            duration_us: line.duration_us,
            started: line.started,
            stored_bytes: line.stored_bytes,
        })
        .collect();
    json(StatusCode::OK, &serde_json::json!({ "runs": lines }))
}

async fn report(State(faces): State<Faces>, Path(id): Path<String>) -> Response {
    let Ok(run) = id.parse::<RunId>() else {
        return problem(StatusCode::BAD_REQUEST, "a run id is 16 hexadecimal digits");
    };
    match render(&faces, run, Format::Json).await {
        Ok(body) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, Format::Json.content_type())],
            body,
        )
            .into_response(),
        Err(error) => {
            let status = match error {
                ReportError::Unknown(_) => StatusCode::NOT_FOUND,
                ReportError::NotBegun(_) | ReportError::DidNotRun(..) => StatusCode::CONFLICT,
                ReportError::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
                ReportError::Stopping(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            problem(status, &error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_own;

    #[test]
    fn names_of_this_host() {
        for own in [
            "localhost",
            "LOCALHOST:7070",
            "127.0.0.1:7070",
            "127.8.9.1",
            "[::1]:7070",
            "[::1]",
        ] {
            assert!(is_own(own), "{own}");
        }
        for other in [
            "example.org",
            "localhost.example.org:80",
            "10.0.0.1:7070",
            "[fe80::1]:1",
            "",
            "a b",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
