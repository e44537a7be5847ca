//! Which nodes serve a key best: `GET /v1/route`.

use http::uri::PathAndQuery;

use super::address::Address;
use super::{Dialer, http as http_get};

impl Dialer {
    /// Base addresses of the nodes for the key (without one: for the token's user), best first.
    pub(crate) async fn route(
        &self,
        url: &str,
        key: Option<&str>,
        token: Option<&str>,
    ) -> Result<Vec<String>, String> {
        let address = Address::parse(url)?;
        let path = match key {
            None => "/v1/route".to_owned(),
            Some(key) => format!("/v1/route?key={}", encoded(key)),
        };
        debug_assert!(PathAndQuery::try_from(path.as_str()).is_ok(), "{path}");
        let (status, body) = http_get::get(&address, &path, token, &self.certificate_hashes).await?;
        if status != 200 {
            return Err(format!("the relay names no node (it answered {status})"));
        }
        read(&body).ok_or_else(|| "the relay names no node".to_owned())
    }
}

/// Percent-encoded but for what needs no encoding anywhere (RFC 3986, 2.3).
fn encoded(key: &str) -> String {
    key.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

fn read(body: &[u8]) -> Option<Vec<String>> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let first = value["url"].as_str()?;
    let others =
        value["alternates"].as_array().into_iter().flatten().filter_map(|place| place["url"].as_str());
    // What is no address of a relay is not tried.
    let urls: Vec<String> = std::iter::once(first)
        .chain(others)
        .filter(|url| Address::parse(url).is_ok())
        .map(str::to_owned)
        .collect();
    (!urls.is_empty()).then_some(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_node_and_then_the_others() {
        let body = br#"{"region":"eu","node":"a","url":"https://a","alternates":[{"node":"b","url":"https://b"},{"url":"b"}]}"#;
        assert_eq!(read(body), Some(vec!["https://a".into(), "https://b".into()]));
        assert!(
            read(br#"{"url":1}"#).is_none() && read(b"").is_none() && read(br#"{"url":"ftp://x"}"#).is_none()
        );
    }

    #[test]
    fn any_key_fits_into_a_query() {
        assert_eq!(encoded("room:7 & ü"), "room%3A7%20%26%20%C3%BC");
    }
}
