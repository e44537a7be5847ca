//! The first connection: checked settings, bounded time, an error that says what to do. Later ones are the client
//! library's business, which never gives up.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ReconnectToServer, ServerAddr,
};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{NatsAuth, NatsConfig, NatsTls};
use crate::error::NatsError;
use crate::metrics::{Complaint, Metrics};
use crate::reconnect::{self, Reconnect};

/// Connects, trying again until `start_timeout` is over unless trying again cannot help.
pub(crate) async fn connect(config: &NatsConfig, metrics: &Metrics) -> Result<Client, NatsError> {
    let servers = addresses(&config.servers)?;
    let names = names(&servers);
    check_files(config)?;
    let reconnect = Arc::new(Reconnect::default());
    let started = Instant::now();
    for attempt in 1.. {
        let options = options(config, metrics, &reconnect)?;
        let error = match options.connect(servers.clone()).await {
            Ok(client) => {
                reconnect.connected();
                return Ok(client);
            }
            Err(error) => error,
        };
        if let Some(hopeless) = hopeless(&error, &names, config) {
            return Err(hopeless);
        }
        let waited = started.elapsed();
        if waited >= config.start_timeout {
            return Err(NatsError::Unreachable { servers: names, waited, reason: reason(&error) });
        }
        tracing::debug!(servers = %names, reason = %reason(&error), attempt, "no connection to NATS yet");
        let pause = reconnect::draw(attempt, config.reconnect_pause_max);
        tokio::time::sleep(pause.min(config.start_timeout - waited)).await;
    }
    unreachable!("the attempts are counted without end")
}

fn options(
    config: &NatsConfig,
    metrics: &Metrics,
    reconnect: &Arc<Reconnect>,
) -> Result<ConnectOptions, NatsError> {
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .connection_timeout(config.connect_timeout)
        .ping_interval(config.ping_interval)
        .client_capacity(config.publish_queue)
        .subscription_capacity(config.subscription_queue)
        // Below what a node may use in any case.
        .custom_inbox_prefix("sw.sync")
        // A `Subject` cannot be wrong.
        .skip_subject_validation(true);
    if !config.discover_servers {
        options = options.ignore_discovered_servers();
    }
    let (pauses, longest) = (Arc::clone(reconnect), config.reconnect_pause_max);
    options = options.reconnect_delay_callback(move |attempt| pauses.pause(attempt, longest));
    let choices = Arc::clone(reconnect);
    options = options.reconnect_to_server_callback(move |servers, _info| {
        let chosen = choices.choose(&servers);
        // Without a delay of its own: the callback above knows how many attempts there were.
        async move { chosen.map(|addr| ReconnectToServer { addr, delay: None }) }
    });
    let (counted, complaints) = (metrics.clone(), Complaints::default());
    options = options.event_callback(move |event| {
        notice(&event, &counted, &complaints);
        std::future::ready(())
    });
    options = match &config.auth {
        NatsAuth::Anonymous => options,
        NatsAuth::Token(token) => options.token(token.clone()),
        NatsAuth::Password { user, password } => options.user_and_password(user.clone(), password.clone()),
        NatsAuth::Credentials(file) => {
            let text = read(file, "the NATS credentials file")?;
            let setting = "the NATS credentials file";
            let problem = |error: std::io::Error| format!("{}: {error}", file.display());
            options
                .credentials(&String::from_utf8_lossy(&text))
                .map_err(|error| NatsError::Setting { setting, problem: problem(error) })?
        }
    };
    let Some(NatsTls { authorities, client, handshake_first }) = &config.tls else { return Ok(options) };
    options = options.require_tls(true);
    if let Some(file) = authorities {
        options = options.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = client {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(if *handshake_first { options.tls_first() } else { options })
}

/// What happens to the connection, said once, where it is noticed.
fn notice(event: &Event, metrics: &Metrics, complaints: &Complaints) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("the connection to NATS is lost; connecting again"),
        Event::LameDuckMode => tracing::info!("the NATS server is about to leave"),
        Event::SlowConsumer(_) => {
            metrics.overflowed.inc();
        }
        Event::ServerError(error) => {
            metrics.complained(Complaint::of(&error.to_string()));
            if complaints.may_speak() {
                tracing::warn!(%error, "NATS complains");
            }
        }
        Event::ClientError(error) => {
            if complaints.may_speak() {
                tracing::warn!(%error, "still no connection to NATS");
            }
        }
        Event::Draining | Event::Closed => tracing::debug!(%event, "the connection to NATS ends"),
    }
}

/// Speaks once in a while about what may happen all the time.
#[derive(Default)]
struct Complaints(Mutex<Option<Instant>>);

impl Complaints {
    const PAUSE: Duration = Duration::from_secs(5);

    fn may_speak(&self) -> bool {
        let mut last = self.0.lock();
        let may = last.is_none_or(|last| last.elapsed() >= Self::PAUSE);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

fn addresses(servers: &[String]) -> Result<Vec<ServerAddr>, NatsError> {
    let wrong = |problem: String| NatsError::Setting { setting: "the NATS servers", problem };
    if servers.is_empty() {
        return Err(wrong("none is named".into()));
    }
    let parse = |text: &String| {
        let address: ServerAddr = text.parse().map_err(|error| wrong(format!("{text:?}: {error}")))?;
        if address.has_user_pass() {
            // Not shown: it holds a secret.
            return Err(wrong(
                "an address holds a user; name user and password in settings of their own".into(),
            ));
        }
        if address.is_websocket() {
            return Err(wrong(format!("{text:?}: write nats:// or tls://")));
        }
        Ok(address)
    };
    servers.iter().map(parse).collect()
}

/// For people.
fn names(servers: &[ServerAddr]) -> String {
    let name = |server: &ServerAddr| format!("{}:{}", server.host(), server.port());
    servers.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The client library reads the files anew for each connection, and takes an empty one for good.
fn check_files(config: &NatsConfig) -> Result<(), NatsError> {
    let Some(tls) = &config.tls else { return Ok(()) };
    let certificates = |file: &Path, setting: &'static str| {
        let text = read(file, setting)?;
        let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        match found {
            Ok(found) if !found.is_empty() => Ok(()),
            _ => Err(NatsError::Setting {
                setting,
                problem: format!("{} holds no certificate in PEM form", file.display()),
            }),
        }
    };
    if let Some(file) = &tls.authorities {
        certificates(file, "the NATS authorities file")?;
    }
    if let Some((certificate, key)) = &tls.client {
        certificates(certificate, "the NATS client certificate")?;
        let setting = "the NATS client key";
        PrivateKeyDer::from_pem_slice(&read(key, setting)?).map_err(|_| NatsError::Setting {
            setting,
            problem: format!("{} holds no private key in PEM form", key.display()),
        })?;
    }
    Ok(())
}

fn read(file: &Path, setting: &'static str) -> Result<Vec<u8>, NatsError> {
    std::fs::read(file).map_err(|error| NatsError::Setting {
        setting,
        problem: format!("cannot read {}: {error}", file.display()),
    })
}

/// An error that another attempt would meet again.
fn hopeless(error: &ConnectError, servers: &str, config: &NatsConfig) -> Option<NatsError> {
    let servers = servers.to_owned();
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            Some(NatsError::Unauthorized { servers, auth: format!("{:?}", config.auth) })
        }
        ConnectErrorKind::Tls => Some(NatsError::Tls { servers, reason: reason(error) }),
        _ if causes(error).any(|cause| cause.is::<rustls::Error>()) => {
            Some(NatsError::Tls { servers, reason: reason(error) })
        }
        _ => None,
    }
}

/// The innermost cause says most.
fn reason(error: &ConnectError) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The error, what caused it, and so on.
fn causes<'a>(error: &'a ConnectError) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next: Option<&'a (dyn Error + 'static)> = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = match error.downcast_ref::<std::io::Error>() {
            // An I/O error shows what it wraps only this way.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
        Some(error)
    })
}
