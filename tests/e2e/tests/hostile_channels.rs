//! Channel names that try to be something else, unknown namespaces, and a client that wants every channel there is.

use serde_json::json;
use skywave_harness::{Options, Server, Socket};

const HOSTILE: &[&str] = &[
    "",
    "*",
    ">",
    "a.>",
    "$SYS.>",
    "$JS.API.>",
    ":x",
    "a b",
    "chat:x\r\nPUB sw.live.chat:y 1\r\nx",
    "chat:nul\0",
    "chat:é",
    "chat:e\u{301}",
    "chat:\u{202e}evil",
    "chat:ѕкуwаve",
];

#[test]
fn hostile_names_are_refused_by_every_request() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut socket = Socket::connect(server.address(), None)?;
    let long = "a".repeat(10_000);
    for name in HOSTILE.iter().copied().chain([long.as_str()]) {
        for verb in ["subscribe", "publish", "history", "presence"] {
            let mut fresh = Socket::connect(server.address(), None)?;
            let answer = fresh.request(verb, json!({"channel": name, "id": "h", "data": 1}))?;
            assert_eq!(answer["error"]["code"], "invalid_channel", "{verb} {name:?}: {answer}");
        }
    }
    assert_eq!(socket.subscribe("chat:y")?["offset"], 0, "something reached a channel it was not meant for");
    Ok(())
}

/// `..` and the like are allowed in names and must reach nothing but their own channel.
#[test]
fn names_that_look_like_paths_or_wildcards_stay_apart() -> anyhow::Result<()> {
    let server = Server::start()?;
    let names = ["chat:a..b", "chat:a.b", "chat:a/b", "chat:a=2Eb", "chat:../../etc/passwd", "chat:a:b"];
    let mut socket = Socket::connect(server.address(), None)?;
    for name in names {
        socket.subscribe(name)?;
    }
    for (at, name) in names.iter().enumerate() {
        let published = socket.publish(name, &format!("m-{at}"), json!(name))?;
        assert_eq!(published["offset"], 1, "{name}");
        let push = socket.push()?;
        assert_eq!((&push["pub"]["channel"], &push["pub"]["data"]), (&json!(name), &json!(name)));
    }
    Ok(())
}

#[test]
fn an_unknown_namespace_is_named_as_such() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut socket = Socket::connect(server.address(), None)?;
    let answer = socket.request("subscribe", json!({"channel": "nosuch:x"}))?;
    assert_eq!(answer["error"]["code"], "unknown_namespace", "{answer}");
    Ok(())
}

#[test]
fn a_hundred_thousand_subscriptions_stop_at_the_limit() -> anyhow::Result<()> {
    let config = "[limits]\nsubscriptions = 500\nrequests_per_second = 1000000\nrequest_burst = 1000000\n";
    let server = Server::start_with(Options::config(config))?;
    let mut socket = Socket::connect(server.address(), None)?;
    let before = server.memory()?;
    let (mut stood, mut refused) = (0, 0);
    for batch in 0..100 {
        let first = 2 + batch * 1_000;
        let lines: Vec<String> = (first..first + 1_000)
            .map(|id| json!({"id": id, "subscribe": {"channel": format!("chat:{id}")}}).to_string())
            .collect();
        for part in lines.chunks(50) {
            socket.text(&part.join("\n"))?;
        }
        // Refusals may overtake answers that had to be asked of a channel's hub.
        for _ in 0..1_000 {
            let answer = socket.push()?;
            match answer["error"]["code"].as_str() {
                None => stood += 1,
                Some("too_many_subscriptions") => refused += 1,
                Some(_) => anyhow::bail!("{answer}"),
            }
        }
    }
    assert_eq!((stood, refused), (500, 99_500));
    let grown = server.memory()?.saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "the server grew by {grown} bytes");
    Ok(())
}
