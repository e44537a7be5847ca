//! Tokens that are forged, expired, or claim to need no signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use skywave_harness::socket::Received;
use skywave_harness::{Options, Server, Socket, token};

fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

/// Presents a token; the error code of the answer (or the close code), `None` when it was let in.
fn refusal(server: &Server, token: &str) -> anyhow::Result<Option<String>> {
    let mut socket = Socket::open(server.address())?;
    let id = socket.start("connect", json!({ "token": token }))?;
    loop {
        match socket.receive()? {
            Received::Message(answer) if answer["id"] == id => {
                return Ok(answer["error"]["code"].as_str().map(str::to_owned));
            }
            Received::Message(_) => {}
            Received::Close { code, .. } => return Ok(Some(code.to_string())),
            other => anyhow::bail!("{other:?}"),
        }
    }
}

#[test]
fn bad_tokens_are_refused_and_good_ones_served() -> anyhow::Result<()> {
    let server = Server::start_with(Options::config(&token::server_config()))?;
    let (now, good) = (token::now(), json!({"sub": "ada", "exp": token::now() + 60}));
    let stolen = token::for_user("ada");
    let signature = stolen.rsplit('.').next().unwrap_or_default();
    let bad = [
        ("nothing", String::new()),
        ("no token at all", "garbage".to_owned()),
        ("alg none", unsigned(&json!({"alg": "none", "typ": "JWT"}), &good, "")),
        ("alg NoNe", unsigned(&json!({"alg": "NoNe"}), &good, "")),
        ("alg none, with a signature", unsigned(&json!({"alg": "none"}), &good, signature)),
        ("another algorithm", unsigned(&json!({"alg": "RS256"}), &good, signature)),
        ("another secret", token::signed(&good, "another secret that is just as long as ours is")),
        ("another user's signature", unsigned(&json!({"alg": "HS256"}), &json!({"sub": "root"}), signature)),
        ("expired", token::signed(&json!({"sub": "ada", "exp": now - 3600}), token::SECRET)),
        (
            "not yet valid",
            token::signed(&json!({"sub": "ada", "exp": now + 7200, "nbf": now + 3600}), token::SECRET),
        ),
        ("no expiry", token::signed(&json!({"sub": "ada"}), token::SECRET)),
        ("expiry as text", token::signed(&json!({"sub": "ada", "exp": "tomorrow"}), token::SECRET)),
        (
            "for somebody else",
            token::signed(&json!({"sub": "ada", "exp": now + 60, "aud": "other"}), token::SECRET),
        ),
    ];
    for (name, token) in &bad {
        let refusal = refusal(&server, token)?.unwrap_or_else(|| panic!("let in: {name}"));
        assert!(
            ["unauthorized", "token_expired", "4500", "4010"].contains(&refusal.as_str()),
            "{name}: {refusal}"
        );
    }
    assert_eq!(refusal(&server, &token::signed(&good, token::SECRET))?, None);
    let mut anonymous = Socket::open(server.address())?;
    let answer = anonymous.request("connect", json!({}))?;
    assert_eq!(answer["error"]["code"], "unauthorized", "{answer}");
    Ok(())
}

#[test]
fn capabilities_bound_what_a_token_may_do() -> anyhow::Result<()> {
    let server = Server::start_with(Options::config(&token::server_config()))?;
    let reader = token::with_capabilities("ada", json!({"chat:*": ["subscribe"]}));
    let mut socket = Socket::connect(server.address(), Some(&reader))?;
    socket.subscribe("chat:e2e")?;
    let answer = socket.request("publish", json!({"channel": "chat:e2e", "id": "a", "data": 1}))?;
    assert_eq!(answer["error"]["code"], "forbidden", "{answer}");
    Ok(())
}

#[test]
fn a_token_that_expires_while_connected_ends_the_connection() -> anyhow::Result<()> {
    let server = Server::start_with(Options::config(&format!("{}leeway_seconds = 0\n", auth_first())))?;
    let brief = token::signed(&json!({"sub": "ada", "exp": token::now() + 3}), token::SECRET);
    let mut socket = Socket::connect(server.address(), Some(&brief))?;
    socket.subscribe("chat:e2e")?;
    let push = socket.push()?;
    assert!(push.get("expiring").is_some(), "{push}");
    assert_eq!(socket.wait_close()?, Some(4010));
    Ok(())
}

/// The `[auth]` table with its own keys last, so that lines may be added to it.
fn auth_first() -> String {
    let key = format!("keys = [{{ algorithm = \"HS256\", secret = \"{}\" }}]\n", token::SECRET);
    format!("[auth]\nanonymous = false\n{key}")
}
