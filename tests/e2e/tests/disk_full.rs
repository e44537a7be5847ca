//! A full disk and an unwritable folder: publishes are refused with a retryable error, nothing acknowledged is lost, and
//! the process recovers by itself.

use serde_json::{Value, json};
use skywave_harness::disk::SmallDisk;
use skywave_harness::participant::read_history;
use skywave_harness::{Options, Recorder, Server, Socket, wait};

const DISK: usize = 8 * 1024 * 1024;

fn publish(socket: &mut Socket, number: usize) -> anyhow::Result<Value> {
    let data = "x".repeat(20_000);
    socket.request("publish", json!({"channel": "chat:disk", "id": format!("m-{number}"), "data": data}))
}

#[test]
fn a_full_disk_refuses_and_recovers() -> anyhow::Result<()> {
    let Some(disk) = SmallDisk::mount(DISK)? else { return Ok(()) };
    let data = Some(disk.path().join("data"));
    let mut server = Server::start_with(Options { data, ..Options::default() })?;
    let mut socket = Socket::connect(server.address(), None)?;
    let mut acknowledged = Vec::new();
    for number in 0..20 {
        let answer = publish(&mut socket, number)?;
        assert!(answer.get("published").is_some(), "{answer}");
        acknowledged.push(number);
    }
    disk.fill()?;
    let mut refused = 0;
    for number in 20..60 {
        let answer = publish(&mut socket, number)?;
        if answer.get("published").is_some() {
            acknowledged.push(number);
            continue;
        }
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        assert!(matches!(code, "log_unavailable" | "timeout"), "{answer}");
        refused += 1;
    }
    assert!(refused > 0, "the disk was never full");
    disk.free()?;
    wait::until("the relay to recover by itself", || {
        publish(&mut socket, 60).ok().filter(|answer| answer.get("published").is_some())
    })?;
    acknowledged.push(60);
    server.restart()?;
    let recorder = Recorder::default();
    read_history(server.address(), &recorder, "chat:disk", None)?;
    let lines = recorder.history().to_lines();
    for number in acknowledged {
        assert!(lines.contains(&format!("\"m-{number}\"")), "m-{number} was acknowledged and is lost");
    }
    Ok(())
}

#[test]
fn an_unwritable_data_folder_is_said_plainly() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a file, not a folder");
    std::fs::write(&file, "")?;
    let error = match Server::start_with(Options { data: Some(file), ..Options::default() }) {
        Ok(_) => anyhow::bail!("it started on a file"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("a file, not a folder"), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    Ok(())
}
