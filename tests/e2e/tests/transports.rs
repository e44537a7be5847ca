//! The same relay over the other transports: SSE with POST, WebTransport with the Rust client, and all of them together.

use anyhow::Context;
use base64::Engine;
use serde_json::{Value, json};
use skywave_client::{
    ChannelName, Client, ClientConfig, Payload, Start, SubscribeOptions, Subscription, SubscriptionEvent,
    Transport,
};
use skywave_harness::{Server, Socket, http};

fn say(server: &Server, session: &str, message: &Value) -> anyhow::Result<()> {
    let answer = http::post(server.address(), "/v1/sse", &[("Skywave-Session", session)], message)?;
    anyhow::ensure!(answer.status == 204, "{}: {}", answer.status, answer.text());
    Ok(())
}

#[test]
fn sse_and_post_speak_the_whole_protocol() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut stream = http::EventStream::open(server.address(), "/v1/sse")?;
    assert_eq!(stream.status, 200);
    let session = stream.next_event()?;
    assert_eq!(session.name.as_deref(), Some("session"));
    let session: Value = serde_json::from_str(&session.data)?;
    let session = session["session"].as_str().context("no session")?.to_owned();
    say(&server, &session, &json!({"id": 1, "connect": {}}))?;
    say(&server, &session, &json!({"id": 2, "subscribe": {"channel": "chat:e2e"}}))?;
    assert!(stream.next_event()?.data.contains("\"connected\""));
    assert!(stream.next_event()?.data.contains("\"subscribed\""));
    let mut socket = Socket::connect(server.address(), None)?;
    socket.publish("chat:e2e", "m-1", json!({"over": "sse"}))?;
    let publication: Value = serde_json::from_str(&stream.next_event()?.data)?;
    assert_eq!(publication["pub"]["data"], json!({"over": "sse"}));
    let stranger = http::post(server.address(), "/v1/sse", &[("Skywave-Session", "guess")], &json!({}))?;
    assert_eq!(stranger.status, 404);
    Ok(())
}

/// A client of the server's WebTransport, which trusts the certificate the server names.
pub(crate) fn webtransport(server: &Server) -> anyhow::Result<ClientConfig> {
    let answer = http::get(server.address(), "/v1/webtransport/certificate")?.json()?;
    let url = answer["url"].as_str().context("no url")?.trim_end_matches("/v1/wt").to_owned();
    let hashes = answer["hashes"].as_array().context("no hashes")?;
    let mut config = ClientConfig::new(url).transport(Transport::WebTransport);
    for hash in hashes {
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(hash["value"].as_str().unwrap_or_default())?;
        config.certificate_hashes.push(bytes.try_into().map_err(|_| anyhow::anyhow!("not a SHA-256"))?);
    }
    Ok(config)
}

async fn next(subscription: &mut Subscription) -> anyhow::Result<(u64, Payload)> {
    let patience = skywave_harness::wait::PATIENCE;
    loop {
        let event =
            tokio::time::timeout(patience, subscription.next()).await?.context("the subscription ended")?;
        match event {
            SubscriptionEvent::Publication { position, publication } => {
                return Ok((position.context("no position")?.offset, publication.data.clone()));
            }
            SubscriptionEvent::Gap { .. } | SubscriptionEvent::Ended(_) => anyhow::bail!("{event:?}"),
            _ => {}
        }
    }
}

async fn subscribe(client: &Client, start: Start) -> anyhow::Result<Subscription> {
    let channel = ChannelName::parse("chat:e2e")?;
    let mut subscription =
        client.subscribe(&channel, SubscribeOptions { start, ..Default::default() }).await?;
    let first = tokio::time::timeout(skywave_harness::wait::PATIENCE, subscription.next()).await?;
    anyhow::ensure!(matches!(first, Some(SubscriptionEvent::Subscribed { .. })), "{first:?}");
    Ok(subscription)
}

/// A self-signed certificate is new at every start, so the WebTransport client is made anew after the kill, as a page
/// does that asks for the certificate first; it goes on from its position.
#[tokio::test]
async fn websocket_and_webtransport_clients_share_a_channel_across_a_kill() -> anyhow::Result<()> {
    let mut server = Server::start()?;
    let channel = ChannelName::parse("chat:e2e")?;
    let web_socket = Client::connect(ClientConfig::new(server.url())).await?;
    let web_transport = Client::connect(webtransport(&server)?).await?;
    let mut by_socket = subscribe(&web_socket, Start::Now).await?;
    let mut by_transport = subscribe(&web_transport, Start::Now).await?;

    let one =
        web_transport.publish(&channel, Payload::from_json(b"1")?).await?.position.context("no position")?;
    for subscription in [&mut by_socket, &mut by_transport] {
        assert_eq!(next(subscription).await?, (1, Payload::from_json(b"1")?));
    }
    web_transport.close().await;
    let two =
        web_socket.publish(&channel, Payload::from_json(b"2")?).await?.position.context("no position")?;
    assert_eq!(two.offset, 2);
    server.restart()?;

    let web_transport = Client::connect(webtransport(&server)?).await?;
    let mut by_transport = subscribe(&web_transport, Start::After(one)).await?;
    web_transport.publish(&channel, Payload::from_json(b"3")?).await?;
    for subscription in [&mut by_socket, &mut by_transport] {
        assert_eq!(next(subscription).await?, (2, Payload::from_json(b"2")?));
        assert_eq!(next(subscription).await?, (3, Payload::from_json(b"3")?));
    }
    Ok(())
}
