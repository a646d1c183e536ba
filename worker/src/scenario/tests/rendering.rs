//! The bytes that go out.

use barrage_model::plan::{Auth, Part, PartBody, StatusSet, engine_of};
use expect_test::{Expect, expect};

use super::*;

/// Prepares a plan of one request and shows its bytes in iteration 5, or what is wrong.
fn shown(plan: Plan, files: &Files) -> String {
    let plan = match compile_with(plan, files) {
        Ok(plan) => plan,
        Err(error) => return said(&error),
    };
    let mut user = User::new(&plan, 7, &shard(&plan));
    bytes_of(&plan, &mut user, 0, 5)
        .unwrap_or_else(|error| error)
        .replace("\r\n", "\n")
        .replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[track_caller]
fn check(request: Request, want: &Expect) {
    let mut files = Files::new();
    let mut plan = plan(8080, vec![ask(request)]);
    plan.data = vec![rows(
        "id,note\n1,a/b &c\n2,\"x\"\"y\r\nz\"\n",
        Pick::Sequential,
        OnEnd::Wrap,
        &mut files,
    )];
    plan.variables = vec![
        variable("base", "/v1"),
        variable("site", "http://127.0.0.1:8080/root?a"),
        variable("odd", "ä b/?#&=+%"),
    ];
    want.assert_eq(&shown(plan, &files));
}

/// The request line and the `host` of a URL.
#[track_caller]
fn check_url(url: &str, query: &[(&str, &str)], want: &str) {
    let mut files = Files::new();
    let mut plan = plan(
        8080,
        vec![ask(Request {
            query: pairs(query),
            ..get(url)
        })],
    );
    plan.targets[0].base_path = "/api".to_owned();
    plan.targets.push(Target {
        name: "other".to_owned(),
        https: true,
        host_override: Some("shop.test".to_owned()),
        ..target(8443)
    });
    plan.data = vec![rows(
        "path,site,far,frag,search\n/d e?x=1&y=ü,https://shop.test/z?q,http://elsewhere.test/,/a#b,?a=1\n",
        Pick::Sequential,
        OnEnd::Wrap,
        &mut files,
    )];
    plan.variables = vec![
        variable("base", "/v1"),
        variable("site", "http://127.0.0.1:8080/root"),
        variable("odd", "ä b/?#&=+%"),
    ];
    let shown = shown(plan, &files);
    let got: Vec<&str> = shown
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("user-agent"))
        .collect();
    assert_eq!(got.join(" | "), want, "{url}");
}

#[test]
fn urls_stay_as_written_and_values_stay_in_their_place() {
    let at = "HTTP/1.1 | host: 127.0.0.1:8080";
    for (url, query, want) in [
        ("/", &[][..], format!("GET /api/ {at}")),
        ("", &[], format!("GET /api {at}")),
        ("?x=1", &[], format!("GET /api?x=1 {at}")),
        ("items", &[], format!("GET /api/items {at}")),
        (
            "/a%20b/../c;d=1/@:!$'()*+,~[]?x=a+b&&y",
            &[],
            format!("GET /api/a%20b/../c;d=1/@:!$'()*+,~[]?x=a+b&&y {at}"),
        ),
        (
            "/a b\"<>`{}\u{e4}\u{1}#frag${odd}",
            &[("q", "1")],
            format!("GET /api/a%20b%22%3C%3E%60%7B%7D%C3%A4%01?q=1 {at}"),
        ),
        (
            "/i/${odd}/x?y=${odd}",
            &[],
            format!("GET /api/i/%C3%A4%20b%2F%3F%23%26%3D%2B%25/x?y=%C3%A4%20b%2F%3F%23%26%3D%2B%25 {at}"),
        ),
        (
            "/i/${odd | urlencode}",
            &[],
            format!("GET /api/i/%C3%A4%20b%2F%3F%23%26%3D%2B%25 {at}"),
        ),
        (
            "/i/${rows.path | urlencode}",
            &[],
            format!("GET /api/i/%2Fd%20e%3Fx%3D1%26y%3D%C3%BC {at}"),
        ),
        (
            "/i/${rows.path}",
            &[],
            format!("GET /api/i/%2Fd%20e%3Fx%3D1%26y%3D%C3%BC {at}"),
        ),
        ("${base}/x", &[], format!("GET /api/v1/x {at}")),
        (
            "/x",
            &[("a b", "c d"), ("e", "${odd}"), ("f", "${iteration()}")],
            format!("GET /api/x?a%20b=c%20d&e=%C3%A4%20b%2F%3F%23%26%3D%2B%25&f=5 {at}"),
        ),
        ("/x?", &[("a", "1")], format!("GET /api/x?a=1 {at}")),
        ("/x?b", &[("a", "1")], format!("GET /api/x?b&a=1 {at}")),
        ("/x?b&", &[("a", "1")], format!("GET /api/x?b&a=1 {at}")),
        ("/x?b=${iteration()}", &[("a", "1")], format!("GET /api/x?b=5&a=1 {at}")),
        ("${target()}/x", &[], format!("GET /api/x {at}")),
        ("http://127.0.0.1:8080", &[], format!("GET / {at}")),
        ("HTTP://127.0.0.1:8080?a", &[], format!("GET /?a {at}")),
        ("${site}/x/${user()}", &[], format!("GET /root/x/7 {at}")),
        (
            "http://other.test:81/a#b",
            &[],
            "GET /a HTTP/1.1 | host: other.test:81".to_owned(),
        ),
        (
            "https://127.0.0.1:8443/a",
            &[],
            "GET /a HTTP/1.1 | host: 127.0.0.1:8443".to_owned(),
        ),
        ("${rows.path}", &[], format!("GET /api/d%20e?x=1&y=%C3%BC {at}")),
        ("${rows.search}&z=1", &[], format!("GET /api?a=1&z=1 {at}")),
        (
            "${rows.path}&z=${odd}",
            &[],
            format!("GET /api/d%20e?x=1&y=%C3%BC&z=%C3%A4%20b%2F%3F%23%26%3D%2B%25 {at}"),
        ),
        (
            "${rows.site}&r=1",
            &[],
            "GET /z?q&r=1 HTTP/1.1 | host: shop.test".to_owned(),
        ),
    ] {
        check_url(url, query, &want);
    }
}

#[test]
fn absolute_urls_need_no_target() {
    let of = |url: &str| {
        let mut plan = plan(
            80,
            vec![ask(Request {
                name: "s".to_owned(),
                target: 9,
                ..get(url)
            })],
        );
        plan.targets.clear();
        shown(plan, &Files::new())
    };
    assert!(of("http://[::1]:81/x").starts_with("GET /x HTTP/1.1\nhost: [::1]:81\n"));
    assert_eq!(
        of("/x"),
        "step `s` of `main` cannot be prepared: there is no target number 9"
    );
}

#[test]
fn urls_that_lead_astray_are_refused() {
    let step = |problem: &str| format!("step `{{}}` of `main` cannot be prepared: {problem}");
    for (url, query, want) in [
        (
            "${rows.far}",
            &[][..],
            "the request was not sent: its URL leads to a host that the plan does not name".to_owned(),
        ),
        (
            "${rows.frag}",
            &[],
            "the request was not sent: `${rows.frag}` holds a `#`".to_owned(),
        ),
        (
            "http://${rows.path}/x",
            &[],
            step("the URL cannot be used: its host must be known before the run"),
        ),
        (
            "http://u:p@127.0.0.1/x",
            &[],
            step("the URL cannot be used: credentials belong into `auth`"),
        ),
        ("http:///x", &[], step("the URL cannot be used: empty host")),
        (
            "${rows.path}",
            &[("a", "1")],
            step("the URL cannot be used: with `query` it must not begin with a value; put the value behind a path"),
        ),
        ("/${nobody}", &[], step("nothing gives `nobody` a value")),
        ("/${other.x}", &[], step("there is no data set `other`")),
        (
            "/${rows.nope}",
            &[],
            "data `rows` from `rows.csv` cannot be used: it has no column `nope`".to_owned(),
        ),
        (
            "/${env:NOPE}",
            &[],
            "environment variable `NOPE` is not set on this worker, or is not UTF-8".to_owned(),
        ),
        (
            "/${file:/nope}",
            &[],
            "could not read the secret file `/nope` on this worker: entity not found".to_owned(),
        ),
        (
            "/${file:/binary}",
            &[],
            "the secret file `/binary` is not a regular UTF-8 file of at most 64 KiB".to_owned(),
        ),
    ] {
        check_url(url, query, &want.replace("{}", &format!("GET {url}")));
    }
}

#[test]
fn a_request_has_the_plans_fields_in_order() {
    check(
        get("/"),
        &expect![[r#"
        GET / HTTP/1.1
        host: 127.0.0.1:8080
        user-agent: barrage/VERSION

    "#]],
    );
    check(
        Request {
            headers: pairs(&[
                ("X-B", "${rows.id}"),
                ("x-a", "v ${scenario()} ${worker()}"),
                ("User-Agent", "me"),
                ("HOST", "h.test"),
            ]),
            auth: Some(Auth::Bearer(text("${env:TOKEN}${file:/key}"))),
            ..get("/")
        },
        &expect![[r#"
            GET / HTTP/1.1
            X-B: 2
            x-a: v main 3
            User-Agent: me
            HOST: h.test
            authorization: Bearer s3cret tokenk3y-of-file

        "#]],
    );
    check(
        Request {
            auth: Some(Auth::Basic {
                user: text("user-${rows.id}"),
                password: text("${password}"),
            }),
            ..request(Method::Post, "/", Body::Empty)
        },
        &expect![[r#"
            POST / HTTP/1.1
            host: 127.0.0.1:8080
            user-agent: barrage/VERSION
            authorization: Basic dXNlci0yOmh1bnRlcjIh
            content-length: 0

        "#]],
    );
    check(
        Request {
            headers: pairs(&[("authorization", "mine")]),
            auth: Some(Auth::Basic {
                user: text("a"),
                password: text("b"),
            }),
            ..request(Method::Delete, "/", Body::Raw(text("x")))
        },
        &expect![[r#"
            DELETE / HTTP/1.1
            host: 127.0.0.1:8080
            user-agent: barrage/VERSION
            authorization: mine
            content-type: text/plain; charset=utf-8
            content-length: 1

            x"#]],
    );
}

#[test]
fn header_lines_cannot_be_broken() {
    // Row 1 of the data set, which belongs to iteration 5, holds a line end.
    for (name, value) in [
        ("x", "${rows.note}"),
        ("x", "a\r\nb: c"),
        ("x", "${env:BREAK}"),
        ("x y", "a"),
        ("", "a"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
    ] {
        let mut files = Files::new();
        let mut plan = plan(
            1,
            vec![ask(Request {
                name: "s".to_owned(),
                headers: pairs(&[(name, value)]),
                ..get("/")
            })],
        );
        plan.data = vec![rows("note\na\n\"b\r\nc\"\n", Pick::Sequential, OnEnd::Wrap, &mut files)];
        let want = match (name, value) {
            ("x", "${rows.note}") => "the request was not sent: `${rows.note}` holds a line end or control character",
            ("x", "${env:BREAK}") => {
                "step `s` of `main` cannot be prepared: `${env:BREAK}` holds a line end or control character"
            }
            ("x", _) => {
                "step `s` of `main` cannot be prepared: a text of the plan holds a line end or control character"
            }
            ("x y" | "", _) => "is not a valid field name",
            _ => "is set by the engine, so that it fits the body",
        };
        let got = shown(plan, &files);
        assert!(got.ends_with(want), "{name} {value}: {got}");
    }
}

#[test]
fn bodies_are_framed_and_escaped() {
    check(
        request(
            Method::Post,
            "/",
            Body::Json(text(
                r#"{"a":"${rows.note}","b":"x ${odd} \" ${rows.id}","c":"${rows.id | json}","d":["${rows.id | json}","${odd | json}x"],"e":"\\","f":${rows.id},"g":"\"${rows.id | json}"}"#,
            )),
        ),
        &expect![[r#"
            POST / HTTP/1.1
            host: 127.0.0.1:8080
            user-agent: barrage/VERSION
            content-type: application/json
            content-length: 96

            {"a":"x\"y\r\nz","b":"x ä b/?#&=+% \" 2","c":2,"d":[2,"ä b/?#&=+%x"],"e":"\\","f":2,"g":"\"2"}"#]],
    );
    check(
        request(
            Method::Put,
            "/",
            Body::Form(pairs(&[("a b", "c d+${odd}"), ("e", "${rows.note}"), ("f", "")])),
        ),
        &expect![[r#"
            PUT / HTTP/1.1
            host: 127.0.0.1:8080
            user-agent: barrage/VERSION
            content-type: application/x-www-form-urlencoded
            content-length: 57

            a+b=c+d%2B%C3%A4+b%2F%3F%23%26%3D%2B%25&e=x%22y%0D%0Az&f="#]],
    );
    check(
        Request {
            headers: pairs(&[("Content-Type", "text/csv")]),
            ..request(Method::Patch, "/", Body::Raw(text("a,${odd}\n${rows.id}")))
        },
        &expect![[r#"
            PATCH / HTTP/1.1
            host: 127.0.0.1:8080
            user-agent: barrage/VERSION
            Content-Type: text/csv
            content-length: 15

            a,ä b/?#&=+%
            2"#]],
    );
    check(
        request(Method::Get, "/", Body::Raw(text("fixed"))),
        &expect![[r#"
        GET / HTTP/1.1
        host: 127.0.0.1:8080
        user-agent: barrage/VERSION
        content-type: text/plain; charset=utf-8
        content-length: 5

        fixed"#]],
    );
}

#[test]
fn files_and_parts_are_sent_as_they_are() {
    let mut files = Files::new();
    let file = FileRef {
        path: "f.bin".to_owned(),
        sha256: Some(files.insert(&b"file\r\nbytes"[..])),
    };
    let part = |name: &str, filename: Option<&str>, content_type: Option<&str>, body| Part {
        name: name.to_owned(),
        filename: filename.map(str::to_owned),
        content_type: content_type.map(str::to_owned),
        body,
    };
    let body = Body::Multipart(vec![
        part("a\"\r\nb", None, None, PartBody::Text(text("one ${iteration()}"))),
        part("f", Some("f \"1\".bin"), None, PartBody::File(file.clone())),
        part("g", None, Some("text/x"), PartBody::Text(text(""))),
    ]);
    let of = |body: Body, files: &Files| shown(plan(80, vec![ask(request(Method::Post, "/", body))]), files);
    expect![[r#"
        POST / HTTP/1.1
        host: 127.0.0.1
        user-agent: barrage/VERSION
        content-type: multipart/form-data; boundary=barrage-4d8bd4b70848462772795727e90b1dcd
        content-length: 430

        --barrage-4d8bd4b70848462772795727e90b1dcd
        content-disposition: form-data; name="a%22%0D%0Ab"

        one 5
        --barrage-4d8bd4b70848462772795727e90b1dcd
        content-disposition: form-data; name="f"; filename="f %221%22.bin"
        content-type: application/octet-stream

        file
        bytes
        --barrage-4d8bd4b70848462772795727e90b1dcd
        content-disposition: form-data; name="g"
        content-type: text/x


        --barrage-4d8bd4b70848462772795727e90b1dcd--
    "#]]
    .assert_eq(&of(body.clone(), &files));
    assert_eq!(of(body.clone(), &files), of(body, &files));
    expect![[r#"
        POST / HTTP/1.1
        host: 127.0.0.1
        user-agent: barrage/VERSION
        content-type: application/octet-stream
        content-length: 11

        file
        bytes"#]]
    .assert_eq(&of(Body::File(file.clone()), &files));
    let missing = of(Body::File(file), &Files::new());
    assert_eq!(missing, "the plan's file `f.bin` was not delivered to this worker");
    let bad = Body::Multipart(vec![part("a", None, Some("x\r\ny: z"), PartBody::Text(text("")))]);
    assert!(of(bad, &files).ends_with("header `content-type` holds a control character"));
}

#[test]
fn a_part_cannot_contain_its_boundary() {
    let mut files = Files::new();
    let part = |body| Part {
        name: "a".to_owned(),
        filename: None,
        content_type: None,
        body: PartBody::Text(body),
    };
    let body = |template: &str| Body::Multipart(vec![part(text(template))]);
    let first = shown(plan(80, vec![ask(request(Method::Post, "/", body("x")))]), &files);
    let boundary = first
        .split("boundary=")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    let mut plan = plan(80, vec![ask(request(Method::Post, "/", body("${rows.x}")))]);
    plan.data = vec![rows(
        &format!("x\nok\n--{boundary}\n"),
        Pick::Sequential,
        OnEnd::Wrap,
        &mut files,
    )];
    assert_eq!(
        shown(plan, &files),
        "the request was not sent: a part of its body contains the boundary"
    );
}

#[test]
fn the_full_client_gets_the_same_request() {
    let full = Request {
        redirects: 3,
        headers: pairs(&[("X-Id", "${rows.id}")]),
        ..request(
            Method::Post,
            "/x/${rows.note}",
            Body::Json(text(r#"{"id":"${rows.id}"}"#)),
        )
    };
    check(
        full.clone(),
        &expect![[r#"
        http://127.0.0.1:8080/x/x%22y%0D%0Az
        user-agent: barrage/VERSION
        x-id: 2
        content-type: application/json
        {"id":"2"}"#]],
    );
    let mut plan = plan(
        443,
        vec![ask(Request {
            extract: Vec::new(),
            ..get("/a")
        })],
    );
    plan.targets[0] = Target {
        host_override: Some("shop.test".to_owned()),
        ..target(8080)
    };
    plan.network.cookies = true;
    expect![[r#"
        http://127.0.0.1:8080/a
        host: shop.test
        user-agent: barrage/VERSION
    "#]]
    .assert_eq(&shown(plan, &Files::new()));
}

#[test]
fn the_full_client_is_refused_where_it_would_use_another_tls_name() {
    let of = |https: bool, host: Option<&str>, url: &str, engine: EngineChoice| {
        let request = Request {
            name: "s".to_owned(),
            engine,
            ..get(url)
        };
        let mut plan = plan(443, vec![ask(request)]);
        plan.targets[0] = Target {
            https,
            host_override: host.map(str::to_owned),
            ..target(8443)
        };
        compile(plan).err().map(|error| said(&error))
    };
    let refused = "step `s` of `main` cannot be prepared: engine `reqwest` cannot be used: its https target has a `host` of \
                   its own, which only the raw engines use as the TLS name";
    let table = [
        (true, Some("shop.test"), "/", EngineChoice::Reqwest, Some(refused)),
        (true, Some("shop.test"), "/", EngineChoice::Http1, None),
        (true, Some("shop.test"), "/", EngineChoice::Http2, None),
        (true, Some("127.0.0.1:8443"), "/", EngineChoice::Reqwest, None),
        (true, None, "/", EngineChoice::Reqwest, None),
        (false, Some("shop.test"), "/", EngineChoice::Reqwest, None),
        (
            true,
            Some("shop.test"),
            "https://127.0.0.2:8443/",
            EngineChoice::Reqwest,
            None,
        ),
    ];
    for (https, host, url, engine, wanted) in table {
        let found = of(https, host, url, engine);
        assert_eq!(found.as_deref(), wanted, "{https} {host:?} {url} {engine:?}");
    }
    // Where a value leads to is known in the iteration only.
    let mut files = Files::new();
    let mut plan = plan(
        8080,
        vec![ask(Request {
            engine: EngineChoice::Reqwest,
            ..get("${rows.site}")
        })],
    );
    plan.targets.push(Target {
        name: "other".to_owned(),
        https: true,
        host_override: Some("shop.test".to_owned()),
        ..target(8443)
    });
    let sites = "site\nhttps://shop.test/z\n";
    plan.data = vec![rows(sites, Pick::Sequential, OnEnd::Wrap, &mut files)];
    assert_eq!(
        shown(plan, &files),
        "the request was not sent: its URL leads to an https target with a `host` of its own, which the full client cannot use"
    );
}

#[test]
fn the_engine_follows_from_what_the_step_needs() {
    let of = |request: Request, cookies: bool| {
        let mut plan = plan(80, vec![ask(request.clone())]);
        plan.network.cookies = cookies;
        let (engine, why) = engine_of(&plan, &request);
        let refused = compile(plan).err().map(|error| said(&error));
        format!(
            "{} ({why}){}",
            engine.word(),
            refused.map_or(String::new(), |error| format!(" refused: {error}"))
        )
    };
    let choose = |engine| Request {
        engine,
        name: "s".to_owned(),
        ..get("/")
    };
    assert_eq!(of(get("/"), false), "http1 (nothing asks for a full client)");
    assert_eq!(of(get("/"), true), "reqwest (the plan keeps cookies)");
    assert_eq!(
        of(
            Request {
                redirects: 1,
                ..get("/")
            },
            false
        ),
        "reqwest (the step follows redirects)"
    );
    assert_eq!(
        of(
            Request {
                decompress: true,
                ..get("/")
            },
            false
        ),
        "reqwest (the step undoes content encodings)"
    );
    assert_eq!(of(choose(EngineChoice::Http2), false), "http2 (the plan asks for it)");
    assert_eq!(
        of(choose(EngineChoice::Http2), true),
        "http2 (the plan asks for it) refused: step `s` of `main` cannot be prepared: engine `http2` cannot be used: the \
         plan keeps cookies"
    );
    assert_eq!(
        of(
            Request {
                redirects: 1,
                ..choose(EngineChoice::Http1)
            },
            false
        ),
        "http1 (the plan asks for it) refused: step `s` of `main` cannot be prepared: engine `http1` cannot be used: the \
         step follows redirects"
    );
}

#[test]
fn patterns_and_paths_are_compiled_once_and_refused_early() {
    use barrage_model::plan::{Check, Matcher};
    let of = |check: Check| {
        let request = Request {
            name: "s".to_owned(),
            expect: vec![check],
            ..get("/")
        };
        compile(plan(80, vec![ask(request)])).err().map(|error| said(&error))
    };
    let status = StatusSet::new(vec![(200, 204)]).unwrap();
    assert_eq!(of(Check::Status(status)), None);
    assert!(
        of(Check::BodyMatches("(".to_owned()))
            .unwrap()
            .contains("the regular expression cannot be used")
    );
    assert!(
        of(Check::BodyMatches("(\\w{500}){500}".to_owned()))
            .unwrap()
            .contains("size limit")
    );
    let json = |path: &str, value: &str| Check::Json {
        path: path.to_owned(),
        matcher: Matcher::Equals(text(value)),
    };
    assert!(
        of(json("$.[", "1"))
            .unwrap()
            .ends_with("the JSONPath `$.[` is not valid")
    );
    assert!(
        of(json("$.a", "{"))
            .unwrap()
            .ends_with("the expected value of a JSON check is not JSON")
    );
}

#[test]
fn the_same_iteration_sends_the_same_bytes_from_any_worker() {
    let steps = vec![ask(request(
        Method::Post,
        "/${uuid()}/${rows.id}/${any.id}?c=${counter(\"c\")}&r=${random_int(1, 1000000)}",
        Body::Json(text(
            r#"{"u":"${unique_id()}","s":"${random_string(12)}","p":"${pick('a', 'b', 'c')}","v":"${v}"}"#,
        )),
    ))];
    let mut files = Files::new();
    let lines: String = std::iter::once("id\n".to_owned())
        .chain((0..50).map(|id| format!("{id}\n")))
        .collect();
    let mut plan = plan(80, steps);
    plan.variables = vec![variable("v", "${random_hex(8)}-${rows.id}")];
    plan.data = vec![
        rows(&lines, Pick::Sequential, OnEnd::Wrap, &mut files),
        DataSource {
            name: "any".to_owned(),
            ..rows(&lines, Pick::Random, OnEnd::Wrap, &mut files)
        },
    ];
    let bytes = |workers: u64, worker: u64| {
        let mut context = context();
        context.worker = WorkerId(worker as u32);
        let ready = CompiledPlan::compile(Arc::new(numbered(plan.clone())), &files, &context, &host()).unwrap();
        let shard = shard(&ready);
        let mut users = [User::new(&ready, 0, &shard), User::new(&ready, 1, &shard)];
        let mine = (0..60).filter(move |index| index % workers == worker);
        mine.map(|index| {
            // Whichever slot is free takes the arrival.
            let slot = (index / 3 % 2) as usize;
            (index, bytes_of(&ready, &mut users[slot], 0, index).unwrap())
        })
        .collect::<BTreeMap<u64, String>>()
    };
    let alone = bytes(1, 0);
    let mut shared = BTreeMap::new();
    for worker in 0..3 {
        shared.extend(bytes(3, worker));
    }
    assert_eq!(alone, shared);
    let different: std::collections::BTreeSet<&String> = alone.values().collect();
    assert_eq!(different.len(), 60);
}
