//! The command line of every peer for a load; the one place where their flags are known.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{Load, Protocol, Tool};
use crate::peers::child::Start;

/// Flags of Barrage for HTTP/2 with several streams on a connection.
const OUR_HTTP2: &str = "--http2";
const OUR_STREAMS: &str = "--streams";

/// How to start a peer for a load.
///
/// # Errors
/// The peer cannot make this load; the text says what it lacks.
pub(crate) fn peer(tool: Tool, program: &Path, load: &Load, core: usize, folder: &Path) -> Result<Start> {
    let mut script = None;
    let arguments = match tool {
        Tool::Wrk => wrk(load)?,
        Tool::Wrk2 => wrk2(load)?,
        Tool::Ab => ab(load)?,
        Tool::H2load => h2load(load),
        Tool::Oha => oha(load),
        Tool::Hey => hey(load)?,
        Tool::K6 => {
            let (path, text) = script.insert((folder.join("script.js"), k6_script(load)?));
            std::fs::write(&*path, text).context("could not write k6's script")?;
            words(&["run", "--no-usage-report", "--quiet", &path.to_string_lossy()])
        }
        Tool::Timerfd => timerfd(load)?,
        Tool::Barrage | Tool::BarrageRun => bail!("is started elsewhere"),
    };
    let mut start = Start {
        program: program.to_path_buf(),
        arguments,
        environment: Vec::new(),
        script,
        home: None,
        core,
    };
    if matches!(tool, Tool::Hey | Tool::K6) {
        start.environment.push(("GOMAXPROCS".to_owned(), "1".to_owned()));
    }
    Ok(start)
}

/// The flags of `barrage run URL` for a load, the URL first.
pub(crate) fn ours(load: &Load) -> Vec<String> {
    let (connections, duration) = (load.connections.to_string(), format!("{}s", load.seconds));
    let mut arguments = words(&[&load.url, "-d", &duration, "-c", &connections]);
    if let Some(rate) = load.rate {
        arguments.extend(words(&["-r", &format!("{rate}/s")]));
    }
    if load.url.starts_with("https:") {
        arguments.extend(words(&["-k"]));
    }
    if load.protocol == Protocol::Http2 {
        arguments.extend(words(&[OUR_HTTP2, OUR_STREAMS, &load.streams.to_string()]));
    }
    arguments
}

fn wrk(load: &Load) -> Result<Vec<String>> {
    only_http1(load)?;
    only_closed(load)?;
    Ok(words(&[
        "-t1",
        &connections(load),
        &duration(load),
        "--latency",
        &load.url,
    ]))
}

fn wrk2(load: &Load) -> Result<Vec<String>> {
    only_http1(load)?;
    // Without a rate it is asked for one that nobody reaches.
    let rate = load.rate.unwrap_or(500_000).to_string();
    Ok(words(&[
        "-t1",
        &connections(load),
        &duration(load),
        "-R",
        &rate,
        "--latency",
        &load.url,
    ]))
}

fn ab(load: &Load) -> Result<Vec<String>> {
    only_http1(load)?;
    only_closed(load)?;
    let (connections, seconds) = (load.connections.to_string(), load.seconds.to_string());
    Ok(words(&[
        "-k",
        "-q",
        "-c",
        &connections,
        "-t",
        &seconds,
        "-n",
        "100000000",
        &load.url,
    ]))
}

fn h2load(load: &Load) -> Vec<String> {
    let mut arguments = match load.protocol {
        Protocol::Http1 => words(&["--h1"]),
        Protocol::Http2 => words(&["-m", &load.streams.to_string()]),
    };
    let (connections, seconds) = (connections(load), load.seconds.to_string());
    arguments.extend(words(&["-t1", &connections, "-D", &seconds]));
    if let Some(rate) = load.rate {
        arguments.extend(words(&["--rps", &per_connection(rate, load)]));
    }
    arguments.push(load.url.clone());
    arguments
}

fn oha(load: &Load) -> Vec<String> {
    let (connections, duration) = (load.connections.to_string(), format!("{}s", load.seconds));
    let mut arguments = words(&[
        "--no-tui",
        "--output-format",
        "json",
        "-c",
        &connections,
        "-z",
        &duration,
        "-w",
    ]);
    if load.protocol == Protocol::Http2 {
        arguments.extend(words(&["--http2", "-p", &load.streams.to_string()]));
    }
    if let Some(rate) = load.rate {
        arguments.extend(words(&["-q", &rate.to_string()]));
        if load.corrected {
            arguments.extend(words(&["--latency-correction"]));
        }
    }
    if load.url.starts_with("https:") {
        arguments.extend(words(&["--insecure"]));
    }
    arguments.push(load.url.clone());
    arguments
}

fn hey(load: &Load) -> Result<Vec<String>> {
    only_http1(load)?;
    let (connections, duration) = (load.connections.to_string(), format!("{}s", load.seconds));
    let mut arguments = words(&["-c", &connections, "-z", &duration, "-cpus", "1"]);
    if let Some(rate) = load.rate {
        arguments.extend(words(&["-q", &per_connection(rate, load)]));
    }
    arguments.push(load.url.clone());
    Ok(arguments)
}

fn k6_script(load: &Load) -> Result<String> {
    only_http1(load)?;
    let (seconds, users) = (load.seconds, load.connections);
    let scenario = match load.rate {
        Some(rate) => format!(
            "executor: 'constant-arrival-rate', rate: {rate}, timeUnit: '1s', duration: '{seconds}s', preAllocatedVUs: {users}"
        ),
        None => format!("executor: 'constant-vus', vus: {users}, duration: '{seconds}s'"),
    };
    Ok(format!(
        "import http from 'k6/http';
export const options = {{
  discardResponseBodies: true,
  insecureSkipTLSVerify: true,
  summaryTrendStats: ['p(50)', 'p(99)', 'p(99.9)', 'max'],
  scenarios: {{ main: {{ {scenario} }} }},
}};
export default function () {{ http.get('{}'); }}
",
        load.url
    ))
}

fn timerfd(load: &Load) -> Result<Vec<String>> {
    only_http1(load)?;
    let rate = load.rate.context("has no closed loop")?.to_string();
    let (connections, seconds) = (load.connections.to_string(), load.seconds.to_string());
    Ok(words(&[
        "metronome",
        "--rate",
        &rate,
        "--connections",
        &connections,
        "--seconds",
        &seconds,
        &load.url,
    ]))
}

fn only_http1(load: &Load) -> Result<()> {
    ensure!(load.protocol == Protocol::Http1, "speaks no HTTP/2");
    Ok(())
}

fn only_closed(load: &Load) -> Result<()> {
    ensure!(load.rate.is_none(), "has no constant rate");
    Ok(())
}

fn connections(load: &Load) -> String {
    format!("-c{}", load.connections)
}

fn duration(load: &Load) -> String {
    format!("-d{}s", load.seconds)
}

fn per_connection(rate: u32, load: &Load) -> String {
    (f64::from(rate) / f64::from(load.connections)).to_string()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:1";

    fn shown(tool: Tool, load: &Load) -> String {
        let folder = std::env::temp_dir();
        peer(tool, Path::new(tool.name()), load, 0, &folder)
            .map_or_else(|error| error.to_string(), |start| start.shown())
    }

    #[test]
    fn closed_loops() {
        let load = Load::closed(URL, 8);
        assert_eq!(
            shown(Tool::Wrk, &load),
            "wrk -t1 -c64 -d8s --latency http://127.0.0.1:1/"
        );
        assert_eq!(
            shown(Tool::Wrk2, &load),
            "wrk2 -t1 -c64 -d8s -R 500000 --latency http://127.0.0.1:1/"
        );
        assert_eq!(
            shown(Tool::Ab, &load),
            "ab -k -q -c 64 -t 8 -n 100000000 http://127.0.0.1:1/"
        );
        assert_eq!(
            shown(Tool::H2load, &load),
            "h2load --h1 -t1 -c64 -D 8 http://127.0.0.1:1/"
        );
        assert_eq!(
            shown(Tool::Oha, &load),
            "oha --no-tui --output-format json -c 64 -z 8s -w http://127.0.0.1:1/"
        );
        assert_eq!(
            shown(Tool::Hey, &load),
            "GOMAXPROCS=1 hey -c 64 -z 8s -cpus 1 http://127.0.0.1:1/"
        );
        assert_eq!(shown(Tool::Timerfd, &load), "has no closed loop");
        assert_eq!(ours(&load).join(" "), "http://127.0.0.1:1/ -d 8s -c 64");
    }

    #[test]
    fn constant_rates() {
        let load = Load {
            corrected: true,
            ..Load::rate(URL, 6, 5_000)
        };
        assert_eq!(shown(Tool::Wrk, &load), "has no constant rate");
        assert_eq!(
            shown(Tool::Wrk2, &load),
            "wrk2 -t1 -c64 -d6s -R 5000 --latency http://127.0.0.1:1/"
        );
        assert_eq!(
            shown(Tool::H2load, &load),
            "h2load --h1 -t1 -c64 -D 6 --rps 78.125 http://127.0.0.1:1/"
        );
        assert_eq!(
            shown(Tool::Oha, &load),
            "oha --no-tui --output-format json -c 64 -z 6s -w -q 5000 --latency-correction http://127.0.0.1:1/"
        );
        assert_eq!(
            shown(Tool::Timerfd, &load),
            "timerfd metronome --rate 5000 --connections 64 --seconds 6 http://127.0.0.1:1/"
        );
        assert_eq!(ours(&load).join(" "), "http://127.0.0.1:1/ -d 6s -c 64 -r 5000/s");
    }

    #[test]
    fn http2_and_tls() {
        let load = Load {
            protocol: Protocol::Http2,
            connections: 8,
            streams: 8,
            ..Load::closed("https://127.0.0.1:1", 8)
        };
        assert_eq!(shown(Tool::Wrk, &load), "speaks no HTTP/2");
        assert_eq!(
            shown(Tool::H2load, &load),
            "h2load -m 8 -t1 -c8 -D 8 https://127.0.0.1:1/"
        );
        assert_eq!(
            ours(&load).join(" "),
            "https://127.0.0.1:1/ -d 8s -c 8 -k --http2 --streams 8"
        );
    }
}
