//! The product as the rows start it: `skywave dev` with the limits a benchmark needs lifted and nothing else changed.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use jsonwebtoken::{EncodingKey, Header};
use skywave_client::{ClientConfig, Transport};

use crate::bench::Bench;
use crate::bench::server::{self, Server};

/// What a row wants of the relay.
#[derive(Debug, Clone, Default)]
pub(super) struct Setting {
    /// Address to listen on again after a restart; a free one otherwise.
    pub(super) address: Option<SocketAddr>,
    /// A TLS listener as well.
    pub(super) tls: Option<SocketAddr>,
    /// Only clients with a token signed with this secret (HS256).
    pub(super) secret: Option<String>,
    /// Another build than the one that measures.
    pub(super) binary: Option<PathBuf>,
}

/// Starts the relay with its data below `folder` and waits until it is ready.
pub(super) fn start(bench: &Bench, folder: &Path, setting: &Setting) -> anyhow::Result<Server> {
    let file = folder.join("bench.toml");
    std::fs::write(&file, config(setting)?).context("writing the relay's configuration")?;
    let address = match setting.address {
        Some(address) => address,
        None => server::free_port()?,
    };
    let binary = match &setting.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe()?,
    };
    Server::product(bench.cores, &binary, &folder.join("data"), address, &file)
}

fn config(setting: &Setting) -> anyhow::Result<String> {
    // One process per client address, and thousands of clients: rates per address and per connection are not the point.
    let mut text = String::from(
        "[log]\nlevel = \"warn\"\n\
         [limits]\nconnections = 19000\naddress_handshakes_per_second = 0\n\
         publishes_per_second = 1000000\npublish_burst = 1000000\n\
         requests_per_second = 1000000\nrequest_burst = 1000000\npending_requests = 65536\n",
    );
    if let Some(address) = setting.tls {
        write!(text, "[edge]\ntls_listen = \"{address}\"\n")?;
    }
    if let Some(secret) = &setting.secret {
        write!(
            text,
            "[auth]\nanonymous = false\n[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"{secret}\"\n"
        )?;
    }
    Ok(text)
}

/// Some HS256 secret; nothing outside this benchmark ever trusts it.
pub(super) fn secret() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A token for `user` that is valid for an hour and allows what the namespaces allow.
pub(super) fn token(secret: &str, user: &str) -> anyhow::Result<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let claims = serde_json::json!({ "sub": user, "iat": now, "exp": now + 3600 });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))
        .context("signing a token")
}

/// How the product's client reaches the relay over WebTransport, trusting the certificate the relay names.
pub(super) fn webtransport(server: &Server) -> anyhow::Result<ClientConfig> {
    let (status, body) = server.get("/v1/webtransport/certificate")?;
    anyhow::ensure!(status == 200, "no certificate: {status}");
    let answer: serde_json::Value = serde_json::from_str(&body).context("the certificate's description")?;
    let url = answer["url"].as_str().context("no url")?.trim_end_matches("/v1/wt").to_owned();
    let mut config = ClientConfig::new(url).transport(Transport::WebTransport);
    for hash in answer["hashes"].as_array().context("no hashes")? {
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(hash["value"].as_str().unwrap_or_default())?;
        config.certificate_hashes.push(bytes.try_into().map_err(|_| anyhow::anyhow!("not a SHA-256"))?);
    }
    Ok(config)
}

/// Waits until the relay has noticed that all its clients are gone.
pub(super) fn wait_empty(server: &Server, limit: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + limit;
    while server.metric("skywave_edge_connections")? > 0.0 {
        anyhow::ensure!(Instant::now() < until, "connections are left after {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
