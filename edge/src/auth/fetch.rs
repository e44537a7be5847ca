//! Reads a key set from its configured source. Blocking: callers run it off the event loop.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use super::config::JwksConfig;
use super::error::AuthConfigError;
use super::jwks::{self, JwksError};
use super::keys::{self, KeySet};

/// Largest key set that is read, in bytes.
const SET_BYTES: u64 = 512 * 1024;
/// Longest fetch an operator may allow, in seconds.
const TIMEOUT_MAX_SECONDS: u64 = 60;

/// A checked source.
#[derive(Debug, Clone)]
pub(super) enum Source {
    File(std::path::PathBuf),
    Url { url: http::Uri, timeout: Duration, local: bool },
}

impl Source {
    pub(super) fn new(config: &JwksConfig) -> Result<Self, AuthConfigError> {
        let wrong = |problem: &str| AuthConfigError::Jwks(problem.to_owned());
        match (&config.url, &config.file) {
            (None, Some(file)) => Ok(Self::File(file.clone())),
            (Some(url), None) => {
                let url: http::Uri = url.parse().map_err(|_| wrong("url is not a URL"))?;
                let host = url.host().unwrap_or_default();
                let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
                match url.scheme_str() {
                    Some("https") => {}
                    Some("http") if local => {}
                    _ => return Err(wrong("url must be https:// (http:// only to this machine)")),
                }
                if !(1..=TIMEOUT_MAX_SECONDS).contains(&config.timeout_seconds) {
                    return Err(wrong("timeout_seconds is between 1 and 60"));
                }
                Ok(Self::Url { url, timeout: Duration::from_secs(config.timeout_seconds), local })
            }
            _ => Err(wrong("give exactly one of url and file")),
        }
    }

    pub(super) fn read(&self) -> Result<KeySet, JwksError> {
        match self {
            Self::File(path) => {
                let text = keys::read(path).map_err(|error| JwksError::Unreadable(error.to_string()))?;
                jwks::parse(&text, true)
            }
            Self::Url { url, timeout, local } => {
                let text =
                    get(url, *timeout, *local).map_err(|error| JwksError::Unreadable(error.to_string()))?;
                jwks::parse(&text, false)
            }
        }
    }
}

/// One GET, without redirects: the operator named the place.
fn get(url: &http::Uri, timeout: Duration, local: bool) -> Result<Vec<u8>, ureq::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ureq::tls::TlsConfig::builder()
        .provider(ureq::tls::TlsProvider::Rustls)
        .root_certs(ureq::tls::RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let mut config = ureq::Agent::config_builder()
        .tls_config(tls)
        .https_only(!local)
        .max_redirects(0)
        .max_idle_connections(0)
        .timeout_global(Some(timeout))
        .max_response_header_size(16 * 1024);
    if local {
        config = config.proxy(None);
    }
    let mut response = config.build().new_agent().get(url).header("accept", "application/json").call()?;
    if response.status() != 200 {
        return Err(ureq::Error::StatusCode(response.status().as_u16()));
    }
    let mut text = Vec::new();
    response.body_mut().as_reader().take(SET_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > SET_BYTES {
        return Err(ureq::Error::BodyExceedsLimit(SET_BYTES));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_that_can_be_trusted() {
        let config = |url: Option<&str>, file: Option<&str>| JwksConfig {
            url: url.map(Into::into),
            file: file.map(Into::into),
            refresh_seconds: 300,
            unknown_kid_seconds: 30,
            timeout_seconds: 5,
        };
        for (url, file) in [
            (None, None),
            (Some("https://a/x"), Some("/x")),
            (Some("http://example.com/keys"), None),
            (Some("http://localhost.evil.com/keys"), None),
            (Some("http://localhost@evil.com/keys"), None),
            (Some("file:///etc/passwd"), None),
            (Some("not a url"), None),
        ] {
            assert!(Source::new(&config(url, file)).is_err(), "{url:?} {file:?}");
        }
        for (url, file) in [
            (Some("https://issuer.example.com/keys"), None),
            (Some("http://127.0.0.1:1/k"), None),
            (None, Some("/k")),
        ] {
            assert!(Source::new(&config(url, file)).is_ok(), "{url:?} {file:?}");
        }
    }
}
