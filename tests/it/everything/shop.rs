//! The checking server of the large plan: it asserts each request, and keeps books of what belongs together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::{ROWS, UPLOAD, account};
use crate::support::server::{Reply, Seen};

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Sessions opened by `setup`, and ended by `teardown`.
    pub(super) opened: u64,
    pub(super) closed: u64,
    /// Requests after the session's end.
    pub(super) late: u64,
    /// Greetings by user.
    pub(super) greeted: BTreeMap<String, u64>,
    /// The user of each item handed out, and what belongs to it.
    pub(super) items: BTreeMap<String, Item>,
    /// Orders by their unique id.
    pub(super) orders: BTreeMap<String, Order>,
    /// Account rows, each with how often it came.
    pub(super) rows: BTreeMap<u64, u64>,
    /// Values that must never come twice.
    pub(super) unique: BTreeSet<String>,
    /// Requests by step.
    pub(super) steps: BTreeMap<&'static str, u64>,
    /// Answers to `list items` by the value of the tag's header.
    pub(super) backends: BTreeMap<&'static str, u64>,
    /// Values of `run_id()`.
    pub(super) runs: BTreeSet<String>,
    /// Values of `worker()`.
    pub(super) workers: BTreeSet<String>,
}

/// What was handed out with an item.
#[derive(Debug)]
pub(super) struct Item {
    etag: String,
    csrf: String,
}

/// An order with what came for it.
#[derive(Debug)]
pub(super) struct Order {
    amount: i64,
    pub(super) polls: u64,
    pub(super) cancelled: u64,
    pub(super) changed: u64,
}

/// The shop, shared by the server and the test.
pub(super) type Shop = Arc<Mutex<Books>>;

/// Runs `check` and complains with what is wrong.
macro_rules! must {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

/// The answer to one request.
pub(super) fn answer(shop: &Shop, seen: &Seen) -> Result<Reply, String> {
    let mut books = shop.lock().unwrap_or_else(PoisonError::into_inner);
    let path = seen
        .path
        .strip_prefix("/api")
        .ok_or("not below the target's base path")?;
    if books.closed > 0 {
        books.late += 1;
    }
    must!(seen.header("x-run").len() == 16, "x-run: {:?}", seen.header("x-run"));
    books.runs.insert(seen.header("x-run").to_owned());
    if path.starts_with("/session") {
        return session(&mut books, seen, path);
    }
    must!(books.opened == 1, "before setup");
    must!(
        seen.header("x-admin") == "admin-1",
        "x-admin: {:?}",
        seen.header("x-admin")
    );
    must!(
        seen.header("accept")
            == if path == "/upload/parts" {
                "*/*"
            } else {
                "application/json"
            },
        "accept: {:?}",
        seen.header("accept")
    );
    let authorized = seen.header("authorization");
    let basic = path == "/orders" || path.starts_with("/orders/i-");
    must!(
        basic || authorized == "Bearer token-of-test",
        "authorization: {authorized:?}"
    );
    match path {
        "/hello" => hello(&mut books, seen),
        "/items" => items(&mut books, seen),
        "/functions" => functions(&mut books, seen),
        "/files/a" => upload(&mut books, seen),
        "/upload/parts" => parts(&mut books, seen),
        "/form" => form(&mut books, seen),
        "/head" | "/options" | "/fails" | "/last" => plain(&mut books, seen, path),
        _ if basic => order(&mut books, seen, path),
        _ if path.starts_with("/orders/") => existing(&mut books, seen, path),
        _ => Err("no such place".to_owned()),
    }
}

fn count(books: &mut Books, step: &'static str) -> u64 {
    let count = books.steps.entry(step).or_default();
    *count += 1;
    *count
}

fn session(books: &mut Books, seen: &Seen, path: &str) -> Result<Reply, String> {
    match (seen.method.as_str(), path) {
        ("POST", "/session") => {
            must!(
                seen.text() == "user=admin&note=a+%26+b%3D%C3%BC",
                "form: {}",
                seen.text()
            );
            must!(
                seen.header("content-type") == "application/x-www-form-urlencoded",
                "{:?}",
                seen.headers
            );
            books.opened += 1;
            let cookie = format!("admin={}-{}; Path=/; HttpOnly", "admin", books.opened);
            Ok(Reply::text("welcome")
                .with("set-cookie", "other=1")
                .with("set-cookie", cookie))
        }
        ("DELETE", "/session/admin-1") => {
            books.closed += 1;
            Ok(Reply::text("").status(204))
        }
        _ => Err("no such session".to_owned()),
    }
}

fn hello(books: &mut Books, seen: &Seen) -> Result<Reply, String> {
    let user = seen.header("x-user");
    must!(user.parse::<u64>().is_ok(), "x-user: {user:?}");
    *books.greeted.entry(user.to_owned()).or_default() += 1;
    count(books, "hello");
    Ok(Reply::json(&json!({ "ticket": format!("ticket-{user}") })))
}

fn items(books: &mut Books, seen: &Seen) -> Result<Reply, String> {
    must!(seen.method == "GET" && seen.body.is_empty(), "not a GET without a body");
    must!(
        books.greeted.contains_key(seen.header("x-user")),
        "user {:?} has not greeted",
        seen.header("x-user")
    );
    let query = seen.query.strip_prefix("fixed=1&q=a%20b%26c%3Dd%2F%C3%BC%3F&page=");
    let page = query.and_then(|page| page.parse::<u64>().ok());
    must!(
        page.is_some_and(|page| (1..=10).contains(&page)),
        "query: {}",
        seen.query
    );
    let number = count(books, "list items");
    let (id, etag, csrf) = (format!("i-{number}"), format!("\"e-{number}\""), format!("c{number}"));
    let body = json!({
        "items": [{ "id": id, "sku": "new" }, { "id": "x" }],
        "count": 10,
        "first": { "name": "ab", "tags": "old new", "price": 1.5 },
        "flags": [true, null, 1.5],
        "note": format!("hello world csrf={csrf};"),
    });
    let backend = ["blue", "green", "red", ""][(number % 4) as usize];
    *books.backends.entry(backend).or_default() += 1;
    let reply = Reply::json(&body)
        .with("etag", etag.clone())
        .with("set-cookie", format!("sid=s-{number}; Path=/"))
        .with("x-b", "b-side");
    books.items.insert(id, Item { etag, csrf });
    Ok(if backend.is_empty() {
        reply
    } else {
        reply.with("x-backend", backend)
    })
}

fn order(books: &mut Books, seen: &Seen, path: &str) -> Result<Reply, String> {
    must!(seen.method == "POST", "not a POST");
    let item = path.strip_prefix("/orders/").unwrap_or_default();
    let known = books.items.get(item).ok_or_else(|| format!("unknown item {item:?}"))?;
    let sid = item.replacen('i', "s", 1);
    for (name, want) in [
        ("x-etag", known.etag.as_str()),
        ("x-csrf", known.csrf.as_str()),
        ("x-sid", sid.as_str()),
        ("x-missing", "nothing there"),
        ("content-type", "application/json"),
    ] {
        must!(
            seen.header(name) == want,
            "{name}: {:?}, not {want:?}",
            seen.header(name)
        );
    }
    let body = seen.json()?;
    let (id, amount) = (body["id"].as_str().unwrap_or_default(), body["amount"].as_i64());
    let row = body["account"]["id"].as_u64().filter(|row| *row < ROWS);
    let row = row.ok_or_else(|| format!("account: {body}"))?;
    let amount = amount.filter(|amount| (1..=5).contains(amount));
    let amount = amount.ok_or_else(|| format!("amount: {body}"))?;
    must!(
        body["account"]["name"] == account(row).as_str(),
        "row {row} is {:?}: {body}",
        account(row)
    );
    must!(
        ["red", "green \"b\"", "3"].contains(&body["item"].as_str().unwrap_or_default()),
        "item: {body}"
    );
    must!(body["text"] == "say \"hello\" to world\\", "text: {body}");
    must!(body["lines"] == json!([1, 2.5, null, true, "no"]), "lines: {body}");
    must!(seen.query == format!("dry=true&row={row}"), "query: {}", seen.query);
    must!(
        seen.header("authorization") == basic(row),
        "authorization of row {row}: {:?}",
        seen.header("authorization")
    );
    *books.rows.entry(row).or_default() += 1;
    let order = Order {
        amount,
        polls: 0,
        cancelled: 0,
        changed: 0,
    };
    let twice = books.orders.insert(id.to_owned(), order);
    must!(twice.is_none() && !id.is_empty(), "order {id:?} came twice");
    count(books, "order");
    Ok(Reply::json(&json!({ "state": "new" })).status(201))
}

fn basic(row: u64) -> String {
    use base64::Engine as _;
    let pair = format!("user-{row}:p\u{e4}ss:word");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// `/orders/UNIQUE-ID`: polled three times, then cancelled or changed, as its amount says.
fn existing(books: &mut Books, seen: &Seen, path: &str) -> Result<Reply, String> {
    let id = path.trim_start_matches("/orders/");
    let order = books
        .orders
        .get_mut(id)
        .ok_or_else(|| format!("unknown order {id:?}"))?;
    let (amount, polls) = (order.amount, order.polls);
    let (step, reply) = match seen.method.as_str() {
        "GET" => {
            must!(polls < 3, "polled after it was done");
            order.polls += 1;
            let state = if order.polls == 3 { "done" } else { "pending" };
            ("poll", Reply::json(&json!({ "state": state })))
        }
        "DELETE" => {
            must!(
                amount <= 3 && polls == 3,
                "cancelled at amount {amount} after {polls} polls"
            );
            order.cancelled += 1;
            ("cancel", Reply::text("").status(204))
        }
        "PATCH" => {
            must!(
                amount > 3 && polls == 3,
                "changed at amount {amount} after {polls} polls"
            );
            must!(seen.text() == format!("amount={amount}"), "body: {}", seen.text());
            must!(
                seen.header("content-type") == "text/plain; charset=utf-8",
                "{:?}",
                seen.headers
            );
            order.changed += 1;
            ("change", Reply::text("changed"))
        }
        method => return Err(format!("{method} of an order")),
    };
    count(books, step);
    Ok(reply)
}

fn upload(books: &mut Books, seen: &Seen) -> Result<Reply, String> {
    must!(seen.method == "PUT", "not a PUT");
    must!(seen.body[..] == UPLOAD[..], "body: {:?}", seen.body);
    must!(
        seen.header("content-type") == "application/octet-stream",
        "{:?}",
        seen.headers
    );
    count(books, "upload");
    Ok(Reply::text("").status(201))
}

fn parts(books: &mut Books, seen: &Seen) -> Result<Reply, String> {
    let kind = seen.header("content-type");
    let boundary = kind.strip_prefix("multipart/form-data; boundary=");
    let boundary = boundary.ok_or_else(|| format!("content-type: {kind:?}"))?;
    let part = |head: &str, content: &[u8]| {
        [
            format!("--{boundary}\r\ncontent-disposition: form-data; {head}\r\n\r\n").as_bytes(),
            content,
            b"\r\n",
        ]
        .concat()
    };
    let user = seen.header("x-user");
    let want = [
        part("name=\"note\"", format!("from {user}").as_bytes()),
        part("name=\"typed\"\r\ncontent-type: text/markdown", b"# hello"),
        part(
            "name=\"file\"; filename=\"a \u{fc}.bin\"\r\ncontent-type: image/png",
            UPLOAD,
        ),
        part(
            "name=\"bare\"; filename=\"upload.bin\"\r\ncontent-type: application/octet-stream",
            UPLOAD,
        ),
        format!("--{boundary}--\r\n").into_bytes(),
    ]
    .concat();
    must!(
        seen.body[..] == want[..],
        "parts: {}\nnot: {}",
        seen.text(),
        String::from_utf8_lossy(&want)
    );
    count(books, "send parts");
    Ok(Reply::text("thanks"))
}

fn form(books: &mut Books, seen: &Seen) -> Result<Reply, String> {
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(&seen.body).into_owned().collect();
    let want = [("greeting", "hello world"), ("odd & even", "1+1=2 \u{2713}")];
    let want: Vec<(String, String)> = want.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    must!(pairs == want, "form: {}", seen.text());
    count(books, "send form");
    Ok(Reply::text("thanks"))
}

fn plain(books: &mut Books, seen: &Seen, path: &str) -> Result<Reply, String> {
    let (method, step, status) = match path {
        "/head" => ("HEAD", "head", 200),
        "/options" => ("OPTIONS", "options", 204),
        "/fails" => ("GET", "fails", 500),
        _ => ("GET", "last", 200),
    };
    must!(seen.method == method, "not a {method}");
    count(books, step);
    Ok(Reply::text("").status(status))
}

/// Values that functions make.
fn functions(books: &mut Books, seen: &Seen) -> Result<Reply, String> {
    let value = seen.json()?;
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let lengths = |text: &str| text.split('-').map(str::len).collect::<Vec<_>>();
    let uuid = text("uuid");
    must!(lengths(&uuid) == [8, 4, 4, 4, 12], "uuid: {value}");
    must!(books.unique.insert(uuid), "uuid came twice: {value}");
    must!(
        books.unique.insert(format!("counter {}", text("counter"))),
        "counter came twice: {value}"
    );
    must!(text("counter") == text("iteration"), "counter: {value}");
    let float: f64 = text("float").parse().unwrap_or(f64::NAN);
    must!((-0.5..=1.5).contains(&float), "float: {value}");
    must!(
        text("string").len() == 12 && text("string").bytes().all(|b| b.is_ascii_alphanumeric()),
        "string: {value}"
    );
    must!(
        text("hex").len() == 8 && u64::from_str_radix(&text("hex"), 16).is_ok(),
        "hex: {value}"
    );
    must!(["a", "b c"].contains(&text("pick").as_str()), "pick: {value}");
    let (seconds, millis) = (value["seconds"].as_u64(), value["millis"].as_u64());
    let (seconds, millis) = (seconds.unwrap_or(0), millis.unwrap_or(0));
    must!(
        seconds > 1_700_000_000 && millis / 1_000 >= seconds && millis / 1_000 <= seconds + 1,
        "time: {value}"
    );
    let iso = text("iso");
    must!(
        iso.len() == 24 && iso.starts_with("20") && iso.ends_with('Z') && iso.contains('T'),
        "iso: {value}"
    );
    must!(text("scenario") == "shopping", "scenario: {value}");
    must!(text("target") == format!("http://{}/api", seen.host), "target: {value}");
    must!(text("filters") == "aGVsbG8= HELLO a%20b x", "filters: {value}");
    must!(text("home").starts_with('/'), "home: {value}");
    must!(text("secret_file") == "file-secret", "secret file: {value}");
    must!(
        text("ticket") == format!("ticket-{}", seen.header("x-user")),
        "ticket: {value}"
    );
    books.workers.insert(text("worker"));
    count(books, "functions");
    Ok(Reply::json(&Value::Null))
}
