//! The HTTP interface over real sockets: what it does, and what it does with those who mean no good.

mod support;

use std::time::Duration;

use serde_json::json;
use skywave_edge::auth::AuthConfig;
use skywave_edge::http::{PageAssets, PageFile};
use skywave_runtime::health::Component;
use support::http::{Answer, answer, get, post, raw, send};
use support::{TestEdge, token};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const PAGE: PageAssets = PageAssets(&[
    PageFile { path: "/", content_type: "text/html; charset=utf-8", bytes: b"<!doctype html>hello" },
    PageFile { path: "/assets/a.js", content_type: "text/javascript", bytes: b"1" },
]);

#[tokio::test]
async fn a_publication_is_published_and_read_back() {
    let edge = TestEdge::start().await;
    let mut subscriber = edge.client().await;
    subscriber.subscribe("chat:1").await;
    let first = post(edge.address(), "/v1/publish", r#"{"channel":"chat:1","id":"a","data":{"x":1}}"#).await;
    assert_eq!((first.status, first.json()), (200, json!({"epoch": "e1", "offset": 1, "duplicate": false})));
    assert_eq!(first.headers["content-type"], "application/json");
    assert_eq!(subscriber.publication().await["data"], json!({"x": 1}));
    let live = post(edge.address(), "/v1/publish", r#"{"channel":"live:1","data":7}"#).await;
    assert_eq!((live.status, live.json()), (200, json!({"duplicate": false})));
    for n in 2..=5 {
        post(edge.address(), "/v1/publish", &format!(r#"{{"channel":"chat:1","data":{n}}}"#)).await;
    }
    let page = get(edge.address(), "/v1/channels/chat:1/history?limit=2&reverse=true").await.json();
    let offsets: Vec<_> =
        page["publications"].as_array().unwrap().iter().map(|p| p["offset"].clone()).collect();
    assert_eq!((page["offset"].clone(), offsets), (json!(5), vec![json!(5), json!(4)]));
    let page = get(edge.address(), "/v1/channels/chat%3A1/history?after=1&before=3").await.json();
    assert_eq!(page["publications"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_answers_item_by_item() {
    let edge = TestEdge::start().await;
    let items = [
        r#"{"channel":"chat:1","data":1}"#,
        r#"{"channel":"no:such","data":1}"#,
        r#"{"channel":"chat:2","data":1}"#,
        r#"{"channel":"a b","data":1}"#,
        r#"{"channel":"chat:1","data":2}"#,
        r#"{"data":2}"#,
        "7",
    ];
    let answer = post(edge.address(), "/v1/publish", &format!(r#"{{"batch":[{}]}}"#, items.join(","))).await;
    assert_eq!(answer.status, 200);
    let results = answer.json()["results"].clone();
    assert_eq!(
        (&results[0]["offset"], &results[2]["offset"], &results[4]["offset"]),
        (&json!(1), &json!(1), &json!(2))
    );
    let codes: Vec<_> = [1, 3, 5, 6].map(|n| results[n]["error"]["code"].as_str().unwrap().to_owned()).into();
    assert_eq!(codes, ["unknown_namespace", "invalid_channel", "bad_request", "bad_request"]);
    let item = items[0];
    for bad in [r#"{"batch":[]}"#.to_owned(), format!(r#"{{"batch":[{}]}}"#, vec![item; 65].join(","))] {
        assert_eq!(post(edge.address(), "/v1/publish", &bad).await.code(), "bad_request");
    }
}

#[tokio::test]
async fn an_outage_of_core_is_an_error_with_advice() {
    let edge = TestEdge::with(|config| config.timing.core = Duration::from_millis(200)).await;
    edge.core.be_silent(true);
    let answer = post(edge.address(), "/v1/publish", r#"{"channel":"chat:1","id":"a","data":1}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "timeout"));
}

#[tokio::test]
async fn presence_names_the_members() {
    let edge = TestEdge::start().await;
    let mut client = edge.client().await;
    client.subscribe("chat:1").await;
    let answer = get(edge.address(), "/v1/channels/chat:1/presence").await;
    assert_eq!((answer.status, answer.json()["members"].as_array().unwrap().len()), (200, 1));
    let default = get(edge.address(), "/v1/channels/lobby/presence").await;
    assert_eq!((default.status, default.code().as_str()), (400, "not_available"));
    let live = get(edge.address(), "/v1/channels/live:1/history").await;
    assert_eq!(live.code(), "not_available");
}

#[tokio::test]
async fn a_token_decides_who_may_do_what() {
    let edge = TestEdge::with_auth(token::config(), |_| {}).await;
    let address = edge.address();
    let publish = |token: Option<String>| async move {
        let value = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> =
            value.iter().map(|value| ("authorization", value.as_str())).collect();
        send(address, "POST", "/v1/publish", &headers, r#"{"channel":"chat:1","data":1}"#).await
    };
    let anonymous = publish(None).await;
    assert_eq!((anonymous.status, anonymous.headers["www-authenticate"].as_str()), (401, "Bearer"));
    assert_eq!(publish(Some(token::expired("ada"))).await.code(), "token_expired");
    assert_eq!(publish(Some("a.b.c".into())).await.status, 401);
    let reader = token::with_claims(r#"{"sub":"ada","exp":4000000000,"cap":{"chat:*":["history"]}}"#);
    assert_eq!(publish(Some(reader.clone())).await.code(), "forbidden");
    assert_eq!(publish(Some(token::of("ada"))).await.status, 200);
    let bearer = format!("bearer {reader}");
    let page = send(address, "GET", "/v1/channels/chat:1/history", &[("authorization", &bearer)], "").await;
    assert_eq!(page.json()["publications"][0]["from"], "ada");
    for headers in [
        vec![("authorization", "Basic YTpi")],
        vec![("authorization", "Bearer")],
        vec![("authorization", bearer.as_str()), ("authorization", bearer.as_str())],
    ] {
        let answer = send(address, "GET", "/v1/channels/chat:1/history", &headers, "").await;
        assert_eq!(answer.status, 401, "{headers:?}");
    }
}

#[tokio::test]
async fn hostile_channels_in_the_path_reach_nothing() {
    let edge = TestEdge::start().await;
    for (channel, code) in [
        ("%00", "invalid_channel"),
        ("a%0d%0aPUB%20x", "invalid_channel"),
        ("%3E", "invalid_channel"),
        ("sw.live.%2A", "invalid_channel"),
        ("a%20b", "invalid_channel"),
        ("%C3%A9", "invalid_channel"),
        ("%FF%FE", "invalid_channel"),
        ("%E2%80%AEx", "invalid_channel"),
        ("%3Ax", "invalid_channel"),
        (&"a".repeat(300), "invalid_channel"),
        ("no:such", "unknown_namespace"),
    ] {
        for what in ["history", "presence"] {
            let answer = get(edge.address(), &format!("/v1/channels/{channel}/{what}")).await;
            assert_eq!(answer.code(), code, "{channel} {what}: {answer:?}");
        }
    }
    // Dots and encoded slashes are part of a name, never of a path.
    for channel in ["..", "%2e%2e%2f%2e%2e", "chat:a%2Fb"] {
        let answer = get(edge.address(), &format!("/v1/channels/{channel}/history")).await;
        assert_eq!(answer.status, 200, "{channel}");
    }
    for path in ["/v1/channels/a/b/history", "/v1/channels/history", "/v1/../metrics", "/v1", "/x"] {
        assert_eq!(get(edge.address(), path).await.code(), "not_found", "{path}");
    }
}

#[tokio::test]
async fn wrong_parameters_and_methods_are_answered_in_json() {
    let edge = TestEdge::start().await;
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=-1",
        "reverse=maybe",
        "limit=1&limit=2",
        "after=99999999999999999999",
    ] {
        let answer = get(edge.address(), &format!("/v1/channels/chat:1/history?{query}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{query}");
    }
    let answer = send(edge.address(), "DELETE", "/v1/publish", &[], "").await;
    assert_eq!((answer.status, answer.code().as_str()), (405, "bad_request"));
    for body in ["", "{", "[]", "null", "7", r#"{"channel":"chat:1","data":1}}"#, "\u{0}"] {
        let answer = post(edge.address(), "/v1/publish", body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{body}");
    }
    let answer = post(edge.address(), "/v1/publish", r#"{"channel":"chat:1","id":"a b","data":1}"#).await;
    assert_eq!(answer.code(), "invalid_id");
}

#[tokio::test]
async fn large_and_slow_requests_cost_only_their_sender() {
    // Time enough to send what is large.
    let edge = TestEdge::with(|config| config.timing.head = Duration::from_secs(1)).await;
    let address = edge.address();
    let limit = 64 * 1024;
    let large = format!(r#"{{"channel":"chat:1","data":"{}"}}"#, "x".repeat(limit));
    assert_eq!(post(address, "/v1/publish", &large).await.status, 413);
    // Announced only: refused without reading.
    let head = format!("POST /v1/publish HTTP/1.1\r\nhost: {address}\r\ncontent-length: 9999999999\r\n\r\n");
    assert_eq!(raw(address, head.as_bytes()).await.code(), "too_large");
    // Chunks without an end.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(
            format!("POST /v1/publish HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked\r\n\r\n")
                .as_bytes(),
        )
        .await
        .unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    while stream.write_all(chunk.as_bytes()).await.is_ok() {
        if edge.metric("skywave_edge_connections") < 0.0 {
            break;
        }
    }
    // A body that stops.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(
            format!("POST /v1/publish HTTP/1.1\r\nhost: {address}\r\ncontent-length: 100\r\n\r\n{{")
                .as_bytes(),
        )
        .await
        .unwrap();
    let slow = answer(stream).await;
    assert_eq!((slow.status, slow.code().as_str()), (408, "timeout"));
    // A huge head, a head that stops, and one that never begins.
    let huge = format!("GET / HTTP/1.1\r\nhost: {address}\r\nx: {}\r\n\r\n", "y".repeat(20 * 1024 * 1024));
    let refused = raw(address, huge.as_bytes()).await;
    assert!(matches!(refused.status, 0 | 431), "{refused:?}");
    for begun in ["GET / HTTP/1.1\r\nhost: x\r\n", "G", ""] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let ended = answer(stream).await;
        assert!(matches!(ended.status, 0 | 408), "{begun:?}: {ended:?}");
    }
    assert_eq!(get(address, "/health/live").await.status, 200);
}

#[tokio::test]
async fn a_client_that_never_reads_its_answers_loses_its_place() {
    let edge = TestEdge::with(|config| {
        config.workers = 1;
        config.limits.connections = 1;
        config.timing.ping = Duration::from_millis(100);
        config.timing.pong = Duration::from_millis(100);
    })
    .await;
    let address = edge.address();
    let mut greedy = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /v1/openapi.json HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let freed = async {
        // More than all buffers in between hold: writing ends with the server's patience, and fails.
        while greedy.write_all(request.as_bytes()).await.is_ok() {}
        while get(address, "/health/live").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed).await.expect("the place is not given back");
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_and_allowed_ones_may_read() {
    let auth = AuthConfig {
        anonymous: true,
        allowed_origins: vec!["https://app.example.com".into()],
        ..AuthConfig::default()
    };
    let edge = TestEdge::with_auth(auth, |_| {}).await;
    let address = edge.address();
    let body = r#"{"channel":"chat:1","data":1}"#;
    for origin in ["https://evil.com", "null", "https://app.example.com.evil.com", "http://app.example.com"] {
        for (method, path) in
            [("POST", "/v1/publish"), ("GET", "/v1/sse"), ("GET", "/v1/channels/chat:1/history")]
        {
            let answer = send(address, method, path, &[("origin", origin)], body).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{origin} {path}");
            assert!(!answer.headers.contains_key("access-control-allow-origin"));
        }
        let preflight = [("origin", origin), ("access-control-request-method", "POST")];
        assert_eq!(send(address, "OPTIONS", "/v1/publish", &preflight, "").await.status, 403);
    }
    assert_eq!(
        get(address, "/v1/channels/chat:1/history").await.json()["offset"],
        0,
        "nothing was published"
    );

    let good = ("origin", "https://app.example.com");
    let preflight =
        send(address, "OPTIONS", "/v1/publish", &[good, ("access-control-request-method", "POST")], "").await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.headers["access-control-allow-origin"], "https://app.example.com");
    assert!(preflight.headers["access-control-allow-headers"].contains("authorization"));
    assert!(!preflight.headers.contains_key("access-control-allow-credentials"));
    let answer = send(address, "POST", "/v1/publish", &[good], body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["access-control-allow-origin"], "https://app.example.com");
    assert_eq!(answer.headers["vary"], "origin");
    // An error is readable as well.
    let error = send(address, "POST", "/v1/publish", &[good], "{").await;
    assert_eq!(
        (error.status, error.headers["access-control-allow-origin"].as_str()),
        (400, "https://app.example.com")
    );
    // Something like a browser that hides where it comes from.
    let cookie = send(address, "POST", "/v1/publish", &[("cookie", "a=b")], body).await;
    assert_eq!(cookie.status, 403);
    let own = format!("http://{address}");
    assert_eq!(send(address, "POST", "/v1/publish", &[("origin", &own)], body).await.status, 200);
}

#[tokio::test]
async fn the_page_is_served_with_tags_and_nothing_beside_it() {
    let edge = TestEdge::with_ports(|_| {}, |ports| ports.page = PAGE).await;
    let page = get(edge.address(), "/").await;
    assert_eq!((page.status, page.body.as_str()), (200, "<!doctype html>hello"));
    assert!(page.headers["content-security-policy"].contains("frame-ancestors 'none'"));
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let again = send(edge.address(), "GET", "/", &[("if-none-match", &page.headers["etag"])], "").await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(get(edge.address(), "/assets/a.js").await.body, "1");
    for path in [
        "/assets/",
        "/assets/b.js",
        "/assets/../Cargo.toml",
        "/assets/%2e%2e/Cargo.toml",
        "/assets//etc/passwd",
    ] {
        assert_eq!(get(edge.address(), path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn health_metrics_and_route_tell_about_the_node() {
    let failing = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = failing.clone();
    let check = move || {
        let ok = !flag.load(std::sync::atomic::Ordering::SeqCst);
        vec![Component::essential("log", ok, (!ok).then(|| "the disk is full".into()))]
    };
    let edge = TestEdge::with_ports(|_| {}, |ports| ports.health = std::sync::Arc::new(check)).await;
    let address = edge.address();
    assert_eq!(get(address, "/health/live").await.json()["status"], "live");
    assert_eq!(get(address, "/health/ready").await.status, 200);
    failing.store(true, std::sync::atomic::Ordering::SeqCst);
    let unready = get(address, "/health/ready").await;
    assert_eq!(
        (unready.status, &unready.json()["components"][1]["detail"]),
        (503, &json!("the disk is full"))
    );
    let metrics = get(address, "/metrics").await;
    assert!(metrics.headers["content-type"].starts_with("application/openmetrics-text"));
    assert!(metrics.body.contains("skywave_edge_connections") && metrics.body.ends_with("# EOF\n"));
    let route = get(address, "/v1/route?key=chat:1").await.json();
    assert_eq!(
        route,
        json!({"region": "local", "node": "test", "url": format!("http://{address}"), "alternates": []})
    );
    for bad in ["/v1/route?key=", "/v1/route?key=%00"] {
        assert_eq!(get(address, bad).await.code(), "bad_request");
    }
    let host = send(address, "GET", "/v1/route?key=a", &[("host", "evil.com/x\"<script>")], "").await;
    assert_eq!(host.status, 400);
    assert_eq!(get(address, "/v1/webtransport/certificate").await.code(), "not_found");
}

#[tokio::test]
async fn the_description_names_every_path_and_no_other() {
    let edge = TestEdge::start().await;
    let description: serde_json::Value = get(edge.address(), "/v1/openapi.json").await.json();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let path = path.replace("{channel}", "chat:1");
        for method in methods.as_object().unwrap().keys() {
            let answer: Answer = match method.as_str() {
                // Opens a stream that does not end.
                "get" if path == "/v1/sse" => continue,
                method => send(edge.address(), &method.to_uppercase(), &path, &[], "{}").await,
            };
            let known = answer.status != 405 && !answer.body.contains("nothing at this path");
            assert!(known, "{method} {path}: {answer:?}");
        }
    }
}
