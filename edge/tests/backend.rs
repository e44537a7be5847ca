//! What backends ask over HTTP: for users, for many channels at once, and what only an administrator may.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::{Value, json};
use support::client::Client;
use support::http::{Answer, send};
use support::{TestEdge, token};

async fn ask(edge: &TestEdge, claims: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {}", token::with_claims(claims));
    let method = if path == "/v1/info" { "GET" } else { "POST" };
    send(edge.address(), method, path, &[("authorization", &bearer)], body).await
}

const ADMIN: &str = r#"{"admin":true,"exp":4000000000}"#;
const ADA: &str = r#"{"sub":"ada","exp":4000000000}"#;

async fn connect(edge: &TestEdge, claims: &str) -> Client {
    let mut client = edge.socket().await;
    let reply = client.request(json!({"connect": {"token": token::with_claims(claims)}})).await;
    assert!(reply["connected"].is_object(), "{reply}");
    client
}

#[tokio::test]
async fn a_broadcast_reaches_every_channel_and_says_where_it_could_not() {
    let edge = TestEdge::with_auth(token::config(), |_| {}).await;
    let mut client = connect(&edge, ADA).await;
    client.subscribe("chat:1").await;
    let body = r#"{"channels":["chat:1","chat:2","no:such","a b","chat:1"],"id":"x","data":{"n":1},"from":"system"}"#;
    let answer = ask(&edge, ADMIN, "/v1/broadcast", body).await;
    assert_eq!(answer.status, 200);
    let results = answer.json()["results"].clone();
    assert_eq!((&results[0]["offset"], &results[1]["offset"]), (&json!(1), &json!(1)));
    assert_eq!(results[2]["error"]["code"], "unknown_namespace");
    assert_eq!(results[3]["error"]["code"], "invalid_channel");
    let publication = client.publication().await;
    assert_eq!((&publication["data"], &publication["from"]), (&json!({"n": 1}), &json!("system")));
    assert_eq!(ask(&edge, ADMIN, "/v1/broadcast", r#"{"channels":["chat:1"]}"#).await.code(), "invalid_data");
    for bad in [r#"{"channels":[],"data":1}"#, r#"{"data":1}"#, "7"] {
        assert_eq!(ask(&edge, ADMIN, "/v1/broadcast", bad).await.code(), "bad_request", "{bad}");
    }
}

#[tokio::test]
async fn only_an_administrator_speaks_for_others() {
    let edge = TestEdge::with_auth(token::config(), |_| {}).await;
    let body = |from: &str| format!(r#"{{"channel":"chat:1","data":1,"from":"{from}"}}"#);
    assert_eq!(ask(&edge, ADA, "/v1/publish", &body("bob")).await.code(), "forbidden");
    assert_eq!(ask(&edge, ADA, "/v1/publish", &body("ada")).await.status, 200);
    assert_eq!(ask(&edge, ADMIN, "/v1/publish", &body("bob")).await.status, 200);
    assert_eq!(ask(&edge, ADMIN, "/v1/publish", &body("")).await.code(), "bad_request");
}

#[tokio::test]
async fn what_is_for_administrators_is_refused_to_everybody_else() {
    let edge = TestEdge::with_auth(token::config(), |_| {}).await;
    for path in ["/v1/subscribe", "/v1/unsubscribe", "/v1/disconnect", "/v1/revoke", "/v1/info"] {
        assert_eq!(ask(&edge, ADA, path, "{}").await.code(), "forbidden", "{path}");
    }
    let answer = send(edge.address(), "GET", "/v1/info", &[], "").await;
    assert_eq!(answer.status, 401);
    assert_eq!(ask(&edge, r#"{"admin":"yes","exp":4000000000}"#, "/v1/info", "").await.status, 401);
}

#[tokio::test]
async fn a_backend_puts_a_user_into_a_channel_and_takes_him_out() {
    let edge = TestEdge::with_auth(token::config(), |_| {}).await;
    let restricted = r#"{"sub":"ada","exp":4000000000,"cap":{"user:ada":["*"]}}"#;
    let mut tabs = [connect(&edge, restricted).await, connect(&edge, restricted).await];
    let mut other = connect(&edge, r#"{"sub":"bob","exp":4000000000}"#).await;
    let body = r#"{"user":"ada","channel":"chat:vip"}"#;
    assert_eq!(ask(&edge, ADMIN, "/v1/subscribe", body).await.json(), json!({}));
    for tab in &mut tabs {
        let push = tab.json().await;
        assert_eq!(push["subscribed"]["channel"], "chat:vip", "{push}");
        assert_eq!(push["id"], Value::Null);
    }
    ask(&edge, ADMIN, "/v1/publish", r#"{"channel":"chat:vip","data":"hello"}"#).await;
    for tab in &mut tabs {
        assert_eq!(tab.publication().await["data"], "hello");
    }
    assert_eq!(ask(&edge, ADMIN, "/v1/unsubscribe", body).await.status, 200);
    for tab in &mut tabs {
        assert_eq!(tab.json().await["unsubscribed"]["channel"], "chat:vip");
    }
    // Nobody else was touched: the next thing the other one hears is the answer to its own question.
    assert_eq!(other.request(json!({"ping": {}})).await["pong"], json!({}));
    let bad = r#"{"user":"ada","channel":"no:such"}"#;
    assert_eq!(ask(&edge, ADMIN, "/v1/subscribe", bad).await.code(), "unknown_namespace");
}

#[tokio::test]
async fn a_disconnected_user_and_a_revoked_token_are_closed() {
    let edge = TestEdge::with_auth(token::config(), |_| {}).await;
    let mut ada = connect(&edge, ADA).await;
    assert_eq!(ask(&edge, ADMIN, "/v1/disconnect", r#"{"user":"ada"}"#).await.status, 200);
    assert_eq!(ada.close_code().await, 4501);
    let named = r#"{"sub":"bob","jti":"t1","exp":4000000000}"#;
    let mut bob = connect(&edge, named).await;
    let answer = ask(&edge, ADMIN, "/v1/revoke", r#"{"token_id":"t1","until":4000000000}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(bob.close_code().await, 4501);
    let mut again = edge.socket().await;
    let reply = again.request(json!({"connect": {"token": token::with_claims(named)}})).await;
    assert!(reply["error"].is_object(), "{reply}");
}

#[tokio::test]
async fn a_node_says_who_it_is() {
    let edge = TestEdge::with_auth(token::config(), |_| {}).await;
    let _client = connect(&edge, ADA).await;
    let info = ask(&edge, ADMIN, "/v1/info", "").await.json();
    assert_eq!((&info["node"], &info["draining"]), (&json!("test"), &json!(false)));
    assert!(info["connections"].as_u64().unwrap() >= 1, "{info}");
}
