//! The certificate for TLS and WebTransport: from files if there are any, else self-signed and short-lived.

use std::sync::Arc;

use skywave_edge::tls::files::CertificateFiles;
use skywave_edge::tls::self_signed::SelfSigned;
use skywave_edge::tls::{Identity, IdentityError, TlsConfig};
use skywave_edge::{SystemClock, WallClock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::settings::Settings;

/// The identity in force, kept fresh by a task; `None` when nothing needs one.
pub(crate) fn obtain(settings: &Settings) -> Result<Option<watch::Receiver<Arc<Identity>>>, IdentityError> {
    if let (Some(certificate), Some(key)) = (&settings.tls.certificate, &settings.tls.key) {
        let config = TlsConfig {
            certificate: certificate.clone(),
            key: key.clone(),
            reload_seconds: settings.tls.reload_seconds,
        };
        let (files, identity) = CertificateFiles::open(config)?;
        reload_on_hangup(&files);
        tokio::spawn(files.follow());
        return Ok(Some(identity));
    }
    if !settings.edge.webtransport && settings.edge.tls_listen.is_none() {
        return Ok(None);
    }
    let unix_now_s = || SystemClock.unix_ms() / 1_000;
    // Kept over a restart: the hash a page has read stays good, and clients of a process that was killed learn it at once.
    let file = settings.data.folder.join("certificate.pem");
    let (made, identity) = SelfSigned::kept(names(settings), file, unix_now_s())?;
    tokio::spawn(made.follow(unix_now_s));
    Ok(Some(identity))
}

/// What clients may call this node.
fn names(settings: &Settings) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
    let listening = [Some(settings.edge.listen), settings.edge.tls_listen];
    for ip in listening.into_iter().flatten().map(|address| address.ip()) {
        let name = ip.to_string();
        if !ip.is_unspecified() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// SIGHUP: look at the files now.
fn reload_on_hangup(files: &CertificateFiles) {
    let now = files.reload_now();
    match signal(SignalKind::hangup()) {
        Ok(mut hangups) => {
            tokio::spawn(async move {
                while hangups.recv().await.is_some() {
                    now.notify_one();
                }
            });
        }
        Err(error) => tracing::warn!(%error, "SIGHUP will not reload the certificate"),
    }
}
