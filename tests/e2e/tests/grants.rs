//! Channels that a backend puts the Rust client into, over both of its transports.

use anyhow::Context;
use serde_json::{Value, json};
use skywave_client::{
    ChannelName, Client, ClientConfig, ErrorCode, GrantEvent, Grants, Payload, SubscribeOptions,
    SubscriptionEvent, TokenSource,
};
use skywave_harness::{Options, Server, http, token, wait};

use crate::transports::webtransport;

/// What an application's backend does.
struct Backend<'a>(&'a Server);

impl Backend<'_> {
    fn ask(&self, operation: &str, body: &Value) -> anyhow::Result<Value> {
        let claims = json!({ "sub": "billing", "admin": true, "exp": token::now() + 3_600 });
        let bearer = format!("Bearer {}", token::signed(&claims, token::SECRET));
        let path = format!("/v1/{operation}");
        let answer = http::post(self.0.address(), &path, &[("Authorization", &bearer)], body)?;
        anyhow::ensure!(answer.status == 200, "{operation}: {} {}", answer.status, answer.text());
        answer.json()
    }

    fn grant(&self, channel: &str) -> anyhow::Result<()> {
        self.ask("subscribe", &json!({ "user": "ada", "channel": channel })).map(drop)
    }

    fn publish(&self, channel: &str, number: u64) -> anyhow::Result<()> {
        let body = json!({ "channel": channel, "id": format!("m-{number}"), "data": number });
        self.ask("publish", &body).map(drop)
    }
}

async fn next(grants: &mut Grants) -> anyhow::Result<GrantEvent> {
    tokio::time::timeout(wait::PATIENCE, grants.next()).await?.context("the end")
}

async fn granted(grants: &mut Grants, expected: &str) -> anyhow::Result<u64> {
    match next(grants).await? {
        GrantEvent::Granted { channel, position } if channel.as_str() == expected => {
            Ok(position.context("no position")?.offset)
        }
        other => anyhow::bail!("instead of {expected}: {other:?}"),
    }
}

async fn heard(grants: &mut Grants, expected: &str, number: u64) -> anyhow::Result<()> {
    match next(grants).await? {
        GrantEvent::Publication { channel, position, publication } => {
            anyhow::ensure!(channel.as_str() == expected, "{channel}");
            anyhow::ensure!(position.is_some_and(|position| position.offset == number), "not {number}");
            anyhow::ensure!(publication.data == Payload::from_json(number.to_string().as_bytes())?);
            Ok(())
        }
        other => anyhow::bail!("instead of publication {number}: {other:?}"),
    }
}

async fn withdrawn(grants: &mut Grants, expected: &str) -> anyhow::Result<Option<ErrorCode>> {
    match next(grants).await? {
        GrantEvent::Withdrawn { channel, error } if channel.as_str() == expected => {
            Ok(error.map(|error| error.code))
        }
        other => anyhow::bail!("instead of {expected}: {other:?}"),
    }
}

async fn is_told_of_grants(server: &mut Server, config: ClientConfig) -> anyhow::Result<()> {
    // The token does not allow this channel: it is somebody else's.
    const VIP: &str = "user:vip";
    let restarts = config.certificate_hashes.is_empty();
    let client = Client::connect(config.token(TokenSource::Fixed(token::for_user("ada")))).await?;
    let backend = Backend(server);
    backend.publish(VIP, 1)?;
    backend.grant(VIP)?;
    // Who comes to listen later is told what stands; what was pushed before went past nobody.
    let mut grants = client.grants().await?;
    anyhow::ensure!(client.grants().await.is_err(), "two listeners");
    anyhow::ensure!(granted(&mut grants, VIP).await? == 1);
    for number in 2..=20 {
        backend.publish(VIP, number)?;
    }
    for number in 2..=20 {
        heard(&mut grants, VIP, number).await?;
    }
    backend.ask("unsubscribe", &json!({ "user": "ada", "channel": VIP }))?;
    anyhow::ensure!(withdrawn(&mut grants, VIP).await? == Some(ErrorCode::Forbidden));
    backend.publish(VIP, 21)?;

    // A channel that the application wants for itself is its own from then on.
    backend.grant("chat:own")?;
    granted(&mut grants, "chat:own").await?;
    let own = ChannelName::parse("chat:own")?;
    let mut subscription = client.subscribe(&own, SubscribeOptions::default()).await?;
    anyhow::ensure!(withdrawn(&mut grants, "chat:own").await?.is_none());
    let first = tokio::time::timeout(wait::PATIENCE, subscription.next()).await?;
    anyhow::ensure!(matches!(first, Some(SubscriptionEvent::Subscribed { .. })), "{first:?}");
    backend.publish("chat:own", 1)?;
    let second = tokio::time::timeout(wait::PATIENCE, subscription.next()).await?;
    anyhow::ensure!(matches!(second, Some(SubscriptionEvent::Publication { .. })), "{second:?}");

    backend.grant(VIP)?;
    anyhow::ensure!(granted(&mut grants, VIP).await? == 21);
    if restarts {
        // It ends with the connection, and only the backend begins it anew.
        server.restart()?;
        anyhow::ensure!(withdrawn(&mut grants, VIP).await?.is_none());
        client.connected().await?;
        let backend = Backend(server);
        backend.publish(VIP, 22)?;
        wait::until("the client to be there again", || backend.grant(VIP).ok())?;
        anyhow::ensure!(granted(&mut grants, VIP).await? == 22);
        backend.publish(VIP, 23)?;
        heard(&mut grants, VIP, 23).await?;
    }
    client.close().await;
    withdrawn(&mut grants, VIP).await?;
    anyhow::ensure!(grants.next().await.is_none(), "something after the end");
    Ok(())
}

#[tokio::test]
async fn the_rust_client_hears_of_channels_that_a_backend_puts_it_into() -> anyhow::Result<()> {
    let mut server = Server::start_with(Options::config(&token::server_config()))?;
    let config = ClientConfig::new(server.url());
    is_told_of_grants(&mut server, config).await
}

#[tokio::test]
async fn the_rust_client_hears_of_them_over_web_transport_too() -> anyhow::Result<()> {
    let mut server = Server::start_with(Options::config(&token::server_config()))?;
    let config = webtransport(&server)?;
    is_told_of_grants(&mut server, config).await
}
