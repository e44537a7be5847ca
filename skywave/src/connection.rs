//! The flags and messages that `pub` and `sub` share: how to reach a relay, and what is said when it goes away.

use std::time::Duration;

use clap::ValueEnum;
use skywave_client::{
    ChannelName, Client, ClientConfig, ConnectError, Encoding, Route, State, TokenSource, Transport,
};

#[derive(Debug, clap::Args)]
pub(crate) struct ConnectionArgs {
    /// Address of the relay; several, with commas between them, are tried in turn
    #[arg(
        long,
        value_name = "URL",
        env = "SKYWAVE_URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8080"
    )]
    url: Vec<String>,
    /// Ask the relay which of its nodes serves this user best, and go there; else to its alternates
    #[arg(long)]
    route: bool,
    /// Access token; without one the relay must allow anonymous clients
    #[arg(long, value_name = "JWT", env = "SKYWAVE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// What carries the connection
    #[arg(long, value_enum, default_value_t = Carrier::Websocket)]
    transport: Carrier,
    /// How messages are written
    #[arg(long, value_enum, default_value_t = Writing::Binary)]
    encoding: Writing,
    /// SHA-256 of a certificate to accept, in hexadecimal: for https addresses with a self-signed one
    #[arg(long, value_name = "HEX")]
    certificate_hash: Vec<String>,
    /// Give up if there is no first connection within this many seconds (0: never)
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    connect_timeout: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Carrier {
    Websocket,
    Webtransport,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Writing {
    Json,
    Binary,
}

impl ConnectionArgs {
    pub(crate) fn config(&self) -> anyhow::Result<ClientConfig> {
        let mut config = ClientConfig::with_urls(self.url.clone())
            .route(if self.route { Route::User } else { Route::Off })
            .transport(match self.transport {
                Carrier::Websocket => Transport::WebSocket,
                Carrier::Webtransport => Transport::WebTransport,
            })
            .encoding(match self.encoding {
                Writing::Json => Encoding::Json,
                Writing::Binary => Encoding::Binary,
            })
            .token(self.token.clone().map_or(TokenSource::Anonymous, TokenSource::Fixed));
        config.certificate_hashes =
            self.certificate_hash.iter().map(|text| hash(text)).collect::<Result<_, _>>()?;
        config.first_connect = (self.connect_timeout > 0).then(|| Duration::from_secs(self.connect_timeout));
        config.name = concat!("skywave-cli/", env!("CARGO_PKG_VERSION")).into();
        Ok(config)
    }
}

/// Connects, and from then on says on standard error when the connection goes and comes.
pub(crate) async fn connect(config: ClientConfig) -> anyhow::Result<Client> {
    let url = config.urls.join(", ");
    let client = Client::connect(config).await.map_err(|error| match error {
        ConnectError::Timeout { reason, .. } => anyhow::anyhow!("no relay at {url}: {reason}"),
        other => anyhow::Error::new(other),
    })?;
    tokio::spawn(report(client.clone()));
    Ok(client)
}

async fn report(client: Client) {
    let mut state = client.watch_state();
    drop(client);
    let mut lost = false;
    while state.changed().await.is_ok() {
        match &*state.borrow_and_update() {
            State::Disconnected { reason, retry_in } => {
                lost = true;
                eprintln!("skywave: {}; trying again in {:.1} s", printable(reason), retry_in.as_secs_f64());
            }
            State::Connected { node, .. } if lost => {
                lost = false;
                eprintln!("skywave: connected again, to {node}");
            }
            _ => {}
        }
    }
}

/// Text from elsewhere, safe for a terminal.
pub(crate) fn printable(text: &str) -> String {
    skywave_runtime::telemetry::escape::escape(text)
}

pub(crate) fn channel(name: &str) -> Result<ChannelName, String> {
    ChannelName::parse(name).map_err(|error| error.to_string())
}

fn hash(text: &str) -> anyhow::Result<[u8; 32]> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let wrong = || anyhow::anyhow!("--certificate-hash: {text:?} is not a SHA-256 in hexadecimal");
    if digits.len() != 64 || !digits.is_ascii() {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

/// A runtime for a client command: one thread is enough for one connection.
pub(crate) fn block_on<F: Future>(future: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let output = runtime.block_on(future);
    // A read of standard input that is still waiting must not hold the process.
    runtime.shutdown_background();
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_with_and_without_colons() {
        let text = "00:FF".to_owned() + &":ab".repeat(30);
        let bytes = hash(&text).unwrap();
        assert_eq!((bytes[0], bytes[1], bytes[31]), (0, 255, 0xab));
        assert!(hash("abc").is_err() && hash(&"zz".repeat(32)).is_err());
    }
}
