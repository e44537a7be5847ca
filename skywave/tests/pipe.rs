//! A file goes through a durable channel unchanged and in order, whatever happens to the server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::process::Stdio;

use support::{Server, any_port, free_port, run, run_with_input, skywave, stderr, stdout, until, wait};

/// Lines of all kinds: empty, quoted, with control characters, long, not UTF-8.
fn lines(count: usize) -> Vec<u8> {
    let mut file = Vec::new();
    for i in 0..count {
        match i % 7 {
            0 => file.extend_from_slice(format!("{i} plain").as_bytes()),
            1 => {}
            2 => file.extend_from_slice(format!("{i} \"quoted\" \\ back\tslash\r").as_bytes()),
            3 => file.extend_from_slice(format!("{i} é ✓ \u{1b}[0m").as_bytes()),
            4 => file.extend_from_slice(&[b'0' + (i % 10) as u8, 0xff, 0xfe, 0x00]),
            5 => file.extend_from_slice(format!("{{\"i\": {i}}}").as_bytes()),
            _ => file.extend_from_slice(format!("{i} {}", "long ".repeat(i % 97)).as_bytes()),
        }
        file.push(b'\n');
    }
    file
}

fn line_count(path: &std::path::Path) -> usize {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn a_file_comes_out_as_it_went_in_while_the_server_is_killed_and_restarted() {
    const LINES: usize = 6_000;
    let folder = tempfile::tempdir().unwrap();
    let (data, copy, input) =
        (folder.path().join("data"), folder.path().join("copy"), folder.path().join("input"));
    fs::write(&input, lines(LINES)).unwrap();
    let server = Server::start(free_port(), &data);
    let (address, url) = (server.address, server.url());

    // A window this small makes the pipe slow enough to be hit in the middle.
    let mut publisher = skywave(&["pub", "chat:file", "--url", &url, "--window", "4"])
        .stdin(File::open(&input).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let count = LINES.to_string();
    let args = ["sub", "chat:file", "--url", &url, "--from", "beginning", "--count", &count];
    let mut subscriber =
        skywave(&args).stdout(File::create(&copy).unwrap()).stderr(Stdio::piped()).spawn().unwrap();

    let mut server = server;
    let mut kills = 0;
    for reached in [LINES / 10, LINES / 3] {
        until("some lines are through", || line_count(&copy) >= reached);
        assert!(line_count(&copy) < LINES, "the kill must come in the middle");
        assert!(publisher.try_wait().unwrap().is_none(), "the publisher must still be at it");
        server.kill();
        kills += 1;
        server = Server::start(address, &data);
    }
    assert_eq!(kills, 2);
    let published = wait(&mut publisher);
    let mut said = String::new();
    publisher.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(published.code(), Some(0), "{said}");
    assert!(said.contains("connected again"), "the publisher noticed nothing: {said}");
    let subscribed = wait(&mut subscriber);
    let mut said = String::new();
    subscriber.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(subscribed.code(), Some(0), "{said}");
    assert!(fs::read(&copy).unwrap() == lines(LINES), "the copy differs");

    // What is durable is there for somebody who comes later, too.
    let again = run(&args);
    assert!(again.stdout == lines(LINES), "the second copy differs");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_second_run_with_the_same_ids_publishes_only_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(any_port(), &folder.path().join("data"));
    let url = server.url();
    let args = ["pub", "weblog", "--url", &url, "--id-prefix", "day-1:"];
    let first = run_with_input(&args, b"a\nb\nc\n");
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let second = run_with_input(&args, b"a\nb\nc\nd\n");
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    assert!(
        stderr(&second).contains("4 acknowledged") && stderr(&second).contains("3 of them published before")
    );
    let copy = run(&["sub", "weblog", "--url", &url, "--from", "beginning", "--count", "4"]);
    assert_eq!(stdout(&copy), "a\nb\nc\nd\n");
    let tail = run(&["sub", "weblog", "--url", &url, "--from", "3", "--count", "2", "--json"]);
    let objects: Vec<serde_json::Value> =
        stdout(&tail).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&objects[0]["offset"], &objects[0]["data"]), (&3.into(), &"c".into()));
    assert_eq!((&objects[1]["id"], &objects[1]["channel"]), (&"day-1:4".into(), &"weblog".into()));
}

#[test]
fn one_publication_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(any_port(), &folder.path().join("data"));
    let url = server.url();
    for args in [
        &["pub", "chat:a", "hello world", "--url", &url][..],
        &["pub", "chat:a", "--json", "{\"a\": [1]}", "--url", &url, "--encoding", "json"],
        &["pub", "chat:a", "--binary", "bytes", "--url", &url],
        &["pub", "chat:a", "once", "--id", "x1", "--url", &url],
        &["pub", "chat:a", "once", "--id", "x1", "--url", &url],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    }
    for encoding in ["json", "binary"] {
        let args =
            ["sub", "chat:a", "--url", &url, "--from", "beginning", "--count", "4", "--encoding", encoding];
        assert_eq!(stdout(&run(&args)), "hello world\n{\"a\": [1]}\nbytes\nonce\n");
    }
}

#[test]
fn webtransport_carries_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(any_port(), &folder.path().join("data"));
    let url = server.url();
    for encoding in ["json", "binary"] {
        let channel = format!("chat:{encoding}");
        let more = ["--url", &url, "--transport", "webtransport", "--encoding", encoding];
        let mut args = vec!["pub", &channel];
        args.extend(more);
        let published = run_with_input(&args, &lines(700));
        assert_eq!(published.status.code(), Some(0), "{}", stderr(&published));
        let mut args = vec!["sub", &channel, "--from", "beginning", "--count", "700"];
        args.extend(more);
        let copy = run(&args);
        assert!(copy.stdout == lines(700), "{encoding}: {}", stderr(&copy));
    }
}

#[test]
fn what_cannot_be_published_is_said_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(any_port(), &folder.path().join("data"));
    let url = server.url();
    let refused = run(&["pub", "nowhere:x", "hello", "--url", &url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("unknown_namespace"), "{}", stderr(&refused));

    let half = run_with_input(&["pub", "chat:j", "--json", "--url", &url], b"1\nnot json\n3\n");
    assert_eq!(half.status.code(), Some(1));
    assert!(
        stderr(&half).contains("line 2: ") && stderr(&half).contains("1 of 3 lines"),
        "{}",
        stderr(&half)
    );
    let mut long = vec![b'x'; 100_000];
    long.extend_from_slice(b"\nshort\n");
    let large = run_with_input(&["pub", "chat:j", "--url", &url], &long);
    assert_eq!(large.status.code(), Some(1));
    assert!(stderr(&large).contains("line 1: too_large"), "{}", stderr(&large));
    let copy = run(&["sub", "chat:j", "--url", &url, "--from", "beginning", "--count", "3"]);
    assert_eq!(stdout(&copy), "1\n3\nshort\n");

    let private = run(&["sub", "user:ada", "--url", &url, "--count", "1"]);
    assert_eq!(private.status.code(), Some(1));
    assert!(stderr(&private).contains("forbidden"), "{}", stderr(&private));
}

#[test]
fn a_relay_that_is_not_there_is_an_error_in_time() {
    let url = format!("http://{}", free_port());
    let output = run(&["pub", "chat:a", "x", "--url", &url, "--connect-timeout", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("no relay at {url}")), "{}", stderr(&output));
    let output = run(&["pub", "chat:a", "x", "--url", "localhost"]);
    assert!(stderr(&output).contains("it must begin with http://"), "{}", stderr(&output));
}
