//! What a relay says when it cannot begin: one line, a remedy, exit code 2, and nothing is damaged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use support::{Server, any_port, run, stderr, stdout};

/// The one line that is no log line.
fn complaint(listen: &str, data: &Path) -> String {
    let output = run(&["dev", "--listen", listen, "--data", data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let text = stderr(&output);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("skywave: ")).collect();
    assert_eq!((lines.len(), text.lines().count()), (1, 1), "{text}");
    lines[0].to_owned()
}

#[test]
fn a_port_in_use_leaves_the_data_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let line = complaint(&address.to_string(), &data);
    assert!(line.contains(&format!("cannot listen on {address}")) && line.contains("--listen"), "{line}");
    assert!(!data.exists(), "the data folder was touched");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let line = complaint("127.0.0.1:0", &file.join("data"));
    assert!(line.contains("cannot write the data folder") && line.contains("--data DIR"), "{line}");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[test]
fn a_second_process_on_a_folder_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(any_port(), &data);
    let line = complaint("127.0.0.1:0", &data);
    assert!(line.contains("in use by another process") && line.contains("--data DIR"), "{line}");
    let url = server.url();
    let output = run(&["pub", "chat:a", "still here", "--url", &url]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn data_of_something_else_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("log.db"), "this is no database, but somebody's notes about logs\n".repeat(100))
        .unwrap();
    let before = fs::read(data.join("log.db")).unwrap();
    let line = complaint("127.0.0.1:0", &data);
    assert!(line.contains("log.db"), "{line}");
    assert_eq!(fs::read(data.join("log.db")).unwrap(), before);
}

#[test]
fn a_graceful_end_keeps_what_was_published() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(any_port(), &data);
    run(&["pub", "chat:a", "kept", "--url", &server.url()]);
    assert_eq!(server.terminate(), Some(0));
    let server = Server::start(any_port(), &data);
    let output = run(&["sub", "chat:a", "--url", &server.url(), "--from", "beginning", "--count", "1"]);
    assert_eq!(stdout(&output), "kept\n", "{}", stderr(&output));
}
