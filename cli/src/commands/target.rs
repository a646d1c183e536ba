//! The demo's target: a small MCP-like server with latencies that look like a real one's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use barrage_model::rng::Rng;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::args::TargetArgs;
use crate::commands::until_told;
use crate::exit::{Failure, Outcome};
use crate::signals::Signals;
use crate::stdout;

/// Largest request body taken, bytes.
const BODY_MAX: usize = 1024 * 1024;
/// How long open requests may take once the server is told to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Server {
    seed: u64,
    requests: AtomicU64,
    calls: AtomicU64,
}

impl Server {
    /// Waits as a service would: log-normal with the given median, 2.5 % of the requests ten times as slow.
    async fn work(&self, median_us: f64) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut rng = Rng::from_seed(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let normal = (-2.0 * (1.0 - rng.unit_f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.unit_f64()).cos();
        let slow = if rng.unit_f64() < 0.025 { 10.0 } else { 1.0 };
        let micros = (median_us * (0.35 * normal).exp() * slow).clamp(100.0, 2e6);
        tokio::time::sleep(Duration::from_micros(micros as u64)).await;
    }
}

/// Serves until a signal comes.
pub(crate) async fn target(args: &TargetArgs) -> Outcome {
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .map_err(|error| Failure::start(format!("could not listen on {}", args.listen), &error))?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::own("could not read the own address", &error))?;
    let mut signals = Signals::new()?;
    stdout::line(&format!("listening on http://{address}"))?;
    let stop = CancellationToken::new();
    let stopping = stop.clone().cancelled_owned();
    let server = axum::serve(listener, router(args.seed)).with_graceful_shutdown(stopping);
    let mut serving = Box::pin(std::future::IntoFuture::into_future(server));
    tokio::select! {
        ended = &mut serving => ended.map_err(|error| Failure::own("the target failed", &error))?,
        () = until_told(&mut signals, args.tied) => {
            stop.cancel();
            // A client that keeps its connection open must not hold the process.
            if let Ok(ended) = tokio::time::timeout(DRAIN_LIMIT, serving).await {
                ended.map_err(|error| Failure::own("the target failed", &error))?;
            }
        }
    }
    Ok(0)
}

fn router(seed: u64) -> Router {
    let server = Arc::new(Server {
        seed,
        requests: AtomicU64::new(0),
        calls: AtomicU64::new(0),
    });
    Router::new()
        .route("/mcp", post(mcp))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .with_state(server)
}

async fn health(State(server): State<Arc<Server>>) -> Response {
    server.work(800.0).await;
    json_response(&json!({ "status": "healthy" }))
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    server.work(1_500.0).await;
    let text = format!(
        "# HELP demo_requests_total Requests served.\n# TYPE demo_requests_total counter\ndemo_requests_total {}\n\
         # HELP demo_tool_calls_total Tools called.\n# TYPE demo_tool_calls_total counter\ndemo_tool_calls_total {}\n",
        server.requests.load(Ordering::Relaxed),
        server.calls.load(Ordering::Relaxed),
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn mcp(State(server): State<Arc<Server>>, headers: HeaderMap, body: String) -> Response {
    let Ok(request) = serde_json::from_str::<Value>(&body) else {
        return rpc_error(&Value::Null, -32_700, "parse error");
    };
    let id = request.get("id").cloned().unwrap_or(Value::Null);
    let session = headers.get("mcp-session-id").cloned();
    match request.get("method").and_then(Value::as_str) {
        Some("initialize") => {
            server.work(2_000.0).await;
            let result = json!({
                "protocolVersion": "2025-06-18",
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "barrage-demo-target", "version": env!("CARGO_PKG_VERSION") },
            });
            let mut response = rpc_result(&id, &result);
            let number = server.requests.load(Ordering::Relaxed);
            if let Ok(value) = format!("session-{number:08x}").parse() {
                response.headers_mut().insert("mcp-session-id", value);
            }
            response
        }
        Some("tools/list") => {
            server.work(3_000.0).await;
            let mut response = rpc_result(&id, &json!({ "tools": [tool()] }));
            if let Some(session) = session {
                response.headers_mut().insert("mcp-session-id", session);
            }
            response
        }
        Some("tools/call") => {
            server.work(12_000.0).await;
            server.calls.fetch_add(1, Ordering::Relaxed);
            call(&id, request.get("params").unwrap_or(&Value::Null))
        }
        Some(_) => rpc_error(&id, -32_601, "method not found"),
        None => rpc_error(&id, -32_600, "invalid request"),
    }
}

fn tool() -> Value {
    json!({
        "name": "process_data",
        "description": "Processes data with an operation.",
        "inputSchema": {
            "type": "object",
            "properties": { "data": { "type": "object" }, "operation": { "type": "string" } },
            "required": ["data", "operation"],
        },
    })
}

fn call(id: &Value, params: &Value) -> Response {
    if params.get("name").and_then(Value::as_str) != Some("process_data") {
        return rpc_error(id, -32_602, "unknown tool");
    }
    let arguments = params.get("arguments").cloned().unwrap_or(Value::Null);
    let text = arguments.get("data").map(ToString::to_string).unwrap_or_default();
    let content = json!([{ "type": "text", "text": text }]);
    rpc_result(id, &json!({ "content": content, "isError": false }))
}

fn rpc_result(id: &Value, result: &Value) -> Response {
    json_response(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}

fn rpc_error(id: &Value, code: i64, message: &str) -> Response {
    let body = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } });
    (
        StatusCode::OK,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

fn json_response(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
