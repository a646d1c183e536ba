//! Values that stand in one scalar: how each is read from its text. Used for plans and for command-line arguments.

use std::net::IpAddr;

use barrage_model::plan::{Delay, FileRef, Resolve, StatusSet, Target};
use barrage_model::syntax::nearest;
use barrage_model::units::{parse_bytes, parse_duration};

use crate::problem::{Problem, quoted};

/// Longest regular expression, in bytes.
const REGEX_MAX: usize = 4_096;
/// Largest compiled regular expression, in bytes.
const REGEX_COMPILED_MAX: usize = 1 << 20;
/// Longest JSONPath, in bytes.
const JSON_PATH_MAX: usize = 1_024;
/// How deep brackets and parentheses of a JSONPath may nest: its parser recurses and tries alternatives.
const JSON_PATH_DEPTH_MAX: usize = 8;
/// Longest URL, in bytes.
const URL_MAX: usize = 8_192;

/// Reads `http(s)://host[:port][/base]`.
pub(crate) fn target(name: &str, text: &str) -> Result<Target, Problem> {
    const EXPECTED: &str = "a URL such as http://127.0.0.1:8080";
    if text.len() > URL_MAX {
        return Err(Problem::value(text, "a URL of at most 8KiB"));
    }
    let problem = || Problem::value(text, EXPECTED);
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(problem());
    }
    if !text.contains("://") {
        let guess = format!("http://{text}");
        let valid = url::Url::parse(&guess).is_ok() && !text.is_empty() && !text.starts_with('/');
        return Err(problem().nearest(valid.then_some(guess)));
    }
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    if authority.is_empty() || authority.starts_with(['/', '?']) {
        return Err(problem().help("the host is missing"));
    }
    let url = url::Url::parse(text).map_err(|error| problem().help(error.to_string()))?;
    let https = match url.scheme() {
        "http" => false,
        "https" => true,
        scheme => {
            let near = nearest(scheme, ["http", "https"]);
            let guess = near.map(|word| format!("{word}{}", &text[scheme.len()..]));
            return Err(Problem::value(text, "a URL with http or https").nearest(guess));
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        let shown = format!("{}://…@{}", url.scheme(), url.host_str().unwrap_or(""));
        let problem = Problem::value(&shown, "a URL without user and password");
        return Err(problem.help("credentials belong into `auth`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Problem::value(text, "a URL without `?` and `#`"));
    }
    let host = match url.host() {
        Some(url::Host::Ipv6(address)) => address.to_string(),
        Some(host) => host.to_string(),
        None => return Err(problem()),
    };
    let port = url
        .port_or_known_default()
        .filter(|&port| port > 0)
        .ok_or_else(problem)?;
    let base_path = url.path().trim_end_matches('/').to_owned();
    Ok(Target {
        name: name.to_owned(),
        https,
        host,
        port,
        base_path,
        host_override: None,
    })
}

/// Reads the address of a proxy.
pub(crate) fn proxy(text: &str) -> Result<String, Problem> {
    let expected = "a proxy such as http://127.0.0.1:3128";
    let target = target("proxy", text).map_err(|problem| Problem {
        expected: expected.to_owned(),
        ..problem
    })?;
    if !target.base_path.is_empty() {
        return Err(Problem::value(text, expected).help("without a path"));
    }
    Ok(format!(
        "{}://{}:{}",
        if target.https { "https" } else { "http" },
        bracketed(&target.host),
        target.port
    ))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Reads a host name or address for the `host` header, with or without a port.
pub(crate) fn host(text: &str) -> Result<String, Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let fits = !text.is_empty() && text.len() <= 255 && text.chars().all(plain);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Problem::value(text, "a host name such as example.com"))
    }
}

/// Reads `host:port:address`.
pub(crate) fn resolve(text: &str) -> Result<Resolve, Problem> {
    let problem = || Problem::value(text, "`host:port:address` such as example.com:443:127.0.0.1");
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(port), Some(address)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(problem());
    };
    let name = host(name).map_err(|_| problem())?.to_ascii_lowercase();
    let port = match port {
        "*" => None,
        digits => Some(digits.parse().ok().filter(|&port: &u16| port > 0).ok_or_else(problem)?),
    };
    let address = address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(address);
    let address = address.parse().map_err(|_| problem())?;
    Ok(Resolve {
        host: name,
        port,
        address,
    })
}

/// Reads an IP address.
pub(crate) fn address(text: &str) -> Result<IpAddr, Problem> {
    text.parse()
        .map_err(|_| Problem::value(text, "an IP address such as 127.0.0.2"))
}

/// Reads `1s` or `1s..3s`.
pub(crate) fn delay(text: &str) -> Result<Delay, Problem> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let min = parse_duration(low)?;
    let max = parse_duration(high)?;
    if min > max {
        return Err(Problem::value(text, "the shorter duration first").nearest(Some(format!("{high}..{low}"))));
    }
    if max > std::time::Duration::from_hours(1) {
        return Err(Problem::value(text, "a duration of at most 1h"));
    }
    Ok(Delay { min, max })
}

/// Reads `1KiB..2KiB` or `512B`.
pub(crate) fn size_span(text: &str) -> Result<(u64, u64), Problem> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (min, max) = (parse_bytes(low)?.0, parse_bytes(high)?.0);
    if min > max {
        return Err(Problem::value(text, "the smaller size first").nearest(Some(format!("{high}..{low}"))));
    }
    Ok((min, max))
}

/// Reads one entry of a status set: `200`, `201..204`, `2xx`.
pub(crate) fn status(text: &str) -> Result<(u16, u16), Problem> {
    let expected = "a status such as 200, 2xx or 201..204";
    let lower = text.to_ascii_lowercase();
    let number = |digits: &str| (digits.len() == 3).then(|| digits.parse::<u16>().ok()).flatten();
    let range = match (lower.strip_suffix("xx"), lower.split_once("..")) {
        (Some(class), _) if class.len() == 1 => class.parse::<u16>().ok().map(|class| (class * 100, class * 100 + 99)),
        (_, Some((low, high))) => number(low).zip(number(high)),
        _ => number(&lower).map(|one| (one, one)),
    };
    let fits = range.filter(|&range| StatusSet::new(vec![range]).is_some());
    fits.ok_or_else(|| {
        let guess = text
            .split_once('-')
            .map(|(low, high)| format!("{}..{}", low.trim(), high.trim()));
        let guess = guess.filter(|guess| status(guess).is_ok());
        Problem::value(text, format!("{expected}, within 100 to 599")).nearest(guess)
    })
}

/// Reads a path beside the plan.
pub(crate) fn file(text: &str) -> Result<FileRef, Problem> {
    const EXPECTED: &str = "the path of a file in the plan's folder";
    let leaves = text.split(['/', '\\']).any(|part| part == "..");
    let absolute = text.starts_with(['/', '\\', '~']) || text.get(1..2) == Some(":");
    let strange = text.trim().is_empty() || text.len() > 1_024 || text.chars().any(char::is_control);
    if strange || absolute || leaves || text.contains('\\') {
        let problem = Problem::value(text, EXPECTED);
        let outside = absolute || leaves;
        return Err(if outside {
            problem.help("files outside it are never read")
        } else {
            problem
        });
    }
    Ok(FileRef {
        path: text.to_owned(),
        sha256: None,
    })
}

/// Checks a regular expression.
pub(crate) fn regex(text: &str) -> Result<String, Problem> {
    if text.is_empty() || text.len() > REGEX_MAX {
        return Err(Problem::value(text, "a regular expression of 1 to 4096 bytes"));
    }
    let built = regex::bytes::RegexBuilder::new(text)
        .size_limit(REGEX_COMPILED_MAX)
        .dfa_size_limit(REGEX_COMPILED_MAX)
        .nest_limit(50)
        .build();
    match built {
        Ok(_) => Ok(text.to_owned()),
        Err(regex::Error::CompiledTooBig(_)) => Err(Problem::value(text, "a smaller regular expression")),
        Err(error) => {
            let shown = error.to_string();
            let reason = shown
                .lines()
                .last()
                .unwrap_or("")
                .trim_start_matches("error: ")
                .to_owned();
            let mut problem = Problem::value(text, "a regular expression").help(reason);
            // The caret of the message stands under the place in the pattern.
            let lines: Vec<&str> = shown.lines().collect();
            let caret = lines.windows(2).find_map(|pair| {
                let marks = pair[1].trim_start();
                let indent = pair[1].len() - marks.len();
                (pair[0].trim_start() == text && marks.starts_with('^')).then(|| indent.saturating_sub(4))
            });
            if let Some((at, c)) = caret.and_then(|nth| text.char_indices().nth(nth)) {
                problem.at = Some(at..at + c.len_utf8());
            }
            Err(problem)
        }
    }
}

/// Checks a JSONPath.
pub(crate) fn json_path(text: &str) -> Result<String, Problem> {
    let problem = || Problem::value(text, "a JSONPath such as $.items[0].id");
    if text.len() > JSON_PATH_MAX {
        return Err(Problem::value(text, "a JSONPath of at most 1KiB"));
    }
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'!' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > JSON_PATH_DEPTH_MAX {
        return Err(Problem::value(text, "a JSONPath whose brackets nest at most 8 deep"));
    }
    if !text.starts_with('$') {
        let guess = format!("$.{}", text.trim_start_matches('.'));
        let valid = serde_json_path::JsonPath::parse(&guess).is_ok();
        return Err(problem().nearest(valid.then_some(guess)));
    }
    serde_json_path::JsonPath::parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| {
            let at = text.floor_char_boundary(error.position().min(text.len()));
            let at = at..at + text[at..].chars().next().map_or(0, char::len_utf8);
            Problem {
                at: Some(at),
                ..problem()
            }
            .help(error.message().to_owned())
        })
}

/// Checks the name of a header field that a plan may set.
pub(crate) fn header_name(text: &str) -> Result<String, Problem> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(token) {
        return Err(Problem::value(text, "the name of a header field such as x-request-id"));
    }
    Ok(text.to_owned())
}

/// Refuses header fields that would contradict what the engines do.
pub(crate) fn settable_header(text: &str) -> Result<String, Problem> {
    let help = match text.to_ascii_lowercase().as_str() {
        "content-length" | "transfer-encoding" | "expect" => "it follows from the body",
        "connection" | "keep-alive" => "say `network: { reuse: never }` for one request per connection",
        "host" => "say `target: { url: …, host: … }`",
        _ => return header_name(text),
    };
    let problem = Problem::new(
        format!("found the header {}", quoted(text)),
        "a header that a plan may set",
    );
    Err(problem.help(help))
}

/// Checks literal text of a header value.
pub(crate) fn header_value(literal: &str) -> Result<(), Problem> {
    match literal.chars().find(|&c| c.is_control() && c != '\t') {
        None => Ok(()),
        Some(_) => Err(Problem::value(
            literal,
            "a header value without line ends and control characters",
        )),
    }
}
