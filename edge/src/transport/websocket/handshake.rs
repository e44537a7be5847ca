//! The opening handshake: what a request must hold (RFC 6455, 4.2.1), which subprotocol and which extension parameters
//! are agreed (RFC 7692, 7.1), and the answer.
//!
//! Pure functions over header values, so that both fronts (own head reader, hyper on a reused connection) share them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use sha1::{Digest, Sha1};

use crate::auth::{Origins, Provenance};
use crate::transport::Encoding;

/// The one path that takes WebSocket handshakes.
pub(crate) const PATH: &str = "/v1/ws";
/// Subprotocol names; JSON when the client offers none.
pub const JSON_SUBPROTOCOL: &str = "skywave.json.v1";
pub const BINARY_SUBPROTOCOL: &str = "skywave.binary.v1";
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A handshake that is taken or refused.
pub(crate) type Upgrade = Result<Accepted, Refusal>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    accept: String,
    subprotocol: Option<&'static str>,
    /// The client offered permessage-deflate with parameters we can take.
    deflate: bool,
}

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a WebSocket handshake is a GET of HTTP/1.1")]
    Method,
    #[error("Sec-WebSocket-Version must be 13")]
    Version,
    #[error("Sec-WebSocket-Key must be 16 bytes in base64")]
    Key,
    #[error("pages of this origin may not connect")]
    Origin,
    #[error("none of the offered subprotocols is known; use skywave.json.v1 or skywave.binary.v1")]
    Subprotocol,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Method | Self::Key | Self::Subprotocol => StatusCode::BAD_REQUEST,
        }
    }
}

/// `None`: the request is not for us (another path, or no upgrade to websocket).
pub(crate) fn from_head(request: &httparse::Request<'_, '_>, origins: &Origins) -> Option<Upgrade> {
    let path = request.path?;
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path != PATH {
        return None;
    }
    let headers = &request.headers;
    let values = |name: &'static str| {
        headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            // What is no text is present all the same, and matches nothing.
            .map(|header| std::str::from_utf8(header.value).unwrap_or(""))
    };
    from_values(request.method == Some("GET") && request.version == Some(1), origins, &values)
}

/// The same for a request that hyper has parsed.
pub(crate) fn from_request<B>(request: &http::Request<B>, origins: &Origins) -> Option<Upgrade> {
    if request.uri().path() != PATH {
        return None;
    }
    let values = |name: &'static str| {
        request
            .headers()
            .get_all(name)
            .iter()
            .map(|value| std::str::from_utf8(value.as_bytes()).unwrap_or(""))
    };
    let sound = request.method() == http::Method::GET && request.version() == http::Version::HTTP_11;
    from_values(sound, origins, &values)
}

fn from_values<'a, I: Iterator<Item = &'a str>>(
    sound: bool,
    origins: &Origins,
    values: &impl Fn(&'static str) -> I,
) -> Option<Upgrade> {
    let lists = |name, token: &str| values(name).flat_map(items).any(|item| item.eq_ignore_ascii_case(token));
    if !lists("upgrade", "websocket") || !lists("connection", "upgrade") {
        return None;
    }
    // A header given twice is hostile: it matches no origin.
    let one = |name| {
        let mut all = values(name);
        all.next().map(|first| if all.next().is_some() { "" } else { first })
    };
    let provenance = Provenance {
        origin: one("origin"),
        host: one("host"),
        fetch_site: one("sec-fetch-site"),
        cookie: values("cookie").next().is_some(),
    };
    if origins.check(&provenance).is_err() {
        return Some(Err(Refusal::Origin));
    }
    Some(check(sound, values))
}

fn check<'a, I: Iterator<Item = &'a str>>(
    sound: bool,
    values: &impl Fn(&'static str) -> I,
) -> Result<Accepted, Refusal> {
    if !sound {
        return Err(Refusal::Method);
    }
    if values("sec-websocket-version").next().map(str::trim) != Some("13") {
        return Err(Refusal::Version);
    }
    let mut keys = values("sec-websocket-key");
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key.trim(),
        _ => return Err(Refusal::Key),
    };
    let mut nonce = [0; 18];
    if STANDARD.decode_slice(key, &mut nonce) != Ok(16) {
        return Err(Refusal::Key);
    }
    let offered = || values("sec-websocket-protocol").flat_map(items);
    let subprotocol = match offered().find_map(known_subprotocol) {
        Some(name) => Some(name),
        None if offered().next().is_none() => None,
        None => return Err(Refusal::Subprotocol),
    };
    let deflate = values("sec-websocket-extensions").flat_map(items).any(is_acceptable_deflate);
    Ok(Accepted { accept: accept_key(key), subprotocol, deflate })
}

/// Elements of a comma-separated header value.
fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn known_subprotocol(offered: &str) -> Option<&'static str> {
    [JSON_SUBPROTOCOL, BINARY_SUBPROTOCOL].into_iter().find(|name| *name == offered)
}

/// An offer can be taken when it needs nothing we do not do: our window is always 2^15, so a smaller
/// `server_max_window_bits` is declined; a client's own window and contexts do not matter to an inflater that starts anew.
fn is_acceptable_deflate(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if parts.next() != Some("permessage-deflate") {
        return false;
    }
    let mut seen = [false; 4];
    parts.all(|parameter| {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        let (index, fine) = match name {
            "server_no_context_takeover" => (0, value.is_none()),
            "client_no_context_takeover" => (1, value.is_none()),
            "server_max_window_bits" => (2, value == Some("15")),
            "client_max_window_bits" => (3, value.is_none_or(|bits| matches!(bits.parse(), Ok(8..=15u8)))),
            _ => return false,
        };
        fine && !std::mem::replace(&mut seen[index], true)
    })
}

fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

impl Accepted {
    /// How publications go to this client. `compression`: the configuration allows it.
    pub(crate) fn encoding(&self, compression: bool) -> Encoding {
        match (self.subprotocol == Some(BINARY_SUBPROTOCOL), self.deflate && compression) {
            (false, false) => Encoding::WsJson,
            (false, true) => Encoding::WsJsonDeflate,
            (true, false) => Encoding::WsBinary,
            (true, true) => Encoding::WsBinaryDeflate,
        }
    }

    /// The header lines of the 101 answer beyond the fixed ones.
    pub(crate) fn headers(&self, compression: bool) -> impl Iterator<Item = (&'static str, &str)> {
        let extension = (self.deflate && compression)
            .then_some("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        [
            Some(("sec-websocket-accept", self.accept.as_str())),
            self.subprotocol.map(|name| ("sec-websocket-protocol", name)),
            extension.map(|value| ("sec-websocket-extensions", value)),
        ]
        .into_iter()
        .flatten()
    }

    /// The whole 101 answer, ready to be written.
    pub(crate) fn response(&self, compression: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n",
        );
        for (name, value) in self.headers(compression) {
            for part in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::AuthConfig;

    fn upgrade(lines: &[&str]) -> Option<Upgrade> {
        let head = format!("{}\r\n\r\n", lines.join("\r\n"));
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        assert!(request.parse(head.as_bytes()).unwrap().is_complete());
        from_head(&request, &Origins::new(&AuthConfig::default()).unwrap())
    }

    const BASE: [&str; 5] = [
        "GET /v1/ws?x=1 HTTP/1.1",
        "Host: h",
        "Upgrade: WebSocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Version: 13",
    ];
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

    fn with(more: &[&'static str]) -> Result<Accepted, Refusal> {
        upgrade(&[&BASE[..], more].concat()).expect("a handshake")
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let accepted = with(&[KEY]).unwrap();
        assert_eq!(accepted.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accepted.encoding(true), Encoding::WsJson);
        let response = String::from_utf8(accepted.response(true)).unwrap();
        assert!(response.starts_with("HTTP/1.1 101 ") && response.ends_with("\r\n\r\n"), "{response}");
        assert!(!response.contains("extensions") && !response.contains("protocol:"), "{response}");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(with(&[]), Err(Refusal::Key));
        assert_eq!(with(&["Sec-WebSocket-Key: dG9vIHNob3J0"]), Err(Refusal::Key));
        assert_eq!(with(&[KEY, KEY]), Err(Refusal::Key));
        assert_eq!(with(&[KEY, "Origin: https://evil.example"]), Err(Refusal::Origin));
        assert_eq!(with(&[KEY, "Cookie: a=b"]), Err(Refusal::Origin));
        assert_eq!(with(&[KEY, "Sec-WebSocket-Protocol: graphql-ws"]), Err(Refusal::Subprotocol));
        let old = upgrade(&[&BASE[..4], &["Sec-WebSocket-Version: 8", KEY]].concat()).unwrap();
        assert_eq!(old, Err(Refusal::Version));
        assert_eq!(upgrade(&["GET /v1/ws HTTP/1.1", "Host: h", KEY]), None);
        assert_eq!(upgrade(&[&["GET /v1/sse HTTP/1.1"], &BASE[1..], &[KEY]].concat()), None);
        let post = upgrade(&[&["POST /v1/ws HTTP/1.1"], &BASE[1..], &[KEY]].concat()).unwrap();
        assert_eq!(post, Err(Refusal::Method));
    }

    #[test]
    fn the_first_known_subprotocol_wins() {
        let accepted =
            with(&[KEY, "Sec-WebSocket-Protocol: other, skywave.binary.v1, skywave.json.v1"]).unwrap();
        assert_eq!(accepted.encoding(true), Encoding::WsBinary);
        assert!(
            String::from_utf8(accepted.response(true))
                .unwrap()
                .contains("sec-websocket-protocol: skywave.binary.v1\r\n")
        );
    }

    #[test]
    fn deflate_offers() {
        let offer = |value: &str| is_acceptable_deflate(value);
        assert!(offer("permessage-deflate"));
        assert!(offer("permessage-deflate; client_max_window_bits"));
        assert!(offer("permessage-deflate; client_max_window_bits=10; server_no_context_takeover"));
        assert!(offer("permessage-deflate; server_max_window_bits=15"));
        assert!(!offer("permessage-deflate; server_max_window_bits=10"));
        assert!(!offer("permessage-deflate; client_max_window_bits=16"));
        assert!(!offer("permessage-deflate; server_no_context_takeover; server_no_context_takeover"));
        assert!(!offer("permessage-deflate; unknown"));
        assert!(!offer("x-webkit-deflate-frame"));
        let accepted = with(&[
            KEY,
            "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9, permessage-deflate",
        ]);
        assert_eq!(accepted.clone().unwrap().encoding(true), Encoding::WsJsonDeflate);
        assert_eq!(accepted.unwrap().encoding(false), Encoding::WsJson);
    }
}
