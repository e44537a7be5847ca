//! Stateless resets (RFC 9000, 10.3) that outlive the process.
//!
//! After a crash, clients of the old process send packets that nobody knows. With the key of the reset tokens derived from
//! the node's private key, the new process, and every worker of it, can tell them so at once; otherwise they would find
//! out by their idle timeout.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::crypto::{CryptoError, HmacKey};
use quinn_proto::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use sha2::{Digest, Sha256};

/// Bytes of a connection id. Enough to be unguessable together with the token; no structure that a new process would have
/// to know.
const ID_BYTES: usize = 8;
/// Block size of SHA-256.
const BLOCK: usize = 64;

pub(super) fn endpoint_config(secret: [u8; 32]) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(ResetKey(secret)));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// HMAC-SHA-256 (RFC 2104).
struct ResetKey([u8; 32]);

impl ResetKey {
    fn tag(&self, data: &[u8]) -> [u8; 32] {
        let padded = |with: u8| {
            let mut block = [with; BLOCK];
            block.iter_mut().zip(self.0).for_each(|(byte, key)| *byte ^= key);
            block
        };
        let inner = Sha256::new().chain_update(padded(0x36)).chain_update(data).finalize();
        Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(&self.tag(data));
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let tag = self.tag(data);
        // All of it is looked at, whatever differs.
        let differs = tag
            .iter()
            .zip(signature)
            .fold(signature.len() ^ tag.len(), |sum, (a, b)| sum | usize::from(a ^ b));
        if differs == 0 { Ok(()) } else { Err(CryptoError) }
    }
}

struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; ID_BYTES]>())
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_that_of_rfc_4231() {
        // Test case 1, whose key of 20 bytes is padded with zeros as HMAC does.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let tag = ResetKey(key).tag(b"Hi There");
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        assert!(ResetKey(key).verify(b"Hi There", &tag).is_ok());
        assert!(ResetKey(key).verify(b"Hi there", &tag).is_err());
        assert!(ResetKey(key).verify(b"Hi There", &tag[..31]).is_err());
    }
}
