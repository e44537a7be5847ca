//! The everyday path: publish, subscribe, recover, read history; over raw WebSocket and HTTP.

use serde_json::{Value, json};
use skywave_harness::{Server, Socket, http, token};

#[test]
fn a_publication_reaches_every_subscriber_with_its_position() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut one = Socket::connect(server.address(), None)?;
    let mut two = Socket::connect(server.address(), None)?;
    assert_eq!(one.subscribe("chat:e2e")?["offset"], 0);
    two.subscribe("chat:e2e")?;
    let published = one.publish("chat:e2e", "m-1", json!({"text": "hello"}))?;
    assert_eq!((&published["offset"], &published["duplicate"]), (&json!(1), &json!(false)));
    for socket in [&mut one, &mut two] {
        let publication = socket.push()?["pub"].clone();
        assert_eq!(publication["channel"], "chat:e2e");
        assert_eq!(publication["offset"], 1);
        assert_eq!(publication["id"], "m-1");
        assert_eq!(publication["data"], json!({"text": "hello"}));
    }
    Ok(())
}

#[test]
fn a_retry_under_the_same_id_is_the_same_publication_even_after_a_crash() -> anyhow::Result<()> {
    let mut server = Server::start()?;
    let mut socket = Socket::connect(server.address(), None)?;
    let first = socket.publish("chat:e2e", "m-1", json!(1))?;
    let again = socket.publish("chat:e2e", "m-1", json!(1))?;
    assert_eq!((&again["offset"], &again["duplicate"]), (&first["offset"], &json!(true)));
    server.restart()?;
    let mut socket = Socket::connect(server.address(), None)?;
    let after = socket.publish("chat:e2e", "m-1", json!(1))?;
    assert_eq!((&after["offset"], &after["epoch"]), (&first["offset"], &first["epoch"]));
    assert_eq!(after["duplicate"], true);
    Ok(())
}

#[test]
fn a_client_that_was_away_gets_exactly_what_it_missed() -> anyhow::Result<()> {
    let mut server = Server::start()?;
    let mut socket = Socket::connect(server.address(), None)?;
    let seen = socket.publish("chat:e2e", "m-0", json!(0))?;
    for number in 1..=5 {
        socket.publish("chat:e2e", &format!("m-{number}"), json!(number))?;
    }
    for crash in [false, true] {
        if crash {
            server.restart()?;
        }
        let mut back = Socket::connect(server.address(), None)?;
        let recover = json!({"epoch": seen["epoch"], "offset": seen["offset"]});
        let answer = back.request("subscribe", json!({"channel": "chat:e2e", "recover": recover}))?;
        assert_eq!(answer["subscribed"]["recovery"], "exact", "{answer}");
        for number in 1..=5 {
            assert_eq!(back.push()?["pub"]["data"], number);
        }
    }
    Ok(())
}

#[test]
fn a_position_of_another_log_is_answered_with_a_gap() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut socket = Socket::connect(server.address(), None)?;
    socket.publish("chat:e2e", "m-1", json!(1))?;
    let recover = json!({"epoch": "elsewhere", "offset": 7});
    let answer = socket.request("subscribe", json!({"channel": "chat:e2e", "recover": recover}))?;
    assert_eq!(answer["subscribed"]["recovery"], "gap", "{answer}");
    assert_eq!(answer["subscribed"]["gap"]["reason"], "epoch", "{answer}");
    Ok(())
}

#[test]
fn history_pages_in_both_directions() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut socket = Socket::connect(server.address(), None)?;
    for number in 1..=10 {
        socket.publish("chat:e2e", &format!("m-{number}"), json!(number))?;
    }
    let mut page = |query: Value| -> anyhow::Result<Vec<u64>> {
        let answer = socket.request("history", query)?;
        assert_eq!(answer["history"]["offset"], 10, "{answer}");
        let publications = answer["history"]["publications"].as_array().cloned().unwrap_or_default();
        Ok(publications.iter().filter_map(|publication| publication["offset"].as_u64()).collect())
    };
    assert_eq!(page(json!({"channel": "chat:e2e", "after": 4, "limit": 3}))?, [5, 6, 7]);
    assert_eq!(page(json!({"channel": "chat:e2e", "before": 4, "limit": 2, "reverse": true}))?, [3, 2]);
    let answer = http::get(server.address(), "/v1/channels/chat:e2e/history?after=8")?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("\"offset\":9"), "{}", answer.text());
    Ok(())
}

#[test]
fn an_http_publish_is_durable_and_reaches_subscribers() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut socket = Socket::connect(server.address(), None)?;
    socket.subscribe("chat:e2e")?;
    let body = json!({"channel": "chat:e2e", "id": "h-1", "data": {"from": "http"}});
    let answer = http::post(server.address(), "/v1/publish", &[], &body)?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("\"offset\":1"), "{}", answer.text());
    assert_eq!(socket.push()?["pub"]["data"], json!({"from": "http"}));
    let refused =
        http::post(server.address(), "/v1/publish", &[], &json!({"channel": "no such:x", "data": 1}))?;
    assert_eq!(refused.status, 400, "{}", refused.text());
    Ok(())
}

#[test]
fn ephemeral_publications_have_no_offset_and_leave_nothing() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut socket = Socket::connect(server.address(), None)?;
    let subscribed = socket.subscribe("live:e2e")?;
    assert!(subscribed.get("offset").is_none(), "{subscribed}");
    socket.publish("live:e2e", "c-1", json!({"x": 1}))?;
    let publication = socket.push()?["pub"].clone();
    assert_eq!(publication["data"], json!({"x": 1}));
    assert!(publication.get("offset").is_none(), "{publication}");
    let answer = socket.request("history", json!({"channel": "live:e2e"}))?;
    assert_eq!(answer["error"]["code"], "not_available", "{answer}");
    Ok(())
}

#[test]
fn a_users_channel_is_that_users_alone() -> anyhow::Result<()> {
    let server = Server::start_with(skywave_harness::Options::config(&token::server_config()))?;
    let mut ada = Socket::connect(server.address(), Some(&token::for_user("ada")))?;
    let mut bob = Socket::connect(server.address(), Some(&token::for_user("bob")))?;
    ada.subscribe("user:ada")?;
    for verb in ["subscribe", "history"] {
        let answer = bob.request(verb, json!({"channel": "user:ada"}))?;
        assert_eq!(answer["error"]["code"], "forbidden", "{verb}: {answer}");
    }
    let answer = bob.request("publish", json!({"channel": "user:ada", "id": "b-1", "data": 1}))?;
    assert_eq!(answer["error"]["code"], "forbidden", "{answer}");
    ada.publish("user:ada", "a-1", json!("mine"))?;
    let publication = ada.push()?["pub"].clone();
    assert_eq!((&publication["data"], &publication["from"]), (&json!("mine"), &json!("ada")));
    Ok(())
}

#[test]
fn two_users_may_choose_the_same_message_id() -> anyhow::Result<()> {
    let server = Server::start_with(skywave_harness::Options::config(&token::server_config()))?;
    let mut ada = Socket::connect(server.address(), Some(&token::for_user("ada")))?;
    let mut bob = Socket::connect(server.address(), Some(&token::for_user("bob")))?;
    let first = ada.publish("chat:e2e", "same", json!("ada"))?;
    let second = bob.publish("chat:e2e", "same", json!("bob"))?;
    assert_eq!((&first["offset"], &second["offset"]), (&json!(1), &json!(2)));
    assert_eq!(second["duplicate"], false);
    Ok(())
}
