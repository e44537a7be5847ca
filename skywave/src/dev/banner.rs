//! What a person who starts a relay wants to know, on standard error.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::settings::Settings;

/// Says where the relay listens, where its data lies, and how to try it.
pub(super) fn print(settings: &Settings, addresses: &[SocketAddr], webtransport: Option<SocketAddr>) {
    let Some(plain) = addresses.first() else { return };
    let host = reachable(*plain);
    let mut lines = vec![
        format!("Skywave {} is up.", env!("CARGO_PKG_VERSION")),
        String::new(),
        format!("  Page          http://{host}/"),
        format!("  WebSocket     ws://{host}/v1/ws"),
    ];
    if let Some(secure) = addresses.get(1) {
        lines.push(format!("  with TLS      wss://{}/v1/ws", reachable(*secure)));
    }
    if let Some(address) = webtransport {
        lines.push(format!("  WebTransport  https://{}/v1/wt", reachable(address)));
    }
    let folder = std::path::absolute(&settings.data.folder).unwrap_or_else(|_| settings.data.folder.clone());
    lines.push(format!("  Data          {}", folder.display()));
    lines.push(String::new());
    lines.push("  Try           skywave sub chat:lobby".into());
    lines.push("                skywave pub chat:lobby hello".into());
    lines.push("  Stop          Ctrl-C".into());
    if settings.auth.anonymous && !plain.ip().is_loopback() {
        lines.push(String::new());
        lines.push(format!(
            "  Note: anonymous clients are allowed and {plain} can be reached from other machines; see auth.anonymous."
        ));
    }
    eprintln!("{}\n", lines.join("\n"));
}

/// An address as a browser on this machine can use it.
fn reachable(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()).to_string()
        }
        _ => address.to_string(),
    }
}
