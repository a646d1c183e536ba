//! The demo: a target, a coordinator and two workers as processes on loopback, and one plan from submit to report.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::args::{DemoArgs, Fill, Output};
use crate::client::Client;
use crate::exit::{Failure, Outcome};
use crate::follow::{self, Followed, OnSignal, follow};
use crate::plans;
use crate::stdout;

/// The plan, as it stands in `examples/`.
const PLAN: &str = include_str!("../../../examples/mcp-mix.yaml");
/// How long a process may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a process may take to leave.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// Processes that end with this one: their stdin is our pipe, and they leave at its end.
struct Cast(Vec<Child>);

impl Cast {
    /// Starts `barrage ARGS` as a process tied to this one.
    fn start(&mut self, args: &[&str], speaks: bool) -> Result<&mut Child, Failure> {
        let own = std::env::current_exe().map_err(|error| Failure::own("could not find the own binary", &error))?;
        let child = Command::new(own)
            .args(args)
            .arg("--tied")
            .stdin(Stdio::piped())
            .stdout(if speaks { Stdio::piped() } else { Stdio::null() })
            .stderr(Stdio::null())
            // Ctrl-C is for the demo alone, which then stops the run and prints its report.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::start(format!("could not start {}", args.join(" ")), &error))?;
        self.0.push(child);
        Ok(self.0.last_mut().expect("one was just pushed"))
    }

    /// Starts a server and waits for the address that it prints.
    async fn server(&mut self, args: &[&str]) -> Result<String, Failure> {
        let what = args.first().copied().unwrap_or_default().to_owned();
        let out = self.start(args, true)?.stdout.take();
        let failed = |why: &str| Failure::CouldNotStart(format!("the demo's {what} did not start: {why}"));
        let mut lines = BufReader::new(out.ok_or_else(|| failed("it has no output"))?).lines();
        let line = tokio::time::timeout(START_LIMIT, lines.next_line())
            .await
            .map_err(|_| failed("it does not listen"))?
            .map_err(|error| failed(&error.to_string()))?
            .ok_or_else(|| failed("it ended at once"))?;
        let url = line.strip_prefix("listening on ").map(str::to_owned);
        url.ok_or_else(|| failed("it did not say where it listens"))
    }

    /// Closes the pipes, waits a moment, ends the rest.
    async fn leave(mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
        }
        for child in &mut self.0 {
            if tokio::time::timeout(LEAVE_LIMIT, child.wait()).await.is_err() {
                // Gone already, then: there is nothing left to end.
                let _gone = child.kill().await;
            }
        }
    }
}

/// Runs the demo.
pub(crate) async fn demo(args: &DemoArgs) -> Outcome {
    let mut cast = Cast(Vec::new());
    let outcome = play(&mut cast, &args.output).await;
    if let Ok(Followed::Cut(code)) = outcome {
        // Dropping the cast ends its processes at once.
        return Ok(code);
    }
    cast.leave().await;
    outcome.map(Followed::code)
}

async fn play(cast: &mut Cast, output: &Output) -> Result<Followed, Failure> {
    follow::ready(output)?;
    let folder = std::env::temp_dir().join(format!("barrage-demo-{}", std::process::id()));
    let store = folder.join("store");
    let target = cast.server(&["target", "--listen", "127.0.0.1:0"]).await?;
    let store_text = store.display().to_string();
    let coordinator = cast
        .server(&["coordinator", "--listen", "127.0.0.1:0", "--store", &store_text])
        .await?;
    for name in ["demo-1", "demo-2"] {
        cast.start(
            &[
                "worker",
                "--coordinator",
                &coordinator,
                "--name",
                name,
                "--threads",
                "1",
            ],
            false,
        )?;
    }
    let mut client = Client::connect(&coordinator).await?;
    let fill = Fill {
        target: Some(target),
        ..Fill::default()
    };
    let plan = plans::read("examples/mcp-mix.yaml", PLAN, Path::new("."), &fill)?;
    let mut request = plan.request(&fill);
    request.min_workers = Some(2);
    let reply = client.submit(request).await?;
    let output = Output {
        out: Some(output.out.clone().unwrap_or_else(|| folder.join("report"))),
        ..output.clone()
    };
    let followed = follow(&mut client, reply.run, &output, OnSignal::Stop).await?;
    if let (Some(out), Followed::Ended(_)) = (&output.out, followed) {
        stdout::line(&format!("HTML report: {}", out.join("report.html").display()))?;
    }
    Ok(followed)
}
