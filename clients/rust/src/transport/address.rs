//! Base addresses: `http`, `https`, `ws` or `wss`, a host, perhaps a port and a path below which the relay lives.

use http::Uri;

use crate::config::Transport;

/// A base address taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) secure: bool,
    /// As in the address: IPv6 in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Without a slash at the end.
    path: String,
}

impl Address {
    /// Takes an address apart. The error is complete for a person.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("{url:?} is not an address of a relay: {why}; an example: http://127.0.0.1:8080")
        };
        let uri: Uri = url.parse().map_err(|error| wrong(&format!("{error}")))?;
        let secure = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(wrong("it must begin with http://, https://, ws:// or wss://")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("there is no host"))?;
        let path = uri.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1/ws").or_else(|| path.strip_suffix("/v1/wt")).unwrap_or(path);
        Ok(Self {
            secure,
            host: host.into(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            path: path.into(),
        })
    }

    /// The address of a path of the relay, e.g. `/v1/ws`.
    pub(super) fn url(&self, scheme: &str, below: &str) -> String {
        format!("{scheme}://{}:{}{}{below}", self.host, self.port, self.path)
    }

    /// The path of something of the relay, e.g. `/v1/ws`.
    pub(super) fn path_of(&self, below: &str) -> String {
        format!("{}{below}", self.path)
    }

    /// A loopback address, or the name of one.
    pub(super) fn is_this_machine(&self) -> bool {
        let host = self.host_name();
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The host as the resolver takes it.
    pub(super) fn host_name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// Checks an address without using it.
pub(crate) fn check(url: &str, transport: Transport) -> Result<(), String> {
    let address = Address::parse(url)?;
    if transport == Transport::WebTransport && !address.secure && !address.is_this_machine() {
        return Err(format!("WebTransport needs an https:// address, not {url}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_apart() {
        let url = |text: &str| Address::parse(text).map(|address| address.url("ws", "/v1/ws"));
        assert_eq!(url("http://127.0.0.1:8080").unwrap(), "ws://127.0.0.1:8080/v1/ws");
        assert_eq!(url("wss://relay.example/").unwrap(), "ws://relay.example:443/v1/ws");
        assert_eq!(url("https://relay.example/chat/v1/ws").unwrap(), "ws://relay.example:443/chat/v1/ws");
        assert_eq!(url("http://[::1]:1").unwrap(), "ws://[::1]:1/v1/ws");
        assert_eq!(Address::parse("http://[::1]:1").unwrap().host_name(), "::1");
        for wrong in ["", "127.0.0.1:8080", "ftp://x", "http://"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
