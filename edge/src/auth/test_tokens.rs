//! Makes tokens for tests, good and bad ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use skywave_engine::capability::Capabilities;

use super::claims::Claims;

/// A shared secret of allowed length.
pub(crate) const SECRET: &str = "a-secret-of-sixty-four-bytes-for-every-hash-that-is-in-the-tests";

pub(crate) fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token with any header and claims, signed as told.
pub(crate) fn signed(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

pub(crate) fn hs256(secret: &str, claims: &str) -> String {
    signed(
        r#"{"alg":"HS256","typ":"JWT"}"#,
        claims,
        &EncodingKey::from_secret(secret.as_bytes()),
        Algorithm::HS256,
    )
}

/// A key pair in the forms that configuration and signing take.
pub(crate) struct KeyPair {
    pub(crate) algorithm: Algorithm,
    pub(crate) private_pem: String,
    pub(crate) public_pem: String,
}

impl KeyPair {
    pub(crate) fn es256() -> Self {
        Self::generate(Algorithm::ES256, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn eddsa() -> Self {
        Self::generate(Algorithm::EdDSA, &rcgen::PKCS_ED25519)
    }

    pub(crate) fn rs256() -> Self {
        Self::generate(Algorithm::RS256, &rcgen::PKCS_RSA_SHA256)
    }

    fn generate(algorithm: Algorithm, kind: &'static rcgen::SignatureAlgorithm) -> Self {
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        Self { algorithm, private_pem: pair.serialize_pem(), public_pem: pair.public_key_pem() }
    }

    pub(crate) fn encoding_key(&self) -> EncodingKey {
        let pem = self.private_pem.as_bytes();
        match self.algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
            _ => EncodingKey::from_rsa_pem(pem),
        }
        .unwrap()
    }

    pub(crate) fn token(&self, header: &str, claims: &str) -> String {
        signed(header, claims, &self.encoding_key(), self.algorithm)
    }
}

pub(super) fn empty_claims() -> Claims {
    Claims {
        admin: false,
        user: None,
        expires_at_s: None,
        not_before_s: None,
        issuer: None,
        audience: None,
        token_id: None,
        capabilities: Capabilities::default(),
    }
}
