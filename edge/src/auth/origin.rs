//! Which web pages may talk to this node.
//!
//! Browsers send credentials they hold for us on behalf of any page, and a page may run with the user's network reach;
//! what they cannot do is lie about `Origin` (RFC 6454) and `Sec-Fetch-Site` (Fetch Metadata). Comparison is of whole,
//! normalised origins: scheme, host, port. `null` is nobody.

use std::net::IpAddr;

use super::config::AuthConfig;
use super::error::AuthConfigError;

/// What a request says about where it comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Provenance<'a> {
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// `Host`, or `:authority`.
    pub host: Option<&'a str>,
    /// `Sec-Fetch-Site`, which only browsers send and no script can set.
    pub fetch_site: Option<&'a str>,
    /// There is a `Cookie` header: something like a browser asks.
    pub cookie: bool,
}

impl<'a> Provenance<'a> {
    /// Reads it from HTTP headers. A header that is given twice or is not visible ASCII counts as present and hostile.
    pub fn of(headers: &'a http::HeaderMap) -> Self {
        let one = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let first = values.next()?;
            match values.next() {
                None => Some(first.to_str().unwrap_or("")),
                Some(_) => Some(""),
            }
        };
        Self {
            origin: one("origin"),
            host: one("host"),
            fetch_site: one("sec-fetch-site"),
            cookie: headers.contains_key("cookie"),
        }
    }
}

/// Why a page was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("this origin is not in auth.allowed_origins")]
    NotAllowed,
    #[error("an Origin header is required")]
    Missing,
}

/// The allow-list, ready to compare with.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    any: bool,
    allowed: Vec<Origin>,
    same: bool,
    missing: bool,
}

impl Origins {
    /// Errors name the entry that is no origin.
    pub fn new(config: &AuthConfig) -> Result<Self, AuthConfigError> {
        let mut origins = Self {
            any: false,
            allowed: Vec::new(),
            same: config.same_origin,
            missing: config.missing_origin,
        };
        for text in &config.allowed_origins {
            if text == "*" {
                origins.any = true;
                continue;
            }
            let origin = Origin::parse(text).ok_or_else(|| AuthConfigError::Origin {
                origin: text.clone(),
                problem: "is not of the form scheme://host or scheme://host:port",
            })?;
            origins.allowed.push(origin);
        }
        Ok(origins)
    }

    /// May this request open a connection or change anything?
    pub fn check(&self, from: &Provenance<'_>) -> Result<(), OriginError> {
        match from.origin {
            Some(origin) => self.check_origin(origin, from.host),
            // A browser leaves `Origin` out of a GET to the page's own origin, but then says so.
            None if from.fetch_site == Some("same-origin") && self.serves_pages_at(from.host) => Ok(()),
            None if from.fetch_site.is_some() || from.cookie || !self.missing => Err(OriginError::Missing),
            None => Ok(()),
        }
    }

    /// May a page that this node served under the name `host` talk to it?
    fn serves_pages_at(&self, host: Option<&str>) -> bool {
        ["http", "https"].into_iter().any(|scheme| {
            self.check_origin(&format!("{scheme}://{}", host.unwrap_or_default()), host).is_ok()
        })
    }

    fn check_origin(&self, origin: &str, host: Option<&str>) -> Result<(), OriginError> {
        let origin = Origin::parse(origin).ok_or(OriginError::NotAllowed)?;
        if self.any || self.allowed.contains(&origin) || (self.same && origin.is_served_at(host)) {
            Ok(())
        } else {
            Err(OriginError::NotAllowed)
        }
    }
}

/// scheme, host (lower case) and port of an http(s) origin or one of an app's own scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// Takes exactly `scheme://host[:port]`; nothing after it, no user, no wildcard.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !scheme_fits {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = split_authority(authority)?;
        let own = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Some(Self { host, port: port.or(own), scheme })
    }

    /// Is this the origin of a page that `host` (a `Host` header) serves? Only for addresses that nobody can point at us
    /// from outside. The scheme is not compared: TLS may end in front of us.
    fn is_served_at(&self, host: Option<&str>) -> bool {
        let Some((name, port)) = host.and_then(split_authority) else { return false };
        let own = if self.scheme == "https" { 443 } else { 80 };
        let unforgeable = name == "localhost" || address(&name).is_some();
        unforgeable
            && matches!(self.scheme.as_str(), "http" | "https")
            && name == self.host
            && port.unwrap_or(own) == self.port.unwrap_or(own)
    }
}

fn address(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    inner.parse().ok()
}

/// `host[:port]`, host in lower case.
fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inner, after) = rest.split_once(']')?;
            inner.parse::<std::net::Ipv6Addr>().ok()?;
            (&authority[..inner.len() + 2], after.strip_prefix(':').or(after.is_empty().then_some("")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    let port = match port? {
        "" if authority.ends_with(':') => return None,
        "" => None,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b);
    (!host.is_empty() && host.bytes().all(fits)).then(|| (host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(allowed: &[&str]) -> Origins {
        let allowed_origins = allowed.iter().map(|s| (*s).to_owned()).collect();
        Origins::new(&AuthConfig { allowed_origins, ..AuthConfig::default() }).unwrap()
    }

    fn from<'a>(origin: &'a str, host: &'a str) -> Provenance<'a> {
        Provenance { origin: Some(origin), host: Some(host), ..Provenance::default() }
    }

    #[test]
    fn only_the_exact_origin_is_allowed() {
        let origins = origins(&["https://app.example.com", "http://dev.local:3000"]);
        for good in ["https://app.example.com", "https://APP.example.com:443", "http://dev.local:3000"] {
            assert_eq!(origins.check(&from(good, "relay.example.com")), Ok(()), "{good}");
        }
        for bad in [
            "null",
            "",
            "*",
            "https://evil.com",
            "https://app.example.com.evil.com",
            "https://evilapp.example.com",
            "https://app.example.com.",
            "https://app.example.com:8443",
            "http://app.example.com",
            "https://app.example.com@evil.com",
            "https://app.example.com/",
            "https://app.example.com,https://evil.com",
            "https://app.example.com https://evil.com",
            "app.example.com",
            "http://dev.local",
            "https://app.example.com:",
            "https://app.example.com:443x",
            "file://",
        ] {
            assert_eq!(origins.check(&from(bad, "relay.example.com")), Err(OriginError::NotAllowed), "{bad}");
        }
    }

    #[test]
    fn the_nodes_own_page_is_allowed_at_addresses_that_cannot_be_rebound() {
        let origins = origins(&[]);
        for (origin, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://localhost:8080", "localhost:8080"),
            ("https://localhost", "localhost"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(origins.check(&from(origin, host)), Ok(()), "{origin}");
        }
        for (origin, host) in [
            ("http://rebound.evil.com:8080", "rebound.evil.com:8080"),
            ("http://localhost:3000", "localhost:8080"),
            ("http://127.0.0.1:8080", "localhost:8080"),
            ("http://localhost:8080", ""),
            ("null", "localhost:8080"),
        ] {
            assert_eq!(
                origins.check(&from(origin, host)),
                Err(OriginError::NotAllowed),
                "{origin} at {host}"
            );
        }
    }

    #[test]
    fn a_missing_origin_is_for_those_that_are_no_browsers() {
        let relaxed = origins(&[]);
        assert_eq!(relaxed.check(&Provenance::default()), Ok(()));
        let cookie = Provenance { cookie: true, ..Provenance::default() };
        assert_eq!(relaxed.check(&cookie), Err(OriginError::Missing));
        let own = |host| Provenance {
            fetch_site: Some("same-origin"),
            cookie: true,
            host: Some(host),
            ..Provenance::default()
        };
        assert_eq!(relaxed.check(&own("localhost:8080")), Ok(()));
        assert_eq!(relaxed.check(&own("rebound.evil.com:8080")), Err(OriginError::Missing));
        assert_eq!(origins(&["https://app.example"]).check(&own("app.example")), Ok(()));
        for site in ["cross-site", "same-site", "none"] {
            let other = Provenance { fetch_site: Some(site), ..Provenance::default() };
            assert_eq!(relaxed.check(&other), Err(OriginError::Missing), "{site}");
        }
        let strict = Origins::new(&AuthConfig { missing_origin: false, ..AuthConfig::default() }).unwrap();
        assert_eq!(strict.check(&Provenance::default()), Err(OriginError::Missing));
    }

    #[test]
    fn two_origin_headers_are_no_origin() {
        let mut headers = http::HeaderMap::new();
        headers.append("origin", http::HeaderValue::from_static("https://app.example.com"));
        headers.append("origin", http::HeaderValue::from_static("https://evil.com"));
        let any = origins(&["*"]);
        assert_eq!(any.check(&Provenance::of(&headers)), Err(OriginError::NotAllowed));
    }

    #[test]
    fn nonsense_in_the_configuration_is_refused() {
        for bad in ["example.com", "https://*.example.com", "https://a.b/path", ""] {
            let config = AuthConfig { allowed_origins: vec![bad.into()], ..AuthConfig::default() };
            assert!(Origins::new(&config).is_err(), "{bad}");
        }
    }
}
