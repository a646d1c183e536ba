//! A run without a file: arguments become a plan, in the same language as a file.

use std::path::{Path, PathBuf};

use barrage_model::expr::Expr;
use barrage_model::plan::{Action, Body, FileRef, Method, Plan, Sla, SlaWindow};
use barrage_model::units::{parse_duration, parse_rate};
use barrage_plan::quick::Quick;

use crate::args::{Fill, QuickArgs};
use crate::exit::Failure;
use crate::plans::{self, Loaded};

/// Variables that carry `--auth`, so that the stored plan does not.
const AUTH: [&str; 2] = ["auth_user", "auth_password"];

/// Reads the arguments. `fill` gains the credentials: they travel as secrets, never in the plan's text.
pub(crate) fn load(url: &str, args: &QuickArgs, fill: &mut Fill) -> Result<Loaded, Failure> {
    let basic_auth = args.auth.as_ref().map(|pair| {
        let (user, password) = pair.split_once(':').unwrap_or((pair, ""));
        for (name, value) in AUTH.iter().zip([user, password]) {
            fill.env.push(((*name).to_owned(), value.to_owned()));
        }
        format!("${{{}}}:${{{}}}", AUTH[0], AUTH[1])
    });
    let mut plan = quick(url, args, basic_auth)?
        .plan(&plans::overrides(fill))
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let folder = body_file(&mut plan, args)?;
    if let Some(host) = &args.host {
        plan.targets[0].host_override = Some(host.clone());
    }
    for text in &args.sla {
        let that = Expr::parse(text).map_err(|error| Failure::Usage(format!("--sla {text:?}: {error}")))?;
        let window = SlaWindow::Whole;
        plan.sla.push(Sla {
            that,
            during: None,
            window,
            in_a_row: 1,
            stop: false,
            min_samples: None,
            at: None,
        });
    }
    let text = barrage_plan::show(&plan);
    plans::read("arguments", &text, &folder, fill)
}

fn quick(url: &str, args: &QuickArgs, basic_auth: Option<String>) -> Result<Quick, Failure> {
    let usage = |flag: &str, error: &dyn std::fmt::Display| Failure::Usage(format!("{flag}: {error}"));
    let time = |flag: &str, text: &Option<String>| match text {
        None => Ok(None),
        // A bare number is seconds, as with hey, oha and wrk.
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            parse_duration(&format!("{text}s"))
                .map(Some)
                .map_err(|error| usage(flag, &error))
        }
        Some(text) => parse_duration(text).map(Some).map_err(|error| usage(flag, &error)),
    };
    let rate = match &args.rate {
        None => None,
        // A bare number is per second, as with oha and wrk2.
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(parse_rate(&format!("{text}/s")).map_err(|error| usage("-r", &error))?)
        }
        Some(text) => Some(parse_rate(text).map_err(|error| usage("-r", &error))?),
    };
    let with_body = args.body.is_some() || args.body_file.is_some();
    let mut headers = args.headers.clone();
    if let Some(content_type) = &args.content_type {
        let named = |header: &String| header.split(':').next().unwrap_or("").trim().to_ascii_lowercase();
        headers.retain(|header| named(header) != "content-type");
        headers.push(format!("content-type: {content_type}"));
    }
    Ok(Quick {
        url: url.to_owned(),
        rate,
        duration: time("-d", &args.duration)?,
        count: args.requests,
        connections: args.connections,
        method: method(args.method.as_deref(), with_body)?,
        headers,
        body: args.body.clone(),
        timeout: time("-t", &args.timeout)?,
        insecure: args.insecure,
        http2: args.http2,
        precise: args.precise,
        streams: args.streams,
        redirects: args.redirects,
        basic_auth,
        bearer: None,
        no_reuse: args.disable_keepalive,
        decompress: false,
        proxy: args.proxy.clone(),
        poisson: poisson(args.arrivals.as_deref())?,
    })
}

fn method(word: Option<&str>, with_body: bool) -> Result<Option<Method>, Failure> {
    let Some(word) = word else {
        return Ok(with_body.then_some(Method::Post));
    };
    let found = Method::ALL
        .into_iter()
        .find(|method| method.word().eq_ignore_ascii_case(word));
    found.map(Some).ok_or_else(|| {
        let known: Vec<&str> = Method::ALL.iter().map(|method| method.word()).collect();
        Failure::Usage(format!("-m: found {word:?}; expected one of {}", known.join(", ")))
    })
}

fn poisson(word: Option<&str>) -> Result<bool, Failure> {
    match word {
        None | Some("even") => Ok(false),
        Some("poisson") => Ok(true),
        Some(other) => Err(Failure::Usage(format!(
            "--arrivals: found {other:?}; expected even or poisson"
        ))),
    }
}

/// Puts the body file into the plan's one request; gives the folder that it lies in.
fn body_file(plan: &mut Plan, args: &QuickArgs) -> Result<PathBuf, Failure> {
    let Some(path) = &args.body_file else {
        return Ok(PathBuf::from("."));
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name.filter(|_| path.is_file()) else {
        return Err(Failure::Usage(format!("-D: {} is no file", path.display())));
    };
    for step in plan.scenarios.iter_mut().flat_map(|scenario| &mut scenario.steps) {
        if let Action::Request(request) = &mut step.action {
            request.body = Body::File(FileRef {
                path: name.to_owned(),
                sha256: None,
            });
        }
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok(folder.unwrap_or(Path::new(".")).to_owned())
}

/// The first flag of [`QuickArgs`] that was given, for the error when there is a plan file.
pub(crate) fn used(args: &QuickArgs) -> Option<&'static str> {
    [
        ("rate", args.rate.is_some()),
        ("duration", args.duration.is_some()),
        ("connections", args.connections.is_some()),
        ("requests", args.requests.is_some()),
        ("header", !args.headers.is_empty()),
        ("method", args.method.is_some()),
        ("body", args.body.is_some()),
        ("body-file", args.body_file.is_some()),
        ("content-type", args.content_type.is_some()),
        ("auth", args.auth.is_some()),
        ("timeout", args.timeout.is_some()),
        ("insecure", args.insecure),
        ("http2", args.http2),
        ("precise", args.precise),
        ("streams", args.streams.is_some()),
        ("disable-keepalive", args.disable_keepalive),
        ("redirects", args.redirects.is_some()),
        ("host", args.host.is_some()),
        ("arrivals", args.arrivals.is_some()),
        ("proxy", args.proxy.is_some()),
        ("sla", !args.sla.is_empty()),
    ]
    .into_iter()
    .find_map(|(flag, given)| given.then_some(flag))
}
