//! What must never reach the logs, at the most talkative level. Alone in its process: the subscriber is global.

mod support;

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use support::http::{Events, send};
use support::{TestEdge, token};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_token_and_no_session_secret_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let edge = TestEdge::with_auth(token::config(), |_| {}).await;
    let address = edge.address();
    let mut secrets = Vec::new();
    for token in [token::of("ada"), token::expired("ada"), format!("{}x", token::of("bob"))] {
        let mut events = Events::open(address, &format!("?access_token={token}"), &[]).await;
        events.message().await;
        events.post(address, &format!(r#"{{"id":9,"refresh":{{"token":"{token}"}}}}"#)).await;
        let header = format!("Bearer {token}");
        send(
            address,
            "POST",
            "/v1/publish",
            &[("authorization", &header)],
            r#"{"channel":"chat:1","data":1}"#,
        )
        .await;
        send(address, "GET", &format!("/v1/route?key=a&access_token={token}"), &[], "").await;
        send(address, "GET", &format!("/nowhere/{token}?{token}\r\n"), &[], "").await;
        // The signature alone is a secret; the rest repeats in every token.
        secrets.push(token.rsplit('.').next().unwrap().to_owned());
        secrets.push(events.session.split('.').nth(1).unwrap().to_owned());
    }
    edge.handle.stop().await;
    let text = String::from_utf8(log.0.lock().clone()).unwrap();
    assert!(!text.is_empty(), "the subscriber sees nothing");
    for secret in secrets {
        assert!(!text.contains(&secret[..12]), "{secret} is in the log:\n{text}");
    }
}
