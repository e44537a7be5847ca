//! Where a relay's WebTransport is and which certificate it shows: `GET /v1/webtransport/certificate`.
//!
//! Asked over plain HTTP, and therefore only of this machine (`skywave dev`): what comes over a network without TLS must
//! not decide whom we trust.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::address::Address;
use super::http;

/// A WebTransport address and the digests of certificates to accept there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) url: String,
    pub(super) hashes: Vec<[u8; 32]>,
}

/// Asks the relay at a plain address.
pub(super) async fn ask(address: &Address) -> Result<Place, String> {
    let (status, body) = http::get(address, "/v1/webtransport/certificate", None, &[]).await?;
    read(status, &body)
}

fn read(status: u16, body: &[u8]) -> Result<Place, String> {
    let wrong = || "the relay does not say where its WebTransport is".to_owned();
    if status != 200 {
        return Err(format!("the relay has no WebTransport (it answered {status})"));
    }
    let value: serde_json::Value = serde_json::from_slice(body).map_err(|_| wrong())?;
    let url = value["url"].as_str().ok_or_else(wrong)?.to_owned();
    let hashes = value["hashes"].as_array().ok_or_else(wrong)?;
    let hashes = hashes.iter().filter(|hash| hash["algorithm"] == "sha-256").map(|hash| {
        let bytes = STANDARD.decode(hash["value"].as_str()?).ok()?;
        bytes.try_into().ok()
    });
    Ok(Place { url, hashes: hashes.collect::<Option<_>>().ok_or_else(wrong)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let hash = STANDARD.encode([7; 32]);
        let body = format!(
            "{{\"url\":\"https://127.0.0.1:1/v1/wt\",\"hashes\":[{{\"algorithm\":\"sha-256\",\"value\":\"{hash}\"}}]}}"
        );
        let place = read(200, body.as_bytes()).unwrap();
        assert_eq!(place, Place { url: "https://127.0.0.1:1/v1/wt".into(), hashes: vec![[7; 32]] });
        let none = read(404, b"").unwrap_err();
        assert!(none.contains("404"), "{none}");
        assert!(read(200, b"{\"url\":1}").is_err() && read(200, b"").is_err());
    }
}
