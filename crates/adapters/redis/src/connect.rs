//! The first contact: a wrong configuration is told from a Redis that is not there just now.

use std::path::Path;
use std::sync::Arc;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::{Config, Options, TlsConnector};
use fred::types::{Builder, Expiration, Value};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::{RedisConfig, RedisTls};
use crate::keys::{Kind, key};
use crate::scripts::Scripts;

/// Why there is no shared state: always something that an operator has to put right.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("{0}")]
    Configuration(String),
    #[error("cannot use {file}: {reason}")]
    File { file: String, reason: String },
    #[error("Redis at {place} does not take us for who we say we are: {reason}")]
    Refused { place: String, reason: String },
    #[error("Redis at {place} does not let us do what is needed ({reason}); docs/redis.md lists the rights")]
    Forbidden { place: String, reason: String },
    #[error("Redis at {place} cannot be trusted: {reason}")]
    Untrusted { place: String, reason: String },
    #[error("Redis at {place} cannot be used: {reason}")]
    Unfit { place: String, reason: String },
}

/// What the first contact has shown.
pub(crate) enum First {
    Serves,
    /// Not there, or not answering: it may come.
    Away(String),
}

/// Connects once and tries every operation.
pub(crate) async fn first_contact(config: &RedisConfig, parsed: &Config) -> Result<First, RedisError> {
    let place = || config.place().to_owned();
    let mut builder = Builder::from_config(Config { fail_fast: true, ..parsed.clone() });
    builder.set_connection_config(config.connection(parsed));
    let client = builder.build().map_err(|error| RedisError::Configuration(error.to_string()))?;
    // Address lookup, connection, greeting: each has its own limit, so that all together have this one.
    let patience = config.connect_timeout * 2;
    let outcome = tokio::time::timeout(patience, async {
        let connection = client.init().await?;
        let outcome = try_all(&client, config).await;
        let _ = client.quit().await;
        connection.abort();
        outcome
    })
    .await;
    let error = match outcome {
        Ok(Ok(())) => return Ok(First::Serves),
        Ok(Err(error)) => error,
        Err(_) => return Ok(First::Away("it does not answer".into())),
    };
    let (kind, reason) = (error.kind().clone(), error.details().to_owned());
    Err(match kind {
        ErrorKind::Auth => RedisError::Refused { place: place(), reason },
        _ if reason.starts_with("NOPERM") => RedisError::Forbidden { place: place(), reason },
        ErrorKind::Tls => RedisError::Untrusted { place: place(), reason },
        _ if reason.contains("InvalidCertificate") => RedisError::Untrusted { place: place(), reason },
        ErrorKind::Config | ErrorKind::Url => RedisError::Configuration(reason),
        _ if is_unfit(&reason) => RedisError::Unfit { place: place(), reason },
        _ => return Ok(First::Away(error.to_string())),
    })
}

/// A server that will never do, whenever it is asked.
fn is_unfit(reason: &str) -> bool {
    [
        "ERR unknown command",
        "ERR invalid DB index",
        "ERR DB index",
        "ERR SELECT is not allowed",
        "ERR This instance has cluster support disabled",
    ]
    .iter()
    .any(|beginning| reason.starts_with(beginning))
}

/// Every kind of operation, on keys of its own.
async fn try_all(client: &Client, config: &RedisConfig) -> Result<(), Error> {
    let client =
        client.with_options(&Options { timeout: Some(config.connect_timeout), ..Options::default() });
    let scripts = Scripts::new();
    let key = |name| key(&config.prefix, Kind::Probe, name);
    let text = |text: &str| Value::from(text);
    let take = vec![text("1"), text("1000000"), text("1000000"), text("1")];
    scripts.take.run::<Value>(&client, key("bucket"), take).await?;
    client.set::<(), _, _>(key("key"), "", Some(Expiration::PX(1_000)), None, false).await?;
    client.exists::<i64, _>(key("key")).await?;
    let append = vec![text(""), text("1"), text("1"), text("1")];
    scripts.append.run::<Value>(&client, key("feed"), append).await?;
    scripts.read.run::<Value>(&client, key("feed"), vec![text("0"), text("0"), text("1")]).await?;
    for name in ["bucket", "key", "feed"] {
        client.del::<i64, _>(key(name)).await?;
    }
    Ok(())
}

pub(crate) fn tls(files: &RedisTls) -> Result<TlsConnector, RedisError> {
    let unusable = |file: &Path, reason: &dyn std::fmt::Display| RedisError::File {
        file: file.display().to_string(),
        reason: reason.to_string(),
    };
    let certificates = |file: &Path| -> Result<Vec<CertificateDer<'static>>, RedisError> {
        let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
        let read: Vec<_> = read.map_err(|error| unusable(file, &error))?;
        if read.is_empty() { Err(unusable(file, &"there is no certificate in it")) } else { Ok(read) }
    };
    let mut roots = RootCertStore::empty();
    match &files.authority {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| unusable(file, &error))?;
            }
        }
        // One that cannot be read is one less to trust.
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let wrong = |error: rustls::Error| RedisError::Configuration(format!("TLS to Redis: {error}"));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(wrong)?.with_root_certificates(roots);
    let config = match &files.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(wrong)?
        }
    };
    Ok(config.into())
}
