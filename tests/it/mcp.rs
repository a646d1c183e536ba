//! The mixed load of an MCP server against a real one: `rmcp` over streamable HTTP, with its sessions.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::barrage::{Fleet, Process, home};
use crate::support::plan;
use crate::support::report::{assert_exit, assert_iterations_balance, assert_steps_balance, at, named, sum, whole};

const LIMIT: Duration = Duration::from_mins(1);

/// What the server has been asked.
#[derive(Debug, Default)]
struct Books {
    lists: AtomicU64,
    calls: AtomicU64,
    health: AtomicU64,
    metrics: AtomicU64,
    /// The arguments of calls that were not as the plan says.
    wrong: Mutex<Vec<String>>,
}

#[derive(Clone, Debug)]
struct Tools(Arc<Books>);

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.0.lists.fetch_add(1, Ordering::Relaxed);
        let schema = json!({ "type": "object", "properties": { "operation": { "type": "string" } } });
        let Value::Object(schema) = schema else {
            unreachable!("an object was written")
        };
        let tool = Tool::new("process_data", "Processes data with an operation.", Arc::new(schema));
        Ok(ListToolsResult::with_all_items(vec![tool]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        if request.name != "process_data" || arguments["data"] != json!({ "test": "data" }) {
            let mut wrong = self.0.wrong.lock().unwrap_or_else(PoisonError::into_inner);
            wrong.push(format!("{} {arguments}", request.name));
        }
        Ok(CallToolResult::structured(json!({ "operation": arguments["operation"], "done": true })).into())
    }
}

/// A server on a thread of its own, which ends with the test.
struct Server {
    url: String,
    books: Arc<Books>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let (books, stop) = (Arc::new(Books::default()), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let router = router(&books, &stop);
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                // Without it answers in two pieces wait for the client's delayed acknowledgement; a failure costs time only.
                let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
                let serving = axum::serve(listener, router);
                tokio::select! {
                    () = stopped.cancelled() => {}
                    ended = serving.into_future() => ended.expect("the server serves"),
                }
            });
        });
        Self {
            url: format!("http://{address}"),
            books,
            stop,
            thread: Some(thread),
        }
    }

    fn counts(&self) -> [u64; 4] {
        let Books {
            lists,
            calls,
            health,
            metrics,
            wrong,
        } = &*self.books;
        let wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(wrong.is_empty(), "calls with other arguments: {wrong:?}");
        [lists, calls, health, metrics].map(|count| count.load(Ordering::Relaxed))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of the server shows as a failed run.
            let _panicked = thread.join();
        }
    }
}

/// `/mcp` keeps sessions and answers with event streams; `/json` does without both.
fn router(books: &Arc<Books>, stop: &CancellationToken) -> axum::Router {
    let service = |config: StreamableHttpServerConfig| {
        let tools = Tools(Arc::clone(books));
        let config = config.with_cancellation_token(stop.child_token());
        StreamableHttpService::new(move || Ok(tools.clone()), Arc::<LocalSessionManager>::default(), config)
    };
    let with_sessions = service(StreamableHttpServerConfig::default());
    let without = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true);
    axum::Router::new()
        .nest_service("/mcp", with_sessions)
        .nest_service("/json", service(without))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(books))
}

async fn health(State(books): State<Arc<Books>>) -> axum::Json<Value> {
    books.health.fetch_add(1, Ordering::Relaxed);
    axum::Json(json!({ "status": "healthy" }))
}

async fn metrics(State(books): State<Arc<Books>>) -> String {
    let number = books.metrics.fetch_add(1, Ordering::Relaxed);
    format!("# TYPE scrapes_total counter\nscrapes_total {number}\n")
}

/// Four requests in equal parts, within a session that `setup` has opened and that every worker goes on using.
const MIX: &str = r#"
name: mcp mix
seed: 7
defaults:
  timeout: 10s
  headers: { accept: "application/json, text/event-stream" }
load: { rate: 100/s, for: 3s, max_active: 200 }
workers: { min: 2 }
setup:
  - post:
      name: initialize
      url: /mcp
      json:
        jsonrpc: "2.0"
        id: 0
        method: initialize
        params:
          protocolVersion: "2025-06-18"
          capabilities: {}
          clientInfo: { name: barrage, version: "1.0" }
    expect: { status: 200, header: { content-type: { contains: text/event-stream } }, body_contains: serverInfo }
    extract: { session: { header: mcp-session-id } }
  - post:
      name: initialized
      url: /mcp
      headers: { mcp-session-id: "${session}", mcp-protocol-version: "2025-06-18" }
      json: { jsonrpc: "2.0", method: notifications/initialized }
    expect: { status: 202 }
scenarios:
  - name: tools list
    steps:
      - post:
          name: list tools
          url: /mcp
          headers: { mcp-session-id: "${session}", mcp-protocol-version: "2025-06-18" }
          json: { jsonrpc: "2.0", id: "${iteration()}", method: tools/list }
        expect: { status: 200, body_contains: '"id":"${iteration()}"', body_matches: '(?m)^data: ?\{.*"name":"process_data"' }
        extract: { tool: { regex: '"name":"(\w+)"' } }
  - name: tools call
    steps:
      - post:
          name: call tool
          url: /mcp
          headers: { mcp-session-id: "${session}", mcp-protocol-version: "2025-06-18" }
          json:
            jsonrpc: "2.0"
            id: "${iteration()}"
            method: tools/call
            params: { name: process_data, arguments: { data: { test: data }, operation: transform } }
        expect: { status: 200, body_contains: '"id":"${iteration()}"', body_matches: '"done":true' }
  - name: health
    steps:
      - get: /health
        expect: { status: 200, json: { $.status: healthy } }
  - name: metrics
    steps:
      - get: /metrics
        expect: { status: 200, body_matches: '(?m)^scrapes_total \d+$' }
teardown:
  - delete: { name: end session, url: /mcp, headers: { mcp-session-id: "${session}" } }
    expect: { status: 2xx }
sla: [ error_rate <= 0% ]
"#;

#[test]
fn the_mix_within_a_session() {
    let home = home();
    let server = Server::start();
    let plan = plan::write(&home, MIX);
    let fleet = Fleet::start(&home, 2, |_| Vec::new());
    let args = [
        "submit",
        &plan,
        "--target",
        &server.url,
        "--coordinator",
        &fleet.coordinator.url,
        "--format",
        "json",
        "--accept-invalid",
        "--quiet",
    ];
    let ended = Process::start(&home, args).wait(LIMIT);
    assert_exit(&ended, 0);
    let report = ended.json();
    assert_iterations_balance(&report, "iterations");
    assert_steps_balance(&report, "steps_total");
    assert_eq!(whole(&report, "iterations.completed"), 300);
    assert_eq!(sum(&report, "steps_total.failed"), 0);
    assert_eq!(
        whole(&report, "once_total.ok"),
        3,
        "initialize, initialized and the session's end"
    );
    let counts = server.counts();
    assert_eq!(counts.iter().sum::<u64>(), 300, "{counts:?}");
    for (count, step) in counts
        .into_iter()
        .zip(["list tools", "call tool", "GET /health", "GET /metrics"])
    {
        assert_eq!(whole(named(&report, "steps", step), "totals.ok"), count, "{step}");
        // Equal parts: 300 draws of four have a standard deviation of 7.5.
        assert!((45..=105).contains(&count), "{step}: {count} of 300");
    }
    let workers = at(&report, "workers").as_array().expect("workers is a list");
    assert!(
        workers
            .iter()
            .all(|worker| whole(worker, "iterations.completed") == 150),
        "{workers:#?}"
    );
}

/// A session for each iteration, and JSON answers looked into by path.
const SESSIONS: &str = r#"
name: mcp sessions
defaults:
  timeout: 10s
  headers: { accept: "application/json, text/event-stream" }
iterations: { count: 30, users: 3 }
steps:
  - post:
      name: initialize
      url: /mcp
      json:
        jsonrpc: "2.0"
        id: 0
        method: initialize
        params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: barrage, version: "1.0" } }
    extract: { session: { header: mcp-session-id } }
  - post:
      name: initialized
      url: /mcp
      headers: { mcp-session-id: "${session}" }
      json: { jsonrpc: "2.0", method: notifications/initialized }
    expect: { status: 202 }
  - post:
      name: list tools
      url: /mcp
      headers: { mcp-session-id: "${session}" }
      json: { jsonrpc: "2.0", id: 1, method: tools/list }
    extract: { tool: { regex: '"name":"(\w+)"' } }
  - post:
      name: call tool
      url: /mcp
      headers: { mcp-session-id: "${session}" }
      json:
        jsonrpc: "2.0"
        id: 2
        method: tools/call
        params: { name: "${tool}", arguments: { data: { test: data }, operation: "${unique_id()}" } }
    expect: { body_contains: '"done":true' }
  - post: { name: list as json, url: /json, json: { jsonrpc: "2.0", id: 3, method: tools/list } }
    expect:
      header: { content-type: { contains: application/json } }
      json: { $.id: 3, "$.result.tools[0].name": "${tool}", $.error: absent }
  - post:
      name: call as json
      url: /json
      json:
        jsonrpc: "2.0"
        id: 4
        method: tools/call
        params: { name: "${tool}", arguments: { data: { test: data }, operation: transform } }
    expect:
      json:
        $.id: 4
        $.result.isError: false
        $.result.structuredContent: { equals: { operation: transform, done: true } }
        "$.result.content[0].type": text
  - delete: { name: end session, url: /mcp, headers: { mcp-session-id: "${session}" } }
    expect: { status: 2xx }
  - post:
      name: after the end
      url: /mcp
      headers: { mcp-session-id: "${session}" }
      json: { jsonrpc: "2.0", id: 5, method: tools/list }
    expect: { status: 404 }
sla: [ error_rate <= 0% ]
"#;

#[test]
fn a_session_for_each_iteration() {
    let home = home();
    let server = Server::start();
    let plan = plan::write(&home, SESSIONS);
    let args = [
        "run",
        &plan,
        "--target",
        &server.url,
        "--format",
        "json",
        "--accept-invalid",
        "--quiet",
    ];
    let ended = Process::start(&home, args).wait(LIMIT);
    assert_exit(&ended, 0);
    let report = ended.json();
    assert_iterations_balance(&report, "iterations");
    assert_eq!(whole(&report, "iterations.completed"), 30);
    assert_eq!(whole(&report, "steps_total.ok"), 8 * 30);
    assert_eq!(server.counts(), [60, 60, 0, 0]);
}
