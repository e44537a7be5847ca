//! Presence: a user is there once, however many connections it has, and leaves with the last one (I12).

use serde_json::{Value, json};
use skywave_harness::{Options, Server, Socket, token, wait};

fn members(socket: &mut Socket) -> anyhow::Result<Vec<String>> {
    let answer = socket.request("presence", json!({"channel": "chat:e2e"}))?;
    let members = answer["presence"]["members"].as_array().cloned().unwrap_or_default();
    Ok(members.iter().filter_map(|member| member["user"].as_str()).map(str::to_owned).collect())
}

fn enter(server: &Server, user: &str) -> anyhow::Result<Socket> {
    let mut socket = Socket::connect(server.address(), Some(&token::for_user(user)))?;
    socket.request("subscribe", json!({"channel": "chat:e2e", "presence": true}))?;
    Ok(socket)
}

fn news(socket: &mut Socket, verb: &str, user: &str) -> anyhow::Result<()> {
    let push: Value = socket.push()?;
    anyhow::ensure!(push[verb]["user"] == user, "instead of {verb} of {user}: {push}");
    Ok(())
}

#[test]
fn a_second_tab_changes_nothing_and_the_last_one_leaves() -> anyhow::Result<()> {
    let server = Server::start_with(Options::config(&token::server_config()))?;
    let mut watcher = enter(&server, "watcher")?;
    news(&mut watcher, "join", "watcher")?;
    let first = enter(&server, "ada")?;
    news(&mut watcher, "join", "ada")?;
    let second = enter(&server, "ada")?;
    wait::until("both tabs to be members", || {
        members(&mut watcher)
            .ok()
            .filter(|members| *members == ["watcher", "ada", "ada"] || members.len() == 3)
    })?;
    drop(first);
    wait::until("the first tab to be gone", || {
        members(&mut watcher).ok().filter(|members| members.len() == 2)
    })?;
    drop(second);
    // Had the second tab joined, or the first one left, that push would come first.
    news(&mut watcher, "leave", "ada")?;
    assert_eq!(members(&mut watcher)?, ["watcher"]);
    Ok(())
}
